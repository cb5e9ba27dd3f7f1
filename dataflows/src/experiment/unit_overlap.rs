//! Unit overlap: does the variant that a unit has in one experiment say anything of its variant in another?
//!
//! Experiments of different layers divide their units independently, so the units that two of them share should fall into
//! all pairs of variants by the product of their shares. Where they do not, one assignment depends on the other, or one
//! experiment loses units because of the other one; then neither can be read without the other. This is Pearson's
//! chi-square test over the table of both variants ([`methods::chi_square`]). Experiments of one layer share it by
//! design, and are no pair.
//!
//! A unit is in a cell of a pair if both experiments count it. Here is what is pure of that: which pairs there are, which cells
//! a unit is in, and what is read from the cells.

pub mod view;

use methods::chi_square::{ChiSquare, Reason, chi_square_of};
use serde::{Deserialize, Serialize};

use crate::catalog::Catalog;
use crate::experiment::assignments::VariantKey;
use crate::names::TenantId;

/// The pairs of a tenant that are read, unless somebody configures it.
pub const OVERLAP_PAIRS_MAX: usize = 100;

/// The pairs of a tenant that are named where they are left out; the others are counted.
pub const LEFT_OUT_NAMED_MAX: usize = 1_000;

/// Two experiments of a tenant, by their numbers in the catalog, the lesser one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ExperimentPair {
    /// The one that is declared first.
    pub first: u16,
    /// The other one.
    pub second: u16,
}

impl ExperimentPair {
    /// The pair of two experiments; none where they are the same one.
    pub fn new(one: u16, other: u16) -> Option<ExperimentPair> {
        (one != other).then(|| ExperimentPair { first: one.min(other), second: one.max(other) })
    }
}

/// A cell of a pair's table: a variant of each experiment, that of the first one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OverlapCell {
    /// The variant in the first experiment.
    pub first: VariantKey,
    /// The variant in the second one.
    pub second: VariantKey,
}

/// The pairs of experiments that are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OverlapPairs {
    /// By experiment, those with which it makes a pair and has the lesser number, ascending.
    partners: Vec<Vec<u16>>,
    /// By tenant.
    left_out: Vec<LeftOut>,
}

/// The pairs of a tenant that are not read, since there are too many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// The first of them, at most [`LEFT_OUT_NAMED_MAX`].
    pub named: Vec<ExperimentPair>,
    /// All of them.
    pub count: u64,
}

/// The pairs to be read: of each tenant at most `max`, those that somebody declared first, in their order, then by the order of the catalog. What
/// is declared and is no pair (of one experiment, one layer, two tenants) is passed over; that is a mistake of a configuration,
/// which whoever reads that one names.
pub fn pairs(catalog: &Catalog, declared: &[ExperimentPair], max: usize) -> OverlapPairs {
    let mut pairs = OverlapPairs {
        partners: vec![Vec::new(); catalog.experiments.len()],
        left_out: vec![LeftOut::default(); catalog.tenants.len()],
    };
    for tenant in (0..catalog.tenants.len()).map(|tenant| tenant as TenantId) {
        let of_tenant = declared.iter().copied().filter(|pair| is_pair(catalog, *pair, tenant));
        let mut seen = 0;
        for pair in of_tenant.chain(in_order(catalog, tenant)) {
            if seen >= max + LEFT_OUT_NAMED_MAX {
                break;
            }
            seen += usize::from(pairs.add(pair, seen < max, tenant));
        }
        let read = pairs.of(catalog, tenant).count() as u64;
        pairs.left_out[usize::from(tenant)].count = count(catalog, tenant) - read;
    }
    pairs
}

impl OverlapPairs {
    /// Adds a pair, to those that are read or to those that are left out; says whether it was in neither.
    fn add(&mut self, pair: ExperimentPair, is_read: bool, tenant: TenantId) -> bool {
        let named = &mut self.left_out[usize::from(tenant)].named;
        let partners = &mut self.partners[usize::from(pair.first)];
        let Err(place) = partners.binary_search(&pair.second) else { return false };
        if named.contains(&pair) {
            return false;
        }
        if is_read {
            partners.insert(place, pair.second);
        } else {
            named.push(pair);
        }
        true
    }

