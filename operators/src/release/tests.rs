use std::sync::Arc;

use timely::dataflow::operators::{Concatenate, Inspect, Probe};

use super::*;
use crate::binding::Binding;
use crate::bindings::Inlet;
use crate::checkpoint::Checkpoints;
use crate::clock::{clock, shared_clock};
use crate::feed::Feed;
use crate::record::Item;
use crate::streams::StreamPlan;
use crate::testing::{LANES, Notebook, Shelf, batch, binding, end, first_binding, garbage, item, rest, run, topology};
use crate::time::Tick;
use crate::topology::{LaneParameters, Topology};
use crate::watermark::Counts;

const NOW_MS: TimeMs = 1_000_000;

/// What leaves a release: the tick, and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Released(Tick, String, Standing),
    /// A late record, or the code of a dead letter.
    SetAside(Tick, u64, String),
    Pending(Tick, String),
    Counted(Tick, u32, Counts),
}

/// The worker that owns a partition.
fn owner(partition: PartitionId, topology: &Topology, peers: usize) -> usize {
    topology.owner(partition, peers)
}

/// Releases what lies in these feeds, together with a clock, and takes down what leaves, in order.
fn releases(
    workers: usize,
    seed: u64,
    late: LatePolicy,
    of: Topology,
    bindings: Vec<Binding>,
    feeds: Vec<Feed<String>>,
    checkpoints: impl Fn(usize, usize) -> Checkpoints + Send + Sync + 'static,
) -> Vec<Seen> {
    let inlet = Inlet::default();
    bindings.into_iter().for_each(|binding| inlet.give(binding));
    inlet.close();
    run(workers, seed, move |scope, notebook: Notebook<Seen>| {
        let (worker, peers) = (scope.index(), scope.peers());
        let checkpoints = checkpoints(worker, peers);
        let face = shared_clock(&of, &checkpoints);
        let bindings = inlet.bindings(scope);
        let numbered = (0..).map(PartitionId).zip(feeds.clone());
        let plan = ReleasePlan {
            name: "Release".to_owned(),
            late,
            counted_apart: |name: &String| name.starts_with('*'),
            streams: StreamPlan::NONE,
            feeds: numbered.filter(|(id, _)| owner(*id, &of, peers) == worker).collect(),
            topology: &of,
            clock: &face,
            checkpoints: &checkpoints,
        };
        let streams = release(bindings.clone(), plan);
        let notes: [Notebook<Seen>; 4] = std::array::from_fn(|_| notebook.clone());
        let [of_released, of_aside, of_pending, of_reports] = notes;
        let released = streams.released.inspect_time(move |tick, released| {
            of_released.note(Seen::Released(*tick, released.record.clone(), released.standing));
        });
        let aside = streams.aside.inspect_time(move |tick, aside| {
            let what = match &aside.reason {
                SetAsideReason::Late(record) => record.clone(),
                SetAsideReason::Dead { rejection, .. } => rejection.code.to_string(),
            };
            of_aside.note(Seen::SetAside(*tick, aside.offset, what));
        });
        let pending = streams.pending.inspect_time(move |tick, pending| {
            of_pending.note(Seen::Pending(*tick, pending.record.clone()));
        });
        let reports = streams.reports.inspect(move |report| {
            of_reports.note(Seen::Counted(report.tick, report.partition.0, report.counts));
        });
        let marks = clock(reports, bindings, &face, &checkpoints);
        let ended = [end(released), end(aside), end(pending), end(marks)];
        scope.concatenate(ended).probe().0
    })
}

/// A feed that holds these records, one batch, one byte each.
fn feed(items: Vec<Item<String>>) -> Feed<String> {
    let feed = Feed::new(1 << 20);
    let end = items.len() as u64;
    feed.push(batch(items, end));
    feed
}

fn without_checkpoints(_: usize, _: usize) -> Checkpoints {
    Checkpoints::default()
}

/// One of each verdict, in one tick.
fn one_of_each() -> Vec<Item<String>> {
    vec![
        item(0, 1, NOW_MS, "first"),
        item(1, 1, NOW_MS, "first"),
        item(2, 1, NOW_MS, "of other content"),
        item(3, 2, NOW_MS - 1_000, "*just in time"),
        item(4, 3, NOW_MS - 1_001, "late"),
        garbage(5),
        item(6, 4, NOW_MS + 60_001, "too far ahead"),
        item(7, 5, NOW_MS - 999, "after all that"),
    ]
}

fn bound(next: u64) -> Vec<Binding> {
    vec![first_binding(NOW_MS, 1, LANES), binding(1, NOW_MS, &[next])]
}

fn only<T>(seen: &[Seen], which: impl Fn(&Seen) -> Option<T>) -> Vec<T> {
    seen.iter().filter_map(which).collect()
}

