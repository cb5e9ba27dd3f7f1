//! An experiment event as the dataflow carries it (schema: `docs/events.md`).

use serde::{Deserialize, Serialize};

use operators::time::TimeMs;

use crate::names::{Name, TenantId};

/// What a visitor did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// Looked at an item or a page.
    View,
    /// Clicked on something.
    Click,
    /// Put an item into the cart.
    AddToCart,
    /// Bought; `value` and `quantity` are usually positive.
    Purchase,
    /// Gave back; `value` and `quantity` are usually negative.
    Return,
    /// Was shown an experiment's variant.
    Exposure,
}

impl EventKind {
    /// Its name in records and rows.
    pub fn name(self) -> &'static str {
        match self {
            EventKind::View => "view",
            EventKind::Click => "click",
            EventKind::AddToCart => "add_to_cart",
            EventKind::Purchase => "purchase",
            EventKind::Return => "return",
            EventKind::Exposure => "exposure",
        }
    }
}

/// One experiment event. Attributes other than an exposure's experiment stay in the log; their hash is in the content hash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Event {
    /// Whose event.
    pub tenant: TenantId,
    /// What happened.
    pub kind: EventKind,
    /// When, by the source's clock.
    pub event_time_ms: TimeMs,
    /// Minor units of the tenant's currency.
    pub value: i64,
    /// Pieces.
    pub quantity: i64,
    /// The event's id, unique within the tenant.
    pub id: Name,
    /// The visit it belongs to.
    pub session: Name,
    /// The unit of randomisation; empty where it is unknown.
    pub unit: Name,
    /// The product; empty where there is none.
    pub item: Name,
    /// An exposure's experiment: its place in the configuration, where it is declared there.
    pub experiment: Option<u16>,
}
