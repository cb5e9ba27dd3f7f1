//! The Kafka sink against a real broker: what a consumer of committed messages sees is each message once, whatever happens.
#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used, reason = "a test that can't go on says so by stopping")]

#[path = "kafka_sink/broker.rs"]
mod broker;
#[path = "kafka/hanging.rs"]
#[allow(unreachable_pub, dead_code, reason = "it is shared with tests that need more of it")]
mod hanging;
#[path = "kafka_sink/place.rs"]
mod place;
#[path = "kafka_sink/torn.rs"]
mod torn;

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use connectors::kafka::sink::verify::{Found, SentMessage};
use connectors::kafka::sink::{KafkaSink, KafkaSinkError, Mode, WhenFull, headers_of};
use operators::delivery::Message;
use operators::time::Tick;

use broker::{Broker, records};
use place::{Place, derived, until};

#[test]
fn what_is_committed_is_what_was_written() {
    for mode in [Mode::Transactional, Mode::IdempotentSequenced] {
        let place = Place::new(Broker::shared());
        let options = || place.options(|options| options.mode = mode);
        let mut sink = place.open(options()).unwrap();
        place.write(&mut sink, 0..20);
        place.drain(&sink);
        drop(sink);
        let found = place.verified(mode);
        assert_eq!(found, place.expected(20), "{mode:?}");
        // A second process goes on where the first ended, and sends nothing again.
        let mut sink = place.open(options()).unwrap();
        assert_eq!(sink.next_tick(), 20);
        place.write(&mut sink, 0..25);
        place.drain(&sink);
        drop(sink);
        assert_eq!(place.verified(mode), place.expected(25), "{mode:?}");
    }
}

/// Transactions are really used: their ends take up offsets of their own.
#[test]
fn control_records_are_on_the_wire() {
    let place = Place::new(Broker::shared());
    let mut sink = place.open(place.options(|_| {})).unwrap();
    place.write(&mut sink, 0..5);
    place.drain(&sink);
    drop(sink);
    let (low, high) = place.broker.offsets(&place.topics[0], 0);
    let messages = place.expected(5)[&(place.topics[0].clone(), 0)].len() as i64;
    assert_eq!(low, 0);
    assert!(high > messages, "{messages} messages end at offset {high}");
    assert_eq!(records(place.broker, &place.topics[0], 0, "read_uncommitted"), messages as usize);
}

/// Killed between sending and committing: the next writer ends what was open, nobody sees it, and all of it comes again.
#[test]
fn what_was_not_committed_is_not_seen() {
    let place = Place::new(Broker::shared());
    let options = place.options(|_| {});
    let mut sink = place.open(options.clone()).unwrap();
    place.write(&mut sink, 0..6);
    place.drain(&sink);
    drop(sink);
    let producer = place.broker.transactional(&options.transactional_id(0));
    place.broker.send(&producer, &place.topics[0], 0, &derived(6)[0]);
    place.broker.leave(producer);
    assert!(
        records(place.broker, &place.topics[0], 0, "read_uncommitted")
            > place.expected(6)[&(place.topics[0].clone(), 0)].len()
    );

    let mut sink = place.open(options).unwrap();
    place.write(&mut sink, 0..9);
    place.drain(&sink);
    drop(sink);
    assert_eq!(place.verified(Mode::Transactional), place.expected(9));
}

