//! Where a lane stands at a tick, and the watermark that follows.

use operators::binding::Status;
use operators::judge::Timeliness::{Future, Late, OnTime};
use operators::time::{MINUS_INFINITY, PLUS_INFINITY};
use operators::topology::{GroupId, LaneParameters, Lanes};

use super::story::{GROUP, MINUTE, SECOND, START_MS, Said, Story, USUAL, closed, feeding, partition};

/// One live partition that is caught up.
fn caught_up(lanes: u128) -> Story {
    let mut story = Story::new(vec![partition(true, closed(lanes))]);
    story.is(0, Status::CaughtUp);
    story
}

#[test]
fn a_lane_that_speaks_stands_at_its_greatest_event_time() {
    let mut story = caught_up(1);
    let at_ms = START_MS - 20 * SECOND;
    story.tick(START_MS, &[(0, 0, at_ms), (0, 0, at_ms - 5 * SECOND)]);
    assert_eq!(story.watermark(), at_ms - USUAL.lateness_ms);
}

#[test]
fn a_stuck_clock_holds_for_hold_ms_at_most() {
    let mut story = caught_up(1);
    for second in 0..300 {
        let now_ms = START_MS + second * SECOND;
        story.tick(now_ms, &[(0, 0, START_MS)]);
        let stands_ms = START_MS.max(now_ms - USUAL.hold_ms);
        assert_eq!(story.watermark(), stands_ms - USUAL.lateness_ms, "second {second}");
    }
}

#[test]
fn a_lane_silent_for_less_than_idle_ms_of_log_time_holds_as_one_that_speaks() {
    let mut story = caught_up(1);
    story.tick(START_MS, &[(0, 0, START_MS)]);
    story.tick(START_MS + 20 * SECOND, &[]);
    assert_eq!(story.watermark(), START_MS - USUAL.lateness_ms);
    story.tick(START_MS + USUAL.idle_ms, &[]);
    assert_eq!(story.watermark(), START_MS + USUAL.idle_ms - USUAL.hold_ms - USUAL.lateness_ms);
}

#[test]
fn quiet_seals() {
    // With a longer hold than idle time, only silence can be what seals.
    let parameters = LaneParameters { hold_ms: 60 * MINUTE, ..USUAL };
    let mut story = Story::with(vec![partition(true, closed(1))], vec![parameters]);
    story.is(0, Status::CaughtUp);
    story.tick(START_MS, &[(0, 0, START_MS)]);
    story.is(0, Status::Idle);
    story.tick(START_MS + USUAL.idle_ms, &[]);
    assert_eq!(story.watermark(), START_MS - USUAL.lateness_ms, "silent for no more than the idle time");
    story.tick(START_MS + USUAL.idle_ms + 1, &[]);
    assert_eq!(story.watermark(), START_MS + 1 - USUAL.lateness_ms, "silent for longer");
}

#[test]
fn whether_a_lane_spoke_is_measured_between_log_times_of_ticks_not_by_event_time() {
    let parameters = LaneParameters { hold_ms: 60 * MINUTE, ..USUAL };
    let mut story = Story::with(vec![partition(true, closed(1))], vec![parameters]);
    story.is(0, Status::CaughtUp);
    // The event is an hour old; the lane spoke just now.
    let old_ms = START_MS - 60 * MINUTE;
    story.tick(START_MS, &[(0, 0, old_ms)]);
    assert_eq!(story.watermark(), old_ms - USUAL.lateness_ms);
}

#[test]
fn a_lane_never_seen_holds_the_watermark_idle_ms_behind_log_time() {
    let mut story = caught_up(2);
    for minute in 0..10 {
        let now_ms = START_MS + minute * MINUTE;
        story.tick(now_ms, &[(0, 0, now_ms)]);
        assert_eq!(story.watermark(), now_ms - USUAL.idle_ms - USUAL.lateness_ms);
    }
}

#[test]
fn an_idle_lane_that_wakes_with_events_of_a_sealed_minute_is_late() {
    let mut story = caught_up(2);
    story.tick(START_MS, &[(0, 0, START_MS), (0, 1, START_MS)]);
    let now_ms = START_MS + 10 * MINUTE;
    story.tick(now_ms, &[(0, 0, now_ms)]);
    let sealed_ms = story.watermark();
    assert!(sealed_ms > START_MS + 5 * MINUTE, "the silent lane no longer holds");
    // By the lane's own greatest all three would be on time.
    let woken = [(0, 1, START_MS + MINUTE), (0, 1, sealed_ms - 1), (0, 1, sealed_ms)];
    assert_eq!(story.tick(now_ms + SECOND, &woken), [Late, Late, OnTime]);
}

