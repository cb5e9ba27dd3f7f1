//! Lost, duplicated, wrong: what a disturbed run left, held against its own two logs and against the naive model.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use crate::rows::Row;
use aisle::brokers::Brokers;
use aisle::logs::{self, Logs};
use aisle::schema_lookup::SchemaLookup;
use aisle::{inputs, job};
use connectors::command_log::Commands;
use connectors::kafka::connection::Connection;
use connectors::kafka::sink::Mode;
use connectors::kafka::sink::verify::{Question, verify};
use connectors::local_disk::LocalDisk;
use dataflows::experiment::ExperimentEvents;
use dataflows::inventory::InventoryFacts;
use dataflows::kind::KindId;
use dataflows::view::ViewId;
use operators::framed_log::FramedLog;
use operators::record::{Item, Record};
use operators::source::{Polled, Source};
use operators::timekeeper::read_bindings;
use serde_json::Value;

use crate::broker::eventually;
use crate::history::{History, Records};
use crate::naive::naive_at;
use crate::place::{Place, outputs, told};
use crate::rig::{Rig, SINK_VIEWS};
use crate::table::Verdict;

/// Rows, as text, with how many copies there are of each.
type Rows = BTreeMap<String, i64>;

/// What is wrong after a run that is over and has sent everything.
pub(crate) fn judge(rig: &Rig) -> Verdict {
    let mut verdict = Verdict::default();
    let (model, read) = naive_rows(&rig.place);
    verdict.lost += rig.produced.saturating_sub(read);
    verdict.duplicated += read.saturating_sub(rig.produced);
    if read != rig.produced {
        verdict.told.push(format!("{} records were produced and {read} read", rig.produced));
    }
    against_the_logs(rig, &mut verdict);
    let files = rows_of_files(&rig.place);
    for view in ViewId::all() {
        let none = Rows::new();
        let expected = model.get(view.name()).unwrap_or(&none);
        compare(
            &format!("change files of {}", view.name()),
            files.get(view.name()).unwrap_or(&none),
            expected,
            &mut verdict,
        );
        if SINK_VIEWS.iter().any(|(name, _)| *name == view.name()) {
            let found = rows_of_topic(rig, view.name(), &mut verdict);
            compare(&format!("the topic of {}", view.name()), &found, expected, &mut verdict);
        }
    }
    verdict
}

fn compare(what: &str, found: &Rows, expected: &Rows, verdict: &mut Verdict) {
    let rows: BTreeSet<&String> = found.keys().chain(expected.keys()).collect();
    for row in rows {
        let (found, expected) = (found.get(row).copied().unwrap_or(0), expected.get(row).copied().unwrap_or(0));
        if found != expected {
            verdict.wrong += 1;
            verdict.told.push(format!("{what}: {found} copies instead of {expected}: {row}"));
            verdict.told.truncate(20);
        }
    }
}

/// Replays the run from its two logs: files and messages have to be the same, and every message there once.
fn against_the_logs(rig: &Rig, verdict: &mut Verdict) {
    let replayed = rig.place.aisle(&["replay", "aisle-data", "--configuration", "aisle.toml", "--workers", "1"]);
    if replayed.status.code() != Some(0) || !told(&replayed).contains("are the same") {
        verdict.wrong += 1;
        verdict.told.push(told(&replayed));
    }
    let arguments = ["replay", "aisle-data", "--sink", "main", "--configuration", "aisle.toml"];
    let replayed = rig.place.aisle(&arguments);
    let text = told(&replayed);
    // The other lines are of its progress.
    let line = text.lines().find(|line| line.contains("messages of sink")).unwrap_or_default();
    let counts: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    match (replayed.status.code(), counts.as_slice()) {
        (Some(0), [there, all]) => {
            verdict.lost += all.saturating_sub(*there);
            if there != all {
                verdict.told.push(text);
            }
        }
        _ => {
            verdict.wrong += 1;
            verdict.told.push(text);
        }
    }
    let (view, _) = SINK_VIEWS[0];
    let topic = format!("{}.{view}", rig.engine);
    let verified = rig.place.aisle(&["verify-sink", &topic, "--configuration", "aisle.toml"]);
    if verified.status.code() != Some(0) || !told(&verified).contains("every message is there once") {
        verdict.duplicated += 1;
        verdict.told.push(told(&verified));
    }
}

/// What the messages of a topic add up to, as a reader of committed messages has them.
fn rows_of_topic(rig: &Rig, view: &str, verdict: &mut Verdict) -> Rows {
    let question = Question {
        topic: format!("{}.{view}", rig.engine),
        progress_topic: Some(format!("{}.main.progress", rig.engine)),
        mode: Mode::Transactional,
        patience: Duration::from_secs(60),
    };
    let mut rows = Rows::new();
    let found = verify(&Connection::plaintext(&rig.bootstrap), &question, |_, message| {
        add(&mut rows, view, &message.value.unwrap());
    });
    let found = found.unwrap();
    if let Some(violation) = found.violation {
        verdict.duplicated += 1;
        verdict.told.push(format!("{view}: {violation:?}"));
    }
    rows.retain(|_, copies| *copies != 0);
    rows
}

