//! Data folders that an older build wrote: this one goes on with them, from their checkpoints, and writes the same bytes.
//!
//! `written_by_a19e63e/README.md` says what the samples hold and how they were made.
#![allow(clippy::unwrap_used, reason = "a test that can't go on says so by stopping")]
#![allow(dead_code, unreachable_pub, reason = "broker and place are shared with tests that need more of them")]

#[cfg(feature = "kafka")]
#[path = "../../../connectors/tests/kafka/broker.rs"]
mod broker;
#[path = "compatibility/formats.rs"]
mod formats;
#[path = "main_job/multiset.rs"]
mod multiset;
#[path = "main_job/place.rs"]
mod place;
#[path = "compatibility/sample.rs"]
mod sample;
#[path = "main_job/served.rs"]
mod served;
#[cfg(feature = "kafka")]
#[path = "compatibility/topics.rs"]
mod topics;

use dataflows::view::ViewId;
use multiset::{change_files, rows_of_shards};
use place::{Running, outputs, succeeds, told};
use sample::{Sample, views_added};
use served::listed;

#[test]
fn a_run_goes_on_from_an_old_checkpoint_and_writes_what_the_old_build_wrote() {
    for workers in ["1", "3"] {
        let one = Sample::copy("one");
        let resumed = one.aisle(&["run", "aisle.toml", "--once", "--workers", workers]);
        succeeds(&resumed);
        assert!(told(&resumed).contains("restored as of tick 28, 38 ticks are replayed"), "{}", told(&resumed));
        assert!(told(&resumed).contains("of dead letters, 2 entered again"), "{}", told(&resumed));
        one.has_written_what_was_expected();
    }
}

#[test]
fn an_old_data_folder_is_replayed_to_the_same_bytes() {
    let one = Sample::copy("one");
    // The run that goes on has one tick more: that of the entry which adds views.
    for (workers, ticks) in [("1", 66), ("2", 67)] {
        // In the one that was killed the change files end before the log does; in the one that goes on they do not.
        let replayed = one.aisle(&["replay", "aisle-data", "--inputs", ".", "--workers", workers]);
        succeeds(&replayed);
        assert!(told(&replayed).contains(&format!("{ticks} ticks replayed")), "{}", told(&replayed));
        assert!(told(&replayed).contains("are the same"), "{}", told(&replayed));
        succeeds(&one.aisle(&["run", "aisle.toml", "--once"]));
    }
}

#[test]
fn a_run_that_was_killed_with_input_left_reads_the_rest() {
    let one = Sample::copy("one");
    one.cut_log_to_the_kill();
    let before = outputs(&one.path("aisle-data"));
    let resumed = one.aisle(&["run", "aisle.toml", "--once"]);
    succeeds(&resumed);
    assert!(told(&resumed).contains("restored as of tick 28, 5 ticks are replayed"), "{}", told(&resumed));
    assert!(told(&resumed).contains("holds for every partition"), "{}", told(&resumed));
    let mut after = outputs(&one.path("aisle-data"));
    let is_added =
        |path: &std::path::Path| views_added().any(|view| path.to_string_lossy().contains(&format!("/{view}/")));
    after.retain(|entry| !is_added(&entry.0));
    assert_eq!(after.len(), before.len());
    for ((path, before), (_, after)) in before.iter().zip(&after) {
        assert!(after.len() > before.len() && after.starts_with(before), "{}", path.display());
    }
    succeeds(&one.aisle(&["replay", "aisle-data"]));
}

/// The files of an old folder, to which views come in the middle: each retraction is that of bytes which were inserted, and
/// in the end there are the rows that are served.
#[test]
fn what_old_and_new_change_files_add_up_to_is_what_is_served() {
    let one = Sample::copy("one");
    one.cut_log_to_the_kill();
    let mut running = Running::start(one.command(&["run", "aisle.toml"]));
    let line = running.wait_for("every source has ended; serving on http://");
    let url = line.split("serving on ").nth(1).unwrap().split(' ').next().unwrap();
    let served: Vec<_> = ViewId::all().map(|view| (view.name(), listed(url, view.name()))).collect();
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));
    for (view, (tick, rows)) in served {
        let files = change_files(&one.path("aisle-data"), view);
        assert_eq!(rows_of_shards(&files, tick), rows, "{view}");
        rows_of_shards(&files, u64::MAX);
    }
}
