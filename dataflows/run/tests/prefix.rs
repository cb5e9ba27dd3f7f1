//! Prefix consistency on the real samples: at twenty random ticks of the main job, run as its users run it, every view is
//! exactly what the naive model computes, single-threaded, from the prefix of the input log that the remap log names.
#![allow(clippy::unwrap_used, reason = "a test that can't go on says so by stopping")]
#![allow(dead_code, unreachable_pub, reason = "the model is shared with tests that need more of it")]

#[path = "../../tests/engine"]
mod engine {
    pub mod history;
    pub mod naive;
    pub mod rows;
}

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use aisle::brokers::Brokers;
use aisle::engine::{CompleteTick, Engine, InputOptions, Publish, PublishError, Workers};
use aisle::schema_lookup::SchemaLookup;
use aisle::{inputs, job};
use connectors::command_log::Commands;
use dataflows::experiment::ExperimentEvents;
use dataflows::inventory::InventoryFacts;
use dataflows::kind::KindId;
use dataflows::view::ViewId;
use operators::framed_log::FramedLog;
use operators::memory_disk::MemoryDisk;
use operators::minter::MinterOptions;
use operators::record::{Item, RAW_BYTES_MAX, Record};
use operators::simulation::Random;
use operators::source::{Polled, Source};
use operators::time::Tick;
use operators::timekeeper::{Timekeeper, read_bindings};
use rows::{Row, rows_of};

use engine::{history, naive, rows};
use history::{History, Records};
use naive::{Snapshot, naive_at};

/// Prefixes that are compared.
const PREFIXES: usize = 20;

/// When the run is said to have started: after every event of the samples but the one that is stamped 2099.
const START_MS: i64 = 1_780_000_000_000;

/// Every change, in the order in which the publisher gave it.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<CompleteTick>>>);

impl Publish for Recorder {
    fn publish(&mut self, tick: CompleteTick) -> Result<(), PublishError> {
        self.0.lock().unwrap().push(tick);
        Ok(())
    }
    fn flush(&mut self) -> Result<(), PublishError> {
        Ok(())
    }
}

/// A partition, read whole: its items, its text, and the file it came from.
struct Whole {
    records: Records,
    text: Vec<u8>,
    origin: String,
}

fn read_whole<R: Record>(mut source: Box<dyn Source<Record = R>>, records: fn(Vec<Item<R>>) -> Records) -> Whole {
    source.seek(0).unwrap();
    let (mut items, mut text, mut origin) = (Vec::new(), Vec::new(), String::new());
    loop {
        match source.poll(1 << 20).unwrap() {
            Polled::Batch(batch) => {
                assert_eq!(batch.text_offset, text.len() as u64);
                text.extend_from_slice(&batch.text);
                origin = batch.origin.to_string();
                items.extend(batch.items);
            }
            Polled::Ended(_) => return Whole { records: records(items), text, origin },
            Polled::Nothing | Polled::CaughtUp(_) => unreachable!("a file has more or has ended"),
        }
    }
}

fn length_at(records: &Records, offset: u64) -> usize {
    fn find<R>(items: &[Item<R>], offset: u64) -> usize {
        let at = items.binary_search_by_key(&offset, |item| item.offset).expect("dead letters are records");
        items[at].length as usize
    }
    match records {
        Records::Events(items) => find(items, offset),
        Records::Facts(items) => find(items, offset),
    }
}

/// The model knows neither file names nor the text of records: what a dead letter says of them is filled in here.
fn with_text(snapshot: Snapshot, wholes: &BTreeMap<String, Whole>) -> Snapshot {
    let fill = |row: Row| match row {
        Row::DeadLetter(mut letter) => {
            let whole = &wholes[letter.partition.as_str()];
            letter.file = whole.origin.as_str().into();
            if matches!(letter.code.as_str(), "future" | "conflict") {
                let length = length_at(&whole.records, letter.offset).min(RAW_BYTES_MAX);
                letter.raw = STANDARD.encode(&whole.text[letter.offset as usize..][..length]);
            }
            Row::DeadLetter(letter)
        }
        other => other,
    };
    let filled = snapshot
        .into_iter()
        .map(|(view, rows)| (view, rows.into_iter().map(|(row, count)| (fill(row), count)).collect()));
    filled.collect()
}

