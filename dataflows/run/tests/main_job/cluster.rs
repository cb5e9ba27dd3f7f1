//! Several processes: what they write together, and how each of them ends when it, or a neighbour, is ended.

use std::fs;
use std::net::TcpListener;

use crate::dead_letters::{self, MENDED, changes, health, listed, request};
use crate::place::{CONFIGURATION, Place, Running, events, outputs, refuses, succeeds, told};

/// Free ports, taken one after the other by the cluster that is started next.
fn free_ports(count: usize) -> Vec<u16> {
    let listeners: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}

/// Writes a host file for two processes, and gives their addresses.
fn write_hosts(place: &Place) -> Vec<String> {
    let addresses: Vec<String> = free_ports(2).into_iter().map(|port| format!("127.0.0.1:{port}")).collect();
    fs::write(place.path("hosts"), addresses.join("\n")).unwrap();
    addresses
}

/// A place with a host file for two processes, and their addresses.
fn place_of_two() -> (Place, Vec<String>) {
    let place = Place::new();
    let addresses = write_hosts(&place);
    (place, addresses)
}

/// The arguments of one of two processes.
fn process<'a>(number: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let cluster = ["run", "aisle.toml", "--listen", "127.0.0.1:0", "--workers", "2", "--processes", "2"];
    let which = ["--hostfile", "hosts", "--process", number];
    cluster.iter().chain(&which).chain(more).copied().collect()
}

/// Two processes that are in the middle of a run: at this speed it takes minutes.
fn two_at_work() -> (Place, Vec<String>, [Running; 2]) {
    let (place, addresses) = place_of_two();
    let second = place.start(&process("1", &[]));
    let mut first = place.start(&process("0", &["--speed", "5"]));
    first.wait_for(" records, ");
    (place, addresses, [first, second])
}

/// Two processes whose sources have ended, with dead letters.
struct AtTheEnd {
    place: Place,
    /// Of the letter of `facts/0` that [`MENDED`] mends.
    offset: u64,
    addresses: Vec<String>,
    first: Running,
    second: Running,
    /// Where the first one serves.
    url: String,
}

fn two_at_the_end() -> AtTheEnd {
    let (place, offset) = dead_letters::place();
    let addresses = write_hosts(&place);
    let second = place.start(&process("1", &[]));
    let mut first = place.start(&process("0", &[]));
    let line = first.wait_for("every source has ended; serving on ");
    let url = line.split(" on ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    AtTheEnd { place, offset, addresses, first, second, url }
}

/// Two processes with two workers each, ten times over several histories: what they write replays, in one process with
/// another number of workers, to the same bytes.
#[test]
fn two_processes_write_what_one_replays() {
    for round in 0..10 {
        let (place, _) = place_of_two();
        if round % 2 == 1 {
            fs::write(place.path("events-1.ndjson"), events(round)).unwrap();
        }
        let second = place.start(&process("1", &["--once"]));
        let output = place.aisle(&process("0", &["--once"]));
        succeeds(&output);
        let (code, said) = second.end();
        assert_eq!((code, said.contains("process 0 has ended the run")), (Some(0), true), "{said}");
        assert!(told(&output).contains("holds for every partition"), "{}", told(&output));
        let replayed = place.aisle(&["replay", "aisle-data", "--workers", "3"]);
        succeeds(&replayed);
        assert!(outputs(&place.path("aisle-data")).iter().any(|(_, bytes)| bytes.len() > 1_000));
    }
}

#[test]
fn whichever_process_is_interrupted_ends_well_and_the_other_says_who_is_gone() {
    for (interrupted, signal) in [(0, "TERM"), (0, "INT"), (1, "TERM"), (1, "INT")] {
        let (place, addresses, [first, second]) = two_at_work();
        let (ending, left) = if interrupted == 0 { (first, second) } else { (second, first) };
        ending.signal(signal);
        let (code, said) = ending.end();
        assert_eq!(code, Some(0), "{said}");
        assert!(said.ends_with("aisle: stopped; run again to go on from here\n"), "{said}");
        let (code, said) = left.end();
        assert_eq!(code, Some(4), "{said}");
        let gone = format!(
            "aisle: process {interrupted} ({}) is gone; start every process again, the run resumes from the data folder\n",
            addresses[interrupted]
        );
        assert!(said.ends_with(&gone), "{said}");

        // As both say: it goes on.
        let second = place.start(&process("1", &["--once"]));
        let output = place.aisle(&process("0", &["--once"]));
        succeeds(&output);
        assert!(told(&output).contains("resuming"), "{}", told(&output));
        assert_eq!(second.end().0, Some(0));
        succeeds(&place.aisle(&["replay", "aisle-data"]));
    }
}

#[test]
fn a_process_that_was_killed_is_named_by_the_other() {
    for killed in [0, 1] {
        let (_place, addresses, [first, second]) = two_at_work();
        let (ending, left) = if killed == 0 { (first, second) } else { (second, first) };
        ending.signal("KILL");
        assert_eq!(ending.end().0, None);
        let (code, said) = left.end();
        assert_eq!(code, Some(4), "{said}");
        assert!(said.contains(&format!("process {killed} ({}) is gone", addresses[killed])), "{said}");
        assert!(!said.contains("panicked"), "{said}");
    }
}

#[test]
fn interrupting_the_first_process_after_the_end_ends_the_others_well() {
    let (place, _) = place_of_two();
    let second = place.start(&process("1", &[]));
    let mut first = place.start(&process("0", &[]));
    first.wait_for("every source has ended; serving on");
    first.signal("TERM");
    let (code, said) = first.end();
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = second.end();
    assert_eq!((code, said.contains("process 0 has ended the run")), (Some(0), true), "{said}");
}

#[test]
fn a_process_that_waits_for_the_others_says_so_and_can_be_interrupted() {
    for number in ["0", "1"] {
        let (place, addresses) = place_of_two();
        let mut waiting = place.start(&process(number, &[]));
        let missing = if number == "0" { 1 } else { 0 };
        waiting.wait_for(&format!("waiting for process {missing} ({})", addresses[missing]));
        waiting.signal("TERM");
        let (code, said) = waiting.end();
        assert_eq!(code, Some(0), "{said}");
        assert!(said.ends_with("aisle: stopped; run again to go on from here\n"), "{said}");
    }
}

#[test]
fn a_failure_of_one_process_is_told_by_that_one() {
    // Each has a folder of its own with the same files, until somebody changes those of the second process.
    let (place, addresses) = place_of_two();
    let elsewhere = Place::new();
    fs::copy(place.path("hosts"), elsewhere.path("hosts")).unwrap();
    let mut second = elsewhere.start(&process("1", &[]));
    second.wait_for("waiting for process 0");
    for file in ["events-0.ndjson", "events-1.ndjson", "facts.ndjson"] {
        fs::write(elsewhere.path(file), "").unwrap();
    }
    let first = place.start(&process("0", &[]));
    let (code, said) = second.end();
    assert_eq!((code, said.contains(".ndjson")), (Some(1), true), "{said}");
    let (code, said) = first.end();
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains(&format!("process 1 ({}) is gone", addresses[1])), "{said}");
}

