//! The timekeeper: a binding is durable before it is given, the log is replayed as written, ticks in flight are bounded.

use operators::answers::Answer;
use operators::binding::{Binding, Configuration, Status};
use operators::disk::Log;
use operators::framed_log::FramedLog;
use operators::memory_disk::MemoryDisk;
use operators::minter::{Holding, MinterOptions};
use operators::time::{Tick, TimeMs};
use operators::timekeeper::{Timekeeper, read_bindings};
use operators::topology::{LaneParameters, Lanes, PartitionId, Topology};
use proptest::prelude::*;

use super::story::{SECOND, START_MS, USUAL, closed, partition, topology};

const LOG: &str = "remap";
const IN_FLIGHT: Tick = 4;

fn plan() -> Topology {
    topology(vec![partition(true, Lanes::Open), partition(true, closed(1))])
}

fn configuration(name: &str) -> Configuration {
    let mut configuration = super::story::configuration(vec![USUAL; 2]);
    (configuration.canonical, configuration.sha256) = (name.to_owned(), format!("hash of {name}"));
    configuration
}

fn open(disk: &MemoryDisk, name: &str) -> Timekeeper<FramedLog<MemoryDisk>> {
    let log = FramedLog::new(disk.clone(), LOG);
    Timekeeper::open(log, &plan(), MinterOptions::default(), IN_FLIGHT, configuration(name)).unwrap()
}

fn written(disk: &MemoryDisk) -> Vec<Binding> {
    read_bindings(&mut FramedLog::new(disk.clone(), LOG), &plan()).unwrap()
}

/// Everything that is given to a dataflow that is done with each tick at once, while `seconds` go by.
fn given(timekeeper: &mut Timekeeper<FramedLog<MemoryDisk>>, from_ms: TimeMs, seconds: i64) -> Vec<Binding> {
    let mut all = Vec::<Binding>::new();
    for second in 0..seconds {
        let done = all.last().map_or(0, |last| last.tick + 1);
        all.extend(timekeeper.poll(done, from_ms + second * SECOND).unwrap());
    }
    all
}

fn hold(timekeeper: &mut Timekeeper<FramedLog<MemoryDisk>>, partition: u32, end_offset: u64) {
    let holding = Holding::Records { end_offset, bytes: 100, least_ms: START_MS, greatest_ms: START_MS };
    timekeeper.hold(PartitionId(partition), holding, START_MS);
}

/// A log of six ticks, some with records and one without anything.
fn six_ticks(disk: &MemoryDisk) -> Vec<Binding> {
    let mut timekeeper = open(disk, "first");
    let mut all = given(&mut timekeeper, START_MS, 2);
    hold(&mut timekeeper, 0, 100);
    hold(&mut timekeeper, 1, 300);
    timekeeper.hold(PartitionId(0), Holding::CaughtUp(100), START_MS);
    for second in 2..6 {
        all.extend(timekeeper.poll(all.len() as Tick, START_MS + second * SECOND).unwrap());
    }
    assert_eq!(all.len(), 6);
    all
}

#[test]
fn a_binding_is_durable_before_it_is_given() {
    let disk = MemoryDisk::new();
    let mut timekeeper = open(&disk, "first");
    let mut all = Vec::new();
    for second in 0..20 {
        hold(&mut timekeeper, 0, 100 * (second as u64 + 1));
        all.push(timekeeper.poll(second as Tick, START_MS + second * SECOND).unwrap().unwrap());
        // The machine stops the moment that the dataflow has the binding: nothing of it was lost.
        disk.crash(|name, bytes| panic!("{bytes} bytes of {name} were not synchronised"));
        assert_eq!(written(&disk), all);
    }
}

#[test]
fn at_most_so_many_ticks_are_given_beyond_the_probe_when_minting() {
    let disk = MemoryDisk::new();
    let mut timekeeper = open(&disk, "first");
    let mut wall_ms = START_MS;
    for done in 0..10 {
        let mut last = None;
        for _ in 0..20 {
            wall_ms += SECOND;
            last = timekeeper.poll(done, wall_ms).unwrap().or(last);
        }
        assert_eq!(last.unwrap().tick, done + IN_FLIGHT - 1);
        assert_eq!(timekeeper.durable(), done + IN_FLIGHT, "nothing is minted ahead either");
    }
}

#[test]
fn at_most_so_many_ticks_are_given_beyond_the_probe_in_replay() {
    let disk = MemoryDisk::new();
    let written = given(&mut open(&disk, "first"), START_MS, 30);
    let mut timekeeper = open(&disk, "first");
    for done in 0..=written.len() as Tick - IN_FLIGHT {
        let mut last = None;
        for _ in 0..20 {
            last = timekeeper.poll(done, START_MS).unwrap().or(last);
        }
        assert_eq!(last.unwrap().tick, done + IN_FLIGHT - 1);
    }
    assert!(timekeeper.replayed());
}

