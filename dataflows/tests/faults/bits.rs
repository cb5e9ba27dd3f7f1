//! One flipped bit in each kind of file that a run leaves behind.

use std::fs;
use std::path::{Path, PathBuf};

use crate::place::{Place, succeeds, told};
use crate::{is_killed, place_with_checkpoints, rows_of, run};

/// A run that was killed when it had two checkpoints.
fn half_done() -> Place {
    let place = place_with_checkpoints();
    let killed = run(&place, Some("checkpoint.manifest.after:3"), "2");
    assert!(is_killed(&killed), "{}", told(&killed));
    place
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 4;
    fs::write(path, bytes).unwrap();
}

/// The greatest file name that contains the words, below the checkpoints.
fn newest(place: &Place, words: &str) -> PathBuf {
    let mut folders = vec![place.path("aisle-data/checkpoints")];
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
    found.into_iter().max_by_key(|path| path.to_string_lossy().into_owned()).unwrap()
}

#[test]
fn a_damaged_checkpoint_is_told_and_the_one_before_it_used() {
    let undisturbed = place_with_checkpoints();
    succeeds(&run(&undisturbed, None, "2"));
    let undisturbed = rows_of(&undisturbed.path("aisle-data"));
    for kind in ["manifests", ".segment"] {
        let place = half_done();
        flip(&newest(&place, kind));
        let again = run(&place, None, "1");
        succeeds(&again);
        let said = told(&again);
        assert!(said.contains("WARNING: the checkpoint of tick") && said.contains("restored as of"), "{kind}: {said}");
        succeeds(&place.aisle(&["replay", "aisle-data"]));
        assert_eq!(rows_of(&place.path("aisle-data")).differences(&undisturbed), []);
    }
}

#[test]
fn where_no_checkpoint_is_left_a_person_decides() {
    let place = half_done();
    for _ in 0..3 {
        let path = newest(&place, "manifests");
        flip(&path);
        let aside = path.to_string_lossy().replace("manifests", "damaged");
        fs::create_dir_all(Path::new(&aside).parent().unwrap()).unwrap();
        fs::rename(&path, &aside).unwrap();
        if !path.parent().unwrap().read_dir().unwrap().any(|_| true) {
            break;
        }
    }
    // Back with them, every one damaged.
    let folder = newest(&place, "damaged").parent().unwrap().to_owned();
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
