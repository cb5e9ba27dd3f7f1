use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;

use differential_dataflow::AsCollection;
use differential_dataflow::operators::CountTotal;
use serde::{Deserialize, Serialize};
use timely::dataflow::operators::vec::Map;
use timely::dataflow::operators::{Concat, Inspect, Probe};

use super::*;
use crate::checkpoint::Checkpoints;
use crate::clock::Mark;
use crate::shard::{PlaceKey, SHARDS, shard_of_hash};
use crate::simulation::Random;
use crate::testing::{Notebook, Shelf, dealt, mark, marks, run};
use crate::topology::Topology;

/// How long behind the watermark a key is shown after its last event.
const KEEP_MS: i64 = 50;

/// Sums by key. A row leaves when the watermark is `KEEP_MS` past the key's last event; the key is forgotten then, and an
/// event that comes later begins anew. The table of states is the caller's.
struct Sums<T>(PhantomData<T>);

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Sum {
    sum: i64,
    last_ms: Option<TimeMs>,
    left: bool,
}

impl Sum {
    fn leaves_ms(&self) -> Option<TimeMs> {
        self.last_ms.map(|last_ms| last_ms + KEEP_MS)
    }
}

impl<T: States<u8, Sum> + 'static> Fold for Sums<T> {
    type Input = (u8, (TimeMs, i64));
    type Key = u8;
    type Event = (TimeMs, i64);
    type State = Sum;
    type Value = i64;
    type Table = T;

    fn name(&self) -> &'static str {
        "Sums"
    }

    fn keys(&self, input: &Self::Input, post: &mut dyn FnMut(u8, (TimeMs, i64))) {
        post(input.0, input.1);
    }

    fn apply(&self, state: &mut Sum, _: &u8, (at_ms, amount): &(TimeMs, i64)) {
        state.sum += amount;
        state.last_ms = state.last_ms.max(Some(*at_ms));
    }

    fn seal(&self, state: &mut Sum, _: &u8, now: &Now<'_>) {
        state.left = state.leaves_ms().is_some_and(|leaves_ms| now.reached(GroupId(0)) >= leaves_ms);
    }

    fn values(&self, _: &u8, state: &Sum, values: &mut Vec<i64>) {
        if state.last_ms.is_some() && !state.left {
            values.push(state.sum);
        }
    }

    fn wake(&self, _: &u8, state: &Sum) -> Option<Wake> {
        let leaves_ms = state.leaves_ms().filter(|_| !state.left)?;
        Some(Wake::Watermark(GroupId(0), leaves_ms))
    }

    fn retire_at(&self, _: &u8, state: &Sum) -> Option<Wake> {
        Some(Wake::Watermark(GroupId(0), state.leaves_ms()?))
    }

    fn retire(&self, state: &mut Sum, _: &u8, now: &Now<'_>) -> bool {
        state.leaves_ms().is_none_or(|leaves_ms| now.watermark(GroupId(0)) >= leaves_ms)
    }
}

/// The stupidest table: a list, and a map of where each key lies in it.
#[derive(Default)]
struct List {
    entries: Vec<Option<(u8, Sum, TableNotes)>>,
    by_key: BTreeMap<u8, Position>,
}

impl States<u8, Sum> for List {
    type Notes = TableNotes;

    fn fetch_word(&self, _: u64) {}
    fn fetch_entry(&self, _: u64) {}
    fn fetch_position(&self, _: Position) {}

    fn locate(&mut self, hash: u64, key: &u8, make: impl FnOnce() -> Sum) -> Position {
        let fresh = Position { shard: shard_of_hash(hash) as u16, slot: self.entries.len() as u32 };
        let position = *self.by_key.entry(*key).or_insert(fresh);
        if position == fresh {
            self.entries.push(Some((*key, make(), TableNotes::default())));
        }
        position
    }

    fn state(&self, position: Position) -> Option<&Sum> {
        self.entries[position.slot as usize].as_ref().map(|(_, state, _)| state)
    }

    fn entry(&mut self, position: Position) -> Option<(&u8, &mut Sum, &mut TableNotes)> {
        self.entries[position.slot as usize].as_mut().map(|(key, state, notes)| (&*key, state, notes))
    }

    fn remove(&mut self, position: Position) {
        let (key, ..) = self.entries[position.slot as usize].take().expect("an entry is removed once");
        self.by_key.remove(&key);
    }

    fn len(&self) -> usize {
        self.by_key.len()
    }

    fn bytes(&self) -> usize {
        0
    }

