//! The bench of experiments: NDJSON lines to rollups by variant.

mod generator;
mod job;
mod specification;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use aisle::engine::PartitionSource;
use dataflows::build::{GraphPlan, ViewPlan};
use dataflows::catalog::{Catalog, Experiment, Population, Tenant, Variant};
use dataflows::configuration::Recorded;
use dataflows::experiment::ExperimentEvents;
use dataflows::experiment::decode::EventDecoder;
use dataflows::experiment::session_minutes::SessionMinutes;
use dataflows::experiment::specification::Flavour;
use dataflows::experiment::unit_overlap::{OVERLAP_PAIRS_MAX, pairs};
use dataflows::inventory::availability::Policy;
use dataflows::kind::ListedKind;
use dataflows::view::{Codecs, ViewId};
use operators::topology::{LaneParameters, Lanes, Parameters, Partition, Topology};

use crate::Outcome;
use crate::arguments::{Arguments, Competitor};
use crate::checkpoints;
use crate::engine::{self, START_UP, Setup};
use crate::figures::{Figures, Inputs};
use crate::machine::cpu_seconds;
use crate::recorder::Due;
use crate::sources::{LineSource, Lines, Pace};
use crate::topics::{Messages, TopicWork};

/// Tenants, each of which has records in every partition.
pub(crate) const TENANTS: u16 = 8;

/// Partitions; an event's id lies in one of them only.
pub(crate) const PARTITIONS: usize = 4;

/// A record that is further behind its lane than this is late.
pub(crate) const LATENESS_MS: i64 = 600_000;

/// How long a session is remembered behind the watermark after its last event.
const SESSION_KEEP_MS: i64 = 1_800_000;

const DAY_MS: i64 = 86_400_000;

/// The tenant's name.
pub(crate) fn tenant_name(tenant: u64) -> String {
    const NAMES: [&str; 8] = ["north", "south", "east", "west", "harbour", "airport", "online", "outlet"];
    NAMES[tenant as usize].to_owned()
}

/// Five experiments a tenant in three layers, so that a unit is in 1 to 3 of them: one has all units, two have 40 % each
/// of the second layer, two have 30 % each of the third. The last of these counts from exposure, the others all units
/// that they are assigned.
fn catalog() -> Catalog {
    let tenants = (0..u64::from(TENANTS)).map(|tenant| Tenant { name: tenant_name(tenant).into() }).collect();
    let experiments = (0..TENANTS).flat_map(|tenant| {
        const SHAPES: [(&str, &str, (u32, u32), Population); 5] = [
            ("ranking", "search", (0, 1_000_000), Population::Assigned),
            ("badges", "item", (0, 400_000), Population::Assigned),
            ("gallery", "item", (400_000, 800_000), Population::Assigned),
            ("delivery", "checkout", (0, 300_000), Population::Assigned),
            ("vouchers", "checkout", (300_000, 600_000), Population::Exposed),
        ];
        SHAPES.map(|(name, layer, traffic, population)| Experiment {
            tenant,
            name: name.into(),
            layer: layer.into(),
            seed: name.into(),
            traffic,
            variants: ["control", "treatment"].map(|name| Variant { name: name.into(), weight: 1 }).to_vec(),
            population,
        })
    });
    let experiments = experiments.collect();
    Catalog::new(tenants, experiments, BTreeMap::new())
}

fn topology(catalog: &Catalog) -> Topology {
    let groups = (0..TENANTS).flat_map(|tenant| {
        let name = catalog.tenant_name(tenant);
        [format!("{name}/events"), format!("{name}/facts")]
    });
    let partition = |number| Partition {
        name: format!("events/{number}"),
        release: ExperimentEvents::RELEASE,
        groups: (0..TENANTS).map(|tenant| (catalog.event_group(tenant), Lanes::Closed(vec![0]))).collect(),
        identity_fixes_partition: true,
        live: false,
        re_enters: None,
        shown_once_read: false,
        weight: 1,
    };
    Topology { partitions: (0..PARTITIONS).map(partition).collect(), groups: groups.collect(), ends_ms: None }
}

