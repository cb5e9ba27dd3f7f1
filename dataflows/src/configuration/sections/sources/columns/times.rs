//! What a pattern of times reads: moments, days, or nothing at all.
//!
//! A pattern is judged by what it reads of a time that was written by it: a pattern which does not give a moment or a day
//! there does so in no row.

use std::fmt::Write;

use chrono::NaiveDate;
use chrono::format::{Fixed, Item, Parsed, StrftimeItems, parse};
use operators::csv::TimeFormat;

/// What is wrong with a pattern.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PatternFault {
    /// It is none, or it holds an offset, which would be read and not be heeded.
    NoPattern,
    /// No row can be read by it: what it would have to hold.
    Lacks(Vec<&'static str>),
}

/// The times that a pattern of `strftime` reads, in UTC. One without a time of day reads days, which begin at midnight.
pub(super) fn of_pattern(pattern: &str) -> Result<TimeFormat, PatternFault> {
    let items: Vec<Item<'_>> = StrftimeItems::new(pattern).collect();
    if !pattern.contains('%') || !items.iter().all(is_of_utc) {
        return Err(PatternFault::NoPattern);
    }
    let Some(parsed) = read_back(&items) else { return Err(PatternFault::NoPattern) };
    if parsed.to_naive_datetime_with_offset(0).is_ok() {
        return Ok(TimeFormat::Pattern(pattern.to_owned()));
    }
    let has_time = [parsed.hour_div_12(), parsed.hour_mod_12(), parsed.minute(), parsed.second(), parsed.nanosecond()]
        .iter()
        .any(Option::is_some);
    let has_date = parsed.to_naive_date().is_ok();
    if has_date && !has_time {
        return Ok(TimeFormat::Date(pattern.to_owned()));
    }
    let mut lacks = Vec::new();
    if !has_date {
        let has_year = parsed.year().or(parsed.year_mod_100()).is_some();
        let of_date = [("year", has_year), ("month", parsed.month().is_some()), ("day", parsed.day().is_some())];
        lacks.extend(of_date.iter().filter(|(_, is_there)| !is_there).map(|(name, _)| *name));
    }
    if has_time {
        let of_time = [
            ("hour", parsed.hour_mod_12().is_some()),
            ("%p for the half of the day", parsed.hour_div_12().is_some() || parsed.hour_mod_12().is_none()),
            ("minute", parsed.minute().is_some()),
            ("second", parsed.second().is_some() || parsed.nanosecond().is_none()),
        ];
        lacks.extend(of_time.iter().filter(|(_, is_there)| !is_there).map(|(name, _)| *name));
    }
    Err(PatternFault::Lacks(lacks))
}

