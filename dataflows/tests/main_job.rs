//! The binary, as its users run it: run, resume, replay, a cluster, and everything that can be wrong with what it is given.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that can't go on says so by stopping")]
#![cfg(feature = "run")]

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder with a configuration and its inputs, removed at the end.
struct Place {
    folder: tempfile::TempDir,
}

const CONFIGURATION: &str = r#"
listen = "127.0.0.1:0"

[time]
tick_bytes = 4096
lateness_ms = 60000

[[sources]]
name = "events"
kind = "experiment"
files = "events-*.ndjson"
parallel = true

[[sources]]
name = "facts"
kind = "inventory"
files = "facts.ndjson"

[[tenants]]
name = "north"

[[experiments]]
tenant = "north"
name = "button"
population = "assigned"
variants = [{ name = "control" }, { name = "treatment" }]

[[experiments]]
tenant = "north"
name = "banner"
population = "exposed"
variants = [{ name = "control" }, { name = "treatment" }]
"#;

/// Records with disorder, duplicates in both files, exposures after what they cover, conflicts and broken lines.
fn events(file: u64) -> String {
    let mut lines = String::new();
    for number in 0..400u64 {
        let of = number * 2 + file;
        let time_ms = 1_736_000_000_000 + of * 700 + (of * 7_919 % 5) * 9_000;
        let (session, unit) = (of % 37, of % 23);
        let kind = ["view", "click", "add_to_cart", "purchase", "exposure"][(of % 5) as usize];
        let attributes = if kind == "exposure" { r#","attributes":{"experiment":"banner"}"# } else { "" };
        let line = format!(
            r#"{{"tenant":"north","id":"e{of}","session":"s{session}","unit":"u{unit}","kind":"{kind}","event_time_ms":{time_ms},"value":{}{attributes}}}"#,
            of % 100
        );
        lines.push_str(&line);
        lines.push('\n');
        match number % 50 {
            10 => lines.push_str(&format!("{line}\n")),
            20 => lines.push_str("{\"broken\":\n"),
            30 => lines.push_str(&format!(
                r#"{{"tenant":"north","id":"shared{}","session":"s","kind":"view","event_time_ms":{}}}{}"#,
                number / 50,
                1_736_000_000_000 + number * 1_400,
                "\n"
            )),
            _ => {}
        }
    }
    lines
}

fn facts() -> String {
    let mut lines = String::new();
    for number in 0..300u64 {
        let time_ms = 1_736_000_000_000 + number * 1_900;
        let kind = if number % 11 == 0 { "count" } else { ["sale", "receipt"][(number % 2) as usize] };
        lines.push_str(&format!(
            r#"{{"tenant":"north","id":"f{number}","kind":"{kind}","node":"n{}","sku":"k{}","quantity":{},"event_time_ms":{time_ms},"source":"pos"}}{}"#,
            number % 3,
            number % 7,
            number % 9,
            "\n"
        ));
    }
    lines
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("aisle.toml"), CONFIGURATION).unwrap();
        for file in 0..2 {
            fs::write(folder.path().join(format!("events-{file}.ndjson")), events(file)).unwrap();
        }
        fs::write(folder.path().join("facts.ndjson"), facts()).unwrap();
        Place { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn aisle(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_aisle"));
        command.args(arguments).current_dir(self.folder.path());
        command
    }

    fn run_once(&self, more: &[&str]) -> Output {
        let arguments: Vec<&str> =
            ["run", "aisle.toml", "--once", "--listen", "127.0.0.1:0"].iter().chain(more).copied().collect();
        self.aisle(&arguments)
    }
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[track_caller]
fn succeeds(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{}", told(output));
}

#[track_caller]
fn refuses(output: &Output, code: i32, words: &[&str]) {
    assert_eq!(output.status.code(), Some(code), "{}", told(output));
    for word in words {
        assert!(told(output).contains(word), "\"{word}\" is not in: {}", told(output));
    }
}

/// Every byte of every output of a data folder, by file.
fn outputs(data: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![data.join("sinks")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push((path.strip_prefix(data).unwrap().to_owned(), fs::read(&path).unwrap()));
            }
        }
    }
    files.sort();
    assert!(!files.is_empty());
    files
}

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

/// Free ports, taken one after the other by the cluster that is started next.
fn free_ports(count: usize) -> Vec<u16> {
    let listeners: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}

/// Two processes with two workers each, ten times over several histories: what they write replays, in one process with
/// another number of workers, to the same bytes.
#[test]
fn two_processes_write_what_one_replays() {
    for round in 0..10 {
        let place = Place::new();
        if round % 2 == 1 {
            fs::write(place.path("events-1.ndjson"), events(round)).unwrap();
        }
        let hosts: String = free_ports(2).into_iter().map(|port| format!("127.0.0.1:{port}\n")).collect();
        fs::write(place.path("hosts"), hosts).unwrap();
        let cluster = [
            "run",
            "aisle.toml",
            "--once",
            "--listen",
            "127.0.0.1:0",
            "--workers",
            "2",
            "--processes",
            "2",
            "--hostfile",
            "hosts",
        ];
        let second: Vec<&str> = cluster.iter().copied().chain(["--process", "1"]).collect();
        let second = place.command(&second).stdout(std::process::Stdio::null()).spawn().unwrap();
        let first: Vec<&str> = cluster.iter().copied().chain(["--process", "0"]).collect();
        let output = place.aisle(&first);
        succeeds(&output);
        succeeds(&second.wait_with_output().unwrap());
        assert!(told(&output).contains("holds for every partition"), "{}", told(&output));
        let replayed = place.aisle(&["replay", "aisle-data", "--workers", "3"]);
        succeeds(&replayed);
        assert!(outputs(&place.path("aisle-data")).iter().any(|(_, bytes)| bytes.len() > 1_000));
    }
}
