//! Does the variant that a unit has in one experiment say anything of its variant in another?
//!
//! ```sql
//! SELECT a.tenant, a.experiment, b.experiment, a.variant, b.variant, count(*) AS units, chi_square(all cells of the pair)
//! FROM members a JOIN members b USING (tenant, unit) GROUP BY 1, 2, 3, 4, 5
//! ```
//!
//! Units give the cells that they leave and enter, added up within a tick; a stock operator counts each pair's cells and
//! tests the table. Every cell of a pair is a row, also those without units, as soon as any of its cells has one; each has the
//! test of the whole table, so all of them change where one does. That is at most 16 times 16 rows a pair.

use std::sync::Arc;

use differential_dataflow::AsCollection;
use serde::{Deserialize, Serialize};
use timely::dataflow::StreamVec;

use methods::chi_square::Reason;
use methods::real::Real;
use operators::fold::{Outlet, summed};
use operators::time::Tick;

use super::{ExperimentPair, OverlapCell, OverlapPairs, UnitOverlap, overlap_of};
use crate::build::Build;
use crate::catalog::{Catalog, Population};
use crate::configuration::Recorded;
use crate::experiment::assignments::{VariantKey, VariantList};
use crate::experiment::units::{UnitFact, UnitValue, UnitsFold};
use crate::names::{Name, TenantId};
use crate::view::{Cell, Column, Columns, LeftOut, Stays, Unit, View};

/// The view `unit_overlap`.
#[derive(Debug)]
pub struct UnitOverlaps;

/// A row of `unit_overlap`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OverlapRow {
    /// Whose experiments.
    pub tenant: Name,
    /// The one that the configuration has first.
    pub experiment: Name,
    /// The other one.
    pub other_experiment: Name,
    /// A variant of the first one.
    pub variant: Name,
    /// A variant of the other one.
    pub other_variant: Name,
    /// Units that have both variants.
    pub units: i64,
    /// Units that both experiments count.
    pub pair_units: i64,
    /// What the test says of the pair.
    pub test: PairTest,
}

/// The test of a pair, or why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PairTest {
    /// It was made.
    Made {
        /// Pearson's statistic.
        chi_square: Real,
        /// Its degrees of freedom.
        degrees_of_freedom: u32,
        /// The chance of such a statistic, or a greater one, if the variants have nothing to do with each other.
        p: Real,
    },
    /// It could not be made.
    NotMade(Reason),
}

impl PairTest {
    fn of(read: &UnitOverlap) -> PairTest {
        let made = read.test.map(|test| {
            let finite = |float| Real::new(float).expect("a statistic of finite counts, and a chance, are finite");
            let (chi_square, p) = (finite(test.statistic), finite(test.p));
            PairTest::Made { chi_square, degrees_of_freedom: test.degrees_of_freedom, p }
        });
        made.unwrap_or_else(PairTest::NotMade)
    }

    fn number(self, of: impl FnOnce(Real, u32, Real) -> Cell<'static>) -> Cell<'static> {
        match self {
            PairTest::Made { chi_square, degrees_of_freedom, p } => of(chi_square, degrees_of_freedom, p),
            PairTest::NotMade(_) => Cell::Absent,
        }
    }
}

impl View for UnitOverlaps {
    type Row = OverlapRow;
    const NAME: &'static str = "unit_overlap";
    const QUESTION: &'static str = "whether the variants of units in two experiments depend on each other";
    const STAYS: Stays = Stays::Always;

    fn columns(_: &Recorded) -> Columns<OverlapRow> {
        let columns = vec![
            Column::text("tenant", "whose experiments", |row: &OverlapRow, _| Cell::Text(&row.tenant)).tenant(),
            Column::text("experiment", "the one that the configuration has first", |row: &OverlapRow, _| {
                Cell::Text(&row.experiment)
            }),
            Column::text("other_experiment", "the other one", |row: &OverlapRow, _| Cell::Text(&row.other_experiment)),
            Column::text("variant", "a variant of the first one", |row: &OverlapRow, _| Cell::Text(&row.variant)),
            Column::text("other_variant", "a variant of the other one", |row: &OverlapRow, _| {
                Cell::Text(&row.other_variant)
            }),
            Column::integer("units", "units that have both variants", |row: &OverlapRow, _| Cell::Integer(row.units)),
            Column::integer("pair_units", "units that both experiments count", |row: &OverlapRow, _| {
                Cell::Integer(row.pair_units)
            }),
            Column::real("chi_square", "Pearson's statistic of all cells of the pair", |row: &OverlapRow, _| {
                row.test.number(|chi_square, _, _| Cell::Real(chi_square))
            })
            .optional(),
            Column::integer("degrees_of_freedom", "of that statistic", |row: &OverlapRow, _| {
                row.test.number(|_, degrees, _| Cell::Integer(degrees.into()))
            })
            .counts(Unit::None)
            .optional(),
            Column::real(
                "p",
                "the chance of such a statistic if the variants are independent",
                |row: &OverlapRow, _| row.test.number(|_, _, p| Cell::Real(p)),
            )
            .optional(),
            Column::word("reason", "why there is no test", |row: &OverlapRow, _| match row.test {
                PairTest::Made { .. } => Cell::Absent,
                PairTest::NotMade(reason) => Cell::Text(reason.name()),
            })
            .optional(),
        ];
        Columns::new(5, columns)
    }

