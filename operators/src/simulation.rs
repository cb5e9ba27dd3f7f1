//! A seeded scheduler that runs a cluster of workers step by step inside one test.
//!
//! Every worker has a thread of its own, as timely wants it, but only one thread runs at a time: a worker executes one
//! step when it is handed the baton and gives it back. Workers are made without a timer, so nothing depends on a clock:
//! the same seed gives the same schedule and the same result. A crash drops all workers between two steps; what a
//! simulated disk had synchronised is all that is left.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use timely::communication::initialize_from;
use timely::worker::Worker;
use timely::{CommunicationConfig, WorkerConfig};

/// A small, fixed generator of pseudo-random numbers (splitmix64): schedules must never change with a library.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator with this seed.
    pub fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    /// The next number of the sequence.
    #[allow(clippy::should_implement_trait, reason = "it never ends, and nobody iterates over it")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of the choices.
    pub fn choose<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len() as u64) as usize]
    }
}

enum Command {
    Step,
    Stop,
}

/// A cluster whose workers run only when they are stepped.
pub struct Cluster<S> {
    commands: Vec<Sender<Command>>,
    replies: Vec<Receiver<S>>,
    guards: Option<timely::communication::WorkerGuards<()>>,
}

impl<S: Send + 'static> Cluster<S> {
    /// Starts `peers` workers. `build` is called on each, and gives what looks at the worker after every step.
    pub fn start<F, L>(peers: usize, build: F) -> Self
    where
        F: Fn(&mut Worker) -> L + Send + Sync + 'static,
        L: FnMut() -> S,
    {
        let (mut commands, mut replies, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..peers {
            let ((command, commanded), (reply, replied)) = (channel(), channel());
            commands.push(command);
            replies.push(replied);
            ends.push(Some((commanded, reply)));
        }
        let ends: Arc<Mutex<Vec<Option<(Receiver<Command>, Sender<S>)>>>> = Arc::new(Mutex::new(ends));
        let config = if peers == 1 { CommunicationConfig::Thread } else { CommunicationConfig::Process(peers) };
        let (allocators, others) = config.try_build().expect("workers of one process need nothing from outside");
        let guards = initialize_from(allocators, others, move |allocator| {
            let mut worker = Worker::new(WorkerConfig::default(), allocator, None);
            let index = worker.index();
            let end = ends.lock().expect("no worker panics while it takes its ends")[index].take();
            let (commanded, reply) = end.expect("every worker takes its ends once");
            let mut look = build(&mut worker);
            while let Ok(Command::Step) = commanded.recv() {
                worker.step();
                if reply.send(look()).is_err() {
                    break;
                }
            }
        });
        Cluster { commands, replies, guards: Some(guards.expect("threads can be started")) }
    }

    /// The number of workers.
    pub fn peers(&self) -> usize {
        self.commands.len()
    }

    /// Lets one worker run one step; nothing else runs meanwhile.
    pub fn step(&mut self, worker: usize) -> S {
        self.commands[worker].send(Command::Step).expect("a worker lives until it is stopped");
        self.replies[worker].recv().expect("a worker panicked: its message is above")
    }
}

impl<S> Drop for Cluster<S> {
    fn drop(&mut self) {
        for command in &self.commands {
            // A worker that panicked has hung up already.
            let _ = command.send(Command::Stop);
        }
        if let Some(guards) = self.guards.take() {
            let _ = guards.join();
        }
    }
}
