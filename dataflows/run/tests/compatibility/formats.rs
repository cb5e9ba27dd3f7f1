//! Checkpoints that say of their states what this build can't restore, and ones that this build writes itself.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::place::{refuses, succeeds, told};
use crate::sample::Sample;

impl Sample {
    /// Its manifests, oldest first.
    fn manifests(&self) -> Vec<PathBuf> {
        let store = fs::read_dir(self.path("aisle-data/checkpoints")).unwrap().next().unwrap().unwrap().path();
        let manifests = fs::read_dir(store.join("manifests")).unwrap();
        let mut manifests: Vec<PathBuf> = manifests.map(|entry| entry.unwrap().path()).collect();
        manifests.sort();
        manifests
    }
}

fn read(manifest: &PathBuf) -> Value {
    serde_json::from_str(fs::read_to_string(manifest).unwrap().lines().next().unwrap()).unwrap()
}

/// Lets a manifest say these formats, as another build would have.
fn say(manifest: &PathBuf, states: Value) {
    let mut said = read(manifest);
    said["states"] = states;
    let json = said.to_string();
    fs::write(manifest, format!("{json}\n{:08x}\n", crc32fast::hash(json.as_bytes()))).unwrap();
}

#[test]
fn an_operator_that_this_build_does_not_have_is_named_and_the_checkpoint_before_used() {
    let one = Sample::copy("one");
    let manifests = one.manifests();
    assert_eq!(manifests.len(), 2);
    assert_eq!(
        (read(&manifests[1])["build"].as_str(), &read(&manifests[1])["states"]),
        (Some("a19e63ee4cb8"), &Value::Null)
    );
    say(&manifests[1], json!({"Clock": 1, "UnitOverlap": 1}));
    let resumed = one.aisle(&["run", "aisle.toml", "--once"]);
    succeeds(&resumed);
    let said = told(&resumed);
    let warning = "WARNING: the checkpoint of tick 28 can't be used: it holds the state of an operator \"UnitOverlap\"";
    assert!(said.contains(warning) && said.contains("build a19e63ee4cb8 wrote it"), "{said}");
    assert!(said.contains("restored as of tick ") && !said.contains("restored as of tick 28"), "{said}");
    one.has_written_what_was_expected();
}

#[test]
fn where_no_checkpoint_has_states_that_this_build_reads_a_person_decides() {
    let one = Sample::copy("one");
    one.manifests().iter().for_each(|manifest| say(manifest, json!({"Clock": 1, "Ledger": 2})));
    let words = ["its operator \"Ledger\" has format 2, and this build reads format 1", "--replay-all"];
    refuses(&one.aisle(&["run", "aisle.toml", "--once"]), 1, &words);
    succeeds(&one.aisle(&["run", "aisle.toml", "--once", "--replay-all"]));
    one.has_written_what_was_expected();
}

#[test]
fn a_checkpoint_of_this_build_names_the_format_of_every_operator_with_state() {
    let one = Sample::copy("one");
    one.cut_log_to_the_kill();
    let text = fs::read_to_string(one.path("aisle.toml")).unwrap();
    fs::write(one.path("aisle.toml"), text.replace("interval_ms = 1500", "interval_ms = 100")).unwrap();
    succeeds(&one.aisle(&["run", "aisle.toml", "--once", "--speed", "600"]));
    let manifest = read(one.manifests().last().unwrap());
    let states = manifest["states"].as_object().expect("it was written by this build");
    let names: Vec<&str> = states.keys().map(String::as_str).collect();
    let expected = [
        "Clock",
        "FeedHealth",
        "Ledger",
        "ReleaseEvents",
        "ReleaseFacts",
        "ResolveEvents",
        "ResolveFacts",
        "RetainDeadLetters",
        "RetainLateEvents",
        "RetainSessionMinutes",
        "SessionMinutes",
        "SessionStarts",
        "SourceHealth",
        "Units",
        "VariantMinutes",
        "VariantTotals",
    ];
    assert_eq!(names, expected);
    assert!(states.values().all(|format| *format == 1), "{states:?}");
    // And it is restored.
    let again = one.aisle(&["run", "aisle.toml", "--once"]);
    succeeds(&again);
    assert!(
        !told(&again).contains("WARNING: the checkpoint") && told(&again).contains("restored as of tick"),
        "{}",
        told(&again)
    );
}
