//! Minting: how much belongs to a tick, when there is one, and what time it is.

use operators::binding::{Advance, Binding, Status};
use operators::minter::{Holding, Minter, MinterOptions};
use operators::time::{MINUS_INFINITY, TimeMs};
use operators::topology::{Lanes, PartitionId};
use proptest::prelude::*;

use super::story::{MINUTE, SECOND, START_MS, USUAL, configuration, partition, topology};

/// The most of one tick, in the tests here.
const TICK_BYTES: u64 = 1_000;

fn options() -> MinterOptions {
    MinterOptions { tick_bytes: TICK_BYTES, ..MinterOptions::default() }
}

/// A minter that gave its first binding at the beginning of the story, for partitions with these weights.
fn minter(live: bool, weights: &[u32], options: MinterOptions) -> Minter {
    let mut topology = topology(vec![partition(live, Lanes::Open); weights.len()]);
    topology.partitions.iter_mut().zip(weights).for_each(|(partition, weight)| partition.weight = *weight);
    let mut minter = Minter::new(topology, options);
    let first = minter.configure(configuration(vec![USUAL; weights.len()]), START_MS);
    assert_eq!((first.tick, first.advances.len()), (0, 0), "tick 0 carries the configuration and no records");
    minter
}

/// Readers that hold granules of as many bytes as offsets, all of one event time.
struct Readers(Vec<u64>);

impl Readers {
    fn of(partitions: usize) -> Self {
        Readers(vec![0; partitions])
    }

    fn hold(&mut self, minter: &mut Minter, partition: u32, bytes: u64, event_time_ms: TimeMs, wall_ms: TimeMs) {
        let end_offset = &mut self.0[partition as usize];
        *end_offset += bytes;
        let times = (event_time_ms, event_time_ms);
        let holding = Holding::Records { end_offset: *end_offset, bytes, least_ms: times.0, greatest_ms: times.1 };
        minter.hold(PartitionId(partition), holding, wall_ms);
    }
}

/// The offsets that a binding goes up to; `None` where it says nothing.
fn bound(binding: &Binding, partition: u32) -> Option<u64> {
    binding.advances.iter().find(|advance| advance.partition.0 == partition).map(|advance| advance.next)
}

#[test]
fn a_binding_holds_at_most_tick_bytes() {
    let mut minter = minter(true, &[1, 1, 1], options());
    let mut readers = Readers::of(3);
    for granule in 0..60u64 {
        readers.hold(&mut minter, granule as u32 % 3, 1 + granule * 7 % 150, START_MS, START_MS);
    }
    let (mut wall_ms, mut before, mut ticks) = (START_MS, vec![0; 3], 0);
    while before != readers.0 {
        wall_ms += 100;
        let binding = minter.mint(wall_ms).expect("a tick is due while anything is held");
        let mut bytes = 0;
        for advance in &binding.advances {
            bytes += advance.next - std::mem::replace(&mut before[advance.partition.0 as usize], advance.next);
        }
        assert!(0 < bytes && bytes <= TICK_BYTES, "{bytes} bytes");
        ticks += 1;
    }
    // Full ticks, as far as granules allow: 60 granules of 75 bytes on average.
    assert!(ticks <= 7, "{ticks} ticks");
}

#[test]
fn a_single_larger_granule_is_taken_alone() {
    let mut minter = minter(true, &[1, 1], options());
    let mut readers = Readers::of(2);
    readers.hold(&mut minter, 0, 5 * TICK_BYTES, START_MS, START_MS);
    readers.hold(&mut minter, 0, 10, START_MS, START_MS);
    let first = minter.mint(START_MS + 100).unwrap();
    assert_eq!(bound(&first, 0), Some(5 * TICK_BYTES));
    assert_eq!(bound(&minter.mint(START_MS + 200).unwrap(), 0), Some(5 * TICK_BYTES + 10));
}

#[test]
fn a_tick_is_shared_by_weight() {
    let mut minter = minter(true, &[3, 1], options());
    let mut readers = Readers::of(2);
    for _ in 0..400 {
        readers.hold(&mut minter, 0, 10, START_MS, START_MS);
        readers.hold(&mut minter, 1, 10, START_MS, START_MS);
    }
    for tick in 1..5u64 {
        let binding = minter.mint(START_MS + tick as i64 * 100).unwrap();
        assert_eq!([bound(&binding, 0), bound(&binding, 1)], [Some(tick * 750), Some(tick * 250)]);
    }
}

