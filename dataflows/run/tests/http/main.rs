//! The server as its users meet it: over a socket.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that can't go on says so by stopping")]

mod limits;
mod listings;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use aisle::http::{Published, ServeError, Server, serve};
use aisle::subscribe::{SubscribeError, subscribe};
use dataflows::answer::Views;
use dataflows::answer::subscribe::HubBounds;
use dataflows::configuration::{HttpSettings, Recorded};
use dataflows::dead_letters::{DeadLetter, DeadLetters};
use dataflows::inventory::availability::{Availability, AvailabilityRow, Reason};
use dataflows::inventory::fact::StockState;
use dataflows::inventory::stock::{Stock, StockRow};
use dataflows::names::Name;
use dataflows::view::{Codecs, Listed, ViewId};
use operators::index::HistoryBounds;
use serde_json::{Value, json};

/// How long an answer is waited for before the test fails rather than hangs.
const PATIENCE: Duration = Duration::from_secs(120);

const HISTORY: HistoryBounds = HistoryBounds { ticks_max: 4, bytes_max: 1 << 30 };

fn stock(number: u64) -> StockRow {
    StockRow {
        tenant: Name::new("north"),
        sku: Name::new(format!("sku-{number}")),
        node: Name::new("n1"),
        state: StockState::Sellable,
        book: Some(3),
        lo: Some(2),
        hi: Some(4),
        variance: None,
        anchor_ms: None,
        rebase_pending: false,
        in_doubt: false,
    }
}

fn available(node: &str, fresh_through_ms: i64) -> AvailabilityRow {
    AvailabilityRow {
        tenant: Name::new("north"),
        sku: Name::new("milk & honey"),
        node: Name::new(node),
        available: true,
        reason: Reason::InStock,
        quantity: 2,
        fresh_through_ms: Some(fresh_through_ms),
    }
}

fn dead_letter(offset: u64) -> DeadLetter {
    DeadLetter {
        partition: Name::new("events-0"),
        offset,
        file: Name::new("events.ndjson"),
        line: offset + 1,
        code: Name::new("not_json"),
        detail: String::new(),
        raw: "A".repeat(64 << 10),
    }
}

fn tick<V: Listed>(published: &Published, tick: u64, rows: Vec<V::Row>) {
    let rows: Vec<(V::Row, i64)> = rows.into_iter().map(|row| (row, 1)).collect();
    let changes = vec![(V::ID, Box::new(rows) as _)];
    published
        .apply_tick(tick, tick as i64 * 1_000, changes, vec![("north".to_owned(), tick as i64)])
        .expect("ticks ascend");
}

/// A server with ticks 0 to 6, of which history keeps 2 and later.
fn server(bounds: HubBounds) -> (Arc<Published>, Server) {
    server_with(bounds, HttpSettings::default())
}

fn server_with(bounds: HubBounds, settings: HttpSettings) -> (Arc<Published>, Server) {
    let published = Arc::new(Published::new(
        Views::new(Codecs::new(&Recorded::default()), &ViewId::all().collect::<Vec<_>>(), HISTORY),
        bounds,
        Some(|| 6_500),
    ));
    for number in 0..6 {
        tick::<Stock>(&published, number, vec![stock(number)]);
    }
    tick::<Availability>(&published, 6, vec![available("n1", 6_500), available("n2", 6_499)]);
    let server = serve("127.0.0.1:0", Arc::clone(&published), settings).expect("any port that is free");
    (published, server)
}

fn get(server: &Server, path: &str) -> (u16, Value) {
    let url = format!("http://{}{path}", server.address());
    let mut response = ureq::get(&url).config().http_status_as_error(false).build().call().expect("the server answers");
    assert_eq!(response.headers()["content-type"], "application/json", "{path}");
    let body = response.body_mut().read_to_string().expect("a whole answer");
    (response.status().as_u16(), serde_json::from_str(&body).expect("an answer is JSON"))
}

/// The frames of a subscription, one after the other.
fn follow(server: &Server, path: &str) -> impl Iterator<Item = Value> + use<> {
    let url = format!("http://{}{path}", server.address());
    let response = ureq::get(&url).call().expect("the server answers");
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let lines =
        BufReader::new(response.into_body().into_reader()).lines().map(|line| line.expect("the stream ends in order"));
    lines.filter_map(|line| {
        line.strip_prefix("data: ").map(|frame| serde_json::from_str(frame).expect("a frame is JSON"))
    })
}