fn setup(arguments: &Arguments, record_bytes: u64) -> Setup {
    let catalog = catalog();
    let topology = topology(&catalog);
    let views = ViewId::all().map(|view| ViewPlan {
        enabled: view != ViewId::of::<SessionMinutes>() || arguments.session_minutes,
        retention_ms: 30 * DAY_MS,
        shards: 1,
        since: 0,
    });
    let (views, codecs) = (views.collect(), Codecs::new(&Recorded::default()));
    let policy = Policy { safety_stock: 0, count_trusted_ms: DAY_MS };
    let lanes = LaneParameters {
        lateness_ms: LATENESS_MS,
        hold_ms: 300_000,
        idle_ms: 60_000,
        skew_max_ms: 3_600_000,
        dedup_horizon_ms: 0,
    };
    let parameters = Parameters { lanes: vec![lanes; PARTITIONS], start_ms: generator::BEGINS_MS + 100 * DAY_MS };
    let overlap = Arc::new(pairs(&catalog, &[], OVERLAP_PAIRS_MAX));
    let (catalog, topology) = (Arc::new(catalog), Arc::new(topology));
    let plan = GraphPlan {
        catalog,
        topology,
        session_keep_ms: SESSION_KEEP_MS,
        overlap,
        policy,
        views,
        codecs,
        emitting_workers: 1,
    };
    Setup { plan, parameters, record_bytes }
}

/// The events as messages of a topic.
pub(crate) fn messages(arguments: &Arguments) -> Messages {
    let (records, event_rate) = (arguments.records(4_800_000), arguments.event_rate.unwrap_or(60_000));
    let partitions = generator::partitions(arguments.seed, records, event_rate);
    Messages::Lines(partitions.into_iter().map(Arc::new).collect())
}

/// Measures one of those who do the job.
pub(crate) fn measure(arguments: &Arguments, competitor: Competitor) -> Outcome {
    let records = arguments.records(4_800_000);
    let event_rate = arguments.event_rate.unwrap_or(60_000);
    let partitions: Vec<_> =
        generator::partitions(arguments.seed, records, event_rate).into_iter().map(Arc::new).collect();
    let given: u64 = partitions.iter().map(|lines| lines.ends.len() as u64).sum();
    let bytes: u64 = partitions.iter().map(|lines| lines.text.len() as u64).sum();
    let setup = setup(arguments, bytes / given.max(1));

    let begins = Instant::now() + START_UP;
    let pace = |lines: u64| {
        let per_second = arguments.rate? * lines as f64 / given as f64;
        Some(Pace { begins, per_second })
    };
    let paces = partitions.iter().map(|lines| pace(lines.ends.len() as u64));
    let due = paces
        .clone()
        .zip(&partitions)
        .filter_map(|(pace, lines)| Some(Due { pace: pace?, lines: Some(Arc::clone(lines)) }));
    let sources = paces.zip(&partitions).map(|(pace, lines)| {
        let decoder = EventDecoder::new(Arc::clone(&setup.plan.catalog), None);
        PartitionSource::of::<ExperimentEvents>(Box::new(LineSource::new(Arc::clone(lines), decoder, pace)))
    });
    let inputs = Inputs { records: given, bytes, event_rate, rate: arguments.rate };
    let specified = |flavour| {
        let cpu_before = cpu_seconds();
        let arrivals = job::arrivals(arguments, &setup, &partitions);
        let prepared_cpu_seconds = cpu_seconds() - cpu_before;
        let measured = specification::run(arguments, &setup, arrivals, flavour)?;
        Ok(Figures::new(inputs, prepared_cpu_seconds, &measured))
    };
    match competitor {
        Competitor::Engine | Competitor::EngineAtLoad => {
            let measured = engine::run(arguments, &setup, sources.collect(), due.collect())?;
            Ok(Figures::new(inputs, 0.0, &measured))
        }
        Competitor::Checkpointed => {
            let sources = || {
                let source = |lines: &Arc<Lines>| {
                    let decoder = EventDecoder::new(Arc::clone(&setup.plan.catalog), None);
                    PartitionSource::of::<ExperimentEvents>(Box::new(LineSource::new(Arc::clone(lines), decoder, None)))
                };
                partitions.iter().map(source).collect()
            };
            Ok(Figures::new(inputs, 0.0, &checkpoints::run(arguments, &setup, sources)?))
        }
        Competitor::Plain => Ok(Figures::new(inputs, 0.0, &job::run(arguments, &setup, &partitions))),
        Competitor::Topics | Competitor::TopicsAtLoad | Competitor::Poll | Competitor::PollLoop => {
            let decoder = || EventDecoder::new(Arc::clone(&setup.plan.catalog), None);
            let messages = Arc::new(Messages::Lines(partitions.clone()));
            let work = TopicWork { arguments, setup: &setup, messages, records: given };
            let measured = match competitor {
                Competitor::Poll => work.poll(decoder, false)?,
                Competitor::PollLoop => work.poll(decoder, true)?,
                _ => work.engine(decoder, PartitionSource::of::<ExperimentEvents>)?,
            };
            Ok(Figures::new(inputs, 0.0, &measured))
        }
        Competitor::CountTotal => specified(Flavour::CountTotal),
        Competitor::Reduce => specified(Flavour::Reduce),
    }
}
