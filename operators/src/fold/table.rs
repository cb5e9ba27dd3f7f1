//! The dense table behind a fold: one index and one slab of entries for each virtual shard.
//!
//! Small indices stop nobody when they grow, and 1,024 equal ones would all grow at the same moment: so the load at which
//! one grows is staggered over an octave. A slab grows by a chunk, and nothing in it ever moves. Lookups come in bursts:
//! first all index words are asked for, then all entries, and only then is anything read that has to be waited for, so that
//! the cache misses of many keys overlap.

use crate::fetch::fetch;
use crate::shard::{SHARDS, shard_of_hash};

/// Where an entry lies: its shard, and its place in the shard's slab. Stable until the entry is removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) shard: u16,
    pub(super) slot: u32,
}

const EMPTY: u64 = 0;

#[derive(Debug)]
struct Shard<K, V> {
    /// High half: the low half of the hash, which says where the word belongs, so that an index grows and closes its gaps
    /// without a look at any entry; low half: the slot plus one. Linear probing, deletion by shifting back.
    index: Vec<u64>,
    slab: Slab<(u64, K, V)>,
    len: usize,
}

/// How many entries a chunk has, as a power of two.
const CHUNK_BITS: u32 = 4;

/// Entries that stay where they are, in chunks.
#[derive(Debug)]
struct Slab<T> {
    chunks: Vec<Chunk<T>>,
    /// How many slots were ever taken: those of the last chunk behind it are fresh.
    used: u32,
    free: Vec<u32>,
}

type Chunk<T> = Box<[Option<T>; 1 << CHUNK_BITS]>;

impl<T> Slab<T> {
    fn get(&self, slot: u32) -> Option<&T> {
        self.chunks.get((slot >> CHUNK_BITS) as usize)?.get(place_in_chunk(slot))?.as_ref()
    }

    fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.chunks.get_mut((slot >> CHUNK_BITS) as usize)?.get_mut(place_in_chunk(slot))?.as_mut()
    }

    fn put(&mut self, entry: T) -> u32 {
        if let Some(slot) = self.free.pop() {
            self.chunks[(slot >> CHUNK_BITS) as usize][place_in_chunk(slot)] = Some(entry);
            return slot;
        }
        if place_in_chunk(self.used) == 0 {
            let chunk: Box<[Option<T>]> = (0..1 << CHUNK_BITS).map(|_| None).collect();
            self.chunks.push(chunk.try_into().unwrap_or_else(|_| unreachable!("it has as many places as a chunk")));
        }
        let slot = self.used;
        self.used += 1;
        self.chunks[(slot >> CHUNK_BITS) as usize][place_in_chunk(slot)] = Some(entry);
        slot
    }

    /// Asks for the memory of the slot that will be taken next, unless that needs a new chunk.
    fn fetch_next(&self) {
        let slot = self.free.last().copied().unwrap_or(self.used);
        if let Some(chunk) = self.chunks.get((slot >> CHUNK_BITS) as usize) {
            fetch(&chunk[place_in_chunk(slot)]);
        }
    }

    fn take(&mut self, slot: u32) -> Option<T> {
        let entry = self.chunks[(slot >> CHUNK_BITS) as usize][place_in_chunk(slot)].take()?;
        self.free.push(slot);
        Some(entry)
    }

    /// The entries and their slots.
    fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        let entries = self.chunks.iter().flat_map(|chunk| chunk.iter());
        (0u32..).zip(entries).filter_map(|(slot, entry)| Some((slot, entry.as_ref()?)))
    }

    fn bytes(&self) -> usize {
        let chunk = size_of::<Chunk<T>>() + (size_of::<Option<T>>() << CHUNK_BITS);
        self.chunks.len() * chunk + self.free.capacity() * size_of::<u32>()
    }
}

fn place_in_chunk(slot: u32) -> usize {
    (slot & ((1 << CHUNK_BITS) - 1)) as usize
}

/// Keys and values by virtual shard.
#[derive(Debug)]
pub(super) struct Table<K, V> {
    shards: Vec<Shard<K, V>>,
}

impl<K: Eq, V> Table<K, V> {
    pub(super) fn new() -> Self {
        let slab = || Slab { chunks: Vec::new(), used: 0, free: Vec::new() };
        let shard = || Shard { index: Vec::new(), slab: slab(), len: 0 };
        Table { shards: (0..SHARDS).map(|_| shard()).collect() }
    }

