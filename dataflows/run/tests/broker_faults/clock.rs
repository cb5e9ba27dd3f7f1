//! The wall clock of the process, put forward by hours and back again while it runs.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;

use crate::broker::eventually;
use crate::oracle::{judge, last_time_ms};
use crate::place::Place;
use crate::rig::{Rig, Turn, now_ms};
use crate::table::row;

const HOUR_MS: i64 = 3_600_000;

/// Compiles the clock that can be moved.
fn library(place: &Place) -> PathBuf {
    let (source, library) =
        (concat!(env!("CARGO_MANIFEST_DIR"), "/tests/broker_faults/clock.c"), place.path("clock.so"));
    let output = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
        .arg(&library)
        .arg(source)
        .output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    library
}

#[test]
fn long_a_clock_that_is_put_forward_and_back() {
    let turn = Turn::take();
    let mut rig = Rig::new(&turn.broker);
    let step = rig.place.path("clock-step");
    fs::write(&step, 0i64.to_le_bytes()).unwrap();
    let put = |by_ms: i64| {
        fs::OpenOptions::new().write(true).open(&step).unwrap().write_all_at(&by_ms.to_le_bytes(), 0).unwrap();
    };
    let library = library(&rig.place);
    let flow = rig.flow();
    let mut running = rig.place.start_with(&["run", "aisle.toml", "--workers", "2"], |command| {
        command.env("LD_PRELOAD", &library).env("CLOCK_STEP", &step);
    });
    running.wait_for("serving on");
    let mut moved = Vec::new();
    for (hours, words) in [(3, "forward"), (-3, "back"), (1, "forward"), (0, "back")] {
        put(hours * HOUR_MS);
        // The run lives by its clock, or by the greatest time that it ever showed: ticks never go back.
        let last = moved.last().map_or(0, |(_, time_ms)| *time_ms);
        let wanted = (now_ms() + hours * HOUR_MS - 60_000).max(last);
        rig.reads(150);
        let time_ms = eventually(&format!("the run's time is that of its clock, {words}"), || {
            let time_ms = last_time_ms(&rig.place)?;
            (time_ms >= wanted).then_some(time_ms)
        });
        moved.push((words, time_ms));
    }
    assert!(moved[0].1 > now_ms() + 2 * HOUR_MS, "it was put forward: {moved:?}");
    rig.end_flow(flow);
    rig.reads_everything();
    rig.finish(running);
    let mut verdict = judge(&rig);
    verdict.wrong += rig.count("events/0", "late") + rig.count("events/1", "late");
    row(
        "clock of aisle put forward by 3 h, back by 6 h, forward, back",
        "the run's own time moved, and never back",
        &verdict,
        turn.began.elapsed(),
    );
}
