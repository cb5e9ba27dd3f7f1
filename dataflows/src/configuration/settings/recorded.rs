//! What decides the outputs.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use operators::time::Tick;
use operators::topology::LaneParameters;

use crate::catalog::{Catalog, Experiment, FactSourceSpec, Population, Tenant, Variant};
use crate::experiment::unit_overlap::view::UnitOverlaps;
use crate::experiment::unit_overlap::{ExperimentPair, OVERLAP_PAIRS_MAX, OverlapPairs, pairs};
use crate::kind::KindId;
use crate::names::{Name, TenantId};
use crate::view::ViewId;
use operators::csv::CsvSettings;

/// What decides the outputs, apart from the files and the start of the run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// By [`TenantId`]: those of `[[tenants]]`, then those that sources name.
    pub tenants: Vec<Name>,
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
    /// The Kafka sinks, in the order of the configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sinks: Vec<KafkaSinkSettings>,
    /// Which files the sealed minutes make.
    pub history: HistorySettings,
    /// Which pairs of experiments are tested; left out of the text where nothing is said of it.
    #[serde(default, skip_serializing_if = "UnitOverlapSettings::is_default")]
    pub unit_overlap: UnitOverlapSettings,
}

/// Which files the sealed minutes make. It decides bytes that are written, so it is recorded; where they go is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HistorySettings {
    /// Whether there are any.
    pub kept: bool,
    /// A file ends where `now` enters another multiple of this.
    pub file_ms: i64,
    /// A file ends behind the tick in which it came to hold so many rows.
    pub rows_max: usize,
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
        Catalog::new(tenants, experiments.collect(), fact_sources.collect())
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

    /// These settings as a run goes on that recorded `before`: what it has keeps the tick from which it holds, views that it
    /// did not have hold from `since` on, and its sinks go on with the views that they had.
    pub(in crate::configuration) fn added_to(&self, before: &Recorded, since: Tick) -> Recorded {
        let mut joined = self.clone();
        joined.views.retain(|view, settings| settings.enabled || before.views.contains_key(view));
        for (view, settings) in &mut joined.views {
            settings.since = before.views.get(view).map_or(since, |known| known.since);
        }
        for sink in &mut joined.sinks {
            if let Some(known) = before.sinks.iter().find(|known| known.name == sink.name) {
                sink.views.retain(|view| known.views.contains(view) || before.views.contains_key(view));
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

    /// The tick from which a view holds: 0, unless it was added to a run that was there.
    pub fn since(&self, view: ViewId) -> Tick {
        self.view(view).since
    }
}

/// One source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceSettings {
    /// Its name, unique.
    pub name: String,
    /// What its records are.
    pub kind: KindId,
    /// How they are written.
    pub format: Format,
    /// Which columns their fields are, of CSV.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csv: Option<CsvSettings>,
    /// The tenants whose records it may have; all, where it names none.
    pub tenants: Vec<Name>,
    /// The fact sources whose facts it may have; `None` is any.
    pub fact_sources: Option<Vec<String>>,
    /// Its partitions' share of a tick's bytes.
    pub weight: u32,
    /// A record this far behind its lane's newest is on time.
    pub lateness_ms: i64,
    /// The longest that a lane which speaks holds the watermark back.
    pub hold_ms: i64,
    /// The longest that a silent lane holds the watermark back.
    pub idle_ms: i64,
    /// The furthest that an event time may lie ahead.
    pub skew_max_ms: i64,
    /// What is promised. `None` until a plan knows all partitions and decides it.
    pub identity_fixes_partition: Option<bool>,
}

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// One JSON object a line, or a message.
    Json,
    /// Many facts a message, as `docs/facts-batch.md` says.
    FactsBatch,
    /// One Avro record a message, with the id of its schema in a registry.
    Avro,
    /// One row of cells a record.
    Csv,
}

impl SourceSettings {
    /// How much disorder and silence its partitions may have.
    pub fn lanes(&self, dedup_horizon_ms: i64) -> LaneParameters {
        LaneParameters {
            lateness_ms: self.lateness_ms,
            hold_ms: self.hold_ms,
            idle_ms: self.idle_ms,
            skew_max_ms: self.skew_max_ms,
            dedup_horizon_ms,
        }
    }
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

/// One variant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VariantSettings {
    /// Its name, unique within the experiment.
    pub name: Name,
    /// Its share of the units.
    pub weight: u32,
}

/// Whether a fact source's counts set stock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FactClass {
    /// They do.
    A,
    /// They are evidence only.
    B,
}

/// How far a fact source is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FactSourceSettings {
    /// Less is better.
    pub rank: u16,
    /// Whether its counts set stock.
    pub class: FactClass,
    /// Whether its snapshots set stock.
    pub authority: bool,
    /// How wrong its clock may be.
    pub epsilon_ms: i64,
}

/// How long sessions are kept together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionSettings {
    /// How long behind the watermark a session's state is kept after its last event.
    pub keep_ms: i64,
}

/// How stock becomes availability.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InventorySettings {
    /// Pieces that are never promised.
    pub safety_stock: i64,
    /// A count older than this makes nothing available.
    pub count_trusted_ms: i64,
    /// How long behind the watermark an identity is remembered.
    pub dedup_horizon_ms: i64,
}

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
    fn is_default(&self) -> bool {
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

/// What a view's sink receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SinkSetting {
    /// Every change.
    Changes,
    /// Rows once their minute is sealed.
    Sealed,
    /// Nothing: there is no sink.
    None,
}

/// What the value of a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageRows {
    /// A change: tick, difference and row.
    Changes,
    /// The row that the key has now, or nothing.
    Upserts,
}

/// Which messages a Kafka sink writes where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaSinkSettings {
    /// Its name, unique.
    pub name: String,
    /// The topic of each view, where `{view}` stands for the view's name.
    pub topic: String,
    /// The views, in the order in which they are listed.
    pub views: Vec<ViewId>,
    /// What a message says.
    pub rows: MessageRows,
    /// Whether only rows of sealed minutes are written.
    pub sealed: bool,
}

impl KafkaSinkSettings {
    /// The topic of a view.
    pub fn topic_of(&self, view: ViewId) -> String {
        self.topic.replace("{view}", view.name())
    }
}

/// What is kept and written of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViewSettings {
    /// Whether there is such a view.
    pub enabled: bool,
    /// How far behind the watermark, or how long after they came, rows leave; `None` where they stay.
    pub retention_ms: Option<i64>,
    /// What its sink receives.
    pub sink: SinkSetting,
    /// The number of its sink's outputs.
    pub shards: u32,
    /// The tick from which it holds: 0, unless it was added to a run that was there.
    #[serde(default, skip_serializing_if = "is_from_the_start")]
    pub since: Tick,
}

fn is_from_the_start(since: &Tick) -> bool {
    *since == 0
}

impl ViewSettings {
    /// What holds where nothing is said.
    pub fn default_of(view: ViewId) -> Self {
        let retention_ms = view.stays().default_ms();
        ViewSettings { enabled: true, retention_ms, sink: SinkSetting::Changes, shards: 1, since: 0 }
    }
}
