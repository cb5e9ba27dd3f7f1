//! A process of ours that is killed together with the broker, or frozen for longer than its transactions live.

use crate::broker::eventually;
use crate::oracle::judge;
use crate::rig::{PATIENT, Rig, SHORT_TRANSACTIONS, Turn};
use crate::table::row;
use std::time::{Duration, Instant};

#[test]
fn everything_killed_at_once() {
    let turn = Turn::take();
    let mut rig = Rig::new(&turn.broker);
    let flow = rig.flow();
    let running = rig.start();
    rig.reads(300);
    running.signal("KILL");
    turn.broker.kill();
    let (code, said) = running.end();
    assert_eq!(code, None, "it was killed: {said}");
    assert!(turn.broker.status().contains("stopped"));
    turn.broker.restart();
    rig.is_led();
    let running = rig.start();
    rig.reads(200);
    rig.end_flow(flow);
    rig.reads_everything();
    rig.finish(running);
    row(
        "kill -9 of aisle and broker at once",
        "ended by signal 9; broker's process gone",
        &judge(&rig),
        turn.began.elapsed(),
    );
}

#[test]
fn a_process_frozen_for_longer_than_its_transactions_live() {
    let turn = Turn::take();
    let mut rig = Rig::with(&turn.broker, PATIENT, SHORT_TRANSACTIONS);
    let flow = rig.flow();
    let running = rig.start();
    rig.reads(300);
    running.signal("STOP");
    let frozen = Instant::now();
    let before = eventually("it is frozen", || {
        let state = std::fs::read_to_string(format!("/proc/{}/stat", running.id())).unwrap();
        state.rsplit_once(") ")?.1.starts_with('T').then(|| rig.read())
    });
    // `transaction_timeout_ms` is 5 s, and the broker looks every second.
    eventually("its transactions have died", || (frozen.elapsed() > Duration::from_secs(9)).then_some(()));
    assert_eq!(rig.read(), before, "it was frozen");
    running.signal("CONT");
    rig.reads(300);
    rig.end_flow(flow);
    rig.reads_everything();
    let said = rig.finish(running);
    let went_on =
        if said.contains("sending is interrupted") { "a transaction had died, sending went on" } else { "went on" };
    row(
        "aisle frozen (SIGSTOP) 9 s, transactions live 5 s",
        &format!("process state T; {went_on}"),
        &judge(&rig),
        turn.began.elapsed(),
    );
}
