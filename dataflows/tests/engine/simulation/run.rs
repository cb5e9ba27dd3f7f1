//! One simulated run: readers, timekeeper, workers and sink, one small action at a time, chosen by a seed.

mod action;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use dataflows::build::{Publication, build};
use operators::binding::{Binding, Configuration};
use operators::bindings::Inlet;
use operators::disk::{Log, LogError};
use operators::framed_log::FramedLog;
use operators::memory_topic::{MemoryTopic, MemoryTopicError, MemoryTransactions};
use operators::minter::{Holding, MinterOptions};
use operators::simulation::{Cluster, Random};
use operators::time::{MINUS_INFINITY, Tick, TimeMs};
use operators::timekeeper::{Timekeeper, TimekeeperError, read_bindings};
use operators::transactional_log::{TransactionalLog, read_entries};

use super::coverage::Coverage;
use super::delivery::{Sinks, Topics};
use super::disk::FusedDisk;
use super::reader::{Reader, offset};
use super::sink::Sink;
use super::vault::{Saved, Vault};
use crate::history::History;
use crate::trial::{AnyFeed, Snapshot, ports};

/// The file of the remap log.
pub const REMAP: &str = "remap";

/// Actions after which a run that is still not done is stuck.
const ACTIONS_MAX: u64 = 1_000_000;

/// A run that ended.
pub struct Outcome {
    /// The history with the remap log that this run wrote.
    pub history: History,
    /// What lies on the disk.
    pub disk: FusedDisk,
    /// What happened.
    pub coverage: Coverage,
    /// A digest of every action in its order.
    pub schedule: u64,
    /// What the views were after each restore, as of the tick before the checkpoint's `upper`.
    pub shown: Vec<(Tick, Snapshot)>,
    /// The topics of the sink with transactions, if there is one.
    pub topics: Option<Topics>,
}

/// What a crash takes: everything but the disk.
struct Incarnation {
    cluster: Cluster<Tick>,
    workers: usize,
    publications: Arc<Mutex<Vec<Publication>>>,
    inlet: Inlet,
    timekeeper: Timekeeper<Box<dyn Log>>,
    readers: Vec<Reader>,
    /// What readers said and the minter has not heard, by partition.
    told: Vec<VecDeque<Holding>>,
    sink: Sink,
    sinks: Option<Sinks>,
    /// The first tick that is not complete.
    done: Tick,
    vault: Vault,
    /// The `upper` of the checkpoint with which it began, and what it showed of that, until all of it was shown.
    restored: Option<(Tick, Vec<Publication>)>,
}

/// What outlives a crash.
struct Simulation {
    random: Random,
    history: History,
    configuration: Configuration,
    options: MinterOptions,
    in_flight: Tick,
    disk: FusedDisk,
    /// Where the remap log is, unless it is a file.
    topic: Option<MemoryTopic>,
    /// Where a sink with transactions writes, where there is one.
    topics: Option<Topics>,
    wall_ms: TimeMs,
    /// Everything that any dataflow was ever given.
    given: Vec<Binding>,
    /// Whether sources end; otherwise the run does, once everything is bound and written.
    ends: bool,
    crashes_left: u64,
    coverage: Coverage,
    schedule: u64,
    saved: Vec<Saved>,
    shown: Vec<(Tick, Snapshot)>,
}

/// Runs the records of a history to their end, with crashes; the remap log of the history is ignored.
pub fn run(history: History, seed: u64) -> Outcome {
    let mut simulation = Simulation::new(history, seed);
    let mut workers = 1 + simulation.random.below(4) as usize;
    loop {
        let incarnation = simulation.start(workers);
        if simulation.live(incarnation) {
            break;
        }
        simulation.crash();
        let before = workers;
        workers = 1 + simulation.random.below(4) as usize;
        simulation.coverage.rescaled += u64::from(workers != before);
    }
    simulation.disk.mend();
    let Simulation { mut history, disk, topic, topics, mut coverage, schedule, shown, .. } = simulation;
    if let Some(topics) = &topics {
        coverage.sink_topics = topics.troubles();
    }
    if let Some(topic) = &topic {
        coverage.remap_topic = topic.troubles();
    }
    history.bindings = bindings(&disk, topic.as_ref(), &history);
    Outcome { history, disk, coverage, schedule, shown, topics }
}

/// What the remap log holds now.
fn bindings(disk: &FusedDisk, topic: Option<&MemoryTopic>, history: &History) -> Vec<Binding> {
    let file = || Box::new(FramedLog::new(disk.clone(), REMAP)) as Box<dyn Log>;
    let mut log = topic.map_or_else(file, |topic| Box::new(Committed(topic.sound_client())));
    read_bindings(&mut log, &history.topology).expect("a crash leaves a log readable")
}

/// What a reader sees of a log in a topic, who fences nobody.
struct Committed(MemoryTransactions);

