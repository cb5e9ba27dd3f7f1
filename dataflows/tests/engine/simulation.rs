//! The whole cluster under a seeded scheduler: readers, a timekeeper with its log, one to four workers, a sink into files and
//! one with transactions. It crashes between any two actions and in the middle of writes, and starts again with another
//! number of workers, from a checkpoint that was taken meanwhile or from the beginning of the logs.
//!
//! Whatever happened, at the end the sink's files and committed messages must be, byte for byte, those of a run over the
//! final remap log that was never interrupted, and what the naive model says of it. A failure names its seed; `AISLE_SEED=<seed> cargo test -p
//! dataflows --test engine simulation` runs that one alone.

mod coverage;
mod delivery;
mod disk;
mod reader;
mod run;
mod sink;
mod vault;

use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::catch_unwind;
use std::sync::{LazyLock, Mutex};

use operators::binding::Status;

use crate::{disagreement, generator, naive, trial};
use coverage::Coverage;
use run::REMAP;

/// The seeds of one quarter of all runs: a hundred, or a quarter of `AISLE_RUNS` of them. `scripts/simulation.sh` is the
/// long run.
fn quarter(number: u64) -> Range<u64> {
    let runs = match std::env::var("AISLE_RUNS") {
        Ok(runs) => runs.parse::<u64>().expect("AISLE_RUNS is a number").div_ceil(4).max(100),
        Err(_) => 100,
    };
    number * runs..(number + 1) * runs
}

/// The seeds of a range, or the one that somebody asked for.
fn seeds(range: Range<u64>) -> Vec<u64> {
    match std::env::var("AISLE_SEED") {
        Ok(seed) => vec![seed.parse().expect("AISLE_SEED is a number")],
        Err(_) => range.collect(),
    }
}

/// Runs the check for each seed; all failures are named.
fn each<T>(range: Range<u64>, check: fn(u64) -> T) -> Vec<T> {
    let mut failed = Vec::new();
    let mut passed = Vec::new();
    for seed in seeds(range) {
        match catch_unwind(|| check(seed)) {
            Ok(result) => passed.push(result),
            Err(_) => failed.push(seed),
        }
    }
    let first = failed.first().copied().unwrap_or_default();
    let again = format!("AISLE_SEED={first} cargo test -p dataflows --test engine simulation");
    assert!(failed.is_empty(), "seeds {failed:?} failed, their messages are above; run one again by {again}");
    passed
}

/// What a seed reached: whether statuses of each kind were recorded, and what happened.
struct Reached {
    statuses: [bool; 4],
    coverage: Coverage,
    /// Where the naive model says something else of the final remap log.
    disagreement: Option<String>,
}

