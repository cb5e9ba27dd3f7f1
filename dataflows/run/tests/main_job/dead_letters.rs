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
    request_with(url, method, path, "Content-Type: application/json\r\n", body)
}

/// The same with other headers.
fn request_with(url: &str, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
    let address = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n",
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
    // What a page of another site can send: it must not get so far as to be read.
    for (headers, status) in [
        ("Content-Type: text/plain\r\n", 415),
        ("", 415),
        ("Content-Type: application/json\r\nOrigin: https://shop.example\r\n", 403),
        ("Content-Type: text/plain\r\nOrigin: null\r\n", 403),
    ] {
        let letter = format!("{{\"partition\":\"facts/0\",\"offset\":{offset}}}");
        let (answered, told) = request_with(&url, "POST", "/v1/dead-letters/re-enter", headers, &letter);
        assert_eq!((answered, told.contains("{\"error\":{\"code\":")), (status, true), "{headers} {told}");
    }
    assert_eq!(request(&url, "POST", "/v1/views/stock", "").0, 405);

    // The command line finds the process by itself.
    let letter = serde_json::json!({ "partition": "facts/0", "offset": offset, "record": MENDED });
    fs::write(place.path("mended.ndjson"), letter.to_string()).unwrap();
    let entered = place.aisle(&["dead-letters", "re-enter", "aisle-data", "--letters", "mended.ndjson"]);
    succeeds(&entered);
    let answer = crate::place::told(&entered);
    assert!(answer.contains("1 letters entered by command 0: 1 late") && answer.contains("late at tick"), "{answer}");
    // Whoever is answered finds it in the views, and in the files.
    assert_eq!(changes(&place, "stock", "mended").len(), 1);
    let (status, stock) = request(&url, "GET", "/v1/views/stock?sku=mended", "");
    assert_eq!(status, 200, "{stock}");
    assert!(stock.contains("\"book\":5"), "{stock}");

    // Of several letters each has its verdict. The same command again, by its id, changes nothing.
    let both = "{\"partition\":\"facts/0\",\"offset\":OFFSET,\"record\":{}}\n".replace("OFFSET", &offset.to_string());
    let told = enter(&both);
    assert_eq!((told.0, told.1.contains("entered before")), (400, true), "{told:?}");
    let events: Vec<Value> = listed(&place, &["--code", "not_json", "--partition", "events/0"]);
    let offset_of = |number: usize| events[number]["offset"].as_u64().unwrap();
    let view = |id: &str| {
        serde_json::json!({ "tenant": "north", "id": id, "session": "mended", "kind": "view",
            "event_time_ms": 1_736_000_000_000_i64 })
    };
    let letter = |number: usize, record: Value| {
        serde_json::json!({ "partition": "events/0", "offset": offset_of(number), "record": record }).to_string()
    };
    let body = [letter(2, view("mended")), letter(3, view("mended")), letter(4, "broken".into())].join("\n");
    let named = |body: &str| request(&url, "POST", "/v1/dead-letters/re-enter?id=mend-3&principal=ops", body);
    let (status, told) = named(&body);
    let answer: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(
        (status, &answer["command"], &answer["entered"], &answer["id"]),
        (200, &1.into(), &3.into(), &"mend-3".into())
    );
    let records = answer["records"].as_array().unwrap();
    let verdicts: Vec<&str> = records.iter().map(|record| record["verdict"].as_str().unwrap()).collect();
    assert_eq!(verdicts, ["late", "late", "dead_letter"], "{told}");
    assert_eq!((&records[2]["code"], &records[1]["offset"]), (&"not_json".into(), &offset_of(3).into()), "{told}");
    assert_eq!(records[0]["tick"], records[2]["tick"], "a command of one partition is of one tick: {told}");
    assert_eq!(named(&body), (200, told), "the same again");
    assert_eq!(named(&letter(5, view("other"))).0, 409, "another command of this name");
    for wrong in ["?id=a%20b", "?wait_ms=99999999", "?wait=1"] {
        assert_eq!(request(&url, "POST", &format!("/v1/dead-letters/re-enter{wrong}"), &body).0, 400, "{wrong}");
    }

    // Killed right after it was taken, a command is there all the same.
    let (first, second) = (offset_of(0), offset_of(1));
    let body = format!(
        "{{\"partition\":\"events/0\",\"offset\":{first}}}\n{{\"partition\":\"events/0\",\"offset\":{second}}}\n"
    );
    let (status, told) = request(&url, "POST", "/v1/dead-letters/re-enter?wait_ms=0", &body);
    assert_eq!((status, told.as_str()), (202, "{\"command\":2,\"entered\":2,\"id\":\"2\"}"));
    running.signal("KILL");
    let (_, said) = running.end();
    assert!(!said.contains("going on with that"), "it never began anew: {said}");
    succeeds(&place.run_once(&[]));
    assert_eq!(health(&place, "re-entry/events/0")["read"], 5);
    assert_eq!(changes(&place, "stock", "mended").len(), 1);
    succeeds(&place.aisle(&["replay", "aisle-data"]));
}