    fn shard(&self, shard: u64) -> impl Iterator<Item = (&u8, &Sum, &TableNotes)> {
        let of_shard = self.by_key.values().filter(move |position| u64::from(position.shard) == shard);
        of_shard
            .filter_map(|position| self.entries[position.slot as usize].as_ref())
            .map(|(key, sum, notes)| (key, sum, notes))
    }
}

/// What is told: at a tick, a key has an event.
type Told = (Tick, u8, (TimeMs, i64));

const TICKS: Tick = 12;

/// Events around a watermark that rises unevenly, and the marks.
fn story(seed: u64) -> (Vec<Told>, Vec<Mark>) {
    let mut random = Random::new(seed);
    let (mut told, mut ticks, mut time_ms) = (Vec::new(), Vec::new(), 1_000);
    for tick in 0..TICKS {
        for _ in 0..random.below(12) {
            let at_ms = time_ms - 40 + random.below(60) as i64;
            told.push((tick, random.below(9) as u8, (at_ms, random.below(9) as i64 - 4)));
        }
        time_ms += *random.choose(&[0, 5, 30, 70]);
        ticks.push(mark(tick, time_ms));
    }
    (told, ticks)
}

/// What every key shows at each tick, computed by the words of the fold over plain lists.
fn shown(told: &[Told], ticks: &[Mark]) -> Vec<BTreeMap<u8, i64>> {
    let mut known: BTreeMap<u8, (i64, TimeMs)> = BTreeMap::new();
    let at = |mark: &Mark| {
        for (_, key, (at_ms, amount)) in told.iter().filter(|(tick, ..)| *tick == mark.tick) {
            let (sum, last_ms) = known.entry(*key).or_insert((0, *at_ms));
            (*sum, *last_ms) = (*sum + amount, (*last_ms).max(*at_ms));
        }
        known.retain(|_, (_, last_ms)| mark.watermarks[0] < *last_ms + KEEP_MS);
        known.iter().map(|(key, (sum, _))| (*key, *sum)).collect()
    };
    ticks.iter().map(at).collect()
}

type Changes = Vec<((u8, i64), Tick, isize)>;

/// The changes of the fold's rows.
fn folded<T: States<u8, Sum> + 'static>(
    workers: usize,
    seed: u64,
    (told, ticks): &(Vec<Told>, Vec<Mark>),
    checkpoints: impl Fn(usize, usize) -> Checkpoints + Send + Sync + 'static,
) -> Changes {
    let (told, ticks) = (told.clone(), ticks.clone());
    run(workers, seed, move |scope, notebook: Notebook<((u8, i64), Tick, isize)>| {
        // Some events come in a message of an earlier tick: a posting belongs to its own.
        let first = ticks[0].tick;
        let told = dealt(
            scope,
            &told,
            move |(tick, key, _)| {
                if key % 3 == 0 { tick.saturating_sub(1).max(first) } else { *tick }
            },
        );
        let postings = told.map(|(tick, key, event)| Posting::new(key, event, tick));
        let fold = Rc::new(Sums::<T>(PhantomData));
        let outlet = rows(|_: &Sums<T>, key, sum| Some((*key, *sum)));
        let checkpoints = checkpoints(scope.index(), scope.peers());
        let (changes, _) = postings.fold_into(fold, marks(scope, &ticks), &checkpoints, outlet);
        changes.inspect(move |change| notebook.note(*change)).probe().0
    })
}

/// What the changes add up to at each tick.
fn added_up(changes: &Changes, ticks: &[Mark]) -> Vec<BTreeMap<u8, i64>> {
    let mut rows: BTreeMap<(u8, i64), isize> = BTreeMap::new();
    let at = |mark: &Mark| {
        for (row, _, diff) in changes.iter().filter(|(_, tick, _)| *tick == mark.tick) {
            *rows.entry(*row).or_default() += diff;
        }
        rows.retain(|_, copies| *copies != 0);
        assert!(rows.values().all(|copies| *copies == 1), "{rows:?}");
        rows.keys().copied().collect()
    };
    ticks.iter().map(at).collect()
}

fn without_checkpoints(_: usize, _: usize) -> Checkpoints {
    Checkpoints::default()
}

type OurTable = Table<u8, Sum>;

