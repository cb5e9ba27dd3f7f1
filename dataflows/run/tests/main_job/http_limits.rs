//! What clients of a run may take: bodies of commands, and listings that nobody reads.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::channel;
use std::time::Duration;

use serde_json::Value;

use super::dead_letters::request;
use super::place::{CONFIGURATION, Place, Running};

/// How long an answer is waited for before the test fails rather than hangs.
const PATIENCE: Duration = Duration::from_secs(60);

const PATH: &str = "/v1/dead-letters/re-enter";

/// Starts a run that serves when its input has ended, and says where.
fn serving(place: &Place, settings: &str) -> (Running, String) {
    let configuration = CONFIGURATION.replace("tick_bytes = 4096", "tick_bytes = 1048576");
    fs::write(place.path("aisle.toml"), format!("{configuration}\n[http]\n{settings}")).unwrap();
    let mut running = place.start(&["run", "aisle.toml", "--listen", "127.0.0.1:0"]);
    let line = running.wait_for("every source has ended; serving on http://");
    let address = line.split("http://").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    (running, address)
}

/// Begins a command with so much of its body.
fn begin(address: &str, framing: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    let head =
        format!("POST {PATH} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n{framing}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    // It may be refused before all is there.
    let _ = stream.write_all(body.as_bytes());
    stream
}

/// The status and the code of the answer behind which the connection is closed.
fn refusal(stream: &mut TcpStream) -> (u16, String) {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let body: Value = serde_json::from_str(body).unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body["error"]["code"].as_str().unwrap().to_owned())
}

#[test]
fn the_body_of_a_command_has_a_size_and_a_time() {
    let place = Place::new();
    let (running, address) = serving(&place, "body_ms = 300\nbody_bytes_max = 4096\n");
    let refused = |framing: &str, body: &str| refusal(&mut begin(&address, framing, body));
    assert_eq!(refused("Content-Length: 100", "{"), (408, "too_slow".to_owned()));
    assert_eq!(refused("Transfer-Encoding: chunked", "1\r\n{\r\n"), (408, "too_slow".to_owned()));
    // By what it says, nothing of it is read.
    assert_eq!(refused("Content-Length: 4097", ""), (413, "too_large".to_owned()));
    let chunk = format!("1001\r\n{}\r\n", " ".repeat(4_097));
    assert_eq!(refused("Transfer-Encoding: chunked", &chunk), (413, "too_large".to_owned()));
    let (status, told) = request(&format!("http://{address}"), "POST", PATH, &" ".repeat(4_096));
    assert_eq!(status, 400, "this much is read: {told}");
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));
}

/// However many send at once, no more is held than the limit says.
#[test]
fn the_bodies_of_all_commands_have_a_size() {
    let place = Place::new();
    let (running, address) = serving(&place, "body_ms = 3600000\nheld_bytes_max = 1048576\n");
    let (told, answers) = channel();
    let most = " ".repeat(700_000);
    let streams: Vec<TcpStream> = (0..2).map(|_| begin(&address, "Content-Length: 700001", &most)).collect();
    for (number, stream) in streams.iter().enumerate() {
        let (told, mut stream) = (told.clone(), stream.try_clone().unwrap());
        std::thread::spawn(move || told.send((number, refusal(&mut stream))));
    }
    let (number, refused) = answers.recv_timeout(PATIENCE).unwrap();
    assert_eq!(refused, (503, "busy".to_owned()));
    // The other one's is as good as before.
    (&streams[1 - number]).write_all(b"{").unwrap();
    assert_eq!(answers.recv_timeout(PATIENCE).unwrap(), (1 - number, (400, "bad_request".to_owned())));
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));
}

/// The command line says what the server said, and not the JSON in which it did.
#[test]
fn a_refusal_is_told_in_words() {
    let place = Place::new();
    let (running, _) = serving(&place, "body_bytes_max = 1024\n");
    let letter = serde_json::json!({ "partition": "events/0", "offset": 1, "record": " ".repeat(2_000) });
    fs::write(place.path("letters.ndjson"), letter.to_string()).unwrap();
    let output = place.aisle(&["dead-letters", "re-enter", "aisle-data", "--letters", "letters.ndjson"]);
    super::place::refuses(&output, 1, &["413: at most 1024 bytes are taken at once"]);
    assert!(!super::place::told(&output).contains("{\"error\""), "{}", super::place::told(&output));
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));
}

/// The memory that a process has, in KiB.
fn resident_kib(running: &Running) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", running.id())).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    resident.split_whitespace().next().unwrap().parse().unwrap()
}

/// A listing of 16 MiB that nobody reads costs a page.
#[test]
fn unread_listings_cost_pages() {
    const LISTINGS: u64 = 120;
    let place = Place::new();
    let mut facts = String::new();
    for number in 0..40_000 {
        let sku = format!("{number:0>240}");
        writeln!(
            facts,
            r#"{{"tenant":"north","id":"f{number}","kind":"count","node":"n1","sku":"{sku}","quantity":1,"event_time_ms":1736000000000,"source":"pos"}}"#
        )
        .unwrap();
    }
    fs::write(place.path("facts.ndjson"), facts).unwrap();
    let (running, address) = serving(&place, "write_ms = 3600000\n");
    let whole = || request(&format!("http://{address}"), "GET", "/v1/views/stock?limit=100000", "");
    let (status, body) = whole();
    assert!(status == 200 && body.len() > 15 << 20, "{status}, {} bytes", body.len());
    let before = resident_kib(&running);
    let begin = |_| {
        let mut stream = TcpStream::connect(&address).unwrap();
        let head = format!("GET /v1/views/stock?limit=100000 HTTP/1.1\r\nHost: {address}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut begins = [0; 1_024];
        stream.read_exact(&mut begins).unwrap();
        assert!(begins.starts_with(b"HTTP/1.1 200 "));
        stream
    };
    let unread: Vec<TcpStream> = (0..LISTINGS).map(begin).collect();
    // Whoever reads has all of it meanwhile.
    assert_eq!(whole().1.len(), body.len());
    let grown = resident_kib(&running).saturating_sub(before);
    println!("{LISTINGS} unread listings of {} bytes: {grown} KiB", body.len());
    // A page of 256 KiB, the connection, and what the allocator keeps.
    assert!(grown < LISTINGS << 11, "{grown} KiB are held for {LISTINGS} listings");
    drop(unread);
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));
}
