//! "Metric X of experiment Y between A and B": the question, what of it is in a row, and the answer. Where the rows come from is not
//! known here.
//!
//! ```text
//! GET /v1/history?tenant=&experiment=&metric=&from=&to=[&variant=][&step_ms=]
//! ```
//!
//! `from` and `to` are times such as `2025-01-06T10:00:00Z`, or milliseconds since 1970; asked for are the sealed minutes that
//! begin at or after `from` and before `to`. With `step_ms`, a multiple of a minute, the minutes of each step are added up.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use operators::time::{MINUTE_MS, Tick, TimeMs};

use crate::answer::instant::{parse_instant, time_as_json};
use crate::answer::{Failure, Response};
use crate::experiment::variant_minutes::VariantMinute;
use crate::names::Name;
use crate::view::{Adds, Cell, CellType, Column, Columns};

/// The most rows of an answer.
pub const ROWS_MAX: usize = 100_000;

/// The most files that an answer may have to look into.
pub const FILES_MAX: usize = 10_000;

/// The most bytes of files that an answer may have to look into.
pub const BYTES_MAX: u64 = 256 << 20;

/// A column of the history: a number of a variant's minute.
#[derive(Clone, Debug)]
pub struct Metric {
    /// Its name in questions and files.
    pub name: String,
    /// Whether its minutes may be added up. A session that is active in two minutes would count twice.
    pub adds: bool,
    column: Column<VariantMinute>,
}

impl Metric {
    /// Its value in a row; none where the row came out before the column did, or its sum passes 64 bits.
    pub fn of(&self, row: &VariantMinute) -> Option<i64> {
        match self.column.cell(row) {
            Cell::Integer(value) => Some(value),
            Cell::Omitted | Cell::Absent => None,
            other => unreachable!("an integer column holds integers, not {other:?}"),
        }
    }

    /// Whether rows may not have it: it was added to the view, or is a sum that may pass 64 bits.
    pub fn is_optional(&self) -> bool {
        self.column.is_added || self.column.optional
    }
}

/// Every metric, in the order of the columns.
pub fn metrics(columns: &Columns<VariantMinute>) -> impl Iterator<Item = Metric> {
    let integers = columns.all().iter().filter(|column| column.holds == CellType::Integer);
    integers.map(|column| Metric {
        name: column.name.to_string(),
        adds: column.adds == Adds::Yes,
        column: column.clone(),
    })
}

/// What is asked.
#[derive(Clone)]
pub struct Question {
    /// Whose experiment.
    pub tenant: Name,
    /// The experiment.
    pub experiment: Name,
    /// One variant, or all.
    pub variant: Option<Name>,
    /// The column.
    pub metric: Metric,
    /// The first minute.
    pub from_ms: TimeMs,
    /// The minute after the last one.
    pub upto_ms: TimeMs,
    /// How many minutes are added up; none where each is listed.
    pub step_ms: Option<i64>,
}

impl Question {
    /// Reads the parameters, all of which have to be known.
    pub fn parse(query: &[(String, String)], columns: &Columns<VariantMinute>) -> Result<Question, Failure> {
        const KNOWN: [&str; 7] = ["tenant", "experiment", "metric", "from", "to", "variant", "step_ms"];
        let mut given: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, value) in query {
            if !KNOWN.contains(&name.as_str()) {
                let known = KNOWN.join(", ");
                return Err(Failure::bad_request(format!("there is no parameter `{name}`; there are {known}")));
            }
            if given.insert(name, value).is_some() {
                return Err(Failure::bad_request(format!("the parameter `{name}` is given twice")));
            }
        }
        let needed = |name: &str| given.get(name).copied().ok_or_else(|| Failure::missing(name));
        let time = |name: &str| -> Result<TimeMs, Failure> {
            let text = needed(name)?;
            text.parse().ok().or_else(|| parse_instant(text)).ok_or_else(|| {
                Failure::bad_request(format!(
                    "`{name}` is {text:?}, it has to be a time (2025-01-06T10:00:00Z) or milliseconds since 1970"
                ))
            })
        };
        let (tenant, experiment) = (Name::new(needed("tenant")?), Name::new(needed("experiment")?));
        let name = needed("metric")?;
        let metric = metrics(columns).find(|metric| metric.name == name).ok_or_else(|| {
            let names = metrics(columns).map(|metric| metric.name).collect::<Vec<_>>().join(", ");
            Failure::bad_request(format!("there is no metric {name:?}; there are {names}"))
        })?;
        let (from_ms, upto_ms) = (time("from")?, time("to")?);
        if from_ms >= upto_ms {
            return Err(Failure::bad_request("`from` has to be before `to`, which is not part of the answer"));
        }
        let step_ms = given.get("step_ms").map(|text| step(text, &metric)).transpose()?;
        let variant = given.get("variant").map(Name::new);
        Ok(Question { tenant, experiment, variant, metric, from_ms, upto_ms, step_ms })
    }

    /// Whether a row's names and minute are asked for.
    pub fn asks_for(&self, tenant: &str, experiment: &str, variant: &str, minute_ms: TimeMs) -> bool {
        (self.from_ms..self.upto_ms).contains(&minute_ms)
            && self.experiment == experiment
            && self.tenant == tenant
            && self.variant.as_ref().is_none_or(|wanted| wanted == variant)
    }
}

