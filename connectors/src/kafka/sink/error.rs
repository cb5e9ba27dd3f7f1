//! What a Kafka sink could not do.

use std::sync::Arc;

use operators::time::Tick;

use crate::kafka::request::RequestError;
use crate::kafka::start::may_succeed;

/// What went wrong, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum KafkaSinkError {
    /// A question or an order of ours to the cluster.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// There is no such topic.
    #[error("there is no topic \"{topic}\"; set `create = true`, or make it: {command}")]
    MissingTopic {
        /// Which.
        topic: String,
        /// The command that makes it.
        command: String,
    },
    /// Its partitions are not the shards.
    #[error(
        "the topic \"{topic}\" has {found} partitions, but shards are partitions and there are {wanted}; \
         name another topic, or set `shards` of the view to {found} in a run of its own"
    )]
    Partitions {
        /// Which.
        topic: String,
        /// How many it has.
        found: usize,
        /// How many it should have.
        wanted: u32,
    },
    /// There was progress, and it is gone.
    #[error(
        "partition {partition} of the progress topic \"{topic}\" was emptied: its first offset is {low}, and nothing is in \
         it; restore the topic from a copy, or write to new topics under another `engine` or sink name"
    )]
    Emptied {
        /// Which topic.
        topic: String,
        /// Which partition.
        partition: u32,
        /// Its first offset.
        low: i64,
    },
    /// Messages without progress.
    #[error(
        "partition {partition} of the topic \"{topic}\" holds messages, but the progress topic \"{progress_topic}\" says \
         nothing of them; restore that topic, or write to empty topics"
    )]
    Orphaned {
        /// Which topic.
        topic: String,
        /// Which partition.
        partition: u32,
        /// Where the progress should be.
        progress_topic: String,
    },
    /// A record of the progress topic can't be read.
    #[error(
        "offset {offset} of partition {partition} of the progress topic \"{topic}\" is no progress of this sink: {what}; \
         is it written to by somebody else?"
    )]
    Progress {
        /// Which topic.
        topic: String,
        /// Which partition.
        partition: u32,
        /// Where.
        offset: i64,
        /// What does not hold.
        what: String,
    },
    /// It says less than it said before.
    #[error(
        "the progress of partition {partition} of \"{topic}\" went back from tick {before} to {now}: the cluster lost what \
         it had acknowledged; start again, what is missing is derived again from the logs"
    )]
    WentBack {
        /// Which topic.
        topic: String,
        /// Which partition.
        partition: u32,
        /// What it said.
        before: Tick,
        /// What it says.
        now: Tick,
    },
    /// What is there is not what this run derives.
    #[error(
        "shard {shard} of sink \"{sink}\" is not an output of this run: up to tick {tick} its topics hold other messages; \
         a run with --fresh needs topics of its own: choose another `engine` or sink name, and empty topics"
    )]
    Foreign {
        /// Which sink.
        sink: String,
        /// Which shard.
        shard: u32,
        /// Up to which tick both were compared.
        tick: Tick,
    },
    /// The cluster forgot to end a transaction in some of its partitions, and what is needed to mend that is gone.
    #[error(
        "the cluster forgot to end a transaction of \"{id}\" at offset {offset} of partition {partition} of \"{topic}\"; its \
         progress is committed, and the progress before it is not there any more: choose another `engine` or sink name, and \
         all of it is derived again from the logs into new topics"
    )]
    Hanging {
        /// Whose.
        id: String,
        /// Which topic.
        topic: String,
        /// Which partition.
        partition: u32,
        /// Its first offset.
        offset: i64,
    },
    /// Somebody else writes under our id.
    #[error(
        "another process has taken over the transactional id \"{id}\"; two engines of one name? \
         stop one of them, or give it another `engine`"
    )]
    Fenced {
        /// The id.
        id: String,
    },
    /// The outbox.
    #[error("could not use the outbox of sink \"{sink}\"")]
    Outbox {
        /// Which sink.
        sink: String,
        /// Why.
        source: std::io::Error,
    },
    /// Its thread ended for this reason.
    #[error("sink \"{sink}\" can't go on: {cause}")]
    Ended {
        /// Which sink.
        sink: String,
        /// Why.
        cause: Arc<KafkaSinkError>,
    },
    /// It was asked to stop while it waited.
    #[error("the sink was stopped while it waited for its outbox")]
    Stopped,
}

impl KafkaSinkError {
    /// Whether the same may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self, KafkaSinkError::Request(error) if error.is_transient())
    }

    /// Whether a start at which this went wrong may go well if it is tried again.
    pub(super) fn may_start(&self) -> bool {
        matches!(self, KafkaSinkError::Request(error) if may_succeed(error))
    }

    pub(super) fn outbox(sink: &str, source: std::io::Error) -> Self {
        KafkaSinkError::Outbox { sink: sink.to_owned(), source }
    }
}
