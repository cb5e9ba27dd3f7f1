//! Where a run's words go, and what a terminal or a limit does to it: none of it is a reason to lose data or to end by panic.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, PipeReader, pipe};
use std::process::{Command, Stdio};

use crate::place::{Place, refuses, succeeds, told};

const SERVE: [&str; 4] = ["run", "aisle.toml", "--listen", "127.0.0.1:0"];

/// The binary behind a line of shell.
fn through_shell(place: &Place, line: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", line, env!("CARGO_BIN_EXE_aisle")]).current_dir(place.path("."));
    command
}

/// The first line that comes with `words`.
fn line_with(reader: PipeReader, words: &str) -> String {
    BufReader::new(reader).lines().map(Result::unwrap).find(|line| line.contains(words)).unwrap()
}

#[test]
fn a_full_disk_under_the_tables_is_told() {
    let place = Place::new();
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let once = ["run", "aisle.toml", "--once", "--listen", "127.0.0.1:0"];
    let output = place.command(&once).stdout(full).output().unwrap();
    succeeds(&output);
    let losses = told(&output).matches("could not write to standard output").count();
    assert_eq!(losses, 1, "{}", told(&output));
    let replayed = place.aisle(&["replay", "aisle-data"]);
    succeeds(&replayed);
}

#[test]
fn nobody_has_to_read_what_a_run_says() {
    let place = Place::new();
    for _ in 0..2 {
        let (_, output) = pipe().unwrap();
        let (_, errors) = pipe().unwrap();
        let once = ["run", "aisle.toml", "--once", "--listen", "127.0.0.1:0"];
        // A log of everything: it can't be written either.
        let mut command = place.command(&once);
        let status = command.env("RUST_LOG", "debug").stdout(output).stderr(errors).status().unwrap();
        assert_eq!(status.code(), Some(0));
    }
    succeeds(&place.aisle(&["replay", "aisle-data"]));
}

#[test]
fn a_reader_of_the_log_may_leave_while_it_serves() {
    let place = Place::new();
    let (reader, errors) = pipe().unwrap();
    let mut child = place.command(&SERVE).stdout(Stdio::null()).stderr(errors).spawn().unwrap();
    line_with(reader, "serving on http://");
    // Whatever it says from here on is lost, such as that it has stopped.
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_closed_terminal_ends_a_run_unless_nohup_said_otherwise() {
    let place = Place::new();
    let (reader, errors) = pipe().unwrap();
    // Whoever runs the tests may have begun them with nohup.
    let mut command = Command::new("env");
    command.args(["--default-signal=HUP", env!("CARGO_BIN_EXE_aisle")]).args(SERVE).current_dir(place.path("."));
    let mut child = command.stdout(Stdio::null()).stderr(errors).spawn().unwrap();
    line_with(reader, "serving on http://");
    assert!(Command::new("kill").args(["-HUP", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0), "it ends in good order, and not by the signal");

    let (reader, errors) = pipe().unwrap();
    let line = format!("trap '' HUP; exec \"$0\" {}", SERVE.join(" "));
    let mut child = through_shell(&place, &line).stdout(Stdio::null()).stderr(errors).spawn().unwrap();
    line_with(reader, "serving on http://");
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    let ignored = u64::from_str_radix(ignored.trim(), 16).unwrap();
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(ignored & 1, 1, "SIGHUP, number 1, is ignored as it was at the start");
}

#[test]
fn a_file_that_may_not_grow_is_an_error_with_a_name() {
    let place = Place::new();
    let once = "ulimit -f 8; exec \"$0\" run aisle.toml --once --listen 127.0.0.1:0";
    refuses(&through_shell(&place, once).output().unwrap(), 1, &["could not", "File too large"]);
    // What was written until then is whole.
    succeeds(&place.run_once(&[]));
    succeeds(&place.aisle(&["replay", "aisle-data"]));
}
