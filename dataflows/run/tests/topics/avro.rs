//! Topics of Avro, with a real registry: what is asked is recorded, so what the registry says later changes nothing.

use std::fs;

use serde_json::{Value, json};

use super::broker::{Broker, eventually, write};
use super::place::{Place, outputs, refuses, succeeds, told};
use super::registry::TestRegistry;
use super::{
    VIEWS, count, have_read_the_same, have_the_same_rows, health, now_ms, of_topics, rows, send_records, stop,
};

/// A way to write records: each field of JSON that is not there is null.
pub(crate) struct Writer {
    pub(crate) id: u32,
    /// Names of fields, and whether they are numbers, texts or maps of texts.
    pub(crate) fields: &'static [(&'static str, Shape)],
}

#[derive(Clone, Copy)]
pub(crate) enum Shape {
    Number,
    Text,
    Texts,
}
use Shape::{Number, Text, Texts};

pub(crate) const FACT: &[(&str, Shape)] = &[
    ("tenant", Text),
    ("id", Text),
    ("kind", Text),
    ("node", Text),
    ("sku", Text),
    ("quantity", Number),
    ("event_time_ms", Number),
    ("source", Text),
];

/// All of them but those that were added later.
pub(crate) const EVENT: &[(&str, Shape)] = LATER_EVENT.split_at(8).0;

/// A later version, to which fields were added; one of them is none of ours.
pub(crate) const LATER_EVENT: &[(&str, Shape)] = &[
    ("tenant", Text),
    ("id", Text),
    ("session", Text),
    ("unit", Text),
    ("kind", Text),
    ("event_time_ms", Number),
    ("value", Number),
    ("attributes", Texts),
    ("quantity", Number),
    ("page", Text),
];

impl Writer {
    pub(crate) fn registered(
        registry: &TestRegistry,
        subject: &str,
        fields: &'static [(&'static str, Shape)],
    ) -> Writer {
        let shape = |shape: Shape| match shape {
            Number => json!("long"),
            Text => json!("string"),
            Texts => json!({ "type": "map", "values": "string" }),
        };
        let fields_json: Vec<Value> = fields
            .iter()
            .map(|(name, of)| json!({ "name": name, "type": ["null", shape(*of)], "default": null }))
            .collect();
        let schema = json!({ "type": "record", "name": "Record", "fields": fields_json }).to_string();
        Writer { id: registry.register(subject, &schema), fields }
    }

    pub(crate) fn message(&self, record: &Value) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend(self.id.to_be_bytes());
        for (name, shape) in self.fields {
            let value = record.get(name);
            long(&mut bytes, i64::from(value.is_some()));
            let Some(value) = value else { continue };
            match shape {
                Number => long(&mut bytes, value.as_i64().unwrap()),
                Text => text(&mut bytes, value.as_str().unwrap()),
                Texts => {
                    let entries = value.as_object().unwrap();
                    long(&mut bytes, entries.len() as i64);
                    for (name, value) in entries {
                        text(&mut bytes, name);
                        text(&mut bytes, value.as_str().unwrap());
                    }
                    long(&mut bytes, 0);
                }
            }
        }
        bytes
    }
}

fn long(bytes: &mut Vec<u8>, value: i64) {
    let mut rest = (value << 1 ^ value >> 63).cast_unsigned();
    while rest > 127 {
        bytes.push(rest as u8 | 128);
        rest >>= 7;
    }
    bytes.push(rest as u8);
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    long(bytes, text.len() as i64);
    bytes.extend_from_slice(text.as_bytes());
}

/// The lines of a text as messages, by turns of each way to write; what is no JSON is no Avro either.
fn messages(text: &str, ways: &[&Writer]) -> Vec<Vec<u8>> {
    let message = |(line, way): (&str, &&Writer)| match serde_json::from_str::<Value>(line) {
        Ok(record) => way.message(&record),
        Err(_) => line.as_bytes().to_vec(),
    };
    text.lines().zip(ways.iter().cycle()).map(message).collect()
}

