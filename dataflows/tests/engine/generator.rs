//! Histories by seed: every kind of trouble that a retailer's feeds have, in a few minutes or hours of event time.

mod facts;
mod records;
mod ticks;
mod world;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use dataflows::build::{GraphPlan, ViewPlan};
use dataflows::catalog::Catalog;
use dataflows::configuration::Recorded;
use dataflows::experiment::event::Event;
use dataflows::experiment::unit_overlap::{OVERLAP_PAIRS_MAX, pairs};
use dataflows::inventory::availability::Policy;
use dataflows::inventory::fact::Fact;
use dataflows::names::TenantId;
use dataflows::view::{Codecs, ViewId};
use operators::binding::{Binding, Configuration, Status};
use operators::record::Header;
use operators::simulation::Random;
use operators::time::TimeMs;
use operators::topology::{LaneParameters, Parameters, Partition, Topology};

use world::catalog;

use crate::history::{History, Records};

/// When every history begins: the first millisecond of a minute.
const BASE_MS: TimeMs = 1_700_000_040_000;
/// A stamp of 2099.
const YEAR_2099_MS: TimeMs = 4_070_908_800_000;
const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

/// The sources of facts, by the number that a lane is made of.
const FACT_SOURCES: [&str; 4] = ["pos", "handheld", "depot", "camera"];

/// A short history: up to some 300 records in up to 30 ticks.
pub fn history(seed: u64) -> History {
    Generator::new(seed).history()
}

/// A history with a partition of more records than log time looks back on, in few ticks.
pub fn long_history(seed: u64) -> History {
    Generator::new(seed).long_history()
}

struct Generator {
    random: Random,
    catalog: Arc<Catalog>,
    partitions: Vec<Partition>,
    lanes: Vec<LaneParameters>,
    feeds: Vec<Feed>,
    /// What was made so far, by what it may be mixed up with: a partition, or all that share identities.
    events: BTreeMap<usize, Vec<(Header, Event)>>,
    facts: BTreeMap<usize, Vec<(Header, Fact)>>,
    /// Facts that were corrected already.
    corrected: BTreeSet<u128>,
    /// Facts that are made, and come after what corrects them.
    belated: BTreeMap<usize, Vec<(Header, Fact)>>,
    sequences: BTreeMap<u128, u64>,
    /// By stream: numbers that were passed over.
    missing: BTreeMap<u128, VecDeque<u64>>,
    records: u64,
    start_ms: TimeMs,
    /// Whether numbers of the greatest size occur.
    great: bool,
    /// What times are multiples of: a coarse grain brings many to the very edge of a rule.
    grain_ms: i64,
}

/// A partition while it is made.
struct Feed {
    records: Records,
    tenants: Vec<TenantId>,
    sources: Vec<usize>,
    clocks: BTreeMap<(TenantId, usize), Clock>,
    bound: u64,
    status: Status,
    /// The time at which a file's next record happens.
    written_ms: TimeMs,
    /// A live partition that is behind for some ticks.
    behind_until: u64,
    /// A file with so many records in all, after which it ends.
    length: u64,
}

/// A lane's own sense of time.
#[derive(Clone, Copy)]
struct Clock {
    offset_ms: i64,
    stuck: bool,
    disorder_ms: i64,
    silent_until: u64,
    last_ms: TimeMs,
}

impl Generator {
    fn new(seed: u64) -> Generator {
        let mut random = Random::new(seed);
        let tenants = 1 + random.below(3) as u16;
        let catalog = Arc::new(catalog(&mut random, tenants));
        let start_ms = BASE_MS + MINUTE * (10 + random.below(50) as i64);
        let great = random.once_in(6);
        let grain_ms = *random.choose(&[1, 1, 10 * SECOND]);
        Generator {
            random,
            catalog,
            partitions: Vec::new(),
            lanes: Vec::new(),
            feeds: Vec::new(),
            events: BTreeMap::new(),
            facts: BTreeMap::new(),
            corrected: BTreeSet::new(),
            belated: BTreeMap::new(),
            sequences: BTreeMap::new(),
            missing: BTreeMap::new(),
            records: 0,
            start_ms,
            great,
            grain_ms,
        }
    }

    fn history(mut self) -> History {
        let partitions = 1 + self.random.below(5) as usize;
        // One run in three has files only: then `now` follows event times.
        let live_odds = *self.random.choose(&[0, 2, 2]);
        for _ in 0..partitions {
            let live = live_odds > 0 && self.random.below(4) < 3;
            self.add_partition(live);
        }
        if self.random.once_in(3) {
            self.add_re_entry();
        }
        let ticks = 6 + self.random.below(25);
        let rate = 1 + self.random.below(6);
        let bindings = self.bindings(ticks, rate);
        self.finish(bindings)
    }

