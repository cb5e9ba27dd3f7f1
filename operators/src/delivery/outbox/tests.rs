//! What is appended is taken in order, across restarts and damage, and the outbox stays small.

use super::*;
use crate::memory_disk::MemoryDisk;

fn message(seq: u32, of: u32, text: &str) -> Message {
    Message { topic: 0, seq, of, key: text.as_bytes().to_vec(), value: Some(vec![7; 20]) }
}

/// So many messages of one shard.
fn shard(tick: Tick, count: u32) -> Vec<Message> {
    (0..count).map(|seq| message(seq, count, &format!("{tick}/{seq}"))).collect()
}

fn open(disk: &MemoryDisk, bytes_max: u64, needed: Tick) -> Outbox<MemoryDisk> {
    Outbox::open(disk.clone(), bytes_max, needed).unwrap()
}

/// Everything of a shard, taken a few messages at a time.
fn all(outbox: &Outbox<MemoryDisk>, of: u32, from: MessagePosition, at_once: usize) -> Vec<(Tick, u32)> {
    let (mut place, mut taken) = (from, Vec::new());
    loop {
        let some = outbox.take(of, place, at_once, usize::MAX).unwrap();
        if some.next == place {
            return taken;
        }
        place = some.next;
        taken.extend(some.messages.iter().map(|(tick, message)| (*tick, message.seq)));
    }
}

fn expected(ticks: &[(Tick, u32)]) -> Vec<(Tick, u32)> {
    ticks.iter().flat_map(|(tick, count)| (0..*count).map(|seq| (*tick, seq))).collect()
}

fn segments(disk: &MemoryDisk) -> usize {
    disk.names().unwrap().len()
}

#[test]
fn each_shard_takes_its_messages_in_order_however_few_at_once() {
    let disk = MemoryDisk::new();
    let mut outbox = open(&disk, 1 << 20, 5);
    assert_eq!(outbox.range(), (5, 5));
    for tick in 5..15 {
        let quiet = tick % 3 == 0;
        let counts = if quiet { (0, 0) } else { (tick as u32, 2) };
        outbox.append(tick, vec![shard(tick, counts.0), shard(tick, counts.1)]).unwrap();
    }
    assert_eq!(all(&outbox, 0, MessagePosition { tick: 5, passed: 0 }, 3), [], "nothing is synchronised");
    outbox.sync().unwrap();
    let busy: Vec<Tick> = (5..15).filter(|tick| tick % 3 != 0).collect();
    let first: Vec<(Tick, u32)> = busy.iter().map(|tick| (*tick, *tick as u32)).collect();
    let second: Vec<(Tick, u32)> = busy.iter().map(|tick| (*tick, 2)).collect();
    for at_once in [1, 2, 3, 7, 1_000] {
        assert_eq!(all(&outbox, 0, MessagePosition { tick: 5, passed: 0 }, at_once), expected(&first));
        assert_eq!(all(&outbox, 1, MessagePosition { tick: 5, passed: 0 }, at_once), expected(&second));
    }
    let from_the_middle = MessagePosition { tick: 8, passed: 6 };
    assert_eq!(all(&outbox, 0, from_the_middle, 100)[..3], [(8, 6), (8, 7), (10, 0)]);
    assert!(outbox.take(0, MessagePosition { tick: 4, passed: 0 }, 1, 1).is_err(), "tick 4 is not in it");
}

#[test]
fn a_restart_finds_every_complete_tick() {
    let disk = MemoryDisk::new();
    let mut outbox = open(&disk, 1 << 30, 0);
    // Several pieces a tick.
    let large = || (0..40).map(|seq| Message { value: Some(vec![1; 20_000]), ..message(seq, 40, "k") }).collect();
    for tick in 0..30 {
        outbox.append(tick, vec![large(), shard(tick, 1)]).unwrap();
    }
    outbox.sync().unwrap();
    let (bytes, files) = (outbox.bytes(), segments(&disk));
    assert!(files > 1, "{files}");
    let mut outbox = open(&disk, 1 << 30, 0);
    assert_eq!((outbox.range(), outbox.bytes(), outbox.damaged().len()), ((0, 30), bytes, 0));
    outbox.append(30, vec![Vec::new(), shard(30, 2)]).unwrap();
    outbox.sync().unwrap();
    assert_eq!(all(&outbox, 0, MessagePosition::default(), 100).len(), 30 * 40);
    assert_eq!(all(&outbox, 1, MessagePosition::default(), 100).len(), 32);
    outbox.trim(29).unwrap();
    assert!(segments(&disk) < files);
    assert_eq!(all(&outbox, 1, MessagePosition { tick: 29, passed: 0 }, 100), [(29, 0), (30, 0), (30, 1)]);
    outbox.trim(31).unwrap();
    assert_eq!((outbox.range(), outbox.bytes(), segments(&disk)), ((31, 31), 0, 0));
    outbox.append(31, vec![shard(31, 1)]).unwrap();
}

