//! Release: at tick `T`, in offset order, a partition's owner gives verdicts and sends what is accepted.
//!
//! A reader puts records into a partition's [`Feed`](crate::feed::Feed) as fast as it may; which of them belong to tick `T`
//! only the binding of `T` says. Release takes them out in the order of offsets up to the bound, judges each at its place
//! in the log (dead letter, late, duplicate, on time; [`crate::judge`] has the rules), and sends the accepted ones at `T`.
//!
//! # What goes in and comes out
//!
//! The bindings are its only timely input. On the worker that owns a partition come out, at the tick they belong to:
//! accepted records, with how they [stand](Standing) in time; records that were set aside, with the [reason](SetAsideReason); one
//! [`Report`](crate::watermark::Report) for each partition and tick, which the clock needs, with the verdicts counted. At
//! every tick and for every partition, `read = on time + late + duplicate + dead letters`. Where a record's identity may
//! also occur in another partition, no owner can decide alone: the record comes out as [`Pending`], for [`crate::resolve`].
//!
//! # SetAsideReason it is exact
//!
//! A record's tick, order and verdict follow from the binding, the partition's own records before it, and the watermarks
//! and floors as of tick `T-1`. None of them depends on how fast somebody reads or on how many workers there are. Release
//! holds the binding's capabilities until every partition of this worker has reached its bound, so whoever waits for the
//! frontier to pass `T` has all records of the tick. Release of `T` always waits until the clock of its own worker is
//! complete through `T-1`: the floors under lanes, and what counts as absent among the identities, are as of that tick.
//!
//! # Cost
//!
//! A lookup among the identities for each record, for which memory is asked some records ahead. Nothing is exchanged:
//! records leave on the worker that read them. Waiting always for `W(T-1)` costs about 4 % of throughput against waiting
//! only when a lane speaks that may be late by its floor, and leaves one rule instead of three. What is remembered grows
//! with the identities between the watermark and now, and by an interval for each gap of a sequenced stream.
//!
//! # What it does not do
//!
//! It does not decide which records belong to a tick: the minter does, and in live running it binds only what readers
//! hold, so release does not wait for them. In replay release does wait, and takes records piecemeal. It reads no clock,
//! decodes nothing, and does not drop what it sets aside.
//!
//! # Example
//!
//! Readings of a sensor: the second is the first once more, the fourth comes too late.
//!
//! ```
//! use operators::binding::{Advance, Binding, Configuration, Status};
//! use operators::bindings::Inlet;
//! use operators::checkpoint::Checkpoints;
//! use operators::clock::{clock, shared_clock};
//! use operators::feed::Feed;
//! use operators::record::{Batch, Header, Identity, Item};
//! use operators::release::{LatePolicy, ReleasePlan, release};
//! use operators::streams::StreamPlan;
//! use operators::topology::{
//!     GroupId, LaneParameters, Lanes, Parameters, Partition, PartitionId, ReleaseId, Topology,
//! };
//! use timely::dataflow::operators::capture::{Capture, Extract};
//! use timely::dataflow::operators::vec::Map;
//!
//! # let topology = Topology {
//! #     partitions: vec![Partition {
//! #         name: "sensors/0".into(),
//! #         release: ReleaseId(0),
//! #         groups: vec![(GroupId(0), Lanes::Closed(vec![0]))],
//! #         identity_fixes_partition: true,
//! #         live: true,
//! #         re_enters: None,
//! #         shown_once_read: false,
//! #         weight: 1,
//! #     }],
//! #     groups: vec!["sensors".into()],
//! #     ends_ms: None,
//! # };
//! # let lanes =
//! #     LaneParameters { lateness_ms: 1_000, hold_ms: 30_000, idle_ms: 60_000, skew_max_ms: 60_000, dedup_horizon_ms: 0 };
//! # let parameters = Parameters { lanes: vec![lanes], start_ms: 0 };
//! # let configuration =
//! #     Configuration { canonical: String::new(), sha256: String::new(), build: String::new(), parameters };
//! // What a reader hands over: offset, event time, and the reading, which is its identity too.
//! let reading = |(offset, event_time_ms, celsius): (u64, i64, u64)| Item {
//!     offset,
//!     length: 0,
//!     line: 0,
//!     outcome: Ok((
//!         Header {
//!             group: GroupId(0),
//!             lane: 0,
//!             event_time_ms,
//!             identity: Identity::Id { id: celsius.into(), content: celsius },
//!         },
//!         celsius,
//!     )),
//! };
//! let feed = Feed::new(1 << 20);
//! feed.push(Batch {
//!     end_offset: 4,
//!     bytes: 4,
//!     origin: "sensors.ndjson".into(),
//!     items: [(0, 50_000, 20), (1, 50_000, 20), (2, 52_000, 21), (3, 50_999, 22)].map(reading).into(),
//!     text: [].into(),
//!     text_offset: 0,
//!     text_starts: vec![],
//!     append_ms: vec![],
//! });
//!
//! // Tick 0 brings the configuration; ticks 1 and 2 bind two records each.
//! let inlet = Inlet::default();
//! let bound = |next| vec![Advance { partition: PartitionId(0), next, status: Status::CaughtUp }];
//! inlet.give(Binding { configuration: Some(configuration), advances: bound(0), ..Binding::new(0, 50_000) });
//! inlet.give(Binding { advances: bound(2), ..Binding::new(1, 51_000) });
//! inlet.give(Binding { advances: bound(4), ..Binding::new(2, 52_000) });
//! inlet.close();
//!
//! let (released, aside, counts) = timely::example(move |scope| {
//!     let checkpoints = Checkpoints::default();
//!     let face = shared_clock(&topology, &checkpoints);
//!     let bindings = inlet.bindings(scope);
//!     let plan = ReleasePlan {
//!         name: "Release".into(),
//!         late: LatePolicy::SetAside,
//!         counted_apart: |celsius: &u64| *celsius > 30,
//!         streams: StreamPlan::NONE,
//!         feeds: vec![(PartitionId(0), feed)],
//!         topology: &topology,
//!         clock: &face,
//!         checkpoints: &checkpoints,
//!     };
//!     let streams = release(bindings.clone(), plan);
//!     let counts = streams.reports.clone().map(|report| (report.counts.read, report.counts.duplicate)).capture();
//!     // Without a clock, release would wait for it for ever.
//!     clock(streams.reports, bindings, &face, &checkpoints);
//!     (streams.released.map(|released| released.record).capture(), streams.aside.map(|aside| aside.offset).capture(), counts)
//! });
//! assert_eq!(released.extract(), [(1, vec![20]), (2, vec![21])]);
//! assert_eq!(aside.extract(), [(2, vec![3])]);
//! assert_eq!(counts.extract(), [(0, vec![(0, 0)]), (1, vec![(2, 1)]), (2, vec![(2, 0)])]);
//! ```

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
    /// The record is on time.
    OnTime,
    /// The record is late, and is folded all the same.
    Late,
    /// The record is too old for anybody to know whether it is a duplicate, so it is not folded. What it touches is in
    /// doubt until this event time.
    TooOld {
        /// The watermark of the tick before.
        doubt_ms: TimeMs,
    },
}

