//! The binary over topics of a real broker: the same views as from files, stalls, growth, and what is wrong at the start.
#![allow(clippy::unwrap_used, reason = "a test that can't go on says so by stopping")]
#![allow(dead_code, unreachable_pub, reason = "broker and place are shared with tests that need more of them")]

mod additions;
mod avro;
#[path = "../../../../connectors/tests/kafka/broker.rs"]
mod broker;
mod cluster;
mod logs;
#[path = "../main_job/multiset.rs"]
mod multiset;
#[path = "../main_job/place.rs"]
mod place;
#[path = "../../../../connectors/tests/schemas/registry.rs"]
mod registry;
#[path = "../main_job/served.rs"]
mod served;

use std::collections::BTreeMap;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use broker::{Broker, eventually, unique, write, write_all};
use dataflows::inventory::batch::BatchWriter;
use dataflows::inventory::statement::{KINDS, Statement};
use place::{CONFIGURATION, Place, Running, outputs, refuses, succeeds, told};
use serde_json::Value;

/// The views whose rows say nothing of where records came from.
const VIEWS: [&str; 5] = ["session_minutes", "variant_minutes", "variant_totals", "stock", "availability"];

const HOUR_MS: i64 = 3_600_000;

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

/// The same records, some hours old: what a clock would find too old to be kept is nothing to compare. Every text of a
/// test is given the same `begin_ms`, or what is a duplicate in another partition would become a conflict.
fn made_recent(text: &str, begin_ms: i64) -> String {
    const BEGIN_MS: i64 = 1_736_000_000_000;
    let mut parts = text.split("\"event_time_ms\":");
    let mut recent = parts.next().unwrap().to_owned();
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        let at_ms: i64 = part[..digits].parse().unwrap();
        recent.push_str(&format!("\"event_time_ms\":{}{}", at_ms - BEGIN_MS + begin_ms, &part[digits..]));
    }
    recent
}

/// A configuration whose sources are topics instead of files.
fn of_topics(bootstrap: &str, events: &str, facts: &str) -> String {
    let text = CONFIGURATION
        .replace("files = \"events-*.ndjson\"\nparallel = true", &format!("topic = \"{events}\""))
        .replace("files = \"facts.ndjson\"", &format!("topic = \"{facts}\""));
    format!("{text}\n[kafka]\nbootstrap = \"{bootstrap}\"\n")
}

/// The rows of a view at its last tick, from its change file, with how often each is there.
fn rows(place: &Place, view: &str) -> BTreeMap<String, i64> {
    let mut rows = BTreeMap::new();
    let text = fs::read_to_string(place.path(&format!("aisle-data/sinks/{view}/shard-0.ndjson"))).unwrap_or_default();
    // The last line may be being written.
    for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
        let Ok(Value::Object(mut line)) = serde_json::from_str(line) else { continue };
        if let (Some(row), Some(diff)) = (line.remove("row"), line.get("diff").and_then(Value::as_i64)) {
            let count = rows.entry(row.to_string()).or_insert(0);
            *count += diff;
        }
    }
    rows.retain(|_, count| *count != 0);
    rows
}

/// What is told of a partition.
fn health(place: &Place, partition: &str) -> Option<Value> {
    let rows = rows(place, "source_health");
    rows.keys().map(|row| serde_json::from_str::<Value>(row).unwrap()).find(|row| row["partition"] == partition)
}

fn count(health: &Value, name: &str) -> i64 {
    health[name].as_i64().unwrap()
}

/// Makes the records of a place recent, and hands each file's text to whoever sends it: its topic, its partition.
fn send_records(place: &Place, events: &str, facts: &str, mut send: impl FnMut(&str, &str, i32)) {
    let begin_ms = now_ms() - 6 * HOUR_MS;
    for (name, topic, partition) in
        [("events-0.ndjson", events, 0), ("events-1.ndjson", events, 1), ("facts.ndjson", facts, 0)]
    {
        let text = made_recent(&fs::read_to_string(place.path(name)).unwrap(), begin_ms);
        send(&text, topic, partition);
        fs::write(place.path(name), text).unwrap();
    }
}

