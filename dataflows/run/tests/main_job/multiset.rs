//! What somebody has who only adds up changes: a multiset of rows, each the bytes that came. An insertion and its retraction
//! cancel only if their bytes are the same, so a count that falls below zero says that they were not.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A row's text.
pub(crate) type RowText = String;

/// The changes of one view, in the order in which they came, as far as a progress has passed them.
#[derive(Debug, Default)]
pub(crate) struct ChangeLog {
    changes: Vec<(u64, i64, RowText)>,
    /// Behind the last progress.
    pending: Vec<(u64, i64, RowText)>,
    /// The first tick that is not complete.
    upper: u64,
}

impl ChangeLog {
    /// Takes the lines of a change file, the values of messages or the frames of a subscription.
    pub(crate) fn take(&mut self, lines: impl IntoIterator<Item = impl AsRef<str>>) {
        for line in lines {
            let line = line.as_ref();
            if let Some(change) = change_of(line) {
                self.pending.push(change);
            } else if let Some(upper) = number_behind(line, "{\"progress\":") {
                assert!(upper >= self.upper, "a progress that falls: {line}");
                self.upper = upper;
                self.changes.append(&mut self.pending);
            } else if line.starts_with("{\"disconnected\":") {
                // Rows behind the last progress come again.
                self.pending.clear();
            } else {
                assert!(line.starts_with("{\"snapshot\":") || line.starts_with("{\"columns\":"), "{line}");
            }
        }
    }

    /// Takes messages, each of which is committed: a consumer sees no progress among them.
    pub(crate) fn take_committed(&mut self, values: impl IntoIterator<Item = Vec<u8>>) {
        for value in values {
            let text = String::from_utf8(value).unwrap();
            self.changes.push(change_of(&text).unwrap_or_else(|| panic!("{text}")));
        }
    }

    /// The first tick that is not complete.
    pub(crate) fn upper(&self) -> u64 {
        self.upper
    }

    /// The first tick that changed anything.
    pub(crate) fn first_tick(&self) -> Option<u64> {
        self.changes.first().map(|(tick, ..)| *tick)
    }

    /// How many retractions came.
    pub(crate) fn retractions(&self) -> usize {
        self.changes.iter().filter(|(_, diff, _)| *diff < 0).count()
    }

    /// The rows as of a tick, with how often each is there. At the end of no tick is any there less often than never.
    #[track_caller]
    pub(crate) fn rows_at(&self, tick: u64) -> BTreeMap<RowText, i64> {
        let mut rows = BTreeMap::new();
        let mut before = 0;
        for (at, diff, row) in self.changes.iter().take_while(|(at, ..)| *at <= tick) {
            assert!(*at >= before, "ticks ascend");
            before = *at;
            let copies = rows.entry(row.clone()).or_insert(0);
            *copies += diff;
            assert!(*copies >= 0, "tick {at} takes back what was never there: {row}");
            if *copies == 0 {
                rows.remove(row);
            }
        }
        rows
    }

    /// The rows in the end.
    #[track_caller]
    pub(crate) fn rows(&self) -> BTreeMap<RowText, i64> {
        self.rows_at(u64::MAX)
    }
}

/// What the change files of a view say, all shards together: rows of two shards never meet.
pub(crate) fn change_files(data: &Path, view: &str) -> Vec<ChangeLog> {
    let folder = data.join("sinks").join(view);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = files.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let logs = paths.iter().map(|path| {
        let mut log = ChangeLog::default();
        log.take(fs::read_to_string(path).unwrap().lines());
        assert!(log.pending.is_empty(), "{} ends within a tick", path.display());
        log
    });
    logs.collect()
}

/// The rows of several shards as of a tick.
#[track_caller]
pub(crate) fn rows_of_shards(shards: &[ChangeLog], tick: u64) -> BTreeMap<RowText, i64> {
    let mut rows = BTreeMap::new();
    for shard in shards {
        for (row, copies) in shard.rows_at(tick) {
            assert!(rows.insert(row.clone(), copies).is_none(), "a row lies in two shards: {row}");
        }
    }
    rows
}

/// `{"tick":7,"diff":-1,"row":{..}}`: the row stays the bytes that it is.
fn change_of(line: &str) -> Option<(u64, i64, RowText)> {
    let (tick, rest) = line.strip_prefix("{\"tick\":")?.split_once(",\"diff\":")?;
    let (diff, row) = rest.split_once(",\"row\":")?;
    Some((tick.parse().ok()?, diff.parse().ok()?, row.strip_suffix('}')?.to_owned()))
}

fn number_behind(line: &str, prefix: &str) -> Option<u64> {
    let digits: String = line.strip_prefix(prefix)?.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}
