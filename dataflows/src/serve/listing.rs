//! The list of views, and the rows of one as of a tick or a time.

use serde_json::{Map, Value, json};

use operators::time::{MINUS_INFINITY, Tick, TimeMs};

use crate::serve::fields::{description, field_equals, text_fields};
use crate::serve::instant::{format_instant, parse_instant};
use crate::serve::{Failure, Mark, Views};
use crate::views::{Row, View};

/// How many rows a listing has unless `limit` says otherwise.
pub const LIMIT_DEFAULT: usize = 10_000;

/// The greatest `limit`.
pub const LIMIT_MAX: usize = 100_000;

/// A listing ends behind this many bytes of rows, whatever its limit: dead letters have large ones.
const LISTING_BYTES_MAX: usize = 16 << 20;

/// `GET /v1/views`
pub(super) fn list(views: &Views) -> Result<String, Failure> {
    let mut body = views.head(views.newest()?);
    let entries = View::ALL.into_iter().map(|view| {
        let index = views.index_of(view);
        json!({
            "name": view.name(),
            "description": description(view),
            "enabled": views.is_enabled(view),
            "rows": index.len(),
            "oldest_readable": index.oldest_readable(),
            "published": index.published(),
        })
    });
    body.insert("views".to_owned(), entries.collect());
    Ok(Value::Object(body).to_string())
}

/// `GET /v1/views/{view}?as_of=&as_of_ms=&limit=&FIELD=`
pub(super) fn read(views: &Views, view: View, query: &[(String, String)]) -> Result<String, Failure> {
    let mut query = Query::new(query)?;
    let mark = mark_asked_for(views, view, &mut query)?;
    let limit = match query.take("limit") {
        None => LIMIT_DEFAULT,
        Some(text) => text.parse().ok().filter(|limit| *limit <= LIMIT_MAX).ok_or_else(|| {
            Failure::bad_request(format!("`limit` is {text:?}, it has to be a number up to {LIMIT_MAX}"))
        })?,
    };
    let filters = query.into_filters(view)?;
    let as_of = views.index_of(view).at(mark.tick)?;
    let is_wanted = |row: &Row| filters.iter().all(|(field, wanted)| field_equals(row, field, wanted));

    let (mut rows, mut count, mut truncated) = (String::new(), 0, false);
    for (row, copies) in as_of.iter().filter(|(row, _)| is_wanted(row)) {
        // A multiset: what is there twice is listed twice.
        for _ in 0..copies {
            truncated = count >= limit || rows.len() >= LISTING_BYTES_MAX;
            if truncated {
                break;
            }
            rows.push_str(if count > 0 { "," } else { "" });
            push_row(&mut rows, views, row);
            count += 1;
        }
        if truncated {
            break;
        }
    }
    let mut head = views.head(mark);
    head.insert("view".to_owned(), json!(view.name()));
    head.insert("count".to_owned(), json!(count));
    head.insert("truncated".to_owned(), json!(truncated));
    Ok(with_rows(head, &rows))
}

/// Which tick is asked for: `as_of` as a tick or a time, `as_of_ms` as a time, else the published one.
pub(super) fn mark_asked_for<'a>(views: &'a Views, view: View, query: &mut Query<'_>) -> Result<&'a Mark, Failure> {
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
            views.index_of(view).at(tick)?;
            views.mark_at(tick).ok_or_else(Failure::starting)
        }
        Some(AsOf::Time(time_ms)) => mark_at_time(views, view, newest, time_ms),
    }
}

/// The greatest tick whose time is no later.
fn mark_at_time<'a>(views: &'a Views, view: View, newest: &Mark, time_ms: TimeMs) -> Result<&'a Mark, Failure> {
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
    let oldest = views.index_of(view).oldest_readable();
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

fn push_row(rows: &mut String, views: &Views, row: &Row) {
    let text = row.to_json();
    match (views.readout, row) {
        (Some(readout), Row::VariantTotal(total)) => {
            rows.push_str(text.strip_suffix('}').unwrap_or(&text));
            rows.push_str(",\"readout\":");
            rows.push_str(&readout(total).to_string());
            rows.push('}');
        }
        _ => rows.push_str(&text),
    }
}

/// The object of `head` with one more field, `rows`, whose elements are text already.
fn with_rows(head: Map<String, Value>, rows: &str) -> String {
    let mut body = Value::Object(head).to_string();
    body.truncate(body.len() - 1);
    body + ",\"rows\":[" + rows + "]}"
}

