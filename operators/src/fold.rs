//! Keyed state: folds, run by one generic operator over dense tables.
//!
//! A fold is a plain structure that says how a key's state changes by an event, what the key shows, when that changes
//! without an event, and when the key may be forgotten. The operator ([`Folded::fold_into`]) applies complete ticks in
//! order and gives `values(after) - values(before)` of each key once a tick. Within a tick it applies every event, then
//! [seals](Fold::seal) to `W(T)`.
//!
//! # What goes in and comes out
//!
//! In go [`Posting`]s, which [`crate::route`] makes of records, and the clock's marks. What comes out is the business of an
//! [`Outlet`] within the same operator: [`rows`] gives the changes of rows that are made of what keys show, for a view;
//! [`combined`] adds up what changed and posts the sums to another fold, [`summed`] gives them to differential's own operators.
//! What a key shows is compared as [`Fold::Value`],
//! without the key, so what nobody wants as a row never becomes one. A pair of outlets is an outlet, and so is an optional
//! one.
//!
//! # Why it is exact
//!
//! A posting belongs to the tick that it carries, and a tick is applied once its mark is there and the frontier of the
//! postings has passed it. A fold's methods are pure, and the result of a tick may not depend on the order of its events:
//! that is the fold's promise, which its specification in stock differential operators holds it to. A key lives in one of
//! 1,024 virtual shards by a written hash, and so on one worker. [`Fold::wake`] is exact: the key is sealed in the very tick
//! in which its time has come. What a checkpoint holds is exactly the state as of its tick, although it is given over many
//! later ones: what a key held is put by when the key is first touched afterwards.
//!
//! Forgetting is silent. [`Fold::retire`] emits no retraction: rows that can no longer change stay with whoever has them. It
//! may drop *parts* of a state that are out of reach in the same way. A retired key is absent from its tick on, whenever its
//! memory is freed.
//!
//! # Cost
//!
//! An exchange and a lookup for each posting; for each key that a tick touches one call of `values` before and one after.
//! Lookups come in bursts, so that their cache misses overlap: 3 to 5 million changes a second and core over many keys,
//! where stock operators of differential do a third to half a million. A key costs its own bytes, its state's, 32 bytes of the
//! table beside them and an index word ([`States`] says how a domain may have less). A key that never changes costs nothing.
//!
//! # What it does not do
//!
//! Behind a fold that retires stand only folds, because at a restore it shows again only the keys that it still holds.
//! [`combined`] gives nothing at a restore: the fold behind it holds the sums already. Of what stands behind [`summed`]
//! nothing is saved, so that gives the sums of all that is shown. A fold keeps no history and has no
//! arrangement that others could share: what is small, joined and shared is for differential's own operators.
//!
//! # Example
//!
//! Balances of accounts. An account without money shows nothing.
//!
//! ```
//! use std::rc::Rc;
//!
//! use operators::checkpoint::Checkpoints;
//! use operators::clock::Mark;
//! use operators::fold::{Fold, Folded, Table, rows};
//! use operators::route::route;
//! use operators::shard::PlaceKey;
//! use operators::time::Tick;
//! use timely::dataflow::operators::capture::{Capture, Extract};
//! use timely::dataflow::operators::vec::{Delay, ToStream};
//!
//! struct Balances;
//!
//! impl Fold for Balances {
//!     type Input = (Tick, &'static str, i64);
//!     type Key = String;
//!     type Event = i64;
//!     type State = i64;
//!     type Value = i64;
//!     type Table = Table<String, i64>;
//!
//!     fn name(&self) -> &'static str {
//!         "Balances"
//!     }
//!     fn keys(&self, (_, account, amount): &Self::Input, post: &mut dyn FnMut(String, i64)) {
//!         post((*account).to_owned(), *amount);
//!     }
//!     fn apply(&self, balance: &mut i64, _: &String, amount: &i64) {
//!         *balance += amount;
//!     }
//!     fn values(&self, _: &String, balance: &i64, values: &mut Vec<i64>) {
//!         if *balance != 0 {
//!             values.push(*balance);
//!         }
//!     }
//! }
//!
//! let changes = timely::example(|scope| {
//!     let payments = [(0, "ann", 5), (1, "ann", 2), (1, "bob", 1), (1, "ann", 1), (2, "bob", -1)];
//!     let payments = payments.to_stream(scope).delay(|(tick, ..), _| *tick);
//!     let mark = |tick| Mark { tick, now_ms: 0, watermarks: [0].into(), reached: [0].into(), checkpoint: false };
//!     let marks = [0, 1, 2].map(mark).to_stream(scope).delay(|mark, _| mark.tick);
//!     let fold = Rc::new(Balances);
//!     let postings = route(payments, "RoutePayments", Rc::clone(&fold), PlaceKey::WRITTEN);
//!     let outlet = rows(|_: &Balances, account, balance| Some(format!("{account} has {balance}")));
//!     let (changes, _) = postings.fold_into(fold, marks, &Checkpoints::default(), outlet);
//!     changes.capture()
//! });
//! let change = |row: &str, tick, diff| (row.to_owned(), tick, diff);
//! assert_eq!(
//!     changes.extract(),
//!     [
//!         (0, vec![change("ann has 5", 0, 1)]),
//!         // Two payments within a tick are one change.
//!         (1, vec![change("ann has 5", 1, -1), change("ann has 8", 1, 1), change("bob has 1", 1, 1)]),
//!         (2, vec![change("bob has 1", 2, -1)]),
//!     ]
//! );
//! ```

