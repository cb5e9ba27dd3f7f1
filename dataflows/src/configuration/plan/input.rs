//! What partitions read, as a run found it when it began.

use operators::disorder::EventTimes;
use serde::{Deserialize, Serialize};

/// A file, as a run found it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRecord {
    /// Its path, relative to the configuration file's folder, so that a folder that was moved means the same.
    pub path: String,
    /// Its size.
    pub size_bytes: u64,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
    /// The event times of its records, where they were looked at before the run began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<EventTimes>,
}

/// A topic's partition, as a run found it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicRecord {
    /// The topic's name.
    pub topic: String,
    /// The topic's id: a topic that is created anew under the same name has another.
    pub topic_id: String,
    /// The partition's number.
    pub partition: u32,
    /// The offset from which it is read.
    pub first_offset: u64,
}

/// What one partition reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PartitionInput {
    /// Files, in the order in which they are read.
    Files(Vec<FileRecord>),
    /// A partition of a topic.
    Topic(TopicRecord),
    /// Commands that let records of another partition of the source in again.
    ReEntry {
        /// The number of that partition.
        re_enters: u32,
        /// Whether its health is shown only once something was read of it: of those that were there before anybody needed
        /// them. Builds that added them when they were needed recorded nothing here.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        shown_once_read: bool,
    },
}

impl PartitionInput {
    /// The offset from which it is read.
    pub fn first_offset(&self) -> u64 {
        match self {
            PartitionInput::Files(_) | PartitionInput::ReEntry { .. } => 0,
            PartitionInput::Topic(record) => record.first_offset,
        }
    }
}

/// The event times of a source's files, as its partitions are read: from the least to the greatest, with the greatest disorder of
/// a partition. None where nothing is known of them.
pub(super) fn times_of(partitions: &[PartitionInput]) -> Option<EventTimes> {
    let of_files = partitions.iter().filter_map(|input| match input {
        PartitionInput::Files(files) => Some(files.iter().filter_map(|file| file.times)),
        PartitionInput::Topic(_) | PartitionInput::ReEntry { .. } => None,
    });
    let all = of_files.map(|times| times.fold(EventTimes::default(), EventTimes::then)).filter(|all| !all.is_empty());
    all.reduce(|left, right| EventTimes {
        earliest_ms: left.earliest_ms.min(right.earliest_ms),
        latest_ms: left.latest_ms.max(right.latest_ms),
        disorder_ms: left.disorder_ms.max(right.disorder_ms),
    })
}
