//! What the two logs say of each partition: next offset, status, verdict counts since the beginning, watermark.
//!
//! A fold over reports and over the verdicts that are told back. A lag by a clock is a metric, not this.

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
    /// What its owner reported.
    Reported {
        /// The offset of its next record.
        next: u64,
        /// How far its reader was.
        status: Status,
        /// Verdicts of the tick.
        counts: Counts,
    },
    /// Verdicts that were told back.
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
    /// Which.
    pub partition: PartitionId,
    /// The offset of its next record.
    pub next: u64,
    /// How far its reader was.
    pub status: Status,
    /// Verdicts since the beginning.
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

/// The fold.
#[derive(Clone, Debug)]
pub struct HealthFold {
    /// Whose partitions they are.
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
