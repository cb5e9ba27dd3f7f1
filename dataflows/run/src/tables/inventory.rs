//! Inventory as tables: what can be promised, and what the ledgers know.

use std::collections::BTreeMap;

use crate::tables::{align_right, counter, instant, section, table};
use dataflows::answer::Views;
use dataflows::inventory::availability::{Availability, AvailabilityRow, Reason};
use dataflows::inventory::fact::StockState;
use dataflows::inventory::stock::{Stock, StockRow};

/// How many rows each tenant's reason is shown with.
const EXAMPLES_SHOWN: usize = 1;

/// Counts by tenant and reason, then an example of each.
pub(super) fn availability(views: &Views) -> String {
    let mut by_reason: BTreeMap<(&str, Reason), (usize, Vec<&AvailabilityRow>)> = BTreeMap::new();
    for row in views.rows::<Availability>() {
        let (count, examples) = by_reason.entry((&row.tenant, row.reason)).or_default();
        *count += 1;
        if examples.len() < EXAMPLES_SHOWN {
            examples.push(row);
        }
    }
    let mut counts = table(&["tenant", "reason", "SKUs at nodes"]);
    let mut examples = table(&["tenant", "SKU", "node", "available", "reason", "quantity", "fresh through"]);
    for ((tenant, reason), (count, rows)) in &by_reason {
        counts.add_row([(*tenant).to_owned(), reason.name().to_owned(), counter(*count as i128)]);
        for row in rows {
            examples.add_row([
                row.tenant.to_string(),
                row.sku.to_string(),
                row.node.to_string(),
                if row.available { "yes" } else { "no" }.to_owned(),
                row.reason.name().to_owned(),
                counter(row.quantity),
                row.fresh_through_ms.map_or_else(|| "any change".to_owned(), instant),
            ]);
        }
    }
    align_right(&mut counts, &[2]);
    align_right(&mut examples, &[5]);
    section("Availability by reason", counts) + &section("Availability, for example", examples)
}

/// What is known of each tenant's stock, by condition.
pub(super) fn stock(views: &Views) -> String {
    let mut by_state: BTreeMap<(&str, StockState), Summary> = BTreeMap::new();
    for row in views.rows::<Stock>() {
        by_state.entry((&row.tenant, row.state)).or_default().add(row);
    }
    let mut table = table(&[
        "tenant",
        "state",
        "SKUs at nodes",
        "counted",
        "exact",
        "rebase\npending",
        "in\ndoubt",
        "book",
        "from",
        "to",
    ]);
    for ((tenant, state), summary) in &by_state {
        let counts = [summary.rows, summary.counted, summary.exact, summary.rebase_pending, summary.in_doubt];
        let sums = [summary.book, summary.lo, summary.hi];
        let mut cells = vec![(*tenant).to_owned(), state.name().to_owned()];
        cells.extend(counts.into_iter().chain(sums).map(counter));
        table.add_row(cells);
    }
    align_right(&mut table, &[2, 3, 4, 5, 6, 7, 8, 9]);
    section("Stock: what was counted, and the sums over it", table)
}

#[derive(Default)]
struct Summary {
    rows: i128,
    counted: i128,
    exact: i128,
    rebase_pending: i128,
    in_doubt: i128,
    book: i128,
    lo: i128,
    hi: i128,
}

impl Summary {
    fn add(&mut self, row: &StockRow) {
        self.rows += 1;
        self.rebase_pending += i128::from(row.rebase_pending);
        self.in_doubt += i128::from(row.in_doubt);
        // What was never counted has a book all the same: how it changed since nobody knows what.
        if row.anchor_ms.is_none() {
            return;
        }
        self.counted += 1;
        self.exact += i128::from(row.lo.is_some() && row.lo == row.hi);
        self.book += i128::from(row.book.unwrap_or(0));
        self.lo += i128::from(row.lo.unwrap_or(0));
        self.hi += i128::from(row.hi.unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataflows::answer::testing::{WIDE, all_views, available, changes, stock as stock_row};

    fn words(text: &str, first: &str) -> Vec<String> {
        let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let lines = lines.filter(|words| words.first() == Some(&first)).map(|words| words.join(" "));
        lines.collect()
    }

    #[test]
    fn availability_is_counted_by_reason() {
        let mut views = all_views(WIDE);
        let mut rows: Vec<(AvailabilityRow, i64)> =
            (0..1_200).map(|number| (available("north", "milk", &format!("n{number}"), 3, Some(0)), 1)).collect();
        rows.push((available("south", "milk", "n1", 0, None), 1));
        views.apply_tick(0, 0, vec![changes::<Availability>(rows)], vec![]).unwrap();
        let text = availability(&views);
        let (north, south) = (words(&text, "north"), words(&text, "south"));
        assert_eq!(north, ["north in_stock 1,200", "north milk n0 yes in_stock 3 1970-01-01T00:00:00Z"]);
        assert_eq!(south, ["south out_of_stock 1", "south milk n1 no out_of_stock - any change"]);
    }

    #[test]
    fn stock_is_added_up_by_state() {
        let mut views = all_views(WIDE);
        let mut unknown = stock_row(9);
        (unknown.book, unknown.lo, unknown.hi, unknown.anchor_ms) = (None, None, None, None);
        unknown.rebase_pending = true;
        let mut uncounted = stock_row(8);
        (uncounted.book, uncounted.lo, uncounted.hi, uncounted.anchor_ms) = (Some(-5), Some(-5), Some(-5), None);
        let rows = vec![stock_row(1), stock_row(2), unknown, uncounted];
        let rows = rows.into_iter().map(|row| (row, 1)).collect();
        views.apply_tick(0, 0, vec![changes::<Stock>(rows)], vec![]).unwrap();
        assert_eq!(words(&stock(&views), "north"), ["north sellable 4 2 - 1 - 6 4 8"]);
    }
}
