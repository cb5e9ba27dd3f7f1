//! The dense table behind a fold: one index and one slab of entries for each virtual shard.
//!
//! Small tables stop nobody when they grow, and 1,024 equal ones would all grow at the same moment: so the load at which a
//! shard grows is staggered over an octave. Lookups come in bursts (see [`Table::locate`]), so that the cache misses of
//! many keys overlap; no prefetch instruction is needed, and no `unsafe`.

use std::hash::Hash;

use crate::shard::{SHARDS, hash_of, shard_of_hash};

/// Where an entry lies: its shard, and its place in the shard's slab. Stable until the entry is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) shard: u16,
    pub(super) slot: u32,
}

const EMPTY: u64 = 0;

#[derive(Debug)]
struct Shard<K, V> {
    /// High half: the high half of the hash; low half: the slot plus one. Linear probing, deletion by shifting back.
    index: Vec<u64>,
    entries: Vec<Option<(u64, K, V)>>,
    free: Vec<u32>,
    len: usize,
}

/// Keys and values by virtual shard.
#[derive(Debug)]
pub(super) struct Table<K, V> {
    shards: Vec<Shard<K, V>>,
}

impl<K: Hash + Eq, V> Table<K, V> {
    pub(super) fn new() -> Self {
        let shard = || Shard { index: Vec::new(), entries: Vec::new(), free: Vec::new(), len: 0 };
        Table { shards: (0..SHARDS).map(|_| shard()).collect() }
    }

    pub(super) fn hash(key: &K) -> u64 {
        hash_of(key)
    }

    /// Reads the index word at which the search for a hash begins. The result is only worth that the memory was touched.
    pub(super) fn touch(&self, hash: u64) -> u64 {
        let index = &self.shards[shard_of_hash(hash) as usize].index;
        if index.is_empty() { EMPTY } else { index[hash as usize & (index.len() - 1)] }
    }

    /// Reads the entry to which a touched index word points, likewise.
    pub(super) fn touch_entry(&self, hash: u64, word: u64) -> u64 {
        if word == EMPTY {
            return 0;
        }
        let entries = &self.shards[shard_of_hash(hash) as usize].entries;
        entries.get((word as u32 - 1) as usize).and_then(Option::as_ref).map_or(0, |entry| entry.0)
    }

    /// The place of a key, which is made with `make` if there is none.
    pub(super) fn locate(&mut self, hash: u64, key: &K, make: impl FnOnce() -> (K, V)) -> Place {
        let shard = shard_of_hash(hash) as u16;
        let table = &mut self.shards[shard as usize];
        if let Some(slot) = table.find(hash, key) {
            return Place { shard, slot };
        }
        table.grow_if_full(shard);
        let (key, value) = make();
        let slot = match table.free.pop() {
            Some(slot) => {
                table.entries[slot as usize] = Some((hash, key, value));
                slot
            }
            None => {
                table.reserve_entry(shard);
                table.entries.push(Some((hash, key, value)));
                (table.entries.len() - 1) as u32
            }
        };
        table.insert(hash, slot);
        table.len += 1;
        Place { shard, slot }
    }

    pub(super) fn get_mut(&mut self, place: Place) -> Option<(&K, &mut V)> {
        let entry = self.shards[place.shard as usize].entries.get_mut(place.slot as usize)?.as_mut()?;
        Some((&entry.1, &mut entry.2))
    }

    pub(super) fn remove(&mut self, place: Place) {
        let shard = &mut self.shards[place.shard as usize];
        if let Some((hash, _, _)) = shard.entries[place.slot as usize].take() {
            shard.unlink(hash, place.slot);
            shard.free.push(place.slot);
            shard.len -= 1;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.len).sum()
    }

    /// Resident bytes by capacity, without what values own on the heap.
    pub(super) fn bytes(&self) -> usize {
        let entry = size_of::<Option<(u64, K, V)>>();
        let of = |shard: &Shard<K, V>| {
            shard.index.capacity() * 8 + shard.entries.capacity() * entry + shard.free.capacity() * 4
        };
        self.shards.iter().map(of).sum()
    }

