//! Release: at tick `T`, in offset order, a partition's owner gives verdicts and sends what is accepted.
//!
//! The bindings are its only input. It holds a binding's capabilities until its partitions have reached the bound
//! offsets, so everything downstream waits for exactly the records of the tick. In live running the minter binds only
//! what readers hold, so release does not wait for them; in replay it does, and takes records piecemeal.
//!
//! Release of `T` waits until the clock of its own worker is complete through `T-1`: the floors under lanes, and what
//! counts as absent among the identities, are as of that tick. Waiting always costs about 4 % of throughput against
//! waiting only when such a lane speaks, and leaves one rule instead of three.

mod operator;
mod owned;
#[cfg(test)]
mod tests;
mod verdict;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::record::{Header, Rejection};
use crate::time::TimeMs;
use crate::topology::PartitionId;

pub use operator::{ReleasePlan, ReleaseStreams, release};
pub(crate) use verdict::{Sight, conflict, count_accepted, sight};

/// What becomes of late records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LatePolicy {
    /// They are set aside. Precedence: dead letter, late, duplicate, on time.
    SetAside,
    /// They are folded and counted. Precedence: dead letter, duplicate, late, on time. Identities are remembered for the
    /// partition's `dedup_horizon_ms` behind the watermark; a record without a sequence that is older is not folded.
    Fold,
}

/// How an accepted record stands in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Standing {
    /// On time.
    OnTime,
    /// Late, and to be folded.
    Late,
    /// Too old to be judged a duplicate or none: not to be folded. What it touches is in doubt until this event time.
    TooOld {
        /// The watermark of the tick before.
        doubt_ms: TimeMs,
    },
}

/// A record that was accepted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Released<R> {
    /// The record.
    pub record: R,
    /// How it stands in time.
    pub standing: Standing,
}

/// A record that was not accepted and not seen before.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Aside<R> {
    /// Its partition.
    pub partition: PartitionId,
    /// Its offset.
    pub offset: u64,
    /// Why it was set aside.
    pub why: Why<R>,
}

/// Why a record was set aside.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Why<R> {
    /// It came behind its lane.
    Late(R),
    /// It is none.
    Dead {
        /// Where it came from.
        origin: Arc<str>,
        /// Its line there.
        line: u64,
        /// What was wrong.
        rejection: Rejection,
        /// Its bytes.
        raw: Vec<u8>,
    },
}

/// A record whose identity does not fix its partition: whether it was seen is decided after an exchange.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pending<R> {
    /// What it is judged by.
    pub header: Header,
    /// Its partition: the first in the order of (partition, offset, line) is the one that counts.
    pub partition: PartitionId,
    /// Its offset.
    pub offset: u64,
    /// Whether it was late.
    pub late: bool,
    /// `W(T-1)` of its group.
    pub watermark_ms: TimeMs,
    /// The event time behind which a remembered identity counts as absent.
    pub absent_before_ms: TimeMs,
    /// The record.
    pub record: R,
    /// Where it came from, should it be a dead letter.
    pub origin: Arc<str>,
    /// Its line there.
    pub line: u64,
    /// Its bytes, likewise.
    pub raw: Vec<u8>,
}
