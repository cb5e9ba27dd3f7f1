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
//! commutes with everything. A count that is corrected or voided leaves a tombstone; until a count at or after its time
//! holds, the key is flagged and shows no numbers, since the count before may have been forgotten. A fact too old to be
//! judged leaves the key in doubt until a count at or after the watermark of that moment.
//!
//! The ledger keeps every delta after its anchor (and those within the longest possible window before it): that is what a
//! late count needs. Cost: 16 bytes a delta; an ordinary delta is O(1), a new anchor looks at the deltas that are kept.

use serde::{Deserialize, Serialize};

use operators::time::TimeMs;

use crate::inventory::fact::{Fact, FactKind, StockState};
use crate::limits::COUNT_DURATION_MAX_MS;
use crate::names::{Name, TenantId};

/// The greatest epsilon that a source may be given: bounds how far a window reaches.
pub const EPSILON_MAX_MS: i64 = 600_000;

/// A key of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LedgerKey {
    /// Whose stock.
    pub tenant: TenantId,
    /// Its condition.
    pub state: StockState,
    /// The place.
    pub node: Name,
    /// The product.
    pub sku: Name,
}

/// A class-A count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Count {
    /// When it ended.
    pub at_ms: TimeMs,
    /// When it began.
    pub from_ms: TimeMs,
    /// How wrong its clock may be.
    pub epsilon_ms: i64,
    /// Less is better.
    pub rank: u16,
    /// Its identity.
    pub id: u128,
    /// What was found.
    pub quantity: i64,
}

impl Count {
    fn order(&self) -> (TimeMs, std::cmp::Reverse<u16>, u128) {
        (self.at_ms, std::cmp::Reverse(self.rank), self.id)
    }

    fn min_by_order(self, other: Count) -> Count {
        if self.order() < other.order() { self } else { other }
    }

    fn window(&self) -> (TimeMs, TimeMs) {
        (self.from_ms.saturating_sub(self.epsilon_ms), self.at_ms.saturating_add(self.epsilon_ms))
    }
}

/// What a key needs of a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Entry {
    /// A signed change; `times` is -1 where a correction takes it back.
    Delta {
        /// When it happened.
        at_ms: TimeMs,
        /// Base units.
        quantity: i64,
        /// 1 or -1.
        times: i64,
    },
    /// A count.
    Count(Count),
    /// A count that was taken back.
    Tombstone {
        /// Its identity.
        id: u128,
        /// When it ended.
        at_ms: TimeMs,
    },
    /// A fact that could not be judged.
    Doubt {
        /// The watermark of that moment.
        doubt_ms: TimeMs,
    },
}

/// The signed change of sellable (or other) stock that a fact of this kind posts; none for absolutes and evidence.
fn signed(kind: FactKind, quantity: i64) -> Option<i64> {
    match kind {
        FactKind::Sale | FactKind::TransferOut | FactKind::StateMove | FactKind::Pick => Some(-quantity),
        FactKind::Return | FactKind::Receipt | FactKind::TransferIn | FactKind::Adjust => Some(quantity),
        FactKind::Count | FactKind::Snapshot | FactKind::ShelfObservation | FactKind::Clock => None,
    }
}

/// What a fact posts to which keys. `doubt_ms` is set where it is too old to be judged.
pub fn postings(fact: &Fact, doubt_ms: Option<TimeMs>, post: &mut dyn FnMut(LedgerKey, Entry)) {
    if fact.kind == FactKind::Clock {
        return;
    }
    let Fact { tenant, kind, state, to_state, void, node, sku, quantity, event_time_ms: at_ms, .. } = fact;
    let (tenant, kind, state, to_state, void, quantity, at_ms) =
        (*tenant, *kind, *state, *to_state, *void, *quantity, *at_ms);
    let key = |state: StockState| LedgerKey { tenant, state, node: node.clone(), sku: sku.clone() };
    // A fact too old to be judged would post the same: each of its keys is in doubt instead.
    let mut post =
        |key: LedgerKey, entry: Entry| post(key, doubt_ms.map_or(entry, |doubt_ms| Entry::Doubt { doubt_ms }));
    let mut move_stock = |kind: FactKind, quantity: i64, at_ms: TimeMs, times: i64| {
        let Some(change) = signed(kind, quantity).filter(|change| *change != 0) else { return };
        post(key(state), Entry::Delta { at_ms, quantity: change, times });
        if kind == FactKind::StateMove {
            post(key(to_state), Entry::Delta { at_ms, quantity: -change, times });
        }
    };
    if let Some(before) = &fact.before {
        move_stock(before.kind, before.quantity, before.event_time_ms, -1);
    }
    if !void {
        move_stock(kind, quantity, at_ms, 1);
    }
    if !fact.authority {
        return;
    }
    if let Some(before) = fact.before.as_ref().filter(|before| signed(before.kind, 0).is_none()) {
        post(key(state), Entry::Tombstone { id: before.id, at_ms: before.event_time_ms });
    }
    if !void && matches!(kind, FactKind::Count | FactKind::Snapshot) {
        let Fact { observed_from_ms: from_ms, epsilon_ms, rank, id, .. } = *fact;
        post(key(state), Entry::Count(Count { at_ms, from_ms, epsilon_ms, rank, id, quantity }));
    }
}

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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    anchor: Option<Count>,
    /// Other counts of the anchor's instant: one of them holds if the anchor is taken back.
    rivals: Vec<Count>,
    /// Deltas at or before this were forgotten; none before there was an anchor.
    kept_after_ms: Option<TimeMs>,
    book: i64,
    lo: i64,
    hi: i64,
    /// Sum of all deltas, at any time.
    deltas: i64,
    kept: Vec<Kept>,
    /// Of them, those that a correction takes back before they came.
    taken_back_early: u32,
    tombstones: Vec<(u128, TimeMs)>,
    doubt_ms: Option<TimeMs>,
}