    /// The entries of a shard, in no order that may be shown.
    pub(super) fn shard(&self, shard: u64) -> impl Iterator<Item = (&K, &V)> {
        self.shards[shard as usize].entries.iter().flatten().map(|(_, key, value)| (key, value))
    }
}

impl<K: Eq, V> Shard<K, V> {
    fn find(&self, hash: u64, key: &K) -> Option<u32> {
        if self.index.is_empty() {
            return None;
        }
        let mask = self.index.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let word = self.index[at];
            if word == EMPTY {
                return None;
            }
            if word >> 32 == hash >> 32 {
                let slot = word as u32 - 1;
                if self.entries[slot as usize].as_ref().is_some_and(|(_, known, _)| known == key) {
                    return Some(slot);
                }
            }
            at = (at + 1) & mask;
        }
    }

    fn insert(&mut self, hash: u64, slot: u32) {
        let mask = self.index.len() - 1;
        let mut at = hash as usize & mask;
        while self.index[at] != EMPTY {
            at = (at + 1) & mask;
        }
        self.index[at] = (hash >> 32) << 32 | u64::from(slot + 1);
    }

    fn unlink(&mut self, hash: u64, slot: u32) {
        let mask = self.index.len() - 1;
        let mut hole = hash as usize & mask;
        while self.index[hole] as u32 != slot + 1 {
            hole = (hole + 1) & mask;
        }
        // Whatever was pushed past the hole by probing moves back into it.
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let word = self.index[at];
            if word == EMPTY {
                break;
            }
            let slot = (word as u32 - 1) as usize;
            let home = self.entries[slot].as_ref().expect("the index points to live entries only").0 as usize & mask;
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(hole) & mask) {
                self.index[hole] = word;
                hole = at;
            }
        }
        self.index[hole] = EMPTY;
    }

    fn grow_if_full(&mut self, shard: u16) {
        // Between 43 % and 85 % full, by shard.
        let limit = self.index.len() * (440 + 420 * usize::from(shard) / SHARDS as usize) / 1_024;
        if self.len < limit {
            return;
        }
        let capacity = (self.index.len() * 2).max(8);
        self.index = vec![EMPTY; capacity];
        for slot in 0..self.entries.len() {
            if let Some((hash, _, _)) = &self.entries[slot] {
                let hash = *hash;
                self.insert(hash, slot as u32);
            }
        }
    }

    fn reserve_entry(&mut self, shard: u16) {
        if self.entries.len() == self.entries.capacity() {
            // A quarter more, with a first size staggered by shard.
            let more = (self.entries.len() / 4).max(4 + usize::from(shard) % 8);
            self.entries.reserve_exact(more);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        /// Finding, making and removing agree with a map, whatever the order.
        #[test]
        fn a_table_is_a_map(steps in prop::collection::vec((0u64..600, any::<bool>()), 0..3_000)) {
            let (mut table, mut map) = (Table::<u64, u64>::new(), BTreeMap::new());
            for (step, (key, remove)) in steps.into_iter().enumerate() {
                // Few shards, so that tables are crowded.
                let hash = Table::<u64, u64>::hash(&key) & !(0x3fc << 54);
                let place = table.locate(hash, &key, || (key, step as u64));
                let value = *map.entry(key).or_insert(step as u64);
                prop_assert_eq!(table.get_mut(place).map(|(key, value)| (*key, *value)), Some((key, value)));
                if remove {
                    table.remove(place);
                    map.remove(&key);
                }
                prop_assert_eq!(table.len(), map.len());
            }
            let mut all: Vec<_> = (0..SHARDS).flat_map(|shard| table.shard(shard).map(|(k, v)| (*k, *v)).collect::<Vec<_>>()).collect();
            all.sort();
            prop_assert_eq!(all, map.into_iter().collect::<Vec<_>>());
        }
    }
}