#[test]
fn the_changes_add_up_to_what_every_key_shows_at_every_tick() {
    let mut left = 0;
    for seed in 0..24 {
        let workers = 1 + seed as usize % 4;
        let story = story(seed);
        let expected = shown(&story.0, &story.1);
        let changes = folded::<OurTable>(workers, seed, &story, without_checkpoints);
        assert_eq!(added_up(&changes, &story.1), expected, "seed {seed}, {workers} workers");
        let silent = |tick: Tick, key: u8| !story.0.iter().any(|(at, of, _)| (*at, *of) == (tick, key));
        left += changes.iter().filter(|((key, _), tick, diff)| *diff < 0 && silent(*tick, *key)).count();
    }
    assert!(left > 30, "rows hardly ever leave without an event: {left}");
}

#[test]
fn any_table_will_do() {
    for seed in 0..8 {
        let story = story(seed);
        let changes = folded::<List>(2, seed, &story, without_checkpoints);
        assert_eq!(added_up(&changes, &story.1), shown(&story.0, &story.1), "seed {seed}");
    }
}

#[test]
fn a_restored_fold_shows_what_it_held_and_goes_on() {
    for seed in 0..16 {
        let (told, mut ticks) = story(seed);
        let at = 1 + seed as usize % (TICKS as usize - 1);
        let (before, after) = (1 + seed as usize % 3, 1 + (seed as usize + 1) % 4);
        let (shelf, expected) = (Arc::new(Shelf::default()), shown(&told, &ticks));
        ticks[at - 1].checkpoint = true;
        let filled = Arc::clone(&shelf);
        let whole =
            folded::<OurTable>(before, seed, &(told.clone(), ticks.clone()), move |worker, _| filled.filled_by(worker));
        assert_eq!(added_up(&whole, &ticks), expected, "seed {seed}: a checkpoint changes nothing");

        ticks[at - 1].checkpoint = false;
        let rest: Vec<Told> = told.into_iter().filter(|(tick, ..)| *tick >= at as Tick - 1).collect();
        let rest = (rest, ticks.split_off(at - 1));
        let resumed = folded::<OurTable>(after, seed + 1, &rest, move |worker, peers| {
            shelf.restored_on(worker, peers, at as Tick, &Topology::default())
        });
        assert_eq!(added_up(&resumed, &rest.1), expected[at - 1..], "seed {seed}, restored at {at}");
    }
}

/// The sums of the even and of the odd keys, and of all keys (10).
#[test]
fn an_outlet_adds_up_what_changed_for_another_fold() {
    for seed in 0..8 {
        let (told, ticks) = story(seed);
        let expected: Vec<BTreeMap<u8, i64>> = shown(&told, &ticks)
            .into_iter()
            .map(|shown| {
                let mut sums = BTreeMap::new();
                for (key, sum) in shown {
                    *sums.entry(key % 2).or_default() += sum;
                    *sums.entry(10).or_default() += sum;
                }
                sums.retain(|_, sum| *sum != 0);
                sums
            })
            .collect();
        let times = ticks.clone();
        let posted = run(2, seed, move |scope, notebook: Notebook<(u8, i64, Tick)>| {
            let postings =
                dealt(scope, &told, |(tick, ..)| *tick).map(|(tick, key, event)| Posting::new(key, event, tick));
            let difference =
                |_: &Sums<OurTable>, key: &u8, old: Option<&i64>, new: Option<&i64>, give: &mut dyn FnMut(u8, i64)| {
                    give(key % 2, new.copied().unwrap_or(0) - old.copied().unwrap_or(0));
                };
            let spread = |parity: &u8, give: &mut dyn FnMut(u8)| [*parity, 10].into_iter().for_each(give);
            let outlet = combined(difference, spread, |sum: &mut i64, more: &i64| *sum += more, PlaceKey::WRITTEN);
            let fold = Rc::new(Sums::<OurTable>(PhantomData));
            let (sums, _) = postings.fold_into(fold, marks(scope, &times), &Checkpoints::default(), outlet);
            sums.inspect(move |posting| notebook.note((posting.key, posting.event, posting.tick))).probe().0
        });
        let mut sums: BTreeMap<u8, i64> = BTreeMap::new();
        for (mark, expected) in ticks.iter().zip(expected) {
            let of_tick: Vec<_> = posted.iter().filter(|(.., tick)| *tick == mark.tick).collect();
            assert!(of_tick.len() <= 2 * 3, "on each worker once for a key and tick");
            of_tick.into_iter().for_each(|(key, sum, _)| *sums.entry(*key).or_default() += sum);
            sums.retain(|_, sum| *sum != 0);
            assert_eq!(sums, expected, "seed {seed}, tick {}", mark.tick);
        }
    }
}