#[test]
fn what_one_partition_leaves_of_its_share_goes_to_the_others() {
    let mut minter = minter(true, &[1, 1], options());
    let mut readers = Readers::of(2);
    (0..400).for_each(|_| readers.hold(&mut minter, 0, 10, START_MS, START_MS));
    readers.hold(&mut minter, 1, 100, START_MS, START_MS);
    let binding = minter.mint(START_MS + 100).unwrap();
    assert_eq!([bound(&binding, 0), bound(&binding, 1)], [Some(900), Some(100)]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    /// As long as granules are no larger than a partition's share of a tick.
    #[test]
    fn a_backlog_delays_another_partition_by_one_tick_at_most(
        backlog in prop::collection::vec(1..500u64, 50..200),
        trickle in prop::collection::vec(1..500u64, 1..12),
    ) {
        let mut minter = minter(true, &[1, 1], options());
        let mut readers = Readers::of(2);
        backlog.iter().for_each(|bytes| readers.hold(&mut minter, 0, *bytes, START_MS, START_MS));
        let mut wall_ms = START_MS;
        for bytes in trickle {
            readers.hold(&mut minter, 1, bytes, wall_ms, wall_ms);
            wall_ms += 100;
            let binding = minter.mint(wall_ms).unwrap();
            prop_assert_eq!(bound(&binding, 1), Some(readers.0[1]));
        }
    }
}

#[test]
fn ticks_grow_with_the_backlog_within_tick_bytes() {
    let mut minter = minter(true, &[1], options());
    let mut readers = Readers::of(1);
    let mut before = 0;
    for (tick, held) in [20, 60, 300, 1_000, 5_000].into_iter().enumerate() {
        (0..held / 20).for_each(|_| readers.hold(&mut minter, 0, 20, START_MS, START_MS));
        let binding = minter.mint(START_MS + 100 * (tick as i64 + 1)).unwrap();
        let next = bound(&binding, 0).unwrap();
        assert_eq!(next - before, held.min(TICK_BYTES));
        before = next;
    }
}

#[test]
fn a_tick_is_due_tick_ms_after_the_last_one_if_anything_is_held_and_at_once_when_it_is_full() {
    let mut minter = minter(true, &[1], options());
    let mut readers = Readers::of(1);
    readers.hold(&mut minter, 0, 10, START_MS, START_MS);
    assert_eq!(minter.mint(START_MS + 99), None);
    assert!(minter.mint(START_MS + 100).is_some());
    assert_eq!(minter.mint(START_MS + 200), None, "nothing is held");
    readers.hold(&mut minter, 0, TICK_BYTES, START_MS, START_MS + 200);
    assert!(minter.mint(START_MS + 101).is_some(), "a full tick does not wait");
}

#[test]
fn a_tick_is_due_at_once_when_every_reader_is_at_its_end() {
    let mut minter = minter(false, &[1, 1], options());
    let mut readers = Readers::of(2);
    assert!(minter.mint(START_MS + SECOND).is_some(), "that both are behind is news");
    readers.hold(&mut minter, 0, 10, START_MS, START_MS);
    minter.hold(PartitionId(0), Holding::Ended(10), START_MS);
    assert_eq!(minter.mint(START_MS + SECOND), None, "the other may still bring something");
    minter.hold(PartitionId(1), Holding::Ended(0), START_MS);
    let binding = minter.mint(START_MS + SECOND).unwrap();
    assert_eq!(bound(&binding, 0), Some(10));
    assert!(minter.all_ended());
}

#[test]
fn empty_ticks_are_at_most_a_second_apart() {
    let mut minter = minter(true, &[1], options());
    let mut minted = Vec::new();
    for wall_ms in (START_MS + 10..=START_MS + 5_000).step_by(10) {
        minted.extend(minter.mint(wall_ms).map(|binding| (binding.tick, binding.now_ms - START_MS)));
    }
    assert_eq!(minted, [(1, 1_000), (2, 2_000), (3, 3_000), (4, 4_000), (5, 5_000)]);
}

#[test]
fn what_did_not_change_is_left_out_of_a_binding() {
    let mut minter = minter(true, &[1, 1], options());
    let mut readers = Readers::of(2);
    let first = minter.mint(START_MS + SECOND).unwrap();
    assert_eq!(first.advances.len(), 2, "that both are behind is news once");
    readers.hold(&mut minter, 1, 10, START_MS, START_MS);
    let advance = Advance { partition: PartitionId(1), next: 10, status: Status::Behind };
    assert_eq!(minter.mint(START_MS + 2 * SECOND).unwrap().advances, [advance]);
    assert_eq!(minter.mint(START_MS + 3 * SECOND).unwrap().advances, []);
}

#[test]
fn now_of_live_partitions_is_the_clock_and_never_falls() {
    let mut minter = minter(true, &[1], options());
    let mut readers = Readers::of(1);
    let mut nows = Vec::new();
    for (wall_ms, event_time_ms) in [(1_000, -9_000), (2_000, 90_000), (1_500, 0), (2_500, 0)] {
        // A full tick is due even where the clock was set back.
        readers.hold(&mut minter, 0, TICK_BYTES, START_MS + event_time_ms, START_MS + wall_ms);
        nows.push(minter.mint(START_MS + wall_ms).unwrap().now_ms - START_MS);
    }
    assert_eq!(nows, [1_000, 2_000, 2_000, 2_500]);
}

#[test]
fn now_of_files_is_the_running_maximum_of_the_least_greatest_event_time_bound_over_files_not_ended() {
    let mut minter = minter(false, &[1, 1], options());
    let mut readers = Readers::of(2);
    let mut wall_ms = START_MS + 60 * MINUTE;
    let mut next = |minter: &mut Minter| {
        wall_ms += SECOND;
        minter.mint(wall_ms).unwrap().now_ms
    };
    readers.hold(&mut minter, 0, 10, START_MS + 5 * SECOND, START_MS);
    assert_eq!(next(&mut minter), MINUS_INFINITY, "of the second file nothing is bound");
    readers.hold(&mut minter, 1, 10, START_MS + 3 * SECOND, START_MS);
    assert_eq!(next(&mut minter), START_MS + 3 * SECOND, "the least of both");
    readers.hold(&mut minter, 1, 10, START_MS, START_MS);
    assert_eq!(next(&mut minter), START_MS + 3 * SECOND, "of the greatest of each");
    readers.hold(&mut minter, 1, 10, START_MS + 9 * SECOND, START_MS);
    assert_eq!(next(&mut minter), START_MS + 5 * SECOND);
    minter.hold(PartitionId(0), Holding::Ended(10), START_MS);
    next(&mut minter);
    assert_eq!(next(&mut minter), START_MS + 9 * SECOND, "the first file ended");
    minter.hold(PartitionId(1), Holding::Ended(30), START_MS);
    assert_eq!(next(&mut minter), START_MS + 9 * SECOND, "it never falls");
    assert!(minter.all_ended());
}

#[test]
fn a_granule_without_a_decoded_record_moves_no_time() {
    let mut minter = minter(false, &[1], options());
    let mut readers = Readers::of(1);
    readers.hold(&mut minter, 0, 10, MINUS_INFINITY, START_MS);
    assert_eq!(minter.mint(START_MS + SECOND).unwrap().now_ms, MINUS_INFINITY);
}

#[test]
fn with_a_speed_a_file_is_bound_and_now_goes_on_as_its_events_were_scheduled() {
    let mut minter = minter(false, &[1], MinterOptions { speed: Some(60.0), ..options() });
    let mut readers = Readers::of(1);
    (0..10).for_each(|minute| readers.hold(&mut minter, 0, 10, START_MS + minute * MINUTE, START_MS));
    // A minute of the file goes by in a second, from its own first event and from the first tick that may take any.
    for second in 0..10 {
        let binding = minter.mint(START_MS + MINUTE + second * SECOND).unwrap();
        assert_eq!(bound(&binding, 0), Some(10 * (second as u64 + 1)), "second {second}");
        assert_eq!(binding.now_ms, START_MS + second * MINUTE);
    }
}

/// A file, and the partition in which records of it enter again.
fn with_re_entry(options: MinterOptions) -> Minter {
    let mut topology = topology(vec![partition(false, Lanes::Open); 2]);
    topology.partitions[1].re_enters = Some(PartitionId(0));
    topology.partitions[1].groups.clear();
    let mut minter = Minter::new(topology, options);
    minter.configure(configuration(vec![USUAL; 2]), START_MS);
    minter
}

#[test]
fn what_enters_again_moves_no_time() {
    for speed in [None, Some(1.0)] {
        let mut minter = with_re_entry(MinterOptions { speed, ..options() });
        let mut readers = Readers::of(2);
        readers.hold(&mut minter, 0, 10, START_MS, START_MS);
        readers.hold(&mut minter, 1, 10, START_MS - 60 * MINUTE, START_MS);
        readers.hold(&mut minter, 1, 10, START_MS + 60 * MINUTE, START_MS);
        let binding = minter.mint(START_MS + SECOND).expect("there are records");
        assert_eq!((bound(&binding, 0), bound(&binding, 1)), (Some(10), Some(20)), "it waits for no schedule");
        let now_ms = speed.map_or(START_MS, |_| START_MS);
        assert!((now_ms..=now_ms + SECOND).contains(&binding.now_ms), "{}", binding.now_ms);
    }
}

#[test]
fn a_run_ends_when_sources_have_ended_and_what_enters_again_is_read() {
    let mut minter = with_re_entry(options());
    minter.hold(PartitionId(0), Holding::Ended(0), START_MS);
    let ended = minter.mint(START_MS).expect("an end is told at once");
    assert_eq!(
        ended.advances,
        [
            Advance { partition: PartitionId(0), next: 0, status: Status::Ended },
            Advance { partition: PartitionId(1), next: 0, status: Status::Behind },
        ]
    );
    assert!(!minter.all_ended(), "nobody knows yet what there is to enter");
    minter.hold(PartitionId(1), Holding::CaughtUp(0), START_MS);
    let read = minter.mint(START_MS).expect("nor does the rest wait for a tick's time");
    assert_eq!(read.advances, [Advance { partition: PartitionId(1), next: 0, status: Status::Idle }]);
    assert!(minter.all_ended());
    // And more of it is more to do.
    Readers::of(2).hold(&mut minter, 1, 10, START_MS, START_MS);
    assert!(!minter.all_ended());
    assert_eq!(bound(&minter.mint(START_MS).expect("there are records"), 1), Some(10));
    assert!(!minter.all_ended(), "the evidence is older than what came");
    minter.hold(PartitionId(1), Holding::CaughtUp(10), START_MS);
    minter.mint(START_MS);
    assert!(minter.all_ended());
}
