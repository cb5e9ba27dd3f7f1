//! History: the sealed minutes of `variant_minutes`, kept in files for longer than any view.
//!
//! A file holds every row that was sealed in the ticks `lower..upper`, and is made of them alone: it ends at the first tick
//! whose `now` lies in another `file_ms`, behind the tick in which it came to hold `rows_max` rows, or with the last
//! tick in which anything could be sealed. No clock, no checkpoint and no restart moves a boundary, so a run that is killed and goes on
//! writes the files that it would have written, to the byte.
//!
//! # After a restart
//!
//! The newest file says through which event time each tenant was sealed at its last tick. By that alone a row is known to
//! lie in a file or in none: it is sealed once, at the tick at which the watermark passes its minute. So it does not matter
//! whether the ticks come again one by one, or a checkpoint gives their sum: the view's rows as of a later tick, among them
//! those of the file that was not yet complete. Only a row that has left the view meanwhile would be missed there, and that
//! is why [`Keeping::needed_from`] asks for the ticks before it left, until the file is written.
//!
//! A minute whose last change and whose retention fall into one tick is never seen sealed, neither here nor by a sealed
//! sink: keep the view's `retention_ms` longer than the watermark may jump.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use operators::time::{MINUS_INFINITY, MINUTE_MS, PLUS_INFINITY, Tick, TimeMs};

use crate::experiment::variant_minutes::{VariantMinute, VariantMinutes};
use crate::names::Name;
use crate::view::Columns;
use crate::view::sealing::Sealing;

/// The folder of the files, below that of the run.
pub const FOLDER: &str = "variant_minutes";

/// Where files end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boundaries {
    /// A file ends where `now` enters another multiple of this.
    pub file_ms: i64,
    /// A file ends behind the tick in which it came to hold so many rows.
    pub rows_max: usize,
}

/// What is in files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The first tick that is in none.
    pub upper: Tick,
    /// Through which event time each tenant was sealed at the last tick before it; nothing of those that are not named.
    pub sealed_through: BTreeMap<Name, TimeMs>,
}

impl Written {
    /// Whether a row, which is sealed, is in a file.
    fn has(&self, row: &VariantMinute) -> bool {
        let sealed_through = self.sealed_through.get(&row.tenant).copied().unwrap_or(MINUS_INFINITY);
        row.minute_ms.saturating_add(MINUTE_MS) <= sealed_through
    }
}

/// A file that is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Its first tick.
    pub lower: Tick,
    /// In canonical order.
    pub rows: Vec<VariantMinute>,
    /// What is in files once this one is written.
    pub written: Written,
}

impl Closed {
    /// What a run begins with: a file of no ticks, which says that everything since the first one is kept.
    pub fn beginning() -> Closed {
        Closed { lower: 0, rows: Vec::new(), written: Written::default() }
    }

    /// Its name.
    pub fn name(&self) -> FileName {
        let minutes = || self.rows.iter().map(|row| row.minute_ms);
        FileName {
            lower: self.lower,
            upper: self.written.upper,
            first_minute_ms: minutes().min().unwrap_or(0),
            last_minute_ms: minutes().max().unwrap_or(0),
        }
    }
}

/// The name of a file, from which one knows whether to look into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileName {
    /// Its first tick.
    pub lower: Tick,
    /// The tick after its last one.
    pub upper: Tick,
    /// Its least minute; 0 where it has no rows.
    pub first_minute_ms: TimeMs,
    /// Its greatest minute.
    pub last_minute_ms: TimeMs,
}

impl std::fmt::Display for FileName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let FileName { lower, upper, first_minute_ms, last_minute_ms } = self;
        write!(formatter, "{lower:020}-{upper:020}-{first_minute_ms:015}-{last_minute_ms:015}.parquet")
    }
}

impl FileName {
    /// The name, if it is one.
    pub fn parse(name: &str) -> Option<FileName> {
        let parts: Vec<&str> = name.strip_suffix(".parquet")?.split('-').collect();
        let [lower, upper, first, last] = parts[..] else { return None };
        let parsed = FileName {
            lower: lower.parse().ok()?,
            upper: upper.parse().ok()?,
            first_minute_ms: first.parse().ok()?,
            last_minute_ms: last.parse().ok()?,
        };
        let ascends = parsed.lower <= parsed.upper && parsed.first_minute_ms <= parsed.last_minute_ms;
        (ascends && parsed.to_string() == name).then_some(parsed)
    }

