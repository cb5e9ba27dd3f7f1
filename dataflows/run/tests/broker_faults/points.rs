//! `kill -9` at every named point of the Kafka sink and of its outbox.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::time::Instant;

use crate::broker::Broker;
use crate::oracle::judge;
use crate::place::told;
use crate::rig::{PATIENT, Rig, Turn, logs_in_topics};
use crate::table::row;

/// Where the process is killed, and at which passage, when there is little time.
const FIRST: [(&str, u64); 5] =
    [("sink.begun", 4), ("sink.acknowledged", 4), ("sink.committed", 4), ("torn outbox", 3), ("remove outbox", 1)];

/// The others.
const OTHERS: [(&str, u64); 14] = [
    ("sink.fenced", 1),
    ("sink.fenced", 2),
    ("sink.begun", 1),
    ("sink.produced", 1),
    ("sink.produced", 4),
    ("sink.acknowledged", 1),
    ("sink.committed", 1),
    ("append outbox", 1),
    ("append outbox", 8),
    ("torn outbox", 1),
    ("sync outbox", 1),
    ("sync outbox", 4),
    ("synced outbox", 1),
    ("removed outbox", 1),
];

/// Of a log in a topic: while it is taken over, before, between and after the steps of a transaction.
const OF_LOGS: [(&str, u64); 5] =
    [("log.begun", 1), ("log.sent", 5), ("log.acknowledged", 3), ("log.acknowledged", 6), ("log.committed", 5)];

/// The others.
const OTHERS_OF_LOGS: [(&str, u64); 6] = [
    ("log.fenced", 1),
    ("log.fenced", 2),
    ("log.begun", 6),
    ("log.sent", 1),
    ("log.committed", 1),
    ("log.committed", 3),
];

fn killed_at(broker: &Broker, point: &str, passage: u64) {
    kill_at(Rig::new(broker), point, passage);
}

/// The same where the run's own logs are in topics.
fn killed_at_log(broker: &Broker, point: &str, passage: u64) {
    kill_at(Rig::with(broker, PATIENT, &logs_in_topics()), point, passage);
}

fn kill_at(mut rig: Rig, point: &str, passage: u64) {
    let began = Instant::now();
    rig.produce(600);
    let fault = format!("{point}:{passage}");
    let killed = rig.run_once(Some(&fault), "2");
    assert_eq!(killed.status.signal(), Some(9), "{fault}: it was not killed: {}", told(&killed));
    let line = format!("fault: {point}, passage {passage}");
    assert!(told(&killed).contains(&line), "{fault}: {}", told(&killed));
    rig.drain();
    row(&format!("kill -9 at \"{point}\", passage {passage}"), &format!("told: {line}"), &judge(&rig), began.elapsed());
}

#[test]
fn killed_at_points_of_a_transaction_and_of_the_outbox() {
    let turn = Turn::take();
    FIRST.iter().for_each(|(point, passage)| killed_at(&turn.broker, point, *passage));
}

#[test]
fn killed_at_points_of_a_log_in_a_topic() {
    let turn = Turn::take();
    OF_LOGS.iter().for_each(|(point, passage)| killed_at_log(&turn.broker, point, *passage));
}

#[test]
fn long_killed_at_all_the_other_points() {
    let turn = Turn::take();
    OTHERS.iter().for_each(|(point, passage)| killed_at(&turn.broker, point, *passage));
    OTHERS_OF_LOGS.iter().for_each(|(point, passage)| killed_at_log(&turn.broker, point, *passage));
}

/// A flipped bit in what was complete and not sent yet: it is noticed, and derived again from the logs.
#[test]
fn a_flipped_bit_in_a_segment_of_the_outbox() {
    let turn = Turn::take();
    let mut rig = Rig::new(&turn.broker);
    rig.produce(600);
    let killed = rig.run_once(Some("sink.acknowledged:6"), "2");
    assert_eq!(killed.status.signal(), Some(9), "{}", told(&killed));
    let folder = rig.place.path("aisle-data/outbox/main");
    let segments = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let segment = segments.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 4;
    fs::write(&segment, bytes).unwrap();
    let said = rig.drain();
    let line = "the outbox is not as it was left";
    assert!(said.contains(line), "{said}");
    row("a flipped bit in a segment of the outbox", &format!("told: {line}"), &judge(&rig), turn.began.elapsed());
}
