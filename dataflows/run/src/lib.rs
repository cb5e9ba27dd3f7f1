//! Where domain meets I/O: the one place that knows both.

use dataflows::configuration::Built;

pub mod brokers;
pub mod command;
pub mod command_desk;
pub mod dead_letters;
pub mod engine;
pub mod graph_text;
pub mod history;
pub mod http;
pub mod inputs;
pub mod job;
pub mod logs;
pub mod memory;
pub mod outputs;
mod password;
pub mod progress;
mod recovery;
pub mod replay;
pub mod schema_lookup;
mod secondary;
pub mod subscribe;
pub mod tables;
#[cfg(feature = "kafka")]
pub mod verify;

/// What this build can do, by its features.
pub const BUILT: Built = Built {
    kafka: cfg!(feature = "kafka"),
    kafka_tls: cfg!(feature = "kafka-tls"),
    s3: cfg!(feature = "s3"),
    history: cfg!(feature = "history"),
};
