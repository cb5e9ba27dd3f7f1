//! The binary, as its users run it: run, resume, replay, a cluster, and everything that can be wrong with what it is given.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that can't go on says so by stopping")]

#[cfg(feature = "history")]
mod audit;
mod bad_input;
mod bounded;
mod cluster;
mod csv;
mod dead_letters;
#[cfg(feature = "history")]
mod history;
mod http_limits;
#[cfg(feature = "kafka")]
mod kafka;
#[allow(dead_code, reason = "shared with tests that need more of it")]
mod multiset;
mod place;
#[cfg(all(feature = "s3", feature = "history"))]
mod s3;
mod samples;
mod terminal;

use std::fs;
use std::net::TcpListener;

use place::{CONFIGURATION, Place, outputs, refuses, succeeds, told};

#[test]
fn a_run_ends_with_conservation_and_replays_to_the_same_bytes() {
    let place = Place::new();
    let output = place.run_once(&["--workers", "2"]);
    succeeds(&output);
    assert!(told(&output).contains("holds for every partition"), "{}", told(&output));
    for workers in ["1", "3"] {
        let replayed = place.aisle(&["replay", "aisle-data", "--workers", workers]);
        succeeds(&replayed);
        assert!(told(&replayed).contains("are the same"), "{}", told(&replayed));
    }
    // A second run resumes: nothing is written twice.
    let before = outputs(&place.path("aisle-data"));
    let again = place.run_once(&["--workers", "3"]);
    succeeds(&again);
    assert!(told(&again).contains("resuming"), "{}", told(&again));
    assert_eq!(outputs(&place.path("aisle-data")), before);
}

#[test]
fn a_changed_output_is_found_by_replay() {
    let place = Place::new();
    succeeds(&place.run_once(&[]));
    let file = place.path("aisle-data/sinks/stock/shard-0.ndjson");
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.len() / 2;
    bytes[at] = bytes[at].wrapping_add(1);
    fs::write(&file, bytes).unwrap();
    refuses(&place.aisle(&["replay", "aisle-data"]), 3, &["sinks/stock/shard-0.ndjson differs at byte"]);
}

#[test]
fn the_recorded_configuration_is_replayed_and_not_the_file() {
    let place = Place::new();
    succeeds(&place.run_once(&[]));
    fs::write(place.path("aisle.toml"), CONFIGURATION.replace("lateness_ms = 60000", "lateness_ms = 1")).unwrap();
    succeeds(&place.aisle(&["replay", "aisle-data"]));
    fs::write(place.path("aisle.toml"), CONFIGURATION.replace("\"treatment\"", "\"other\"")).unwrap();
    succeeds(&place.aisle(&["replay", "aisle-data"]));
    refuses(&place.run_once(&[]), 1, &["another configuration", "--fresh"]);
    succeeds(&place.run_once(&["--fresh"]));
    assert!(place.path("aisle-data.1").exists());
}

#[test]
fn a_torn_tail_of_the_remap_log_is_cut_and_the_run_goes_on() {
    let place = Place::new();
    succeeds(&place.run_once(&[]));
    let before = outputs(&place.path("aisle-data"));
    let log = place.path("aisle-data/remap.log");
    let mut bytes = fs::read(&log).unwrap();
    bytes.extend_from_slice(&[200, 0, 0, 0, 1, 2, 3]);
    fs::write(&log, bytes).unwrap();
    succeeds(&place.run_once(&[]));
    assert_eq!(outputs(&place.path("aisle-data")), before);
}

#[test]
fn a_tampered_or_cut_remap_log_is_refused() {
    let place = Place::new();
    succeeds(&place.run_once(&[]));
    let log = place.path("aisle-data/remap.log");
    let whole = fs::read(&log).unwrap();
    let mut bytes = whole.clone();
    bytes[whole.len() / 2] ^= 1;
    fs::write(&log, &bytes).unwrap();
    refuses(&place.run_once(&[]), 1, &["remap.log", "byte"]);
    fs::write(&log, &whole[..whole.len() / 2]).unwrap();
    refuses(&place.run_once(&[]), 1, &["the log was cut"]);
}

#[test]
fn a_changed_input_is_refused() {
    let place = Place::new();
    succeeds(&place.run_once(&[]));
    let mut text = fs::read_to_string(place.path("facts.ndjson")).unwrap();
    text.push('\n');
    fs::write(place.path("facts.ndjson"), text).unwrap();
    refuses(&place.run_once(&[]), 1, &["facts.ndjson"]);
    refuses(&place.aisle(&["replay", "aisle-data"]), 1, &["facts.ndjson"]);
}

#[test]
fn every_mistake_of_a_configuration_is_named_at_once() {
    let place = Place::new();
    fs::write(
        place.path("aisle.toml"),
        CONFIGURATION.replace("weight", "w").replace("\"exposed\"", "\"seen\"").replace("tick_bytes", "tick_byte"),
    )
    .unwrap();
    refuses(&place.aisle(&["check", "aisle.toml"]), 2, &["aisle.toml:5", "tick_byte", "seen"]);
    assert!(!place.path("aisle-data").exists());
    refuses(&place.aisle(&["run", "nowhere.toml"]), 2, &["nowhere.toml"]);
    refuses(&place.aisle(&["run"]), 2, &["Usage"]);
}

