//! A broker that is killed, frozen, away for long, or restarted node by node.

use std::time::{Duration, Instant};

use crate::broker::{Broker, eventually, write};
use crate::oracle::judge;
use crate::rig::{PATIENT, Rig, Turn, logs_in_topics, now_ms, steady_writer};
use crate::table::row;

/// Where the three nodes are.
const PORT_OF_THREE: u16 = 19_642;

#[test]
fn a_broker_killed_while_records_flow() {
    let turn = Turn::take();
    let mut rig = Rig::new(&turn.broker);
    let flow = rig.flow();
    let mut running = rig.start();
    rig.reads(200);
    turn.broker.kill();
    assert!(turn.broker.status().contains("stopped"));
    running.wait_for("can't be read now");
    turn.broker.restart();
    rig.reads(200);
    rig.end_flow(flow);
    rig.reads_everything();
    let said = rig.finish(running);
    assert!(said.contains("can be read again"), "{said}");
    row(
        "broker killed -9 under load, restarted",
        "told by the run: can't be read now, can be read again",
        &judge(&rig),
        turn.began.elapsed(),
    );
}

/// The same, and the run's own logs are there, too.
#[test]
fn a_broker_killed_with_the_logs_in_its_topics() {
    let turn = Turn::take();
    let mut rig = Rig::with(&turn.broker, PATIENT, &logs_in_topics());
    let flow = rig.flow();
    let mut running = rig.start();
    rig.reads(200);
    turn.broker.kill();
    running.wait_for("the log can't be written now; the run waits");
    turn.broker.restart();
    rig.reads(200);
    rig.end_flow(flow);
    rig.reads_everything();
    let said = rig.finish(running);
    assert!(said.contains("the log can be written again"), "{said}");
    row(
        "broker killed -9 under load, the logs in its topics",
        "told by the run: the log can't be written now, can be written again",
        &judge(&rig),
        turn.began.elapsed(),
    );
}

/// The sink's topics are on the broker that goes away, too: what is complete lies in the outbox meanwhile.
#[test]
fn long_a_broker_away_for_longer_than_the_idle_time() {
    const IDLE: Duration = Duration::from_millis(2_000);
    let turn = Turn::take();
    let mut rig = Rig::with(&turn.broker, "lateness_ms = 1000\nhold_ms = 2000\nidle_ms = 2000", "");
    let mut running = rig.start();
    let writer = steady_writer(&rig.bootstrap);
    let send = |rig: &mut Rig, id: &str, at_ms: i64| {
        for partition in 0..2 {
            let event = format!(
                r#"{{"tenant":"north","id":"{id}-{partition}","session":"s","kind":"view","event_time_ms":{at_ms}}}"#
            );
            write(&writer, &rig.events, partition, Some(event.as_bytes()));
        }
        rig.produced += 2;
    };
    send(&mut rig, "before", now_ms());
    rig.reads_everything();
    // Silence that is evidenced moves the watermark on, which is what an outage must not do.
    let before = eventually("there is a watermark", || rig.watermark());
    eventually("silence moves the watermark", || (rig.watermark()? > before).then_some(()));
    turn.broker.kill();
    let away = Instant::now();
    running.wait_for("can't be read now");
    for partition in ["events/0", "events/1"] {
        rig.is_told(partition, "behind");
    }
    let at_kill = rig.watermark().unwrap();
    eventually("it is away for long", || (away.elapsed() > IDLE * 3).then_some(()));
    assert_eq!(rig.watermark(), Some(at_kill), "the watermark moved while nothing could be known");
    // What was sent meanwhile is waiting in the producer, and arrives when the broker is back.
    turn.broker.restart();
    send(&mut rig, "after", now_ms());
    rig.reads_everything();
    eventually("the watermark moves again", || (rig.watermark()? > at_kill).then_some(()));
    rig.finish(running);
    let mut verdict = judge(&rig);
    verdict.wrong += rig.count("events/0", "late") + rig.count("events/1", "late");
    row(
        &format!("broker away for {:.1} s, idle time 2 s", away.elapsed().as_secs_f64()),
        "told by the run: can't be read now; the watermark stood; nothing late",
        &verdict,
        turn.began.elapsed(),
    );
}

#[test]
fn long_a_broker_frozen_and_thawed() {
    let turn = Turn::take();
    let mut rig = Rig::new(&turn.broker);
    let flow = rig.flow();
    let mut running = rig.start();
    rig.reads(200);
    turn.broker.to_node("pause", 1);
    assert!(turn.broker.status().contains("paused"));
    running.wait_for("can't be read now");
    turn.broker.to_node("resume", 1);
    rig.reads(200);
    rig.end_flow(flow);
    rig.reads_everything();
    rig.finish(running);
    row(
        "broker frozen (SIGSTOP), thawed",
        "process state T; told by the run: can't be read now",
        &judge(&rig),
        turn.began.elapsed(),
    );
}

#[test]
fn long_three_nodes_restarted_one_after_another() {
    let turn = Turn::of(|| Broker::own_three(PORT_OF_THREE));
    let mut rig = Rig::new(&turn.broker);
    let flow = rig.flow();
    let running = rig.start();
    rig.reads(200);
    let mut fired = Vec::new();
    for node in 1..=3 {
        turn.broker.to_node("restart", node);
        fired.push(node.to_string());
        rig.reads(200);
    }
    rig.end_flow(flow);
    rig.reads_everything();
    rig.finish(running);
    let verdict = judge(&rig);
    let took = turn.began.elapsed();
    turn.broker.stop();
    row(
        "three nodes restarted one after another",
        &format!("new processes of nodes {}", fired.join(", ")),
        &verdict,
        took,
    );
}