#[test]
fn twenty_prefixes_of_the_samples_equal_a_batch_computation() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../samples");
    let settings = job::read_settings(&folder.join("aisle.toml")).unwrap();
    let begin = inputs::Begin { start_ms: START_MS, played: false, interrupted: &AtomicBool::new(false) };
    let plan = inputs::plan(&settings, &folder, None, begin).unwrap().plan;
    let graph = job::graph_plan(&plan);

    let disk = MemoryDisk::new();
    let log = || FramedLog::new(disk.clone(), "remap.log");
    let options = MinterOptions { tick_bytes: 1 << 20, ..MinterOptions::default() };
    let keeper = Timekeeper::open(log(), &plan.topology, options, 4, plan.configuration("test")).unwrap();
    let recorder = Recorder::default();
    let workers = Workers { threads: 2, addresses: Vec::new(), process: 0 };
    let sources =
        inputs::sources(&plan, &folder, &Brokers::default(), &SchemaLookup::default(), &Commands::default()).unwrap();
    let engine = Engine::start(
        &graph,
        &workers,
        sources,
        &InputOptions::new(1 << 20, plan.partitions.len(), Vec::new()),
        Some(keeper),
        Box::new(recorder.clone()),
    )
    .unwrap();
    engine.wait();
    engine.finish(&AtomicBool::new(false)).unwrap();

    let bindings = read_bindings(&mut log(), &plan.topology).unwrap();
    let mut random = Random::new(20);
    let ticks: BTreeSet<Tick> =
        std::iter::repeat_with(|| random.below(bindings.len() as u64)).take(PREFIXES * 4).collect();
    let ticks: BTreeSet<Tick> =
        ticks.into_iter().step_by(3).take(PREFIXES).chain([bindings.len() as u64 - 1]).collect();
    assert!(ticks.len() >= PREFIXES, "the run has {} ticks", bindings.len());

    let mut wholes = BTreeMap::new();
    for (source, partition) in
        inputs::sources(&plan, &folder, &Brokers::default(), &SchemaLookup::default(), &Commands::default())
            .unwrap()
            .into_iter()
            .zip(&plan.topology.partitions)
    {
        let whole = match source.kind() == KindId::of::<ExperimentEvents>() {
            true => read_whole(source.into_source::<ExperimentEvents>().unwrap(), Records::Events),
            false => read_whole(source.into_source::<InventoryFacts>().unwrap(), Records::Facts),
        };
        wholes.insert(partition.name.clone(), whole);
    }
    let history = History {
        catalog: Arc::clone(&graph.catalog),
        topology: Arc::clone(&graph.topology),
        parameters: plan.parameters.clone(),
        records: plan.topology.partitions.iter().map(|partition| wholes[&partition.name].records.clone()).collect(),
        plan: graph,
        bindings,
    };
    let mut expected = naive_at(&history, &ticks);
    drop(history);

    let mut now = Snapshot::new();
    for CompleteTick { mark, changes, .. } in std::mem::take(&mut *recorder.0.lock().unwrap()) {
        for changes in changes {
            let rows = now.entry(changes.view).or_default();
            for (row, diff) in rows_of(&changes) {
                let count = rows.entry(row.clone()).or_default();
                *count += diff;
                if *count == 0 {
                    rows.remove(&row);
                }
            }
        }
        now.retain(|_, rows| !rows.is_empty());
        if let Some(model) = expected.remove(&mark.tick) {
            let model = with_text(model, &wholes);
            for view in ViewId::all() {
                let (ours, theirs) = (now.get(&view), model.get(&view));
                assert!(ours == theirs, "tick {}, view {}: {}", mark.tick, view.name(), first_difference(ours, theirs));
            }
        }
    }
    assert!(expected.is_empty(), "ticks that were never published: {:?}", expected.keys());
}

fn first_difference(ours: Option<&BTreeMap<Row, i64>>, theirs: Option<&BTreeMap<Row, i64>>) -> String {
    let none = BTreeMap::new();
    let (ours, theirs) = (ours.unwrap_or(&none), theirs.unwrap_or(&none));
    let alone = |these: &BTreeMap<Row, i64>, others: &BTreeMap<Row, i64>| {
        these
            .iter()
            .find(|(row, count)| others.get(row) != Some(count))
            .map(|(row, count)| format!("{count} x {}", row.to_json()))
    };
    format!("engine alone {:?}, model alone {:?}", alone(ours, theirs), alone(theirs, ours))
}
