//! From what is written to what it means: checks every value and fills in the defaults.
//!
//! Each function reports what is wrong and goes on with a stand-in, so that all mistakes are found. What comes out counts
//! only if there were none.

mod columns;
mod experiments;
mod kafka;
mod registry;
mod sinks;
mod sources;
mod unit_overlap;
mod values;
mod views;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::bounds;
use super::kafka::{Built, KafkaSettings, LogsSettings};
use super::mistake::Mistakes;
use super::registry::RegistrySettings;
use super::section::{Section, WrittenSections};
use super::settings::{
    ArchiveSettings, CheckpointSettings, Delivery, FactClass, FactSourceSettings, History, HistorySettings,
    InventorySettings, Local, Recorded, SessionSettings, Settings, SourceSettings,
};
use super::written::{
    Given, WrittenCheckpoints, WrittenFactSource, WrittenFile, WrittenHistory, WrittenInventory, WrittenTime,
};
use crate::view::ViewId;
use sources::Settled;
use values::{choice, flag, integer, name_is_well_formed, unsigned};

/// Checks the sections and gives them their meaning.
pub(super) fn settle(sections: &WrittenSections, built: Built, mistakes: &mut Mistakes<'_>) -> Settings {
    let times = times(&sections.time.written, mistakes);
    let kafka = kafka::settle(sections, built, mistakes);
    let logs = kafka::logs(sections, kafka.is_some(), built, mistakes);
    let registry = registry::settle(sections, mistakes);
    let Settled { tenants, tenants_are_known, sources, inputs } = sources::settle(sections, times, built, mistakes);
    let known_tenants = tenants_are_known.then_some(tenants.as_slice());
    let experiments = experiments::settle(&sections.experiments, known_tenants, mistakes);
    let fact_sources = fact_sources(sections, &sources, mistakes);
    let keep_ms = &sections.sessions.written.keep_ms;
    let keep_ms = integer("keep_ms", keep_ms, bounds::SESSION_KEEP_MS, 1_800_000, mistakes);
    let sessions_kept = SessionSettings { keep_ms };
    let inventory = inventory(&sections.inventory.written, mistakes);
    let (views, history) = views::settle(&sections.views, mistakes);
    let checkpoints = checkpoints(&sections.checkpoints.written, built, mistakes);
    let (archive, history_kept) = archive(&sections.history.written, built, mistakes);
    let (sinks, deliveries) = sinks::settle(&sections.sinks, &views, kafka.as_ref(), built, mistakes);
    let (file, time) = (&sections.file, &sections.time.written);
    let local = local(file, time, kafka, logs, registry, history, checkpoints, deliveries, archive, mistakes);
    let (sessions, history) = (sessions_kept, history_kept);
    let unit_overlap = unit_overlap::settle(&sections.unit_overlap.written, &experiments, mistakes);
    let recorded = Recorded {
        tenants,
        sources,
        experiments,
        fact_sources,
        sessions,
        inventory,
        views,
        sinks,
        history,
        unit_overlap,
    };
    Settings { local, recorded, inputs }
}

/// How much disorder and silence a source may have.
#[derive(Clone, Copy)]
pub(super) struct Times {
    lateness_ms: i64,
    hold_ms: i64,
    idle_ms: i64,
    skew_max_ms: i64,
}

impl Times {
    const DEFAULT: Times = Times { lateness_ms: 600_000, hold_ms: 1_800_000, idle_ms: 3_600_000, skew_max_ms: 60_000 };

    /// These, where nothing else is given.
    fn overridden(self, [lateness, hold, idle, skew_max]: [&Given<i64>; 4], mistakes: &mut Mistakes<'_>) -> Times {
        let mut duration = |name, given, default| integer(name, given, bounds::DURATION_MS, default, mistakes);
        Times {
            lateness_ms: duration("lateness_ms", lateness, self.lateness_ms),
            hold_ms: duration("hold_ms", hold, self.hold_ms),
            idle_ms: duration("idle_ms", idle, self.idle_ms),
            skew_max_ms: duration("skew_max_ms", skew_max, self.skew_max_ms),
        }
    }
}

fn times(time: &WrittenTime, mistakes: &mut Mistakes<'_>) -> Times {
    Times::DEFAULT.overridden([&time.lateness_ms, &time.hold_ms, &time.idle_ms, &time.skew_max_ms], mistakes)
}

fn local(
    file: &Section<WrittenFile>,
    time: &WrittenTime,
    kafka: Option<KafkaSettings>,
    logs: Option<LogsSettings>,
    registry: Option<RegistrySettings>,
    history: BTreeMap<ViewId, History>,
    checkpoints: CheckpointSettings,
    deliveries: Vec<Delivery>,
    archive: ArchiveSettings,
    mistakes: &mut Mistakes<'_>,
) -> Local {
    let file = &file.written;
    let data_dir = file.data_dir.as_ref().map_or("./aisle-data", |given| given.get_ref());
    if let Some(given) = &file.data_dir
        && given.get_ref().is_empty()
    {
        mistakes.add(given.span(), "`data_dir` is empty", "name a folder, or leave the key out for `./aisle-data`");
    }
    Local {
        data_dir: data_dir.to_owned(),
        data_bytes_max: unsigned("data_bytes_max", &file.data_bytes_max, bounds::DATA_BYTES, 4 << 30, mistakes),
        listen: listen(&file.listen, mistakes),
        tick_ms: integer("tick_ms", &time.tick_ms, bounds::TICK_MS, 100, mistakes),
        tick_bytes: unsigned("tick_bytes", &time.tick_bytes, bounds::TICK_BYTES, 2 << 20, mistakes),
        in_flight: unsigned("in_flight", &time.in_flight, bounds::IN_FLIGHT, 4, mistakes),
        kafka,
        logs,
        registry,
        history,
        checkpoints,
        deliveries,
        archive,
    }
}

