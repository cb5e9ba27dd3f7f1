//! A checkpoint of one graph restored by another one, which has an operator more: whatever is new begins without state.
#![allow(clippy::unwrap_used, reason = "a test that can't go on says so by stopping")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use operators::checkpoint::{Checkpoints, Depot, Part, Piece, Restore, StateFormats};
use operators::clock::Mark;
use operators::fold::{Fold, Folded, Posting, Table, rows};
use operators::time::Tick;
use timely::dataflow::operators::{Input, Inspect};

/// The sum of what comes to a key.
struct Sum(&'static str);

impl Fold for Sum {
    type Input = (u64, i64);
    type Key = u64;
    type Event = i64;
    type State = i64;
    type Value = i64;
    type Table = Table<u64, i64>;

    fn name(&self) -> &'static str {
        self.0
    }

    fn keys(&self, (key, addend): &(u64, i64), post: &mut dyn FnMut(u64, i64)) {
        post(*key, *addend);
    }

    fn apply(&self, sum: &mut i64, _: &u64, addend: &i64) {
        *sum += addend;
    }

    fn values(&self, _: &u64, sum: &i64, values: &mut Vec<i64>) {
        values.extend((*sum != 0).then_some(*sum));
    }
}

/// Keeps what it is given.
#[derive(Default)]
struct Shelf(Mutex<Vec<Part>>);

impl Depot for Shelf {
    fn put(&self, _: Tick, _: usize, piece: Piece) {
        if let Piece::Part(part) = piece {
            self.0.lock().unwrap().push(part);
        }
    }

    fn has_room(&self) -> bool {
        true
    }
}

/// The changes of rows, by operator: tick, row, difference.
type Changes = BTreeMap<&'static str, Vec<(Tick, (u64, i64), isize)>>;

/// Runs folds of these names over some ticks, in each of which key 7 gets the tick's number, and takes a checkpoint as of the
/// last one.
fn run(names: &[&'static str], ticks: Range<Tick>, restore: Option<Restore>) -> (Changes, Vec<Part>, StateFormats) {
    let shelf = Arc::new(Shelf::default());
    let (names, depot) = (names.to_vec(), Arc::clone(&shelf));
    let (changes, states) = timely::execute::execute_directly(move |worker| {
        let changes: Rc<RefCell<Changes>> = Rc::default();
        let checkpoints = Checkpoints::new(0, Some(depot), restore);
        let (mut postings, mut marks) = worker.dataflow::<Tick, _, _>(|scope| {
            let (postings, postings_stream) = scope.new_input::<Vec<Posting<u64, i64>>>();
            let (marks, marks_stream) = scope.new_input::<Vec<Mark>>();
            for name in names {
                let shown = Rc::clone(&changes);
                let outlet = rows(|_: &Sum, key: &u64, sum: &i64| Some((*key, *sum)));
                let fold = Rc::new(Sum(name));
                let (rows, _) = postings_stream.clone().fold_into(fold, marks_stream.clone(), &checkpoints, outlet);
                rows.inspect(move |(row, tick, diff)| {
                    shown.borrow_mut().entry(name).or_default().push((*tick, *row, *diff));
                });
            }
            (postings, marks)
        });
        for tick in ticks.clone() {
            postings.advance_to(tick);
            marks.advance_to(tick);
            postings.send(Posting::new(7, tick as i64, tick));
            let checkpoint = tick + 1 == ticks.end;
            marks.send(Mark { tick, now_ms: 0, watermarks: [].into(), reached: [].into(), checkpoint });
        }
        drop((postings, marks));
        while worker.has_dataflows() {
            worker.step();
        }
        (changes.take(), checkpoints.formats())
    });
    let parts = std::mem::take(&mut *shelf.0.lock().unwrap());
    (changes, parts, states)
}

#[test]
fn an_operator_that_a_checkpoint_does_not_have_begins_without_state_as_of_its_tick() {
    let (shown, parts, states) = run(&["Kept"], 1..5, None);
    assert_eq!(shown["Kept"].last(), Some(&(4, (7, 10), 1)));
    assert!(!parts.is_empty());

    let restore = Restore { upper: 5, parts: parts.into_iter().map(Into::into).collect() };
    let (shown, parts, more_states) = run(&["Kept", "Added"], 4..6, Some(restore));
    assert_eq!(more_states.check(&states), Ok(()), "it may be restored");
    assert!(states.check(&more_states).is_err(), "but not the other way round: what \"Added\" holds would be lost");
    // The checkpoint's own tick is given once more. Nobody takes its postings again.
    assert_eq!(shown["Kept"], [(4, (7, 10), 1), (5, (7, 10), -1), (5, (7, 15), 1)]);
    assert_eq!(shown["Added"], [(5, (7, 5), 1)]);
    assert!(parts.iter().any(|part| part.operator == "Added"), "the next checkpoint has it");
}
