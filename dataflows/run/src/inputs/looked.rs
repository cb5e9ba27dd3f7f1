//! What was found in the files of a source before they are read, and what of that a person would not have meant.

use std::collections::BTreeMap;

use dataflows::answer::format_instant;
use operators::disorder::EventTimes;
use operators::time::TimeMs;

/// What is in files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// Lines or rows that are records, or that somebody meant to be.
    pub records: u64,
    /// Of what is a record and not too far ahead, in the order in which it lies there.
    pub times: EventTimes,
    /// Records that lie too far ahead.
    pub future: u64,
    /// How far ahead the last of them lies.
    pub future_by_ms: i64,
    /// What is no record, by the code of the reason.
    pub refused: BTreeMap<String, Refused>,
}

/// What is no record for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// How much of it there is.
    pub count: u64,
    /// The first of it: file, line and what is wrong with it.
    pub example: String,
}

/// The reasons that are told.
const REASONS_MAX: usize = 3;

/// The longest example that is told, in characters.
const EXAMPLE_CHARS_MAX: usize = 300;

/// Nobody's records are from before.
const YEAR_1971_MS: TimeMs = 31_536_000_000;

const QUARTER_HOUR_MS: i64 = 15 * 60_000;

/// No clock on earth is further ahead of UTC.
const OFFSET_MAX_MS: i64 = 14 * 3_600_000;

impl Looked {
    pub(super) fn takes(&mut self, time_ms: TimeMs, start_ms: TimeMs, skew_max_ms: i64) {
        self.records += 1;
        if time_ms > start_ms.saturating_add(skew_max_ms) {
            self.future += 1;
            self.future_by_ms = self.future_by_ms.max(time_ms.saturating_sub(start_ms));
        } else {
            self.times = self.times.then(time_ms.into());
        }
    }

    pub(crate) fn refuses(&mut self, code: &str, detail: &str, file: &str, line: u64) {
        self.records += 1;
        match self.refused.get_mut(code) {
            Some(known) => known.count += 1,
            None => {
                let first = Refused { count: 1, example: example(detail, file, line) };
                self.refused.insert(code.to_owned(), first);
            }
        }
    }

    /// The same of two files, in the order in which they are read.
    #[must_use]
    pub fn then(mut self, next: Looked) -> Looked {
        self.records += next.records;
        self.times = self.times.then(next.times);
        self.future += next.future;
        self.future_by_ms = self.future_by_ms.max(next.future_by_ms);
        for (code, refused) in next.refused {
            let first = || Refused { count: 0, example: refused.example };
            self.refused.entry(code).or_insert_with(first).count += refused.count;
        }
        self
    }

    /// What is there, in a line; `measured` says whether the lateness is the disorder of the files.
    pub fn told(&self, measured: bool, lateness_ms: i64) -> String {
        let not_taken = self.future + self.refused.values().map(|refused| refused.count).sum::<u64>();
        let mut text = format!("{} records, {not_taken} of them can't be taken", self.records);
        if !self.times.is_empty() {
            let EventTimes { earliest_ms, latest_ms, .. } = self.times;
            let [from, upto] = [earliest_ms, latest_ms].map(format_instant);
            let lateness = if measured { "the most disorder is" } else { "`lateness_ms` is" };
            text.push_str(&format!("; event times from {from} to {upto}; {lateness} {lateness_ms} ms"));
        }
        text
    }

    /// Whether there is something, and none of it is a record that can be taken.
    pub fn takes_nothing(&self) -> bool {
        self.records > 0 && self.times.is_empty()
    }

    /// The commonest reasons for which something is no record, each with an example.
    pub fn reasons(&self) -> Vec<String> {
        let mut reasons: Vec<_> = self.refused.iter().collect();
        reasons.sort_by_key(|(code, refused)| (std::cmp::Reverse(refused.count), (*code).clone()));
        let told = reasons.iter().map(|(code, Refused { count, example })| format!("{code} ({count}): {example}"));
        told.take(REASONS_MAX).collect()
    }

