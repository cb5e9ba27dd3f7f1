//! The ledger: what is there, by facts in any order of arrival.
//!
//! For a key (SKU, node, condition) the class-A count of greatest (event time, better rank, id) is the anchor; without one
//! there is a count of 0 before all time. Then
//!
//! ```text
//! book = anchor + deltas after the anchor's event time
//! lo   = anchor + deltas after the window + the negative ones within it
//! hi   = anchor + deltas after the window + the positive ones within it
//! window = (began - epsilon, ended + epsilon]           of the count
//! variance = book - all deltas
//! ```
//!
//! Nothing is clamped: a negative book is information. A correction posts what it takes back with multiplicity -1, so it
//! commutes with everything. A count that is corrected or voided leaves a tombstone, which takes back the count of that
//! identity and that time, and no other; until a count at or after its time holds, the key is flagged and shows no numbers,
//! since the count before may have been forgotten. A fact too old to be
//! judged leaves the key in doubt until a count at or after the watermark of that moment.
//!
//! The ledger keeps every delta after its anchor (and those within the longest possible window before it): that is what a
//! late count needs. Cost: 128 bytes a key with its first delta, 16 bytes each other delta, and another 72 for a key that has
//! anything rare; an ordinary delta is O(1), a new anchor looks at the deltas that are kept.

mod entry;
pub mod fold;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use operators::time::{MINUS_INFINITY, TimeMs};

use crate::limits::COUNT_DURATION_MAX_MS;
pub use entry::{Count, EPSILON_MAX_MS, Entry, FactId, LedgerKey, postings};

/// A delta that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    at_ms: TimeMs,
    /// Twice the quantity, plus one where it is taken back: a quantity needs 33 bits, and 16 bytes are enough.
    coded: i64,
}

impl Kept {
    fn new(at_ms: TimeMs, quantity: i64, times: i64) -> Kept {
        Kept { at_ms, coded: quantity * 2 + i64::from(times < 0) }
    }

    fn is_taken_back(self) -> bool {
        self.coded & 1 == 1
    }

    /// The delta that takes this one back, or that this one takes back.
    fn opposite(self) -> Kept {
        Kept { coded: self.coded ^ 1, ..self }
    }

    fn change(self) -> i64 {
        let quantity = self.coded >> 1;
        if self.is_taken_back() { -quantity } else { quantity }
    }
}

/// The state of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    anchor: Option<Count>,
    /// Deltas at or before this were forgotten; minus infinity before there was an anchor.
    kept_after_ms: TimeMs,
    book: i64,
    lo: i64,
    hi: i64,
    /// Sum of all deltas, at any time.
    deltas: i64,
    kept: SmallVec<[Kept; 1]>,
    /// What few keys ever have: absent where it would be empty.
    rare: Option<Box<Rare>>,
}

impl Default for Ledger {
    fn default() -> Self {
        Ledger {
            anchor: None,
            kept_after_ms: MINUS_INFINITY,
            book: 0,
            lo: 0,
            hi: 0,
            deltas: 0,
            kept: SmallVec::new(),
            rare: None,
        }
    }
}

/// The part of a key's state that few keys have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Rare {
    /// Other counts of the anchor's instant: one of them holds if the anchor is taken back.
    rivals: Vec<Count>,
    tombstones: Vec<(FactId, TimeMs)>,
    /// How many of the kept deltas are taken back by a correction that came before them.
    taken_back_early: u32,
    doubt_ms: Option<TimeMs>,
}

/// What the ledger says of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Balance {
    /// None while it has to be looked up again.
    pub numbers: Option<Numbers>,
    /// When the anchor was taken.
    pub anchor_ms: Option<TimeMs>,
    /// Whether a fact too old to be judged may be missing.
    pub in_doubt: bool,
}

/// The numbers of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Numbers {
    /// What the record says.
    pub book: i64,
    /// No fewer.
    pub lo: i64,
    /// No more.
    pub hi: i64,
    /// Book less all deltas.
    pub variance: i64,
}

impl Ledger {
    /// Applies an entry. Any order of the same entries gives the same balance.
    pub fn apply(&mut self, entry: &Entry) {
        match *entry {
            Entry::Delta { at_ms, quantity, times } => self.post(at_ms, quantity, times),
            Entry::Count(count) => {
                let is_taken_back = |rare: &Rare| rare.tombstones.contains(&(count.id, count.at_ms));
                if !self.rare.as_deref().is_some_and(is_taken_back) {
                    self.count(count);
                }
            }
            Entry::Tombstone { id, at_ms } => self.take_back(id, at_ms),
            Entry::Doubt { doubt_ms } => {
                self.with_rare(|rare| rare.doubt_ms = rare.doubt_ms.max(Some(doubt_ms)));
            }
        }
    }

    /// Changes the rare part, and lets it go where nothing is left: equal histories give equal states, in any order.
    fn with_rare<T>(&mut self, change: impl FnOnce(&mut Rare) -> T) -> T {
        let rare = self.rare.get_or_insert_default();
        let given = change(rare);
        if **rare == Rare::default() {
            self.rare = None;
        }
        given
    }

    fn taken_back_early(&self) -> u32 {
        self.rare.as_ref().map_or(0, |rare| rare.taken_back_early)
    }

