//! A cluster of processes over topics: what one process would do, also after all of them were killed, with Avro, and while
//! topics grow.

use std::fs;
use std::net::TcpListener;

use rdkafka::producer::Producer;
use serde_json::json;

use super::avro::{EVENT, FACT, LATER_EVENT, Writer, dead_letters, event, of_avro, replays};
use super::broker::{Broker, PATIENCE, eventually, write, write_all};
use super::place::{Place, succeeds, told};
use super::registry::TestRegistry;
use super::{VIEWS, count, have_the_same_rows, health, lines, now_ms, of_topics, rows, send_records};

/// The arguments of one of two processes.
fn process<'a>(number: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let cluster = ["run", "aisle.toml", "--listen", "127.0.0.1:0", "--workers", "2", "--processes", "2"];
    let which = ["--hostfile", "hosts", "--process", number];
    cluster.iter().chain(&which).chain(more).copied().collect()
}

/// Writes a host file of two free ports.
fn write_hosts(place: &Place) {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let hosts = listeners.map(|listener| listener.local_addr().unwrap().to_string());
    fs::write(place.path("hosts"), hosts.join("\n")).unwrap();
}

/// How many facts were read, with what is told of them.
fn read(place: &Place) -> i64 {
    health(place, "facts/0").map_or(0, |health| count(&health, "read"))
}

#[test]
fn two_processes_read_topics_as_one_reads_files() {
    let broker = Broker::shared();
    let (events, facts) = (broker.topic("events", 2, &[]), broker.topic("facts", 1, &[]));
    let (files, topics) = (Place::new(), Place::new());
    let writer = broker.writer();
    send_records(&files, &events, &facts, |text, topic, partition| write_all(&writer, topic, partition, &lines(text)));
    fs::write(topics.path("aisle.toml"), of_topics(&broker.bootstrap, &events, &facts)).unwrap();
    write_hosts(&topics);
    let once = || {
        let second = topics.start(&process("1", &["--once"]));
        let output = topics.aisle(&process("0", &["--once"]));
        succeeds(&output);
        let (code, said) = second.end();
        assert_eq!(code, Some(0), "{said}");
        assert!(told(&output).contains("holds for every partition"), "{}", told(&output));
    };
    once();
    succeeds(&files.run_once(&["--workers", "2"]));
    have_the_same_rows(&topics, &files, &VIEWS);

    // More comes, and all of them are killed while they read it.
    let second = topics.start(&process("1", &[]));
    let mut first = topics.start(&process("0", &[]));
    first.wait_for("every process of the cluster is there");
    let fact = |number: u64| {
        let at_ms = now_ms();
        format!(
            r#"{{"tenant":"north","id":"more{number}","kind":"receipt","node":"n0","sku":"more","quantity":1,"event_time_ms":{at_ms},"source":"pos"}}"#
        )
    };
    let more: Vec<String> = (0..500).map(fact).collect();
    write_all(&writer, &facts, 0, &more.iter().map(String::as_str).collect::<Vec<_>>());
    eventually("some of it is read", || (read(&topics) > 300).then_some(()));
    first.signal("KILL");
    second.signal("KILL");
    assert_eq!((first.end().0, second.end().0), (None, None));
    once();
    assert_eq!(read(&topics), 800, "none is lost and none comes twice");
    let stock = rows(&topics, "stock");
    let stock: Vec<&String> = stock.keys().filter(|row| row.contains("\"sku\":\"more\"")).collect();
    assert!(matches!(&stock[..], [row] if row.contains("\"book\":500,")), "{stock:?}");
    let replayed = topics.aisle(&["replay", "aisle-data", "--configuration", "aisle.toml", "--workers", "3"]);
    succeeds(&replayed);
}

