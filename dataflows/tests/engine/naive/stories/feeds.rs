//! Stories of feeds: gaps, silence, and what is shown when.

use dataflows::inventory::feed_health::{FeedHealth, FeedKey, FeedState};
use dataflows::inventory::worst_feeds::WorstFeeds;

use super::super::feeds::feed_health;
use super::*;

/// A sale with a number of the till's.
fn sale(number: u64, event_time_ms: TimeMs) -> (Header, Fact) {
    let fact = Fact {
        tenant: 0,
        kind: FactKind::Sale,
        state: StockState::Sellable,
        to_state: StockState::Sellable,
        void: false,
        node: "store".into(),
        sku: "tea".into(),
        quantity: 1,
        event_time_ms,
        observed_from_ms: event_time_ms,
        source: "pos".into(),
        epoch: 3,
        rank: 1,
        authority: false,
        epsilon_ms: 0,
        id: u128::from(number),
        before: None,
    };
    let identity = Identity::Sequence { stream: 7, sequence: number };
    (Header { group: operators::topology::GroupId(1), lane: 0, event_time_ms, identity }, fact)
}

/// What is shown of the till after each tick, if anything is; a tick says what time it was, and how many of the records had come by then.
fn shown(records: &[(Header, Fact)], ticks: &[(TimeMs, usize)]) -> Vec<Option<FeedHealth>> {
    let advances: Vec<[(usize, Status); 1]> = ticks.iter().map(|(_, items)| [(*items, Status::CaughtUp)]).collect();
    let ticks: Vec<(TimeMs, &[(usize, Status)])> =
        ticks.iter().zip(&advances).map(|((now_ms, _), advances)| (*now_ms, advances.as_slice())).collect();
    let history = story(1, vec![Records::Facts(items(records))], &ticks);
    let key = FeedKey { tenant: 0, source: "pos".into(), node: "store".into(), epoch: 3 };
    feed_health(&history, 15 * MINUTE).into_iter().map(|feeds| feeds.get(&key).cloned()).collect()
}

fn health(
    (state, last_sequence): (FeedState, u64),
    (open_gaps, oldest_gap_ms): (u64, Option<TimeMs>),
    (last_event_ms, last_spoke_ms): (TimeMs, TimeMs),
) -> Option<FeedHealth> {
    let last_spoke_ms = Some(last_spoke_ms);
    Some(FeedHealth { state, last_sequence, open_gaps, oldest_gap_ms, last_event_ms, last_spoke_ms })
}

const SECOND: i64 = 1_000;

#[test]
fn a_till_that_loses_a_number_and_finds_it_again() {
    let eight = at(8, 0);
    let records = [
        sale(1, eight - 2 * SECOND),
        sale(2, eight + 9 * SECOND),
        sale(4, eight + 19 * SECOND),
        sale(5, eight + 29 * SECOND),
        sale(3, eight + 15 * SECOND),
        sale(5, eight + 29 * SECOND),
    ];
    let ticks = [
        (eight, 0),
        (eight, 1),
        (eight + 10 * SECOND, 2),
        (eight + 20 * SECOND, 3),
        (eight + 30 * SECOND, 4),
        (eight + 40 * SECOND, 5),
        (eight + 50 * SECOND, 6),
        (eight + 60 * SECOND, 6),
        (eight + 16 * MINUTE, 6),
    ];
    use FeedState::{Gapped, Live, Silent};
    let first = health((Live, 1), (0, None), (eight - 2 * SECOND, eight));
    let gapped = health((Gapped, 4), (1, Some(eight + 20 * SECOND)), (eight + 19 * SECOND, eight + 20 * SECOND));
    let found = health((Live, 5), (0, None), (eight + 29 * SECOND, eight + 40 * SECOND));
    // A duplicate says that it lives; that is shown when the minute is over.
    let lives = health((Live, 5), (0, None), (eight + 29 * SECOND, eight + 50 * SECOND));
    let silent = health((Silent, 5), (0, None), (eight + 29 * SECOND, eight + 50 * SECOND));
    let expected = [None, first.clone(), first, gapped.clone(), gapped, found.clone(), found, lives, silent];
    assert_eq!(shown(&records, &ticks), expected);
}