/// A record that was accepted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Released<R> {
    /// The record itself, as it was decoded.
    pub record: R,
    /// How it stands in time.
    pub standing: Standing,
}

/// A record that was not accepted and not seen before.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SetAside<R> {
    /// The partition in which it lies.
    pub partition: PartitionId,
    /// Its offset in that partition.
    pub offset: u64,
    /// SetAsideReason it was set aside.
    pub reason: SetAsideReason<R>,
}

/// SetAsideReason a record was set aside.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SetAsideReason<R> {
    /// The record came behind its lane, or behind the floor under it.
    Late(R),
    /// The line could not be decoded, lies too far ahead, or contradicts a record of the same id.
    Dead {
        /// The file or topic that it came from.
        origin: Arc<str>,
        /// Its line in that file, from 1.
        line: u64,
        /// A stable code of what was wrong, and words for a person.
        rejection: Rejection,
        /// Its bytes as they were read, at most [`RAW_BYTES_MAX`](crate::record::RAW_BYTES_MAX) of them.
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
    /// Its offset in that partition.
    pub offset: u64,
    /// Whether its partition's owner found it late.
    pub late: bool,
    /// `W(T-1)` of its group, as its owner knew it.
    pub watermark_ms: TimeMs,
    /// The event time behind which a remembered identity counts as absent.
    pub absent_before_ms: TimeMs,
    /// The record itself, as it was decoded.
    pub record: R,
    /// The file or topic that it came from, should it become a dead letter.
    pub origin: Arc<str>,
    /// Its line in that file, from 1: what orders the records of one message.
    pub line: u64,
    /// Its bytes as they were read, should it become a dead letter.
    pub raw: Vec<u8>,
    /// Whether somebody waits to hear what becomes of it.
    pub is_awaited: bool,
}