/// The sums of the even and of the odd keys that are shown, not those that are zero, by a stock operator behind the fold.
fn counted(
    workers: usize,
    seed: u64,
    (told, ticks): &(Vec<Told>, Vec<Mark>),
    checkpoints: impl Fn(usize, usize) -> Checkpoints + Send + Sync + 'static,
) -> Changes {
    let (told, ticks) = (told.clone(), ticks.clone());
    run(workers, seed, move |scope, notebook: Notebook<((u8, i64), Tick, isize)>| {
        let postings = dealt(scope, &told, |(tick, ..)| *tick).map(|(tick, key, event)| Posting::new(key, event, tick));
        let differences =
            |_: &Sums<OurTable>, key: &u8, old: Option<&i64>, new: Option<&i64>, give: &mut dyn FnMut(u8, i64)| {
                give(key % 2, new.copied().unwrap_or(0) - old.copied().unwrap_or(0));
            };
        let checkpoints = checkpoints(scope.index(), scope.peers());
        let fold = Rc::new(Sums::<OurTable>(PhantomData));
        let (sums, _) = postings.fold_into(fold, marks(scope, &ticks), &checkpoints, summed(differences));
        let counted = sums.as_collection().arrange_by_self_named("SumsByParity").count_total();
        counted.inner.inspect(move |change| notebook.note(*change)).probe().0
    })
}

#[test]
fn what_counts_behind_a_fold_is_restored_with_it() {
    for seed in 0..16 {
        let (told, mut ticks) = story(seed);
        let by_parity = |shown: BTreeMap<u8, i64>| {
            let mut sums: BTreeMap<u8, i64> = BTreeMap::new();
            shown.into_iter().for_each(|(key, sum)| *sums.entry(key % 2).or_default() += sum);
            sums.retain(|_, sum| *sum != 0);
            sums
        };
        let expected: Vec<_> = shown(&told, &ticks).into_iter().map(by_parity).collect();
        let at = 1 + seed as usize % (TICKS as usize - 1);
        let (before, after) = (1 + seed as usize % 3, 1 + (seed as usize + 1) % 4);
        let shelf = Arc::new(Shelf::default());
        ticks[at - 1].checkpoint = true;
        let filled = Arc::clone(&shelf);
        let whole = counted(before, seed, &(told.clone(), ticks.clone()), move |worker, _| filled.filled_by(worker));
        assert_eq!(added_up(&whole, &ticks), expected, "seed {seed}");

        ticks[at - 1].checkpoint = false;
        let rest: Vec<Told> = told.into_iter().filter(|(tick, ..)| *tick >= at as Tick).collect();
        let rest = (rest, ticks.split_off(at - 1));
        let resumed = counted(after, seed + 1, &rest, move |worker, peers| {
            shelf.restored_on(worker, peers, at as Tick, &Topology::default())
        });
        assert_eq!(added_up(&resumed, &rest.1), expected[at - 1..], "seed {seed}, restored at {at}");
    }
}

#[test]
fn two_outlets_and_one_that_is_not_wanted() {
    let story = story(3);
    let expected = folded::<OurTable>(1, 0, &story, without_checkpoints);
    let (told, ticks) = story;
    let mut seen = run(1, 0, move |scope, notebook: Notebook<((u8, i64), Tick, isize)>| {
        let postings = dealt(scope, &told, |(tick, ..)| *tick).map(|(tick, key, event)| Posting::new(key, event, tick));
        let fold = Rc::new(Sums::<OurTable>(PhantomData));
        let of =
            |parity| rows(move |_: &Sums<OurTable>, key: &u8, sum: &i64| (key % 2 == parity).then_some((*key, *sum)));
        let outlets = ((of(0), of(1)), None::<Rows<(), fn(&Sums<OurTable>, &u8, &i64) -> Option<()>>>);
        let (streams, handle) = postings.fold_into(fold, marks(scope, &ticks), &Checkpoints::default(), outlets);
        let ((even, odd), unwanted) = streams;
        assert!(unwanted.is_none());
        assert_eq!(handle.gauge().keys, 0);
        even.concat(odd).inspect(move |change| notebook.note(*change)).probe().0
    });
    seen.sort();
    let mut expected = expected;
    expected.sort();
    assert_eq!(seen, expected);
}

#[test]
fn every_shard_can_be_asked_for() {
    let mut table = OurTable::default();
    for key in 0..=u8::MAX {
        let position = table.locate(crate::shard::hash_of(&key), &key, Sum::default);
        assert_eq!(table.entry(position).map(|(key, ..)| *key), Some(key));
    }
    let keys: usize = (0..SHARDS).map(|shard| table.shard(shard).count()).sum();
    assert_eq!((keys, table.len()), (256, 256));
}
