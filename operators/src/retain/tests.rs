use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::rc::Rc;

use timely::dataflow::operators::vec::Map;
use timely::dataflow::operators::{Inspect, Probe};

use super::*;
use crate::checkpoint::Checkpoints;
use crate::fold::{Folded, Posting, rows};
use crate::testing::{Notebook, dealt, mark, marks, run};

type Change = (u64, Tick, isize);

/// The copies of each row, at each of the ticks whose times these are.
fn shown(until: fn(&u64) -> Until, changes: &[Change], times_ms: &[TimeMs]) -> Vec<Vec<(u64, isize)>> {
    let changes = changes.to_vec();
    let ticks: Vec<_> = (0..).zip(times_ms).map(|(tick, time_ms)| mark(tick, *time_ms)).collect();
    let seen = run(2, 1, move |scope, notebook: Notebook<Change>| {
        let fold = Rc::new(Retain { name: "Retain", until, rows: PhantomData::<u64> });
        let postings = dealt(scope, &changes, |(_, tick, _)| *tick);
        let postings = postings.map(|(row, tick, diff)| Posting::new(row, diff as i64, tick));
        let outlet = rows(|_: &Retain<u64, fn(&u64) -> Until>, row, ()| Some(*row));
        let (kept, _) = postings.fold_into(fold, marks(scope, &ticks), &Checkpoints::default(), outlet);
        kept.inspect(move |change| notebook.note(*change)).probe().0
    });
    let mut rows: BTreeMap<u64, isize> = BTreeMap::new();
    let at = |tick| {
        for (row, _, diff) in seen.iter().filter(|(_, at, _)| *at == tick) {
            *rows.entry(*row).or_default() += diff;
        }
        rows.retain(|_, copies| *copies != 0);
        rows.iter().map(|(row, copies)| (*row, *copies)).collect()
    };
    (0..times_ms.len() as Tick).map(at).collect()
}

#[test]
fn a_row_leaves_in_the_tick_in_which_the_watermark_reaches_its_end() {
    let until = |row: &u64| Until::Watermark(GroupId(1), *row as i64);
    let changes = [(30, 0, 1), (30, 0, 1), (40, 0, 1), (40, 1, -1), (10, 2, 1)];
    let shown = shown(until, &changes, &[0, 29, 30, 100]);
    assert_eq!(shown, [vec![(30, 2), (40, 1)], vec![(30, 2)], vec![], vec![]]);
}

#[test]
fn a_row_leaves_so_long_after_it_came() {
    let until = |_: &u64| Until::AfterMs(30);
    let shown = shown(until, &[(1, 0, 1), (2, 1, 1)], &[5, 20, 34, 35, 49, 50]);
    let both = vec![(1, 1), (2, 1)];
    assert_eq!(shown, [vec![(1, 1)], both.clone(), both, vec![(2, 1)], vec![(2, 1)], vec![]]);
}

#[test]
fn a_row_that_left_may_come_again() {
    let until = |_: &u64| Until::AfterMs(10);
    let shown = shown(until, &[(1, 0, 1), (1, 2, 1)], &[0, 10, 20, 29, 30]);
    assert_eq!(shown, [vec![(1, 1)], vec![], vec![(1, 1)], vec![(1, 1)], vec![]]);
}
