//! Stock and availability as one fold over the ledger's keys.
//!
//! The ledger's state is the state; availability is a pure decision over its balance, and changes without a fact when the
//! watermark passes the time through which a count is trusted.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use operators::fold::{Fold, Now, Table, Wake};
use operators::release::{Released, Standing};
use operators::time::{MINUS_INFINITY, PLUS_INFINITY, TimeMs};

use crate::catalog::Catalog;
use crate::inventory::availability::{AvailabilityRow, Decision, Policy, Reason, decide, fresh_through};
use crate::inventory::fact::{Fact, StockState};
use crate::inventory::ledger::{Balance, Entry, Ledger, LedgerKey, postings};
use crate::inventory::stock::StockRow;

/// A row of either view that the ledger shows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum LedgerRow {
    /// What is there.
    Stock(StockRow),
    /// Whether it can be promised.
    Availability(AvailabilityRow),
}

/// What a key shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LedgerValue {
    /// What is there.
    Stock(Balance),
    /// Whether it can be promised.
    Availability(Decision),
}

/// The state of a key: the ledger, and the watermark as of which it was decided on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyState {
    ledger: Ledger,
    stale: bool,
}

/// Folds facts into stock and availability.
pub struct LedgerFold {
    /// The names.
    pub catalog: Arc<Catalog>,
    /// The rules.
    pub policy: Policy,
}

impl LedgerFold {
    /// The row of a key that shows this, of either view.
    pub fn row(&self, key: &LedgerKey, value: &LedgerValue) -> LedgerRow {
        match value {
            LedgerValue::Stock(balance) => LedgerRow::Stock(self.stock(key, balance)),
            LedgerValue::Availability(decision) => LedgerRow::Availability(self.availability(key, decision)),
        }
    }

    /// The row of a key with this balance.
    pub fn stock(&self, key: &LedgerKey, balance: &Balance) -> StockRow {
        let numbers = balance.numbers;
        StockRow {
            tenant: self.catalog.tenant_name(key.tenant).clone(),
            sku: key.sku.clone(),
            node: key.node.clone(),
            state: key.state,
            book: numbers.map(|numbers| numbers.book),
            lo: numbers.map(|numbers| numbers.lo),
            hi: numbers.map(|numbers| numbers.hi),
            variance: numbers.map(|numbers| numbers.variance),
            anchor_ms: balance.anchor_ms,
            rebase_pending: numbers.is_none(),
            in_doubt: balance.in_doubt,
        }
    }

    /// The row of a key about which this was decided.
    pub fn availability(&self, key: &LedgerKey, decision: &Decision) -> AvailabilityRow {
        AvailabilityRow {
            tenant: self.catalog.tenant_name(key.tenant).clone(),
            sku: key.sku.clone(),
            node: key.node.clone(),
            available: decision.reason == Reason::InStock,
            reason: decision.reason,
            quantity: decision.quantity,
            fresh_through_ms: decision.fresh_through_ms,
        }
    }
}

impl Fold for LedgerFold {
    type Input = Released<Fact>;
    type Key = LedgerKey;
    type Event = Entry;
    type State = KeyState;
    type Value = LedgerValue;
    type Table = Table<LedgerKey, KeyState>;

    fn name(&self) -> &'static str {
        "Ledger"
    }

    fn keys(&self, released: &Released<Fact>, post: &mut dyn FnMut(LedgerKey, Entry)) {
        let doubt_ms = match released.standing {
            Standing::TooOld { doubt_ms } => Some(doubt_ms),
            Standing::OnTime | Standing::Late => None,
        };
        postings(&released.record, doubt_ms, post);
    }

    fn apply(&self, state: &mut KeyState, _: &LedgerKey, entry: &Entry) {
        state.ledger.apply(entry);
    }

    fn seal(&self, state: &mut KeyState, key: &LedgerKey, now: &Now<'_>) {
        let reached_ms = now.reached(self.catalog.fact_group(key.tenant));
        let anchor_ms = state.ledger.balance().anchor_ms;
        state.stale = anchor_ms.is_some_and(|anchor_ms| reached_ms > fresh_through(anchor_ms, &self.policy));
    }

    fn values(&self, key: &LedgerKey, state: &KeyState, values: &mut Vec<LedgerValue>) {
        if state.ledger.is_empty() {
            return;
        }
        let balance = state.ledger.balance();
        values.push(LedgerValue::Stock(balance));
        if key.state == StockState::Sellable {
            let watermark_ms: TimeMs = if state.stale { PLUS_INFINITY } else { MINUS_INFINITY };
            values.push(LedgerValue::Availability(decide(&balance, &self.policy, watermark_ms)));
        }
    }

    fn wake(&self, key: &LedgerKey, state: &KeyState) -> Option<Wake> {
        if state.stale || key.state != StockState::Sellable {
            return None;
        }
        let anchor_ms = state.ledger.balance().anchor_ms?;
        let at_ms = fresh_through(anchor_ms, &self.policy).saturating_add(1);
        Some(Wake::Watermark(self.catalog.fact_group(key.tenant), at_ms))
    }

    fn heap_bytes(&self, state: &KeyState) -> usize {
        state.ledger.heap_bytes()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::catalog::Tenant;

    fn key() -> impl Strategy<Value = LedgerKey> {
        let state = prop_oneof![Just(StockState::Sellable), Just(StockState::Damaged), Just(StockState::Backroom)];
        let key = |(tenant, state, sku, node): (u16, _, String, String)| LedgerKey {
            tenant,
            state,
            node: node.into(),
            sku: sku.into(),
        };
        (0..2u16, state, "[ab]{1,2}", "[xy]{1,2}").prop_map(key)
    }

    proptest! {
        /// What is shown in the order of keys is in order, tenant by tenant: a restored view is merged, not sorted.
        #[test]
        fn keys_are_in_the_order_of_their_rows(left in key(), right in key()) {
            let tenants = ["north", "south"].map(|name| Tenant { name: name.into() }).to_vec();
            let catalog = Arc::new(Catalog::new(tenants, Vec::new(), BTreeMap::new()));
            let fold = LedgerFold { catalog, policy: Policy { safety_stock: 0, count_trusted_ms: 0 } };
            let row = |key: &LedgerKey| fold.stock(key, &Ledger::default().balance());
            prop_assert_eq!(left.cmp(&right), row(&left).cmp(&row(&right)));
        }
    }
}
