//! Partitions, tenants, experiments and sources of facts.

use std::collections::BTreeMap;

use crate::rows::{EVENTS, FACTS};
use dataflows::catalog::{Catalog, Experiment, FactSourceSpec, Population, Tenant, Variant};
use dataflows::digest::HashKey;
use dataflows::names::TenantId;
use operators::binding::Status;
use operators::simulation::Random;
use operators::topology::{GroupId, LaneParameters, Lanes, Partition, PartitionId};

use super::{BASE_MS, Clock, FACT_SOURCES, Feed, Generator, MINUTE, SECOND, hold_and_idle, lane_name, lateness};
use crate::history::Records;

impl Generator {
    pub(super) fn add_partition(&mut self, live: bool) {
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
            re_enters: None,
            shown_once_read: false,
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
}

impl Generator {
    /// Adds a partition in which records of another one enter again. They know no order of time at all.
    pub(super) fn add_re_entry(&mut self) {
        let of = self.random.below(self.partitions.len() as u64) as usize;
        let entered = &self.partitions[of];
        let partition = Partition {
            name: format!("re-entry/{of}"),
            groups: Vec::new(),
            live: false,
            re_enters: Some(PartitionId(of as u32)),
            // Without a drawn number, so that the worlds of all seeds stay what they were.
            shown_once_read: self.partitions.len().is_multiple_of(2),
            weight: 1,
            ..entered.clone()
        };
        let feed = Feed {
            records: if entered.release == EVENTS { Records::Events(Vec::new()) } else { Records::Facts(Vec::new()) },
            tenants: self.feeds[of].tenants.clone(),
            sources: self.feeds[of].sources.clone(),
            clocks: self.feeds[of].clocks.clone(),
            bound: 0,
            status: Status::Behind,
            written_ms: BASE_MS,
            behind_until: self.random.below(6),
            length: u64::MAX,
        };
        self.lanes.push(self.lanes[of]);
        self.partitions.push(partition);
        self.feeds.push(feed);
    }
}

pub(super) fn catalog(random: &mut Random, tenants: u16) -> Catalog {
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
    for tenant in 0..tenants {
        for (name, population) in [("prices", Population::Assigned), ("banners", Population::Exposed)] {
            let variants = ["control", "treatment"].map(|name| Variant { name: name.into(), weight: 1 }).to_vec();
            let (layer, seed) = (name.into(), name.into());
            let traffic = (0, 1_000_000);
            experiments.push(Experiment { tenant, name: name.into(), layer, seed, traffic, variants, population });
        }
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
    // Two of three worlds place state by a key; no number is drawn for it.
    let key = (experiments.len() % 3 > 0).then(|| HashKey::new(experiments.len() as u128));
    Catalog::new((0..tenants).map(tenant).collect(), experiments, specs.collect()).hashed_by(key)
}

fn group_of(catalog: &Catalog, tenant: TenantId, events: bool) -> GroupId {
    if events { catalog.event_group(tenant) } else { catalog.fact_group(tenant) }
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
