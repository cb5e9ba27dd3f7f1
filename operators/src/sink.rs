//! Where changes go: the contract of a sink.

use crate::time::{Tick, TimeMs};

/// One change of a view, ready to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The row as JSON, fields in their canonical order.
    pub row: String,
    /// How many copies come (positive) or go (negative).
    pub diff: i64,
}

/// Everything that changed in one shard of a view in the ticks `lower..upper`, in canonical order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// The view's name.
    pub view: String,
    /// Which of the sink's fixed shards.
    pub shard: u32,
    /// The first tick of the changes.
    pub lower: Tick,
    /// The tick after the last one.
    pub upper: Tick,
    /// The changes with their ticks, ascending.
    pub changes: Vec<(Tick, Change)>,
    /// Through which event time each tenant's minutes are sealed, by name, as of the last tick.
    pub sealed_through: Vec<(String, TimeMs)>,
}

/// Takes changes and keeps its own durable progress.
pub trait Sink: Send {
    /// The tick from which on changes are wanted: everything below is durable. Called once, at start.
    fn resume(&mut self, view: &str, shard: u32) -> Result<Tick, SinkError>;
    /// Takes the changes of one shard; they may be buffered until [`Sink::flush`].
    fn write(&mut self, changes: &Changes) -> Result<(), SinkError>;
    /// Returns once everything written is durable: the acknowledgement.
    fn flush(&mut self) -> Result<(), SinkError>;
}

/// What a sink could not do.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The same write may succeed later.
    #[error("could not {doing} {name}")]
    Unwritable {
        /// The file or topic.
        name: String,
        /// The verb of what was tried.
        doing: &'static str,
        /// The error of the operating system or the client.
        source: std::io::Error,
    },
    /// What is already there is not what this run would have written.
    #[error("{name} is not an output of this run: {what}; start again with --fresh")]
    Foreign {
        /// The file or topic.
        name: String,
        /// What does not hold.
        what: String,
    },
}
