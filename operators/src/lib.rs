//! Generic dataflow on timely and differential: ticks, bindings, release with verdicts, watermarks, keyed folds, emission.
//! Beside it the text formats that records come in, which know no more of them than declared fields: [`document`], [`avro`], [`csv`].
//!
//! What this crate must not know: the retailer's domain, and any I/O. Clocks, disks, logs, sources and sinks are traits
//! here and implementations elsewhere, so that a seeded scheduler can run a whole cluster inside one test.

pub mod answers;
pub mod avro;
pub mod binding;
pub mod bindings;
pub mod checkpoint;
pub mod clock;
pub mod csv;
pub mod delivery;
pub mod disk;
pub mod disorder;
pub mod document;
pub mod emit;
pub mod feed;
pub mod fetch;
pub mod fold;
pub mod framed_log;
pub mod health;
pub mod identity;
pub mod index;
pub mod judge;
pub mod memory_disk;
#[cfg(any(test, feature = "simulation"))]
pub mod memory_topic;
pub mod minter;
pub mod outcome;
pub mod record;
pub mod release;
pub mod resolve;
pub mod retain;
pub mod route;
pub mod segmented_log;
pub mod shard;
pub mod side_channel;
#[cfg(any(test, feature = "simulation"))]
pub mod simulation;
pub mod sink;
pub mod source;
pub mod streams;
#[cfg(test)]
mod testing;
pub mod time;
pub mod timekeeper;
pub mod topology;
pub mod transactional_log;
pub mod watermark;
