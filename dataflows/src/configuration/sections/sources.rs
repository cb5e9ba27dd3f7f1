//! `[[sources]]`: where records come from, and how much disorder and silence they may have.

mod columns;
mod input;

use std::ops::{Range, RangeInclusive};

use operators::csv::CsvSettings;
use operators::topology::LaneParameters;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use toml::Spanned;
use toml::de::DeTable;

pub use input::{SourceFiles, SourceInput, SourceTopic, TopicStart};

use super::Section;
use super::kafka::KafkaSettings;
use super::registry::RegistrySettings;
use super::time::{TimeSettings, Times};
use crate::configuration::Built;
use crate::configuration::mistake::Mistakes;
use crate::configuration::settings::Settings;
use crate::configuration::table::{FromTable, Given, Standing, Table};
use crate::configuration::values::{choice, flag, name_is_new, name_is_well_formed, too_many, unsigned};
use crate::experiment::ExperimentEvents;
use crate::kind::KindId;
use crate::names::Name;
use columns::ColumnsTable;

/// One source: files of newline-delimited JSON, plain or compressed, or a Kafka topic with one JSON record a message.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WrittenSource {
    /// Its name in views and errors; its partitions are `name/0`, `name/1` and so on. Required.
    name: Given<String>,
    /// What its records are: `"experiment"` (events) or `"inventory"` (facts). Required.
    kind: Given<String>,
    /// Its files, as a glob relative to the configuration file's folder. They are looked through before a run begins: those that
    /// follow each other in time are read one after the other, as one partition, and those that overlap beside each other.
    /// Either this or `topic` is required.
    files: Given<String>,
    /// Whether each file is a partition of its own, read beside the others, whatever its times. Default: false.
    parallel: Given<bool>,
    /// Its topic, each of whose partitions is one of the source; only what is committed is read. Partitions that are added to
    /// the topic while a run goes on, or between two runs, are added to it, behind all others.
    topic: Given<String>,
    /// How its records are written: `"json"`, one a line or message; `"csv"`, one a row of a file, as `csv.md` says; `"avro"`,
    /// one a message with the id of its schema, which is in the registry of `[registry]`, as `events.md` says; or
    /// `"facts-batch"`, many facts a message, as `facts-batch.md` says, only of kind `"inventory"`. Default: `"json"`.
    format: Given<String>,
    /// Only of CSV, and required there: a section `[sources.columns]`, which says of each field the name of its column, or
    /// `{ value = … }` for what is the same in every row; `csv.md` has examples.
    columns: Option<IgnoredAny>,
    /// Only of CSV: what stands between two cells, one ASCII character. Default: `","`.
    delimiter: Given<String>,
    /// Only of CSV: how times are written: `"ms"` or `"s"` since 1970-01-01 UTC, `"rfc3339"`, or a pattern in UTC such as
    /// `"%Y-%m-%d %H:%M:%S"`; one of days only means midnight. Default: `"ms"`.
    time_format: Given<String>,
    /// Where a topic is read from when a run begins: `"earliest"` (the first record that each partition still holds) or
    /// `"latest"` (behind the last one). The offsets are recorded then, so a restart goes on. Default: `"earliest"`.
    start: Given<String>,
    /// The tenants whose records it has, at least one; records of others are dead letters. Tenants named here are declared
    /// by that. Default: every tenant of the configuration.
    tenants: Given<Vec<Spanned<String>>>,
    /// The fact sources whose facts it has, at least one, only of kind `"inventory"`; facts of others are dead letters. Each
    /// one holds the watermark back until it speaks or is idle. Default: any.
    fact_sources: Given<Vec<Spanned<String>>>,
    /// The share of a tick's bytes that each of its partitions gets, relative to others; 1 to 1000000. Default: 1.
    weight: Given<i64>,
    /// As under `[time]`, for this source. Default: of files their own disorder, so that none of their records is late (with
    /// `aisle run --speed`, and of topics, what `[time]` says).
    lateness_ms: Given<i64>,
    /// As under `[time]`, for this source. Default: what `[time]` says.
    hold_ms: Given<i64>,
    /// As under `[time]`, for this source. Default: what `[time]` says.
    idle_ms: Given<i64>,
    /// As under `[time]`, for this source. Default: what `[time]` says.
    skew_max_ms: Given<i64>,
    /// A promise that an id which occurs in one of its partitions never occurs in another partition, of any source, so that
    /// duplicates are found without an exchange. A broken promise counts records twice. Default: of a topic, false; of files,
    /// true if each of its tenants has exactly one partition of this kind in the whole configuration, else false.
    identity_fixes_partition: Given<bool>,
}

