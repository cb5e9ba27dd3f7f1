//! A cluster of processes over topics: what one process would do, also after all of them were killed.

use std::fs;
use std::net::TcpListener;

use super::broker::{Broker, write_all};
use super::place::{Place, succeeds, told};
use super::{HOUR_MS, VIEWS, lines, made_recent, now_ms, of_topics, rows};

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

#[test]
fn two_processes_read_topics_as_one_reads_files() {
    let broker = Broker::shared();
    let (events, facts) = (broker.topic("events", 2, &[]), broker.topic("facts", 1, &[]));
    let (files, topics) = (Place::new(), Place::new());
    let writer = broker.writer();
    let begin_ms = now_ms() - 6 * HOUR_MS;
    let mut later = Vec::new();
    for (name, topic, partition) in
        [("events-0.ndjson", &events, 0), ("events-1.ndjson", &events, 1), ("facts.ndjson", &facts, 0)]
    {
        let text = made_recent(&fs::read_to_string(files.path(name)).unwrap(), begin_ms);
        fs::write(files.path(name), &text).unwrap();
        let (now, then) = text.split_at(text[..text.len() / 2].rfind('\n').unwrap() + 1);
        write_all(&writer, topic, partition, &lines(now));
        later.push((topic, partition, then.to_owned()));
    }
    fs::write(topics.path("aisle.toml"), of_topics(&broker.bootstrap, &events, &facts)).unwrap();
    write_hosts(&topics);

    // The first half, and then all of them are killed.
    let second = topics.start(&process("1", &[]));
    let mut first = topics.start(&process("0", &[]));
    first.wait_for("every process of the cluster is there");
    first.wait_for(" records, ");
    first.signal("KILL");
    second.signal("KILL");
    assert_eq!((first.end().0, second.end().0), (None, None));

    later.iter().for_each(|(topic, partition, text)| write_all(&writer, topic, *partition, &lines(text)));
    let second = topics.start(&process("1", &["--once"]));
    let output = topics.aisle(&process("0", &["--once"]));
    succeeds(&output);
    let (code, said) = second.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(told(&output).contains("resuming"), "{}", told(&output));
    assert!(told(&output).contains("holds for every partition"), "{}", told(&output));

    succeeds(&files.run_once(&["--workers", "2"]));
    for view in VIEWS {
        let (expected, found) = (rows(&files, view), rows(&topics, view));
        assert!(!expected.is_empty(), "{view}");
        assert_eq!(found, expected, "{view}");
    }
    let replayed = topics.aisle(&["replay", "aisle-data", "--configuration", "aisle.toml", "--workers", "3"]);
    succeeds(&replayed);
}
