//! Sealed rows only: what a sink with `sink = "sealed"` receives of a minute view.
//!
//! A sealed row changes only by a correction, so each minute is written once. Provisional changes are held until the
//! watermark has passed the end of their minute; what comes later (retention's retractions) goes through as it is.

use std::collections::BTreeMap;

use operators::time::{MINUTE_MS, TimeMs};

use crate::views::Row;

/// The rows of one shard that are not sealed.
#[derive(Debug, Default)]
pub struct Sealing {
    held: BTreeMap<(TimeMs, Row), i64>,
}

impl Sealing {
    /// Takes a tick's changes and gives those that are sealed, in canonical order. `watermark_of` is `W` of a tenant.
    pub fn tick(&mut self, changes: &[(Row, i64)], watermark_of: impl Fn(&str) -> TimeMs) -> Vec<(Row, i64)> {
        let mut sealed = BTreeMap::new();
        for (row, diff) in changes {
            let Some((_, minute_ms)) = minute_of(row) else { continue };
            let rows = self.held.entry((minute_ms, row.clone())).or_default();
            *rows += *diff;
        }
        self.held.retain(|(minute_ms, row), diff| {
            let Some((tenant, _)) = minute_of(row).filter(|_| *diff != 0) else { return false };
            let is_sealed = watermark_of(tenant) >= minute_ms.saturating_add(MINUTE_MS);
            if is_sealed {
                sealed.insert(row.clone(), *diff);
            }
            !is_sealed
        });
        sealed.into_iter().collect()
    }
}

/// The tenant and minute of a minute view's row.
fn minute_of(row: &Row) -> Option<(&str, TimeMs)> {
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