/// Nobody sees what lies behind a transaction that does not end, so nothing is written behind it: whoever starts is told where
/// it is.
#[test]
fn a_transaction_of_somebody_else_that_stays_open_is_named() {
    let place = Place::new(Broker::shared());
    let options = place.options(|options| options.transaction_timeout = Duration::from_secs(1));
    let mut sink = place.open(options.clone()).unwrap();
    place.write(&mut sink, 0..6);
    place.drain(&sink);
    drop(sink);
    let (_, end) = place.broker.offsets(&place.topics[0], 0);
    let stranger = place.broker.transactional(&format!("stranger to {}", place.name));
    place.broker.send(&stranger, &place.topics[0], 0, &derived(6)[0]);
    let error = place.open(options.clone()).unwrap_err();
    let text = error.to_string();
    let command = format!("abort --topic {} --partition 0 --start-offset {end}, then start again", place.topics[0]);
    assert!(error.is_transient() && text.contains(&command), "{text}");

    place.broker.abort(stranger);
    let mut sink = place.open(options).unwrap();
    place.write(&mut sink, 6..9);
    place.drain(&sink);
    drop(sink);
    assert_eq!(place.verified(Mode::Transactional), place.expected(9));
}

/// Messages of a tick whose transactions take so long that the test comes to stop them in the middle.
const LARGE: u32 = 8_000;

/// A tick is divided among many transactions. Whoever stops between two of them goes on in the middle of the tick.
#[test]
fn a_large_tick_is_split_and_resumed_in_its_middle() {
    let place = Place::new(Broker::shared());
    let options = place.options(|options| options.transaction_messages_max = 3);
    let mut sink = place.open(options.clone()).unwrap();
    place.write(&mut sink, 0..2);
    let large = |tick| vec![place::messages(tick, LARGE), place::messages(tick, 100)];
    sink.write(2, large(2), &AtomicBool::new(false)).unwrap();
    sink.flush().unwrap();
    // Whoever reads it to its end while it is written reads all of it: the end's offset says as much.
    let before = place.broker.offsets(&place.topics[0], 0).1;
    until("some of the tick is there", || place.broker.offsets(&place.topics[0], 0).1 > before + 30);
    drop(sink);
    let progress = place.broker.newest_progress(&options, 0);
    assert!(progress.tick == 2 && progress.sent > 0 && progress.sent < LARGE, "{progress:?}");
    place.verified(Mode::Transactional);

    let mut sink = place.open(place.options(|_| {})).unwrap();
    place.write(&mut sink, 0..2);
    sink.write(2, large(2), &AtomicBool::new(false)).unwrap();
    place.drain(&sink);
    drop(sink);
    let of_tick =
        |shard, count: usize| -> Vec<SentMessage> { place.sent(shard, 2, &place::messages(2, count as u32), 0) };
    let verified = place.verified(Mode::Transactional);
    for (shard, count) in [(0, LARGE as usize), (1, 100)] {
        let key = (place.topics[0].clone(), shard);
        let mut expected = place.expected(2)[&key].clone();
        expected.extend(of_tick(shard, count));
        assert_eq!(verified[&key], expected, "shard {shard}");
    }
    // The same without its outbox: what is missing is derived again.
    std::fs::remove_dir_all(place.outbox()).unwrap();
    let sink = place.open(place.options(|_| {})).unwrap();
    assert_eq!(sink.next_tick(), 3);
}

/// A writer that was taken over finds out who wrote last, and does not fence its successor.
#[test]
fn a_zombie_ends_and_its_successor_goes_on() {
    let place = Place::new(Broker::shared());
    let mut zombie = place.open(place.options(|_| {})).unwrap();
    place.write(&mut zombie, 0..3);
    place.drain(&zombie);
    let second = place.elsewhere();
    let mut successor = second.open(second.options(|_| {})).unwrap();
    assert_eq!(successor.next_tick(), 3);
    second.write(&mut successor, 0..5);
    second.drain(&successor);
    place.write(&mut zombie, 3..4);
    until("the zombie has ended", || zombie.watch().failure().is_some());
    assert!(matches!(*zombie.watch().failure().unwrap(), KafkaSinkError::Fenced { .. }));
    let error = zombie.write(4, Vec::new(), &AtomicBool::new(false)).unwrap_err();
    assert!(error.to_string().contains("another process has taken over"), "{error}");
    second.write(&mut successor, 5..8);
    second.drain(&successor);
    drop((zombie, successor));
    assert_eq!(place.verified(Mode::Transactional), place.expected(8));
}

