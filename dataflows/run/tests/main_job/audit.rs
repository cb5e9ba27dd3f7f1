//! What a replay says of a data folder that lacks something: it is never "the same".

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dataflows::view::ViewId;

use crate::place::{CONFIGURATION, Place, outputs, refuses, succeeds, told};

/// A run that ended in order, with files of history.
fn ended() -> Place {
    let place = Place::new();
    fs::write(place.path("aisle.toml"), format!("{CONFIGURATION}[history]\nfile_ms = 60000\n")).unwrap();
    succeeds(&place.run_once(&[]));
    place
}

/// Changes the data folder, and back.
fn without(place: &Place, change: impl FnOnce(&Place), words: &[&str]) {
    let aside = place.path("aside");
    let copied = Command::new("cp").args(["-a", "aisle-data", "aside"]).current_dir(place.path(".")).status();
    assert!(copied.unwrap().success());
    change(place);
    refuses(&place.aisle(&["replay", "aisle-data"]), 3, words);
    fs::remove_dir_all(place.path("aisle-data")).unwrap();
    fs::rename(aside, place.path("aisle-data")).unwrap();
}

fn history(place: &Place) -> Vec<PathBuf> {
    let run = fs::read_dir(place.path("aisle-data/history")).unwrap().next().unwrap().unwrap().path();
    let mut files: Vec<PathBuf> =
        fs::read_dir(run.join("variant_minutes")).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

#[test]
fn each_output_that_is_missing_is_named() {
    let place = ended();
    let whole = place.aisle(&["replay", "aisle-data"]);
    succeeds(&whole);
    assert!(!told(&whole).contains("in order"), "{}", told(&whole));
    let stock = "aisle-data/sinks/stock/shard-0.ndjson";
    let lacks = "missing: sinks/stock/shard-0.ndjson: it has";
    without(&place, |place| fs::remove_file(place.path(stock)).unwrap(), &[lacks, "0 of the", "--replay-all"]);
    without(&place, |place| fs::write(place.path(stock), "").unwrap(), &[lacks, "run-end.json says so"]);
    let cut = |place: &Place| {
        let text = fs::read_to_string(place.path(stock)).unwrap();
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        fs::write(place.path(stock), lines[..lines.len() - 1].concat()).unwrap();
    };
    without(&place, cut, &[lacks]);
    let both = |place: &Place| {
        cut(place);
        fs::remove_dir_all(place.path("aisle-data/sinks/dead_letters")).unwrap();
    };
    without(&place, both, &[lacks, "missing: sinks/dead_letters/shard-0.ndjson: it has"]);
    let log = "aisle-data/remap.log";
    let empty = "missing: the remap log: it has no entries, but sinks shows";
    without(&place, |place| fs::write(place.path(log), "").unwrap(), &[empty]);
    let nothing = |place: &Place| {
        fs::write(place.path(log), &fs::read(place.path(log)).unwrap()[..12]).unwrap();
        for name in ["sinks", "history", "checkpoints"] {
            let _ = fs::remove_dir_all(place.path("aisle-data").join(name));
        }
        fs::remove_file(place.path("aisle-data/run-end.json")).unwrap();
    };
    without(&place, nothing, &["inputs-folder shows that a run began here"]);
}

#[test]
fn a_remap_log_that_ends_before_its_outputs_were_complete_was_cut() {
    let place = Place::new();
    // Nothing but what the run said of itself tells it.
    let none: String = ViewId::all().map(|view| format!("[views.{}]\nsink = \"none\"\n", view.name())).collect();
    let more = "[history]\nto = \"none\"\n[checkpoints]\nto = \"none\"\n";
    fs::write(place.path("aisle.toml"), format!("{CONFIGURATION}{none}{more}")).unwrap();
    succeeds(&place.run_once(&[]));
    let log = place.path("aisle-data/remap.log");
    let bytes = fs::read(&log).unwrap();
    fs::write(&log, &bytes[..bytes.len() - 1]).unwrap();
    refuses(&place.aisle(&["replay", "aisle-data"]), 3, &["missing: the remap log: it ends at tick", "it was cut"]);
    refuses(&place.run_once(&[]), 1, &["the log was cut"]);
}

#[test]
fn each_file_of_history_that_is_missing_is_named() {
    let place = ended();
    let files = history(&place);
    assert!(files.len() > 3);
    for file in [1, 2, files.len() - 1] {
        let file = &files[file];
        without(&place, |_| fs::remove_file(file).unwrap(), &["missing: ", name(file), "bring it back"]);
    }
    let all: Vec<&str> = files.iter().map(|file| name(file)).collect();
    without(&place, |place| fs::remove_dir_all(place.path("aisle-data/history")).unwrap(), &all[all.len() - 1..]);
    without(&place, |_| fs::write(&files[1], "").unwrap(), &[name(&files[1]), "differs at byte 0"]);
}

/// A run that was killed may lack its last ticks, and one of an older build says nothing: what is missing then is what its
/// remap log and its checkpoints prove to have been there.
#[test]
fn a_run_that_did_not_end_in_order_may_lack_its_last_ticks_only() {
    let place = Place::new();
    let mut facts = fs::read_to_string(place.path("facts.ndjson")).unwrap();
    let template = facts.lines().last().unwrap().to_owned();
    (0..4_000).for_each(|number| facts.push_str(&format!("{}\n", template.replace("f299", &format!("more{number}")))));
    fs::write(place.path("facts.ndjson"), facts).unwrap();
    succeeds(&place.run_once(&[]));
    fs::remove_file(place.path("aisle-data/run-end.json")).unwrap();
    let stock = place.path("aisle-data/sinks/stock/shard-0.ndjson");
    let text = fs::read_to_string(&stock).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    fs::write(&stock, lines[..lines.len() - 2].concat()).unwrap();
    let replayed = place.aisle(&["replay", "aisle-data"]);
    succeeds(&replayed);
    assert!(told(&replayed).contains("its run did not say that it ended in order"), "{}", told(&replayed));
    // More than 64 ticks were minted behind it, of which no more may be missing.
    fs::write(&stock, "").unwrap();
    refuses(&place.aisle(&["replay", "aisle-data"]), 3, &["missing: sinks/stock/", "may have been under way"]);
    // It is written again.
    succeeds(&place.run_once(&[]));
    assert_eq!(fs::read_to_string(&stock).unwrap(), text);
    succeeds(&place.aisle(&["replay", "aisle-data"]));
}

/// Whoever takes the data folder or its lock away is told to have done so, while there is work and behind it.
#[test]
fn a_data_folder_that_is_taken_away_ends_the_run() {
    let taken: [(&str, fn(&Place)); 2] = [
        ("somebody removed or replaced", |place| fs::remove_file(place.path("aisle-data/LOCK")).unwrap()),
        ("is gone or can't be read any more", |place| {
            fs::rename(place.path("aisle-data"), place.path("elsewhere")).unwrap();
        }),
    ];
    for (words, take) in taken {
        for (arguments, until) in [
            (["run", "aisle.toml", "--speed", "5"].as_slice(), " records, "),
            (&["run", "aisle.toml"], "every source has ended; serving on"),
        ] {
            let place = Place::new();
            let mut running = place.start(arguments);
            running.wait_for(until);
            take(&place);
            let (code, said) = running.end();
            assert_eq!(code, Some(1), "{said}");
            assert!(said.contains(words), "{said}");
        }
    }
}

#[test]
fn the_limit_of_the_data_folder_holds_before_anything_is_written() {
    let place = Place::new();
    // The least that may be configured; the run writes some 400 KB, so that the rest is taken up beforehand.
    fs::write(place.path("aisle.toml"), format!("data_bytes_max = 1048576\n{CONFIGURATION}")).unwrap();
    fs::create_dir(place.path("aisle-data")).unwrap();
    fs::write(place.path("aisle-data/notes"), vec![0; 900_000]).unwrap();
    refuses(
        &place.run_once(&[]),
        1,
        &["beyond data_bytes_max = 1048576", "raise the limit", "WARNING: others can look"],
    );
    let bytes: u64 = outputs(&place.path("aisle-data")).iter().map(|(_, bytes)| bytes.len() as u64).sum();
    assert!(bytes < 1_048_576 - 900_000, "{bytes}");
}
