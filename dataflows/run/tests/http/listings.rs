//! Listings over a socket: of one tick, in pages, compressed where that is asked for, of any name.

use std::io::Read;

use dataflows::configuration::HttpSettings;
use dataflows::dead_letters::DeadLetters;
use dataflows::inventory::stock::{Stock, StockRow};
use dataflows::names::Name;
use serde_json::{Value, json};

use super::{HubBounds, ask, dead_letter, get, server, server_with, stock, tick};

/// What a chunked body holds.
fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n").expect("a chunk has a size");
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            return body;
        }
        body.extend_from_slice(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + 4 + size..];
    }
}

/// Reads until the connection is closed: the head, and the body.
fn answer_of(stream: &mut impl Read) -> (String, Vec<u8>) {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let at = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
    let head = String::from_utf8(bytes[..at].to_vec()).unwrap().to_lowercase();
    let body = if head.contains("transfer-encoding: chunked") { unchunked(&bytes[at..]) } else { bytes[at..].to_vec() };
    (head, body)
}

/// A listing holds neither the views nor what it has not sent: ticks go on while nobody reads it, and once its own has left
/// history it ends, and says why.
#[test]
fn a_listing_that_is_overtaken_by_history_ends_with_an_error() {
    let settings = HttpSettings { head: std::time::Duration::from_secs(3_600), ..HttpSettings::default() };
    let (published, server) = server_with(HubBounds::default(), settings);
    // More than sockets take in while nobody reads.
    tick::<DeadLetters>(&published, 7, (0..300).map(dead_letter).collect());
    let (status, mut unread) = ask(&server, "/v1/views/dead_letters", "Host: localhost\r\n");
    assert_eq!(status, 200);
    let (status, mut read) = ask(&server, "/v1/views/dead_letters", "Host: localhost\r\nConnection: close\r\n");
    assert_eq!(status, 200);
    let (_, body) = answer_of(&mut read);
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&body["tick"], &body["truncated"]), (&json!(7), &json!(true)), "16 MiB are the most of one");
    let rest = format!("/v1/views/dead_letters?cursor={}", body["next"].as_str().unwrap());
    (8..12).for_each(|number| tick::<DeadLetters>(&published, number, vec![dead_letter(1_000 + number)]));
    let (status, rest) = get(&server, &rest);
    assert_eq!(
        (status, &rest["tick"], &rest["frontier"], &rest["truncated"]),
        (200, &json!(7), &json!(12), &json!(false))
    );
    assert_eq!(rest["count"].as_u64().unwrap() + body["count"].as_u64().unwrap(), 300);
    (12..20).for_each(|number| tick::<DeadLetters>(&published, number, vec![dead_letter(1_000 + number)]));
    // The connection would be kept for an hour.
    let (head, body) = answer_of(&mut unread);
    assert!(!head.contains("connection: close"), "nobody knew it then");
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&body["tick"], &body["error"]["code"], body.get("count")), (&json!(7), &json!("gone"), None));
    let rows = body["rows"].as_array().unwrap().len();
    assert!(rows > 0 && rows < 300, "{rows}");
}

#[test]
fn an_answer_is_compressed_where_that_is_asked_for() {
    let (published, server) = server(HubBounds::default());
    tick::<Stock>(&published, 7, (10..3_000).map(stock).collect());
    let asked = |path: &str, more: &str| {
        let (status, mut rest) = ask(&server, path, &format!("Host: localhost\r\nConnection: close\r\n{more}"));
        assert_eq!(status, 200);
        answer_of(&mut rest)
    };
    for path in ["/v1/views/stock", "/v1/views"] {
        let (head, plain) = asked(path, "");
        assert!(!head.contains("content-encoding"), "{head}");
        let (head, compressed) = asked(path, "Accept-Encoding: gzip\r\n");
        assert!(head.contains("content-encoding: gzip") && head.contains("vary: accept-encoding"), "{head}");
        let mut body = Vec::new();
        flate2::read::GzDecoder::new(&compressed[..]).read_to_end(&mut body).unwrap();
        assert!(body == plain && compressed.len() * 3 < plain.len(), "{path}: {}", compressed.len());
    }
    let (head, _) = asked("/healthz", "Accept-Encoding: gzip\r\n");
    assert!(!head.contains("content-encoding"), "too small to be worth it: {head}");
    let events = "Host: localhost\r\nAccept-Encoding: gzip\r\n";
    let (_, mut events) = ask(&server, "/v1/views/stock/changes", events);
    let mut head = [0; 400];
    events.read_exact(&mut head).unwrap();
    let head = String::from_utf8_lossy(&head);
    assert!(head.contains("event-stream") && head.contains("{\"snapshot\"") && !head.contains("gzip"), "{head}");
}

#[test]
fn any_name_can_be_asked_for() {
    let (published, server) = server(HubBounds::default());
    let names = ["a/b", "100%", "%2F", "a b+c", "Köln", "a,b", "\u{0}", "?&=#", "\u{fffd}", ".."];
    let row = |name: &&str| StockRow { sku: Name::new(name), node: Name::new(name), ..stock(0) };
    tick::<Stock>(&published, 7, names.iter().map(row).collect());
    for name in names {
        let encoded: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let (status, body) = get(&server, &format!("/v1/views/stock?sku={encoded}&node={encoded}"));
        assert_eq!((status, &body["count"], &body["rows"][0]["node"]), (200, &json!(1), &json!(name)));
        let (status, body) = get(&server, &format!("/v1/availability?sku={encoded}&tenant={encoded}&node={encoded}"));
        assert_eq!((status, &body["sku"], &body["nodes"][0]["node"]), (200, &json!(name), &json!(name)));
    }
    let (status, body) = get(&server, "/v1/views/stock?sku=");
    assert_eq!((status, &body["count"]), (200, &json!(0)), "the empty name is one");
    assert_eq!(get(&server, "/v1/views/stock?sku=%FF").0, 400, "bytes that no name has are no other name");
}
