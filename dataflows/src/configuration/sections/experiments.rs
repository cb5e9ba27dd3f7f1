//! `[[experiments]]`: experiments, their variants, and the traffic that they share.

use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use toml::Spanned;
use toml::de::DeTable;

use super::Section;
use super::tenants::TenantList;
use crate::configuration::mistake::{Mistakes, nearest_or_all};
use crate::configuration::settings::Settings;
use crate::configuration::table::{FromTable, Given, Standing, Table};
use crate::configuration::values::{choice, name_is_new, name_is_well_formed, too_many, unsigned};
use crate::names::Name;

/// One experiment. Units are assigned by a hash, the same in the engine and in any SDK.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WrittenExperiment {
    /// Whose experiment it is: a tenant that a source names or `[[tenants]]` declares. Required.
    tenant: Given<String>,
    /// Its name, unique within the tenant. Required.
    name: Given<String>,
    /// The units that count: `"assigned"` (all that have a variant) or `"exposed"` (those of them with an exposure event).
    /// Default: `"assigned"`.
    population: Given<String>,
    /// Experiments of one layer share its traffic: no unit is in two of them. Default: the experiment's own name.
    layer: Given<String>,
    /// What shuffles units among the variants; another seed shuffles them anew. Default: the experiment's name.
    seed: Given<String>,
    /// The part of the layer that it has, in parts per million: from the first number up to, not including, the second.
    /// Default: `[0, 1000000]`, the whole layer.
    traffic: Given<Vec<Spanned<i64>>>,
    /// Its 2 to 16 variants. Required.
    variants: Option<IgnoredAny>,
}

/// One arm of an experiment.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WrittenVariant {
    /// Its name in views, unique within the experiment. Required.
    name: Given<String>,
    /// Its share of the units, relative to the other variants; 0 to 1000000, and above 0 for at least one. Default: 1.
    weight: Given<i64>,
}

/// Each event of a tenant is looked at by each of its experiments.
const EXPERIMENTS_PER_TENANT_MAX: usize = 100;

/// Numbers of experiments have 16 bits.
const EXPERIMENTS_MAX: usize = 65_535;

/// How many variants an experiment may have.
const VARIANTS: RangeInclusive<usize> = 2..=16;

const VARIANT_WEIGHT: RangeInclusive<i64> = 0..=1_000_000;

/// One experiment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExperimentSettings {
    /// Whose.
    pub tenant: Name,
    /// Its name, unique within the tenant.
    pub name: Name,
    /// Which units count.
    pub population: PopulationSetting,
    /// Its layer.
    pub layer: Name,
    /// What decides the variants.
    pub seed: Name,
    /// The layer's buckets that it has, `[from, upto)` in parts per million.
    pub traffic: (u32, u32),
    /// Its variants.
    pub variants: Vec<VariantSettings>,
}

/// Which units count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PopulationSetting {
    /// All with a variant.
    Assigned,
    /// Those of them with an exposure event.
    Exposed,
}

/// One variant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VariantSettings {
    /// Its name, unique within the experiment.
    pub name: Name,
    /// Its share of the units.
    pub weight: u32,
}

/// An experiment and its variants.
#[derive(Debug)]
pub(super) struct ExperimentTables {
    experiment: Table<WrittenExperiment>,
    variants: Vec<Table<WrittenVariant>>,
}

impl FromTable for ExperimentTables {
    fn from_table(mut table: DeTable<'_>, span: Range<usize>, mistakes: &mut Mistakes<'_>) -> Self {
        let given = table.contains_key("variants");
        let variants: Vec<Table<WrittenVariant>> = Standing::read(&mut table, "variants", mistakes);
        let mut experiment: Table<WrittenExperiment> = Table::from_table(table, span, mistakes);
        if given && variants.is_empty() {
            // Either it was no list, which is told already, or an empty one, which is told by its number.
            experiment.add_faulty("variants");
        }
        ExperimentTables { experiment, variants }
    }
}

