//! Feed health, from release to rows, against the naive model: at every tick, for every feed, however many workers there are;
//! and where the run goes on from a checkpoint under another number of workers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::rows::FACTS;
use dataflows::build::Ports;
use dataflows::experiment::ExperimentEvents;
use dataflows::experiment::event::Event;
use dataflows::inventory::InventoryFacts;
use dataflows::inventory::fact::Fact;
use dataflows::inventory::feed_health::{FeedHealth, FeedHealthFold, FeedKey, FeedState, feed_health, feed_of};
use operators::binding::Binding;
use operators::bindings::Inlet;
use operators::checkpoint::{Checkpoints, Depot, Part, Piece, Restore};
use operators::clock::{clock, shared_clock};
use operators::release::{LatePolicy, ReleasePlan, release};
use operators::resolve::{ResolvePlan, resolve};
use operators::simulation::{Cluster, Random};
use operators::streams::StreamPlan;
use operators::time::{MINUTE_MS, Tick};
use operators::topology::Topology;
use timely::dataflow::operators::probe::Handle;
use timely::dataflow::operators::{Concat, Inspect, Probe};
use timely::worker::Worker;

use crate::generator;
use crate::history::History;
use crate::naive::feeds::{self, FeedSnapshot};
use crate::trial::{AnyFeed, ports};

/// Steps after which a run that is still not done is stuck.
const STEPS_MAX: u64 = 2_000_000;

type Change = ((FeedKey, FeedHealth), Tick, isize);

/// A checkpoint: its first tick that is not in it, and all parts.
#[derive(Clone)]
struct Checkpoint {
    upper: Tick,
    parts: Vec<Part>,
}

/// The pieces of a checkpoint that is given.
struct Pieces(Mutex<(Vec<Part>, usize)>);

impl Depot for Pieces {
    fn put(&self, _: Tick, _: usize, piece: Piece) {
        let mut pieces = self.0.lock().unwrap();
        match piece {
            Piece::Part(part) => pieces.0.push(part),
            Piece::Complete => pieces.1 += 1,
        }
    }

    fn has_room(&self) -> bool {
        true
    }
}

/// Release, clock, resolve and feed health: what a run has of them.
fn build(
    worker: &mut Worker,
    topology: &Topology,
    ports: Ports,
    silent_after_ms: i64,
    seen: Arc<Mutex<Vec<Change>>>,
) -> Handle<Tick> {
    worker.dataflow::<Tick, _, _>(|scope| {
        let mut feeds = ports.feeds;
        let bindings = ports.inlet.bindings(scope);
        let checkpoints = &Checkpoints::new(scope.index(), ports.depot, ports.restore);
        let face = &shared_clock(topology, checkpoints);
        let events = ReleasePlan {
            name: "ReleaseEvents".to_owned(),
            late: LatePolicy::SetAside,
            counted_apart: |_: &Event| false,
            streams: StreamPlan::NONE,
            feeds: feeds.take::<ExperimentEvents>(),
            topology,
            clock: face,
            checkpoints,
        };
        let streams = Some(StreamPlan { stream_of: feed_of, since: 0 });
        let facts = ReleasePlan {
            name: "ReleaseFacts".to_owned(),
            late: LatePolicy::Fold,
            counted_apart: |_: &Fact| false,
            streams,
            feeds: feeds.take::<InventoryFacts>(),
            topology,
            clock: face,
            checkpoints,
        };
        let events = release(bindings.clone(), events);
        let facts = release(bindings.clone(), facts);
        let marks = clock(events.reports.concat(facts.reports), bindings, face, checkpoints);
        let mut reports = facts.streams;
        if topology.of_release(FACTS).any(|(_, partition)| !partition.identity_fixes_partition) {
            let plan = ResolvePlan {
                name: "ResolveFacts",
                late: LatePolicy::Fold,
                counted_apart: |_: &Fact| false,
                streams,
                checkpoints,
            };
            reports = reports.concat(resolve(facts.pending, marks.clone(), plan).streams);
        }
        let (changes, _) = feed_health(reports, marks, checkpoints, FeedHealthFold::new(silent_after_ms));
        changes.inspect(move |change: &Change| seen.lock().unwrap().push(change.clone())).probe().0
    })
}

