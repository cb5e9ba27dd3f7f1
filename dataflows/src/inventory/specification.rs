//! What the fold of inventory computes, said in stock differential operators.
//!
//! The ledger keeps a few numbers and the deltas that a late count may need. What is here holds every entry of a key for
//! ever and applies the formulae of [`ledger`](crate::inventory::ledger) to all of them, so that one can read what is
//! meant; tests hold both equal, at every tick. Whatever is taken back has never been: a key of which nothing else is left
//! is absent.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use differential_dataflow::VecCollection;
use serde::{Deserialize, Serialize};

use operators::time::{Tick, TimeMs};

use crate::catalog::Catalog;
use crate::inventory::availability::{AvailabilityRow, Reason};
use crate::inventory::availability::{Policy, decide};
use crate::inventory::fact::StockState;
use crate::inventory::ledger::fold::LedgerRow;
use crate::inventory::ledger::{Balance, Count, Entry, FactId, LedgerKey, Numbers};
use crate::inventory::stock::StockRow;
use crate::names::TenantId;

/// A collection whose times are ticks.
pub type Ticked<'scope, D> = VecCollection<'scope, Tick, D, isize>;

/// What all entries of a key say together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Recount {
    /// Book, lo, hi and variance; none while a count has to be looked up again.
    pub numbers: Option<(i64, i64, i64, i64)>,
    /// When the count that holds was taken.
    pub anchor_ms: Option<TimeMs>,
    /// Whether a fact too old to be judged may be missing.
    pub in_doubt: bool,
}

/// Both views of the ledger.
/// `reached` holds, for every tenant, one row at each tick: how far event time has come in its facts.
pub fn ledger_rows<'scope>(
    entries: Ticked<'scope, (LedgerKey, Entry)>,
    reached: Ticked<'scope, (TenantId, TimeMs)>,
    policy: Policy,
    catalog: &Arc<Catalog>,
) -> Ticked<'scope, LedgerRow> {
    let recounts = recounts(entries);
    stock(recounts.clone(), catalog).concat(availability(recounts, reached, policy, catalog))
}

/// What is there?
///     SELECT key, recount(all entries) FROM entries GROUP BY key
pub fn recounts<'scope>(entries: Ticked<'scope, (LedgerKey, Entry)>) -> Ticked<'scope, (LedgerKey, Recount)> {
    entries
        .reduce_named("Recounts", |_, entries, recounts| recounts.extend(recount(entries).map(|recount| (recount, 1))))
}

/// The anchor is the greatest count by (event time, better rank, id) that was not taken back: of which nobody said that the
/// count of this id and this time is taken back. It holds if no count that was
/// taken back is later; where there never was one, a count of 0 before all time holds. Then
///     book     = anchor + sum(delta) WHERE at > anchor.at
///     lo       = anchor + sum(delta) WHERE at > ended + epsilon
///                       + sum(delta) WHERE at > began - epsilon AND at <= ended + epsilon AND delta < 0
///     hi       = the same with delta > 0
///     variance = book - sum(delta)
/// where a delta is what was posted with one event time and quantity, less what was taken back of that: as long as it was
/// taken back more often than it was posted, it is its opposite.
///     in doubt = there is a doubt, and no count that holds was taken at or after the watermark of that moment
fn recount(entries: &[(&Entry, isize)]) -> Option<Recount> {
    let mut deltas: BTreeMap<(TimeMs, i64), i64> = BTreeMap::new();
    let mut counts: Vec<Count> = Vec::new();
    let mut taken_back: BTreeSet<(TimeMs, FactId)> = BTreeSet::new();
    let mut doubt_ms: Option<TimeMs> = None;
    for (entry, copies) in entries {
        match **entry {
            Entry::Delta { at_ms, quantity, times } => {
                *deltas.entry((at_ms, quantity)).or_default() += times * *copies as i64
            }
            Entry::Count(count) => counts.push(count),
            Entry::Tombstone { id, at_ms } => drop(taken_back.insert((at_ms, id))),
            Entry::Doubt { doubt_ms: as_of_ms } => doubt_ms = doubt_ms.max(Some(as_of_ms)),
        }
    }
    deltas.retain(|_, times| *times != 0);
    if deltas.is_empty() && counts.is_empty() && taken_back.is_empty() && doubt_ms.is_none() {
        return None;
    }
    counts.retain(|count| !taken_back.contains(&(count.at_ms, count.id)));
    let greatest = counts.into_iter().max_by_key(|count| (count.at_ms, Reverse(count.rank), count.id));
    let rebase_ms = taken_back.last().map(|(at_ms, _)| *at_ms);
    let holds = rebase_ms.is_none_or(|rebase_ms| greatest.is_some_and(|count| count.at_ms >= rebase_ms));
    let anchor = greatest.filter(|_| holds);
    Some(Recount {
        numbers: holds.then(|| numbers(anchor, &deltas)),
        anchor_ms: anchor.map(|count| count.at_ms),
        in_doubt: doubt_ms.is_some_and(|doubt_ms| anchor.is_none_or(|count| count.at_ms < doubt_ms)),
    })
}

