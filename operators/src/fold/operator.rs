//! The operator that runs a fold.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::Operator;

use super::table::{Place, Table};
use super::{Fold, Now, Wake};
use crate::clock::Mark;
use crate::shard::{SHARDS, shard_of, worker_of};
use crate::time::{MINUTE_MS, Tick, TimeMs};

/// An event on its way to its key. It carries its own tick: a message may hold several.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Posting<K, E> {
    /// The key.
    pub key: K,
    /// What the key needs.
    pub event: E,
    /// The tick.
    pub tick: Tick,
}

/// What is retired, at most, in one tick: forgetting emits nothing, so it need not stop anything.
const RETIRED_PER_TICK: usize = 10_000;

/// Keys that are looked up together.
const BURST: usize = 32;

struct Entry<S> {
    state: S,
    /// The tick that touched it last, plus one.
    touched: Tick,
    wake: Option<Wake>,
    retire_at: Option<Wake>,
}

/// The state of a fold on one worker, sealed at a tick: what a checkpoint holds of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoldSnapshot {
    /// The first tick that is not in it.
    pub upper: Tick,
    /// What time the last one was.
    pub now_ms: TimeMs,
    /// Its watermarks.
    pub watermarks: Vec<TimeMs>,
    /// How far event time had come.
    pub reached: Vec<TimeMs>,
    /// By virtual shard: keys and states, sorted by key, in postcard's coding.
    pub shards: BTreeMap<u64, Vec<u8>>,
}

/// How much a fold holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FoldGauge {
    /// Keys.
    pub keys: usize,
    /// Resident bytes of the table, by capacity.
    pub table_bytes: usize,
    /// What the states own on the heap.
    pub heap_bytes: usize,
}

/// A fold's state from outside of its operator, on the same worker.
pub struct FoldHandle<F: Fold>(Rc<RefCell<Folding<F>>>);

impl<F: Fold> Clone for FoldHandle<F> {
    fn clone(&self) -> Self {
        FoldHandle(Rc::clone(&self.0))
    }
}

impl<F: Fold> FoldHandle<F> {
    /// How much it holds now. Costs a walk over every state.
    pub fn gauge(&self) -> FoldGauge {
        let folding = self.0.borrow();
        let states = (0..SHARDS).flat_map(|shard| folding.table.shard(shard));
        FoldGauge {
            keys: folding.table.len(),
            table_bytes: folding.table.bytes(),
            heap_bytes: states.map(|(_, entry)| folding.fold.heap_bytes(&entry.state)).sum(),
        }
    }

    /// Its state as of the last complete tick.
    pub fn snapshot(&self) -> FoldSnapshot {
        self.0.borrow().snapshot()
    }
}

/// Runs folds over streams.
pub trait Folded<'scope, F: Fold> {
    /// Exchanges postings by virtual shard, folds them at complete ticks, and gives the changes of the rows.
    /// `marks` bring `W(T)` and the capability of every tick. `restore` are snapshots of all workers of an earlier run:
    /// the shards that this worker holds are taken from them and their rows emitted again.
    fn fold(
        self,
        fold: Rc<F>,
        marks: StreamVec<'scope, Tick, Mark>,
        restore: &[FoldSnapshot],
    ) -> (StreamVec<'scope, Tick, (F::Row, Tick, isize)>, FoldHandle<F>);
}

