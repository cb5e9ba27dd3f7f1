//! The source of one partition of a topic, against a real broker.
#![allow(clippy::unwrap_used, reason = "a test that can't go on says so by stopping")]
#![allow(unreachable_pub, reason = "what is shared with other tests is public to them")]
#![allow(dead_code, reason = "each test uses what it needs of the broker")]

#[path = "kafka/broker.rs"]
mod broker;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use broker::{Broker, PATIENCE, eventually, unique, write, write_all};
use connectors::kafka::cluster::{Cluster, ClusterError};
use connectors::kafka::connection::Connection;
use connectors::kafka::source::{TopicPartition, TopicSource};
use operators::record::{Batch, Decode, Header, Identity, Rejection};
use operators::source::{Polled, Source, SourceError};
use operators::topology::GroupId;
use rdkafka::producer::Producer;

/// Takes any text but "bad".
struct Words;

impl Decode for Words {
    type Record = String;
    fn decode(&mut self, line: &[u8]) -> Result<(Header, String), Rejection> {
        let text = String::from_utf8_lossy(line).into_owned();
        let identity = Identity::Id { id: 0, content: 0 };
        let header = Header { group: GroupId(0), lane: 0, event_time_ms: 0, identity };
        if text == "bad" { Err(Rejection::new("bad", "it is bad")) } else { Ok((header, text)) }
    }
}

fn connect(broker: &Broker) -> Arc<Cluster> {
    Arc::new(Cluster::connect(&Connection::plaintext(&broker.bootstrap), 1 << 20).unwrap())
}

/// A source as a run would make it: with the id that the topic has now.
fn source(cluster: &Arc<Cluster>, topic: &str, from: u64) -> TopicSource<Words> {
    let described = cluster.topics(&[topic.to_owned()]).unwrap();
    let place = TopicPartition { topic: topic.to_owned(), topic_id: described[0].id.clone(), partition: 0 };
    let mut source = TopicSource::new(Arc::clone(cluster), place, Words);
    source.seek(from).unwrap();
    source
}

/// What has been read of a source.
#[derive(Default)]
struct Read {
    words: Vec<(u64, String)>,
    dead: Vec<(u64, String)>,
    append_ms: Vec<i64>,
    /// The offset after the last batch.
    next: Option<u64>,
}

impl Read {
    fn note(&mut self, batch: Batch<String>) {
        assert!(self.next.is_none_or(|next| next <= batch.end_offset), "offsets ascend");
        assert!(batch.append_ms.is_empty() || batch.append_ms.len() == batch.items.len());
        for (place, item) in batch.items.iter().enumerate() {
            let raw = batch.raw(place, item.offset, item.length);
            assert_eq!(raw.len(), (item.length as usize).min(64 << 10));
            assert!(self.next.is_none_or(|next| next <= item.offset) && item.offset < batch.end_offset);
            match &item.outcome {
                Ok((_, word)) => {
                    assert!(word.as_bytes().starts_with(&raw));
                    self.words.push((item.offset, word.clone()));
                }
                Err((rejection, _)) => self.dead.push((item.offset, rejection.code.to_string())),
            }
        }
        self.append_ms.extend(&batch.append_ms);
        self.next = Some(batch.end_offset);
    }

    fn words(&self) -> Vec<&str> {
        self.words.iter().map(|(_, word)| word.as_str()).collect()
    }
}

/// Reads until the source says that it is caught up, and where.
fn read_to_the_end(source: &mut TopicSource<Words>) -> (Read, u64) {
    let mut read = Read::default();
    let end = eventually("the source is caught up", || match source.poll(1 << 16).unwrap() {
        Polled::Batch(batch) => {
            read.note(batch);
            None
        }
        Polled::CaughtUp(offset) => Some(offset),
        _ => None,
    });
    (read, end)
}