/// The formulae, over the deltas that were posted more or less often than they were taken back.
fn numbers(anchor: Option<Count>, deltas: &BTreeMap<(TimeMs, i64), i64>) -> (i64, i64, i64, i64) {
    let sum = |holds: &dyn Fn(TimeMs, i64) -> bool| -> i64 {
        let changes = deltas.iter().map(|((at_ms, quantity), times)| (*at_ms, quantity * times));
        changes.filter(|(at_ms, delta)| holds(*at_ms, *delta)).map(|(_, delta)| delta).sum()
    };
    let all = sum(&|_, _| true);
    let Some(Count { at_ms: ended_ms, from_ms, epsilon_ms, quantity, .. }) = anchor else { return (all, all, all, 0) };
    let epsilon_ms = i64::from(epsilon_ms);
    let (opens_ms, closes_ms) = (from_ms.saturating_sub(epsilon_ms), ended_ms.saturating_add(epsilon_ms));
    let within = |at_ms: TimeMs| at_ms > opens_ms && at_ms <= closes_ms;
    let book = quantity + sum(&|at_ms, _| at_ms > ended_ms);
    let after = quantity + sum(&|at_ms, _| at_ms > closes_ms);
    let lo = after + sum(&|at_ms, delta| within(at_ms) && delta < 0);
    let hi = after + sum(&|at_ms, delta| within(at_ms) && delta > 0);
    (book, lo, hi, book - all)
}

/// A row for every key.
fn stock<'scope>(recounts: Ticked<'scope, (LedgerKey, Recount)>, catalog: &Arc<Catalog>) -> Ticked<'scope, LedgerRow> {
    let names = Arc::clone(catalog);
    recounts.map(move |(key, Recount { numbers, anchor_ms, in_doubt })| {
        LedgerRow::Stock(StockRow {
            tenant: names.tenant_name(key.tenant).clone(),
            sku: key.sku,
            node: key.node,
            state: key.state,
            book: numbers.map(|(book, _, _, _)| book),
            lo: numbers.map(|(_, lo, _, _)| lo),
            hi: numbers.map(|(_, _, hi, _)| hi),
            variance: numbers.map(|(_, _, _, variance)| variance),
            anchor_ms,
            rebase_pending: numbers.is_none(),
            in_doubt,
        })
    })
}

/// Can it be promised?
///     SELECT key, decide(recount, policy, reached) FROM recounts JOIN reached USING (tenant) WHERE state = 'sellable'
fn availability<'scope>(
    recounts: Ticked<'scope, (LedgerKey, Recount)>,
    reached: Ticked<'scope, (TenantId, TimeMs)>,
    policy: Policy,
    catalog: &Arc<Catalog>,
) -> Ticked<'scope, LedgerRow> {
    let names = Arc::clone(catalog);
    let sellable = recounts.filter(|(key, _)| key.state == StockState::Sellable);
    let by_tenant =
        sellable.map(|(key, recount)| (key.tenant, (key, recount))).arrange_by_key_named("SellableRecounts");
    by_tenant.join_core(reached.arrange_by_key_named("Reached"), move |tenant, (key, recount), reached_ms| {
        let decision = decide(&balance(recount), &policy, *reached_ms);
        Some(LedgerRow::Availability(AvailabilityRow {
            tenant: names.tenant_name(*tenant).clone(),
            sku: key.sku.clone(),
            node: key.node.clone(),
            available: decision.reason == Reason::InStock,
            reason: decision.reason,
            quantity: decision.quantity,
            fresh_through_ms: decision.fresh_through_ms,
        }))
    })
}

/// A recount in the words of the decision.
fn balance(recount: &Recount) -> Balance {
    let Recount { numbers, anchor_ms, in_doubt } = *recount;
    let numbers = numbers.map(|(book, lo, hi, variance)| Numbers { book, lo, hi, variance });
    Balance { numbers, anchor_ms, in_doubt }
}