/// Letters enter again where their partition is read: `facts/0`, the third of four workers', by the second process.
#[test]
fn letters_that_enter_again_are_read_where_their_source_was_and_nobody_begins_anew() {
    let AtTheEnd { place, offset, first, second, url, .. } = two_at_the_end();
    let letter = serde_json::json!({ "partition": "facts/0", "offset": offset, "record": MENDED });
    fs::write(place.path("mended.ndjson"), letter.to_string()).unwrap();
    succeeds(&place.aisle(&["dead-letters", "re-enter", "aisle-data", "--letters", "mended.ndjson"]));
    let (status, stock) = request(&url, "GET", "/v1/views/stock?sku=mended", "");
    assert_eq!((status, stock.contains("\"book\":5")), (200, true), "{stock}");

    // Two more, of a partition of the first process; both are killed before they may have been read.
    let letters = listed(&place, &["--code", "not_json", "--partition", "events/0"]);
    let lines: Vec<String> = letters[..2]
        .iter()
        .map(|letter| format!("{{\"partition\":\"events/0\",\"offset\":{}}}", letter["offset"]))
        .collect();
    assert_eq!(request(&url, "POST", "/v1/dead-letters/re-enter?wait_ms=0", &lines.join("\n")).0, 202);
    first.signal("KILL");
    second.signal("KILL");
    let (code, said) = first.end();
    assert_eq!((code, said.contains("going on with that")), (None, false), "{said}");
    // It may have heard of that, and have ended, before it was killed itself.
    let (code, said) = second.end();
    assert!(matches!(code, None | Some(4)) && !said.contains("begins anew"), "{said}");
    let second = place.start(&process("1", &["--once"]));
    let output = place.aisle(&process("0", &["--once"]));
    succeeds(&output);
    assert!(told(&output).contains("3 entered again"), "{}", told(&output));
    assert!(told(&output).contains("holds for every partition"), "{}", told(&output));
    assert_eq!(second.end().0, Some(0));
    assert_eq!(health(&place, "re-entry/events/0")["read"], 2);
    assert_eq!(changes(&place, "stock", "mended").len(), 1);
    // One process goes on with what two began, and replays it.
    succeeds(&place.run_once(&[]));
    succeeds(&place.aisle(&["replay", "aisle-data", "--workers", "3"]));
}

