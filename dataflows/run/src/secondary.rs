//! A process of a cluster: how it comes together with the others, what it does if it is not the first, and how it ends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use connectors::local_disk::LocalDisk;
use operators::framed_log::FramedLog;
use operators::timekeeper::Timekeeper;
use sha2::{Digest, Sha256};

use super::brokers::Brokers;
use super::engine::{
    Cluster, CompleteTick, Control, Engine, EngineError, Links, Publish, PublishError, StartPoint, Workers,
};
use super::job::{BUILD, Ended, Outcome, RunError, RunOptions, folder_of, graph_plan, input_options, stopped};
use super::terminal::say;
use super::{inputs, recovery};
use dataflows::configuration::{PartitionInput, Plan, Settings};

/// What a process of a cluster does that is not the first: it works until the first one ends the run, or begins it anew.
pub(super) fn run_secondary(
    options: &RunOptions,
    settings: &Settings,
    brokers: &Brokers,
    cluster: Option<Cluster>,
    interrupted: &AtomicBool,
) -> Result<Outcome, RunError> {
    let control = Control::other(&options.workers);
    let Some(links) = linked(cluster, StartPoint::default(), &control, interrupted)? else {
        return Ok(Outcome::Ended(stopped()));
    };
    let begins = links.as_ref().map(|links| links.begins.clone()).unwrap_or_default();
    let plan = &Plan::from_canonical(&begins.plan)?;
    let folder = folder_of(&options.configuration);
    let sources = inputs::sources(plan, &folder, brokers, &control.schema_lookup(), &control.commands())?;
    let store = recovery::open(settings, begins.run)?;
    let chosen = match &store {
        Some(store) if begins.upper > 0 => recovery::of_tick(store, begins.upper, plan, &options.workers)?,
        _ => None,
    };
    let resumed = recovery::resume(store, chosen, settings, plan, &options.workers)?;
    let timekeeper: Option<Timekeeper<FramedLog<LocalDisk>>> = None;
    let engine = Engine::start_linked(
        links,
        &graph_plan(plan),
        &options.workers,
        sources,
        &input_options(settings, plan, resumed.from),
        timekeeper,
        resumed.recovery,
        Box::new(NoOutputs),
    )?;
    let is_over = || engine.has_finished() || engine.begins_anew() || engine.has_failed();
    while !is_over() && !interrupted.load(Ordering::Acquire) {
        control.beat();
        std::thread::sleep(Duration::from_millis(20));
    }
    if engine.begins_anew() {
        even_if_lost(engine.leave(interrupted), interrupted)?;
        if interrupted.load(Ordering::Acquire) {
            return Ok(Outcome::Ended(stopped()));
        }
        say("process 0 begins anew, since there is more to read");
        return Ok(Outcome::Restart { listen: options.listen.clone() });
    }
    if engine.has_finished() {
        engine.finish(interrupted)?;
        say("process 0 has ended the run");
        return Ok(Outcome::Ended(Ended::Well));
    }
    even_if_lost(engine.stop(), interrupted)?;
    Ok(Outcome::Ended(stopped()))
}

/// The links to the other processes of a cluster, if it is one; nothing where that was interrupted.
/// Where process 0 `begins`, all do.
pub(super) fn linked(
    cluster: Option<Cluster>,
    begins: StartPoint,
    control: &Control,
    interrupted: &AtomicBool,
) -> Result<Option<Option<Links>>, RunError> {
    let Some(cluster) = cluster else { return Ok(Some(None)) };
    let waiting = |missing: &[String]| say(&format!("waiting for {}", missing.join(", ")));
    let links = cluster.connect(begins, control.clone(), interrupted, waiting)?;
    if links.is_some() {
        say("every process of the cluster is there");
    }
    Ok(links.map(Some))
}

/// What the processes of a cluster must have in common: everything that decides outputs, and how shards are divided.
pub(super) fn in_common(wanted: &Plan, workers: &Workers) -> [u8; 32] {
    // When a process started, and what topics held by then, is its own affair: process 0 tells what is recorded. A topic
    // that grows meanwhile may have fewer partitions for one process than for another.
    let mut plan = wanted.clone();
    plan.parameters.start_ms = 0;
    plan.partitions.retain_mut(|partition| match &mut partition.input {
        PartitionInput::Topic(record) => {
            record.first_offset = 0;
            record.partition == 0
        }
        PartitionInput::Files(files) => {
            // Event times beyond the clock of a process say nothing to it, and clocks differ.
            files.iter_mut().for_each(|file| file.times = None);
            true
        }
        PartitionInput::ReEntry { .. } => true,
    });
    plan.recorded.sources.iter_mut().filter(|source| source.measured).for_each(|source| source.lateness_ms = 0);
    let Workers { threads, addresses, .. } = workers;
    Sha256::digest(format!("{BUILD} {threads} {} {}", addresses.len(), plan.canonical())).into()
}

/// Somebody who interrupts a cluster interrupts the neighbours too, and they may be gone first.
pub(super) fn even_if_lost(ended: Result<(), EngineError>, interrupted: &AtomicBool) -> Result<(), EngineError> {
    match ended {
        Err(EngineError::Lost { .. }) if interrupted.load(Ordering::Acquire) => Ok(()),
        ended => ended,
    }
}

/// The outputs of a process that emits nothing: none.
struct NoOutputs;

impl Publish for NoOutputs {
    fn publish(&mut self, _: CompleteTick) -> Result<(), PublishError> {
        Ok(())
    }
    fn flush(&mut self) -> Result<(), PublishError> {
        Ok(())
    }
}