/// A transaction that the cluster gave up looks like a successor, but is none: the writer goes on.
#[test]
fn a_writer_that_was_fenced_by_time_goes_on() {
    let place = Place::new(Broker::shared());
    let options = place.options(|_| {});
    let mut sink = place.open(options.clone()).unwrap();
    place.write(&mut sink, 0..3);
    place.drain(&sink);
    // Nobody else writes progress: initialising alone is what the cluster itself does to a transaction that expired.
    (0..2).for_each(|shard| place.broker.leave(place.broker.transactional(&options.transactional_id(shard))));
    place.write(&mut sink, 3..6);
    place.drain(&sink);
    drop(sink);
    assert_eq!(place.verified(Mode::Transactional), place.expected(6));
}

#[test]
fn progress_that_is_gone_is_an_error_with_a_name() {
    let place = Place::new(Broker::shared());
    let options = place.options(|_| {});
    let mut sink = place.open(options.clone()).unwrap();
    place.write(&mut sink, 0..3);
    place.drain(&sink);
    drop(sink);
    // Emptied: offsets are used up, and nothing is there.
    let progress_topic = options.progress_topic();
    place.broker.empty(&progress_topic);
    let error = place.open(options.clone()).unwrap_err();
    assert!(matches!(error, KafkaSinkError::Emptied { low, .. } if low > 0), "{error}");
    // Absent: the messages are there and nothing speaks of them.
    place.broker.delete(&progress_topic);
    let error = place.open(options).unwrap_err();
    assert!(matches!(error, KafkaSinkError::Orphaned { .. }), "{error}");
}

#[test]
fn topics_are_made_only_when_asked_for_and_never_of_another_width() {
    let place = Place::new(Broker::shared());
    let error = place.open(place.options(|options| options.create_with_replicas = None)).unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&format!("--create --topic {} --partitions 2", place.topics[0])), "{text}");
    place.open(place.options(|_| {})).unwrap();
    let error = place.open(place.options(|options| options.topics[0].shards = 3)).unwrap_err();
    assert!(matches!(error, KafkaSinkError::Partitions { found: 2, wanted: 3, .. }), "{error}");
}

/// Outputs of another run are not gone on with.
#[test]
fn what_another_run_wrote_is_foreign() {
    let place = Place::new(Broker::shared());
    let mut sink = place.open(place.options(|_| {})).unwrap();
    place.write(&mut sink, 0..4);
    place.drain(&sink);
    drop(sink);
    let mut sink = place.open(place.options(|_| {})).unwrap();
    let mut write = |tick: Tick| {
        let mut shards = derived(tick);
        if tick == 2 {
            shards[1][0].key = b"other".to_vec();
        }
        sink.write(tick, shards, &AtomicBool::new(false))
    };
    let error = (0..4).find_map(|tick| write(tick).err()).unwrap();
    assert!(matches!(error, KafkaSinkError::Foreign { shard: 1, .. }), "{error}");
}

