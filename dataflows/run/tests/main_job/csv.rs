//! CSV through the binary: the views of the same records as lines, and what is wrong with a row.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use crate::place::{CONFIGURATION, Place, refuses, succeeds, told};

const EVENT_COLUMNS: &str = r#"
format = "csv"
delimiter = ";"
time_format = "s"
[sources.columns]
tenant = { value = "north" }
id = "event"
session = "visit"
unit = "household"
kind = "what"
event_time_ms = "at"
value = "cents"
attributes.experiment = "test"
"#;

const FACT_COLUMNS: &str = r#"
format = "csv"
[sources.columns]
tenant = "tenant"
id = "id"
kind = "kind"
node = "node"
sku = "sku"
quantity = "quantity"
event_time_ms = "event_time_ms"
source = { value = "pos" }
"#;

fn configuration() -> String {
    CONFIGURATION
        .replace(
            "files = \"events-*.ndjson\"\nparallel = true",
            &format!("files = \"events-*.csv\"\nparallel = true{EVENT_COLUMNS}"),
        )
        .replace("files = \"facts.ndjson\"", &format!("files = \"facts.csv\"{FACT_COLUMNS}"))
}

/// Lines of JSON as rows with these columns; what is no JSON becomes a row of one cell.
fn rows_of(text: &str, header: &[&str], delimiter: &str, of: impl Fn(&Value, &str) -> String) -> String {
    let mut rows = header.join(delimiter) + "\r\n";
    for line in text.lines() {
        let row = match serde_json::from_str::<Value>(line) {
            Ok(record) => {
                let quoted = |name: &&str| format!("\"{}\"", of(&record, name).replace('"', "\"\""));
                header.iter().map(quoted).collect::<Vec<_>>().join(delimiter)
            }
            Err(_) => "broken".to_owned(),
        };
        rows.push_str(&row);
        rows.push_str("\r\n");
    }
    rows
}

fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// Every change of a view, as JSON.
fn changes(place: &Place, view: &str) -> Vec<Value> {
    let text = fs::read_to_string(place.path(&format!("aisle-data/sinks/{view}/shard-0.ndjson"))).unwrap();
    text.lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line.get("row").is_some())
        .collect()
}

/// The rows of a view at its end.
fn rows(place: &Place, view: &str) -> BTreeMap<String, i64> {
    let mut rows = BTreeMap::new();
    for change in changes(place, view) {
        *rows.entry(change["row"].to_string()).or_insert(0) += change["diff"].as_i64().unwrap();
    }
    rows.retain(|_, count| *count != 0);
    rows
}

#[test]
fn csv_gives_the_views_that_the_same_records_give_as_lines() {
    let (lines, csv) = (Place::new(), Place::new());
    for file in 0..2 {
        let text = fs::read_to_string(lines.path(&format!("events-{file}.ndjson"))).unwrap();
        // The files have their columns in different orders, one that nobody asks for, and newlines in cells of it.
        let header = match file {
            0 => ["event", "visit", "household", "what", "at", "cents", "test", "note"],
            _ => ["note", "test", "cents", "at", "what", "household", "visit", "event"],
        };
        let rows = rows_of(&text, &header, ";", |event, name| match name {
            "event" => cell(&event["id"]),
            "visit" => cell(&event["session"]),
            "household" => cell(&event["unit"]),
            "what" => cell(&event["kind"]),
            "at" => {
                let at_ms = event["event_time_ms"].as_i64().unwrap();
                format!("{}.{:03}", at_ms / 1_000, at_ms % 1_000)
            }
            "cents" => cell(&event["value"]),
            "test" => cell(&event["attributes"]["experiment"]),
            _ => "two\r\nlines; and a \"quote\"".to_owned(),
        });
        fs::write(csv.path(&format!("events-{file}.csv")), format!("\u{feff}{rows}")).unwrap();
    }
    let header = ["tenant", "id", "kind", "node", "sku", "quantity", "event_time_ms"];
    let text = fs::read_to_string(lines.path("facts.ndjson")).unwrap();
    fs::write(csv.path("facts.csv"), rows_of(&text, &header, ",", |fact, name| cell(&fact[name]))).unwrap();
    fs::write(csv.path("aisle.toml"), configuration()).unwrap();
    succeeds(&csv.aisle(&["check", "aisle.toml"]));
    succeeds(&lines.run_once(&["--workers", "2"]));
    let output = csv.run_once(&["--workers", "2"]);
    succeeds(&output);
    assert!(told(&output).contains("holds for every partition"), "{}", told(&output));
    for view in ["session_minutes", "variant_minutes", "variant_totals", "stock", "availability"] {
        let (expected, found) = (rows(&lines, view), rows(&csv, view));
        assert!(!expected.is_empty(), "{view}");
        assert_eq!(found, expected, "{view}");
    }
    let dead = |place: &Place| rows(place, "dead_letters").len();
    assert_eq!(dead(&csv), dead(&lines));
    let replayed = csv.aisle(&["replay", "aisle-data", "--workers", "3"]);
    succeeds(&replayed);
    assert!(told(&replayed).contains("are the same"), "{}", told(&replayed));
    // A second run goes on where the first one ended: it knows the columns from the files' beginnings.
    succeeds(&csv.run_once(&["--workers", "3"]));
}

