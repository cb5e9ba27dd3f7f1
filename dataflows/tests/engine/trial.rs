//! A trial: the real graph, on a history, under a seeded scheduler. One worker runs at a time; which one, how much of the
//! input its reader has handed over and how many ticks are in flight is the seed's choice.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::rows::{Row, rows_of};
use dataflows::build::{Feeds, Ports, Publication, build};
use dataflows::experiment::ExperimentEvents;
use dataflows::inventory::InventoryFacts;
use dataflows::view::ViewId;
use operators::bindings::Inlet;
use operators::feed::Feed;
use operators::record::{Batch, Item};
use operators::simulation::{Cluster, Random};
use operators::time::Tick;
use operators::topology::PartitionId;

use crate::history::{History, Records};

/// The contents of every view that is not empty.
pub type Snapshot = BTreeMap<ViewId, BTreeMap<Row, i64>>;

/// Steps after which a trial that is still not done is stuck.
const STEPS_MAX: u64 = 2_000_000;

/// Runs a history; gives the views at every tick.
pub fn run(history: &History, workers: usize, seed: u64) -> Vec<Snapshot> {
    let mut random = Random::new(seed);
    let publications = Arc::new(Mutex::new(Vec::new()));
    let inlet = Inlet::default();
    let feeds: Vec<AnyFeed> = history.records.iter().map(AnyFeed::of).collect();
    let (plan, ports_feeds, ports_inlet) = (history.plan.clone(), feeds.clone(), inlet.clone());
    let published = Arc::clone(&publications);
    let mut plan = plan;
    plan.emitting_workers = workers;
    let mut cluster = Cluster::start(workers, move |worker| {
        let published = Arc::clone(&published);
        let ports = ports(&plan, &ports_feeds, &ports_inlet, worker.index(), worker.peers(), move |publication| {
            published.lock().unwrap().push(publication);
        });
        let probe = build(worker, &plan, ports).probe;
        move || probe.with_frontier(|frontier| frontier.first().copied().unwrap_or(Tick::MAX))
    });

    let in_flight = 1 + random.below(5);
    let ticks = history.bindings.len() as u64;
    let (mut given, mut done, mut handed) = (0, 0, vec![0usize; feeds.len()]);
    for step in 0.. {
        assert!(step < STEPS_MAX, "seed {seed}, {workers} workers: stuck at tick {done} of {ticks}, given {given}");
        match random.below(8) {
            0 if given < ticks && given < done + in_flight => {
                inlet.give(history.bindings[given as usize].clone());
                given += 1;
                if given == ticks {
                    inlet.close();
                }
            }
            1 => {
                let partition = random.below(feeds.len() as u64) as usize;
                let bound = if random.once_in(4) { 100_000 } else { 20 };
                let most = 1 + random.below(bound);
                handed[partition] = feeds[partition].hand_over(
                    &history.records[partition],
                    partition,
                    handed[partition],
                    most as usize,
                );
            }
            _ => {
                let worker = random.below(workers as u64) as usize;
                let frontier = cluster.step(worker);
                if worker == 0 {
                    done = frontier.min(ticks);
                }
            }
        }
        if done == ticks {
            break;
        }
    }
    drop(cluster);
    let publications = std::mem::take(&mut *publications.lock().unwrap());
    snapshots(publications, ticks)
}

/// The views at each tick, from what was published.
pub fn snapshots(publications: Vec<Publication>, ticks: Tick) -> Vec<Snapshot> {
    let mut by_tick: BTreeMap<Tick, Vec<(ViewId, Row, i64)>> = BTreeMap::new();
    for publication in publications {
        if let Publication::Changes(changes) = publication {
            let rows = rows_of(&changes).into_iter().map(|(row, diff)| (changes.view, row, diff));
            by_tick.entry(changes.tick).or_default().extend(rows);
        }
    }
    let mut now = Snapshot::new();
    let mut all = Vec::new();
    for tick in 0..ticks {
        for (view, row, diff) in by_tick.remove(&tick).unwrap_or_default() {
            let rows = now.entry(view).or_default();
            let count = rows.entry(row.clone()).or_default();
            *count += diff;
            if *count == 0 {
                rows.remove(&row);
            }
        }
        now.retain(|_, rows| !rows.is_empty());
        all.push(now.clone());
    }
    assert!(by_tick.is_empty(), "changes at ticks that there are not: {:?}", by_tick.keys());
    all
}

/// The queue of a partition of either kind.
#[derive(Clone)]
pub enum AnyFeed {
    /// Of experiment events.
    Events(Feed<dataflows::experiment::event::Event>),
    /// Of inventory facts.
    Facts(Feed<dataflows::inventory::fact::Fact>),
}

impl AnyFeed {
    /// An empty queue for records of that kind.
    pub fn of(records: &Records) -> AnyFeed {
        match records {
            Records::Events(_) => AnyFeed::Events(Feed::new(400)),
            Records::Facts(_) => AnyFeed::Facts(Feed::new(400)),
        }
    }

    /// Whether the reader still has credits.
    pub fn has_room(&self) -> bool {
        match self {
            AnyFeed::Events(feed) => feed.has_room(),
            AnyFeed::Facts(feed) => feed.has_room(),
        }
    }

    /// Hands up to `most` items over, from item `from` on, if there is room; gives the next item.
    pub fn hand_over(&self, records: &Records, partition: usize, from: usize, most: usize) -> usize {
        if !self.has_room() {
            return from;
        }
        match (self, records) {
            (AnyFeed::Events(feed), Records::Events(items)) => hand_over(feed, items, partition, from, most),
            (AnyFeed::Facts(feed), Records::Facts(items)) => hand_over(feed, items, partition, from, most),
            _ => unreachable!("a feed is made for its records"),
        }
    }
}

fn hand_over<R: Clone>(feed: &Feed<R>, items: &[Item<R>], partition: usize, from: usize, most: usize) -> usize {
    let upto = (from + most).min(items.len());
    if from < upto {
        feed.push(Batch {
            end_offset: upto as u64 * 10,
            bytes: (upto - from) as u64 * 10,
            origin: format!("partition-{partition}.ndjson").into(),
            items: items[from..upto].to_vec(),
            text: Arc::from([]),
            text_offset: 0,
            text_starts: Vec::new(),
            append_ms: Vec::new(),
        });
    }
    upto
}

/// The ports of a worker.
pub fn ports(
    plan: &dataflows::build::GraphPlan,
    feeds: &[AnyFeed],
    inlet: &Inlet,
    index: usize,
    peers: usize,
    publish: impl Fn(Publication) + Send + Sync + 'static,
) -> Ports {
    let mut of_worker = Feeds::default();
    for (number, feed) in (0u32..).zip(feeds) {
        let partition = PartitionId(number);
        if plan.topology.owner(partition, peers) == index {
            match feed {
                AnyFeed::Events(feed) => of_worker.push::<ExperimentEvents>(partition, feed.clone()),
                AnyFeed::Facts(feed) => of_worker.push::<InventoryFacts>(partition, feed.clone()),
            }
        }
    }
    Ports { feeds: of_worker, inlet: inlet.clone(), publish: Arc::new(publish), depot: None, restore: None }
}