    /// What it says now.
    pub fn balance(&self) -> Balance {
        let anchor_ms = self.anchor.map(|anchor| anchor.at_ms);
        let rare = self.rare.as_deref();
        let tombstone_ms = rare.and_then(|rare| rare.tombstones.iter().map(|(_, at_ms)| *at_ms).max());
        let doubt_ms = rare.and_then(|rare| rare.doubt_ms);
        let known =
            tombstone_ms.is_none_or(|tombstone_ms| anchor_ms.is_some_and(|anchor_ms| anchor_ms >= tombstone_ms));
        let Ledger { book, lo, hi, deltas, .. } = *self;
        let anchor_ms = anchor_ms.filter(|_| known);
        Balance {
            numbers: known.then_some(Numbers { book, lo, hi, variance: book - deltas }),
            anchor_ms,
            in_doubt: doubt_ms.is_some_and(|doubt_ms| anchor_ms.is_none_or(|anchor_ms| anchor_ms < doubt_ms)),
        }
    }

    /// Whether nothing was ever posted.
    pub fn is_empty(&self) -> bool {
        *self == Ledger::default()
    }

    /// What it owns on the heap.
    pub fn heap_bytes(&self) -> usize {
        let kept = if self.kept.spilled() { self.kept.capacity() * size_of::<Kept>() } else { 0 };
        let rare = self.rare.as_ref().map_or(0, |rare| {
            size_of::<Rare>()
                + rare.tombstones.capacity() * size_of::<(FactId, TimeMs)>()
                + rare.rivals.capacity() * size_of::<Count>()
        });
        kept + rare
    }

    fn count(&mut self, count: Count) {
        match self.anchor {
            Some(anchor) if anchor.at_ms > count.at_ms => {}
            Some(anchor) if anchor.at_ms == count.at_ms => {
                self.with_rare(|rare| rare.rivals.push(anchor.min_by_order(count)));
                if anchor.order() < count.order() {
                    self.anchor_at(count);
                }
            }
            _ => {
                if self.rare.is_some() {
                    self.with_rare(|rare| rare.rivals.clear());
                }
                self.anchor_at(count);
            }
        }
    }

    fn take_back(&mut self, id: FactId, at_ms: TimeMs) {
        let buries = self.anchor.is_none_or(|anchor| anchor.at_ms <= at_ms);
        self.with_rare(|rare| {
            rare.rivals.retain(|rival| (rival.id, rival.at_ms) != (id, at_ms));
            if buries && !rare.tombstones.contains(&(id, at_ms)) {
                rare.tombstones.push((id, at_ms));
            }
        });
        if self.anchor.is_some_and(|anchor| (anchor.id, anchor.at_ms) == (id, at_ms)) {
            self.anchor = None;
            let best = self.with_rare(|rare| {
                let best = (0..rare.rivals.len()).max_by_key(|at| rare.rivals[*at].order());
                best.map(|best| rare.rivals.swap_remove(best))
            });
            if let Some(best) = best {
                self.anchor_at(best);
            }
        }
    }

    fn post(&mut self, at_ms: TimeMs, quantity: i64, times: i64) {
        self.deltas += quantity * times;
        if at_ms <= self.kept_after_ms {
            // It lies before the window of the anchor, and of every anchor that may come.
            return;
        }
        let delta = Kept::new(at_ms, quantity, times);
        // What is taken back is looked for only by corrections, or where one came first.
        let looked_for = times < 0 || self.taken_back_early() > 0;
        let opposite = delta.opposite();
        match if looked_for { self.kept.iter().position(|kept| *kept == opposite) } else { None } {
            Some(place) => {
                let kept = self.kept.swap_remove(place);
                if kept.is_taken_back() {
                    self.with_rare(|rare| rare.taken_back_early -= 1);
                }
                self.count_in(kept, -1);
            }
            None => {
                if times < 0 {
                    self.with_rare(|rare| rare.taken_back_early += 1);
                }
                if self.kept.len() == self.kept.capacity() {
                    self.kept.reserve_exact((self.kept.len() / 2).max(2));
                }
                self.kept.push(delta);
                self.count_in(delta, 1);
            }
        }
    }

    /// Adds what a kept delta means for the numbers, or takes it away (`sign` is 1 or -1). A delta that is taken back
    /// before it came counts as its opposite, so that `lo <= hi` at every moment.
    fn count_in(&mut self, delta: Kept, sign: i64) {
        let change = delta.change();
        let Some(anchor) = self.anchor else {
            self.book += sign * change;
            self.lo += sign * change;
            self.hi += sign * change;
            return;
        };
        let (begins_ms, ends_ms) = anchor.window();
        if delta.at_ms > anchor.at_ms {
            self.book += sign * change;
        }
        if delta.at_ms > ends_ms {
            self.lo += sign * change;
            self.hi += sign * change;
        } else if delta.at_ms > begins_ms {
            self.lo += sign * change.min(0);
            self.hi += sign * change.max(0);
        }
    }

    fn anchor_at(&mut self, count: Count) {
        self.anchor = Some(count);
        // A later anchor's window begins no earlier than this, whatever its own duration and epsilon.
        let reach_ms = count.at_ms.saturating_sub(COUNT_DURATION_MAX_MS + EPSILON_MAX_MS);
        self.kept_after_ms = self.kept_after_ms.max(reach_ms);
        let kept_after_ms = self.kept_after_ms;
        self.kept.retain(|kept| kept.at_ms > kept_after_ms);
        if self.kept.capacity() > 16 && self.kept.len() < self.kept.capacity() / 4 {
            self.kept.shrink_to_fit();
        }
        if self.rare.is_some() {
            let taken_back_early = self.kept.iter().filter(|kept| kept.is_taken_back()).count() as u32;
            self.with_rare(|rare| {
                rare.taken_back_early = taken_back_early;
                rare.tombstones.retain(|(_, at_ms)| *at_ms >= count.at_ms);
            });
        }
        (self.book, self.lo, self.hi) = (count.quantity, count.quantity, count.quantity);
        for at in 0..self.kept.len() {
            self.count_in(self.kept[at], 1);
        }
    }
}