    fn example() -> OverlapRow {
        OverlapRow {
            tenant: Name::new("north"),
            experiment: Name::new("ranking"),
            other_experiment: Name::new("checkout"),
            variant: Name::new("control"),
            other_variant: Name::new("blue"),
            units: 4,
            pair_units: 17,
            test: PairTest::NotMade(Reason::TooFewUnits),
        }
    }

    /// The pairs of each tenant that are not read, since there are more than `overlap_pairs_max`.
    fn left_out(recorded: &Recorded) -> Vec<LeftOut> {
        let catalog = recorded.catalog();
        let pairs = recorded.unit_overlap.pairs(&catalog);
        let tenants = (0..catalog.tenants.len()).map(|tenant| tenant as TenantId);
        let of_tenant = tenants.map(|tenant| {
            let left_out = pairs.left_out(tenant);
            let name = |number: u16| &catalog.experiments[usize::from(number)].name;
            let named = left_out.named.iter().map(|pair| vec![name(pair.first).clone(), name(pair.second).clone()]);
            LeftOut { tenant: catalog.tenant_name(tenant).clone(), count: left_out.count, named: named.collect() }
        });
        of_tenant.filter(|left_out| left_out.count > 0).collect()
    }
}

/// The changes of cells.
type Differences<'scope> = StreamVec<'scope, Tick, (OverlapCell, Tick, i64)>;

/// What units give for it.
pub(in crate::experiment) fn outlet<'scope>(
    pairs: Arc<OverlapPairs>,
) -> impl Outlet<'scope, UnitsFold, Streams = Differences<'scope>> {
    summed(
        move |fold: &UnitsFold, _, old: Option<&UnitValue>, new: Option<&UnitValue>, give: &mut dyn FnMut(_, i64)| {
            let (left, came) = (old.and_then(source_of), new.and_then(source_of));
            // The commonest change is of the sums of a unit that was there.
            if left != came {
                [(left, -1), (came, 1)].into_iter().for_each(|(source, diff)| {
                    source.into_iter().for_each(|source| each_cell(fold, &pairs, source, &mut |cell| give(cell, diff)));
                });
            }
        },
    )
}

/// From which list cells follow, and of which pairs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    /// Of two assigned experiments: from the unit's sums, which every unit shows.
    Assigned(VariantList),
    /// Of all other pairs: from its membership, which only those have that were exposed to something.
    Membership(VariantList),
}

/// What a value says of cells, if anything.
fn source_of(value: &UnitValue) -> Option<Source> {
    match value.says {
        UnitFact::Assigned(_) => Some(Source::Assigned(value.counts_for)),
        UnitFact::Member => Some(Source::Membership(value.counts_for)),
        UnitFact::Exposed(..) | UnitFact::ExposedMinute(..) | UnitFact::ExposedStart(..) => None,
    }
}

fn each_cell(fold: &UnitsFold, pairs: &OverlapPairs, source: Source, give: &mut dyn FnMut(OverlapCell)) {
    let (list, of_membership) = match source {
        Source::Assigned(list) => (list, false),
        Source::Membership(list) => (list, true),
    };
    let catalog = fold.assignments.catalog();
    let is_exposed =
        |variant: VariantKey| catalog.experiments[usize::from(variant.experiment)].population == Population::Exposed;
    pairs.each_cell(&fold.assignments.variants(list), |cell| {
        if (is_exposed(cell.first) || is_exposed(cell.second)) == of_membership {
            give(cell);
        }
    });
}