    fn long_history(mut self) -> History {
        self.great = false;
        self.add_partition(false);
        let other_live = self.random.once_in(2);
        if self.random.once_in(2) {
            self.add_partition(other_live);
        }
        self.feeds[0].length = u64::MAX;
        self.feeds[0].written_ms = BASE_MS;
        // A lane that falls silent leaves the recent records some 10,000 records later.
        let lanes: Vec<(TenantId, usize)> = self.lanes_of(0);
        let silent = *self.random.choose(&lanes);
        let stops_after = self.random.below(3_000);
        let steps = [3_000 + self.random.below(4_000), 9_998, 10_000, 10_001, 11_000, 13_500];
        let mut now_ms = BASE_MS;
        let mut bindings = vec![self.first_binding()];
        let upto_all = steps.into_iter().chain([13_500, 13_500]);
        let last = steps.len() as u64 + 2;
        for (tick, upto) in (1..).zip(upto_all) {
            while self.feeds[0].records.end() / 10 < upto {
                let made = self.feeds[0].records.end() / 10;
                self.feeds[0].written_ms += 20;
                let lane = match self.random.choose(&lanes) {
                    lane if *lane == silent && made > stops_after && lanes.len() > 1 => continue,
                    lane => *lane,
                };
                let written_ms = self.feeds[0].written_ms - self.random.below(2_000) as i64;
                self.make_cheap(0, lane, written_ms);
            }
            self.feeds[0].status = if tick == last { Status::Ended } else { Status::Behind };
            self.feeds[0].bound = upto;
            now_ms += 30 * SECOND;
            for number in 1..self.feeds.len() {
                self.step(number, tick, last, now_ms, 3);
            }
            let live = self.partitions.iter().any(|partition| partition.live);
            let now_ms = if live { now_ms } else { BASE_MS };
            let binding = self.binding(tick, now_ms);
            bindings.push(binding);
        }
        self.finish(bindings)
    }

    fn finish(mut self, bindings: Vec<Binding>) -> History {
        let parameters = Parameters { lanes: self.lanes.clone(), start_ms: self.start_ms };
        let mut bindings = bindings;
        if bindings.len() > 3 {
            self.change_parameters(&parameters, &mut bindings);
        }
        bindings[0].configuration = Some(configuration(parameters.clone()));
        let tenants = 0..self.catalog.tenants.len();
        let topology = Arc::new(Topology {
            partitions: self.partitions,
            groups: tenants.flat_map(|tenant| [format!("events/{tenant}"), format!("facts/{tenant}")]).collect(),
            // Some worlds know where their input ends; no number is drawn for it.
            ends_ms: (self.start_ms / MINUTE % 3 > 0).then_some(self.start_ms),
        });
        let random = &mut self.random;
        let some_views = random.once_in(8);
        // Views that were added to the list later draw nothing, so that a seed's history stays what it was.
        let drawn = |view: ViewId| view.index() < 8;
        let views = ViewId::all().map(|view| match drawn(view) {
            true => ViewPlan {
                enabled: !some_views || random.once_in(2),
                retention_ms: *random.choose(&[0, MINUTE, 5 * MINUTE, 5 * MINUTE, HOUR, 24 * HOUR]),
                shards: 1 + random.below(4) as u32,
                since: 0,
            },
            false => ViewPlan { enabled: true, retention_ms: HOUR, shards: 1 + (view.index() % 3) as u32, since: 0 },
        });
        let views = views.collect();
        let overlap_world = usize::from(topology.partitions.len().is_multiple_of(3));
        let plan = GraphPlan {
            catalog: Arc::clone(&self.catalog),
            topology: Arc::clone(&topology),
            // Fewer than there are, in some worlds; no number is drawn for it.
            overlap: Arc::new(pairs(&self.catalog, &[], [OVERLAP_PAIRS_MAX, 3][overlap_world])),
            session_keep_ms: *random.choose(&[MINUTE, MINUTE, 2 * MINUTE, 10 * MINUTE]),
            policy: Policy {
                safety_stock: random.below(4) as i64,
                count_trusted_ms: *random.choose(&[MINUTE, 10 * MINUTE, HOUR, 24 * HOUR]),
            },
            views,
            codecs: Codecs::new(&Recorded::default()),
            emitting_workers: 1,
        };
        let records = self.feeds.into_iter().map(|feed| feed.records).collect();
        History { catalog: self.catalog, topology, parameters, plan, records, bindings }
    }

    /// Every second history changes how much disorder is allowed, once or twice.
    fn change_parameters(&mut self, first: &Parameters, bindings: &mut [Binding]) {
        let mut parameters = first.clone();
        for _ in 0..self.random.below(3) {
            let ticks = bindings.len() as u64 - 1;
            let tick = 1 + self.random.below(ticks) as usize;
            if bindings[tick..].iter().any(|binding| binding.configuration.is_some()) {
                continue;
            }
            for lane in &mut parameters.lanes {
                if self.random.once_in(2) {
                    lane.lateness_ms = lateness(&mut self.random);
                }
                if self.random.once_in(4) {
                    (lane.hold_ms, lane.idle_ms) = hold_and_idle(&mut self.random);
                }
            }
            bindings[tick].configuration = Some(configuration(parameters.clone()));
        }
    }
}

fn configuration(parameters: Parameters) -> Configuration {
    Configuration { canonical: "history".into(), sha256: "0".into(), build: "test".into(), parameters }
}

fn lateness(random: &mut Random) -> i64 {
    *random.choose(&[0, SECOND, 5 * SECOND, 30 * SECOND, 2 * MINUTE])
}

fn hold_and_idle(random: &mut Random) -> (i64, i64) {
    let hold_ms = *random.choose(&[20 * SECOND, MINUTE, 5 * MINUTE]);
    (hold_ms, *random.choose(&[10 * SECOND, 30 * SECOND, MINUTE, 2 * MINUTE]))
}

/// The lane of a source of facts; events have one lane a tenant.
fn lane_name(events: bool, source: usize) -> u128 {
    if events { 0 } else { hash(&[5, source as u64]) }
}

/// 128 bits that stand for these numbers.
fn hash(numbers: &[u64]) -> u128 {
    let mut random = Random::new(0);
    for number in numbers {
        random = Random::new(random.next() ^ number);
    }
    u128::from(random.next()) << 64 | u128::from(random.next())
}
