//! `[unit_overlap]`: the pairs of experiments that are tested for dependence.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::Section;
use super::experiments::ExperimentSettings;
use crate::catalog::{Catalog, Experiment};
use crate::configuration::mistake::{Mistakes, nearest_or_all};
use crate::configuration::settings::Settings;
use crate::configuration::table::{Given, Table};
use crate::configuration::values::unsigned;
use crate::experiment::unit_overlap::{ExperimentPair, OVERLAP_PAIRS_MAX, OverlapPairs, pairs};
use crate::names::Name;

/// Pairs of experiments whose variants are tested for dependence: those of one tenant and of different layers, those of `pairs`
/// first, then in the order of the experiments. What is said here may not change once there is the view `unit_overlap`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WrittenUnitOverlap {
    /// The most pairs of a tenant; 0 to 1000. The others are named in the view's listing. Default: 100.
    overlap_pairs_max: Given<i64>,
    /// Pairs that come first, each as the tenant and the names of two experiments: `["north", "ranking", "checkout"]`. Default:
    /// none.
    pairs: Given<Vec<Spanned<Vec<String>>>>,
}

/// Each pair has up to 256 rows, all of which change together.
const OVERLAP_PAIRS: RangeInclusive<i64> = 0..=1_000;

/// Which pairs of experiments are tested for dependence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnitOverlapSettings {
    /// The most of a tenant.
    pub overlap_pairs_max: usize,
    /// Those that come first.
    pub pairs: Vec<DeclaredPair>,
}

/// Two experiments of a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredPair {
    /// The tenant.
    pub tenant: Name,
    /// The names of the experiments.
    pub experiments: [Name; 2],
}

impl Default for UnitOverlapSettings {
    fn default() -> Self {
        UnitOverlapSettings { overlap_pairs_max: OVERLAP_PAIRS_MAX, pairs: Vec::new() }
    }
}

impl UnitOverlapSettings {
    pub(in crate::configuration) fn is_default(&self) -> bool {
        *self == UnitOverlapSettings::default()
    }

    /// The pairs that are tested.
    pub fn pairs(&self, catalog: &Catalog) -> OverlapPairs {
        let pair = |DeclaredPair { tenant, experiments }: &DeclaredPair| {
            let number = |name: &Name| {
                let is_it = |experiment: &Experiment| {
                    experiment.name == *name && catalog.tenant_name(experiment.tenant) == tenant
                };
                catalog.experiments.iter().position(is_it).map(|number| number as u16)
            };
            ExperimentPair::new(number(&experiments[0])?, number(&experiments[1])?)
        };
        let declared: Vec<ExperimentPair> = self.pairs.iter().filter_map(pair).collect();
        pairs(catalog, &declared, self.overlap_pairs_max)
    }
}

impl Section for WrittenUnitOverlap {
    type Read = Table<Self>;
    type Needs<'a> = (&'a Vec<ExperimentSettings>,);
    type Settled = UnitOverlapSettings;

    /// The settings; pairs are held to the experiments that there are.
    fn settle(read: &Table<Self>, (experiments,): Self::Needs<'_>, mistakes: &mut Mistakes<'_>) -> UnitOverlapSettings {
        let WrittenUnitOverlap { overlap_pairs_max, pairs } = &read.written;
        let overlap_pairs_max =
            unsigned("overlap_pairs_max", overlap_pairs_max, OVERLAP_PAIRS, OVERLAP_PAIRS_MAX, mistakes);
        let mut settled = Vec::new();
        for given in pairs.iter().flat_map(|pairs| pairs.get_ref()) {
            match declared(given.get_ref(), experiments) {
                Ok(pair) => settled.push(pair),
                Err((message, hint)) => mistakes.add(given.span(), message, hint),
            }
        }
        UnitOverlapSettings { overlap_pairs_max, pairs: settled }
    }

    fn put(settled: UnitOverlapSettings, settings: &mut Settings) {
        settings.recorded.unit_overlap = settled;
    }
}

/// The pair that is written, or what is wrong with it and what to do.
fn declared(written: &[String], experiments: &[ExperimentSettings]) -> Result<DeclaredPair, (String, String)> {
    let [tenant, one, other] = written else {
        let hint = "write the tenant and two experiments, such as `[\"north\", \"ranking\", \"checkout\"]`";
        return Err((format!("a pair of `pairs` has {} names", written.len()), hint.to_owned()));
    };
    let of_tenant = || experiments.iter().filter(|experiment| experiment.tenant == **tenant);
    let find = |name: &String| {
        of_tenant().find(|experiment| experiment.name == **name).ok_or_else(|| {
            let names: Vec<&str> = of_tenant().map(|experiment| experiment.name.as_str()).collect();
            (format!("tenant \"{tenant}\" has no experiment \"{name}\""), nearest_or_all(name, &names))
        })
    };
    let (first, second) = (find(one)?, find(other)?);
    if first.name == second.name {
        return Err((format!("\"{one}\" is paired with itself"), "name two experiments".to_owned()));
    }
    if first.layer == second.layer {
        let message = format!("\"{one}\" and \"{other}\" share the layer \"{}\", so no unit is in both", first.layer);
        return Err((message, "take the pair out, or give one of them another layer".to_owned()));
    }
    let experiments = [first.name.clone(), second.name.clone()];
    Ok(DeclaredPair { tenant: first.tenant.clone(), experiments })
}
