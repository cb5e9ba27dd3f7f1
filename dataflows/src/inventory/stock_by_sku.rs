//! How much of each SKU is there in each condition, over all nodes?
//!
//! ```sql
//! SELECT tenant, sku, state, count(*) AS nodes, count(*) - count(book) AS nodes_unknown, sum(in_doubt) AS nodes_in_doubt,
//!        sum(book), sum(lo), sum(hi)
//! FROM stock GROUP BY tenant, sku, state
//! ```
//!
//! The ledger adds up what its keys change within a tick by SKU, so a delivery to a thousand nodes is one difference; stock
//! operators count the differences. Costs about 60 bytes a SKU and condition beside the row, and one lookup a change of
//! `stock`.

use differential_dataflow::AsCollection;
use differential_dataflow::difference::{IsZero, Semigroup};
use differential_dataflow::operators::CountTotal;
use serde::{Deserialize, Serialize};
use timely::dataflow::StreamVec;
use timely::dataflow::operators::vec::Map;

use operators::fold::{Outlet, summed};
use operators::time::Tick;

use super::fact::StockState;
use super::ledger::fold::{LedgerFold, LedgerValue};
use super::ledger::{Balance, LedgerKey};
use crate::build::Build;
use crate::configuration::Recorded;
use crate::names::{Name, TenantId};
use crate::view::{Cell, Column, Columns, Stays, Unit, View};

/// The view `stock_by_sku`.
#[derive(Debug)]
pub struct StockBySku;

/// A row of `stock_by_sku`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SkuRow {
    /// Whose stock.
    pub tenant: Name,
    /// The product.
    pub sku: Name,
    /// Its condition.
    pub state: StockState,
    /// Nodes with a row in `stock`.
    pub nodes: i64,
    /// Those among them whose numbers have to be looked up again: they are in no sum.
    pub nodes_unknown: i64,
    /// Those among them that are in doubt until the next count; their numbers are in the sums.
    pub nodes_in_doubt: i64,
    /// The sum of the books; absent where no node has numbers, as are the bounds.
    pub book: Option<i64>,
    /// No fewer than this.
    pub lo: Option<i64>,
    /// No more than this.
    pub hi: Option<i64>,
}

impl View for StockBySku {
    type Row = SkuRow;
    const NAME: &'static str = "stock_by_sku";
    const QUESTION: &'static str = "how much of each SKU there is over all nodes, with bounds";
    const STAYS: Stays = Stays::Always;

    fn columns(_: &Recorded) -> Columns<SkuRow> {
        let pieces = |name, says, of| Column::integer(name, says, of).counts(Unit::Pieces).optional();
        let columns = vec![
            Column::text("tenant", "whose stock", |row: &SkuRow, _| Cell::Text(&row.tenant)).tenant(),
            Column::text("sku", "the product", |row: &SkuRow, _| Cell::Text(&row.sku)),
            Column::word("state", "its condition", |row: &SkuRow, _| Cell::Text(row.state.name())),
            Column::integer("nodes", "nodes with a row in `stock`", |row: &SkuRow, _| Cell::Integer(row.nodes)),
            Column::integer(
                "nodes_unknown",
                "nodes whose numbers have to be looked up again, and are in no sum",
                |row: &SkuRow, _| Cell::Integer(row.nodes_unknown),
            ),
            Column::integer("nodes_in_doubt", "nodes in doubt until the next count", |row: &SkuRow, _| {
                Cell::Integer(row.nodes_in_doubt)
            }),
            pieces("book", "the sum of the books; absent where no node has numbers", |row: &SkuRow, _| {
                Cell::or_absent(row.book, Cell::Integer)
            }),
            pieces("lo", "no fewer than this", |row: &SkuRow, _| Cell::or_absent(row.lo, Cell::Integer)),
            pieces("hi", "no more than this", |row: &SkuRow, _| Cell::or_absent(row.hi, Cell::Integer)),
        ];
        Columns::new(3, columns)
    }

