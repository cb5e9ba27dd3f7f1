//! A table of ids, in which a lookup touches one place of memory that is known from the id alone.
//!
//! Open addressing with linear probing, entries in place, two to a cache line. Most ids are met for the first time, so what a
//! lookup costs is the line that it misses; since the line follows from the id, it can be asked for while other records are
//! judged ([`IdTable::fetch`]). Between 9/16 and 3/4 full when it grows, by number, so that not all tables of a partition grow
//! at the same moment.

use crate::fetch::fetch;

/// What is kept of an id. One value means that a slot is vacant: no id has it.
pub(super) trait Kept: Clone {
    /// The value that no id has.
    const VACANT: Self;
    /// Whether this is the value that no id has.
    fn is_vacant(&self) -> bool;
}

#[derive(Clone, Debug)]
struct Slot<V> {
    id: u128,
    kept: V,
}

impl<V: Kept> Slot<V> {
    const VACANT: Slot<V> = Slot { id: 0, kept: V::VACANT };

    fn is_vacant(&self) -> bool {
        self.kept.is_vacant()
    }
}

/// Fewer slots than this are never had, once there are any.
const SLOTS_MIN: usize = 8;

/// Fewer slots than this are never given back.
const SLOTS_KEPT: usize = 1_024;

/// Ids, which are hashes already, and what is kept of them.
#[derive(Debug)]
pub(super) struct IdTable<V> {
    /// None, or a power of two, of which at least one is vacant.
    slots: Vec<Slot<V>>,
    len: usize,
    /// Sixty-fourths of the slots that may be in use.
    full: usize,
}

impl<V: Kept> IdTable<V> {
    /// The table of that number.
    pub(super) fn new(number: usize) -> Self {
        IdTable { slots: Vec::new(), len: 0, full: 36 + number % 13 }
    }

    /// Asks for the memory at which the search for an id begins.
    pub(super) fn fetch(&self, id: u128) {
        if !self.slots.is_empty() {
            fetch(&self.slots[id as usize & (self.slots.len() - 1)]);
        }
    }

    /// Where the id is, or the vacant slot in which its search ends. There have to be slots.
    fn find(&self, id: u128) -> Result<usize, usize> {
        let mask = self.slots.len() - 1;
        let mut at = id as usize & mask;
        loop {
            let slot = &self.slots[at];
            if slot.is_vacant() {
                return Err(at);
            }
            if slot.id == id {
                return Ok(at);
            }
            at = (at + 1) & mask;
        }
    }

    /// What is kept of an id.
    pub(super) fn get(&self, id: u128) -> Option<&V> {
        if self.slots.is_empty() {
            return None;
        }
        self.find(id).ok().map(|at| &self.slots[at].kept)
    }

    /// The same, to be changed.
    pub(super) fn get_mut(&mut self, id: u128) -> Option<&mut V> {
        if self.slots.is_empty() {
            return None;
        }
        self.find(id).ok().map(|at| &mut self.slots[at].kept)
    }

    /// What is kept of an id, and whether it was made just now, since there was nothing.
    pub(super) fn get_or_insert(&mut self, id: u128, make: impl FnOnce() -> V) -> (bool, &mut V) {
        if self.slots.is_empty() {
            self.resize(SLOTS_MIN);
        }
        match self.find(id) {
            Ok(at) => (false, &mut self.slots[at].kept),
            Err(mut at) => {
                if (self.len + 1) * 64 > self.slots.len() * self.full {
                    self.resize(self.slots.len() * 2);
                    at = self.find(id).unwrap_or_else(|vacant| vacant);
                }
                self.slots[at] = Slot { id, kept: make() };
                self.len += 1;
                (true, &mut self.slots[at].kept)
            }
        }
    }

