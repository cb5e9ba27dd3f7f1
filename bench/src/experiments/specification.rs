//! The specification of experiments.

use std::sync::Arc;

use dataflows::experiment::specification::{Arrival, Flavour, variant_rollups};
use dataflows::experiment::variant_minutes::VariantMinutes;
use dataflows::experiment::variant_totals::VariantTotals;
use dataflows::view::ViewId;

use crate::arguments::Arguments;
use crate::engine::{Measured, Setup};
use crate::specification;

/// Runs it over what was accepted, by tick.
pub(super) fn run(
    arguments: &Arguments,
    setup: &Setup,
    arrivals: Vec<Vec<Arrival>>,
    flavour: Flavour,
) -> Result<Measured, Box<dyn std::error::Error>> {
    let (catalog, keep_ms) = (Arc::clone(&setup.plan.catalog), setup.plan.session_keep_ms);
    specification::run(arguments, setup, arrivals, move |arrivals, counters| {
        let rollups = variant_rollups(arrivals, &catalog, keep_ms, flavour);
        let (minutes, totals) = (counters.clone(), counters.clone());
        let minutes = rollups.minutes.inspect(move |_| minutes.count(ViewId::of::<VariantMinutes>())).probe().0;
        let totals = rollups.totals.inspect(move |_| totals.count(ViewId::of::<VariantTotals>())).probe().0;
        vec![minutes, totals]
    })
}
