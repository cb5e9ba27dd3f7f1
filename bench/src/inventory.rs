//! The bench of inventory: decoded facts to stock and availability.

mod generator;
mod job;
mod specification;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use aisle::engine::PartitionSource;
use dataflows::build::{GraphPlan, ViewPlan};
use dataflows::catalog::{Catalog, Tenant};
use dataflows::configuration::Recorded;
use dataflows::experiment::session_minutes::SessionMinutes;
use dataflows::inventory::InventoryFacts;
use dataflows::inventory::availability::Policy;
use dataflows::inventory::batch::BatchDecoder;
use dataflows::inventory::decode::fact_lane;
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
use crate::sources::{ITEM_BYTES, ItemSource, Pace};
use crate::topics::{Messages, TopicWork};

/// Nodes; each has its facts in one partition.
pub(crate) const NODES: u64 = 5_500;

/// Partitions.
pub(crate) const PARTITIONS: usize = 4;

/// A fact that is further behind its lane than this is late; it is folded all the same.
pub(crate) const LATENESS_MS: i64 = 300_000;

/// How long behind the watermark ids are remembered.
pub(crate) const DEDUP_HORIZON_MS: i64 = 86_400_000;

/// The systems that send facts. Tills and stockrooms number theirs, counts have ids.
pub(crate) const FACT_SOURCES: [&str; 3] = ["pos", "wms", "counter"];

const DAY_MS: i64 = 86_400_000;

fn setup() -> Setup {
    let tenants = vec![Tenant { name: "north".into() }];
    let catalog = Catalog::new(tenants, Vec::new(), BTreeMap::new());
    let partition = |number| Partition {
        name: format!("facts/{number}"),
        release: InventoryFacts::RELEASE,
        groups: vec![(catalog.fact_group(0), Lanes::Closed(FACT_SOURCES.map(fact_lane).to_vec()))],
        identity_fixes_partition: true,
        live: false,
        re_enters: None,
        shown_once_read: false,
        weight: 1,
    };
    let groups = ["north/events", "north/facts"].map(str::to_owned).to_vec();
    let topology = Topology { partitions: (0..PARTITIONS).map(partition).collect(), groups, ends_ms: None };
    let views = ViewId::all().map(|view| ViewPlan {
        enabled: view != ViewId::of::<SessionMinutes>(),
        retention_ms: 30 * DAY_MS,
        shards: 1,
        since: 0,
    });
    let (views, codecs) = (views.collect(), Codecs::new(&Recorded::default()));
    let policy = Policy { safety_stock: 1, count_trusted_ms: 7 * DAY_MS };
    let lanes = LaneParameters {
        lateness_ms: LATENESS_MS,
        hold_ms: 300_000,
        idle_ms: 60_000,
        skew_max_ms: 3_600_000,
        dedup_horizon_ms: DEDUP_HORIZON_MS,
    };
    let parameters = Parameters { lanes: vec![lanes; PARTITIONS], start_ms: generator::BEGINS_MS + 100 * DAY_MS };
    let (catalog, topology) = (Arc::new(catalog), Arc::new(topology));
    let plan = GraphPlan {
        catalog,
        topology,
        session_keep_ms: DAY_MS,
        overlap: Arc::default(),
        policy,
        views,
        codecs,
        emitting_workers: 1,
    };
    Setup { plan, parameters, record_bytes: ITEM_BYTES }
}

/// The facts as messages of a topic.
pub(crate) fn messages(arguments: &Arguments) -> Messages {
    let (records, event_rate) = (arguments.records(5_000_000), arguments.event_rate.unwrap_or(20_000));
    Messages::Batches(generator::batches(arguments, records, event_rate))
}

/// Measures one of those who do the job.
pub(crate) fn measure(arguments: &Arguments, competitor: Competitor) -> Outcome {
    let records = arguments.records(5_000_000);
    let event_rate = arguments.event_rate.unwrap_or(20_000);
    let setup = setup();
    let partitions = generator::partitions(arguments, records, event_rate, &setup.plan.catalog);
    let given: u64 = partitions.iter().map(|items| items.len() as u64).sum();

    let begins = Instant::now() + START_UP;
    let pace = |facts: usize| {
        let per_second = arguments.rate? * facts as f64 / given as f64;
        Some(Pace { begins, per_second })
    };
    let due = partitions.iter().filter_map(|items| Some(Due { pace: pace(items.len())?, lines: None })).collect();
    let inputs = Inputs { records: given, bytes: given * ITEM_BYTES, event_rate, rate: arguments.rate };
    let (measured, prepared_cpu_seconds) = match competitor {
        Competitor::Engine | Competitor::EngineAtLoad => {
            let sources = partitions.into_iter().map(|items| {
                let pace = pace(items.len());
                PartitionSource::of::<InventoryFacts>(Box::new(ItemSource::new(items, pace)))
            });
            (engine::run(arguments, &setup, sources.collect(), due)?, 0.0)
        }
        Competitor::Checkpointed => {
            drop(partitions);
            let sources = || {
                let partitions = generator::partitions(arguments, records, event_rate, &setup.plan.catalog);
                let source = |items| PartitionSource::of::<InventoryFacts>(Box::new(ItemSource::new(items, None)));
                partitions.into_iter().map(source).collect()
            };
            (checkpoints::run(arguments, &setup, sources)?, 0.0)
        }
        Competitor::Plain => (job::run(arguments, &setup, partitions), 0.0),
        Competitor::Topics | Competitor::TopicsAtLoad | Competitor::Poll | Competitor::PollLoop => {
            // What the batches hold is all that is needed.
            drop(partitions);
            let decoder = || BatchDecoder::new(Arc::clone(&setup.plan.catalog), None, None);
            let messages = Arc::new(messages(arguments));
            let work = TopicWork { arguments, setup: &setup, messages, records: given };
            let measured = match competitor {
                Competitor::Poll => work.poll(decoder, false)?,
                Competitor::PollLoop => work.poll(decoder, true)?,
                _ => work.engine(decoder, PartitionSource::of::<InventoryFacts>)?,
            };
            (measured, 0.0)
        }
        Competitor::CountTotal | Competitor::Reduce => {
            let cpu_before = cpu_seconds();
            let arrivals = job::arrivals(arguments, &setup, partitions);
            let prepared_cpu_seconds = cpu_seconds() - cpu_before;
            (specification::run(arguments, &setup, arrivals)?, prepared_cpu_seconds)
        }
    };
    Ok(Figures::new(inputs, prepared_cpu_seconds, &measured))
}