impl Section for WrittenExperiment {
    type Read = Vec<ExperimentTables>;
    type Needs<'a> = (&'a TenantList,);
    type Settled = Vec<ExperimentSettings>;

    /// The experiments; their tenants are held to the known ones, if those are known.
    fn settle(read: &Self::Read, (tenants,): (&TenantList,), mistakes: &mut Mistakes<'_>) -> Self::Settled {
        let known_tenants = tenants.are_known.then_some(tenants.names.as_slice());
        let mut settled: Vec<ExperimentSettings> = Vec::new();
        let mut places: BTreeMap<Name, Vec<usize>> = BTreeMap::new();
        for ExperimentTables { experiment: table, variants } in read {
            let experiment = experiment(table, variants, mistakes);
            if let (Some(given), Some(known)) = (&table.written.tenant, known_tenants)
                && !known.contains(&experiment.tenant)
            {
                let name = &experiment.name;
                let message =
                    format!("experiment \"{name}\" names the tenant \"{}\", which no source feeds", given.get_ref());
                mistakes.add(given.span(), message, tenant_hint(given.get_ref(), known));
            }
            let of_tenant = places.entry(experiment.tenant.clone()).or_default();
            let siblings: Vec<&ExperimentSettings> = of_tenant.iter().map(|place| &settled[*place]).collect();
            if let Some(name) = &table.written.name {
                let what = format!("experiments of tenant \"{}\"", experiment.tenant);
                name_is_new(&what, name, siblings.iter().map(|other| other.name.as_str()), mistakes);
            }
            check_overlap(table, &experiment, &siblings, mistakes);
            if siblings.len() == EXPERIMENTS_PER_TENANT_MAX {
                too_many("experiments of one tenant", Some(&table.span), EXPERIMENTS_PER_TENANT_MAX, mistakes);
            }
            of_tenant.push(settled.len());
            settled.push(experiment);
        }
        too_many(
            "experiments",
            read.get(EXPERIMENTS_MAX).map(|tables| &tables.experiment.span),
            EXPERIMENTS_MAX,
            mistakes,
        );
        settled
    }

    fn put(settled: Vec<ExperimentSettings>, settings: &mut Settings) {
        settings.recorded.experiments = settled;
    }
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
    table: &Table<WrittenExperiment>,
    variants: &[Table<WrittenVariant>],
    mistakes: &mut Mistakes<'_>,
) -> ExperimentSettings {
    let written = &table.written;
    table.required("tenant", &written.tenant, mistakes);
    table.required("name", &written.name, mistakes);
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
        variants: variants_of(table, variants, mistakes),
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
    table: &Table<WrittenExperiment>,
    variants: &[Table<WrittenVariant>],
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
    let experiment = table.written.name.as_ref().map_or("", |name| name.get_ref().as_str());
    let (least, most) = (VARIANTS.start(), VARIANTS.end());
    let hint = format!("list {least} to {most} in `variants`, such as `{{ name = \"control\" }}`");
    if !table.is_faulty("variants") && !VARIANTS.contains(&settled.len()) {
        let message = format!("experiment \"{experiment}\" has {} variants", settled.len());
        let span = variants.get(*most).map_or_else(|| table.span.clone(), |variant| variant.span.clone());
        mistakes.add(span, message, hint);
    } else if !settled.is_empty() && settled.iter().all(|variant| variant.weight == 0) {
        let message = format!("no variant of experiment \"{experiment}\" has a weight");
        mistakes.add(variants[0].span.clone(), message, "give at least one a weight above 0");
    }
    settled
}

/// Two experiments of one layer whose ranges overlap would share units, which a layer is there to prevent.
fn check_overlap(
    table: &Table<WrittenExperiment>,
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
        let span = table.written.traffic.as_ref().map_or_else(|| table.span.clone(), Spanned::span);
        let (from, upto) = other.traffic;
        let message =
            format!("experiment \"{}\" overlaps \"{}\" in layer \"{}\"", experiment.name, other.name, experiment.layer);
        let hint = format!("give it `traffic` outside of [{from}, {upto}], or a layer of its own");
        mistakes.add(span, message, hint);
    }
}
