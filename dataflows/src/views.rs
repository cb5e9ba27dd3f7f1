//! All views, in the order in which they are listed everywhere: a new one is added at the end.
//!
//! A view's sink shards begin on the worker of its number, so a number never changes. `View as Store` names how its
//! served rows are kept, where that is not an index.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;

use operators::index::Index;
use operators::time::Tick;

use crate::build::Changes;
use crate::configuration::Recorded;
use crate::dead_letters::DeadLetters;
use crate::experiment::late_events::LateEvents;
use crate::experiment::session_minutes::SessionMinutes;
use crate::experiment::unit_overlap::view::UnitOverlaps;
use crate::experiment::variant_minutes::VariantMinutes;
use crate::experiment::variant_totals::VariantTotals;
use crate::inventory::availability::Availability;
use crate::inventory::feed_health::view::Feeds;
use crate::inventory::stock::Stock;
use crate::inventory::stock_by_sku::StockBySku;
use crate::inventory::worst_feeds::WorstFeeds;
use crate::source_health::SourceHealth;
use crate::view::{Begins, Listed, Stays, View, ViewCodec, ViewId, codec};

/// A view whose type is not known.
pub(crate) trait AnyView: Sync {
    fn name(&self) -> &'static str;
    fn question(&self) -> &'static str;
    fn stays(&self) -> Stays;
    fn begins(&self) -> Begins;
    fn codec(&self, recorded: &Recorded) -> Arc<dyn ViewCodec>;
    /// The names of the columns that came later than the view, whether or not a run has them.
    fn added_columns(&self, recorded: &Recorded) -> Vec<String>;
}

struct Entry<V>(PhantomData<fn() -> V>);

impl<V: Listed> AnyView for Entry<V> {
    fn name(&self) -> &'static str {
        V::NAME
    }

    fn question(&self) -> &'static str {
        V::QUESTION
    }

    fn stays(&self) -> Stays {
        V::STAYS
    }

    fn begins(&self) -> Begins {
        V::BEGINS
    }

    fn codec(&self, recorded: &Recorded) -> Arc<dyn ViewCodec> {
        codec::<V>(recorded)
    }

    fn added_columns(&self, recorded: &Recorded) -> Vec<String> {
        let columns = V::columns(recorded);
        columns.all().iter().filter(|column| column.is_added).map(|column| column.name.to_string()).collect()
    }
}

/// The columns that came later than their views: what a run that begins with this build has from its first tick on.
pub(crate) fn added_columns(recorded: &Recorded) -> BTreeMap<ViewId, BTreeMap<String, Tick>> {
    let of_view = |(view, entry): (ViewId, &&dyn AnyView)| {
        let names = entry.added_columns(recorded).into_iter().map(|name| (name, 0));
        (view, names.collect::<BTreeMap<_, _>>())
    };
    ViewId::all().zip(ENTRIES).map(of_view).filter(|(_, names)| !names.is_empty()).collect()
}

/// Lists views: gives each its number, its store, and its place among the collections of a graph.
macro_rules! views {
    ($($view:ident $(as $store:ty)?),+ $(,)?) => {
        views!(@number 0; $($view $(as $store)?),+);

        /// The views by their numbers.
        pub(crate) static ENTRIES: &[&dyn AnyView] = &[$(&Entry::<$view>(PhantomData)),+];

        /// The changes of the views of a graph that were published.
        #[allow(non_snake_case, reason = "a collection is named as its view is")]
        #[derive(Default)]
        pub struct Collections<'scope> {
            $($view: Option<Changes<'scope, <$view as View>::Row>>,)+
        }
    };
    (@number $number:expr; $view:ident $(as $store:ty)? $(, $rest:ident $(as $other:ty)?)*) => {
        impl Listed for $view {
            type Store = views!(@store $view $($store)?);
            const ID: ViewId = ViewId($number);
            fn slot<'a, 'scope>(collections: &'a mut Collections<'scope>) -> &'a mut Option<Changes<'scope, Self::Row>> {
                &mut collections.$view
            }
        }
        views!(@number $number + 1; $($rest $(as $other)?),*);
    };
    (@number $number:expr;) => {};
    (@store $view:ident) => { Index<<$view as View>::Row> };
    (@store $view:ident $store:ty) => { $store };
}

views! {
    SessionMinutes, VariantMinutes, VariantTotals, LateEvents, DeadLetters, SourceHealth, Stock, Availability, Feeds,
    StockBySku, WorstFeeds, UnitOverlaps,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every view is in the README's table, and its key in that of the sinks' page.
    #[test]
    fn every_view_is_documented() {
        let (readme, sinks) = (include_str!("../../README.md"), include_str!("../../docs/sinks.md"));
        for (view, entry) in ViewId::all().zip(ENTRIES) {
            assert!(readme.contains(&format!("\n| `{view}` |")), "README.md does not say what {view} is");
            let columns = entry.codec(&Recorded::default()).columns();
            let keys: Vec<String> =
                columns.iter().filter(|column| column.is_key).map(|column| format!("`{}`", column.name)).collect();
            let row = format!("\n| `{view}` | {} |", keys.join(", "));
            assert!(sinks.contains(&row), "docs/sinks.md lacks {row}");
        }
    }

    /// What an example row is as JSON are its columns, in their order.
    #[test]
    fn rows_have_their_columns() {
        for entry in ENTRIES {
            let codec = entry.codec(&Recorded::default());
            let row: serde_json::Value = serde_json::from_str(&codec.example()).unwrap();
            let mut names = Vec::new();
            for (name, value) in row.as_object().unwrap() {
                match value.as_object() {
                    Some(inner) => names.extend(inner.keys().map(|inner| (Some(name.as_str()), inner.as_str()))),
                    None => names.push((None, name.as_str())),
                }
            }
            let columns = codec.columns();
            let expected: Vec<_> = columns.iter().map(|column| (column.within, column.name.as_str())).collect();
            assert_eq!(names, expected, "{}", entry.name());
        }
    }
}
