//! Listings: which tick, which rows, and what is said where there is none.

use operators::index::HistoryBounds;

use super::*;
use crate::answer::testing::{WIDE, all_views, ask, changes, one_row, stock, views};
use crate::experiment::variant_totals::VariantTotals;
use crate::inventory::stock::Stock;
use crate::view::shelf::Listing;

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
    let list =
        |tick, filters: &[(&str, &str)]| views.shelf_of(ViewId::of::<Stock>()).list(tick, filters, bounds).unwrap();
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
