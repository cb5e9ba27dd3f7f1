//! Following a view: a snapshot as of a tick, then its changes and its progress, and a token to go on from.
//!
//! A subscriber first reads at its own pace, page by page, from the index and its history ([`Subscription`]). Once it has
//! reached the published tick it follows: each tick puts its frames into the subscriber's ring, which is bounded
//! ([`Hub`]). Whoever lets the ring fill up, or history pass by, is disconnected, and can come back with its token for
//! as long as history reaches.
//!
//! Frames are JSON objects:
//! * `{"snapshot":{"as_of":7}}`: the rows that follow, up to the next progress, are the view as of tick 7;
//! * `{"tick":8,"diff":-1,"row":{..}}`: so many copies of the row came (or went) at that tick;
//! * `{"progress":9,"sealed_through":{"north/facts":60000},"token":"stock:9"}`: all ticks before 9 are complete. A row counts
//!   once a progress passes its tick; after a disconnect, rows behind the last progress come again. A group through whose
//!   event times everything is sealed, since its sources have ended, has `"end"` in place of a time;
//! * `{"disconnected":"too slow","token":"stock:9"}`: the last frame. Without a token one has to begin anew.

mod hub;

use std::ops::Bound;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use operators::index::ReadError;
use operators::time::{Tick, TimeMs};

use crate::serve::instant::time_as_json;
use crate::serve::listing::{Query, mark_asked_for};
use crate::serve::{Failure, Mark, Views};
use crate::views::{Row, View};

pub use hub::{Hub, HubBounds, RingId, Taken};

/// One frame's JSON text, which all subscribers of a view share.
pub type Frame = Arc<str>;

/// A page holds about this many frames.
const PAGE_FRAMES_MAX: usize = 1_000;

/// A page holds about this many bytes.
const PAGE_BYTES_MAX: usize = 1 << 20;

/// A subscriber's way from where it begins to the published tick.
#[derive(Clone, Debug)]
pub struct Subscription {
    view: View,
    phase: Phase,
}