mod folding;
mod operator;
mod outlet;
mod saving;
mod states;
mod summed;
mod table;
#[cfg(test)]
mod tests;
mod wakes;

use std::fmt::Debug;
use std::hash::Hash;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::checkpoint::FIRST_STATE_FORMAT;
use crate::time::{Tick, TimeMs};
use crate::topology::GroupId;

pub use operator::{FoldGauge, FoldHandle, Folded, Posting};
pub use outlet::{Outlet, Port, Rows, combined, rows};
pub use states::{Notes, Position, States};
pub use summed::{Summed, SummedPort, summed};
pub use table::{Table, TableNotes};
pub use wakes::PackedWake;

/// A complete tick, as folds see it.
#[derive(Clone, Copy, Debug)]
pub struct Now<'a> {
    /// The tick that is complete.
    pub tick: Tick,
    /// What time it was, by the tick's binding.
    pub now_ms: TimeMs,
    /// `W` of each group, by [`GroupId`].
    pub watermarks: &'a [TimeMs],
    /// The greatest `W` of each group that was not plus infinity.
    pub reached: &'a [TimeMs],
}

impl Now<'_> {
    /// `W` of a group.
    pub fn watermark(&self, group: GroupId) -> TimeMs {
        self.watermarks[group.0 as usize]
    }

    /// How far event time has come in a group. Ages are measured against this: when every source has ended, `W` is plus
    /// infinity and seals everything, but nothing grows older by that.
    pub fn reached(&self, group: GroupId) -> TimeMs {
        self.reached[group.0 as usize]
    }
}

/// When something becomes due without an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wake {
    /// When a group's watermark has reached this event time. For [`Fold::wake`] the end of all sources does not count.
    Watermark(GroupId, TimeMs),
    /// When `now` has reached this time.
    Now(TimeMs),
}

/// A type that travels between workers.
pub trait Data: Clone + Debug + Ord + Send + Sync + Serialize + DeserializeOwned + 'static {}
impl<D: Clone + Debug + Ord + Send + Sync + Serialize + DeserializeOwned + 'static> Data for D {}

/// How state is kept by key. All methods are pure.
pub trait Fold: 'static {
    /// What comes in, before it is known which keys it concerns.
    type Input: 'static;
    /// The key; its virtual shard follows from its written hash.
    type Key: Data + Hash;
    /// What a key needs of an input.
    type Event: Data;
    /// The state of a key; the codec of checkpoints is its serde form.
    type State: Default + Serialize + DeserializeOwned + 'static;
    /// What a key shows, without the key.
    type Value: Clone + Ord + 'static;
    /// The table that holds the states: [`Table`] unless the domain has a denser one.
    type Table: States<Self::Key, Self::State> + 'static;

    /// The format in which checkpoints have the states: it rises with every change of what [`State`](Fold::State) or
    /// [`Key`](Fold::Key) are written as.
    const STATE_FORMAT: u32 = FIRST_STATE_FORMAT;

    /// The operator's name in the graph and in checkpoints.
    fn name(&self) -> &'static str;
    /// The keys that an input concerns, none, one or several, each with what it needs of the input.
    fn keys(&self, input: &Self::Input, post: &mut dyn FnMut(Self::Key, Self::Event));
    /// Applies an event to the state of its key. Events of one tick come in any order, and the result may not tell.
    fn apply(&self, state: &mut Self::State, key: &Self::Key, event: &Self::Event);
    /// Seals to the watermarks of a complete tick: called at its end for each key that was touched or woken.
    fn seal(&self, state: &mut Self::State, key: &Self::Key, now: &Now<'_>) {
        let _ = (state, key, now);
    }
    /// What a key shows. Called before the first and after the last change of a tick, so it should be cheap.
    fn values(&self, key: &Self::Key, state: &Self::State, values: &mut Vec<Self::Value>);
    /// When rows change next with no event. Exact: [`Fold::seal`] is called in that tick.
    fn wake(&self, key: &Self::Key, state: &Self::State) -> Option<Wake> {
        let _ = (key, state);
        None
    }
    /// When there may be something to forget: a hint, which may come late.
    fn retire_at(&self, key: &Self::Key, state: &Self::State) -> Option<Wake> {
        let _ = (key, state);
        None
    }
    /// Forgets what is out of reach as of `now`, without retraction; says whether the whole key is.
    fn retire(&self, state: &mut Self::State, key: &Self::Key, now: &Now<'_>) -> bool {
        let _ = (state, key, now);
        false
    }
    /// How many steps from a state the memory lies that it owns elsewhere: none, if it owns none to speak of.
    const FETCHED: u8 = 0;
    /// Asks for the memory of that step, beginning with 0, which a change of the state will need
    /// ([`fetch`](crate::fetch)). What an earlier step asked for is there by now.
    fn fetch(&self, state: &Self::State, step: u8) {
        let _ = (state, step);
    }
    /// What a state owns on the heap, in bytes: for the printed memory only.
    fn heap_bytes(&self, state: &Self::State) -> usize {
        let _ = state;
        0
    }
}
