//! Subscriptions: snapshots, changes, progress, and tokens to go on with.

use std::collections::BTreeMap;

use operators::index::HistoryBounds;
use operators::time::{MINUS_INFINITY, PLUS_INFINITY};

use super::*;
use crate::answer::testing::{WIDE, all_views, changes, rows_as_text, stock, views};
use crate::inventory::stock::{Stock, StockRow};

fn query(name: &str, value: &str) -> Vec<(String, String)> {
    vec![(name.to_owned(), value.to_owned())]
}

/// All frames until it is caught up or ended.
fn drain(subscription: &mut Subscription, views: &Views) -> Vec<Value> {
    let mut frames = Vec::new();
    while let Page::Frames(page) = subscription.page(views) {
        assert!(page.len() <= PAGE_FRAMES_MAX + 2, "a page is bounded");
        frames.extend(page.iter().map(|frame| serde_json::from_str::<Value>(frame).unwrap()));
    }
    frames
}

/// The collection that a subscriber has who believes each row once a progress passed it.
fn believed(frames: &[Value]) -> BTreeMap<String, i64> {
    let (mut rows, mut pending) = (BTreeMap::new(), Vec::new());
    for frame in frames {
        match frame.get("row") {
            Some(row) => pending.push((row.to_string(), frame["diff"].as_i64().unwrap())),
            None if frame.get("progress").is_some() => {
                for (row, diff) in pending.drain(..) {
                    *rows.entry(row).or_insert(0) += diff;
                }
            }
            None => pending.clear(),
        }
    }
    rows.retain(|_, copies| *copies != 0);
    rows
}

fn rows_of(views: &Views) -> BTreeMap<String, i64> {
    rows_as_text::<Stock>(views)
}

#[test]
fn a_snapshot_comes_before_changes() {
    let views = views();
    let mut subscription = Subscription::begin(&views, "stock", &query("as_of", "1")).unwrap();
    let frames = drain(&mut subscription, &views);
    assert_eq!(frames[0], json!({"snapshot": {"as_of": 1}}));
    assert_eq!((&frames[1]["tick"], &frames[1]["diff"]), (&json!(1), &json!(1)));
    assert_eq!(frames[1]["row"]["sku"], "sku-1");
    assert_eq!(frames[2], json!({"progress": 2, "sealed_through": {}, "token": "stock:0000000000000000:2"}));
    assert_eq!((&frames[3]["tick"], &frames[4]["progress"]), (&json!(2), &json!(3)));
    assert_eq!(believed(&frames), rows_of(&views));
    assert_eq!(subscription.page(&views), Page::CaughtUp(4));
    assert_eq!(subscription.token().as_deref(), Some("stock:0000000000000000:4"));
}

#[test]
fn what_is_sealed_to_the_end_of_time_has_a_word() {
    let mut views = all_views(WIDE);
    let sealed = [("north/events", 60_000), ("north/facts", PLUS_INFINITY), ("south/events", MINUS_INFINITY)];
    views.apply_tick(0, 0, vec![], sealed.map(|(group, time_ms)| (group.to_owned(), time_ms)).to_vec()).unwrap();
    let frames = drain(&mut Subscription::begin(&views, "stock", &[]).unwrap(), &views);
    assert_eq!(frames[1]["sealed_through"], json!({"north/events": 60_000, "north/facts": "end"}));
}

