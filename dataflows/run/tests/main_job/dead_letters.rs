//! Dead letters, as somebody mends them: listed, let in again while nothing runs and while it runs, and replayed.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::place::{Place, refuses, succeeds, told};

/// A place whose facts hold one that nobody can read, of a product that nothing else is said of.
pub(crate) fn place() -> (Place, u64) {
    let place = Place::new();
    let path = place.path("facts.ndjson");
    let facts = fs::read_to_string(&path).unwrap();
    let (before, after) = facts.split_at(facts.match_indices('\n').nth(149).unwrap().0 + 1);
    fs::write(&path, format!("{before}{}\n{after}", MENDED.replace("5,", "5,,"))).unwrap();
    (place, before.len() as u64)
}

pub(crate) const MENDED: &str = r#"{"tenant":"north","id":"mended","kind":"receipt","node":"n0","sku":"mended","quantity":5,"event_time_ms":1736000285000,"source":"pos"}"#;

/// The changes of a view that name a product.
pub(crate) fn changes(place: &Place, view: &str, sku: &str) -> Vec<(i64, Value)> {
    let text = fs::read_to_string(place.path(&format!("aisle-data/sinks/{view}/shard-0.ndjson"))).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let rows = lines.filter(|line| line["row"]["sku"] == sku);
    rows.map(|line| (line["diff"].as_i64().unwrap(), line["row"].clone())).collect()
}