/// A configuration of topics whose messages are Avro.
pub(crate) fn of_avro(broker: &Broker, registry: &TestRegistry, events: &str, facts: &str) -> String {
    let text = of_topics(&broker.bootstrap, events, facts).replace("topic = ", "format = \"avro\"\ntopic = ");
    format!("{text}\n[registry]\nurl = \"{}\"\n", registry.base)
}

pub(crate) fn event(id: &str) -> Value {
    json!({ "tenant": "north", "id": id, "session": "s", "kind": "view", "event_time_ms": now_ms() })
}

pub(crate) fn replays(place: &Place) {
    let replayed = place.aisle(&["replay", "aisle-data", "--configuration", "aisle.toml", "--workers", "3"]);
    succeeds(&replayed);
    assert!(told(&replayed).contains("are the same"), "{}", told(&replayed));
}

/// The dead letters that are there with a code, by where they were.
pub(crate) fn dead_letters(place: &Place, code: &str) -> Vec<(String, i64)> {
    let rows = rows(place, "dead_letters");
    let rows = rows.keys().map(|row| serde_json::from_str::<Value>(row).unwrap());
    let of_code = rows.filter(|row| row["code"] == code);
    let mut found: Vec<_> =
        of_code.map(|row| (row["partition"].as_str().unwrap().to_owned(), row["offset"].as_i64().unwrap())).collect();
    found.sort();
    found
}

#[test]
fn avro_gives_the_views_that_the_same_records_give_as_lines() {
    let (broker, registry) = (Broker::shared(), TestRegistry::shared());
    let (events, facts) = (broker.topic("avro-events", 2, &[]), broker.topic("avro-facts", 1, &[]));
    let (files, topics) = (Place::new(), Place::new());
    let subject = format!("{events}-value");
    let (first, later) =
        (Writer::registered(&registry, &subject, EVENT), Writer::registered(&registry, &subject, LATER_EVENT));
    assert_ne!(first.id, later.id);
    let fact = Writer::registered(&registry, &format!("{facts}-value"), FACT);
    let writer = broker.writer();
    send_records(&files, &events, &facts, |text, topic, partition| {
        let ways = match (topic == facts, partition) {
            (true, _) => vec![&fact],
            (false, 0) => vec![&first, &later],
            (false, _) => vec![&later, &first],
        };
        messages(text, &ways).iter().for_each(|message| write(&writer, topic, partition, Some(message)));
    });
    fs::write(topics.path("aisle.toml"), of_avro(&broker, &registry, &events, &facts)).unwrap();
    succeeds(&topics.aisle(&["check", "aisle.toml"]));
    succeeds(&files.run_once(&["--workers", "2"]));
    let output = topics.run_once(&["--workers", "2"]);
    succeeds(&output);
    assert!(told(&output).contains("holds for every partition"), "{}", told(&output));
    have_the_same_rows(&topics, &files, &VIEWS);
    have_read_the_same(&topics, &files);
    replays(&topics);
}

