//! Histories by seed: every kind of trouble that a retailer's feeds have, in a few minutes or hours of event time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dataflows::catalog::{Catalog, Experiment, FactSourceSpec, Population, Tenant, Variant};
use dataflows::experiment::event::{Event, EventKind};
use dataflows::graph::{EVENTS, FACTS, GraphPlan, ViewPlan};
use dataflows::inventory::availability::Policy;
use dataflows::inventory::fact::{BeforeImage, Fact, FactKind, StockState};
use dataflows::names::{Name, TenantId};
use operators::binding::{Advance, Binding, Configuration, Status};
use operators::record::{Header, Identity, Item, Rejection};
use operators::simulation::Random;
use operators::time::{MINUS_INFINITY, TimeMs};
use operators::topology::{GroupId, LaneParameters, Lanes, Parameters, Partition, PartitionId, Topology};

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
        });
        let random = &mut self.random;
        let some_views = random.once_in(8);
        let views = std::array::from_fn(|_| ViewPlan {
            enabled: !some_views || random.once_in(2),
            retention_ms: *random.choose(&[0, MINUTE, 5 * MINUTE, 5 * MINUTE, HOUR, 24 * HOUR]),
            shards: 1 + random.below(4) as u32,
        });
        let plan = GraphPlan {
            catalog: Arc::clone(&self.catalog),
            topology: Arc::clone(&topology),
            session_keep_ms: *random.choose(&[MINUTE, MINUTE, 2 * MINUTE, 10 * MINUTE]),
            policy: Policy {
                safety_stock: random.below(4) as i64,
                count_trusted_ms: *random.choose(&[MINUTE, 10 * MINUTE, HOUR, 24 * HOUR]),
            },
            views,
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

    fn add_partition(&mut self, live: bool) {
        let random = &mut self.random;
        let events = random.once_in(2);
        let tenants = pick_some(random, &(0..self.catalog.tenants.len() as u16).collect::<Vec<_>>());
        let sources = if events { vec![0] } else { pick_some(random, &[0, 1, 2, 3]) };
        let groups = tenants.iter().map(|tenant| {
            let group = group_of(&self.catalog, *tenant, events);
            let lanes = match random.once_in(2) {
                true => Lanes::Open,
                false => Lanes::Closed(sources.iter().map(|source| lane_name(events, *source)).collect()),
            };
            (group, lanes)
        });
        let groups = groups.collect();
        let number = self.partitions.len();
        let (hold_ms, idle_ms) = hold_and_idle(random);
        let fixes = random.once_in(2);
        self.lanes.push(LaneParameters {
            lateness_ms: lateness(random),
            hold_ms,
            idle_ms,
            skew_max_ms: *random.choose(&[0, MINUTE, 20 * MINUTE]),
            dedup_horizon_ms: match (events, fixes) {
                (true, _) => 0,
                (false, true) => *random.choose(&[0, 30 * SECOND, 2 * MINUTE, 10 * MINUTE]),
                // Partitions that share their identities also share how long they are remembered.
                (false, false) => 2 * MINUTE,
            },
        });
        self.partitions.push(Partition {
            name: format!("{}/{number}", if live { "topic" } else { "folder" }),
            release: if events { EVENTS } else { FACTS },
            groups,
            identity_fixes_partition: fixes,
            live,
            weight: 1 + random.below(3) as u32,
        });
        let mut clocks = BTreeMap::new();
        for tenant in &tenants {
            // A fast clock is a tenant's, a slow or a stuck one is a lane's.
            let fast_ms = if random.once_in(6) { 10 * MINUTE } else { 0 };
            for source in &sources {
                let slow_ms = if random.once_in(6) { -3 * MINUTE } else { 0 };
                let clock = Clock {
                    offset_ms: fast_ms + slow_ms,
                    stuck: random.once_in(12),
                    disorder_ms: *random.choose(&[1, 2 * SECOND, 10 * SECOND, 40 * SECOND, 3 * MINUTE]),
                    silent_until: if random.once_in(5) { random.below(12) } else { 0 },
                    last_ms: BASE_MS,
                };
                clocks.insert((*tenant, *source), clock);
            }
        }
        self.feeds.push(Feed {
            records: if events { Records::Events(Vec::new()) } else { Records::Facts(Vec::new()) },
            tenants,
            sources,
            clocks,
            bound: 0,
            status: Status::Behind,
            written_ms: BASE_MS - random.below(5) as i64 * MINUTE,
            behind_until: random.below(4),
            length: 5 + random.below(60),
        });
    }

    /// The remap log of a short history.
    fn bindings(&mut self, ticks: u64, rate: u64) -> Vec<Binding> {
        let live = self.partitions.iter().any(|partition| partition.live);
        let mut now_ms = BASE_MS;
        let mut bindings = vec![self.first_binding()];
        for tick in 1..ticks {
            now_ms += match self.random.below(8) {
                0 => 0,
                1 => self.random.below(5 * MINUTE as u64) as i64,
                _ => self.random.below(45 * SECOND as u64) as i64,
            };
            now_ms -= now_ms.rem_euclid(self.grain_ms);
            for number in 0..self.feeds.len() {
                self.step(number, tick, ticks - 1, now_ms, rate);
            }
            let bound_ms = if live { now_ms } else { self.scheduled_ms(bindings[tick as usize - 1].now_ms) };
            let binding = self.binding(tick, bound_ms);
            bindings.push(binding);
        }
        bindings
    }

    fn first_binding(&self) -> Binding {
        let live = self.partitions.iter().any(|partition| partition.live);
        let now_ms = if live { BASE_MS } else { MINUS_INFINITY };
        Binding { tick: 0, now_ms, advances: Vec::new(), configuration: None }
    }

    fn binding(&mut self, tick: u64, now_ms: TimeMs) -> Binding {
        let mut advances = Vec::new();
        for (number, feed) in (0..).zip(&self.feeds) {
            if feed.bound > 0 || feed.status != Status::Behind || self.random.once_in(4) {
                let partition = PartitionId(number);
                advances.push(Advance { partition, next: 10 * feed.bound, status: feed.status });
            }
        }
        Binding { tick, now_ms, advances, configuration: None }
    }

    /// `now` of files: the running maximum of the least greatest event time bound, over files not ended.
    fn scheduled_ms(&self, before_ms: TimeMs) -> TimeMs {
        let running = self.feeds.iter().filter(|feed| feed.status != Status::Ended);
        let least_ms = running.map(|feed| {
            let bound = feed.bound as usize;
            let times: Vec<TimeMs> = match &feed.records {
                Records::Events(items) => times_of(&items[..bound]).collect(),
                Records::Facts(items) => times_of(&items[..bound]).collect(),
            };
            times.into_iter().max().unwrap_or(MINUS_INFINITY)
        });
        least_ms.min().unwrap_or(MINUS_INFINITY).max(before_ms)
    }

    /// What happens to a partition in a tick: records are made, and some are bound.
    fn step(&mut self, number: usize, tick: u64, last: u64, now_ms: TimeMs, rate: u64) {
        let burst = if self.random.once_in(15) { 20 } else { 0 };
        let quiet = self.random.once_in(4);
        let made = if quiet { 0 } else { self.random.below(2 * rate) + burst };
        let live = self.partitions[number].live;
        if live {
            for _ in 0..made {
                self.make(number, tick, now_ms);
            }
            let end = self.feeds[number].records.end() / 10;
            if self.feeds[number].behind_until <= tick && self.random.once_in(8) {
                self.feeds[number].behind_until = tick + 1 + self.random.below(5);
            }
            let all = self.random.once_in(3);
            let ready = end - self.feeds[number].bound;
            let some = self.random.below(ready + 1).min(2);
            let feed = &mut self.feeds[number];
            if tick < feed.behind_until {
                feed.status = Status::Behind;
                feed.bound += if all { ready } else { some };
            } else {
                feed.status = if ready == 0 && quiet { Status::Idle } else { Status::CaughtUp };
                feed.bound = end;
            }
        } else if self.feeds[number].status != Status::Ended {
            for _ in 0..made {
                let gap_ms = self.random.below(20 * SECOND as u64) as i64;
                self.feeds[number].written_ms += gap_ms;
                let written_ms = self.feeds[number].written_ms;
                if self.feeds[number].records.end() / 10 < self.feeds[number].length {
                    self.make(number, tick, written_ms);
                }
            }
            let feed = &mut self.feeds[number];
            let done = feed.bound == feed.length;
            feed.bound = feed.records.end() / 10;
            let full = feed.bound == feed.length;
            if done || (full && self.random.once_in(2)) || (tick == last && self.random.once_in(3)) {
                feed.status = Status::Ended;
            }
        }
    }

    fn lanes_of(&self, number: usize) -> Vec<(TenantId, usize)> {
        self.feeds[number].clocks.keys().copied().collect()
    }

    /// Makes the next record of a partition, at about this time of its lane's clock.
    fn make(&mut self, number: usize, tick: u64, now_ms: TimeMs) {
        if self.random.once_in(25) {
            return self.push_bad(number);
        }
        if self.random.once_in(10) {
            return self.push_again(number);
        }
        if self.random.once_in(4)
            && let Some((header, fact)) = self.belated.entry(number).or_default().pop()
        {
            return self.push_fact(number, header, fact);
        }
        let lanes = self.lanes_of(number);
        let lane = *self.random.choose(&lanes);
        if self.feeds[number].clocks[&lane].silent_until > tick {
            return;
        }
        let mut clock = self.feeds[number].clocks[&lane];
        let disorder_ms = self.random.below(clock.disorder_ms as u64) as i64;
        let mut event_time_ms = match self.random.below(40) {
            0 => clock.last_ms + 1,
            1 => now_ms - HOUR,
            2 => now_ms - 5 * MINUTE,
            3 => now_ms + 2 * MINUTE,
            4 => YEAR_2099_MS,
            _ if clock.stuck => clock.last_ms,
            _ => now_ms + clock.offset_ms - disorder_ms,
        };
        if self.random.once_in(3) {
            event_time_ms -= event_time_ms.rem_euclid(SECOND);
        }
        event_time_ms -= event_time_ms.rem_euclid(self.grain_ms);
        if event_time_ms <= now_ms {
            clock.last_ms = event_time_ms;
        }
        if self.random.once_in(12) {
            // It falls silent, and may wake with an event of a minute that is sealed by then.
            clock.silent_until = tick + self.random.below(10);
        }
        self.feeds[number].clocks.insert(lane, clock);
        match self.feeds[number].records {
            Records::Events(_) => {
                let (header, event) = self.event(lane.0, event_time_ms);
                self.push_event(number, header, event);
            }
            Records::Facts(_) => self.make_fact(number, lane, event_time_ms),
        }
    }

    /// Makes one of the many records of a long history.
    fn make_cheap(&mut self, number: usize, lane: (TenantId, usize), event_time_ms: TimeMs) {
        match self.feeds[number].records {
            Records::Events(_) => {
                let (header, event) = self.event(lane.0, event_time_ms);
                self.push_event(number, header, event);
            }
            Records::Facts(_) => {
                let (header, fact) = self.fact(number, lane, event_time_ms);
                self.push_fact(number, header, fact);
            }
        }
    }

    /// A line that is no record.
    fn push_bad(&mut self, number: usize) {
        let raw = format!("{{{}", self.random.below(100)).into_bytes();
        let rejection = match self.random.once_in(2) {
            true => Rejection::new("not_json", "the line ends too early"),
            false => Rejection::new("unknown_tenant", "there is no tenant `nobody`"),
        };
        match &mut self.feeds[number].records {
            Records::Events(items) => items.push(item(items.len(), Err((rejection, raw)))),
            Records::Facts(items) => items.push(item(items.len(), Err((rejection, raw)))),
        }
    }

    /// A record that came before comes again, or another one with its id.
    fn push_again(&mut self, number: usize) {
        let conflict = self.random.once_in(4);
        let scope = self.scope(number);
        let tenants = self.feeds[number].tenants.clone();
        let sources = self.feeds[number].sources.clone();
        match self.feeds[number].records {
            Records::Events(_) => {
                let made = self.events.get(&scope).into_iter().flatten();
                let made: Vec<_> = made.filter(|(_, event)| tenants.contains(&event.tenant)).cloned().collect();
                let Some((mut header, mut event)) = last_or_any(&mut self.random, &made) else { return };
                if conflict && let Identity::Id { content, .. } = &mut header.identity {
                    *content ^= 1;
                    event.value += 1;
                    event.event_time_ms += self.random.below(3) as i64 * 20 * SECOND;
                    header.event_time_ms = event.event_time_ms;
                }
                self.push_event(number, header, event);
            }
            Records::Facts(_) => {
                let made = self.facts.get(&scope).into_iter().flatten();
                let reaches = |header: &Header, fact: &Fact| {
                    tenants.contains(&fact.tenant)
                        && sources.iter().any(|source| lane_name(false, *source) == header.lane)
                };
                let made: Vec<_> = made.filter(|(header, fact)| reaches(header, fact)).cloned().collect();
                let Some((mut header, mut fact)) = last_or_any(&mut self.random, &made) else { return };
                if conflict && fact.before.is_none() && fact.kind != FactKind::Clock {
                    if let Identity::Id { content, .. } = &mut header.identity {
                        *content ^= 1;
                    }
                    fact.quantity += 1;
                    let by_ms = self.random.below(3) as i64 * 20 * SECOND;
                    fact.event_time_ms += by_ms;
                    fact.observed_from_ms += by_ms;
                    header.event_time_ms += by_ms;
                }
                self.push_fact(number, header, fact);
            }
        }
    }

    /// Whose identities a partition's records may be confused with: its own, or those of all that share them.
    fn scope(&self, number: usize) -> usize {
        if self.partitions[number].identity_fixes_partition { number } else { usize::MAX }
    }

    fn push_event(&mut self, number: usize, header: Header, event: Event) {
        self.events.entry(self.scope(number)).or_default().push((header, event.clone()));
        if let Records::Events(items) = &mut self.feeds[number].records {
            items.push(item(items.len(), Ok((header, event))));
        }
    }

    fn push_fact(&mut self, number: usize, header: Header, fact: Fact) {
        self.facts.entry(self.scope(number)).or_default().push((header, fact.clone()));
        if let Records::Facts(items) = &mut self.feeds[number].records {
            items.push(item(items.len(), Ok((header, fact))));
        }
    }

    fn event(&mut self, tenant: TenantId, event_time_ms: TimeMs) -> (Header, Event) {
        use EventKind::{AddToCart, Click, Exposure, Purchase, Return, View};
        self.records += 1;
        let random = &mut self.random;
        let kind = *random
            .choose(&[View, View, View, Click, Click, AddToCart, Purchase, Purchase, Return, Exposure, Exposure]);
        let sign = if kind == Return { -1 } else { 1 };
        let value = match self.great && random.once_in(4) {
            true => *random.choose(&[1 << 40, (1 << 40) - 1, 1 << 39]),
            false => random.below(1_000) as i64,
        };
        let experiments = self.catalog.experiments_of(tenant);
        let exposure = kind == Exposure && !random.once_in(8);
        let event = Event {
            tenant,
            kind,
            event_time_ms,
            value: sign * value,
            quantity: sign * (1 + random.below(3) as i64),
            id: Name::from(format!("event-{}", self.records)),
            session: Name::from(format!("session-{}", random.below(5))),
            unit: if random.once_in(6) { Name::default() } else { Name::from(format!("unit-{}", random.below(6))) },
            item: if random.once_in(2) { Name::default() } else { Name::from("item") },
            experiment: exposure.then(|| *random.choose(experiments)),
        };
        let id = hash(&[0, u64::from(tenant), self.records]);
        let identity = Identity::Id { id, content: hash(&[1, self.records]) as u64 };
        (Header { group: self.catalog.event_group(tenant), lane: 0, event_time_ms, identity }, event)
    }

    /// A fact, or a correction or void of one that was made before, which may come first.
    fn make_fact(&mut self, number: usize, lane: (TenantId, usize), event_time_ms: TimeMs) {
        let (mut header, mut fact) = self.fact(number, lane, event_time_ms);
        if !self.random.once_in(5) {
            if fact.kind != FactKind::Clock && self.random.once_in(15) {
                self.correct(number, lane, event_time_ms, header, &fact);
                self.belated.entry(number).or_default().push((header, fact));
                return;
            }
            return self.push_fact(number, header, fact);
        }
        let made = self.facts.get(&self.scope(number)).into_iter().flatten();
        let made = made.filter(|(before, original)| {
            before.lane == header.lane
                && original.tenant == fact.tenant
                && original.kind != FactKind::Clock
                && !self.corrected.contains(&original.id)
        });
        let made: Vec<_> = made.cloned().collect();
        let Some((before, original)) = last_or_any(&mut self.random, &made) else {
            return self.push_fact(number, header, fact);
        };
        if self.random.once_in(6) {
            // No correction, but a fact of the very same moment.
            fact.event_time_ms = original.event_time_ms;
            fact.observed_from_ms = fact.observed_from_ms.min(fact.event_time_ms);
            header.event_time_ms = original.event_time_ms;
            return self.push_fact(number, header, fact);
        }
        self.correct(number, lane, event_time_ms, before, &original);
    }

    /// Makes the correction or void of a fact.
    fn correct(
        &mut self,
        number: usize,
        lane: (TenantId, usize),
        event_time_ms: TimeMs,
        before: Header,
        original: &Fact,
    ) {
        if !self.corrected.insert(original.id) {
            return;
        }
        let (header, fresh) = self.fact(number, lane, event_time_ms);
        let image = BeforeImage {
            id: original.id,
            kind: original.kind,
            quantity: original.quantity,
            event_time_ms: original.event_time_ms,
        };
        let mut fact = Fact { id: fresh.id, before: Some(Box::new(image)), void: false, ..original.clone() };
        match self.random.below(3) {
            0 => {
                fact.void = true;
                fact.quantity = 0;
                fact.event_time_ms = event_time_ms;
            }
            1 => fact.quantity = fresh.quantity.abs(),
            _ => {
                fact.quantity = fresh.quantity.abs();
                fact.event_time_ms = event_time_ms;
            }
        }
        let signed = [FactKind::Sale, FactKind::Return, FactKind::Receipt, FactKind::Adjust];
        if !fact.void && signed.contains(&original.kind) && self.random.once_in(3) {
            fact.kind = *self.random.choose(&signed);
        }
        fact.observed_from_ms = fact.event_time_ms - (original.event_time_ms - original.observed_from_ms);
        let header = Header { lane: before.lane, event_time_ms: fact.event_time_ms, ..header };
        self.push_fact(number, header, fact);
    }

    /// A fact that takes nothing back.
    fn fact(&mut self, number: usize, (tenant, source): (TenantId, usize), event_time_ms: TimeMs) -> (Header, Fact) {
        use FactKind::{
            Adjust, Clock, Count, Pick, Receipt, Return, Sale, ShelfObservation, Snapshot, StateMove, TransferIn,
            TransferOut,
        };
        self.records += 1;
        let random = &mut self.random;
        let spec = self.catalog.fact_source(FACT_SOURCES[source]);
        let kinds = [
            Sale,
            Sale,
            Sale,
            Sale,
            Return,
            Receipt,
            Receipt,
            TransferOut,
            TransferIn,
            Adjust,
            StateMove,
            StateMove,
            Count,
            Count,
            Count,
            Count,
            Snapshot,
            Snapshot,
            Pick,
            ShelfObservation,
            Clock,
        ];
        let kind = *random.choose(&kinds);
        let absolute = matches!(kind, Count | Snapshot);
        let states = [
            StockState::Sellable,
            StockState::Sellable,
            StockState::Sellable,
            StockState::Damaged,
            StockState::Backroom,
        ];
        let state = if kind == Clock { StockState::Sellable } else { *random.choose(&states) };
        let quantity = match kind {
            Clock => 0,
            Count | Snapshot | Receipt => random.below(40) as i64,
            Pick => random.below(3) as i64,
            Adjust => random.below(9) as i64 - 4,
            _ => 1 + random.below(6) as i64,
        };
        let great = self.great && kind != Clock && kind != Pick && random.once_in(10);
        let node = Name::from(format!("node-{}", random.below(2)));
        let fact = Fact {
            tenant,
            kind,
            state,
            to_state: if kind == StateMove { *random.choose(&states) } else { state },
            void: false,
            node: node.clone(),
            sku: if kind == Clock { Name::default() } else { Name::from(format!("sku-{}", random.below(2))) },
            quantity: if great { 1 << 31 } else { quantity },
            event_time_ms,
            observed_from_ms: if absolute { event_time_ms - random.below(3) as i64 * MINUTE } else { event_time_ms },
            rank: spec.rank,
            authority: match kind {
                Count => !spec.class_b,
                Snapshot => spec.authority_for_snapshots,
                _ => false,
            },
            epsilon_ms: spec.epsilon_ms,
            id: hash(&[2, u64::from(tenant), self.records]),
            before: None,
        };
        let identity = match random.once_in(2) {
            true => Identity::Id { id: fact.id, content: hash(&[3, self.records]) as u64 },
            false => {
                let scope = self.scope(number);
                let node = node.bytes().last().map_or(0, u64::from);
                let stream = hash(&[4, scope as u64, u64::from(tenant), source as u64, node]);
                let gap = if self.random.once_in(8) { 2 } else { 1 };
                let sequence = self.sequences.entry(stream).or_default();
                *sequence += gap;
                Identity::Sequence { stream, sequence: *sequence }
            }
        };
        let lane = lane_name(false, source);
        (Header { group: self.catalog.fact_group(tenant), lane, event_time_ms, identity }, fact)
    }
}

