//! The naive model against answers that were worked out by hand.

use std::collections::BTreeMap;
use std::sync::Arc;

use dataflows::catalog::{Catalog, Experiment, Population, Tenant, Variant};
use dataflows::experiment::event::{Event, EventKind};
use dataflows::graph::{EVENTS, FACTS, GraphPlan, ViewPlan};
use dataflows::inventory::availability::Policy;
use dataflows::inventory::fact::{BeforeImage, Fact, FactKind, StockState};
use dataflows::views::{Reason, Row, SourceHealth, Stock, VariantMinute, VariantTotal, View};
use operators::binding::{Advance, Binding, Configuration, Status};
use operators::record::{Header, Identity, Item};
use operators::time::{PLUS_INFINITY, TimeMs};
use operators::topology::{LaneParameters, Lanes, Parameters, Partition, PartitionId, Topology};

use super::{Snapshot, naive};
use crate::history::{History, Records};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const YEAR_2099: TimeMs = 4_070_908_800_000;

/// A live partition whose lanes are those of the group of the tenants that it names, in a story's history.
fn partition(name: &str, records: &Records, tenants: u16) -> Partition {
    let (release, kind) = match records {
        Records::Events(_) => (EVENTS, 0),
        Records::Facts(_) => (FACTS, 1),
    };
    let groups = (0..tenants).map(|tenant| (operators::topology::GroupId(2 * tenant + kind), Lanes::Closed(vec![0])));
    Partition {
        name: name.to_owned(),
        release,
        groups: groups.collect(),
        identity_fixes_partition: true,
        live: true,
        re_enters: None,
        weight: 1,
    }
}

/// A history of live partitions: each tick says what time it is, and per partition its next item and status.
fn story(tenants: u16, records: Vec<Records>, ticks: &[(TimeMs, &[(usize, Status)])]) -> History {
    let names = ["north", "south"].map(|name| Tenant { name: name.into() });
    let experiment = |tenant, name: &str, population| Experiment {
        tenant,
        name: name.into(),
        layer: name.into(),
        seed: name.into(),
        traffic: (0, 1_000_000),
        variants: vec![Variant { name: "treatment".into(), weight: 1 }],
        population,
    };
    let experiments = (0..tenants).flat_map(|tenant| {
        [experiment(tenant, "ranker", Population::Assigned), experiment(tenant, "badges", Population::Exposed)]
    });
    let tenant_names = names[..usize::from(tenants)].to_vec();
    let catalog = Arc::new(Catalog::new(tenant_names, experiments.collect(), BTreeMap::new()));
    let partitions = records.iter().enumerate();
    let partitions = partitions.map(|(number, records)| partition(&format!("source/{number}"), records, tenants));
    let topology = Arc::new(Topology {
        partitions: partitions.collect(),
        groups: (0..tenants).flat_map(|tenant| [format!("events/{tenant}"), format!("facts/{tenant}")]).collect(),
    });
    let lane = LaneParameters {
        lateness_ms: 5_000,
        hold_ms: 30_000,
        idle_ms: 20_000,
        skew_max_ms: 2 * HOUR,
        dedup_horizon_ms: HOUR,
    };
    let parameters = Parameters { lanes: vec![lane; records.len()], start_ms: 0 };
    let bindings = ticks.iter().enumerate().map(|(tick, (now_ms, partitions))| Binding {
        tick: tick as u64,
        now_ms: *now_ms,
        advances: (0u32..)
            .zip(*partitions)
            .map(|(number, (items, status))| Advance {
                partition: PartitionId(number),
                next: 10 * *items as u64,
                status: *status,
            })
            .collect(),
        configuration: (tick == 0).then(|| Configuration {
            canonical: String::new(),
            sha256: String::new(),
            build: String::new(),
            parameters: parameters.clone(),
        }),
        answers: Vec::new(),
        checkpoint: false,
    });
    let bindings = bindings.collect();
    let plan = GraphPlan {
        catalog: Arc::clone(&catalog),
        topology: Arc::clone(&topology),
        session_keep_ms: MINUTE,
        policy: Policy { safety_stock: 0, count_trusted_ms: 24 * HOUR },
        views: [ViewPlan { enabled: true, retention_ms: 24 * HOUR, shards: 1 }; 8],
        emitting_workers: 1,
    };
    History { catalog, topology, parameters, plan, records, bindings }
}

