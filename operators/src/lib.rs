//! Generic dataflow on timely and differential: ticks, bindings, release with verdicts, watermarks, keyed folds, emission.
//!
//! What this crate must not know: the retailer's domain, and any I/O. Clocks, disks, logs, sources and sinks are traits
//! here and implementations elsewhere, so that a seeded scheduler can run a whole cluster inside one test.

pub mod disk;
pub mod record;
pub mod shard;
pub mod sink;
pub mod source;
pub mod time;
pub mod topology;
