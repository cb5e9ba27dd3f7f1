//! Instants as people write them: RFC 3339, with an offset, since a time without one is no instant.

use operators::time::{MINUS_INFINITY, PLUS_INFINITY, TimeMs};
use serde_json::Value;
use toml::value::{Date, Datetime, Offset, Time};

const MINUTES_PER_DAY: i64 = 1_440;
const MS_PER_DAY: i64 = 86_400_000;

/// The instant that `text` names, such as `2025-01-06T10:00:00Z`; none if it names none, or has no offset.
pub fn parse_instant(text: &str) -> Option<TimeMs> {
    let written: Datetime = text.parse().ok()?;
    let (date, time) = (written.date?, written.time?);
    let offset_minutes = match written.offset? {
        Offset::Z => 0,
        Offset::Custom { minutes } => i64::from(minutes),
    };
    let minutes = days_before(date) * MINUTES_PER_DAY + i64::from(time.hour) * 60 + i64::from(time.minute);
    let seconds = (minutes - offset_minutes) * 60 + i64::from(time.second);
    Some(seconds * 1_000 + i64::from(time.nanosecond / 1_000_000))
}

/// The instant in UTC, such as `2025-01-06T10:00:00Z`; one beyond the years 0 to 9999 as its milliseconds.
pub fn format_instant(time_ms: TimeMs) -> String {
    let (days, ms_of_day) = (time_ms.div_euclid(MS_PER_DAY), time_ms.rem_euclid(MS_PER_DAY) as u32);
    let Some(date) = date_after(days) else { return time_ms.to_string() };
    let time = Time {
        hour: (ms_of_day / 3_600_000) as u8,
        minute: (ms_of_day / 60_000 % 60) as u8,
        second: (ms_of_day / 1_000 % 60) as u8,
        nanosecond: ms_of_day % 1_000 * 1_000_000,
    };
    Datetime { date: Some(date), time: Some(time), offset: Some(Offset::Z) }.to_string()
}

/// A time in milliseconds as answers have it: before all times is `null`, after all of them is `"end"`.
pub(crate) fn time_as_json(time_ms: TimeMs) -> Value {
    match time_ms {
        MINUS_INFINITY => Value::Null,
        PLUS_INFINITY => Value::from("end"),
        finite => Value::from(finite),
    }
}

/// Days from 1970-01-01 to `date`. Years are counted from March, so that the leap day is the last one.
fn days_before(date: Date) -> i64 {
    let (month, day) = (i64::from(date.month), i64::from(date.day));
    let year = i64::from(date.year) - i64::from(month <= 2);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}

/// The date that many days after 1970-01-01, within the years 0 to 9999.
fn date_after(days: i64) -> Option<Date> {
    // Eras of 400 years are all alike: 146,097 days.
    let days = days.checked_add(719_468)?;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let months_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * months_from_march + 2) / 5 + 1;
    let month = (months_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (0..=9_999).contains(&year).then_some(Date { year: year as u16, month: month as u8, day: day as u8 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_read() {
        for (text, time_ms) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2025-01-06T10:00:00Z", 1_736_157_600_000),
            ("2025-01-06T11:30:00.250+01:30", 1_736_157_600_250),
            ("2024-02-29T23:59:59.999Z", 1_709_251_199_999),
            ("1969-12-31T23:59:59Z", -1_000),
        ] {
            assert_eq!(parse_instant(text), Some(time_ms), "{text}");
        }
        for text in ["", "10", "2025-01-06", "10:00:00", "2025-01-06T10:00:00", "2025-02-30T10:00:00Z"] {
            assert_eq!(parse_instant(text), None, "{text}");
        }
    }

    #[test]
    fn infinities_are_no_numbers() {
        let written = [MINUS_INFINITY, -5, 0, PLUS_INFINITY].map(|time_ms| time_as_json(time_ms).to_string());
        assert_eq!(written, ["null", "-5", "0", "\"end\""]);
    }

    #[test]
    fn what_is_written_reads_the_same() {
        assert_eq!(format_instant(1_736_157_600_000), "2025-01-06T10:00:00Z");
        let mut time_ms = -62_000_000_000_000;
        while time_ms < 253_000_000_000_000 {
            assert_eq!(parse_instant(&format_instant(time_ms)), Some(time_ms));
            time_ms += 86_399_999 * 17;
        }
        assert_eq!(format_instant(i64::MAX), i64::MAX.to_string());
    }
}
