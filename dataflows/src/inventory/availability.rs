//! Can a SKU be promised at a node, how many of it, and if not, why?
//!
//! A row is a decision over the ledger, by the rules of the run. A false "no" is preferred to a false "yes": after
//! `fresh_through_ms` a row's reader must answer no.

mod answer;

use serde::{Deserialize, Serialize};

use operators::time::{TimeMs, minus_ms};

use crate::configuration::Recorded;
use crate::inventory::ledger::Balance;
use crate::names::Name;
use crate::view::{Arranged, Cell, Column, Columns, Stays, Unit, View};

pub use answer::NODES_MAX;
pub(crate) use answer::{PARAMETERS, look_up};

/// The view `availability`.
#[derive(Debug)]
pub struct Availability;

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

impl Reason {
    /// Its name in rows and answers.
    pub fn name(self) -> &'static str {
        match self {
            Reason::InStock => "in_stock",
            Reason::OutOfStock => "out_of_stock",
            Reason::NeverCounted => "never_counted",
            Reason::RebasePending => "rebase_pending",
            Reason::InDoubt => "in_doubt",
            Reason::Stale => "stale",
        }
    }
}

/// A row of `availability`. After `fresh_through_ms` its reader must answer no.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AvailabilityRow {
    /// Whose stock.
    pub tenant: Name,
    /// The product.
    pub sku: Name,
    /// The place.
    pub node: Name,
    /// Yes or no.
    pub available: bool,
    /// The reason for it.
    pub reason: Reason,
    /// How many can be promised: the lower bound less safety stock, never below 0.
    pub quantity: i64,
    /// Through when this holds; absent where the answer is no for ever until something changes.
    pub fresh_through_ms: Option<TimeMs>,
}

impl View for Availability {
    type Row = AvailabilityRow;
    const NAME: &'static str = "availability";
    const QUESTION: &'static str = "whether a SKU can be promised at a node, why not, and through when that holds";
    const STAYS: Stays = Stays::Always;
    const ARRANGED: Arranged = Arranged::Never;

    fn columns(_: &Recorded) -> Columns<AvailabilityRow> {
        let columns = vec![
            Column::text("tenant", "whose stock", |row: &AvailabilityRow, _| Cell::Text(&row.tenant)).tenant(),
            Column::text("sku", "the product", |row: &AvailabilityRow, _| Cell::Text(&row.sku)),
            Column::text("node", "the place", |row: &AvailabilityRow, _| Cell::Text(&row.node)),
            Column::flag("available", "yes or no", |row: &AvailabilityRow, _| Cell::Flag(row.available)),
            Column::word("reason", "the reason for it", |row: &AvailabilityRow, _| Cell::Text(row.reason.name())),
            Column::integer("quantity", "how many can be promised", |row: &AvailabilityRow, _| {
                Cell::Integer(row.quantity)
            })
            .counts(Unit::Pieces),
            Column::integer(
                "fresh_through_ms",
                "through when this holds; absent where it is no until something changes",
                |row: &AvailabilityRow, _| Cell::or_absent(row.fresh_through_ms, Cell::Integer),
            )
            .counts(Unit::TimeMs)
            .optional(),
        ];
        Columns::new(3, columns)
    }

    fn example() -> AvailabilityRow {
        AvailabilityRow {
            tenant: Name::new("north"),
            sku: Name::new("milk"),
            node: Name::new("n1"),
            available: true,
            reason: Reason::InStock,
            quantity: 5,
            fresh_through_ms: Some(10_000),
        }
    }
}

/// The rules of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What is never promised.
    pub safety_stock: i64,
    /// A count older than this, by the watermark, no longer makes anything available.
    pub count_trusted_ms: i64,
}

/// A decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Decision {
    /// Why; available only where it is [`Reason::InStock`].
    pub reason: Reason,
    /// What can be promised: never below 0.
    pub quantity: i64,
    /// Through when a yes holds.
    pub fresh_through_ms: Option<TimeMs>,
}

/// Decides on a key, as of a watermark.
pub fn decide(balance: &Balance, policy: &Policy, watermark_ms: TimeMs) -> Decision {
    let no = |reason| Decision { reason, quantity: 0, fresh_through_ms: None };
    let Some(numbers) = balance.numbers else { return no(Reason::RebasePending) };
    if balance.in_doubt {
        return no(Reason::InDoubt);
    }
    let Some(anchor_ms) = balance.anchor_ms else { return no(Reason::NeverCounted) };
    let fresh_through_ms = fresh_through(anchor_ms, policy);
    if watermark_ms > fresh_through_ms {
        return no(Reason::Stale);
    }
    let quantity = (numbers.lo - policy.safety_stock).max(0);
    if quantity == 0 {
        return no(Reason::OutOfStock);
    }
    Decision { reason: Reason::InStock, quantity, fresh_through_ms: Some(fresh_through_ms) }
}

/// Through when a count makes anything available.
pub fn fresh_through(anchor_ms: TimeMs, policy: &Policy) -> TimeMs {
    minus_ms(anchor_ms, -policy.count_trusted_ms)
}
