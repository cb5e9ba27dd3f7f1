//! Reads TOML section by section and value by value, so that one mistake doesn't hide another.

use std::ops::Range;

use serde::de::value::Error as NamesError;
use serde::de::{DeserializeOwned, Deserializer, Error as _, Visitor};
use serde::forward_to_deserialize_any;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::mistake::{Mistakes, nearest_or_all};
use super::written::{
    Given, WrittenCheckpoints, WrittenExperiment, WrittenFactSource, WrittenFile, WrittenHistory, WrittenInventory,
    WrittenKafka, WrittenKafkaSasl, WrittenKafkaTls, WrittenLogs, WrittenRegistry, WrittenSessions, WrittenSink,
    WrittenSource, WrittenTenant, WrittenTime, WrittenUnitOverlap, WrittenVariant, WrittenView,
};
use operators::csv::Column;

/// A section as it is written, without what was wrong with it.
#[derive(Debug, Default)]
pub(super) struct Section<T> {
    /// What is written.
    pub(super) written: T,
    /// Where; empty at the start of the text for a section that is not there.
    pub(super) span: Range<usize>,
    /// The keys whose values could not be used, and which are therefore not missing.
    faulty: Vec<String>,
}

impl<T> Section<T> {
    /// The value of a key that has to be there; a mistake where it is not.
    pub(super) fn required<'a, V>(
        &self,
        name: &str,
        given: &'a Given<V>,
        mistakes: &mut Mistakes<'_>,
    ) -> Option<&'a V> {
        if given.is_none() && !self.is_faulty(name) {
            self.add_missing(name, mistakes);
        }
        given.as_ref().map(Spanned::get_ref)
    }

    pub(super) fn add_missing(&self, name: &str, mistakes: &mut Mistakes<'_>) {
        mistakes.add(self.span.clone(), format!("`{name}` is missing"), format!("add `{name} = …` here"));
    }

    pub(super) fn is_faulty(&self, name: &str) -> bool {
        self.faulty.iter().any(|faulty| faulty == name)
    }
}

/// The file, section by section.
#[derive(Debug, Default)]
pub(super) struct WrittenSections {
    pub(super) file: Section<WrittenFile>,
    pub(super) time: Section<WrittenTime>,
    pub(super) kafka: Option<WrittenKafkaSections>,
    pub(super) logs: Option<Section<WrittenLogs>>,
    pub(super) registry: Option<Section<WrittenRegistry>>,
    /// Whether there is anything under that name, be it wrong.
    pub(super) sources_given: bool,
    pub(super) sources: Vec<Section<WrittenSource>>,
    /// By source: `[sources.columns]`, if there is any.
    pub(super) source_columns: Vec<Option<WrittenColumns>>,
    pub(super) tenants: Vec<Section<WrittenTenant>>,
    pub(super) experiments: Vec<(Section<WrittenExperiment>, Vec<Section<WrittenVariant>>)>,
    pub(super) fact_sources: Vec<(Spanned<String>, Section<WrittenFactSource>)>,
    pub(super) sessions: Section<WrittenSessions>,
    pub(super) inventory: Section<WrittenInventory>,
    pub(super) checkpoints: Section<WrittenCheckpoints>,
    pub(super) history: Section<WrittenHistory>,
    pub(super) views: Vec<(Spanned<String>, Section<WrittenView>)>,
    pub(super) unit_overlap: Section<WrittenUnitOverlap>,
    pub(super) sinks: Vec<Section<WrittenSink>>,
}

/// `[kafka]` and the sections within it.
#[derive(Debug)]
pub(super) struct WrittenKafkaSections {
    pub(super) kafka: Section<WrittenKafka>,
    pub(super) tls: Option<Section<WrittenKafkaTls>>,
    pub(super) sasl: Option<Section<WrittenKafkaSasl>>,
}

