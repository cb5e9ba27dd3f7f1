//! The one writer of a command log: a thread that makes commands durable in groups.
//!
//! Whatever was handed in while the log was being synchronised shares the next synchronisation. So the log is synchronised
//! as often as the disk can, and no request waits for more than two of them.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use operators::disk::PagedLog;

use super::{CommandLogError, Commands};

/// How many bytes of commands may wait to become durable.
pub const QUEUE_BYTES_MAX: usize = 64 << 20;

/// How many bytes of commands share a synchronisation, but for one that is longer.
const GROUP_BYTES_MAX: usize = 16 << 20;

/// The one writer; its thread ends with it.
#[derive(Debug)]
pub struct CommandWriter {
    commands: Commands,
    queue: Option<Sender<Vec<u8>>>,
    queued_bytes: Arc<AtomicUsize>,
    /// The number of the next command.
    next: u64,
    thread: Option<JoinHandle<()>>,
}

impl CommandWriter {
    /// Starts to write a log whose `commands` are read from the same.
    pub fn start(log: Box<dyn PagedLog>, commands: Commands) -> Self {
        let (queue, queued) = channel();
        let queued_bytes = Arc::new(AtomicUsize::new(0));
        let next = commands.end().expect("the log is in this process");
        let work = Work { log, commands: commands.clone(), queued, queued_bytes: Arc::clone(&queued_bytes) };
        let thread = std::thread::Builder::new().name("commands".to_owned()).spawn(move || work.run());
        let thread = Some(thread.expect("the system has a thread left for the command log"));
        CommandWriter { commands, queue: Some(queue), queued_bytes, next, thread }
    }

    /// The commands that are durable, also those that are still to come.
    pub fn commands(&self) -> &Commands {
        &self.commands
    }

    /// Hands a command in and gives its number, under which it will be durable: [`Commands::wait_for`] says when.
    pub fn submit(&mut self, command: Vec<u8>) -> Result<u64, CommandLogError> {
        self.commands.check()?;
        let bytes = command.len();
        if self.queued_bytes.load(Ordering::Acquire) + bytes > QUEUE_BYTES_MAX {
            return Err(CommandLogError::Busy);
        }
        self.queued_bytes.fetch_add(bytes, Ordering::AcqRel);
        let queue = self.queue.as_ref().expect("the queue is there as long as the writer");
        // A thread that has ended has said why.
        if queue.send(command).is_err() {
            self.commands.check()?;
        }
        let number = self.next;
        self.next += 1;
        Ok(number)
    }
}

impl Drop for CommandWriter {
    fn drop(&mut self) {
        self.queue = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of the command log panicked");
        }
    }
}

struct Work {
    log: Box<dyn PagedLog>,
    commands: Commands,
    queued: Receiver<Vec<u8>>,
    queued_bytes: Arc<AtomicUsize>,
}

impl Work {
    fn run(mut self) {
        while let Ok(first) = self.queued.recv() {
            let mut bytes = first.len();
            let mut group = vec![first];
            while bytes < GROUP_BYTES_MAX
                && let Ok(next) = self.queued.try_recv()
            {
                bytes += next.len();
                group.push(next);
            }
            // After an error nobody knows what the log holds: a restart finds out.
            if let Err(error) = self.log.append(&group) {
                return self.commands.failed(with_causes(&error));
            }
            self.queued_bytes.fetch_sub(bytes, Ordering::AcqRel);
            self.commands.grown(group);
        }
    }
}

/// An error in one line, with what caused it.
fn with_causes(error: &dyn Error) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {}", with_causes(cause)))
}