#[test]
fn one_tenants_fast_clock_moves_no_other_tenant() {
    let tenants = vec![(GroupId(0), closed(1)), (GroupId(1), closed(1))];
    let mut story = Story::new(vec![feeding(true, tenants)]);
    story.is(0, Status::CaughtUp);
    let fast_ms = START_MS + 4 * MINUTE;
    story.tick_of_groups(START_MS, &[(GroupId(0), (0, 0, fast_ms)), (GroupId(1), (0, 0, START_MS))]);
    assert_eq!(story.watermarks(), [fast_ms - USUAL.lateness_ms, START_MS - USUAL.lateness_ms]);
    let next = story.tick_of_groups(START_MS + SECOND, &[(GroupId(1), (0, 0, START_MS - 5 * SECOND))]);
    assert_eq!(next, [OnTime]);
}

#[test]
fn one_lanes_fast_clock_does_not_move_the_watermark_past_the_others() {
    let mut story = caught_up(2);
    let verdicts = story.tick(START_MS, &[(0, 0, START_MS + 4 * MINUTE), (0, 1, START_MS)]);
    assert_eq!(verdicts, [OnTime, OnTime]);
    assert_eq!(story.watermark(), START_MS - USUAL.lateness_ms);
}

#[test]
fn an_event_stamped_2099_is_future_and_enters_no_maximum() {
    let year_2099_ms = 4_070_908_800_000;
    for live in [true, false] {
        let mut story = Story::new(vec![partition(live, closed(1))]);
        story.is(0, if live { Status::CaughtUp } else { Status::Behind });
        assert_eq!(story.tick(START_MS, &[(0, 0, START_MS), (0, 0, year_2099_ms)]), [OnTime, Future]);
        assert_eq!(story.greatest(0, 0), START_MS);
        assert_eq!(story.watermark(), START_MS - USUAL.lateness_ms);
        assert_eq!(story.tick(START_MS, &[(0, 0, START_MS - SECOND)]), [OnTime], "live: {live}");
    }
}

#[test]
fn the_future_begins_skew_max_ms_after_now_where_live_and_after_the_recorded_start_in_files() {
    let now_ms = START_MS + 60 * MINUTE;
    for (live, from_ms) in [(true, now_ms), (false, START_MS)] {
        let mut story = Story::new(vec![partition(live, closed(1))]);
        let bound_ms = from_ms + USUAL.skew_max_ms;
        assert_eq!(story.tick(now_ms, &[(0, 0, bound_ms), (0, 0, bound_ms + 1)]), [OnTime, Future], "live: {live}");
    }
}

#[test]
fn an_uneven_catch_up_makes_nothing_late() {
    let mut story = Story::new(vec![partition(true, closed(2))]);
    let now_ms = START_MS + 3 * 60 * MINUTE;
    // Lane 0 is read two hours ahead of lane 1, over many ticks, each with enough records for log time to go by.
    for minute in 0..120 {
        let (ahead_ms, behind_ms) = (START_MS + minute * MINUTE, START_MS + minute * SECOND);
        let mut said: Vec<Said> = vec![(0, 0, ahead_ms); 1_000];
        said.push((0, 1, behind_ms));
        let verdicts = story.tick(now_ms, &said);
        assert!(verdicts.iter().all(|verdict| *verdict == OnTime), "minute {minute}");
    }
    // Then lane 1 catches up.
    for minute in 2..120 {
        let verdicts = story.tick(now_ms, &vec![(0, 1, START_MS + minute * MINUTE); 500]);
        assert!(verdicts.iter().all(|verdict| *verdict == OnTime), "minute {minute} of the lane behind");
    }
    assert!(story.watermark() > START_MS, "time went by meanwhile");
}

#[test]
fn a_catch_up_in_one_big_tick_makes_nothing_late() {
    let mut story = caught_up(2);
    story.tick(START_MS, &[(0, 0, START_MS), (0, 1, START_MS)]);
    story.is(0, Status::Behind);
    let now_ms = START_MS + 3 * 60 * MINUTE;
    story.tick(now_ms, &[]);
    // Three hours at once, one lane after the other, and the reader is caught up again.
    story.is(0, Status::CaughtUp);
    let said: Vec<Said> =
        (0..2).flat_map(|lane| (0..180).map(move |minute| (0, lane, START_MS + minute * MINUTE))).collect();
    assert!(story.tick(now_ms, &said).iter().all(|verdict| *verdict == OnTime));
    assert_eq!(story.watermark(), now_ms - USUAL.hold_ms - USUAL.lateness_ms, "the tick is applied, then sealed");
}

