//! A fold and its state, without a worker: what a complete tick does to it.

use std::rc::Rc;

use smallvec::SmallVec;

use super::operator::Posting;
use super::saving::Saving;
use super::states::{Notes, Position, States};
use super::wakes::{PackedWake, Queue, coarse};
use super::{Fold, Now};
use crate::checkpoint::{Part, decode};
use crate::clock::Mark;
use crate::fetch::fetch_slice;
use crate::shard::{PlaceKey, SHARDS};
use crate::time::{Tick, TimeMs};

/// What is retired, at most, in one tick: forgetting emits nothing, so it need not stop anything.
const RETIRED_PER_TICK: usize = 10_000;

/// Keys that are looked up together.
const BURST: usize = 32;

/// Postings in the messages in which they came: of the messages' tick, and some of later ones.
pub(super) type Blocks<F> = Vec<Vec<Posting<<F as Fold>::Key, <F as Fold>::Event>>>;

/// A fold and its state: everything but the wiring.
pub(super) struct Folding<F: Fold> {
    pub(super) fold: Rc<F>,
    pub(super) table: F::Table,
    wakes: Queue,
    retirements: Queue,
    pub(super) upper: Tick,
    now_ms: TimeMs,
    watermarks: Vec<TimeMs>,
    reached: Vec<TimeMs>,
    touched: Vec<(Position, u32, u32)>,
    before: Vec<F::Value>,
    after: Vec<F::Value>,
    pub(super) saving: Option<Saving>,
    /// By which restored keys are placed.
    place_key: PlaceKey,
}

impl<F: Fold> Folding<F> {
    pub(super) fn new(fold: Rc<F>, place_key: PlaceKey) -> Self {
        Folding {
            fold,
            table: F::Table::default(),
            wakes: Queue::default(),
            retirements: Queue::default(),
            upper: 0,
            now_ms: 0,
            watermarks: Vec::new(),
            reached: Vec::new(),
            touched: Vec::new(),
            before: Vec::new(),
            after: Vec::new(),
            saving: None,
            place_key,
        }
    }

