//! How much a configuration may hold, and between what its numbers have to lie.

use std::ops::RangeInclusive;

pub use crate::inventory::ledger::EPSILON_MAX_MS;

/// The most tenants: each has two watermarks, which every tick computes.
pub const TENANTS_MAX: usize = 1_000;

/// The most sources.
pub const SOURCES_MAX: usize = 1_000;

/// The most experiments of one tenant: each of its events is looked at by each of them.
pub const EXPERIMENTS_PER_TENANT_MAX: usize = 100;

/// The most experiments in all: their numbers have 16 bits.
pub const EXPERIMENTS_MAX: usize = 65_535;

/// The most Kafka sinks: each has a producer for each of its shards.
pub const SINKS_MAX: usize = 100;

/// The length of a sink's or an engine's name: both are part of the names of topics.
pub const SINK_NAME_BYTES_MAX: usize = 100;

/// The length of a topic's name.
pub const TOPIC_BYTES_MAX: usize = 249;

/// How many pairs of experiments of a tenant may be tested: each has up to 256 rows, all of which change together.
pub const OVERLAP_PAIRS: RangeInclusive<i64> = 0..=1_000;

/// How many variants an experiment may have.
pub const VARIANTS: RangeInclusive<usize> = 2..=16;

/// The length of any name, in bytes.
pub const NAME_BYTES_MAX: usize = 256;

/// The shortest that a session's state may be kept: less than a minute would end it within its own minute.
pub const SESSION_KEEP_MIN_MS: i64 = 60_000;

/// The longest duration, 100 years: so that no sum of times leaves 64 bits.
pub const DURATION_MAX_MS: i64 = 3_155_760_000_000;

pub(super) const DURATION_MS: RangeInclusive<i64> = 0..=DURATION_MAX_MS;
pub(super) const DURATION_POSITIVE_MS: RangeInclusive<i64> = 1..=DURATION_MAX_MS;
pub(super) const SESSION_KEEP_MS: RangeInclusive<i64> = SESSION_KEEP_MIN_MS..=DURATION_MAX_MS;
pub(super) const EPSILON_MS: RangeInclusive<i64> = 0..=EPSILON_MAX_MS;
pub(super) const DATA_BYTES: RangeInclusive<i64> = 1 << 20..=i64::MAX;
/// There is a tick every second anyway.
pub(super) const TICK_MS: RangeInclusive<i64> = 1..=1_000;
pub(super) const TICK_BYTES: RangeInclusive<i64> = 4_096..=1 << 30;
pub(super) const IN_FLIGHT: RangeInclusive<i64> = 1..=64;
pub(super) const SHARDS: RangeInclusive<i64> = 1..=64;
pub(super) const SOURCE_WEIGHT: RangeInclusive<i64> = 1..=1_000_000;
pub(super) const VARIANT_WEIGHT: RangeInclusive<i64> = 0..=1_000_000;
pub(super) const RANK: RangeInclusive<i64> = 0..=u16::MAX as i64;
pub(super) const SAFETY_STOCK: RangeInclusive<i64> = 0..=crate::limits::QUANTITY_MAX;
pub(super) const CHECKPOINT_INTERVAL_MS: RangeInclusive<i64> = 100..=86_400_000;
pub(super) const CHECKPOINTS_KEPT: RangeInclusive<i64> = 1..=100;
pub(super) const HISTORY_TICKS: RangeInclusive<i64> = 0..=1_000_000;
pub(super) const HISTORY_BYTES: RangeInclusive<i64> = 0..=i64::MAX;
pub(super) const OUTBOX_BYTES: RangeInclusive<i64> = 1 << 16..=i64::MAX;
/// Clusters refuse more than 15 minutes, unless they are told otherwise.
pub(super) const TRANSACTION_TIMEOUT_MS: RangeInclusive<i64> = 1_000..=900_000;
pub(super) const REPLICAS: RangeInclusive<i64> = 1..=100;
pub(super) const HISTORY_FILE_MS: RangeInclusive<i64> = 60_000..=86_400_000;
pub(super) const HISTORY_FILE_ROWS: RangeInclusive<i64> = 1..=1_000_000;
