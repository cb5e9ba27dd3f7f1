//! Inventory facts, seeded, made as lines and decoded at once by the engine's own decoder.
//!
//! The popularity of a pair of SKU and node goes down with the power 3/4 of its rank. Sales and returns come from the
//! node's tills, receipts, picks and adjustments from its stockroom: both are numbered without gaps, 99 % of all. One in a
//! hundred is a count, which has an id. 5 % of the facts come up to 3 minutes after they happened, 1 % come twice.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt::Write;
use std::sync::Arc;

use dataflows::catalog::Catalog;
use dataflows::inventory::batch::BatchWriter;
use dataflows::inventory::decode::FactDecoder;
use dataflows::inventory::fact::Fact;
use dataflows::inventory::statement::{KINDS, Statement};
use operators::record::{Decode, Item};

use crate::arguments::Arguments;
use crate::inventory::{NODES, PARTITIONS};
use crate::random::Random;

/// When event time begins.
pub(crate) const BEGINS_MS: i64 = 1_767_225_600_000;

const DELAY_SECONDS: u64 = 180;
const REPEATED_AFTER_MAX: u64 = 5_000;
/// A prime: multiples of it go once through all pairs.
const STRIDE: u128 = 2_654_435_761;

/// The facts of each partition, decoded. `facts` are given in all, `rate` of them fall into a second of event time.
pub(crate) fn partitions(arguments: &Arguments, facts: u64, rate: u64, catalog: &Arc<Catalog>) -> Vec<Vec<Item<Fact>>> {
    let mut decoder = FactDecoder::new(Arc::clone(catalog), None, None);
    let mut partitions: Vec<Vec<Item<Fact>>> =
        (0..PARTITIONS).map(|_| Vec::with_capacity(facts as usize / 3)).collect();
    each_line(arguments, facts, rate, |partition, line| {
        let items = &mut partitions[partition];
        let (header, fact) = decoder.decode(line.as_bytes()).expect("generated facts are facts");
        let (offset, length) = (items.len() as u64, line.len() as u32);
        items.push(Item { offset, length, line: offset + 1, outcome: Ok((header, fact)) });
    });
    partitions
}

/// The same facts in batches.
pub(crate) fn batches(arguments: &Arguments, facts: u64, rate: u64) -> Vec<Vec<Vec<u8>>> {
    let mut partitions = vec![Vec::new(); PARTITIONS];
    let mut writers: Vec<BatchWriter> = (0..PARTITIONS).map(|_| BatchWriter::default()).collect();
    each_line(arguments, facts, rate, |partition, line| {
        let said: serde_json::Value = serde_json::from_str(line).expect("generated facts are JSON");
        let writer = &mut writers[partition];
        assert!(writer.push(&statement(&said)), "so many facts fit into a batch");
        if writer.facts() >= arguments.batch_facts {
            partitions[partition].extend(writer.finish());
        }
    });
    for (partition, writer) in partitions.iter_mut().zip(&mut writers) {
        partition.extend(writer.finish());
    }
    partitions
}

fn statement(said: &serde_json::Value) -> Statement<'_> {
    let kind = KINDS.iter().find(|(name, _)| said["kind"] == *name).expect("generated kinds are kinds").1;
    Statement {
        tenant: said["tenant"].as_str(),
        id: said["id"].as_str(),
        node: said["node"].as_str(),
        sku: said["sku"].as_str(),
        quantity: said["quantity"].as_i64(),
        event_time_ms: said["event_time_ms"].as_i64(),
        observed_from_ms: said["observed_from_ms"].as_i64(),
        source: said["source"].as_str(),
        epoch: said["epoch"].as_i64(),
        sequence: said["sequence"].as_i64(),
        ..Statement::of(kind)
    }
}

fn each_line(arguments: &Arguments, facts: u64, rate: u64, mut to: impl FnMut(usize, &str)) {
    let mut random = Random::new(arguments.seed);
    let mut sequences = vec![[0u64; 2]; NODES as usize];
    let mut delayed: BinaryHeap<Reverse<(u64, u64, String)>> = BinaryHeap::new();
    let mut give = |node: u64, line: &str| to(node as usize % PARTITIONS, line);
    let mut line = String::new();
    for number in 0..facts {
        while let Some(Reverse((due, _, _))) = delayed.peek()
            && *due <= number
        {
            let Some(Reverse((_, node, line))) = delayed.pop() else { break };
            give(node, &line);
        }
        let rank = match arguments.every_pair && number < arguments.pairs {
            true => number,
            false => {
                let square = random.fraction();
                let square = square * square;
                (square * square * arguments.pairs as f64) as u64
            }
        };
        let pair = ((u128::from(rank) * STRIDE) % u128::from(arguments.pairs)) as u64;
        let (node, sku) = (pair % NODES, pair / NODES);
        let time_ms = BEGINS_MS + (number * 1_000 / rate) as i64;
        line.clear();
        write_fact(&mut line, &mut random, &mut sequences[node as usize], (number, node, sku, time_ms));
        match random.below(1_000) {
            0..=49 => {
                let due = number + 1 + random.below(DELAY_SECONDS * rate);
                delayed.push(Reverse((due, node, line.clone())));
            }
            50..=59 => {
                give(node, &line);
                let due = number + 1 + random.below(REPEATED_AFTER_MAX);
                delayed.push(Reverse((due, node, line.clone())));
            }
            _ => give(node, &line),
        }
    }
    for Reverse((_, node, line)) in delayed.into_sorted_vec().into_iter().rev() {
        give(node, &line);
    }
}

fn write_fact(line: &mut String, random: &mut Random, sequences: &mut [u64; 2], place: (u64, u64, u64, i64)) {
    let (number, node, sku, time_ms) = place;
    let (kind, source, quantity) = match random.below(100) {
        0..=69 => ("sale", Some(0), 1 + random.below(3) as i64),
        70..=72 => ("return", Some(0), 1),
        73..=82 => ("receipt", Some(1), 6 + random.below(40) as i64),
        83..=94 => ("pick", Some(1), 1 + random.below(4) as i64),
        95..=98 => ("adjust", Some(1), random.below(7) as i64 - 3),
        _ => ("count", None, random.below(60) as i64),
    };
    let name = ["pos", "wms"].get(source.unwrap_or(2)).unwrap_or(&"counter");
    let head = write!(
        line,
        r#"{{"tenant":"north","id":"fact-{number:010}","kind":"{kind}","node":"store-{node:05}","sku":"sku-{sku:08}""#
    );
    let body =
        head.and_then(|()| write!(line, r#","quantity":{quantity},"event_time_ms":{time_ms},"source":"{name}""#));
    let place = body.and_then(|()| match source {
        Some(source) => {
            sequences[source] += 1;
            write!(line, r#","epoch":1,"sequence":{}}}"#, sequences[source])
        }
        None => write!(line, r#","observed_from_ms":{}}}"#, time_ms - 300_000),
    });
    place.expect("a string takes everything");
}