impl<'scope, F: Fold> Folded<'scope, F> for StreamVec<'scope, Tick, Posting<F::Key, F::Event>> {
    fn fold(
        self,
        fold: Rc<F>,
        marks: StreamVec<'scope, Tick, Mark>,
        restore: &[FoldSnapshot],
    ) -> (StreamVec<'scope, Tick, (F::Row, Tick, isize)>, FoldHandle<F>) {
        let (index, peers) = (self.scope().index(), self.scope().peers());
        let name = fold.name();
        let mut folding = Folding::new(fold);
        let mut restored = Vec::new();
        for snapshot in restore {
            folding.restore(snapshot, |shard| worker_of(shard, peers) == index, &mut restored);
        }
        let folding = Rc::new(RefCell::new(folding));
        let handle = FoldHandle(Rc::clone(&folding));
        let pact = Exchange::new(|posting: &Posting<F::Key, F::Event>| shard_of(&posting.key));
        let stream = self.binary_frontier::<_, CapacityContainerBuilder<Vec<_>>, _, _, _, _>(
            marks,
            pact,
            Pipeline,
            name,
            move |_, _| {
                let mut stash: BTreeMap<Tick, Vec<(F::Key, F::Event)>> = BTreeMap::new();
                let mut marked: BTreeMap<Tick, (Capability<Tick>, Mark)> = BTreeMap::new();
                move |(postings, postings_frontier), (marks, _), output| {
                    postings.for_each(|_, postings| {
                        for Posting { key, event, tick } in postings.drain(..) {
                            stash.entry(tick).or_default().push((key, event));
                        }
                    });
                    marks.for_each(|capability, marks| {
                        for mark in marks.drain(..) {
                            marked.insert(mark.tick, (capability.retain(0), mark));
                        }
                    });
                    while let Some(entry) = marked.first_entry()
                        && !postings_frontier.less_equal(entry.key())
                    {
                        let (capability, mark) = entry.remove();
                        let events = stash.remove(&mark.tick).unwrap_or_default();
                        let mut session = output.session(&capability);
                        for row in restored.drain(..) {
                            session.give((row, mark.tick, 1));
                        }
                        folding.borrow_mut().tick(events, &mark, |row, diff| session.give((row, mark.tick, diff)));
                    }
                }
            },
        );
        (stream, handle)
    }
}

/// A fold and its state: everything but the wiring.
struct Folding<F: Fold> {
    fold: Rc<F>,
    table: Table<F::Key, Entry<F::State>>,
    wakes: BTreeMap<Wake, Vec<Place>>,
    retirements: BTreeMap<Wake, Vec<Place>>,
    upper: Tick,
    now_ms: TimeMs,
    watermarks: Vec<TimeMs>,
    reached: Vec<TimeMs>,
    touched: Vec<(Place, u32, u32)>,
    before: Vec<F::Row>,
    after: Vec<F::Row>,
}

impl<F: Fold> Folding<F> {
    fn new(fold: Rc<F>) -> Self {
        Folding {
            fold,
            table: Table::new(),
            wakes: BTreeMap::new(),
            retirements: BTreeMap::new(),
            upper: 0,
            now_ms: 0,
            watermarks: Vec::new(),
            reached: Vec::new(),
            touched: Vec::new(),
            before: Vec::new(),
            after: Vec::new(),
        }
    }

    /// Applies a complete tick: every event, then what is due, then the seal; gives the changes of the rows.
    fn tick(&mut self, events: Vec<(F::Key, F::Event)>, mark: &Mark, mut give: impl FnMut(F::Row, isize)) {
        let mut hashes = [0u64; BURST];
        let mut words = [0u64; BURST];
        for burst in events.chunks(BURST) {
            for (hash, (key, _)) in hashes.iter_mut().zip(burst) {
                *hash = Table::<F::Key, Entry<F::State>>::hash(key);
            }
            for (word, hash) in words.iter_mut().zip(&hashes[..burst.len()]) {
                *word = self.table.touch(*hash);
            }
            let mut touched = 0;
            for (word, hash) in words.iter().zip(&hashes[..burst.len()]) {
                touched ^= self.table.touch_entry(*hash, *word);
            }
            std::hint::black_box(touched);
            for (hash, (key, event)) in hashes.iter().zip(burst) {
                let make =
                    || (key.clone(), Entry { state: F::State::default(), touched: 0, wake: None, retire_at: None });
                let place = self.table.locate(*hash, key, make);
                self.touch(place, mark.tick);
                let (key, entry) = self.table.get_mut(place).expect("it was located just now");
                self.fold.apply(&mut entry.state, key, event);
            }
        }
        self.wake_due(mark);
        self.finish(mark, &mut give);
        self.upper = mark.tick + 1;
        self.now_ms = mark.now_ms;
        self.watermarks.clear();
        self.watermarks.extend_from_slice(&mark.watermarks);
        self.reached.clear();
        self.reached.extend_from_slice(&mark.reached);
        self.retire_due();
    }