/// What a pattern reads of a time that is written by it. Of two times one is enough: some patterns need two digits.
fn read_back(items: &[Item<'_>]) -> Option<Parsed> {
    let moments = [(2025, 11, 23, 22, 45, 37), (2025, 1, 2, 3, 4, 5)];
    moments.into_iter().find_map(|(year, month, day, hour, minute, second)| {
        let moment = NaiveDate::from_ymd_opt(year, month, day)?.and_hms_opt(hour, minute, second)?;
        let mut text = String::new();
        write!(text, "{}", moment.format_with_items(items.iter().filter(|item| !is_optional(item)))).ok()?;
        let mut parsed = Parsed::new();
        parse(&mut parsed, &text, items.iter()).ok().map(|()| parsed)
    })
}

/// Whether a text may lack what a piece stands for: a fraction with its point.
fn is_optional(item: &Item<'_>) -> bool {
    use Fixed::{Nanosecond, Nanosecond3, Nanosecond6, Nanosecond9};
    matches!(item, Item::Fixed(Nanosecond | Nanosecond3 | Nanosecond6 | Nanosecond9))
}

/// Whether a piece of a pattern is known and says nothing of an offset from UTC.
fn is_of_utc(item: &Item<'_>) -> bool {
    match item {
        Item::Error => false,
        Item::Fixed(fixed) => match fixed {
            Fixed::ShortMonthName
            | Fixed::LongMonthName
            | Fixed::ShortWeekdayName
            | Fixed::LongWeekdayName
            | Fixed::LowerAmPm
            | Fixed::UpperAmPm
            | Fixed::Nanosecond
            | Fixed::Nanosecond3
            | Fixed::Nanosecond6
            | Fixed::Nanosecond9 => true,
            // Fractions without a point; the offset of `%#z` is of this kind, too.
            Fixed::Internal(_) => StrftimeItems::new("%3f%6f%9f").any(|fraction| fraction == *item),
            _ => false,
        },
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use chrono::{NaiveDate, NaiveDateTime};

    use super::*;

    /// Texts as people write times, with each of which a pattern is tried.
    const TEXTS: [&str; 9] = [
        "2025-11-03 10:00:00",
        "2025-11-03",
        "03/11/2025",
        "10:00",
        "10:00 AM",
        "2025-11-03 10:00",
        "2025-11-03 10",
        "1762164000",
        "Mon Nov 03 10:00:00.123 2025",
    ];

    #[test]
    fn a_pattern_is_accepted_if_some_row_can_be_read_by_it() {
        let patterns = [
            ("%Y-%m-%d %H:%M:%S", "2025-11-03 10:00:00"),
            ("%Y-%m-%d %H:%M", "2025-11-03 10:00"),
            ("%a %b %d %H:%M:%S%.3f %Y", "Mon Nov 03 10:00:00.123 2025"),
            ("%s", "1762164000"),
            ("%Y-%m-%d %H:%M%.3f", "2025-11-03 10:00"),
            ("%Y%m%d%H%M%S%3f", "20251103100000123"),
            ("%G-W%V-%u %T", "2025-W45-1 10:00:00"),
            ("%y-%m-%d %I:%M %p", "25-11-03 10:00 AM"),
        ];
        for (pattern, text) in patterns {
            assert_eq!(of_pattern(pattern), Ok(TimeFormat::Pattern(pattern.to_owned())));
            assert!(NaiveDateTime::parse_from_str(text, pattern).is_ok(), "{pattern} of {text}");
        }
    }

    #[test]
    fn a_pattern_without_a_time_of_day_reads_days() {
        for (pattern, text) in [("%Y-%m-%d", "2025-11-03"), ("%d/%m/%Y", "03/11/2025"), ("%Y-%j", "2025-307")] {
            assert_eq!(of_pattern(pattern), Ok(TimeFormat::Date(pattern.to_owned())));
            assert!(NaiveDate::parse_from_str(text, pattern).is_ok(), "{pattern} of {text}");
        }
    }

    #[test]
    fn a_pattern_by_which_no_row_can_be_read_says_what_it_lacks() {
        let patterns = [
            ("%H:%M", &["year", "month", "day"][..]),
            ("%d.%m. %H:%M", &["year"]),
            ("%Y-%m", &["day"]),
            ("%Y-%m-%d %H", &["minute"]),
            ("%Y-%m-%d %I:%M", &["%p for the half of the day"]),
            ("%Y-%m-%d %H:%M %3f", &["second"]),
            ("%Y-%m-%d %M:%S", &["hour"]),
        ];
        for (pattern, lacks) in patterns {
            assert_eq!(of_pattern(pattern), Err(PatternFault::Lacks(lacks.to_vec())), "{pattern}");
            for text in TEXTS {
                assert!(NaiveDateTime::parse_from_str(text, pattern).is_err(), "{pattern} of {text}");
            }
        }
    }

    #[test]
    fn what_is_no_pattern_or_holds_an_offset_is_none() {
        let with_offset =
            ["%z", "%#z", "%:z", "%::z", "%:::z", "%Z", "%+"].map(|zone| format!("%Y-%m-%d %H:%M:%S {zone}"));
        let none = ["", "now", "%", "%Q", "%Y-%m-%d %"].map(str::to_owned);
        for pattern in with_offset.iter().chain(&none) {
            assert_eq!(of_pattern(pattern), Err(PatternFault::NoPattern), "{pattern}");
        }
    }
}
