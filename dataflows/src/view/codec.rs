//! What a program needs of a view whose rows it does not know: made once of the columns, called once per message.

use std::any::Any;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;

use operators::index::HistoryBounds;
use operators::time::Tick;

use super::changes::rows_of;
use super::sealing::{AnySealing, Sealing};
use super::shelf::{AnyShelf, Shelf};
use super::{Adds, CellType, ChangeList, Class, Column, Columns, LeftOut, Listed, Role, Unit, ViewId};
use crate::configuration::Recorded;
use crate::views::ENTRIES;

/// What is known of a column without its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnFacts {
    /// Its name.
    pub name: String,
    /// The object in which it lies in JSON.
    pub within: Option<&'static str>,
    /// What it means.
    pub says: String,
    /// What it holds.
    pub holds: CellType,
    /// Whether it may be absent.
    pub optional: bool,
    /// What its numbers count.
    pub unit: Unit,
    /// Who may see it.
    pub class: Class,
    /// Whether it may be added up over minutes.
    pub adds: Adds,
    /// What it is for the view.
    pub role: Role,
    /// Whether it is part of the key.
    pub is_key: bool,
    /// Whether the view was there before it.
    pub is_added: bool,
    /// The tick from which rows have it.
    pub since: Tick,
}

/// A change as JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowText {
    /// The row.
    pub row: String,
    /// So many copies came, or went.
    pub diff: i64,
}

/// A change as JSON, with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyedText {
    /// The key.
    pub key: String,
    /// The row.
    pub row: String,
    /// So many copies came, or went.
    pub diff: i64,
}

/// A view of a run, whatever its rows are.
pub trait ViewCodec: Any + Send + Sync + RefUnwindSafe + UnwindSafe {
    /// Which one.
    fn view(&self) -> ViewId;
    /// Its columns, in canonical order.
    fn columns(&self) -> Vec<ColumnFacts>;
    /// Those of them that came to the view later; none of most views.
    fn added(&self) -> &[ColumnFacts];
    /// The version of the columns that rows may have at a tick: 1, and one more for each column that came by then.
    fn version_at(&self, tick: Tick) -> usize {
        1 + self.added().iter().filter(|column| column.since <= tick).count()
    }
    /// Changes as JSON, in the order in which they lie.
    fn texts(&self, changes: &dyn ChangeList) -> Vec<RowText>;
    /// The same with their keys.
    fn keyed_texts(&self, changes: &dyn ChangeList) -> Vec<KeyedText>;
    /// Nothing of a minute view's rows is sealed yet; none for another view.
    fn sealing(&self) -> Option<Box<dyn AnySealing>>;
    /// An empty shelf of rows that can be read.
    fn shelf(&self, bounds: HistoryBounds) -> Box<dyn AnyShelf>;
    /// What is not computed because of a limit.
    fn left_out(&self) -> &[LeftOut];
    /// The example row as JSON.
    fn example(&self) -> String;
    /// For whoever knows the view.
    fn as_any(&self) -> &dyn Any;
}

struct TypedCodec<V: Listed> {
    columns: Arc<Columns<V::Row>>,
    left_out: Vec<LeftOut>,
    added: Vec<ColumnFacts>,
}

impl<V: Listed> ViewCodec for TypedCodec<V> {
    fn view(&self) -> ViewId {
        V::ID
    }

    fn columns(&self) -> Vec<ColumnFacts> {
        let columns = self.columns.all().iter().enumerate();
        columns.map(|(at, column)| facts_of(column, self.columns.is_key(at))).collect()
    }

    fn added(&self) -> &[ColumnFacts] {
        &self.added
    }

    fn texts(&self, changes: &dyn ChangeList) -> Vec<RowText> {
        let rows = rows_of::<V>(changes).iter();
        rows.map(|(row, diff)| RowText { row: self.columns.json(row), diff: *diff }).collect()
    }

    fn keyed_texts(&self, changes: &dyn ChangeList) -> Vec<KeyedText> {
        let keyed = |(row, diff): &(V::Row, i64)| {
            let mut key = String::with_capacity(96);
            self.columns.write_key(row, &mut key);
            KeyedText { key, row: self.columns.json(row), diff: *diff }
        };
        rows_of::<V>(changes).iter().map(keyed).collect()
    }

    fn sealing(&self) -> Option<Box<dyn AnySealing>> {
        V::STAYS.is_minutes().then(|| Box::new(Sealing::<V>::new(Arc::clone(&self.columns))) as Box<dyn AnySealing>)
    }

    fn shelf(&self, bounds: HistoryBounds) -> Box<dyn AnyShelf> {
        Box::new(Shelf::<V>::new(Arc::clone(&self.columns), bounds))
    }

    fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    fn example(&self) -> String {
        self.columns.json(&V::example())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn facts_of<R>(column: &Column<R>, is_key: bool) -> ColumnFacts {
    ColumnFacts {
        name: column.name.to_string(),
        within: column.within,
        says: column.says.to_string(),
        holds: column.holds,
        optional: column.optional,
        unit: column.unit,
        class: column.class,
        adds: column.adds,
        role: column.role,
        is_key,
        is_added: column.is_added,
        since: column.since,
    }
}

/// The codec of a view for a recorded configuration.
pub(crate) fn codec<V: Listed>(recorded: &Recorded) -> Arc<dyn ViewCodec> {
    let columns = V::columns(recorded).recorded(|name| recorded.column_since(V::ID, name));
    let added = columns.all().iter().filter(|column| column.is_added).map(|column| facts_of(column, false)).collect();
    Arc::new(TypedCodec::<V> { columns: Arc::new(columns), left_out: V::left_out(recorded), added })
}

/// The codecs of all views of a run.
#[derive(Clone)]
pub struct Codecs(Vec<Arc<dyn ViewCodec>>);

impl Codecs {
    /// Those for a recorded configuration.
    pub fn new(recorded: &Recorded) -> Codecs {
        Codecs(ENTRIES.iter().map(|entry| entry.codec(recorded)).collect())
    }

    /// The same with another one at the place of a view: for a test's own view.
    #[cfg(test)]
    pub(crate) fn with<V: Listed>(mut self, recorded: &Recorded) -> Codecs {
        self.0[V::ID.index()] = codec::<V>(recorded);
        self
    }

    /// That of a view.
    pub fn of(&self, view: ViewId) -> &Arc<dyn ViewCodec> {
        &self.0[view.index()]
    }

    /// The columns of a view that is known.
    pub fn columns<V: Listed>(&self) -> Arc<Columns<V::Row>> {
        let codec = self.of(V::ID).as_any().downcast_ref::<TypedCodec<V>>();
        Arc::clone(&codec.expect("the codec at a view's place is the view's").columns)
    }
}

impl std::fmt::Debug for Codecs {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_list().entries(self.0.iter().map(|codec| codec.view())).finish()
    }
}
