//! The specification of the ledger: `reduce` over all entries of a key.
//!
//! The time by which a count grows stale stands still here. Joined with a watermark that moves, stock operators look at
//! every pair again in each tick, and would measure nothing else.

use std::sync::Arc;

use dataflows::inventory::availability::Availability;
use dataflows::inventory::ledger::fold::LedgerRow;
use dataflows::inventory::ledger::{Entry, LedgerKey};
use dataflows::inventory::specification::ledger_rows;
use dataflows::inventory::stock::Stock;
use dataflows::view::ViewId;

use super::generator::BEGINS_MS;
use crate::arguments::Arguments;
use crate::engine::{Measured, Setup};
use crate::specification;

/// Runs it over what was accepted, by tick.
pub(super) fn run(
    arguments: &Arguments,
    setup: &Setup,
    arrivals: Vec<Vec<(LedgerKey, Entry)>>,
) -> Result<Measured, Box<dyn std::error::Error>> {
    let (catalog, policy) = (Arc::clone(&setup.plan.catalog), setup.plan.policy);
    specification::run(arguments, setup, arrivals, move |entries, counters| {
        // One row for the tenant, from whichever entry comes first, and never another.
        let reached = entries.clone().map(|(key, _)| (key.tenant, BEGINS_MS)).distinct();
        let counters = counters.clone();
        let rows = ledger_rows(entries, reached, policy, &catalog).inspect(move |(row, _, _)| {
            counters.count(match row {
                LedgerRow::Stock(_) => ViewId::of::<Stock>(),
                LedgerRow::Availability(_) => ViewId::of::<Availability>(),
            });
        });
        vec![rows.probe().0]
    })
}
