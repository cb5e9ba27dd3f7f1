//! Reading the published views: what every question is answered from, and the answers as pure functions.
//!
//! [`Views`] holds all views as of one tick, the published one, with the history of each. [`answer()`] turns a request into
//! a response; it reads no clock and no socket, so the same views give the same bytes. Every answer is of ONE tick and
//! says which (`tick`), what time that tick stands for (`time_ms`), and which tick is next (`frontier`).
//!
//! What is here knows no view: listings, snapshots and changes follow from the columns. A domain's own questions stand
//! beside its views, in the list of [`ENDPOINTS`]. [`subscribe`] follows a view instead of asking again.
//!
//! A view may come to be served in parts that lie in several processes; a reader of a tick asks [`Views`] and assumes
//! nothing about where rows lie. For now there is one part.

mod endpoints;
mod failure;
pub mod history;
pub(crate) mod instant;
pub(crate) mod listing;
pub mod subscribe;
pub mod testing;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use operators::index::{ApplyError, HistoryBounds};
use operators::time::{MINUS_INFINITY, Tick, TimeMs};

use crate::view::shelf::{AnyShelf, Shelf};
use crate::view::{ChangeList, Codecs, Listed, ViewCodec, ViewId};

pub use crate::inventory::availability::NODES_MAX;
pub use endpoints::{ENDPOINTS, Endpoint};
pub use failure::Failure;
use instant::time_as_json;
use subscribe::RunId;

pub use instant::{format_instant, parse_instant};
pub use listing::{LIMIT_DEFAULT, LIMIT_MAX, LISTING_BYTES_MAX, PAGE_BYTES, Pages, Piece};

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
    /// 200, 202, 400, 403, 404, 405, 408, 409, 410, 413, 415, 429, 500 or 503.
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
    run: RunId,
    codecs: Codecs,
    /// By the views' places in the list.
    shelves: Vec<Box<dyn AnyShelf>>,
    enabled: Vec<bool>,
    /// Ascending; they reach back as far as any view's history.
    marks: VecDeque<Mark>,
}

impl Views {
    /// Empty views. Those that are not `enabled` stay so, and say that they are not computed.
    pub fn new(codecs: Codecs, enabled: &[ViewId], bounds: HistoryBounds) -> Views {
        Views {
            run: RunId::default(),
            shelves: ViewId::all().map(|view| codecs.of(view).shelf(bounds)).collect(),
            enabled: ViewId::all().map(|view| enabled.contains(&view)).collect(),
            marks: VecDeque::new(),
            codecs,
        }
    }

    /// Says of which run the views are, before anything is published.
    pub fn set_run(&mut self, run: RunId) {
        self.run = run;
    }

    /// Of which run the views are.
    pub fn run(&self) -> RunId {
        self.run
    }

    /// Bounds the history of one view, before anything is published.
    pub fn set_history(&mut self, view: ViewId, bounds: HistoryBounds) {
        self.shelves[view.index()] = self.codecs.of(view).shelf(bounds);
    }