#[test]
fn questions_are_answered() {
    let (_published, server) = server(HubBounds::default());
    let health = json!({"status": "ok", "tick": 6, "time_ms": 6_000, "frontier": 7});
    assert_eq!(get(&server, "/healthz"), (200, health));
    let (status, body) = get(&server, "/v1/views");
    assert_eq!((status, body["views"].as_array().unwrap().len()), (200, ViewId::count()));
    let (status, body) = get(&server, "/v1/views/stock?as_of=3&limit=2&tenant=north");
    assert_eq!((status, &body["tick"], &body["count"], &body["truncated"]), (200, &json!(3), &json!(2), &json!(true)));
    let (_, body) = get(&server, "/v1/views/stock?as_of=1970-01-01T01:00:04.999%2B01:00");
    assert_eq!((&body["tick"], &body["frontier"], &body["count"]), (&json!(4), &json!(7), &json!(5)));
    let (status, body) = get(&server, "/v1/availability?sku=milk%20%26%20honey&nodes=n1,n2,n3");
    let reasons: Vec<&str> =
        body["nodes"].as_array().unwrap().iter().map(|node| node["reason"].as_str().unwrap()).collect();
    assert_eq!((status, reasons), (200, vec!["in_stock", "stale", "unknown"]));
}

#[test]
fn refusals_have_a_status_a_code_and_a_sentence() {
    let (_published, server) = server(HubBounds { subscribers_max: 0, ..HubBounds::default() });
    let too_long = format!("/v1/views/stock?sku={}", "x".repeat(20_000));
    let nodes = format!("/v1/availability?sku=milk&nodes={}", vec!["n"; 101].join(","));
    for (path, status, code) in [
        ("/v1/views/stocks", 404, "unknown_view"),
        ("/v1/views/stocks/changes", 404, "unknown_view"),
        ("/v2", 404, "unknown_path"),
        ("/v1/views/stock?as_of=7", 404, "not_yet_published"),
        ("/v1/views/stock?as_of=1", 410, "gone"),
        ("/v1/views/stock?as_of_ms=1999", 410, "gone"),
        ("/v1/views/stock/changes?token=stock:0000000000000000:1", 410, "gone"),
        ("/v1/views/stock/changes?as_of=1", 410, "gone"),
        ("/v1/views/stock/changes?token=stock", 400, "bad_request"),
        ("/v1/views/stock/changes?token=stock:0000000000000000:99", 404, "not_yet_published"),
        ("/v1/views/stock/changes", 503, "too_many_subscribers"),
        ("/v1/views/stock?colour=red", 400, "bad_request"),
        ("/v1/availability?sku=milk", 400, "bad_request"),
        (&nodes, 400, "bad_request"),
        (&too_long, 400, "bad_request"),
    ] {
        let (answered, body) = get(&server, path);
        assert_eq!((answered, body["error"]["code"].as_str()), (status, Some(code)), "{path}");
        assert!(body["error"]["message"].as_str().unwrap().len() > 20, "{path}");
    }
    let url = format!("http://{}/v1/views/stock", server.address());
    let response = ureq::post(&url).config().http_status_as_error(false).build().send_empty().unwrap();
    assert_eq!(response.status(), 405);
}

