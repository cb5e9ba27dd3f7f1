//! What a run says to the person who started it.

use std::path::Path;
use std::time::Duration;

use super::Ended;
use crate::engine::Engine;
use crate::http::Published;
use crate::progress::Totals;
use crate::tables;
use crate::terminal::{print, say};
use dataflows::configuration::Plan;

/// Says that a run was interrupted.
pub(crate) fn stopped() -> Ended {
    say("stopped; run again to go on from here");
    Ended::Well
}

/// Prints the tables at the end of a run.
pub(super) fn print_tables(
    plan: &Plan,
    published: &Published,
    engine: &Engine,
    seen: &Totals,
    took: Duration,
    data: &Path,
) {
    let views = published.read();
    let mut text = format!("{}\n", tables::render(&views));
    drop(views);
    text.push_str(&format!("{}\n", tables::memory(&engine.held())));
    let retrospective =
        plan.recorded.experiments.iter().map(|experiment| experiment.name.as_str()).collect::<Vec<_>>().join(", ");
    if !retrospective.is_empty() {
        text.push_str(&format!(
            "Variants of {retrospective} are assigned by hash when the records are read. Where the records are older than \
             the experiment, as in the samples, assignment is retrospective: every true effect is zero.\n"
        ));
    }
    text.push_str(&format!(
        "conservation: read {} = on time {} + late {} + duplicate {} + dead letters {}: {}\n",
        seen.read,
        seen.on_time,
        seen.late,
        seen.duplicate,
        seen.dead,
        if seen.conserved { "holds for every partition" } else { "FAILS" }
    ));
    text.push_str(&format!(
        "{} records in {:.1} s, {} ticks; data folder {} holds {} bytes\n",
        seen.read,
        took.as_secs_f64(),
        seen.ticks,
        data.display(),
        folder_bytes(data)
    ));
    if seen.re_entered > 0 {
        text.push_str(&format!("of dead letters, {} entered again; they are counted apart\n", seen.re_entered));
    }
    print(&text);
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
