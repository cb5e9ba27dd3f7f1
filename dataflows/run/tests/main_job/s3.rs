//! Checkpoints and history in a real store that speaks S3: killed runs, a store that goes away, and one that refuses.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::history::answers_what_the_view_has;
use crate::place::{CONFIGURATION, Place, refuses, succeeds, told};

/// A store of this test alone, with the variables in which its clients find their credentials.
struct Store {
    port: u16,
    variables: Vec<(String, String)>,
}

impl Store {
    fn own(port: u16) -> Store {
        let mut store = Store { port, variables: Vec::new() };
        store.script("stop");
        let started = store.script("start");
        let variables = started.lines().filter_map(|line| line.split_once('='));
        store.variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        store
    }

    fn script(&self, what: &str) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/object-store.sh");
        let output = Command::new(script).arg(what).env("OBJECT_STORE_PORT", self.port.to_string()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn variable(&self, name: &str) -> &str {
        self.variables.iter().find(|(known, _)| known == name).map(|(_, value)| value).unwrap()
    }

    /// A place whose checkpoints and history are in this store.
    fn place(&self) -> Place {
        let place = Place::new();
        let (bucket, endpoint) = (self.variable("AWS_BUCKET"), self.variable("AWS_ENDPOINT"));
        let more = format!(
            "[checkpoints]\nto = \"s3://{bucket}/of/checkpoints\"\nendpoint = \"{endpoint}\"\ninterval_ms = 100\n\
             [history]\nto = \"s3://{bucket}/of/history\"\nendpoint = \"{endpoint}\"\nfile_ms = 60000\n"
        );
        fs::write(place.path("aisle.toml"), format!("{CONFIGURATION}{more}")).unwrap();
        place
    }

    fn aisle(&self, place: &Place, arguments: &[&str]) -> Output {
        let variables = self.variables.iter().map(|(name, value)| (name, value));
        place.command(arguments).envs(variables).output().unwrap()
    }
}

const ONCE: [&str; 5] = ["run", "aisle.toml", "--once", "--listen", "127.0.0.1:0"];

/// Killed runs go on from checkpoints in the store, which is itself away for a time, and history answers from there what the
/// views have.
#[test]
fn killed_runs_and_a_store_that_was_away_leave_what_the_logs_say() {
    let store = Store::own(19_582);
    let place = store.place();
    let with_variables = |command: &mut Command| {
        command.envs(store.variables.iter().map(|(name, value)| (name, value)));
    };
    for passed in 0..3 {
        let slowly = ["run", "aisle.toml", "--speed", "20", "--workers", "2", "--listen", "127.0.0.1:0"];
        let mut running = place.start_with(&slowly, with_variables);
        for _ in 0..3 + passed {
            running.wait_for(" records, ");
        }
        if passed == 1 {
            store.script("kill");
            running.wait_for("it is tried again until it succeeds");
            store.script("start");
            running.wait_for("can be written to again");
        }
        running.signal("KILL");
        assert_eq!(running.end().0, None);
    }
    let mut running = place.start_with(&["run", "aisle.toml", "--listen", "127.0.0.1:0"], with_variables);
    running.wait_for("restored as of tick");
    let line = running.wait_for("every source has ended; serving on http://");
    let address = line.split_whitespace().find(|word| word.starts_with("http://")).unwrap().to_owned();
    let shown = answers_what_the_view_has(&address);
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));
    assert!(!place.path("aisle-data/checkpoints").exists() && !place.path("aisle-data/history").exists());

    let replayed = store.aisle(&place, &["replay", "aisle-data", "--configuration", "aisle.toml"]);
    succeeds(&replayed);
    let told = told(&replayed);
    let files = told.split(" bytes in ").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<usize>().ok());
    assert!(files > Some(8), "the files of history are compared, too: {told}");
    // Everything once more from the logs, where nothing was written before: the same answers.
    let configuration = fs::read_to_string(place.path("aisle.toml")).unwrap();
    fs::write(place.path("aisle.toml"), configuration.replace("/of/", "/again/")).unwrap();
    let anew = ["run", "aisle.toml", "--listen", "127.0.0.1:0", "--replay-all", "--workers", "3"];
    let mut running = place.start_with(&anew, with_variables);
    let line = running.wait_for("every source has ended; serving on http://");
    let address = line.split_whitespace().find(|word| word.starts_with("http://")).unwrap().to_owned();
    assert!(answers_what_the_view_has(&address) == shown, "the view is another one");
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));
    store.script("stop");
}

#[test]
fn a_store_that_refuses_or_is_not_there_ends_the_start_with_one_message() {
    let store = Store::own(19_583);
    let place = store.place();
    let wrong = |name: &str, value: &str| {
        let mut command = place.command(&ONCE);
        command.envs(store.variables.iter().map(|(name, value)| (name, value)));
        command.env(name, value).output().unwrap()
    };
    let refused = |output: &Output, words: &[&str]| {
        refuses(output, 1, words);
        assert_eq!(told(output).lines().count(), 1, "{}", told(output));
    };
    refused(&wrong("AWS_SECRET_ACCESS_KEY", "wrong"), &["could not", "s3://aisle/of", "SignatureDoesNotMatch"]);
    refused(&place.aisle(&ONCE), &["could not", "s3://aisle/of", "AWS_ACCESS_KEY_ID is not set"]);
    let configuration = fs::read_to_string(place.path("aisle.toml")).unwrap();
    fs::write(place.path("aisle.toml"), configuration.replace("s3://aisle/", "s3://missing/")).unwrap();
    refused(&store.aisle(&place, &ONCE), &["could not", "s3://missing/of", "NoSuchBucket"]);
    store.script("stop");
    fs::write(place.path("aisle.toml"), configuration).unwrap();
    refused(&store.aisle(&place, &ONCE), &["could not", "s3://aisle/of", "Connection refused"]);
}
