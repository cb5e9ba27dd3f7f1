//! Which records were seen before.
//!
//! Sequenced streams are remembered as sets of intervals, exact for ever. Other records by 128 bits of their id and 64 of
//! their content, for as long as their event time is not behind a bound that follows the watermark. An entry behind the
//! bound counts as absent, whenever the sweep removes it: so the sweep may take its time, and the answer stays exact.

mod movement;
mod stream;
mod table;

use std::collections::BTreeMap;
use std::hash::{BuildHasherDefault, Hasher};

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use crate::checkpoint::{decode, encode};
use crate::fold::FoldGauge;
use crate::record::Identity;
use crate::shard::{SHARDS, shard_of_hash};
use crate::streams::StreamReport;
use crate::time::{Tick, TimeMs};
use movement::Watch;
use stream::{Intervals, Stream};
use table::{IdTable, Kept};

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
pub(crate) struct Low(u64);

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

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Seen {
    content: u64,
    event_time_ms: TimeMs,
}

/// An event time that nothing has that was seen.
const VACANT_MS: TimeMs = TimeMs::MIN;

impl Kept for Seen {
    const VACANT: Seen = Seen { content: 0, event_time_ms: VACANT_MS };

    fn is_vacant(&self) -> bool {
        self.event_time_ms == VACANT_MS
    }
}

impl Seen {
    /// A time at the very end of time, which no record has, is taken for the millisecond behind it.
    fn new(content: u64, event_time_ms: TimeMs) -> Self {
        Seen { content, event_time_ms: event_time_ms.max(VACANT_MS + 1) }
    }
}

/// How many tables the ids are spread over: one is swept a tick, so that no tick pays for all, and no growth copies all.
const TABLES: usize = 64;

/// The identities of one partition and group (or of one virtual shard of them).
#[derive(Debug)]
pub struct Identities {
    tables: Vec<IdTable<Seen>>,
    sweep_next: usize,
    streams: IdTable<Stream>,
    saving: Option<Saving>,
    /// Which streams moved, once somebody wants to know.
    watch: Option<Watch>,
}

/// A checkpoint under way.
#[derive(Debug)]
struct Saving {
    /// The first table that was not given.
    next: usize,
    /// What the tables that were not given held, as of the checkpoint, of ids that are met since.
    put_by: HashMap<u128, Option<Seen>, BuildHasherDefault<Low>>,
}

impl Default for Identities {
    fn default() -> Self {
        Identities {
            tables: (0..TABLES).map(IdTable::new).collect(),
            sweep_next: 0,
            streams: IdTable::new(0),
            saving: None,
            watch: None,
        }
    }
}

impl Identities {
    /// Remembers a record, unless it was seen. Ids whose event time lies before `absent_before_ms` count as not seen.
    pub fn admit(&mut self, identity: Identity, event_time_ms: TimeMs, absent_before_ms: TimeMs) -> Admission {
        match identity {
            Identity::Sequence { stream, sequence } => {
                let (_, numbers) = self.streams.get_or_insert(stream, Stream::default);
                if let Some(watch) = &mut self.watch {
                    watch.moves(stream, numbers, sequence, event_time_ms);
                }
                if numbers.insert(sequence) { Admission::New } else { Admission::Duplicate }
            }
            Identity::Id { id, content } => {
                let seen = Seen::new(content, event_time_ms);
                let table = table_of(id);
                let saving = self.saving.as_mut().filter(|saving| table >= saving.next);
                match self.tables[table].get_or_insert(id, || seen) {
                    (true, _) => {
                        if let Some(saving) = saving {
                            saving.put_by.entry(id).or_insert(None);
                        }
                        Admission::New
                    }
                    (false, known) if known.event_time_ms < absent_before_ms => {
                        if let Some(saving) = saving {
                            saving.put_by.entry(id).or_insert(Some(*known));
                        }
                        *known = seen;
                        Admission::New
                    }
                    (false, known) if known.content == content => Admission::Duplicate,
                    _ => Admission::Conflict,
                }
            }
        }
    }

    /// Begins a tick in which it is told which streams move ([`streams`](crate::streams)).
    pub fn begin_tick(&mut self, tick: Tick, now_ms: TimeMs) {
        self.watch.get_or_insert_with(Watch::new).begin_tick(tick, now_ms);
    }

