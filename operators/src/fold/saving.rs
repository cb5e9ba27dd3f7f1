//! How a fold gives its state to a checkpoint while ticks go on: what changes meanwhile is put by as it was.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Fold;
use super::folding::Folding;
use super::states::{Notes, Position, States};
use crate::checkpoint::{self, Save, encode};
use crate::shard::SHARDS;
use crate::time::Tick;

/// A checkpoint under way.
pub(super) struct Saving {
    /// The first tick that is not in it.
    upper: Tick,
    /// The first shard that was not given.
    next: u64,
    /// By shard that was not given: what changed keys held, coded.
    put_by: BTreeMap<u16, Vec<u8>>,
}

impl Saving {
    /// Puts by what a key held, if it was there and has not been given.
    pub(super) fn put_by<K, S>(&mut self, position: Position, key: &K, state: &S, notes: &impl Notes)
    where
        K: Serialize,
        S: Serialize,
    {
        let touched = notes.touched();
        if touched != 0 && touched <= self.upper && u64::from(position.shard) >= self.next {
            let coded = self.put_by.entry(position.shard).or_default();
            *coded = encode(&(key, state), std::mem::take(coded));
        }
    }
}

impl<F: Fold> Save for Folding<F> {
    fn freeze(&mut self, upper: Tick) {
        self.saving = Some(Saving { upper, next: 0, put_by: BTreeMap::new() });
    }

    fn give(&mut self, bytes_max: usize, give: &mut dyn FnMut(checkpoint::PartOwner, Vec<u8>)) -> bool {
        let Some(saving) = &mut self.saving else { return true };
        let mut given = 0;
        while saving.next < SHARDS && given < bytes_max {
            let shard = saving.next as u16;
            let mut coded = saving.put_by.remove(&shard).unwrap_or_default();
            // What is newer than the checkpoint is put by already, or was not there.
            let old = self.table.shard(saving.next).filter(|(_, _, notes)| notes.touched() <= saving.upper);
            coded = old.fold(coded, |coded, (key, state, _)| encode(&(key, state), coded));
            saving.next += 1;
            given += coded.len();
            if !coded.is_empty() {
                give(checkpoint::PartOwner::Shard(shard), coded);
            }
        }
        let is_done = saving.next == SHARDS;
        if is_done {
            self.saving = None;
        }
        is_done
    }
}
