//! The fold without a worker.

use operators::streams::NumberRuns;

use super::*;

const SILENT_AFTER: i64 = 5 * MINUTE_MS;

fn report(tick: Tick, greatest: u64, missing: &[(u64, u64)], moved_ms: TimeMs) -> StreamReport<()> {
    StreamReport {
        stream: (),
        tick,
        greatest,
        gaps: missing.len() as u64,
        first_missing: missing.first().map(|(from, _)| *from),
        event_time_ms: moved_ms.saturating_sub(500),
        moved_ms,
        opened: NumberRuns::new(),
    }
}

/// A report of a tick that opens gaps.
fn opening(
    tick: Tick,
    greatest: u64,
    missing: &[(u64, u64)],
    moved_ms: TimeMs,
    opened: &[(u64, u64)],
) -> StreamReport<()> {
    StreamReport { opened: opened.iter().copied().collect(), ..report(tick, greatest, missing, moved_ms) }
}

/// A feed, tick by tick.
#[derive(Clone, Default)]
struct Feed(FeedProgress);

impl Feed {
    /// Applies a tick; gives what is shown after it.
    fn tick(&mut self, now_ms: TimeMs, reports: &[StreamReport<()>]) -> FeedHealth {
        let fold = FeedHealthFold::new(SILENT_AFTER);
        let key = FeedKey { tenant: 0, source: "pos".into(), node: "store".into(), epoch: 0 };
        reports.iter().for_each(|report| fold.apply(&mut self.0, &key, report));
        let now = Now { tick: 0, now_ms, watermarks: &[], reached: &[] };
        fold.seal(&mut self.0, &key, &now);
        let mut values = Vec::new();
        fold.values(&key, &self.0, &mut values);
        values.pop().expect("a feed shows something as soon as it spoke")
    }

    fn wake(&self) -> Option<Wake> {
        let key = FeedKey { tenant: 0, source: "pos".into(), node: "store".into(), epoch: 0 };
        FeedHealthFold::new(SILENT_AFTER).wake(&key, &self.0)
    }
}

#[test]
fn a_feed_in_order_is_shown_once_a_minute() {
    let mut feed = Feed::default();
    let first = feed.tick(60_000, &[report(1, 7, &[], 60_000)]);
    assert_eq!((first.state, first.last_sequence, first.last_spoke_ms), (FeedState::Live, 7, Some(60_000)));
    assert_eq!(feed.wake(), Some(Wake::Now(60_000 + SILENT_AFTER)));
    assert_eq!(feed.tick(119_999, &[report(2, 9, &[], 119_999)]), first);
    assert_eq!(feed.wake(), Some(Wake::Now(120_000)));
    let second = feed.tick(120_000, &[]);
    assert_eq!((second.last_sequence, second.last_spoke_ms, second.last_event_ms), (9, Some(119_999), 119_499));
    assert_eq!(feed.wake(), Some(Wake::Now(119_999 + SILENT_AFTER)));
}

#[test]
fn gaps_and_silence_are_shown_at_once() {
    let mut feed = Feed::default();
    feed.tick(60_000, &[report(1, 7, &[], 60_000)]);
    let gapped = feed.tick(61_000, &[opening(2, 10, &[(8, 10)], 61_000, &[(8, 10)])]);
    assert_eq!((gapped.state, gapped.open_gaps, gapped.oldest_gap_ms), (FeedState::Gapped, 1, Some(61_000)));
    let twice = feed.tick(62_000, &[opening(3, 20, &[(8, 10), (11, 20)], 62_000, &[(11, 20)])]);
    assert_eq!((twice.open_gaps, twice.oldest_gap_ms, twice.last_sequence), (2, Some(61_000), 20));
    let later = feed.tick(63_000, &[report(4, 20, &[(11, 20)], 63_000)]);
    assert_eq!((later.open_gaps, later.oldest_gap_ms), (1, Some(62_000)));
    // Half of it comes: nothing that has to be shown at once.
    assert_eq!(feed.tick(64_000, &[report(5, 20, &[(15, 20)], 64_000)]), later);
    let live = feed.tick(65_000, &[report(6, 20, &[], 65_000)]);
    assert_eq!((live.state, live.open_gaps, live.oldest_gap_ms), (FeedState::Live, 0, None));
    assert_eq!(feed.tick(65_000 + SILENT_AFTER - 1, &[]).state, FeedState::Live);
    let silent = feed.tick(65_000 + SILENT_AFTER, &[]);
    assert_eq!((silent.state, silent.last_spoke_ms, feed.wake()), (FeedState::Silent, Some(65_000), None));
    let again = 65_001 + SILENT_AFTER;
    assert_eq!(feed.tick(again, &[report(9, 20, &[], again)]).state, FeedState::Live);
}

