//! What a run is made from: a configuration, or what a remap log recorded of one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use operators::binding::Coder;
use operators::disk::{Log, LogError};
use operators::index::HistoryBounds;
use operators::timekeeper::{TimekeeperError, read_bindings};
use operators::topology::{LaneParameters, Topology};

use super::RunError;
use crate::BUILT;
use crate::engine::InputOptions;
use crate::logs::REMAP_LOG;
use dataflows::answer::Views;
use dataflows::build::{GraphPlan, ViewPlan};
use dataflows::configuration::{Plan, Settings, parse};
use dataflows::inventory::availability::Policy;
use dataflows::view::{Codecs, ViewId};

/// Reads and checks a configuration.
pub fn read_settings(path: &Path) -> Result<Settings, RunError> {
    let unreadable = |source| RunError::Unreadable { path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    parse(&text, &path.display().to_string(), BUILT).map_err(RunError::Mistakes)
}

/// The folder that a configuration's patterns are relative to.
pub fn folder_of(configuration: &Path) -> PathBuf {
    match configuration.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// What the graph needs of a plan.
pub fn graph_plan(plan: &Plan) -> GraphPlan {
    let views = ViewId::all().map(|view| {
        let settings = plan.recorded.view(view);
        ViewPlan {
            enabled: settings.enabled,
            retention_ms: settings.retention_ms.unwrap_or(i64::MAX),
            shards: settings.shards,
            since: plan.recorded.since(view),
        }
    });
    let catalog = plan.catalog();
    let overlap = plan.recorded.unit_overlap.pairs(&catalog);
    GraphPlan {
        catalog: Arc::new(catalog),
        topology: Arc::new(plan.topology.clone()),
        overlap: Arc::new(overlap),
        session_keep_ms: plan.recorded.sessions.keep_ms,
        policy: Policy {
            safety_stock: plan.recorded.inventory.safety_stock,
            count_trusted_ms: plan.recorded.inventory.count_trusted_ms,
        },
        views: views.collect(),
        codecs: Codecs::new(&plan.recorded),
        emitting_workers: 1,
    }
}

/// The plans that a remap log recorded, first and newest; none where it is empty.
pub fn recorded_plans(log: &mut impl Log) -> Result<Option<(Plan, Plan)>, RunError> {
    let entries = log.read()?;
    let Some(first) = entries.first() else { return Ok(None) };
    let first = Coder::new(&Topology::default()).decode(first).map_err(TimekeeperError::from)?;
    let damaged = |what: &str| LogError::Damaged { name: REMAP_LOG.to_owned(), offset: 0, what: what.to_owned() };
    let first = first.configuration.ok_or_else(|| damaged("its first entry has no configuration"))?;
    let first = Plan::from_canonical(&first.canonical)?;
    let bindings = read_bindings(log, &first.topology)?;
    let newest = bindings.iter().rev().find_map(|binding| binding.configuration.as_ref());
    let newest = newest.map_or_else(|| Ok(first.clone()), |newest| Plan::from_canonical(&newest.canonical))?;
    Ok(Some((first, newest)))
}

/// The indexes of a plan's views.
pub fn views(plan: &Plan, settings: Option<&Settings>) -> Views {
    let enabled: Vec<ViewId> = ViewId::all().filter(|view| plan.recorded.view(*view).enabled).collect();
    let mut views =
        Views::new(Codecs::new(&plan.recorded), &enabled, HistoryBounds { ticks_max: 600, bytes_max: 64 << 20 });
    if let Some(settings) = settings {
        for (view, history) in &settings.local.history {
            let bytes_max = usize::try_from(history.bytes).unwrap_or(usize::MAX);
            views.set_history(*view, HistoryBounds { ticks_max: history.ticks, bytes_max });
        }
    }
    views
}

/// How the input of a plan is read.
pub(crate) fn input_options(settings: &Settings, plan: &Plan, from: Vec<u64>) -> InputOptions {
    let parameters = &plan.parameters;
    let last = |lanes: &LaneParameters| parameters.start_ms.saturating_add(lanes.skew_max_ms);
    let future_ms = parameters.lanes.iter().map(last).collect();
    InputOptions { from, ..InputOptions::new(settings.local.tick_bytes, plan.partitions.len(), future_ms) }
}
