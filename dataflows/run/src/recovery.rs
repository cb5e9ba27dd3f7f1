//! What a run begins with: the newest checkpoint that fits the logs and every sink, or the beginning of the logs.
//!
//! Either way the outputs are the same; a checkpoint only saves the work. So one that can't be used is told, and the one
//! before it is tried. Where there are checkpoints and none can be used, a person has to say `--replay-all`, since the input
//! may no longer be there from its beginning.

use std::path::Path;
use std::sync::Arc;

use connectors::checkpoint_store::{Checkpointer, CheckpointerOptions, Manifest, Store, StoreError, Unusable};
use connectors::objects::Location;
use operators::checkpoint::{Parcel, PartOwner, Restore, StateFormats};
use operators::disk::Log;
use operators::time::Tick;
use operators::timekeeper::Timekeeper;

use super::engine::{Recovery, Workers};
use super::job::{BUILD, RunError, graph_plan};
use super::terminal::say;
use dataflows::build::states_of;
use dataflows::configuration::{Plan, Settings};

/// What a run begins with.
pub(super) struct Resumed {
    /// Where each reader begins.
    pub(super) from: Vec<u64>,
    /// For the engine.
    pub(super) recovery: Recovery,
}

/// Which run it is, by its first configuration, which knows when it began.
pub(super) fn run_of(first: &Plan) -> u64 {
    u64::from_str_radix(&first.sha256()[..16], 16).expect("a hash is written in hexadecimal")
}

/// Opens the store of a run's checkpoints, where there is to be one.
pub(super) fn open(settings: &Settings, run: u64) -> Result<Option<Store>, RunError> {
    let checkpoints = &settings.local.checkpoints;
    if checkpoints.to == "none" {
        return Ok(None);
    }
    let base = Path::new(&settings.local.data_dir);
    let location = Location::parse(&checkpoints.to, checkpoints.endpoint.clone(), base).map_err(StoreError::from)?;
    Ok(Some(Store::open(&location, run)?))
}

/// A checkpoint that was found to be whole.
pub(super) struct Chosen {
    manifest: Manifest,
    parcels: Vec<Parcel>,
}

impl Chosen {
    /// The first tick that is not in it.
    pub(super) fn upper(&self) -> Tick {
        self.manifest.position.upper
    }
}

/// The newest checkpoint that fits the logs and the graph of a plan. `sinks` is the first tick that some sink does not have.
pub(super) fn choose<L: Log>(
    store: &Store,
    timekeeper: &Timekeeper<L>,
    plan: &Plan,
    sinks: Tick,
    replay_all: bool,
) -> Result<Option<Chosen>, RunError> {
    if replay_all {
        return Ok(None);
    }
    let states = states_of(&graph_plan(plan));
    let fits = |manifest: &Manifest| {
        if let Some(written) = &manifest.states {
            can_restore(&states, written, manifest)?;
        }
        match timekeeper.position_at(manifest.position.upper) {
            None => Err("the remap log is shorter".to_owned()),
            Some(position) if position != manifest.position => Err("it is of another remap log".to_owned()),
            Some(_) => Ok(()),
        }
    };
    let mut refused: Vec<Unusable> = Vec::new();
    let mut most = sinks;
    loop {
        let found = store.newest(most, fits)?;
        refused.extend(found.unusable);
        let Some(manifest) = found.manifest else { break };
        let upper = manifest.position.upper;
        let loaded = load(store, &manifest, |_| true)?;
        let usable = loaded.and_then(|parcels| {
            can_restore(&states, &manifest.states(&parcels), &manifest)?;
            Ok(parcels)
        });
        match usable {
            Ok(parcels) => {
                tell(&refused);
                return Ok(Some(Chosen { manifest, parcels }));
            }
            Err(what) => refused.push(Unusable { upper, what }),
        }
        most = upper - 1;
    }
    tell(&refused);
    match refused.is_empty() {
        true => Ok(None),
        false => Err(RunError::NoCheckpoint { store: store.shown().to_owned(), newest: refused[0].upper }),
    }
}

/// Whether a graph with these states can restore the states of a checkpoint.
fn can_restore(states: &StateFormats, written: &StateFormats, manifest: &Manifest) -> Result<(), String> {
    states.check(written).map_err(|error| format!("{error}; build {} wrote it, this one is {BUILD}", manifest.build))
}

/// What workers of this process want of the checkpoint of that tick, which another process has chosen.
pub(super) fn of_tick(store: &Store, upper: Tick, plan: &Plan, workers: &Workers) -> Result<Option<Chosen>, RunError> {
    let found = store.newest(upper, |_| Ok(()))?;
    let manifest = found.manifest.filter(|manifest| manifest.position.upper == upper);
    let Some(manifest) = manifest else {
        return Err(RunError::OtherStore { store: store.shown().to_owned(), upper });
    };
    let (here, peers) = (workers.here(), workers.peers());
    let wanted = |place: PartOwner| here.clone().any(|worker| place.is_of(worker, peers, &plan.topology));
    let loaded = load(store, &manifest, wanted)?;
    let parcels = loaded.map_err(|what| RunError::Checkpoint { store: store.shown().to_owned(), upper, what })?;
    Ok(Some(Chosen { manifest, parcels }))
}

/// Reads a checkpoint, and tells how far that is.
fn load(
    store: &Store,
    manifest: &Manifest,
    wanted: impl Fn(PartOwner) -> bool,
) -> Result<Result<Vec<Parcel>, String>, RunError> {
    let upper = manifest.position.upper;
    let (all, mut told) = (manifest.bytes().max(1), 0);
    let progress = |read: u64| {
        let tenths = read * 10 / all;
        if tenths > told {
            told = tenths;
            say(&format!("restoring tick {upper}: {read} of {all} bytes"));
        }
    };
    Ok(store.load(manifest, wanted, progress)?)
}

/// Gives each worker its part of what was chosen, and becomes ready to take checkpoints.
pub(super) fn resume(
    store: Option<Store>,
    chosen: Option<Chosen>,
    settings: &Settings,
    plan: &Plan,
    workers: &Workers,
) -> Result<Resumed, RunError> {
    let mut from = plan.first_offsets();
    let here = workers.here();
    let Some(store) = store else { return Ok(Resumed { from, recovery: Recovery::default() }) };
    let mut restore = Vec::new();
    if let Some(Chosen { manifest, parcels }) = chosen {
        for (from, next) in from.iter_mut().zip(&manifest.position.next) {
            *from = (*from).max(*next);
        }
        let is_of = |place: PartOwner, worker| place.is_of(worker, workers.peers(), &plan.topology);
        let of_worker = |worker| {
            let parts = parcels.iter().filter(|parcel| is_of(parcel.place, worker)).cloned().collect();
            Restore { upper: manifest.position.upper, parts }
        };
        restore = here.clone().map(of_worker).collect();
    }
    let checkpoints = &settings.local.checkpoints;
    let options = CheckpointerOptions {
        interval: std::time::Duration::from_millis(checkpoints.interval_ms.unsigned_abs()),
        keep: checkpoints.keep,
        workers: workers.peers(),
        here,
        build: BUILD.to_owned(),
        states: states_of(&graph_plan(plan)),
        configuration: plan.sha256(),
    };
    let checkpointer = Some(Arc::new(Checkpointer::start(store, options)?));
    Ok(Resumed { from, recovery: Recovery { checkpointer, restore } })
}

fn tell(refused: &[Unusable]) {
    for Unusable { upper, what } in refused {
        say(&format!("WARNING: the checkpoint of tick {upper} can't be used: {what}"));
    }
}
