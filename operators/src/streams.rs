//! Streams: how far each gap-free stream of records came, and what of it is missing. What it tells is exact: a pure function of the two logs.
//!
//! Release and resolve know every number of a stream already, since that is how they find duplicates. So a record in order costs a few words
//! more in the line of memory in which its number is noted, and something is said of its stream only
//!
//! * in every tick that opens or closes a gap,
//! * in the first tick of a minute of recorded time in which it moved,
//! * at the first tick of a new minute, if it moved since it was last told of, and at the tick of a checkpoint likewise, so
//!   that nothing of this has to be in a checkpoint.
//!
//! Reports that are due for one of the first three reasons follow from the logs; when checkpoints were taken does not. So
//! whoever listens keeps the last report of a stream, and shows gaps when they change and everything else once a minute: then
//! what is shown does not depend on the fourth.
//!
//! A stream moves by records that are accepted and by duplicates. A *gap* is a run of numbers that are missing between two
//! that came; numbers before the first one that ever came are not missing. Gaps open in the order of their numbers, except where
//! a number comes that lies before all others.
//!
//! ```
//! use operators::identity::Identities;
//! use operators::record::Identity;
//!
//! let mut identities = Identities::default();
//! let mut told = Vec::new();
//! for (tick, numbers) in [(1, vec![1, 2]), (2, vec![3]), (3, vec![6, 7]), (4, vec![8]), (5, vec![4, 5])] {
//!     identities.begin_tick(tick, 60_000 + 1_000 * tick as i64);
//!     for sequence in numbers {
//!         identities.admit(Identity::Sequence { stream: 77, sequence }, 0, 0);
//!     }
//!     identities.end_tick(false, |report| told.push((tick, report.greatest, report.gaps, report.first_missing)));
//! }
//! // Ticks 2 and 4 have nothing new but a greater number: that can wait until the minute is over.
//! assert_eq!(told, [(1, 2, 0, None), (3, 7, 1, Some(4)), (5, 8, 0, None)]);
//! ```
//!
//! Memory: 48 bytes for each stream beside its numbers and 32 for its name, and 16 for each stream that moved in a minute.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::identity::Low;
use crate::time::{Tick, TimeMs};

/// Runs of numbers, each from its first one to the one behind its last.
pub type NumberRuns = SmallVec<[(u64, u64); 1]>;

/// How far a sequenced stream is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StreamReport<S> {
    /// The stream.
    pub stream: S,
    /// The tick at whose end it was so.
    pub tick: Tick,
    /// The greatest number that came.
    pub greatest: u64,
    /// Runs of numbers that are missing between others.
    pub gaps: u64,
    /// The least number that is missing between others.
    pub first_missing: Option<u64>,
    /// The greatest event time since the report before; minus infinity where there was no record since.
    pub event_time_ms: TimeMs,
    /// `now` of the last tick in which it moved.
    pub moved_ms: TimeMs,
    /// Numbers that are missing since this tick, whether or not some of them came within it.
    pub opened: NumberRuns,
}

impl<S> StreamReport<S> {
    /// The same report of a stream that is called otherwise.
    pub fn renamed<T>(self, stream: T) -> StreamReport<T> {
        let StreamReport { tick, greatest, gaps, first_missing, event_time_ms, moved_ms, opened, .. } = self;
        StreamReport { stream, tick, greatest, gaps, first_missing, event_time_ms, moved_ms, opened }
    }
}

/// How streams are told of. A release whose plan has none of these tells of no stream.
pub struct StreamPlan<R, S> {
    /// What a record's stream is called; asked once for each stream in the life of an operator.
    pub stream_of: fn(&R) -> Option<S>,
    /// The first tick that counts: what moved before is not told of.
    pub since: Tick,
}

impl<R> StreamPlan<R, ()> {
    /// The plan of whoever tells of no stream.
    pub const NONE: Option<Self> = None;
}

// Derived ones would ask for the same of the record.
impl<R, S> Clone for StreamPlan<R, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R, S> Copy for StreamPlan<R, S> {}

/// What the streams of an operator are called. Identities know them by hashes only.
pub(crate) struct StreamNames<R, S> {
    plan: Option<StreamPlan<R, S>>,
    names: HashMap<u128, S, BuildHasherDefault<Low>>,
}

impl<R, S: Clone> StreamNames<R, S> {
    pub(crate) fn new(plan: Option<StreamPlan<R, S>>) -> Self {
        StreamNames { plan, names: HashMap::default() }
    }

    /// Whether streams are told of in this tick.
    pub(crate) fn counts(&self, tick: Tick) -> bool {
        self.plan.is_some_and(|plan| tick >= plan.since)
    }

    /// Takes the name of a stream from one of its records.
    pub(crate) fn take(&mut self, stream: u128, record: &R) {
        if let Some(name) = self.plan.and_then(|plan| (plan.stream_of)(record)) {
            self.names.insert(stream, name);
        }
    }

    /// A report of a stream under its name; none where it has none.
    pub(crate) fn name(&self, report: StreamReport<u128>) -> Option<StreamReport<S>> {
        let name = self.names.get(&report.stream)?.clone();
        Some(report.renamed(name))
    }
}