    /// The stream of the record that was just admitted, if it will be told of for the first time: its name is not known yet.
    #[inline]
    pub fn take_unnamed(&mut self) -> Option<u128> {
        self.watch.as_mut().and_then(Watch::take_unnamed)
    }

    /// Ends such a tick: gives what is to be told of streams now, or all that is not told yet.
    pub fn end_tick(&mut self, everything: bool, give: impl FnMut(StreamReport<u128>)) {
        if let Some(watch) = &mut self.watch {
            watch.end_tick(&mut self.streams, everything, give);
        }
    }

    /// Asks for the memory that an identity needs soon.
    pub(crate) fn fetch(&self, identity: Identity) {
        match identity {
            Identity::Id { id, .. } => self.tables[table_of(id)].fetch(id),
            Identity::Sequence { stream, .. } => self.streams.fetch(stream),
        }
    }

    /// Whether an id was seen with other content, without remembering anything.
    pub fn conflicts(&self, identity: Identity, absent_before_ms: TimeMs) -> bool {
        let Identity::Id { id, content } = identity else { return false };
        let known = self.tables[table_of(id)].get(id);
        known.is_some_and(|known| known.event_time_ms >= absent_before_ms && known.content != content)
    }

    /// Frees what counts as absent in one of the tables: call it once a tick. It waits while a checkpoint is given.
    pub fn sweep(&mut self, absent_before_ms: TimeMs) {
        if self.saving.is_some() {
            return;
        }
        let table = &mut self.tables[self.sweep_next];
        self.sweep_next = (self.sweep_next + 1) % TABLES;
        if table.len() > 0 {
            table.retain(|seen| seen.event_time_ms >= absent_before_ms);
        }
    }

    /// From now on what is given is what is remembered now, whatever is met meanwhile. The sequenced streams, which are
    /// few and change at every record, are given at once.
    pub fn freeze(&mut self, mut give: impl FnMut(u64, Vec<u8>)) {
        self.saving = Some(Saving { next: 0, put_by: HashMap::default() });
        let mut by_shard: BTreeMap<u64, BTreeMap<u128, &Stream>> = BTreeMap::new();
        for (stream, numbers) in self.streams.iter() {
            by_shard.entry(identity_shard(stream)).or_default().insert(stream, numbers);
        }
        for (shard, streams) in by_shard {
            let streams = streams.into_iter().map(|(stream, numbers)| Remembered::Stream(stream, numbers.intervals()));
            give(shard, streams.fold(Vec::new(), |coded, stream| encode(&stream, coded)));
        }
    }

    /// Gives ids, by virtual shard, about `bytes_max` bytes of them; says how many bytes, none where all were given.
    pub fn give(&mut self, bytes_max: usize, mut give: impl FnMut(u64, Vec<u8>)) -> usize {
        let mut given = 0;
        while let Some(saving) = self.saving.as_mut().filter(|saving| saving.next < TABLES)
            && given < bytes_max
        {
            let first = saving.next as u64 * SHARDS_PER_TABLE;
            let mut by_shard = vec![Vec::new(); SHARDS_PER_TABLE as usize];
            let mut put = |id: u128, seen: Seen| {
                let coded: &mut Vec<u8> = &mut by_shard[(identity_shard(id) - first) as usize];
                *coded = encode(&Remembered::Id(id, seen), std::mem::take(coded));
            };
            for (id, seen) in self.tables[saving.next].iter() {
                if !saving.put_by.contains_key(&id) {
                    put(id, *seen);
                }
            }
            let table = saving.next;
            saving.put_by.retain(|id, before| {
                let is_given = table_of(*id) == table;
                before.filter(|_| is_given).into_iter().for_each(|seen| put(*id, seen));
                !is_given
            });
            saving.next += 1;
            for (shard, coded) in (first..).zip(by_shard).filter(|(_, coded)| !coded.is_empty()) {
                given += coded.len();
                give(shard, coded);
            }
        }
        if self.saving.as_ref().is_some_and(|saving| saving.next == TABLES) {
            self.saving = None;
        }
        given
    }

    /// Whether a checkpoint is under way.
    pub fn is_saving(&self) -> bool {
        self.saving.is_some()
    }

    /// Remembers what was given.
    pub fn restore(&mut self, mut coded: &[u8]) {
        while !coded.is_empty() {
            match decode(&mut coded) {
                Remembered::Id(id, seen) => {
                    self.tables[table_of(id)].get_or_insert(id, || seen);
                }
                Remembered::Stream(stream, intervals) => {
                    self.streams.get_or_insert(stream, || intervals.into());
                }
            }
        }
    }

