//! Sources, and the tenants that they and `[[tenants]]` declare.

use std::collections::BTreeSet;
use std::ops::Range;

use toml::Spanned;

use super::super::bounds::{SOURCE_WEIGHT, SOURCES_MAX, TENANTS_MAX};
use super::super::kafka::Built;
use super::super::mistake::Mistakes;
use super::super::section::{Section, WrittenColumns, WrittenSections};
use super::super::settings::{Format, SourceFiles, SourceInput, SourceSettings};
use super::super::written::WrittenSource;
use super::Times;
use super::kafka::topic_of;
use super::values::{choice, flag, name_is_new, name_is_well_formed, unsigned};
use crate::experiment::ExperimentEvents;
use crate::kind::KindId;
use crate::names::Name;

/// The sources, and what follows from them.
pub(super) struct Settled {
    pub(super) tenants: Vec<Name>,
    /// Whether nothing is wrong where tenants are declared, so that an undeclared one is a mistake of its own.
    pub(super) tenants_are_known: bool,
    pub(super) sources: Vec<SourceSettings>,
    pub(super) inputs: Vec<SourceInput>,
}

pub(super) fn settle(sections: &WrittenSections, times: Times, built: Built, mistakes: &mut Mistakes<'_>) -> Settled {
    let mut tenants = declared_tenants(sections, mistakes);
    let mut tenants_are_known = !sections.tenants.iter().any(|tenant| tenant.written.name.is_none());
    let mut sources: Vec<SourceSettings> = Vec::new();
    let mut inputs = Vec::new();
    for (section, columns) in sections.sources.iter().zip(&sections.source_columns) {
        section.required("name", &section.written.name, mistakes);
        if let Some(name) = &section.written.name {
            name_is_well_formed("a source's name", name, mistakes);
            name_is_new("sources", name, sources.iter().map(|source| source.name.as_str()), mistakes);
        }
        let own = names_of(section, "tenants", &section.written.tenants, mistakes);
        tenants_are_known &= !section.is_faulty("tenants");
        for name in own.iter().flatten() {
            if !tenants.iter().any(|tenant| tenant == name) {
                let span = section.written.tenants.as_ref().map_or(0..0, Spanned::span);
                declare(name, &span, &mut tenants, mistakes);
            }
        }
        inputs.push(input_of(section, sections.kafka.is_some(), built, mistakes));
        sources.push(source(section, columns.as_ref(), own, times, sections.registry.is_some(), mistakes));
    }
    let first = sections.sources.first().map(|source| source.span.clone());
    match first {
        None if !sections.sources_given => {
            let hint = "begin one with a line `[[sources]]`, then `name`, `kind`, `files` or `topic`, and `tenants`";
            mistakes.add(0..0, "there is no source", hint);
        }
        Some(first) if tenants.is_empty() && tenants_are_known => {
            mistakes.add(first, "no tenant is declared", "add `tenants = [\"…\"]`, the names that the records give");
        }
        _ => {}
    }
    too_many("sources", sections.sources.get(SOURCES_MAX).map(|source| &source.span), SOURCES_MAX, mistakes);
    for source in &mut sources {
        // Whoever names no tenants has all of them. A list says who is there, not in which order.
        let named: BTreeSet<Name> = std::mem::take(&mut source.tenants).into_iter().collect();
        let is_its_own = |tenant: &&Name| named.is_empty() || named.contains(*tenant);
        source.tenants = tenants.iter().filter(is_its_own).cloned().collect();
    }
    Settled { tenants, tenants_are_known, sources, inputs }
}

fn declared_tenants(sections: &WrittenSections, mistakes: &mut Mistakes<'_>) -> Vec<Name> {
    let mut tenants: Vec<Name> = Vec::new();
    for section in &sections.tenants {
        section.required("name", &section.written.name, mistakes);
        if let Some(name) = &section.written.name
            && name_is_well_formed("a tenant's name", name, mistakes)
            && name_is_new("tenants", name, tenants.iter().map(Name::as_str), mistakes)
        {
            declare(name.get_ref(), &section.span, &mut tenants, mistakes);
        }
    }
    tenants
}

