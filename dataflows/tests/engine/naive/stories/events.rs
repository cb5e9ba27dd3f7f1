//! Stories of events: sessions, variants, time.

use super::*;
use dataflows::dead_letters::DeadLetters;
use dataflows::experiment::late_events::LateEvents;
use dataflows::experiment::session_minutes::SessionMinutes;
use dataflows::experiment::unit_overlap::view::{OverlapRow, PairTest, UnitOverlaps};
use dataflows::experiment::variant_minutes::VariantMinutes;
use dataflows::experiment::variant_totals::VariantTotals;
use dataflows::names::Name;
use methods::chi_square::Reason;

fn event(tenant: u16, id: &str, kind: EventKind, event_time_ms: TimeMs) -> (Header, Event) {
    let hash =
        id.bytes().fold(u128::from(tenant) + 1, |hash, byte| hash.wrapping_mul(257).wrapping_add(u128::from(byte)));
    let header = Header {
        group: operators::topology::GroupId(2 * tenant),
        lane: 0,
        event_time_ms,
        identity: Identity::Id { id: hash, content: 0 },
    };
    let exposed = (kind == EventKind::Exposure).then_some(2 * tenant + 1);
    let event = Event {
        tenant,
        kind,
        event_time_ms,
        value: 100,
        quantity: 1,
        id: id.into(),
        session: "visit".into(),
        unit: "unit".into(),
        item: "".into(),
        experiment: exposed,
    };
    (header, event)
}

fn variant_minutes<'a>(snapshot: &'a Snapshot, experiment: &str) -> Vec<&'a VariantMinute> {
    let rows = snapshot.get(&ViewId::of::<VariantMinutes>()).into_iter().flat_map(BTreeMap::keys);
    let rows = rows.filter_map(|row| match row {
        Row::VariantMinute(row) if row.experiment == experiment => Some(row),
        _ => None,
    });
    rows.collect()
}

fn variant_totals<'a>(snapshot: &'a Snapshot, experiment: &str) -> Vec<&'a VariantTotal> {
    let rows = snapshot.get(&ViewId::of::<VariantTotals>()).into_iter().flat_map(BTreeMap::keys);
    let rows = rows.filter_map(|row| match row {
        Row::VariantTotal(row) if row.experiment == experiment => Some(row),
        _ => None,
    });
    rows.collect()
}

/// The minutes, with what was active and started in each.
fn activity(rows: &[&VariantMinute]) -> Vec<(i64, i64, i64)> {
    rows.iter().map(|row| (row.minute_ms, row.sessions_active, row.sessions_started)).collect()
}

#[test]
fn a_session_that_was_forgotten_starts_again() {
    let events = [event(0, "first", EventKind::View, 10_000), event(0, "second", EventKind::View, 2 * MINUTE)];
    let run = |between_ms: TimeMs| {
        let records = vec![Records::Events(items(&events))];
        let ticks: &[(TimeMs, &[(usize, Status)])] = &[
            (10_000, &[(0, Status::CaughtUp)]),
            (11_000, &[(1, Status::CaughtUp)]),
            (between_ms, &[(1, Status::CaughtUp)]),
            (2 * MINUTE, &[(2, Status::CaughtUp)]),
        ];
        let snapshots = naive(&story(1, records, ticks));
        activity(&variant_minutes(&snapshots[3], "ranker"))
    };
    // The lane is silent: it stands at `now` less 20 s, the watermark 5 s behind it.
    let forgotten = 70_000 + 25_000;
    assert_eq!(run(forgotten), [(0, 1, 1), (2 * MINUTE, 1, 1)]);
    assert_eq!(run(forgotten - 1), [(0, 1, 1), (2 * MINUTE, 1, 0)]);
}

