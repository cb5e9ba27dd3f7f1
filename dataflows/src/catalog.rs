//! The names that decoders and views need, built from the configuration and never changed while it holds.
//!
//! Numbers are places in the lists, so two runs with the same configuration number everything alike.

use std::collections::BTreeMap;

use methods::assignment::{Assigner, Unit};
use operators::record::Rejection;
use operators::shard::PlaceKey;
use operators::topology::GroupId;

use crate::digest::HashKey;
use crate::experiment::ExperimentEvents;
use crate::inventory::InventoryFacts;
use crate::kind::KindId;
use crate::names::{Name, TenantId};
use operators::document::shorten;

/// A retailer's banner or customer; whatever belongs to one is never seen by another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Its name in records and views.
    pub name: Name,
}

/// Which units count into an experiment's totals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Population {
    /// Every unit that the assignment gives a variant.
    Assigned,
    /// Only those of them with an exposure event.
    Exposed,
}

/// One arm of an experiment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// Its name in views.
    pub name: Name,
    /// Its share of the experiment's units, relative to the other variants.
    pub weight: u32,
}

/// One experiment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Experiment {
    /// Whose experiment.
    pub tenant: TenantId,
    /// Its name, unique within the tenant.
    pub name: Name,
    /// Its layer: experiments of one layer whose ranges of traffic do not overlap share no unit.
    pub layer: Name,
    /// What decides the variants; a new seed shuffles the units anew.
    pub seed: Name,
    /// The layer's buckets that it has, `[from, upto)` in parts per million.
    pub traffic: (u32, u32),
    /// Its variants; a variant's number is its place here.
    pub variants: Vec<Variant>,
    /// Which units count.
    pub population: Population,
}

/// How far a source of facts is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FactSourceSpec {
    /// Decides between absolute facts of one instant: less is better.
    pub rank: u16,
    /// Whether its snapshots set stock. Otherwise they are evidence.
    pub authority_for_snapshots: bool,
    /// Whether even its counts are only evidence.
    pub class_b: bool,
    /// How wrong its clock may be; widens the window of its counts.
    pub epsilon_ms: i64,
}

impl Default for FactSourceSpec {
    fn default() -> Self {
        FactSourceSpec { rank: 100, authority_for_snapshots: false, class_b: false, epsilon_ms: 0 }
    }
}

/// All names of a configuration. Made by [`Catalog::new`] and not changed afterwards: assignments are prepared from it.
#[derive(Clone, Debug)]
pub struct Catalog {
    /// By [`TenantId`].
    pub tenants: Vec<Tenant>,
    /// By the number that [`Event::experiment`](crate::experiment::event::Event::experiment) holds.
    pub experiments: Vec<Experiment>,
    /// By the source's name; others have the default.
    pub fact_sources: BTreeMap<String, FactSourceSpec>,
    assigners: Vec<Assigner>,
    experiments_by_tenant: Vec<Vec<u16>>,
    /// By tenant and population: the layers with such experiments.
    layers_by_tenant: Vec<[Vec<Layer>; 2]>,
    hash_key: Option<HashKey>,
}

/// A layer's experiments of one population.
#[derive(Clone, Debug)]
struct Layer {
    /// Their numbers.
    experiments: Vec<u16>,
    /// Whether one of them does not have all of the layer.
    is_divided: bool,
}

