//! Small random streams, as release would give them: duplicates are gone, events are on time, watermarks never go back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dataflows::catalog::{Catalog, Experiment, Population, Tenant, Variant};
use dataflows::experiment::event::{Event, EventKind};
use dataflows::experiment::specification::Arrival;
use dataflows::inventory::availability::Policy;
use dataflows::inventory::fact::StockState;
use dataflows::inventory::ledger::{Count, Entry, LedgerKey};
use dataflows::names::TenantId;
use operators::clock::Mark;
use operators::simulation::Random;
use operators::time::{MINUS_INFINITY, MINUTE_MS, Tick, TimeMs};

use super::running::Records;

/// When every stream begins.
const START_MS: TimeMs = 1_700_000_000_000;
const TICKS: usize = 24;
const TENANTS: u64 = 3;

/// Three tenants; the first has both populations, the last no experiment.
pub fn catalog() -> Arc<Catalog> {
    let tenants = ["north", "south", "west"].map(|name| Tenant { name: name.into() }).to_vec();
    let experiment = |tenant, name: &str, traffic, population| Experiment {
        tenant,
        name: name.into(),
        layer: name.into(),
        seed: name.into(),
        traffic,
        variants: ["control", "treatment"].map(|name| Variant { name: name.into(), weight: 1 }).to_vec(),
        population,
    };
    let experiments = vec![
        experiment(0, "ranker", (0, 700_000), Population::Assigned),
        experiment(0, "badges", (0, 1_000_000), Population::Exposed),
        experiment(0, "banner", (0, 500_000), Population::Exposed),
        experiment(1, "search", (0, 1_000_000), Population::Assigned),
    ];
    Arc::new(Catalog::new(tenants, experiments, BTreeMap::new()))
}

/// The marks of ticks at which every group's watermark has come this far. No source ever ends.
fn marks(random: &mut Random, groups: u64) -> Vec<Mark> {
    let mut watermarks = vec![MINUS_INFINITY; groups as usize];
    let mark = |tick: usize| {
        for watermark_ms in &mut watermarks {
            let step_ms = match random.below(8) {
                0..3 => 0,
                3..7 => random.below(50_000) as i64,
                _ => random.below(8 * MINUTE_MS as u64) as i64,
            };
            if tick > 1 || random.once_in(4) {
                *watermark_ms = (*watermark_ms).max(START_MS) + step_ms;
            }
        }
        let watermarks: Arc<[TimeMs]> = watermarks.as_slice().into();
        Mark {
            tick: tick as Tick,
            now_ms: START_MS + tick as i64 * 1_000,
            reached: Arc::clone(&watermarks),
            watermarks,
            checkpoint: false,
        }
    };
    (0..TICKS).map(mark).collect()
}

/// Released events by tick.
pub struct EventStream {
    pub catalog: Arc<Catalog>,
    pub keep_ms: i64,
    pub marks: Vec<Mark>,
    pub events: Vec<Vec<Event>>,
}

impl EventStream {
    pub fn new(seed: u64) -> EventStream {
        let mut random = Random::new(seed);
        let catalog = catalog();
        // The least time that a configuration may give.
        let keep_ms = *random.choose(&[MINUTE_MS, MINUTE_MS + 1, 3 * MINUTE_MS]);
        let marks = marks(&mut random, 2 * TENANTS);
        let mut stream = EventStream { catalog, keep_ms, marks, events: Vec::new() };
        for tick in 0..TICKS {
            let count = if random.once_in(4) { 0 } else { random.below(9) };
            let events = (0..count).map(|number| stream.event(&mut random, tick, number)).collect();
            stream.events.push(events);
        }
        stream
    }

    /// `W` of the tenant's events one tick before.
    fn watermark_ms(&self, tenant: TenantId, tick: usize) -> TimeMs {
        let group = usize::from(self.catalog.event_group(tenant).0);
        tick.checked_sub(1).map_or(MINUS_INFINITY, |before| self.marks[before].watermarks[group])
    }

    fn event(&self, random: &mut Random, tick: usize, number: u64) -> Event {
        use EventKind::{AddToCart, Click, Exposure, Purchase, Return, View};
        let tenant = *random.choose(&[0, 0, 0, 1, 2]);
        let kind = *random.choose(&[View, Click, AddToCart, Purchase, Return, Exposure, Exposure]);
        let ahead_ms = *random.choose(&[1_000, MINUTE_MS, 4 * MINUTE_MS]) as u64;
        let paid = matches!(kind, Purchase | Return);
        let value = if random.once_in(6) { 1 << 40 } else { random.below(1_000) as i64 - 200 };
        let unit = *random.choose(&["anna", "anna", "boris", "chiara", "deniz", ""]);
        Event {
            tenant,
            kind,
            event_time_ms: self.watermark_ms(tenant, tick).max(START_MS) + random.below(ahead_ms) as i64,
            value: if paid { value } else { 0 },
            quantity: if paid { random.below(5) as i64 } else { 0 },
            id: format!("{tick}-{number}").into(),
            session: (*random.choose(&["morning", "noon", "night"])).into(),
            unit: unit.into(),
            item: "".into(),
            experiment: if kind == Exposure {
                *random.choose(&[None, Some(0), Some(1), Some(1), Some(2)])
            } else {
                None
            },
        }
    }