    /// Asks for the index word at which the search for a hash begins.
    pub(super) fn fetch_word(&self, hash: u64) {
        let index = &self.shards[shard_of_hash(hash) as usize].index;
        if !index.is_empty() {
            fetch(&index[hash as usize & (index.len() - 1)]);
        }
    }

    /// Asks for the entry to which that word points: mostly the one that is looked for. Where it points to none, the key is
    /// new, and it asks for where that will lie.
    pub(super) fn fetch_entry(&self, hash: u64) {
        let shard = shard_of_hash(hash) as u16;
        let Shard { index, slab, .. } = &self.shards[shard as usize];
        let word = if index.is_empty() { EMPTY } else { index[hash as usize & (index.len() - 1)] };
        match word {
            EMPTY => slab.fetch_next(),
            word => self.fetch_place(Place { shard, slot: word as u32 - 1 }),
        }
    }

    /// Asks for the entry at a place.
    pub(super) fn fetch_place(&self, place: Place) {
        if let Some(chunk) = self.shards[place.shard as usize].slab.chunks.get((place.slot >> CHUNK_BITS) as usize) {
            fetch(&chunk[place_in_chunk(place.slot)]);
        }
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
        let slot = table.slab.put((hash, key, value));
        insert(&mut table.index, hash << 32 | u64::from(slot + 1));
        table.len += 1;
        Place { shard, slot }
    }

    pub(super) fn get(&self, place: Place) -> Option<&V> {
        self.shards[place.shard as usize].slab.get(place.slot).map(|(_, _, value)| value)
    }

    pub(super) fn get_mut(&mut self, place: Place) -> Option<(&K, &mut V)> {
        let (_, key, value) = self.shards[place.shard as usize].slab.get_mut(place.slot)?;
        Some((key, value))
    }

    pub(super) fn remove(&mut self, place: Place) {
        let shard = &mut self.shards[place.shard as usize];
        // The index is mended while the entry is still there to be looked at.
        if let Some((hash, _, _)) = shard.slab.get(place.slot) {
            shard.unlink(*hash, place.slot);
            shard.slab.take(place.slot);
            shard.len -= 1;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.len).sum()
    }

    /// Resident bytes by capacity, without what values own on the heap.
    pub(super) fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.index.capacity() * 8 + shard.slab.bytes()).sum()
    }

    /// The entries of a shard, in no order that may be shown.
    pub(super) fn shard(&self, shard: u64) -> impl Iterator<Item = (&K, &V)> {
        self.shards[shard as usize].slab.iter().map(|(_, (_, key, value))| (key, value))
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
            if word >> 32 == hash & u64::from(u32::MAX) {
                let slot = word as u32 - 1;
                if self.slab.get(slot).is_some_and(|(_, known, _)| known == key) {
                    return Some(slot);
                }
            }
            at = (at + 1) & mask;
        }
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
            let home = (word >> 32) as usize & mask;
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(hole) & mask) {
                self.index[hole] = word;
                hole = at;
            }
        }
        self.index[hole] = EMPTY;
    }

    fn grow_if_full(&mut self, shard: u16) {
        // Between 33 % and 67 % full, by shard: fuller, and a key that is new costs more looks than a word costs bytes.
        let limit = self.index.len() * (340 + 345 * usize::from(shard) / SHARDS as usize) / 1_024;
        if self.len < limit {
            return;
        }
        let capacity = (self.index.len() * 2).max(8);
        let words = std::mem::replace(&mut self.index, vec![EMPTY; capacity]);
        for word in words.into_iter().filter(|word| *word != EMPTY) {
            insert(&mut self.index, word);
        }
    }
}

fn insert(index: &mut [u64], word: u64) {
    let mask = index.len() - 1;
    let mut at = (word >> 32) as usize & mask;
    while index[at] != EMPTY {
        at = (at + 1) & mask;
    }
    index[at] = word;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::hash_of;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        /// Finding, making and removing agree with a map, whatever the order.
        #[test]
        fn a_table_is_a_map(steps in prop::collection::vec((0u64..600, any::<bool>()), 0..3_000)) {
            let (mut table, mut map) = (Table::<u64, u64>::new(), BTreeMap::new());
            for (step, (key, remove)) in steps.into_iter().enumerate() {
                // Few shards, so that tables are crowded.
                let hash = hash_of(&key) & !(0x3fc << 54);
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
