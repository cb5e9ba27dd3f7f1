//! The sections of the file. Each is one file in `sections/`, which holds what may be written in it, with the comments that
//! are the manual; the bounds of its numbers; what it means, as the rest of the engine takes it; and how it is checked.
//!
//! A new section is such a file, its module and its line in the list below, and a field of
//! [`Recorded`](super::settings::Recorded) or [`Local`](super::settings::Local), into which [`Section::put`] puts it.
//! Everything is optional to the parser, so that what is missing is reported together with what is wrong.

mod checkpoints;
mod experiments;
mod fact_sources;
mod file;
mod history;
mod http;
mod inventory;
mod kafka;
mod logs;
mod registry;
mod sessions;
mod sinks;
mod sources;
mod tenants;
mod time;
mod unit_overlap;
mod views;

use serde::de::DeserializeOwned;
use toml::de::DeTable;

pub use checkpoints::CheckpointSettings;
pub use experiments::{ExperimentSettings, PopulationSetting, VariantSettings};
pub use fact_sources::{FactClass, FactSourceSettings};
pub use history::{ArchiveSettings, HistorySettings};
pub use http::HttpSettings;
pub use inventory::InventorySettings;
pub use kafka::{KafkaSaslSettings, KafkaSettings, KafkaTlsSettings, SaslMechanism};
pub use logs::LogsSettings;
pub use registry::RegistrySettings;
pub use sessions::SessionSettings;
pub use sinks::{Delivery, DeliveryMode, KafkaSinkSettings, MessageRows};
pub use sources::{Format, SourceFiles, SourceInput, SourceSettings, SourceTopic, TopicStart};
pub use time::IN_FLIGHT_MAX;
pub use unit_overlap::{DeclaredPair, UnitOverlapSettings};
pub use views::{History, SinkSetting, ViewSettings};

use super::Built;
use super::mistake::Mistakes;
use super::settings::Settings;
use super::table::Standing;

/// A section: the struct of what may be written in it, each field of which is a key.
///
/// Checking reports what is wrong and goes on with a stand-in, so that all mistakes are found. What comes out counts only if
/// there were none.
trait Section: DeserializeOwned {
    /// What is read of it, which says how it stands in the file: [`Standing`] lists the ways.
    type Read: Standing;
    /// What it has to know of other sections, as the list names them.
    type Needs<'a>;
    /// What it means.
    type Settled;

    /// Checks every value, and fills in the defaults.
    fn settle(read: &Self::Read, needs: Self::Needs<'_>, mistakes: &mut Mistakes<'_>) -> Self::Settled;

    /// Puts it where it belongs.
    fn put(settled: Self::Settled, settings: &mut Settings);
}

/// Lists the sections: what the manual says of each as a key of the file; its name, which is that of its module, too; its
/// type there; and what it needs, which is `built` or stands above it.
macro_rules! sections {
    ($built:ident; $($(#[doc = $says:literal])+ $name:ident: $Section:ident($($need:ident),*);)+) => {
        /// The settings of a file: all sections are read, then checked in the order of the list.
        fn settings_of(mut root: DeTable<'_>, $built: Built, mistakes: &mut Mistakes<'_>) -> Settings {
            $(let $name: <$name::$Section as Section>::Read = Standing::read(&mut root, stringify!($name), mistakes);)+
            let mut settings = file::settle(&file::read(root, &[$(stringify!($name)),+], mistakes), mistakes);
            $(let $name = $name::$Section::settle(&$name, ($(&$need,)*), mistakes);)+
            $($name::$Section::put($name, &mut settings);)+
            settings.recorded.columns = crate::views::added_columns(&settings.recorded);
            settings
        }

        /// What the manual has to say of each section.
        #[cfg(test)]
        pub(super) fn manual() -> Vec<SectionManual> {
            vec![$(SectionManual {
                name: stringify!($name),
                says: &[$($says),+],
                heading: <$name::$Section as Section>::Read::heading(stringify!($name)),
                keys: super::table::fields_of::<$name::$Section>(),
                text: include_str!(concat!("sections/", stringify!($name), ".rs")),
            }),+]
        }
    };
}

sections! {
    built;
    /// Ticks, and how much disorder and silence sources may have.
    time: WrittenTime();
    /// How Kafka is reached, where a source has a topic or there is a sink.
    kafka: WrittenKafka(built);
    /// Topics for the run's own logs, where they shall outlive its machine.
    logs: WrittenLogs(built, kafka);
    /// How the schema registry is reached, where the messages of a topic are Avro.
    registry: WrittenRegistry();
    /// Where records come from, up to 1000 sources. Their order numbers the partitions.
    sources: WrittenSource(built, time, kafka, registry);
    /// Tenants that no source names, and those whose order matters; up to 1000 in all.
    tenants: WrittenTenant(sources);
    /// Up to 100 experiments of each tenant, and 65535 in all.
    experiments: WrittenExperiment(tenants);
    /// How far each source of facts is believed, by the name that facts give in `source`. One that is not listed has rank
    /// 100, class A, no authority and an exact clock.
    fact_sources: WrittenFactSource(sources);
    /// How long sessions are kept together.
    sessions: WrittenSessions();
    /// How stock becomes availability.
    inventory: WrittenInventory();
    /// Where and how often the state is saved, so that a restart need not compute everything again.
    checkpoints: WrittenCheckpoints(built);
    /// Where sealed minutes are kept for longer than any view keeps them.
    history: WrittenHistory(built, sources);
    /// What clients of the HTTP server may take, and whose pages may read.
    http: WrittenHttp();
    /// What is kept and written of each view, by its name: the README lists them.
    views: WrittenView(sources);
    /// Which pairs of experiments `unit_overlap` tests.
    unit_overlap: WrittenUnitOverlap(experiments);
    /// Kafka topics that views are written to, besides their files; up to 100 sinks.
    sinks: WrittenSink(built, kafka, views);
}

/// What the text means, as far as it means anything. None where it is no TOML: what the parser makes of the rest then would
/// only mislead.
pub(super) fn settled(text: &str, built: Built, mistakes: &mut Mistakes<'_>) -> Option<Settings> {
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let hint = "correct the TOML: each line is a [section], a `key = value` or a # comment";
        mistakes.add(error.span().unwrap_or(0..0), error.message().replace('\n', " "), hint);
    }
    errors.is_empty().then(|| settings_of(document.into_inner(), built, mistakes))
}

/// What the manual has to say of a section.
#[cfg(test)]
pub(super) struct SectionManual {
    /// The key of the file.
    pub(super) name: &'static str,
    /// What is said of it there, line by line.
    pub(super) says: &'static [&'static str],
    /// How it begins in the file.
    pub(super) heading: String,
    /// The keys within it.
    pub(super) keys: &'static [&'static str],
    /// Its source file, whose comments tell them.
    pub(super) text: &'static str,
}

/// The source file of the keys outside of any section.
#[cfg(test)]
pub(super) const FILE: &str = include_str!("sections/file.rs");
