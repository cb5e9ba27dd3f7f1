//! The two times of the engine, which are never mixed.
//!
//! A [`Tick`] is the dataflow's logical time. It is minted, totally ordered, and says nothing of when anything happened.
//! An event time ([`TimeMs`]) is when something happened by its source's clock. It is data: it picks a minute, a verdict,
//! a place in the ledger, and never drives the dataflow.

/// The dataflow's logical time. Tick 0 carries the first configuration and no records.
pub type Tick = u64;

/// Milliseconds since 1970-01-01 UTC; event times and `now_ms` of a binding.
pub type TimeMs = i64;

/// Before every event time: where a lane stands of which nothing is known.
pub const MINUS_INFINITY: TimeMs = i64::MIN;

/// After every event time: the watermark once every source that feeds it has ended.
pub const PLUS_INFINITY: TimeMs = i64::MAX;

/// The length of a minute view's minute.
pub const MINUTE_MS: i64 = 60_000;

/// The number of the minute in which `time_ms` lies (floor, so that times before 1970 have minutes too).
///
/// ```
/// assert_eq!(operators::time::minute_of(59_999), 0);
/// assert_eq!(operators::time::minute_of(-1), -1);
/// ```
pub fn minute_of(time_ms: TimeMs) -> i64 {
    time_ms.div_euclid(MINUTE_MS)
}

/// The first millisecond after minute `minute`; the minute is sealed once the watermark is at or past it.
pub fn minute_end_ms(minute: i64) -> TimeMs {
    minute.saturating_add(1).saturating_mul(MINUTE_MS)
}

/// `time - duration`, where the infinities absorb.
pub fn minus_ms(time_ms: TimeMs, duration_ms: i64) -> TimeMs {
    match time_ms {
        MINUS_INFINITY | PLUS_INFINITY => time_ms,
        finite => finite.saturating_sub(duration_ms),
    }
}