impl Log for Committed {
    fn read(&mut self) -> Result<Vec<Vec<u8>>, LogError> {
        Ok(read_entries(&mut self.0)?)
    }
    fn append(&mut self, _: &[u8]) -> Result<(), LogError> {
        unreachable!("it is only read")
    }
    fn sync(&mut self) -> Result<(), LogError> {
        unreachable!("it is only read")
    }
}

impl Simulation {
    fn new(history: History, seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x5e_ed0f_c0de);
        let empty_tick_ms = *random.choose(&[1_000, 10_000, 30_000]);
        let options = MinterOptions {
            tick_bytes: *random.choose(&[60, 300, 1_000, 2 << 20]),
            tick_ms: *random.choose(&[100, 2_000, 8_000]),
            empty_tick_ms,
            speed: None,
        };
        let ends = !random.once_in(3);
        // A clock that starts where live records do.
        let wall_ms = history.bindings.iter().map(|binding| binding.now_ms).find(|now_ms| *now_ms > MINUS_INFINITY);
        let configuration = history.bindings[0].configuration.clone().expect("tick 0 carries the configuration");
        let disk = FusedDisk::default();
        Simulation {
            in_flight: 1 + random.below(4),
            crashes_left: random.below(6),
            wall_ms: wall_ms.unwrap_or(history.parameters.start_ms),
            random,
            history,
            configuration,
            options,
            // In runs of numbers of their own, so that what a seed does without them stays what it was.
            topics: (seed % 4 > 1).then(|| Topics::new(&disk)),
            disk,
            topic: (seed % 3 == 1).then(MemoryTopic::default),
            given: Vec::new(),
            ends,
            coverage: Coverage::default(),
            schedule: 0,
            saved: Vec::new(),
            shown: Vec::new(),
        }
    }

    fn start(&mut self, workers: usize) -> Incarnation {
        let sink = Sink::resume(self.disk.clone(), &self.history);
        self.coverage.torn_sinks += sink.torn;
        let timekeeper = self.open_timekeeper();
        let kept = bindings(&self.disk, self.topic.as_ref(), &self.history);
        assert!(kept.len() >= self.given.len(), "{} bindings were given, {} are left", self.given.len(), kept.len());
        assert_eq!(kept[..self.given.len()], self.given, "what was given is what the log holds");

        // Now and then the newest checkpoints turn out to be damaged; without any, everything is replayed.
        let newest = self.saved.len();
        while !self.saved.is_empty() && self.random.once_in(4) {
            self.saved.pop();
        }
        let saved = self.saved.last().cloned();
        self.coverage.restored += u64::from(saved.is_some());
        self.coverage.fallen_back += u64::from(saved.is_some() && self.saved.len() < newest);
        let upper = saved.as_ref().map_or(0, |saved| saved.position.upper);
        assert!(sink.holds(upper), "a sink lost ticks that it had acknowledged");
        let sinks = self.topics.as_ref().map(|topics| {
            // Not of the scheduler's own numbers: these are of this start alone.
            let random = Random::new(self.schedule ^ self.coverage.crashes << 48);
            Sinks::open(topics, random, upper)
        });
        let timekeeper = match &saved {
            Some(saved) => {
                assert_eq!(timekeeper.position_at(upper).as_ref(), Some(&saved.position));
                timekeeper.resume_at(upper)
            }
            None => timekeeper,
        };
        let from =
            |number: usize| saved.as_ref().map_or(0, |saved| saved.position.next.get(number).copied().unwrap_or(0));
        let readers: Vec<Reader> =
            (0..self.history.records.len()).map(|number| Reader::new(&self.history, number, from(number))).collect();
        let feeds: Vec<AnyFeed> = readers.iter().map(Reader::feed).collect();
        let (publications, inlet) = (Arc::new(Mutex::new(Vec::new())), Inlet::default());
        let (published, ports_inlet, mut plan) = (Arc::clone(&publications), inlet.clone(), self.history.plan.clone());
        plan.emitting_workers = workers;
        let vault = Vault::new(Random::new(self.random.next()));
        let depot = vault.clone();
        let cluster = Cluster::start(workers, move |worker| {
            let published = Arc::clone(&published);
            let publish = move |publication| published.lock().unwrap().push(publication);
            let (index, peers) = (worker.index(), worker.peers());
            let mut ports = ports(&plan, &feeds, &ports_inlet, index, peers, publish);
            ports.depot = Some(Arc::new(depot.clone()));
            ports.restore = saved.as_ref().map(|saved| saved.of_worker(index, peers, &plan.topology));
            let probe = build(worker, &plan, ports).probe;
            move || probe.with_frontier(|frontier| frontier.first().copied().unwrap_or(Tick::MAX))
        });
        let told = readers.iter().map(|_| VecDeque::new()).collect();
        let done = timekeeper.first();
        let restored = (upper > 0).then(|| (upper, Vec::new()));
        Incarnation {
            cluster,
            workers,
            publications,
            inlet,
            timekeeper,
            readers,
            told,
            sink,
            sinks,
            done,
            vault,
            restored,
        }
    }

    /// Opens the remap log; where it is in a topic, as often as it takes until the topic answers.
    fn open_timekeeper(&mut self) -> Timekeeper<Box<dyn Log>> {
        let open = |log: Box<dyn Log>| {
            Timekeeper::open(log, &self.history.topology, self.options, self.in_flight, self.configuration.clone())
        };
        let Some(topic) = &self.topic else {
            let log = FramedLog::new(self.disk.clone(), REMAP);
            return open(Box::new(log)).expect("a crash leaves a log readable");
        };
        loop {
            let (mut choices, writer) = (Random::new(self.random.next()), format!("{:x}", self.random.next()));
            let client = topic.client(move |below| choices.below(below));
            let client = if self.crashes_left > 0 { client.killed_in_pauses() } else { client };
            let opened = TransactionalLog::open(client, writer).map_err(LogError::from).map_err(TimekeeperError::from);
            match opened.and_then(|log| open(Box::new(log))) {
                Ok(timekeeper) => return timekeeper,
                Err(error) => assert_eq!(error.to_string(), MemoryTopicError::NoAnswer.to_string()),
            }
        }
    }

    /// Lets a cluster work; says whether it came to the end rather than to a crash.
    fn live(&mut self, mut now: Incarnation) -> bool {
        let crash_at = if self.crashes_left > 0 { 20 + self.random.below(1_800) } else { u64::MAX };
        let in_a_write = self.random.once_in(2);
        for action in 0..ACTIONS_MAX {
            if action == crash_at {
                if !in_a_write {
                    self.coverage.crashes_in_replay += u64::from(!now.timekeeper.replayed());
                    self.coverage.crashes_in_a_checkpoint += u64::from(now.vault.is_busy());
                    return false;
                }
                self.disk.burn_after(self.random.below(12));
            }
            let choice = self.random.below(24);
            self.schedule = self.schedule.wrapping_mul(0x100_0000_01b3) ^ (choice << 32 | now.done);
            if self.act(&mut now, choice).is_err() {
                self.coverage.crashes_in_a_write += 1;
                return false;
            }
            if choice == 0 && self.complete(&now) {
                // No more ticks from here: the writers of topics would run after the empty ones for ever.
                let drained = now.sinks.as_mut().map_or(Ok(()), |sinks| sinks.drain(now.timekeeper.durable()));
                if drained.and_then(|()| now.sink.sync(None)).is_err() {
                    self.coverage.crashes_in_a_write += 1;
                    return false;
                }
                return true;
            }
        }
        panic!("stuck at tick {} of {} with {} workers", now.done, now.timekeeper.durable(), now.workers);
    }

    /// Whether there is nothing left to do but for the writers of topics: every record is bound, every tick is complete and
    /// written.
    fn complete(&self, now: &Incarnation) -> bool {
        let durable = now.timekeeper.durable();
        // The first tick carries the configuration: without it there is no run yet.
        let written = durable > 0 && now.timekeeper.replayed() && now.done >= durable && now.sink.holds(durable);
        if !written || (self.ends && !now.timekeeper.ended()) {
            return false;
        }
        let all =
            (0..self.history.records.len()).all(|number| self.bound(number) == self.history.records[number].end());
        assert!(all || !self.ends, "the run ended before every record was bound");
        all
    }

    fn bound(&self, partition: usize) -> u64 {
        let advances = self.given.iter().flat_map(|binding| &binding.advances);
        advances
            .filter(|advance| advance.partition.0 as usize == partition)
            .map(|advance| advance.next)
            .max()
            .unwrap_or(offset(0))
    }

    /// The machine stops: what was not synchronised is lost but for some first bytes.
    fn crash(&mut self) {
        self.coverage.crashes += 1;
        self.crashes_left -= 1;
        let (random, torn) = (&mut self.random, &mut self.coverage.torn_remap);
        self.disk.files().crash(|name, unsynced_bytes| {
            let kept = random.below(unsynced_bytes as u64 + 1) as usize;
            *torn += u64::from(name == REMAP && 0 < kept && kept < unsynced_bytes);
            kept
        });
        if let Some(topics) = &self.topics {
            self.coverage.torn_outboxes += u64::from(topics.crash(&mut Random::new(self.schedule)));
        }
        self.disk.mend();
        // The machine may come back with another clock, and somebody may have edited the configuration meanwhile.
        self.wall_ms += self.random.below(90_000) as i64 - 10_000;
        if self.random.once_in(3) {
            self.coverage.reconfigured += 1;
            for lanes in &mut self.configuration.parameters.lanes {
                lanes.lateness_ms = *self.random.choose(&[0, 5_000, 60_000]);
            }
            self.configuration.sha256 = format!("after crash {}", self.coverage.crashes);
        }
    }
}
