//! The floor under a lane: it rises to `W(T-1)` at each tick `T` whose predecessor did not stand the lane at its own
//! greatest, spoken or silent, and at a tick that changes lateness. It never falls.

use operators::binding::Status;
use operators::time::{MINUS_INFINITY, PLUS_INFINITY};
use operators::topology::{LaneParameters, Lanes};

use super::story::{MINUTE, SECOND, START_MS, Story, USUAL, closed, partition};

fn caught_up(lanes: u128) -> Story {
    let mut story = Story::new(vec![partition(true, closed(lanes))]);
    story.is(0, Status::CaughtUp);
    story
}

#[test]
fn the_floor_stays_under_a_lane_that_stands_at_its_own_greatest() {
    let mut story = caught_up(2);
    for second in 0..100 {
        let now_ms = START_MS + second * SECOND;
        story.tick(now_ms, &[(0, 0, now_ms), (0, 1, now_ms - 20 * SECOND)]);
        assert_eq!(story.watermark(), now_ms - 20 * SECOND - USUAL.lateness_ms);
        assert_eq!([story.floor(0, 0), story.floor(0, 1)], [MINUS_INFINITY; 2], "second {second}");
    }
}

#[test]
fn the_floor_rises_under_a_lane_that_speaks_with_a_stuck_clock() {
    let mut story = caught_up(2);
    story.tick(START_MS, &[(0, 0, START_MS), (0, 1, START_MS)]);
    let now_ms = START_MS + MINUTE;
    story.tick(now_ms, &[(0, 0, now_ms), (0, 1, START_MS)]);
    let held_ms = now_ms - USUAL.hold_ms - USUAL.lateness_ms;
    assert_eq!(story.watermark(), held_ms);
    assert_eq!([story.floor(0, 0), story.floor(0, 1)], [MINUS_INFINITY, held_ms]);
}

#[test]
fn the_floor_rises_under_a_silent_lane_too() {
    let mut story = caught_up(3);
    story.tick(START_MS, &[(0, 0, START_MS), (0, 1, START_MS)]);
    // Lane 1 falls silent, lane 2 never spoke; both are asked for their floors only much later.
    for minute in 1..10 {
        let now_ms = START_MS + minute * MINUTE;
        story.tick(now_ms, &[(0, 0, now_ms)]);
        assert_eq!([story.floor(0, 1), story.floor(0, 2)], [story.watermark(); 2], "minute {minute}");
    }
}

#[test]
fn a_floor_that_rose_while_a_lane_was_silent_stays_when_it_stands_at_its_own_greatest_again() {
    let mut story = caught_up(2);
    story.tick(START_MS, &[(0, 0, START_MS), (0, 1, START_MS)]);
    let now_ms = START_MS + 10 * MINUTE;
    story.tick(now_ms, &[(0, 0, now_ms)]);
    let floor_ms = story.floor(0, 1);
    assert_eq!(floor_ms, story.watermark());
    // Its clock is right again, but it had been left behind by the watermark: what was sealed stays sealed.
    story.tick(now_ms, &[(0, 1, now_ms)]);
    story.tick(now_ms + MINUTE, &[(0, 0, now_ms + MINUTE), (0, 1, now_ms + MINUTE)]);
    assert_eq!(story.floor(0, 1), floor_ms);
}

#[test]
fn a_lane_ahead_of_the_clock_keeps_its_floor_however_long_it_is_silent() {
    let mut story = caught_up(2);
    let fast_ms = START_MS + 4 * MINUTE;
    story.tick(START_MS, &[(0, 0, START_MS), (0, 1, fast_ms)]);
    let now_ms = START_MS + 3 * MINUTE;
    story.tick(now_ms, &[(0, 0, now_ms)]);
    assert_eq!(story.floor(0, 1), MINUS_INFINITY, "it stands at its own greatest, four minutes ahead");
}

