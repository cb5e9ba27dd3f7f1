//! What a run says to the person who started it.

use std::path::Path;
use std::time::Duration;

use super::Ended;
use crate::engine::Engine;
use crate::http::Published;
use crate::progress::Totals;
use crate::tables;
use dataflows::configuration::Plan;

/// A person reads this: on standard error, so that standard output holds the tables alone.
#[allow(clippy::print_stderr, reason = "this is the command line's voice")]
pub fn say(line: &str) {
    eprintln!("aisle: {line}");
}

/// Says that a run was interrupted.
pub(crate) fn stopped() -> Ended {
    say("stopped; run again to go on from here");
    Ended::Well
}

/// Prints the tables at the end of a run.
#[allow(clippy::print_stdout, reason = "the tables are the command's output")]
pub(super) fn print_tables(
    plan: &Plan,
    published: &Published,
    engine: &Engine,
    seen: &Totals,
    took: Duration,
    data: &Path,
) {
    let views = published.read();
    println!("{}", tables::render(&views));
    println!("{}", tables::memory(&engine.held()));
    drop(views);
    let retrospective =
        plan.recorded.experiments.iter().map(|experiment| experiment.name.as_str()).collect::<Vec<_>>().join(", ");
    if !retrospective.is_empty() {
        println!(
            "Variants of {retrospective} are assigned by hash when the records are read. Where the records are older than \
             the experiment, as in the samples, assignment is retrospective: every true effect is zero."
        );
    }
    let disk = folder_bytes(data);
    println!(
        "conservation: read {} = on time {} + late {} + duplicate {} + dead letters {}: {}",
        seen.read,
        seen.on_time,
        seen.late,
        seen.duplicate,
        seen.dead,
        if seen.conserved { "holds for every partition" } else { "FAILS" }
    );
    println!(
        "{} records in {:.1} s, {} ticks; data folder {} holds {} bytes",
        seen.read,
        took.as_secs_f64(),
        seen.ticks,
        data.display(),
        disk
    );
    if seen.re_entered > 0 {
        println!("of dead letters, {} entered again; they are counted apart", seen.re_entered);
    }
}

fn folder_bytes(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => folder_bytes(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    sizes.sum()
}
