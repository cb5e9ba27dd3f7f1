//! The engine with checkpoints, and how long the newest one takes to be restored: to be read, to be shown, to catch up.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aisle::engine::{PartitionSource, Recovery};
use aisle::job::BUILD;
use connectors::checkpoint_store::{Checkpointer, CheckpointerOptions, Store};
use connectors::objects::Location;
use dataflows::build::states_of;
use operators::checkpoint::{PartOwner, Restore};

use crate::arguments::Arguments;
use crate::engine::{Begin, Folder, Measured, Setup, run_in};
use crate::figures::Checkpoints;

/// Runs the engine with checkpoints to its end, and then again from the newest one; `sources` makes its inputs.
pub(crate) fn run(
    arguments: &Arguments,
    setup: &Setup,
    sources: impl Fn() -> Vec<PartitionSource>,
) -> Result<Measured, Box<dyn std::error::Error>> {
    let folder = Folder::new()?;
    let place = Location::Folder(folder.0.join("checkpoints"));
    let options = CheckpointerOptions {
        interval: Duration::from_secs_f64(arguments.checkpoints.unwrap_or(10.0)),
        keep: 2,
        workers: arguments.workers,
        here: 0..arguments.workers,
        build: BUILD.to_owned(),
        configuration: String::new(),
        states: states_of(&setup.plan),
    };
    let checkpointer = Arc::new(Checkpointer::start(Store::open(&place, 1)?, options)?);
    let recovery = Recovery { checkpointer: Some(Arc::clone(&checkpointer)), restore: Vec::new() };
    let begin = Begin { recovery, ..Begin::default() };
    let mut complete = BTreeSet::new();
    let mut watch = |_: &_| {
        complete.insert(checkpointer.newest());
    };
    let measured = run_in(&folder, arguments, setup, sources(), Vec::new(), begin, &mut watch)?;
    drop(checkpointer);
    complete.remove(&0);

    let inputs = sources();
    let began = Instant::now();
    let (begin, bytes) = restored(&Store::open(&place, 1)?, arguments, setup)?;
    let read_seconds = began.elapsed().as_secs_f64();
    let before: u64 = begin.from.iter().sum();
    let mut shown_seconds = None;
    let mut watch = |tally: &crate::recorder::Tally| {
        if tally.ticks > 0 {
            shown_seconds.get_or_insert(began.elapsed().as_secs_f64());
        }
    };
    let again = run_in(&folder, arguments, setup, inputs, Vec::new(), begin, &mut watch)?;
    let caught_up_seconds = again.tally.last.saturating_duration_since(began).as_secs_f64();
    let read = |measured: &Measured| measured.tally.health.iter().map(|health| health.read).sum::<i64>();
    if read(&again) != read(&measured) {
        return Err(format!("{} records were read, and {} with the restore", read(&measured), read(&again)).into());
    }
    let next: u64 = again.tally.health.iter().map(|health| health.next_offset).sum();
    let checkpoints = Checkpoints {
        complete: complete.len() as u64,
        bytes,
        keys: measured.held.iter().map(|(_, gauge)| gauge.keys).sum(),
        read_seconds,
        shown_seconds: shown_seconds.unwrap_or(caught_up_seconds),
        caught_up_seconds,
        records_behind: next.saturating_sub(before),
    };
    Ok(Measured { checkpoints: Some(checkpoints), ..measured })
}

/// The newest checkpoint, verified and read as a start does, and its size.
fn restored(store: &Store, arguments: &Arguments, setup: &Setup) -> Result<(Begin, u64), Box<dyn std::error::Error>> {
    let newest = store.newest(u64::MAX, |_| Ok(()))?.manifest;
    let manifest =
        newest.ok_or("no checkpoint was complete: give more records, or a shorter time between checkpoints")?;
    let parcels = store.load(&manifest, |_| true, |_| {})??;
    let upper = manifest.position.upper;
    let is_of = |place: PartOwner, worker| place.is_of(worker, arguments.workers, &setup.plan.topology);
    let of_worker = |worker| {
        let parts = parcels.iter().filter(|parcel| is_of(parcel.place, worker)).cloned().collect();
        Restore { upper, parts }
    };
    let restore = (0..arguments.workers).map(of_worker).collect();
    let recovery = Recovery { checkpointer: None, restore };
    Ok((Begin { upper, from: manifest.position.next.clone(), recovery }, manifest.bytes()))
}
