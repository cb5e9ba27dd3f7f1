//! How much one record may hold. `docs/events.md` prints the same numbers, and a test compares them.
//!
//! A record beyond a limit is a dead letter with its own code, never clipped: a clipped value would be a wrong answer.

pub(crate) use operators::document::string_bytes;
pub use operators::document::{DEPTH_MAX, STRING_BYTES_MAX};
use operators::record::Rejection;
use operators::time::TimeMs;

/// The number of attributes of an event.
pub const ATTRIBUTES_MAX: usize = 64;

/// The greatest |value|, in minor units: squares of sums up to it still fit 128 bits over 2^40 units.
pub const VALUE_MAX: i64 = 1 << 40;

/// The greatest |quantity|, in pieces or base units.
pub const QUANTITY_MAX: i64 = 1 << 31;

/// The first event time that is one. 0 and below are what a clock says that was never set.
pub const EVENT_TIME_MIN_MS: TimeMs = 1;

/// The last millisecond of the year 9999.
pub const EVENT_TIME_MAX_MS: TimeMs = 253_402_300_799_999;

/// The longest that a count may take: its window decides what is in doubt, so an endless one would say nothing.
pub const COUNT_DURATION_MAX_MS: i64 = 3_600_000;

/// The greatest epoch of a sequenced source.
pub const EPOCH_MAX: i64 = u32::MAX as i64;

/// The greatest sequence: one less than the last `i64`, so that the place after it is a number too.
pub const SEQUENCE_MAX: i64 = i64::MAX - 1;

/// The only version of the schemas so far.
pub const SCHEMA_VERSION: i64 = 1;

/// Holds an event time to its bounds.
pub(crate) fn event_time_ms(field: &str, time_ms: TimeMs) -> Result<TimeMs, Rejection> {
    let bounds = (EVENT_TIME_MIN_MS, EVENT_TIME_MAX_MS);
    within("event_time_out_of_range", field, time_ms, bounds)
}

/// Holds a quantity to its bounds; `least` is 0 or `-QUANTITY_MAX`.
pub(crate) fn quantity(field: &str, quantity: i64, least: i64) -> Result<i64, Rejection> {
    within("quantity_out_of_range", field, quantity, (least, QUANTITY_MAX))
}

/// Holds the quantity of a record that has none to 0.
pub(crate) fn no_quantity(field: &str, quantity: i64) -> Result<i64, Rejection> {
    within("quantity_out_of_range", field, quantity, (0, 0))
}

/// Holds a value to its bounds.
pub(crate) fn value(field: &str, value: i64) -> Result<i64, Rejection> {
    within("value_out_of_range", field, value, (-VALUE_MAX, VALUE_MAX))
}

/// Holds any other number to its bounds.
pub(crate) fn number(field: &str, number: i64, bounds: (i64, i64)) -> Result<i64, Rejection> {
    within("number_out_of_range", field, number, bounds)
}

/// Refuses every schema version but the one there is; none given means that one.
pub(crate) fn schema(version: Option<i64>) -> Result<(), Rejection> {
    match version {
        None | Some(SCHEMA_VERSION) => Ok(()),
        Some(other) => {
            let detail = format!("`schema` is {other}, only {SCHEMA_VERSION} is known");
            Err(Rejection::new("unsupported_schema", detail))
        }
    }
}

fn within(code: &'static str, field: &str, number: i64, (least, most): (i64, i64)) -> Result<i64, Rejection> {
    if (least..=most).contains(&number) {
        return Ok(number);
    }
    Err(Rejection::new(code, format!("`{field}` is {number}, which is not within {least} and {most}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_themselves_are_allowed() {
        assert_eq!(event_time_ms("event_time_ms", EVENT_TIME_MIN_MS), Ok(1));
        assert_eq!(event_time_ms("event_time_ms", EVENT_TIME_MAX_MS), Ok(EVENT_TIME_MAX_MS));
        assert_eq!(value("value", -VALUE_MAX), Ok(-VALUE_MAX));
        assert_eq!(quantity("quantity", QUANTITY_MAX, 0), Ok(QUANTITY_MAX));
        assert!(string_bytes("id", STRING_BYTES_MAX).is_ok());
    }

    #[test]
    fn one_beyond_a_bound_has_its_own_code() {
        let codes = [
            event_time_ms("t", 0).map(drop),
            value("v", VALUE_MAX + 1).map(drop),
            quantity("q", -1, 0).map(drop),
            number("n", 2, (0, 1)).map(drop),
            string_bytes("s", STRING_BYTES_MAX + 1),
            schema(Some(2)),
        ]
        .map(|result| result.unwrap_err().code);
        assert_eq!(
            codes,
            [
                "event_time_out_of_range",
                "value_out_of_range",
                "quantity_out_of_range",
                "number_out_of_range",
                "string_too_long",
                "unsupported_schema"
            ]
        );
    }
}
