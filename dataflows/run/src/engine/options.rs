//! What a run is given: its workers, its readers, how it reads, and what it begins with.

use std::any::Any;
use std::ops::Range;
use std::sync::Arc;
use std::thread::JoinHandle;

use connectors::checkpoint_store::Checkpointer;
use operators::checkpoint::Restore;
use operators::feed::Feed;
use operators::source::{Source, SourceError};
use operators::time::TimeMs;

use super::reader::Reader;
use dataflows::build::Feeds;
use dataflows::kind::{KindId, ListedKind};

/// The reader of a partition, whatever its records are.
pub struct PartitionSource(Box<dyn Open>);

impl PartitionSource {
    /// One of records of a kind.
    pub fn of<K: ListedKind>(source: Box<dyn Source<Record = K::Record>>) -> Self {
        PartitionSource(Box::new(OfKind::<K>(source)))
    }

    /// Opens it with a queue of so many bytes.
    pub(super) fn open(self, queue_bytes: u64, reader: Reader) -> OpenedSource {
        self.0.open(queue_bytes, reader)
    }

    /// The kind of its records.
    pub fn kind(&self) -> KindId {
        self.0.kind()
    }

    /// The source, if its records are of that kind.
    pub fn into_source<K: ListedKind>(self) -> Option<Box<dyn Source<Record = K::Record>>> {
        self.0.into_any().downcast::<OfKind<K>>().ok().map(|of_kind| of_kind.0)
    }

    /// Polls it once and drops what comes, for whoever wants to know whether it can be read.
    pub fn try_poll(&mut self, bytes_max: usize) -> Result<(), SourceError> {
        self.0.try_poll(bytes_max)
    }
}

/// A partition that is being read.
pub(super) struct OpenedSource {
    pub(super) thread: JoinHandle<()>,
    pub(super) close: Box<dyn Fn() + Send>,
    /// Adds its queue to those of the worker that owns it.
    pub(super) feed: Box<dyn Fn(&mut Feeds) + Send>,
}

trait Open: Send {
    fn kind(&self) -> KindId;
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
    fn open(self: Box<Self>, queue_bytes: u64, reader: Reader) -> OpenedSource;
    fn try_poll(&mut self, bytes_max: usize) -> Result<(), SourceError>;
}

struct OfKind<K: ListedKind>(Box<dyn Source<Record = K::Record>>);

impl<K: ListedKind> Open for OfKind<K> {
    fn kind(&self) -> KindId {
        K::ID
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }

    fn open(self: Box<Self>, queue_bytes: u64, reader: Reader) -> OpenedSource {
        let (feed, partition) = (Feed::new(queue_bytes), reader.partition);
        let (to_close, to_worker) = (feed.clone(), feed.clone());
        OpenedSource {
            thread: reader.start(self.0, feed),
            close: Box::new(move || to_close.close()),
            feed: Box::new(move |feeds| feeds.push::<K>(partition, to_worker.clone())),
        }
    }

    fn try_poll(&mut self, bytes_max: usize) -> Result<(), SourceError> {
        self.0.poll(bytes_max).map(drop)
    }
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
