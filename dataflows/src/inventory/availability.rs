//! Availability: a decision over the ledger, by rules. A false "no" is preferred to a false "yes".

use operators::time::{TimeMs, minus_ms};

use crate::inventory::ledger::Balance;
use crate::views::Reason;

/// The rules of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What is never promised.
    pub safety_stock: i64,
    /// A count older than this, by the watermark, no longer makes anything available.
    pub count_trusted_ms: i64,
}

/// A decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Decision {
    /// Why; available only where it is [`Reason::InStock`].
    pub reason: Reason,
    /// What can be promised: never below 0.
    pub quantity: i64,
    /// Through when a yes holds.
    pub fresh_through_ms: Option<TimeMs>,
}

/// Decides on a key, as of a watermark.
pub fn decide(balance: &Balance, policy: &Policy, watermark_ms: TimeMs) -> Decision {
    let no = |reason| Decision { reason, quantity: 0, fresh_through_ms: None };
    let Some(numbers) = balance.numbers else { return no(Reason::RebasePending) };
    if balance.in_doubt {
        return no(Reason::InDoubt);
    }
    let Some(anchor_ms) = balance.anchor_ms else { return no(Reason::NeverCounted) };
    let fresh_through_ms = fresh_through(anchor_ms, policy);
    if watermark_ms > fresh_through_ms {
        return no(Reason::Stale);
    }
    let quantity = (numbers.lo - policy.safety_stock).max(0);
    if quantity == 0 {
        return no(Reason::OutOfStock);
    }
    Decision { reason: Reason::InStock, quantity, fresh_through_ms: Some(fresh_through_ms) }
}

/// Through when a count makes anything available.
pub fn fresh_through(anchor_ms: TimeMs, policy: &Policy) -> TimeMs {
    minus_ms(anchor_ms, -policy.count_trusted_ms)
}