    /// Takes the rows before the first change of a tick. A key that was to be forgotten is absent from here on, whether or
    /// not its memory was freed yet.
    fn touch(&mut self, place: Place, tick: Tick) {
        let (key, entry) = self.table.get_mut(place).expect("touched entries exist");
        if entry.touched == tick + 1 {
            return;
        }
        if entry.touched != 0 && !self.watermarks.is_empty() {
            let now = Now {
                tick: self.upper.saturating_sub(1),
                now_ms: self.now_ms,
                watermarks: &self.watermarks,
                reached: &self.reached,
            };
            if self.fold.retire(&mut entry.state, key, &now) {
                entry.state = F::State::default();
            }
        }
        entry.touched = tick + 1;
        let from = self.before.len() as u32;
        self.fold.rows(key, &entry.state, &mut self.before);
        self.touched.push((place, from, self.before.len() as u32));
    }

    fn wake_due(&mut self, mark: &Mark) {
        for place in due(&mut self.wakes, mark.now_ms, &mark.reached, usize::MAX) {
            // The entry may have been freed, or have another wake by now: then it is no longer due for this one.
            let Some((_, entry)) = self.table.get_mut(place) else { continue };
            if entry.wake.is_some_and(|wake| is_due(wake, mark.now_ms, &mark.reached)) {
                self.touch(place, mark.tick);
            }
        }
    }

    fn finish(&mut self, mark: &Mark, give: &mut impl FnMut(F::Row, isize)) {
        let now = Now { tick: mark.tick, now_ms: mark.now_ms, watermarks: &mark.watermarks, reached: &mark.reached };
        let mut after = std::mem::take(&mut self.after);
        for (place, from, upto) in self.touched.drain(..) {
            let (key, entry) = self.table.get_mut(place).expect("touched entries exist");
            self.fold.seal(&mut entry.state, key, &now);
            after.clear();
            self.fold.rows(key, &entry.state, &mut after);
            let before = &mut self.before[from as usize..upto as usize];
            if before != after.as_slice() {
                before.sort_unstable();
                after.sort_unstable();
                differences(before, &after, give);
            }
            let wake = self.fold.wake(key, &entry.state);
            if wake != entry.wake {
                entry.wake = wake;
                if let Some(wake) = wake {
                    self.wakes.entry(wake).or_default().push(place);
                }
            }
            let retire_at = self.fold.retire_at(key, &entry.state).map(coarse);
            if retire_at != entry.retire_at {
                entry.retire_at = retire_at;
                if let Some(retire_at) = retire_at {
                    self.retirements.entry(retire_at).or_default().push(place);
                }
            }
        }
        self.before.clear();
        self.after = after;
    }

    /// Frees what may be forgotten, a bounded number of keys a tick.
    fn retire_due(&mut self) {
        let now =
            Now { tick: self.upper - 1, now_ms: self.now_ms, watermarks: &self.watermarks, reached: &self.reached };
        for place in due(&mut self.retirements, self.now_ms, &self.watermarks, RETIRED_PER_TICK) {
            let Some((key, entry)) = self.table.get_mut(place) else { continue };
            if !entry.retire_at.is_some_and(|retire_at| is_due(retire_at, now.now_ms, now.watermarks)) {
                continue;
            }
            if self.fold.retire(&mut entry.state, key, &now) {
                self.table.remove(place);
                continue;
            }
            entry.retire_at = self.fold.retire_at(key, &entry.state).map(coarse);
            if let Some(retire_at) = entry.retire_at {
                self.retirements.entry(retire_at).or_default().push(place);
            }
        }
    }

    fn snapshot(&self) -> FoldSnapshot {
        let mut shards = BTreeMap::new();
        for shard in 0..SHARDS {
            let mut entries: Vec<_> = self.table.shard(shard).map(|(key, entry)| (key, &entry.state)).collect();
            if !entries.is_empty() {
                entries.sort_unstable_by_key(|(key, _)| *key);
                let coded = postcard::to_stdvec(&entries).expect("states are made of what the codec can hold");
                shards.insert(shard, coded);
            }
        }
        FoldSnapshot {
            upper: self.upper,
            now_ms: self.now_ms,
            watermarks: self.watermarks.clone(),
            reached: self.reached.clone(),
            shards,
        }
    }

