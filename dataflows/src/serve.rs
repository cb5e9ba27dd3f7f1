//! Reading the published views: what every question is answered from, and the answers as pure functions.
//!
//! [`Views`] holds all views as of one tick, the published one, with the history of each. [`answer`] turns a request into
//! a response; it reads no clock and no socket, so the same views give the same bytes. Every answer is of ONE tick and
//! says which (`tick`), what time that tick stands for (`time_ms`), and which tick is next (`frontier`).
//!
//! [`subscribe`] follows a view instead of asking again.

mod availability;
mod failure;
pub mod fields;
pub mod history;
mod instant;
mod listing;
pub mod subscribe;
pub mod testing;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use operators::index::{ApplyError, HistoryBounds, Index};
use operators::time::{MINUS_INFINITY, Tick, TimeMs};

use crate::views::{Row, VariantTotal, View};

pub use availability::NODES_MAX;
pub use failure::Failure;
use instant::time_as_json;

pub use instant::{format_instant, parse_instant};
pub use listing::{LIMIT_DEFAULT, LIMIT_MAX};

/// What a row of `variant_totals` says beyond its sums, computed when it is read.
pub type Readout = fn(&VariantTotal) -> Value;

/// A question: a path, and what follows the `?`, decoded.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// For example `/v1/views/stock`.
    pub path: String,
    /// Names and values in the order in which they were given.
    pub query: Vec<(String, String)>,
    /// What time the one who asks has, where that counts: an answer of the published tick is judged as of the later of
    /// this and the tick's own time. Absent where time is what the records say, as in a run over files.
    pub at_ms: Option<TimeMs>,
}

/// An answer: a status as in HTTP, and one JSON object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// 200, 202, 400, 404, 405, 409, 410, 413 or 503.
    pub status: u16,
    /// The object's text.
    pub body: String,
}

/// What is known of a published tick beside the rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The tick.
    pub tick: Tick,
    /// What time it was.
    pub time_ms: TimeMs,
    /// Through which event time each tenant's events and facts are sealed, by the names of their groups; a group of which
    /// nothing is sealed is absent.
    pub sealed_through: Arc<BTreeMap<String, TimeMs>>,
}

/// All views as of the published tick, with their history.
pub struct Views {
    /// By the views' order in [`View::ALL`].
    indexes: Vec<Index<Row>>,
    enabled: Vec<bool>,
    /// Ascending; they reach back as far as any view's history.
    marks: VecDeque<Mark>,
    readout: Option<Readout>,
}

impl Views {
    /// Empty views. Those that are not `enabled` stay so, and say that they are not computed.
    pub fn new(enabled: &[View], bounds: HistoryBounds) -> Views {
        Views {
            indexes: View::ALL.iter().map(|_| Index::new(bounds, fields::row_bytes)).collect(),
            enabled: View::ALL.iter().map(|view| enabled.contains(view)).collect(),
            marks: VecDeque::new(),
            readout: None,
        }
    }

    /// Bounds the history of one view, before anything is published.
    pub fn set_history(&mut self, view: View, bounds: HistoryBounds) {
        self.indexes[view as usize] = Index::new(bounds, fields::row_bytes);
    }

    /// From now on rows of `variant_totals` are listed with what `readout` says of them, as `readout`.
    pub fn set_readout(&mut self, readout: Readout) {
        self.readout = Some(readout);
    }

    /// Publishes a tick: everything that changed in it, in any order and any number of pieces for each view. Views that are
    /// not named changed nothing.
    /// An error is a mistake of ours; the process stops upon it.
    pub fn apply_tick(
        &mut self,
        tick: Tick,
        time_ms: TimeMs,
        changes: Vec<(View, Vec<(Row, i64)>)>,
        sealed_through: Vec<(String, TimeMs)>,
    ) -> Result<(), ApplyError> {
        let mut by_view: Vec<Pieces> = View::ALL.iter().map(|_| Vec::new()).collect();
        for (view, rows) in changes {
            by_view[view as usize].push(rows);
        }
        apply_all(&mut self.indexes, by_view, tick)?;
        let sealed_through = self.sealed_with(sealed_through);
        self.marks.push_back(Mark { tick, time_ms, sealed_through });
        let oldest = self.indexes.iter().map(Index::oldest_readable).min().unwrap_or(0);
        while self.marks.get(1).is_some_and(|next| next.tick <= oldest) {
            self.marks.pop_front();
        }
        Ok(())
    }