impl Catalog {
    /// A catalog of what the configuration declares. The configuration has already checked it: names are unique, every
    /// experiment's tenant exists, and some variant has a weight.
    pub fn new(
        tenants: Vec<Tenant>,
        experiments: Vec<Experiment>,
        fact_sources: BTreeMap<String, FactSourceSpec>,
    ) -> Self {
        let mut experiments_by_tenant = vec![Vec::new(); tenants.len()];
        let mut assigners = Vec::with_capacity(experiments.len());
        for (number, experiment) in (0u16..).zip(&experiments) {
            let tenant = usize::from(experiment.tenant);
            experiments_by_tenant[tenant].push(number);
            let weights: Vec<u32> = experiment.variants.iter().map(|variant| variant.weight).collect();
            assigners.push(Assigner::new(
                &tenants[tenant].name,
                &experiment.layer,
                &experiment.seed,
                experiment.traffic,
                &weights,
            ));
        }
        let layers_of = |numbers: &[u16], population| -> Vec<Layer> {
            let mut layers: BTreeMap<&Name, Vec<u16>> = BTreeMap::new();
            for number in numbers {
                let experiment = &experiments[usize::from(*number)];
                if experiment.population == population {
                    layers.entry(&experiment.layer).or_default().push(*number);
                }
            }
            let layers = layers.into_values().map(|experiments| {
                let is_divided = experiments.iter().any(|number| !assigners[usize::from(*number)].has_whole_layer());
                Layer { experiments, is_divided }
            });
            layers.collect()
        };
        let layers_by_tenant = experiments_by_tenant.iter().map(|numbers| {
            [Population::Assigned, Population::Exposed].map(|population| layers_of(numbers, population))
        });
        let layers_by_tenant = layers_by_tenant.collect();
        Catalog {
            tenants,
            experiments,
            fact_sources,
            assigners,
            experiments_by_tenant,
            layers_by_tenant,
            hash_key: None,
        }
    }

    /// The same in a run whose hashes of names and contents go by a key.
    #[must_use]
    pub fn hashed_by(self, hash_key: Option<HashKey>) -> Self {
        Catalog { hash_key, ..self }
    }

    /// The key of the run's hashes of names and contents; none where they are the written ones.
    pub(crate) fn hash_key(&self) -> Option<HashKey> {
        self.hash_key
    }

    /// The key by which the state of folds is placed.
    pub fn place_key(&self) -> PlaceKey {
        self.hash_key.map_or(PlaceKey::WRITTEN, HashKey::of_places)
    }

    /// The tenant of that name. They are so few that looking at each is faster than a hash.
    pub fn tenant_of(&self, name: &str) -> Option<TenantId> {
        (0..).zip(&self.tenants).find(|(_, tenant)| tenant.name == name).map(|(number, _)| number)
    }

    /// The tenant of that name, of those that a source declares; a source that declares none may have any.
    pub(crate) fn declared_tenant(&self, name: &str, declared: Option<&[TenantId]>) -> Result<TenantId, Rejection> {
        let Some(tenant) = self.tenant_of(name) else {
            return Err(Rejection::new("unknown_tenant", format!("there is no tenant `{}`", shorten(name))));
        };
        match declared {
            Some(declared) if !declared.contains(&tenant) => {
                Err(Rejection::new("undeclared_tenant", format!("tenant `{name}` is not declared here")))
            }
            _ => Ok(tenant),
        }
    }

    /// A tenant's name.
    pub fn tenant_name(&self, tenant: TenantId) -> &Name {
        &self.tenants[usize::from(tenant)].name
    }

    /// The numbers of a tenant's experiments, ascending.
    pub fn experiments_of(&self, tenant: TenantId) -> &[u16] {
        &self.experiments_by_tenant[usize::from(tenant)]
    }

    /// The number of a tenant's experiment of that name.
    pub fn experiment_of(&self, tenant: TenantId, name: &str) -> Option<u16> {
        let mut numbers = self.experiments_of(tenant).iter().copied();
        numbers.find(|number| self.experiments[usize::from(*number)].name == name)
    }

    /// The variant that the experiment gives the unit; none where the unit is outside of its traffic or unknown
    /// (empty).
    pub fn variant_of(&self, experiment: u16, unit: &str) -> Option<u16> {
        self.assigners[usize::from(experiment)].variant_of(unit)
    }