#[test]
fn an_exposure_that_comes_later_covers_what_came_after_it() {
    let events = [
        event(0, "before", EventKind::Click, 5_000),
        event(0, "covered", EventKind::Purchase, MINUTE + 1),
        event(0, "exposure", EventKind::Exposure, MINUTE),
    ];
    let records = vec![Records::Events(items(&events))];
    let ticks: &[(TimeMs, &[(usize, Status)])] = &[
        (0, &[(0, Status::CaughtUp)]),
        (5_000, &[(1, Status::CaughtUp)]),
        (MINUTE, &[(2, Status::CaughtUp)]),
        (MINUTE + 1, &[(3, Status::CaughtUp)]),
    ];
    let snapshots = naive(&story(1, records, ticks));
    assert!(variant_totals(&snapshots[2], "badges").is_empty());
    assert_eq!(variant_totals(&snapshots[2], "ranker")[0].sums.clicks, 1);
    let total = variant_totals(&snapshots[3], "badges")[0];
    assert_eq!((total.units, total.sums.clicks, total.sums.purchases, total.squares.value), (1, 0, 1, 10_000));
    assert_eq!(activity(&variant_minutes(&snapshots[3], "badges")), [(MINUTE, 1, 1)]);
    assert_eq!(activity(&variant_minutes(&snapshots[3], "ranker")), [(0, 1, 1), (MINUTE, 1, 0)]);
}

/// A unit that has an event only, one that is exposed later, and one without a name: `ranker` counts the first two, `badges` the
/// second one from its exposure on.
#[test]
fn units_of_two_experiments_are_counted_in_their_cells() {
    let of = |unit: &str, (header, event): (Header, Event)| (header, Event { unit: unit.into(), ..event });
    let events = [
        of("one", event(0, "a", EventKind::View, 1_000)),
        of("two", event(0, "b", EventKind::View, 2_000)),
        of("", event(0, "c", EventKind::View, 3_000)),
        of("two", event(0, "d", EventKind::Exposure, 4_000)),
        of("one", event(0, "e", EventKind::Exposure, 5_000)),
        of("one", event(0, "f", EventKind::Exposure, 6_000)),
    ];
    let records = vec![Records::Events(items(&events))];
    let ticks: &[(TimeMs, &[(usize, Status)])] = &[
        (3_000, &[(3, Status::CaughtUp)]),
        (4_000, &[(4, Status::CaughtUp)]),
        (5_000, &[(5, Status::CaughtUp)]),
        (6_000, &[(6, Status::CaughtUp)]),
    ];
    let row = |units| {
        let (experiment, other_experiment) = ("ranker".into(), "badges".into());
        let (variant, other_variant): (Name, Name) = ("treatment".into(), "treatment".into());
        let test = PairTest::NotMade(Reason::TooFewCategories);
        let tenant = "north".into();
        let pair_units = units;
        Row::Overlap(OverlapRow {
            tenant,
            experiment,
            other_experiment,
            variant,
            other_variant,
            units,
            pair_units,
            test,
        })
    };
    let snapshots = naive(&story(1, records, ticks));
    let rows = snapshots.iter().map(|snapshot| {
        let rows = snapshot.get(&ViewId::of::<UnitOverlaps>()).into_iter().flat_map(BTreeMap::keys);
        rows.cloned().collect::<Vec<_>>()
    });
    assert_eq!(rows.collect::<Vec<_>>(), [vec![], vec![row(1)], vec![row(2)], vec![row(2)]]);
}

#[test]
fn an_idle_lane_that_wakes_with_an_event_of_a_sealed_minute_is_late() {
    let speaking = [event(0, "a", EventKind::View, 3 * MINUTE), event(0, "b", EventKind::View, 5 * MINUTE)];
    let waking = [event(0, "c", EventKind::View, MINUTE), event(0, "d", EventKind::View, 5 * MINUTE)];
    let records = vec![Records::Events(items(&speaking)), Records::Events(items(&waking))];
    let ticks: &[(TimeMs, &[(usize, Status)])] = &[
        (3 * MINUTE, &[(0, Status::CaughtUp), (0, Status::Idle)]),
        (3 * MINUTE, &[(1, Status::CaughtUp), (0, Status::Idle)]),
        (5 * MINUTE, &[(2, Status::CaughtUp), (1, Status::CaughtUp)]),
        (5 * MINUTE, &[(2, Status::CaughtUp), (2, Status::CaughtUp)]),
    ];
    let snapshots = naive(&story(1, records, ticks));
    assert_eq!(health(&snapshots[1], 1).watermark_ms, Some(3 * MINUTE - 25_000));
    assert_eq!((health(&snapshots[2], 1).late, health(&snapshots[2], 1).on_time), (1, 0));
    assert_eq!(snapshots[2][&ViewId::of::<LateEvents>()].len(), 1);
    assert_eq!((health(&snapshots[3], 1).late, health(&snapshots[3], 1).on_time), (1, 1));
}

