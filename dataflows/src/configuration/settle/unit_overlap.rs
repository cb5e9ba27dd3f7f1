//! The pairs of experiments that are tested for dependence.

use super::super::bounds::OVERLAP_PAIRS;
use super::super::mistake::{Mistakes, nearest_or_all};
use super::super::settings::{DeclaredPair, ExperimentSettings, UnitOverlapSettings};
use super::super::written::WrittenUnitOverlap;
use super::values::unsigned;
use crate::experiment::unit_overlap::OVERLAP_PAIRS_MAX;

/// The settings; pairs are held to the experiments that there are.
pub(super) fn settle(
    written: &WrittenUnitOverlap,
    experiments: &[ExperimentSettings],
    mistakes: &mut Mistakes<'_>,
) -> UnitOverlapSettings {
    let WrittenUnitOverlap { overlap_pairs_max, pairs } = written;
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
