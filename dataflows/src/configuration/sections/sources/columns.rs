//! How the rows of a file become records: `[sources.columns]` and what belongs to it.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::DeValue;

use super::{Format, WrittenSource};
use crate::configuration::mistake::{Mistakes, nearest_or_all};
use crate::configuration::table::{Table, table_of};
use crate::kind::KindId;
use operators::csv::{Column, CsvSettings, TimeFormat};
use operators::document::Shape;

use times::PatternFault;

mod times;

/// `[sources.columns]`: which column each field is.
#[derive(Debug)]
pub(super) struct ColumnsTable {
    span: Range<usize>,
    /// The field, where its column stands, and which that is.
    entries: Vec<(Spanned<String>, Range<usize>, Column)>,
    /// Whether something of it could not be used, so that a field which is not there may not be missing.
    is_faulty: bool,
}

/// Reads which column each field is. A field within another may be written in a table of its own.
pub(super) fn read(value: Spanned<DeValue<'_>>, mistakes: &mut Mistakes<'_>) -> ColumnsTable {
    let mut columns = ColumnsTable { span: value.span(), entries: Vec::new(), is_faulty: true };
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

/// The mapping of a source whose format is CSV; a mistake where another one has any of it.
pub(super) fn settle(
    table: &Table<WrittenSource>,
    columns: Option<&ColumnsTable>,
    kind: Option<KindId>,
    format: Format,
    mistakes: &mut Mistakes<'_>,
) -> Option<CsvSettings> {
    let WrittenSource { format: given, delimiter, time_format, topic, .. } = &table.written;
    if format != Format::Csv {
        let others = [
            ("columns", columns.map(|columns| columns.span.clone())),
            ("delimiter", delimiter.as_ref().map(|given| given.span())),
            ("time_format", time_format.as_ref().map(|given| given.span())),
        ];
        for (key, span) in others {
            if let Some(span) = span {
                let hint = "leave it out, or write `format = \"csv\"`";
                mistakes.add(span, format!("only a source of CSV has `{key}`"), hint);
            }
        }
        return None;
    }
    if let (Some(given), Some(_)) = (given, topic) {
        mistakes.add(given.span(), "only files are CSV", "write `files = …`, or another format");
    }
    let Some(columns) = columns else {
        if !table.is_faulty("columns") {
            let hint = "add a section `[sources.columns]` behind it, with lines such as `id = \"order_id\"`";
            mistakes.add(table.span.clone(), "nothing says which columns the fields are", hint);
        }
        return None;
    };
    let mut known = BTreeMap::new();
    for (field, given, column) in &columns.entries {
        let name = field.get_ref();
        if let Some(kind) = kind
            && !is_field(kind, name)
        {
            let names: Vec<&str> = kind.entry().fields().iter().map(|(name, _)| *name).collect();
            mistakes.add(field.span(), format!("there is no field `{name}`"), nearest_or_all(name, &names));
        }
        let (Column::Named(text) | Column::Constant(text)) = column;
        if text.is_empty() {
            mistakes.add(given.clone(), format!("`{name}` is empty"), "name a column, or leave the field out");
        }
        known.insert(name.clone(), column.clone());
    }
    let required = kind.map_or(&[][..], |kind| kind.entry().required());
    for field in required.iter().filter(|field| !known.contains_key(**field) && !columns.is_faulty) {
        let hint = format!("add `{field} = …`, the name of a column, or `{field} = {{ value = … }}`");
        mistakes.add(columns.span.clone(), format!("no column is `{field}`, which every record has"), hint);
    }
    let delimiter = delimiter.as_ref().map_or(b',', |given| match given.get_ref().as_bytes() {
        [delimiter] if delimiter.is_ascii() && !matches!(delimiter, b'"' | b'\r' | b'\n') => *delimiter,
        _ => {
            let hint = "write one ASCII character, such as \";\" or \"\\t\"";
            mistakes.add(given.span(), "`delimiter` is none", hint);
            b','
        }
    });
    let time = time_format.as_ref().map_or(TimeFormat::Milliseconds, |given| match given.get_ref().as_str() {
        "ms" => TimeFormat::Milliseconds,
        "s" => TimeFormat::Seconds,
        "rfc3339" => TimeFormat::Rfc3339,
        pattern => times::of_pattern(pattern).unwrap_or_else(|fault| {
            let what = match fault {
                PatternFault::NoPattern => "which is none of its values".to_owned(),
                PatternFault::Lacks(what) => format!("by which no time can be read: it lacks {}", what.join(", ")),
            };
            let hint = "write `ms`, `s`, `rfc3339` or a pattern in UTC such as \"%Y-%m-%d %H:%M:%S\" or \"%Y-%m-%d\"";
            mistakes.add(given.span(), format!("`time_format` is \"{pattern}\", {what}"), hint);
            TimeFormat::Milliseconds
        }),
    });
    Some(CsvSettings { columns: known, delimiter, time })
}

fn is_field(kind: KindId, name: &str) -> bool {
    let (outer, inner) = name.split_once('.').map_or((name, None), |(outer, inner)| (outer, Some(inner)));
    let shape = kind.entry().fields().iter().find(|(known, _)| *known == outer).map(|(_, shape)| *shape);
    match (shape, inner) {
        (Some(Shape::Text | Shape::Integer | Shape::Flag), None) => true,
        (Some(Shape::Object), Some(inner)) => kind.entry().inner_fields().iter().any(|(known, _)| *known == inner),
        (Some(Shape::Entries), Some(inner)) => !inner.is_empty(),
        _ => false,
    }
}
