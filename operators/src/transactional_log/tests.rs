use crate::memory_topic::{MemoryTopic, MemoryTransactions, Troubles};
use crate::simulation::Random;

use super::*;

fn open(topic: &MemoryTopic, writer: &str) -> TransactionalLog<MemoryTransactions> {
    TransactionalLog::open(topic.sound_client(), writer.to_owned()).unwrap()
}

fn entries(numbers: std::ops::Range<u64>) -> Vec<Vec<u8>> {
    numbers.map(|number| format!("entry {number}").into_bytes()).collect()
}

fn append(log: &mut impl Log, numbers: std::ops::Range<u64>) -> Result<(), LogError> {
    for entry in entries(numbers) {
        log.append(&entry)?;
    }
    log.sync()
}

#[test]
fn another_writer_goes_on_where_the_last_one_ended() {
    let topic = MemoryTopic::default();
    let mut first = open(&topic, "first");
    append(&mut first, 0..3).unwrap();
    first.append(b"never synchronised").unwrap();
    drop(first);
    let mut second = open(&topic, "second");
    append(&mut second, 3..5).unwrap();
    assert_eq!(second.read().unwrap(), entries(0..5));
    assert_eq!(read_entries(&mut topic.sound_client()).unwrap(), entries(0..5));
}

/// A process that was frozen, and thaws when another one has its log.
#[test]
fn a_writer_that_was_taken_over_says_so_and_does_not_fence() {
    let topic = MemoryTopic::default();
    let mut first = open(&topic, "first");
    append(&mut first, 0..3).unwrap();
    let mut second = open(&topic, "second");
    let told = append(&mut first, 3..4).unwrap_err().to_string();
    assert_eq!(
        told,
        "another process has taken over the log in a topic in memory; two runs of one log? stop one of them"
    );
    append(&mut second, 3..5).unwrap();
    assert_eq!(second.read().unwrap(), entries(0..5));
}

#[test]
fn a_log_that_lost_something_or_holds_something_else_is_refused() {
    let topic = MemoryTopic::default();
    let mut log = open(&topic, "me");
    append(&mut log, 0..3).unwrap();
    // Offset 0 is the claim, 1 its end, 2 to 4 the entries, 5 their end.
    topic.cut(4);
    log.append(b"more").unwrap();
    log.has_fenced = false;
    let told = log.sync().unwrap_err().to_string();
    assert!(told.contains("went back: it ended at offset 5, and now ends at 4"), "{told}");
    topic.put(Message { key: b"order-17".to_vec(), headers: Vec::new(), value: b"{}".to_vec() });
    let told = open(&topic, "another").read().unwrap_err().to_string();
    assert!(told.contains("is damaged at offset 4: its key is \"order-17\", no number"), "{told}");
}

/// Every kind of trouble, a thousand times over: each entry is there once, in order, whatever the writer was told, and what
/// it was told is durable is there.
#[test]
fn entries_are_there_once_whatever_becomes_of_transactions() {
    let mut all = Troubles::default();
    let mut kills = 0;
    for seed in 0..1_000 {
        let topic = MemoryTopic::default();
        let mut random = Random::new(seed);
        let (mut durable, mut at_most) = (0, 0);
        for start in 0..8 {
            let mut choices = Random::new(random.next());
            let client = topic.client(move |below| choices.below(below)).killed_in_pauses();
            let Ok(mut log) = TransactionalLog::open(client, format!("start {start}")) else { continue };
            let Ok(found) = log.read() else { continue };
            assert_eq!(found, entries(0..found.len() as u64), "seed {seed}, start {start}");
            assert!(found.len() as u64 >= durable && found.len() as u64 <= at_most, "seed {seed}, start {start}");
            durable = found.len() as u64;
            for _ in 0..10 {
                at_most = durable + 1 + random.below(3);
                if append(&mut log, durable..at_most).is_err() {
                    kills += 1;
                    break;
                }
                durable = at_most;
            }
        }
        let found = open(&topic, "the last").read().unwrap();
        assert_eq!(found, entries(0..found.len() as u64), "seed {seed}");
        let Troubles { refused, left_open, held, too_late, answers_lost, unstable } = topic.troubles();
        all.refused += refused;
        all.left_open += left_open;
        all.held += held;
        all.too_late += too_late;
        all.answers_lost += answers_lost;
        all.unstable += unstable;
    }
    let Troubles { refused, left_open, held, too_late, answers_lost, unstable } = all;
    let rarest = [refused, left_open, held, too_late, answers_lost, unstable, kills].into_iter().min();
    assert!(rarest.is_some_and(|rarest| rarest > 100), "{all:?}, {kills} kills");
}

#[test]
fn an_entry_that_is_too_large_is_refused() {
    let mut log = open(&MemoryTopic::default(), "me");
    let told = log.append(&vec![0; ENTRY_BYTES_MAX + 1]).unwrap_err().to_string();
    assert!(told.contains("67108865 bytes, 67108864 are allowed"), "{told}");
    append(&mut log, 0..1).unwrap();
}