/// The views of two places hold the same rows.
#[track_caller]
fn have_the_same_rows(found: &Place, expected: &Place, views: &[&str]) {
    for view in views {
        let (expected, found) = (rows(expected, view), rows(found, view));
        assert!(!expected.is_empty(), "{view}");
        assert_eq!(found, expected, "{view}");
    }
}

/// Of each partition, as much was read, late and dead in two places. Which of two partitions had a record first is up to the
/// ticks, and with it which of them has the duplicate.
#[track_caller]
fn have_read_the_same(found: &Place, expected: &Place) {
    for partition in ["events/0", "events/1", "facts/0"] {
        let (expected, found) = (health(expected, partition).unwrap(), health(found, partition).unwrap());
        for name in ["read", "late", "dead_letters"] {
            assert_eq!(found[name], expected[name], "{partition} {name}");
        }
    }
}

fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

fn stop(running: Running) -> String {
    running.signal("TERM");
    let (code, said) = running.end();
    assert_eq!(code, Some(0), "{said}");
    said
}

#[test]
fn topics_give_the_views_that_the_same_records_give_from_files() {
    let broker = Broker::shared();
    let (events, facts) = (broker.topic("events", 2, &[]), broker.topic("facts", 1, &[]));
    let (files, topics) = (Place::new(), Place::new());
    let writer = broker.writer();
    send_records(&files, &events, &facts, |text, topic, partition| write_all(&writer, topic, partition, &lines(text)));
    fs::write(topics.path("aisle.toml"), of_topics(&broker.bootstrap, &events, &facts)).unwrap();
    succeeds(&topics.aisle(&["check", "aisle.toml"]));
    succeeds(&files.run_once(&["--workers", "2"]));
    let output = topics.run_once(&["--workers", "2"]);
    succeeds(&output);
    assert!(told(&output).contains("holds for every partition"), "{}", told(&output));

    have_the_same_rows(&topics, &files, &VIEWS);
    have_read_the_same(&topics, &files);
    for partition in ["events/0", "events/1", "facts/0"] {
        // A lane that has spoken is caught up, and one that never has is idle for the log: no record came while it ran.
        assert_ne!(health(&topics, partition).unwrap()["status"], "behind", "{partition}");
    }
    let all = |place: &Place, name| {
        ["events/0", "events/1"].iter().map(|partition| count(&health(place, partition).unwrap(), name)).sum::<i64>()
    };
    for name in ["on_time", "duplicate"] {
        assert_eq!(all(&topics, name), all(&files, name), "{name}");
    }
    // The broker is asked for the same records again.
    let replayed = topics.aisle(&["replay", "aisle-data", "--configuration", "aisle.toml", "--workers", "3"]);
    succeeds(&replayed);
    assert!(told(&replayed).contains("are the same"), "{}", told(&replayed));
    refuses(&topics.aisle(&["replay", "aisle-data"]), 1, &["nothing says where Kafka is"]);
    // A second run goes on where the first one ended.
    write_all(&writer, &facts, 0, &["{\"broken\":"]);
    let dead = count(&health(&topics, "facts/0").unwrap(), "dead_letters");
    succeeds(&topics.run_once(&["--workers", "1"]));
    assert_eq!(count(&health(&topics, "facts/0").unwrap(), "dead_letters"), dead + 1);
    succeeds(&topics.aisle(&["replay", "aisle-data", "--configuration", "aisle.toml"]));
}

/// The facts of a text of lines, in messages of up to seven, and then a message that is none.
fn batches(text: &str) -> Vec<Vec<u8>> {
    let mut writer = BatchWriter::default();
    let mut messages = Vec::new();
    for line in text.lines() {
        let fact: Value = serde_json::from_str(line).unwrap();
        let kind = KINDS.iter().find(|(name, _)| fact["kind"] == *name).unwrap().1;
        assert!(writer.push(&Statement {
            tenant: fact["tenant"].as_str(),
            id: fact["id"].as_str(),
            node: fact["node"].as_str(),
            sku: fact["sku"].as_str(),
            quantity: fact["quantity"].as_i64(),
            event_time_ms: fact["event_time_ms"].as_i64(),
            source: fact["source"].as_str(),
            ..Statement::of(kind)
        }));
        if writer.facts() == 7 {
            messages.extend(writer.finish());
        }
    }
    messages.extend(writer.finish());
    messages.push(b"no batch at all".to_vec());
    messages
}

