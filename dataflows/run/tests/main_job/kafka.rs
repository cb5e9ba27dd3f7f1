//! Kafka sinks, as the binary's users have them, against a real broker: what a consumer sees is what the change files say.
#![cfg(feature = "kafka")]

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use connectors::kafka::connection::Connection;
use connectors::kafka::sink::Mode;
use connectors::kafka::sink::verify::{Question, SentMessage, verify};
use serde_json::Value;

use super::place::{CONFIGURATION, Place, outputs, refuses, succeeds, told};

fn bootstrap() -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/kafka.sh");
    let output = Command::new(script).arg("start").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A name that no other test has.
fn unique() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    format!("test-{}-{since:x}", std::process::id())
}

/// A place whose run writes to topics of its own.
fn place(engine: &str, bootstrap: &str, more: &str) -> Place {
    let place = Place::new();
    let sinks = format!(
        "{CONFIGURATION}\n[views.session_minutes]\nshards = 3\n\n[[sinks]]\nname = \"main\"\n\
         topic = \"{engine}.{{view}}\"\nengine = \"{engine}\"\nbootstrap = \"{bootstrap}\"\ncreate = true\nreplicas = 1\n{more}"
    );
    fs::write(place.path("aisle.toml"), sinks).unwrap();
    place
}

/// What a consumer has, by partition.
fn consumed(bootstrap: &str, engine: &str, view: &str, mode: Mode) -> BTreeMap<u32, Vec<SentMessage>> {
    let question = Question {
        topic: format!("{engine}.{view}"),
        progress_topic: Some(format!("{engine}.main.progress")),
        mode,
        patience: Duration::from_secs(60),
    };
    let mut messages: BTreeMap<u32, Vec<SentMessage>> = BTreeMap::new();
    let found = verify(&Connection::plaintext(bootstrap), &question, |partition, message| {
        messages.entry(partition).or_default().push(message);
    });
    let found = found.unwrap();
    assert_eq!(found.violation, None, "{found:?}");
    messages
}

/// The lines of changes of every change file, by view and shard.
fn changes(place: &Place) -> BTreeMap<(String, u32), Vec<String>> {
    let mut changes = BTreeMap::new();
    for (path, bytes) in outputs(&place.path("aisle-data")) {
        let view = path.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
        let shard = path.file_stem().unwrap().to_str().unwrap().strip_prefix("shard-").unwrap().parse().unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let lines = text.lines().filter(|line| line.starts_with("{\"tick\":")).map(str::to_owned);
        changes.insert((view, shard), lines.collect());
    }
    changes
}

fn assert_same(place: &Place, bootstrap: &str, engine: &str, mode: Mode) {
    let mut compared = 0;
    for ((view, shard), lines) in changes(place) {
        let messages = consumed(bootstrap, engine, &view, mode).remove(&shard).unwrap_or_default();
        let values: Vec<String> =
            messages.into_iter().map(|message| String::from_utf8(message.value.unwrap()).unwrap()).collect();
        assert!(values == lines, "{view}[{shard}]: {} messages, {} lines", values.len(), lines.len());
        compared += lines.len();
    }
    assert!(compared > 1_000, "{compared}");
}

#[test]
fn topics_hold_what_the_change_files_hold_and_replay_derives_the_same_messages() {
    let (bootstrap, engine) = (bootstrap(), unique());
    let place = place(&engine, &bootstrap, "");
    succeeds(&place.run_once(&["--workers", "2"]));
    assert_same(&place, &bootstrap, &engine, Mode::Transactional);
    let topic = format!("{engine}.session_minutes");
    let verified = place.aisle(&["verify-sink", &topic, "--configuration", "aisle.toml"]);
    succeeds(&verified);
    assert!(told(&verified).contains("every message is there once"), "{}", told(&verified));
    let against = ["replay", "aisle-data", "--sink", "main", "--bootstrap", &bootstrap, "--engine", &engine];
    let replayed = place.aisle(&against);
    succeeds(&replayed);
    let text = told(&replayed);
    let counts: Vec<&str> = text.split_whitespace().filter(|word| word.parse::<u64>().is_ok()).collect();
    assert!(counts.len() == 2 && counts[0] == counts[1], "{text}");
    // Another run's topics are not gone on with.
    refuses(&place.run_once(&["--fresh"]), 1, &["the log was cut"]);
}

/// Killed again and again, with other numbers of workers: the topics are those of a run that was not.
#[test]
fn killed_runs_leave_the_topics_of_one_that_was_not() {
    let (bootstrap, engine) = (bootstrap(), unique());
    for mode in ["transactional", "idempotent-sequenced"] {
        let engine = format!("{engine}-{mode}");
        let place = place(&engine, &bootstrap, &format!("mode = \"{mode}\"\n"));
        let mode = if mode == "transactional" { Mode::Transactional } else { Mode::IdempotentSequenced };
        for workers in ["1", "2", "3"] {
            let mut running = place.start(&["run", "aisle.toml", "--workers", workers, "--listen", "127.0.0.1:0"]);
            running.wait_for("serving on");
            running.signal("KILL");
            running.end();
        }
        succeeds(&place.run_once(&["--workers", "2"]));
        assert_same(&place, &bootstrap, &engine, mode);
        succeeds(&place.aisle(&["replay", "aisle-data", "--sink", "main", "--configuration", "aisle.toml"]));
    }
}

/// Folding upserts by key gives what folding changes gives.
#[test]
fn upserts_add_up_to_the_same_view() {
    let (bootstrap, engine) = (bootstrap(), unique());
    let views = ["stock", "availability", "variant_totals", "source_health"];
    let place = place(&engine, &bootstrap, &format!("rows = \"upserts\"\nviews = {views:?}\n"));
    succeeds(&place.run_once(&[]));
    let changes = changes(&place);
    for view in views {
        let mut rows: BTreeMap<String, i64> = BTreeMap::new();
        for line in &changes[&(view.to_owned(), 0)] {
            let change: Value = serde_json::from_str(line).unwrap();
            *rows.entry(change["row"].to_string()).or_default() += change["diff"].as_i64().unwrap();
        }
        rows.retain(|_, diff| *diff != 0);
        let mut upserted: BTreeMap<Vec<u8>, String> = BTreeMap::new();
        for message in consumed(&bootstrap, &engine, view, Mode::Transactional).remove(&0).unwrap() {
            match message.value {
                Some(value) => drop(upserted.insert(message.key, String::from_utf8(value).unwrap())),
                None => drop(upserted.remove(&message.key)),
            }
        }
        let mut upserted: Vec<String> = upserted.into_values().collect();
        upserted.sort();
        assert_eq!(upserted, rows.into_keys().collect::<Vec<_>>(), "{view}");
    }
}

#[test]
fn what_is_wrong_with_a_cluster_is_told_at_the_start() {
    let (bootstrap, engine) = (bootstrap(), unique());
    let text = |place: &Place| fs::read_to_string(place.path("aisle.toml")).unwrap();
    let without_topics = place(&engine, &bootstrap, "");
    fs::write(without_topics.path("aisle.toml"), text(&without_topics).replace("create = true", "")).unwrap();
    refuses(&without_topics.run_once(&[]), 1, &["there is no topic", "--create --topic", "create = true"]);
    let elsewhere = place(&engine, "127.0.0.1:1", "");
    refuses(&elsewhere.run_once(&[]), 1, &["127.0.0.1:1", "could not ask"]);
    let nothing = ["verify-sink", "no-such-topic", "--bootstrap", &bootstrap];
    refuses(&elsewhere.aisle(&nothing), 1, &["there is no topic \"no-such-topic\""]);
}
