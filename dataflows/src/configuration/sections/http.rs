//! `[http]`: what clients of the HTTP server may take, and which other sites' pages may read.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::Section;
use crate::configuration::mistake::Mistakes;
use crate::configuration::settings::Settings;
use crate::configuration::table::{Given, Table};
use crate::configuration::values::unsigned;

/// What clients of the HTTP server may take, as `limits.md` says, and whose pages may read.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WrittenHttp {
    /// How many connections there may be, subscriptions among them; 1 to 65536. Each is an open file of the process.
    /// Default: 512.
    connections_max: Given<i64>,
    /// How many of them from one address; 1 to 65536. A proxy in front is one address. Default: 256.
    peer_connections_max: Given<i64>,
    /// A connection is closed that brings no whole head of a request within this, be it idle or slow; 100 to 3600000.
    /// Default: 30000, which is 30 seconds.
    head_ms: Given<i64>,
    /// The body of a command has to be there within this; 100 to 3600000. Default: 30000.
    body_ms: Given<i64>,
    /// A connection is closed whose client takes nothing of an answer for this long; 100 to 3600000. Default: 60000.
    write_ms: Given<i64>,
    /// The most bytes of a command's body; 1024 to 16777216. Default: 16777216, which is 16 MiB.
    body_bytes_max: Given<i64>,
    /// How many bytes of bodies, and of answers that are made as a whole, may be held for all clients together; 1048576 to
    /// 4294967295. Default: 67108864, which is 64 MiB.
    held_bytes_max: Given<i64>,
    /// The sites whose pages may read all views, such as `["https://desk.example"]`. They may give no commands. Default: none.
    origins: Given<Vec<Spanned<String>>>,
}

const CONNECTIONS: RangeInclusive<i64> = 1..=65_536;
const WAIT_MS: RangeInclusive<i64> = 100..=3_600_000;
const BODY_BYTES: RangeInclusive<i64> = 1 << 10..=16 << 20;
const HELD_BYTES: RangeInclusive<i64> = 1 << 20..=u32::MAX as i64;

/// What clients of the HTTP server may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSettings {
    /// How many connections there may be.
    pub connections_max: usize,
    /// How many of them from one address.
    pub peer_connections_max: usize,
    /// Within which the head of a request has to be there.
    pub head: Duration,
    /// Within which a body has to be there.
    pub body: Duration,
    /// For how long a client may take nothing of its answer.
    pub write: Duration,
    /// The most bytes of a body.
    pub body_bytes_max: usize,
    /// The most bytes of all bodies and whole answers.
    pub held_bytes_max: u32,
    /// The sites whose pages may read.
    pub origins: Vec<String>,
}

impl Default for HttpSettings {
    fn default() -> Self {
        HttpSettings {
            connections_max: 512,
            peer_connections_max: 256,
            head: Duration::from_secs(30),
            body: Duration::from_secs(30),
            write: Duration::from_secs(60),
            body_bytes_max: 16 << 20,
            held_bytes_max: 64 << 20,
            origins: Vec::new(),
        }
    }
}

impl Section for WrittenHttp {
    type Read = Table<Self>;
    type Needs<'a> = ();
    type Settled = HttpSettings;

    fn settle(read: &Table<Self>, (): (), mistakes: &mut Mistakes<'_>) -> HttpSettings {
        let WrittenHttp {
            connections_max,
            peer_connections_max,
            head_ms,
            body_ms,
            write_ms,
            body_bytes_max,
            held_bytes_max,
            origins,
        } = &read.written;
        let default = HttpSettings::default();
        let mut number = |name: &str, given: &Given<i64>, bounds, default: u64| -> u64 {
            unsigned(name, given, bounds, default, mistakes)
        };
        let mut wait = |name: &str, given: &Given<i64>, default: Duration| {
            Duration::from_millis(number(name, given, WAIT_MS, default.as_millis() as u64))
        };
        let (head, body) = (wait("head_ms", head_ms, default.head), wait("body_ms", body_ms, default.body));
        let write = wait("write_ms", write_ms, default.write);
        let mut count = |name: &str, given: &Given<i64>, bounds, default: usize| {
            number(name, given, bounds, default as u64) as usize
        };
        HttpSettings {
            connections_max: count("connections_max", connections_max, CONNECTIONS, default.connections_max),
            peer_connections_max: count(
                "peer_connections_max",
                peer_connections_max,
                CONNECTIONS,
                default.peer_connections_max,
            ),
            body_bytes_max: count("body_bytes_max", body_bytes_max, BODY_BYTES, default.body_bytes_max),
            held_bytes_max: unsigned("held_bytes_max", held_bytes_max, HELD_BYTES, default.held_bytes_max, mistakes),
            head,
            body,
            write,
            origins: origins_of(origins, mistakes),
        }
    }

    fn put(settled: HttpSettings, settings: &mut Settings) {
        settings.local.http = settled;
    }
}

fn origins_of(given: &Given<Vec<Spanned<String>>>, mistakes: &mut Mistakes<'_>) -> Vec<String> {
    let origins = given.iter().flat_map(|given| given.get_ref());
    for origin in origins.clone().filter(|origin| !is_origin(origin.get_ref())) {
        let message = format!("\"{}\" is not an origin", origin.get_ref());
        let hint = "write what a browser calls a site, such as \"https://desk.example\" or \"http://10.1.2.3:8080\"; there \
                    is no pattern for all";
        mistakes.add(origin.span(), message, hint);
    }
    origins.map(|origin| origin.get_ref().to_ascii_lowercase()).collect()
}

/// Whether a text is a scheme, a host and perhaps a port, as the header `Origin` has it.
fn is_origin(text: &str) -> bool {
    let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")).unwrap_or_default();
    !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.:[]_".contains(&byte))
}
