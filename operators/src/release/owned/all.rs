//! All partitions that a worker owns: who is judged before whom, and what a checkpoint has of them.

use timely::scheduling::SyncActivator;

use super::super::{Pending, Released, SetAside};
use super::{Out, Owned, SavedRef};
use crate::checkpoint::{self, PartOwner, Save, encode};
use crate::record::Record;
use crate::time::Tick;
use crate::watermark::Watermarks;

/// The partitions that a worker owns.
pub(in crate::release) struct AllOwned<R> {
    pub(in crate::release) partitions: Vec<Owned<R>>,
    /// Parts of a checkpoint that were taken when it was frozen.
    taken: Vec<(PartOwner, Vec<u8>)>,
}

impl<R: Record> AllOwned<R> {
    pub(in crate::release) fn new(partitions: Vec<Owned<R>>, restore: impl Iterator<Item = checkpoint::Part>) -> Self {
        let mut all = AllOwned { partitions, taken: Vec::new() };
        for part in restore {
            let owned = all.partitions.iter_mut().find(|owned| PartOwner::Partition(owned.id) == part.place);
            owned.expect("a worker is given the parts of what it owns").restore(&part.bytes);
        }
        all
    }
}

impl<R: Record> AllOwned<R> {
    /// Judges what is there, up to the bounds; says whether all bounds were reached.
    ///
    /// What enters a partition again is judged behind all of its own records of the tick, by the identities that it has.
    pub(in crate::release) fn run<A, B, C, D>(
        &mut self,
        watermarks: &Watermarks,
        out: &mut Out<A, B, C, D>,
        wake: &SyncActivator,
    ) -> bool
    where
        A: FnMut(Released<R>),
        B: FnMut(SetAside<R>),
        C: FnMut(Pending<R>),
        D: FnMut(u128, &R),
    {
        let mut reached = true;
        for place in 0..self.partitions.len() {
            let Some(of) = self.partitions[place].re_enters else {
                reached &= self.partitions[place].run(watermarks, out, wake);
                continue;
            };
            let of = self.partitions.iter().position(|owned| owned.id == of);
            let of = of.expect("a partition lies where the one lies whose records enter again in it");
            if !self.partitions[of].has_reached() {
                reached = false;
                continue;
            }
            let identities = std::mem::take(&mut self.partitions[of].identities);
            self.partitions[place].identities = identities;
            reached &= self.partitions[place].run(watermarks, out, wake);
            self.partitions[of].identities = std::mem::take(&mut self.partitions[place].identities);
        }
        reached
    }
}

impl<R: Record> Save for AllOwned<R> {
    fn freeze(&mut self, _: Tick) {
        for owned in &mut self.partitions {
            let place = PartOwner::Partition(owned.id);
            self.taken.push((place, owned.head()));
            for (group, identities) in &mut owned.identities {
                identities.freeze(|_, coded| {
                    let coded = encode(&SavedRef::Identities { group: *group, coded: &coded }, Vec::new());
                    self.taken.push((place, coded));
                });
            }
        }
    }

    fn give(&mut self, bytes_max: usize, give: &mut dyn FnMut(PartOwner, Vec<u8>)) -> bool {
        self.taken.drain(..).for_each(|(place, bytes)| give(place, bytes));
        let mut given = 0;
        for owned in &mut self.partitions {
            for (group, identities) in owned.identities.iter_mut().filter(|(_, identities)| identities.is_saving()) {
                if given >= bytes_max {
                    return false;
                }
                given += identities.give(bytes_max - given, |_, coded| {
                    let saved = SavedRef::Identities { group: *group, coded: &coded };
                    give(PartOwner::Partition(owned.id), encode(&saved, Vec::new()));
                });
                if identities.is_saving() {
                    return false;
                }
            }
        }
        true
    }
}