/// Nobody can tell from the output that there were crashes.
fn leaves_no_trace(seed: u64) -> Reached {
    let outcome = run::run(generator::history(seed), seed);
    let mut files: BTreeMap<String, Vec<u8>> = outcome.disk.files().contents();
    files.remove(REMAP);
    let workers = 1 + (seed % 3) as usize;
    let snapshots = trial::run(&outcome.history, workers, seed);
    let expected = sink::expected(&outcome.history, &snapshots);
    assert_eq!(files.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (name, bytes) in &files {
        if let Some((line, ours, theirs)) = first_difference(bytes, &expected[name]) {
            panic!("seed {seed}, file {name}, line {line}:\nwith crashes:  {ours}\nuninterrupted: {theirs}");
        }
    }
    if let Some(topics) = &outcome.topics {
        let (ours, theirs) = (topics.contents(), delivery::expected(&snapshots));
        for (shard, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
            let same = ours.iter().zip(theirs).take_while(|(ours, theirs)| ours == theirs).count();
            let counts = (ours.len(), theirs.len());
            assert!(
                ours == theirs,
                "seed {seed}, shard {shard} of the topics: of {counts:?} messages the first {same} are the same, then\n\
                 with crashes:  {:?}\nuninterrupted: {:?}",
                ours.get(same),
                theirs.get(same)
            );
        }
    }
    for (upper, shown) in &outcome.shown {
        let whole = &snapshots[*upper as usize - 1];
        assert!(shown == whole, "seed {seed}: restored at tick {upper}, the views are not what they were");
    }
    let words = disagreement(&snapshots, &naive::naive(&outcome.history));
    let disagreement = words.map(|words| format!("seed {seed}, {workers} workers, {words}"));
    let recorded = |status| {
        outcome.history.bindings.iter().flat_map(|binding| &binding.advances).any(|advance| advance.status == status)
    };
    let statuses = [Status::Behind, Status::CaughtUp, Status::Idle, Status::Ended].map(recorded);
    Reached { statuses, coverage: outcome.coverage, disagreement }
}

fn first_difference(ours: &[u8], theirs: &[u8]) -> Option<(usize, String, String)> {
    let [ours, theirs] = [ours, theirs].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let (mut ours, mut theirs) = (ours.split_inclusive('\n'), theirs.split_inclusive('\n'));
    for line in 1.. {
        match (ours.next(), theirs.next()) {
            (None, None) => return None,
            (ours, theirs) if ours == theirs => {}
            (ours, theirs) => {
                let [ours, theirs] = [ours, theirs].map(|text| text.unwrap_or("nothing\n").to_owned());
                return Some((line, ours, theirs));
            }
        }
    }
    None
}

/// What the quarters that are done have reached, in a process that runs them all.
static REACHED: LazyLock<Mutex<(u32, Coverage, [bool; 4])>> = LazyLock::new(Mutex::default);

/// A quarter of the seeds; all four together have to reach every kind of trouble.
fn crashes_leave_no_trace(number: u64) {
    let range = quarter(number);
    let whole_range = seeds(range.clone()).len() > 1;
    let reached = each(range, leaves_no_trace);
    let coverage = reached.iter().fold(Coverage::default(), |sum, reached| sum + reached.coverage);
    println!("{} seeds: {:?}", reached.len(), coverage.troubles());
    let words: Vec<&str> = reached.iter().filter_map(|reached| reached.disagreement.as_deref()).collect();
    assert!(words.is_empty(), "{} disagreements with the model\n{}", words.len(), words.join("\n"));
    if !whole_range {
        return;
    }
    let mut all = REACHED.lock().unwrap();
    let statuses =
        [0, 1, 2, 3].map(|place: usize| all.2[place] || reached.iter().any(|reached| reached.statuses[place]));
    *all = (all.0 + 1, all.1 + coverage, statuses);
    let (done, coverage, statuses) = *all;
    if done == 4 {
        let troubles = coverage.troubles();
        assert!(troubles.iter().all(|(_, times)| *times > 0), "{troubles:?}");
        let names = [Status::Behind, Status::CaughtUp, Status::Idle, Status::Ended];
        assert_eq!(statuses, [true; 4], "of {names:?} some is never reached");
    }
}

#[test]
fn crashes_leave_no_trace_in_the_first_quarter_of_runs() {
    crashes_leave_no_trace(0);
}

#[test]
fn crashes_leave_no_trace_in_the_second_quarter_of_runs() {
    crashes_leave_no_trace(1);
}

#[test]
fn crashes_leave_no_trace_in_the_third_quarter_of_runs() {
    crashes_leave_no_trace(2);
}

#[test]
fn crashes_leave_no_trace_in_the_fourth_quarter_of_runs() {
    crashes_leave_no_trace(3);
}

/// A failure can be looked at again only if its seed is all that it depends on.
fn is_repeatable(seed: u64) {
    let [first, second] = [(), ()].map(|()| run::run(generator::history(seed), seed));
    assert_eq!(first.schedule, second.schedule, "seed {seed}: the schedules differ");
    assert_eq!(first.coverage, second.coverage, "seed {seed}");
    assert!(first.disk.files().contents() == second.disk.files().contents(), "seed {seed}: the files differ");
}

#[test]
fn the_same_seed_gives_the_same_schedule_and_the_same_bytes() {
    each(1_000_000..1_000_040, is_repeatable);
}
