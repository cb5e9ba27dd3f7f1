//! How many units has each variant, and what are the exact sums and sums of squares over them?
//!
//! ```sql
//! SELECT tenant, experiment, variant, count(*) AS units, sum(z), sum(z * z) FROM units GROUP BY 1, 2, 3
//! ```
//!
//! Means, errors and differences follow from these; they are computed when somebody reads them.

use std::rc::Rc;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::json;
use timely::dataflow::StreamVec;

use operators::fold::{Posting, rows};
use operators::time::Tick;

use crate::build::Build;
use crate::configuration::Recorded;
use crate::experiment::assignments::VariantKey;
use crate::experiment::measures::{MEASURES, Moments};
use crate::experiment::rollups::{Block, VariantTotalsFold};
use crate::names::Name;
use crate::view::{Cell, Column, Columns, Stays, Unit, View};

/// The view `variant_totals`.
#[derive(Debug)]
pub struct VariantTotals;

/// A row of `variant_totals`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VariantTotal {
    /// Whose experiment.
    pub tenant: Name,
    /// The experiment's name.
    pub experiment: Name,
    /// The variant's name.
    pub variant: Name,
    /// Units in the population.
    pub units: i64,
    /// Units that left the block because one of their sums passed 2^40.
    pub units_overflowed: i64,
    /// Sums over the units.
    pub sums: Moments,
    /// Sums of squares over the units.
    pub squares: Moments,
}

impl View for VariantTotals {
    type Row = VariantTotal;
    const NAME: &'static str = "variant_totals";
    const QUESTION: &'static str = "exact sums and sums of squares over the units of each experiment's variants";
    const STAYS: Stays = Stays::Always;

    fn columns(_: &Recorded) -> Columns<VariantTotal> {
        let mut columns = vec![
            Column::text("tenant", "whose experiment", |row: &VariantTotal, _| Cell::Text(&row.tenant)).tenant(),
            Column::text("experiment", "the experiment's name", |row: &VariantTotal, _| Cell::Text(&row.experiment)),
            Column::text("variant", "the variant's name", |row: &VariantTotal, _| Cell::Text(&row.variant)),
            Column::integer("units", "units in the population", |row: &VariantTotal, _| Cell::Integer(row.units)),
            Column::integer(
                "units_overflowed",
                "units left out, since one of their sums passed 2^40",
                |row: &VariantTotal, _| Cell::Integer(row.units_overflowed),
            ),
        ];
        for (at, (name, says, unit)) in (0u16..).zip(MEASURES) {
            let sum =
                Column::wide(name, says, |row: &VariantTotal, at| Cell::Wide(row.sums.columns()[usize::from(at)]));
            columns.push(sum.at(at).counts(unit).within("sums"));
        }
        for (at, (name, says, _)) in (0u16..).zip(MEASURES) {
            let square =
                Column::wide(name, says, |row: &VariantTotal, at| Cell::Wide(row.squares.columns()[usize::from(at)]));
            columns.push(square.at(at).counts(Unit::Squared).within("squares"));
        }
        Columns::new(3, columns)
    }

    fn example() -> VariantTotal {
        VariantTotal {
            tenant: Name::new("north"),
            experiment: Name::new("checkout"),
            variant: Name::new("blue"),
            units: 4,
            units_overflowed: 0,
            sums: Moments { value: 10, ..Moments::default() },
            squares: Moments { value: 30, ..Moments::default() },
        }
    }

    /// Means per unit with their standard errors.
    fn readout(row: &VariantTotal) -> Option<String> {
        let columns = MEASURES.into_iter().zip(row.sums.columns()).zip(row.squares.columns());
        let of = columns.map(|(((name, _, _), sum), squares)| {
            let value = match methods::moments::mean_of(row.units, sum, squares) {
                Ok(mean) => json!({ "mean": mean.mean, "standard_error": mean.standard_error }),
                Err(reason) => json!({ "reason": reason.name() }),
            };
            (name.to_owned(), value)
        });
        Some(serde_json::Value::Object(of.collect()).to_string())
    }
}

/// Folds differences into totals of variants, and publishes them.
pub(super) fn publish<'scope>(
    build: &mut Build<'_, 'scope>,
    differences: StreamVec<'scope, Tick, Posting<VariantKey, Block>>,
) {
    let fold = Rc::new(VariantTotalsFold { catalog: Arc::clone(&build.plan().catalog) });
    let named = rows(|fold: &VariantTotalsFold, key, block| Some(fold.row(key, block)));
    let totals = build.fold(differences, fold, named);
    build.publish::<VariantTotals>(totals);
}
