//! Rows of every view, for tests of whatever shows them; and views with a few rows in them, for the tests of this module.

#[cfg(test)]
use serde_json::Value;

use operators::index::HistoryBounds;
use operators::time::TimeMs;

use crate::experiment::event::EventKind;
use crate::inventory::fact::StockState;
use crate::names::Name;
#[cfg(test)]
use crate::serve::{Request, Views, answer};
use crate::views::{
    Availability, DeadLetter, LateEvent, Measures, Moments, Reason, Row, SessionMinute, SourceHealth, Stock,
    VariantMinute, VariantTotal, View,
};

/// A history that forgets nothing in a test.
pub const WIDE: HistoryBounds = HistoryBounds { ticks_max: 1_000, bytes_max: 1 << 20 };

/// Ticks 0 to 3, a second each; each but the first brings a row of `stock`. `late_events` is not enabled.
#[cfg(test)]
pub(crate) fn views() -> Views {
    let enabled: Vec<View> = View::ALL.into_iter().filter(|view| *view != View::LateEvents).collect();
    let mut views = Views::new(&enabled, WIDE);
    for tick in 0..4 {
        let rows = if tick > 0 { vec![(stock(tick), 1)] } else { vec![] };
        views.apply_tick(tick, tick as i64 * 1_000, vec![(View::Stock, rows)], vec![]).unwrap();
    }
    views
}

#[cfg(test)]
pub(crate) fn ask(views: &Views, path: &str, query: &[(&str, &str)]) -> (u16, Value) {
    ask_at(views, path, query, None)
}

#[cfg(test)]
pub(crate) fn ask_at(views: &Views, path: &str, query: &[(&str, &str)], at_ms: Option<TimeMs>) -> (u16, Value) {
    let query = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let response = answer(views, &Request { path: path.to_owned(), query, at_ms });
    (response.status, serde_json::from_str(&response.body).unwrap())
}

/// A row of `stock`; each number is another SKU.
pub fn stock(number: u64) -> Row {
    Row::Stock(Stock {
        tenant: Name::new("north"),
        sku: Name::new(format!("sku-{number}")),
        node: Name::new("n1"),
        state: StockState::Sellable,
        book: Some(3),
        lo: Some(2),
        hi: Some(4),
        variance: Some(0),
        anchor_ms: Some(0),
        rebase_pending: false,
        in_doubt: false,
    })
}

/// A row of `availability`, available if there is any.
pub fn available(tenant: &str, sku: &str, node: &str, quantity: i64, fresh_through_ms: Option<TimeMs>) -> Row {
    Row::Availability(Availability {
        tenant: Name::new(tenant),
        sku: Name::new(sku),
        node: Name::new(node),
        available: quantity > 0,
        reason: if quantity > 0 { Reason::InStock } else { Reason::OutOfStock },
        quantity,
        fresh_through_ms,
    })
}

/// Any row of that view.
pub fn one_row_of(view: View) -> Row {
    let name = |text: &str| Name::new(text);
    let (tenant, partition) = (name("north"), name("events-0"));
    match view {
        View::SessionMinutes => Row::SessionMinute(SessionMinute {
            tenant,
            session: name("session"),
            unit: name("unit"),
            minute_ms: 0,
            measures: Measures::default(),
        }),
        View::VariantMinutes => Row::VariantMinute(VariantMinute {
            tenant,
            experiment: name("checkout"),
            variant: name("blue"),
            minute_ms: 0,
            sessions_active: 1,
            sessions_started: 1,
            measures: Measures::default(),
        }),
        View::VariantTotals => Row::VariantTotal(Box::new(VariantTotal {
            tenant,
            experiment: name("checkout"),
            variant: name("blue"),
            units: 4,
            units_overflowed: 0,
            sums: Moments { value: 10, ..Moments::default() },
            squares: Moments { value: 30, ..Moments::default() },
        })),
        View::LateEvents => Row::LateEvent(Box::new(LateEvent {
            partition,
            offset: 7,
            tenant,
            id: name("id"),
            session: name("session"),
            unit: name("unit"),
            kind: EventKind::Click,
            event_time_ms: 0,
            value: 0,
            quantity: 0,
            item: name("item"),
        })),
        View::DeadLetters => Row::DeadLetter(Box::new(DeadLetter {
            partition,
            offset: 8,
            file: name("events.ndjson"),
            line: 9,
            code: name("future"),
            detail: "it is not yet".to_owned(),
            raw: "e30=".to_owned(),
        })),
        View::SourceHealth => Row::SourceHealth(Box::new(SourceHealth {
            partition,
            next_offset: 10,
            status: name("ended"),
            read: 10,
            on_time: 6,
            late: 2,
            duplicate: 1,
            dead_letters: 1,
            too_old: 0,
            without_unit: 0,
            watermark_ms: Some(0),
        })),
        View::Stock => stock(1),
        View::Availability => available("north", "milk", "n1", 5, Some(10_000)),
    }
}