fn items<R: Clone>(records: &[(Header, R)]) -> Vec<Item<R>> {
    let items = (0u64..).zip(records).map(|(place, (header, record))| Item {
        offset: 10 * place,
        length: 10,
        line: place + 1,
        outcome: Ok((*header, record.clone())),
    });
    items.collect()
}

fn fact(id: u128, kind: FactKind, quantity: i64, event_time_ms: TimeMs) -> Fact {
    Fact {
        tenant: 0,
        kind,
        state: StockState::Sellable,
        to_state: StockState::Sellable,
        void: false,
        node: "store".into(),
        sku: "tea".into(),
        quantity,
        event_time_ms,
        observed_from_ms: event_time_ms,
        rank: 1,
        authority: kind == FactKind::Count,
        epsilon_ms: 0,
        id,
        before: None,
    }
}

fn adjust(id: u128, quantity: i64, event_time_ms: TimeMs) -> Fact {
    fact(id, FactKind::Adjust, quantity, event_time_ms)
}

fn count(id: u128, quantity: i64, event_time_ms: TimeMs) -> Fact {
    fact(id, FactKind::Count, quantity, event_time_ms)
}

/// A correction of `original`, or a void where it says nothing new.
fn correction(id: u128, original: &Fact, says: Option<i64>) -> Fact {
    let Fact { id: before, kind, quantity, event_time_ms, .. } = *original;
    Fact {
        id,
        quantity: says.unwrap_or(0),
        void: says.is_none(),
        before: Some(Box::new(BeforeImage { id: before, kind, quantity, event_time_ms })),
        ..original.clone()
    }
}

fn described(fact: &Fact) -> (Header, Fact) {
    let group = operators::topology::GroupId(2 * fact.tenant + 1);
    let identity = Identity::Id { id: fact.id, content: 0 };
    (Header { group, lane: 0, event_time_ms: fact.event_time_ms, identity }, fact.clone())
}

/// The one row of stock after these facts, each of which comes twice.
fn stock_of(facts: &[Fact]) -> Stock {
    let twice: Vec<_> = facts.iter().flat_map(|fact| [described(fact), described(fact)]).collect();
    let records = vec![Records::Facts(items(&twice))];
    let ticks: &[(TimeMs, &[(usize, Status)])] =
        &[(0, &[(0, Status::Behind)]), (24 * HOUR, &[(twice.len(), Status::Behind)])];
    let snapshots = naive(&story(1, records, ticks));
    let rows: Vec<&Row> = snapshots[1][&View::Stock].keys().collect();
    match rows[..] {
        [Row::Stock(stock)] => stock.clone(),
        _ => panic!("not one row of stock: {rows:?}"),
    }
}

/// Book, the bracket and variance after these facts, whatever their order of arrival.
fn balance(facts: &[Fact]) -> (i64, i64, i64, i64) {
    let mut balances = Vec::new();
    permute(&mut facts.to_vec(), 0, &mut |facts| balances.push(stock_of(facts)));
    balances.dedup();
    assert_eq!(balances.len(), 1, "every order has the same answer");
    let Stock { book, lo, hi, variance, .. } = balances[0];
    (book.unwrap(), lo.unwrap(), hi.unwrap(), variance.unwrap())
}

/// Every order of `facts[from..]`.
fn permute(facts: &mut [Fact], from: usize, visit: &mut impl FnMut(&[Fact])) {
    if from == facts.len() {
        return visit(facts);
    }
    for place in from..facts.len() {
        facts.swap(from, place);
        permute(facts, from + 1, visit);
        facts.swap(from, place);
    }
}

/// A time of day.
fn at(hour: i64, minute: i64) -> TimeMs {
    hour * HOUR + minute * MINUTE
}

#[test]
fn a_count_and_the_deltas_after_it() {
    let facts = [count(1, 20, at(8, 0)), adjust(2, -3, at(9, 0)), adjust(3, 12, at(10, 0)), adjust(4, -5, at(11, 0))];
    assert_eq!(balance(&facts), (24, 24, 24, 20));
}

