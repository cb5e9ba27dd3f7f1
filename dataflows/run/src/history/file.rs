//! The bytes of a file: one row for each variant and minute. `docs/history.md` is the schema for its readers.

use std::collections::BTreeMap;

use connectors::parquet_table::{Kind, Schema, Table, TableError, Values, encode};
use operators::time::{PLUS_INFINITY, TimeMs};
use serde_json::{Map, Value};

use super::FileCodec;
use dataflows::answer::Failure;
use dataflows::answer::history::{Found, Question};
use dataflows::experiment::variant_minutes::{VariantMinute, VariantMinutes};
use dataflows::history::{Closed, Written};
use dataflows::names::Name;
use dataflows::view::{Cell, CellType, Column, Columns, View};

/// These files.
pub(super) const PARQUET: FileCodec = FileCodec {
    bytes,
    written: |file| written(file).map_err(|error| error.to_string()),
    find: |file, question, found| find(file, question, found).map_err(|error| error.to_string()),
};

/// The version of the schema, which rises with every change that a reader may notice.
const FORMAT: &str = "1";

/// Who writes; no version of the build, or the next one would write the same rows as other bytes.
const WRITTEN_BY: &str = "aisle history";

/// The name of a column in files: a time has a type there, and no unit in its name.
fn name_of(column: &Column<VariantMinute>) -> &str {
    column.name.strip_suffix("_ms").filter(|_| column.holds == CellType::Time).unwrap_or(&column.name)
}

fn kind_of(column: &Column<VariantMinute>) -> Kind {
    match column.holds {
        CellType::Text => Kind::Text,
        CellType::Time => Kind::Instant,
        CellType::Integer => Kind::Integer,
        other => unreachable!("minutes have no columns of {}", other.name()),
    }
}

fn values_of<'a>(column: &Column<VariantMinute>, rows: &'a [VariantMinute]) -> Values<'a> {
    let text = |row: &'a VariantMinute| match column.cell(row) {
        Cell::Text(text) => text,
        other => unreachable!("a column of texts has {other:?}"),
    };
    let integer = |row: &'a VariantMinute| match column.cell(row) {
        Cell::Integer(value) | Cell::Time(value) => value,
        other => unreachable!("a column of integers has {other:?}"),
    };
    match kind_of(column) {
        Kind::Text => Values::Texts(rows.iter().map(text).collect()),
        Kind::Integer | Kind::Instant => Values::Integers(rows.iter().map(integer).collect()),
    }
}

/// The file.
fn bytes(columns: &Columns<VariantMinute>, closed: &Closed) -> Vec<u8> {
    let schema = Schema {
        name: VariantMinutes::NAME,
        columns: columns.all().iter().map(|column| (name_of(column), kind_of(column))).collect(),
    };
    let columns: Vec<Values<'_>> = columns.all().iter().map(|column| values_of(column, &closed.rows)).collect();
    let sealed_through = closed.written.sealed_through.iter();
    let sealed_through: Map<String, Value> =
        sealed_through.map(|(tenant, time_ms)| (tenant.to_string(), time_as_value(*time_ms))).collect();
    let facts = [
        ("aisle.format", FORMAT.to_owned()),
        ("aisle.lower", closed.lower.to_string()),
        ("aisle.upper", closed.written.upper.to_string()),
        ("aisle.sealed_through", Value::Object(sealed_through).to_string()),
    ];
    encode(&schema, &columns, &facts, WRITTEN_BY)
}

fn time_as_value(time_ms: TimeMs) -> Value {
    if time_ms == PLUS_INFINITY { Value::from("end") } else { Value::from(time_ms) }
}