#[test]
fn the_log_is_replayed_as_it_was_written_and_minting_goes_on_after_its_end() {
    let disk = MemoryDisk::new();
    let before = six_ticks(&disk);
    assert!(before.iter().any(|binding| binding.advances.iter().any(|advance| advance.status == Status::CaughtUp)));

    let mut timekeeper = open(&disk, "first");
    assert_eq!(timekeeper.durable(), 6);
    // The wall clock is elsewhere and the readers hold other amounts: neither changes what was decided.
    hold(&mut timekeeper, 0, 40);
    hold(&mut timekeeper, 0, 700);
    let after = given(&mut timekeeper, START_MS + 9 * SECOND, 8);
    assert_eq!(after[..6], before);
    assert_eq!(after[6].tick, 6);
    let next = after[6].advances.iter().find(|advance| advance.partition == PartitionId(0)).unwrap();
    assert_eq!((next.next, next.status), (700, Status::Behind));
    assert!(after[6].now_ms > before[5].now_ms);
    assert_eq!(written(&disk), after);
}

#[test]
fn time_does_not_turn_back_with_the_clock_after_a_restart() {
    let disk = MemoryDisk::new();
    let before = six_ticks(&disk);
    let after = given(&mut open(&disk, "first"), START_MS - 60 * SECOND, 9);
    assert!(after.len() > 6);
    assert!(after[6..].iter().all(|binding| binding.now_ms == before[5].now_ms));
}

#[test]
fn the_first_entry_carries_the_configuration_and_a_changed_one_is_an_entry_at_a_new_tick() {
    let disk = MemoryDisk::new();
    six_ticks(&disk);
    given(&mut open(&disk, "first"), START_MS + 9 * SECOND, 8);
    let mut changed = configuration("second");
    changed.parameters.lanes[0] = LaneParameters { lateness_ms: 1, ..USUAL };
    let log = FramedLog::new(disk.clone(), LOG);
    let mut timekeeper = Timekeeper::open(log, &plan(), MinterOptions::default(), IN_FLIGHT, changed.clone()).unwrap();
    given(&mut timekeeper, START_MS + 20 * SECOND, 12);
    given(&mut open(&disk, "second"), START_MS + 40 * SECOND, 16);

    let recorded = written(&disk).into_iter().filter_map(|binding| Some((binding.tick, binding.configuration?)));
    assert_eq!(recorded.collect::<Vec<_>>(), [(0, configuration("first")), (8, changed)]);
}

#[test]
fn the_newest_configuration_counts_not_the_first() {
    let disk = MemoryDisk::new();
    for (name, seconds) in [("first", 5), ("second", 10), ("first", 15), ("first", 20)] {
        given(&mut open(&disk, name), START_MS, seconds);
    }
    let names = written(&disk).into_iter().filter_map(|binding| Some(binding.configuration?.canonical));
    assert_eq!(names.collect::<Vec<_>>(), ["first", "second", "first"]);
}

#[test]
fn a_torn_tail_of_the_log_is_dropped_and_its_tick_is_minted_again() {
    let whole = MemoryDisk::new();
    let before = six_ticks(&whole);
    let bytes = whole.contents()[LOG].clone();
    let disk = MemoryDisk::new();
    let mut kept = std::collections::BTreeSet::new();
    for length in 0..bytes.len() {
        disk.put(LOG, &bytes[..length]);
        let mut timekeeper = open(&disk, "first");
        let durable = timekeeper.durable() as usize;
        kept.insert(durable);
        let after = given(&mut timekeeper, START_MS + 9 * SECOND, 8);
        assert_eq!(after[..durable], before[..durable], "{length} bytes were left");
        assert_eq!(after[durable].tick as usize, durable);
        assert_eq!(written(&disk), after);
    }
    assert_eq!(kept, (0..6).collect());
}

#[test]
fn a_binding_without_anything_is_an_entry_like_any_other() {
    let disk = MemoryDisk::new();
    let before = six_ticks(&disk);
    let empty = before.iter().filter(|binding| binding.advances.is_empty() && binding.configuration.is_none());
    assert!(empty.count() > 0);
    assert_eq!(FramedLog::new(disk.clone(), LOG).read().unwrap().len(), 6);
    assert_eq!(written(&disk), before);
}

#[test]
fn a_run_that_only_replays_gives_what_the_log_holds_and_nothing_more() {
    let disk = MemoryDisk::new();
    let before = six_ticks(&disk);
    let mut timekeeper = open(&disk, "second").replay_only();
    assert!(!timekeeper.ended());
    assert_eq!(given(&mut timekeeper, START_MS + 9 * SECOND, 20), before);
    assert!(timekeeper.ended());
    assert_eq!(written(&disk), before);
}

