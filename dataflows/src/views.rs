//! The rows of every view, as they are published: names instead of numbers, fields in their canonical order.
//! A view's canonical order is the order of its rows' fields, from the first to the last.

use serde::{Deserialize, Serialize};

use operators::time::TimeMs;

use crate::experiment::event::EventKind;
use crate::inventory::fact::StockState;
use crate::names::Name;

/// The views, in the order in which they are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum View {
    /// Each session's minutes.
    SessionMinutes,
    /// Minute rollups of each variant.
    VariantMinutes,
    /// Exact totals of each variant over its units.
    VariantTotals,
    /// Experiment events that came behind their lane.
    LateEvents,
    /// Records that are none.
    DeadLetters,
    /// What the two logs say of each partition.
    SourceHealth,
    /// The ledger of each SKU at each node.
    Stock,
    /// Whether a SKU can be promised at a node, and why not.
    Availability,
}

impl View {
    /// All views.
    pub const ALL: [View; 8] = [
        View::SessionMinutes,
        View::VariantMinutes,
        View::VariantTotals,
        View::LateEvents,
        View::DeadLetters,
        View::SourceHealth,
        View::Stock,
        View::Availability,
    ];

    /// The name in configurations, paths and URLs.
    pub fn name(self) -> &'static str {
        match self {
            View::SessionMinutes => "session_minutes",
            View::VariantMinutes => "variant_minutes",
            View::VariantTotals => "variant_totals",
            View::LateEvents => "late_events",
            View::DeadLetters => "dead_letters",
            View::SourceHealth => "source_health",
            View::Stock => "stock",
            View::Availability => "availability",
        }
    }

    /// The view of that name.
    pub fn of_name(name: &str) -> Option<View> {
        View::ALL.into_iter().find(|view| view.name() == name)
    }
}

/// What is added up of a session's minute, a variant's minute, a unit. Exact integers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Measures {
    /// Events of kind `view`.
    pub views: i64,
    /// Events of kind `click`.
    pub clicks: i64,
    /// Events of kind `add_to_cart`.
    pub add_to_carts: i64,
    /// Events of kind `purchase`.
    pub purchases: i64,
    /// Events of kind `return`.
    pub returns: i64,
    /// Sum of `quantity` over purchases and returns.
    pub quantity: i64,
    /// Sum of `value` over purchases and returns, in minor units.
    pub value: i64,
}

/// A row of `session_minutes`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionMinute {
    /// Whose session.
    pub tenant: Name,
    /// The session.
    pub session: Name,
    /// Its unit; empty where unknown.
    pub unit: Name,
    /// The minute's first millisecond.
    pub minute_ms: TimeMs,
    /// What happened in it.
    pub measures: Measures,
}

/// A row of `variant_minutes`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VariantMinute {
    /// Whose experiment.
    pub tenant: Name,
    /// The experiment.
    pub experiment: Name,
    /// The variant.
    pub variant: Name,
    /// The minute's first millisecond.
    pub minute_ms: TimeMs,
    /// Sessions with an event in the minute.
    pub sessions_active: i64,
    /// Sessions whose first event lies in the minute.
    pub sessions_started: i64,
    /// What happened in it.
    pub measures: Measures,
}

/// Sums or sums of squares of [`Measures`] over units; JSON has them as decimal strings, since they pass 2^53.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Moments {
    /// Of `views`.
    #[serde(with = "decimal")]
    pub views: i128,
    /// Of `clicks`.
    #[serde(with = "decimal")]
    pub clicks: i128,
    /// Of `add_to_carts`.
    #[serde(with = "decimal")]
    pub add_to_carts: i128,
    /// Of `purchases`.
    #[serde(with = "decimal")]
    pub purchases: i128,
    /// Of `returns`.
    #[serde(with = "decimal")]
    pub returns: i128,
    /// Of `quantity`.
    #[serde(with = "decimal")]
    pub quantity: i128,
    /// Of `value`.
    #[serde(with = "decimal")]
    pub value: i128,
}

/// A row of `variant_totals`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VariantTotal {
    /// Whose experiment.
    pub tenant: Name,
    /// The experiment.
    pub experiment: Name,
    /// The variant.
    pub variant: Name,
    /// Units in the population.
    pub units: i64,
    /// Units that left the block because one of their sums passed 2^40.
    pub units_overflowed: i64,
    /// Sums over the units.
    pub sums: Moments,
    /// Sums of squares over the units.
    pub squares: Moments,
}

/// A row of `late_events`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LateEvent {
    /// The partition it came from.
    pub partition: Name,
    /// Its offset there.
    pub offset: u64,
    /// Whose event.
    pub tenant: Name,
    /// Its id.
    pub id: Name,
    /// Its session.
    pub session: Name,
    /// Its unit; empty where unknown.
    pub unit: Name,
    /// What happened.
    pub kind: EventKind,
    /// When.
    pub event_time_ms: TimeMs,
    /// Minor units.
    pub value: i64,
    /// Pieces.
    pub quantity: i64,
    /// The product; empty where there is none.
    pub item: Name,
}

/// A row of `dead_letters`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The partition it came from.
    pub partition: Name,
    /// Its offset there.
    pub offset: u64,
    /// The file it came from.
    pub file: Name,
    /// Its line there, from 1.
    pub line: u64,
    /// A stable code.
    pub code: Name,
    /// What was wrong.
    pub detail: String,
    /// Its bytes in base64, at most 64 KiB of them.
    pub raw: String,
}

