//! Whatever happens to disks, writers and transactions: each message is there once, in its order.

use super::memory_channel::{MemoryChannel, read_messages};
use super::*;
use crate::memory_disk::MemoryDisk;
use crate::memory_topic::{MemoryTopic, MemoryTopicError};
pub(super) use crate::simulation::Random;
use crate::transactional_log::Transactions;

pub(super) const TOPICS: [&str; 2] = ["wide", "narrow"];

pub(super) fn topics() -> Vec<String> {
    TOPICS.map(str::to_owned).to_vec()
}

/// What a tick writes: nothing, some messages, or many.
fn derived(tick: Tick) -> Vec<Message> {
    let counts = [tick * 7 % 5, tick % 11 / 10 * 40];
    let of_topic = |(topic, of): (u16, u64)| {
        (0..of as u32).map(move |seq| Message {
            topic,
            seq,
            of: of as u32,
            key: format!("{tick}/{seq}").into(),
            value: (seq % 3 > 0).then(|| vec![tick as u8; 9]),
        })
    };
    (0..).zip(counts).flat_map(of_topic).collect()
}

pub(super) fn expected(upper: Tick) -> Vec<(Tick, Message)> {
    (0..upper).flat_map(|tick| derived(tick).into_iter().map(move |message| (tick, message))).collect()
}

fn sound(topic: &MemoryTopic, identity: &str) -> Writer<MemoryChannel> {
    Writer::open(MemoryChannel(topic.sound_client()), &topics(), 0, identity.to_owned()).unwrap()
}

fn send(writer: &mut Writer<MemoryChannel>, tick: Tick) -> Result<(), MemoryTopicError> {
    let messages: Vec<_> = derived(tick).into_iter().map(|message| (tick, message)).collect();
    writer.send(&messages, MessagePosition { tick: tick + 1, passed: 0 })
}

/// One shard and its outbox, with crashes, and transactions that go wrong; of a sink that begins with a later tick, too.
#[test]
fn each_message_is_there_once() {
    const TICKS: Tick = 40;
    let (mut crashes, mut losses) = (0, 0);
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let since: Tick = seed % 3 * 7;
        let derived = |tick| if tick < since { Vec::new() } else { derived(tick) };
        let expected: Vec<_> = expected(TICKS).into_iter().filter(|(tick, _)| *tick >= since).collect();
        let (disk, topic) = (MemoryDisk::new(), MemoryTopic::default());
        let channel = |random: &mut Random| {
            let mut choices = Random::new(random.next());
            MemoryChannel(topic.client(move |below| choices.below(below)))
        };
        for start in 0.. {
            let writer =
                std::iter::from_fn(|| Some(Writer::open(channel(&mut random), &topics(), since, start.to_string())));
            let mut writer = writer.flatten().next().expect("it is tried until it succeeds");
            let written = [writer.progress().clone()];
            let mut delivery = Delivery::open(disk.clone(), 1 << 20, &written, &topics()).unwrap();
            assert!(delivery.next_tick() >= since, "it begins where it was told");
            let mut place = writer.progress().place();
            let mut derived_upto = 0;
            let crashes_at = if start < 3 { random.below(120) } else { u64::MAX };
            for action in 0.. {
                if action == crashes_at || (start >= 3 && derived_upto == TICKS && delivery.is_drained()) {
                    break;
                }
                match random.below(4) {
                    0 if derived_upto < TICKS => {
                        let shards = vec![derived(derived_upto)];
                        delivery.compare(derived_upto, &shards).unwrap();
                        if derived_upto >= delivery.next_tick() {
                            delivery.append(derived_upto, shards).unwrap();
                        }
                        derived_upto += 1;
                    }
                    1 => delivery.sync().unwrap(),
                    _ => {
                        let taken = delivery.take(0, place, 1 + random.below(9) as usize, 200).unwrap();
                        if writer.send(&taken.messages, taken.next).is_err() {
                            let before = writer.progress().clone();
                            let again =
                                std::iter::from_fn(|| Some(Writer::reopen(channel(&mut random), &topics(), &before)));
                            let is_left = |again: &Result<_, _>| {
                                !matches!(again, Err(WriterError::Channel(MemoryTopicError::NoAnswer)))
                            };
                            writer = { again }.find(is_left).expect("it is tried until it succeeds").unwrap();
                        }
                        place = writer.progress().place();
                        delivery.passed(0, place).unwrap();
                    }
                }
            }
            if start >= 3 && derived_upto == TICKS && delivery.is_drained() {
                break;
            }
            let before = delivery.synced();
            disk.crash(|_, unsynced_bytes| random.below(unsynced_bytes as u64 + 1) as usize);
            disk.bring_back(|_| random.once_in(2));
            crashes += 1;
            losses += u64::from(before < delivery.next_tick());
        }
        assert_eq!(read_messages(&mut topic.sound_client()).unwrap(), expected, "seed {seed}");
        let progress = sound(&topic, "last").progress().clone();
        let chain = |topic: u16| {
            let of_topic = expected.iter().filter(move |(_, message)| message.topic == topic);
            of_topic.fold(Chain::default(), |chain, (tick, message)| chain.with(*tick, message))
        };
        assert_eq!(progress.topics[TOPICS[0]], chain(0), "seed {seed}");
        assert_eq!(progress.topics[TOPICS[1]], chain(1), "seed {seed}");
    }
    assert!(
        crashes >= 900 && losses > 100,
        "{crashes} crashes, {losses} of them lost ticks that were not synchronised"
    );
}

