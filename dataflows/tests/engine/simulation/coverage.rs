//! What happens in simulated runs besides the ordinary.

use operators::memory_topic::Troubles;

/// What happened in a run besides the ordinary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// The cluster was dropped.
    pub crashes: u64,
    /// Of these: in the middle of a write.
    pub crashes_in_a_write: u64,
    /// A crash left part of an entry of the remap log.
    pub torn_remap: u64,
    /// A crash left a sink's file longer than its progress.
    pub torn_sinks: u64,
    /// A restart had another number of workers.
    pub rescaled: u64,
    /// A restart had another configuration.
    pub reconfigured: u64,
    /// A crash while the remap log was still being replayed.
    pub crashes_in_replay: u64,
    /// Checkpoints that could be restored.
    pub checkpoints: u64,
    /// Crashes while one was under way.
    pub crashes_in_a_checkpoint: u64,
    /// Starts from a checkpoint.
    pub restored: u64,
    /// Of these: not from the newest, which was said to be damaged.
    pub fallen_back: u64,
    /// What went wrong with the transactions of a remap log in a topic.
    pub remap_topic: Troubles,
    /// What went wrong with the transactions of a sink.
    pub sink_topics: Troubles,
    /// A crash took something of an outbox.
    pub torn_outboxes: u64,
}

impl Coverage {
    /// Each kind of trouble and how often it came.
    pub fn troubles(&self) -> [(&'static str, u64); 24] {
        [
            ("crashes", self.crashes),
            ("crashes in a write", self.crashes_in_a_write),
            ("crashes in replay", self.crashes_in_replay),
            ("torn entries of the remap log", self.torn_remap),
            ("torn sink files", self.torn_sinks),
            ("restarts with other workers", self.rescaled),
            ("restarts with another configuration", self.reconfigured),
            ("checkpoints", self.checkpoints),
            ("crashes in a checkpoint", self.crashes_in_a_checkpoint),
            ("restarts from a checkpoint", self.restored),
            ("restarts from an older checkpoint", self.fallen_back),
            ("refused transactions", self.remap_topic.refused),
            ("transactions that nobody ended", self.remap_topic.left_open),
            ("held ends of transactions", self.remap_topic.held),
            ("ends that came too late", self.remap_topic.too_late),
            ("transactions written again", self.remap_topic.answers_lost),
            ("committed and not shown yet", self.remap_topic.unstable),
            ("torn outboxes", self.torn_outboxes),
            ("refused transactions of sinks", self.sink_topics.refused),
            ("those that nobody ended", self.sink_topics.left_open),
            ("those whose end was held", self.sink_topics.held),
            ("those whose end came too late", self.sink_topics.too_late),
            ("those that were written again", self.sink_topics.answers_lost),
            ("those not shown yet", self.sink_topics.unstable),
        ]
    }
}

impl std::ops::Add for Coverage {
    type Output = Coverage;

    fn add(self, other: Coverage) -> Coverage {
        Coverage {
            crashes: self.crashes + other.crashes,
            crashes_in_a_write: self.crashes_in_a_write + other.crashes_in_a_write,
            torn_remap: self.torn_remap + other.torn_remap,
            torn_sinks: self.torn_sinks + other.torn_sinks,
            rescaled: self.rescaled + other.rescaled,
            reconfigured: self.reconfigured + other.reconfigured,
            crashes_in_replay: self.crashes_in_replay + other.crashes_in_replay,
            checkpoints: self.checkpoints + other.checkpoints,
            crashes_in_a_checkpoint: self.crashes_in_a_checkpoint + other.crashes_in_a_checkpoint,
            restored: self.restored + other.restored,
            fallen_back: self.fallen_back + other.fallen_back,
            remap_topic: self.remap_topic + other.remap_topic,
            sink_topics: self.sink_topics + other.sink_topics,
            torn_outboxes: self.torn_outboxes + other.torn_outboxes,
        }
    }
}