fn released(seen: &[Seen]) -> Vec<(Tick, &str, Standing)> {
    let released = seen.iter().filter_map(|seen| match seen {
        Seen::Released(tick, record, standing) => Some((*tick, record.as_str(), *standing)),
        _ => None,
    });
    released.collect()
}

fn aside(seen: &[Seen]) -> Vec<(u64, String)> {
    only(seen, |seen| match seen {
        Seen::SetAside(_, offset, what) => Some((*offset, what.clone())),
        _ => None,
    })
}

fn counts(seen: &[Seen], tick: Tick, partition: u32) -> Counts {
    let found = only(seen, |seen| match seen {
        Seen::Counted(of, whose, counts) if (*of, *whose) == (tick, partition) => Some(*counts),
        _ => None,
    });
    assert_eq!(found.len(), 1, "one report for each partition and tick");
    found[0]
}

#[test]
fn each_record_has_its_verdict_in_the_order_of_offsets() {
    let feeds = vec![feed(one_of_each())];
    let seen = releases(1, 0, LatePolicy::SetAside, topology(1, true), bound(8), feeds, without_checkpoints);
    let on_time = Standing::OnTime;
    assert_eq!(released(&seen), [(1, "first", on_time), (1, "*just in time", on_time), (1, "after all that", on_time)]);
    let expected = [(2, "conflict"), (4, "late"), (5, "not_json"), (6, "future")];
    assert_eq!(aside(&seen), expected.map(|(offset, what)| (offset, what.to_owned())));
    let expected = Counts { read: 8, on_time: 3, late: 1, duplicate: 1, dead: 3, too_old: 0, counted_apart: 1 };
    assert_eq!(counts(&seen, 1, 0), expected);
    assert_eq!(counts(&seen, 0, 0), Counts::default(), "a partition reports also when nothing was read");
}

#[test]
fn late_records_are_released_where_they_are_folded() {
    let lanes = LaneParameters { dedup_horizon_ms: 5_000, ..LANES };
    let bindings = |next: u64| {
        let first = first_binding(NOW_MS, 1, lanes);
        vec![first, binding(1, NOW_MS, &[1]), binding(2, NOW_MS, &[next])]
    };
    // After tick 1 the watermark is a second behind `now`, and identities are remembered for five seconds more.
    let items = vec![
        item(0, 1, NOW_MS, "first"),
        item(1, 2, NOW_MS - 6_000, "late"),
        item(2, 2, NOW_MS - 6_000, "late"),
        item(3, 3, NOW_MS - 6_001, "too old to be remembered"),
    ];
    let seen = releases(1, 0, LatePolicy::Fold, topology(1, true), bindings(4), vec![feed(items)], without_checkpoints);
    let too_old = Standing::TooOld { doubt_ms: NOW_MS - 1_000 };
    assert_eq!(
        released(&seen),
        [(1, "first", Standing::OnTime), (2, "late", Standing::Late), (2, "too old to be remembered", too_old)]
    );
    let expected = Counts { read: 3, late: 2, duplicate: 1, too_old: 1, ..Counts::default() };
    assert_eq!(counts(&seen, 2, 0), expected);
}

#[test]
fn the_bindings_say_which_tick_a_record_belongs_to() {
    let items: Vec<_> = (0..6).map(|offset| item(offset, offset.into(), NOW_MS, &offset.to_string())).collect();
    let cut = |at: &[u64]| {
        let bindings = (1..).zip(at).map(|(tick, next)| binding(tick, NOW_MS, &[*next]));
        [vec![first_binding(NOW_MS, 1, LANES)], bindings.collect()].concat()
    };
    let feeds = vec![feed(items)];
    let seen = releases(1, 0, LatePolicy::SetAside, topology(1, true), cut(&[2, 2, 5, 6]), feeds, without_checkpoints);
    let ticks: Vec<_> = released(&seen).into_iter().map(|(tick, record, _)| (record.to_owned(), tick)).collect();
    let expected = [("0", 1), ("1", 1), ("2", 3), ("3", 3), ("4", 3), ("5", 4)];
    assert_eq!(ticks, expected.map(|(record, tick)| (record.to_owned(), tick)));
}

#[test]
fn what_is_released_does_not_depend_on_workers_and_schedule() {
    let made = |workers, seed| {
        let feeds: Vec<_> = (0..3u32)
            .map(|partition| {
                let of = |offset: u64| {
                    let event_time_ms = NOW_MS + (offset as i64 * 700) % 3_000 - 1_200;
                    item(offset, u128::from(offset % 7), event_time_ms, &format!("{partition}/{offset}"))
                };
                feed((0..20).map(of).collect())
            })
            .collect();
        let bindings = [
            first_binding(NOW_MS, 3, LANES),
            binding(1, NOW_MS + 500, &[8, 3, 0]),
            binding(2, NOW_MS + 900, &[9, 11, 20]),
            binding(3, NOW_MS + 1_500, &[20, 20, 20]),
        ];
        let mut seen = releases(
            workers,
            seed,
            LatePolicy::SetAside,
            topology(3, true),
            bindings.to_vec(),
            feeds,
            without_checkpoints,
        );
        seen.sort_by_key(|seen| format!("{seen:?}"));
        seen
    };
    let alone = made(1, 0);
    assert!(alone.iter().any(|seen| matches!(seen, Seen::SetAside(..))), "a late record is reached");
    for seed in 1..12 {
        let workers = 1 + seed as usize % 3;
        assert_eq!(made(workers, seed), alone, "seed {seed}, {workers} workers");
    }
}