/// What follows the `?`, each parameter to be taken once.
pub(super) struct Query<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Query<'a> {
    /// Refuses a parameter that is given twice, since one of the two would be passed over in silence.
    pub(super) fn new(query: &'a [(String, String)]) -> Result<Query<'a>, Failure> {
        let mut parameters: Vec<(&str, &str)> = Vec::new();
        for (name, value) in query {
            if parameters.iter().any(|(earlier, _)| earlier == name) {
                return Err(Failure::bad_request(format!("the parameter {name:?} is given twice")));
            }
            parameters.push((name, value));
        }
        Ok(Query(parameters))
    }

    pub(super) fn take(&mut self, name: &str) -> Option<&'a str> {
        let place = self.0.iter().position(|(given, _)| *given == name)?;
        Some(self.0.swap_remove(place).1)
    }

    /// Refuses what nobody took.
    pub(super) fn finish(self, known: &str) -> Result<(), Failure> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(Failure::bad_request(format!("there is no parameter {name:?}; there are {known}"))),
        }
    }

    fn into_filters(self, view: View) -> Result<Vec<(&'a str, &'a str)>, Failure> {
        let fields = text_fields(view);
        match self.0.iter().find(|(name, _)| !fields.contains(name)) {
            None => Ok(self.0),
            Some((name, _)) => Err(Failure::bad_request(format!(
                "there is no parameter {name:?}; {} has as_of, as_of_ms, limit, and as filters {}",
                view.name(),
                fields.join(", ")
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use operators::index::HistoryBounds;

    use super::super::testing::{WIDE, ask, one_row_of, stock, views};
    use super::*;

    fn tick_and_count(query: &[(&str, &str)]) -> (u64, u64) {
        let (status, body) = ask(&views(), "/v1/views/stock", query);
        assert_eq!(status, 200, "{body}");
        assert_eq!(body["rows"].as_array().unwrap().len() as u64, body["count"].as_u64().unwrap());
        (body["tick"].as_u64().unwrap(), body["count"].as_u64().unwrap())
    }

    fn refusal(path: &str, query: &[(&str, &str)]) -> (u16, String, String) {
        let (status, body) = ask(&views(), path, query);
        let text = |name: &str| body["error"][name].as_str().unwrap().to_owned();
        (status, text("code"), text("message"))
    }

    #[test]
    fn the_list_names_all_views() {
        let (status, body) = ask(&views(), "/v1/views", &[]);
        assert_eq!((status, body["frontier"].as_u64()), (200, Some(4)));
        let stock = body["views"].as_array().unwrap().iter().find(|view| view["name"] == "stock").unwrap();
        assert_eq!((stock["rows"].as_u64(), stock["published"].as_u64()), (Some(3), Some(3)));
        assert_eq!(stock["oldest_readable"], 0);
        let late = body["views"].as_array().unwrap().iter().find(|view| view["name"] == "late_events").unwrap();
        assert_eq!(late["enabled"], false);
    }

    #[test]
    fn rows_are_read_as_of_ticks_and_times() {
        assert_eq!(tick_and_count(&[]), (3, 3));
        assert_eq!(tick_and_count(&[("as_of", "3")]), (3, 3));
        assert_eq!(tick_and_count(&[("as_of", "1")]), (1, 1));
        assert_eq!(tick_and_count(&[("as_of_ms", "2999")]), (2, 2));
        assert_eq!(tick_and_count(&[("as_of", "1970-01-01T00:00:01Z")]), (1, 1));
        assert_eq!(tick_and_count(&[("as_of", "1970-01-01T01:00:01 01:00")]), (1, 1), "as + arrives unescaped");
        assert_eq!(tick_and_count(&[("limit", "2")]), (3, 2));
        assert_eq!(tick_and_count(&[("sku", "sku-2"), ("tenant", "north")]), (3, 1));
        assert_eq!(tick_and_count(&[("state", "damaged")]), (3, 0));
        let (_, body) = ask(&views(), "/v1/views/stock", &[("limit", "3")]);
        assert_eq!(body["truncated"], false);
        let (_, body) = ask(&views(), "/v1/views/stock", &[("limit", "1")]);
        assert_eq!((&body["truncated"], &body["rows"][0]["sku"]), (&json!(true), &json!("sku-1")));
    }

    #[test]
    fn what_cannot_be_read_says_what_can() {
        let (status, code, message) = refusal("/v1/views/stocks", &[]);
        assert_eq!((status, code.as_str()), (404, "unknown_view"));
        assert!(message.contains("availability") && message.contains("source_health"), "{message}");
        assert_eq!(refusal("/v1/views/late_events", &[]).1, "view_disabled");
        let (status, code, message) = refusal("/v1/views/stock", &[("as_of", "4")]);
        assert_eq!((status, code.as_str()), (404, "not_yet_published"));
        assert!(message.contains("newest is 3"), "{message}");
        assert_eq!(refusal("/v1/views/stock", &[("as_of_ms", "3001")]).1, "not_yet_published");
        for query in [("as_of", "yesterday"), ("limit", "-1"), ("limit", "100001"), ("colour", "red"), ("book", "1")] {
            assert_eq!(refusal("/v1/views/stock", &[query]).0, 400, "{query:?}");
        }
        assert_eq!(refusal("/v1/views/stock", &[("as_of", "1"), ("as_of_ms", "1")]).0, 400);
        assert_eq!(refusal("/v1/views/stock", &[("sku", "a"), ("sku", "b")]).0, 400);
    }

    #[test]
    fn what_lies_before_history_is_gone() {
        let mut views = Views::new(&View::ALL, HistoryBounds { ticks_max: 1, ..WIDE });
        for tick in 0..5 {
            views.apply_tick(tick, tick as i64 * 1_000, vec![(View::Stock, vec![(stock(tick), 1)])], vec![]).unwrap();
        }
        for query in [("as_of", "2"), ("as_of_ms", "2999")] {
            let (status, body) = ask(&views, "/v1/views/stock", &[query]);
            assert_eq!((status, body["error"]["code"].as_str()), (410, Some("gone")));
            assert!(body["error"]["message"].as_str().unwrap().contains("tick is 3"), "{body}");
        }
        assert_eq!(ask(&views, "/v1/views/stock", &[("as_of_ms", "3000")]).1["tick"], 3);
    }

    #[test]
    fn totals_have_their_readout() {
        let mut views = Views::new(&View::ALL, WIDE);
        views
            .apply_tick(0, 0, vec![(View::VariantTotals, vec![(one_row_of(View::VariantTotals), 1)])], vec![])
            .unwrap();
        assert_eq!(ask(&views, "/v1/views/variant_totals", &[]).1["rows"][0].get("readout"), None);
        views.set_readout(|total| json!({"units": total.units}));
        let (_, body) = ask(&views, "/v1/views/variant_totals", &[]);
        assert_eq!((&body["rows"][0]["readout"]["units"], &body["rows"][0]["units"]), (&json!(4), &json!(4)));
    }
}
