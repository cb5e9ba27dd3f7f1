//! The rows of an index: maps, each of a section of the order, one behind the other.
//!
//! There is one section, until a whole collection is taken at once. It is built section by section from what comes in order:
//! a map that is built at once needs all of it in one piece first, and a section's piece is small.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Bound;

/// How many rows a section has when it is built; it grows and shrinks with its rows, and is never divided.
const SECTION_ROWS: usize = 8_192;

/// A row as a key of a map, which can be looked up by the row, or by a place among the rows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub(super) struct Stored<R>(pub(super) R);

impl<R> Borrow<R> for Stored<R> {
    fn borrow(&self) -> &R {
        &self.0
    }
}

/// A place in the order of the rows: that of a row, or one between two.
trait Place<R> {
    /// The row that lies there.
    fn row(&self) -> Option<&R>;
    /// Where a row lies beside it.
    fn order_of(&self, row: &R) -> Ordering;
}

impl<R: Ord> Place<R> for Stored<R> {
    fn row(&self) -> Option<&R> {
        Some(&self.0)
    }

    fn order_of(&self, row: &R) -> Ordering {
        row.cmp(&self.0)
    }
}

/// The place before the first row that does not lie before what is looked for.
struct Before<'a, R>(&'a dyn Fn(&R) -> Ordering);

impl<R> Place<R> for Before<'_, R> {
    fn row(&self) -> Option<&R> {
        None
    }

    fn order_of(&self, row: &R) -> Ordering {
        if (self.0)(row).is_lt() { Ordering::Less } else { Ordering::Greater }
    }
}

impl<'a, R: Ord + 'a> Borrow<dyn Place<R> + 'a> for Stored<R> {
    fn borrow(&self) -> &(dyn Place<R> + 'a) {
        self
    }
}

impl<R> PartialEq for dyn Place<R> + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<R> Eq for dyn Place<R> + '_ {}

impl<R> PartialOrd for dyn Place<R> + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<R> Ord for dyn Place<R> + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.row(), other.row()) {
            (Some(row), _) => other.order_of(row),
            (None, Some(row)) => self.order_of(row).reverse(),
            // Only one place that is no row is ever compared with.
            (None, None) => Ordering::Equal,
        }
    }
}

/// Rows and how many copies there are of each.
#[derive(Clone, Debug)]
pub(super) struct Sections<R> {
    /// At least one.
    maps: Vec<BTreeMap<Stored<R>, i64>>,
    /// The first row that may be in each section but the first.
    firsts: Vec<R>,
}

impl<R: Ord + Clone> Sections<R> {
    pub(super) fn new() -> Self {
        Sections { maps: vec![BTreeMap::new()], firsts: Vec::new() }
    }

    /// Of rows that ascend and occur once each.
    pub(super) fn of_ascending(mut rows: impl Iterator<Item = (R, i64)>) -> Self {
        let mut sections = Sections { maps: Vec::new(), firsts: Vec::new() };
        loop {
            let mut piece = Vec::with_capacity(SECTION_ROWS);
            piece.extend(rows.by_ref().take(SECTION_ROWS).map(|(row, copies)| (Stored(row), copies)));
            match piece.first() {
                None if !sections.maps.is_empty() => break sections,
                None => break Sections::new(),
                Some((first, _)) if !sections.maps.is_empty() => sections.firsts.push(first.0.clone()),
                Some(_) => {}
            }
            sections.maps.push(piece.into_iter().collect());
        }
    }

    pub(super) fn len(&self) -> usize {
        self.maps.iter().map(BTreeMap::len).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.maps.iter().all(BTreeMap::is_empty)
    }

    /// The section in which a row is, if it is there.
    pub(super) fn of_mut(&mut self, row: &R) -> &mut BTreeMap<Stored<R>, i64> {
        let place = self.place_of(row);
        &mut self.maps[place]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&R, i64)> {
        self.maps.iter().flatten().map(|(row, copies)| (&row.0, *copies))
    }

