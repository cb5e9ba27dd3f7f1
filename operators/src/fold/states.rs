//! The seam between a fold and the table that holds its states.
//!
//! The operator needs of a table what a map can do, that an entry stays where it is, and that memory can be asked for
//! before it is needed. Beside each state a table keeps [`Notes`]: how it stores them is its own business, since over
//! hundreds of millions of keys their bytes are what a fold pays with. [`Table`](super::Table) serves every fold; a domain
//! whose keys are dense numbers may bring another one. The type is chosen by [`Fold::Table`](super::Fold::Table), so the
//! compiler makes one copy of the operator for each fold, and no call is virtual.

use super::wakes::PackedWake;
use crate::time::Tick;

/// Where an entry lies: its virtual shard, and its slot within the shard. It holds until the entry is removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The virtual shard of the key.
    pub shard: u16,
    /// The entry's number within the shard; the table gives it.
    pub slot: u32,
}

/// What the operator notes of a key beside its state. A new key's notes are the default: untouched, never due.
pub trait Notes: Default {
    /// The tick that touched the key last, plus one; 0 if none did. A restored key gives some tick that is over.
    fn touched(&self) -> Tick;
    /// Notes that tick, plus one.
    fn set_touched(&mut self, touched: Tick);
    /// When the key has to be sealed without an event.
    fn wake(&self) -> PackedWake;
    /// Notes when the key has to be sealed without an event.
    fn set_wake(&mut self, wake: PackedWake);
    /// When the key may have something to forget.
    fn retire_at(&self) -> PackedWake;
    /// Notes when the key may have something to forget.
    fn set_retire_at(&mut self, retire_at: PackedWake);
}

/// Keys with their states and notes, by virtual shard.
pub trait States<K: 'static, S: 'static>: Default {
    /// What it keeps beside a state.
    type Notes: Notes;

    /// Asks for the memory at which the search for a hash begins.
    fn fetch_word(&self, hash: u64);
    /// Asks for the entry that this search will most likely find; to be called a while after [`States::fetch_word`].
    fn fetch_entry(&self, hash: u64);
    /// Asks for the entry at a position.
    fn fetch_position(&self, position: Position);
    /// The position of a key. If the key is new, its state is made with `make`.
    fn locate(&mut self, hash: u64, key: &K, make: impl FnOnce() -> S) -> Position;
    /// The state at a position, if there is an entry.
    fn state(&self, position: Position) -> Option<&S>;
    /// The entry at a position, if there is one.
    fn entry(&mut self, position: Position) -> Option<(&K, &mut S, &mut Self::Notes)>;
    /// Frees the entry at a position.
    fn remove(&mut self, position: Position);
    /// The number of keys.
    fn len(&self) -> usize;
    /// Whether there is no key.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Resident bytes by capacity, without what states own elsewhere.
    fn bytes(&self) -> usize;
    /// The entries of a virtual shard, in no order that may be shown.
    fn shard(&self, shard: u64) -> impl Iterator<Item = (&K, &S, &Self::Notes)>;
}