/// Partitions in which letters enter again are there from the first tick on, and are shown once something entered.
#[test]
fn nothing_is_shown_of_re_entry_before_something_enters() {
    let (place, _) = place();
    succeeds(&place.run_once(&[]));
    let plan = fs::read(place.path("aisle-data/remap.log")).unwrap();
    let plan = String::from_utf8_lossy(&plan);
    assert_eq!(plan.matches("\"shown_once_read\":true").count(), 3, "two partitions of events, one of facts");
    let shown = fs::read_to_string(place.path("aisle-data/sinks/source_health/shard-0.ndjson")).unwrap();
    assert!(!shown.contains("re-entry/"));
    succeeds(&place.aisle(&["dead-letters", "re-enter", "aisle-data", "--partition", "facts/0"]));
    succeeds(&place.run_once(&[]));
    let again = fs::read(place.path("aisle-data/remap.log")).unwrap();
    assert_eq!(String::from_utf8_lossy(&again).matches("\"shown_once_read\"").count(), 3, "no entry was needed for it");
    let shown = fs::read_to_string(place.path("aisle-data/sinks/source_health/shard-0.ndjson")).unwrap();
    assert!(shown.contains("re-entry/facts/0") && !shown.contains("re-entry/events/0"));
}

#[test]
fn a_command_log_that_lacks_what_was_bound_is_named() {
    let (place, _) = place();
    succeeds(&place.run_once(&[]));
    for code in ["--partition=facts/0", "--partition=events/0"] {
        succeeds(&place.aisle(&["dead-letters", "re-enter", "aisle-data", code]));
        succeeds(&place.run_once(&[]));
    }
    let log = place.path("aisle-data/commands.log");
    let bytes = fs::read(&log).unwrap();
    // The second command is gone, as if it had never been synchronised.
    fs::write(&log, &bytes[..bytes.len() - 1]).unwrap();
    let words = ["the command log (commands.log) ends at offset 1", "binds commands up to offset 2"];
    refuses(&place.aisle(&["replay", "aisle-data"]), 1, &words);
    refuses(&place.run_once(&[]), 1, &words);
    refuses(&place.aisle(&["dead-letters", "re-enter", "aisle-data", "--code", "not_json"]), 1, &words);
    fs::write(&log, &bytes).unwrap();
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
    for partition in ["--partition=events/0", "--partition=facts/0"] {
        succeeds(&place.aisle(&["dead-letters", "re-enter", "aisle-data", partition]));
    }
    let log = place.path("aisle-data/commands.log");
    let mut bytes = fs::read(&log).unwrap();
    let at = bytes.len() / 4;
    bytes[at] ^= 4;
    fs::write(&log, bytes).unwrap();
    refuses(&place.run_once(&[]), 1, &["commands.log"]);
    refuses(&place.aisle(&["dead-letters", "list", "aisle-data"]), 1, &["commands.log"]);
}

/// What a record holds moves no cursor and sets no title.
#[test]
fn what_a_terminal_would_obey_is_shown() {
    let (place, offset) = place();
    let path = place.path("facts.ndjson");
    let facts = fs::read_to_string(&path).unwrap();
    fs::write(&path, facts.replacen("\"mended\"", "\"\u{1b}]0;a title\u{7}\u{9b}2J\"", 1)).unwrap();
    succeeds(&place.run_once(&[]));
    for what in [&["show", "aisle-data", "facts/0", &offset.to_string()][..], &["list", "aisle-data"]] {
        let shown = place.aisle(&[&["dead-letters"], what].concat());
        succeeds(&shown);
        let text = told(&shown);
        assert!(!text.contains(['\u{1b}', '\u{7}', '\u{9b}']), "{text:?}");
        assert!(text.contains("\\u{1b}]0;a title\\u{7}\\u{9b}2J") || what[0] == "list", "{text}");
    }
}
