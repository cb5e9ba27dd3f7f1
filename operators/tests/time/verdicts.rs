//! Verdicts: late is what is behind its lane, or behind the floor under it, at its place in the log.

use operators::binding::Status;
use operators::judge::Timeliness::{Late, OnTime};
use operators::topology::LaneParameters;

use super::story::{MINUTE, SECOND, START_MS, Story, USUAL, closed, partition};

#[test]
fn late_is_what_lies_more_than_lateness_behind_the_lanes_greatest() {
    let mut story = Story::new(vec![partition(true, closed(2))]);
    let bound_ms = START_MS - USUAL.lateness_ms;
    let said = [(0, 0, bound_ms - 1), (0, 0, START_MS), (0, 0, bound_ms), (0, 0, bound_ms - 1), (0, 1, bound_ms - 1)];
    // At its place in the log: the first record is the same as the fourth, but came before the lane's greatest.
    assert_eq!(story.tick(START_MS, &said), [OnTime, OnTime, OnTime, Late, OnTime]);
}

#[test]
fn the_verdict_is_the_same_however_the_records_are_cut_into_ticks() {
    let said = [0, -9, -10, -11, 3, -7, -8, 2].map(|second| (0, 0, START_MS + second * SECOND));
    let mut in_one = Story::new(vec![partition(true, closed(1))]);
    let mut one_by_one = Story::new(vec![partition(true, closed(1))]);
    let together = in_one.tick(START_MS, &said);
    let apart: Vec<_> = said.iter().flat_map(|record| one_by_one.tick(START_MS, &[*record])).collect();
    assert_eq!(together, apart);
    assert_eq!(together.iter().filter(|verdict| **verdict == Late).count(), 2);
}

#[test]
fn a_late_record_raises_its_lanes_greatest_too() {
    let mut story = Story::new(vec![partition(true, closed(2))]);
    story.is(0, Status::CaughtUp);
    let now_ms = START_MS + 20 * MINUTE;
    story.tick(now_ms, &[(0, 0, now_ms), (0, 1, START_MS)]);
    story.tick(now_ms, &[]);
    // Behind the floor, and yet the greatest that its lane has seen.
    assert_eq!(story.tick(now_ms, &[(0, 1, START_MS + 5 * MINUTE)]), [Late]);
    assert_eq!(story.greatest(0, 1), START_MS + 5 * MINUTE);
}

#[test]
fn a_tick_is_applied_before_it_is_sealed() {
    let mut story = Story::new(vec![partition(true, closed(1))]);
    story.is(0, Status::CaughtUp);
    story.tick(START_MS, &[(0, 0, START_MS)]);
    // This tick's now would seal far more; its records are judged by the tick before.
    let now_ms = START_MS + 60 * MINUTE;
    assert_eq!(story.tick(now_ms, &[(0, 0, START_MS)]), [OnTime]);
    assert_eq!(story.tick(now_ms, &[(0, 0, START_MS)]), [Late]);
}

#[test]
fn at_a_tick_that_changes_lateness_nothing_behind_the_watermark_before_is_on_time() {
    let lenient = LaneParameters { lateness_ms: 10 * MINUTE, ..USUAL };
    let mut story = Story::new(vec![partition(true, closed(1))]);
    story.is(0, Status::CaughtUp);
    story.tick(START_MS, &[(0, 0, START_MS)]);
    let sealed_ms = story.watermark();
    let said = [(0, 0, sealed_ms - 1), (0, 0, sealed_ms)];
    assert_eq!(story.configured(START_MS, vec![lenient], &said), [Late, OnTime]);
    // Nor at any later tick: the floor went up with it.
    assert_eq!(story.tick(START_MS, &said), [Late, OnTime]);
}

#[test]
fn a_tick_that_changes_lateness_judges_its_own_records_by_the_new_one() {
    let strict = LaneParameters { lateness_ms: SECOND, ..USUAL };
    let mut story = Story::new(vec![partition(true, closed(2))]);
    story.tick(START_MS, &[(0, 0, START_MS)]);
    let said = [(0, 0, START_MS - SECOND), (0, 0, START_MS - SECOND - 1)];
    assert_eq!(story.configured(START_MS, vec![strict], &said), [OnTime, Late]);
}
