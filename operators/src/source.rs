//! Where records come from: the contract of a reader. The bounded queue between a reader and release is in [`crate::feed`].

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::disk::LogError;
use crate::record::{Batch, Record};

/// A partition of the input log that can be read again from any offset it still holds.
///
/// A reader is a state machine: `poll` never blocks for long and never waits for anybody. Who drives it (a thread, or a
/// seeded scheduler) is not its business.
pub trait Source: Send {
    /// What its records decode to.
    type Record: Record;
    /// Is told, before anything else, what is set once nobody wants to go on: a call that takes long has to look at it, and
    /// ends then with [`SourceError::Stopped`]. Default: no call takes long.
    fn stop_with(&mut self, _stop: Arc<AtomicBool>) {}
    /// Reads on from `offset`; called once before the first `poll` and after a restart.
    fn seek(&mut self, offset: u64) -> Result<(), SourceError>;
    /// The next records, at most about `bytes_max` of input (one record at least, if there is one).
    fn poll(&mut self, bytes_max: usize) -> Result<Polled<Self::Record>, SourceError>;
}

/// The answer of a [`Source`].
#[derive(Debug)]
pub enum Polled<R> {
    /// Records, with ascending offsets.
    Batch(Batch<R>),
    /// Nothing yet; says nothing of the end.
    Nothing,
    /// Evidence that the log ended at this offset when it was asked.
    CaughtUp(u64),
    /// The partition has ended for ever at this offset.
    Ended(u64),
}

/// What a source could not do.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Nothing is lost: the same read may succeed later.
    #[error("could not read {origin}")]
    Unreachable {
        /// The file or topic.
        origin: String,
        /// The error of the operating system or the client.
        source: std::io::Error,
    },
    /// The log is not what was recorded of it; to go on is a person's decision.
    #[error(
        "{origin} is not the file that was recorded when the run began: {difference}; put the old file back, or start again with --fresh"
    )]
    Changed {
        /// The file or topic.
        origin: String,
        /// The property that differs, with both values.
        difference: String,
    },
    /// The log of that name is another one.
    #[error(
        "{origin} was deleted and created again: its id was {recorded} and is {found}, so its offsets mean other records; \
         start again with --fresh"
    )]
    Recreated {
        /// The name of the topic.
        origin: String,
        /// The id that was recorded.
        recorded: String,
        /// The id that it has now.
        found: String,
    },
    /// The log itself is gone.
    #[error(
        "{origin} is gone: {what}; bring it back, or leave it out of the configuration and start again with --fresh"
    )]
    Gone {
        /// The topic or partition.
        origin: String,
        /// What of it is missing, for a person.
        what: String,
    },
    /// What was to be read next was deleted.
    #[error(
        "{origin} begins at offset {oldest}, but offset {wanted} was to be read next: {} records or marks are lost to this \
         run; keep them longer, and start again with --fresh", .oldest.saturating_sub(*.wanted)
    )]
    Expired {
        /// The name of the partition.
        origin: String,
        /// Where reading was to go on.
        wanted: u64,
        /// The first offset that the partition still has.
        oldest: u64,
    },
    /// A record can't be decoded without an answer that nobody is there to give.
    #[error(
        "{origin} has a record at offset {offset} that can't be decoded without an answer which the remap log does not hold \
         (the question is {question}), and a replay asks nobody; restore the log from a copy"
    )]
    Unanswered {
        /// The name of the partition.
        origin: String,
        /// The record's offset.
        offset: u64,
        /// What was to be asked, in hexadecimal.
        question: String,
    },
    /// A log of ours that is read like a source.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Nobody wants to go on. The source is of no use any more.
    #[error("reading {origin} was stopped")]
    Stopped {
        /// The file or topic.
        origin: String,
    },
    /// What is asked for is not there.
    #[error("{origin} ends at offset {end}, but offset {wanted} was asked for: it was cut, start again with --fresh")]
    Truncated {
        /// The file or topic.
        origin: String,
        /// Where reading was to go on.
        wanted: u64,
        /// The offset at which the log ends.
        end: u64,
    },
}

impl SourceError {
    /// Whether the same read may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self, SourceError::Unreachable { .. } | SourceError::Log(LogError::Unreachable(_)))
    }
}