/// Counts the cells, tests each pair, and publishes that.
pub(in crate::experiment) fn publish<'scope>(build: &mut Build<'_, 'scope>, differences: Differences<'scope>) {
    let (catalog, named) = (Arc::clone(&build.plan().catalog), Arc::clone(&build.plan().catalog));
    let by_pair = differences.as_collection().map(|cell: OverlapCell| {
        (ExperimentPair { first: cell.first.experiment, second: cell.second.experiment }, cell)
    });
    let tested = by_pair.reduce_named("UnitOverlap", move |pair, cells, tested| {
        let cells = cells.iter().map(|(cell, units)| (**cell, *units));
        let read = overlap_of(&catalog, *pair, cells);
        let (test, pair_units) = (PairTest::of(&read), read.units);
        tested.extend((0u32..).zip(read.counts).map(|(place, units)| ((place, units, pair_units, test), 1isize)));
    });
    let rows = tested.map(move |(pair, (place, units, pair_units, test))| {
        row_of(&named, pair, place, OverlapNumbers { units, pair_units, test })
    });
    build.publish::<UnitOverlaps>(rows.inner);
}

struct OverlapNumbers {
    units: i64,
    pair_units: i64,
    test: PairTest,
}

/// The row of a cell, by its place in the table.
fn row_of(catalog: &Catalog, pair: ExperimentPair, place: u32, numbers: OverlapNumbers) -> OverlapRow {
    let OverlapNumbers { units, pair_units, test } = numbers;
    let (first, second) =
        (&catalog.experiments[usize::from(pair.first)], &catalog.experiments[usize::from(pair.second)]);
    let columns = second.variants.len();
    OverlapRow {
        tenant: catalog.tenant_name(first.tenant).clone(),
        experiment: first.name.clone(),
        other_experiment: second.name.clone(),
        variant: first.variants[place as usize / columns].name.clone(),
        other_variant: second.variants[place as usize % columns].name.clone(),
        units,
        pair_units,
        test,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::catalog::{Experiment, Tenant, Variant};

    fn catalog() -> Catalog {
        let experiment = |name: &str| Experiment {
            tenant: 0,
            name: name.into(),
            layer: name.into(),
            seed: name.into(),
            traffic: (0, 1_000_000),
            variants: ["control", "treatment"].map(|name| Variant { name: name.into(), weight: 1 }).to_vec(),
            population: Population::Assigned,
        };
        let tenants = vec![Tenant { name: "north".into() }];
        Catalog::new(tenants, ["ranking", "checkout"].map(experiment).to_vec(), BTreeMap::new())
    }

    /// Of 100 units 10, 20, 30 and 40 are expected to be 12, 18, 28 and 42: four squares of 2, over those, are 1000/1260. The chance is 0.3729984836134871 to 16 digits.
    #[test]
    fn a_table_is_a_row_a_cell() {
        let (catalog, pair) = (catalog(), ExperimentPair { first: 0, second: 1 });
        let cell = |place: u16, units| {
            let (first, second) =
                (VariantKey { experiment: 0, variant: place / 2 }, VariantKey { experiment: 1, variant: place % 2 });
            (OverlapCell { first, second }, units)
        };
        let read = overlap_of(&catalog, pair, [cell(0, 10), cell(1, 20), cell(2, 30), cell(3, 40)]);
        let test = PairTest::of(&read);
        let row = row_of(&catalog, pair, 1, OverlapNumbers { units: read.counts[1], pair_units: read.units, test });
        let json = UnitOverlaps::columns(&Recorded::default()).json(&row);
        let expected = r#"{"tenant":"north","experiment":"ranking","other_experiment":"checkout","variant":"control","other_variant":"treatment","units":20,"pair_units":100,"chi_square":0.7936507936507936,"degrees_of_freedom":1,"p":0.3729984836134873,"reason":null}"#;
        assert_eq!(json, expected);
    }

    /// What is left out is told by tenant, with the names of the first pairs.
    #[test]
    fn pairs_beyond_the_limit_are_named() {
        use crate::configuration::{ExperimentSettings, PopulationSetting, UnitOverlapSettings, VariantSettings};
        let experiment = |name: &str| ExperimentSettings {
            tenant: "north".into(),
            name: name.into(),
            population: PopulationSetting::Assigned,
            layer: name.into(),
            seed: name.into(),
            traffic: (0, 1_000_000),
            variants: ["a", "b"].map(|name| VariantSettings { name: name.into(), weight: 1 }).to_vec(),
        };
        let mut recorded = Recorded {
            tenants: vec!["north".into(), "south".into()],
            experiments: ["ranking", "checkout", "badges"].map(experiment).to_vec(),
            ..Recorded::default()
        };
        assert_eq!(UnitOverlaps::left_out(&recorded), []);
        recorded.unit_overlap = UnitOverlapSettings { overlap_pairs_max: 2, pairs: Vec::new() };
        let named = vec![vec!["checkout".into(), "badges".into()]];
        let left_out = LeftOut { tenant: "north".into(), count: 1, named };
        assert_eq!(UnitOverlaps::left_out(&recorded), [left_out]);
    }
}