    /// Whether a pair is read.
    pub fn contains(&self, pair: ExperimentPair) -> bool {
        let partners = self.partners.get(usize::from(pair.first));
        partners.is_some_and(|partners| partners.binary_search(&pair.second).is_ok())
    }

    /// The pairs of a tenant that are read, in the order of the catalog.
    pub fn of(&self, catalog: &Catalog, tenant: TenantId) -> impl Iterator<Item = ExperimentPair> {
        let firsts = catalog.experiments_of(tenant).iter().copied();
        firsts.flat_map(|first| {
            self.partners[usize::from(first)].iter().map(move |second| ExperimentPair { first, second: *second })
        })
    }

    /// The pairs of a tenant that are left out.
    pub fn left_out(&self, tenant: TenantId) -> &LeftOut {
        &self.left_out[usize::from(tenant)]
    }

    /// Gives the cells of a unit that has these variants, at most one of an experiment.
    pub fn each_cell(&self, variants: &[VariantKey], mut give: impl FnMut(OverlapCell)) {
        for (place, one) in variants.iter().enumerate() {
            for other in &variants[place + 1..] {
                let (first, second) = if one.experiment < other.experiment { (*one, *other) } else { (*other, *one) };
                if self.contains(ExperimentPair { first: first.experiment, second: second.experiment }) {
                    give(OverlapCell { first, second });
                }
            }
        }
    }
}

fn is_pair(catalog: &Catalog, pair: ExperimentPair, tenant: TenantId) -> bool {
    let experiment = |number: u16| catalog.experiments.get(usize::from(number));
    let (Some(first), Some(second)) = (experiment(pair.first), experiment(pair.second)) else { return false };
    pair.first < pair.second && first.tenant == tenant && second.tenant == tenant && first.layer != second.layer
}

/// All pairs of a tenant.
fn in_order(catalog: &Catalog, tenant: TenantId) -> impl Iterator<Item = ExperimentPair> {
    let numbers = catalog.experiments_of(tenant);
    let all = numbers.iter().enumerate().flat_map(move |(place, first)| {
        numbers[place + 1..].iter().map(move |second| ExperimentPair { first: *first, second: *second })
    });
    all.filter(move |pair| is_pair(catalog, *pair, tenant))
}

/// How many those are: all couples less those of one layer.
fn count(catalog: &Catalog, tenant: TenantId) -> u64 {
    let couples = |experiments: u64| experiments * experiments.saturating_sub(1) / 2;
    let numbers = catalog.experiments_of(tenant);
    let mut layers: Vec<_> = numbers.iter().map(|number| &catalog.experiments[usize::from(*number)].layer).collect();
    layers.sort_unstable();
    let of_layers: u64 = layers.chunk_by(|one, next| one == next).map(|layer| couples(layer.len() as u64)).sum();
    couples(numbers.len() as u64) - of_layers
}

/// What is read of a pair.
#[derive(Clone, Debug, PartialEq)]
pub struct UnitOverlap {
    /// The units that both experiments count.
    pub units: i64,
    /// How many have each pair of variants: by the variants of the first experiment, then by those of the second.
    pub counts: Vec<i64>,
    /// The test, or why there is none.
    pub test: Result<ChiSquare, Reason>,
}

