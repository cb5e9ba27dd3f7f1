//! The published collection of one view, readable as of any of its last ticks.
//!
//! The index holds the multiset as of the greatest applied tick, and beside it the changes of the ticks before, its
//! history. A read as of an older tick is the same multiset seen through an overlay that undoes what changed since; a
//! subscriber that comes back reads the changes themselves. History is bounded in ticks and in bytes; what lies before
//! it is gone.
//!
//! The first tick applied is where history begins: tick 0 follows nothing and can be read from the start, any other is
//! the first after a restore, whose changes are the whole collection and stand for no tick's work. They come in pieces,
//! which are merged, and each is let go as soon as it is in the index: fresh memory is what a large collection costs most.

mod merge;
mod sections;

use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::iter;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use crate::time::Tick;
use merge::Merged;
use sections::{Sections, Stored};

/// How much history is kept; whichever bound is met first holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryBounds {
    /// How many ticks before the published one can be read.
    pub ticks_max: u64,
    /// About how many bytes their changes may take.
    pub bytes_max: usize,
}

/// A view's rows as of its published tick, and how they came to be so.
#[derive(Clone, Debug)]
pub struct Index<R: Ord + Clone> {
    rows: Sections<R>,
    /// Ticks that changed something, ascending, all of them at or after `held_from`.
    history: VecDeque<(Tick, Vec<(R, i64)>)>,
    history_bytes: usize,
    /// The first tick from which on all changes are in `history`.
    held_from: Tick,
    published: Option<Tick>,
    bounds: HistoryBounds,
    bytes_of: RowBytes<R>,
}

/// Says about how many bytes a row takes.
#[derive(Clone)]
struct RowBytes<R>(Arc<dyn Fn(&R) -> usize + Send + Sync>);

impl<R> fmt::Debug for RowBytes<R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("RowBytes")
    }
}

/// Why a tick cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// It lies before history.
    #[error("that tick is gone, the oldest readable is {oldest}")]
    Gone {
        /// The oldest tick that can be read.
        oldest: Tick,
    },
    /// It has not been published.
    #[error("that tick is not published yet, the newest is {published:?}")]
    NotYet {
        /// The newest tick that can be read, where there is one.
        published: Option<Tick>,
    },
}

/// Changes that no correct dataflow makes: a mistake of ours, upon which the process stops. The index is as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// More copies of a row left than there were.
    #[error("tick {tick} takes away a row that is not there")]
    Negative {
        /// The tick.
        tick: Tick,
    },
    /// The tick is not after the published one.
    #[error("tick {tick} came after tick {published}")]
    Descends {
        /// The tick.
        tick: Tick,
        /// The published one.
        published: Tick,
    },
}

impl<R: Ord + Clone> Index<R> {
    /// An empty index; `bytes_of` says about how many bytes a row takes.
    pub fn new(bounds: HistoryBounds, bytes_of: impl Fn(&R) -> usize + Send + Sync + 'static) -> Self {
        Index {
            rows: Sections::new(),
            history: VecDeque::new(),
            history_bytes: 0,
            held_from: 0,
            published: None,
            bounds,
            bytes_of: RowBytes(Arc::new(bytes_of)),
        }
    }

    /// Publishes `tick` with its changes, in any order. Ticks ascend and may leave gaps, in which nothing changed.
    pub fn apply(&mut self, tick: Tick, changes: Vec<(R, i64)>) -> Result<(), ApplyError> {
        self.apply_pieces(tick, vec![changes])
    }

    /// The same with changes that come in pieces, in any order, too. After a restore it takes least where pieces are in
    /// order, and go on where others end.
    pub fn apply_pieces(&mut self, tick: Tick, mut pieces: Vec<Vec<(R, i64)>>) -> Result<(), ApplyError> {
        if let Some(published) = self.published.filter(|published| tick <= *published) {
            return Err(ApplyError::Descends { tick, published });
        }
        if self.published.is_none() && tick > 0 {
            self.rows = restored(tick, pieces)?;
            self.held_from = tick + 1;
        } else {
            let mut changes =
                if pieces.len() == 1 { pieces.swap_remove(0) } else { pieces.into_iter().flatten().collect() };
            consolidate(&mut changes);
            self.change_rows(tick, &changes)?;
            if !changes.is_empty() {
                self.history_bytes += self.bytes_in(&changes);
                self.history.push_back((tick, changes));
            }
        }
        self.published = Some(tick);
        self.forget();
        Ok(())
    }

    /// The greatest applied tick.
    pub fn published(&self) -> Option<Tick> {
        self.published
    }