/// Runs a history, from the beginning or from a checkpoint, and takes checkpoints where bindings ask for one: gives what
/// changed, and the last checkpoint.
fn run(
    history: &History,
    bindings: &[Binding],
    silent_after_ms: i64,
    workers: usize,
    seed: u64,
    restore: Option<&Checkpoint>,
) -> (Vec<Change>, Option<Checkpoint>) {
    let mut random = Random::new(seed);
    let inlet = Inlet::default();
    let feeds: Vec<AnyFeed> = history.records.iter().map(AnyFeed::of).collect();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let depot = Arc::new(Pieces(Mutex::new((Vec::new(), 0))));
    let (plan, shared) = (history.plan.clone(), (feeds.clone(), inlet.clone(), Arc::clone(&seen), Arc::clone(&depot)));
    let restored = restore.cloned();
    let mut cluster = Cluster::start(workers, move |worker| {
        let (feeds, inlet, seen, depot) = &shared;
        let (index, peers) = (worker.index(), worker.peers());
        let mut ports = ports(&plan, feeds, inlet, index, peers, |_| ());
        ports.depot = Some(Arc::clone(depot) as Arc<dyn Depot>);
        ports.restore = restored.as_ref().map(|Checkpoint { upper, parts }| {
            let mine = parts.iter().filter(|part| part.place.is_of(index, peers, &plan.topology));
            Restore { upper: *upper, parts: mine.cloned().map(Into::into).collect() }
        });
        let probe = build(worker, &plan.topology, ports, silent_after_ms, Arc::clone(seen));
        move || probe.with_frontier(|frontier| frontier.first().copied().unwrap_or(Tick::MAX))
    });

    // The tick of a checkpoint is given once more; what lies below it was read.
    let (first, ticks) = (restore.map_or(0, |checkpoint| checkpoint.upper - 1), bindings.len() as Tick);
    let read = |partition: usize| {
        let before = bindings.iter().take_while(|binding| restore.is_some() && binding.tick <= first);
        let advances = before.flat_map(|binding| &binding.advances);
        advances.filter(|advance| advance.partition.0 as usize == partition).map(|advance| advance.next).max()
    };
    let mut handed: Vec<usize> = (0..feeds.len()).map(|number| read(number).unwrap_or(0) as usize / 10).collect();
    let asked = bindings[first as usize..].iter().rfind(|binding| binding.checkpoint).map(|binding| binding.tick + 1);
    let in_flight = 1 + random.below(5);
    let (mut given, mut done) = (first, first);
    for step in 0.. {
        assert!(step < STEPS_MAX, "seed {seed}, {workers} workers: stuck at tick {done} of {ticks}, given {given}");
        match random.below(8) {
            0 if given < ticks && given < done + in_flight => {
                inlet.give(bindings[given as usize].clone());
                given += 1;
            }
            1 => {
                let partition = random.below(feeds.len() as u64) as usize;
                let bound = if random.once_in(4) { 100_000 } else { 20 };
                let most = 1 + random.below(bound) as usize;
                let records = &history.records[partition];
                handed[partition] = feeds[partition].hand_over(records, partition, handed[partition], most);
            }
            _ => {
                let worker = random.below(workers as u64) as usize;
                let frontier = cluster.step(worker);
                if worker == 0 {
                    done = done.max(frontier.min(ticks));
                }
            }
        }
        if done == ticks && (asked.is_none() || depot.0.lock().unwrap().1 == workers) {
            break;
        }
    }
    inlet.close();
    drop(cluster);
    let parts = std::mem::take(&mut depot.0.lock().unwrap().0);
    let changes = std::mem::take(&mut *seen.lock().unwrap());
    (changes, asked.map(|upper| Checkpoint { upper, parts }))
}

/// What is shown at each tick from `first` on; a feed has one row at most.
fn snapshots(changes: Vec<Change>, first: Tick, ticks: Tick) -> Vec<FeedSnapshot> {
    let mut by_tick: BTreeMap<Tick, Vec<((FeedKey, FeedHealth), isize)>> = BTreeMap::new();
    for (row, tick, diff) in changes {
        by_tick.entry(tick).or_default().push((row, diff));
    }
    let mut now: BTreeMap<(FeedKey, FeedHealth), isize> = BTreeMap::new();
    let all = (first..ticks).map(|tick| {
        for (row, diff) in by_tick.remove(&tick).unwrap_or_default() {
            *now.entry(row).or_default() += diff;
        }
        now.retain(|_, copies| *copies != 0);
        assert!(now.values().all(|copies| *copies == 1), "tick {tick}: {now:?}");
        let feeds: FeedSnapshot = now.keys().cloned().collect();
        assert_eq!(feeds.len(), now.len(), "tick {tick}: {now:?}");
        feeds
    });
    let all = all.collect();
    assert!(by_tick.is_empty(), "changes at ticks that there are not: {:?}", by_tick.keys());
    all
}