/// The registry forgets what it said and says other things under the same ids, and nothing of it is seen.
#[test]
fn what_the_registry_said_once_holds_for_ever_and_while_it_is_away_is_a_stall() {
    let (broker, registry) = (Broker::shared(), TestRegistry::own(19_486));
    let (events, facts) = (broker.topic("avro-events", 1, &[]), broker.topic("avro-facts", 1, &[]));
    let place = Place::new();
    fs::write(place.path("aisle.toml"), of_avro(&broker, &registry, &events, &facts)).unwrap();
    let writer = broker.writer();
    let send = |message: &[u8]| write(&writer, &events, 0, Some(message));
    let read = || health(&place, "events/0").map_or(0, |health| count(&health, "read"));
    let on_time = || health(&place, "events/0").map_or(0, |health| count(&health, "on_time"));
    let status = || health(&place, "events/0").map(|health| health["status"].as_str().unwrap().to_owned());

    let first = Writer::registered(&registry, "first", EVENT);
    let missing = Writer { id: first.id + 2, ..first };
    send(&first.message(&event("a")));
    send(&missing.message(&event("b")));
    let mut running = place.start(&["run", "aisle.toml"]);
    eventually("both are read", || (read() == 2 && status()? == "caught_up").then_some(()));
    assert_eq!(dead_letters(&place, "unknown_schema"), [("events/0".to_owned(), 1)]);

    registry.kill();
    let second = Writer { id: first.id + 1, fields: LATER_EVENT };
    send(&first.message(&event("c")));
    send(&second.message(&event("d")));
    let line = running.wait_for("can't be read now");
    assert!(line.contains("could not ask the schema registry") && line.contains(&registry.base), "{line}");
    eventually("what was known needs no registry", || (read() == 3 && status()? == "behind").then_some(()));

    // A 404 would be an answer for ever, so nobody asks before everything is registered. It comes back and gives the id of the first one to another schema, and the id that it did not know to the first.
    running.signal("STOP");
    registry.restart();
    let other = Writer::registered(&registry, "other", FACT);
    assert_eq!(other.id, first.id, "the registry of these tests counts from the beginning");
    assert_eq!(Writer::registered(&registry, "second", LATER_EVENT).id, second.id);
    assert_eq!(Writer::registered(&registry, "third", EVENT).id, missing.id);
    running.signal("CONT");
    running.wait_for("can be read again");
    eventually("the one that waited is read", || (read() == 4 && status()? == "caught_up").then_some(()));
    assert_eq!(on_time(), 3);

    running.signal("KILL");
    running.end();
    send(&first.message(&event("e")));
    send(&missing.message(&event("f")));
    send(&second.message(&event("g")));
    for more in [&["--workers", "2"][..], &["--replay-all"]] {
        succeeds(&place.run_once(more));
        assert_eq!((read(), on_time()), (7, 5), "{more:?}");
        let unknown = [("events/0".to_owned(), 1), ("events/0".to_owned(), 5)];
        assert_eq!(dead_letters(&place, "unknown_schema"), unknown, "{more:?}");
    }

    // A replay asks nobody, also not for records that came after the run.
    registry.stop();
    send(&Writer { id: 77, ..first }.message(&event("h")));
    replays(&place);
    let before = outputs(&place.path("aisle-data"));
    refuses(&place.run_once(&[]), 1, &["could not ask the schema registry", &registry.base]);
    assert_eq!(outputs(&place.path("aisle-data")), before);
}

#[test]
fn what_is_no_registry_ends_the_start_with_one_message() {
    let (broker, registry) = (Broker::shared(), TestRegistry::shared());
    let (events, facts) = (broker.topic("avro-events", 1, &[]), broker.topic("avro-facts", 1, &[]));
    let place = Place::new();
    let configuration = of_avro(&broker, &registry, &events, &facts);
    let configured = |text: &str| fs::write(place.path("aisle.toml"), text).unwrap();
    configured(&configuration.replace("/apis/ccompat/v7", "/nowhere"));
    refuses(&place.run_once(&[]), 1, &["does not answer as a schema registry", "/nowhere/schemas/ids/0"]);
    configured(&format!("{configuration}username = \"u\"\npassword_env = \"AISLE_TEST_NOT_SET\"\n"));
    refuses(&place.run_once(&[]), 1, &["`[registry]`", "AISLE_TEST_NOT_SET", "it is not set"]);
    configured(&configuration.replace("[registry]", "[registrar]"));
    refuses(&place.aisle(&["check", "aisle.toml"]), 2, &["nothing says where their schemas are"]);
    assert!(!place.path("aisle-data").exists(), "nothing was begun");

    // A registry that knows no users takes whoever says who he is.
    configured(&format!("{configuration}username = \"u\"\npassword_env = \"HOME\"\n"));
    let mut running = place.start(&["run", "aisle.toml", "--listen", "127.0.0.1:0"]);
    running.wait_for("serving on");
    stop(running);
}
