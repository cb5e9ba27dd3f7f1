//! Faults at named points: the process is killed there, started again, and nobody can tell from what it wrote.
//!
//! Needs the feature `faults`, which puts the points into the binary; `scripts/faults.sh` builds and runs it, and prints the
//! table. A fault counts only if the killed process said that it was at its point. After each, what the sinks hold has to
//! be, byte for byte, an uninterrupted replay of the run's own two logs, and the rows that it adds up to those of a run
//! that was never disturbed: nothing lost, nothing twice, nothing wrong.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that can't go on says so by stopping")]

#[path = "../main_job/place.rs"]
#[allow(dead_code, reason = "the other tests need the rest of it")]
mod place;

mod bits;
mod outcome;
mod table;

use std::os::unix::process::ExitStatusExt;
use std::process::Output;
use std::time::Instant;

use outcome::{Rows, rows_of};
use place::{CONFIGURATION, Place, succeeds, told};
use table::{Verdict, row};

/// Runs of two seconds, with several checkpoints: one is whole only when history, too, needs nothing from before it.
const SPEED: &str = "300";

/// How many checkpoints there are in that time is up to the machine: where a passage is not reached, a slower run has more.
const SLOWER: [&str; 2] = ["75", "20"];

/// Where the process is killed, and at which passages.
const POINTS: [(&str, &[u64]); 18] = [
    ("append remap.log", &[1, 2, 20]),
    ("torn remap.log", &[1, 2, 20]),
    ("sync remap.log", &[1, 2, 20]),
    ("synced remap.log", &[1, 2, 20]),
    ("append sinks", &[1, 3, 40]),
    ("torn sinks", &[1, 3, 40]),
    ("sync sinks", &[1, 3, 40]),
    ("synced sinks", &[1, 3, 40]),
    ("checkpoint.segment.before", &[1, 2, 5]),
    ("checkpoint.segment.after", &[1, 2, 5]),
    ("checkpoint.worker.complete", &[1, 2, 5]),
    ("checkpoint.manifest.before", &[1, 2, 3]),
    ("checkpoint.manifest.after", &[1, 2, 3]),
    ("checkpoint.forget", &[1]),
    ("history.file.before", &[1, 2, 4]),
    ("history.file.after", &[1, 2, 4]),
    ("restore.read", &[1, 2]),
    ("restore.done", &[1]),
];

/// A place in which checkpoints are taken as often as it goes.
fn place_with_checkpoints() -> Place {
    let place = Place::new();
    let configuration =
        format!("{CONFIGURATION}\n[checkpoints]\ninterval_ms = 100\nkeep = 2\n[history]\nfile_ms = 60000\n");
    std::fs::write(place.path("aisle.toml"), configuration).unwrap();
    place
}

fn run(place: &Place, fault: Option<&str>, workers: &str) -> Output {
    run_at(place, fault, workers, SPEED)
}

fn run_at(place: &Place, fault: Option<&str>, workers: &str, speed: &str) -> Output {
    let arguments = ["run", "aisle.toml", "--once", "--listen", "127.0.0.1:0", "--speed", speed, "--workers", workers];
    let mut command = place.command(&arguments);
    if let Some(fault) = fault {
        command.env("AISLE_FAULT", fault);
    }
    command.output().unwrap()
}

/// What is wrong with what a run left: with its bytes, against its replay; with its rows, against those of a run that was
/// not disturbed.
fn verdict(place: &Place, undisturbed: &Rows) -> Verdict {
    let mut verdict = Verdict::default();
    let replayed = place.aisle(&["replay", "aisle-data", "--workers", "1"]);
    if replayed.status.code() != Some(0) || !told(&replayed).contains("are the same") {
        verdict.wrong += 1;
        verdict.told.push(told(&replayed));
    }
    for (by, row) in rows_of(&place.path("aisle-data")).differences(undisturbed) {
        verdict.lost += by.min(0).unsigned_abs();
        verdict.duplicated += by.max(0).unsigned_abs();
        verdict.told.push(format!("{by} copies too many: {row}"));
    }
    verdict
}

/// Kills a run at a point, lets it go on under another number of workers, and looks at what it wrote.
fn killed_at(point: &str, passage: u64, undisturbed: &Rows) -> bool {
    let began = Instant::now();
    let fault = format!("{point}:{passage}");
    let kill = |speed| {
        // First there has to be something to restore.
        let place = if point.starts_with("restore") { bits::half_done() } else { place_with_checkpoints() };
        let killed = run_at(&place, Some(&fault), "2", speed);
        (place, killed)
    };
    let (mut place, mut killed) = kill(SPEED);
    for speed in SLOWER {
        if !is_killed(&killed) {
            succeeds(&killed);
            (place, killed) = kill(speed);
        }
    }
    assert!(is_killed(&killed), "{fault}: it was not killed: {}", told(&killed));
    assert!(told(&killed).contains(&format!("fault: {point}, passage {passage}")), "{fault}: {}", told(&killed));
    let again = run(&place, None, "3");
    succeeds(&again);
    let how = told(&again).lines().find_map(|line| line.split_once("restored as of ").map(|(_, rest)| rest.to_owned()));
    let went_on = how.as_ref().map_or("replayed", |rest| rest.split(',').next().unwrap_or_default());
    let fired = format!("told: fault: {point}, passage {passage}; went on: {went_on}");
    row(&format!("kill -9 at \"{point}\", passage {passage}"), &fired, &verdict(&place, undisturbed), began.elapsed());
    how.is_some()
}

fn is_killed(output: &Output) -> bool {
    output.status.signal() == Some(9)
}

#[test]
fn killed_at_every_point_it_goes_on_as_if_nothing_had_been() {
    let undisturbed = place_with_checkpoints();
    succeeds(&run(&undisturbed, None, "2"));
    let undisturbed = rows_of(&undisturbed.path("aisle-data"));
    let mut restored = 0;
    for (point, passages) in POINTS {
        for passage in passages {
            restored += u64::from(killed_at(point, *passage, &undisturbed));
        }
    }
    assert!(restored > 5, "checkpoints were used");
}
