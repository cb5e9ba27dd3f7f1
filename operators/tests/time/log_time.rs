//! Log time of a partition: `now` while it is caught up or idle; while behind, what its records say.
//!
//! A declared lane that never spoke stands `idle_ms` behind log time, so the watermark shows where log time is.

use operators::binding::Status;
use operators::time::{MINUS_INFINITY, TimeMs};

use super::story::{MINUTE, SECOND, START_MS, Said, Story, USUAL, closed, partition};

/// Where log time is, read off a watermark that a lane which never spoke holds back.
fn log_time_of(story: &Story) -> TimeMs {
    story.watermark() + USUAL.idle_ms + USUAL.lateness_ms
}

/// `count` records of lanes in turn, a millisecond after each other.
fn records(count: usize, lanes: &[u128], from_ms: TimeMs) -> Vec<Said> {
    (0..count).map(|number| (0, lanes[number % lanes.len()], from_ms + number as i64)).collect()
}

#[test]
fn log_time_is_now_while_the_partition_is_caught_up_or_idle() {
    for status in [Status::CaughtUp, Status::Idle] {
        let mut story = Story::new(vec![partition(true, closed(2))]);
        story.is(0, status);
        let now_ms = START_MS + 7 * MINUTE;
        story.tick(now_ms, &[(0, 0, now_ms)]);
        assert_eq!(log_time_of(&story), now_ms, "{status:?}");
    }
}

#[test]
fn while_behind_log_time_is_minus_infinity_before_10_000_records_were_read() {
    let mut story = Story::new(vec![partition(true, closed(2))]);
    story.tick(START_MS, &records(9_999, &[0], START_MS - MINUTE));
    assert_eq!(story.watermark(), MINUS_INFINITY);
    story.tick(START_MS, &[(0, 0, START_MS)]);
    assert_eq!(log_time_of(&story), START_MS);
}

#[test]
fn a_record_of_the_future_is_not_one_of_the_10_000() {
    let mut story = Story::new(vec![partition(true, closed(2))]);
    let mut said = records(9_999, &[0], START_MS - MINUTE);
    said.push((0, 0, START_MS + 365 * 24 * 60 * MINUTE));
    story.tick(START_MS, &said);
    assert_eq!(story.watermark(), MINUS_INFINITY);
}

#[test]
fn while_behind_log_time_is_the_least_greatest_event_time_among_the_lanes_of_the_last_10_000_records() {
    let mut story = Story::new(vec![partition(true, closed(3))]);
    let slow_ms = START_MS - 3 * MINUTE;
    let mut said = records(9_999, &[0], START_MS - MINUTE);
    said.insert(4_000, (0, 1, slow_ms));
    story.tick(START_MS, &said);
    assert_eq!(log_time_of(&story), slow_ms, "the slow lane is among the last 10,000");

    // The slow lane's only record was the 4,001st: so many more push it out, and not one fewer.
    let ahead_ms = START_MS + SECOND;
    story.tick(START_MS, &vec![(0, 0, ahead_ms); 4_000]);
    assert_eq!(log_time_of(&story), slow_ms);
    story.tick(START_MS, &[(0, 0, ahead_ms)]);
    assert_eq!(log_time_of(&story), ahead_ms);
}

#[test]
fn while_behind_log_time_is_a_running_maximum() {
    let mut story = Story::new(vec![partition(true, closed(2))]);
    story.tick(START_MS, &vec![(0, 0, START_MS); 10_000]);
    assert_eq!(log_time_of(&story), START_MS);
    // The slow lane alone makes up the last 10,000 records. If time turned back with it, it would stand at its greatest.
    story.tick(START_MS, &vec![(0, 1, START_MS - 9 * MINUTE); 10_000]);
    assert_eq!(story.watermark(), START_MS - USUAL.hold_ms - USUAL.lateness_ms);
}

#[test]
fn a_partition_that_falls_behind_leaves_the_time_of_the_clock() {
    let mut story = Story::new(vec![partition(true, closed(2))]);
    story.is(0, Status::CaughtUp);
    story.tick(START_MS, &[(0, 0, START_MS)]);
    let sealed_ms = story.watermark();
    story.is(0, Status::Behind);
    for hour in 1..5 {
        story.tick(START_MS + hour * 60 * MINUTE, &[]);
        assert_eq!(story.watermark(), sealed_ms, "an outage seals nothing");
    }
}

#[test]
fn while_behind_log_time_is_the_greatest_append_time_where_the_log_has_one() {
    let mut story = Story::new(vec![partition(true, closed(2))]);
    let appended_ms = START_MS - MINUTE;
    story.appended_at(Some(appended_ms));
    // One record is enough, and what it says of itself counts for nothing.
    story.tick(START_MS, &[(0, 0, START_MS - 60 * MINUTE)]);
    assert_eq!(log_time_of(&story), appended_ms);
    story.appended_at(Some(appended_ms - SECOND));
    story.tick(START_MS, &[(0, 0, START_MS)]);
    assert_eq!(log_time_of(&story), appended_ms, "a log's clock that was set back");
    story.appended_at(Some(appended_ms + SECOND));
    story.tick(START_MS, &[(0, 0, START_MS)]);
    assert_eq!(log_time_of(&story), appended_ms + SECOND);
}

#[test]
fn a_log_that_no_longer_says_when_it_appended_is_judged_by_its_records_again() {
    let mut story = Story::new(vec![partition(true, closed(2))]);
    story.appended_at(Some(START_MS - MINUTE));
    story.tick(START_MS, &[(0, 0, START_MS - MINUTE)]);
    story.appended_at(None);
    story.tick(START_MS, &[(0, 0, START_MS)]);
    assert_eq!(log_time_of(&story), START_MS - MINUTE, "before 10,000 records it never falls");
    story.tick(START_MS, &records(9_998, &[0], START_MS));
    assert_eq!(log_time_of(&story), START_MS + 9_997);
}
