use timely::dataflow::InputHandleVec;
use timely::dataflow::operators::{Inspect, Probe};

use super::*;
use crate::binding::Status;
use crate::bindings::Inlet;
use crate::testing::{LANES, Shelf, binding, dealt, first_binding, rest, run, topology};
use crate::time::MINUS_INFINITY;
use crate::topology::{GroupId, PartitionId};
use crate::watermark::{Counts, Spoken};

/// A report of a partition whose lane is at this event time, if it spoke.
fn report(tick: Tick, partition: u32, greatest_ms: Option<TimeMs>) -> Report {
    let spoken = greatest_ms.map(|greatest_ms| Spoken { lane: 0, group: GroupId(0), greatest_ms });
    Report {
        tick,
        partition: PartitionId(partition),
        next: 0,
        status: Status::CaughtUp,
        behind_ms: MINUS_INFINITY,
        spoken: spoken.into_iter().collect(),
        counts: Counts::default(),
        outcomes: Vec::new(),
    }
}

/// Two partitions: both speak, then one falls behind and holds the watermark, then it goes on.
fn story() -> (Vec<Binding>, Vec<Report>) {
    let bindings = vec![
        first_binding(100_000, 2, LANES),
        binding(1, 101_000, &[1, 1]),
        binding(2, 102_000, &[2, 1]),
        binding(3, 103_000, &[2, 2]),
    ];
    let reports = vec![
        report(0, 0, None),
        report(0, 1, None),
        report(1, 0, Some(101_000)),
        report(1, 1, Some(100_500)),
        report(2, 0, Some(102_000)),
        report(2, 1, None),
        report(3, 0, None),
        report(3, 1, Some(103_000)),
    ];
    (bindings, reports)
}

/// Worked out by hand. Before anybody spoke a lane stands an idle time, a minute, behind `now`; a second of lateness is
/// taken from where it stands.
const WATERMARKS_MS: [TimeMs; 4] = [39_000, 99_500, 99_500, 101_000];

fn inlet(bindings: Vec<Binding>) -> Inlet {
    let inlet = Inlet::default();
    bindings.into_iter().for_each(|binding| inlet.give(binding));
    inlet.close();
    inlet
}

fn marks_of(workers: usize, seed: u64) -> Vec<(usize, Mark)> {
    let (bindings, reports) = story();
    let inlet = inlet(bindings);
    run(workers, seed, move |scope, notebook| {
        let worker = scope.index();
        let checkpoints = Checkpoints::default();
        let face = shared_clock(&topology(2, true), &checkpoints);
        let reports = dealt(scope, &reports, |report| report.tick);
        let marks = clock(reports, inlet.bindings(scope), &face, &checkpoints);
        let noted = marks.inspect(move |mark| {
            assert!(face.borrow().upper > mark.tick, "the face is written before its mark is given");
            notebook.note((worker, mark.clone()));
        });
        noted.probe().0
    })
}

#[test]
fn every_worker_has_one_mark_a_tick_and_all_are_alike() {
    for seed in 0..12 {
        let workers = 1 + seed as usize % 3;
        let marks = marks_of(workers, seed);
        for worker in 0..workers {
            let of_worker = marks.iter().filter(|(of, _)| *of == worker);
            let told: Vec<_> = of_worker.map(|(_, mark)| (mark.tick, mark.now_ms, mark.watermarks[0])).collect();
            let expected: Vec<_> = (0..)
                .zip(WATERMARKS_MS)
                .map(|(tick, watermark_ms)| (tick, 100_000 + 1_000 * tick as i64, watermark_ms))
                .collect();
            assert_eq!(told, expected, "seed {seed}, worker {worker} of {workers}");
        }
    }
}

#[test]
fn a_mark_waits_until_no_report_of_its_tick_can_come() {
    timely::execute_directly(|worker| {
        let (bindings, reports) = story();
        let inlet = inlet(bindings);
        let mut to_clock = InputHandleVec::new();
        let checkpoints = Checkpoints::default();
        let face = shared_clock(&topology(2, true), &checkpoints);
        let probe = worker
            .dataflow(|scope| clock(to_clock.to_stream(scope), inlet.bindings(scope), &face, &checkpoints).probe().0);
        for report in reports {
            to_clock.advance_to(report.tick);
            to_clock.send(report.clone());
            rest(worker);
            assert_eq!(face.borrow().upper, report.tick, "the other report may still come");
        }
        to_clock.close();
        worker.step_while(|| !probe.done());
        assert_eq!(face.borrow().upper, 4);
    });
}

#[test]
fn a_restored_clock_goes_on_from_where_it_was() {
    let shelf = std::sync::Arc::new(Shelf::default());
    let (mut bindings, reports) = story();
    bindings[2].checkpoint = true;
    let before = inlet(bindings[..3].to_vec());
    let (told, filled) = (reports[..6].to_vec(), Arc::clone(&shelf));
    run(2, 1, move |scope, _: crate::testing::Notebook<()>| {
        let checkpoints = filled.filled_by(scope.index());
        let face = shared_clock(&topology(2, true), &checkpoints);
        clock(dealt(scope, &told, |report| report.tick), before.bindings(scope), &face, &checkpoints).probe().0
    });
    assert_eq!(shelf.len(), 1, "what all workers have is saved once");

    // The tick of the checkpoint comes once more, and without its reports: nothing may be computed anew.
    bindings[2].checkpoint = false;
    let after = inlet(bindings[2..].to_vec());
    let told = reports[6..].to_vec();
    let marks = run(1, 1, move |scope, notebook| {
        let checkpoints = shelf.restored_on(0, 1, 3, &topology(2, true));
        let face = shared_clock(&topology(2, true), &checkpoints);
        let marks = clock(dealt(scope, &told, |report| report.tick), after.bindings(scope), &face, &checkpoints);
        marks.inspect(move |mark| notebook.note((mark.tick, mark.watermarks[0]))).probe().0
    });
    assert_eq!(marks, [(2, WATERMARKS_MS[2]), (3, WATERMARKS_MS[3])]);
}
