//! A log in a topic of a real broker: one writer at a time, each entry once, whatever happens to the broker.
#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used, reason = "a test that can't go on says so by stopping")]
#![allow(dead_code, unreachable_pub, reason = "the broker is shared with tests that need more of it")]

#[path = "kafka/broker.rs"]
mod broker;
#[path = "kafka/hanging.rs"]
mod hanging;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use broker::{Broker, PATIENCE, eventually, unique, write, write_all};
use connectors::kafka::connection::Connection;
use connectors::kafka::log::{self, TopicLog, TopicLogError, TopicLogOptions};
use hanging::{Forged, ForgedMessage, hang};
use operators::disk::{Log, LogError};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::Producer;

fn options(topic: &str) -> TopicLogOptions {
    TopicLogOptions { topic: topic.to_owned(), create_with_replicas: Some(1) }
}

fn open(broker: &Broker, topic: &str) -> Result<TopicLog, TopicLogError> {
    log::open(&Connection::plaintext(&broker.bootstrap), &options(topic), Arc::default())
}

fn committed(broker: &Broker, topic: &str) -> Vec<Vec<u8>> {
    log::read(&Connection::plaintext(&broker.bootstrap), topic).unwrap()
}

fn entries(numbers: std::ops::Range<u64>) -> Vec<Vec<u8>> {
    numbers.map(|number| format!("entry {number}").into_bytes()).collect()
}

fn append(log: &mut impl Log, numbers: std::ops::Range<u64>) -> Result<(), LogError> {
    entries(numbers).iter().try_for_each(|entry| log.append(entry))?;
    log.sync()
}

#[test]
fn entries_of_any_size_are_there_for_the_next_writer() {
    let (broker, topic) = (Broker::shared(), unique("log"));
    let mut first = open(&broker, &topic).unwrap();
    append(&mut first, 0..3).unwrap();
    // More than a message may hold: it goes in parts.
    let large = vec![7; 3 << 20];
    first.append(&large).unwrap();
    first.append(b"").unwrap();
    first.sync().unwrap();
    first.append(b"never synchronised").unwrap();
    drop(first);
    let expected = [entries(0..3), vec![large, Vec::new()]].concat();
    assert_eq!(committed(&broker, &topic), expected);
    let mut second = open(&broker, &topic).unwrap();
    assert_eq!(second.read().unwrap(), expected);
    append(&mut second, 5..6).unwrap();
    assert_eq!(committed(&broker, &topic), [expected, entries(5..6)].concat());
}

#[test]
fn a_writer_that_was_taken_over_is_told_and_does_not_come_back() {
    let (broker, topic) = (Broker::shared(), unique("log"));
    let mut first = open(&broker, &topic).unwrap();
    append(&mut first, 0..3).unwrap();
    let mut second = open(&broker, &topic).unwrap();
    let told = append(&mut first, 3..4).unwrap_err().to_string();
    assert!(told.contains("another process has taken over the log in the topic") && told.contains(&topic), "{told}");
    append(&mut second, 3..5).unwrap();
    append(&mut second, 5..6).unwrap();
    assert_eq!(committed(&broker, &topic), entries(0..6));
}

#[test]
fn a_broker_that_is_killed_is_waited_for_and_no_entry_is_there_twice() {
    let broker = Broker::own(19_782);
    let topic = unique("log");
    let stop = Arc::new(AtomicBool::new(false));
    let connection = Connection::plaintext(&broker.bootstrap);
    let mut log = log::open(&connection, &options(&topic), Arc::clone(&stop)).unwrap();
    append(&mut log, 0..3).unwrap();
    let written = Arc::new(std::sync::atomic::AtomicU64::new(3));
    let counted = Arc::clone(&written);
    let writing = std::thread::spawn(move || {
        for entry in 3.. {
            match append(&mut log, entry..entry + 1) {
                Ok(()) => counted.store(entry + 1, Ordering::Release),
                Err(error) => return (entry, error),
            }
        }
        unreachable!("entries have no end")
    });
    let reaches = |count: u64| {
        eventually("entries are written", || (written.load(Ordering::Acquire) >= count).then_some(()));
    };
    reaches(20);
    broker.kill();
    broker.restart();
    reaches(written.load(Ordering::Acquire) + 20);
    // Away again, and the writer is told to stop while it waits.
    broker.kill();
    let before = written.load(Ordering::Acquire);
    stop.store(true, Ordering::Release);
    let (reached, error) = writing.join().unwrap();
    assert!(matches!(error, LogError::Stopped), "{error}");
    broker.restart();
    let mut next = open(&broker, &topic).unwrap();
    let found = next.read().unwrap();
    let durable = found.len() as u64;
    assert!(before <= reached && reached <= durable && durable <= reached + 1, "{before} {reached} {durable}");
    assert_eq!(found, entries(0..durable));
    broker.stop();
}

