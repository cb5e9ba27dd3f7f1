//! How the rows of a file become records: `[sources.columns]` and what belongs to it.

use std::collections::BTreeMap;

use chrono::format::{Fixed, Item, StrftimeItems};

use super::super::mistake::{Mistakes, nearest_or_all};
use super::super::section::{Section, WrittenColumns};
use super::super::settings::Format;
use super::super::written::WrittenSource;
use crate::kind::KindId;
use operators::csv::{Column, CsvSettings, TimeFormat};
use operators::document::Shape;

/// The mapping of a source whose format is CSV; a mistake where another one has any of it.
pub(super) fn settle(
    section: &Section<WrittenSource>,
    columns: Option<&WrittenColumns>,
    kind: Option<KindId>,
    format: Format,
    mistakes: &mut Mistakes<'_>,
) -> Option<CsvSettings> {
    let WrittenSource { format: given, delimiter, time_format, topic, .. } = &section.written;
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
        if !section.is_faulty("columns") {
            let hint = "add a section `[sources.columns]` behind it, with lines such as `id = \"order_id\"`";
            mistakes.add(section.span.clone(), "nothing says which columns the fields are", hint);
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
        pattern => {
            if !is_pattern(pattern) {
                let message = format!("`time_format` is \"{pattern}\", which is none of its values");
                let hint = "write `ms`, `s`, `rfc3339` or a pattern in UTC such as \"%Y-%m-%d %H:%M:%S\"";
                mistakes.add(given.span(), message, hint);
            }
            TimeFormat::Pattern(pattern.to_owned())
        }
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

/// Whether a text is a pattern of times in UTC: an offset in it would be read and not be heeded.
fn is_pattern(text: &str) -> bool {
    let is_of_zone = |item: &Item<'_>| match item {
        Item::Fixed(fixed) => !matches!(
            fixed,
            Fixed::ShortMonthName
                | Fixed::LongMonthName
                | Fixed::ShortWeekdayName
                | Fixed::LongWeekdayName
                | Fixed::LowerAmPm
                | Fixed::UpperAmPm
                | Fixed::Nanosecond
                | Fixed::Nanosecond3
                | Fixed::Nanosecond6
                | Fixed::Nanosecond9
                | Fixed::Internal(_)
        ),
        Item::Error => true,
        _ => false,
    };
    text.contains('%') && !StrftimeItems::new(text).any(|item| is_of_zone(&item))
}
