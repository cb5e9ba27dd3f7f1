//! What a run's partitions are and whom they feed: fixed for a run, recorded with the configuration.

use serde::{Deserialize, Serialize};

use crate::time::TimeMs;

/// A partition's number, dense from 0 in the order of the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PartitionId(pub u32);

/// A watermark group's number, dense from 0: one tenant's records of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupId(pub u16);

/// A release's number: all partitions whose records are of one type and policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReleaseId(pub u8);

/// The lanes that a partition may have within a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lanes {
    /// These and no others, each counted from the start whether or not it has spoken.
    Closed(Vec<u128>),
    /// Any. One nameless lane, which has never spoken, stands for those that are still to come.
    Open,
}

/// One partition: where its records come from is the reader's business, what they feed is told here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// Its name in errors and in views: source and number.
    pub name: String,
    /// The release that judges its records.
    pub release: ReleaseId,
    /// The groups that it feeds, and their lanes in it.
    pub groups: Vec<(GroupId, Lanes)>,
    /// Whether a record's identity can only ever occur in this partition. Otherwise duplicates are found after an exchange.
    pub identity_fixes_partition: bool,
    /// Whether `now` follows the clock (a live source) rather than the event times (a file).
    pub live: bool,
    /// The partition whose records come in again here, repaired by somebody, if it is such a one. It lies on the same worker
    /// as that one, knows its identities, and feeds no watermark: its groups have no lanes here.
    pub re_enters: Option<PartitionId>,
    /// Whether its health is shown only once something was read of it.
    pub shown_once_read: bool,
    /// The share of a tick's bytes, relative to the other partitions.
    pub weight: u32,
}

/// All partitions and groups of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topology {
    /// By [`PartitionId`].
    pub partitions: Vec<Partition>,
    /// Names of the groups, by [`GroupId`].
    pub groups: Vec<String>,
    /// The greatest event time of all input that is read to an end, where that was found out before it is read. Ages are then
    /// measured against the greatest event times, from the tick on that follows the end. Without, the end makes nothing older.
    pub ends_ms: Option<TimeMs>,
}

impl Topology {
    /// The worker, of `peers`, that owns a partition: it judges and releases its records.
    pub fn owner(&self, partition: PartitionId, peers: usize) -> usize {
        let entered = self.partitions.get(partition.0 as usize).and_then(|known| known.re_enters);
        entered.unwrap_or(partition).0 as usize % peers
    }

    /// The name of a partition.
    pub fn name_of(&self, partition: PartitionId) -> &str {
        &self.partitions[partition.0 as usize].name
    }

    /// The partitions of a release.
    pub fn of_release(&self, release: ReleaseId) -> impl Iterator<Item = (PartitionId, &Partition)> {
        (0u32..).map(PartitionId).zip(&self.partitions).filter(move |(_, partition)| partition.release == release)
    }
}

/// How much disorder and silence a partition may have. A change of these is an entry of the remap log and holds from its tick on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneParameters {
    /// A record this far behind its lane's greatest event time is still on time.
    pub lateness_ms: i64,
    /// A lane that speaks, but whose clock stands still, holds the watermark back for no longer than this.
    pub hold_ms: i64,
    /// A lane that was silent for this long of log time no longer holds the watermark back.
    pub idle_ms: i64,
    /// An event time further than this ahead of `now` (live) or of the recorded start (files) is a dead letter.
    pub skew_max_ms: i64,
    /// How long behind the watermark an identity is remembered where late records are folded; 0 elsewhere.
    pub dedup_horizon_ms: i64,
}

/// The parameters of every partition, as of a tick.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameters {
    /// By [`PartitionId`].
    pub lanes: Vec<LaneParameters>,
    /// The wall clock when the run first started: the bound of `future` for files.
    pub start_ms: TimeMs,
}