/// What is told of a partition at the last tick.
pub(crate) fn health(place: &Place, partition: &str) -> Value {
    let text = fs::read_to_string(place.path("aisle-data/sinks/source_health/shard-0.ndjson")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut rows = lines.filter(|line| line["row"]["partition"] == partition && line["diff"] == 1);
    rows.next_back().map(|line| line["row"].clone()).unwrap_or_default()
}

pub(crate) fn listed(place: &Place, arguments: &[&str]) -> Vec<Value> {
    let output = place.aisle(&[&["dead-letters", "list", "aisle-data", "--json"], arguments].concat());
    succeeds(&output);
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_letter_is_listed_mended_and_counted_once() {
    let (place, offset) = place();
    succeeds(&place.run_once(&[]));
    let letters = listed(&place, &["--partition", "facts/0"]);
    assert_eq!(letters.len(), 1);
    assert_eq!((&letters[0]["offset"], &letters[0]["line"]), (&offset.into(), &151.into()));
    assert_eq!((&letters[0]["code"], &letters[0]["re_entered"]), (&"not_json".into(), &false.into()));
    let shown = place.aisle(&["dead-letters", "show", "aisle-data", "facts/0", &offset.to_string()]);
    succeeds(&shown);
    assert!(told(&shown).contains("\"quantity\":5,,"), "{}", told(&shown));
    assert!(changes(&place, "stock", "mended").is_empty());
    let before = health(&place, "facts/0");

    let mut letter = letters[0].clone();
    letter["record"] = MENDED.into();
    fs::write(place.path("mended.ndjson"), letter.to_string()).unwrap();
    let enter = ["dead-letters", "re-enter", "aisle-data", "--letters", "mended.ndjson"];
    let entered = place.aisle(&enter);
    succeeds(&entered);
    assert!(told(&entered).contains("1 letters enter with the next run"), "{}", told(&entered));
    refuses(&place.aisle(&enter), 1, &["line 1", "entered before"]);
    assert_eq!(listed(&place, &["--partition", "facts/0"])[0]["re_entered"], true);

    let again = place.run_once(&["--workers", "3"]);
    succeeds(&again);
    assert!(told(&again).contains("of dead letters, 1 entered again"), "{}", told(&again));
    assert!(told(&again).contains("holds for every partition"), "{}", told(&again));
    let stock = changes(&place, "stock", "mended");
    assert_eq!(stock.len(), 1, "{stock:?}");
    assert_eq!((stock[0].0, &stock[0].1["book"]), (1, &5.into()), "{stock:?}");
    assert_eq!(health(&place, "facts/0"), before, "the source's own counts stay what they were");
    let counted = health(&place, "re-entry/facts/0");
    assert_eq!((&counted["read"], &counted["late"]), (&1.into(), &1.into()), "{counted}");

    // Nothing happens twice: not by a third run, not by a replay.
    succeeds(&place.run_once(&[]));
    assert_eq!(changes(&place, "stock", "mended"), stock);
    for workers in ["1", "2"] {
        succeeds(&place.aisle(&["replay", "aisle-data", "--workers", workers]));
    }
}

#[test]
fn what_is_refused_again_is_a_letter_again_and_may_be_mended_again() {
    let (place, _) = place();
    succeeds(&place.run_once(&[]));
    // All of a code, as they were: they are as broken as before.
    let entered = place.aisle(&["dead-letters", "re-enter", "aisle-data", "--partition", "facts/0"]);
    succeeds(&entered);
    succeeds(&place.run_once(&[]));
    let letters = listed(&place, &["--partition", "re-entry/facts/0"]);
    assert_eq!(letters.len(), 1);
    assert_eq!((&letters[0]["offset"], &letters[0]["code"]), (&0.into(), &"not_json".into()));
    let mut letter = letters[0].clone();
    letter["record"] = serde_json::from_str(MENDED).unwrap();
    fs::write(place.path("mended.ndjson"), letter.to_string()).unwrap();
    succeeds(&place.aisle(&["dead-letters", "re-enter", "aisle-data", "--letters", "mended.ndjson"]));
    succeeds(&place.run_once(&[]));
    assert_eq!(changes(&place, "stock", "mended").len(), 1);
    let counted = health(&place, "re-entry/facts/0");
    assert_eq!((&counted["read"], &counted["dead_letters"]), (&2.into(), &1.into()), "{counted}");
    refuses(
        &place.aisle(&["dead-letters", "re-enter", "aisle-data", "--partition", "re-entry/facts/0"]),
        1,
        &["there is no dead letter like that which has not entered before"],
    );
    succeeds(&place.aisle(&["replay", "aisle-data"]));
}

/// The answer to a request: its status and its body.
pub(crate) fn request(url: &str, method: &str, path: &str, body: &str) -> (u16, String) {
    let address = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[test]
fn a_running_process_takes_letters_and_goes_on_in_place() {
    let (place, offset) = place();
    let mut running = place.start(&["run", "aisle.toml", "--listen", "127.0.0.1:0"]);
    let url = running.wait_for("every source has ended; serving on ");
    let url = url.split(" on ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    let enter = |body: &str| request(&url, "POST", "/v1/dead-letters/re-enter", body);
    let (status, told) = enter("{\"partition\":\"facts/0\",\"offset\":1}");
    assert_eq!(status, 400, "{told}");
    assert!(told.contains("line 1: there is no dead letter of facts/0 at offset 1"), "{told}");
    assert_eq!(request(&url, "GET", "/v1/dead-letters/re-enter", "").0, 405);
    assert_eq!(request(&url, "POST", "/v1/views/stock", "").0, 405);

    // The command line finds the process by itself.
    let letter = serde_json::json!({ "partition": "facts/0", "offset": offset, "record": MENDED });
    fs::write(place.path("mended.ndjson"), letter.to_string()).unwrap();
    let entered = place.aisle(&["dead-letters", "re-enter", "aisle-data", "--letters", "mended.ndjson"]);
    succeeds(&entered);
    assert!(crate::place::told(&entered).contains("1 letters enter now"), "{}", crate::place::told(&entered));
    running.wait_for("dead letters enter again; going on with that");
    running.wait_for("every source has ended; serving on ");
    let (status, stock) = request(&url, "GET", "/v1/views/stock?sku=mended", "");
    assert_eq!(status, 200, "{stock}");
    assert!(stock.contains("\"book\":5"), "{stock}");

    // The second one needs no other partitions; killed right after it was taken, it is there all the same.
    let events: Vec<Value> = listed(&place, &["--code", "not_json", "--partition", "events/0"]);
    let (first, second) = (events[0]["offset"].as_u64().unwrap(), events[1]["offset"].as_u64().unwrap());
    let (status, told) = enter(&format!(
        "{{\"partition\":\"events/0\",\"offset\":{first}}}\n{{\"partition\":\"events/0\",\"offset\":{second}}}\n"
    ));
    assert_eq!((status, told.as_str()), (202, "{\"entered\":2,\"first\":1,\"next\":3}"));
    running.signal("KILL");
    running.end();
    succeeds(&place.run_once(&[]));
    assert_eq!(health(&place, "re-entry/events/0")["read"], 2);
    assert_eq!(changes(&place, "stock", "mended").len(), 1);
    succeeds(&place.aisle(&["replay", "aisle-data"]));
}

#[test]
fn what_cannot_be_done_with_letters_is_told() {
    let (place, _) = place();
    refuses(&place.aisle(&["dead-letters", "list", "nowhere"]), 2, &["nowhere has no remap.log"]);
    succeeds(&place.run_once(&[]));
    refuses(&place.aisle(&["dead-letters", "re-enter", "aisle-data"]), 2, &["--letters FILE"]);
    refuses(&place.aisle(&["dead-letters", "show", "aisle-data", "facts/0", "7"]), 1, &["no dead letter like that"]);
    refuses(
        &place.aisle(&["dead-letters", "re-enter", "aisle-data", "--letters", "none.ndjson"]),
        1,
        &["could not read none.ndjson"],
    );
    fs::write(place.path("wrong.ndjson"), "{}\n").unwrap();
    refuses(
        &place.aisle(&["dead-letters", "re-enter", "aisle-data", "--letters", "wrong.ndjson"]),
        1,
        &["nothing was let in: line 1", "missing field"],
    );
    let all = place.aisle(&["dead-letters", "list", "aisle-data", "--limit", "1"]);
    succeeds(&all);
    assert!(told(&all).contains("17 dead letters, 16 of them not shown (--limit)"), "{}", told(&all));
    // A damaged command log stops the run; it is never passed over.
    succeeds(&place.aisle(&["dead-letters", "re-enter", "aisle-data", "--code", "not_json"]));
    let log = place.path("aisle-data/commands.log");
    let mut bytes = fs::read(&log).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 4;
    fs::write(&log, bytes).unwrap();
    refuses(&place.run_once(&[]), 1, &["commands.log"]);
    refuses(&place.aisle(&["dead-letters", "list", "aisle-data"]), 1, &["commands.log"]);
}