/// Three partitions of Avro are read by two processes, of which only the first asks the registry, with a schema that comes
/// while they run; a topic grows; a letter enters again. All of it without a restart.
#[test]
fn two_processes_learn_schemas_grow_and_take_letters_while_they_run() {
    let (broker, registry) = (Broker::shared(), TestRegistry::own(19_488));
    let (events, facts) = (broker.topic("cluster-events", 2, &[]), broker.topic("cluster-facts", 1, &[]));
    let place = Place::new();
    fs::write(place.path("aisle.toml"), of_avro(&broker, &registry, &events, &facts)).unwrap();
    write_hosts(&place);
    let first_way = Writer::registered(&registry, "event", EVENT);
    let fact_way = Writer::registered(&registry, "fact", FACT);
    let missing = Writer { id: fact_way.id + 2, ..first_way };
    let fact = |id: &str| {
        let at_ms = now_ms();
        json!({ "tenant": "north", "id": id, "kind": "receipt", "node": "n0", "sku": "more", "quantity": 1,
            "event_time_ms": at_ms, "source": "pos" })
    };
    let writer = broker.writer();
    let send = |topic: &str, partition: i32, message: &[u8]| write(&writer, topic, partition, Some(message));
    let on_time = |partition: &str| health(&place, partition).map_or(0, |health| count(&health, "on_time"));
    let letters = |partition: &str| health(&place, partition).map_or(0, |health| count(&health, "dead_letters"));

    let mut second = place.start(&process("1", &[]));
    let mut first = place.start(&process("0", &[]));
    // Of four workers the third reads the facts: the second process has to learn their schema from the first.
    for partition in 0..2 {
        send(&events, partition, &first_way.message(&event(&format!("a{partition}"))));
    }
    send(&facts, 0, &fact_way.message(&fact("a")));
    send(&facts, 0, &missing.message(&event("unknown")));
    send(&facts, 0, &fact_way.message(&fact("b")));
    eventually("all of them are read", || {
        let read = (on_time("events/0"), on_time("events/1"), on_time("facts/0"), letters("facts/0"));
        (read == (1, 1, 2, 1)).then_some(())
    });
    assert_eq!(dead_letters(&place, "unknown_schema"), [("facts/0".to_owned(), 1)]);

    // Nobody can be asked for a while, and the second process says why.
    registry.kill();
    let later = Writer { id: fact_way.id + 1, fields: LATER_EVENT };
    send(&facts, 0, &later.message(&fact("c")));
    let line = second.wait_for("can't be read now");
    assert!(line.contains("could not ask the schema registry") && line.contains(&registry.base), "{line}");
    registry.restart();
    for (subject, fields) in [("event", EVENT), ("fact", FACT), ("later", LATER_EVENT)] {
        Writer::registered(&registry, subject, fields);
    }
    second.wait_for("can be read again");

    broker.grow(&events, 3);
    first.wait_for("has 3 partitions now; going on with that");
    second.wait_for("process 0 begins anew, since there is more to read");
    // The first writer does not know the new partition yet. A writer that goes takes along what it has not sent.
    let knowing = broker.writer();
    write(&knowing, &events, 2, Some(&first_way.message(&event("grown"))));
    knowing.flush(PATIENCE).unwrap();
    eventually("the added partition is read", || (on_time("events/2") == 1).then_some(()));

    let letter = json!({ "partition": "facts/0", "offset": 1, "record": fact("mended") }).to_string();
    fs::write(place.path("mended.ndjson"), &letter).unwrap();
    let enter = ["dead-letters", "re-enter", "aisle-data", "--letters", "mended.ndjson"];
    succeeds(&place.aisle(&enter));
    let entered = || health(&place, "re-entry/facts/0").map_or(0, |health| count(&health, "read"));
    eventually("the letter is read by the second process", || (entered() == 1).then_some(()));
    // Another one needs nobody to begin anew either: the second process asks for it.
    let unreadable = letters("facts/0");
    send(&facts, 0, b"no Avro");
    eventually("it is a letter", || (letters("facts/0") == unreadable + 1).then_some(()));
    let rows = super::rows(&place, "dead_letters");
    let newest = rows.keys().map(|row| serde_json::from_str::<serde_json::Value>(row).unwrap());
    let offset = newest.filter(|row| row["partition"] == "facts/0").filter_map(|row| row["offset"].as_i64()).max();
    let letter = json!({ "partition": "facts/0", "offset": offset, "record": fact("mended too") }).to_string();
    fs::write(place.path("mended.ndjson"), &letter).unwrap();
    succeeds(&place.aisle(&enter));
    eventually("the next letter is read, too", || (entered() == 2).then_some(()));

    for running in [&first, &second] {
        running.signal("TERM");
    }
    for running in [first, second] {
        let (_, said) = running.end();
        assert!(!said.contains("panicked"), "{said}");
    }
    registry.stop();
    replays(&place);
}