    /// The oldest tick that [`Index::at`] answers, once something is published.
    pub fn oldest_readable(&self) -> Tick {
        self.held_from.saturating_sub(1)
    }

    /// How many different rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The published rows in order, with how many copies there are of each.
    pub fn iter(&self) -> impl Iterator<Item = (&R, i64)> {
        self.rows.iter()
    }

    /// The collection as of `tick`. Costs a look at every change since then; none for the published tick.
    pub fn at(&self, tick: Tick) -> Result<AsOf<'_, R>, ReadError> {
        let Some(published) = self.published.filter(|published| tick <= *published) else {
            return Err(ReadError::NotYet { published: self.published });
        };
        let mut undo = BTreeMap::new();
        if tick < published {
            let since = self.changes_since(tick + 1)?;
            for (row, diff) in since.flat_map(|(_, changes)| changes) {
                *undo.entry(row).or_insert(0) -= diff;
            }
        }
        Ok(AsOf { rows: &self.rows, undo })
    }

    /// All rows as of `tick`, in order.
    pub fn as_of(&self, tick: Tick) -> Result<Vec<(R, i64)>, ReadError> {
        self.range_as_of(tick, ..)
    }

    /// The rows within `range` as of `tick`, in order.
    pub fn range_as_of(&self, tick: Tick, range: impl RangeBounds<R>) -> Result<Vec<(R, i64)>, ReadError> {
        Ok(self.at(tick)?.range(range).map(|(row, copies)| (row.clone(), copies)).collect())
    }

    /// What changed at `lower` and later, by tick; ticks that changed nothing are left out, and so is nothing else.
    pub fn changes_since(
        &self,
        lower: Tick,
    ) -> Result<impl DoubleEndedIterator<Item = (Tick, &[(R, i64)])>, ReadError> {
        if lower < self.held_from {
            return Err(ReadError::Gone { oldest: self.oldest_readable() });
        }
        let first = self.history.partition_point(|(tick, _)| *tick < lower);
        Ok(self.history.range(first..).map(|(tick, changes)| (*tick, changes.as_slice())))
    }

    /// Changes all rows, or none where one of them can't be changed so.
    fn change_rows(&mut self, tick: Tick, changes: &[(R, i64)]) -> Result<(), ApplyError> {
        for (place, (row, diff)) in changes.iter().enumerate() {
            if !self.change_row(row, *diff) {
                let undone = changes[..place].iter().all(|(row, diff)| self.change_row(row, -diff));
                debug_assert!(undone, "what was changed just now can be changed back");
                return Err(ApplyError::Negative { tick });
            }
        }
        Ok(())
    }

    /// Changes a row, unless that leaves fewer copies than none; says whether it did.
    fn change_row(&mut self, row: &R, diff: i64) -> bool {
        let section = self.rows.of_mut(row);
        if diff > 0 {
            match section.get_mut(row) {
                Some(copies) => *copies += diff,
                None => drop(section.insert(Stored(row.clone()), diff)),
            }
            return true;
        }
        let Some(copies) = section.get_mut(row).filter(|copies| **copies + diff >= 0) else { return false };
        *copies += diff;
        if *copies == 0 {
            section.remove(row);
        }
        true
    }

    /// Lets go of the oldest changes until both bounds hold.
    fn forget(&mut self) {
        let Some(published) = self.published else { return };
        let wanted_from = (published + 1).saturating_sub(self.bounds.ticks_max);
        while let Some((tick, changes)) = self.history.front() {
            if *tick >= wanted_from && self.history_bytes <= self.bounds.bytes_max {
                break;
            }
            self.held_from = tick + 1;
            self.history_bytes -= self.bytes_in(changes);
            self.history.pop_front();
        }
        self.held_from = self.held_from.max(wanted_from);
    }

    fn bytes_in(&self, changes: &[(R, i64)]) -> usize {
        changes.iter().map(|(row, _)| (self.bytes_of.0)(row) + size_of::<i64>()).sum()
    }
}

/// A collection as of one tick: the published rows, and what to undo in them.
pub struct AsOf<'a, R: Ord> {
    rows: &'a Sections<R>,
    undo: BTreeMap<&'a R, i64>,
}

impl<'a, R: Ord + Clone> AsOf<'a, R> {
    /// All rows in order, with how many copies there are of each.
    pub fn iter(&self) -> impl Iterator<Item = (&'a R, i64)> {
        self.range(..)
    }