    /// Publishes a tick: everything that changed in it, in any order and any number of pieces for each view. Views that are
    /// not named changed nothing.
    /// An error is a mistake of ours; the process stops upon it.
    pub fn apply_tick(
        &mut self,
        tick: Tick,
        time_ms: TimeMs,
        changes: Vec<(ViewId, Box<dyn ChangeList>)>,
        sealed_through: Vec<(String, TimeMs)>,
    ) -> Result<(), ApplyError> {
        let mut by_view: Vec<Pieces> = ViewId::all().map(|_| Vec::new()).collect();
        for (view, rows) in changes {
            by_view[view.index()].push(rows);
        }
        apply_all(&mut self.shelves, by_view, tick)?;
        let sealed_through = self.sealed_with(sealed_through);
        self.marks.push_back(Mark { tick, time_ms, sealed_through });
        let oldest = self.shelves.iter().map(|shelf| shelf.oldest_readable()).min().unwrap_or(0);
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

    /// The rows of a view that is known by its number, with their history.
    pub fn shelf_of(&self, view: ViewId) -> &dyn AnyShelf {
        &*self.shelves[view.index()]
    }

    /// The rows of a view that is known, with their history.
    pub fn shelf<V: Listed>(&self) -> &Shelf<V> {
        self.shelf_of(V::ID).as_any().downcast_ref().expect("the shelf at a view's place is the view's")
    }

    /// The columns of a view, whatever its rows are.
    pub fn codec_of(&self, view: ViewId) -> &dyn ViewCodec {
        &**self.codecs.of(view)
    }

    /// Whether the view is computed at all.
    pub fn is_enabled(&self, view: ViewId) -> bool {
        self.enabled[view.index()]
    }

    /// The published rows of a view, in canonical order.
    pub fn rows<V: Listed>(&self) -> Vec<&V::Row> {
        self.shelf::<V>().rows()
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
    pub(crate) fn view_named(&self, name: &str) -> Result<ViewId, Failure> {
        let view = ViewId::of_name(name).ok_or_else(|| Failure::unknown_view(name))?;
        if self.is_enabled(view) { Ok(view) } else { Err(Failure::view_disabled(view)) }
    }

    /// The newest mark, without which no question has an answer.
    pub(crate) fn newest(&self) -> Result<&Mark, Failure> {
        self.published().ok_or_else(Failure::starting)
    }

    /// What every answer begins with.
    pub(crate) fn head(&self, mark: &Mark) -> Map<String, Value> {
        let frontier = self.published().map_or(0, |newest| newest.tick + 1);
        let head = [("tick", json!(mark.tick)), ("time_ms", time_as_json(mark.time_ms)), ("frontier", json!(frontier))];
        head.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// An answer, as it is made.
pub enum Answer {
    /// All of it.
    Whole(String),
    /// A listing, of which nothing is read yet.
    Pages(Box<Pages>),
}

/// Answers a `GET`, or begins to.
pub fn begin(views: &Views, request: &Request) -> Result<Answer, Failure> {
    endpoints::answer(views, request)
}

/// Answers a `GET` in one go: for whoever holds the views meanwhile, and has the memory.
pub fn answer(views: &Views, request: &Request) -> Response {
    match begin(views, request) {
        Ok(Answer::Whole(body)) => Response { status: 200, body },
        Ok(Answer::Pages(pages)) => Response { status: 200, body: pages.whole(views) },
        Err(failure) => failure.into_response(),
    }
}

/// The changes of a view, as they came.
type Pieces = Vec<Box<dyn ChangeList>>;

/// Above so many changes a view has a thread of its own, unless it is the largest one, which has this one: what a restore
/// shows is the whole collection, and in large views each row that changes is looked for.
const CHANGES_OF_A_THREAD: usize = 4_000;

/// Publishes a tick in every view. The outcome is that of one view after the other.
fn apply_all(shelves: &mut [Box<dyn AnyShelf>], by_view: Vec<Pieces>, tick: Tick) -> Result<(), ApplyError> {
    let rows = |pieces: &Pieces| pieces.iter().map(|piece| piece.len()).sum::<usize>();
    let most = by_view.iter().map(rows).max().unwrap_or(0);
    std::thread::scope(|scope| {
        let (mut threads, mut here, mut has_largest) = (Vec::new(), Vec::new(), false);
        for (shelf, pieces) in shelves.iter_mut().zip(by_view) {
            let rows = rows(&pieces);
            let is_first_of_largest = rows == most && !has_largest;
            has_largest |= is_first_of_largest;
            match rows > CHANGES_OF_A_THREAD && !is_first_of_largest {
                true => threads.push(scope.spawn(move || shelf.apply(tick, pieces))),
                false => here.push((shelf, pieces)),
            }
        }
        let mut applied = Ok(());
        for (shelf, pieces) in here {
            applied = applied.and(shelf.apply(tick, pieces));
        }
        for thread in threads {
            let of_thread = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            applied = applied.and(of_thread);
        }
        applied
    })
}

#[cfg(test)]
mod tests;