/// A report that comes earlier than it has to, as at a checkpoint, shows nothing that would not be shown without it.
#[test]
fn early_reports_leave_no_trace() {
    let (mut told, mut untold) = (Feed::default(), Feed::default());
    for feed in [&mut told, &mut untold] {
        feed.tick(60_000, &[report(1, 7, &[], 60_000)]);
    }
    assert_eq!(told.tick(80_000, &[report(2, 8, &[], 80_000)]), untold.tick(80_000, &[]));
    assert_eq!(told.tick(90_000, &[]), untold.tick(90_000, &[]));
    assert_eq!(told.tick(121_000, &[]), untold.tick(121_000, &[report(4, 8, &[], 80_000)]));
    let silent = 80_000 + SILENT_AFTER;
    assert_eq!(told.tick(silent - 1, &[]).state, FeedState::Live);
    assert_eq!(told.tick(silent, &[]), untold.tick(silent, &[]));
}

/// What speaks all the time leaves few times to look at behind: memory is bounded by time, not by records.
#[test]
fn reports_do_not_move_the_time_to_look_again() {
    let mut feed = Feed::default();
    let mut looks = std::collections::BTreeSet::new();
    for tick in 0..1_200u64 {
        let now_ms = 60_000 + tick as i64 * 500;
        let missing = [(10 * tick + 1, 10 * tick + 3)];
        let is_odd = usize::from(tick % 2 == 1);
        feed.tick(now_ms, &[opening(tick + 1, 10 * tick + 3, &missing[..is_odd], now_ms, &missing[..is_odd])]);
        looks.extend(feed.wake().map(|wake| format!("{wake:?}")));
    }
    assert!(looks.len() < 10, "ten minutes have {looks:?}");
}

#[test]
fn a_gap_that_was_there_before_has_no_time() {
    let mut feed = Feed::default();
    let unknown = feed.tick(60_000, &[report(1, 9, &[(4, 6)], 60_000)]);
    assert_eq!((unknown.state, unknown.open_gaps, unknown.oldest_gap_ms), (FeedState::Gapped, 1, None));
    // Numbers before the first one open a gap below it, which is told apart from that one.
    let below = feed.tick(61_000, &[opening(2, 9, &[(2, 3), (4, 6)], 61_000, &[(2, 3)])]);
    assert_eq!(below.oldest_gap_ms, Some(61_000));
    assert_eq!(feed.tick(62_000, &[report(3, 9, &[(4, 6)], 62_000)]).oldest_gap_ms, None);
}

#[test]
fn before_there_is_a_time_nothing_has_one() {
    let mut feed = Feed::default();
    let early = feed.tick(MINUS_INFINITY, &[opening(1, 9, &[(4, 6)], MINUS_INFINITY, &[(4, 6)])]);
    assert_eq!((early.state, early.oldest_gap_ms, early.last_spoke_ms), (FeedState::Gapped, None, None));
    assert_eq!(feed.wake(), Some(Wake::Now(MINUS_INFINITY + 1)));
    let timed = feed.tick(60_000, &[]);
    assert_eq!((timed.oldest_gap_ms, timed.last_spoke_ms), (Some(60_000), Some(60_000)));
}

#[test]
fn two_reports_of_one_tick_are_heard_in_either_order() {
    let reports = [opening(1, 9, &[(4, 6)], 60_000, &[(4, 6)]), opening(1, 30, &[(2, 5), (9, 10)], 60_000, &[(2, 5)])];
    let (mut one, mut other) = (Feed::default(), Feed::default());
    let shown = one.tick(60_000, &reports);
    assert_eq!(shown, other.tick(60_000, &[reports[1].clone(), reports[0].clone()]));
    assert_eq!((one.0, shown.open_gaps, shown.last_sequence), (other.0, 2, 30));
}

#[test]
fn only_so_many_openings_are_told_apart() {
    let mut feed = Feed::default();
    let mut missing = Vec::new();
    for number in 0..200u64 {
        let now_ms = 60_000 + number as i64 * 1_000;
        missing.push((10 * number + 1, 10 * number + 3));
        let opened = [(10 * number + 1, 10 * number + 3)];
        let shown = feed.tick(now_ms, &[opening(number + 1, 10 * number + 3, &missing, now_ms, &opened)]);
        assert_eq!((shown.open_gaps, shown.oldest_gap_ms), (number + 1, Some(60_000)));
        assert!(feed.0.openings.len() <= OPENINGS_MAX);
    }
    // The oldest ones come one after the other: what is said of the next is never younger than it is.
    for number in 1..200usize {
        let now_ms = 300_000 + number as i64;
        let shown = feed.tick(now_ms, &[report(300 + number as u64, 2_000, &missing[number..], now_ms)]);
        let since_ms = shown.oldest_gap_ms.expect("every gap was seen to begin");
        assert!((60_000..=60_000 + number as i64 * 1_000).contains(&since_ms), "{number}: {since_ms}");
    }
    feed.tick(400_000, &[report(600, 2_000, &[], 400_000)]);
    assert!(feed.0.openings.is_empty());
}
