//! Following a view: a snapshot as of a tick, then its changes and its progress, and a token to go on from.
//!
//! A subscriber first reads at its own pace, page by page, from the index and its history ([`Subscription`]). Once it has
//! reached the published tick it follows: each tick puts its frames into the subscriber's ring, which is bounded
//! ([`Hub`]). Whoever lets the ring fill up, or history pass by, is disconnected, and can come back with its token for
//! as long as history reaches.
//!
//! Frames are JSON objects:
//! * `{"snapshot":{"as_of":7}}`: the rows that follow, up to the next progress, are the view as of tick 7;
//! * `{"columns":{"version":2,"added":[{"name":..}]}}`: rows that follow may have these columns, which came to the view later;
//!   it comes before the first of them, and again where one goes on from a tick before. Most views have no such column;
//! * `{"tick":8,"diff":-1,"row":{..}}`: so many copies of the row came (or went) at that tick;
//! * `{"progress":9,"sealed_through":{"north/facts":60000},"token":"stock:9f86d081884c7d65:9"}`: all ticks before 9 are
//!   complete. A row counts once a progress passes its tick; after a disconnect, rows behind the last progress come again.
//!   A group through whose event times everything is sealed, since its sources have ended, has `"end"` in place of a time;
//! * `{"disconnected":"too slow","token":"stock:9f86d081884c7d65:9"}`: the last frame. Without a token one has to begin anew.

mod hub;
mod token;

use std::ops::Range;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use operators::index::ReadError;
use operators::time::{Tick, TimeMs};

use crate::answer::instant::time_as_json;
use crate::answer::listing::{Query, column_as_json, mark_asked_for};
use crate::answer::{Failure, Mark, Views};
use crate::view::ViewId;
use crate::view::shelf::{Bounds, Cursor};

pub use hub::{Hub, HubBounds, RingId, Taken};
pub use token::{RunId, token_in};

/// One frame's JSON text, which all subscribers of a view share.
pub type Frame = Arc<str>;

/// A page holds about this many frames.
const PAGE_FRAMES_MAX: usize = 1_000;

/// A page holds about this many bytes: as many wait for a subscriber that does not read.
const PAGE_BYTES_MAX: usize = 256 << 10;

/// What a page of a snapshot may have.
const PAGE: Bounds = Bounds { rows_max: PAGE_FRAMES_MAX, bytes_max: PAGE_BYTES_MAX };

/// A subscriber's way from where it begins to the published tick.
#[derive(Debug)]
pub struct Subscription {
    run: RunId,
    view: ViewId,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// The snapshot is announced but not begun, or sent up to and including a row.
    Snapshot { as_of: Tick, after: Option<Cursor>, announced: bool },
    /// Everything before tick `upper` is sent, and so many changes of the first tick that has any from there on.
    Changes { upper: Tick, place: usize },
    /// The last frame is sent.
    Ended,
}

/// What a subscriber receives next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Page {
    /// These, and there is more.
    Frames(Vec<Frame>),
    /// Nothing before this tick is missing, and nothing after it is published.
    CaughtUp(Tick),
    /// Nothing will ever come.
    Ended,
}

impl Subscription {
    /// Begins as the query says: behind `token`, or with a snapshot as of `as_of` or `as_of_ms` or of the published tick.
    pub fn begin(views: &Views, view_name: &str, query: &[(String, String)]) -> Result<Subscription, Failure> {
        let view = views.view_named(view_name)?;
        let mut query = Query::new(query)?;
        let phase = match query.take("token") {
            Some(token) => Phase::Changes { upper: upper_of(views, view, token)?, place: 0 },
            None => {
                let as_of = mark_asked_for(views, view, &mut query)?.tick;
                Phase::Snapshot { as_of, after: None, announced: false }
            }
        };
        query.finish("token, as_of, as_of_ms; a token excludes the others")?;
        Ok(Subscription { run: views.run(), view, phase })
    }

    /// The view that is followed.
    pub fn view(&self) -> ViewId {
        self.view
    }

    /// With which token one can go on behind what was sent; none within a snapshot.
    pub fn token(&self) -> Option<String> {
        match self.phase {
            Phase::Changes { upper, .. } => Some(token::token(self.run, self.view, upper)),
            Phase::Snapshot { .. } | Phase::Ended => None,
        }
    }

    /// The next frames.
    pub fn page(&mut self, views: &Views) -> Page {
        let page = match &self.phase {
            Phase::Snapshot { as_of, after, announced } => {
                self.snapshot_page(views, *as_of, after.as_ref(), *announced)
            }
            Phase::Changes { upper, place } => self.changes_page(views, *upper, *place),
            Phase::Ended => return Page::Ended,
        };
        // What was to be read next has left history meanwhile.
        let (page, phase) = page.unwrap_or_else(|_| {
            (Page::Frames(vec![disconnected_frame("too slow", self.token().as_deref())]), Phase::Ended)
        });
        self.phase = phase;
        page
    }

    fn snapshot_page(
        &self,
        views: &Views,
        as_of: Tick,
        after: Option<&Cursor>,
        announced: bool,
    ) -> Result<(Page, Phase), ReadError> {
        let (rows, rest) = views.shelf_of(self.view).snapshot(as_of, after, PAGE)?;
        let mut page = PageFrames::default();
        if !announced {
            page.push(json!({"snapshot": {"as_of": as_of}}).to_string().into());
        }
        if !announced {
            page.tell_columns(views, self.view, 0..as_of + 1);
        }
        rows.into_iter().for_each(|(row, copies)| page.push(change_frame(as_of, copies, &row)));
        if rest.is_some() {
            return Ok((Page::Frames(page.frames), Phase::Snapshot { as_of, after: rest, announced: true }));
        }
        let upper = as_of + 1;
        page.push(progress_frame(self.run, self.view, upper, views.mark_at(as_of)));
        Ok((Page::Frames(page.frames), Phase::Changes { upper, place: 0 }))
    }