    /// What looks as nobody would have meant it.
    pub fn doubts(&self, source: &str) -> Vec<String> {
        let mut doubts = Vec::new();
        let is_offset = self.future > 0 && self.future_by_ms <= OFFSET_MAX_MS;
        // A record or two with a clock of their own are dead letters like others.
        if is_offset || self.future > self.records / 100 {
            let by = duration(self.future_by_ms);
            let mut text = format!(
                "{} of {} records of source \"{source}\" lie ahead of the clock, by up to {by}, and become dead letters `future`",
                self.future, self.records
            );
            if is_offset {
                let quarters = (self.future_by_ms + QUARTER_HOUR_MS - 1) / QUARTER_HOUR_MS;
                text.push_str(&format!(
                    "; local times of an offset of +{:02}:{:02} would look so: write them with their offset, or in UTC",
                    quarters / 4,
                    quarters % 4 * 15
                ));
            }
            doubts.push(text);
        }
        if !self.times.is_empty() && self.times.earliest_ms < YEAR_1971_MS {
            doubts.push(format!(
                "the event times of source \"{source}\" begin at {}: times are in milliseconds since 1970, and seconds look \
                 like that; of CSV `time_format = \"s\"` reads them",
                format_instant(self.times.earliest_ms)
            ));
        }
        if self.takes_nothing() {
            let reasons: String = self.reasons().iter().map(|reason| format!("\n  {reason}")).collect();
            doubts.push(format!("none of the {} records of source \"{source}\" can be taken{reasons}", self.records));
        }
        doubts
    }
}

/// How long that is, for a person.
fn duration(duration_ms: i64) -> String {
    match duration_ms / 60_000 {
        minutes if minutes < 120 => format!("{} min", minutes.max(1)),
        minutes if minutes < 48 * 60 => format!("{} h", minutes / 60),
        minutes => format!("{} days", minutes / (24 * 60)),
    }
}

fn example(detail: &str, file: &str, line: u64) -> String {
    let mut shown: String =
        detail.chars().take(EXAMPLE_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if detail.chars().nth(EXAMPLE_CHARS_MAX).is_some() {
        shown.push('…');
    }
    format!("{file}, line {line}: {shown}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const START_MS: TimeMs = 1_762_156_800_000;

    fn looked(times: &[TimeMs]) -> Looked {
        let mut looked = Looked::default();
        times.iter().for_each(|time_ms| looked.takes(*time_ms, START_MS, 60_000));
        looked
    }

    #[test]
    fn what_is_meant_raises_no_doubts() {
        assert!(looked(&[START_MS - 1, START_MS + 60_000]).doubts("own").is_empty());
        assert!(looked(&[]).doubts("own").is_empty() && !looked(&[]).takes_nothing());
    }

    #[test]
    fn local_times_and_seconds_are_told_as_what_they_are() {
        let local = looked(&[START_MS, START_MS + 3_599_000]).doubts("pos");
        assert_eq!(local.len(), 1);
        assert!(
            local[0].contains("1 of 2 records of source \"pos\"") && local[0].contains("offset of +01:00"),
            "{local:?}"
        );
        let far = looked(&[START_MS, START_MS + 300 * 86_400_000]).doubts("pos");
        assert!(far[0].contains("by up to 300 days") && !far[0].contains("offset"), "{far:?}");
        let one = [vec![START_MS; 999], vec![START_MS + 300 * 86_400_000]].concat();
        assert!(looked(&one).doubts("pos").is_empty(), "one odd clock of a thousand is a dead letter");
        let seconds = looked(&[1_736_640_000]).doubts("web");
        assert!(seconds[0].contains("1970-01-21") && seconds[0].contains("seconds"), "{seconds:?}");
    }

    #[test]
    fn the_commonest_reasons_come_first_each_with_its_first_example() {
        let mut all = Looked::default();
        for (code, times) in [("not_json", 2), ("unknown_field", 5), ("no_tenant", 1), ("odd", 1)] {
            for line in 1..=times {
                all.refuses(code, &format!("the {line}th\n{}", "x".repeat(400)), "a.ndjson", line);
            }
        }
        let doubts = all.then(Looked::default()).doubts("own");
        let lines: Vec<&str> = doubts[0].lines().collect();
        assert_eq!(lines[0], "none of the 9 records of source \"own\" can be taken");
        assert_eq!(lines.len(), 1 + REASONS_MAX);
        assert!(lines[1].starts_with("  unknown_field (5): a.ndjson, line 1: the 1th x") && lines[1].ends_with('…'));
        assert!(lines[2].starts_with("  not_json (2)") && lines[3].starts_with("  no_tenant (1)"), "{lines:?}");
    }
}