fn catalog(random: &mut Random, tenants: u16) -> Catalog {
    let names = ["north", "south", "west"];
    let tenant = |number: u16| Tenant { name: names[usize::from(number)].into() };
    let mut experiments = Vec::new();
    for tenant in 0..tenants {
        for (name, population) in [("ranker", Population::Assigned), ("badges", Population::Exposed)] {
            let mut variants =
                ["control", "treatment", "other"].map(|name| Variant { name: name.into(), weight: 1 }).to_vec();
            variants.truncate(2 + random.below(2) as usize);
            experiments.push(Experiment {
                tenant,
                name: name.into(),
                layer: if random.once_in(2) { "search".into() } else { name.into() },
                seed: format!("{}", random.below(100)).into(),
                traffic: *random.choose(&[(0, 1_000_000), (0, 1_000_000), (200_000, 900_000)]),
                variants,
                population,
            });
        }
    }
    if random.once_in(2) {
        // Numbers are places: they need not follow the tenants' order.
        experiments.reverse();
    }
    let source = |rank, authority_for_snapshots, class_b, epsilon_ms| FactSourceSpec {
        rank,
        authority_for_snapshots,
        class_b,
        epsilon_ms,
    };
    let specs = [
        source(100, false, false, 2 * SECOND),
        source(1, false, false, 0),
        source(50, true, false, MINUTE),
        source(100, false, true, 0),
    ];
    let specs = FACT_SOURCES.map(str::to_owned).into_iter().zip(specs);
    Catalog::new((0..tenants).map(tenant).collect(), experiments, specs.collect())
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

fn group_of(catalog: &Catalog, tenant: TenantId, events: bool) -> GroupId {
    if events { catalog.event_group(tenant) } else { catalog.fact_group(tenant) }
}

/// The lane of a source of facts; events have one lane a tenant.
fn lane_name(events: bool, source: usize) -> u128 {
    if events { 0 } else { hash(&[5, source as u64]) }
}

/// At least one of them, in their order.
fn pick_some<T: Copy>(random: &mut Random, all: &[T]) -> Vec<T> {
    let sure = random.below(all.len() as u64) as usize;
    let mut some = Vec::new();
    for (place, one) in all.iter().enumerate() {
        if place == sure || random.once_in(2) {
            some.push(*one);
        }
    }
    some
}

/// One of the last few, or any.
fn last_or_any<T: Clone>(random: &mut Random, all: &[T]) -> Option<T> {
    if all.is_empty() {
        return None;
    }
    let from = if random.once_in(2) { all.len().saturating_sub(5) } else { 0 };
    Some(random.choose(&all[from..]).clone())
}

fn item<R>(place: usize, outcome: Result<(Header, R), (Rejection, Vec<u8>)>) -> Item<R> {
    Item { offset: 10 * place as u64, length: 10, line: place as u64 + 1, outcome }
}

fn times_of<R>(items: &[Item<R>]) -> impl Iterator<Item = TimeMs> {
    let times = items.iter().filter_map(|item| item.outcome.as_ref().ok());
    times.map(|(header, _)| header.event_time_ms).filter(|time_ms| *time_ms < YEAR_2099_MS)
}

/// 128 bits that stand for these numbers.
fn hash(numbers: &[u64]) -> u128 {
    let mut random = Random::new(0);
    for number in numbers {
        random = Random::new(random.next() ^ number);
    }
    u128::from(random.next()) << 64 | u128::from(random.next())
}
