//! What do the books say of each SKU at each node in each condition, and between which bounds?
//!
//! ```sql
//! SELECT tenant, sku, node, state, count + sum(delta) AS book FROM counts LEFT JOIN deltas_after_it GROUP BY 1, 2, 3, 4
//! ```

use serde::{Deserialize, Serialize};

use operators::shard::hash_of;
use operators::time::TimeMs;

use crate::configuration::Recorded;
use crate::inventory::fact::StockState;
use crate::names::Name;
use crate::view::{Arranged, Cell, Column, Columns, Stays, Unit, View};

/// The view `stock`.
#[derive(Debug)]
pub struct Stock;

/// A row of `stock`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StockRow {
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

impl View for Stock {
    type Row = StockRow;
    const NAME: &'static str = "stock";
    const QUESTION: &'static str = "the ledger of each SKU at each node, with bounds";
    const STAYS: Stays = Stays::Always;
    const ARRANGED: Arranged = Arranged::Never;

    fn columns(_: &Recorded) -> Columns<StockRow> {
        let columns = vec![
            Column::text("tenant", "whose stock", |row: &StockRow, _| Cell::Text(&row.tenant)).tenant(),
            Column::text("sku", "the product", |row: &StockRow, _| Cell::Text(&row.sku)),
            Column::text("node", "the place", |row: &StockRow, _| Cell::Text(&row.node)),
            Column::word("state", "its condition", |row: &StockRow, _| Cell::Text(row.state.name())),
            Column::integer(
                "book",
                "what the record says is there; absent while a count has to be looked up again",
                |row: &StockRow, _| Cell::or_absent(row.book, Cell::Integer),
            )
            .counts(Unit::Pieces)
            .optional(),
            Column::integer("lo", "no fewer than this", |row: &StockRow, _| Cell::or_absent(row.lo, Cell::Integer))
                .counts(Unit::Pieces)
                .optional(),
            Column::integer("hi", "no more than this", |row: &StockRow, _| Cell::or_absent(row.hi, Cell::Integer))
                .counts(Unit::Pieces)
                .optional(),
            Column::integer("variance", "what the counts found that no delta explains", |row: &StockRow, _| {
                Cell::or_absent(row.variance, Cell::Integer)
            })
            .counts(Unit::Pieces)
            .optional(),
            Column::integer("anchor_ms", "when the count that holds was taken", |row: &StockRow, _| {
                Cell::or_absent(row.anchor_ms, Cell::Integer)
            })
            .counts(Unit::TimeMs)
            .optional(),
            Column::flag(
                "rebase_pending",
                "whether a count that was taken back leaves it unknown until the next one",
                |row: &StockRow, _| Cell::Flag(row.rebase_pending),
            ),
            Column::flag(
                "in_doubt",
                "whether a fact too old to be judged leaves it in doubt until the next count",
                |row: &StockRow, _| Cell::Flag(row.in_doubt),
            ),
        ];
        // The condition was hashed as a number before there were columns.
        Columns::new(4, columns).placed_by(|row| hash_of(&(&row.tenant, &row.sku, &row.node, row.state)))
    }

    fn example() -> StockRow {
        StockRow {
            tenant: Name::new("north"),
            sku: Name::new("milk"),
            node: Name::new("n1"),
            state: StockState::Sellable,
            book: Some(3),
            lo: Some(2),
            hi: Some(4),
            variance: Some(0),
            anchor_ms: Some(0),
            rebase_pending: false,
            in_doubt: false,
        }
    }
}
