//! History: the files of a run, whatever happened to it, and the questions that it answers.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use connectors::parquet_table::Table;
use dataflows::view::ViewId;
use serde_json::{Value, json};

use crate::place::{CONFIGURATION, Place, refuses, succeeds, told};

const METRICS: [&str; 9] = [
    "sessions_active",
    "sessions_started",
    "views",
    "clicks",
    "add_to_carts",
    "purchases",
    "returns",
    "quantity",
    "value",
];

/// Tenant, experiment, variant and minute.
type Key = (String, String, String, i64);

/// The run's files by name, with their bytes.
fn files(data: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let runs: Vec<PathBuf> = fs::read_dir(data.join("history")).unwrap().map(|run| run.unwrap().path()).collect();
    assert_eq!(runs.len(), 1, "{runs:?}");
    let files = fs::read_dir(runs[0].join("variant_minutes")).unwrap();
    let mut files: Vec<(PathBuf, Vec<u8>)> =
        files.map(|file| file.unwrap().path()).map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    files.sort();
    files
}

/// Every row of every file, each of which may occur once.
fn rows_of_files(files: &[(PathBuf, Vec<u8>)]) -> BTreeMap<Key, [i64; 9]> {
    let (mut rows, mut seen_in) = (BTreeMap::new(), BTreeMap::new());
    for (path, bytes) in files {
        let table = Table::open(bytes.clone()).unwrap();
        let texts = |name| table.texts(name).unwrap().iter().map(str::to_owned).collect::<Vec<_>>();
        let (tenants, experiments, variants) = (texts("tenant"), texts("experiment"), texts("variant"));
        let minutes = table.integers("minute").unwrap();
        let columns = METRICS.map(|metric| table.integers(metric).unwrap());
        for place in 0..table.rows() {
            let key = (tenants[place].clone(), experiments[place].clone(), variants[place].clone(), minutes[place]);
            let values = std::array::from_fn(|metric| columns[metric][place]);
            let before = seen_in.insert(key.clone(), path);
            assert_eq!(
                rows.insert(key.clone(), values),
                None,
                "{key:?} of {path:?} is in {before:?}, with {values:?} now"
            );
        }
    }
    rows
}

fn row_of(row: &Value) -> (Key, [i64; 9]) {
    let text = |name: &str| row[name].as_str().unwrap().to_owned();
    let number = |name: &str| row.get(name).unwrap_or(&row["measures"][name]).as_i64().unwrap();
    ((text("tenant"), text("experiment"), text("variant"), number("minute_ms")), METRICS.map(number))
}

/// What the sealed change file of the view says came, whether it left later or not.
fn rows_of_changes(data: &Path) -> BTreeMap<Key, [i64; 9]> {
    let text = fs::read_to_string(data.join("sinks/variant_minutes/shard-0.ndjson")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["diff"] == 1).map(|line| row_of(&line["row"])).collect()
}

/// In the files of a run is exactly what its sealed change file says.
pub(crate) fn holds_what_was_sealed(data: &Path) {
    let files = files(data);
    let (kept, sealed) = (rows_of_files(&files), rows_of_changes(data));
    assert!(files.len() > 2 && kept.len() > 10, "{} files, {} rows", files.len(), kept.len());
    let sums = |rows: &BTreeMap<Key, [i64; 9]>| -> [i64; 9] {
        std::array::from_fn(|metric| rows.values().map(|values| values[metric]).sum())
    };
    assert_eq!(sums(&kept), sums(&sealed));
    assert!(kept == sealed, "{} rows are kept, {} were sealed", kept.len(), sealed.len());
}

fn place() -> Place {
    let place = Place::new();
    let more =
        "[views.variant_minutes]\nsink = \"sealed\"\n[history]\nfile_ms = 60000\n[checkpoints]\ninterval_ms = 100\n";
    fs::write(place.path("aisle.toml"), format!("{CONFIGURATION}{more}")).unwrap();
    place
}

#[test]
fn every_sealed_minute_is_in_one_file() {
    let place = place();
    succeeds(&place.run_once(&["--workers", "2"]));
    holds_what_was_sealed(&place.path("aisle-data"));
    let before = files(&place.path("aisle-data"));
    succeeds(&place.run_once(&["--workers", "3"]));
    assert!(files(&place.path("aisle-data")) == before, "a run that goes on where nothing is left writes nothing");
}

