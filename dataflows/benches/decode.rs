//! What decoding a fact costs, from a batch and from JSON: the same facts, one thread.
//! `cargo bench -p dataflows --bench decode`
//!
//! The facts are those of a chain's tills: a sequence per node and till system, ids of 14 bytes, 5,500 nodes and 50,000
//! SKUs in no order, 256 facts a message. A figure counts a decoded fact's way into a vector of items, as a reader's.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use dataflows::catalog::{Catalog, Tenant};
use dataflows::inventory::batch::{BatchDecoder, BatchWriter};
use dataflows::inventory::decode::FactDecoder;
use dataflows::inventory::fact::{Fact, FactKind};
use dataflows::inventory::statement::Statement;
use operators::record::{DecodeMessage, Item};

const FACTS: usize = 256 * 800;
const FACTS_A_MESSAGE: usize = 256;
const ITEMS_KEPT: usize = 1_024;
const SLICES: usize = 20;
const ROUNDS: usize = 20;

fn main() {
    let tenants = vec![Tenant { name: "north".into() }];
    let catalog = Arc::new(Catalog::new(tenants, Vec::new(), BTreeMap::new()));
    let (batches, lines) = messages();
    let from_batches = best(&batches, BatchDecoder::new(Arc::clone(&catalog), None, None));
    let from_lines = best(&lines, FactDecoder::new(catalog, None, None));
    let bytes = |messages: &[Vec<u8>]| messages.iter().map(Vec::len).sum::<usize>() as f64 / FACTS as f64;
    let mut out = std::io::stdout();
    for (name, ns, bytes) in [("batch", from_batches, bytes(&batches)), ("JSON", from_lines, bytes(&lines))] {
        let rate = 1e3 / ns;
        writeln!(out, "{name:>6}: {ns:6.0} ns a fact, {rate:5.2} M facts/s, {bytes:4.0} bytes a fact")
            .expect("standard output takes a line");
    }
}

/// The same facts as batches and as lines.
fn messages() -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let (mut batches, mut lines) = (Vec::new(), Vec::new());
    let mut writer = BatchWriter::default();
    let mut state = 7_u64;
    let mut sequences = vec![0_i64; 5_500];
    for number in 0..FACTS {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (place, sku) = ((state >> 33) as usize % sequences.len(), (state >> 40) % 50_000);
        let (id, node, sku) = (format!("f-{number:012}"), format!("store-{place:04}"), format!("sku-{sku:07}"));
        sequences[place] += 1;
        let (sequence, event_time_ms) = (sequences[place], 1_736_121_600_000 + number as i64 / 2);
        writer.push(&Statement {
            tenant: Some("north"),
            id: Some(&id),
            node: Some(&node),
            sku: Some(&sku),
            quantity: Some(2),
            event_time_ms: Some(event_time_ms),
            source: Some("pos"),
            epoch: Some(1),
            sequence: Some(sequence),
            ..Statement::of(FactKind::Sale)
        });
        if writer.facts() == FACTS_A_MESSAGE {
            batches.extend(writer.finish());
        }
        lines.push(
            format!(
                r#"{{"tenant":"north","id":"{id}","kind":"sale","node":"{node}","sku":"{sku}","quantity":2,"event_time_ms":{event_time_ms},"source":"pos","epoch":1,"sequence":{sequence}}}"#
            )
            .into_bytes(),
        );
    }
    batches.extend(writer.finish());
    (batches, lines)
}

/// The ns a fact: the messages are decoded in slices of some ms, and each slice counts as in its fastest round, so that
/// a machine with other work does not distort the figure.
fn best<D: DecodeMessage<Record = Fact>>(messages: &[Vec<u8>], mut decoder: D) -> f64 {
    let mut items: Vec<Item<Fact>> = Vec::new();
    let mut slice_ns = |slice: &[Vec<u8>]| {
        let began = Instant::now();
        for (offset, message) in (0..).zip(slice) {
            // A reader gives its items away; the vector is kept here, so that its growth is not measured.
            if items.len() >= ITEMS_KEPT {
                items.clear();
            }
            decoder.decode_message(message, |part, outcome| {
                let outcome = outcome.map_err(|rejection| (rejection, Vec::new()));
                items.push(Item { offset, length: part.length, line: part.place, outcome });
            });
        }
        let elapsed = began.elapsed();
        assert!(black_box(&items).iter().all(|item| item.outcome.is_ok()), "generated facts are facts");
        elapsed.as_nanos()
    };
    let slices = messages.chunks(messages.len() / SLICES);
    let fastest = slices.map(|slice| (0..ROUNDS).map(|_| slice_ns(slice)).min().expect("there are rounds"));
    fastest.sum::<u128>() as f64 / FACTS as f64
}
