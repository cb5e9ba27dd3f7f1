//! The rows of a view that can be read: as of the published tick, and back to the end of history.
//!
//! [`Shelf`] is what a program has that knows the view; [`AnyShelf`] is what it has otherwise, with one call for a tick,
//! a page or a listing. How rows are kept is the view's [`Store`]: an index, unless the list of views names another.

use std::any::Any;
use std::cmp::Ordering;
use std::fmt::Write;
use std::ops::Bound;
use std::sync::Arc;

use operators::index::{ApplyError, AsOf, HistoryBounds, Index, ReadError};
use operators::time::Tick;

use super::changes::into_rows_of;
use super::{ChangeList, Columns, Listed, Position, ViewId};

/// How a view's rows are kept, and read as of any tick of its history.
pub trait Store<R>: Send + Sync + 'static {
    /// Holds nothing yet; `bytes_of` says about how many bytes a row takes.
    fn new(bounds: HistoryBounds, bytes_of: Arc<dyn Fn(&R) -> usize + Send + Sync>) -> Self;
    /// Publishes a tick with its changes, in any order and in pieces.
    fn apply(&mut self, tick: Tick, pieces: Vec<Vec<(R, i64)>>) -> Result<(), ApplyError>;
    /// The published tick.
    fn published(&self) -> Option<Tick>;
    /// The oldest tick that can be read, once something is published.
    fn oldest_readable(&self) -> Tick;
    /// How many different rows there are.
    fn len(&self) -> usize;
    /// Whether there is no row.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The rows as of a tick, in order.
    fn at(&self, tick: Tick) -> Result<AsOf<'_, R>, ReadError>
    where
        R: Ord + Clone;
    /// What changed at `lower` and later, by tick, in canonical order.
    fn changes_since(&self, lower: Tick) -> Result<impl DoubleEndedIterator<Item = (Tick, &[(R, i64)])>, ReadError>
    where
        R: 'static;
}

impl<R: Ord + Clone + Send + Sync + 'static> Store<R> for Index<R> {
    fn new(bounds: HistoryBounds, bytes_of: Arc<dyn Fn(&R) -> usize + Send + Sync>) -> Self {
        Index::new(bounds, move |row| bytes_of(row))
    }

    fn apply(&mut self, tick: Tick, pieces: Vec<Vec<(R, i64)>>) -> Result<(), ApplyError> {
        self.apply_pieces(tick, pieces)
    }

    fn published(&self) -> Option<Tick> {
        Index::published(self)
    }

    fn oldest_readable(&self) -> Tick {
        Index::oldest_readable(self)
    }

    fn len(&self) -> usize {
        Index::len(self)
    }

    fn at(&self, tick: Tick) -> Result<AsOf<'_, R>, ReadError> {
        Index::at(self, tick)
    }

    fn changes_since(&self, lower: Tick) -> Result<impl DoubleEndedIterator<Item = (Tick, &[(R, i64)])>, ReadError> {
        Index::changes_since(self, lower)
    }
}

/// The rows of a view that is known.
pub struct Shelf<V: Listed> {
    columns: Arc<Columns<V::Row>>,
    store: V::Store,
}

impl<V: Listed> Shelf<V> {
    /// Without rows.
    pub fn new(columns: Arc<Columns<V::Row>>, bounds: HistoryBounds) -> Self {
        let sized = Arc::clone(&columns);
        Shelf { columns, store: Store::new(bounds, Arc::new(move |row| sized.row_bytes(row) + TREE_BYTES)) }
    }

    /// The rows.
    pub fn store(&self) -> &V::Store {
        &self.store
    }

    /// The columns.
    pub fn columns(&self) -> &Columns<V::Row> {
        &self.columns
    }

    /// The published rows in canonical order, each as often as it is there.
    pub fn rows(&self) -> Vec<&V::Row> {
        let Some(Ok(as_of)) = self.store.published().map(|tick| self.store.at(tick)) else { return Vec::new() };
        as_of.iter().flat_map(|(row, copies)| std::iter::repeat_n(row, usize::try_from(copies).unwrap_or(0))).collect()
    }