const SOURCES_MAX: usize = 1_000;
const WEIGHT: RangeInclusive<i64> = 1..=1_000_000;

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
    /// Whether that is the disorder of its files, as the plan that lists them finds it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub measured: bool,
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

/// All sources as they are written.
#[derive(Debug)]
pub(super) struct SourceTables {
    /// Whether there is anything under that name, be it wrong.
    are_given: bool,
    list: Vec<SourceTable>,
}

/// A source, and `[sources.columns]` within it, if there is any.
#[derive(Debug)]
struct SourceTable {
    source: Table<WrittenSource>,
    columns: Option<ColumnsTable>,
}

impl Standing for SourceTables {
    fn read(outer: &mut DeTable<'_>, name: &str, mistakes: &mut Mistakes<'_>) -> Self {
        let are_given = outer.contains_key(name);
        SourceTables { are_given, list: Standing::read(outer, name, mistakes) }
    }

    fn heading(name: &str) -> String {
        Vec::<SourceTable>::heading(name)
    }
}

impl FromTable for SourceTable {
    fn from_table(mut table: DeTable<'_>, span: Range<usize>, mistakes: &mut Mistakes<'_>) -> Self {
        let columns = table.remove("columns").map(|value| columns::read(value, mistakes));
        SourceTable { source: Table::from_table(table, span, mistakes), columns }
    }
}

/// The sources, and what other sections ask of them.
pub(super) struct SourceList {
    /// Each with the tenants that it names; `[[tenants]]` says which others there are.
    pub(super) settings: Vec<SourceSettings>,
    inputs: Vec<SourceInput>,
    /// Whether there is anything under that name, be it wrong.
    pub(super) are_given: bool,
    /// Where the first one stands.
    pub(super) first: Option<Range<usize>>,
    /// By source: where it names its tenants.
    pub(super) tenant_spans: Vec<Range<usize>>,
    /// Whether nothing is wrong where they name tenants.
    pub(super) tenants_are_known: bool,
    /// Whether one of them may have the facts of any fact source.
    pub(super) any_has_all_facts: bool,
}

impl SourceList {
    /// Whether all of them are files: what they have is there, and nothing need ever leave.
    pub(super) fn are_files(&self) -> bool {
        self.inputs.iter().all(|input| matches!(input, SourceInput::Files(_)))
    }
}

impl Section for WrittenSource {
    type Read = SourceTables;
    type Needs<'a> = (&'a Built, &'a TimeSettings, &'a Option<KafkaSettings>, &'a Option<RegistrySettings>);
    type Settled = SourceList;

    fn settle(
        read: &SourceTables,
        (built, time, kafka, registry): Self::Needs<'_>,
        mistakes: &mut Mistakes<'_>,
    ) -> SourceList {
        let mut settings: Vec<SourceSettings> = Vec::new();
        let mut inputs = Vec::new();
        for SourceTable { source: table, columns } in &read.list {
            table.required("name", &table.written.name, mistakes);
            if let Some(name) = &table.written.name {
                name_is_well_formed("a source's name", name, mistakes);
                name_is_new("sources", name, settings.iter().map(|source| source.name.as_str()), mistakes);
            }
            let tenants = names_of(table, "tenants", &table.written.tenants, mistakes);
            inputs.push(input::settle(table, kafka.is_some(), built, mistakes));
            settings.push(source(table, columns.as_ref(), tenants, time.times, registry.is_some(), mistakes));
        }
        let tables = || read.list.iter().map(|source| &source.source);
        too_many("sources", tables().nth(SOURCES_MAX).map(|table| &table.span), SOURCES_MAX, mistakes);
        SourceList {
            settings,
            inputs,
            are_given: read.are_given,
            first: tables().next().map(|table| table.span.clone()),
            tenant_spans: tables().map(|table| table.written.tenants.as_ref().map_or(0..0, Spanned::span)).collect(),
            tenants_are_known: !tables().any(|table| table.is_faulty("tenants")),
            any_has_all_facts: tables().any(|table| has_all_facts(&table.written)),
        }
    }