/// What a process of before does when it wakes up: it ends, and its successor writes on.
#[test]
fn a_writer_that_was_taken_over_does_not_fence_its_successor() {
    let topic = MemoryTopic::default();
    let mut first = sound(&topic, "first");
    send(&mut first, 0).unwrap();
    let mut second = sound(&topic, "second");
    assert_eq!(second.progress().place(), MessagePosition { tick: 1, passed: 0 });
    assert_eq!(send(&mut first, 1), Err(MemoryTopicError::Fenced));
    let again = Writer::reopen(MemoryChannel(topic.sound_client()), &topics(), first.progress());
    assert_eq!(again.map(|_| ()).unwrap_err(), WriterError::TakenOver);
    send(&mut second, 1).unwrap();
    assert_eq!(read_messages(&mut topic.sound_client()).unwrap(), expected(2));
}

/// A transaction that was given up looks as if there were a successor, but nobody has claimed the shard.
#[test]
fn a_writer_that_was_fenced_by_nobody_goes_on() {
    let topic = MemoryTopic::default();
    let mut writer = sound(&topic, "first");
    send(&mut writer, 0).unwrap();
    MemoryChannel(topic.sound_client()).fence().unwrap();
    assert_eq!(send(&mut writer, 1), Err(MemoryTopicError::Fenced));
    let before = writer.progress();
    let mut writer = Writer::reopen(MemoryChannel(topic.sound_client()), &topics(), before).unwrap();
    send(&mut writer, 1).unwrap();
    assert_eq!(read_messages(&mut topic.sound_client()).unwrap(), expected(2));
}

#[test]
fn what_was_acknowledged_and_is_gone_is_told() {
    let topic = MemoryTopic::default();
    let mut writer = sound(&topic, "first");
    send(&mut writer, 0).unwrap();
    let end = topic.sound_client().ends().unwrap().1 as usize;
    send(&mut writer, 1).unwrap();
    topic.cut(end);
    let again = Writer::reopen(MemoryChannel(topic.sound_client()), &topics(), writer.progress());
    assert_eq!(again.map(|_| ()).unwrap_err(), WriterError::WentBack { before: 2, now: 1 });
}

/// Outputs of another run are not gone on with; of what begins after tick 0, nothing can be said.
#[test]
fn what_another_run_wrote_is_foreign() {
    let topic = MemoryTopic::default();
    let mut writer = sound(&topic, "first");
    (0..4).for_each(|tick| send(&mut writer, tick).unwrap());
    let open = || Delivery::open(MemoryDisk::new(), 1 << 20, &[writer.progress().clone()], &topics()).unwrap();
    let (mut same, mut other, mut late) = (open(), open(), open());
    for tick in 0..4 {
        assert!(same.wants(tick) && other.wants(tick));
        same.compare(tick, &[derived(tick)]).unwrap();
        let mut messages = derived(tick);
        if tick == 2 {
            messages[0].key = b"other".to_vec();
        }
        let compared = other.compare(tick, &[messages]);
        assert_eq!(compared, if tick < 3 { Ok(()) } else { Err(Foreign { shard: 0, tick: 3 }) });
    }
    assert!(!same.wants(3) && same.wants(4));
    late.compare(1, &[Vec::new()]).unwrap();
    assert!(!late.wants(0) && !late.wants(2), "it was not given tick 0 first");
}
