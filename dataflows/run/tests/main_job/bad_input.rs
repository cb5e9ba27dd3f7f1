//! Everything that can be wrong with a line, from the file to the dead letter: what is wrong has its code, the letter says
//! where it was and holds the bytes, and every line around it is taken.

use std::collections::BTreeSet;
use std::fs;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::place::{Place, refuses, succeeds, told};

const MIB: usize = 1 << 20;

/// How much of a line a dead letter keeps.
const RAW_BYTES_MAX: usize = 64 << 10;

const EVENT: &str = r#"{"tenant":"north","id":"ID","session":"s-1","kind":"view","event_time_ms":1736122548781}"#;

const FACT: &str = r#"{"tenant":"north","id":"ID","kind":"sale","node":"store-1","sku":"sku-1","quantity":3,"event_time_ms":1736121600000,"source":"pos"}"#;

const CONFIGURATION: &str = r#"
[[sources]]
name = "events"
kind = "experiment"
files = "events.ndjson"
tenants = ["north"]

[[sources]]
name = "facts"
kind = "inventory"
files = "facts.ndjson"
tenants = ["north", "south"]
fact_sources = ["pos", "handheld"]
"#;

/// A line, and the code of the dead letter that it becomes; none if it is taken.
type Case = (Vec<u8>, Option<&'static str>);

/// Cases of one file. Each line has an id of its own, unless it says otherwise.
struct Cases {
    line: &'static str,
    list: Vec<Case>,
}

impl Cases {
    fn id(&self) -> String {
        format!("id-{}", self.list.len())
    }

    fn raw(&mut self, line: impl Into<Vec<u8>>, code: Option<&'static str>) {
        self.list.push((line.into(), code));
    }

    /// The line with `from` replaced.
    fn replaced(&mut self, from: &str, to: &str, code: Option<&'static str>) {
        assert!(self.line.contains(from), "{from}");
        self.raw(self.line.replace(from, to).replace("ID", &self.id()), code);
    }

    /// The line with further fields.
    fn with(&mut self, fields: &str, code: Option<&'static str>) {
        self.replaced("}", &format!(",{fields}}}"), code);
    }
}

fn events() -> Vec<Case> {
    let mut cases = Cases { line: EVENT, list: Vec::new() };
    let attributes = |count: usize| {
        let list: Vec<String> = (0..count).map(|number| format!("\"a{number}\":{number}")).collect();
        format!("\"attributes\":{{{}}}", list.join(","))
    };
    let nested = |depth: usize| format!("\"attributes\":{}{}", "[".repeat(depth), "]".repeat(depth));
    cases.with("\"value\":1", None);
    // A line of 1 MiB, and one of a byte more.
    let line = EVENT.replace("ID", "long");
    cases.raw(format!("{line}{}", " ".repeat(MIB - line.len())), None);
    cases.raw(format!("{line}{}", " ".repeat(MIB + 1 - line.len())), Some("line_too_long"));
    cases.raw(vec![b'x'; 3 * MIB], Some("line_too_long"));
    cases.raw(&b"{\"tenant\":\"n\xffrth\"}"[..], Some("invalid_utf8"));
    cases.raw("{\"broken\":", Some("not_json"));
    cases.raw("[1]", Some("not_an_object"));
    cases.with(&nested(15), Some("wrong_type"));
    cases.with(&nested(16), Some("too_deep"));
    cases.raw("[".repeat(MIB), Some("too_deep"));
    cases.with(&attributes(64), None);
    cases.with(&attributes(65), Some("too_many_attributes"));
    cases.replaced("s-1", &"ä".repeat(128), None);
    cases.replaced("s-1", &format!("{}x", "ä".repeat(128)), Some("string_too_long"));
    cases.replaced("s-1", "", Some("empty_string"));
    cases.with("\"value\":1099511627776", None);
    cases.with("\"value\":1099511627777", Some("value_out_of_range"));
    cases.with("\"value\":-1099511627777", Some("value_out_of_range"));
    cases.with("\"value\":9223372036854775808", Some("number_out_of_range"));
    cases.with("\"quantity\":2147483649", Some("quantity_out_of_range"));
    cases.with("\"valeu\":1", Some("unknown_field"));
    cases.with("\"tenant\":\"north\"", Some("duplicate_field"));
    cases.with("\"schema\":2", Some("unsupported_schema"));
    cases.replaced(",\"session\":\"s-1\"", "", Some("missing_field"));
    cases.replaced("north", "nobody", Some("unknown_tenant"));
    cases.replaced("north", "south", Some("undeclared_tenant"));
    cases.replaced("view", "wish", Some("unknown_kind"));
    cases.replaced("1736122548781", "-1", Some("event_time_out_of_range"));
    cases.replaced("1736122548781", "0", Some("event_time_out_of_range"));
    cases.replaced("1736122548781", "253402300800000", Some("event_time_out_of_range"));
    cases.replaced("1736122548781", "253402300799999", Some("future"));
    // What is no ASCII stays as it is, also in an id.
    cases.raw(EVENT.replace("ID", "bestellung-größe-注文-🛒"), None);
    cases.raw(EVENT.replace("ID", "twice"), None);
    cases.raw(EVENT.replace("ID", "twice").replace("view", "click"), Some("conflict"));
    cases.list
}

fn facts() -> Vec<Case> {
    let mut cases = Cases { line: FACT, list: Vec::new() };
    let count = |from: &str| format!("count\",\"observed_from_ms\":{from},\"reason\":\"r");
    cases.with("\"epoch\":1,\"sequence\":1", None);
    cases.replaced("pos", "till", Some("undeclared_source"));
    cases.with("\"to_state\":\"damaged\"", Some("unexpected_field"));
    cases.with("\"state\":\"lost\"", Some("unknown_state"));
    cases.replaced("sale", &count("1736118000000"), None);
    cases.replaced("sale", &count("1736117999999"), Some("count_too_long"));
    let corrects = "\"corrects\":{\"id\":\"f-0\",\"kind\":\"sale\",\"quantity\":5,\"event_time_ms\":1736121500000}";
    cases.with(&format!("{corrects},\"void\":true"), Some("invalid_correction"));
    cases.with("\"void\":true", Some("missing_field"));
    cases.replaced(":3", ":-3", Some("quantity_out_of_range"));
    cases.with("\"epoch\":1,\"sequence\":9223372036854775807", Some("number_out_of_range"));
    cases.replaced("sku-1", "größe-注文", None);
    cases.list
}

/// The rows that a view shows at the end of a run, by its change file. None of them is ever taken back.
fn rows(place: &Place, view: &str) -> Vec<Value> {
    let text = fs::read_to_string(place.path(&format!("aisle-data/sinks/{view}/shard-0.ndjson"))).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line.get("row").is_some()).map(|line| line["row"].clone()).collect()
}

