//! What a restart may change, and what it is told otherwise.

use super::*;
use crate::inventory::feed_health::view::Feeds;
use crate::view::Begins;

fn of(text: &str) -> Plan {
    plan(&settings(text))
}

fn refused(before: &Plan, after: &Plan) -> Vec<String> {
    let differences = compatible(before, after).expect_err("a difference");
    assert!(differences.iter().all(|each| each.ends_with("; put it back, or start a new run with --fresh")));
    differences.into_iter().map(|each| each.split("; put it back").next().unwrap().to_owned()).collect()
}

#[test]
fn times_may_change_and_where_and_how_fast() {
    let before = of(OWN);
    assert_eq!(compatible(&before, &before), Ok(Change::None));
    assert_eq!(compatible(&before, &of(&format!("listen = \"[::]:1\"\n{OWN}[time]\ntick_ms = 1\n"))), Ok(Change::None));
    for key in ["lateness_ms", "hold_ms", "idle_ms", "skew_max_ms"] {
        assert_eq!(compatible(&before, &of(&format!("{OWN}{key} = 0\n"))), Ok(Change::Entry));
    }
    let later = settings(OWN).plan(before.recorded_inputs().0, before.parameters.start_ms + 1);
    assert_eq!(compatible(&before, &later), Ok(Change::None));
}

/// A view that a run did not have is no difference: it holds from the tick at which it is recorded, and nothing else of the
/// recorded text changes.
#[test]
fn a_view_is_added_at_its_tick() {
    let wanted = of(OWN);
    let mut without = wanted.clone();
    without.recorded.views.remove(&ViewId::of::<Feeds>());
    let before = Plan::from_canonical(&without.canonical()).unwrap();
    assert!(!before.canonical().contains("feed_health") && !before.recorded.view(ViewId::of::<Feeds>()).enabled);
    assert_eq!(compatible(&before, &wanted), Ok(Change::Entry));
    let after = before.continued(&wanted, 7);
    let feeds = after.recorded.view(ViewId::of::<Feeds>());
    assert_eq!((feeds.since, feeds.began), (7, Some(Begins::Empty)));
    assert_eq!(Plan::from_canonical(&after.canonical()).unwrap(), after);
    assert_eq!(compatible(&after, &wanted), Ok(Change::None), "it is there now");
    assert_eq!(after.continued(&wanted, 9).recorded.since(ViewId::of::<Feeds>()), 7);
    let other = OWN.to_owned() + "[views.stock]\nshards = 2\n";
    assert_eq!(refused(&before, &of(&other)), ["`views.stock.shards` was 1 and is 2"]);
}

/// So it is with a column that a view did not have. A run that has none records what it did before there were any.
#[test]
fn a_column_is_added_at_its_tick() {
    let before = of(OWN);
    assert!(!before.canonical().contains("\"columns\""));
    let (view, mut wanted) = (ViewId::of::<Feeds>(), before.clone());
    wanted.recorded.columns.insert(view, [("depth".to_owned(), 0)].into());
    assert_eq!(compatible(&before, &wanted), Ok(Change::Entry));
    let after = before.continued(&wanted, 7);
    assert_eq!(after.recorded.column_since(view, "depth"), Some(7));
    assert_eq!(Plan::from_canonical(&after.canonical()).unwrap(), after);
    assert_eq!(compatible(&after, &wanted), Ok(Change::None), "it is there now");
    assert_eq!(after.continued(&wanted, 9).recorded.column_since(view, "depth"), Some(7));
    assert_eq!(refused(&after, &before), ["`columns` is gone"]);
}

#[test]
fn anything_else_is_named() {
    let before = of(SAMPLE);
    let changed = |from: &str, to: &str| {
        assert!(SAMPLE.contains(from), "{from}");
        refused(&before, &of(&SAMPLE.replace(from, to)))
    };
    assert_eq!(changed("safety_stock = 0", "safety_stock = 1"), ["`inventory.safety_stock` was 0 and is 1"]);
    assert_eq!(
        changed("sink = \"sealed\"", "shards = 2"),
        [
            "`views.variant_minutes.shards` was 1 and is 2",
            "`views.variant_minutes.sink` was \"sealed\" and is \"changes\""
        ]
    );
    assert_eq!(
        changed("name = \"search-ranking\"", "name = \"ranking\""),
        ["`experiments.\"online-retail/ranking\"` is new", "`experiments.\"online-retail/search-ranking\"` is gone"]
    );
    assert_eq!(changed("rank = 4", "rank = 5"), ["`fact_sources.pos.rank` was 4 and is 5"]);
    assert_eq!(
        changed("[\"pos\", \"back-office\"]", "[\"pos\"]"),
        ["`sources.\"online-retail-facts\".fact_sources` was [\"pos\",\"back-office\"] and is [\"pos\"]"]
    );
    assert_eq!(
        changed("\n[inventory]", "\n[[tenants]]\nname = \"new\"\n[inventory]"),
        ["`tenants` was [\"complete-journey\",\"online-retail\",\"generated\"] and is \
         [\"new\",\"complete-journey\",\"online-retail\",\"generated\"]"]
    );
}

#[test]
fn the_order_of_sources_numbers_the_partitions() {
    let source = |name: &str| OWN.replace("\"own\"", &format!("\"{name}\""));
    let differences = refused(&of(&(source("a") + &source("b"))), &of(&(source("b") + &source("a"))));
    assert_eq!(differences, ["the order of `sources` has changed"]);
}

#[test]
fn files_have_to_be_the_same() {
    let before = of(OWN);
    let after = |change: fn(&mut Vec<FileRecord>)| {
        let mut files = before.files_by_source();
        change(&mut files[0][0]);
        refused(&before, &settings(OWN).plan(files.into_iter().map(files_of).collect(), 0))
    };
    assert_eq!(after(|files| drop(files.pop())), ["source \"own\" no longer has the file own-2.ndjson"]);
    assert_eq!(after(|files| files.push(file("x"))), ["source \"own\" did not have the file x"]);
    assert_eq!(
        after(|files| files[0].size_bytes = 7),
        ["file own-1.ndjson of source \"own\" had 12 bytes and now has 7"]
    );
    let other = "file own-1.ndjson of source \"own\" has the same size but other content";
    assert_eq!(after(|files| files[0].sha256.clear()), [other]);
    assert_eq!(after(|files| files.reverse()), ["the files of source \"own\" are divided into partitions differently"]);
}
