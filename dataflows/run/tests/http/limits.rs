//! What clients may take: connections, time, bytes. Each limit is met here, with real sockets.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aisle::http::{Published, Server};
use dataflows::configuration::HttpSettings;
use dataflows::dead_letters::DeadLetters;
use serde_json::Value;

use super::{HubBounds, PATIENCE, ask, dead_letter, server_with, tick};

/// A time that no test lives to see.
const LONG: Duration = Duration::from_secs(3_600);

/// A time that is over soon.
const SHORT: Duration = Duration::from_millis(200);

/// Waits for nobody but where a test says so.
fn patient() -> HttpSettings {
    HttpSettings { head: LONG, body: LONG, write: LONG, ..HttpSettings::default() }
}

fn start(settings: HttpSettings) -> (Arc<Published>, Server) {
    server_with(HubBounds::default(), settings)
}

/// Sends a text and reads until the server closes the connection.
fn exchange(server: &Server, text: &str) -> String {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // The server may close before it has read all.
    let _ = stream.write_all(text.as_bytes());
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn code(answer: &str) -> (u16, String) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    let code = body["error"]["code"].as_str().unwrap_or_default().to_owned();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), code)
}

/// A connection over which something was asked and answered, and which is still open.
fn open(server: &Server) -> (u16, TcpStream) {
    let (status, stream) = ask(server, "/healthz", "Host: localhost\r\n");
    (status, stream.into_inner())
}

/// Asks on new connections until one is answered.
fn until_answered(server: &Server) {
    let deadline = Instant::now() + PATIENCE;
    while open(server).0 != 200 {
        assert!(Instant::now() < deadline, "nobody left");
        std::thread::yield_now();
    }
}

#[test]
fn a_head_that_does_not_come_ends_the_connection() {
    let (_published, server) = start(HttpSettings { head: SHORT, ..patient() });
    let answer = exchange(&server, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ");
    assert_eq!(code(&answer), (408, "too_slow".to_owned()), "{answer}");
    assert_eq!(exchange(&server, ""), "", "of one that never asked nothing is known");
    // One that stays open behind its answer is closed like one that never asked.
    let answer = exchange(&server, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\"frontier\":7}"), "{answer}");
    let head = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /v1/views HTTP/1.1\r\n";
    let answer = exchange(&server, head);
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 2, "{answer}");
    assert!(answer.contains("HTTP/1.1 408 "), "{answer}");
}

#[test]
fn a_head_has_a_size() {
    let (_published, server) = start(patient());
    let of_bytes = |bytes: usize| {
        let padding = "a".repeat(bytes);
        exchange(
            &server,
            &format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX: {padding}\r\n\r\n"),
        )
    };
    assert!(of_bytes(32 << 10).starts_with("HTTP/1.1 200 "));
    assert!(of_bytes(128 << 10).starts_with("HTTP/1.1 431 "));
}

/// Only a command has a body. What else comes with one is answered before it is there, and closed, as what follows it can't
/// be found.
#[test]
fn a_body_that_nobody_takes_is_not_read() {
    let (_published, server) = start(patient());
    for (method, path, status) in [
        ("GET", "/healthz", 200),
        ("GET", "/v1/views/stock", 200),
        ("GET", "/v1/dead-letters/re-enter", 404),
        ("POST", "/v1/views/stock", 405),
        ("PUT", "/v1/dead-letters/re-enter", 405),
        ("GET", "/nowhere", 404),
    ] {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n");
        for body in ["Content-Length: 100000000\r\n\r\n{", "Transfer-Encoding: chunked\r\n\r\n5\r\n{\"a\":\r\n"] {
            let answer = exchange(&server, &format!("{head}{body}"));
            assert_eq!(code(&answer).0, status, "{method} {path} {answer}");
            assert!(answer.contains("connection: close\r\n"), "{answer}");
        }
        // Whoever sends all of it before it reads has the answer, too.
        let whole = format!("{head}Content-Length: 4000000\r\n\r\n{}", " ".repeat(4_000_000));
        assert_eq!(code(&exchange(&server, &whole)).0, status, "{method} {path}");
    }
}

#[test]
fn connections_have_a_number() {
    let (_published, server) = start(HttpSettings { connections_max: 2, ..patient() });
    let (first, _second) = (open(&server), open(&server));
    let answer = exchange(&server, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(code(&answer), (503, "too_many_connections".to_owned()), "{answer}");
    assert!(answer.contains("retry-after: 1\r\n") && answer.contains("`connections_max`"), "{answer}");
    drop(first);
    until_answered(&server);
}

#[test]
fn connections_of_one_address_have_a_number() {
    let (_published, server) = start(HttpSettings { peer_connections_max: 1, ..patient() });
    let first = open(&server);
    let answer = exchange(&server, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(code(&answer), (429, "too_many_connections".to_owned()), "{answer}");
    assert!(answer.contains("`peer_connections_max`"), "{answer}");
    drop(first);
    until_answered(&server);
}

/// Whoever takes nothing of an answer does not keep its place for ever.
#[test]
fn an_answer_that_nobody_takes_ends_the_connection() {
    let (published, server) = start(HttpSettings { connections_max: 1, write: SHORT, ..patient() });
    // More than sockets take in while nobody reads.
    tick::<DeadLetters>(&published, 7, (0..300).map(dead_letter).collect());
    let deadline = Instant::now() + PATIENCE;
    for path in ["/v1/views/dead_letters", "/v1/views/dead_letters/changes"] {
        let begin = || ask(&server, path, "Host: localhost\r\n");
        let _unread = std::iter::repeat_with(begin).find(|(status, _)| *status == 200 || Instant::now() > deadline);
        until_answered(&server);
    }
}

#[test]
fn the_page_on_limits_has_the_defaults() {
    let page = include_str!("../../../../docs/limits.md");
    let settings = HttpSettings::default();
    for (key, default) in [
        ("connections_max", settings.connections_max as u128),
        ("peer_connections_max", settings.peer_connections_max as u128),
        ("head_ms", settings.head.as_millis()),
        ("body_ms", settings.body.as_millis()),
        ("write_ms", settings.write.as_millis()),
        ("body_bytes_max", settings.body_bytes_max as u128),
        ("held_bytes_max", u128::from(settings.held_bytes_max)),
    ] {
        assert!(page.contains(&format!("| `{key}` | {default} |")), "{key}");
    }
}