/// Takes the cases as one file, each line with a good neighbour; returns the codes that were met.
fn check_letters(place: &Place, letters: &[Value], file: &str, cases: &[Case]) -> BTreeSet<&'static str> {
    let (mut text, mut expected) = (Vec::new(), Vec::new());
    for (line, (bytes, code)) in (1..).zip(cases) {
        if let Some(code) = code {
            expected.push((text.len() as u64, line, *code, &bytes[..bytes.len().min(RAW_BYTES_MAX)]));
        }
        text.extend_from_slice(bytes);
        text.push(b'\n');
    }
    assert_eq!(fs::read(place.path(file)).unwrap(), text);
    let found: Vec<&Value> = letters.iter().filter(|letter| letter["file"] == file).collect();
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (offset, line, code, raw) in &expected {
        let letter = found.iter().find(|letter| letter["offset"] == *offset).expect(code);
        assert_eq!(
            (&letter["line"], &letter["code"]),
            (&Value::from(*line), &Value::from(*code)),
            "{}",
            letter["detail"]
        );
        assert_eq!(letter["partition"], format!("{}/0", file.trim_end_matches(".ndjson")));
        assert!(letter["raw"] == STANDARD.encode(raw), "{code}: the bytes, 64 KiB of them at most");
        assert!(letter["detail"].as_str().unwrap().chars().count() < 300, "{}", letter["detail"]);
    }
    expected.into_iter().map(|(_, _, code, _)| code).collect()
}

fn write(place: &Place, file: &str, cases: &[Case]) {
    fs::write(place.path(file), cases.iter().flat_map(|(line, _)| [line, &b"\n"[..]].concat()).collect::<Vec<u8>>())
        .unwrap();
}

