//! Views with a few rows in them, and questions asked of them: for the tests of whoever reads or shows views.

use std::collections::BTreeMap;

use serde_json::Value;

use operators::index::HistoryBounds;
use operators::time::TimeMs;

use crate::answer::{Request, Views, answer};
use crate::configuration::Recorded;
use crate::experiment::late_events::LateEvents;
use crate::inventory::availability::{AvailabilityRow, Reason};
use crate::inventory::stock::{Stock, StockRow};
use crate::names::Name;
use crate::view::shelf::Store;
use crate::view::{ChangeList, Codecs, Listed, View, ViewId};

/// Bounds that no test meets.
pub const WIDE: HistoryBounds = HistoryBounds { ticks_max: 1_000, bytes_max: 1 << 20 };

/// All views, each of them enabled.
pub fn all_views(bounds: HistoryBounds) -> Views {
    Views::new(Codecs::new(&Recorded::default()), &ViewId::all().collect::<Vec<_>>(), bounds)
}

/// The changes of a view.
pub fn changes<V: Listed>(rows: Vec<(V::Row, i64)>) -> (ViewId, Box<dyn ChangeList>) {
    (V::ID, Box::new(rows))
}

/// The view's example comes.
pub fn one_row<V: Listed>() -> (ViewId, Box<dyn ChangeList>) {
    changes::<V>(vec![(V::example(), 1)])
}

/// The published rows of a view as JSON.
pub fn rows_as_text<V: Listed>(views: &Views) -> BTreeMap<String, i64> {
    let shelf = views.shelf::<V>();
    let published = shelf.store().published().expect("something is published");
    let rows = shelf.store().at(published).expect("the published tick can be read");
    rows.iter().map(|(row, copies)| (shelf.columns().json(row), copies)).collect()
}

/// Ticks 0 to 3, a second each; each but the first brings a row of `stock`. `late_events` is not enabled.
pub fn views() -> Views {
    let enabled: Vec<ViewId> = ViewId::all().filter(|view| *view != LateEvents::ID).collect();
    let mut views = Views::new(Codecs::new(&Recorded::default()), &enabled, WIDE);
    for tick in 0..4 {
        let rows = if tick > 0 { vec![(stock(tick), 1)] } else { vec![] };
        views.apply_tick(tick, tick as i64 * 1_000, vec![changes::<Stock>(rows)], vec![]).expect("these rows can come");
    }
    views
}

/// The answer to a question: its status and its object.
pub fn ask(views: &Views, path: &str, query: &[(&str, &str)]) -> (u16, Value) {
    ask_at(views, path, query, None)
}

/// The same for somebody who has a clock.
pub fn ask_at(views: &Views, path: &str, query: &[(&str, &str)], at_ms: Option<TimeMs>) -> (u16, Value) {
    let query = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let response = answer(views, &Request { path: path.to_owned(), query, at_ms });
    (response.status, serde_json::from_str(&response.body).expect("an answer is an object"))
}

/// A row of `stock`; each number is another SKU.
pub fn stock(number: u64) -> StockRow {
    StockRow { sku: Name::new(format!("sku-{number}")), ..Stock::example() }
}

/// A row of `availability`, available if there is any.
pub fn available(
    tenant: &str,
    sku: &str,
    node: &str,
    quantity: i64,
    fresh_through_ms: Option<TimeMs>,
) -> AvailabilityRow {
    AvailabilityRow {
        tenant: Name::new(tenant),
        sku: Name::new(sku),
        node: Name::new(node),
        available: quantity > 0,
        reason: if quantity > 0 { Reason::InStock } else { Reason::OutOfStock },
        quantity,
        fresh_through_ms,
    }
}