#[derive(Clone, Debug)]
enum Phase {
    /// The snapshot is announced but not begun, or sent up to and including a row.
    Snapshot { as_of: Tick, after: Option<Row>, announced: bool },
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
        Ok(Subscription { view, phase })
    }

    /// The view that is followed.
    pub fn view(&self) -> View {
        self.view
    }

    /// With which token one can go on behind what was sent; none within a snapshot.
    pub fn token(&self) -> Option<String> {
        match self.phase {
            Phase::Changes { upper, .. } => Some(token(self.view, upper)),
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
        after: Option<&Row>,
        announced: bool,
    ) -> Result<(Page, Phase), ReadError> {
        let rows = views.index_of(self.view).at(as_of)?;
        let mut page = PageFrames::default();
        if !announced {
            page.push(json!({"snapshot": {"as_of": as_of}}).to_string().into());
        }
        let begin = after.map_or(Bound::Unbounded, Bound::Excluded);
        for (row, copies) in rows.range((begin.cloned(), Bound::Unbounded)) {
            page.push(change_frame(as_of, copies, row));
            if page.is_full() {
                let phase = Phase::Snapshot { as_of, after: Some(row.clone()), announced: true };
                return Ok((Page::Frames(page.frames), phase));
            }
        }
        let upper = as_of + 1;
        page.push(progress_frame(self.view, upper, views.mark_at(as_of)));
        Ok((Page::Frames(page.frames), Phase::Changes { upper, place: 0 }))
    }

    fn changes_page(&self, views: &Views, upper: Tick, place: usize) -> Result<(Page, Phase), ReadError> {
        let index = views.index_of(self.view);
        let frontier = index.published().map_or(0, |published| published + 1);
        if upper >= frontier {
            return Ok((Page::CaughtUp(upper), Phase::Changes { upper, place }));
        }
        let mut page = PageFrames::default();
        let (mut skip, mut complete_upper) = (place, upper);
        for (tick, changes) in index.changes_since(upper)? {
            for (sent, (row, diff)) in changes.iter().enumerate().skip(skip) {
                if page.is_full() {
                    // Between `upper` and `tick` nothing changed, so that the place is one among the tick's changes.
                    return Ok((Page::Frames(page.frames), Phase::Changes { upper: tick, place: sent }));
                }
                page.push(change_frame(tick, *diff, row));
            }
            (skip, complete_upper) = (0, tick + 1);
            page.push(progress_frame(self.view, complete_upper, views.mark_at(tick)));
        }
        if complete_upper < frontier {
            page.push(progress_frame(self.view, frontier, views.published()));
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

    fn is_full(&self) -> bool {
        self.frames.len() >= PAGE_FRAMES_MAX || self.bytes >= PAGE_BYTES_MAX
    }
}

/// Says that everything before tick `upper` is known.
fn token(view: View, upper: Tick) -> String {
    format!("{}:{upper}", view.name())
}

/// Where one goes on with a token, if history reaches that far.
fn upper_of(views: &Views, view: View, token: &str) -> Result<Tick, Failure> {
    let malformed = || Failure::bad_request(format!("the token {token:?} has to be one like {}:123", view.name()));
    let (name, upper) = token.split_once(':').ok_or_else(malformed)?;
    let upper: Tick = upper.parse().map_err(|_| malformed())?;
    if name != view.name() {
        let view = view.name();
        return Err(Failure::bad_request(format!("the token {token:?} is of another view than {view}")));
    }
    let newest = views.newest()?.tick;
    if upper > newest.saturating_add(1) {
        return Err(Failure::not_yet_published(format!(
            "the token {token:?} is ahead of the newest tick, {newest}; try again in a moment, or, if the run was \
             started afresh, without a token"
        )));
    }
    match views.index_of(view).changes_since(upper) {
        Ok(_) => Ok(upper),
        Err(ReadError::Gone { oldest }) => Err(Failure::gone(format!(
            "what changed since the token {token:?} lies before history, whose oldest tick is {oldest}; begin anew \
             without a token"
        ))),
        Err(error) => Err(error.into()),
    }
}

fn change_frame(tick: Tick, diff: i64, row: &Row) -> Frame {
    // The row is text already, with its fields in canonical order.
    format!("{{\"tick\":{tick},\"diff\":{diff},\"row\":{}}}", row.to_json()).into()
}

fn progress_frame(view: View, upper: Tick, mark: Option<&Mark>) -> Frame {
    let sealed_through = mark.map(|mark| Arc::clone(&mark.sealed_through)).unwrap_or_default();
    let of_group = |(group, sealed_ms): (&String, &TimeMs)| (group.clone(), time_as_json(*sealed_ms));
    let sealed_through: Map<String, Value> = sealed_through.iter().map(of_group).collect();
    json!({"progress": upper, "sealed_through": sealed_through, "token": token(view, upper)}).to_string().into()
}

/// The last frame: why nothing more comes, and with what one can go on.
pub fn disconnected_frame(reason: &str, token: Option<&str>) -> Frame {
    let token = token.map_or(Value::Null, Value::from);
    json!({"disconnected": reason, "token": token}).to_string().into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use operators::index::HistoryBounds;
    use operators::time::{MINUS_INFINITY, PLUS_INFINITY};

    use super::super::testing::{WIDE, stock, views};
    use super::*;

    fn query(name: &str, value: &str) -> Vec<(String, String)> {
        vec![(name.to_owned(), value.to_owned())]
    }

    /// All frames until it is caught up or ended.
    fn drain(subscription: &mut Subscription, views: &Views) -> Vec<Value> {
        let mut frames = Vec::new();
        while let Page::Frames(page) = subscription.page(views) {
            assert!(page.len() <= PAGE_FRAMES_MAX + 2, "a page is bounded");
            frames.extend(page.iter().map(|frame| serde_json::from_str::<Value>(frame).unwrap()));
        }
        frames
    }

    /// The collection that a subscriber has who believes each row once a progress passed it.
    fn believed(frames: &[Value]) -> BTreeMap<String, i64> {
        let (mut rows, mut pending) = (BTreeMap::new(), Vec::new());
        for frame in frames {
            match frame.get("row") {
                Some(row) => pending.push((row.to_string(), frame["diff"].as_i64().unwrap())),
                None if frame.get("progress").is_some() => {
                    for (row, diff) in pending.drain(..) {
                        *rows.entry(row).or_insert(0) += diff;
                    }
                }
                None => pending.clear(),
            }
        }
        rows.retain(|_, copies| *copies != 0);
        rows
    }

    fn rows_of(views: &Views) -> BTreeMap<String, i64> {
        views.index_of(View::Stock).iter().map(|(row, copies)| (row.to_json(), copies)).collect()
    }

    #[test]
    fn a_snapshot_comes_before_changes() {
        let views = views();
        let mut subscription = Subscription::begin(&views, "stock", &query("as_of", "1")).unwrap();
        let frames = drain(&mut subscription, &views);
        assert_eq!(frames[0], json!({"snapshot": {"as_of": 1}}));
        assert_eq!((&frames[1]["tick"], &frames[1]["diff"]), (&json!(1), &json!(1)));
        assert_eq!(frames[1]["row"]["sku"], "sku-1");
        assert_eq!(frames[2], json!({"progress": 2, "sealed_through": {}, "token": "stock:2"}));
        assert_eq!((&frames[3]["tick"], &frames[4]["progress"]), (&json!(2), &json!(3)));
        assert_eq!(believed(&frames), rows_of(&views));
        assert_eq!(subscription.page(&views), Page::CaughtUp(4));
        assert_eq!(subscription.token().as_deref(), Some("stock:4"));
    }

    #[test]
    fn what_is_sealed_to_the_end_of_time_has_a_word() {
        let mut views = Views::new(&View::ALL, WIDE);
        let sealed = [("north/events", 60_000), ("north/facts", PLUS_INFINITY), ("south/events", MINUS_INFINITY)];
        views.apply_tick(0, 0, vec![], sealed.map(|(group, time_ms)| (group.to_owned(), time_ms)).to_vec()).unwrap();
        let frames = drain(&mut Subscription::begin(&views, "stock", &[]).unwrap(), &views);
        assert_eq!(frames[1]["sealed_through"], json!({"north/events": 60_000, "north/facts": "end"}));
    }

    /// Wherever a subscriber breaks off, what it believes and what its token brings are the view.
    #[test]
    fn pages_and_resumption_lose_nothing() {
        let mut views = Views::new(&View::ALL, HistoryBounds { ticks_max: 100, bytes_max: 1 << 30 });
        let mut sent = Vec::new();
        views.apply_tick(0, 0, vec![], vec![]).unwrap();
        let mut subscription = Subscription::begin(&views, "stock", &[]).unwrap();
        for tick in 1..6 {
            let mut rows: Vec<(Row, i64)> = (0..700 * tick).map(|number| (stock(tick * 10_000 + number), 1)).collect();
            if tick > 1 {
                rows.extend((0..350).map(|number| (stock((tick - 1) * 10_000 + number), -1)));
            }
            let sealed = vec![("north".to_owned(), tick as i64)];
            views.apply_tick(tick, 0, vec![(View::Stock, rows)], sealed).unwrap();
            if let Page::Frames(page) = subscription.page(&views) {
                sent.extend(page.iter().map(|frame| serde_json::from_str::<Value>(frame).unwrap()));
            }
        }
        sent.extend(drain(&mut subscription, &views));
        assert_eq!(believed(&sent), rows_of(&views));
        for cut in (0..sent.len()).step_by(1_009) {
            let progress = sent[..cut].iter().rposition(|frame| frame.get("progress").is_some());
            let Some(progress) = progress else { continue };
            let upper = sent[progress]["progress"].as_i64().unwrap();
            let sealed = sent[progress]["sealed_through"]["north"].as_i64().unwrap_or(0);
            assert_eq!(sealed, upper - 1, "no tick is called sealed before its rows came");
            let token = query("token", sent[progress]["token"].as_str().unwrap());
            let mut frames = sent[..=progress].to_vec();
            frames.extend(drain(&mut Subscription::begin(&views, "stock", &token).unwrap(), &views));
            assert_eq!(believed(&frames), rows_of(&views), "cut at {cut}");
        }
    }

    #[test]
    fn who_is_overtaken_by_history_is_told() {
        let mut views = Views::new(&View::ALL, HistoryBounds { ticks_max: 1, ..WIDE });
        let rows = (0..3_000).map(|number| (stock(number), 1)).collect();
        views.apply_tick(0, 0, vec![(View::Stock, rows)], vec![]).unwrap();
        let mut in_snapshot = Subscription::begin(&views, "stock", &[]).unwrap();
        assert!(matches!(in_snapshot.page(&views), Page::Frames(_)));
        let mut in_changes = Subscription::begin(&views, "stock", &query("token", "stock:1")).unwrap();
        for tick in 1..4 {
            views.apply_tick(tick, 0, vec![(View::Stock, vec![(stock(9_000 + tick), 1)])], vec![]).unwrap();
        }
        assert_eq!(drain(&mut in_snapshot, &views), [json!({"disconnected": "too slow", "token": null})]);
        assert_eq!(drain(&mut in_changes, &views), [json!({"disconnected": "too slow", "token": "stock:1"})]);
        assert_eq!(in_changes.page(&views), Page::Ended);
        let refused = Subscription::begin(&views, "stock", &query("token", "stock:1")).unwrap_err();
        assert_eq!((refused.status, refused.code), (410, "gone"));
        assert!(refused.message.contains("without a token"), "{refused}");
    }

    #[test]
    fn tokens_are_checked() {
        let views = views();
        let refusal = |query: &[(String, String)]| {
            let refused = Subscription::begin(&views, "stock", query).unwrap_err();
            (refused.status, refused.code)
        };
        for token in ["", "stock", "stock:", "stock:-1", "availability:1", "stock:1:2"] {
            assert_eq!(refusal(&query("token", token)), (400, "bad_request"), "{token:?}");
        }
        assert_eq!(refusal(&query("token", "stock:5")), (404, "not_yet_published"));
        assert_eq!(refusal(&query("sku", "sku-1")), (400, "bad_request"));
        assert_eq!(refusal(&query("as_of", "9")), (404, "not_yet_published"));
        assert_eq!(Subscription::begin(&views, "stocks", &[]).unwrap_err().code, "unknown_view");
        assert_eq!(
            drain(&mut Subscription::begin(&views, "stock", &query("token", "stock:4")).unwrap(), &views).len(),
            0
        );
    }
}
