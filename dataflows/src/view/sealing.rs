//! Sealed rows only: what a sink with `sink = "sealed"` and the history receive of a minute view.
//!
//! A sealed row changes only by a correction, so each minute is written once. Provisional changes are held until the
//! watermark has passed the end of their minute; what comes later (retention's retractions) goes through as it is.
//! A tick costs what it changes and what it seals: the rest of what is held is not looked at.

use std::collections::BTreeMap;
use std::sync::Arc;

use operators::time::{MINUTE_MS, TimeMs};

use super::changes::rows_of;
use super::{Cell, ChangeList, Columns, Listed, View};
use crate::names::Name;

/// The rows of one shard that are not sealed.
#[derive(Debug)]
pub struct Sealing<V: View> {
    columns: Arc<Columns<V::Row>>,
    /// By tenant, then by minute.
    held: BTreeMap<Name, BTreeMap<TimeMs, BTreeMap<V::Row, i64>>>,
}

impl<V: View> Sealing<V> {
    /// Before the first tick.
    pub fn new(columns: Arc<Columns<V::Row>>) -> Self {
        Sealing { columns, held: BTreeMap::new() }
    }

    /// Takes a tick's changes and gives those that are sealed, in canonical order. `watermark_of` is `W` of a tenant.
    pub fn tick(&mut self, changes: &[(V::Row, i64)], watermark_of: impl Fn(&str) -> TimeMs) -> Vec<(V::Row, i64)> {
        let Sealing { columns, held } = self;
        for (row, diff) in changes {
            let Some((tenant, minute_ms)) = minute_of(columns, row) else { continue };
            if !held.contains_key(tenant) {
                held.insert(Name::new(tenant), BTreeMap::new());
            }
            let minutes = held.get_mut(tenant).expect("it was inserted if it was not there");
            *minutes.entry(minute_ms).or_default().entry(row.clone()).or_default() += *diff;
        }
        let mut sealed = BTreeMap::new();
        for (tenant, minutes) in held.iter_mut() {
            let watermark_ms = watermark_of(tenant);
            while let Some(minute) = minutes.first_entry()
                && watermark_ms >= minute.key().saturating_add(MINUTE_MS)
            {
                sealed.extend(minute.remove().into_iter().filter(|(_, diff)| *diff != 0));
            }
        }
        // Of a minute that is not sealed only what is there is worth its place.
        for (row, _) in changes {
            let Some((tenant, minute_ms)) = minute_of(columns, row) else { continue };
            if let Some(rows) = held.get_mut(tenant).and_then(|minutes| minutes.get_mut(&minute_ms))
                && rows.get(row) == Some(&0)
            {
                rows.remove(row);
            }
        }
        sealed.into_iter().collect()
    }
}

/// The tenant and minute of a minute view's row.
fn minute_of<'a, R>(columns: &Columns<R>, row: &'a R) -> Option<(&'a str, TimeMs)> {
    match (columns.tenant()?.cell(row), columns.minute()?.cell(row)) {
        (Cell::Text(tenant), Cell::Time(minute_ms)) => Some((tenant, minute_ms)),
        _ => None,
    }
}

/// [`Sealing`] of a view whose rows are not known.
pub trait AnySealing: Send + std::fmt::Debug {
    /// Takes a tick's changes and gives those that are sealed, in canonical order.
    fn tick(&mut self, changes: Option<&dyn ChangeList>, watermark_of: &dyn Fn(&str) -> TimeMs) -> Box<dyn ChangeList>;
}

impl<V: Listed> AnySealing for Sealing<V> {
    fn tick(&mut self, changes: Option<&dyn ChangeList>, watermark_of: &dyn Fn(&str) -> TimeMs) -> Box<dyn ChangeList> {
        Box::new(Sealing::tick(self, changes.map_or(&[], rows_of::<V>), watermark_of))
    }
}
