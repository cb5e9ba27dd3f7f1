//! Over files the final rows are the same whatever the settings of speed, the split of the lines into files and the order of the
//! files; and by default all of it counts.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use super::multiset::{change_files, rows_of_shards};
use super::place::{Place, refuses, succeeds, told};

const DAY_MS: i64 = 86_400_000;
const BEGIN_MS: i64 = 1_736_640_000_000;

/// A generator of numbers with a written seed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Three days of events, each up to ten minutes out of order, with copies of some and lines that are no records.
fn events(numbers: &mut Numbers) -> Vec<String> {
    let mut lines = Vec::new();
    for number in 0..1_500i64 {
        let time_ms = BEGIN_MS + number * 3 * DAY_MS / 1_500 + numbers.below(600_000) as i64;
        let kind = ["view", "click", "add_to_cart", "purchase", "exposure"][numbers.below(5) as usize];
        let attributes = if kind == "exposure" { r#","attributes":{"experiment":"banner"}"# } else { "" };
        let line = format!(
            r#"{{"tenant":"shop","id":"e{number}","session":"s{}","unit":"u{}","kind":"{kind}","event_time_ms":{time_ms},"value":{}{attributes}}}"#,
            number / 7,
            number / 7 % 61,
            numbers.below(1_000)
        );
        if numbers.below(40) == 0 {
            lines.push(line.clone());
        }
        if numbers.below(100) == 0 {
            lines.push(format!("{{\"broken\":{number}"));
        }
        lines.push(line);
    }
    lines
}

/// Three years of facts: what was counted long ago has to be stale in the end, whatever lies between.
fn facts(numbers: &mut Numbers) -> Vec<String> {
    let mut lines = Vec::new();
    for number in 0..900i64 {
        let time_ms =
            BEGIN_MS - 3 * 365 * DAY_MS + number * 3 * 365 * DAY_MS / 900 + numbers.below(DAY_MS as u64) as i64;
        let kind = if numbers.below(6) == 0 { "count" } else { ["sale", "receipt"][numbers.below(2) as usize] };
        // The first SKUs are spoken of at first, the last ones at last.
        let sku = number / 30 + numbers.below(8) as i64;
        lines.push(format!(
            r#"{{"tenant":"shop","id":"f{number}","kind":"{kind}","node":"n{}","sku":"k{sku}","quantity":{},"event_time_ms":{time_ms},"source":"pos"}}"#,
            numbers.below(3),
            numbers.below(9)
        ));
    }
    lines
}

/// A way to write lines into files: how many files, which line lies where, how the files are called.
fn split(lines: &[String], numbers: &mut Numbers) -> Vec<Vec<String>> {
    let count = 1 + numbers.below(6) as usize;
    let mut files = vec![Vec::new(); count];
    match numbers.below(3) {
        // One behind the other.
        0 => lines.iter().enumerate().for_each(|(at, line)| files[at * count / lines.len()].push(line.clone())),
        // As a warehouse unloads them.
        1 => lines.iter().enumerate().for_each(|(at, line)| files[at % count].push(line.clone())),
        // Each sorted by something else than time.
        _ => {
            let mut sorted = lines.to_vec();
            sorted.sort_by_key(|line| line.bytes().rev().take(40).collect::<Vec<_>>());
            sorted.iter().enumerate().for_each(|(at, line)| files[at * count / lines.len()].push(line.clone()));
        }
    }
    for at in (1..count).rev() {
        files.swap(at, numbers.below(at as u64 + 1) as usize);
    }
    files
}

fn write(place: &Place, name: &str, files: &[Vec<String>]) {
    for (number, lines) in files.iter().enumerate() {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        fs::write(place.path(&format!("{name}-{number}.ndjson")), text).unwrap();
    }
}

fn configuration(tick_bytes: u64, more: &str) -> String {
    format!(
        r#"
listen = "127.0.0.1:0"
[time]
tick_bytes = {tick_bytes}
[[sources]]
name = "web"
kind = "experiment"
files = "web-*.ndjson"
tenants = ["shop"]
[[sources]]
name = "till"
kind = "inventory"
files = "till-*.ndjson"
tenants = ["shop"]
[[experiments]]
tenant = "shop"
name = "button"
population = "assigned"
variants = [{{ name = "control" }}, {{ name = "treatment" }}]
[[experiments]]
tenant = "shop"
name = "banner"
population = "exposed"
variants = [{{ name = "control" }}, {{ name = "treatment" }}]
{more}"#
    )
}

/// The views whose rows say nothing of places in files, nor of when something was heard of.
const ROWS: [&str; 7] =
    ["session_minutes", "variant_minutes", "variant_totals", "stock", "availability", "stock_by_sku", "unit_overlap"];

/// What has to be the same: the rows of each view, what is no record, and the verdicts.
fn results(place: &Place) -> BTreeMap<String, BTreeMap<String, i64>> {
    let data = place.path("aisle-data");
    let rows = |view: &str| rows_of_shards(&change_files(&data, view), u64::MAX);
    let mut results: BTreeMap<String, BTreeMap<String, i64>> =
        ROWS.iter().map(|view| ((*view).to_owned(), rows(view))).collect();
    let mut letters = BTreeMap::new();
    for row in rows("dead_letters").keys() {
        let row: Value = serde_json::from_str(row).unwrap();
        *letters.entry(format!("{} {}", row["code"], row["raw"])).or_default() += 1;
    }
    results.insert("dead_letters".to_owned(), letters);
    let mut verdicts = BTreeMap::new();
    for row in rows("source_health").keys() {
        let row: Value = serde_json::from_str(row).unwrap();
        let source = row["partition"].as_str().unwrap().split('/').next().unwrap().to_owned();
        for verdict in ["read", "on_time", "late", "duplicate", "dead_letters"] {
            *verdicts.entry(format!("{source} {verdict}")).or_default() += row[verdict].as_i64().unwrap();
        }
    }
    results.insert("verdicts".to_owned(), verdicts);
    results
}

#[test]
fn what_files_mean_does_not_depend_on_speed_or_splits_or_order() {
    let mut numbers = Numbers(7);
    let (events, facts) = (events(&mut numbers), facts(&mut numbers));
    let mut first: Option<BTreeMap<String, BTreeMap<String, i64>>> = None;
    for turn in 0..10 {
        let place = Place::new();
        let (web, till) = match turn {
            0 => (vec![events.clone()], vec![facts.clone()]),
            _ => (split(&events, &mut numbers), split(&facts, &mut numbers)),
        };
        write(&place, "web", &web);
        write(&place, "till", &till);
        let tick_bytes = match turn {
            0 => 1 << 30,
            1 => 4_096,
            _ => 4_096 + numbers.below(1 << (8 + 2 * turn)),
        };
        let sink = "[views.variant_minutes]\nsink = \"sealed\"\n";
        fs::write(place.path("aisle.toml"), configuration(tick_bytes, sink)).unwrap();
        succeeds(&place.run_once(&["--workers", if turn % 3 == 0 { "2" } else { "1" }]));
        let results = results(&place);
        assert_eq!(results["verdicts"]["web late"] + results["verdicts"]["till late"], 0, "turn {turn}");
        for (view, rows) in &results {
            assert!(!rows.is_empty(), "{view}");
            let before = first.as_ref().map_or(rows, |first| &first[view]);
            assert_eq!(rows, before, "{view} in turn {turn}, tick_bytes = {tick_bytes}");
        }
        assert!(
            results["availability"].keys().any(|row| row.contains("\"stale\"")),
            "what was counted long ago is old"
        );
        first.get_or_insert(results);
    }
}

/// A year of exports: nothing leaves a view, and every minute is in a sealed sink and in history.
#[test]
fn every_minute_of_a_year_is_there() {
    let place = Place::new();
    let hours = 365 * 24i64;
    let line = |hour: i64| {
        let time_ms = BEGIN_MS + hour * 3_600_000;
        format!(
            r#"{{"tenant":"shop","id":"e{hour}","session":"s{hour}","unit":"u{}","kind":"purchase","event_time_ms":{time_ms},"value":1,"quantity":1}}"#,
            hour % 97
        )
    };
    // A file a month, which by their names are not in order.
    let months: Vec<Vec<String>> =
        (0..12).rev().map(|month| (month * hours / 12..(month + 1) * hours / 12).map(line).collect()).collect();
    write(&place, "web", &months);
    let text = configuration(1 << 30, "[views.variant_minutes]\nsink = \"sealed\"\n");
    let text = text.split("[[sources]]\nname = \"till\"").next().unwrap().to_owned()
        + &text[text.find("[[experiments]]").unwrap()..];
    fs::write(place.path("aisle.toml"), text).unwrap();
    succeeds(&place.run_once(&[]));
    let rows = |view: &str| rows_of_shards(&change_files(&place.path("aisle-data"), view), u64::MAX);
    assert_eq!(rows("session_minutes").len() as i64, hours);
    let purchases_of = |row: &String| {
        let row: Value = serde_json::from_str(row).unwrap();
        (row["experiment"] == "button").then(|| row["measures"]["purchases"].as_i64()).flatten()
    };
    let sealed: i64 = rows("variant_minutes").keys().filter_map(purchases_of).sum();
    assert_eq!(sealed, hours, "each hour has a purchase in one variant");
}

/// Where lateness was asked for, and much is late, that is told, with what heals it.
#[test]
fn what_is_wrong_with_most_of_a_source_is_told() {
    let place = Place::new();
    let mut numbers = Numbers(3);
    let mut lines = events(&mut numbers);
    lines.reverse();
    write(&place, "web", &[lines]);
    write(&place, "till", &[vec!["{}".to_owned(), "{}".to_owned(), "[".to_owned()]]);
    let text = configuration(4_096, "").replacen("tenants = [\"shop\"]", "tenants = [\"shop\"]\nlateness_ms = 0", 1);
    fs::write(place.path("aisle.toml"), text).unwrap();
    let run = place.run_once(&[]);
    refuses(
        &run,
        3,
        &["WARNING", "behind `lateness_ms = 0`", "leave it out", "none of the 3 records of source \"till\""],
    );
    assert!(told(&run).contains("till-0.ndjson, line 1: "), "{}", told(&run));
    assert!(told(&run).contains("holds for every partition"), "{}", told(&run));
    let checked = place.aisle(&["check", "aisle.toml"]);
    refuses(&checked, 3, &["no mistakes", "source \"web\": ", "event times from 2025-01-12", "none of the 3 records"]);
}

/// A run that needs more memory than it may have ends with a sentence that says what grows, and goes on with more.
#[test]
fn memory_that_is_used_up_ends_the_run_with_what_grows_and_which_key_bounds_it() {
    let place = Place::new();
    // The newest comes first, so that nothing can be sealed before the end.
    let line = |number: i64| {
        let time_ms = BEGIN_MS + (400_000 - number) * 60_000;
        format!(
            r#"{{"tenant":"shop","id":"e{number}","session":"s{number}","unit":"u{number}","kind":"view","event_time_ms":{time_ms}}}"#
        )
    };
    write(&place, "web", &[(0..400_000).map(line).collect()]);
    let text = configuration(65_536, "");
    let text = text.split("[[sources]]\nname = \"till\"").next().unwrap();
    fs::write(place.path("aisle.toml"), format!("memory_bytes_max = 134217728\n{text}")).unwrap();
    let ended = place.run_once(&[]);
    refuses(
        &ended,
        1,
        &["MiB of memory are used, more than the 128 MiB of `memory_bytes_max`", "the most of its state is"],
    );
    assert!(
        told(&ended).contains("source \"web\" holds that back longest, by 23999940000 ms, the disorder of its files"),
        "{}",
        told(&ended)
    );
    fs::write(place.path("aisle.toml"), text).unwrap();
    let again = place.run_once(&[]);
    succeeds(&again);
    assert!(told(&again).contains("resuming"), "{}", told(&again));
}