/// The cluster says yes to a commit before readers see it, and may forget it in between: that is no acknowledgement.
#[test]
fn an_entry_is_durable_when_readers_see_it() {
    let (broker, topic) = (Broker::shared(), unique("log"));
    let mut log = open(&broker, &topic).unwrap();
    append(&mut log, 0..1).unwrap();
    let reader: BaseConsumer = ClientConfig::new().set("bootstrap.servers", &broker.bootstrap).create().unwrap();
    let seen = || reader.fetch_watermarks(&topic, 0, PATIENCE).unwrap().1;
    // What lies behind an open transaction is not seen, whatever becomes of it itself.
    let stranger = broker.transactional_writer();
    stranger.begin_transaction().unwrap();
    write(&stranger, &topic, 0, Some(b"never seen"));
    stranger.flush(PATIENCE).unwrap();
    let before = seen();
    let appending = std::thread::spawn(move || append(&mut log, 1..2).unwrap());
    let began = Instant::now();
    eventually("some time passes", || {
        assert!(!appending.is_finished() && seen() == before, "acknowledged before it is seen");
        (began.elapsed() > Duration::from_secs(1)).then_some(())
    });
    stranger.abort_transaction(PATIENCE).unwrap();
    appending.join().unwrap();
    assert_eq!(committed(&broker, &topic), entries(0..2));
}

/// A broker that is killed may forget to write the end of a transaction: nobody would ever read past it.
#[test]
fn a_transaction_that_the_broker_forgot_is_aborted() {
    let broker = Broker::own(19_822);
    let topic = unique("log");
    let garbage = || {
        let messages = vec![ForgedMessage::garbage("7")];
        hang(&broker.bootstrap, &topic, &[Forged { topic: topic.clone(), partition: 0, messages }]);
    };
    let mut log = open(&broker, &topic).unwrap();
    append(&mut log, 0..3).unwrap();
    garbage();
    // The writer that runs, and the next one.
    let appending = std::thread::spawn(move || append(&mut log, 3..5).unwrap());
    eventually("the writer goes on", || appending.is_finished().then_some(()));
    appending.join().unwrap();
    garbage();
    let mut log = open(&broker, &topic).unwrap();
    assert_eq!(log.read().unwrap(), entries(0..5));
    append(&mut log, 5..6).unwrap();
    assert_eq!(committed(&broker, &topic), entries(0..6));
    broker.stop();
}

#[test]
fn what_is_no_place_for_a_log_is_refused_with_what_to_do() {
    let broker = Broker::shared();
    let refused = |topic: &str| open(&broker, topic).map(|_| ()).unwrap_err().to_string();
    let connection = Connection::plaintext(&broker.bootstrap);
    let missing = TopicLogOptions { create_with_replicas: None, ..options(&unique("missing")) };
    let told = log::open(&connection, &missing, Arc::default()).map(|_| ()).unwrap_err().to_string();
    assert!(told.contains("kafka-topics.sh") && told.contains("--config retention.ms=-1"), "{told}");

    let told = refused(&broker.topic("wide", 2, &[]));
    assert!(told.contains("has 2 partitions, but a log is in one"), "{told}");
    let told = refused(&broker.topic("short", 1, &[("retention.ms", "1000000")]));
    assert!(told.contains("(retention.ms=1000000); correct it: kafka-configs.sh"), "{told}");
    let told = refused(&broker.topic("compacted", 1, &[("cleanup.policy", "compact"), ("retention.ms", "-1")]));
    assert!(told.contains("(cleanup.policy=compact)"), "{told}");

    let keeps = [("retention.ms", "-1")];
    let foreign = broker.topic("foreign", 1, &keeps);
    write_all(&broker.writer(), &foreign, 0, &["{}"]);
    let told = eventually("the message is there", || {
        open(&broker, &foreign).unwrap().read().err().map(|error| error.to_string())
    });
    assert!(told.contains("is damaged at offset 0: its key is \"\", no number"), "{told}");
    let emptied = broker.topic("emptied", 1, &keeps);
    append(&mut open(&broker, &emptied).unwrap(), 0..3).unwrap();
    broker.delete_records(&emptied, 0, 2);
    let told = open(&broker, &emptied).unwrap().read().unwrap_err().to_string();
    assert!(told.contains("has lost its beginning: its first offset is 2"), "{told}");
}

#[test]
fn a_log_that_was_made_anew_under_its_writer_is_told() {
    let (broker, topic) = (Broker::shared(), unique("log"));
    let mut log = open(&broker, &topic).unwrap();
    append(&mut log, 0..30).unwrap();
    broker.delete(&topic);
    broker.create(&topic, 1, &[("retention.ms", "-1")]);
    let told = append(&mut log, 30..31).unwrap_err().to_string();
    assert!(told.contains("went back") && told.contains(&topic), "{told}");
}

/// What a tick costs here that it does not cost in a file; printed, not judged.
#[test]
fn the_time_of_a_synchronisation_is_told() {
    let (broker, topic) = (Broker::shared(), unique("log"));
    let mut log = open(&broker, &topic).unwrap();
    let mut times: Vec<Duration> = (0..50)
        .map(|entry| {
            let began = std::time::Instant::now();
            append(&mut log, entry..entry + 1).unwrap();
            began.elapsed()
        })
        .collect();
    times.sort_unstable();
    println!("append and synchronise: median {:?}, 90th percentile {:?}", times[25], times[45]);
    assert_eq!(committed(&broker, &topic).len(), 50);
}
