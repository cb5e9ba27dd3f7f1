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

/// Whether rows of the file have a column: one that was added is left out of a file of rows that came before it.
fn is_there(column: &Column<VariantMinute>, rows: &[VariantMinute]) -> bool {
    !column.is_added || rows.iter().any(|row| column.cell(row) != Cell::Omitted)
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
    if column.is_added || rows.iter().any(|row| column.cell(row) == Cell::Absent) {
        let known = |row: &'a VariantMinute| match column.cell(row) {
            Cell::Integer(value) | Cell::Time(value) => Some(value),
            _ => None,
        };
        return Values::Known(rows.iter().map(known).collect());
    }
    match kind_of(column) {
        Kind::Text => Values::Texts(rows.iter().map(text).collect()),
        Kind::Integer | Kind::Instant => Values::Integers(rows.iter().map(integer).collect()),
    }
}

/// The file.
fn bytes(columns: &Columns<VariantMinute>, closed: &Closed) -> Vec<u8> {
    let there = columns.all().iter().filter(|column| is_there(column, &closed.rows));
    let schema = Schema {
        name: VariantMinutes::NAME,
        columns: there.clone().map(|column| (name_of(column), kind_of(column))).collect(),
    };
    let values: Vec<Values<'_>> = there.map(|column| values_of(column, &closed.rows)).collect();
    let version = columns.version_at(closed.written.upper.saturating_sub(1));
    let sealed_through = closed.written.sealed_through.iter();
    let sealed_through: Map<String, Value> =
        sealed_through.map(|(tenant, time_ms)| (tenant.to_string(), time_as_value(*time_ms))).collect();
    let mut facts = vec![
        ("aisle.format", FORMAT.to_owned()),
        ("aisle.lower", closed.lower.to_string()),
        ("aisle.upper", closed.written.upper.to_string()),
        ("aisle.sealed_through", Value::Object(sealed_through).to_string()),
    ];
    // Files of the first version are written as they were before there was another.
    facts.extend((version > 1).then(|| ("aisle.columns", version.to_string())));
    encode(&schema, &values, &facts, WRITTEN_BY)
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
    let (minutes, values) = (table.integers("minute")?, values_in(&table, question)?);
    let names = tenants.iter().zip(experiments.iter()).zip(variants.iter());
    for (((tenant, experiment), variant), (minute_ms, value)) in names.zip(minutes.into_iter().zip(values)) {
        if question.asks_for(tenant, experiment, variant, minute_ms)
            && let Some(value) = value
            && let Err(failure) = found.add(variant, minute_ms, value)
        {
            return Ok(Err(failure));
        }
    }
    Ok(Ok(()))
}

/// What is asked for, of each row: nothing where the row came out before the column did.
fn values_in(table: &Table, question: &Question) -> Result<Vec<Option<i64>>, FileError> {
    match question.metric.is_optional() {
        true => Ok(table.known_integers(&question.metric.name)?),
        false => Ok(table.integers(&question.metric.name)?.into_iter().map(Some).collect()),
    }
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
            let expected =
                serde_json::json!([{"variant": "blue", "minute_ms": 120_000, "value": metric.of(&row).unwrap()}]);
            assert_eq!(body["rows"], expected, "{}", metric.name);
        }
        assert_eq!(written(bytes(&columns, &Closed::beginning())).unwrap(), Written::default());
        assert!(open(file).unwrap().fact("aisle.columns").is_err(), "the first version is not told");
        assert!(written(b"PAR1".to_vec()).is_err());
    }

    /// A column that came at tick 5: a file from before does not have it, and one in which some rows came out before it has
    /// no value for these.
    #[test]
    fn history_is_read_in_every_version_of_its_columns() {
        let mut all = VariantMinutes::columns(&Recorded::default()).all().to_vec();
        let refunds = |row: &VariantMinute, _| {
            if row.minute_ms < 120_000 { Cell::Omitted } else { Cell::Integer(row.minute_ms / 60_000) }
        };
        all.push(Column::integer("refunds", "pieces that were refunded", refunds).additive().added());
        let columns = Columns::new(4, all).recorded(|_| Some(5));
        let row = |minute_ms| VariantMinute { minute_ms, ..VariantMinutes::example() };
        let closed = |minutes: &[TimeMs], upper| Closed {
            lower: upper - 1,
            rows: minutes.iter().copied().map(row).collect(),
            written: Written { upper, ..Written::default() },
        };
        let query = ["tenant", "experiment"].map(|name| (name, names_of(&row(0))[name].clone()));
        let query =
            query.into_iter().chain([("metric", "refunds".into()), ("from", "0".into()), ("to", "600000".into())]);
        let query: Vec<_> = query.map(|(name, value)| (name.to_owned(), value)).collect();
        let question = Question::parse(&query, &columns).unwrap();
        let of = |closed: &Closed| {
            let (file, mut found) = (bytes(&columns, closed), Found::new(&question));
            find(file.clone(), &question, &mut found).unwrap().unwrap();
            let as_of = AsOf { tick: 0, time_ms: 0, sealed_through_ms: 0, kept_from_ms: None };
            let body: Value = serde_json::from_str(&found.into_response(&as_of).body).unwrap();
            let values = body["rows"].as_array().unwrap().iter().map(|row| row["value"].as_i64().unwrap());
            (open(file).unwrap().fact("aisle.columns").map(str::to_owned).ok(), values.collect::<Vec<_>>())
        };
        assert_eq!(of(&closed(&[0, 60_000], 5)), (None, vec![]), "before the column");
        assert_eq!(
            of(&closed(&[60_000, 120_000, 180_000], 6)),
            (Some("2".to_owned()), vec![2, 3]),
            "some rows have it"
        );
        assert_eq!(of(&closed(&[0], 7)), (Some("2".to_owned()), vec![]), "no row of the file has it");
    }

    fn names_of(row: &VariantMinute) -> BTreeMap<&'static str, String> {
        [("tenant", row.tenant.to_string()), ("experiment", row.experiment.to_string())].into()
    }
}
