//! Experiment events as lines, seeded.
//!
//! Sessions of 12 events that take some 8 minutes, by units that have 1.5 sessions on the average. Of the events 5 % are
//! up to 5 minutes out of order, 0.1 % come 10 to 20 minutes late, and 1 % of the lines occur twice. A session's lines lie
//! in one partition, and a tenant's in all of them.

use std::io::Write;

use crate::experiments::{LATENESS_MS, PARTITIONS, TENANTS, tenant_name};
use crate::random::{Random, mixed};
use crate::sources::Lines;

/// When event time begins.
pub(crate) const BEGINS_MS: i64 = 1_767_225_600_000;

const SESSION_EVENTS: u64 = 12;
const SESSION_SECONDS: u64 = 480;
const DISORDER_MS: u64 = 300_000;
/// How many lines ago a line was at most that occurs again.
const REPEATED_AFTER_MAX: u64 = 5_000;

/// The lines of each partition. `events` are given in all, `rate` of them fall into a second of event time.
pub(crate) fn partitions(seed: u64, events: u64, rate: u64) -> Vec<Lines> {
    let mut random = Random::new(seed);
    let mut partitions = vec![Lines::default(); PARTITIONS];
    for lines in &mut partitions {
        lines.text.reserve((events as usize / PARTITIONS) * 256);
    }
    let concurrent = (rate * SESSION_SECONDS / SESSION_EVENTS).max(1);
    // Each place holds a session and how many of its events were given; at the start they are amid their course.
    let mut places: Vec<(u64, u64)> = (0..concurrent).map(|place| (place, mixed(place) % SESSION_EVENTS)).collect();
    let mut sessions = concurrent;
    let tenants: Vec<String> = (0..u64::from(TENANTS)).map(tenant_name).collect();
    for event in 0..events {
        let (session, given) = &mut places[random.below(concurrent) as usize];
        if *given == SESSION_EVENTS {
            (*session, *given) = (sessions, 0);
            sessions += 1;
        }
        *given += 1;
        let tenant = &tenants[(mixed(unit_of(*session)) % u64::from(TENANTS)) as usize];
        let lines = &mut partitions[(mixed(*session) >> 32) as usize % PARTITIONS];
        if random.per_mille(10) && !lines.ends.is_empty() {
            repeat(lines, &mut random);
            continue;
        }
        let behind_ms = match random.below(1_000) {
            0 => LATENESS_MS as u64 + 1_000 + random.below(LATENESS_MS as u64),
            1..=50 => random.below(DISORDER_MS),
            _ => 0,
        };
        let time_ms = BEGINS_MS + (event * 1_000 / rate) as i64 - behind_ms as i64;
        write_event(lines, &mut random, tenant, event, *session, time_ms);
    }
    partitions
}

fn write_event(lines: &mut Lines, random: &mut Random, tenant: &str, event: u64, session: u64, time_ms: i64) {
    let item = random.below(200_000);
    let (kind, sale) = match random.below(100) {
        0..=49 => ("view", None),
        50..=74 => ("click", None),
        75..=84 => ("add_to_cart", None),
        85..=89 => ("purchase", Some((1 + random.below(3) as i64, 199 + random.below(9_801) as i64))),
        90 => ("return", Some((-1, -199 - random.below(9_801) as i64))),
        _ => ("exposure", None),
    };
    let unit = mixed(unit_of(session)) % 1_000_000_000;
    let text = &mut lines.text;
    let body =
        write!(text, r#"{{"schema":1,"tenant":"{tenant}","id":"event-{event:010}","session":"visit-{session:010}""#)
            .and_then(|()| write!(text, r#","unit":"household-{unit:09}","kind":"{kind}","event_time_ms":{time_ms}"#))
            .and_then(|()| match sale {
                Some((quantity, value)) => write!(text, r#","quantity":{quantity},"value":{value}"#),
                None => Ok(()),
            })
            .and_then(|()| match kind {
                "exposure" => writeln!(text, r#","attributes":{{"experiment":"vouchers","page":"checkout"}}}}"#),
                _ => writeln!(
                    text,
                    r#","item":"sku-{item:07}","attributes":{{"page":"search","position":{}}}}}"#,
                    item % 48
                ),
            });
    body.expect("a vector takes everything");
    lines.ends.push(lines.text.len() as u64);
}

/// The unit of a session: three sessions have two.
fn unit_of(session: u64) -> u64 {
    session * 2 / 3
}

/// Gives one of the last lines again.
fn repeat(lines: &mut Lines, random: &mut Random) {
    let count = lines.ends.len();
    let line = count - 1 - random.below(REPEATED_AFTER_MAX.min(count as u64)) as usize;
    let (from, upto) = (lines.begin_of(line) as usize, lines.ends[line] as usize);
    lines.text.extend_from_within(from..upto);
    lines.ends.push(lines.text.len() as u64);
}