/// A replay compares history where a configuration says that it is, and says so where it found none.
#[test]
fn a_replay_compares_history_that_is_elsewhere() {
    let place = place();
    let configuration = fs::read_to_string(place.path("aisle.toml")).unwrap();
    let elsewhere = configuration.replacen("[history]\n", "[history]\nto = \"kept/elsewhere\"\n", 1);
    assert_ne!(configuration, elsewhere, "the configuration has a part for history");
    fs::write(place.path("aisle.toml"), elsewhere).unwrap();
    succeeds(&place.run_once(&[]));
    let end = fs::read(place.path("aisle-data/run-end.json")).unwrap();
    fs::remove_file(place.path("aisle-data/run-end.json")).unwrap();
    let output = place.aisle(&["replay", "aisle-data"]);
    succeeds(&output);
    assert!(told(&output).contains("its history was not compared, since none of it is in aisle-data/history"));
    assert!(!place.path("aisle-data/history").exists());
    // A run that ended in order said where it is.
    fs::write(place.path("aisle-data/run-end.json"), end).unwrap();
    let output = place.aisle(&["replay", "aisle-data"]);
    succeeds(&output);
    assert!(!told(&output).contains("not compared"), "{}", told(&output));
    let with_it = ["replay", "aisle-data", "--configuration", "aisle.toml"];
    let output = place.aisle(&with_it);
    succeeds(&output);
    assert!(!told(&output).contains("not compared"), "{}", told(&output));

    let runs = fs::read_dir(place.path("aisle-data/kept/elsewhere")).unwrap();
    let run = runs.map(|run| run.unwrap().path()).next().unwrap();
    let mut files: Vec<PathBuf> =
        fs::read_dir(run.join("variant_minutes")).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let count = files.len() + ViewId::count();
    assert!(files.len() > 2 && told(&output).contains(&format!(" bytes in {count} files are the same")));
    let damaged = files.last().unwrap();
    let mut bytes = fs::read(damaged).unwrap();
    bytes[7] ^= 1;
    fs::write(damaged, bytes).unwrap();
    let name = damaged.file_name().unwrap().to_str().unwrap();
    refuses(&place.aisle(&with_it), 3, &["kept/elsewhere/", name, "differs at byte 7\n"]);
}

/// A run that is killed again and again leaves the files that its logs say, to the byte: those of a run that computes
/// everything again from them, into an empty store, with another number of workers.
#[test]
fn a_run_that_was_killed_leaves_the_files_that_its_logs_say() {
    let place = place();
    let data = place.path("aisle-data");
    for passed in 0..4 {
        let mut running = place.start(&["run", "aisle.toml", "--speed", "20", "--workers", "2"]);
        for _ in 0..2 + passed {
            running.wait_for(" records, ");
        }
        running.signal("KILL");
        assert_eq!(running.end().0, None);
    }
    let output = place.run_once(&["--workers", "1"]);
    succeeds(&output);
    assert!(told(&output).contains("restored as of tick"), "{}", told(&output));
    holds_what_was_sealed(&data);
    let before = files(&data);
    let replayed = place.aisle(&["replay", "aisle-data"]);
    succeeds(&replayed);
    let count = before.len() + ViewId::count();
    assert!(told(&replayed).contains(&format!(" bytes in {count} files are the same")), "{}", told(&replayed));

    fs::rename(data.join("history"), place.path("aside")).unwrap();
    refuses(&place.run_once(&[]), 1, &["holds no history of this run", "--replay-all"]);
    succeeds(&place.run_once(&["--replay-all", "--workers", "3"]));
    let after = files(&data);
    let names = |files: &[(PathBuf, Vec<u8>)]| files.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>();
    assert_eq!(names(&after), names(&before));
    assert!(after == before, "a file has other bytes");
}

#[test]
fn what_is_not_this_runs_is_refused_by_name() {
    let place = place();
    succeeds(&place.run_once(&[]));
    let files = files(&place.path("aisle-data"));
    let (path, bytes) = files.last().unwrap();
    let mut damaged = bytes.clone();
    let at = damaged.len() - 6;
    damaged[at] ^= 1;
    fs::write(path, damaged).unwrap();
    refuses(
        &place.run_once(&[]),
        1,
        &[path.file_name().unwrap().to_str().unwrap(), "is not what this run writes there"],
    );
    refuses(
        &place.aisle(&["replay", "aisle-data"]),
        3,
        &[path.file_name().unwrap().to_str().unwrap(), "differs at byte"],
    );
    fs::write(path, bytes).unwrap();
    succeeds(&place.run_once(&[]));
    let text = fs::read_to_string(place.path("aisle.toml")).unwrap();
    fs::write(place.path("aisle.toml"), text.replace("file_ms = 60000", "file_ms = 120000")).unwrap();
    refuses(&place.run_once(&[]), 1, &["`history.file_ms` was 60000 and is 120000", "--fresh"]);
    fs::write(place.path("aisle.toml"), text.replace("file_ms = 60000", "file_ms = 60000\nretention_ms = 1")).unwrap();
    succeeds(&place.run_once(&[]));
}

/// What is out of retention goes, but never the newest file, which says what is written.
#[test]
fn old_files_are_deleted() {
    let place = place();
    let text = fs::read_to_string(place.path("aisle.toml")).unwrap();
    fs::write(place.path("aisle.toml"), text.replace("file_ms = 60000", "file_ms = 60000\nretention_ms = 120000"))
        .unwrap();
    succeeds(&place.run_once(&[]));
    let before = files(&place.path("aisle-data"));
    let rows = rows_of_files(&before);
    let all = rows_of_changes(&place.path("aisle-data"));
    assert!(!rows.is_empty() && rows.len() < all.len(), "{} of {} rows", rows.len(), all.len());
    assert!(rows.iter().all(|(key, values)| all[key] == *values));
    let output = place.run_once(&[]);
    succeeds(&output);
    assert!(!told(&output).contains("WARNING"), "{}", told(&output));
    assert!(files(&place.path("aisle-data")) == before);
}

