//! Listings: which tick, which rows, and what is said where there is none.

use operators::index::HistoryBounds;

use super::*;
use crate::answer::subscribe::RunId;
use crate::answer::testing::{WIDE, all_views, ask, changes, one_row, stock, views};
use crate::dead_letters::{DeadLetter, DeadLetters};
use crate::experiment::variant_minutes::{VariantMinute, VariantMinutes};
use crate::experiment::variant_totals::VariantTotals;
use crate::inventory::fact::StockState;
use crate::inventory::stock::{Stock, StockRow};
use crate::view::shelf::{Bounds, Listing};
use crate::view::{Listed, View};

fn tick_and_count(query: &[(&str, &str)]) -> (u64, u64) {
    let (status, body) = ask(&views(), "/v1/views/stock", query);
    assert_eq!(status, 200, "{body}");
    assert_eq!(body["rows"].as_array().unwrap().len() as u64, body["count"].as_u64().unwrap());
    (body["tick"].as_u64().unwrap(), body["count"].as_u64().unwrap())
}

fn refusal(path: &str, query: &[(&str, &str)]) -> (u16, String, String) {
    let (status, body) = ask(&views(), path, query);
    let text = |name: &str| body["error"][name].as_str().unwrap().to_owned();
    (status, text("code"), text("message"))
}

#[test]
fn the_list_names_all_views() {
    let (status, body) = ask(&views(), "/v1/views", &[]);
    assert_eq!((status, body["frontier"].as_u64()), (200, Some(4)));
    let stock = body["views"].as_array().unwrap().iter().find(|view| view["name"] == "stock").unwrap();
    assert_eq!((stock["rows"].as_u64(), stock["published"].as_u64()), (Some(3), Some(3)));
    assert_eq!(stock["oldest_readable"], 0);
    let late = body["views"].as_array().unwrap().iter().find(|view| view["name"] == "late_events").unwrap();
    assert_eq!(late["enabled"], false);
}

#[test]
fn rows_are_read_as_of_ticks_and_times() {
    assert_eq!(tick_and_count(&[]), (3, 3));
    assert_eq!(tick_and_count(&[("as_of", "3")]), (3, 3));
    assert_eq!(tick_and_count(&[("as_of", "1")]), (1, 1));
    assert_eq!(tick_and_count(&[("as_of_ms", "2999")]), (2, 2));
    assert_eq!(tick_and_count(&[("as_of", "1970-01-01T00:00:01Z")]), (1, 1));
    assert_eq!(tick_and_count(&[("as_of", "1970-01-01T01:00:01 01:00")]), (1, 1), "as + arrives unescaped");
    assert_eq!(tick_and_count(&[("limit", "2")]), (3, 2));
    assert_eq!(tick_and_count(&[("sku", "sku-2"), ("tenant", "north")]), (3, 1));
    assert_eq!(tick_and_count(&[("state", "damaged")]), (3, 0));
    let (_, body) = ask(&views(), "/v1/views/stock", &[("limit", "3")]);
    assert_eq!(body["truncated"], false);
    let (_, body) = ask(&views(), "/v1/views/stock", &[("limit", "1")]);
    assert_eq!((&body["truncated"], &body["rows"][0]["sku"]), (&json!(true), &json!("sku-1")));
}

#[test]
fn what_cannot_be_read_says_what_can() {
    let (status, code, message) = refusal("/v1/views/stocks", &[]);
    assert_eq!((status, code.as_str()), (404, "unknown_view"));
    assert!(message.contains("availability") && message.contains("source_health"), "{message}");
    assert_eq!(refusal("/v1/views/late_events", &[]).1, "view_disabled");
    let (status, code, message) = refusal("/v1/views/stock", &[("as_of", "4")]);
    assert_eq!((status, code.as_str()), (404, "not_yet_published"));
    assert!(message.contains("newest is 3"), "{message}");
    assert_eq!(refusal("/v1/views/stock", &[("as_of_ms", "3001")]).1, "not_yet_published");
    for query in [("as_of", "yesterday"), ("limit", "-1"), ("limit", "100001"), ("colour", "red"), ("book", "1")] {
        assert_eq!(refusal("/v1/views/stock", &[query]).0, 400, "{query:?}");
    }
    assert_eq!(refusal("/v1/views/stock", &[("as_of", "1"), ("as_of_ms", "1")]).0, 400);
    assert_eq!(refusal("/v1/views/stock", &[("sku", "a"), ("sku", "b")]).0, 400);
}

