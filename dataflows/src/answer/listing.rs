//! The list of views, and the rows of one as of a tick or a time.

mod cursor;
mod pages;

use serde_json::{Value, json};

use operators::time::{MINUS_INFINITY, Tick, TimeMs};

use crate::answer::instant::{format_instant, parse_instant};
use crate::answer::{Failure, Mark, Views};
use crate::view::{ColumnFacts, LeftOut, ViewId};

pub use pages::{PAGE_BYTES, Pages, Piece};

/// How many rows a listing has unless `limit` says otherwise.
pub const LIMIT_DEFAULT: usize = 10_000;

/// The greatest `limit`.
pub const LIMIT_MAX: usize = 100_000;

/// The most that is named, in a listing, of what a view has not computed.
const LEFT_OUT_NAMED_MAX: usize = 1_000;

/// A listing ends behind this many bytes of rows, whatever its limit: dead letters have large ones.
pub const LISTING_BYTES_MAX: usize = 16 << 20;

/// `GET /v1/views`
pub(super) fn list(views: &Views) -> Result<String, Failure> {
    let newest = views.newest()?;
    let mut body = views.head(newest);
    let entries = ViewId::all().map(|view| {
        let shelf = views.shelf_of(view);
        let columns = views.codec_of(view).columns();
        json!({
            "name": view.name(),
            "description": view.question(),
            "enabled": views.is_enabled(view),
            "rows": shelf.len(),
            "oldest_readable": shelf.oldest_readable(),
            "published": shelf.published(),
            "version": views.codec_of(view).version_at(newest.tick),
            "columns": columns.iter().map(column_as_json).collect::<Vec<_>>(),
        })
    });
    body.insert("views".to_owned(), entries.collect());
    Ok(Value::Object(body).to_string())
}

/// A column, as it is told to whoever asks for the list of views.
pub(super) fn column_as_json(column: &ColumnFacts) -> Value {
    let mut object = json!({
        "name": column.name,
        "says": column.says,
        "holds": column.holds.name(),
        "unit": column.unit.name(),
    });
    let flags = [("key", column.is_key), ("optional", column.optional), ("filter", column.holds.is_filter())];
    flags.into_iter().filter(|(_, is)| *is).for_each(|(name, _)| object[name] = json!(true));
    if let Some(within) = column.within {
        object["within"] = json!(within);
    }
    if column.since > 0 {
        object["since"] = json!(column.since);
    }
    object
}

/// The parameters of a listing, beside the filters of the view's columns.
pub(super) const PARAMETERS: [&str; 4] = ["as_of", "as_of_ms", "limit", "cursor"];

/// What a view has not computed because of a limit, of one tenant or of all. All of it is counted, some of it is named.
fn left_out(of_tenants: &[LeftOut], tenant: Option<&str>) -> Vec<Value> {
    let mut room = LEFT_OUT_NAMED_MAX;
    let asked = of_tenants.iter().filter(|left_out| tenant.is_none_or(|tenant| left_out.tenant == *tenant));
    let told = asked.map(|LeftOut { tenant, count, named }| {
        let named: Vec<_> = named.iter().take(room).map(|names| json!(names)).collect();
        room -= named.len();
        json!({ "tenant": tenant, "count": count, "named": named })
    });
    told.collect()
}

/// Which tick is asked for: `as_of` as a tick or a time, `as_of_ms` as a time, else the published one.
pub(crate) fn mark_asked_for<'a>(views: &'a Views, view: ViewId, query: &mut Query<'_>) -> Result<&'a Mark, Failure> {
    let newest = views.newest()?;
    let wanted = match (query.take("as_of"), query.take("as_of_ms")) {
        (None, None) => return Ok(newest),
        (Some(_), Some(_)) => return Err(Failure::bad_request("`as_of` and `as_of_ms` exclude each other")),
        (Some(text), None) => parse_as_of(text),
        (None, Some(text)) => text.parse().ok().map(AsOf::Time),
    };
    match wanted {
        None => Err(Failure::bad_request(
            "`as_of` has to be a tick (123) or a time (2025-01-06T10:00:00Z), `as_of_ms` milliseconds since 1970",
        )),
        Some(AsOf::Tick(tick)) => {
            views.shelf_of(view).check(tick)?;
            views.mark_at(tick).ok_or_else(Failure::starting)
        }
        Some(AsOf::Time(time_ms)) => mark_at_time(views, view, newest, time_ms),
    }
}

/// The greatest tick whose time is no later.
fn mark_at_time<'a>(views: &'a Views, view: ViewId, newest: &Mark, time_ms: TimeMs) -> Result<&'a Mark, Failure> {
    if time_ms > newest.time_ms {
        let of = match newest.time_ms {
            MINUS_INFINITY => ", which has no time yet".to_owned(),
            time_ms => format!(" of {}", format_instant(time_ms)),
        };
        let tick = newest.tick;
        return Err(Failure::not_yet_published(format!(
            "that time is not published yet; the newest tick is {tick}{of}, read it without `as_of`"
        )));
    }
    let after = views.marks.partition_point(|mark| mark.time_ms <= time_ms);
    let oldest = views.shelf_of(view).oldest_readable();
    let mark = after.checked_sub(1).and_then(|place| views.marks.get(place)).filter(|mark| mark.tick >= oldest);
    mark.ok_or_else(|| {
        let oldest_ms = views.mark_at(oldest).map_or(newest.time_ms, |mark| mark.time_ms);
        let oldest_time = format_instant(oldest_ms);
        Failure::gone(format!("that time lies before history; the oldest readable tick is {oldest} of {oldest_time}"))
    })
}

enum AsOf {
    Tick(Tick),
    Time(TimeMs),
}

fn parse_as_of(text: &str) -> Option<AsOf> {
    if let Ok(tick) = text.parse() {
        return Some(AsOf::Tick(tick));
    }
    // In a URL an unescaped + is a space, and no instant has one where its offset begins.
    let text = text.replace(' ', "+");
    parse_instant(&text).map(AsOf::Time)
}

/// What follows the `?`, each parameter to be taken once.
pub(crate) struct Query<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Query<'a> {
    /// Refuses a parameter that is given twice, since one of the two would be passed over in silence.
    pub(crate) fn new(query: &'a [(String, String)]) -> Result<Query<'a>, Failure> {
        let mut parameters: Vec<(&str, &str)> = Vec::new();
        for (name, value) in query {
            if parameters.iter().any(|(earlier, _)| earlier == name) {
                return Err(Failure::bad_request(format!("the parameter {name:?} is given twice")));
            }
            parameters.push((name, value));
        }
        Ok(Query(parameters))
    }

    pub(crate) fn take(&mut self, name: &str) -> Option<&'a str> {
        let place = self.0.iter().position(|(given, _)| *given == name)?;
        Some(self.0.swap_remove(place).1)
    }

    /// Refuses what nobody took.
    pub(crate) fn finish(self, known: &str) -> Result<(), Failure> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(Failure::bad_request(format!("there is no parameter {name:?}; there are {known}"))),
        }
    }

    fn into_filters(self, view: ViewId, columns: &[String]) -> Result<Vec<(&'a str, &'a str)>, Failure> {
        match self.0.iter().find(|(name, _)| !columns.iter().any(|column| column == name)) {
            None => Ok(self.0),
            Some((name, _)) => Err(Failure::bad_request(format!(
                "there is no parameter {name:?}; {} has {}, and as filters {}",
                view.name(),
                PARAMETERS.join(", "),
                columns.join(", ")
            ))),
        }
    }
}

#[cfg(test)]
mod tests;