#[test]
fn it_ends_when_every_partition_has_and_not_before_a_changed_configuration_is_recorded() {
    let disk = MemoryDisk::new();
    let mut timekeeper = open(&disk, "first");
    timekeeper.hold(PartitionId(0), Holding::Ended(0), START_MS);
    assert_eq!(given(&mut timekeeper, START_MS, 5).len(), 5);
    assert!(!timekeeper.ended());
    timekeeper.hold(PartitionId(1), Holding::Ended(0), START_MS);
    let done = timekeeper.durable();
    let last = timekeeper.poll(done, START_MS + 5 * SECOND).unwrap().unwrap();
    assert_eq!(last.advances[0].status, Status::Ended);
    assert!(timekeeper.ended());
    assert_eq!(timekeeper.poll(done + 1, START_MS + 60 * SECOND).unwrap(), None);

    let mut timekeeper = open(&disk, "second");
    assert_eq!(given(&mut timekeeper, START_MS + 9 * SECOND, 20).len(), 7);
    assert!(timekeeper.ended());
}

/// Whoever is given a binding finds in the log, up to there, every answer that its records may have needed.
#[test]
fn an_answer_is_recorded_once_with_the_next_tick_and_known_from_the_beginning_of_the_next_run() {
    let disk = MemoryDisk::new();
    let mut timekeeper = open(&disk, "first");
    let before = given(&mut timekeeper, START_MS, 2);
    assert!(before.iter().all(|binding| binding.answers.is_empty()));
    timekeeper.answers().learn(b"7", Some(b"seven".to_vec()));
    timekeeper.answers().learn(b"8", None);
    hold(&mut timekeeper, 0, 100);
    let next = timekeeper.poll(2, START_MS + 2 * SECOND).unwrap().unwrap();
    let answer = |question: &[u8], answer: Option<&[u8]>| Answer {
        question: question.to_vec(),
        answer: answer.map(<[u8]>::to_vec),
    };
    assert_eq!((next.tick, next.advances[0].next), (2, 100));
    assert_eq!(next.answers, [answer(b"7", Some(b"seven")), answer(b"8", None)]);
    assert_eq!(written(&disk)[2], next, "it is durable before it is given");
    assert!(timekeeper.poll(3, START_MS + 3 * SECOND).unwrap().unwrap().answers.is_empty());

    // Also where a checkpoint makes the run begin behind them.
    let mut resumed = open(&disk, "first").resume_at(4);
    assert_eq!(resumed.answers().find(b"7").unwrap().as_deref(), Some(&b"seven"[..]));
    assert_eq!(resumed.answers().learn(b"8", Some(b"eight".to_vec())), None, "what was recorded holds");
    assert_eq!(resumed.poll(3, START_MS + 9 * SECOND).unwrap().unwrap().tick, 3);
    let minted = resumed.poll(4, START_MS + 10 * SECOND).unwrap().unwrap();
    assert_eq!((minted.tick, minted.answers), (4, Vec::new()));
}

proptest! {
    /// Whatever the entries of a log hold, with checksums that are right, it is opened or refused: nothing is taken for a
    /// partition that there is not, and nothing asks for memory that the bytes do not have.
    #[test]
    fn mutated_entries_are_bindings_or_an_error(
        mutations in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..4u8, any::<u8>()), 1..4),
    ) {
        let disk = MemoryDisk::new();
        six_ticks(&disk);
        let mut entries = FramedLog::new(disk, LOG).read().unwrap();
        for (entry, place, what, byte) in mutations {
            let entry = entry.get_mut(&mut entries);
            let place = place.index(entry.len().max(1));
            match what {
                0 if place < entry.len() => entry[place] = byte,
                1 => entry.truncate(place),
                2 if place < entry.len() => drop(entry.remove(place)),
                _ => entry.insert(place.min(entry.len()), byte),
            }
        }
        let changed = MemoryDisk::new();
        let mut log = FramedLog::new(changed.clone(), LOG);
        entries.iter().for_each(|entry| log.append(entry).unwrap());
        let opened = Timekeeper::open(log, &plan(), MinterOptions::default(), IN_FLIGHT, configuration("first"));
        if let Ok(timekeeper) = opened {
            let position = timekeeper.position_at(timekeeper.durable()).unwrap();
            prop_assert!(position.next.len() <= plan().partitions.len());
        }
    }
}

#[test]
fn an_entry_that_names_a_partition_which_is_not_there_is_refused() {
    let disk = MemoryDisk::new();
    six_ticks(&disk);
    let log = FramedLog::new(disk, LOG);
    let one = topology(vec![partition(true, Lanes::Open)]);
    let opened = Timekeeper::open(log, &one, MinterOptions::default(), IN_FLIGHT, configuration("first"));
    let error = opened.err().unwrap();
    assert!(error.to_string().contains("it names partition 1, but there are 1"), "{error}");
}
