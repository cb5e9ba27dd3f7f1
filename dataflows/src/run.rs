//! Where domain meets I/O: the one place that knows both.

mod assist;
#[cfg_attr(not(feature = "kafka"), path = "run/without_brokers.rs")]
pub mod brokers;
pub mod command;
pub mod drawing;
pub mod engine;
#[cfg(feature = "history")]
pub mod history;
pub mod http;
pub mod inputs;
pub mod job;
pub mod output;
pub mod progress;
mod recovery;
pub mod replay;
pub mod subscribe;
pub mod tables;