#[test]
fn batches_of_facts_give_the_views_that_the_same_facts_give_as_lines() {
    let broker = Broker::shared();
    let (events, facts) = (broker.topic("events", 1, &[]), broker.topic("facts", 1, &[]));
    let (files, topics) = (Place::new(), Place::new());
    let writer = broker.writer();
    let text = made_recent(&fs::read_to_string(files.path("facts.ndjson")).unwrap(), now_ms() - 6 * HOUR_MS);
    batches(&text).iter().for_each(|message| write(&writer, &facts, 0, Some(message)));
    write_all(&writer, &events, 0, &["{}"]);
    fs::write(files.path("facts.ndjson"), &text).unwrap();
    let configuration = of_topics(&broker.bootstrap, &events, &facts)
        .replace("kind = \"inventory\"\n", "kind = \"inventory\"\nformat = \"facts-batch\"\n");
    fs::write(topics.path("aisle.toml"), configuration).unwrap();
    succeeds(&files.run_once(&["--workers", "2"]));
    // The only event is none, which is told.
    refuses(&topics.run_once(&["--workers", "2"]), 3, &["none of the 1 records of source \"events\" was taken"]);
    have_the_same_rows(&topics, &files, &["stock", "availability"]);
    let (expected, found) = (health(&files, "facts/0").unwrap(), health(&topics, "facts/0").unwrap());
    assert_eq!(count(&found, "on_time"), count(&expected, "on_time"));
    assert_eq!(
        count(&found, "dead_letters"),
        count(&expected, "dead_letters") + 1,
        "what is no batch is one dead letter"
    );
    succeeds(&topics.aisle(&["replay", "aisle-data", "--configuration", "aisle.toml"]));
}