fn step(text: &str, metric: &Metric) -> Result<i64, Failure> {
    let step_ms = text.parse().ok().filter(|step_ms| *step_ms >= MINUTE_MS && step_ms % MINUTE_MS == 0);
    let step_ms = step_ms.ok_or_else(|| {
        Failure::bad_request(format!("`step_ms` is {text:?}, it has to be a multiple of {MINUTE_MS}, a minute"))
    })?;
    if !metric.adds {
        let name = &metric.name;
        return Err(Failure::bad_request(format!(
            "{name} can't be added up, since a session that is active in two minutes would count twice; leave `step_ms` out"
        )));
    }
    Ok(step_ms)
}

/// Of when an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AsOf {
    /// Every row that was sealed by then, and no other, is in it.
    pub tick: Tick,
    /// The tick's time.
    pub time_ms: TimeMs,
    /// Through when the tenant's minutes are sealed.
    pub sealed_through_ms: TimeMs,
    /// The least minute that is kept of anybody; what lies before it was deleted. None where nothing was deleted.
    pub kept_from_ms: Option<TimeMs>,
}

/// Values by variant and minute, as they are found.
pub struct Found<'a> {
    question: &'a Question,
    values: BTreeMap<(Name, TimeMs), i64>,
}

impl<'a> Found<'a> {
    /// Nothing yet.
    pub fn new(question: &'a Question) -> Self {
        Found { question, values: BTreeMap::new() }
    }

    /// Takes the value of a minute that is asked for.
    pub fn add(&mut self, variant: &str, minute_ms: TimeMs, value: i64) -> Result<(), Failure> {
        let at_ms = match self.question.step_ms {
            Some(step_ms) => minute_ms.div_euclid(step_ms) * step_ms,
            None => minute_ms,
        };
        // Sums of exact integers stay far from the bound, or the value of a minute would have been beyond it.
        let sum = self.values.entry((Name::new(variant), at_ms)).or_default();
        *sum = sum.saturating_add(value);
        match self.values.len() {
            0..=ROWS_MAX => Ok(()),
            _ => Err(Failure::too_large(format!(
                "the answer would have more than {ROWS_MAX} rows; ask for less time, one `variant`, or add minutes up with `step_ms`"
            ))),
        }
    }

