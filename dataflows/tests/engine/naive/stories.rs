//! The naive model against answers that were worked out by hand.

mod events;
mod feeds;
mod stock;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::rows::Row;
use crate::rows::{EVENTS, FACTS};
use dataflows::build::{GraphPlan, ViewPlan};
use dataflows::catalog::{Catalog, Experiment, Population, Tenant, Variant};
use dataflows::configuration::Recorded;
use dataflows::experiment::event::{Event, EventKind};
use dataflows::experiment::unit_overlap::{OVERLAP_PAIRS_MAX, pairs};
use dataflows::experiment::variant_minutes::VariantMinute;
use dataflows::experiment::variant_totals::VariantTotal;
use dataflows::inventory::availability::Policy;
use dataflows::inventory::availability::Reason;
use dataflows::inventory::fact::{BeforeImage, Fact, FactKind, StockState};
use dataflows::inventory::stock::StockRow;
use dataflows::source_health::SourceHealth;
use dataflows::source_health::SourceHealthRow;
use dataflows::view::{Codecs, ViewId};
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
        shown_once_read: false,
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
        ends_ms: None,
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
        overlap: Arc::new(pairs(&catalog, &[], OVERLAP_PAIRS_MAX)),
        policy: Policy { safety_stock: 0, count_trusted_ms: 24 * HOUR },
        views: vec![ViewPlan { enabled: true, retention_ms: 24 * HOUR, shards: 1, since: 0 }; ViewId::count()],
        codecs: Codecs::new(&Recorded::default()),
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

/// A time of day.
fn at(hour: i64, minute: i64) -> TimeMs {
    hour * HOUR + minute * MINUTE
}

fn health(snapshot: &Snapshot, partition: usize) -> &SourceHealthRow {
    let rows = snapshot[&ViewId::of::<SourceHealth>()].keys().filter_map(|row| match row {
        Row::SourceHealth(row) => Some(row),
        _ => None,
    });
    rows.into_iter().nth(partition).unwrap()
}
