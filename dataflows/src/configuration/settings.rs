//! A checked configuration, with every default filled in.
//!
//! It has two halves. [`Recorded`] decides what the outputs are, is recorded in the remap log and may not change between a
//! run and its restart. [`Local`] decides where and how fast they are computed, and may.

mod recorded;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::sections::{
    ArchiveSettings, CheckpointSettings, Delivery, History, HttpSettings, KafkaSettings, LogsSettings,
    RegistrySettings, SourceInput,
};
use crate::catalog::Catalog;
use crate::view::ViewId;

pub use recorded::Recorded;

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
    /// The most memory of a process; none where the machine decides.
    pub memory_bytes_max: Option<u64>,
    /// Where views are served.
    pub listen: SocketAddr,
    /// What clients may take there.
    pub http: HttpSettings,
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