/// Wherever a subscriber breaks off, what it believes and what its token brings are the view.
#[test]
fn pages_and_resumption_lose_nothing() {
    let mut views = all_views(HistoryBounds { ticks_max: 100, bytes_max: 1 << 30 });
    let mut sent = Vec::new();
    views.apply_tick(0, 0, vec![], vec![]).unwrap();
    let mut subscription = Subscription::begin(&views, "stock", &[]).unwrap();
    for tick in 1..6 {
        let mut rows: Vec<(StockRow, i64)> = (0..700 * tick).map(|number| (stock(tick * 10_000 + number), 1)).collect();
        if tick > 1 {
            rows.extend((0..350).map(|number| (stock((tick - 1) * 10_000 + number), -1)));
        }
        let sealed = vec![("north".to_owned(), tick as i64)];
        views.apply_tick(tick, 0, vec![changes::<Stock>(rows)], sealed).unwrap();
        if let Page::Frames(page) = subscription.page(&views) {
            sent.extend(page.iter().map(|frame| serde_json::from_str::<Value>(frame).unwrap()));
        }
    }
    sent.extend(drain(&mut subscription, &views));
    assert_eq!(believed(&sent), rows_of(&views));
    for cut in (0..sent.len()).step_by(1_009) {
        let progress = sent[..cut].iter().rposition(|frame| frame.get("progress").is_some());
        let Some(progress) = progress else { continue };
        let upper = sent[progress]["progress"].as_i64().unwrap();
        let sealed = sent[progress]["sealed_through"]["north"].as_i64().unwrap_or(0);
        assert_eq!(sealed, upper - 1, "no tick is called sealed before its rows came");
        let token = query("token", sent[progress]["token"].as_str().unwrap());
        let mut frames = sent[..=progress].to_vec();
        frames.extend(drain(&mut Subscription::begin(&views, "stock", &token).unwrap(), &views));
        assert_eq!(believed(&frames), rows_of(&views), "cut at {cut}");
    }
}

#[test]
fn who_is_overtaken_by_history_is_told() {
    let mut views = all_views(HistoryBounds { ticks_max: 1, ..WIDE });
    let rows = (0..3_000).map(|number| (stock(number), 1)).collect();
    views.apply_tick(0, 0, vec![changes::<Stock>(rows)], vec![]).unwrap();
    let mut in_snapshot = Subscription::begin(&views, "stock", &[]).unwrap();
    assert!(matches!(in_snapshot.page(&views), Page::Frames(_)));
    let mut in_changes = Subscription::begin(&views, "stock", &query("token", "stock:0000000000000000:1")).unwrap();
    for tick in 1..4 {
        views.apply_tick(tick, 0, vec![changes::<Stock>(vec![(stock(9_000 + tick), 1)])], vec![]).unwrap();
    }
    assert_eq!(drain(&mut in_snapshot, &views), [json!({"disconnected": "too slow", "token": null})]);
    assert_eq!(
        drain(&mut in_changes, &views),
        [json!({"disconnected": "too slow", "token": "stock:0000000000000000:1"})]
    );
    assert_eq!(in_changes.page(&views), Page::Ended);
    let refused = Subscription::begin(&views, "stock", &query("token", "stock:0000000000000000:1")).unwrap_err();
    assert_eq!((refused.status, refused.code), (410, "gone"));
    assert!(refused.message.contains("without a token"), "{refused}");
}

#[test]
fn tokens_are_checked() {
    let views = views();
    let refusal = |query: &[(String, String)]| {
        let refused = Subscription::begin(&views, "stock", query).unwrap_err();
        (refused.status, refused.code)
    };
    for token in ["", "stock", "stock:", "stock:-1", "availability:1", "stock:1:2"] {
        assert_eq!(refusal(&query("token", token)), (400, "bad_request"), "{token:?}");
    }
    assert_eq!(refusal(&query("token", "stock:0000000000000000:5")), (404, "not_yet_published"));
    assert_eq!(refusal(&query("sku", "sku-1")), (400, "bad_request"));
    assert_eq!(refusal(&query("as_of", "9")), (404, "not_yet_published"));
    assert_eq!(Subscription::begin(&views, "stocks", &[]).unwrap_err().code, "unknown_view");
    assert_eq!(
        drain(&mut Subscription::begin(&views, "stock", &query("token", "stock:0000000000000000:4")).unwrap(), &views)
            .len(),
        0
    );
}

/// A run that began anew counts its ticks from 0 again: what a subscriber knows of the former one is worth nothing.
#[test]
fn a_token_of_another_run_is_refused() {
    let of_run = |run| {
        let mut views = views();
        views.set_run(RunId(run));
        views
    };
    let frames = drain(&mut Subscription::begin(&of_run(7), "stock", &query("as_of", "1")).unwrap(), &of_run(7));
    let token = query("token", frames[2]["token"].as_str().unwrap());
    assert!(Subscription::begin(&of_run(7), "stock", &token).is_ok());
    let refused = Subscription::begin(&of_run(8), "stock", &token).unwrap_err();
    assert_eq!((refused.status, refused.code), (410, "gone"));
    assert!(refused.message.contains("begin anew without a token"), "{refused}");
}
