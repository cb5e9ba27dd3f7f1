//! Retention: rows of a view that leave by ordinary retractions.
//!
//! Folds forget without retraction, so a view that shows their rows would grow for ever. This fold stands between them and
//! the view: it holds what was shown, and takes a row back once it is out of retention, by event time behind a watermark
//! or by how long ago it came.
//!
//! # What goes in and comes out
//!
//! The changes of a collection go in, as postings keyed by the whole row. The same changes come out at the same ticks, and
//! a retraction of all copies of a row in the tick in which its time is over.
//!
//! # SetAsideReason it is exact
//!
//! [`Until`] is a pure function of the row and of the configuration, and the fold's `wake` names the tick in which the row
//! leaves. A watermark that is plus infinity, since all that feeds the group has ended, makes nothing older: rows stay.
//!
//! # Cost
//!
//! Every row that is shown is held here once more, as a key, with some 56 bytes beside it.
//!
//! # What it does not do
//!
//! A retraction that comes after its row has left shows nothing: whoever retracts rows out of retention says nothing new.
//! A row that comes again after it has left begins its time anew.
//!
//! # Example
//!
//! Messages stay for ten milliseconds of `now`.
//!
//! ```
//! use std::marker::PhantomData;
//! use std::rc::Rc;
//!
//! use operators::checkpoint::Checkpoints;
//! use operators::clock::Mark;
//! use operators::fold::{Folded, rows};
//! use operators::retain::{Retain, Until};
//! use operators::route::route;
//! use operators::shard::PlaceKey;
//! use timely::dataflow::operators::capture::{Capture, Extract};
//! use timely::dataflow::operators::vec::{Delay, ToStream};
//!
//! let until = |_: &String| Until::AfterMs(10);
//! let changes = timely::example(move |scope| {
//!     let messages = [("hello".to_owned(), 0, 1)].to_stream(scope);
//!     let mark = |(tick, now_ms)| Mark { tick, now_ms, watermarks: [].into(), reached: [].into(), checkpoint: false };
//!     let marks = [(0, 100), (1, 109), (2, 110)].map(mark).to_stream(scope).delay(|mark, _| mark.tick);
//!     let fold = Rc::new(Retain { name: "RetainMessages", until, rows: PhantomData });
//!     let postings = route(messages, "RouteMessages", Rc::clone(&fold), PlaceKey::WRITTEN);
//!     let outlet = rows(|_: &Retain<_, _>, message: &String, ()| Some(message.clone()));
//!     postings.fold_into(fold, marks, &Checkpoints::default(), outlet).0.capture()
//! });
//! let hello = |tick, diff| ("hello".to_owned(), tick, diff);
//! assert_eq!(changes.extract(), [(0, vec![hello(0, 1)]), (2, vec![hello(2, -1)])]);
//! ```

use serde::{Deserialize, Serialize};
use std::hash::Hash;

use crate::fold::{Data, Fold, Now, Table, Wake};
use crate::time::{MINUS_INFINITY, Tick, TimeMs};
use crate::topology::GroupId;

/// Until when a row stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Until a group's watermark has reached this event time; for ever once all that feeds the group has ended.
    Watermark(GroupId, TimeMs),
    /// For this long of `now` after its tick.
    AfterMs(i64),
}

/// What is kept of a row: its copies, and since when.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Held {
    copies: i64,
    came_ms: Option<TimeMs>,
    left: bool,
}

/// Folds the changes of a collection into the rows that are not out of retention; `until` is a pure function of the row and of the configuration.
pub struct Retain<R, U> {
    /// The operator's name in the graph.
    pub name: &'static str,
    /// Until when a row stays.
    pub until: U,
    /// The type of the rows.
    pub rows: std::marker::PhantomData<R>,
}

impl<R: Data + Hash, U: Fn(&R) -> Until + 'static> Fold for Retain<R, U> {
    type Input = (R, Tick, isize);
    type Key = R;
    type Event = i64;
    type State = Held;
    /// A copy of the row.
    type Value = ();
    type Table = Table<R, Held>;

    fn name(&self) -> &'static str {
        self.name
    }

    fn keys(&self, (row, _, diff): &Self::Input, post: &mut dyn FnMut(R, i64)) {
        post(row.clone(), *diff as i64);
    }

    fn apply(&self, held: &mut Held, _: &R, diff: &i64) {
        held.copies += diff;
    }

    fn seal(&self, held: &mut Held, row: &R, now: &Now<'_>) {
        // Before the first event time of every file is known there is no `now` to count from.
        if held.came_ms.is_none() && now.now_ms > MINUS_INFINITY {
            held.came_ms = Some(now.now_ms);
        }
        held.left = match (self.until)(row) {
            Until::Watermark(group, at_ms) => now.reached(group) >= at_ms,
            Until::AfterMs(after_ms) => {
                held.came_ms.is_some_and(|came_ms| now.now_ms >= came_ms.saturating_add(after_ms))
            }
        };
    }

    fn values(&self, _: &R, held: &Held, values: &mut Vec<()>) {
        if !held.left {
            values.extend((0..held.copies).map(|_| ()));
        }
    }

    fn wake(&self, row: &R, held: &Held) -> Option<Wake> {
        if held.left || held.copies == 0 {
            return None;
        }
        match (self.until)(row) {
            Until::Watermark(group, at_ms) => Some(Wake::Watermark(group, at_ms)),
            Until::AfterMs(after_ms) => Some(Wake::Now(match held.came_ms {
                Some(came_ms) => came_ms.saturating_add(after_ms),
                None => MINUS_INFINITY + 1,
            })),
        }
    }

    fn retire_at(&self, _: &R, held: &Held) -> Option<Wake> {
        (held.left || held.copies == 0).then_some(Wake::Now(TimeMs::MIN))
    }

    fn retire(&self, held: &mut Held, _: &R, _: &Now<'_>) -> bool {
        held.left || held.copies == 0
    }
}

#[cfg(test)]
mod tests;