    /// The rows that `order_of` calls equal, in order. It says where a row lies beside what is looked for, and has to be
    /// monotone in the order of the rows; no row before the first and behind the last one is looked at.
    pub fn matching<'b>(
        &'b self,
        order_of: impl Fn(&R) -> Ordering + Clone + 'b,
    ) -> impl Iterator<Item = (&'a R, i64)> {
        let is_equal = order_of.clone();
        self.from(order_of).take_while(move |(row, _)| is_equal(row).is_eq())
    }

    /// The rows from the first one on that `order_of` does not call less, in order.
    pub fn from<'b>(&'b self, order_of: impl Fn(&R) -> Ordering + 'b) -> impl Iterator<Item = (&'a R, i64)> {
        let rows = self.rows.from(&order_of);
        let undo = self.undo.iter().map(|(row, diff)| (*row, *diff)).skip_while(move |(row, _)| order_of(row).is_lt());
        merged(rows, undo).filter(|(_, copies)| *copies != 0)
    }

    /// The rows within `range`, in order. The range must not end before it begins.
    pub fn range(&self, range: impl RangeBounds<R>) -> impl Iterator<Item = (&'a R, i64)> {
        let bounds: (Bound<&R>, Bound<&R>) = (range.start_bound(), range.end_bound());
        let rows = self.rows.range(bounds);
        let undo = self.undo.range::<R, _>(bounds).map(|(row, diff)| (*row, *diff));
        merged(rows, undo).filter(|(_, copies)| *copies != 0)
    }
}