/// What the change files add up to, by view.
fn rows_of_files(place: &Place) -> BTreeMap<String, Rows> {
    let mut views: BTreeMap<String, Rows> = BTreeMap::new();
    for (path, bytes) in outputs(&place.path("aisle-data")) {
        let view = path.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
        let rows = views.entry(view.clone()).or_default();
        bytes
            .split(|byte| *byte == b'\n')
            .filter(|line| line.starts_with(b"{\"tick\":"))
            .for_each(|line| add(rows, &view, line));
    }
    views.values_mut().for_each(|rows| rows.retain(|_, copies| *copies != 0));
    views
}

fn add(rows: &mut Rows, view: &str, line: &[u8]) {
    let mut change: Value = serde_json::from_slice(line).unwrap();
    let diff = change["diff"].as_i64().unwrap();
    *rows.entry(shown(view, change["row"].take())).or_default() += diff;
}

/// A row as text. Of a dead letter that which the model knows: not the record's bytes, nor the words of the decoder.
fn shown(view: &str, row: Value) -> String {
    match view {
        "dead_letters" => format!("{} {} {}", row["partition"], row["offset"], row["code"]),
        _ => row.to_string(),
    }
}

/// The rows of every view after the last tick, by the naive model over the records that the remap log names; and how many
/// records those are.
fn naive_rows(place: &Place) -> (BTreeMap<String, Rows>, u64) {
    let configuration = place.path("aisle.toml");
    let settings = job::read_settings(&configuration).unwrap();
    let (data, folder) = (place.path("aisle-data"), place.path(""));
    let kafka = settings.local.kafka.as_ref().map(|kafka| (kafka, folder.as_path()));
    let logs = Logs::of_folder(&data, kafka).unwrap();
    let mut log = logs.copy_of_remap(&LocalDisk::new(&data)).unwrap();
    let (first, plan) = job::recorded_plans(&mut log).unwrap().unwrap();
    let bindings = read_bindings(&mut log, &first.topology).unwrap();
    let mut ends = vec![0; plan.partitions.len()];
    bindings
        .iter()
        .flat_map(|binding| &binding.advances)
        .for_each(|advance| ends[advance.partition.0 as usize] = advance.next);

    let brokers = Brokers::of_plan(&plan, settings.local.kafka.as_ref(), &place.path("")).unwrap();
    let sources =
        inputs::sources(&plan, &place.path(""), &brokers, &SchemaLookup::default(), &Commands::default()).unwrap();
    let records =
        sources.into_iter().zip(&ends).map(|(source, end)| match source.kind() == KindId::of::<ExperimentEvents>() {
            true => Records::Events(read_to(source.into_source::<ExperimentEvents>().unwrap(), *end)),
            false => Records::Facts(read_to(source.into_source::<InventoryFacts>().unwrap(), *end)),
        });
    let graph = job::graph_plan(&plan);
    let last = bindings.last().unwrap().tick;
    let history = History {
        catalog: Arc::clone(&graph.catalog),
        topology: Arc::clone(&graph.topology),
        parameters: first.parameters.clone(),
        records: records.collect(),
        plan: graph,
        bindings,
    };
    let lengths = history.records.iter().map(|records| match records {
        Records::Events(items) => items.len() as u64,
        Records::Facts(items) => items.len() as u64,
    });
    let read = lengths.sum();
    let snapshot = naive_at(&history, &BTreeSet::from([last])).remove(&last).unwrap();
    let rows_of = |rows: &BTreeMap<Row, i64>, view: ViewId| {
        let mut shown_rows = Rows::new();
        for (row, copies) in rows {
            *shown_rows.entry(shown(view.name(), serde_json::from_str(&row.to_json()).unwrap())).or_default() += copies;
        }
        shown_rows
    };
    (snapshot.iter().map(|(view, rows)| (view.name().to_owned(), rows_of(rows, *view))).collect(), read)
}

/// The records of a partition below an offset, which has to be there.
fn read_to<R: Record>(mut source: Box<dyn Source<Record = R>>, end: u64) -> Vec<Item<R>> {
    source.seek(0).unwrap();
    let (mut items, mut next) = (Vec::new(), 0);
    if end > 0 {
        eventually("the records are read again", || {
            match source.poll(1 << 20) {
                Ok(Polled::Batch(batch)) => {
                    next = batch.end_offset;
                    items.extend(batch.items);
                }
                Ok(Polled::Nothing | Polled::CaughtUp(_)) => {}
                Ok(Polled::Ended(_)) => unreachable!("a topic has no end"),
                Err(error) => assert!(error.is_transient(), "{error}"),
            }
            (next >= end).then_some(())
        });
    }
    items.retain(|item| item.offset < end);
    items
}

/// What time the last tick of a run that is going on stands for, as its remap log has it; none before there is one.
pub(crate) fn last_time_ms(place: &Place) -> Option<i64> {
    // Whoever reads a log cuts a torn end off: so a copy is read, not the file that is being written.
    let copy = tempfile::tempdir().unwrap();
    fs::copy(place.path("aisle-data").join(logs::REMAP_LOG), copy.path().join(logs::REMAP_LOG)).ok()?;
    let mut log = FramedLog::new(LocalDisk::new(copy.path()), logs::REMAP_LOG);
    let (first, _) = job::recorded_plans(&mut log).ok()??;
    Some(read_bindings(&mut log, &first.topology).ok()?.last()?.now_ms)
}