/// What the ledger says of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    /// None while it has to be looked up again.
    pub numbers: Option<Numbers>,
    /// When the anchor was taken.
    pub anchor_ms: Option<TimeMs>,
    /// Whether a fact too old to be judged may be missing.
    pub in_doubt: bool,
}

/// The numbers of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
                if !self.tombstones.iter().any(|(id, _)| *id == count.id) {
                    self.count(count);
                }
            }
            Entry::Tombstone { id, at_ms } => self.take_back(id, at_ms),
            Entry::Doubt { doubt_ms } => self.doubt_ms = self.doubt_ms.max(Some(doubt_ms)),
        }
    }

    /// What it says now.
    pub fn balance(&self) -> Balance {
        let anchor_ms = self.anchor.map(|anchor| anchor.at_ms);
        let tombstone_ms = self.tombstones.iter().map(|(_, at_ms)| *at_ms).max();
        let known =
            tombstone_ms.is_none_or(|tombstone_ms| anchor_ms.is_some_and(|anchor_ms| anchor_ms >= tombstone_ms));
        let Ledger { book, lo, hi, deltas, .. } = *self;
        let anchor_ms = anchor_ms.filter(|_| known);
        Balance {
            numbers: known.then_some(Numbers { book, lo, hi, variance: book - deltas }),
            anchor_ms,
            in_doubt: self.doubt_ms.is_some_and(|doubt_ms| anchor_ms.is_none_or(|anchor_ms| anchor_ms < doubt_ms)),
        }
    }

    /// Whether nothing was ever posted.
    pub fn is_empty(&self) -> bool {
        *self == Ledger::default()
    }

    /// What it owns on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.kept.capacity() * size_of::<Kept>()
            + self.tombstones.capacity() * size_of::<(u128, TimeMs)>()
            + self.rivals.capacity() * size_of::<Count>()
    }

    fn count(&mut self, count: Count) {
        match self.anchor {
            Some(anchor) if anchor.at_ms > count.at_ms => {}
            Some(anchor) if anchor.at_ms == count.at_ms => {
                self.rivals.push(anchor.min_by_order(count));
                if anchor.order() < count.order() {
                    self.anchor_at(count);
                }
            }
            _ => {
                self.rivals.clear();
                self.anchor_at(count);
            }
        }
    }

    fn take_back(&mut self, id: u128, at_ms: TimeMs) {
        self.rivals.retain(|rival| rival.id != id);
        if self.anchor.is_none_or(|anchor| anchor.at_ms <= at_ms) && !self.tombstones.contains(&(id, at_ms)) {
            self.tombstones.push((id, at_ms));
        }
        if self.anchor.is_some_and(|anchor| anchor.id == id) {
            self.anchor = None;
            let best = (0..self.rivals.len()).max_by_key(|at| self.rivals[*at].order());
            if let Some(best) = best {
                let best = self.rivals.swap_remove(best);
                self.anchor_at(best);
            }
        }
    }

    fn post(&mut self, at_ms: TimeMs, quantity: i64, times: i64) {
        self.deltas += quantity * times;
        if self.kept_after_ms.is_some_and(|kept_after_ms| at_ms <= kept_after_ms) {
            // It lies before the window of the anchor, and of every anchor that may come.
            return;
        }
        let delta = Kept::new(at_ms, quantity, times);
        // What is taken back is looked for only by corrections, or where one came first.
        let looked_for = times < 0 || self.taken_back_early > 0;
        let opposite = delta.opposite();
        match if looked_for { self.kept.iter().position(|kept| *kept == opposite) } else { None } {
            Some(place) => {
                let kept = self.kept.swap_remove(place);
                self.taken_back_early -= u32::from(kept.is_taken_back());
                self.count_in(kept, -1);
            }
            None => {
                self.taken_back_early += u32::from(times < 0);
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
        self.kept_after_ms = self.kept_after_ms.max(Some(reach_ms));
        let kept_after_ms = self.kept_after_ms.unwrap_or(reach_ms);
        self.kept.retain(|kept| kept.at_ms > kept_after_ms);
        self.taken_back_early = self.kept.iter().filter(|kept| kept.is_taken_back()).count() as u32;
        if self.kept.capacity() > 16 && self.kept.len() < self.kept.capacity() / 4 {
            self.kept.shrink_to(self.kept.len() * 2);
        }
        self.tombstones.retain(|(_, at_ms)| *at_ms >= count.at_ms);
        (self.book, self.lo, self.hi) = (count.quantity, count.quantity, count.quantity);
        for at in 0..self.kept.len() {
            self.count_in(self.kept[at], 1);
        }
    }
}