#[test]
fn a_configuration_may_be_named_in_any_way() {
    for name in ["./inner/aisle.toml", "./inner/../inner/./aisle.toml", "inner/aisle.toml"] {
        let place = Place::new();
        fs::create_dir(place.path("inner")).unwrap();
        for file in ["aisle.toml", "events-0.ndjson", "events-1.ndjson", "facts.ndjson"] {
            fs::rename(place.path(file), place.path("inner").join(file)).unwrap();
        }
        succeeds(&place.aisle(&["check", name]));
        succeeds(&place.aisle(&["run", name, "--once", "--listen", "127.0.0.1:0"]));
        succeeds(&place.aisle(&["replay", "aisle-data"]));
    }
}

#[test]
fn a_taken_port_and_an_unwritable_folder_end_at_start_with_one_message() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    refuses(&place.aisle(&["run", "aisle.toml", "--once", "--listen", &address]), 1, &[&address, "--listen"]);
    fs::write(place.path("file"), "").unwrap();
    fs::write(place.path("aisle.toml"), format!("data_dir = \"file/data\"\n{CONFIGURATION}")).unwrap();
    refuses(&place.run_once(&[]), 1, &["file/data", "writ"]);
}

#[test]
fn the_graph_names_its_operators() {
    let place = Place::new();
    let output = place.aisle(&["graph", "aisle.toml"]);
    succeeds(&output);
    for operator in [
        "Bindings",
        "ReleaseEvents",
        "ResolveEvents",
        "ReleaseFacts",
        "Clock",
        "Ledger",
        "VariantMinutes",
        "Emit stock",
    ] {
        assert!(told(&output).contains(operator), "{operator} is not in {}", told(&output));
    }
}

#[test]
fn an_interrupted_run_ends_at_once_and_goes_on_when_it_is_started_again() {
    let place = Place::new();
    for signal in ["TERM", "INT"] {
        let mut running = place.start(&["run", "aisle.toml", "--speed", "5"]);
        running.wait_for(" records, ");
        running.signal(signal);
        let (code, said) = running.end();
        assert_eq!(code, Some(0), "{said}");
        assert!(said.ends_with("aisle: stopped; run again to go on from here\n"), "{said}");
        succeeds(&place.aisle(&["replay", "aisle-data"]));
    }
    succeeds(&place.run_once(&[]));
    succeeds(&place.aisle(&["replay", "aisle-data"]));
}

#[test]
fn memory_is_taken_before_the_run_or_nothing_is_begun() {
    let place = Place::new();
    refuses(&place.run_once(&["--reserve-mib", "99999999"]), 1, &["--reserve-mib 99999999", "are free; ask for less"]);
    assert!(!place.path("aisle-data").exists(), "nothing was begun");
    // Several times what the run itself touches.
    let mut running = place.start(&["run", "aisle.toml", "--reserve-mib", "1024"]);
    running.wait_for("1024 MiB of memory are taken");
    running.wait_for("every source has ended; serving on http://");
    let status = fs::read_to_string(format!("/proc/{}/status", running.id())).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kilobytes: u64 = resident.split_whitespace().next().unwrap().parse().unwrap();
    assert!(kilobytes >= 900 << 10, "{kilobytes}");
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));
    succeeds(&place.aisle(&["replay", "aisle-data"]));
}

#[test]
fn a_second_run_over_the_same_folder_is_told_who_has_it() {
    let place = Place::new();
    let mut first = place.start(&["run", "aisle.toml"]);
    first.wait_for("every source has ended; serving on http://");
    refuses(&place.run_once(&[]), 1, &["aisle-data", "in use by process"]);
    refuses(&place.run_once(&["--fresh"]), 1, &["in use by process"]);
    refuses(&place.aisle(&["replay", "aisle-data"]), 1, &["in use by process"]);
    first.signal("TERM");
    assert_eq!(first.end().0, Some(0));
    succeeds(&place.run_once(&[]));
}

#[test]
fn what_is_named_and_is_not_there_is_a_mistake_of_the_one_who_named_it() {
    let place = Place::new();
    refuses(&place.aisle(&["replay", "nowhere"]), 2, &["could not read nowhere", "remap.log"]);
    refuses(&place.aisle(&["subscribe", "stocks"]), 2, &["no view \"stocks\"", "variant_minutes"]);
    refuses(&place.aisle(&["subscribe", "stock", "--url", "http://127.0.0.1:1"]), 1, &["could not reach", "--url"]);
    fs::write(place.path("aisle.toml"), CONFIGURATION.replace("facts.ndjson", "fax.ndjson")).unwrap();
    refuses(&place.aisle(&["check", "aisle.toml"]), 2, &["aisle.toml:17:9", "fax.ndjson"]);
    refuses(&place.run_once(&[]), 2, &["no file matches", "fax.ndjson"]);
    assert!(!place.path("aisle-data").exists(), "nothing was begun");
}
