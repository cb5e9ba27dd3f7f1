//! The operator that runs a fold.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::hash::Hash;
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use super::outlet::{Outlet, Port, rows};
use super::table::{Place, Table};
use super::wakes::{PackedWake, Queue, coarse, due};
use super::{Fold, Now};
use crate::checkpoint::{self, Checkpoints, Part, Save, decode, encode};
use crate::clock::Mark;
use crate::shard::{SHARDS, hash_of, shard_of_hash};
use crate::time::{Tick, TimeMs};

/// An event on its way to its key. It carries its own tick: a message may hold several.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Posting<K, E> {
    /// The written hash of the key, which both the exchange and the table need.
    hash: u64,
    /// The tick.
    tick: Tick,
    /// The key.
    key: K,
    /// What the key needs.
    event: E,
}

impl<K: Hash, E> Posting<K, E> {
    /// An event of a key at a tick.
    pub fn new(key: K, event: E, tick: Tick) -> Self {
        Posting { hash: hash_of(&key), tick, key, event }
    }
}

/// What is retired, at most, in one tick: forgetting emits nothing, so it need not stop anything.
const RETIRED_PER_TICK: usize = 10_000;

/// Keys that are looked up together.
const BURST: usize = 32;

struct Entry<S> {
    state: S,
    /// The tick that touched it last, plus one.
    touched: Tick,
    wake: PackedWake,
    retire_at: PackedWake,
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

impl std::iter::Sum for FoldGauge {
    fn sum<I: Iterator<Item = FoldGauge>>(gauges: I) -> FoldGauge {
        gauges.fold(FoldGauge::default(), |sum, gauge| FoldGauge {
            keys: sum.keys + gauge.keys,
            table_bytes: sum.table_bytes + gauge.table_bytes,
            heap_bytes: sum.heap_bytes + gauge.heap_bytes,
        })
    }
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
}

/// Runs folds over streams.
pub trait Folded<'scope, F: Fold>: Sized {
    /// Exchanges postings by virtual shard, folds them at complete ticks, and gives what changed to an outlet.
    /// `marks` bring `W(T)` and the capability of every tick. State comes from `checkpoints` at a restore, and goes there
    /// when one is asked for.
    fn fold_into<O: Outlet<'scope, F>>(
        self,
        fold: Rc<F>,
        marks: StreamVec<'scope, Tick, Mark>,
        checkpoints: &Checkpoints,
        outlet: O,
    ) -> (O::Streams, FoldHandle<F>);

    /// The same, with the changes of its rows as the outlet.
    fn fold(
        self,
        fold: Rc<F>,
        marks: StreamVec<'scope, Tick, Mark>,
        checkpoints: &Checkpoints,
    ) -> (StreamVec<'scope, Tick, (F::Row, Tick, isize)>, FoldHandle<F>) {
        self.fold_into(fold, marks, checkpoints, rows())
    }
}