    /// What the specification is given.
    pub fn arrivals(&self) -> Vec<Vec<(Arrival, isize)>> {
        let arrival = |tick: usize, event: &Event| {
            let watermark_ms = self.watermark_ms(event.tenant, tick);
            (Arrival { event: event.clone(), tick: tick as Tick, watermark_ms }, 1)
        };
        let arrivals = |(tick, events): (usize, &Vec<Event>)| events.iter().map(|event| arrival(tick, event)).collect();
        self.events.iter().enumerate().map(arrivals).collect()
    }
}

/// Entries of the ledger by tick; what one fact posts is one record.
pub struct FactStream {
    pub catalog: Arc<Catalog>,
    pub policy: Policy,
    pub marks: Vec<Mark>,
    pub records: Records<LedgerKey, Entry>,
}

impl FactStream {
    pub fn new(seed: u64) -> FactStream {
        let mut random = Random::new(seed);
        let policy =
            Policy { safety_stock: 2, count_trusted_ms: *random.choose(&[MINUTE_MS, 10 * MINUTE_MS, 1 << 40]) };
        let marks = marks(&mut random, 2 * TENANTS);
        let mut stream = FactStream { catalog: catalog(), policy, marks, records: vec![Vec::new(); TICKS] };
        let mut made = Made { random, last_id: 0, counted_ms: BTreeSet::new() };
        for _ in 0..20 + made.random.below(40) {
            stream.fact(&mut made);
        }
        stream
    }

    /// A fact at some tick, and sometimes its correction or void at some other tick, which may be an earlier one.
    fn fact(&mut self, made: &mut Made) {
        let (tick, other) = (made.random.below(TICKS as u64) as usize, made.random.below(TICKS as u64) as usize);
        let number = made.random.below(6);
        let key = LedgerKey {
            tenant: (number % 2) as TenantId,
            state: if number < 4 { StockState::Sellable } else { StockState::Damaged },
            node: "depot".into(),
            sku: if number < 2 { "cup" } else { "plate" }.into(),
        };
        let (corrected, voided) = (made.random.once_in(4), made.random.once_in(8));
        // No key has both doubts and counts that are taken back: `orders` says why.
        let doubted = number.is_multiple_of(3);
        if made.random.below(3) == 0 {
            let count = made.count(&key, None);
            self.records[tick].push(vec![(key.clone(), Entry::Count(count))]);
            if !doubted && (corrected || voided) {
                let mut takes_back = vec![(key.clone(), Entry::Tombstone { id: count.id, at_ms: count.at_ms })];
                if !voided {
                    let at_ms = made.random.once_in(2).then_some(count.at_ms);
                    takes_back.push((key.clone(), Entry::Count(made.count(&key, at_ms))));
                }
                self.records[other].push(takes_back);
            }
        } else if doubted && made.random.once_in(4) {
            let doubt_ms = made.time_ms();
            self.records[tick].push(vec![(key, Entry::Doubt { doubt_ms })]);
        } else {
            let (at_ms, quantity) = made.delta();
            self.records[tick].push(vec![(key.clone(), Entry::Delta { at_ms, quantity, times: 1 })]);
            if corrected || voided {
                let mut takes_back = vec![(key.clone(), Entry::Delta { at_ms, quantity, times: -1 })];
                if !voided {
                    let (at_ms, quantity) = made.delta();
                    takes_back.push((key, Entry::Delta { at_ms, quantity, times: 1 }));
                }
                self.records[other].push(takes_back);
            }
        }
    }
}

/// What was made of facts so far.
struct Made {
    random: Random,
    last_id: u128,
    counted_ms: BTreeSet<(LedgerKey, TimeMs)>,
}

impl Made {
    fn time_ms(&mut self) -> TimeMs {
        START_MS + self.random.below(20 * MINUTE_MS as u64) as i64
    }

    /// Few times and quantities, so that equal ones meet.
    fn delta(&mut self) -> (TimeMs, i64) {
        (START_MS + self.random.below(20) as i64 * MINUTE_MS, *self.random.choose(&[-3, -2, -1, 1, 5, 10]))
    }

    /// A count at this time, or at one at which nobody has counted the key.
    fn count(&mut self, key: &LedgerKey, at_ms: Option<TimeMs>) -> Count {
        let at_ms = at_ms.unwrap_or_else(|| {
            loop {
                let at_ms = self.time_ms();
                if self.counted_ms.insert((key.clone(), at_ms)) {
                    break at_ms;
                }
            }
        });
        self.last_id += 1;
        Count {
            at_ms,
            from_ms: at_ms - *self.random.choose(&[0, MINUTE_MS, 5 * MINUTE_MS]),
            epsilon_ms: *self.random.choose(&[0, 1_000, 60_000]),
            rank: self.random.below(3) as u16,
            id: self.last_id.into(),
            quantity: self.random.below(30) as i64,
        }
    }
}
