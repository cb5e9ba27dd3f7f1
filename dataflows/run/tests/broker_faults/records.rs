//! Records that are the fault: hung transactions, poison, duplicates, disorder.

use rdkafka::ClientConfig;
use rdkafka::producer::Producer;
use std::time::{Duration, Instant};

use crate::broker::{PATIENCE, Writer, eventually, unique, write};
use crate::hanging::{Forged, ForgedMessage, hang};
use crate::oracle::judge;
use crate::rig::{PATIENT, Rig, Turn, now_ms, steady_writer};
use crate::table::row;

fn event(id: &str, at_ms: i64) -> String {
    format!(r#"{{"tenant":"north","id":"{id}","session":"s","kind":"view","event_time_ms":{at_ms}}}"#)
}

/// A writer whose transactions the broker gives up after five seconds of silence.
fn transactional_writer(bootstrap: &str) -> Writer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("transactional.id", unique("hung"));
    let writer: Writer = config.set("transaction.timeout.ms", "5000").create().unwrap();
    writer.init_transactions(PATIENCE).unwrap();
    writer
}

/// What an open transaction covers is not read, and nobody takes that for silence, though nothing can be read behind it.
#[test]
fn a_transaction_of_a_producer_that_hangs() {
    let turn = Turn::take();
    let mut rig = Rig::with(&turn.broker, "lateness_ms = 1000\nhold_ms = 1000\nidle_ms = 1000", "");
    let writer = steady_writer(&rig.bootstrap);
    let send = |rig: &mut Rig, partition: i32, id: &str, at_ms: i64| {
        write(&writer, &rig.events, partition, Some(event(id, at_ms).as_bytes()));
        writer.flush(PATIENCE).unwrap();
        rig.produced += 1;
    };
    let running = rig.start();
    (0..2).for_each(|partition| send(&mut rig, partition, &format!("before-{partition}"), now_ms()));
    rig.reads_everything();
    rig.is_told("events/0", "idle");
    let hung = transactional_writer(&rig.bootstrap);
    hung.begin_transaction().unwrap();
    write(&hung, &rig.events, 0, Some(event("never", now_ms()).as_bytes()));
    hung.flush(PATIENCE).unwrap();
    let began = Instant::now();
    rig.is_told("events/0", "behind");
    let at_begin = rig.watermark().unwrap();
    // Another record, committed, behind the open transaction: it can't be read yet, and must not become late by that.
    let held_ms = now_ms();
    send(&mut rig, 0, "behind", held_ms);
    eventually("it hangs for long", || (began.elapsed() > Duration::from_millis(3_500)).then_some(()));
    assert_eq!(rig.watermark(), Some(at_begin), "the watermark moved under an open transaction");
    assert_eq!(rig.health("events/0").unwrap()["status"], "behind");
    assert_eq!(rig.read(), rig.produced - 1);
    // Nobody aborts it: the broker does, once it has been silent for five seconds.
    rig.reads_everything();
    eventually("the watermark moves again", || (rig.watermark()? > at_begin).then_some(()));
    let took = began.elapsed();
    rig.finish(running);
    drop(hung);
    let mut verdict = judge(&rig);
    verdict.wrong += rig.count("events/0", "late");
    row(
        "producer's transaction hangs until the broker gives it up",
        &format!("partition behind and the watermark stood for {:.1} s", took.as_secs_f64()),
        &verdict,
        turn.began.elapsed(),
    );
}

/// A broker that is killed at the wrong moment does this, one time of five: here it is done to a log and a sink at will, while
/// they write and while nobody does.
#[test]
fn transactions_that_the_broker_forgot() {
    let turn = Turn::take();
    let remap = unique("remap");
    let logs = format!("[logs]\nremap_topic = \"{remap}\"\ncreate = true\nreplicas = 1\n");
    let mut rig = Rig::with(&turn.broker, PATIENT, &logs);
    let (view, progress) = (format!("{}.stock", rig.engine), format!("{}.main.progress", rig.engine));
    let (bootstrap, id) = (rig.bootstrap.clone(), format!("{}-main-0", rig.engine));
    let forget = || {
        let forged = |topic: &str| Forged {
            topic: topic.to_owned(),
            partition: 0,
            messages: vec![ForgedMessage::garbage("never")],
        };
        hang(&bootstrap, &remap, &[forged(&remap)]);
        hang(&bootstrap, &id, &[forged(&view), forged(&progress)]);
    };
    let mut running = rig.start();
    rig.produce(200);
    rig.reads_everything();
    forget();
    rig.produce(200);
    running.wait_for("the cluster forgot to end a transaction of ours");
    rig.reads_everything();
    rig.finish(running);
    forget();
    rig.produce(200);
    let running = rig.start();
    rig.reads_everything();
    let said = rig.finish(running);
    let aborted = said.matches("the cluster forgot to end a transaction of ours").count();
    assert_eq!(aborted, 3, "{said}");
    row(
        "transactions of a log and a sink that the broker forgot to end",
        "told by the run: the cluster forgot to end a transaction of ours",
        &judge(&rig),
        turn.began.elapsed(),
    );
}