#[test]
fn a_late_delta_before_the_count_moves_the_variance_alone() {
    let mut facts =
        vec![count(1, 20, at(8, 0)), adjust(2, -3, at(9, 0)), count(3, 15, at(12, 0)), adjust(4, -1, at(13, 0))];
    assert_eq!(balance(&facts), (14, 14, 14, 18));
    facts.push(adjust(5, -2, at(11, 30)));
    assert_eq!(balance(&facts), (14, 14, 14, 20));
}

#[test]
fn a_late_count_rebases() {
    let mut facts =
        vec![count(1, 20, at(8, 0)), adjust(2, -3, at(9, 0)), adjust(3, -4, at(11, 0)), adjust(4, -1, at(13, 0))];
    assert_eq!(balance(&facts).0, 12);
    facts.push(count(5, 16, at(10, 0)));
    assert_eq!(balance(&facts).0, 11);
    assert_eq!(stock_of(&facts).anchor_ms, Some(at(10, 0)));
}

#[test]
fn what_comes_twice_counts_once() {
    let facts = [count(1, 10, at(8, 0)), adjust(2, -2, at(9, 0)), adjust(3, -2, at(9, 0))];
    assert_eq!(balance(&facts).0, 6);
}

#[test]
fn among_counts_of_one_instant_the_better_rank_holds() {
    let worse = Fact { rank: 2, ..count(2, 9, at(12, 0)) };
    let facts = [count(1, 7, at(12, 0)), worse, adjust(3, -1, at(12, 0)), adjust(4, -1, at(12, 0) + 1_000)];
    assert_eq!(balance(&facts).0, 6);
}

#[test]
fn what_happens_during_a_count_widens_the_bracket() {
    let counted = Fact { observed_from_ms: at(12, 0), epsilon_ms: 120_000, ..count(1, 40, at(12, 30)) };
    let deltas = [(-1, at(11, 57)), (-2, at(12, 10)), (10, at(12, 20)), (-1, at(12, 31)), (-3, at(12, 40))];
    let deltas = (2..).zip(deltas).map(|(id, (quantity, time_ms))| adjust(id, quantity, time_ms));
    let facts: Vec<Fact> = std::iter::once(counted).chain(deltas).collect();
    assert_eq!(balance(&facts), (36, 34, 47, 33));
}

#[test]
fn a_negative_book_is_not_clamped() {
    let mut facts = vec![count(1, 1, at(8, 0)), adjust(2, -1, at(9, 0)), adjust(3, -2, at(9, 5))];
    assert_eq!(balance(&facts).0, -2);
    facts.push(adjust(4, 6, at(9, 30)));
    assert_eq!(balance(&facts).0, 4);
}

#[test]
fn a_correction_posts_less_what_was_said_and_what_is_said_now() {
    let (first, second) = (adjust(2, -20, at(9, 0)), adjust(3, -1, at(9, 30)));
    let (corrected, voided) = (correction(4, &first, Some(-2)), correction(5, &second, None));
    assert_eq!(balance(&[count(1, 10, at(8, 0)), first, second, corrected, voided]).0, 8);
}

#[test]
fn a_sync_that_races_with_deltas_has_one_answer() {
    let sync = count(3, 100, at(12, 3));
    let facts = [count(1, 102, at(12, 0)), adjust(2, -2, at(12, 2)), sync, adjust(4, -1, at(12, 4))];
    assert_eq!(balance(&facts).0, 99);
}

#[test]
fn a_receipt_dated_back_behind_a_count_does_not_count() {
    let facts = [count(1, 1, at(20, 0)), adjust(2, 56, at(1, 0)), adjust(3, -14, at(10, 0))];
    let (book, _, _, variance) = balance(&facts);
    assert_eq!((book, variance), (1, -41));
}

#[test]
fn a_count_that_is_taken_back_leaves_the_key_unknown_until_the_next() {
    let (first, second) = (count(1, 10, at(8, 0)), count(2, 20, at(9, 0)));
    let facts = [first, second.clone(), correction(3, &second, None)];
    permute(&mut facts.to_vec(), 0, &mut |facts| {
        let stock = stock_of(facts);
        assert_eq!((stock.book, stock.rebase_pending, stock.anchor_ms), (None, true, None));
    });
    let mut facts = facts.to_vec();
    facts.push(count(4, 5, at(9, 0)));
    assert_eq!(balance(&facts).0, 5);
}