    /// What the newest tick says; none before the first.
    pub fn published(&self) -> Option<&Mark> {
        self.marks.back()
    }

    /// What the tick says, or the last one before it, within history.
    pub fn mark_at(&self, tick: Tick) -> Option<&Mark> {
        let after = self.marks.partition_point(|mark| mark.tick <= tick);
        after.checked_sub(1).and_then(|place| self.marks.get(place))
    }

    /// The rows of a view, with their history.
    pub fn index_of(&self, view: View) -> &Index<Row> {
        &self.indexes[view as usize]
    }

    /// Whether the view is computed at all.
    pub fn is_enabled(&self, view: View) -> bool {
        self.enabled[view as usize]
    }

    /// The published rows of a view, in canonical order.
    pub fn rows(&self, view: View) -> impl Iterator<Item = &Row> {
        self.index_of(view).iter().map(|(row, _)| row)
    }

    /// What is sealed after `updates`; one map serves all ticks that seal nothing.
    fn sealed_with(&self, updates: Vec<(String, TimeMs)>) -> Arc<BTreeMap<String, TimeMs>> {
        let before = self.published().map(|mark| Arc::clone(&mark.sealed_through)).unwrap_or_default();
        let is_news = |(tenant, time_ms): &(String, TimeMs)| {
            *time_ms != MINUS_INFINITY && before.get(tenant.as_str()) != Some(time_ms)
        };
        if !updates.iter().any(is_news) {
            return before;
        }
        let mut sealed_through = BTreeMap::clone(&before);
        sealed_through.extend(updates.into_iter().filter(|(_, time_ms)| *time_ms != MINUS_INFINITY));
        Arc::new(sealed_through)
    }

    /// The view of that name, if it is there to be read.
    fn view_named(&self, name: &str) -> Result<View, Failure> {
        let view = View::of_name(name).ok_or_else(|| Failure::unknown_view(name))?;
        if self.is_enabled(view) { Ok(view) } else { Err(Failure::view_disabled(view)) }
    }

    /// The newest mark, without which no question has an answer.
    fn newest(&self) -> Result<&Mark, Failure> {
        self.published().ok_or_else(Failure::starting)
    }

