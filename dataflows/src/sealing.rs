//! Sealed rows only: what a sink with `sink = "sealed"` and the history receive of a minute view.
//!
//! A sealed row changes only by a correction, so each minute is written once. Provisional changes are held until the
//! watermark has passed the end of their minute; what comes later (retention's retractions) goes through as it is.
//! A tick costs what it changes and what it seals: the rest of what is held is not looked at.

use std::collections::BTreeMap;

use operators::time::{MINUTE_MS, TimeMs};

use crate::names::Name;
use crate::views::Row;

/// The rows of one shard that are not sealed.
#[derive(Debug, Default)]
pub struct Sealing {
    /// By tenant, then by minute.
    held: BTreeMap<Name, BTreeMap<TimeMs, BTreeMap<Row, i64>>>,
}

impl Sealing {
    /// Takes a tick's changes and gives those that are sealed, in canonical order. `watermark_of` is `W` of a tenant.
    pub fn tick(&mut self, changes: &[(Row, i64)], watermark_of: impl Fn(&str) -> TimeMs) -> Vec<(Row, i64)> {
        for (row, diff) in changes {
            let Some((tenant, minute_ms)) = minute_of(row) else { continue };
            if !self.held.contains_key(tenant) {
                self.held.insert(tenant.clone(), BTreeMap::new());
            }
            let minutes = self.held.get_mut(tenant).expect("it was inserted if it was not there");
            *minutes.entry(minute_ms).or_default().entry(row.clone()).or_default() += *diff;
        }
        let mut sealed = BTreeMap::new();
        for (tenant, minutes) in &mut self.held {
            let watermark_ms = watermark_of(tenant);
            while let Some(minute) = minutes.first_entry()
                && watermark_ms >= minute.key().saturating_add(MINUTE_MS)
            {
                sealed.extend(minute.remove().into_iter().filter(|(_, diff)| *diff != 0));
            }
        }
        // Of a minute that is not sealed only what is there is worth its place.
        for (row, _) in changes {
            let Some((tenant, minute_ms)) = minute_of(row) else { continue };
            if let Some(rows) = self.held.get_mut(tenant).and_then(|minutes| minutes.get_mut(&minute_ms))
                && rows.get(row) == Some(&0)
            {
                rows.remove(row);
            }
        }
        sealed.into_iter().collect()
    }
}

/// The tenant and minute of a minute view's row.
fn minute_of(row: &Row) -> Option<(&Name, TimeMs)> {
    match row {
        Row::SessionMinute(row) => Some((&row.tenant, row.minute_ms)),
        Row::VariantMinute(row) => Some((&row.tenant, row.minute_ms)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::{Measures, VariantMinute};

    fn row(minute: i64, sessions_active: i64) -> Row {
        let name = |text: &str| text.into();
        Row::VariantMinute(VariantMinute {
            tenant: name("shop"),
            experiment: name("button"),
            variant: name("control"),
            minute_ms: minute * MINUTE_MS,
            sessions_active,
            sessions_started: 0,
            measures: Measures::default(),
        })
    }

    /// Provisional changes of a minute come out as one row, once its minute is sealed; retractions of sealed rows go through.
    #[test]
    fn a_minute_is_written_once() {
        let mut sealing = Sealing::default();
        assert_eq!(sealing.tick(&[(row(1, 1), 1)], |_| 0), []);
        assert_eq!(sealing.tick(&[(row(1, 1), -1), (row(1, 2), 1), (row(2, 7), 1)], |_| 2 * MINUTE_MS - 1), []);
        assert_eq!(sealing.tick(&[], |_| 2 * MINUTE_MS), [(row(1, 2), 1)]);
        assert_eq!(sealing.tick(&[(row(1, 2), -1)], |_| 3 * MINUTE_MS), [(row(1, 2), -1), (row(2, 7), 1)]);
    }
}