#[test]
fn among_counts_of_one_instant_the_next_best_holds_when_the_best_is_taken_back() {
    let (best, next) = (count(1, 7, at(12, 0)), Fact { rank: 2, ..count(2, 9, at(12, 0)) });
    let facts = [best.clone(), next, correction(3, &best, None), adjust(4, -1, at(12, 1))];
    assert_eq!(balance(&facts), (8, 8, 8, 9));
}

#[test]
fn the_bracket_holds_while_a_correction_waits_for_what_it_corrects() {
    let counted = Fact { epsilon_ms: 120_000, ..count(1, 10, at(12, 0)) };
    let sale = adjust(2, -2, at(12, 1));
    let voided = correction(3, &sale, None);
    let stock = stock_of(&[counted.clone(), voided.clone()]);
    assert_eq!((stock.book, stock.lo, stock.hi), (Some(12), Some(10), Some(12)));
    assert_eq!(balance(&[counted, voided, sale]), (10, 10, 10, 10));
}

#[test]
fn a_fact_too_old_to_be_judged_leaves_its_key_in_doubt() {
    let facts = [count(1, 10, at(30, 0)), adjust(2, -1, at(1, 0)), count(3, 7, at(31, 0))];
    let records = vec![Records::Facts(items(&facts.each_ref().map(described)))];
    let ticks: &[(TimeMs, &[(usize, Status)])] = &[
        (at(30, 0), &[(0, Status::CaughtUp)]),
        (at(30, 1), &[(1, Status::CaughtUp)]),
        (at(30, 2), &[(2, Status::CaughtUp)]),
        (at(31, 0), &[(3, Status::CaughtUp)]),
    ];
    let snapshots = naive(&story(1, records, ticks));
    let said = snapshots.iter().filter_map(|snapshot| snapshot.get(&View::Availability));
    let said = said.map(|rows| match rows.keys().next() {
        Some(Row::Availability(row)) => (row.reason, row.quantity, row.fresh_through_ms),
        other => panic!("no availability: {other:?}"),
    });
    let said: Vec<_> = said.collect();
    assert_eq!(
        said,
        [(Reason::InStock, 10, Some(at(54, 0))), (Reason::InDoubt, 0, None), (Reason::InStock, 7, Some(at(55, 0)))]
    );
    let health = health(&snapshots[3], 0);
    assert_eq!((health.on_time, health.late, health.too_old), (2, 1, 1));
}

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

fn health(snapshot: &Snapshot, partition: usize) -> &SourceHealth {
    let rows = snapshot[&View::SourceHealth].keys().filter_map(|row| match row {
        Row::SourceHealth(row) => Some(&**row),
        _ => None,
    });
    rows.into_iter().nth(partition).unwrap()
}

fn variant_minutes<'a>(snapshot: &'a Snapshot, experiment: &str) -> Vec<&'a VariantMinute> {
    let rows = snapshot.get(&View::VariantMinutes).into_iter().flat_map(BTreeMap::keys);
    let rows = rows.filter_map(|row| match row {
        Row::VariantMinute(row) if row.experiment == experiment => Some(row),
        _ => None,
    });
    rows.collect()
}

fn variant_totals<'a>(snapshot: &'a Snapshot, experiment: &str) -> Vec<&'a VariantTotal> {
    let rows = snapshot.get(&View::VariantTotals).into_iter().flat_map(BTreeMap::keys);
    let rows = rows.filter_map(|row| match row {
        Row::VariantTotal(row) if row.experiment == experiment => Some(&**row),
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
    assert_eq!(snapshots[2][&View::LateEvents].len(), 1);
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
    assert_eq!(snapshots[1][&View::DeadLetters].len(), 1);
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
    assert!(snapshots[1].contains_key(&View::SessionMinutes));
    assert_eq!(health(&snapshots[2], 0).watermark_ms, Some(PLUS_INFINITY));
    assert!(snapshots[2].contains_key(&View::SessionMinutes), "the end puts nothing out of retention");
}