    /// Ids remembered now, and sequence intervals.
    pub fn len(&self) -> (usize, usize) {
        (self.tables.iter().map(IdTable::len).sum(), self.streams.iter().map(|(_, numbers)| numbers.len()).sum())
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == (0, 0)
    }

    /// Resident bytes, by capacity.
    pub fn bytes(&self) -> usize {
        let ids: usize = self.tables.iter().map(IdTable::bytes).sum();
        ids + self.streams.bytes() + self.streams.iter().map(|(_, numbers)| numbers.heap_bytes()).sum::<usize>()
    }

    /// How much it holds: ids and sequence intervals.
    pub fn gauge(&self) -> FoldGauge {
        let (ids, intervals) = self.len();
        FoldGauge { keys: ids + intervals, table_bytes: self.bytes(), heap_bytes: 0 }
    }

    /// Open gaps over all streams: intervals beyond the first of each.
    pub fn gaps(&self) -> usize {
        self.streams.iter().map(|(_, numbers)| numbers.len().saturating_sub(1)).sum()
    }
}

/// The virtual shard of an identity, which is a hash already: its top bits, since the tables use the low half.
pub fn identity_shard(id: u128) -> u64 {
    shard_of_hash((id >> 64) as u64)
}

fn table_of(id: u128) -> usize {
    (identity_shard(id) / SHARDS_PER_TABLE) as usize
}

const SHARDS_PER_TABLE: u64 = SHARDS / TABLES as u64;

/// What a checkpoint holds of identities.
#[derive(Serialize, Deserialize)]
enum Remembered {
    Id(u128, Seen),
    Stream(u128, Intervals),
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whenever the sweep comes, the answers are the same.
        #[test]
        fn the_sweep_is_invisible(steps in prop::collection::vec((0u128..20, 0u64..2, 0i64..100, any::<bool>()), 0..200)) {
            let (mut swept, mut never, mut bound) = (Identities::default(), Identities::default(), 0);
            for (id, content, ahead, sweep) in steps {
                bound += ahead / 20;
                let identity = Identity::Id { id: id << 123 | id, content };
                let time = bound + ahead;
                prop_assert_eq!(swept.conflicts(identity, bound), never.conflicts(identity, bound));
                prop_assert_eq!(swept.admit(identity, time, bound), never.admit(identity, time, bound));
                for _ in 0..(if sweep { TABLES } else { 0 }) {
                    swept.sweep(bound);
                }
            }
        }
    }

    /// What is remembered, without regard to where.
    fn contents(identities: &Identities) -> (BTreeMap<u128, (u64, TimeMs)>, BTreeMap<u128, Intervals>) {
        let ids =
            identities.tables.iter().flat_map(IdTable::iter).map(|(id, seen)| (id, (seen.content, seen.event_time_ms)));
        (ids.collect(), identities.streams.iter().map(|(stream, numbers)| (stream, numbers.intervals())).collect())
    }

    proptest! {
        /// However much is met while it is given, a checkpoint holds what was remembered when it was frozen.
        #[test]
        fn a_checkpoint_is_of_one_moment(
            before in prop::collection::vec((0u128..60, 0u64..2, 0i64..100), 0..100),
            after in prop::collection::vec((0u128..60, 0u64..2, 0i64..100, any::<bool>()), 0..100),
        ) {
            let id = |number: u128, content| match number % 5 {
                0 => Identity::Sequence { stream: number << 121, sequence: content },
                _ => Identity::Id { id: number << 122 | number, content },
            };
            let mut identities = Identities::default();
            for (number, content, time_ms) in before {
                identities.admit(id(number, content), time_ms, 0);
            }
            let expected = contents(&identities);
            let mut restored = Identities::default();
            identities.freeze(|_, coded| restored.restore(&coded));
            for (number, content, time_ms, gives) in after {
                identities.admit(id(number, content), time_ms, 50);
                identities.sweep(50);
                if gives {
                    identities.give(1, |_, coded| restored.restore(&coded));
                }
            }
            while identities.is_saving() {
                identities.give(1, |_, coded| restored.restore(&coded));
            }
            prop_assert_eq!(contents(&restored), expected);
        }
    }
}
