//! Stock and availability, from everything that was ever posted.

use std::collections::BTreeMap;

use crate::rows::Row;
use dataflows::inventory::availability::AvailabilityRow;
use dataflows::inventory::availability::Reason;
use dataflows::inventory::fact::{Fact, FactKind, StockState};
use dataflows::inventory::stock::StockRow;
use dataflows::inventory::stock_by_sku::SkuRow;
use dataflows::names::{Name, TenantId};
use operators::time::{MINUS_INFINITY, TimeMs};

use super::{AcceptedFact, Model};

impl Model<'_> {
    /// How far event time has come in a tenant's facts: the end of all sources makes nothing older.
    fn fact_watermark(&self, tenant: TenantId) -> TimeMs {
        self.finite_watermarks[usize::from(self.history.catalog.fact_group(tenant).0)]
    }

    /// What was posted to each key of the ledger. A key to which nothing was posted, or nothing that was not taken back,
    /// is none.
    fn accounts(&self) -> BTreeMap<Key, Account> {
        let mut accounts = BTreeMap::new();
        for AcceptedFact { fact, doubt_ms } in &self.facts {
            post(fact, *doubt_ms, &mut accounts);
        }
        for account in accounts.values_mut() {
            account.deltas.retain(|_, times| *times != 0);
        }
        accounts.retain(|_, account| !account.is_empty());
        accounts
    }

    pub(super) fn stock(&self) -> Vec<Row> {
        let rows = self.accounts().into_iter().map(|((tenant, sku, node, state), account)| {
            let balance = account.balance();
            let numbers = balance.numbers;
            Row::Stock(StockRow {
                tenant: self.history.catalog.tenant_name(tenant).clone(),
                sku,
                node,
                state,
                book: numbers.map(|numbers| numbers.book),
                lo: numbers.map(|numbers| numbers.lo),
                hi: numbers.map(|numbers| numbers.hi),
                variance: numbers.map(|numbers| numbers.variance),
                anchor_ms: balance.anchor_ms,
                rebase_pending: numbers.is_none(),
                in_doubt: balance.in_doubt,
            })
        });
        rows.collect()
    }

    pub(super) fn stock_by_sku(&self) -> Vec<Row> {
        let mut by_sku: BTreeMap<(TenantId, Name, StockState), Vec<Balance>> = BTreeMap::new();
        for ((tenant, sku, _, state), account) in self.accounts() {
            by_sku.entry((tenant, sku, state)).or_default().push(account.balance());
        }
        let rows = by_sku.into_iter().map(|((tenant, sku, state), balances)| {
            let numbers: Vec<_> = balances.iter().filter_map(|balance| balance.numbers).collect();
            let sum = |of: fn(&Numbers) -> i64| (!numbers.is_empty()).then(|| numbers.iter().map(of).sum());
            Row::Sku(SkuRow {
                tenant: self.history.catalog.tenant_name(tenant).clone(),
                sku,
                state,
                nodes: balances.len() as i64,
                nodes_unknown: (balances.len() - numbers.len()) as i64,
                nodes_in_doubt: balances.iter().filter(|balance| balance.in_doubt).count() as i64,
                book: sum(|numbers| numbers.book),
                lo: sum(|numbers| numbers.lo),
                hi: sum(|numbers| numbers.hi),
            })
        });
        rows.collect()
    }

    pub(super) fn availability(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        let policy = &self.history.plan.policy;
        for ((tenant, sku, node, state), account) in self.accounts() {
            if state != StockState::Sellable {
                continue;
            }
            let balance = account.balance();
            let fresh_through_ms = balance.anchor_ms.map(|anchor_ms| anchor_ms.saturating_add(policy.count_trusted_ms));
            let left = balance.numbers.map_or(0, |numbers| numbers.lo - policy.safety_stock);
            let reason = match (balance.numbers, fresh_through_ms) {
                (None, _) => Reason::RebasePending,
                _ if balance.in_doubt => Reason::InDoubt,
                (_, None) => Reason::NeverCounted,
                (_, Some(through_ms)) if self.fact_watermark(tenant) > through_ms => Reason::Stale,
                _ if left <= 0 => Reason::OutOfStock,
                _ => Reason::InStock,
            };
            let available = reason == Reason::InStock;
            rows.push(Row::Availability(AvailabilityRow {
                tenant: self.history.catalog.tenant_name(tenant).clone(),
                sku,
                node,
                available,
                reason,
                quantity: if available { left } else { 0 },
                fresh_through_ms: fresh_through_ms.filter(|_| available),
            }));
        }
        rows
    }
}

/// Tenant, SKU, node, condition.
type Key = (TenantId, Name, Name, StockState);

/// Everything that was ever posted to a key.
#[derive(Default)]
struct Account {
    /// By event time and quantity: how often it was posted, less how often it was taken back.
    deltas: BTreeMap<(TimeMs, i64), i64>,
    counts: Vec<Count>,
    /// Counts that were taken back: id, and when they were taken. Both have to agree.
    tombstones: Vec<(u128, TimeMs)>,
    doubts: Vec<TimeMs>,
}

