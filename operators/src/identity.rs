//! Which records were seen before.
//!
//! Sequenced streams are remembered as sets of intervals, exact for ever. Other records by 128 bits of their id and 64 of
//! their content, for as long as their event time is not behind a bound that follows the watermark. An entry behind the
//! bound counts as absent, whenever the sweep removes it: so the sweep may take its time, and the answer stays exact.

use std::collections::BTreeMap;
use std::hash::{BuildHasherDefault, Hasher};

use hashbrown::HashMap;

use crate::fold::FoldGauge;
use crate::record::Identity;
use crate::time::TimeMs;

/// What a set says of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Not seen before; now it is.
    New,
    /// Seen before, with the same content.
    Duplicate,
    /// Its id was seen before with other content.
    Conflict,
}

/// Ids are hashes already: their low half is as good a place as any.
#[derive(Default)]
struct Low(u64);

impl Hasher for Low {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {
        unreachable!("ids are written as one u128");
    }
    fn write_u128(&mut self, value: u128) {
        self.0 = value as u64;
    }
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    content: u64,
    event_time_ms: TimeMs,
}

type Table = HashMap<u128, Seen, BuildHasherDefault<Low>>;

/// How many tables the ids are spread over: one is swept a tick, so that no tick pays for all, and no growth copies all.
const TABLES: usize = 64;

/// The identities of one partition and group (or of one virtual shard of them).
#[derive(Debug)]
pub struct Identities {
    tables: Vec<Table>,
    sweep_next: usize,
    streams: HashMap<u128, Intervals, BuildHasherDefault<Low>>,
}

impl Default for Identities {
    fn default() -> Self {
        Identities {
            tables: (0..TABLES).map(|_| Table::default()).collect(),
            sweep_next: 0,
            streams: HashMap::default(),
        }
    }
}

impl Identities {
    /// Remembers a record, unless it was seen. Ids whose event time lies before `absent_before_ms` count as not seen.
    pub fn admit(&mut self, identity: Identity, event_time_ms: TimeMs, absent_before_ms: TimeMs) -> Admission {
        match identity {
            Identity::Sequence { stream, sequence } => {
                if self.streams.entry(stream).or_default().insert(sequence) {
                    Admission::New
                } else {
                    Admission::Duplicate
                }
            }
            Identity::Id { id, content } => {
                let seen = Seen { content, event_time_ms };
                match self.tables[table_of(id)].entry(id) {
                    hashbrown::hash_map::Entry::Vacant(vacant) => {
                        vacant.insert(seen);
                        Admission::New
                    }
                    hashbrown::hash_map::Entry::Occupied(mut known) => {
                        if known.get().event_time_ms < absent_before_ms {
                            known.insert(seen);
                            Admission::New
                        } else if known.get().content == content {
                            Admission::Duplicate
                        } else {
                            Admission::Conflict
                        }
                    }
                }
            }
        }
    }

    /// Whether an id was seen with other content, without remembering anything.
    pub fn conflicts(&self, identity: Identity, absent_before_ms: TimeMs) -> bool {
        let Identity::Id { id, content } = identity else { return false };
        let known = self.tables[table_of(id)].get(&id);
        known.is_some_and(|known| known.event_time_ms >= absent_before_ms && known.content != content)
    }

    /// Frees what counts as absent in one of the tables: call it once a tick.
    pub fn sweep(&mut self, absent_before_ms: TimeMs) {
        let table = &mut self.tables[self.sweep_next];
        self.sweep_next = (self.sweep_next + 1) % TABLES;
        if !table.is_empty() {
            table.retain(|_, seen| seen.event_time_ms >= absent_before_ms);
            if table.capacity() > 1_024 && table.len() < table.capacity() / 8 {
                table.shrink_to(table.len() * 2);
            }
        }
    }

    /// Ids remembered now, and sequence intervals.
    pub fn len(&self) -> (usize, usize) {
        (self.tables.iter().map(Table::len).sum(), self.streams.values().map(Intervals::len).sum())
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == (0, 0)
    }

    /// Resident bytes, by capacity.
    pub fn bytes(&self) -> usize {
        let ids: usize = self.tables.iter().map(|table| table.capacity() * (size_of::<(u128, Seen)>() + 1)).sum();
        ids + self.streams.values().map(|intervals| 64 + intervals.len() * 24).sum::<usize>()
    }

    /// How much it holds: ids and sequence intervals.
    pub fn gauge(&self) -> FoldGauge {
        let (ids, intervals) = self.len();
        FoldGauge { keys: ids + intervals, table_bytes: self.bytes(), heap_bytes: 0 }
    }

    /// Open gaps over all streams: intervals beyond the first of each.
    pub fn gaps(&self) -> usize {
        self.streams.values().map(|intervals| intervals.len().saturating_sub(1)).sum()
    }
}

fn table_of(id: u128) -> usize {
    // The tables use the low half: the place among them comes from the high one.
    (id >> 64) as usize % TABLES
}

/// A set of numbers as disjoint intervals `first..=last` that never touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Intervals(BTreeMap<u64, u64>);

impl Intervals {
    /// Adds a number; says whether it was absent.
    pub fn insert(&mut self, number: u64) -> bool {
        let before = self.0.range(..=number).next_back().map(|(first, last)| (*first, *last));
        if before.is_some_and(|(_, last)| number <= last) {
            return false;
        }
        let after = number.checked_add(1).and_then(|next| self.0.remove(&next));
        let last = after.unwrap_or(number);
        match before {
            Some((first, end)) if end.checked_add(1) == Some(number) => self.0.insert(first, last),
            _ => self.0.insert(number, last),
        };
        true
    }

    /// The number of intervals.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn intervals_are_a_set(numbers in prop::collection::vec(0u64..40, 0..80)) {
            let (mut intervals, mut set) = (Intervals::default(), std::collections::BTreeSet::new());
            for number in numbers {
                prop_assert_eq!(intervals.insert(number), set.insert(number));
            }
            let runs = set.iter().filter(|&&number| number == 0 || !set.contains(&(number - 1))).count();
            prop_assert_eq!(intervals.len(), runs);
        }

        /// Whenever the sweep comes, the answers are the same.
        #[test]
        fn the_sweep_is_invisible(steps in prop::collection::vec((0u128..20, 0u64..2, 0i64..100, any::<bool>()), 0..200)) {
            let (mut swept, mut never, mut bound) = (Identities::default(), Identities::default(), 0);
            for (id, content, ahead, sweep) in steps {
                bound += ahead / 20;
                let identity = Identity::Id { id: id << 64 | id, content };
                let time = bound + ahead;
                prop_assert_eq!(swept.conflicts(identity, bound), never.conflicts(identity, bound));
                prop_assert_eq!(swept.admit(identity, time, bound), never.admit(identity, time, bound));
                for _ in 0..(if sweep { TABLES } else { 0 }) {
                    swept.sweep(bound);
                }
            }
        }
    }

    #[test]
    fn the_ends_of_the_number_range_hold() {
        let mut intervals = Intervals::default();
        assert!(intervals.insert(u64::MAX) && intervals.insert(0) && intervals.insert(u64::MAX - 1));
        assert!(!intervals.insert(u64::MAX));
        assert_eq!(intervals.len(), 2);
    }
}