    /// The position before a row's copy of that number. Costs a look at each row that is alike in the first columns of the key.
    fn position(&self, as_of: &AsOf<'_, V::Row>, row: &V::Row, copy: u64) -> Position {
        let cells = self.columns.position_cells(row);
        let alike = as_of.matching(|other| self.columns.compare_position(other, &cells));
        let before = alike.take_while(|(other, _)| *other < row).map(|(_, copies)| u64::try_from(copies).unwrap_or(0));
        let passed = before.sum::<u64>() + copy;
        Position { cells, passed }
    }
}

/// A row's share of a tree of rows, beside itself.
const TREE_BYTES: usize = 16;

/// A page of a listing ends once so many different rows were looked at, so that nobody waits long for whoever reads it.
const LOOKED_AT_MAX: usize = 65_536;

/// How far a snapshot came: behind which row it goes on.
pub struct Cursor(Box<dyn Any + Send + Sync>);

impl std::fmt::Debug for Cursor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Cursor")
    }
}

/// A page of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The rows as JSON, with commas between them.
    pub rows: String,
    /// How many.
    pub count: usize,
    /// Where it goes on; none where no row is left.
    pub next: Option<Position>,
    /// Whether a row that is asked for is known to come next.
    pub is_full: bool,
    /// How many different rows were looked at.
    pub looked_at: usize,
}

/// How much a listing or a page may have.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// In rows.
    pub rows_max: usize,
    /// About how many bytes: none is begun beyond it.
    pub bytes_max: usize,
}

/// A row of a snapshot as JSON, and how many copies there are.
pub type RowCopies = (String, i64);

/// The rows of a view that is not known.
pub trait AnyShelf: Any + Send + Sync {
    /// Which view it is.
    fn view(&self) -> ViewId;
    /// Publishes a tick with its changes, in pieces.
    fn apply(&mut self, tick: Tick, pieces: Vec<Box<dyn ChangeList>>) -> Result<(), ApplyError>;
    /// The published tick.
    fn published(&self) -> Option<Tick>;
    /// The oldest tick that can be read, once something is published.
    fn oldest_readable(&self) -> Tick;
    /// How many different rows there are.
    fn len(&self) -> usize;
    /// Whether there is no row.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Whether the collection can be read as of a tick.
    fn check(&self, tick: Tick) -> Result<(), ReadError>;
    /// The names of the columns by which listings are filtered.
    fn filters(&self) -> Vec<String>;
    /// The rows as of a tick, from a position on, whose columns have these texts, by columns that [`AnyShelf::filters`] names.
    /// Costs a look at each row that has the texts of the first columns of the key, as far as these are given.
    fn list(
        &self,
        tick: Tick,
        filters: &[(&str, &str)],
        from: Option<&Position>,
        bounds: Bounds,
    ) -> Result<Listing, ReadError>;
    /// The next rows of a snapshot as of a tick, and where it goes on; there is no more where that is none.
    fn snapshot(
        &self,
        tick: Tick,
        after: Option<&Cursor>,
        bounds: Bounds,
    ) -> Result<(Vec<RowCopies>, Option<Cursor>), ReadError>;
    /// The ticks at `lower` and later that changed something, and how many changes each has.
    fn changed_ticks(&self, lower: Tick) -> Result<Vec<(Tick, usize)>, ReadError>;
    /// Changes of one tick as JSON, from a place among them on.
    fn changes(&self, tick: Tick, from: usize, bounds: Bounds) -> Result<Vec<RowCopies>, ReadError>;
    /// For whoever knows the view.
    fn as_any(&self) -> &dyn Any;
}

impl<V: Listed> AnyShelf for Shelf<V> {
    fn view(&self) -> ViewId {
        V::ID
    }

    fn apply(&mut self, tick: Tick, pieces: Vec<Box<dyn ChangeList>>) -> Result<(), ApplyError> {
        self.store.apply(tick, pieces.into_iter().map(into_rows_of::<V>).collect())
    }

    fn published(&self) -> Option<Tick> {
        self.store.published()
    }

    fn oldest_readable(&self) -> Tick {
        self.store.oldest_readable()
    }

    fn len(&self) -> usize {
        self.store.len()
    }

    fn check(&self, tick: Tick) -> Result<(), ReadError> {
        match self.store.published().is_some_and(|published| tick < published) {
            true => self.store.changes_since(tick + 1).map(drop),
            false => self.store.at(tick).map(drop),
        }
    }

