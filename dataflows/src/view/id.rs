//! Which view: a place in the list of [`crate::views`].

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::View;
use super::shelf::Store;
use crate::build::Changes;
use crate::views::{Collections, ENTRIES};

/// A view's place in the list. Its recorded form is its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ViewId(pub(crate) u16);

/// A view that is in the list.
pub trait Listed: View {
    /// How its served rows are kept: in an index, unless the list names something else.
    type Store: Store<Self::Row>;
    /// Its place there.
    const ID: ViewId;
    /// Its place among the collections of a graph.
    fn slot<'a, 'scope>(collections: &'a mut Collections<'scope>) -> &'a mut Option<Changes<'scope, Self::Row>>;
}

impl ViewId {
    /// The place of a view.
    pub const fn of<V: Listed>() -> ViewId {
        V::ID
    }

    /// All views, in the order in which they are listed.
    pub fn all() -> impl DoubleEndedIterator<Item = ViewId> + ExactSizeIterator + Clone {
        (0..ENTRIES.len() as u16).map(ViewId)
    }

    /// The number of views.
    pub fn count() -> usize {
        ENTRIES.len()
    }

    /// Its place as an index.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// The name in configurations, paths and URLs.
    pub fn name(self) -> &'static str {
        ENTRIES[self.index()].name()
    }

    /// What it answers, in one sentence.
    pub fn question(self) -> &'static str {
        ENTRIES[self.index()].question()
    }

    /// How long rows stay.
    pub fn stays(self) -> super::Stays {
        ENTRIES[self.index()].stays()
    }

    /// How it begins where it is added to a run that was there.
    pub fn begins(self) -> super::Begins {
        ENTRIES[self.index()].begins()
    }

    /// The view of that name.
    pub fn of_name(name: &str) -> Option<ViewId> {
        ViewId::all().find(|view| view.name() == name)
    }
}

impl std::fmt::Display for ViewId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name())
    }
}

impl Serialize for ViewId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for ViewId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        ViewId::of_name(&name).ok_or_else(|| serde::de::Error::custom(format!("there is no view {name:?}")))
    }
}
