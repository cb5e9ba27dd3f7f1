//! What reading needs to know of each view's rows: their text fields, about how large they are, what they are for.

use serde::Serialize;
use serde_json::Value;

use crate::names::Name;
use crate::views::{Row, View};

/// What the view is for, in a sentence.
pub(crate) fn description(view: View) -> &'static str {
    match view {
        View::SessionMinutes => "each session's minutes, with what happened in them",
        View::VariantMinutes => {
            "minute rollups of each experiment's variants over sessions: time series, not inference"
        }
        View::VariantTotals => "exact sums and sums of squares over the units of each experiment's variants",
        View::LateEvents => "experiment events that came behind their lane, set aside",
        View::DeadLetters => "records that could not be taken, with the reason and their bytes",
        View::SourceHealth => "what was read from each partition, and what became of it",
        View::Stock => "the ledger of each SKU at each node, with bounds",
        View::Availability => "whether a SKU can be promised at a node, why not, and through when that holds",
    }
}

/// The fields that a listing can be filtered by.
pub(crate) fn text_fields(view: View) -> &'static [&'static str] {
    match view {
        View::SessionMinutes => &["tenant", "session", "unit"],
        View::VariantMinutes | View::VariantTotals => &["tenant", "experiment", "variant"],
        View::LateEvents => &["partition", "tenant", "id", "session", "unit", "kind", "item"],
        View::DeadLetters => &["partition", "file", "code"],
        View::SourceHealth => &["partition", "status"],
        View::Stock => &["tenant", "sku", "node", "state"],
        View::Availability => &["tenant", "sku", "node", "reason"],
    }
}

/// Whether the row's text field equals `wanted`; a field it does not have equals nothing.
pub(crate) fn field_equals(row: &Row, field: &str, wanted: &str) -> bool {
    let name: &Name = match (row, field) {
        (Row::SessionMinute(row), "tenant") => &row.tenant,
        (Row::SessionMinute(row), "session") => &row.session,
        (Row::SessionMinute(row), "unit") => &row.unit,
        (Row::VariantMinute(row), "tenant") => &row.tenant,
        (Row::VariantMinute(row), "experiment") => &row.experiment,
        (Row::VariantMinute(row), "variant") => &row.variant,
        (Row::VariantTotal(row), "tenant") => &row.tenant,
        (Row::VariantTotal(row), "experiment") => &row.experiment,
        (Row::VariantTotal(row), "variant") => &row.variant,
        (Row::LateEvent(row), "partition") => &row.partition,
        (Row::LateEvent(row), "tenant") => &row.tenant,
        (Row::LateEvent(row), "id") => &row.id,
        (Row::LateEvent(row), "session") => &row.session,
        (Row::LateEvent(row), "unit") => &row.unit,
        (Row::LateEvent(row), "item") => &row.item,
        (Row::LateEvent(row), "kind") => return is_named(row.kind, wanted),
        (Row::DeadLetter(row), "partition") => &row.partition,
        (Row::DeadLetter(row), "file") => &row.file,
        (Row::DeadLetter(row), "code") => &row.code,
        (Row::SourceHealth(row), "partition") => &row.partition,
        (Row::SourceHealth(row), "status") => &row.status,
        (Row::Stock(row), "tenant") => &row.tenant,
        (Row::Stock(row), "sku") => &row.sku,
        (Row::Stock(row), "node") => &row.node,
        (Row::Stock(row), "state") => return is_named(row.state, wanted),
        (Row::Availability(row), "tenant") => &row.tenant,
        (Row::Availability(row), "sku") => &row.sku,
        (Row::Availability(row), "node") => &row.node,
        (Row::Availability(row), "reason") => return is_named(row.reason, wanted),
        _ => return false,
    };
    name == wanted
}

/// The name that a variant of a plain enum has in JSON.
pub fn name_of(variant: impl Serialize) -> String {
    match serde_json::to_value(variant) {
        Ok(Value::String(name)) => name,
        _ => String::new(),
    }
}

fn is_named(variant: impl Serialize, wanted: &str) -> bool {
    name_of(variant) == wanted
}

/// About how many bytes a row takes: itself, what is boxed, what is too long to lie in place, its place in a tree.
pub(crate) fn row_bytes(row: &Row) -> usize {
    let heap = match row {
        Row::SessionMinute(row) => heap_bytes(&[&row.tenant, &row.session, &row.unit]),
        Row::VariantMinute(row) => heap_bytes(&[&row.tenant, &row.experiment, &row.variant]),
        Row::VariantTotal(row) => size_of_val(&**row) + heap_bytes(&[&row.tenant, &row.experiment, &row.variant]),
        Row::LateEvent(row) => {
            let names = [&row.partition, &row.tenant, &row.id, &row.session, &row.unit, &row.item];
            size_of_val(&**row) + heap_bytes(&names)
        }
        Row::DeadLetter(row) => {
            let names = [&row.partition, &row.file, &row.code];
            size_of_val(&**row) + heap_bytes(&names) + row.detail.len() + row.raw.len()
        }
        Row::SourceHealth(row) => size_of_val(&**row) + heap_bytes(&[&row.partition, &row.status]),
        Row::Stock(row) => heap_bytes(&[&row.tenant, &row.sku, &row.node]),
        Row::Availability(row) => heap_bytes(&[&row.tenant, &row.sku, &row.node]),
    };
    size_of::<Row>() + heap
}

fn heap_bytes(names: &[&Name]) -> usize {
    names.iter().filter(|name| name.is_heap_allocated()).map(|name| name.capacity()).sum()
}

#[cfg(test)]
mod tests {
    use super::super::testing::one_row_of;
    use super::*;

    /// A field that JSON has as text but for which there is no filter would be refused although it is there.
    #[test]
    fn text_fields_are_those_of_the_rows() {
        for view in View::ALL {
            let row = one_row_of(view);
            let object: serde_json::Map<String, Value> = serde_json::from_str(&row.to_json()).unwrap();
            for (field, value) in &object {
                // Free text is not something that one looks up by equality.
                let is_listed = text_fields(view).contains(&field.as_str());
                assert_eq!(is_listed, value.is_string() && !["detail", "raw"].contains(&field.as_str()), "{field}");
                if let (true, Value::String(text)) = (is_listed, value) {
                    assert!(field_equals(&row, field, text) && !field_equals(&row, field, "other"), "{field}");
                }
            }
        }
    }

    #[test]
    fn long_names_and_texts_count() {
        let short = row_bytes(&one_row_of(View::DeadLetters));
        let Row::DeadLetter(mut row) = one_row_of(View::DeadLetters) else { unreachable!("a dead letter") };
        row.raw = "x".repeat(1_000);
        row.file = Name::new("y".repeat(100));
        assert!(row_bytes(&Row::DeadLetter(row)) >= short + 1_000);
    }
}
