//! A view: a named collection of typed rows that is published, and everything that follows from its columns.
//!
//! One implementation of [`View`] is one file: the question that it answers, the row, the columns, the wiring, the tests.
//! The list of all views is [`crate::views`]. What a program needs that does not care which view it has in hand is made
//! once from the columns: [`ViewCodec`] (texts, keys, shards), [`Shelf`](shelf::Shelf) (reading), [`Sealing`](sealing::Sealing).
//!
//! A row's type is known from the fold to the sink. It is erased once per message, in a [`ViewChanges`], and never per
//! row: whoever takes a message asks the codec of its view for what it needs of all rows together.
//!
//! `docs/architecture.md` has a worked example. A view's wiring step, in its file, makes rows of what a fold shows or of
//! another view's collection, and ends with [`Build::publish`](crate::build::Build::publish).

mod changes;
mod codec;
mod column;
mod columns;
mod id;
mod position;
pub mod sealing;
pub mod shelf;
#[cfg(test)]
mod tests;

use std::hash::Hash;

use operators::fold::Data;
use serde::{Deserialize, Serialize};

use crate::configuration::Recorded;
use crate::names::Name;

pub use changes::{ChangeList, ViewChanges};
pub(crate) use codec::codec;
pub use codec::{Codecs, ColumnFacts, KeyedText, RowText, ViewCodec};
pub use column::{Adds, Cell, CellType, Class, Column, Role, Unit};
pub use columns::Columns;
pub use id::{Listed, ViewId};
pub use position::Position;

/// How long rows stay in a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stays {
    /// Until something takes them back.
    Always,
    /// Rows are of minutes, and leave so long behind the watermark.
    Minutes {
        /// Unless the configuration says otherwise.
        default_ms: i64,
    },
    /// Rows leave so long after they came.
    For {
        /// Unless the configuration says otherwise.
        default_ms: i64,
    },
}

impl Stays {
    /// How long rows stay unless the configuration says otherwise; none where they always do.
    pub fn default_ms(self) -> Option<i64> {
        match self {
            Stays::Always => None,
            Stays::Minutes { default_ms } | Stays::For { default_ms } => Some(default_ms),
        }
    }

    /// Whether rows are of minutes, which are sealed.
    pub fn is_minutes(self) -> bool {
        matches!(self, Stays::Minutes { .. })
    }
}

/// Whether a view may be arranged by stock operators: whether it has at most about a million rows a worker, and changes
/// slowly enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arranged {
    /// It may.
    Small,
    /// It must not: only folds stand behind it.
    Never,
}

/// How a view begins that is added to a run which was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Begins {
    /// With all rows that follow from what was before: what it is made of was there.
    Filled,
    /// With none: what came before its first tick is in no row.
    Empty,
}

/// What a view has not computed of a tenant because of a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// The tenant.
    pub tenant: Name,
    /// How much it is.
    pub count: u64,
    /// The first of it, each by its names.
    pub named: Vec<Vec<Name>>,
}

/// A named collection of rows that is published.
pub trait View: Sized + std::fmt::Debug + Send + Sync + 'static {
    /// What a row is: a plain struct whose order is that of its columns.
    type Row: Data + Hash;
    /// Its name in configurations, paths and URLs.
    const NAME: &'static str;
    /// What it answers, in one sentence.
    const QUESTION: &'static str;
    /// How long rows stay.
    const STAYS: Stays;
    /// Whether [`Build::collection`](crate::build::Build::collection) gives it.
    const ARRANGED: Arranged = Arranged::Small;
    /// How it begins where it is added to a run that was there; recorded with its first tick.
    const BEGINS: Begins = Begins::Filled;
    /// The columns, in canonical order.
    fn columns(recorded: &Recorded) -> Columns<Self::Row>;
    /// A row for the documents, and for tests of what follows from columns.
    fn example() -> Self::Row;
    /// What the view has not computed because of a limit, which is told with each listing; nothing for most views.
    fn left_out(recorded: &Recorded) -> Vec<LeftOut> {
        let _ = recorded;
        Vec::new()
    }
    /// What is computed of a row when it is read over HTTP, as a JSON object; nothing for most views.
    fn readout(row: &Self::Row) -> Option<String> {
        let _ = row;
        None
    }
}
