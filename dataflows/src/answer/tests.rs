//! All views together: ticks, marks, paths.

use super::testing::{WIDE, all_views, ask, changes, stock, views};
use super::*;
use crate::inventory::availability::Availability;
use crate::inventory::stock::{Stock, StockRow};
use crate::view::View;

#[test]
fn health_says_which_tick_it_is() {
    let (status, body) = ask(&all_views(WIDE), "/healthz", &[]);
    assert_eq!((status, body["error"]["code"].as_str()), (503, Some("starting")));
    let (status, body) = ask(&views(), "/healthz", &[]);
    assert_eq!((status, body), (200, json!({"status": "ok", "tick": 3, "time_ms": 3_000, "frontier": 4})));
}

#[test]
fn unknown_paths_are_named() {
    for path in ["/", "/v1", "/v1/views/stock/rows", "/healthz/x"] {
        let (status, body) = ask(&views(), path, &[]);
        assert_eq!((status, body["error"]["code"].as_str()), (404, Some("unknown_path")), "{path}");
    }
}

/// So many changes that each view has a thread: the same rows, and a mistake in one of them is told.
#[test]
fn a_whole_collection_is_published_at_once() {
    let mut views = all_views(WIDE);
    let many = CHANGES_OF_A_THREAD as u64 + 1;
    let mut expected: Vec<StockRow> = (0..many).map(stock).collect();
    expected.sort();
    let rows = |diff| (0..many).rev().map(|number| (stock(number), diff)).collect::<Vec<_>>();
    let others = |diff| {
        let row = |number: u64| crate::inventory::availability::AvailabilityRow {
            sku: format!("sku-{number}").into(),
            ..Availability::example()
        };
        (0..many).map(|number| (row(number), diff)).collect::<Vec<_>>()
    };
    views.apply_tick(7, 70, vec![changes::<Stock>(rows(1)), changes::<Availability>(others(1))], Vec::new()).unwrap();
    assert_eq!(views.rows::<Availability>().len(), expected.len());
    let shelf = views.shelf::<Stock>();
    assert!(shelf.store().iter().eq(expected.iter().map(|row| (row, 1))));
    assert!(shelf.store().changes_since(7).is_err(), "a restore is no tick's work");
    let taken = vec![changes::<Stock>(rows(-1)), changes::<Availability>(others(-2))];
    assert_eq!(views.apply_tick(8, 80, taken, Vec::new()), Err(ApplyError::Negative { tick: 8 }));
}

#[test]
fn marks_reach_back_as_far_as_history() {
    let mut views = all_views(HistoryBounds { ticks_max: 2, bytes_max: 1 << 20 });
    for tick in 0..10 {
        let sealed = vec![("north".to_owned(), tick as i64 / 4), ("south".to_owned(), MINUS_INFINITY)];
        views.apply_tick(tick, tick as i64 * 10, vec![changes::<Stock>(vec![(stock(tick), 1)])], sealed).unwrap();
    }
    assert_eq!(views.marks.iter().map(|mark| mark.tick).collect::<Vec<_>>(), [7, 8, 9]);
    assert_eq!(views.mark_at(8).map(|mark| mark.time_ms), Some(80));
    assert_eq!(views.mark_at(6), None);
    let sealed = &views.published().unwrap().sealed_through;
    assert_eq!(**sealed, BTreeMap::from([("north".to_owned(), 2)]), "nothing of the south is sealed");
    assert!(Arc::ptr_eq(sealed, &views.mark_at(8).unwrap().sealed_through), "9 sealed nothing");
}