/// The verifier tells every way in which a topic can be wrong.
#[test]
fn the_verifier_finds_what_is_wrong() {
    let tamper: [(&str, fn(&Place<'_>)); 4] = [
        ("no sink wrote it", |place| place.broker.append(&place.topics[0], 0, &[])),
        ("but progress speaks of", |place| {
            let message = Message { topic: 0, seq: 0, of: 1, key: b"k".to_vec(), value: None };
            place.broker.append(&place.topics[0], 0, &headers_of(&place.name, 0, 99, &message));
        }),
        ("complete by its progress", |place| {
            let message = Message { topic: 0, seq: 0, of: 1, key: b"k".to_vec(), value: None };
            let tick = place.expected(4)[&(place.topics[0].clone(), 0)].last().unwrap().headers[2].1.clone();
            let tick: Tick = String::from_utf8(tick).unwrap().parse().unwrap();
            place.broker.append(&place.topics[0], 0, &headers_of(&place.name, 0, tick, &message));
        }),
        ("it is of shard 1", |place| {
            let message = Message { topic: 0, seq: 0, of: 1, key: b"k".to_vec(), value: None };
            place.broker.append(&place.topics[0], 0, &headers_of(&place.name, 1, 99, &message));
        }),
    ];
    for (words, tamper) in tamper {
        let place = Place::new(Broker::shared());
        let mut sink = place.open(place.options(|_| {})).unwrap();
        place.write(&mut sink, 0..4);
        place.drain(&sink);
        drop(sink);
        tamper(&place);
        let Found { violation, .. } = place.verify(&place.topics[0], Mode::Transactional).0;
        let violation = violation.expect(words);
        let complete = words == "complete by its progress" && violation.what.contains("follows tick");
        assert!(violation.what.contains(words) || complete, "{words}: {violation:?}");
        assert_eq!(violation.partition, 0);
    }
}

/// The broker goes away for a while: the outbox fills, the sink stalls, and recovers by itself.
#[test]
fn an_outage_fills_the_outbox_and_passes() {
    let broker = Broker::own();
    let place = Place::new(&broker);
    let options = place.options(|options| {
        options.outbox_bytes = 4_000;
        options.transaction_timeout = Duration::from_secs(5);
    });
    let mut sink = place.open(options).unwrap();
    place.write(&mut sink, 0..3);
    place.drain(&sink);
    broker.kill();
    let killed = std::time::Instant::now();
    let watch = sink.watch();
    let written = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(3));
    let counting = std::sync::Arc::clone(&written);
    let writing = std::thread::spawn(move || {
        for tick in 3..60 {
            sink.write(tick, derived(tick), &AtomicBool::new(false)).unwrap();
            sink.flush().unwrap();
            counting.store(tick + 1, std::sync::atomic::Ordering::Release);
        }
        sink
    });
    let count = || written.load(std::sync::atomic::Ordering::Acquire);
    // It stalls: nothing is taken for a second, although there is more.
    let mut still = (count(), std::time::Instant::now());
    until("the outbox is full", || {
        if count() != still.0 {
            still = (count(), std::time::Instant::now());
        }
        still.1.elapsed() > Duration::from_secs(1)
    });
    assert!(count() < 60 && watch.durable() <= 3, "{} {}", count(), watch.durable());
    until("the outage lasts longer than its transactions live", || killed.elapsed() > Duration::from_secs(6));
    broker.restart();
    let sink = writing.join().unwrap();
    place.drain(&sink);
    drop(sink);
    assert_eq!(place.verified(Mode::Transactional), place.expected(60));
}

/// With `detach` the run goes on; the next start goes on where taking ended.
#[test]
fn a_detached_sink_takes_nothing_until_the_next_start() {
    let broker = Broker::own();
    let place = Place::new(&broker);
    let options = place.options(|options| {
        (options.outbox_bytes, options.when_full) = (2_000, WhenFull::Detach);
        options.transaction_timeout = Duration::from_secs(5);
    });
    let mut sink = place.open(options.clone()).unwrap();
    place.write(&mut sink, 0..2);
    place.drain(&sink);
    broker.kill();
    place.write(&mut sink, 2..40);
    assert!(sink.is_detached());
    let detached = sink.next_tick();
    assert!((3..40).contains(&detached), "{detached}");
    broker.restart();
    place.drain(&sink);
    assert_eq!(sink.watch().durable(), detached);
    drop(sink);
    let mut sink: KafkaSink = place.open(options).unwrap();
    assert_eq!((sink.next_tick(), sink.is_detached()), (detached, false));
    for tick in 0..40 {
        place.write(&mut sink, tick..tick + 1);
        place.drain(&sink);
    }
    drop(sink);
    assert_eq!(place.verified(Mode::Transactional), place.expected(40));
}