    fn changes_page(&self, views: &Views, upper: Tick, place: usize) -> Result<(Page, Phase), ReadError> {
        let shelf = views.shelf_of(self.view);
        let frontier = shelf.published().map_or(0, |published| published + 1);
        if upper >= frontier {
            return Ok((Page::CaughtUp(upper), Phase::Changes { upper, place }));
        }
        let mut page = PageFrames::default();
        let (mut sent, mut complete_upper) = (place, upper);
        for (tick, changes) in shelf.changed_ticks(upper)? {
            if page.is_full() {
                page.tell_columns(views, self.view, complete_upper..tick);
                return Ok((Page::Frames(page.frames), Phase::Changes { upper: tick, place: 0 }));
            }
            if sent == 0 {
                page.tell_columns(views, self.view, complete_upper..tick + 1);
            }
            let rows = shelf.changes(tick, sent, page.room())?;
            sent += rows.len();
            rows.into_iter().for_each(|(row, diff)| page.push(change_frame(tick, diff, &row)));
            if sent < changes {
                // Between `upper` and `tick` nothing changed, so that the place is one among the tick's changes.
                return Ok((Page::Frames(page.frames), Phase::Changes { upper: tick, place: sent }));
            }
            (sent, complete_upper) = (0, tick + 1);
            page.push(progress_frame(self.run, self.view, complete_upper, views.mark_at(tick)));
        }
        if complete_upper < frontier {
            page.tell_columns(views, self.view, complete_upper..frontier);
            page.push(progress_frame(self.run, self.view, frontier, views.published()));
        }
        Ok((Page::Frames(page.frames), Phase::Changes { upper: frontier, place: 0 }))
    }
}

#[derive(Default)]
struct PageFrames {
    frames: Vec<Frame>,
    bytes: usize,
}

impl PageFrames {
    fn push(&mut self, frame: Frame) {
        self.bytes += frame.len();
        self.frames.push(frame);
    }

    /// Tells of the columns that came in these ticks, if any did.
    fn tell_columns(&mut self, views: &Views, view: ViewId, ticks: Range<Tick>) {
        if let Some((_, frame)) = columns_frame(views, view, ticks) {
            self.push(frame);
        }
    }

    fn is_full(&self) -> bool {
        self.frames.len() >= PAGE_FRAMES_MAX || self.bytes >= PAGE_BYTES_MAX
    }

    /// What still fits.
    fn room(&self) -> Bounds {
        Bounds {
            rows_max: PAGE_FRAMES_MAX.saturating_sub(self.frames.len()),
            bytes_max: PAGE_BYTES_MAX.saturating_sub(self.bytes),
        }
    }
}

/// Where one goes on with a token, if history reaches that far.
fn upper_of(views: &Views, view: ViewId, token: &str) -> Result<Tick, Failure> {
    let upper = token::upper_of(token, views.run(), view)?;
    let newest = views.newest()?.tick;
    if upper > newest.saturating_add(1) {
        return Err(Failure::not_yet_published(format!(
            "the token {token:?} is ahead of the newest tick, {newest}; try again in a moment"
        )));
    }
    match views.shelf_of(view).changed_ticks(upper) {
        Ok(_) => Ok(upper),
        Err(ReadError::Gone { oldest }) => Err(Failure::gone(format!(
            "what changed since the token {token:?} lies before history, whose oldest tick is {oldest}; begin anew \
             without a token"
        ))),
        Err(error) => Err(error.into()),
    }
}

/// The row is text already, with its columns in canonical order.
fn change_frame(tick: Tick, diff: i64, row: &str) -> Frame {
    format!("{{\"tick\":{tick},\"diff\":{diff},\"row\":{row}}}").into()
}

/// What a subscriber is told who knows all columns before some ticks: when the last one came that came in them, and all that
/// rows have from there on. Every progress says that the columns before it were told, so a token needs to say nothing of them.
fn columns_frame(views: &Views, view: ViewId, ticks: Range<Tick>) -> Option<(Tick, Frame)> {
    let codec = views.codec_of(view);
    let since = codec.added().iter().map(|column| column.since).filter(|since| ticks.contains(since)).max()?;
    let added = codec.added().iter().filter(|column| column.since <= since).map(column_as_json);
    let frame = json!({"columns": {"version": codec.version_at(since), "added": added.collect::<Vec<_>>()}});
    Some((since, frame.to_string().into()))
}

fn progress_frame(run: RunId, view: ViewId, upper: Tick, mark: Option<&Mark>) -> Frame {
    let sealed_through = mark.map(|mark| Arc::clone(&mark.sealed_through)).unwrap_or_default();
    let of_group = |(group, sealed_ms): (&String, &TimeMs)| (group.clone(), time_as_json(*sealed_ms));
    let sealed_through: Map<String, Value> = sealed_through.iter().map(of_group).collect();
    let token = token::token(run, view, upper);
    json!({"progress": upper, "sealed_through": sealed_through, "token": token}).to_string().into()
}

/// The last frame: why nothing more comes, and with what one can go on.
pub fn disconnected_frame(reason: &str, token: Option<&str>) -> Frame {
    let token = token.map_or(Value::Null, Value::from);
    json!({"disconnected": reason, "token": token}).to_string().into()
}

#[cfg(test)]
mod tests;
