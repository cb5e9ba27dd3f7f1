//! Apache Kafka behind the traits of `operators`, through librdkafka.
//!
//! Partitions are assigned explicitly; there are no consumer groups, so no rebalance ever moves state. Only what is
//! committed is read, and nothing is reset silently: an offset that is gone is an error with a name.

pub mod cluster;
pub mod connection;
mod native;
pub mod source;
