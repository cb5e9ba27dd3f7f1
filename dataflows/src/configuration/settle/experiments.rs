//! Experiments, their variants, and the traffic that they share.

use std::collections::BTreeMap;

use toml::Spanned;

use super::super::bounds::{EXPERIMENTS_MAX, EXPERIMENTS_PER_TENANT_MAX, VARIANT_WEIGHT, VARIANTS};
use super::super::mistake::{Mistakes, nearest_or_all};
use super::super::section::Section;
use super::super::settings::{ExperimentSettings, PopulationSetting, VariantSettings};
use super::super::written::{Given, WrittenExperiment, WrittenVariant};
use super::sources::too_many;
use super::values::{choice, name_is_new, name_is_well_formed, unsigned};
use crate::names::Name;

type Written = (Section<WrittenExperiment>, Vec<Section<WrittenVariant>>);

/// The experiments; their tenants are held to the known ones, if those are known.
pub(super) fn settle(
    written: &[Written],
    known_tenants: Option<&[Name]>,
    mistakes: &mut Mistakes<'_>,
) -> Vec<ExperimentSettings> {
    let mut settled: Vec<ExperimentSettings> = Vec::new();
    let mut places: BTreeMap<Name, Vec<usize>> = BTreeMap::new();
    for (section, variants) in written {
        let experiment = experiment(section, variants, mistakes);
        if let (Some(given), Some(known)) = (&section.written.tenant, known_tenants)
            && !known.contains(&experiment.tenant)
        {
            let name = &experiment.name;
            let message =
                format!("experiment \"{name}\" names the tenant \"{}\", which no source feeds", given.get_ref());
            mistakes.add(given.span(), message, tenant_hint(given.get_ref(), known));
        }
        let of_tenant = places.entry(experiment.tenant.clone()).or_default();
        let siblings: Vec<&ExperimentSettings> = of_tenant.iter().map(|place| &settled[*place]).collect();
        if let Some(name) = &section.written.name {
            let what = format!("experiments of tenant \"{}\"", experiment.tenant);
            name_is_new(&what, name, siblings.iter().map(|other| other.name.as_str()), mistakes);
        }
        check_overlap(section, &experiment, &siblings, mistakes);
        if siblings.len() == EXPERIMENTS_PER_TENANT_MAX {
            too_many("experiments of one tenant", Some(&section.span), EXPERIMENTS_PER_TENANT_MAX, mistakes);
        }
        of_tenant.push(settled.len());
        settled.push(experiment);
    }
    too_many("experiments", written.get(EXPERIMENTS_MAX).map(|(section, _)| &section.span), EXPERIMENTS_MAX, mistakes);
    settled
}

fn tenant_hint(wrong: &str, known: &[Name]) -> String {
    let names: Vec<&str> = known.iter().map(Name::as_str).collect();
    let nearest = nearest_or_all(wrong, &names);
    let nearest = nearest.strip_prefix("did you mean ").and_then(|rest| rest.strip_suffix('?'));
    match nearest {
        Some(nearest) => format!("declare it under [[tenants]] or correct the name, to {nearest} perhaps"),
        None => "declare it under [[tenants]] or correct the name".to_owned(),
    }
}

fn experiment(
    section: &Section<WrittenExperiment>,
    variants: &[Section<WrittenVariant>],
    mistakes: &mut Mistakes<'_>,
) -> ExperimentSettings {
    let written = &section.written;
    section.required("tenant", &written.tenant, mistakes);
    section.required("name", &written.name, mistakes);
    let mut name = |key: &str, given: &Given<String>| -> Option<Name> {
        let given = given.as_ref()?;
        name_is_well_formed(&format!("`{key}`"), given, mistakes).then(|| given.get_ref().into())
    };
    let own = name("name", &written.name).unwrap_or_default();
    let tenant = name("tenant", &written.tenant).unwrap_or_default();
    let layer = name("layer", &written.layer).unwrap_or_else(|| own.clone());
    let seed = name("seed", &written.seed).unwrap_or_else(|| own.clone());
    let populations = [("assigned", PopulationSetting::Assigned), ("exposed", PopulationSetting::Exposed)];
    let population = choice("population", &written.population, &populations, mistakes);
    ExperimentSettings {
        tenant,
        name: own,
        population: population.unwrap_or(PopulationSetting::Assigned),
        layer,
        seed,
        traffic: traffic(&written.traffic, mistakes),
        variants: variants_of(section, variants, mistakes),
    }
}