/// Polls for a while, in which nothing may be said of an end.
fn read_without_an_end(source: &mut TopicSource<Words>, during: Duration) -> Read {
    let (mut read, until) = (Read::default(), Instant::now() + during);
    while Instant::now() < until {
        match source.poll(1 << 16).unwrap() {
            Polled::Batch(batch) => read.note(batch),
            Polled::Nothing => std::thread::sleep(Duration::from_millis(5)),
            end => panic!("{end:?}, but the end was not reached"),
        }
    }
    read
}

/// Polls until there is an error that is none of the passing ones.
fn definite_error(source: &mut TopicSource<Words>) -> (Read, SourceError) {
    let mut read = Read::default();
    let error = eventually("there is an error", || match source.poll(1 << 16) {
        Ok(Polled::Batch(batch)) => {
            read.note(batch);
            None
        }
        Ok(_) => None,
        Err(error) => (!error.is_transient()).then_some(error),
    });
    (read, error)
}

#[test]
fn messages_are_records_in_their_order_and_an_end_is_told_with_its_offset() {
    let broker = Broker::shared();
    let topic = broker.topic("order", 1, &[]);
    let writer = broker.writer();
    let long = "x".repeat(500_000);
    write_all(&writer, &topic, 0, &["one", "bad", "", &long]);
    write(&writer, &topic, 0, None);
    write(&writer, &topic, 0, Some(b"n\xffrth"));
    write_all(&writer, &topic, 0, &["last"]);
    let mut source = source(&connect(&broker), &topic, 0);
    let (read, end) = read_to_the_end(&mut source);
    assert_eq!(end, 7);
    assert_eq!(read.next, Some(7));
    let words = [(0, "one"), (2, ""), (3, &long), (6, "last")];
    assert_eq!(read.words, words.map(|(offset, word)| (offset, word.to_owned())));
    let dead = [(1, "bad"), (4, "tombstone"), (5, "invalid_utf8")];
    assert_eq!(read.dead, dead.map(|(offset, code)| (offset, code.to_owned())));
    // It goes on from anywhere, and evidence is renewed while nothing comes.
    source.seek(5).unwrap();
    let (read, _) = read_to_the_end(&mut source);
    assert_eq!(read.words(), ["last"]);
    assert_eq!(read_to_the_end(&mut source).1, 7);
    write_all(&writer, &topic, 0, &["more"]);
    let (read, end) = read_to_the_end(&mut source);
    assert_eq!((read.words(), end), (vec!["more"], 8));
}

#[test]
fn a_partition_without_records_tells_its_end_with_a_batch_that_has_none() {
    let broker = Broker::shared();
    let topic = broker.topic("empty", 1, &[]);
    write_all(&broker.writer(), &topic, 0, &["a", "b", "c"]);
    broker.delete_records(&topic, 0, 3);
    let cluster = connect(&broker);
    assert_eq!(cluster.offsets(&topic, 0).unwrap(), (3, 3));
    let (read, end) = read_to_the_end(&mut source(&cluster, &topic, 3));
    assert_eq!((read.words.len(), read.next, end), (0, Some(3), 3));
}