#[test]
fn a_feed_that_falls_silent_with_a_gap_and_speaks_again() {
    let eight = at(8, 0);
    let records = [sale(10, eight), sale(13, eight), sale(20, eight), sale(12, eight + MINUTE), sale(11, eight)];
    let ticks = [
        (eight, 3),
        (eight + 15 * MINUTE - 1, 3),
        (eight + 15 * MINUTE, 3),
        (eight + 20 * MINUTE, 4),
        (eight + 20 * MINUTE + SECOND, 5),
    ];
    use FeedState::{Gapped, Silent};
    let gapped = health((Gapped, 20), (2, Some(eight)), (eight, eight));
    let silent = health((Silent, 20), (2, Some(eight)), (eight, eight));
    let again = health((Gapped, 20), (2, Some(eight)), (eight + MINUTE, eight + 20 * MINUTE));
    let one_less = health((Gapped, 20), (1, Some(eight)), (eight + MINUTE, eight + 20 * MINUTE + SECOND));
    assert_eq!(shown(&records, &ticks), [gapped.clone(), gapped, silent, again, one_less]);
}

/// What is closed and opened within one tick was never open.
#[test]
fn a_gap_within_a_tick_is_none() {
    let eight = at(8, 0);
    let records = [sale(1, eight), sale(3, eight), sale(2, eight), sale(6, eight), sale(4, eight)];
    let expected = health((FeedState::Gapped, 6), (1, Some(eight)), (eight, eight));
    assert_eq!(shown(&records, &[(eight, 5)]), [expected]);
}

/// Numbers before the first one that came are no gap, until one of them comes.
#[test]
fn a_feed_begins_with_the_first_number_that_comes() {
    let eight = at(8, 0);
    let records = [sale(100, eight), sale(102, eight), sale(50, eight), sale(99, eight)];
    let ticks = [(eight, 2), (eight + SECOND, 3), (eight + 2 * SECOND, 4)];
    let said = shown(&records, &ticks).into_iter().flatten();
    let said: Vec<_> = said.map(|health| (health.open_gaps, health.oldest_gap_ms)).collect();
    assert_eq!(said, [(1, Some(eight)), (2, Some(eight + SECOND)), (2, Some(eight + SECOND))]);
}

/// The till of a shop and its warehouse: of two that live the one that spoke longer ago, then the one with a gap, then the one that
/// fell silent; an epoch that was left behind says nothing.
#[test]
fn the_worst_feed_of_a_shop() {
    let eight = at(8, 0);
    let of = |source: &str, stream: u32, epoch: u32, number: u64| {
        let (header, fact) = sale(number, eight);
        let identity = Identity::Sequence { stream: stream.into(), sequence: number };
        let id = u128::from(stream) << 64 | u128::from(number);
        (Header { identity, ..header }, Fact { source: source.into(), epoch, id, ..fact })
    };
    let records = [
        of("pos", 1, 3, 1),
        of("wms", 2, 0, 1),
        of("wms", 2, 0, 3),
        of("pos", 1, 3, 2),
        of("wms", 2, 0, 2),
        of("wms", 2, 0, 4),
        of("pos", 3, 4, 1),
    ];
    let ticks: &[(TimeMs, &[(usize, Status)])] = &[
        (eight, &[(1, Status::CaughtUp)]),
        (eight + SECOND, &[(2, Status::CaughtUp)]),
        (eight + 2 * SECOND, &[(3, Status::CaughtUp)]),
        // Both speak a minute later; what was missing has come.
        (eight + 2 * MINUTE, &[(5, Status::CaughtUp)]),
        (eight + 16 * MINUTE, &[(6, Status::CaughtUp)]),
        (eight + 17 * MINUTE, &[(6, Status::CaughtUp)]),
        (eight + 18 * MINUTE, &[(7, Status::CaughtUp)]),
    ];
    let snapshots = naive(&story(1, vec![Records::Facts(items(&records))], ticks));
    let worst =
        snapshots.iter().map(|snapshot| match snapshot[&ViewId::of::<WorstFeeds>()].keys().collect::<Vec<_>>()[..] {
            [Row::Worst(row)] => (row.feed.source.as_str(), row.feed.epoch, row.feed.health.state),
            ref rows => panic!("not one row of a shop: {rows:?}"),
        });
    use FeedState::{Gapped, Live, Silent};
    let expected = [
        ("pos", 3, Live),
        ("pos", 3, Live),
        ("wms", 0, Gapped),
        ("pos", 3, Live),
        ("pos", 3, Live),
        ("pos", 3, Silent),
        ("wms", 0, Live),
    ];
    assert_eq!(worst.collect::<Vec<_>>(), expected);
}
