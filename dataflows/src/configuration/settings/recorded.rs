//! What decides the outputs.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use operators::time::Tick;

use crate::catalog::{Catalog, Experiment, FactSourceSpec, Population, Tenant, Variant};
use crate::configuration::sections::{
    ExperimentSettings, FactClass, FactSourceSettings, HistorySettings, InventorySettings, KafkaSinkSettings,
    PopulationSetting, SessionSettings, SourceSettings, UnitOverlapSettings, ViewSettings,
};
use crate::digest::HashKey;
use crate::experiment::unit_overlap::view::UnitOverlaps;
use crate::names::{Name, TenantId};
use crate::view::ViewId;

/// What decides the outputs, apart from the files and the start of the run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// By [`TenantId`]: those of `[[tenants]]`, then those that sources name.
    pub tenants: Vec<Name>,
    /// The key of the hashes of names and contents, drawn when the run began; none of runs from before there were keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_key: Option<HashKey>,
    /// In the order of the configuration.
    pub sources: Vec<SourceSettings>,
    /// In the order of the configuration.
    pub experiments: Vec<ExperimentSettings>,
    /// By the name in facts.
    pub fact_sources: BTreeMap<String, FactSourceSettings>,
    /// How long sessions are kept together.
    pub sessions: SessionSettings,
    /// How stock becomes availability.
    pub inventory: InventorySettings,
    /// All views.
    pub views: BTreeMap<ViewId, ViewSettings>,
    /// The columns that came to views later, with the tick from which rows have them; one that is not named is not there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub columns: BTreeMap<ViewId, BTreeMap<String, Tick>>,
    /// The Kafka sinks, in the order of the configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sinks: Vec<KafkaSinkSettings>,
    /// Which files the sealed minutes make.
    pub history: HistorySettings,
    /// Which pairs of experiments are tested; left out of the text where nothing is said of it.
    #[serde(default, skip_serializing_if = "UnitOverlapSettings::is_default")]
    pub unit_overlap: UnitOverlapSettings,
}

impl Recorded {
    /// The names that decoders and views need.
    pub fn catalog(&self) -> Catalog {
        let tenants = self.tenants.iter().map(|name| Tenant { name: name.clone() }).collect();
        let experiments = self.experiments.iter().map(|experiment| Experiment {
            tenant: self
                .tenant_of(&experiment.tenant)
                .expect("a checked configuration declares its experiments' tenants"),
            name: experiment.name.clone(),
            layer: experiment.layer.clone(),
            seed: experiment.seed.clone(),
            traffic: experiment.traffic,
            variants: experiment
                .variants
                .iter()
                .map(|variant| Variant { name: variant.name.clone(), weight: variant.weight })
                .collect(),
            population: match experiment.population {
                PopulationSetting::Assigned => Population::Assigned,
                PopulationSetting::Exposed => Population::Exposed,
            },
        });
        let fact_sources = self.fact_sources.iter().map(|(name, source)| {
            let spec = FactSourceSpec {
                rank: source.rank,
                authority_for_snapshots: source.authority,
                class_b: source.class == FactClass::B,
                epsilon_ms: source.epsilon_ms,
            };
            (name.clone(), spec)
        });
        Catalog::new(tenants, experiments.collect(), fact_sources.collect()).hashed_by(self.hash_key)
    }

    /// The number of a tenant.
    pub fn tenant_of(&self, name: &str) -> Option<TenantId> {
        (0..).zip(&self.tenants).find(|(_, tenant)| *tenant == name).map(|(number, _)| number)
    }

    /// The numbers of a source's tenants, ascending.
    pub fn tenants_of(&self, source: &SourceSettings) -> Vec<TenantId> {
        let named: BTreeSet<&Name> = source.tenants.iter().collect();
        (0..).zip(&self.tenants).filter(|(_, tenant)| named.contains(tenant)).map(|(number, _)| number).collect()
    }

    /// These settings as a run goes on that recorded `before`: what it has keeps the tick from which it holds; views and
    /// sinks that it did not have hold from `since` on; its sinks go on with the views that they had.
    pub(in crate::configuration) fn added_to(&self, before: &Recorded, since: Tick) -> Recorded {
        let mut joined = self.clone();
        joined.hash_key = before.hash_key;
        joined.views.retain(|view, settings| settings.enabled || before.views.contains_key(view));
        for source in &mut joined.sources {
            let Some(known) = before.sources.iter().find(|known| known.name == source.name) else { continue };
            // What is measured is measured once: the files are those that there were.
            if source.measured {
                (source.measured, source.lateness_ms) = (known.measured, known.lateness_ms);
            }
        }
        for (view, settings) in &mut joined.views {
            let added = (since, Some(view.begins()));
            // Over files rows stay unless something else is written; runs of before recorded what holds for topics.
            let stays = before.views.get(view).filter(|_| settings.retention_ms.is_none());
            settings.retention_ms = stays.map_or(settings.retention_ms, |known| known.retention_ms);
            (settings.since, settings.began) = before.views.get(view).map_or(added, |known| (known.since, known.began));
        }
        joined.columns.retain(|view, _| joined.views.contains_key(view));
        for (view, columns) in &mut joined.columns {
            let known = before.columns.get(view);
            columns.iter_mut().for_each(|(name, at)| {
                *at = known.and_then(|known| known.get(name)).copied().unwrap_or(since);
            });
        }
        for sink in &mut joined.sinks {
            let known = before.sinks.iter().find(|known| known.name == sink.name);
            sink.since = known.map_or(since, |known| known.since);
            if let Some(known) = known {
                // What came after the sink is not among what it was asked for.
                let was_there =
                    |view: &ViewId| before.views.get(view).is_some_and(|settings| settings.since <= known.since);
                sink.views.retain(|view| known.views.contains(view) || was_there(view));
            }
        }
        joined
    }

    /// These settings without what is said of a view that there is not: it may be anything until there is one.
    pub(in crate::configuration) fn of_views_that_are(mut self) -> Recorded {
        if !self.views.contains_key(&ViewId::of::<UnitOverlaps>()) {
            self.unit_overlap = UnitOverlapSettings::default();
        }
        self
    }

    /// What is kept and written of a view; one that is not named is off.
    pub fn view(&self, view: ViewId) -> ViewSettings {
        self.views
            .get(&view)
            .copied()
            .unwrap_or_else(|| ViewSettings { enabled: false, ..ViewSettings::default_of(view) })
    }

    /// The tick from which rows of a view have a column that came later; none where they do not.
    pub fn column_since(&self, view: ViewId, name: &str) -> Option<Tick> {
        self.columns.get(&view)?.get(name).copied()
    }

    /// The tick from which a view holds: 0, unless it was added to a run that was there.
    pub fn since(&self, view: ViewId) -> Tick {
        self.view(view).since
    }
}