/// Rows and what is to be undone in them, both ascending, as one; rows of which no copy is left are among them.
fn merged<'a, R: Ord + 'a>(
    rows: impl Iterator<Item = (&'a R, i64)>,
    undo: impl Iterator<Item = (&'a R, i64)>,
) -> impl Iterator<Item = (&'a R, i64)> {
    let (mut rows, mut undo) = (rows.peekable(), undo.peekable());
    iter::from_fn(move || {
        let next = match (rows.peek(), undo.peek()) {
            (Some((row, _)), Some((undone, _))) => (*row).min(*undone),
            (Some((row, _)), None) => *row,
            (None, Some((undone, _))) => *undone,
            (None, None) => return None,
        };
        let copies = rows.next_if(|(row, _)| *row == next).map_or(0, |(_, copies)| copies);
        let diff = undo.next_if(|(row, _)| *row == next).map_or(0, |(_, diff)| diff);
        Some((next, copies + diff))
    })
}

/// The rows of a whole collection.
fn restored<R: Ord + Clone>(tick: Tick, pieces: Vec<Vec<(R, i64)>>) -> Result<Sections<R>, ApplyError> {
    let mut merged = Merged::new(pieces).peekable();
    let mut is_short = false;
    let added_up = iter::from_fn(|| {
        loop {
            let (row, mut copies) = merged.next()?;
            while let Some((_, diff)) = merged.next_if(|(next, _)| *next == row) {
                copies += diff;
            }
            is_short |= copies < 0;
            if copies != 0 {
                return Some((row, copies));
            }
        }
    });
    let rows = Sections::of_ascending(added_up);
    if is_short { Err(ApplyError::Negative { tick }) } else { Ok(rows) }
}

/// Sorts by row, adds up the changes of each, drops those that cancel.
pub(crate) fn consolidate<R: Ord>(changes: &mut Vec<(R, i64)>) {
    changes.sort_unstable_by(|(left, _), (right, _)| left.cmp(right));
    changes.dedup_by(|(row, diff), (kept, sum)| {
        let is_same = row == kept;
        if is_same {
            *sum += *diff;
        }
        is_same
    });
    changes.retain(|(_, diff)| *diff != 0);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const WIDE: HistoryBounds = HistoryBounds { ticks_max: 1_000, bytes_max: 1 << 20 };

    fn index(bounds: HistoryBounds) -> Index<u8> {
        Index::new(bounds, |_| 8)
    }

    #[test]
    fn a_row_that_is_not_there_cannot_leave() {
        let mut index = index(WIDE);
        index.apply(0, vec![(1, 1)]).unwrap();
        assert_eq!(index.apply(1, vec![(2, 1), (1, -2)]), Err(ApplyError::Negative { tick: 1 }));
        assert_eq!(index.as_of(0).unwrap(), vec![(1, 1)], "a refused tick changes nothing");
        assert_eq!(index.apply(0, vec![]), Err(ApplyError::Descends { tick: 0, published: 0 }));
    }

    #[test]
    fn history_after_a_restore_begins_at_the_first_tick() {
        let mut index = index(WIDE);
        assert_eq!(index.as_of(0), Err(ReadError::NotYet { published: None }));
        index.apply(7, vec![(1, 1), (2, 1)]).unwrap();
        index.apply(8, vec![(1, -1)]).unwrap();
        assert_eq!(index.oldest_readable(), 7);
        assert_eq!(index.as_of(6), Err(ReadError::Gone { oldest: 7 }));
        assert_eq!(index.as_of(7).unwrap(), vec![(1, 1), (2, 1)]);
        assert!(index.changes_since(7).is_err(), "the whole collection is not what tick 7 changed");
        assert_eq!(index.changes_since(8).unwrap().count(), 1);
    }

    #[test]
    fn a_collection_in_pieces_is_the_one_in_one() {
        let mut index = index(WIDE);
        let pieces = vec![vec![(4, 1), (6, 1)], vec![(1, 2), (2, 1)], vec![(3, -1), (2, -1), (6, 2)], vec![(3, 2)]];
        assert_eq!(index.apply_pieces(7, vec![vec![(1, 1)], vec![(1, -2)]]), Err(ApplyError::Negative { tick: 7 }));
        assert_eq!((index.len(), index.published()), (0, None), "a refused tick changes nothing");
        index.apply_pieces(7, pieces).unwrap();
        assert_eq!(index.as_of(7).unwrap(), vec![(1, 2), (3, 1), (4, 1), (6, 3)]);
        index.apply_pieces(8, vec![vec![(9, 1)], vec![(1, -2)], vec![]]).unwrap();
        assert_eq!(index.as_of(8).unwrap(), vec![(3, 1), (4, 1), (6, 3), (9, 1)]);
        assert_eq!(index.apply(9, vec![(3, -1), (4, 2), (9, -2)]), Err(ApplyError::Negative { tick: 9 }));
        assert_eq!(index.as_of(8).unwrap(), vec![(3, 1), (4, 1), (6, 3), (9, 1)], "what was changed is changed back");
    }

    #[test]
    fn a_tick_larger_than_history_leaves_none() {
        let mut index = index(HistoryBounds { ticks_max: 10, bytes_max: 40 });
        index.apply(0, vec![(1, 1)]).unwrap();
        index.apply(1, (2..6).map(|row| (row, 1)).collect()).unwrap();
        assert_eq!(index.oldest_readable(), 1);
        index.apply(2, vec![]).unwrap();
        assert_eq!(index.oldest_readable(), 1, "an empty tick pushes nothing out");
    }

    proptest! {
        /// Whatever the history, a tick that is readable reads as the snapshot taken then.
        #[test]
        fn reads_equal_kept_snapshots(
            steps in prop::collection::vec((1u64..4, prop::collection::vec((0u8..6, 0i64..3), 0..5)), 1..40),
            ticks_max in 0u64..20,
            changes_max in 0usize..40,
            first in 0u64..3,
        ) {
            let mut index = index(HistoryBounds { ticks_max, bytes_max: changes_max * 16 });
            let mut now: BTreeMap<u8, i64> = BTreeMap::new();
            let mut snapshots = BTreeMap::new();
            let mut tick = first;
            for (gap, targets) in steps {
                let mut changes = Vec::new();
                for (row, copies) in targets {
                    let before = now.insert(row, copies).unwrap_or(0);
                    changes.push((row, copies - before));
                }
                now.retain(|_, copies| *copies != 0);
                changes.reverse();
                index.apply(tick, changes).unwrap();
                for between in tick..tick + gap {
                    snapshots.insert(between, now.clone());
                }
                let oldest = index.oldest_readable();
                prop_assert!(oldest <= tick && tick - oldest <= ticks_max);
                for wanted in 0..=tick {
                    let read = index.as_of(wanted);
                    if wanted < oldest {
                        prop_assert_eq!(read, Err(ReadError::Gone { oldest }));
                        continue;
                    }
                    let snapshot = &snapshots[&wanted];
                    prop_assert_eq!(read.unwrap(), Vec::from_iter(snapshot.clone()));
                    let range = index.range_as_of(wanted, 2..4).unwrap();
                    prop_assert_eq!(&range, &Vec::from_iter(snapshot.range(2..4).map(|(row, copies)| (*row, *copies))));
                    let at = index.at(wanted).unwrap();
                    let matching = at.matching(|row: &u8| (row / 2).cmp(&1)).map(|(row, copies)| (*row, copies));
                    prop_assert_eq!(Vec::from_iter(matching), range);
                    let mut rolled = snapshot.clone();
                    for (row, diff) in index.changes_since(wanted + 1).unwrap().flat_map(|(_, changes)| changes) {
                        *rolled.entry(*row).or_insert(0) += diff;
                    }
                    rolled.retain(|_, copies| *copies != 0);
                    prop_assert_eq!(&rolled, &now);
                }
                prop_assert_eq!(index.as_of(tick + 1), Err(ReadError::NotYet { published: Some(tick) }));
                tick += gap;
            }
        }
    }
}