#[test]
fn a_process_that_is_killed_while_a_command_is_under_way_is_named_and_nothing_is_lost() {
    let AtTheEnd { place, offset, addresses, first, second, url } = two_at_the_end();
    // It can't hear what it is told before it is killed.
    second.signal("STOP");
    let letter = serde_json::json!({ "partition": "facts/0", "offset": offset, "record": MENDED });
    assert_eq!(request(&url, "POST", "/v1/dead-letters/re-enter?wait_ms=0", &letter.to_string()).0, 202);
    second.signal("KILL");
    assert_eq!(second.end().0, None);
    let (code, said) = first.end();
    assert_eq!((code, said.contains(&format!("process 1 ({}) is gone", addresses[1]))), (Some(4), true), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    succeeds(&place.run_once(&[]));
    assert_eq!(changes(&place, "stock", "mended").len(), 1);
    succeeds(&place.aisle(&["replay", "aisle-data"]));
}

#[test]
fn a_frozen_process_is_told_and_the_run_goes_on_when_it_does() {
    for frozen in [0, 1] {
        let (_place, addresses, processes) = two_at_work();
        let [mut first, mut second] = processes;
        let (sleeper, waiting) = if frozen == 0 { (&mut first, &mut second) } else { (&mut second, &mut first) };
        sleeper.signal("STOP");
        let named = format!("process {frozen} ({})", addresses[frozen]);
        waiting.wait_for(&format!("{named} was not heard for 10 s"));
        sleeper.signal("CONT");
        waiting.wait_for(&format!("{named} is heard again"));
        first.signal("TERM");
        let (code, said) = first.end();
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(said.contains("was not heard"), frozen == 1, "who was frozen blames nobody: {said}");
        let (code, said) = second.end();
        assert_eq!(code, Some(4), "{said}");
    }
}

/// Where the run ended, and where a command was under way.
#[test]
fn beside_a_frozen_process_one_interrupt_is_enough() {
    for has_command in [false, true] {
        let AtTheEnd { place, offset, addresses, first, second, url } = two_at_the_end();
        second.signal("STOP");
        if has_command {
            let letter = serde_json::json!({ "partition": "facts/0", "offset": offset, "record": MENDED });
            let path = "/v1/dead-letters/re-enter?wait_ms=200";
            assert_eq!(request(&url, "POST", path, &letter.to_string()).0, 202, "the other process has to read it");
        }
        first.signal("TERM");
        let (code, said) = first.end();
        assert_eq!(code, Some(0), "{said}");
        let waited_for = format!("process 1 ({}) ", addresses[1]);
        assert!(said.contains(&format!("{waited_for}did not end, and is not waited for any more")), "{said}");
        second.signal("CONT");
        let (code, said) = second.end();
        let is_told =
            said.contains("process 0 has ended the run") || said.contains("is gone; start every process again");
        assert!(matches!(code, Some(0 | 4)) && is_told && !said.contains("panicked"), "{code:?} {said}");
        succeeds(&place.run_once(&[]));
        assert_eq!(changes(&place, "stock", "mended").len(), usize::from(has_command));
        succeeds(&place.aisle(&["replay", "aisle-data"]));
    }
}

#[test]
fn a_taken_port_of_the_cluster_is_named() {
    for (number, place_in_file) in [("0", 0), ("1", 1)] {
        let (place, addresses) = place_of_two();
        let _taken = TcpListener::bind(&addresses[place_in_file]).unwrap();
        let (code, said) = place.start(&process(number, &["--once"])).end();
        assert_eq!(code, Some(2), "{said}");
        let named =
            format!("could not listen on {}, where the host file has process {number}", addresses[place_in_file]);
        assert!(said.contains(&named) && said.lines().count() == 1, "{said}");
        assert!(!place.path("aisle-data").exists(), "nothing was begun");
    }
}

#[test]
fn a_process_with_another_configuration_ends_and_the_right_one_is_waited_for() {
    let (place, _) = place_of_two();
    fs::write(place.path("other.toml"), CONFIGURATION.replace("\"treatment\"", "\"other\"")).unwrap();
    let mut other = process("1", &["--once"]);
    other[1] = "other.toml";
    let second = place.start(&other);
    let mut first = place.start(&process("0", &["--once"]));
    let (code, said) = second.end();
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("process 0 runs something else"), "{said}");
    first.wait_for("process 1 runs something else");
    assert_eq!(place.start(&process("1", &["--once"])).end().0, Some(0));
    let (code, said) = first.end();
    assert_eq!(code, Some(0), "{said}");
    succeeds(&place.aisle(&["replay", "aisle-data"]));
}

/// Process 0 looks whether its logs fit before it waits for anybody.
#[test]
fn a_cut_command_log_is_told_before_the_other_process_is_waited_for() {
    let (place, _) = dead_letters::place();
    write_hosts(&place);
    succeeds(&place.run_once(&[]));
    succeeds(&place.aisle(&["dead-letters", "re-enter", "aisle-data", "--partition", "facts/0"]));
    succeeds(&place.run_once(&[]));
    fs::write(place.path("aisle-data/commands.log"), "").unwrap();
    let words = ["the command log (commands.log) ends at offset 0", "binds commands up to offset 1"];
    refuses(&place.aisle(&process("0", &["--once"])), 1, &words);
}