#[test]
fn a_subscriber_sees_snapshot_changes_and_progress_and_can_come_back() {
    let (published, server) = server(HubBounds::default());
    let mut frames = follow(&server, "/v1/views/stock/changes?as_of=5");
    let mut next = move || frames.next().unwrap();
    assert_eq!(next(), json!({"snapshot": {"as_of": 5}}));
    for number in 0..6 {
        let frame = next();
        assert_eq!((&frame["tick"], &frame["row"]["sku"]), (&json!(5), &json!(format!("sku-{number}"))));
    }
    assert_eq!(next(), json!({"progress": 6, "sealed_through": {"north": 5}, "token": "stock:0000000000000000:6"}));
    assert_eq!(next()["progress"], 7);
    // By now it follows, or is about to: either way nothing may be lost or come twice.
    tick::<Stock>(&published, 7, vec![stock(7)]);
    let frame = next();
    assert_eq!((&frame["tick"], &frame["diff"], &frame["row"]["sku"]), (&json!(7), &json!(1), &json!("sku-7")));
    assert_eq!(next(), json!({"progress": 8, "sealed_through": {"north": 7}, "token": "stock:0000000000000000:8"}));
    tick::<Stock>(&published, 8, vec![]);
    assert_eq!(next()["progress"], 9, "an empty tick is progress too");

    let mut resumed = follow(&server, "/v1/views/stock/changes?token=stock:0000000000000000:7");
    assert_eq!(resumed.next().unwrap()["row"]["sku"], "sku-7");
    assert_eq!(resumed.next().unwrap()["progress"], 8);
    assert_eq!(resumed.next().unwrap()["progress"], 9);
    tick::<Stock>(&published, 9, vec![]);
    assert_eq!(resumed.next().unwrap()["token"], "stock:0000000000000000:10");
    assert_eq!(published.subscribers(), 2);

    assert_eq!(next()["progress"], 10);
    drop(server);
    assert_eq!(next(), json!({"disconnected": "shutting down", "token": "stock:0000000000000000:10"}));
    assert_eq!(resumed.next().unwrap()["disconnected"], "shutting down");
    assert_eq!(resumed.next(), None);
}

/// A request with these headers and no others: the answer's status, and the connection, from which the rest can be read.
fn ask(server: &Server, path: &str, headers: &str) -> (u16, BufReader<TcpStream>) {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\n{headers}\r\n").as_bytes()).unwrap();
    let mut stream = BufReader::new(stream);
    let mut status = String::new();
    stream.read_line(&mut status).unwrap();
    (status.split(' ').nth(1).unwrap().parse().unwrap(), stream)
}

#[test]
fn a_browser_comes_back_with_the_last_id() {
    let (published, server) = server(HubBounds::default());
    let host = format!("Host: {}\r\n", server.address());
    let (_, events) = ask(&server, "/v1/views/stock/changes?as_of=6", &host);
    let mut lines = events.lines().map(Result::unwrap);
    let id = lines.find_map(|line| line.strip_prefix("id: ").map(str::to_owned)).unwrap();
    let progress = lines.next().unwrap();
    assert!(progress.starts_with("data: {\"progress\":7") && progress.contains(&id), "{id} {progress}");
    tick::<Stock>(&published, 7, vec![stock(7)]);
    // The address is still the one at which it began.
    for path in ["/v1/views/stock/changes?as_of=6", "/v1/views/stock/changes?token=stock:0000000000000000:5"] {
        let (status, events) = ask(&server, path, &format!("{host}Last-Event-ID: {id}\r\n"));
        assert_eq!(status, 200);
        let first = events.lines().map(Result::unwrap).find(|line| line.starts_with("data: ")).unwrap();
        assert!(first.starts_with("data: {\"tick\":7"), "{path}: {first}");
    }
    let (status, _) = ask(&server, "/v1/views/stock/changes", &format!("{host}Last-Event-ID: stock:2\r\n"));
    assert_eq!(status, 410, "of an older build");
}

#[test]
fn pages_of_other_sites_and_rebound_names_are_not_answered() {
    let (_published, server) = server(HubBounds::default());
    let (address, port) = (server.address(), server.address().port());
    for (headers, status) in [
        (format!("Host: {address}\r\n"), 200),
        (format!("Host: localhost:{port}\r\n"), 200),
        (format!("Host: {address}\r\nOrigin: http://{address}\r\n"), 200),
        (format!("Host: rebound.example:{port}\r\n"), 403),
        (format!("Host: rebound.example:{port}\r\nOrigin: http://rebound.example:{port}\r\n"), 403),
        (format!("Host: {address}\r\nOrigin: https://shop.example\r\n"), 403),
    ] {
        for path in ["/v1/views/stock", "/v1/views/stock/changes", "/healthz"] {
            assert_eq!(ask(&server, path, &headers).0, status, "{path} {headers}");
        }
    }
}