#[test]
fn what_is_wrong_with_a_row_is_a_dead_letter_with_its_line_and_harms_no_other_row() {
    let place = Place::new();
    fs::write(place.path("aisle.toml"), configuration()).unwrap();
    let header = "event;visit;household;what;at;cents;test\n";
    let good = |id: &str| format!("{id};s;u;view;1736122548;1;\n");
    let text = format!(
        "{header}{}bad;s;u;view;today;1;\n{}few;s\n\n{}\"open;s;u;view;1736122548;1;\n{}{}",
        good("a"),
        good("\"b\""),
        good("\"c\nc\""),
        good("d"),
        good("e").trim_end()
    );
    fs::write(place.path("events-0.csv"), &text).unwrap();
    fs::write(place.path("events-1.csv"), format!("event;visit\n{}", good("f"))).unwrap();
    fs::write(place.path("facts.csv"), "").unwrap();
    let output = place.run_once(&[]);
    succeeds(&output);
    assert!(told(&output).contains("read 9 = on time 5 + late 0 + duplicate 0 + dead letters 4"), "{}", told(&output));
    let letters = changes(&place, "dead_letters");
    let mut letters: Vec<_> = letters
        .iter()
        .map(|letter| {
            let row = &letter["row"];
            let offset = row["offset"].as_u64().unwrap() as usize;
            (row["file"].as_str().unwrap(), row["line"].as_u64().unwrap(), row["code"].as_str().unwrap(), offset)
        })
        .collect();
    letters.sort();
    let at = |words: &str| text.find(words).unwrap();
    assert_eq!(
        letters,
        [
            ("events-0.csv", 3, "wrong_type", at("bad;")),
            ("events-0.csv", 5, "malformed_row", at("few;")),
            ("events-0.csv", 9, "open_quote", at("\"open")),
            ("events-1.csv", 2, "no_column", "event;visit\n".len()),
        ]
    );
    succeeds(&place.aisle(&["replay", "aisle-data"]));
}

#[test]
fn a_mapping_that_can_not_be_is_refused() {
    let place = Place::new();
    let check = |from: &str, to: &str, words: &[&str]| {
        let text = configuration();
        assert!(text.contains(from), "{from}");
        fs::write(place.path("aisle.toml"), text.replace(from, to)).unwrap();
        refuses(&place.aisle(&["check", "aisle.toml"]), 2, words);
    };
    for name in ["events-0.csv", "facts.csv"] {
        fs::write(place.path(name), "").unwrap();
    }
    check("id = \"event\"\n", "", &["no column is `id`, which every record has"]);
    check("unit = ", "unti = ", &["there is no field `unti`", "unit"]);
    check("value = \"cents\"", "value = 3", &["`value` is neither a column nor a value"]);
    check("\";\"", "\"; \"", &["`delimiter` is none"]);
    check("time_format = \"s\"", "time_format = \"%Y %z\"", &["`time_format`", "none of its values"]);
    check("time_format = \"s\"", "time_format = \"%H:%M\"", &["`time_format`", "it lacks year, month, day"]);
    check("time_format = \"s\"", "time_format = \"%F %T %#z\"", &["`time_format`", "none of its values"]);
    check("format = \"csv\"\ndelimiter", "delimiter", &["only a source of CSV has `columns`", "`delimiter`"]);
    check("files = \"facts.csv\"", "topic = \"facts\"", &["only files are CSV"]);
    check(EVENT_COLUMNS, "\nformat = \"csv\"\n", &["nothing says which columns the fields are"]);
}
