//! A checked configuration, with every default filled in.
//!
//! It has two halves. [`Recorded`] decides what the outputs are, is recorded in the remap log and may not change between a
//! run and its restart. [`Local`] decides where and how fast they are computed, and may.

mod recorded;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;

use super::kafka::{KafkaSettings, LogsSettings, SourceTopic};
use super::plan::FileRecord;
use super::registry::RegistrySettings;
use crate::catalog::Catalog;
use crate::view::ViewId;

pub use recorded::{
    DeclaredPair, ExperimentSettings, FactClass, FactSourceSettings, Format, HistorySettings, InventorySettings,
    KafkaSinkSettings, MessageRows, PopulationSetting, Recorded, SessionSettings, SinkSetting, SourceSettings,
    UnitOverlapSettings, VariantSettings, ViewSettings,
};

/// A checked configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where and how fast.
    pub local: Local,
    /// What.
    pub recorded: Recorded,
    /// What each source reads, by its place in [`Recorded::sources`].
    pub inputs: Vec<SourceInput>,
}

/// What a source reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceInput {
    /// Files.
    Files(SourceFiles),
    /// A topic.
    Topic(SourceTopic),
}

impl Settings {
    /// The names that decoders and views need.
    pub fn catalog(&self) -> Catalog {
        self.recorded.catalog()
    }
}

/// What may differ between two runs of equal outputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// The data folder, relative to the working directory.
    pub data_dir: String,
    /// The most that it may hold.
    pub data_bytes_max: u64,
    /// Where views are served.
    pub listen: SocketAddr,
    /// A tick is due this long after the last one.
    pub tick_ms: i64,
    /// The most input of a tick.
    pub tick_bytes: u64,
    /// The most ticks that are worked on at once.
    pub in_flight: usize,
    /// How Kafka is reached.
    pub kafka: Option<KafkaSettings>,
    /// Where the run's own logs are, if not in the data folder.
    pub logs: Option<LogsSettings>,
    /// How the schema registry is reached.
    pub registry: Option<RegistrySettings>,
    /// How far back views can be read, of every view.
    pub history: BTreeMap<ViewId, History>,
    /// Where checkpoints go.
    pub checkpoints: CheckpointSettings,
    /// How each sink's messages get to their topics, by its place in [`Recorded::sinks`].
    pub deliveries: Vec<Delivery>,
    /// Where sealed minutes go, if [`Recorded::history`] wants any to be kept.
    pub archive: ArchiveSettings,
}

/// Where the files of history are, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveSettings {
    /// A folder within the data folder, `s3://bucket/prefix`, or `none`.
    pub to: String,
    /// Of S3, unless it is Amazon's.
    pub endpoint: Option<String>,
    /// How far behind the time of the ticks a file is deleted.
    pub retention_ms: i64,
}

/// Where and how often checkpoints are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointSettings {
    /// A folder within the data folder, `s3://bucket/prefix`, or `none`.
    pub to: String,
    /// Of S3, unless it is Amazon's.
    pub endpoint: Option<String>,
    /// From one to the next.
    pub interval_ms: i64,
    /// How many are kept.
    pub keep: usize,
}

/// How far back a view can be read: to whichever bound comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// In ticks.
    pub ticks: u64,
    /// In bytes of memory.
    pub bytes: u64,
}

/// Which files a source has. What they turn out to be is recorded, not how they were found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFiles {
    /// A glob, relative to the configuration file's folder.
    pub pattern: String,
    /// Whether each file is a partition.
    pub parallel: bool,
    /// Where the glob stands in the configuration's text, in bytes; [`Position::of`](super::Position::of) gives the line.
    pub span: Range<usize>,
}

impl SourceFiles {
    /// The files of each partition, from all files in any order.
    pub fn partitioned(&self, mut files: Vec<FileRecord>) -> Vec<Vec<FileRecord>> {
        files.sort_by(|left, right| left.path.cmp(&right.path));
        if self.parallel { files.into_iter().map(|file| vec![file]).collect() } else { vec![files] }
    }
}

/// How messages get into a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryMode {
    /// In transactions.
    Transactional,
    /// Without: readers drop what they have seen.
    IdempotentSequenced,
}

/// How a Kafka sink's messages get to their topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The cluster.
    pub kafka: KafkaSettings,
    /// The name of this engine.
    pub engine: String,
    /// With or without transactions.
    pub mode: DeliveryMode,
    /// The most that the outbox holds.
    pub outbox_bytes: u64,
    /// When the cluster gives up a transaction whose writer is silent.
    pub transaction_timeout_ms: u64,
    /// Whether the sink detaches when it is full; it stalls the run otherwise.
    pub detaches: bool,
    /// Topics that are missing are made with this many replicas, if it is given.
    pub create_with_replicas: Option<u16>,
}