impl<'scope, F: Fold> Folded<'scope, F> for StreamVec<'scope, Tick, Posting<F::Key, F::Event>> {
    fn fold_into<O: Outlet<'scope, F>>(
        self,
        fold: Rc<F>,
        marks: StreamVec<'scope, Tick, Mark>,
        checkpoints: &Checkpoints,
        outlet: O,
    ) -> (O::Streams, FoldHandle<F>) {
        let scope = self.scope();
        let mut folding = Folding::new(Rc::clone(&fold));
        checkpoints.take(fold.name()).for_each(|part| folding.restore(&part));
        folding.upper = checkpoints.restored_upper();
        let folding = Rc::new(RefCell::new(folding));
        let handle = FoldHandle(Rc::clone(&folding));

        let mut builder = OperatorBuilder::new(fold.name().to_owned(), scope);
        let activator = scope.worker().activator_for(builder.operator_info().address);
        let seat = checkpoints.seat(fold.name(), activator);
        let pact = Exchange::new(|posting: &Posting<F::Key, F::Event>| shard_of_hash(posting.hash));
        let mut postings = builder.new_input(self, pact);
        let mut marks = builder.new_input(marks, Pipeline);
        let (mut port, streams) = outlet.open(&mut builder);
        let outputs = builder.shape().outputs();
        builder.build(move |_| {
            let mut stash: BTreeMap<Tick, Blocks<F>> = BTreeMap::new();
            let mut marked: BTreeMap<Tick, (Vec<Capability<Tick>>, Mark)> = BTreeMap::new();
            move |frontiers| {
                postings.for_each(|_, postings| put_by(&mut stash, postings));
                marks.for_each(|capability, marks| {
                    for mark in marks.drain(..) {
                        let capabilities = (0..outputs).map(|output| capability.retain(output)).collect();
                        marked.insert(mark.tick, (capabilities, mark));
                    }
                });
                while let Some(entry) = marked.first_entry()
                    && !frontiers[0].less_equal(entry.key())
                {
                    let (capabilities, mark) = entry.remove();
                    let blocks = stash.remove(&mark.tick).unwrap_or_default();
                    let tick = mark.tick;
                    let mut folding = folding.borrow_mut();
                    if tick < folding.upper {
                        // The tick of the checkpoint, once more: its postings are applied, its rows are to be shown.
                        folding.show(&mark, |key, value| port.restore(&fold, key, value, tick, &capabilities));
                    } else {
                        folding.tick(blocks, &mark, |key, old, new| port.replace(&fold, key, old, new, tick));
                    }
                    port.end_tick(tick, &capabilities);
                    if mark.checkpoint {
                        seat.freeze(folding.upper, &mut *folding);
                    }
                }
                seat.work(&mut *folding.borrow_mut());
            }
        });
        (streams, handle)
    }
}

/// The postings of a tick, in the messages in which they came.
type Blocks<F> = Vec<Vec<Posting<<F as Fold>::Key, <F as Fold>::Event>>>;

/// Puts a message by under the ticks of its postings; one of a single tick as it is.
fn put_by<K, E>(stash: &mut BTreeMap<Tick, Vec<Vec<Posting<K, E>>>>, postings: &mut Vec<Posting<K, E>>) {
    let Some(tick) = postings.first().map(|posting| posting.tick) else { return };
    if postings.iter().all(|posting| posting.tick == tick) {
        stash.entry(tick).or_default().push(std::mem::take(postings));
        return;
    }
    let mut by_tick: BTreeMap<Tick, Vec<Posting<K, E>>> = BTreeMap::new();
    for posting in postings.drain(..) {
        by_tick.entry(posting.tick).or_default().push(posting);
    }
    by_tick.into_iter().for_each(|(tick, postings)| stash.entry(tick).or_default().push(postings));
}

/// A fold and its state: everything but the wiring.
struct Folding<F: Fold> {
    fold: Rc<F>,
    table: Table<F::Key, Entry<F::State>>,
    wakes: Queue,
    retirements: Queue,
    upper: Tick,
    now_ms: TimeMs,
    watermarks: Vec<TimeMs>,
    reached: Vec<TimeMs>,
    touched: Vec<(Place, u32, u32)>,
    before: Vec<F::Value>,
    after: Vec<F::Value>,
    saving: Option<Saving>,
}

/// A checkpoint under way.
struct Saving {
    /// The first tick that is not in it.
    upper: Tick,
    /// The first shard that was not given.
    next: u64,
    /// By shard that was not given: what changed keys held, coded.
    put_by: BTreeMap<u16, Vec<u8>>,
}

impl<F: Fold> Folding<F> {
    fn new(fold: Rc<F>) -> Self {
        Folding {
            fold,
            table: Table::new(),
            wakes: Queue::new(),
            retirements: Queue::new(),
            upper: 0,
            now_ms: 0,
            watermarks: Vec::new(),
            reached: Vec::new(),
            touched: Vec::new(),
            before: Vec::new(),
            after: Vec::new(),
            saving: None,
        }
    }