    /// Applies a complete tick: every event, then what is due, then the seal; gives what changed. Postings of later ticks that
    /// came in the same messages are left over.
    pub(super) fn tick(
        &mut self,
        blocks: Blocks<F>,
        mark: &Mark,
        mut give: impl FnMut(&F::Key, Option<&F::Value>, Option<&F::Value>),
    ) -> Vec<Posting<F::Key, F::Event>> {
        let mut later = Vec::new();
        let mut blocks = blocks.into_iter();
        while let Some(block) = blocks.next() {
            let mut bursts = block.chunks(BURST).peekable();
            let behind = blocks.as_slice().first().and_then(|block| block.chunks(BURST).next());
            while let Some(burst) = bursts.next() {
                // What comes next was written by another core, or long ago.
                bursts.peek().copied().or(behind).into_iter().for_each(fetch_slice);
                let is_of_tick = |posting: &&Posting<_, _>| posting.tick == mark.tick;
                if burst.iter().all(|posting| is_of_tick(&posting)) {
                    self.apply(burst, mark.tick);
                    continue;
                }
                later.extend(burst.iter().filter(|posting| !is_of_tick(posting)).cloned());
                self.apply(&burst.iter().filter(is_of_tick).cloned().collect::<Vec<_>>(), mark.tick);
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
        later
    }

    /// Applies up to [`BURST`] events of a tick.
    fn apply(&mut self, burst: &[Posting<F::Key, F::Event>], tick: Tick) {
        burst.iter().for_each(|posting| self.table.fetch_word(posting.hash));
        burst.iter().for_each(|posting| self.table.fetch_entry(posting.hash));
        let mut positions = [Position::default(); BURST];
        for (Posting { hash, key, .. }, position) in burst.iter().zip(&mut positions) {
            *position = self.table.locate(*hash, key, F::State::default);
        }
        self.fetch_behind(positions[..burst.len()].iter().copied());
        for (Posting { event, .. }, position) in burst.iter().zip(positions) {
            self.touch(position, tick);
            let (key, state, _) = self.table.entry(position).expect("it was located just now");
            self.fold.apply(state, key, event);
        }
    }

    /// Asks for the memory that the states at these positions own elsewhere.
    fn fetch_behind(&self, positions: impl Iterator<Item = Position> + Clone) {
        for step in 0..F::FETCHED {
            for state in positions.clone().filter_map(|position| self.table.state(position)) {
                self.fold.fetch(state, step);
            }
        }
    }

    /// Takes what a key shows before its first change of a tick. A key that was to be forgotten is absent from here on,
    /// whether or not its memory was freed yet.
    fn touch(&mut self, position: Position, tick: Tick) {
        let (key, state, notes) = self.table.entry(position).expect("touched entries exist");
        if notes.touched() == tick + 1 {
            return;
        }
        if let Some(saving) = &mut self.saving {
            saving.put_by(position, key, state, notes);
        }
        if notes.touched() != 0 && !self.watermarks.is_empty() {
            let now = Now {
                tick: self.upper.saturating_sub(1),
                now_ms: self.now_ms,
                watermarks: &self.watermarks,
                reached: &self.reached,
            };
            if self.fold.retire(state, key, &now) {
                *state = F::State::default();
            }
        }
        notes.set_touched(tick + 1);
        let from = self.before.len() as u32;
        self.fold.values(key, state, &mut self.before);
        self.touched.push((position, from, self.before.len() as u32));
    }

    fn wake_due(&mut self, mark: &Mark) {
        for position in self.wakes.due(mark.now_ms, &mark.reached, usize::MAX) {
            // The entry may have been freed, or have another wake by now: then it is no longer due for this one.
            let Some((_, _, notes)) = self.table.entry(position) else { continue };
            if notes.wake().is_due(mark.now_ms, &mark.reached) {
                self.touch(position, mark.tick);
            }
        }
    }

    fn finish(&mut self, mark: &Mark, give: &mut impl FnMut(&F::Key, Option<&F::Value>, Option<&F::Value>)) {
        let now = Now { tick: mark.tick, now_ms: mark.now_ms, watermarks: &mark.watermarks, reached: &mark.reached };
        let mut after = std::mem::take(&mut self.after);
        let touched = std::mem::take(&mut self.touched);
        for burst in touched.chunks(BURST) {
            burst.iter().for_each(|(position, ..)| self.table.fetch_position(*position));
            self.fetch_behind(burst.iter().map(|(position, ..)| *position));
            for &(position, from, upto) in burst {
                let (key, state, notes) = self.table.entry(position).expect("touched entries exist");
                self.fold.seal(state, key, &now);
                after.clear();
                self.fold.values(key, state, &mut after);
                let before = &mut self.before[from as usize..upto as usize];
                if before != after.as_slice() {
                    before.sort_unstable();
                    after.sort_unstable();
                    differences(before, &after, |old, new| give(key, old, new));
                }
                let wake = PackedWake::new(self.fold.wake(key, state));
                if wake != notes.wake() {
                    notes.set_wake(wake);
                    self.wakes.push(wake, position);
                }
                let retire_at = PackedWake::new(self.fold.retire_at(key, state).map(coarse));
                if retire_at != notes.retire_at() {
                    notes.set_retire_at(retire_at);
                    self.retirements.push(retire_at, position);
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
        for position in self.retirements.due(self.now_ms, &self.watermarks, RETIRED_PER_TICK) {
            let Some((key, state, notes)) = self.table.entry(position) else { continue };
            if !notes.retire_at().is_due(now.now_ms, now.watermarks) {
                continue;
            }
            if self.fold.retire(state, key, &now) {
                self.table.remove(position);
                continue;
            }
            let retire_at = PackedWake::new(self.fold.retire_at(key, state).map(coarse));
            notes.set_retire_at(retire_at);
            self.retirements.push(retire_at, position);
        }
    }

    /// Shows what all keys show, as of the tick of the checkpoint: in order within each virtual shard, so that whoever puts
    /// them into order has few runs to merge and not so many rows to sort.
    pub(super) fn show(&mut self, mark: &Mark, mut give: impl FnMut(&F::Key, &F::Value)) {
        self.now_ms = mark.now_ms;
        self.watermarks.clear();
        self.watermarks.extend_from_slice(&mark.watermarks);
        self.reached.clear();
        self.reached.extend_from_slice(&mark.reached);
        let mut values = Vec::new();
        for shard in 0..SHARDS {
            let mut entries: Vec<_> = self.table.shard(shard).collect();
            entries.sort_unstable_by_key(|(key, ..)| *key);
            for (key, state, _) in entries {
                self.fold.values(key, state, &mut values);
                values.drain(..).for_each(|value| give(key, &value));
            }
        }
    }

    pub(super) fn restore(&mut self, part: &Part) {
        let mut bytes = part.bytes.as_slice();
        while !bytes.is_empty() {
            let (key, state): (F::Key, F::State) = decode(&mut bytes);
            let wake = PackedWake::new(self.fold.wake(&key, &state));
            let retire_at = PackedWake::new(self.fold.retire_at(&key, &state).map(coarse));
            let position = self.table.locate(self.place_key.hash_of(&key), &key, || state);
            let (_, _, notes) = self.table.entry(position).expect("it was located just now");
            // Any past tick: it only marks the entry as not new.
            notes.set_touched(1);
            notes.set_wake(wake);
            notes.set_retire_at(retire_at);
            self.wakes.push(wake, position);
            self.retirements.push(retire_at, position);
        }
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
