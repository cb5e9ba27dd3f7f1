//! The changes of a view in one message, whatever its rows are.

use std::any::Any;
use std::fmt::Debug;

use operators::emit::Emitted;
use operators::time::Tick;

use super::{Listed, ViewId};

/// Rows and differences of one view, whose type only the view knows.
pub trait ChangeList: Any + Debug + Send {
    /// How many changes there are.
    fn len(&self) -> usize;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Brings the changes into canonical order: ascending rows, none of which occurs twice, and no difference is 0.
    fn make_canonical(&mut self);
    /// Takes the changes of another list of the same view behind its own.
    ///
    /// # Panics
    /// If the other one is of another view: a mistake of ours.
    fn append(&mut self, other: Box<dyn ChangeList>);
    /// A copy, for tests and for those who keep what they were shown.
    fn copied(&self) -> Box<dyn ChangeList>;
    /// For whoever knows the view.
    fn as_any(&self) -> &dyn Any;
    /// For whoever knows the view.
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

impl<R: Ord + Clone + Debug + Send + 'static> ChangeList for Vec<(R, i64)> {
    fn len(&self) -> usize {
        Vec::len(self)
    }

    fn make_canonical(&mut self) {
        operators::emit::make_canonical(self);
    }

    fn append(&mut self, other: Box<dyn ChangeList>) {
        let other = other.into_any().downcast::<Vec<(R, i64)>>().expect("changes of one view have rows of one type");
        self.extend(*other);
    }

    fn copied(&self) -> Box<dyn ChangeList> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// What changed in one shard of a view at one complete tick: everything, except that a whole collection, which is shown
/// after a restore, comes in pieces.
#[derive(Debug)]
pub struct ViewChanges {
    /// Of which view.
    pub view: ViewId,
    /// The tick.
    pub tick: Tick,
    /// The sink shard.
    pub shard: u32,
    /// Rows and differences.
    pub rows: Box<dyn ChangeList>,
}

impl ViewChanges {
    /// What a view emitted.
    pub fn new<V: Listed>(emitted: Emitted<V::Row>) -> Self {
        let Emitted { tick, shard, changes } = emitted;
        ViewChanges { view: V::ID, tick, shard, rows: Box::new(changes) }
    }

    /// The rows, if they are of that view.
    pub fn of<V: Listed>(&self) -> Option<&[(V::Row, i64)]> {
        (self.view == V::ID).then(|| rows_of::<V>(&*self.rows))
    }
}

impl Clone for ViewChanges {
    fn clone(&self) -> Self {
        ViewChanges { rows: self.rows.copied(), ..*self }
    }
}

/// The rows of changes that are of this view.
///
/// # Panics
/// If they are of another one: a mistake of ours.
pub(crate) fn rows_of<V: Listed>(changes: &dyn ChangeList) -> &[(V::Row, i64)] {
    changes.as_any().downcast_ref::<Vec<(V::Row, i64)>>().expect("changes of a view have its rows")
}

/// The same, to be taken apart.
pub(crate) fn into_rows_of<V: Listed>(changes: Box<dyn ChangeList>) -> Vec<(V::Row, i64)> {
    *changes.into_any().downcast::<Vec<(V::Row, i64)>>().expect("changes of a view have its rows")
}
