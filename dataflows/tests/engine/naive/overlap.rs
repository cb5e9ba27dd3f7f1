//! Unit overlap: of each pair of experiments the units of both are laid beside each other, by name.

use std::collections::BTreeMap;

use crate::rows::Row;
use dataflows::experiment::unit_overlap::view::{OverlapRow, PairTest};
use dataflows::names::{Name, TenantId};
use methods::chi_square::Reason;
use methods::real::Real;

use super::Model;

/// The least count that every cell has to expect.
const EXPECTED_MIN: i128 = 5;

impl Model<'_> {
    pub(super) fn unit_overlap(&self) -> Vec<Row> {
        let catalog = &self.history.catalog;
        let members: Vec<BTreeMap<&Name, u16>> = (0u16..)
            .zip(&catalog.experiments)
            .map(|(number, _)| self.counting(number).into_iter().map(|(unit, (variant, _))| (unit, variant)).collect())
            .collect();
        let mut rows = Vec::new();
        for tenant in (0..catalog.tenants.len()).map(|tenant| tenant as TenantId) {
            for pair in self.history.plan.overlap.of(catalog, tenant) {
                let (first, second) = (usize::from(pair.first), usize::from(pair.second));
                let (one, other) = (&catalog.experiments[first], &catalog.experiments[second]);
                let mut cells: BTreeMap<(usize, usize), i64> = BTreeMap::new();
                for (unit, variant) in &members[first] {
                    if let Some(beside) = members[second].get(unit) {
                        *cells.entry((usize::from(*variant), usize::from(*beside))).or_default() += 1;
                    }
                }
                let pair_units: i64 = cells.values().sum();
                if pair_units == 0 {
                    continue;
                }
                let test = test_of(&cells);
                for (row, variant) in one.variants.iter().enumerate() {
                    for (column, beside) in other.variants.iter().enumerate() {
                        rows.push(Row::Overlap(OverlapRow {
                            tenant: catalog.tenant_name(tenant).clone(),
                            experiment: one.name.clone(),
                            other_experiment: other.name.clone(),
                            variant: variant.name.clone(),
                            other_variant: beside.name.clone(),
                            units: cells.get(&(row, column)).copied().unwrap_or(0),
                            pair_units,
                            test,
                        }));
                    }
                }
            }
        }
        rows
    }
}

/// Whether there is a test, by this file's own sums; its numbers are those of `methods`, which are held to tables there.
fn test_of(cells: &BTreeMap<(usize, usize), i64>) -> PairTest {
    let (mut by_row, mut by_column): (BTreeMap<usize, i128>, BTreeMap<usize, i128>) = Default::default();
    for ((row, column), units) in cells {
        *by_row.entry(*row).or_default() += i128::from(*units);
        *by_column.entry(*column).or_default() += i128::from(*units);
    }
    if by_row.len() < 2 || by_column.len() < 2 {
        return PairTest::NotMade(Reason::TooFewCategories);
    }
    let total: i128 = by_row.values().sum();
    if by_row
        .values()
        .min()
        .zip(by_column.values().min())
        .is_some_and(|(row, column)| row * column < EXPECTED_MIN * total)
    {
        return PairTest::NotMade(Reason::TooFewUnits);
    }
    let counts: Vec<i64> = by_row
        .keys()
        .flat_map(|row| by_column.keys().map(|column| cells.get(&(*row, *column)).copied().unwrap_or(0)))
        .collect();
    let test = methods::chi_square::chi_square_of(&counts, by_column.len()).expect("there are enough units");
    let finite = |number| Real::new(number).expect("a number is finite");
    let (chi_square, p) = (finite(test.statistic), finite(test.p));
    PairTest::Made { chi_square, degrees_of_freedom: test.degrees_of_freedom, p }
}
