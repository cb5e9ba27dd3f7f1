use std::sync::Arc;

use timely::dataflow::operators::vec::Map;
use timely::dataflow::operators::{Concatenate, Inspect, Probe};

use super::*;
use crate::release::Standing;
use crate::streams::{StreamNames, StreamPlan};
use crate::testing::{Notebook, Shelf, dealt, end, header, mark, marks, run};
use crate::time::MINUS_INFINITY;
use crate::topology::Topology;

/// A pending record: its tick, partition and offset, its id and its content, and whether it is late.
#[derive(Clone, Copy)]
struct Told(Tick, u32, u64, u128, u64, bool);

fn pending(Told(_, partition, offset, id, content, late): Told) -> Pending<String> {
    Pending {
        header: header(id, content, 5),
        partition: PartitionId(partition),
        offset,
        late,
        watermark_ms: 0,
        absent_before_ms: MINUS_INFINITY,
        record: format!("{partition}/{offset}"),
        origin: "file".into(),
        line: offset + 1,
        raw: b"raw".to_vec(),
        is_awaited: false,
    }
}

/// Id 7 comes in both partitions, again a tick later, and once with other content; id 9 is late.
const TOLD: [Told; 7] = [
    Told(0, 1, 0, 7, 1, false),
    Told(0, 0, 4, 7, 1, false),
    Told(0, 0, 5, 8, 1, false),
    Told(0, 1, 1, 9, 1, true),
    Told(1, 1, 2, 7, 1, false),
    Told(1, 1, 3, 7, 2, false),
    Told(1, 0, 6, 9, 1, false),
];

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Seen {
    Released(Tick, String),
    SetAside(Tick, String),
    Told(Tick, u32, Counts),
}

fn resolved(
    workers: usize,
    seed: u64,
    told: &[Told],
    ticks: Vec<Mark>,
    checkpoints: impl Fn(usize, usize) -> Checkpoints + Send + Sync + 'static,
) -> Vec<Seen> {
    let told = told.to_vec();
    let mut seen = run(workers, seed, move |scope, notebook: Notebook<Seen>| {
        let checkpoints = checkpoints(scope.index(), scope.peers());
        let records: Vec<_> = told.iter().map(|told| (told.0, pending(*told))).collect();
        let records = dealt(scope, &records, |(tick, _)| *tick);
        let records = records.map(|(_, pending)| pending);
        let plan = ResolvePlan {
            name: "Resolve",
            late: LatePolicy::SetAside,
            counted_apart: |_: &String| false,
            streams: StreamPlan::NONE,
            checkpoints: &checkpoints,
        };
        let streams = resolve(records, marks(scope, &ticks), plan);
        let (of_released, of_aside) = (notebook.clone(), notebook.clone());
        let released = streams.released.inspect_time(move |tick, released| {
            assert_eq!(released.standing, Standing::OnTime);
            of_released.note(Seen::Released(*tick, released.record.clone()));
        });
        let aside = streams.aside.inspect_time(move |tick, aside| {
            let what = match &aside.reason {
                SetAsideReason::Late(record) => record.clone(),
                SetAsideReason::Dead { rejection, raw, .. } => format!("{} {}", rejection.code, raw.len()),
            };
            of_aside.note(Seen::SetAside(*tick, what));
        });
        let counts = streams.tallies.inspect_time(move |tick, tally| {
            assert!(tally.outcomes.is_empty(), "nobody waits to hear of them");
            notebook.note(Seen::Told(*tick, tally.partition.0, tally.counts));
        });
        scope.concatenate([end(released), end(aside), end(counts)]).probe().0
    });
    seen.sort();
    seen
}

fn added_up(seen: &[Seen]) -> BTreeMap<(Tick, u32), Counts> {
    let mut sums: BTreeMap<(Tick, u32), Counts> = BTreeMap::new();
    for seen in seen {
        if let Seen::Told(tick, partition, counts) = seen {
            sums.entry((*tick, *partition)).or_default().add(counts);
        }
    }
    sums
}

#[test]
fn the_first_in_the_order_of_partitions_and_offsets_counts_wherever_it_comes_from() {
    for seed in 0..12 {
        let workers = 1 + seed as usize % 3;
        let ticks = vec![mark(0, 0), mark(1, 0)];
        let seen = resolved(workers, seed, &TOLD, ticks, |_, _| Checkpoints::default());
        let told: Vec<_> = seen.iter().filter(|seen| !matches!(seen, Seen::Told(..))).cloned().collect();
        let released = |tick, record: &str| Seen::Released(tick, record.to_owned());
        let aside = |tick, record: &str| Seen::SetAside(tick, record.to_owned());
        let expected =
            [released(0, "0/4"), released(0, "0/5"), released(1, "0/6"), aside(0, "1/1"), aside(1, "conflict 3")];
        assert_eq!(told, expected, "seed {seed}, {workers} workers");
        let counts = Counts::default();
        let expected = [
            ((0, 0), Counts { on_time: 2, ..counts }),
            ((0, 1), Counts { duplicate: 1, late: 1, ..counts }),
            ((1, 0), Counts { on_time: 1, ..counts }),
            ((1, 1), Counts { duplicate: 1, dead: 1, ..counts }),
        ];
        assert_eq!(added_up(&seen), BTreeMap::from(expected), "seed {seed}, {workers} workers");
    }
}

#[test]
fn what_was_accepted_is_known_after_a_restore_under_another_number_of_workers() {
    let shelf = Arc::new(Shelf::default());
    let filled = Arc::clone(&shelf);
    let asks = Mark { checkpoint: true, ..mark(0, 0) };
    resolved(2, 3, &TOLD[..4], vec![asks], move |worker, _| filled.filled_by(worker));
    let ticks = vec![mark(1, 0)];
    let seen = resolved(3, 4, &TOLD[4..], ticks, move |worker, peers| {
        shelf.restored_on(worker, peers, 1, &Topology::default())
    });
    let released: Vec<_> = seen.iter().filter(|seen| matches!(seen, Seen::Released(..))).collect();
    assert_eq!(released, [&Seen::Released(1, "0/6".to_owned())]);
}

/// The plain state, without a worker: an identity behind the bound counts as absent.
#[test]
fn an_identity_is_forgotten_behind_the_bound() {
    let mut remembered = Remembered::default();
    let mut decide = |told, absent_before_ms| {
        let record = Pending { absent_before_ms, ..pending(told) };
        let mut given = Vec::new();
        let rules: (_, fn(&String) -> bool) = (LatePolicy::SetAside, |_| true);
        let names = &mut StreamNames::new(StreamPlan::NONE);
        let counts = remembered.decide(vec![record], rules, &mark(0, 0), names, |decided| given.push(decided));
        (given.len(), counts.into_values().next().expect("one partition was told").counts)
    };
    let again = |offset| Told(0, 0, offset, 7, 1, false);
    let accepted = Counts { on_time: 1, counted_apart: 1, ..Counts::default() };
    assert_eq!(decide(again(0), 0), (1, accepted));
    assert_eq!(decide(again(1), 5), (0, Counts { duplicate: 1, ..Counts::default() }), "its event time is 5");
    assert_eq!(decide(again(2), 6), (1, accepted));
}