/// Reads a pair from its cells; cells of other pairs are passed over, and those that are not given have no unit.
pub fn overlap_of(
    catalog: &Catalog,
    pair: ExperimentPair,
    cells: impl IntoIterator<Item = (OverlapCell, i64)>,
) -> UnitOverlap {
    let variants = |number: u16| catalog.experiments[usize::from(number)].variants.len();
    let columns = variants(pair.second);
    let mut counts = vec![0i64; variants(pair.first) * columns];
    for (OverlapCell { first, second }, units) in cells {
        if (first.experiment, second.experiment) == (pair.first, pair.second) {
            counts[usize::from(first.variant) * columns + usize::from(second.variant)] += units;
        }
    }
    UnitOverlap { units: counts.iter().sum(), test: chi_square_of(&counts, columns), counts }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::catalog::{Experiment, Population, Tenant, Variant};

    /// Experiments of two tenants, each with its layer.
    fn catalog(experiments: &[(TenantId, &str)]) -> Catalog {
        let tenants = ["north", "south"].map(|name| Tenant { name: name.into() }).to_vec();
        let experiments = experiments.iter().enumerate().map(|(number, (tenant, layer))| Experiment {
            tenant: *tenant,
            name: format!("experiment-{number}").into(),
            layer: (*layer).into(),
            seed: format!("seed-{number}").into(),
            traffic: (0, 1_000_000),
            variants: ["control", "treatment"].map(|name| Variant { name: name.into(), weight: 1 }).to_vec(),
            population: Population::Assigned,
        });
        Catalog::new(tenants, experiments.collect(), BTreeMap::new())
    }

    fn pair(one: u16, other: u16) -> ExperimentPair {
        ExperimentPair::new(one, other).unwrap()
    }

    fn numbers(pairs: &OverlapPairs, catalog: &Catalog, tenant: TenantId) -> Vec<(u16, u16)> {
        pairs.of(catalog, tenant).map(|pair| (pair.first, pair.second)).collect()
    }

    #[test]
    fn pairs_are_of_one_tenant_and_two_layers() {
        let catalog = catalog(&[(0, "search"), (1, "search"), (0, "cart"), (0, "search"), (1, "cart"), (0, "home")]);
        let pairs = pairs(&catalog, &[], OVERLAP_PAIRS_MAX);
        assert_eq!(numbers(&pairs, &catalog, 0), [(0, 2), (0, 5), (2, 3), (2, 5), (3, 5)]);
        assert_eq!(numbers(&pairs, &catalog, 1), [(1, 4)]);
        assert_eq!(pairs.left_out(0), &LeftOut::default());
        assert!(pairs.contains(pair(5, 0)) && !pairs.contains(pair(0, 3)) && !pairs.contains(pair(0, 1)));
        assert_eq!(ExperimentPair::new(3, 3), None);
    }

    #[test]
    fn declared_pairs_come_first_and_the_rest_is_named() {
        let catalog = catalog(&[(0, "a"), (0, "b"), (0, "c"), (0, "d"), (1, "a"), (1, "b")]);
        let declared = [pair(3, 2), pair(1, 3), pair(3, 2), pair(0, 4), pair(2, 9)];
        let of_three = pairs(&catalog, &declared, 3);
        assert_eq!(numbers(&of_three, &catalog, 0), [(0, 1), (1, 3), (2, 3)]);
        let left_out = LeftOut { named: vec![pair(0, 2), pair(0, 3), pair(1, 2)], count: 3 };
        assert_eq!(of_three.left_out(0), &left_out);
        // Another tenant has a limit of its own.
        assert_eq!((numbers(&of_three, &catalog, 1), of_three.left_out(1).count), (vec![(4, 5)], 0));
        let of_one = pairs(&catalog, &declared, 1);
        assert_eq!((numbers(&of_one, &catalog, 0), of_one.left_out(0).count), (vec![(2, 3)], 5));
        assert_eq!(of_one.left_out(0).named[0], pair(1, 3), "what was declared is named first");
        assert_eq!(pairs(&catalog, &declared, 0).left_out(0).count, 6);
    }

    #[test]
    fn of_very_many_pairs_some_are_named_and_all_are_counted() {
        let layers: Vec<String> = (0..400).map(|number| format!("layer-{}", number / 2)).collect();
        let experiments: Vec<(TenantId, &str)> = layers.iter().map(|layer| (0, layer.as_str())).collect();
        let catalog = catalog(&experiments);
        let pairs = pairs(&catalog, &[], 100);
        assert_eq!(pairs.of(&catalog, 0).count(), 100);
        assert_eq!(pairs.left_out(0).named.len(), LEFT_OUT_NAMED_MAX);
        assert_eq!(pairs.left_out(0).count, 400 * 399 / 2 - 200 - 100);
    }

    fn variants(of: &[(u16, u16)]) -> Vec<VariantKey> {
        of.iter().map(|(experiment, variant)| VariantKey { experiment: *experiment, variant: *variant }).collect()
    }

    #[test]
    fn a_unit_is_in_the_cells_of_its_variants() {
        let catalog = catalog(&[(0, "a"), (0, "b"), (0, "c"), (0, "a")]);
        let pairs = pairs(&catalog, &[], 100);
        let cells = |of: &[(u16, u16)]| {
            let mut cells = Vec::new();
            pairs.each_cell(&variants(of), |OverlapCell { first, second }| {
                cells.push(((first.experiment, first.variant), (second.experiment, second.variant)));
            });
            cells
        };
        assert_eq!(cells(&[(0, 1)]), []);
        assert_eq!(cells(&[(0, 1), (1, 0)]), [((0, 1), (1, 0))]);
        // In whatever order they are listed; 0 and 3 share their layer.
        let all = [((2, 1), (3, 0)), ((1, 0), (3, 0)), ((1, 0), (2, 1)), ((0, 1), (2, 1)), ((0, 1), (1, 0))];
        assert_eq!(cells(&[(3, 0), (2, 1), (1, 0), (0, 1)]).into_iter().collect::<BTreeSet<_>>(), all.into());
    }

    #[test]
    fn a_pair_is_read_from_its_cells() {
        let catalog = catalog(&[(0, "a"), (0, "b"), (0, "c")]);
        let cell = |first: (u16, u16), second: (u16, u16)| {
            let both = variants(&[first, second]);
            OverlapCell { first: both[0], second: both[1] }
        };
        let cells = [
            (cell((0, 0), (1, 0)), 10),
            (cell((0, 0), (1, 1)), 20),
            (cell((0, 1), (1, 0)), 30),
            (cell((0, 1), (1, 1)), 40),
            (cell((0, 1), (2, 1)), 7),
        ];
        let read = overlap_of(&catalog, pair(0, 1), cells);
        assert_eq!((read.units, read.counts.as_slice()), (100, &[10, 20, 30, 40][..]));
        assert_eq!(read.test, chi_square_of(&[10, 20, 30, 40], 2));
        let read = overlap_of(&catalog, pair(0, 2), cells);
        assert_eq!((read.units, read.test.unwrap_err().name()), (7, "too_few_categories"));
        let read = overlap_of(&catalog, pair(1, 2), []);
        assert_eq!((read.units, read.test.unwrap_err().name()), (0, "too_few_categories"));
        let few = [(cell((1, 0), (2, 0)), 4), (cell((1, 1), (2, 1)), 4)];
        assert_eq!(overlap_of(&catalog, pair(1, 2), few).test.unwrap_err().name(), "too_few_units");
    }

    /// Units of two experiments that were given out by the real assignment are independent, those of one experiment under
    /// two numbers are not.
    #[test]
    fn assignments_of_two_layers_are_independent() {
        let catalog = catalog(&[(0, "a"), (0, "b")]);
        let all = pairs(&catalog, &[], 100);
        let mut cells: BTreeMap<OverlapCell, i64> = BTreeMap::new();
        let mut same: BTreeMap<OverlapCell, i64> = BTreeMap::new();
        for unit in (0..20_000).map(|unit| format!("unit-{unit}")) {
            let mut held = Vec::new();
            catalog.each_variant_of(0, &unit, Population::Assigned, |experiment, variant| {
                held.push(VariantKey { experiment, variant });
            });
            all.each_cell(&held, |cell| *cells.entry(cell).or_insert(0) += 1);
            let copied = [held[0], VariantKey { experiment: 1, ..held[0] }];
            all.each_cell(&copied, |cell| *same.entry(cell).or_insert(0) += 1);
        }
        let independent = overlap_of(&catalog, pair(0, 1), cells);
        assert_eq!(independent.units, 20_000);
        assert!(independent.test.unwrap().p > 0.001);
        let same = overlap_of(&catalog, pair(0, 1), same).test.unwrap();
        assert!(same.p == 0.0 && (same.statistic - 20_000.0).abs() < 1e-6, "{same:?}");
    }
}
