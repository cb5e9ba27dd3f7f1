//! The plain program's keyed state: the domain's own folds over a hash map, on one thread.
//!
//! It does what the engine's fold does and nothing for the sake of dataflow: at the end of a tick it gives what changed of
//! what keys show, and once a minute of event time it walks over the map and forgets. Nothing wakes without an event here: the
//! inputs of these benches are shorter than any retention.

use std::hash::BuildHasher;
use std::rc::Rc;

use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};

use operators::fold::{Fold, Now};
use operators::time::{MINUS_INFINITY, Tick, TimeMs, minute_of};

struct Held<K, S> {
    key: K,
    state: S,
    touched: Tick,
}

/// A key that the tick touched, its hash, and where what it showed before lies.
struct Touched<K> {
    key: K,
    hash: u64,
    from: usize,
    upto: usize,
}

/// A fold over a hash map.
pub(crate) struct PlainFold<F: Fold> {
    fold: Rc<F>,
    forgets: bool,
    hasher: DefaultHashBuilder,
    table: HashTable<Held<F::Key, F::State>>,
    touched: Vec<Touched<F::Key>>,
    before: Vec<F::Value>,
    tick: Tick,
    watermarks: Vec<TimeMs>,
    swept_minute: i64,
}

impl<F: Fold<Key: Eq>> PlainFold<F> {
    pub(crate) fn new(fold: F, groups: usize, forgets: bool) -> Self {
        PlainFold {
            fold: Rc::new(fold),
            forgets,
            hasher: DefaultHashBuilder::default(),
            table: HashTable::new(),
            touched: Vec::new(),
            before: Vec::new(),
            tick: 1,
            watermarks: vec![MINUS_INFINITY; groups],
            swept_minute: i64::MIN,
        }
    }

    /// Posts an event to a key.
    pub(crate) fn post(&mut self, key: F::Key, event: &F::Event) {
        let PlainFold { fold, hasher, table, touched, before, .. } = self;
        let hash = hasher.hash_one(&key);
        let rehash = |held: &Held<F::Key, F::State>| hasher.hash_one(&held.key);
        let held = match table.entry(hash, |held| held.key == key, rehash) {
            Entry::Occupied(occupied) => occupied.into_mut(),
            Entry::Vacant(vacant) => vacant.insert(Held { key, state: F::State::default(), touched: 0 }).into_mut(),
        };
        if held.touched != self.tick {
            // What the walk has not come to yet is forgotten all the same.
            let now = Now { tick: self.tick - 1, now_ms: 0, watermarks: &self.watermarks, reached: &self.watermarks };
            if held.touched != 0 && fold.retire(&mut held.state, &held.key, &now) {
                held.state = F::State::default();
            }
            held.touched = self.tick;
            let from = before.len();
            fold.values(&held.key, &held.state, before);
            touched.push(Touched { key: held.key.clone(), hash, from, upto: before.len() });
        }
        fold.apply(&mut held.state, &held.key, event);
    }

    /// Ends a tick: gives what each key shows no more and shows now, and forgets.
    pub(crate) fn end_tick(
        &mut self,
        watermarks: &[TimeMs],
        mut change: impl FnMut(&F, &F::Key, Option<&F::Value>, Option<&F::Value>),
    ) {
        let now = Now { tick: self.tick, now_ms: 0, watermarks, reached: watermarks };
        let mut after = Vec::new();
        for Touched { key, hash, from, upto } in self.touched.drain(..) {
            let held = self.table.find_mut(hash, |held| held.key == key).expect("a key that was touched is there");
            self.fold.seal(&mut held.state, &key, &now);
            after.clear();
            self.fold.values(&key, &held.state, &mut after);
            let before = &mut self.before[from..upto];
            if let ([old], [new]) = (&*before, &*after) {
                if old != new {
                    change(&self.fold, &key, Some(old), Some(new));
                }
                continue;
            }
            before.sort_unstable();
            after.sort_unstable();
            for value in before.iter().filter(|value| after.binary_search(value).is_err()) {
                change(&self.fold, &key, Some(value), None);
            }
            for value in after.iter().filter(|value| before.binary_search(value).is_err()) {
                change(&self.fold, &key, None, Some(value));
            }
        }
        self.before.clear();
        self.watermarks.copy_from_slice(watermarks);
        let least_ms = watermarks.iter().copied().filter(|watermark_ms| *watermark_ms != MINUS_INFINITY).min();
        if let Some(minute) = least_ms.map(minute_of)
            && self.forgets
            && minute > self.swept_minute
        {
            self.swept_minute = minute;
            self.table.retain(|held| !self.fold.retire(&mut held.state, &held.key, &now));
        }
        self.tick += 1;
    }

    /// Posts an input to the keys that it concerns.
    pub(crate) fn input(&mut self, input: &F::Input) {
        let fold = Rc::clone(&self.fold);
        fold.keys(input, &mut |key, event| self.post(key, &event));
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }
}

/// Gives the row that left and the one that came; `row` makes a row of what the key shows.
pub(crate) fn each_row<V, R>(old: Option<&V>, new: Option<&V>, row: impl Fn(&V) -> R, mut give: impl FnMut(R, i64)) {
    old.into_iter().for_each(|value| give(row(value), -1));
    new.into_iter().for_each(|value| give(row(value), 1));
}