    /// What every answer begins with.
    fn head(&self, mark: &Mark) -> Map<String, Value> {
        let frontier = self.published().map_or(0, |newest| newest.tick + 1);
        let head = [("tick", json!(mark.tick)), ("time_ms", time_as_json(mark.time_ms)), ("frontier", json!(frontier))];
        head.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// Answers a `GET`.
pub fn answer(views: &Views, request: &Request) -> Response {
    match route(views, request) {
        Ok(body) => Response { status: 200, body },
        Err(failure) => failure.into_response(),
    }
}

fn route(views: &Views, request: &Request) -> Result<String, Failure> {
    let path = request.path.strip_suffix('/').unwrap_or(&request.path);
    match path {
        "/healthz" => health(views),
        "/v1/views" => listing::list(views),
        "/v1/availability" => availability::look_up(views, request),
        // Where history is kept, it is asked before the views are.
        "/v1/history" => Err(Failure::no_history()),
        _ => match path.strip_prefix("/v1/views/") {
            Some(name) if !name.contains('/') => listing::read(views, views.view_named(name)?, &request.query),
            _ => Err(Failure::unknown_path(&request.path)),
        },
    }
}

fn health(views: &Views) -> Result<String, Failure> {
    let mut body = Map::new();
    body.insert("status".to_owned(), json!("ok"));
    body.extend(views.head(views.newest()?));
    Ok(Value::Object(body).to_string())
}

/// The changes of a view, as they came.
type Pieces = Vec<Vec<(Row, i64)>>;

/// Above so many changes a view has a thread of its own, unless it is the largest one, which has this one: what a restore
/// shows is the whole collection, and in large views each row that changes is looked for.
const CHANGES_OF_A_THREAD: usize = 4_000;

/// Publishes a tick in every view. The outcome is that of one view after the other.
fn apply_all(indexes: &mut [Index<Row>], by_view: Vec<Pieces>, tick: Tick) -> Result<(), ApplyError> {
    let rows = |pieces: &Pieces| pieces.iter().map(Vec::len).sum::<usize>();
    let most = by_view.iter().map(rows).max().unwrap_or(0);
    std::thread::scope(|scope| {
        let (mut threads, mut here, mut has_largest) = (Vec::new(), Vec::new(), false);
        for (index, pieces) in indexes.iter_mut().zip(by_view) {
            let rows = rows(&pieces);
            let is_first_of_largest = rows == most && !has_largest;
            has_largest |= is_first_of_largest;
            match rows > CHANGES_OF_A_THREAD && !is_first_of_largest {
                true => threads.push(scope.spawn(move || index.apply_pieces(tick, pieces))),
                false => here.push((index, pieces)),
            }
        }
        let mut applied = Ok(());
        for (index, pieces) in here {
            applied = applied.and(index.apply_pieces(tick, pieces));
        }
        for thread in threads {
            let of_thread = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            applied = applied.and(of_thread);
        }
        applied
    })
}

#[cfg(test)]
mod tests {
    use super::testing::{WIDE, ask, stock, views};
    use super::*;

    #[test]
    fn views_lie_at_their_place() {
        for (place, view) in View::ALL.into_iter().enumerate() {
            assert_eq!(view as usize, place);
        }
    }

    #[test]
    fn health_says_which_tick_it_is() {
        let (status, body) = ask(&Views::new(&View::ALL, WIDE), "/healthz", &[]);
        assert_eq!((status, body["error"]["code"].as_str()), (503, Some("starting")));
        let (status, body) = ask(&views(), "/healthz", &[]);
        assert_eq!((status, body), (200, json!({"status": "ok", "tick": 3, "time_ms": 3_000, "frontier": 4})));
    }

    #[test]
    fn unknown_paths_are_named() {
        for path in ["/", "/v1", "/v1/views/stock/rows", "/healthz/x"] {
            let (status, body) = ask(&views(), path, &[]);
            assert_eq!((status, body["error"]["code"].as_str()), (404, Some("unknown_path")), "{path}");
        }
    }

    /// So many changes that each view has a thread: the same rows, and a mistake in one of them is told.
    #[test]
    fn a_whole_collection_is_published_at_once() {
        let mut views = Views::new(&View::ALL, WIDE);
        let many = CHANGES_OF_A_THREAD as u64 + 1;
        let mut expected: Vec<Row> = (0..many).map(stock).collect();
        expected.sort();
        let rows = |diff| (0..many).rev().map(|number| (stock(number), diff)).collect::<Vec<_>>();
        views.apply_tick(7, 70, vec![(View::Stock, rows(1)), (View::Availability, rows(1))], Vec::new()).unwrap();
        for view in [View::Stock, View::Availability] {
            let index = views.index_of(view);
            assert!(index.iter().eq(expected.iter().map(|row| (row, 1))));
            assert!(index.changes_since(7).is_err(), "a restore is no tick's work");
        }
        let taken = vec![(View::Stock, rows(-1)), (View::Availability, rows(-2))];
        assert_eq!(views.apply_tick(8, 80, taken, Vec::new()), Err(ApplyError::Negative { tick: 8 }));
    }

    #[test]
    fn marks_reach_back_as_far_as_history() {
        let mut views = Views::new(&View::ALL, HistoryBounds { ticks_max: 2, bytes_max: 1 << 20 });
        for tick in 0..10 {
            let sealed = vec![("north".to_owned(), tick as i64 / 4), ("south".to_owned(), MINUS_INFINITY)];
            views.apply_tick(tick, tick as i64 * 10, vec![(View::Stock, vec![(stock(tick), 1)])], sealed).unwrap();
        }
        assert_eq!(views.marks.iter().map(|mark| mark.tick).collect::<Vec<_>>(), [7, 8, 9]);
        assert_eq!(views.mark_at(8).map(|mark| mark.time_ms), Some(80));
        assert_eq!(views.mark_at(6), None);
        let sealed = &views.published().unwrap().sealed_through;
        assert_eq!(**sealed, BTreeMap::from([("north".to_owned(), 2)]), "nothing of the south is sealed");
        assert!(Arc::ptr_eq(sealed, &views.mark_at(8).unwrap().sealed_through), "9 sealed nothing");
    }
}
