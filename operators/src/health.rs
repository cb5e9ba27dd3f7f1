//! Source health: what the two logs say of each partition, as one row for each.
//!
//! A row has the partition's next offset, how far its reader was, the verdicts since the beginning, and the least watermark
//! of the groups that it feeds.
//!
//! # What goes in and comes out
//!
//! [`News`] of partitions goes in: what [release](crate::release) reports at every tick, and the verdicts that
//! [resolve](crate::resolve) tells back. A change of the partition's row comes out in each tick in which it differs.
//!
//! # Why it is exact
//!
//! Counts are sums, so the order of news within a tick does not matter. The row also changes when a watermark rises without
//! any news of this partition: the fold wakes at the least millisecond above the one that it shows.
//!
//! # Cost
//!
//! One key for each partition, one posting for each partition and tick.
//!
//! # What it does not do
//!
//! It reads no clock: how far a partition lags behind the time of day is a metric, not a row. A partition of which no
//! report has come is not shown.
//!
//! # Example
//!
//! ```
//! use std::rc::Rc;
//! use std::sync::Arc;
//!
//! use operators::binding::Status;
//! use operators::checkpoint::Checkpoints;
//! use operators::clock::Mark;
//! use operators::fold::{Folded, rows};
//! use operators::health::{Health, HealthFold, News};
//! use operators::route::route;
//! use operators::shard::PlaceKey;
//! use operators::topology::{GroupId, Lanes, Partition, PartitionId, ReleaseId, Topology};
//! use operators::watermark::Counts;
//! use timely::dataflow::operators::capture::{Capture, Extract};
//! use timely::dataflow::operators::vec::{Delay, ToStream};
//!
//! # let partition = Partition {
//! #     name: "sensors/0".into(),
//! #     release: ReleaseId(0),
//! #     groups: vec![(GroupId(0), Lanes::Open)],
//! #     identity_fixes_partition: true,
//! #     live: true,
//! #     re_enters: None,
//! #     shown_once_read: false,
//! #     weight: 1,
//! # };
//! # let topology = Topology { partitions: vec![partition], groups: vec!["sensors".into()], ends_ms: None };
//! let changes = timely::example(move |scope| {
//!     let counts = Counts { read: 3, on_time: 3, ..Counts::default() };
//!     let news = [(PartitionId(0), News::Reported { next: 90, status: Status::Behind, counts })].to_stream(scope);
//!     let mark = |(tick, watermark_ms)| Mark {
//!         tick,
//!         now_ms: 0,
//!         watermarks: [watermark_ms].into(),
//!         reached: [watermark_ms].into(),
//!         checkpoint: false,
//!     };
//!     let marks = [(0, 500), (1, 500), (2, 700)].map(mark).to_stream(scope).delay(|mark, _| mark.tick);
//!     let fold = Rc::new(HealthFold { topology: Arc::new(topology) });
//!     let postings = route(news, "RouteHealth", Rc::clone(&fold), PlaceKey::WRITTEN);
//!     let outlet = rows(|_: &HealthFold, _, health: &Health| Some((health.next, health.counts.read, health.watermark_ms)));
//!     postings.fold_into(fold, marks, &Checkpoints::default(), outlet).0.capture()
//! });
//! // The watermark rises at tick 2 with no news.
//! let row = |watermark_ms, tick, diff| ((90, 3, watermark_ms), tick, diff);
//! assert_eq!(changes.extract(), [(0, vec![row(500, 0, 1)]), (2, vec![row(500, 2, -1), row(700, 2, 1)])]);
//! ```

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::binding::Status;
use crate::fold::{Fold, Now, Table, Wake};
use crate::time::{MINUS_INFINITY, PLUS_INFINITY, TimeMs};
use crate::topology::{GroupId, PartitionId, Topology};
use crate::watermark::{Counts, Report};

/// Something new about a partition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum News {
    /// The report of the partition's owner on a tick.
    Reported {
        /// The offset of the partition's next record.
        next: u64,
        /// How far the partition's reader was.
        status: Status,
        /// The verdicts of the tick, counted.
        counts: Counts,
    },
    /// Verdicts that [`resolve`](crate::resolve) told back.
    Told(Counts),
}

impl From<Report> for News {
    fn from(report: Report) -> News {
        News::Reported { next: report.next, status: report.status, counts: report.counts }
    }
}

/// The health of a partition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Health {
    /// The partition whose health this is.
    pub partition: PartitionId,
    /// The offset of the partition's next record.
    pub next: u64,
    /// How far the partition's reader was.
    pub status: Status,
    /// All verdicts since the beginning, counted.
    pub counts: Counts,
    /// The least watermark of the groups that it feeds; minus infinity before there is one.
    pub watermark_ms: TimeMs,
}

/// What is kept of a partition.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct HealthState {
    next: u64,
    status: Option<Status>,
    counts: Counts,
    watermark: Option<(GroupId, TimeMs)>,
}

/// Folds news of partitions into their health.
#[derive(Clone, Debug)]
pub struct HealthFold {
    /// All partitions of the run, and the groups that each feeds.
    pub topology: Arc<Topology>,
}

impl Fold for HealthFold {
    type Input = (PartitionId, News);
    type Key = PartitionId;
    type Event = News;
    type State = HealthState;
    type Value = Health;
    type Table = Table<PartitionId, HealthState>;

    fn name(&self) -> &'static str {
        "SourceHealth"
    }

    fn keys(&self, (partition, news): &Self::Input, post: &mut dyn FnMut(PartitionId, News)) {
        post(*partition, news.clone());
    }

    fn apply(&self, state: &mut HealthState, _: &PartitionId, news: &News) {
        match news {
            News::Reported { next, status, counts } => {
                (state.next, state.status) = (*next, Some(*status));
                state.counts.add(counts);
            }
            News::Told(counts) => state.counts.add(counts),
        }
    }

    fn seal(&self, state: &mut HealthState, partition: &PartitionId, now: &Now<'_>) {
        let groups = self.topology.partitions[partition.0 as usize].groups.iter().map(|(group, _)| *group);
        state.watermark =
            groups.map(|group| (group, now.watermark(group))).min_by_key(|(_, watermark_ms)| *watermark_ms);
    }

    fn values(&self, partition: &PartitionId, state: &HealthState, values: &mut Vec<Health>) {
        let is_hidden = self.topology.partitions[partition.0 as usize].shown_once_read && state.counts.read == 0;
        if let Some(status) = state.status.filter(|_| !is_hidden) {
            let watermark_ms = state.watermark.map_or(MINUS_INFINITY, |(_, watermark_ms)| watermark_ms);
            values.push(Health { partition: *partition, next: state.next, status, counts: state.counts, watermark_ms });
        }
    }

    fn wake(&self, _: &PartitionId, state: &HealthState) -> Option<Wake> {
        let (group, watermark_ms) = state.watermark?;
        (watermark_ms < PLUS_INFINITY).then(|| Wake::Watermark(group, watermark_ms + 1))
    }
}

#[cfg(test)]
mod tests;
