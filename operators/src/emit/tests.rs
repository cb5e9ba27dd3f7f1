use std::collections::BTreeSet;

use timely::dataflow::InputHandleVec;
use timely::dataflow::operators::Probe;

use super::*;
use crate::testing::{Notebook, dealt, mark, marks, rest, run};

type Change = (u64, Tick, isize);

/// Rows come, leave, and come and leave within one tick.
fn changes() -> Vec<Change> {
    let of_tick = |tick: Tick| {
        let came = (0..20).map(move |row| (row * 7 + tick, tick, 1));
        let left = (0..20).filter(move |row| row % 3 == 0 && tick > 0).map(move |row| (row * 7 + tick - 1, tick, -1));
        came.chain(left).chain([(1_000, tick, 1), (1_000, tick, -1)])
    };
    (0..5).flat_map(of_tick).collect()
}

/// Where an emission went: its worker, and what it is.
type Noted = (usize, Emitted<u64>);

fn emitted(workers: usize, seed: u64, shards: Shards, restored_upper: Tick) -> Vec<Noted> {
    let mut noted = run(workers, seed, move |scope, notebook: Notebook<Noted>| {
        let worker = scope.index();
        // A message of a tick may hold changes of the one after it.
        let changes =
            dealt(scope, &changes(), |(row, tick, _)| if row % 4 == 0 { tick.saturating_sub(1) } else { *tick });
        let ticks: Vec<Mark> = (0..5).map(|tick| mark(tick, 0)).collect();
        let plan = EmitPlan {
            name: "Emit",
            shards,
            restored_upper,
            place: |row: &u64| row / 7,
            publish: move |emitted| notebook.note((worker, emitted)),
        };
        emit(changes, marks(scope, &ticks), plan).probe().0
    });
    noted.iter_mut().for_each(|(_, emitted)| emitted.make_canonical());
    noted.sort_by_key(|(_, emitted)| (emitted.tick, emitted.shard));
    noted
}

/// What each shard has to be given, by tick.
fn expected(count: u32) -> Vec<(Tick, u32, Vec<(u64, i64)>)> {
    let mut expected: BTreeMap<(Tick, u32), Vec<(u64, i64)>> = BTreeMap::new();
    for (row, tick, diff) in changes() {
        let shard = (row / 7 % u64::from(count)) as u32;
        expected.entry((tick, shard)).or_default().push((row, diff as i64));
    }
    let canonical = |((tick, shard), changes)| {
        let mut emitted = Emitted { tick, shard, changes };
        emitted.make_canonical();
        (tick, shard, emitted.changes)
    };
    expected.into_iter().map(canonical).collect()
}

#[test]
fn each_shard_is_given_each_tick_once_and_on_its_own_worker() {
    for seed in 0..12 {
        let workers = 1 + seed as usize % 3;
        for count in [1, 4] {
            let shards = Shards { count, first_worker: 1, workers };
            let noted = emitted(workers, seed, shards, 0);
            for (worker, emitted) in &noted {
                assert_eq!(*worker, (1 + emitted.shard as usize) % workers, "shard {}", emitted.shard);
            }
            let given: Vec<_> =
                noted.into_iter().map(|(_, emitted)| (emitted.tick, emitted.shard, emitted.changes)).collect();
            assert_eq!(given, expected(count), "seed {seed}, {workers} workers, {count} shards");
        }
    }
}

#[test]
fn a_restored_collection_comes_in_pieces_that_add_up_to_it() {
    let shards = Shards { count: 4, first_worker: 0, workers: 3 };
    let noted = emitted(3, 5, shards, 1);
    let of_first = noted.iter().filter(|(_, emitted)| emitted.tick == 0).count();
    assert!(of_first > 4, "{of_first} pieces");
    let mut sums: BTreeMap<(Tick, u32), Vec<(u64, i64)>> = BTreeMap::new();
    for (_, emitted) in noted {
        sums.entry((emitted.tick, emitted.shard)).or_default().extend(emitted.changes);
    }
    let whole = sums.into_iter().map(|((tick, shard), changes)| {
        let mut emitted = Emitted { tick, shard, changes };
        emitted.make_canonical();
        (tick, shard, emitted.changes)
    });
    assert_eq!(whole.collect::<Vec<_>>(), expected(4));
}

#[test]
fn a_tick_is_given_once_it_is_complete_and_before_the_frontier_passes_it() {
    timely::execute_directly(|worker| {
        let (notebook, mut to_emit, mut to_marks) =
            (Notebook::new(), InputHandleVec::<Tick, Change>::new(), InputHandleVec::<Tick, Mark>::new());
        let notes = notebook.clone();
        let probe = worker.dataflow(|scope| {
            let plan = EmitPlan {
                name: "Emit",
                shards: Shards { count: 1, first_worker: 0, workers: 1 },
                restored_upper: 0,
                place: |row: &u64| *row,
                publish: move |emitted: Emitted<u64>| notes.note((emitted.tick, emitted.changes)),
            };
            emit(to_emit.to_stream(scope), to_marks.to_stream(scope), plan).probe().0
        });
        to_emit.send((7, 0, 1));
        to_marks.send(mark(0, 0));
        to_marks.advance_to(1);
        rest(worker);
        assert_eq!(notebook.take(), [], "more of tick 0 may come");
        assert!(probe.less_equal(&0));
        to_emit.send((8, 0, 1));
        to_emit.advance_to(1);
        worker.step_while(|| probe.less_equal(&0));
        assert_eq!(notebook.take(), [(0, vec![(7, 1), (8, 1)])]);
        to_emit.close();
        to_marks.close();
        worker.step_while(|| !probe.done());
        assert_eq!(notebook.take(), [], "a tick without changes is not given");
    });
}

#[test]
fn marks_go_out_in_order_on_the_first_worker_alone() {
    let seen = run(3, 2, |scope, notebook| {
        let ticks: Vec<Mark> = (0..4).map(|tick| mark(tick, 10 * tick as i64)).collect();
        let worker = scope.index();
        marks_to(marks(scope, &ticks), move |mark| notebook.note((worker, mark.tick, mark.now_ms))).probe().0
    });
    assert_eq!(seen, [(0, 0, 0), (0, 1, 10), (0, 2, 20), (0, 3, 30)]);
    let workers: BTreeSet<usize> = seen.iter().map(|(worker, ..)| *worker).collect();
    assert_eq!(workers, BTreeSet::from([0]));
}
