//! A cluster of processes over topics: what one process would do, also after all of them were killed.

use std::fs;
use std::net::TcpListener;

use super::broker::{Broker, eventually, write_all};
use super::place::{Place, succeeds, told};
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