/// `[sources.columns]`: which column each field is.
#[derive(Debug)]
pub(super) struct WrittenColumns {
    pub(super) span: Range<usize>,
    /// The field, where its column stands, and which that is.
    pub(super) entries: Vec<(Spanned<String>, Range<usize>, Column)>,
    /// Whether something of it could not be used, so that a field which is not there may not be missing.
    pub(super) is_faulty: bool,
}

/// Reads the text. None where it is no TOML: what the parser makes of the rest then would only mislead.
pub(super) fn read(text: &str, mistakes: &mut Mistakes<'_>) -> Option<WrittenSections> {
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let hint = "correct the TOML: each line is a [section], a `key = value` or a # comment";
        mistakes.add(error.span().unwrap_or(0..0), error.message().replace('\n', " "), hint);
    }
    if !errors.is_empty() {
        return None;
    }
    let mut root = document.into_inner();
    let sources_given = root.contains_key("sources");
    let time = one(&mut root, "time", mistakes);
    let kafka = kafka(&mut root, mistakes);
    let logs = optional(&mut root, "logs", mistakes);
    let registry = optional(&mut root, "registry", mistakes);
    let sources = several(&mut root, "sources", mistakes).into_iter().map(|(span, mut table)| {
        let columns = table.remove("columns").map(|value| columns(value, mistakes));
        (section(table, span, mistakes), columns)
    });
    let (sources, source_columns) = sources.unzip();
    let tenants =
        several(&mut root, "tenants", mistakes).into_iter().map(|(span, table)| section(table, span, mistakes));
    let tenants = tenants.collect();
    let experiments = several(&mut root, "experiments", mistakes);
    let experiments = experiments.into_iter().map(|(span, table)| experiment(table, span, mistakes)).collect();
    let fact_sources = named(&mut root, "fact_sources", mistakes);
    let sessions = one(&mut root, "sessions", mistakes);
    let inventory = one(&mut root, "inventory", mistakes);
    let checkpoints = one(&mut root, "checkpoints", mistakes);
    let history = one(&mut root, "history", mistakes);
    let views = named(&mut root, "views", mistakes);
    let unit_overlap = one(&mut root, "unit_overlap", mistakes);
    let sinks = several(&mut root, "sinks", mistakes).into_iter().map(|(span, table)| section(table, span, mistakes));
    let sinks = sinks.collect();
    let file = section(root, 0..0, mistakes);
    Some(WrittenSections {
        file,
        time,
        kafka,
        logs,
        registry,
        sources_given,
        sources,
        source_columns,
        tenants,
        experiments,
        fact_sources,
        sessions,
        inventory,
        checkpoints,
        history,
        views,
        unit_overlap,
        sinks,
    })
}

fn kafka(root: &mut DeTable<'_>, mistakes: &mut Mistakes<'_>) -> Option<WrittenKafkaSections> {
    let (span, mut table) = table_of(root.remove("kafka")?, "kafka", mistakes)?;
    let mut within = |name: &str| table_of(table.remove(name)?, &format!("kafka.{name}"), mistakes);
    let (tls, sasl) = (within("tls"), within("sasl"));
    let tls = tls.map(|(span, table)| section(table, span, mistakes));
    let sasl = sasl.map(|(span, table)| section(table, span, mistakes));
    Some(WrittenKafkaSections { kafka: section(table, span, mistakes), tls, sasl })
}

