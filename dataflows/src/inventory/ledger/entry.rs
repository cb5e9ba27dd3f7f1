//! What facts post to the ledger's keys.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use operators::time::TimeMs;

use crate::inventory::fact::{Fact, FactKind, StockState};
use crate::names::{Name, TenantId};

/// The greatest epsilon that a source may be given: bounds how far a window reaches.
pub const EPSILON_MAX_MS: i64 = 600_000;

/// A key of the ledger. Its order is that of the rows of its views, so that what is shown in the order of keys is in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
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

impl Ord for LedgerKey {
    fn cmp(&self, other: &Self) -> Ordering {
        let LedgerKey { tenant, state, node, sku } = self;
        let by_names = || sku.cmp(&other.sku).then_with(|| node.cmp(&other.node));
        tenant.cmp(&other.tenant).then_with(by_names).then_with(|| state.cmp(&other.state))
    }
}

impl PartialOrd for LedgerKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A fact's identity, `(tenant, id)` in 128 bits, without the alignment of a `u128`: keys are many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FactId(u64, u64);

impl From<u128> for FactId {
    fn from(id: u128) -> FactId {
        FactId((id >> 64) as u64, id as u64)
    }
}

/// A class-A count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Count {
    /// When it ended.
    pub at_ms: TimeMs,
    /// When it began.
    pub from_ms: TimeMs,
    /// How wrong its clock may be.
    pub epsilon_ms: u32,
    /// Less is better.
    pub rank: u16,
    /// Its identity.
    pub id: FactId,
    /// What was found.
    pub quantity: i64,
}

impl Count {
    pub(super) fn order(&self) -> (TimeMs, std::cmp::Reverse<u16>, FactId) {
        (self.at_ms, std::cmp::Reverse(self.rank), self.id)
    }

    pub(super) fn min_by_order(self, other: Count) -> Count {
        if self.order() < other.order() { self } else { other }
    }

    pub(super) fn window(&self) -> (TimeMs, TimeMs) {
        let epsilon_ms = i64::from(self.epsilon_ms);
        (self.from_ms.saturating_sub(epsilon_ms), self.at_ms.saturating_add(epsilon_ms))
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
        id: FactId,
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
        post(key(state), Entry::Tombstone { id: before.id.into(), at_ms: before.event_time_ms });
    }
    if !void && matches!(kind, FactKind::Count | FactKind::Snapshot) {
        let Fact { observed_from_ms: from_ms, epsilon_ms, rank, id, .. } = *fact;
        let epsilon_ms = u32::try_from(epsilon_ms.clamp(0, EPSILON_MAX_MS)).expect("the greatest epsilon fits 32 bits");
        let id = FactId::from(id);
        post(key(state), Entry::Count(Count { at_ms, from_ms, epsilon_ms, rank, id, quantity }));
    }
}
