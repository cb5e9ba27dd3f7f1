//! How a Kafka cluster is reached, as the configuration says it: it is local to a process and not recorded.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// What a build can do. What it was built without is refused where it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Built {
    /// Kafka.
    pub kafka: bool,
    /// TLS and SCRAM for it.
    pub kafka_tls: bool,
    /// Checkpoints and history in S3.
    pub s3: bool,
    /// History, as Parquet files.
    pub history: bool,
}

impl Built {
    /// A build with everything.
    pub const ALL: Built = Built { kafka: true, kafka_tls: true, s3: true, history: true };
}

/// A cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaSettings {
    /// `host:port` of some of its brokers, separated by commas.
    pub bootstrap: String,
    /// Encryption.
    pub tls: Option<KafkaTlsSettings>,
    /// Credentials.
    pub sasl: Option<KafkaSaslSettings>,
}

/// Encryption; the paths are relative to the configuration file's folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KafkaTlsSettings {
    /// Authorities to be trusted, as PEM; the system's otherwise.
    pub authorities: Option<String>,
    /// A certificate of one's own and its key, as PEM.
    pub certificate: Option<(String, String)>,
}

/// Credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaSaslSettings {
    /// How the password is told.
    pub mechanism: SaslMechanism,
    /// The user.
    pub username: String,
    /// Where the password is.
    pub password: PasswordPlace,
}

/// How a password is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaslMechanism {
    /// As it is.
    Plain,
    /// As a proof, with SHA-256.
    ScramSha256,
    /// As a proof, with SHA-512.
    ScramSha512,
}

/// Where a password is: never in the configuration itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PasswordPlace {
    /// In this variable of the environment.
    Environment(String),
    /// In this file, relative to the configuration file's folder.
    File(String),
}

/// Where the logs are that a run writes itself, if not in its data folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogsSettings {
    /// The topic of the remap log.
    pub remap_topic: String,
    /// The topic of the command log.
    pub commands_topic: String,
    /// Topics that are missing are made with so many replicas, if at all.
    pub create_with_replicas: Option<u16>,
}

/// Where a topic is read from when a run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicStart {
    /// The first record that each partition still holds.
    Earliest,
    /// Behind the last record that each partition holds then.
    Latest,
}

/// Which topic a source has. What its partitions turn out to be is recorded, not how they are reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceTopic {
    /// Its name.
    pub topic: String,
    /// Where it is read from.
    pub start: TopicStart,
    /// Where the name stands in the configuration's text, in bytes.
    pub span: Range<usize>,
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