    fn put(settled: SourceList, settings: &mut Settings) {
        settings.recorded.sources = settled.settings;
        settings.inputs = settled.inputs;
    }
}

fn has_all_facts(source: &WrittenSource) -> bool {
    let is_inventory = source.kind.as_ref().is_none_or(|kind| kind.get_ref() != "experiment");
    is_inventory && source.fact_sources.is_none()
}

fn source(
    table: &Table<WrittenSource>,
    columns: Option<&ColumnsTable>,
    tenants: Option<Vec<String>>,
    times: Times,
    registry_is_given: bool,
    mistakes: &mut Mistakes<'_>,
) -> SourceSettings {
    let written = &table.written;
    table.required("kind", &written.kind, mistakes);
    let kinds: Vec<(&str, KindId)> = KindId::all().map(|kind| (kind.name(), kind)).collect();
    let kind = choice("kind", &written.kind, &kinds, mistakes);
    let formats =
        [("json", Format::Json), ("avro", Format::Avro), ("csv", Format::Csv), ("facts-batch", Format::FactsBatch)];
    let format = choice("format", &written.format, &formats, mistakes).unwrap_or(Format::Json);
    if let (Format::FactsBatch, Some(given)) = (format, &written.format)
        && (written.topic.is_none() || kind.is_some_and(|kind| kind.entry().batches() != Some(format)))
    {
        let hint = "write `topic = …` and `kind = \"inventory\"`, or leave `format` out";
        mistakes.add(given.span(), "batches of facts come from a topic of kind \"inventory\"", hint);
    }
    if let (Format::Avro, Some(given)) = (format, &written.format) {
        if written.topic.is_none() {
            let hint = "write `topic = …`, or leave `format` out";
            mistakes.add(given.span(), "only the messages of a topic are Avro", hint);
        } else if !registry_is_given {
            let hint = "add a section `[registry]` with `url = \"http://host:port\"`";
            mistakes.add(given.span(), "messages are Avro, but nothing says where their schemas are", hint);
        }
    }
    let csv = columns::settle(table, columns, kind, format, mistakes);
    let fact_sources = names_of(table, "fact_sources", &written.fact_sources, mistakes);
    if let (Some(given), Some(kind)) = (&written.fact_sources, kind)
        && kind == KindId::of::<ExperimentEvents>()
    {
        let hint = "leave it out, or write `kind = \"inventory\"`";
        mistakes.add(given.span(), "a source of experiment events has no `fact_sources`", hint);
    }
    let own = [&written.lateness_ms, &written.hold_ms, &written.idle_ms, &written.skew_max_ms];
    let Times { lateness_ms, hold_ms, idle_ms, skew_max_ms } = times.overridden(own, mistakes);
    SourceSettings {
        name: written.name.as_ref().map(|name| name.get_ref().clone()).unwrap_or_default(),
        kind: kind.unwrap_or(KindId::of::<ExperimentEvents>()),
        format,
        csv,
        tenants: tenants.unwrap_or_default().iter().map(Name::from).collect(),
        fact_sources,
        weight: unsigned("weight", &written.weight, WEIGHT, 1, mistakes),
        lateness_ms,
        measured: written.topic.is_none() && written.lateness_ms.is_none(),
        hold_ms,
        idle_ms,
        skew_max_ms,
        identity_fixes_partition: flag(&written.identity_fixes_partition),
    }
}

/// A list of different names, if one is given. An empty one says that there are no records, which nobody means.
fn names_of(
    table: &Table<WrittenSource>,
    key: &str,
    given: &Option<Spanned<Vec<Spanned<String>>>>,
    mistakes: &mut Mistakes<'_>,
) -> Option<Vec<String>> {
    let given = given.as_ref()?;
    if given.get_ref().is_empty() && !table.is_faulty(key) {
        mistakes.add(
            given.span(),
            format!("`{key}` is empty"),
            "write at least one name, or leave the key out for any",
        );
    }
    let mut names: Vec<String> = Vec::new();
    for name in given.get_ref() {
        if name_is_well_formed(&format!("a name in `{key}`"), name, mistakes)
            && name_is_new(key, name, names.iter().map(String::as_str), mistakes)
        {
            names.push(name.get_ref().clone());
        }
    }
    Some(names)
}