/// A class-A count.
struct Count {
    at_ms: TimeMs,
    from_ms: TimeMs,
    epsilon_ms: i64,
    rank: u16,
    id: u128,
    quantity: i64,
}

struct Balance {
    numbers: Option<Numbers>,
    anchor_ms: Option<TimeMs>,
    in_doubt: bool,
}

#[derive(Clone, Copy)]
struct Numbers {
    book: i64,
    lo: i64,
    hi: i64,
    variance: i64,
}

impl Account {
    fn is_empty(&self) -> bool {
        self.deltas.is_empty() && self.counts.is_empty() && self.tombstones.is_empty() && self.doubts.is_empty()
    }

    fn balance(&self) -> Balance {
        let standing = self.counts.iter().filter(|count| !self.tombstones.contains(&(count.id, count.at_ms)));
        let anchor = standing.max_by_key(|count| (count.at_ms, u16::MAX - count.rank, count.id));
        let taken_back_ms = self.tombstones.iter().map(|(_, at_ms)| *at_ms).max();
        let holds =
            taken_back_ms.is_none_or(|taken_back_ms| anchor.is_some_and(|anchor| anchor.at_ms >= taken_back_ms));
        let anchor = anchor.filter(|_| holds);

        let (start, at_ms, opens_ms, closes_ms) = match anchor {
            Some(count) => {
                let Count { at_ms, from_ms, epsilon_ms, .. } = *count;
                (count.quantity, at_ms, from_ms - epsilon_ms, at_ms + epsilon_ms)
            }
            None => (0, MINUS_INFINITY, MINUS_INFINITY, MINUS_INFINITY),
        };
        let (mut book, mut lo, mut hi, mut all) = (start, start, start, 0);
        for ((time_ms, quantity), times) in &self.deltas {
            // What is taken back before it came is, until then, a change by the opposite quantity.
            let change = quantity * times;
            all += change;
            if *time_ms > at_ms {
                book += change;
            }
            if *time_ms > closes_ms {
                lo += change;
                hi += change;
            } else if *time_ms > opens_ms {
                lo += change.min(0);
                hi += change.max(0);
            }
        }
        assert!(lo <= book && book <= hi, "the bracket holds");
        let doubt_ms = self.doubts.iter().max();
        Balance {
            numbers: holds.then_some(Numbers { book, lo, hi, variance: book - all }),
            anchor_ms: anchor.map(|anchor| anchor.at_ms),
            in_doubt: doubt_ms.is_some_and(|doubt_ms| anchor.is_none_or(|anchor| anchor.at_ms < *doubt_ms)),
        }
    }
}

/// Posts a fact to the accounts that it concerns: what it takes back, then what it says. Evidence posts nothing.
fn post(fact: &Fact, doubt_ms: Option<TimeMs>, accounts: &mut BTreeMap<Key, Account>) {
    let key = |state: StockState| (fact.tenant, fact.sku.clone(), fact.node.clone(), state);
    let mut account = |state: StockState, posts: &dyn Fn(&mut Account)| {
        let account: &mut Account = accounts.entry(key(state)).or_default();
        match doubt_ms {
            Some(doubt_ms) => account.doubts.push(doubt_ms),
            None => posts(account),
        }
    };
    let mut said = Vec::new();
    if let Some(before) = &fact.before {
        said.push((before.kind, before.quantity, before.event_time_ms, Some(before.id)));
    }
    if !fact.void {
        said.push((fact.kind, fact.quantity, fact.event_time_ms, None));
    }
    for (kind, quantity, time_ms, taken_back) in said {
        if quantity == 0 && !matches!(kind, FactKind::Count | FactKind::Snapshot) {
            // A change by nothing is none; a pick of nothing is evidence.
            continue;
        }
        let times = if taken_back.is_some() { -1 } else { 1 };
        let delta = |quantity: i64| {
            move |account: &mut Account| *account.deltas.entry((time_ms, quantity)).or_default() += times
        };
        match kind {
            FactKind::Sale | FactKind::TransferOut => account(fact.state, &delta(-quantity)),
            FactKind::Return | FactKind::Receipt | FactKind::TransferIn | FactKind::Adjust => {
                account(fact.state, &delta(quantity));
            }
            FactKind::StateMove => {
                account(fact.state, &delta(-quantity));
                account(fact.to_state, &delta(quantity));
            }
            FactKind::Pick => account(fact.state, &delta(-quantity)),
            FactKind::Count | FactKind::Snapshot if !fact.authority => {}
            FactKind::Count | FactKind::Snapshot => match taken_back {
                Some(id) => account(fact.state, &|account| account.tombstones.push((id, time_ms))),
                None => account(fact.state, &|account| {
                    account.counts.push(Count {
                        at_ms: fact.event_time_ms,
                        from_ms: fact.observed_from_ms,
                        epsilon_ms: fact.epsilon_ms,
                        rank: fact.rank,
                        id: fact.id,
                        quantity: fact.quantity,
                    });
                }),
            },
            FactKind::ShelfObservation | FactKind::Clock => {}
        }
    }
}