    /// Forgets all but what is to be kept. Costs a walk over the slots.
    pub(super) fn retain(&mut self, keep: impl Fn(&V) -> bool) {
        let Some(vacant) = self.slots.iter().position(Slot::is_vacant) else { return };
        let mask = self.slots.len() - 1;
        // Behind a vacant slot a run begins, so what is put back finds everything before it in its place already, and goes no
        // further than where it was.
        for at in (1..self.slots.len()).map(|step| (vacant + step) & mask) {
            let slot = std::mem::replace(&mut self.slots[at], Slot::VACANT);
            if slot.is_vacant() {
                continue;
            }
            if keep(&slot.kept) {
                let (Ok(at) | Err(at)) = self.find(slot.id);
                self.slots[at] = slot;
            } else {
                self.len -= 1;
            }
        }
        if self.slots.len() > SLOTS_KEPT && self.len < self.slots.len() / 8 {
            self.resize((self.len * 2).next_power_of_two().max(SLOTS_KEPT));
        }
    }

    /// Everything, in no order that may be shown.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u128, &V)> {
        self.slots.iter().filter(|slot| !slot.is_vacant()).map(|slot| (slot.id, &slot.kept))
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The resident bytes of the slots, by capacity.
    pub(super) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot<V>>()
    }

    fn resize(&mut self, slots: usize) {
        let before = std::mem::replace(&mut self.slots, vec![Slot::VACANT; slots]);
        for slot in before.into_iter().filter(|slot| !slot.is_vacant()) {
            let (Ok(at) | Err(at)) = self.find(slot.id);
            self.slots[at] = slot;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::Seen;
    use super::*;
    use crate::time::TimeMs;

    proptest! {
        /// Remembering, looking up and forgetting agree with a map, whatever the order; ids are crowded on purpose.
        #[test]
        fn a_table_is_a_map(steps in prop::collection::vec((0u128..400, 0u64..3, 0i64..50), 0..2_000), number in 0usize..64) {
            let (mut table, mut map) = (IdTable::new(number), BTreeMap::new());
            for (step, (id, content, event_time_ms)) in steps.into_iter().enumerate() {
                // Runs that meet, also around the end of the slots.
                let id = (id % 40).wrapping_sub(9) << 3 | id << 64;
                let (is_new, seen) = table.get_or_insert(id, || Seen::new(content, event_time_ms));
                let known = (!is_new).then_some((seen.content, seen.event_time_ms));
                prop_assert_eq!(known, map.get(&id).copied());
                map.entry(id).or_insert((content, event_time_ms));
                if step % 97 == 96 {
                    table.retain(|seen| seen.event_time_ms >= event_time_ms);
                    map.retain(|_, (_, time_ms)| *time_ms >= event_time_ms);
                }
                table.fetch(id);
                prop_assert_eq!(table.get(id).map(|seen| seen.content), map.get(&id).map(|(content, _)| *content));
                prop_assert_eq!(table.len(), map.len());
            }
            let all: BTreeMap<_, _> = table.iter().map(|(id, seen)| (id, (seen.content, seen.event_time_ms))).collect();
            prop_assert_eq!(all, map);
        }
    }

    #[test]
    fn a_table_grows_and_shrinks_and_keeps_a_vacant_slot() {
        let mut table = IdTable::new(12);
        let id = |number: u64| u128::from(crate::shard::hash_of(&number));
        for number in 0..90_000 {
            assert!(table.get_or_insert(id(number), || Seen::new(number, number as TimeMs)).0);
        }
        // Three quarters of 2^17 would have been full with 98,304.
        assert_eq!((table.len(), table.bytes()), (90_000, 32 << 17));
        table.retain(|seen| seen.event_time_ms >= 89_990);
        assert_eq!((table.len(), table.slots.len()), (10, SLOTS_KEPT));
        assert!((0..90_000).all(|number| table.get(id(number)).is_some() == (number >= 89_990)));
    }

    #[test]
    fn a_time_at_the_end_of_time_is_remembered_all_the_same() {
        let mut table = IdTable::new(0);
        assert!(table.get_or_insert(1, || Seen::new(7, TimeMs::MIN)).0);
        assert_eq!(table.get(1).map(|seen| seen.content), Some(7));
    }
}