fn get(address: &str, query: &[(&str, &str)]) -> (u16, Value) {
    let mut request = ureq::get(format!("{address}/v1/history")).config().http_status_as_error(false).build();
    for (name, value) in query {
        request = request.query(name, value);
    }
    let mut response = request.call().unwrap();
    let body = response.body_mut().read_to_string().unwrap();
    (response.status().as_u16(), serde_json::from_str(&body).unwrap())
}

/// The answers are what the view has, of every variant, metric and minute but the first and the last, and say which tick they
/// are of. Gives the rows of the view.
pub(crate) fn answers_what_the_view_has(address: &str) -> BTreeMap<Key, [i64; 9]> {
    let view =
        ureq::get(format!("{address}/v1/views/variant_minutes")).call().unwrap().body_mut().read_to_string().unwrap();
    let view: Value = serde_json::from_str(&view).unwrap();
    let rows: BTreeMap<Key, [i64; 9]> = view["rows"].as_array().unwrap().iter().map(row_of).collect();
    assert!(rows.len() > 10);
    let (first, last) = (rows.keys().map(|key| key.3).min().unwrap(), rows.keys().map(|key| key.3).max().unwrap());
    for (place, metric) in METRICS.into_iter().enumerate() {
        for experiment in ["button", "banner"] {
            let (from, to) = ((first + 60_000).to_string(), last.to_string());
            let ask =
                [("tenant", "north"), ("experiment", experiment), ("metric", metric), ("from", &from), ("to", &to)];
            let (status, body) = get(address, &ask);
            let of = rows
                .iter()
                .filter(|((_, name, _, minute_ms), _)| name == experiment && *minute_ms > first && *minute_ms < last);
            let expected: Vec<Value> = of
                .map(|((_, _, variant, minute_ms), values)| json!({"variant": variant, "minute_ms": minute_ms, "value": values[place]}))
                .collect();
            assert_eq!((status, &body["rows"]), (200, &json!(expected)), "{metric} of {experiment}");
            assert_eq!((&body["tick"], &body["sealed_through_ms"]), (&view["tick"], &json!("end")));
        }
    }
    rows
}

#[test]
fn answers_are_what_the_view_has() {
    let place = place();
    let mut running = place.start(&["run", "aisle.toml", "--listen", "127.0.0.1:0"]);
    let line = running.wait_for("every source has ended; serving on http://");
    let address = line.split_whitespace().find(|word| word.starts_with("http://")).unwrap().to_owned();
    let rows = answers_what_the_view_has(&address);
    let ask = [
        ("tenant", "north"),
        ("experiment", "button"),
        ("metric", "views"),
        ("from", "2025-01-04T00:00:00Z"),
        ("to", "2025-01-05T00:00:00Z"),
        ("variant", "control"),
        ("step_ms", "86400000"),
    ];
    let (_, body) = get(&address, &ask);
    let sum: i64 =
        rows.iter().filter(|(key, _)| key.1 == "button" && key.2 == "control").map(|(_, values)| values[2]).sum();
    assert_eq!(body["rows"], json!([{"variant": "control", "minute_ms": 1_735_948_800_000i64, "value": sum}]));
    let (status, body) = get(&address, &[("tenant", "north")]);
    assert_eq!((status, &body["error"]["code"]), (400, &json!("bad_request")));

    // A file that is damaged meanwhile is named, and no number of it is told.
    let (path, mut bytes) = files(&place.path("aisle-data"))
        .into_iter()
        .find(|(path, _)| !path.to_string_lossy().contains("00000000000000000000-0"))
        .unwrap();
    let at = bytes.len() / 2;
    bytes[4..at].fill(0);
    fs::write(&path, bytes).unwrap();
    let (status, body) = get(
        &address,
        &[("tenant", "north"), ("experiment", "button"), ("metric", "views"), ("from", "0"), ("to", "9000000000000")],
    );
    assert_eq!((status, &body["error"]["code"]), (500, &json!("history_damaged")));
    assert!(body["error"]["message"].as_str().unwrap().contains(path.file_name().unwrap().to_str().unwrap()), "{body}");
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));
}

#[test]
fn without_history_nothing_is_written_and_the_question_is_told_so() {
    let place = Place::new();
    fs::write(place.path("aisle.toml"), format!("{CONFIGURATION}[history]\nto = \"none\"\n")).unwrap();
    let mut running = place.start(&["run", "aisle.toml", "--listen", "127.0.0.1:0"]);
    let line = running.wait_for("every source has ended; serving on http://");
    let address = line.split_whitespace().find(|word| word.starts_with("http://")).unwrap().to_owned();
    let (status, body) = get(&address, &[]);
    assert_eq!((status, &body["error"]["code"]), (404, &json!("no_history")));
    assert!(!place.path("aisle-data/history").exists());
}