#[test]
fn poison_duplicates_and_disorder_in_one_run() {
    const LARGE_BYTES: usize = 10 << 20;
    let turn = Turn::take();
    let mut rig = Rig::of(
        &turn.broker,
        "lateness_ms = 60000\nhold_ms = 86400000\nidle_ms = 86400000",
        "",
        &[("max.message.bytes", "12000000")],
    );
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &rig.bootstrap).set("enable.idempotence", "true");
    let writer: Writer = config.set("message.max.bytes", "12000000").create().unwrap();
    let running = rig.start();
    let base_ms = now_ms() - 3_600_000;
    let deep = format!("{{\"tenant\":{}1{}}}", "[".repeat(20_000), "]".repeat(20_000));
    let large = format!("{{\"tenant\":\"{}\"}}", "x".repeat(LARGE_BYTES));
    let poison: [Option<&[u8]>; 9] = [
        Some(b"{\"broken\":"),
        Some(b""),
        Some(b"\xff\xfe\x00"),
        Some(b"{\"tenant\":\"north\",\"id\":\"\xc3\x28\"}"),
        Some(deep.as_bytes()),
        Some(large.as_bytes()),
        Some(b"{\"tenant\":\"nobody\",\"id\":\"1\",\"session\":\"s\",\"kind\":\"view\",\"event_time_ms\":1}"),
        Some(b"{\"tenant\":\"north\",\"id\":\"1\",\"session\":\"s\",\"kind\":\"view\",\"event_time_ms\":99999999999999999999}"),
        None,
    ];
    let mut send = |topic: &str, partition: i32, value: Option<&[u8]>| {
        write(&writer, topic, partition, value);
        rig.produced += 1;
    };
    let (events, facts) = (rig.events.clone(), rig.facts.clone());
    // A source of which nothing can be taken would be an exit code of its own.
    let fact = format!(
        r#"{{"tenant":"north","id":"f","kind":"count","node":"n","sku":"k","quantity":1,"event_time_ms":{base_ms},"source":"pos"}}"#
    );
    send(&facts, 0, Some(fact.as_bytes()));
    for round in 0..9i64 {
        for number in 0..40i64 {
            // Disorder up to the lateness and far beyond it; every fifth record is sent again, to both partitions.
            let of = round * 40 + number;
            let at_ms = base_ms + of * 500 - (of * 7_919 % 13) * 9_000;
            let line = event(&format!("p{of}"), at_ms);
            send(&events, (of % 2) as i32, Some(line.as_bytes()));
            if of % 5 == 0 {
                (0..2).for_each(|partition| send(&events, partition, Some(line.as_bytes())));
            }
        }
        for (topic, partition) in [(&events, 0), (&events, 1), (&facts, 0)] {
            send(topic, partition, poison[round as usize]);
        }
    }
    writer.flush(PATIENCE).unwrap();
    rig.reads_everything();
    rig.finish(running);
    let counted = |name: &str| ["events/0", "events/1", "facts/0"].iter().map(|of| rig.count(of, name)).sum::<u64>();
    let (dead, late, duplicate) = (counted("dead_letters"), counted("late"), counted("duplicate"));
    assert_eq!(dead, 27, "every poison record, and nothing else, is a dead letter");
    assert!(late > 0 && duplicate > 0, "{late} late, {duplicate} duplicates");
    row(
        "poison records (10 MB, deep, not UTF-8, tombstones), duplicates, disorder",
        &format!("{dead} dead letters, {late} late, {duplicate} duplicates"),
        &judge(&rig),
        turn.began.elapsed(),
    );
}
