//! Caught up and idle only on evidence: an end-of-partition answer, within the idle time, at exactly the bound offset, of
//! a partition that neither stalled nor is new since a restart.

use operators::binding::{Binding, Status};
use operators::minter::{Holding, Minter, MinterOptions};
use operators::time::{MINUS_INFINITY, TimeMs};
use operators::topology::{Lanes, PartitionId, Topology};

use super::story::{SECOND, START_MS, USUAL, configuration, partition, topology};

const PARTITION: PartitionId = PartitionId(0);

fn one(live: bool) -> Topology {
    topology(vec![partition(live, Lanes::Open)])
}

fn minter(live: bool) -> Minter {
    let mut minter = Minter::new(one(live), MinterOptions::default());
    minter.configure(configuration(vec![USUAL]), START_MS);
    minter
}

fn records(end_offset: u64) -> Holding {
    Holding::Records { end_offset, bytes: 100, least_ms: START_MS, greatest_ms: START_MS }
}

/// What a binding says of the only partition; `None` where it says nothing new.
fn status(binding: &Binding) -> Option<Status> {
    binding.advances.first().map(|advance| advance.status)
}

/// The status in the next binding, a second after the one before.
fn next(minter: &mut Minter, wall_ms: &mut TimeMs) -> Option<Status> {
    *wall_ms += SECOND;
    status(&minter.mint(*wall_ms).expect("an empty tick is due after a second"))
}

#[test]
fn caught_up_is_an_answer_at_exactly_the_bound_offset() {
    for (answer, expected) in [(100, Status::CaughtUp), (99, Status::Behind), (101, Status::Behind)] {
        let (mut minter, mut wall_ms) = (minter(true), START_MS);
        minter.hold(PARTITION, records(100), wall_ms);
        minter.hold(PARTITION, Holding::CaughtUp(answer), wall_ms);
        assert_eq!(next(&mut minter, &mut wall_ms), Some(expected), "an answer at {answer}");
    }
}

#[test]
fn without_an_answer_a_partition_is_behind_however_little_it_holds() {
    let (mut minter, mut wall_ms) = (minter(true), START_MS);
    assert_eq!(next(&mut minter, &mut wall_ms), Some(Status::Behind));
    for _ in 0..300 {
        assert_eq!(next(&mut minter, &mut wall_ms), None, "silence is no evidence");
    }
}

#[test]
fn an_answer_older_than_the_idle_time_is_none() {
    let (mut minter, mut wall_ms) = (minter(true), START_MS);
    minter.hold(PARTITION, Holding::CaughtUp(0), wall_ms);
    assert_eq!(next(&mut minter, &mut wall_ms), Some(Status::Idle), "nothing was ever read");
    while wall_ms < START_MS + USUAL.idle_ms {
        assert_eq!(next(&mut minter, &mut wall_ms), None);
    }
    assert_eq!(next(&mut minter, &mut wall_ms), Some(Status::Behind));
}

#[test]
fn idle_is_caught_up_and_silent_for_the_idle_time() {
    let (mut minter, mut wall_ms) = (minter(true), START_MS);
    minter.hold(PARTITION, records(100), wall_ms);
    minter.hold(PARTITION, Holding::CaughtUp(100), wall_ms);
    assert_eq!(next(&mut minter, &mut wall_ms), Some(Status::CaughtUp));
    while wall_ms < START_MS + USUAL.idle_ms {
        minter.hold(PARTITION, Holding::CaughtUp(100), wall_ms);
        assert_eq!(next(&mut minter, &mut wall_ms), None);
    }
    minter.hold(PARTITION, Holding::CaughtUp(100), wall_ms);
    assert_eq!(next(&mut minter, &mut wall_ms), Some(Status::Idle));
    minter.hold(PARTITION, records(200), wall_ms);
    assert_eq!(next(&mut minter, &mut wall_ms), Some(Status::Behind), "the old answer was at another offset");
    minter.hold(PARTITION, Holding::CaughtUp(200), wall_ms);
    assert_eq!(next(&mut minter, &mut wall_ms), Some(Status::CaughtUp), "it speaks again");
}

#[test]
fn a_partition_that_stalled_is_behind_until_it_answers_again() {
    let (mut minter, mut wall_ms) = (minter(true), START_MS);
    minter.hold(PARTITION, records(100), wall_ms);
    minter.hold(PARTITION, Holding::CaughtUp(100), wall_ms);
    assert_eq!(next(&mut minter, &mut wall_ms), Some(Status::CaughtUp));
    minter.hold(PARTITION, Holding::Stalled, wall_ms);
    assert_eq!(next(&mut minter, &mut wall_ms), Some(Status::Behind));
    minter.hold(PARTITION, Holding::CaughtUp(100), wall_ms);
    assert_eq!(next(&mut minter, &mut wall_ms), Some(Status::CaughtUp));
}