    /// The rows within bounds, which must not end before they begin.
    pub(super) fn range<'a>(
        &'a self,
        bounds: (Bound<&R>, Bound<&R>),
    ) -> impl Iterator<Item = (&'a R, i64)> + use<'a, R> {
        let place = |bound: Bound<&R>, unbounded| match bound {
            Bound::Included(row) | Bound::Excluded(row) => self.place_of(row),
            Bound::Unbounded => unbounded,
        };
        let (from, upto) = (place(bounds.0, 0), place(bounds.1, self.maps.len() - 1));
        let (first, others) = (self.maps[from].range::<R, _>(bounds), self.maps.get(from + 1..upto + 1));
        // Only the last one has to be looked at more closely; where there is but one, it was.
        let last = others.and_then(<[_]>::split_last);
        let between = last.map_or(&[][..], |(_, between)| between);
        let last = last.map(|(last, _)| last.range::<R, _>((Bound::Unbounded, bounds.1)));
        let rows = first.chain(between.iter().flatten()).chain(last.into_iter().flatten());
        rows.map(|(row, copies)| (&row.0, *copies))
    }

    /// The rows from the first one on that `order_of` does not call less. It has to be monotone in the order of the rows.
    pub(super) fn from<'a>(
        &'a self,
        order_of: &dyn Fn(&R) -> Ordering,
    ) -> impl Iterator<Item = (&'a R, i64)> + use<'a, R> {
        let section = self.firsts.partition_point(|first| order_of(first).is_lt());
        let before = Before(order_of);
        let bounds = (Bound::Included(&before as &dyn Place<R>), Bound::Unbounded);
        let first = self.maps[section].range::<dyn Place<R> + '_, _>(bounds);
        let rows = first.chain(self.maps[section + 1..].iter().flatten());
        rows.map(|(row, copies)| (&row.0, *copies))
    }

    fn place_of(&self, row: &R) -> usize {
        self.firsts.partition_point(|first| first <= row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_one_map() {
        let rows = |count: u32| (0..count).map(|row| (3 * row, 1)).collect::<BTreeMap<u32, i64>>();
        for count in [0, 1, SECTION_ROWS as u32, SECTION_ROWS as u32 + 1, 3 * SECTION_ROWS as u32 - 1] {
            let mut map = rows(count);
            let mut sections = Sections::of_ascending(map.clone().into_iter());
            let edge = 3 * SECTION_ROWS as u32;
            for row in [0, 1, edge - 1, edge, edge + 1, 2 * edge, 9 * edge] {
                sections.of_mut(&row).insert(Stored(row), 7);
                map.insert(row, 7);
            }
            sections.of_mut(&edge).remove(&edge);
            map.remove(&edge);
            assert_eq!((sections.len(), sections.is_empty()), (map.len(), false));
            assert!(sections.iter().eq(map.iter().map(|(row, copies)| (row, *copies))));
            let edges = [0, 5, edge - 3, edge, edge + 1, 2 * edge - 1, 2 * edge, 8 * edge, 10 * edge];
            let bounds = edges.iter().flat_map(|edge| [Bound::Included(edge), Bound::Excluded(edge)]);
            let bounds: Vec<Bound<&u32>> = bounds.chain([Bound::Unbounded]).collect();
            for from in &edges {
                let expected = map.range(from..).map(|(row, copies)| (row, *copies));
                assert!(sections.from(&|row| row.cmp(from)).eq(expected), "{count} rows from {from}");
            }
            for from in &bounds {
                for upto in &bounds {
                    if let (
                        Bound::Included(from) | Bound::Excluded(from),
                        Bound::Included(upto) | Bound::Excluded(upto),
                    ) = (from, upto)
                        && from >= upto
                    {
                        continue;
                    }
                    let expected = map.range::<u32, _>((*from, *upto)).map(|(row, copies)| (row, *copies));
                    assert!(sections.range((*from, *upto)).eq(expected), "{count} rows, {from:?} to {upto:?}");
                }
            }
        }
    }
}