#[test]
fn a_conflict_is_a_dead_letter_also_where_it_is_late() {
    let first = event(0, "twice", EventKind::View, 3 * MINUTE);
    let (mut header, other) = event(0, "twice", EventKind::Click, MINUTE);
    if let Identity::Id { content, .. } = &mut header.identity {
        *content = 1;
    }
    let records = vec![Records::Events(items(&[first, (header, other)]))];
    let ticks: &[(TimeMs, &[(usize, Status)])] = &[(0, &[(0, Status::Behind)]), (3 * MINUTE, &[(2, Status::Behind)])];
    let snapshots = naive(&story(1, records, ticks));
    let health = health(&snapshots[1], 0);
    assert_eq!((health.on_time, health.late, health.dead_letters), (1, 0, 1));
}

#[test]
fn a_future_stamp_enters_no_maximum() {
    let events = [event(0, "broken", EventKind::View, YEAR_2099), event(0, "sound", EventKind::View, MINUTE)];
    let records = vec![Records::Events(items(&events))];
    let ticks: &[(TimeMs, &[(usize, Status)])] = &[(0, &[(0, Status::CaughtUp)]), (MINUTE, &[(2, Status::CaughtUp)])];
    let snapshots = naive(&story(1, records, ticks));
    let health = health(&snapshots[1], 0);
    assert_eq!((health.dead_letters, health.on_time, health.late), (1, 1, 0));
    assert_eq!(health.watermark_ms, Some(MINUTE - 5_000));
    assert_eq!(snapshots[1][&ViewId::of::<DeadLetters>()].len(), 1);
}

#[test]
fn one_tenants_fast_clock_does_not_touch_another() {
    let events = [
        event(0, "fast", EventKind::View, HOUR),
        event(1, "sound", EventKind::View, MINUTE),
        event(0, "behind the fast one", EventKind::View, MINUTE),
        event(1, "sound too", EventKind::View, MINUTE),
    ];
    let records = vec![Records::Events(items(&events))];
    let ticks: &[(TimeMs, &[(usize, Status)])] =
        &[(0, &[(0, Status::CaughtUp)]), (MINUTE, &[(2, Status::CaughtUp)]), (MINUTE, &[(4, Status::CaughtUp)])];
    let snapshots = naive(&story(2, records, ticks));
    let health = health(&snapshots[2], 0);
    assert_eq!((health.on_time, health.late), (3, 1));
    assert_eq!(health.watermark_ms, Some(MINUTE - 5_000), "the least of both tenants");
}

#[test]
fn a_watermark_is_infinite_once_every_partition_has_ended() {
    let records = vec![Records::Events(items(&[event(0, "only", EventKind::View, MINUTE)]))];
    let ticks: &[(TimeMs, &[(usize, Status)])] =
        &[(0, &[(0, Status::Behind)]), (MINUTE, &[(1, Status::Behind)]), (MINUTE, &[(1, Status::Ended)])];
    let snapshots = naive(&story(1, records, ticks));
    assert_eq!(health(&snapshots[1], 0).watermark_ms, Some(MINUTE - 5_000));
    assert!(snapshots[1].contains_key(&ViewId::of::<SessionMinutes>()));
    assert_eq!(health(&snapshots[2], 0).watermark_ms, Some(PLUS_INFINITY));
    assert!(snapshots[2].contains_key(&ViewId::of::<SessionMinutes>()), "the end puts nothing out of retention");
}
