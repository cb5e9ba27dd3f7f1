//! The rows of all views as one type: the oracle's own, so that it can hold whatever the engine publishes beside what it
//! computes. A view that is not here is unknown to the oracle, and its first change stops the test.

use std::sync::{Arc, LazyLock};

use dataflows::configuration::Recorded;
use dataflows::dead_letters::{DeadLetter, DeadLetters};
use dataflows::experiment::ExperimentEvents;
use dataflows::experiment::late_events::{LateEvent, LateEvents};
use dataflows::experiment::session_minutes::{SessionMinute, SessionMinutes};
use dataflows::experiment::unit_overlap::view::{OverlapRow, UnitOverlaps};
use dataflows::experiment::variant_minutes::{VariantMinute, VariantMinutes};
use dataflows::experiment::variant_totals::{VariantTotal, VariantTotals};
use dataflows::inventory::InventoryFacts;
use dataflows::inventory::availability::{Availability, AvailabilityRow};
use dataflows::inventory::feed_health::view::{FeedRow, Feeds};
use dataflows::inventory::stock::{Stock, StockRow};
use dataflows::inventory::stock_by_sku::{SkuRow, StockBySku};
use dataflows::inventory::worst_feeds::{WorstFeed, WorstFeeds};
use dataflows::kind::ListedKind;
use dataflows::source_health::{SourceHealth, SourceHealthRow};
use dataflows::view::{Codecs, Columns, Listed, View, ViewChanges};
use operators::topology::ReleaseId;

static CODECS: LazyLock<Codecs> = LazyLock::new(|| Codecs::new(&Recorded::default()));

/// The release of experiment events.
pub const EVENTS: ReleaseId = ExperimentEvents::RELEASE;
/// The release of facts.
pub const FACTS: ReleaseId = InventoryFacts::RELEASE;

/// Lists views with their rows.
macro_rules! rows {
    ($($name:ident of $view:ident: $row:ty),+ $(,)?) => {
        /// A row of any view.
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Row {
            $($name($row),)+
        }

        impl Row {
            /// The row as its sinks write it.
            pub fn to_json(&self) -> String {
                match self {
                    $(Row::$name(row) => columns::<$view>().json(row),)+
                }
            }

            /// Its place among the sink shards of its view.
            pub fn place(&self) -> u64 {
                match self {
                    $(Row::$name(row) => columns::<$view>().place_of(row),)+
                }
            }
        }

        $(impl From<$row> for Row {
            fn from(row: $row) -> Row {
                Row::$name(row)
            }
        })+

        /// The rows of changes, in the order in which they lie.
        pub fn rows_of(changes: &ViewChanges) -> Vec<(Row, i64)> {
            $(if let Some(rows) = changes.of::<$view>() {
                return rows.iter().map(|(row, diff)| (Row::$name(row.clone()), *diff)).collect();
            })+
            panic!("the oracle does not know the view {}", changes.view)
        }

    };
}

rows! {
    SessionMinute of SessionMinutes: SessionMinute,
    VariantMinute of VariantMinutes: VariantMinute,
    VariantTotal of VariantTotals: VariantTotal,
    LateEvent of LateEvents: LateEvent,
    DeadLetter of DeadLetters: DeadLetter,
    SourceHealth of SourceHealth: SourceHealthRow,
    Stock of Stock: StockRow,
    Availability of Availability: AvailabilityRow,
    Feed of Feeds: FeedRow,
    Sku of StockBySku: SkuRow,
    Worst of WorstFeeds: WorstFeed,
    Overlap of UnitOverlaps: OverlapRow,
}

fn columns<V: Listed>() -> Arc<Columns<<V as View>::Row>> {
    CODECS.columns::<V>()
}