#[test]
fn a_floor_never_falls() {
    let strict = LaneParameters { lateness_ms: 0, ..USUAL };
    let lenient = LaneParameters { lateness_ms: 60 * MINUTE, ..USUAL };
    let mut story = caught_up(2);
    let mut before = [MINUS_INFINITY; 2];
    for (minute, status) in
        (0..40).zip([Status::CaughtUp, Status::Behind, Status::Idle, Status::CaughtUp].iter().cycle())
    {
        story.is(0, *status);
        let now_ms = START_MS + minute * MINUTE;
        let parameters = [strict, lenient, USUAL][minute as usize % 3];
        story.configured(now_ms, vec![parameters], &[(0, 0, now_ms), (0, 1, START_MS)]);
        let floors = [story.floor(0, 0), story.floor(0, 1)];
        assert!(floors[0] >= before[0] && floors[1] >= before[1], "minute {minute}: {before:?}, then {floors:?}");
        before = floors;
    }
    assert!(before[0] > MINUS_INFINITY && before[1] > MINUS_INFINITY);
}

#[test]
fn a_change_of_lateness_raises_every_floor_of_the_partition_to_the_watermark_before() {
    let lenient = LaneParameters { lateness_ms: 5 * MINUTE, ..USUAL };
    let mut story = Story::new(vec![partition(true, closed(2)), partition(true, closed(1))]);
    story.is(0, Status::CaughtUp);
    story.is(1, Status::CaughtUp);
    let all = |now_ms| [(0, 0, now_ms), (0, 1, now_ms), (1, 0, now_ms)];
    story.tick(START_MS, &all(START_MS));
    let sealed_ms = story.watermark();
    story.configured(START_MS + SECOND, vec![lenient, USUAL], &all(START_MS + SECOND));
    assert_eq!([story.floor(0, 0), story.floor(0, 1)], [sealed_ms; 2]);
    assert_eq!(story.floor(1, 0), MINUS_INFINITY, "the other partition's lateness stayed");
}

#[test]
fn a_change_of_hold_or_idle_alone_raises_no_floor() {
    let other = LaneParameters { hold_ms: 40 * SECOND, idle_ms: 5 * MINUTE, ..USUAL };
    let mut story = caught_up(1);
    story.tick(START_MS, &[(0, 0, START_MS)]);
    story.configured(START_MS, vec![other], &[(0, 0, START_MS)]);
    assert_eq!(story.floor(0, 0), MINUS_INFINITY);
}

#[test]
fn a_lane_that_nobody_knew_begins_on_its_groups_watermark() {
    let mut story = Story::new(vec![partition(true, Lanes::Open)]);
    story.is(0, Status::CaughtUp);
    story.tick(START_MS, &[(0, 5, START_MS)]);
    let floor_ms = story.watermark();
    assert_eq!(story.floor(0, 1), floor_ms);
    // And keeps that floor from its first record on, though it stands at its own greatest at once.
    let now_ms = START_MS + MINUTE;
    story.tick(now_ms, &[(0, 6, now_ms), (0, 5, now_ms)]);
    assert!(story.watermark() > floor_ms);
    assert_eq!(story.floor(0, 1), floor_ms);
}

#[test]
fn the_floor_under_a_lane_of_an_ended_partition_rises_with_the_watermark() {
    let mut story = Story::new(vec![partition(false, closed(1)), partition(true, closed(1))]);
    story.is(1, Status::CaughtUp);
    story.tick(START_MS, &[(0, 0, START_MS), (1, 0, START_MS)]);
    story.is(0, Status::Ended);
    for second in 1..5 {
        let now_ms = START_MS + second * SECOND;
        story.tick(now_ms, &[(1, 0, now_ms)]);
        assert_eq!(story.floor(0, 0), now_ms - USUAL.lateness_ms);
    }
    story.is(1, Status::Ended);
    story.tick(START_MS + MINUTE, &[]);
    assert_eq!([story.floor(0, 0), story.floor(1, 0)], [PLUS_INFINITY; 2]);
}
