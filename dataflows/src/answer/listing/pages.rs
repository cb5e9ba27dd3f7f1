//! A listing on its way: read page by page, all of them as of one tick, so that whoever reads slowly holds a page and no more.
//!
//! The body is one JSON object: what every answer begins with, then `rows`, then what is known only at their end: `count`,
//! `truncated`, and as `next` the cursor with which one goes on. Between two pages nothing is held, so the tick may leave
//! history meanwhile; then `error` stands in place of those three, and the listing is not whole.

use std::mem;

use operators::index::ReadError;
use operators::time::Tick;
use serde_json::{Value, json};

use super::cursor::{cursor, position_of};
use super::{LIMIT_DEFAULT, LIMIT_MAX, LISTING_BYTES_MAX, Query, left_out, mark_asked_for};
use crate::answer::subscribe::RunId;
use crate::answer::{Failure, Views};
use crate::view::shelf::Bounds;
use crate::view::{Position, ViewId};

/// About how many bytes a page has.
pub const PAGE_BYTES: usize = 256 << 10;

/// A listing, as far as it was read.
#[derive(Debug)]
pub struct Pages {
    run: RunId,
    view: ViewId,
    tick: Tick,
    filters: Vec<(String, String)>,
    /// What precedes the rows, until it was given.
    head: String,
    from: Option<Position>,
    rows_left: usize,
    bytes_left: usize,
    count: usize,
}

/// The next part of a listing's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// There is more behind it. It may be empty, where many rows were looked at of which none was asked for.
    More(String),
    /// The last one.
    Last(String),
    /// The last one, too, since the tick has left history: it says so.
    Broken(String),
}

impl Pages {
    /// Begins `GET /v1/views/{view}?as_of=&as_of_ms=&limit=&cursor=&FIELD=`; the tick can be read now.
    pub(crate) fn begin(views: &Views, view: ViewId, query: &[(String, String)]) -> Result<Pages, Failure> {
        let mut query = Query::new(query)?;
        let cursor = query.take("cursor").map(|cursor| position_of(cursor, views.run(), view)).transpose()?;
        let (mark, from) = match cursor {
            None => (mark_asked_for(views, view, &mut query)?, None),
            Some((tick, position)) => {
                if query.take("as_of").or(query.take("as_of_ms")).is_some() {
                    return Err(Failure::bad_request("a cursor names its tick; leave `as_of` and `as_of_ms` out"));
                }
                views.shelf_of(view).check(tick)?;
                (views.mark_at(tick).ok_or_else(Failure::starting)?, Some(position))
            }
        };
        let limit = match query.take("limit") {
            None => LIMIT_DEFAULT,
            Some(text) => text.parse().ok().filter(|limit| *limit <= LIMIT_MAX).ok_or_else(|| {
                Failure::bad_request(format!("`limit` is {text:?}, it has to be a number up to {LIMIT_MAX}"))
            })?,
        };
        let filters = query.into_filters(view, &views.shelf_of(view).filters())?;
        let mut head = views.head(mark);
        head.insert("view".to_owned(), json!(view.name()));
        let tenant = filters.iter().find(|(name, _)| *name == "tenant").map(|(_, tenant)| *tenant);
        let left_out = left_out(views.codec_of(view).left_out(), tenant);
        if !left_out.is_empty() {
            head.insert("left_out".to_owned(), left_out.into());
        }
        let mut head = Value::Object(head).to_string();
        head.truncate(head.len() - 1);
        Ok(Pages {
            run: views.run(),
            view,
            tick: mark.tick,
            filters: filters.into_iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect(),
            head: head + ",\"rows\":[",
            from,
            rows_left: limit,
            bytes_left: LISTING_BYTES_MAX,
            count: 0,
        })
    }

    /// The next page.
    pub fn next(&mut self, views: &Views) -> Piece {
        let mut text = mem::take(&mut self.head);
        let piece = match self.append(views, &mut text) {
            Ok(false) => Piece::More,
            Ok(true) => Piece::Last,
            Err(error) => {
                let Failure { code, message, .. } = match error {
                    ReadError::Gone { oldest } => Failure::gone(format!(
                        "tick {} left history before all rows were read, and the oldest is {oldest} now; ask for fewer \
                         rows at once, or let `history_ticks` and `history_bytes` of the view be more",
                        self.tick
                    )),
                    error => error.into(),
                };
                text += &format!("],\"error\":{}}}", json!({"code": code, "message": message}));
                Piece::Broken
            }
        };
        text.shrink_to_fit();
        piece(text)
    }

    /// All pages, while the views are held.
    pub(crate) fn whole(mut self, views: &Views) -> String {
        let mut body = String::new();
        loop {
            match self.next(views) {
                Piece::More(text) => body += &text,
                Piece::Last(text) | Piece::Broken(text) => return body + &text,
            }
        }
    }

    /// Appends the next page; says whether it was the last.
    fn append(&mut self, views: &Views, text: &mut String) -> Result<bool, ReadError> {
        let filters: Vec<(&str, &str)> = self.filters.iter().map(|(name, text)| (&**name, &**text)).collect();
        let bounds = Bounds { rows_max: self.rows_left, bytes_max: self.bytes_left.min(PAGE_BYTES) };
        let listing = views.shelf_of(self.view).list(self.tick, &filters, self.from.as_ref(), bounds)?;
        if self.count > 0 && listing.count > 0 {
            text.push(',');
        }
        text.push_str(&listing.rows);
        self.count += listing.count;
        self.rows_left -= listing.count;
        self.bytes_left = self.bytes_left.saturating_sub(listing.rows.len());
        let is_at_limit = listing.is_full && (self.rows_left == 0 || self.bytes_left == 0);
        let next = match listing.next {
            Some(position) if is_at_limit => Some(cursor(self.run, self.view, self.tick, position)),
            Some(position) => {
                self.from = Some(position);
                return Ok(false);
            }
            None => None,
        };
        let (count, truncated) = (self.count, next.is_some());
        text.push_str(&format!("],\"count\":{count},\"truncated\":{truncated},\"next\":{}}}", json!(next)));
        Ok(true)
    }
}