    fn example() -> SkuRow {
        SkuRow {
            tenant: Name::new("north"),
            sku: Name::new("milk"),
            state: StockState::Sellable,
            nodes: 3,
            nodes_unknown: 1,
            nodes_in_doubt: 0,
            book: Some(7),
            lo: Some(6),
            hi: Some(9),
        }
    }
}

/// A SKU of a tenant in a condition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct SkuKey {
    tenant: TenantId,
    sku: Name,
    state: StockState,
}

/// Sums over nodes: what differential counts instead of ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct Totals {
    nodes: i64,
    unknown: i64,
    in_doubt: i64,
    book: i64,
    lo: i64,
    hi: i64,
}

impl IsZero for Totals {
    fn is_zero(&self) -> bool {
        *self == Totals::default()
    }
}

impl Semigroup for Totals {
    fn plus_equals(&mut self, other: &Totals) {
        self.nodes += other.nodes;
        self.unknown += other.unknown;
        self.in_doubt += other.in_doubt;
        self.book += other.book;
        self.lo += other.lo;
        self.hi += other.hi;
    }
}

impl Totals {
    /// Of a node with this balance; `sign` is -1 where it has it no longer.
    fn of(balance: &Balance, sign: i64) -> Totals {
        let sums = balance.numbers.map_or([0; 3], |numbers| [numbers.book, numbers.lo, numbers.hi].map(|n| sign * n));
        Totals {
            nodes: sign,
            unknown: sign * i64::from(balance.numbers.is_none()),
            in_doubt: sign * i64::from(balance.in_doubt),
            book: sums[0],
            lo: sums[1],
            hi: sums[2],
        }
    }

    /// What a change of a node means for the sums.
    fn between(old: Option<&Balance>, new: Option<&Balance>) -> Totals {
        let mut difference = old.map_or(Totals::default(), |old| Totals::of(old, -1));
        if let Some(new) = new {
            difference.plus_equals(&Totals::of(new, 1));
        }
        difference
    }
}

/// The changes of sums, by SKU.
type Differences<'scope> = StreamVec<'scope, Tick, (SkuKey, Tick, Totals)>;

/// What the ledger gives for it.
pub(super) fn outlet<'scope>() -> impl Outlet<'scope, LedgerFold, Streams = Differences<'scope>> {
    summed(|_: &LedgerFold, key: &LedgerKey, old, new, give: &mut dyn FnMut(SkuKey, Totals)| {
        let difference = Totals::between(balance(old), balance(new));
        if !difference.is_zero() {
            give(SkuKey { tenant: key.tenant, sku: key.sku.clone(), state: key.state }, difference);
        }
    })
}

fn balance(value: Option<&LedgerValue>) -> Option<&Balance> {
    match value? {
        LedgerValue::Stock(balance) => Some(balance),
        LedgerValue::Availability(_) => None,
    }
}

/// Counts the differences, and publishes the sums.
pub(super) fn publish<'scope>(build: &mut Build<'_, 'scope>, differences: Differences<'scope>) {
    let catalog = std::sync::Arc::clone(&build.plan().catalog);
    let totals = differences.as_collection().arrange_by_self_named("StockBySku").count_total();
    let rows = totals.inner.map(move |((key, totals), tick, diff)| {
        let known = (totals.nodes > totals.unknown).then_some(totals);
        let row = SkuRow {
            tenant: catalog.tenant_name(key.tenant).clone(),
            sku: key.sku,
            state: key.state,
            nodes: totals.nodes,
            nodes_unknown: totals.unknown,
            nodes_in_doubt: totals.in_doubt,
            book: known.map(|totals| totals.book),
            lo: known.map(|totals| totals.lo),
            hi: known.map(|totals| totals.hi),
        };
        (row, tick, diff)
    });
    build.publish::<StockBySku>(rows);
}
