//! Where domain meets I/O: the one place that knows both.

pub mod engine;
pub mod http;
pub mod output;
pub mod subscribe;
pub mod tables;