#[test]
fn after_a_restart_a_partition_is_behind_until_it_answers_again() {
    let (mut before, mut wall_ms) = (minter(true), START_MS);
    before.hold(PARTITION, records(100), wall_ms);
    before.hold(PARTITION, Holding::CaughtUp(100), wall_ms);
    wall_ms += SECOND;
    let binding = before.mint(wall_ms).unwrap();
    assert_eq!(status(&binding), Some(Status::CaughtUp));

    let mut after = minter(true);
    after.replayed(&binding);
    assert_eq!((after.tick(), after.bound(PARTITION)), (2, 100));
    after.hold(PARTITION, records(100), wall_ms);
    assert_eq!(next(&mut after, &mut wall_ms), Some(Status::Behind), "what was recorded is no evidence now");
    after.hold(PARTITION, Holding::CaughtUp(100), wall_ms);
    assert_eq!(next(&mut after, &mut wall_ms), Some(Status::CaughtUp));
}

#[test]
fn a_file_is_behind_until_it_ends() {
    let (mut minter, mut wall_ms) = (minter(false), START_MS);
    minter.hold(PARTITION, records(100), wall_ms);
    minter.hold(PARTITION, Holding::CaughtUp(100), wall_ms);
    assert_eq!(next(&mut minter, &mut wall_ms), Some(Status::Behind));
    minter.hold(PARTITION, Holding::Ended(200), wall_ms);
    assert_eq!(next(&mut minter, &mut wall_ms), None, "its last records are not held yet");
    minter.hold(PARTITION, records(200), wall_ms);
    assert_eq!(next(&mut minter, &mut wall_ms), Some(Status::Ended));
    assert!(minter.all_ended());
}

#[test]
fn a_partition_that_ended_stays_so_after_a_restart() {
    let (mut before, mut wall_ms) = (minter(false), START_MS);
    before.hold(PARTITION, Holding::Ended(0), wall_ms);
    wall_ms += SECOND;
    let binding = before.mint(wall_ms).unwrap();
    assert_eq!(status(&binding), Some(Status::Ended));
    let mut after = minter(false);
    after.replayed(&binding);
    assert!(after.all_ended());
    assert_eq!(next(&mut after, &mut wall_ms), None);
}

#[test]
fn offsets_without_records_are_bound_and_are_no_speech() {
    let (mut minter, mut wall_ms) = (minter(true), START_MS);
    minter.hold(
        PARTITION,
        Holding::Records { end_offset: 7, bytes: 0, least_ms: MINUS_INFINITY, greatest_ms: MINUS_INFINITY },
        wall_ms,
    );
    minter.hold(PARTITION, Holding::CaughtUp(7), wall_ms);
    assert_eq!(next(&mut minter, &mut wall_ms), Some(Status::Idle));
    assert_eq!(minter.bound(PARTITION), 7);
}

#[test]
fn all_is_read_once_every_partition_has_ended_or_was_found_caught_up_by_this_run() {
    let (mut before, mut wall_ms) = (minter(true), START_MS);
    assert!(!before.all_read());
    before.hold(PARTITION, Holding::CaughtUp(0), wall_ms);
    assert!(!before.all_read(), "nothing says so yet");
    wall_ms += SECOND;
    let binding = before.mint(wall_ms).unwrap();
    assert!(before.all_read());
    before.hold(PARTITION, records(100), wall_ms);
    next(&mut before, &mut wall_ms);
    assert!(!before.all_read());

    let mut after = minter(true);
    after.replayed(&binding);
    assert!(!after.all_read(), "what was recorded is no evidence now");
    after.hold(PARTITION, Holding::CaughtUp(0), wall_ms);
    next(&mut after, &mut wall_ms);
    assert!(after.all_read());
}

#[test]
fn an_answer_from_before_the_clock_was_put_back_is_none() {
    let (mut minter, mut wall_ms) = (minter(true), START_MS);
    minter.hold(PARTITION, Holding::CaughtUp(0), wall_ms);
    assert_eq!(next(&mut minter, &mut wall_ms), Some(Status::Idle));
    wall_ms -= 3_600 * SECOND;
    let mut statuses = Vec::new();
    for _ in 0..3 {
        wall_ms += SECOND;
        statuses.extend(minter.mint(wall_ms).as_ref().and_then(status));
    }
    assert_eq!(statuses, [Status::Behind], "it would otherwise hold for an hour and the idle time");
    minter.hold(PARTITION, Holding::CaughtUp(0), wall_ms);
    assert_eq!(next(&mut minter, &mut wall_ms), Some(Status::Idle));
}