/// Only what follows the tick that is needed is of use: neither what was delivered nor what lies behind a hole.
#[test]
fn a_restart_keeps_what_is_needed() {
    let ticks = |disk: &MemoryDisk, ticks: std::ops::Range<Tick>| {
        let mut outbox = open(disk, 1 << 20, ticks.start);
        ticks.for_each(|tick| outbox.append(tick, vec![shard(tick, 1)]).unwrap());
        outbox.sync().unwrap();
        outbox.range()
    };
    for (needed, range, damaged) in [
        (0, (0, 20), 1),
        (10, (10, 20), 1),
        (15, (10, 20), 1),
        (20, (20, 20), 1),
        (25, (25, 25), 1),
        (30, (30, 40), 0),
        (35, (30, 40), 0),
        (40, (40, 40), 0),
    ] {
        let disk = MemoryDisk::new();
        assert_eq!(ticks(&disk, 0..10), (0, 10));
        assert_eq!(ticks(&disk, 10..20), (10, 20), "what was delivered is removed");
        disk.bring_back(|_| true);
        assert_eq!(open(&disk, 1 << 20, 0).range(), (0, 20));
        // A hole: the outbox was begun anew at 30, and a crash brought back what lay before.
        assert_eq!(ticks(&disk, 30..40), (30, 40));
        disk.bring_back(|_| true);
        let outbox = open(&disk, 1 << 20, needed);
        assert_eq!((outbox.range(), outbox.damaged().len()), (range, damaged), "needed from {needed}");
        assert_eq!(all(&outbox, 0, MessagePosition { tick: needed, passed: 0 }, 9).len() as u64, range.1 - needed);
    }
}

/// Whatever a crash cut short or a disk flipped: what is there is complete ticks from the first on, as they were.
#[test]
fn damage_costs_what_lies_behind_it_and_nothing_else() {
    for (cut, flip) in [(1, None), (40, None), (0, Some(30)), (0, Some(400)), (0, Some(700)), (0, Some(3))] {
        let disk = MemoryDisk::new();
        let mut outbox = open(&disk, 1 << 20, 0);
        (0..10).for_each(|tick| outbox.append(tick, vec![shard(tick, 2)]).unwrap());
        outbox.sync().unwrap();
        let (name, mut content) = disk.contents().pop_first().unwrap();
        if let Some(at) = flip {
            content[at] ^= 1;
        }
        content.truncate(content.len() - cut);
        disk.put(&name, content);
        let mut outbox = open(&disk, 1 << 20, 0);
        let (_, next) = outbox.range();
        assert!(next < 10, "cut {cut}, flipped {flip:?}");
        assert_eq!(outbox.damaged(), [name]);
        let counts: Vec<(Tick, u32)> = (0..next).map(|tick| (tick, 2)).collect();
        assert_eq!(all(&outbox, 0, MessagePosition::default(), 3), expected(&counts));
        outbox.append(next, vec![shard(next, 1)]).unwrap();
        outbox.sync().unwrap();
        assert_eq!(open(&disk, 1 << 20, 0).range(), (0, next + 1));
    }
}

#[test]
fn a_full_outbox_has_room_again_once_it_was_trimmed() {
    let mut outbox = open(&MemoryDisk::new(), 100, 0);
    assert!(!outbox.is_full(), "an empty one takes any tick");
    outbox.append(0, vec![shard(0, 10)]).unwrap();
    assert!(outbox.is_full());
    outbox.sync().unwrap();
    outbox.trim(1).unwrap();
    assert!(!outbox.is_full());
}

#[test]
fn a_long_silence_takes_no_memory() {
    let mut outbox = open(&MemoryDisk::new(), 1 << 20, 0);
    (0..1_000).for_each(|tick| outbox.append(tick, vec![Vec::new()]).unwrap());
    outbox.sync().unwrap();
    assert_eq!(outbox.ticks.len(), 1);
    let taken = outbox.take(0, MessagePosition::default(), 10, 10).unwrap();
    assert_eq!((taken.messages.len(), taken.next), (0, MessagePosition { tick: 1_000, passed: 0 }));
}