#[test]
fn whatever_is_wrong_with_a_line_has_its_code_and_harms_no_other_line() {
    let place = Place::new();
    fs::write(place.path("aisle.toml"), CONFIGURATION).unwrap();
    let (events, facts) = (events(), facts());
    write(&place, "events.ndjson", &events);
    write(&place, "facts.ndjson", &facts);
    let output = place.run_once(&[]);
    succeeds(&output);
    assert!(told(&output).contains("holds for every partition"), "{}", told(&output));

    let letters = rows(&place, "dead_letters");
    let mut codes = check_letters(&place, &letters, "events.ndjson", &events);
    codes.extend(check_letters(&place, &letters, "facts.ndjson", &facts));
    // The one that a file has and not a line, and those that only messages of topics have.
    codes.insert("truncated_input");
    codes.extend(["malformed_avro", "malformed_batch", "tombstone", "unknown_schema", "unusable_schema"]);
    let page = include_str!("../../../../docs/events.md");
    let table = page.split("| code |").nth(1).unwrap().lines().skip(2).take_while(|line| line.starts_with('|'));
    assert_eq!(
        codes,
        table.map(|line| line.split('`').nth(1).unwrap()).collect(),
        "every code of docs/events.md is met"
    );

    for (partition, cases) in [("events/0", &events), ("facts/0", &facts)] {
        let health = rows(&place, "source_health").into_iter().rfind(|row| row["partition"] == partition).unwrap();
        let dead = cases.iter().filter(|(_, code)| code.is_some()).count();
        let counted = ["read", "on_time", "dead_letters"].map(|name| health[name].as_u64().unwrap() as usize);
        assert_eq!(counted, [cases.len(), cases.len() - dead, dead], "{health}");
    }
    let stock = rows(&place, "stock");
    assert!(stock.iter().any(|row| row["sku"] == "größe-注文"), "{stock:?}");
    succeeds(&place.aisle(&["replay", "aisle-data"]));
}

#[test]
fn line_endings_byte_order_marks_and_blank_lines_do_no_harm() {
    let place = Place::new();
    fs::write(place.path("aisle.toml"), CONFIGURATION).unwrap();
    let event = |id: &str| EVENT.replace("ID", id);
    let text = format!("\u{feff}{}\r\n\r\n \t\r\n{}\n\n{}", event("a"), event("b"), event("c"));
    fs::write(place.path("events.ndjson"), text).unwrap();
    fs::write(place.path("facts.ndjson"), "").unwrap();
    let output = place.run_once(&[]);
    succeeds(&output);
    assert!(told(&output).contains("read 3 = on time 3 "), "{}", told(&output));
}

#[test]
fn of_a_compressed_file_that_was_cut_stays_what_came_before() {
    let place = Place::new();
    fs::write(
        place.path("aisle.toml"),
        CONFIGURATION.replace("events.ndjson", "events.zst").replace("north", "generated"),
    )
    .unwrap();
    let samples = concat!(env!("CARGO_MANIFEST_DIR"), "/../../samples/generated-events.ndjson.zst");
    fs::write(place.path("events.zst"), &fs::read(samples).unwrap()[..100_000]).unwrap();
    fs::write(place.path("facts.ndjson"), "").unwrap();
    let output = place.run_once(&[]);
    succeeds(&output);
    let letters = rows(&place, "dead_letters");
    let cut: Vec<&Value> = letters.iter().filter(|letter| letter["code"] == "truncated_input").collect();
    assert_eq!(cut.len(), 1, "{letters:?}");
    let health = rows(&place, "source_health").into_iter().rfind(|row| row["partition"] == "events/0").unwrap();
    let (read, line) = (health["read"].as_u64().unwrap(), cut[0]["line"].as_u64().unwrap());
    assert!(read == line && health["on_time"].as_u64().unwrap() > 1_000, "it is the last of many: {health}");
    assert_eq!((&cut[0]["file"], &health["status"]), (&Value::from("events.zst"), &Value::from("ended")));
}

#[test]
fn a_file_that_can_not_be_read_is_named() {
    let place = Place::new();
    // A link to nowhere: whoever runs the tests may be allowed to read everything else.
    #[cfg(unix)]
    std::os::unix::fs::symlink("nowhere", place.path("events-9.ndjson")).unwrap();
    refuses(&place.run_once(&[]), 1, &["could not read", "events-9.ndjson"]);
}
