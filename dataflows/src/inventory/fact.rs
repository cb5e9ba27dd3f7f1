//! An inventory fact as the dataflow carries it (schema: `docs/events.md`).

use serde::{Deserialize, Serialize};

use operators::time::TimeMs;

use crate::names::{Name, TenantId};

/// What a fact says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FactKind {
    /// Sold: leaves the node.
    Sale,
    /// Brought back by a customer: enters the node.
    Return,
    /// Received from a supplier.
    Receipt,
    /// Sent to another node.
    TransferOut,
    /// Came from another node.
    TransferIn,
    /// Any signed correction of the record: scrap, found, recoded.
    Adjust,
    /// Moved from `state` to `to_state` within the node.
    StateMove,
    /// Counted: absolute, class A.
    Count,
    /// A balance of another system: absolute where its source is the node's authority, else evidence.
    Snapshot,
    /// Picked for an order: leaves the node. Quantity 0 is a pick that found nothing: evidence.
    Pick,
    /// Seen on the shelf: evidence.
    ShelfObservation,
    /// The source has sent everything up to here: moves its lane, posts nothing.
    Clock,
}

/// The condition of stock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StockState {
    /// May be promised.
    #[default]
    Sellable,
    /// Broken.
    Damaged,
    /// Held for inspection.
    Quality,
    /// On display.
    Display,
    /// In the back room.
    Backroom,
}

impl StockState {
    /// Its name in records and rows.
    pub fn name(self) -> &'static str {
        match self {
            StockState::Sellable => "sellable",
            StockState::Damaged => "damaged",
            StockState::Quality => "quality",
            StockState::Display => "display",
            StockState::Backroom => "backroom",
        }
    }
}

/// What a correction or void takes back: what was posted, so that the ledger can post it with the opposite sign.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BeforeImage {
    /// Of the fact that is corrected: `(tenant, id)` in 128 bits.
    pub id: u128,
    /// What it said it was.
    pub kind: FactKind,
    /// What it said.
    pub quantity: i64,
    /// When it said it happened.
    pub event_time_ms: TimeMs,
}

/// One inventory fact.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fact {
    /// Whose fact.
    pub tenant: TenantId,
    /// What it says.
    pub kind: FactKind,
    /// The condition of the stock.
    pub state: StockState,
    /// For a move between states: the other one.
    pub to_state: StockState,
    /// Corrects `before`, and says nothing itself.
    pub void: bool,
    /// Where; empty only for no fact.
    pub node: Name,
    /// What; empty for a clock.
    pub sku: Name,
    /// Base units; signed for `adjust` alone.
    pub quantity: i64,
    /// When, by the source's clock; for a count: when it ended.
    pub event_time_ms: TimeMs,
    /// For a count: when it began. Otherwise the event time.
    pub observed_from_ms: TimeMs,
    /// The system that says so.
    pub source: Name,
    /// Which of the source's sequences it belongs to; 0 where it has none.
    pub epoch: u32,
    /// The source's place in the order of authority: less is better.
    pub rank: u16,
    /// Whether the source may set stock (class A).
    pub authority: bool,
    /// The source's bound of skew, in ms: widens a count's window.
    pub epsilon_ms: i64,
    /// The fact's own identity: `(tenant, id)` in 128 bits.
    pub id: u128,
    /// What a correction or void takes back.
    pub before: Option<Box<BeforeImage>>,
}