    /// Applies a complete tick: every event, then what is due, then the seal; gives what changed.
    fn tick(
        &mut self,
        blocks: Blocks<F>,
        mark: &Mark,
        mut give: impl FnMut(&F::Key, Option<&F::Value>, Option<&F::Value>),
    ) {
        for block in blocks {
            for burst in block.chunks(BURST) {
                burst.iter().for_each(|posting| self.table.fetch_word(posting.hash));
                burst.iter().for_each(|posting| self.table.fetch_entry(posting.hash));
                for Posting { hash, key, event, .. } in burst {
                    let make = || {
                        (
                            key.clone(),
                            Entry {
                                state: F::State::default(),
                                touched: 0,
                                wake: PackedWake::NEVER,
                                retire_at: PackedWake::NEVER,
                            },
                        )
                    };
                    let place = self.table.locate(*hash, key, make);
                    self.touch(place, mark.tick);
                    let (key, entry) = self.table.get_mut(place).expect("it was located just now");
                    self.fold.apply(&mut entry.state, key, event);
                }
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

    /// Takes what a key shows before its first change of a tick. A key that was to be forgotten is absent from here on,
    /// whether or not its memory was freed yet.
    fn touch(&mut self, place: Place, tick: Tick) {
        let (key, entry) = self.table.get_mut(place).expect("touched entries exist");
        if entry.touched == tick + 1 {
            return;
        }
        if let Some(saving) = &mut self.saving {
            saving.put_by(place, key, entry);
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
        self.fold.values(key, &entry.state, &mut self.before);
        self.touched.push((place, from, self.before.len() as u32));
    }

    fn wake_due(&mut self, mark: &Mark) {
        for place in due(&mut self.wakes, mark.now_ms, &mark.reached, usize::MAX) {
            // The entry may have been freed, or have another wake by now: then it is no longer due for this one.
            let Some((_, entry)) = self.table.get_mut(place) else { continue };
            if entry.wake.is_due(mark.now_ms, &mark.reached) {
                self.touch(place, mark.tick);
            }
        }
    }

    fn finish(&mut self, mark: &Mark, give: &mut impl FnMut(&F::Key, Option<&F::Value>, Option<&F::Value>)) {
        let now = Now { tick: mark.tick, now_ms: mark.now_ms, watermarks: &mark.watermarks, reached: &mark.reached };
        let mut after = std::mem::take(&mut self.after);
        let touched = std::mem::take(&mut self.touched);
        for burst in touched.chunks(BURST) {
            burst.iter().for_each(|(place, ..)| self.table.fetch_place(*place));
            for &(place, from, upto) in burst {
                let (key, entry) = self.table.get_mut(place).expect("touched entries exist");
                self.fold.seal(&mut entry.state, key, &now);
                after.clear();
                self.fold.values(key, &entry.state, &mut after);
                let before = &mut self.before[from as usize..upto as usize];
                if before != after.as_slice() {
                    before.sort_unstable();
                    after.sort_unstable();
                    differences(before, &after, |old, new| give(key, old, new));
                }
                let wake = PackedWake::new(self.fold.wake(key, &entry.state));
                if wake != entry.wake {
                    entry.wake = wake;
                    wake.get().into_iter().for_each(|wake| self.wakes.entry(wake).or_default().push(place));
                }
                let retire_at = PackedWake::new(self.fold.retire_at(key, &entry.state).map(coarse));
                if retire_at != entry.retire_at {
                    entry.retire_at = retire_at;
                    retire_at.get().into_iter().for_each(|at| self.retirements.entry(at).or_default().push(place));
                }
            }
        }
        self.touched = touched;
        self.touched.clear();
        self.before.clear();
        self.after = after;
    }

    /// Frees what may be forgotten, a bounded number of keys a tick. It waits while a checkpoint is given.
    fn retire_due(&mut self) {
        if self.saving.is_some() {
            return;
        }
        let now =
            Now { tick: self.upper - 1, now_ms: self.now_ms, watermarks: &self.watermarks, reached: &self.reached };
        for place in due(&mut self.retirements, self.now_ms, &self.watermarks, RETIRED_PER_TICK) {
            let Some((key, entry)) = self.table.get_mut(place) else { continue };
            if !entry.retire_at.is_due(now.now_ms, now.watermarks) {
                continue;
            }
            if self.fold.retire(&mut entry.state, key, &now) {
                self.table.remove(place);
                continue;
            }
            entry.retire_at = PackedWake::new(self.fold.retire_at(key, &entry.state).map(coarse));
            entry.retire_at.get().into_iter().for_each(|at| self.retirements.entry(at).or_default().push(place));
        }
    }

    /// Shows what all keys show, as of the tick of the checkpoint: in order within each virtual shard, so that whoever puts
    /// them into order has few runs to merge and not so many rows to sort.
    fn show(&mut self, mark: &Mark, mut give: impl FnMut(&F::Key, &F::Value)) {
        self.now_ms = mark.now_ms;
        self.watermarks.clear();
        self.watermarks.extend_from_slice(&mark.watermarks);
        self.reached.clear();
        self.reached.extend_from_slice(&mark.reached);
        let mut values = Vec::new();
        for shard in 0..SHARDS {
            let mut entries: Vec<_> = self.table.shard(shard).collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            for (key, entry) in entries {
                self.fold.values(key, &entry.state, &mut values);
                values.drain(..).for_each(|value| give(key, &value));
            }
        }
    }

    fn restore(&mut self, part: &Part) {
        let mut bytes = part.bytes.as_slice();
        while !bytes.is_empty() {
            let (key, state): (F::Key, F::State) = decode(&mut bytes);
            let wake = PackedWake::new(self.fold.wake(&key, &state));
            let retire_at = PackedWake::new(self.fold.retire_at(&key, &state).map(coarse));
            // Any tick that is over will do: that the key was touched before, it has to say.
            let make = || (key.clone(), Entry { state, touched: 1, wake, retire_at });
            let place = self.table.locate(hash_of(&key), &key, make);
            wake.get().into_iter().for_each(|wake| self.wakes.entry(wake).or_default().push(place));
            retire_at.get().into_iter().for_each(|at| self.retirements.entry(at).or_default().push(place));
        }
    }
}

impl Saving {
    /// Puts by what a key held, if it was there and has not been given.
    fn put_by<K: Serialize, S: Serialize>(&mut self, place: Place, key: &K, entry: &Entry<S>) {
        if entry.touched != 0 && entry.touched <= self.upper && u64::from(place.shard) >= self.next {
            let coded = self.put_by.entry(place.shard).or_default();
            *coded = encode(&(key, &entry.state), std::mem::take(coded));
        }
    }
}

impl<F: Fold> Save for Folding<F> {
    fn freeze(&mut self, upper: Tick) {
        self.saving = Some(Saving { upper, next: 0, put_by: BTreeMap::new() });
    }

    fn give(&mut self, bytes_max: usize, give: &mut dyn FnMut(checkpoint::Place, Vec<u8>)) -> bool {
        let Some(saving) = &mut self.saving else { return true };
        let mut given = 0;
        while saving.next < SHARDS && given < bytes_max {
            let shard = saving.next as u16;
            let mut coded = saving.put_by.remove(&shard).unwrap_or_default();
            // What is newer than the checkpoint is put by already, or was not there.
            for (key, entry) in self.table.shard(saving.next).filter(|(_, entry)| entry.touched <= saving.upper) {
                coded = encode(&(key, &entry.state), coded);
            }
            saving.next += 1;
            given += coded.len();
            if !coded.is_empty() {
                give(checkpoint::Place::Shard(shard), coded);
            }
        }
        let is_done = saving.next == SHARDS;
        if is_done {
            self.saving = None;
        }
        is_done
    }
}

/// Gives what is in one and not in the other; both are sorted. What left and what came are given in pairs while there are
/// both, so that whoever adds them up has one difference to add.
fn differences<V: Ord>(before: &[V], after: &[V], mut give: impl FnMut(Option<&V>, Option<&V>)) {
    let (mut left, mut came) = (SmallVec::<[&V; 4]>::new(), SmallVec::<[&V; 4]>::new());
    let (mut before, mut after) = (before.iter().peekable(), after.iter().peekable());
    loop {
        match (before.peek(), after.peek()) {
            (Some(old), Some(new)) if old == new => {
                before.next();
                after.next();
            }
            (Some(old), Some(new)) if new < old => came.extend(after.next()),
            (Some(_), _) => left.extend(before.next()),
            (None, Some(_)) => came.extend(after.next()),
            (None, None) => break,
        }
    }
    let paired = left.len().min(came.len());
    left[..paired].iter().zip(&came[..paired]).for_each(|(old, new)| give(Some(old), Some(new)));
    left[paired..].iter().for_each(|old| give(Some(old), None));
    came[paired..].iter().for_each(|new| give(None, Some(new)));
}