/// Pages of sites that the configuration names may read and nothing else.
#[test]
fn pages_of_sites_that_may_read_are_answered() {
    let settings = HttpSettings { origins: vec!["https://desk.example".to_owned()], ..HttpSettings::default() };
    let (_published, server) = server_with(HubBounds::default(), settings);
    let asked = |method: &str, origin: &str, more: &str| {
        let host = server.address();
        let mut stream = TcpStream::connect(host).unwrap();
        let head = format!(
            "{method} /v1/views HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nOrigin: {origin}\r\n{more}\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        (answer.split(' ').nth(1).unwrap().parse::<u16>().unwrap(), answer.to_lowercase())
    };
    let (status, answer) = asked("GET", "https://desk.example", "");
    assert!(status == 200 && answer.contains("access-control-allow-origin: https://desk.example\r\n"), "{answer}");
    let preflight = "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: content-type\r\n";
    let (status, answer) = asked("OPTIONS", "https://desk.example", preflight);
    assert!(status == 200 && answer.contains("access-control-allow-methods: get,head\r\n"), "{answer}");
    assert!(!answer.contains("content-type\r\n"), "no command may be sent: {answer}");
    for (method, origin) in [("GET", "https://shop.example"), ("POST", "https://desk.example")] {
        let (status, answer) = asked(method, origin, "");
        assert_eq!(
            (status, answer.contains("access-control-allow-origin")),
            (403, false),
            "{method} {origin} {answer}"
        );
    }
    let own = format!("http://{}", server.address());
    assert!(!asked("GET", &own, "").1.contains("access-control-allow-origin"), "its own pages need none");
}

#[test]
fn who_is_too_slow_is_disconnected_with_a_token() {
    let (published, server) = server(HubBounds { frames_max: 4, ..HubBounds::default() });
    let mut frames = follow(&server, "/v1/views/dead_letters/changes");
    assert_eq!(frames.next().unwrap(), json!({"snapshot": {"as_of": 6}}));
    assert_eq!(frames.next().unwrap()["progress"], 7);
    // More than any socket takes in while nobody reads.
    for number in 7..107 {
        tick::<DeadLetters>(&published, number, (0..8).map(|place| dead_letter(number * 8 + place)).collect());
    }
    let frames: Vec<Value> = frames.collect();
    let last = frames.last().unwrap();
    assert_eq!(last["disconnected"], "too slow");
    let progress = frames.iter().rev().find(|frame| frame.get("progress").is_some());
    if let Some(progress) = progress {
        assert_eq!(last["token"], progress["token"], "only whole ticks come");
        assert_eq!(frames.iter().filter(|frame| frame.get("row").is_some()).count() as u64 % 8, 0);
    }
    let token = last["token"].as_str().unwrap();
    let (status, _) = get(&server, &format!("/v1/views/dead_letters/changes?token={token}"));
    assert_eq!(status, 410, "history is shorter than what it missed");
}

#[test]
fn the_command_prints_a_line_for_each_frame() {
    let (published, server) = server(HubBounds::default());
    let url = format!("http://{}/", server.address());
    let (mut lines, mut output) = std::io::pipe().unwrap();
    let following = std::thread::spawn(move || subscribe(&url, "stock", Some("stock:0000000000000000:5"), &mut output));
    let mut start = [0; 8];
    lines.read_exact(&mut start).unwrap();
    assert_eq!(&start, b"{\"tick\":");
    server.shutdown();
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    let followed = following.join().unwrap().unwrap();
    assert_eq!(followed.token.as_deref(), Some("stock:0000000000000000:7"));
    assert_eq!(followed.frames as usize, rest.lines().count());
    assert_eq!(published.subscribers(), 0);
}

#[test]
fn what_cannot_be_reached_or_taken_says_what_to_do() {
    let (published, server) = server(HubBounds::default());
    let address = server.address().to_string();
    let Err(error) = serve(&address, published, HttpSettings::default()) else { panic!("one address, two servers") };
    assert!(matches!(&error, ServeError::Taken { .. }) && error.to_string().contains("--listen"), "{error}");
    let url = format!("http://{address}");
    let error = subscribe(&url, "stock", Some("stock:0000000000000000:0"), &mut Vec::new()).unwrap_err();
    assert!(matches!(error, SubscribeError::Refused { status: 410, .. }), "{error}");
    assert!(error.to_string().contains("without a token"), "{error}");
    server.shutdown();
    let error = subscribe(&url, "stock", None, &mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("--url"), "{error}");
}