    /// Whether a minute in `from_ms..upto_ms` may be in it.
    pub fn overlaps(&self, from_ms: TimeMs, upto_ms: TimeMs) -> bool {
        self.lower < self.upper && self.first_minute_ms < upto_ms && self.last_minute_ms >= from_ms
    }
}

/// A complete tick, as far as it concerns history.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// The tick.
    pub tick: Tick,
    /// Its time.
    pub now_ms: TimeMs,
    /// `W` of each tenant's events, of those that any source feeds.
    pub watermarks: &'a BTreeMap<Name, TimeMs>,
}

/// Puts sealed rows into files.
#[derive(Debug)]
pub struct Keeping {
    boundaries: Boundaries,
    sealing: Sealing<VariantMinutes>,
    written: Written,
    /// The rows that are sealed and in no file that is complete.
    rows: BTreeSet<VariantMinute>,
    /// Which multiple of `file_ms` it was at the last tick.
    window: Option<i64>,
    /// The first tick in which one of the rows left the view.
    left_at: Option<Tick>,
    watermarks: BTreeMap<Name, TimeMs>,
}

impl Keeping {
    /// Goes on behind what is written.
    pub fn new(boundaries: Boundaries, written: Written, columns: Arc<Columns<VariantMinute>>) -> Self {
        Keeping {
            boundaries,
            sealing: Sealing::new(columns),
            written,
            rows: BTreeSet::new(),
            window: None,
            left_at: None,
            watermarks: BTreeMap::new(),
        }
    }

    /// Takes the changes of `variant_minutes` in a tick, all shards; gives the files that are complete with it, in order.
    pub fn tick(&mut self, at: Moment<'_>, changes: &[(VariantMinute, i64)]) -> Vec<Closed> {
        let mut closed = Vec::new();
        let window = at.now_ms.div_euclid(self.boundaries.file_ms);
        if self.window.replace(window).is_some_and(|before| before < window) && !self.rows.is_empty() {
            closed.push(self.close(at.tick));
        }
        if self.watermarks != *at.watermarks {
            self.watermarks.clone_from(at.watermarks);
        }
        let watermark_of = |tenant: &str| at.watermarks.get(tenant).copied().unwrap_or(MINUS_INFINITY);
        for (row, diff) in self.sealing.tick(changes, watermark_of) {
            if self.written.has(&row) {
                continue;
            }
            if diff > 0 {
                self.rows.insert(row);
            } else if self.rows.contains(&row) {
                self.left_at.get_or_insert(at.tick);
            }
        }
        let is_last = at.watermarks.values().all(|watermark_ms| *watermark_ms == PLUS_INFINITY);
        if !self.rows.is_empty() && (is_last || self.rows.len() >= self.boundaries.rows_max) {
            closed.push(self.close(at.tick + 1));
        }
        closed
    }

    fn close(&mut self, upper: Tick) -> Closed {
        let known = self.watermarks.iter().filter(|(_, watermark_ms)| **watermark_ms > MINUS_INFINITY);
        let sealed_through = known.map(|(tenant, watermark_ms)| (tenant.clone(), *watermark_ms)).collect();
        let lower = std::mem::replace(&mut self.written, Written { upper, sealed_through }).upper;
        self.left_at = None;
        Closed { lower, rows: std::mem::take(&mut self.rows).into_iter().collect(), written: self.written.clone() }
    }

    /// The rows of an experiment that are sealed and in no file that is complete.
    pub fn rows_of<'a>(&'a self, tenant: &'a str, experiment: &'a str) -> impl Iterator<Item = &'a VariantMinute> {
        let first = VariantMinute {
            tenant: Name::new(tenant),
            experiment: Name::new(experiment),
            variant: Name::default(),
            minute_ms: MINUS_INFINITY,
            sessions_active: i64::MIN,
            sessions_started: i64::MIN,
            measures: Default::default(),
        };
        let of = move |row: &&VariantMinute| row.tenant == tenant && row.experiment == experiment;
        self.rows.range(first..).take_while(of)
    }

    /// The first tick that would be needed again after a restart, once every file that is complete is written; none, where
    /// any checkpoint will do.
    pub fn needed_from(&self) -> Option<Tick> {
        self.left_at
    }
}

#[cfg(test)]
mod tests;