    /// The answer.
    pub fn into_response(self, as_of: &AsOf) -> Response {
        let Question { tenant, experiment, variant, metric, from_ms, upto_ms, step_ms } = self.question;
        let rows: Vec<Value> = self
            .values
            .iter()
            .map(|((variant, minute_ms), value)| json!({"variant": variant, "minute_ms": minute_ms, "value": value}))
            .collect();
        let body = [
            ("tick", json!(as_of.tick)),
            ("time_ms", time_as_json(as_of.time_ms)),
            ("sealed_through_ms", time_as_json(as_of.sealed_through_ms)),
            ("kept_from_ms", json!(as_of.kept_from_ms)),
            ("tenant", json!(tenant)),
            ("experiment", json!(experiment)),
            ("variant", json!(variant)),
            ("metric", json!(metric.name)),
            ("from_ms", json!(from_ms)),
            ("to_ms", json!(upto_ms)),
            ("step_ms", json!(step_ms)),
            ("count", json!(rows.len())),
            ("rows", Value::Array(rows)),
        ];
        let body: Map<String, Value> = body.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Response { status: 200, body: Value::Object(body).to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::Recorded;
    use crate::experiment::variant_minutes::VariantMinutes;
    use crate::view::View;

    fn columns() -> Columns<VariantMinute> {
        VariantMinutes::columns(&Recorded::default())
    }

    fn ask(more: &[(&str, &str)]) -> Result<Question, Failure> {
        let base =
            [("tenant", "north"), ("experiment", "checkout"), ("metric", "views"), ("from", "0"), ("to", "600000")];
        let kept = base.iter().filter(|(name, _)| more.iter().all(|(other, _)| other != name));
        let query: Vec<(String, String)> =
            kept.chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Question::parse(&query, &columns())
    }

    fn refused(more: &[(&str, &str)]) -> String {
        let failure = ask(more).map(|_| ()).unwrap_err();
        assert_eq!(failure.status, 400);
        failure.message
    }

    #[test]
    fn questions_are_read_or_refused_with_words() {
        let question = ask(&[("from", "1970-01-01T00:01:00Z"), ("variant", "blue"), ("step_ms", "120000")]).unwrap();
        assert_eq!((question.from_ms, question.upto_ms, question.step_ms), (60_000, 600_000, Some(120_000)));
        assert!(question.asks_for("north", "checkout", "blue", 60_000));
        for (tenant, experiment, variant, minute_ms) in [
            ("south", "checkout", "blue", 60_000),
            ("north", "banner", "blue", 60_000),
            ("north", "checkout", "red", 60_000),
            ("north", "checkout", "blue", 0),
            ("north", "checkout", "blue", 600_000),
        ] {
            assert!(!question.asks_for(tenant, experiment, variant, minute_ms));
        }
        assert!(refused(&[("metric", "joy")]).contains("there are sessions_active, sessions_started, views"));
        assert!(refused(&[("from", "600000")]).contains("before `to`"));
        assert!(refused(&[("to", "tomorrow")]).contains("`to` is \"tomorrow\""));
        assert!(refused(&[("step_ms", "90000")]).contains("multiple of 60000"));
        assert!(refused(&[("metric", "sessions_active"), ("step_ms", "60000")]).contains("would count twice"));
        assert!(refused(&[("as_of", "5")]).contains("there is no parameter `as_of`"));
        assert!(Question::parse(&[], &columns()).is_err_and(|failure| failure.message.contains("`tenant` is missing")));
    }

    #[test]
    fn steps_add_minutes_up() {
        let question = ask(&[("step_ms", "120000")]).unwrap();
        let mut found = Found::new(&question);
        for (variant, minute_ms, value) in [("b", 60_000, 1), ("a", 0, 2), ("a", 60_000, 3), ("a", 120_000, 4)] {
            found.add(variant, minute_ms, value).unwrap();
        }
        let as_of = AsOf { tick: 7, time_ms: 9, sealed_through_ms: operators::time::PLUS_INFINITY, kept_from_ms: None };
        let body: Value = serde_json::from_str(&found.into_response(&as_of).body).unwrap();
        let row = |variant: &str, minute_ms: i64, value: i64| json!({"variant": variant, "minute_ms": minute_ms, "value": value});
        assert_eq!(body["rows"], json!([row("a", 0, 5), row("a", 120_000, 4), row("b", 0, 1)]));
        assert_eq!((&body["tick"], &body["sealed_through_ms"]), (&json!(7), &json!("end")));
    }

    #[test]
    fn too_large_an_answer_is_none() {
        let question = ask(&[]).unwrap();
        let mut found = Found::new(&question);
        let failure = (0..).find_map(|minute| found.add("a", minute * 60_000, 1).err()).unwrap();
        assert_eq!((failure.status, found.values.len()), (413, ROWS_MAX + 1));
    }

    #[test]
    fn metrics_are_the_numbers_of_a_row() {
        let (columns, row) = (columns(), VariantMinutes::example());
        let json: Value = serde_json::from_str(&columns.json(&row)).unwrap();
        for metric in metrics(&columns) {
            let found = json.get(&metric.name).unwrap_or(&json["measures"][&metric.name]);
            assert_eq!(found, &json!(metric.of(&row)), "{}", metric.name);
        }
        let names: Vec<String> = metrics(&columns).map(|metric| metric.name).collect();
        assert_eq!((names.len(), names[0].as_str(), names[8].as_str()), (9, "sessions_active", "value"));
    }
}
