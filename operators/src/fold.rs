//! Keyed state: folds, run by one generic operator over dense tables.
//!
//! A fold is a plain structure that says how a key's state changes by an event, which rows it shows, and when it may be
//! forgotten. The operator ([`Folded::fold`]) applies complete ticks in order and emits `rows(after) - rows(before)` once
//! a tick, as ordinary differential changes. Within a tick it applies every event, then seals to `W(T)`.
//! What a key shows is compared as [`Fold::Value`], without the key; rows, or differences for another fold, are made of
//! what changed only ([`Outlet`]), within the same operator.
//!
//! * The result may not depend on the order of events within a tick, nor on anything but the two logs.
//! * The key is the unit of forgetting. [`Fold::retire`] emits no retraction: rows that can no longer change simply stay
//!   with whoever has them. It may also drop *parts* of a state that are out of reach in the same silent way. A retired
//!   key is absent from its tick on; its memory is freed later, a bounded number of keys a tick.
//! * Behind a fold that retires stand only folds, because at restore it re-emits the rows of the keys it still holds.

mod folding;
mod operator;
mod outlet;
mod saving;
mod states;
mod table;
#[cfg(test)]
mod tests;
mod wakes;

use std::fmt::Debug;
use std::hash::Hash;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::time::{Tick, TimeMs};
use crate::topology::GroupId;

pub use operator::{FoldGauge, FoldHandle, Folded, Posting};
pub use outlet::{Outlet, Port, Rows, combined, rows};
pub use states::{Notes, Position, States};
pub use table::{Table, TableNotes};
pub use wakes::PackedWake;

/// A complete tick, as folds see it.
#[derive(Clone, Copy, Debug)]
pub struct Now<'a> {
    /// The tick.
    pub tick: Tick,
    /// What time it was.
    pub now_ms: TimeMs,
    /// `W` of each group.
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

    /// Its name in the graph.
    fn name(&self) -> &'static str;
    /// The keys that an input concerns, none, one or several, each with what it needs of the input.
    fn keys(&self, input: &Self::Input, post: &mut dyn FnMut(Self::Key, Self::Event));
    /// Applies an event.
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