/// Holds two runs equal; shows the first difference.
fn hold_equal(what: &str, first: Tick, ours: &[FeedSnapshot], theirs: &[FeedSnapshot]) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    for (tick, (ours, theirs)) in (first..).zip(ours.iter().zip(theirs)) {
        for key in ours.keys().chain(theirs.keys()) {
            let (ours, theirs) = (ours.get(key), theirs.get(key));
            assert_eq!(ours, theirs, "{what}, tick {tick}, {key:?}: the engine's is left, the model's right");
        }
    }
}

fn silent_after_ms(seed: u64) -> i64 {
    [MINUTE_MS, MINUTE_MS + 1, 3 * MINUTE_MS, 15 * MINUTE_MS][seed as usize % 4]
}

const SEEDS: std::ops::Range<u64> = 0..160;

/// With checkpoints that are asked for at random ticks, as nobody may tell from the rows.
#[test]
fn feeds_agree_with_the_naive_model() {
    let (mut states, mut closed, mut rows) = (BTreeMap::new(), 0, 0);
    for seed in SEEDS {
        let history = generator::history(seed);
        let silent_after_ms = silent_after_ms(seed);
        let expected = feeds::feed_health(&history, silent_after_ms);
        let ticks = history.bindings.len() as Tick;
        for workers in [1, 2 + seed as usize % 3] {
            let (changes, _) = run(&history, &history.bindings, silent_after_ms, workers, seed, None);
            let shown = snapshots(changes, 0, ticks);
            hold_equal(&format!("seed {seed}, {workers} workers"), 0, &shown, &expected);
        }
        for (before, after) in expected.iter().zip(&expected[1..]) {
            for (key, health) in after {
                *states.entry(health.state).or_insert(0) += 1;
                rows += usize::from(before.get(key).is_none_or(|before| before != health));
                closed += usize::from(before.get(key).is_some_and(|before| before.open_gaps > health.open_gaps));
            }
        }
    }
    println!("{states:?}, {rows} rows, {closed} times fewer gaps");
    let reached = [FeedState::Live, FeedState::Gapped, FeedState::Silent].map(|state| states.get(&state).copied());
    assert!(reached.iter().all(|times| times.is_some_and(|times| times > 100)), "{reached:?}");
    assert!(rows > 1_000 && closed > 40, "{rows} rows, {closed} times fewer gaps");
}

/// A run that goes on from a checkpoint, under another number of workers, shows what it would have shown.
#[test]
fn feeds_that_are_restored_go_on_as_if_nothing_had_been() {
    let mut pending = 0;
    for seed in SEEDS {
        let history = generator::history(seed);
        let (silent_after_ms, ticks) = (silent_after_ms(seed), history.bindings.len() as Tick);
        let expected = feeds::feed_health(&history, silent_after_ms);
        let upper = 2 + Random::new(seed).below(ticks - 2);
        let mut bindings = history.bindings.clone();
        bindings[upper as usize - 1].checkpoint = true;
        let (before, after) = (1 + seed as usize % 4, 1 + (seed as usize + 1 + seed as usize / 4 % 3) % 4);
        let what = format!("seed {seed}, restored at {upper}, {before} and then {after} workers");
        let (changes, checkpoint) = run(&history, &bindings, silent_after_ms, before, seed, None);
        hold_equal(&format!("{what}: before"), 0, &snapshots(changes, 0, ticks), &expected);
        let (changes, _) = run(&history, &history.bindings, silent_after_ms, after, seed + 1, checkpoint.as_ref());
        let first = upper - 1;
        hold_equal(&what, first, &snapshots(changes, first, ticks), &expected[first as usize..]);
        let changes_later = expected[first as usize..].windows(2).any(|pair| pair[0] != pair[1]);
        pending += usize::from(changes_later && !expected[first as usize].is_empty());
    }
    assert!(pending > 40, "hardly any run shows anything else after its checkpoint: {pending}");
}