fn traffic(given: &Given<Vec<Spanned<i64>>>, mistakes: &mut Mistakes<'_>) -> (u32, u32) {
    const WHOLE: (u32, u32) = (0, methods::assignment::BUCKETS);
    let Some(given) = given else { return WHOLE };
    let numbers: Vec<i64> = given.get_ref().iter().map(|number| *number.get_ref()).collect();
    if let [from, upto] = numbers[..]
        && let (Ok(from), Ok(upto)) = (u32::try_from(from), u32::try_from(upto))
        && from < upto
        && upto <= WHOLE.1
    {
        return (from, upto);
    }
    let message = format!("`traffic` is {numbers:?}, which is not a range of parts per million");
    let hint = "write two ascending numbers from 0 to 1000000, such as `[0, 500000]` for the first half";
    mistakes.add(given.span(), message, hint);
    WHOLE
}

fn variants_of(
    section: &Section<WrittenExperiment>,
    variants: &[Section<WrittenVariant>],
    mistakes: &mut Mistakes<'_>,
) -> Vec<VariantSettings> {
    let mut settled: Vec<VariantSettings> = Vec::new();
    for variant in variants {
        variant.required("name", &variant.written.name, mistakes);
        if let Some(name) = &variant.written.name {
            name_is_well_formed("a variant's name", name, mistakes);
            name_is_new("variants", name, settled.iter().map(|other| other.name.as_str()), mistakes);
        }
        let name = variant.written.name.as_ref().map(|name| name.get_ref().into()).unwrap_or_default();
        let weight = unsigned("weight", &variant.written.weight, VARIANT_WEIGHT, 1, mistakes);
        settled.push(VariantSettings { name, weight });
    }
    let experiment = section.written.name.as_ref().map_or("", |name| name.get_ref().as_str());
    let (least, most) = (VARIANTS.start(), VARIANTS.end());
    let hint = format!("list {least} to {most} in `variants`, such as `{{ name = \"control\" }}`");
    if !section.is_faulty("variants") && !VARIANTS.contains(&settled.len()) {
        let message = format!("experiment \"{experiment}\" has {} variants", settled.len());
        let span = variants.get(*most).map_or_else(|| section.span.clone(), |variant| variant.span.clone());
        mistakes.add(span, message, hint);
    } else if !settled.is_empty() && settled.iter().all(|variant| variant.weight == 0) {
        let message = format!("no variant of experiment \"{experiment}\" has a weight");
        mistakes.add(variants[0].span.clone(), message, "give at least one a weight above 0");
    }
    settled
}

/// Two experiments of one layer whose ranges overlap would share units, which a layer is there to prevent.
fn check_overlap(
    section: &Section<WrittenExperiment>,
    experiment: &ExperimentSettings,
    siblings: &[&ExperimentSettings],
    mistakes: &mut Mistakes<'_>,
) {
    let overlaps = |other: &&&ExperimentSettings| {
        other.layer == experiment.layer
            && other.name != experiment.name
            && other.traffic.0 < experiment.traffic.1
            && experiment.traffic.0 < other.traffic.1
    };
    if let Some(other) = siblings.iter().find(overlaps) {
        let span = section.written.traffic.as_ref().map_or_else(|| section.span.clone(), Spanned::span);
        let (from, upto) = other.traffic;
        let message =
            format!("experiment \"{}\" overlaps \"{}\" in layer \"{}\"", experiment.name, other.name, experiment.layer);
        let hint = format!("give it `traffic` outside of [{from}, {upto}], or a layer of its own");
        mistakes.add(span, message, hint);
    }
}