#[test]
fn a_record_that_may_occur_elsewhere_is_pending() {
    let feeds = vec![feed(one_of_each())];
    let seen = releases(1, 0, LatePolicy::SetAside, topology(1, false), bound(8), feeds, without_checkpoints);
    let pending = only(&seen, |seen| match seen {
        Seen::Pending(1, record) => Some(record.clone()),
        _ => None,
    });
    assert_eq!(pending, ["first", "first", "of other content", "*just in time", "late", "after all that"]);
    assert_eq!(counts(&seen, 1, 0), Counts { read: 8, dead: 2, ..Counts::default() });
}

/// The operator alone, so that the test has the clock and the reader in its hands.
#[test]
fn a_tick_waits_for_its_records_and_for_the_clock_of_the_tick_before() {
    timely::execute_directly(|worker| {
        let (inlet, of) = (Inlet::default(), topology(1, true));
        let first = first_binding(NOW_MS, 1, LANES);
        [first, binding(1, NOW_MS, &[2])].into_iter().for_each(|binding| inlet.give(binding));
        inlet.close();
        let (feed, checkpoints) = (Feed::new(1 << 20), Checkpoints::default());
        let face = shared_clock(&of, &checkpoints);
        let notebook = Notebook::new();
        let notes = notebook.clone();
        let probe = worker.dataflow(|scope| {
            let plan = ReleasePlan {
                name: "Release".to_owned(),
                late: LatePolicy::SetAside,
                counted_apart: |_: &String| false,
                streams: StreamPlan::NONE,
                feeds: vec![(PartitionId(0), feed.clone())],
                topology: &of,
                clock: &face,
                checkpoints: &checkpoints,
            };
            let streams = release(inlet.bindings(scope), plan);
            let released = streams.released.inspect(move |released| notes.note(released.record.clone()));
            released.probe().0
        });
        feed.push(batch(vec![item(0, 0, NOW_MS, "one")], 1));
        rest(worker);
        assert_eq!(notebook.take(), [""; 0], "nobody knows the watermark of tick 0");
        assert!(probe.less_equal(&1));

        face.borrow_mut().upper = 1;
        face.borrow().waiting.iter().for_each(timely::scheduling::Activator::activate);
        rest(worker);
        assert_eq!(notebook.take(), ["one"], "records are taken as they come");
        assert!(probe.less_equal(&1), "the tick has another record");

        feed.push(batch(vec![item(1, 1, NOW_MS, "two"), item(2, 2, NOW_MS, "beyond the bound")], 3));
        worker.step_while(|| !probe.done());
        assert_eq!(notebook.take(), ["two"]);
    });
}

#[test]
fn a_restored_release_knows_what_it_has_accepted() {
    let shelf = Arc::new(Shelf::default());
    let items =
        |from: u64, upto: u64| (from..upto).map(|offset| item(offset, u128::from(offset % 3), NOW_MS, "record"));
    let of = || topology(1, true);
    let asks = Binding { checkpoint: true, ..binding(1, NOW_MS, &[3]) };
    let filled = Arc::clone(&shelf);
    let feeds = vec![feed(items(0, 3).collect())];
    let bindings = vec![first_binding(NOW_MS, 1, LANES), asks.clone()];
    let before = releases(2, 0, LatePolicy::SetAside, of(), bindings, feeds, move |worker, _| filled.filled_by(worker));
    assert_eq!(released(&before).len(), 3);

    let after = Feed::new(1 << 20);
    after.push(batch(items(3, 4).chain([item(4, 9, NOW_MS, "new")]).collect(), 5));
    let bindings = vec![Binding { checkpoint: false, ..asks }, binding(2, NOW_MS, &[5])];
    let seen = releases(1, 0, LatePolicy::SetAside, of(), bindings, vec![after], move |worker, peers| {
        shelf.restored_on(worker, peers, 2, &topology(1, true))
    });
    assert_eq!(released(&seen), [(2, "new", Standing::OnTime)]);
    assert_eq!(counts(&seen, 2, 0), Counts { read: 2, on_time: 1, duplicate: 1, ..Counts::default() });
    assert!(!seen.iter().any(|seen| matches!(seen, Seen::Counted(1, ..))), "the checkpoint's own tick is over");
}