/// A row of `source_health`: always `read = on_time + late + duplicate + dead_letters`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SourceHealth {
    /// The partition.
    pub partition: Name,
    /// The offset of the next record.
    pub next_offset: u64,
    /// `behind`, `caught_up`, `idle` or `ended`.
    pub status: Name,
    /// Records read.
    pub read: i64,
    /// Accepted, on time.
    pub on_time: i64,
    /// Behind their lane.
    pub late: i64,
    /// Seen before.
    pub duplicate: i64,
    /// None.
    pub dead_letters: i64,
    /// Of the late: so old that they were not folded.
    pub too_old: i64,
    /// Accepted events without a unit.
    pub without_unit: i64,
    /// The least watermark of the groups that it feeds; absent before there is one, `"end"` in JSON once all of their
    /// sources have ended.
    #[serde(serialize_with = "end::serialize")]
    pub watermark_ms: Option<TimeMs>,
}

/// A row of `stock`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stock {
    /// Whose stock.
    pub tenant: Name,
    /// The product.
    pub sku: Name,
    /// The place.
    pub node: Name,
    /// Its condition.
    pub state: StockState,
    /// What the record says is there; absent while a count has to be looked up again.
    pub book: Option<i64>,
    /// No fewer than this.
    pub lo: Option<i64>,
    /// No more than this.
    pub hi: Option<i64>,
    /// Book less the sum of all deltas: what the counts found that nothing explains.
    pub variance: Option<i64>,
    /// When the count that holds was taken.
    pub anchor_ms: Option<TimeMs>,
    /// Whether a corrected or voided count leaves it unknown until the next one.
    pub rebase_pending: bool,
    /// Whether a fact too old to be judged leaves it in doubt until the next count.
    pub in_doubt: bool,
}

/// Why a SKU is or is not available at a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Enough is there by the lower bound.
    InStock,
    /// The lower bound, less safety stock, leaves nothing.
    OutOfStock,
    /// No count has ever been taken.
    NeverCounted,
    /// A count was taken back; the one before has to be looked up.
    RebasePending,
    /// A fact too old to be judged may be missing.
    InDoubt,
    /// The last count is older than counts are trusted.
    Stale,
}

/// A row of `availability`. After `fresh_through_ms` its reader must answer no.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Availability {
    /// Whose stock.
    pub tenant: Name,
    /// The product.
    pub sku: Name,
    /// The place.
    pub node: Name,
    /// Yes or no.
    pub available: bool,
    /// Why.
    pub reason: Reason,
    /// How many can be promised: the lower bound less safety stock, never below 0.
    pub quantity: i64,
    /// Through when this holds; absent where the answer is no for ever until something changes.
    pub fresh_through_ms: Option<TimeMs>,
}

/// A row of any view. Between workers it travels with its tag; [`Row::to_json`] leaves the tag out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Row {
    /// Of `session_minutes`.
    SessionMinute(SessionMinute),
    /// Of `variant_minutes`.
    VariantMinute(VariantMinute),
    /// Of `variant_totals`.
    VariantTotal(Box<VariantTotal>),
    /// Of `late_events`.
    LateEvent(Box<LateEvent>),
    /// Of `dead_letters`.
    DeadLetter(Box<DeadLetter>),
    /// Of `source_health`.
    SourceHealth(Box<SourceHealth>),
    /// Of `stock`.
    Stock(Stock),
    /// Of `availability`.
    Availability(Availability),
}

impl Row {
    /// The view that the row belongs to.
    pub fn view(&self) -> View {
        match self {
            Row::SessionMinute(_) => View::SessionMinutes,
            Row::VariantMinute(_) => View::VariantMinutes,
            Row::VariantTotal(_) => View::VariantTotals,
            Row::LateEvent(_) => View::LateEvents,
            Row::DeadLetter(_) => View::DeadLetters,
            Row::SourceHealth(_) => View::SourceHealth,
            Row::Stock(_) => View::Stock,
            Row::Availability(_) => View::Availability,
        }
    }

    /// The row as one JSON object, fields in their canonical order: what sinks and subscribers receive.
    pub fn to_json(&self) -> String {
        let text = match self {
            Row::SessionMinute(row) => serde_json::to_string(row),
            Row::VariantMinute(row) => serde_json::to_string(row),
            Row::VariantTotal(row) => serde_json::to_string(row),
            Row::LateEvent(row) => serde_json::to_string(row),
            Row::DeadLetter(row) => serde_json::to_string(row),
            Row::SourceHealth(row) => serde_json::to_string(row),
            Row::Stock(row) => serde_json::to_string(row),
            Row::Availability(row) => serde_json::to_string(row),
        };
        text.expect("rows are structs of strings, integers and booleans, which JSON can always hold")
    }
}

/// Plus infinity as a word, where a person or a foreign program reads it.
mod end {
    use operators::time::{PLUS_INFINITY, TimeMs};
    use serde::{Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(time_ms: &Option<TimeMs>, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() && *time_ms == Some(PLUS_INFINITY) {
            return serializer.serialize_some("end");
        }
        time_ms.serialize(serializer)
    }
}

/// 128-bit integers as decimal strings.
mod decimal {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(value: &i128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i128, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