/// Reads which column each field is. A field within another may be written in a table of its own.
fn columns(value: Spanned<DeValue<'_>>, mistakes: &mut Mistakes<'_>) -> WrittenColumns {
    let mut columns = WrittenColumns { span: value.span(), entries: Vec::new(), is_faulty: true };
    let Some((_, table)) = table_of(value, "columns", mistakes) else { return columns };
    columns.is_faulty = false;
    let mut waiting: Vec<_> = table.into_iter().map(|(key, value)| (None, key, value)).collect();
    while let Some((outer, key, value)) = waiting.pop() {
        let span = value.span();
        let name =
            outer.map_or_else(|| key.get_ref().to_string(), |outer: String| format!("{outer}.{}", key.get_ref()));
        let column = match value.into_inner() {
            DeValue::String(column) => Some(Column::Named(column.into_owned())),
            DeValue::Table(mut table) if table.len() == 1 && table.contains_key("value") => {
                table.remove("value").and_then(|value| constant(value.into_inner())).map(Column::Constant)
            }
            DeValue::Table(table) if !name.contains('.') && !table.is_empty() => {
                waiting.extend(table.into_iter().map(|(key, value)| (Some(name.clone()), key, value)));
                continue;
            }
            _ => None,
        };
        match column {
            Some(column) => columns.entries.push((Spanned::new(key.span(), name), span, column)),
            None => {
                let hint = format!("write `{name} = \"…\"`, the name of a column, or `{name} = {{ value = … }}`");
                mistakes.add(span, format!("`{name}` is neither a column nor a value"), hint);
                columns.is_faulty = true;
            }
        }
    }
    columns.entries.sort_by_key(|(key, _, _)| key.span().start);
    columns
}

/// A constant as it would stand in a cell.
fn constant(value: DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.into_owned()),
        DeValue::Integer(integer) => {
            i64::from_str_radix(integer.as_str(), integer.radix()).ok().map(|integer| integer.to_string())
        }
        DeValue::Boolean(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// A section whose absence means something.
fn optional<T: DeserializeOwned + Default>(
    root: &mut DeTable<'_>,
    name: &str,
    mistakes: &mut Mistakes<'_>,
) -> Option<Section<T>> {
    let (span, table) = table_of(root.remove(name)?, name, mistakes)?;
    Some(section(table, span, mistakes))
}

fn experiment(
    mut table: DeTable<'_>,
    span: Range<usize>,
    mistakes: &mut Mistakes<'_>,
) -> (Section<WrittenExperiment>, Vec<Section<WrittenVariant>>) {
    let given = table.contains_key("variants");
    let variants = several(&mut table, "variants", mistakes);
    let variants: Vec<_> = variants.into_iter().map(|(span, table)| section(table, span, mistakes)).collect();
    let mut experiment: Section<WrittenExperiment> = section(table, span, mistakes);
    if given && variants.is_empty() {
        // Either it was no list, which is told already, or an empty one, which is told by its number.
        experiment.faulty.push("variants".to_owned());
    }
    (experiment, variants)
}

/// A section that may occur once.
fn one<T: DeserializeOwned + Default>(root: &mut DeTable<'_>, name: &str, mistakes: &mut Mistakes<'_>) -> Section<T> {
    match root.remove(name) {
        Some(value) => match table_of(value, name, mistakes) {
            Some((span, table)) => section(table, span, mistakes),
            None => Section::default(),
        },
        None => Section::default(),
    }
}

/// The tables of a list.
fn several<'i>(root: &mut DeTable<'i>, name: &str, mistakes: &mut Mistakes<'_>) -> Vec<(Range<usize>, DeTable<'i>)> {
    let Some(value) = root.remove(name) else { return Vec::new() };
    let span = value.span();
    match value.into_inner() {
        DeValue::Array(elements) => {
            elements.into_iter().filter_map(|element| table_of(element, name, mistakes)).collect()
        }
        other => {
            let hint = match name {
                "variants" => "write `variants = [{ name = \"control\" }, { name = \"treatment\" }]`".to_owned(),
                _ => format!("begin each with a line `[[{name}]]`, in two brackets"),
            };
            mistakes.add(span, format!("`{name}` is {}, not a list of sections", kind_of(&other)), hint);
            Vec::new()
        }
    }
}

