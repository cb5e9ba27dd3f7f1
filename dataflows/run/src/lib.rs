//! Where domain meets I/O: the one place that knows both.

// What can't be written must not end the process: `terminal` writes.
#![warn(clippy::print_stdout, clippy::print_stderr)]

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
pub mod run_end;
pub mod schema_lookup;
mod secondary;
mod signals;
pub mod subscribe;
pub mod tables;
pub mod terminal;
#[cfg(feature = "kafka")]
pub mod verify;

/// What this build can do, by its features.
pub const BUILT: Built = Built {
    kafka: cfg!(feature = "kafka"),
    kafka_tls: cfg!(feature = "kafka-tls"),
    s3: cfg!(feature = "s3"),
    history: cfg!(feature = "history"),
};