#[test]
fn many_messages_come_in_bounded_batches_and_none_is_lost() {
    let broker = Broker::shared();
    let topic = broker.topic("many", 1, &[]);
    let writer = broker.writer();
    let words: Vec<String> = (0..50_000).map(|number| format!("{number:0>100}")).collect();
    for word in &words {
        let mut record = rdkafka::producer::BaseRecord::<(), str>::to(&topic).partition(0).payload(word);
        while let Err((_, again)) = writer.send(record) {
            record = again;
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    writer.flush(PATIENCE).unwrap();
    let mut source = source(&connect(&broker), &topic, 0);
    let mut read = Read::default();
    eventually("all are read", || {
        match source.poll(10_000).unwrap() {
            Polled::Batch(batch) => {
                assert!(batch.bytes <= 10_100, "{} bytes", batch.bytes);
                assert!(batch.append_ms.is_empty(), "the topic has the time of creation");
                read.note(batch);
            }
            _ => std::thread::sleep(Duration::from_millis(5)),
        }
        (read.next == Some(50_000)).then_some(())
    });
    assert_eq!(read.words(), words);
}

#[test]
fn what_is_aborted_is_not_seen_and_the_marks_of_transactions_are_passed_over() {
    let broker = Broker::shared();
    let topic = broker.topic("transactions", 1, &[]);
    let writer = broker.transactional_writer();
    writer.begin_transaction().unwrap();
    write_all(&writer, &topic, 0, &["committed"]);
    writer.commit_transaction(PATIENCE).unwrap();
    writer.begin_transaction().unwrap();
    write_all(&writer, &topic, 0, &["aborted", "aborted too"]);
    writer.abort_transaction(PATIENCE).unwrap();
    let mut source = source(&connect(&broker), &topic, 0);
    // One record and its mark, two records and theirs.
    let (read, end) = read_to_the_end(&mut source);
    assert_eq!((read.words(), read.next, end), (vec!["committed"], Some(5), 5));
    // Nothing but marks and aborted records after the last record that was read: a batch without records says so.
    writer.begin_transaction().unwrap();
    write_all(&writer, &topic, 0, &["aborted again"]);
    writer.abort_transaction(PATIENCE).unwrap();
    let (read, end) = read_to_the_end(&mut source);
    assert_eq!((read.words.len(), read.next, end), (0, Some(7), 7));
}

#[test]
fn behind_an_open_transaction_nobody_is_caught_up() {
    let broker = Broker::shared();
    let topic = broker.topic("open", 1, &[]);
    write_all(&broker.writer(), &topic, 0, &["before"]);
    let mut source = source(&connect(&broker), &topic, 0);
    assert_eq!(read_to_the_end(&mut source).1, 1);

    let writer = broker.transactional_writer();
    writer.begin_transaction().unwrap();
    write_all(&writer, &topic, 0, &["open"]);
    write_all(&broker.writer(), &topic, 0, &["behind it"]);
    let read = read_without_an_end(&mut source, Duration::from_secs(3));
    assert_eq!(read.words.len(), 0);
    writer.commit_transaction(PATIENCE).unwrap();
    let (read, end) = read_to_the_end(&mut source);
    assert_eq!((read.words(), end), (vec!["open", "behind it"], 4));
}

#[test]
fn append_times_are_given_where_the_topic_has_them() {
    let broker = Broker::shared();
    let topic = broker.topic("append", 1, &[("message.timestamp.type", "LogAppendTime")]);
    let now_ms = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let before_ms = now_ms();
    write_all(&broker.writer(), &topic, 0, &["a", "bad", "c"]);
    let (read, _) = read_to_the_end(&mut source(&connect(&broker), &topic, 0));
    assert_eq!(read.append_ms.len(), 3, "dead letters were appended too");
    assert!(read.append_ms.iter().all(|append_ms| (before_ms..=now_ms()).contains(append_ms)));

    let topic = broker.topic("create", 1, &[]);
    write_all(&broker.writer(), &topic, 0, &["a", "b"]);
    let (read, _) = read_to_the_end(&mut source(&connect(&broker), &topic, 0));
    assert_eq!((read.words.len(), read.append_ms.len()), (2, 0));
}

#[test]
fn a_topic_that_was_created_anew_is_another_one_even_if_it_holds_as_many_records() {
    let broker = Broker::shared();
    for running in [true, false] {
        let topic = broker.topic("anew", 1, &[]);
        write_all(&broker.writer(), &topic, 0, &["old 0", "old 1"]);
        let cluster = connect(&broker);
        let mut source = source(&cluster, &topic, 0);
        if running {
            assert_eq!(read_to_the_end(&mut source).0.words(), ["old 0", "old 1"]);
        }
        broker.delete(&topic);
        broker.create(&topic, 1, &[]);
        write_all(&broker.writer(), &topic, 0, &["new 0", "new 1", "new 2", "new 3"]);
        let (read, error) = definite_error(&mut source);
        assert_eq!(read.words.len(), 0, "no record of the new topic is taken for one of the old: {:?}", read.words);
        let SourceError::Recreated { recorded, found, .. } = &error else { panic!("{error}") };
        assert_ne!(recorded, found);
        assert!(error.to_string().contains(&topic) && error.to_string().contains("--fresh"), "{error}");
    }
}

#[test]
fn a_topic_that_is_deleted_is_gone() {
    let broker = Broker::shared();
    let topic = broker.topic("deleted", 1, &[]);
    write_all(&broker.writer(), &topic, 0, &["a"]);
    let mut source = source(&connect(&broker), &topic, 0);
    read_to_the_end(&mut source);
    broker.delete(&topic);
    let (_, error) = definite_error(&mut source);
    assert!(matches!(&error, SourceError::Gone { .. }) && error.to_string().contains(&topic), "{error}");
}

#[test]
fn records_that_were_deleted_before_they_were_read_end_the_source() {
    let broker = Broker::shared();
    let topic = broker.topic("expired", 1, &[]);
    write_all(&broker.writer(), &topic, 0, &["a", "b", "c", "d"]);
    broker.delete_records(&topic, 0, 3);
    let mut source = source(&connect(&broker), &topic, 1);
    let (read, error) = definite_error(&mut source);
    assert_eq!(read.words.len(), 0);
    assert!(matches!(error, SourceError::Expired { wanted: 1, oldest: 3, .. }), "{error}");
    source.seek(9).unwrap();
    let (_, error) = definite_error(&mut source);
    assert!(matches!(error, SourceError::Truncated { wanted: 9, end: 4, .. }), "{error}");
    source.seek(3).unwrap();
    assert_eq!(read_to_the_end(&mut source).0.words(), ["d"]);
}

#[test]
fn a_broker_out_of_reach_is_a_stall_and_no_end_and_nothing_is_lost() {
    let broker = Broker::own(19_592);
    let topic = broker.topic("stopped", 1, &[("flush.messages", "1")]);
    write_all(&broker.writer(), &topic, 0, &["before"]);
    let mut source = source(&connect(&broker), &topic, 0);
    assert_eq!(read_to_the_end(&mut source).1, 1);
    broker.kill();
    // It may have been asked just before.
    let error = eventually("the stall is told", || source.poll(1 << 16).err());
    assert!(error.is_transient(), "{error}");
    for _ in 0..3 {
        match source.poll(1 << 16) {
            Ok(Polled::Nothing) => {}
            Err(error) => assert!(error.is_transient(), "{error}"),
            other => panic!("{other:?} of a broker that is down"),
        }
    }
    broker.restart();
    write_all(&broker.writer(), &topic, 0, &["after"]);
    let mut read = Read::default();
    let end = eventually("it recovers by itself", || match source.poll(1 << 16) {
        Ok(Polled::Batch(batch)) => {
            read.note(batch);
            None
        }
        Ok(Polled::CaughtUp(end)) => (end == 2).then_some(end),
        Ok(_) => None,
        Err(error) => {
            assert!(error.is_transient(), "{error}");
            None
        }
    });
    assert_eq!((read.words(), end), (vec!["after"], 2));
    broker.stop();
}

#[test]
fn what_is_wrong_at_the_start_has_a_name() {
    let broker = Broker::shared();
    let cluster = connect(&broker);
    let missing = unique("missing");
    let error = cluster.topics(std::slice::from_ref(&missing)).unwrap_err();
    assert_eq!(error, ClusterError::UnknownTopic { bootstrap: broker.bootstrap.clone(), topic: missing });

    // Nobody listens at the port of a socket that was just closed.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nowhere = Cluster::connect(&Connection::plaintext(format!("127.0.0.1:{port}")), 1 << 20).unwrap();
    let error = nowhere.topics(&["any".to_owned()]).unwrap_err();
    assert!(matches!(&error, ClusterError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains(&port.to_string()), "{error}");
}