#[test]
fn a_tenant_that_a_source_does_not_declare_has_no_lane_there() {
    let first = vec![(GroupId(0), closed(1)), (GroupId(1), closed(1))];
    let second = vec![(GroupId(0), closed(1))];
    let mut story = Story::new(vec![feeding(true, first), feeding(true, second)]);
    story.is(0, Status::CaughtUp);
    story.tick_of_groups(START_MS, &[(GroupId(0), (0, 0, START_MS)), (GroupId(1), (0, 0, START_MS))]);
    // The second source is behind and holds back the tenant that it declares, not the other one.
    assert_eq!(story.watermarks(), [MINUS_INFINITY, START_MS - USUAL.lateness_ms]);
}

#[test]
fn lanes_of_an_ended_partition_do_not_count() {
    let mut story = Story::new(vec![partition(false, closed(2)), partition(true, closed(1))]);
    story.is(1, Status::CaughtUp);
    story.tick(START_MS, &[(0, 0, START_MS - 30 * MINUTE), (1, 0, START_MS)]);
    assert_eq!(story.watermark(), MINUS_INFINITY, "a lane of the file was never seen");
    story.is(0, Status::Ended);
    story.tick(START_MS + SECOND, &[]);
    assert_eq!(story.watermark(), START_MS - USUAL.lateness_ms);
}

#[test]
fn only_when_every_source_of_a_group_has_ended_is_its_watermark_plus_infinity() {
    let mut story = Story::new(vec![
        feeding(false, vec![(GroupId(0), closed(1)), (GroupId(1), Lanes::Open)]),
        feeding(false, vec![(GroupId(0), closed(1))]),
    ]);
    story.tick(START_MS, &[(0, 0, START_MS), (1, 0, START_MS)]);
    story.is(0, Status::Ended);
    story.tick(START_MS, &[]);
    assert_eq!(story.watermarks(), [START_MS - USUAL.lateness_ms, PLUS_INFINITY]);
    story.is(1, Status::Ended);
    story.tick(START_MS, &[]);
    assert_eq!(story.watermarks(), [PLUS_INFINITY; 2]);
}

#[test]
fn a_group_that_no_source_feeds_has_no_watermark() {
    let mut story = Story::new(vec![feeding(false, vec![(GroupId(1), closed(1))])]);
    story.is(0, Status::Ended);
    story.tick(START_MS, &[]);
    assert_eq!(story.watermarks(), [MINUS_INFINITY, PLUS_INFINITY]);
}

#[test]
fn an_open_group_waits_idle_ms_for_lanes_that_are_still_to_come() {
    let mut story = Story::new(vec![partition(true, Lanes::Open)]);
    story.is(0, Status::CaughtUp);
    story.tick(START_MS, &[(0, 77, START_MS)]);
    assert_eq!(story.watermark(), START_MS - USUAL.idle_ms - USUAL.lateness_ms);
    // A lane that comes within that time is on time, one that comes with older records is late.
    let sealed_ms = story.watermark();
    assert_eq!(story.tick(START_MS, &[(0, 78, sealed_ms), (0, 79, sealed_ms - 1)]), [OnTime, Late]);
}

#[test]
fn the_watermark_never_falls() {
    let mut story = caught_up(2);
    story.tick(START_MS, &[(0, 0, START_MS)]);
    let sealed_ms = story.watermark();
    // The lane that was never seen wakes with something old and now speaks: the watermark stays.
    assert_eq!(story.tick(START_MS + 1, &[(0, 1, START_MS - 60 * MINUTE)]), [Late]);
    assert!(story.watermark() >= sealed_ms);
    // A longer lateness does not turn it back either.
    let lenient = LaneParameters { lateness_ms: 60 * MINUTE, ..USUAL };
    let before_ms = story.watermark();
    story.configured(START_MS + 2, vec![lenient], &[]);
    assert_eq!(story.watermark(), before_ms);
    assert_eq!(story.watermarks().len(), usize::from(GROUP.0) + 1);
}