/// Sections whose names the configuration chooses, in the order of the text.
fn named<T: DeserializeOwned + Default>(
    root: &mut DeTable<'_>,
    name: &str,
    mistakes: &mut Mistakes<'_>,
) -> Vec<(Spanned<String>, Section<T>)> {
    let Some((_, table)) = root.remove(name).and_then(|value| table_of(value, name, mistakes)) else {
        return Vec::new();
    };
    let mut sections = Vec::new();
    for (key, value) in table {
        let key = Spanned::new(key.span(), key.get_ref().to_string());
        if let Some((_, table)) = table_of(value, &format!("{name}.{}", key.get_ref()), mistakes) {
            sections.push((key.clone(), section(table, key.span(), mistakes)));
        }
    }
    sections.sort_by_key(|(key, _)| key.span().start);
    sections
}

fn table_of<'i>(
    value: Spanned<DeValue<'i>>,
    name: &str,
    mistakes: &mut Mistakes<'_>,
) -> Option<(Range<usize>, DeTable<'i>)> {
    let span = value.span();
    match value.into_inner() {
        DeValue::Table(table) => Some((span, table)),
        other => {
            let message = format!("`{name}` is {}, not a section of keys and values", kind_of(&other));
            mistakes.add(
                span,
                message,
                format!("write it as a section, see docs/configuration.md for the keys of `{name}`"),
            );
            None
        }
    }
}

/// Reads one section. Whatever is wrong is reported and left out, and the rest is read again, until nothing is wrong.
fn section<T: DeserializeOwned + Default>(
    mut table: DeTable<'_>,
    span: Range<usize>,
    mistakes: &mut Mistakes<'_>,
) -> Section<T> {
    let known = fields_of::<T>();
    let unknown: Vec<_> = table.keys().filter(|key| !known.contains(&key.get_ref().as_ref())).cloned().collect();
    for key in unknown {
        let name = key.get_ref();
        mistakes.add(key.span(), format!("there is no key `{name}` here"), nearest_or_all(name, known));
        table.remove(name.as_ref());
    }
    let mut faulty = Vec::new();
    loop {
        let value = Spanned::new(span.clone(), DeValue::Table(table.clone()));
        let error = match T::deserialize(ValueDeserializer::from(value)) {
            Ok(written) => return Section { written, span, faulty },
            Err(error) => error,
        };
        let at = error.span().unwrap_or_else(|| span.clone());
        let name = table.iter().find(|(_, value)| value.span().start <= at.start && at.end <= value.span().end);
        let Some(name) = name.map(|(key, _)| key.get_ref().to_string()) else {
            mistakes.add(at, error.message(), "see docs/configuration.md");
            return Section { written: T::default(), span, faulty };
        };
        let (problem, hint) = told(error.message());
        mistakes.add(at, format!("`{name}`: {problem}"), hint);
        table.remove(name.as_str());
        faulty.push(name);
    }
}

/// The parser's words for a wrong type in ours.
fn told(message: &str) -> (String, String) {
    let Some((problem, expected)) = message.rsplit_once(", expected ") else {
        return (message.replace('\n', " "), "see docs/configuration.md".to_owned());
    };
    let expected = match expected {
        "i64" => "a whole number, without quotes",
        "a string" => "a text in double quotes",
        "a boolean" => "`true` or `false`, without quotes",
        "a sequence" => "a list in square brackets",
        other => other,
    };
    (problem.to_owned(), format!("write {expected}"))
}

fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "a flag",
        DeValue::Datetime(_) => "a time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}

/// The keys that a section may have: what its derived `Deserialize` asks for.
pub(super) fn fields_of<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut fields: &'static [&'static str] = &[];
    // It always fails: the question is the answer.
    let _ = T::deserialize(Names(&mut fields));
    fields
}

struct Names<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Names<'_> {
    type Error = NamesError;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, NamesError> {
        *self.0 = fields;
        Err(NamesError::custom("only the names were wanted"))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, NamesError> {
        Err(NamesError::custom("a section is a struct"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
