//! Positions: where among a view's rows a listing goes on, as data that can be written down.
//!
//! A position names its place by cells, not by a count of rows before it, so that finding it costs a search and not a walk.
//! It is exact: rows that are alike in those cells, and copies of one row, are counted behind them. It means the same for
//! every filter, since it counts rows whether or not they are asked for.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::column::{Cell, CellType, Column};
use super::columns::Columns;

/// A place between two rows, as of one tick.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The cells of the row behind the place, in the first columns of the key.
    pub(super) cells: Vec<PositionCell>,
    /// How many rows with these cells lie before the place.
    pub(super) passed: u64,
}

/// A cell of a column by which rows are ordered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum PositionCell {
    /// An integer or a time.
    Integer(i64),
    /// A name.
    Text(String),
}

impl<R> Columns<R> {
    /// The first columns of the key, as far as rows are ordered by their cells.
    fn position_columns(&self) -> impl Iterator<Item = &Column<R>> {
        let is_ordered = |column: &Column<R>| {
            matches!(column.holds, CellType::Text | CellType::Integer | CellType::Time) && !column.optional
        };
        let columns = self.all().iter().enumerate();
        columns.take_while(move |(place, column)| self.is_key(*place) && is_ordered(column)).map(|(_, column)| column)
    }

    /// The cells by which a position names a row.
    pub(super) fn position_cells(&self, row: &R) -> Vec<PositionCell> {
        let cell = |column: &Column<R>| match column.cell(row) {
            Cell::Text(text) => PositionCell::Text(text.to_owned()),
            Cell::Integer(integer) | Cell::Time(integer) => PositionCell::Integer(integer),
            other => unreachable!("a column of names, integers or times holds {other:?}"),
        };
        self.position_columns().map(cell).collect()
    }

    /// Where a row lies beside those with these cells.
    pub(super) fn compare_position(&self, row: &R, cells: &[PositionCell]) -> Ordering {
        let orders = self.position_columns().zip(cells).map(|(column, wanted)| {
            let wanted = match wanted {
                PositionCell::Text(text) => Cell::Text(text),
                PositionCell::Integer(time_ms) if column.holds == CellType::Time => Cell::Time(*time_ms),
                PositionCell::Integer(integer) => Cell::Integer(*integer),
            };
            column.cell(row).cmp(&wanted)
        });
        orders.into_iter().find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }
}
