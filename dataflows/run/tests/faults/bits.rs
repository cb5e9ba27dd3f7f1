//! One flipped bit in each kind of file that a run leaves behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::place::{Place, refuses, succeeds, told};
use crate::table::row;
use crate::{is_killed, place_with_checkpoints, rows_of, run, verdict};

/// A run that was killed when it had several checkpoints, of which two at least can be restored.
pub(crate) fn half_done() -> Place {
    // On a machine that is busy with other things a run may end before it has so many.
    for _ in 0..20 {
        let place = place_with_checkpoints();
        if is_killed(&run(&place, Some("checkpoint.manifest.after:3"), "2")) && restorable(&place).len() > 1 {
            return place;
        }
    }
    panic!("no run came to its third checkpoint");
}

/// The ticks of the checkpoints that a restart may go on from, ascending. A tick that changes nothing leaves no line in a
/// change file, so a file may know less of its progress than the run knew when it took a checkpoint.
fn restorable(place: &Place) -> Vec<u64> {
    let progress = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap();
        let ticks =
            text.lines().filter_map(|line| line.strip_prefix("{\"progress\":")?.split(',').next()?.parse().ok());
        ticks.max().unwrap_or(0)
    };
    let least: u64 = files_in(place, "sinks", "shard-").iter().map(progress).min().unwrap_or(0);
    let manifests = files_in(place, "checkpoints", "manifests");
    let mut ticks: Vec<u64> = manifests
        .iter()
        .filter_map(|path| path.file_name()?.to_str()?.parse().ok())
        .filter(|tick| *tick <= least)
        .collect();
    ticks.sort_unstable();
    ticks
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 4;
    fs::write(path, bytes).unwrap();
}

/// The files whose paths contain the words, below a folder of the data.
fn files_in(place: &Place, folder: &str, words: &str) -> Vec<PathBuf> {
    let mut folders = vec![place.path("aisle-data").join(folder)];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().contains(words) {
                found.push(path);
            }
        }
    }
    found
}

/// The greatest of them.
fn newest_in(place: &Place, folder: &str, words: &str) -> PathBuf {
    files_in(place, folder, words).into_iter().max_by_key(|path| path.to_string_lossy().into_owned()).unwrap()
}

#[test]
fn a_damaged_checkpoint_is_told_and_the_one_before_it_used() {
    let undisturbed = place_with_checkpoints();
    succeeds(&run(&undisturbed, None, "2"));
    let undisturbed = rows_of(&undisturbed.path("aisle-data"));
    for (kind, name) in [("manifests/", "manifest"), ("parts/", "segment")] {
        let began = Instant::now();
        let place = half_done();
        let tick = restorable(&place).pop().unwrap();
        let ending = if name == "segment" { ".segment" } else { "" };
        let of_tick = files_in(&place, "checkpoints", &format!("{kind}{tick:020}"));
        flip(of_tick.iter().find(|path| path.to_string_lossy().ends_with(ending)).unwrap());
        let again = run(&place, None, "1");
        succeeds(&again);
        let said = told(&again);
        assert!(said.contains("WARNING: the checkpoint of tick") && said.contains("restored as of"), "{kind}: {said}");
        let fault = format!("a flipped bit in a checkpoint's {name}");
        row(
            &fault,
            "told: a checkpoint is damaged, and the one before it used",
            &verdict(&place, &undisturbed),
            began.elapsed(),
        );
    }
}

#[test]
fn where_no_checkpoint_is_left_a_person_decides() {
    let place = half_done();
    for _ in 0..3 {
        let path = newest_in(&place, "checkpoints", "manifests");
        flip(&path);
        let aside = path.to_string_lossy().replace("manifests", "damaged");
        fs::create_dir_all(Path::new(&aside).parent().unwrap()).unwrap();
        fs::rename(&path, &aside).unwrap();
        if !path.parent().unwrap().read_dir().unwrap().any(|_| true) {
            break;
        }
    }
    // Back with them, every one damaged.
    let folder = newest_in(&place, "checkpoints", "damaged").parent().unwrap().to_owned();
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        fs::rename(&path, path.to_string_lossy().replace("damaged", "manifests")).unwrap();
    }
    let refused = run(&place, None, "2");
    assert_eq!(refused.status.code(), Some(1), "{}", told(&refused));
    assert!(told(&refused).contains("--replay-all"), "{}", told(&refused));
    let again = place.run_once(&["--replay-all"]);
    succeeds(&again);
    succeeds(&place.aisle(&["replay", "aisle-data"]));
}

/// The remap log is the one thing that nothing else can stand in for: the run stops, and goes on with a sound copy.
#[test]
fn a_damaged_remap_log_stops_the_run_until_it_is_restored() {
    let undisturbed = place_with_checkpoints();
    succeeds(&run(&undisturbed, None, "2"));
    let undisturbed = rows_of(&undisturbed.path("aisle-data"));
    let began = Instant::now();
    let place = half_done();
    let log = place.path("aisle-data/remap.log");
    flip(&log);
    let before = fs::read(&log).unwrap();
    refuses(&run(&place, None, "2"), 1, &["remap.log", "damaged"]);
    assert_eq!(fs::read(&log).unwrap(), before, "what is damaged is left as it is");
    // The same bit again: a copy that is sound.
    flip(&log);
    succeeds(&run(&place, None, "2"));
    let fired = "told: remap.log is damaged, with the byte; restored from a copy";
    row("a flipped bit in the remap log", fired, &verdict(&place, &undisturbed), began.elapsed());
}

/// Nobody reads them while a run goes on, so it is the comparison with a replay that tells.
#[test]
fn a_damaged_output_is_found_by_a_replay() {
    let undisturbed = place_with_checkpoints();
    succeeds(&run(&undisturbed, None, "2"));
    let undisturbed = rows_of(&undisturbed.path("aisle-data"));
    for (folder, words, name) in
        [("sinks", "session_minutes/shard-0", "a change file"), ("history", ".parquet", "a file of history")]
    {
        let began = Instant::now();
        let place = half_done();
        let path = newest_in(&place, folder, words);
        flip(&path);
        let replayed = place.aisle(&["replay", "aisle-data"]);
        let file = path.file_name().unwrap().to_str().unwrap();
        refuses(&replayed, 3, &[file, "byte"]);
        flip(&path);
        succeeds(&run(&place, None, "2"));
        let fired = "told by a replay, with file and byte; restored from a copy";
        row(&format!("a flipped bit in {name}"), fired, &verdict(&place, &undisturbed), began.elapsed());
    }
}
