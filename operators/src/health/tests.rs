use std::rc::Rc;

use timely::dataflow::operators::vec::Map;
use timely::dataflow::operators::{Inspect, Probe};

use super::*;
use crate::checkpoint::Checkpoints;
use crate::fold::{Folded, Posting, rows};
use crate::testing::{Notebook, dealt, mark, marks, run, topology};
use crate::time::Tick;

fn reported(next: u64, counts: Counts) -> News {
    News::Reported { next, status: Status::CaughtUp, counts }
}

/// A partition reports, is told back a verdict, and its group's watermark rises without any news.
#[test]
fn a_partition_has_one_row_that_adds_up_its_counts_and_follows_the_watermark() {
    let read = Counts { read: 2, on_time: 1, ..Counts::default() };
    let told = Counts { duplicate: 1, ..Counts::default() };
    let news: Vec<(Tick, PartitionId, News)> = vec![
        (1, PartitionId(0), reported(20, read)),
        (1, PartitionId(0), News::Told(told)),
        (2, PartitionId(0), reported(30, read)),
    ];
    let ticks: Vec<_> = (0..).zip([0, 5, 5, 9]).map(|(tick, time_ms)| mark(tick, time_ms)).collect();
    let mut seen = run(2, 7, move |scope, notebook: Notebook<(Tick, isize, Health)>| {
        let fold = Rc::new(HealthFold { topology: Arc::new(topology(1, true)) });
        let postings = dealt(scope, &news, |(tick, ..)| *tick);
        let postings = postings.map(|(tick, partition, news)| Posting::new(partition, news, tick));
        let outlet = rows(|_: &HealthFold, _, health: &Health| Some(health.clone()));
        let (changes, _) = postings.fold_into(fold, marks(scope, &ticks), &Checkpoints::default(), outlet);
        changes.inspect(move |(health, tick, diff)| notebook.note((*tick, *diff, health.clone()))).probe().0
    });
    seen.sort();
    let row = |next, watermark_ms, of_reads: i64| Health {
        partition: PartitionId(0),
        next,
        status: Status::CaughtUp,
        counts: Counts { read: 2 * of_reads, on_time: of_reads, duplicate: 1, ..Counts::default() },
        watermark_ms,
    };
    let (first, second, third) = (row(20, 5, 1), row(30, 5, 2), row(30, 9, 2));
    let expected = [(1, 1, first.clone()), (2, -1, first), (2, 1, second.clone()), (3, -1, second), (3, 1, third)];
    assert_eq!(seen, expected);
}