/// Where objects of some kind go: a folder, a bucket, or nowhere.
fn place(what: &str, to: &Given<String>, default: &str, built: Built, mistakes: &mut Mistakes<'_>) -> String {
    let Some(given) = to else { return default.to_owned() };
    let to = given.get_ref();
    if to.is_empty() || (to.contains("://") && !to.starts_with("s3://")) {
        let message = format!("`to` is \"{to}\", which is no place for {what}");
        mistakes.add(given.span(), message, "write a folder, \"s3://bucket/prefix\" or \"none\"");
    }
    if to.starts_with("s3://") && !built.s3 {
        let hint = "build it with `cargo build --release --features s3`, or name a folder";
        mistakes.add(given.span(), "this build knows no S3", hint);
    }
    to.clone()
}

fn archive(written: &WrittenHistory, built: Built, mistakes: &mut Mistakes<'_>) -> (ArchiveSettings, HistorySettings) {
    let WrittenHistory { to, endpoint, file_ms, rows_max, retention_ms } = written;
    let default = if built.history { "history" } else { "none" };
    let place = place("history", to, default, built, mistakes);
    let kept = place != "none";
    if let Some(given) = to.as_ref().filter(|_| kept && !built.history) {
        let hint = "build it with `cargo build --release --features history`, or write \"none\"";
        mistakes.add(given.span(), "this build keeps no history", hint);
    }
    let archive = ArchiveSettings {
        to: place,
        endpoint: endpoint.as_ref().map(|given| given.get_ref().clone()),
        retention_ms: integer("retention_ms", retention_ms, bounds::DURATION_POSITIVE_MS, 34_560_000_000, mistakes),
    };
    let history = HistorySettings {
        kept,
        file_ms: integer("file_ms", file_ms, bounds::HISTORY_FILE_MS, 600_000, mistakes),
        rows_max: unsigned("rows_max", rows_max, bounds::HISTORY_FILE_ROWS, 100_000, mistakes),
    };
    (archive, history)
}

fn checkpoints(written: &WrittenCheckpoints, built: Built, mistakes: &mut Mistakes<'_>) -> CheckpointSettings {
    let WrittenCheckpoints { to, endpoint, interval_ms, keep } = written;
    CheckpointSettings {
        to: place("checkpoints", to, "checkpoints", built, mistakes),
        endpoint: endpoint.as_ref().map(|given| given.get_ref().clone()),
        interval_ms: integer("interval_ms", interval_ms, bounds::CHECKPOINT_INTERVAL_MS, 60_000, mistakes),
        keep: unsigned("keep", keep, bounds::CHECKPOINTS_KEPT, 3, mistakes),
    }
}

fn listen(given: &Given<String>, mistakes: &mut Mistakes<'_>) -> SocketAddr {
    let default = SocketAddr::from(([127, 0, 0, 1], 7171));
    let Some(given) = given else { return default };
    given.get_ref().parse().unwrap_or_else(|_| {
        let message = format!("`listen` is \"{}\", which is not an address and a port", given.get_ref());
        mistakes.add(given.span(), message, "write an address in numbers and a port, such as \"127.0.0.1:7171\"");
        default
    })
}

fn inventory(inventory: &WrittenInventory, mistakes: &mut Mistakes<'_>) -> InventorySettings {
    let WrittenInventory { safety_stock, count_trusted_ms, dedup_horizon_ms } = inventory;
    let mut number = |name, given, bounds, default| integer(name, given, bounds, default, mistakes);
    let positive = bounds::DURATION_POSITIVE_MS;
    InventorySettings {
        safety_stock: number("safety_stock", safety_stock, bounds::SAFETY_STOCK, 0),
        count_trusted_ms: number("count_trusted_ms", count_trusted_ms, positive.clone(), 10_368_000_000),
        dedup_horizon_ms: number("dedup_horizon_ms", dedup_horizon_ms, positive, 86_400_000),
    }
}

fn fact_sources(
    sections: &WrittenSections,
    sources: &[SourceSettings],
    mistakes: &mut Mistakes<'_>,
) -> BTreeMap<String, FactSourceSettings> {
    let mut settled = BTreeMap::new();
    for (name, section) in &sections.fact_sources {
        name_is_well_formed("a fact source's name", name, mistakes);
        settled.insert(name.get_ref().clone(), fact_source(&section.written, mistakes));
        // A misspelled name would silently leave the real one with the default belief.
        let mut lists = sources.iter().filter_map(|source| source.fact_sources.as_ref());
        let any_is_open = sections.sources.iter().any(|source| {
            let is_inventory = source.written.kind.as_ref().is_none_or(|kind| kind.get_ref() != "experiment");
            is_inventory && source.written.fact_sources.is_none()
        });
        if !any_is_open && !lists.any(|list| list.contains(name.get_ref())) {
            let message = format!("no source has facts of \"{}\"", name.get_ref());
            mistakes.add(name.span(), message, "name it in a source's `fact_sources`, or leave this section out");
        }
    }
    settled
}

fn fact_source(source: &WrittenFactSource, mistakes: &mut Mistakes<'_>) -> FactSourceSettings {
    let rank = integer("rank", &source.rank, bounds::RANK, 100, mistakes);
    FactSourceSettings {
        rank: u16::try_from(rank).unwrap_or(u16::MAX),
        class: choice("class", &source.class, &[("A", FactClass::A), ("B", FactClass::B)], mistakes)
            .unwrap_or(FactClass::A),
        authority: flag(&source.authority).unwrap_or(false),
        epsilon_ms: integer("epsilon_ms", &source.epsilon_ms, bounds::EPSILON_MS, 0, mistakes),
    }
}