/// Why a file can't be used.
#[derive(Debug, thiserror::Error)]
enum FileError {
    #[error(transparent)]
    Table(#[from] TableError),
    #[error("its format is version {0}, this build reads {FORMAT}")]
    Format(String),
    #[error("its metadata {0:?} can't be understood")]
    Fact(&'static str),
}

fn open(bytes: Vec<u8>) -> Result<Table, FileError> {
    let table = Table::open(bytes)?;
    match table.fact("aisle.format")? {
        FORMAT => Ok(table),
        other => Err(FileError::Format(other.to_owned())),
    }
}

/// What is in files once this one is.
fn written(bytes: Vec<u8>) -> Result<Written, FileError> {
    let table = open(bytes)?;
    let upper = table.fact("aisle.upper")?.parse().map_err(|_| FileError::Fact("aisle.upper"))?;
    let not_understood = || FileError::Fact("aisle.sealed_through");
    let sealed: BTreeMap<String, Value> =
        serde_json::from_str(table.fact("aisle.sealed_through")?).map_err(|_| not_understood())?;
    let sealed = sealed.into_iter().map(|(tenant, time_ms)| {
        let time_ms = if time_ms == "end" { Some(PLUS_INFINITY) } else { time_ms.as_i64() };
        time_ms.map(|time_ms| (Name::from(tenant), time_ms)).ok_or_else(not_understood)
    });
    Ok(Written { upper, sealed_through: sealed.collect::<Result<_, FileError>>()? })
}

/// Adds what is asked for; the inner error is the question's.
fn find(bytes: Vec<u8>, question: &Question, found: &mut Found<'_>) -> Result<Result<(), Failure>, FileError> {
    let table = open(bytes)?;
    let (tenants, experiments, variants) =
        (table.texts("tenant")?, table.texts("experiment")?, table.texts("variant")?);
    let (minutes, values) = (table.integers("minute")?, table.integers(&question.metric.name)?);
    let names = tenants.iter().zip(experiments.iter()).zip(variants.iter());
    for (((tenant, experiment), variant), (minute_ms, value)) in names.zip(minutes.into_iter().zip(values)) {
        if question.asks_for(tenant, experiment, variant, minute_ms)
            && let Err(failure) = found.add(variant, minute_ms, value)
        {
            return Ok(Err(failure));
        }
    }
    Ok(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataflows::answer::history::{AsOf, metrics};
    use dataflows::configuration::Recorded;
    use dataflows::experiment::measures::Measures;

    #[test]
    fn a_file_says_what_is_written_and_has_every_metric() {
        let (columns, mut row) = (VariantMinutes::columns(&Recorded::default()), VariantMinutes::example());
        row.minute_ms = 120_000;
        (row.sessions_active, row.sessions_started) = (1, 2);
        row.measures =
            Measures { views: 3, clicks: 4, add_to_carts: 5, purchases: 6, returns: 7, quantity: 8, value: -9 };
        let sealed_through = [(Name::new("north"), 180_000), (Name::new("sÿd"), PLUS_INFINITY)].into_iter().collect();
        let closed = Closed { lower: 3, rows: vec![row.clone()], written: Written { upper: 9, sealed_through } };
        let file = bytes(&columns, &closed);
        assert_eq!(file, bytes(&columns, &closed));
        assert_eq!(written(file.clone()).unwrap(), closed.written);
        for metric in metrics(&columns) {
            let query = [
                ("tenant", "north"),
                ("experiment", "checkout"),
                ("metric", metric.name.as_str()),
                ("from", "0"),
                ("to", "180000"),
            ];
            let query = query.map(|(name, value)| (name.to_owned(), value.to_owned()));
            let question = Question::parse(&query, &columns).unwrap();
            let mut found = Found::new(&question);
            find(file.clone(), &question, &mut found).unwrap().unwrap();
            let as_of = AsOf { tick: 0, time_ms: 0, sealed_through_ms: 0, kept_from_ms: None };
            let body: Value = serde_json::from_str(&found.into_response(&as_of).body).unwrap();
            let expected = serde_json::json!([{"variant": "blue", "minute_ms": 120_000, "value": metric.of(&row)}]);
            assert_eq!(body["rows"], expected, "{}", metric.name);
        }
        assert_eq!(written(bytes(&columns, &Closed::beginning())).unwrap(), Written::default());
        assert!(written(b"PAR1".to_vec()).is_err());
    }
}
