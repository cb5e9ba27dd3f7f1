//! Reads TOML table by table and value by value, so that one mistake doesn't hide another.

use std::ops::Range;

use serde::de::value::Error as NamesError;
use serde::de::{DeserializeOwned, Deserializer, Error as _, Visitor};
use serde::forward_to_deserialize_any;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::mistake::{Mistakes, nearest_or_all};

/// A value, if one is given, and where.
pub(super) type Given<T> = Option<Spanned<T>>;

/// A table of the text as it is written, without what was wrong with it.
#[derive(Debug, Default)]
pub(super) struct Table<T> {
    /// What is written.
    pub(super) written: T,
    /// Where; empty at the start of the text for one that is not there.
    pub(super) span: Range<usize>,
    /// The keys whose values could not be used, and which are therefore not missing.
    faulty: Vec<String>,
}

impl<T> Table<T> {
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

    /// Notes that a key has a value which could not be used.
    pub(super) fn add_faulty(&mut self, name: &str) {
        self.faulty.push(name.to_owned());
    }

    pub(super) fn is_faulty(&self, name: &str) -> bool {
        self.faulty.iter().any(|faulty| faulty == name)
    }
}

/// What is read of one table: a [`Table`], or a struct of one and those within it.
pub(super) trait FromTable {
    /// Reads it, whatever is wrong with it.
    fn from_table(table: DeTable<'_>, span: Range<usize>, mistakes: &mut Mistakes<'_>) -> Self;
}

impl<T: DeserializeOwned + Default> FromTable for Table<T> {
    fn from_table(table: DeTable<'_>, span: Range<usize>, mistakes: &mut Mistakes<'_>) -> Self {
        read_table(table, span, fields_of::<T>(), mistakes)
    }
}

/// How a section stands in the file: once, so that its absence is an empty [`Table`]; once, as an `Option`, where its
/// absence means something; as a list; or by names that the configuration chooses.
pub(super) trait Standing {
    /// Takes it out of the table that holds it, and reads it.
    fn read(outer: &mut DeTable<'_>, name: &str, mistakes: &mut Mistakes<'_>) -> Self;

    /// The line that begins it in the file.
    fn heading(name: &str) -> String {
        format!("[{name}]")
    }
}

impl<T: DeserializeOwned + Default> Standing for Table<T> {
    fn read(outer: &mut DeTable<'_>, name: &str, mistakes: &mut Mistakes<'_>) -> Self {
        Option::<Table<T>>::read(outer, name, mistakes).unwrap_or_default()
    }
}

impl<F: FromTable> Standing for Option<F> {
    fn read(outer: &mut DeTable<'_>, name: &str, mistakes: &mut Mistakes<'_>) -> Self {
        let (span, table) = table_of(outer.remove(name)?, name, mistakes)?;
        Some(F::from_table(table, span, mistakes))
    }
}

impl<F: FromTable> Standing for Vec<F> {
    fn read(outer: &mut DeTable<'_>, name: &str, mistakes: &mut Mistakes<'_>) -> Self {
        let Some(value) = outer.remove(name) else { return Vec::new() };
        let span = value.span();
        let elements = match value.into_inner() {
            DeValue::Array(elements) => elements,
            other => {
                let hint = match name {
                    "variants" => "write `variants = [{ name = \"control\" }, { name = \"treatment\" }]`".to_owned(),
                    _ => format!("begin each with a line `{}`, in two brackets", Self::heading(name)),
                };
                mistakes.add(span, format!("`{name}` is {}, not a list of sections", kind_of(&other)), hint);
                return Vec::new();
            }
        };
        let mut sections = Vec::new();
        for element in elements {
            if let Some((span, table)) = table_of(element, name, mistakes) {
                sections.push(F::from_table(table, span, mistakes));
            }
        }
        sections
    }

    fn heading(name: &str) -> String {
        format!("[[{name}]]")
    }
}

impl<F: FromTable> Standing for Vec<(Spanned<String>, F)> {
    /// In the order of the text.
    fn read(outer: &mut DeTable<'_>, name: &str, mistakes: &mut Mistakes<'_>) -> Self {
        let Some((_, table)) = outer.remove(name).and_then(|value| table_of(value, name, mistakes)) else {
            return Vec::new();
        };
        let mut sections = Vec::new();
        for (key, value) in table {
            let key = Spanned::new(key.span(), key.get_ref().to_string());
            if let Some((_, table)) = table_of(value, &format!("{name}.{}", key.get_ref()), mistakes) {
                let section = F::from_table(table, key.span(), mistakes);
                sections.push((key, section));
            }
        }
        sections.sort_by_key(|(key, _)| key.span().start);
        sections
    }

    fn heading(name: &str) -> String {
        format!("[{name}.…]")
    }
}

/// The table that a value is, and where it stands; a mistake where it is none.
pub(super) fn table_of<'i>(
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

/// Reads a table with these keys. Whatever is wrong is reported and left out, and the rest is read again, until nothing is wrong.
pub(super) fn read_table<T: DeserializeOwned + Default>(
    mut table: DeTable<'_>,
    span: Range<usize>,
    known: &[&str],
    mistakes: &mut Mistakes<'_>,
) -> Table<T> {
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
            Ok(written) => return Table { written, span, faulty },
            Err(error) => error,
        };
        let at = error.span().unwrap_or_else(|| span.clone());
        let name = table.iter().find(|(_, value)| value.span().start <= at.start && at.end <= value.span().end);
        let Some(name) = name.map(|(key, _)| key.get_ref().to_string()) else {
            mistakes.add(at, error.message(), "see docs/configuration.md");
            return Table { written: T::default(), span, faulty };
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
