//! Apache Kafka behind the traits of `operators`, through librdkafka.
//!
//! Partitions are assigned explicitly; there are no consumer groups, so no rebalance ever moves state. Only what is
//! committed is read, and nothing is reset silently: an offset that is gone is an error with a name.

pub mod cluster;
mod committed;
pub mod connection;
mod hanging;
pub mod log;
mod native;
mod producer;
pub mod request;
pub mod sink;
pub mod source;
mod start;
mod topics;