fn declare(name: &str, span: &Range<usize>, tenants: &mut Vec<Name>, mistakes: &mut Mistakes<'_>) {
    if tenants.len() == TENANTS_MAX {
        too_many("tenants", Some(span), TENANTS_MAX, mistakes);
    }
    tenants.push(name.into());
}

fn source(
    section: &Section<WrittenSource>,
    columns: Option<&WrittenColumns>,
    tenants: Option<Vec<String>>,
    times: Times,
    registry_is_given: bool,
    mistakes: &mut Mistakes<'_>,
) -> SourceSettings {
    let written = &section.written;
    section.required("kind", &written.kind, mistakes);
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
    let csv = super::columns::settle(section, columns, kind, format, mistakes);
    let fact_sources = names_of(section, "fact_sources", &written.fact_sources, mistakes);
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
        weight: unsigned("weight", &written.weight, SOURCE_WEIGHT, 1, mistakes),
        lateness_ms,
        hold_ms,
        idle_ms,
        skew_max_ms,
        identity_fixes_partition: flag(&written.identity_fixes_partition),
    }
}

/// What a source reads: files, unless it names a topic.
fn input_of(
    section: &Section<WrittenSource>,
    cluster_is_given: bool,
    built: Built,
    mistakes: &mut Mistakes<'_>,
) -> SourceInput {
    let WrittenSource { files, topic, parallel, start, .. } = &section.written;
    let Some(topic) = topic else {
        if files.is_none() && !section.is_faulty("files") && !section.is_faulty("topic") {
            let hint = "add `files = …`, a file's name or a pattern, or `topic = …`, a Kafka topic";
            mistakes.add(section.span.clone(), "`files` is missing", hint);
        }
        if let Some(start) = start {
            mistakes.add(
                start.span(),
                "only a topic has a `start`",
                "leave it out: files are read from their beginning",
            );
        }
        return SourceInput::Files(files_of(section, mistakes));
    };
    if let Some(files) = files {
        mistakes.add(files.span(), "a source has both `files` and a `topic`", "make two sources of it");
    }
    if let Some(parallel) = parallel {
        let hint = "leave it out: the partitions of a topic are always read beside each other";
        mistakes.add(parallel.span(), "only files can be `parallel`", hint);
    }
    SourceInput::Topic(topic_of(section, topic, cluster_is_given, built, mistakes))
}

fn files_of(section: &Section<WrittenSource>, mistakes: &mut Mistakes<'_>) -> SourceFiles {
    let given = &section.written.files;
    if let Some(given) = given
        && given.get_ref().is_empty()
    {
        mistakes.add(given.span(), "`files` is empty", "name a file, or several with a pattern such as \"*.ndjson\"");
    }
    let span = given.as_ref().map_or(0..0, Spanned::span);
    let pattern = given.as_ref().map(|given| given.get_ref().clone()).unwrap_or_default();
    SourceFiles { pattern, parallel: flag(&section.written.parallel).unwrap_or(false), span }
}

/// A list of different names, if one is given. An empty one says that there are no records, which nobody means.
fn names_of(
    section: &Section<WrittenSource>,
    key: &str,
    given: &Option<Spanned<Vec<Spanned<String>>>>,
    mistakes: &mut Mistakes<'_>,
) -> Option<Vec<String>> {
    let given = given.as_ref()?;
    if given.get_ref().is_empty() && !section.is_faulty(key) {
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

/// A mistake where there is one more than there may be.
pub(super) fn too_many(what: &str, first_too_many: Option<&Range<usize>>, most: usize, mistakes: &mut Mistakes<'_>) {
    if let Some(span) = first_too_many {
        mistakes.add(span.clone(), format!("there are more than {most} {what}"), "divide the work among several runs");
    }
}