    /// Gives each experiment of the tenant with such a population that has the unit, and its variant. One hash for each
    /// layer whose experiments do not have all of it, and one for each experiment that has the unit.
    #[inline]
    pub fn each_variant_of(
        &self,
        tenant: TenantId,
        unit: &str,
        population: Population,
        mut give: impl FnMut(u16, u16),
    ) {
        let Some(unit) = Unit::new(unit) else { return };
        let assigner = |number: u16| &self.assigners[usize::from(number)];
        for Layer { experiments, is_divided } in &self.layers_by_tenant[usize::from(tenant)][population as usize] {
            let bucket = if *is_divided { assigner(experiments[0]).traffic_bucket_of(unit) } else { 0 };
            for number in experiments {
                if let Some(variant) = assigner(*number).variant_in(unit, bucket) {
                    give(*number, variant);
                }
            }
        }
    }

    /// How far a source of facts is believed.
    pub fn fact_source(&self, source: &str) -> FactSourceSpec {
        self.fact_sources.get(source).copied().unwrap_or_default()
    }

    /// The watermark group of a tenant's experiment events.
    pub fn event_group(&self, tenant: TenantId) -> GroupId {
        group_of(tenant, KindId::of::<ExperimentEvents>())
    }

    /// The watermark group of a tenant's facts.
    pub fn fact_group(&self, tenant: TenantId) -> GroupId {
        group_of(tenant, KindId::of::<InventoryFacts>())
    }
}

/// The watermark group of a tenant's records of one kind: numbered by tenant, then by kind, as they are recorded.
pub fn group_of(tenant: TenantId, kind: KindId) -> GroupId {
    GroupId(tenant * KindId::all().len() as u16 + kind.index() as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog() -> Catalog {
        let tenants = ["north", "süd"].map(|name| Tenant { name: name.into() }).to_vec();
        let experiment = |tenant, name: &str, traffic| Experiment {
            tenant,
            name: name.into(),
            layer: "search".into(),
            seed: name.into(),
            traffic,
            variants: ["control", "treatment"].map(|name| Variant { name: name.into(), weight: 1 }).to_vec(),
            population: Population::Exposed,
        };
        let experiments = vec![
            experiment(1, "ranker", (0, 500_000)),
            experiment(0, "ranker", (0, 1_000_000)),
            experiment(1, "badges", (500_000, 1_000_000)),
        ];
        let depot = FactSourceSpec { rank: 1, authority_for_snapshots: true, ..FactSourceSpec::default() };
        Catalog::new(tenants, experiments, BTreeMap::from([("depot".to_owned(), depot)]))
    }

    #[test]
    fn names_are_found_within_their_tenant() {
        let catalog = catalog();
        assert_eq!((catalog.tenant_of("süd"), catalog.tenant_of("south")), (Some(1), None));
        assert_eq!(catalog.experiments_of(1), [0, 2]);
        assert_eq!((catalog.experiment_of(0, "ranker"), catalog.experiment_of(0, "badges")), (Some(1), None));
        assert_eq!((catalog.event_group(1), catalog.fact_group(1)), (GroupId(2), GroupId(3)));
        assert_eq!((catalog.fact_source("depot").rank, catalog.fact_source("till").rank), (1, 100));
    }

    #[test]
    fn experiments_that_share_a_layer_share_no_unit() {
        let catalog = catalog();
        for unit in (0..1_000).map(|unit| format!("unit-{unit}")) {
            let variants = (catalog.variant_of(0, &unit), catalog.variant_of(2, &unit));
            assert!(variants.0.is_some() != variants.1.is_some(), "{unit}: {variants:?}");
            assert!(catalog.variant_of(1, &unit).is_some());
            let mut found = Vec::new();
            catalog.each_variant_of(1, &unit, Population::Exposed, |number, variant| found.push((number, variant)));
            let expected = [0, 2].into_iter().zip([variants.0, variants.1]);
            assert_eq!(found, expected.filter_map(|(number, variant)| Some((number, variant?))).collect::<Vec<_>>());
            catalog.each_variant_of(1, &unit, Population::Assigned, |number, _| panic!("{number} is exposed"));
        }
        assert_eq!(catalog.variant_of(1, ""), None);
    }
}
