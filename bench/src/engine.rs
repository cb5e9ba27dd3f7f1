//! The engine as `aisle run` starts it, with sources in memory, its remap log on the local disk, and nobody to publish to.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aisle::engine::{Engine, Held, InputOptions, PartitionSource, Recovery, Workers};
use connectors::local_disk::LocalDisk;
use dataflows::build::GraphPlan;
use dataflows::source_health::SourceHealthRow;
use operators::binding::Configuration;
use operators::framed_log::FramedLog;
use operators::minter::MinterOptions;
use operators::time::Tick;
use operators::timekeeper::Timekeeper;
use operators::topology::{Parameters, Topology};

use crate::arguments::Arguments;
use crate::figures::Checkpoints;
use crate::machine::{cpu_seconds, forget_peak, resident_bytes, thread_seconds};
use crate::recorder::{Due, Recorder, Tally, codecs};

/// How long after the start the first record is due: threads and log are up by then.
pub(crate) const START_UP: Duration = Duration::from_millis(300);

/// What is run.
pub(crate) struct Setup {
    /// The graph.
    pub(crate) plan: GraphPlan,
    /// Of the partitions.
    pub(crate) parameters: Parameters,
    /// Bytes of a record, on the average.
    pub(crate) record_bytes: u64,
}

/// What a run took and gave.
pub(crate) struct Measured {
    /// From the start to the last record's publication.
    pub(crate) wall_seconds: f64,
    /// Of the whole process.
    pub(crate) cpu_seconds: f64,
    /// Of its threads, by name.
    pub(crate) threads: Vec<(String, f64)>,
    /// Resident before: the inputs.
    pub(crate) inputs_bytes: u64,
    /// The most that was resident.
    pub(crate) peak_bytes: u64,
    /// What was published.
    pub(crate) tally: Tally,
    /// What the folds held at the end.
    pub(crate) held: Held,
    /// What checkpoints took and gave, where there were any.
    pub(crate) checkpoints: Option<Checkpoints>,
}

/// With what a run begins.
#[derive(Default)]
pub(crate) struct Begin {
    /// The first tick that is not restored.
    pub(crate) upper: Tick,
    /// Where each reader begins; empty at the beginning.
    pub(crate) from: Vec<u64>,
    /// For the engine.
    pub(crate) recovery: Recovery,
}

/// A tally that knows the partitions.
pub(crate) fn tally_of(topology: &Topology) -> Tally {
    let health = topology.partitions.iter().map(|partition| SourceHealthRow {
        partition: partition.name.as_str().into(),
        next_offset: 0,
        status: "behind".into(),
        read: 0,
        on_time: 0,
        late: 0,
        duplicate: 0,
        dead_letters: 0,
        too_old: 0,
        without_unit: 0,
        watermark_ms: None,
    });
    Tally { health: health.collect(), ..Tally::new() }
}

/// Runs the engine until every source has ended.
pub(crate) fn run(
    arguments: &Arguments,
    setup: &Setup,
    sources: Vec<PartitionSource>,
    due: Vec<Due>,
) -> Result<Measured, Box<dyn std::error::Error>> {
    run_in(&Folder::new()?, arguments, setup, sources, due, Begin::default(), &mut |_| {})
}

/// The same with its log in that folder, from where something else ended; `watch` sees what was published, now and then.
pub(crate) fn run_in(
    folder: &Folder,
    arguments: &Arguments,
    setup: &Setup,
    sources: Vec<PartitionSource>,
    due: Vec<Due>,
    begin: Begin,
    watch: &mut dyn FnMut(&Tally),
) -> Result<Measured, Box<dyn std::error::Error>> {
    let topology = &setup.plan.topology;
    let tick_bytes = arguments.tick_events * setup.record_bytes;
    let minter = match arguments.rate {
        // A second, so that ticks are as large as they should be and not as early as they could.
        None => MinterOptions { tick_bytes, tick_ms: 1_000, ..MinterOptions::default() },
        Some(_) => MinterOptions { tick_ms: arguments.tick_ms, ..MinterOptions::default() },
    };
    let configuration = Configuration {
        canonical: "{}".to_owned(),
        sha256: String::new(),
        build: "bench".to_owned(),
        parameters: setup.parameters.clone(),
    };
    let log = FramedLog::new(LocalDisk::new(&folder.0), "remap.log");
    let timekeeper = Timekeeper::open(log, topology, minter, arguments.in_flight, configuration)?;
    let timekeeper = if begin.upper > 0 { timekeeper.resume_at(begin.upper) } else { timekeeper };
    let tally = Arc::new(Mutex::new(tally_of(topology)));
    let names: Vec<String> = topology.partitions.iter().map(|partition| partition.name.clone()).collect();
    let published = vec![0; names.len()];
    let recorder = Recorder { tally: Arc::clone(&tally), due, published, names, codecs: codecs(arguments.verify) };
    let workers = Workers { threads: arguments.workers, addresses: Vec::new(), process: 0 };
    let input = InputOptions { from: begin.from, ..InputOptions::new(minter.tick_bytes, sources.len(), Vec::new()) };

    forget_peak();
    let (inputs_bytes, _) = resident_bytes();
    let (cpu_before, threads_before, started) = (cpu_seconds(), thread_seconds(), Instant::now());
    let engine = Engine::start_linked(
        None,
        &setup.plan,
        &workers,
        sources,
        &input,
        Some(timekeeper),
        begin.recovery,
        Box::new(recorder),
    )?;
    while !engine.has_ended() && !engine.has_failed() {
        watch(&tally.lock().unwrap_or_else(PoisonError::into_inner));
        std::thread::sleep(Duration::from_millis(5));
    }
    let (cpu_after, threads_after, (_, peak_bytes)) = (cpu_seconds(), thread_seconds(), resident_bytes());
    if engine.has_failed() {
        engine.stop()?;
        return Err("the engine failed without a reason".into());
    }
    let held = engine.held();
    engine.finish(&AtomicBool::new(false))?;
    let threads = threads_after.into_iter().map(|(name, seconds)| {
        let before = threads_before.get(&name).copied().unwrap_or(0.0);
        (name, seconds - before)
    });
    let tally = tally.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok(Measured {
        wall_seconds: tally.last.saturating_duration_since(started).as_secs_f64(),
        cpu_seconds: cpu_after - cpu_before,
        threads: threads.collect(),
        inputs_bytes,
        peak_bytes,
        tally,
        held,
        checkpoints: None,
    })
}

/// A folder that goes when it is dropped.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> std::io::Result<Folder> {
        let folder = Folder(std::env::temp_dir().join(format!("aisle-bench-{}", std::process::id())));
        std::fs::create_dir_all(&folder.0)?;
        Ok(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left over in the system's folder for such things harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