#[test]
fn what_lies_before_history_is_gone() {
    let mut views = all_views(HistoryBounds { ticks_max: 1, ..WIDE });
    for tick in 0..5 {
        views.apply_tick(tick, tick as i64 * 1_000, vec![changes::<Stock>(vec![(stock(tick), 1)])], vec![]).unwrap();
    }
    for query in [("as_of", "2"), ("as_of_ms", "2999")] {
        let (status, body) = ask(&views, "/v1/views/stock", &[query]);
        assert_eq!((status, body["error"]["code"].as_str()), (410, Some("gone")));
        assert!(body["error"]["message"].as_str().unwrap().contains("tick is 3"), "{body}");
    }
    assert_eq!(ask(&views, "/v1/views/stock", &[("as_of_ms", "3000")]).1["tick"], 3);
}

#[test]
fn totals_have_their_readout() {
    let mut views = all_views(WIDE);
    views.apply_tick(0, 0, vec![one_row::<VariantTotals>()], vec![]).unwrap();
    let (_, body) = ask(&views, "/v1/views/variant_totals", &[]);
    let row = &body["rows"][0];
    assert_eq!((&row["units"], &row["readout"]["value"]["mean"]), (&json!(4), &json!(2.5)));
    views.apply_tick(1, 0, vec![one_row::<Stock>()], vec![]).unwrap();
    assert_eq!(ask(&views, "/v1/views/stock", &[]).1["rows"][0].get("readout"), None);
}

/// A listing by the first columns of the key looks at no other row, whatever else it asks for.
#[test]
fn a_prefix_of_the_key_looks_at_its_rows_only() {
    let mut views = all_views(WIDE);
    let rows = (0..200).map(|number| (stock(number), 1)).collect();
    views.apply_tick(0, 0, vec![changes::<Stock>(rows)], vec![]).unwrap();
    views.apply_tick(1, 0, vec![changes::<Stock>(vec![(stock(7), -1), (stock(900), 1)])], vec![]).unwrap();
    let bounds = Bounds { rows_max: 1_000, bytes_max: 1 << 20 };
    let list = |tick, filters: &[(&str, &str)]| {
        views.shelf_of(ViewId::of::<Stock>()).list(tick, filters, None, bounds).unwrap()
    };
    let counts = |listing: Listing| (listing.count, listing.looked_at);
    assert_eq!(counts(list(1, &[("tenant", "north"), ("sku", "sku-9")])), (1, 1));
    assert_eq!(counts(list(1, &[("tenant", "north"), ("sku", "sku-7")])), (0, 0));
    assert_eq!(counts(list(0, &[("tenant", "north"), ("sku", "sku-7")])), (1, 1), "as of the tick before");
    assert_eq!(counts(list(0, &[("tenant", "north"), ("sku", "sku-900")])), (0, 0));
    assert_eq!(counts(list(1, &[("sku", "sku-9"), ("state", "sellable"), ("tenant", "north")])), (1, 1));
    assert_eq!(counts(list(1, &[("sku", "sku-9")])), (1, 200), "without the tenant there is no prefix");
    assert_eq!(counts(list(1, &[("tenant", "north"), ("node", "n2")])), (0, 200));
    assert_eq!(counts(list(1, &[("tenant", "south")])), (0, 0));
}

/// Rows of a view that are alike in much: names, states, numbers below 0, times; some of them twice.
fn rows_of_all_kinds(views: &mut Views) {
    let stock = (0..40).map(|number: u64| {
        let state = [StockState::Sellable, StockState::Damaged][number as usize % 2];
        (StockRow { state, book: Some(number as i64 / 4), ..stock(number / 4) }, 1 + number as i64 % 3)
    });
    let letters = (0..20).map(|number| (DeadLetter { offset: number / 2, line: number, ..DeadLetters::example() }, 1));
    let minutes =
        (-10..10).map(|number| (VariantMinute { minute_ms: number * 60_000, ..VariantMinutes::example() }, 2));
    let changes = vec![
        changes::<Stock>(stock.collect()),
        changes::<DeadLetters>(letters.collect()),
        changes::<VariantMinutes>(minutes.collect()),
    ];
    views.apply_tick(0, 0, changes, vec![]).unwrap();
}

/// Another tick, which takes a row of each view and brings another.
fn rows_change<V: Listed>(views: &mut Views, other: V::Row) {
    let tick = views.published().unwrap().tick + 1;
    let taken = views.rows::<V>()[0].clone();
    views.apply_tick(tick, 0, vec![changes::<V>(vec![(taken, -1), (other, 1)])], vec![]).unwrap();
}