    fn restore(&mut self, snapshot: &FoldSnapshot, mine: impl Fn(u64) -> bool, rows: &mut Vec<F::Row>) {
        self.upper = snapshot.upper;
        self.now_ms = snapshot.now_ms;
        self.watermarks.clone_from(&snapshot.watermarks);
        self.reached.clone_from(&snapshot.reached);
        for coded in snapshot.shards.iter().filter(|(shard, _)| mine(**shard)).map(|(_, coded)| coded) {
            let entries: Vec<(F::Key, F::State)> =
                postcard::from_bytes(coded).expect("a snapshot is checked against its hash before it is restored");
            for (key, state) in entries {
                self.fold.rows(&key, &state, rows);
                let wake = self.fold.wake(&key, &state);
                let retire_at = self.fold.retire_at(&key, &state).map(coarse);
                let hash = Table::<F::Key, Entry<F::State>>::hash(&key);
                let touched = snapshot.upper;
                let place = self.table.locate(hash, &key.clone(), || (key, Entry { state, touched, wake, retire_at }));
                wake.into_iter().for_each(|wake| self.wakes.entry(wake).or_default().push(place));
                retire_at.into_iter().for_each(|at| self.retirements.entry(at).or_default().push(place));
            }
        }
    }
}

fn is_due(wake: Wake, now_ms: TimeMs, watermarks: &[TimeMs]) -> bool {
    match wake {
        Wake::Watermark(group, at_ms) => watermarks[group.0 as usize] >= at_ms,
        Wake::Now(at_ms) => now_ms >= at_ms,
    }
}

/// Takes up to `most` places whose time has come.
fn due(queue: &mut BTreeMap<Wake, Vec<Place>>, now_ms: TimeMs, watermarks: &[TimeMs], most: usize) -> Vec<Place> {
    let mut taken = Vec::new();
    let groups = (0..watermarks.len() as u16).map(crate::topology::GroupId);
    let bounds =
        groups.map(|group| (Wake::Watermark(group, TimeMs::MIN), Wake::Watermark(group, watermarks[group.0 as usize])));
    for (from, upto) in bounds.chain([(Wake::Now(TimeMs::MIN), Wake::Now(now_ms))]) {
        while let Some((&wake, _)) = queue.range(from..=upto).next() {
            let places = queue.get_mut(&wake).expect("it was looked at just now");
            let room = most - taken.len();
            if places.len() > room {
                taken.extend(places.drain(places.len() - room..));
                return taken;
            }
            taken.append(places);
            queue.remove(&wake);
        }
    }
    taken
}

/// Forgetting has time until the next full minute, so that few queues hold many keys.
fn coarse(wake: Wake) -> Wake {
    let up = |at_ms: TimeMs| {
        if at_ms == TimeMs::MIN {
            at_ms
        } else {
            at_ms.saturating_add(MINUTE_MS - 1).div_euclid(MINUTE_MS).saturating_mul(MINUTE_MS)
        }
    };
    match wake {
        Wake::Watermark(group, at_ms) => Wake::Watermark(group, up(at_ms)),
        Wake::Now(at_ms) => Wake::Now(up(at_ms)),
    }
}

/// Gives `after - before`; both are sorted.
fn differences<R: Clone + Ord>(before: &[R], after: &[R], give: &mut impl FnMut(R, isize)) {
    let (mut before, mut after) = (before.iter().peekable(), after.iter().peekable());
    loop {
        match (before.peek(), after.peek()) {
            (Some(old), Some(new)) if old == new => {
                before.next();
                after.next();
            }
            (Some(old), Some(new)) if new < old => {
                give((*new).clone(), 1);
                after.next();
            }
            (Some(old), _) => {
                give((*old).clone(), -1);
                before.next();
            }
            (None, Some(new)) => {
                give((*new).clone(), 1);
                after.next();
            }
            (None, None) => return,
        }
    }
}