#[test]
fn partitions_that_are_added_to_a_topic_are_read_from_a_recorded_tick_on() {
    let broker = Broker::shared();
    let (events, facts) = (broker.topic("grown", 1, &[]), broker.topic("facts", 1, &[]));
    let place = Place::new();
    fs::write(place.path("aisle.toml"), of_topics(&broker.bootstrap, &events, &facts)).unwrap();
    let event = |id: &str| {
        let at_ms = now_ms();
        format!(r#"{{"tenant":"north","id":"{id}","session":"s","kind":"view","event_time_ms":{at_ms}}}"#)
    };
    let writer = broker.writer();
    let sent_twice = event("a");
    write_all(&writer, &events, 0, &[&sent_twice, &event("b")]);
    let mut running = place.start(&["run", "aisle.toml"]);
    let read = |partition: &str| health(&place, partition).map_or(0, |health| count(&health, "read"));
    eventually("both are read", || (read("events/0") == 2).then_some(()));
    broker.grow(&events, 2);
    running.wait_for("has 2 partitions now; going on with that");
    let writer = broker.writer();
    write_all(&writer, &events, 1, &[&sent_twice, &event("c")]);
    write_all(&writer, &events, 0, &[&event("d")]);
    eventually("the added partition is read", || {
        let told = health(&place, "events/1")?;
        (count(&told, "read") == 2 && count(&told, "duplicate") + count(&told, "on_time") == 2 && read("events/0") == 3)
            .then_some(())
    });
    let added = health(&place, "events/1").unwrap();
    assert_eq!((count(&added, "duplicate"), count(&added, "on_time")), (1, 1), "a retry counts once: {added}");
    stop(running);

    let replayed = place.aisle(&["replay", "aisle-data", "--configuration", "aisle.toml"]);
    succeeds(&replayed);
    assert!(told(&replayed).contains("are the same"), "{}", told(&replayed));
    // What was added while nobody looked is found at the start.
    broker.grow(&events, 3);
    write_all(&broker.writer(), &events, 2, &[&event("e")]);
    succeeds(&place.run_once(&[]));
    assert_eq!((read("events/0"), read("events/1"), read("events/2")), (3, 2, 1));
    succeeds(&place.aisle(&["replay", "aisle-data", "--configuration", "aisle.toml"]));
}

#[test]
fn a_broker_that_goes_away_is_a_stall_that_is_told_once_and_over_when_it_is_back() {
    let broker = Broker::own(19_702);
    let (events, facts) = (broker.topic("events", 1, &[]), broker.topic("facts", 1, &[]));
    let place = Place::new();
    fs::write(place.path("aisle.toml"), of_topics(&broker.bootstrap, &events, &facts)).unwrap();
    let event = |id: u64| {
        let at_ms = now_ms();
        format!(r#"{{"tenant":"north","id":"e{id}","session":"s","kind":"view","event_time_ms":{at_ms}}}"#)
    };
    write_all(&broker.writer(), &events, 0, &[&event(1)]);
    let mut running = place.start(&["run", "aisle.toml"]);
    let status = || health(&place, "events/0").map(|health| health["status"].as_str().unwrap().to_owned());
    eventually("it is caught up", || (status()? == "caught_up").then_some(()));
    broker.kill();
    running.wait_for("can't be read now");
    eventually("it is behind", || (status()? == "behind").then_some(()));
    broker.restart();
    write_all(&broker.writer(), &events, 0, &[&event(2)]);
    eventually("it is caught up again", || {
        (status()? == "caught_up" && count(&health(&place, "events/0")?, "read") == 2).then_some(())
    });
    let said = stop(running);
    assert_eq!(said.matches("can't be read now").count(), 2, "once for each partition: {said}");
    assert_eq!(said.matches("can be read again").count(), 2, "{said}");
    succeeds(&place.aisle(&["replay", "aisle-data", "--configuration", "aisle.toml"]));
    broker.stop();
}

#[test]
fn a_topic_created_anew_ends_the_run_and_is_refused_by_the_next_one() {
    let broker = Broker::shared();
    let (events, facts) = (broker.topic("events", 1, &[]), broker.topic("anew", 1, &[]));
    let place = Place::new();
    fs::write(place.path("aisle.toml"), of_topics(&broker.bootstrap, &events, &facts)).unwrap();
    write_all(&broker.writer(), &facts, 0, &["{\"broken\":"]);
    let running = place.start(&["run", "aisle.toml"]);
    eventually("it is read", || (count(&health(&place, "facts/0")?, "read") == 1).then_some(()));
    broker.delete(&facts);
    broker.create(&facts, 1, &[]);
    let (code, said) = running.end();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&facts) && said.contains("created again"), "{said}");
    let before = outputs(&place.path("aisle-data"));
    refuses(&place.run_once(&[]), 1, &[&facts, "was created anew", "--fresh"]);
    assert_eq!(outputs(&place.path("aisle-data")), before);
    succeeds(&place.run_once(&["--fresh"]));
}

#[test]
fn what_is_wrong_at_the_start_ends_it_with_one_message() {
    let broker = Broker::shared();
    let facts = broker.topic("facts", 1, &[]);
    let missing = unique("missing");
    let place = Place::new();
    let configured = |text: &str| fs::write(place.path("aisle.toml"), text).unwrap();
    configured(&of_topics(&broker.bootstrap, &missing, &facts));
    succeeds(&place.aisle(&["check", "aisle.toml"]));
    refuses(&place.run_once(&[]), 1, &["has no topic", &missing, "create it"]);

    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    configured(&of_topics(&format!("127.0.0.1:{port}"), &missing, &facts));
    succeeds(&place.aisle(&["check", "aisle.toml"]));
    refuses(&place.run_once(&[]), 1, &["does not answer", &port.to_string(), "bootstrap"]);

    let sasl = "[kafka.sasl]\nmechanism = \"plain\"\nusername = \"u\"\npassword_env = \"AISLE_TEST_NOT_SET\"\n";
    configured(&format!("{}{sasl}", of_topics(&broker.bootstrap, &missing, &facts)));
    refuses(&place.run_once(&[]), 1, &["AISLE_TEST_NOT_SET", "it is not set"]);
    assert!(!place.path("aisle-data").exists(), "nothing was begun");
}
