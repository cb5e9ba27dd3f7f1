//! The table behind every fold: one index and one slab of entries for each virtual shard.
//!
//! Small indices stop nobody when they grow, and 1,024 equal ones would all grow at the same moment: so the load at which
//! one grows is staggered over an octave. A slab grows by a chunk, and nothing in it ever moves. Lookups come in bursts:
//! first all index words are asked for, then all entries, and only then is anything read that has to be waited for, so that
//! the cache misses of many keys overlap.

use super::states::{Notes, Position, States};
use super::wakes::PackedWake;
use crate::fetch::fetch;
use crate::shard::{SHARDS, shard_of_hash};
use crate::time::Tick;

/// A [`Table`]'s notes of a key: 24 bytes.
#[derive(Debug, Default)]
pub struct TableNotes {
    touched: Tick,
    wake: PackedWake,
    retire_at: PackedWake,
}

impl Notes for TableNotes {
    fn touched(&self) -> Tick {
        self.touched
    }

    fn set_touched(&mut self, touched: Tick) {
        self.touched = touched;
    }

    fn wake(&self) -> PackedWake {
        self.wake
    }

    fn set_wake(&mut self, wake: PackedWake) {
        self.wake = wake;
    }

    fn retire_at(&self) -> PackedWake {
        self.retire_at
    }

    fn set_retire_at(&mut self, retire_at: PackedWake) {
        self.retire_at = retire_at;
    }
}

#[derive(Debug)]
struct Entry<S> {
    state: S,
    notes: TableNotes,
}

const EMPTY: u64 = 0;

#[derive(Debug)]
struct Shard<K, S> {
    /// High half: the low half of the hash, which says where the word belongs, so that an index grows and closes its gaps
    /// without a look at any entry; low half: the slot plus one. Linear probing, deletion by shifting back.
    index: Vec<u64>,
    slab: Slab<(u64, K, Entry<S>)>,
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

/// Keys and states by virtual shard, found by the written hash of the key.
#[derive(Debug)]
pub struct Table<K, S> {
    shards: Vec<Shard<K, S>>,
}

impl<K, S> Default for Table<K, S> {
    fn default() -> Self {
        let slab = || Slab { chunks: Vec::new(), used: 0, free: Vec::new() };
        let shard = || Shard { index: Vec::new(), slab: slab(), len: 0 };
        Table { shards: (0..SHARDS).map(|_| shard()).collect() }
    }
}

impl<K: Clone + Eq + 'static, S: 'static> States<K, S> for Table<K, S> {
    type Notes = TableNotes;

    fn fetch_word(&self, hash: u64) {
        let index = &self.shards[shard_of_hash(hash) as usize].index;
        if !index.is_empty() {
            fetch(&index[hash as usize & (index.len() - 1)]);
        }
    }

    /// Where the word points to no entry, the key is new, and the slot that it will get is asked for.
    fn fetch_entry(&self, hash: u64) {
        let shard = shard_of_hash(hash) as u16;
        let Shard { index, slab, .. } = &self.shards[shard as usize];
        let word = if index.is_empty() { EMPTY } else { index[hash as usize & (index.len() - 1)] };
        match word {
            EMPTY => slab.fetch_next(),
            word => self.fetch_position(Position { shard, slot: word as u32 - 1 }),
        }
    }

    fn fetch_position(&self, Position { shard, slot }: Position) {
        if let Some(chunk) = self.shards[shard as usize].slab.chunks.get((slot >> CHUNK_BITS) as usize) {
            fetch(&chunk[place_in_chunk(slot)]);
        }
    }

    fn locate(&mut self, hash: u64, key: &K, make: impl FnOnce() -> S) -> Position {
        let shard = shard_of_hash(hash) as u16;
        let table = &mut self.shards[shard as usize];
        if let Some(slot) = table.find(hash, key) {
            return Position { shard, slot };
        }
        table.grow_if_full(shard);
        let slot = table.slab.put((hash, key.clone(), Entry { state: make(), notes: TableNotes::default() }));
        insert(&mut table.index, hash << 32 | u64::from(slot + 1));
        table.len += 1;
        Position { shard, slot }
    }

    fn state(&self, position: Position) -> Option<&S> {
        self.shards[position.shard as usize].slab.get(position.slot).map(|(_, _, entry)| &entry.state)
    }

    fn entry(&mut self, position: Position) -> Option<(&K, &mut S, &mut TableNotes)> {
        let (_, key, entry) = self.shards[position.shard as usize].slab.get_mut(position.slot)?;
        Some((key, &mut entry.state, &mut entry.notes))
    }

    fn remove(&mut self, position: Position) {
        let shard = &mut self.shards[position.shard as usize];
        // The index is mended while the entry is still there to be looked at.
        if let Some((hash, _, _)) = shard.slab.get(position.slot) {
            shard.unlink(*hash, position.slot);
            shard.slab.take(position.slot);
            shard.len -= 1;
        }
    }

    fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.len).sum()
    }

    fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.index.capacity() * 8 + shard.slab.bytes()).sum()
    }

    fn shard(&self, shard: u64) -> impl Iterator<Item = (&K, &S, &TableNotes)> {
        self.shards[shard as usize].slab.iter().map(|(_, (_, key, entry))| (key, &entry.state, &entry.notes))
    }
}

impl<K: Eq, S> Shard<K, S> {
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
            let (mut table, mut map) = (Table::<u64, u64>::default(), BTreeMap::new());
            for (step, (key, remove)) in steps.into_iter().enumerate() {
                // Few shards, so that tables are crowded.
                let hash = hash_of(&key) & !(0x3fc << 54);
                let position = table.locate(hash, &key, || step as u64);
                let value = *map.entry(key).or_insert(step as u64);
                prop_assert_eq!(table.entry(position).map(|(key, value, _)| (*key, *value)), Some((key, value)));
                if remove {
                    table.remove(position);
                    map.remove(&key);
                }
                prop_assert_eq!(table.len(), map.len());
            }
            let mut all: Vec<_> = (0..SHARDS).flat_map(|shard| table.shard(shard).map(|(k, v, _)| (*k, *v)).collect::<Vec<_>>()).collect();
            all.sort();
            prop_assert_eq!(all, map.into_iter().collect::<Vec<_>>());
        }
    }
}
