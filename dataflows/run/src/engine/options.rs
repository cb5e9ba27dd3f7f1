//! What a run is given: its workers, its readers, how it reads, and what it begins with.

use std::ops::Range;
use std::sync::Arc;

use connectors::checkpoint_store::Checkpointer;
use operators::checkpoint::Restore;
use operators::source::Source;
use operators::time::TimeMs;

use dataflows::experiment::event::Event;
use dataflows::inventory::fact::Fact;

/// The reader of a partition.
pub enum PartitionSource {
    /// Of experiment events.
    Events(Box<dyn Source<Record = Event>>),
    /// Of inventory facts.
    Facts(Box<dyn Source<Record = Fact>>),
}

/// The workers of a run, and which of them are here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workers {
    /// Per process.
    pub threads: usize,
    /// `host:port` of each process, where there are several.
    pub addresses: Vec<String>,
    /// Which of them this one is.
    pub process: usize,
}

impl Workers {
    /// All workers of all processes.
    pub fn peers(&self) -> usize {
        self.threads * self.addresses.len().max(1)
    }

    /// The workers of this process.
    pub fn here(&self) -> Range<usize> {
        let first = self.process * self.threads;
        first..first + self.threads
    }

    /// Whether a worker is of this process.
    pub(super) fn has(&self, worker: usize) -> bool {
        worker / self.threads == self.process
    }
}

/// How input is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputOptions {
    /// How far each partition's reader may be ahead.
    pub queue_bytes: u64,
    /// How much is read at once: the finest that a tick can be cut.
    pub poll_bytes: usize,
    /// By partition: event times beyond this are `future`, and say nothing of where the partition stands. None elsewhere.
    pub future_ms: Vec<TimeMs>,
    /// By partition: the offset at which its reader begins; 0 where there is none.
    pub from: Vec<u64>,
}

/// How a run is saved, and what it begins with.
#[derive(Default)]
pub struct Recovery {
    /// Takes checkpoints, where any are wanted.
    pub checkpointer: Option<Arc<Checkpointer>>,
    /// What each worker of this process begins with; empty at a beginning.
    pub restore: Vec<Restore>,
}

impl InputOptions {
    /// Options for ticks of this size: several granules of each partition fit into its share.
    pub fn new(tick_bytes: u64, partitions: usize, future_ms: Vec<TimeMs>) -> Self {
        let share = tick_bytes / (2 * partitions.max(1) as u64);
        let poll_bytes = share.clamp(4 << 10, 64 << 10) as usize;
        // Four ticks in all, or 64 MiB where ticks are small, so that the few partitions that are left at the end of a
        // run can still fill ticks by themselves. What waits decoded is memory that nothing else gains from.
        let queue_bytes = ((4 * tick_bytes).max(64 << 20) / partitions.max(1) as u64).max(64 << 10);
        InputOptions { queue_bytes, poll_bytes, future_ms, from: Vec::new() }
    }
}