fn all_pages<V: Listed>(limit: &str, filter: Option<(&str, &str)>) {
    let mut views = all_views(WIDE);
    rows_of_all_kinds(&mut views);
    let path = format!("/v1/views/{}", V::NAME);
    let whole = ask(&views, &path, &filter.into_iter().collect::<Vec<_>>()).1;
    let (mut rows, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let cursors = cursor.as_deref().map(|cursor| ("cursor", cursor));
        let query: Vec<_> = [("limit", limit)].into_iter().chain(cursors).chain(filter).collect();
        let (status, body) = ask(&views, &path, &query);
        assert_eq!((status, &body["tick"]), (200, &json!(0)), "{body}");
        rows.extend(body["rows"].as_array().unwrap().iter().cloned());
        assert_eq!(body["truncated"], !body["next"].is_null());
        match body["next"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
        assert!(rows.len() <= whole["count"].as_u64().unwrap() as usize, "it goes round");
        rows_change::<V>(&mut views, V::example());
    }
    assert_eq!(json!(rows), whole["rows"], "{} by {limit}", V::NAME);
}

#[test]
fn the_pages_of_a_cursor_are_the_listing_of_one_tick() {
    for limit in ["1", "2", "3", "7", "50"] {
        all_pages::<Stock>(limit, None);
        all_pages::<Stock>(limit, Some(("state", "damaged")));
        all_pages::<Stock>(limit, Some(("sku", "sku-3")));
        all_pages::<DeadLetters>(limit, None);
        all_pages::<VariantMinutes>(limit, None);
    }
}

#[test]
fn a_cursor_is_of_its_run_view_and_tick() {
    let mut views = all_views(HistoryBounds { ticks_max: 1, ..WIDE });
    rows_of_all_kinds(&mut views);
    let next = |views: &Views| ask(views, "/v1/views/stock", &[("limit", "1")]).1["next"].as_str().unwrap().to_owned();
    let cursor = next(&views);
    let refused = |views: &Views, path: &str, query: &[(&str, &str)]| {
        let (status, body) = ask(views, path, query);
        (status, body["error"]["message"].as_str().unwrap().to_owned())
    };
    let asked = [("cursor", cursor.as_str())];
    assert!(refused(&views, "/v1/views/availability", &asked).1.contains("of the view \"stock\""));
    for wrong in
        [&[("cursor", "stock")][..], &[("cursor", "")], &[asked[0], ("as_of", "0")], &[asked[0], ("as_of_ms", "0")]]
    {
        assert_eq!(refused(&views, "/v1/views/stock", wrong).0, 400, "{wrong:?}");
    }
    views.set_run(RunId(7));
    let (status, message) = refused(&views, "/v1/views/stock", &asked);
    assert!(status == 410 && message.contains("another run"), "{status} {message}");
    let cursor = next(&views);
    (0..2).for_each(|_| rows_change::<Stock>(&mut views, Stock::example()));
    let (status, message) = refused(&views, "/v1/views/stock", &[("cursor", cursor.as_str())]);
    assert!(status == 410 && message.contains("oldest readable tick is 1"), "{status} {message}");
}

/// Between two pages nothing is held; what was read of a tick that leaves history is not taken for all of it.
#[test]
fn a_listing_whose_tick_leaves_history_says_so() {
    let mut views = all_views(HistoryBounds { ticks_max: 1, bytes_max: 1 << 30 });
    let letter = |offset| DeadLetter { offset, raw: "A".repeat(64 << 10), ..DeadLetters::example() };
    let letters = (0..40).map(|offset| (letter(offset), 1)).collect();
    views.apply_tick(0, 0, vec![changes::<DeadLetters>(letters)], vec![]).unwrap();
    let begin = |views: &Views| Pages::begin(views, ViewId::of::<DeadLetters>(), &[]).unwrap();
    let (mut undisturbed, mut overtaken) = (begin(&views), begin(&views));
    let mut whole = String::new();
    while let Piece::More(page) = undisturbed.next(&views) {
        assert!(page.len() < PAGE_BYTES + (66 << 10) && page.capacity() == page.len(), "a page is bounded");
        whole += &page;
    }
    let Piece::More(mut body) = overtaken.next(&views) else { panic!("there are more pages") };
    rows_change::<DeadLetters>(&mut views, letter(100));
    let Piece::More(page) = overtaken.next(&views) else { panic!("its tick is in history") };
    body += &page;
    assert!(whole.starts_with(&body), "both are of tick 0");
    rows_change::<DeadLetters>(&mut views, letter(101));
    let Piece::Broken(end) = overtaken.next(&views) else { panic!("its tick is gone") };
    let body: Value = serde_json::from_str(&(body + &end)).unwrap();
    assert_eq!((&body["error"]["code"], body.get("count")), (&json!("gone"), None));
    assert!(body["error"]["message"].as_str().unwrap().contains("tick 0 left history"), "{body}");
}