    fn filters(&self) -> Vec<String> {
        self.columns.filters().map(str::to_owned).collect()
    }

    fn list(
        &self,
        tick: Tick,
        filters: &[(&str, &str)],
        from: Option<&Position>,
        bounds: Bounds,
    ) -> Result<Listing, ReadError> {
        let column = |name: &str| self.columns.filter(name).expect("whoever asks has looked for the column");
        let wanted: Vec<(usize, &str)> = filters.iter().map(|(name, text)| (column(name), *text)).collect();
        let prefix = self.columns.prefix(&wanted);
        let as_of = self.store.at(tick)?;
        let beside =
            |row: &V::Row| from.map_or(Ordering::Equal, |from| self.columns.compare_position(row, &from.cells));
        let begins = |row: &V::Row| self.columns.compare(row, &prefix).is_ge() && beside(row).is_ge();
        let rows = as_of.from(|row| if begins(row) { Ordering::Equal } else { Ordering::Less });
        let (mut listing, mut passed) = (Listing::default(), from.map_or(0, |from| from.passed));
        for (row, copies) in rows.take_while(|(row, _)| self.columns.compare(row, &prefix).is_eq()) {
            let copies = u64::try_from(copies).unwrap_or(0);
            let before = if passed > 0 && beside(row).is_eq() { passed.min(copies) } else { 0 };
            passed -= before;
            if before == copies {
                continue;
            }
            if listing.looked_at >= LOOKED_AT_MAX {
                listing.next = Some(self.position(&as_of, row, before));
                return Ok(listing);
            }
            listing.looked_at += 1;
            if !self.columns.has(row, &wanted) {
                continue;
            }
            // A multiset: what is there twice is listed twice.
            for copy in before..copies {
                if listing.count >= bounds.rows_max || listing.rows.len() >= bounds.bytes_max {
                    listing.next = Some(self.position(&as_of, row, copy));
                    listing.is_full = true;
                    return Ok(listing);
                }
                listing.rows.push_str(if listing.count > 0 { "," } else { "" });
                self.columns.write_json(row, &mut listing.rows);
                if let Some(readout) = V::readout(row) {
                    listing.rows.pop();
                    write!(listing.rows, ",\"readout\":{readout}}}").expect("a string takes what is written to it");
                }
                listing.count += 1;
            }
        }
        Ok(listing)
    }

    fn snapshot(
        &self,
        tick: Tick,
        after: Option<&Cursor>,
        bounds: Bounds,
    ) -> Result<(Vec<RowCopies>, Option<Cursor>), ReadError> {
        let as_of = self.store.at(tick)?;
        let after = after.map(|Cursor(row)| row.downcast_ref::<V::Row>().expect("a cursor goes on in its own view"));
        let begin = after.map_or(Bound::Unbounded, Bound::Excluded);
        let (mut rows, mut bytes) = (Vec::new(), 0);
        for (row, copies) in as_of.range((begin.cloned(), Bound::Unbounded)) {
            let text = self.columns.json(row);
            bytes += text.len();
            rows.push((text, copies));
            if rows.len() >= bounds.rows_max || bytes >= bounds.bytes_max {
                return Ok((rows, Some(Cursor(Box::new(row.clone())))));
            }
        }
        Ok((rows, None))
    }

    fn changed_ticks(&self, lower: Tick) -> Result<Vec<(Tick, usize)>, ReadError> {
        Ok(self.store.changes_since(lower)?.map(|(tick, changes)| (tick, changes.len())).collect())
    }

    fn changes(&self, tick: Tick, from: usize, bounds: Bounds) -> Result<Vec<RowCopies>, ReadError> {
        let found = self.store.changes_since(tick)?.next().filter(|(at, _)| *at == tick);
        let (mut rows, mut bytes) = (Vec::new(), 0);
        for (row, diff) in found.map_or(&[][..], |(_, changes)| changes).iter().skip(from) {
            if rows.len() >= bounds.rows_max || bytes >= bounds.bytes_max {
                break;
            }
            let text = self.columns.json(row);
            bytes += text.len();
            rows.push((text, *diff));
        }
        Ok(rows)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
