//! Where domain meets I/O: the one place that knows both.

pub mod http;
pub mod subscribe;
pub mod tables;
