//! The published views as tables for people: what a run prints at its end. Pure text, at most 120 columns wide.

mod experiments;
mod inventory;

use comfy_table::{CellAlignment, ContentArrangement, Table, TableComponent, presets};

use operators::time::TimeMs;

use dataflows::answer::{Views, format_instant};
use dataflows::experiment::variant_minutes::VariantMinutes;
use dataflows::experiment::variant_totals::VariantTotals;
use dataflows::inventory::availability::Availability;
use dataflows::inventory::stock::Stock;
use dataflows::source_health::{SourceHealth, SourceHealthRow};
use dataflows::view::ViewId;

/// How wide the text may become.
const COLUMNS_MAX: u16 = 120;

/// All tables of the views that are computed, one below the other.
pub fn render(views: &Views) -> String {
    let sections: [(ViewId, fn(&Views) -> String); 5] = [
        (ViewId::of::<VariantMinutes>(), variant_minutes),
        (ViewId::of::<VariantTotals>(), variant_totals),
        (ViewId::of::<Availability>(), availability),
        (ViewId::of::<Stock>(), stock),
        (ViewId::of::<SourceHealth>(), source_health),
    ];
    let enabled = sections.iter().filter(|(view, _)| views.is_enabled(*view));
    enabled.map(|(_, section)| section(views)).collect::<Vec<_>>().join("\n")
}

/// The last sealed minutes of each experiment.
pub fn variant_minutes(views: &Views) -> String {
    experiments::minutes(views)
}

/// The totals of each experiment: means per unit with their standard errors, and differences to the first variant.
pub fn variant_totals(views: &Views) -> String {
    experiments::totals(views)
}

/// How many SKUs at how many nodes are available, and why the others are not.
pub fn availability(views: &Views) -> String {
    inventory::availability(views)
}

/// What the ledgers know.
pub fn stock(views: &Views) -> String {
    inventory::stock(views)
}

/// What the folds hold: keys, bytes, bytes a key.
pub fn memory(held: &super::engine::Held) -> String {
    let mut table = table(&["state", "keys", "bytes", "bytes a key"]);
    for (name, gauge) in held {
        let bytes = gauge.table_bytes + gauge.heap_bytes;
        if bytes == 0 {
            continue;
        }
        let a_key = bytes.checked_div(gauge.keys).unwrap_or(0);
        table.add_row(
            [vec![(*name).to_owned()], [gauge.keys, bytes, a_key].map(|held| counter(held as i128)).to_vec()].concat(),
        );
    }
    align_right(&mut table, &[1, 2, 3]);
    section("State that is held at the end; what is sealed was forgotten", table)
}

/// What was read from each partition, and whether every record of it is accounted for.
pub fn source_health(views: &Views) -> String {
    let mut table = table(&[
        "partition",
        "status",
        "read",
        "on time",
        "late",
        "dupli-\ncate",
        "dead\nletters",
        "",
        "too\nold",
        "no\nunit",
        "watermark",
    ]);
    for row in views.rows::<SourceHealth>() {
        let conserved = [row.read, row.on_time, row.late, row.duplicate, row.dead_letters];
        let cells = [vec![row.partition.to_string(), row.status.to_string()], conserved.map(counter).to_vec()].concat();
        let apart = [row.too_old, row.without_unit].map(counter);
        let watermark = row.watermark_ms.map_or_else(|| "none".to_owned(), instant);
        table.add_row([cells, vec![verdict(row).to_owned()], apart.to_vec(), vec![watermark]].concat());
    }
    align_right(&mut table, &[2, 3, 4, 5, 6, 8, 9]);
    section("Sources: read = on time + late + duplicate + dead letters", table)
}

/// Whether the equation holds that no record escapes.
fn verdict(row: &SourceHealthRow) -> &'static str {
    let parts = [row.on_time, row.late, row.duplicate, row.dead_letters];
    let holds = parts.iter().map(|part| i128::from(*part)).sum::<i128>() == i128::from(row.read);
    if holds { "holds" } else { "FAILS" }
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::UTF8_HORIZONTAL_ONLY)
        .remove_style(TableComponent::HorizontalLines)
        .remove_style(TableComponent::MiddleIntersections)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(COLUMNS_MAX)
        .set_header(header.iter().copied());
    table
}

fn align_right(table: &mut Table, columns: &[usize]) {
    for place in columns {
        if let Some(column) = table.column_mut(*place) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

fn section(title: &str, table: Table) -> String {
    if table.row_count() == 0 {
        return format!("{title}\n  (no rows)\n");
    }
    format!("{title}\n{}\n", table.trim_fmt())
}

/// A time as a person reads it; the infinities as what they mean.
fn instant(time_ms: TimeMs) -> String {
    match time_ms {
        TimeMs::MIN => "none".to_owned(),
        TimeMs::MAX => "ended".to_owned(),
        finite => format_instant(finite),
    }
}

/// A count as a person reads it: nothing to be counted is no number to be read.
fn counter(count: impl Into<i128>) -> String {
    match count.into() {
        0 => "-".to_owned(),
        count => grouped(count),
    }
}

/// An integer with a comma before every three digits.
fn grouped(number: i128) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::with_capacity(digits.len() * 2);
    if number < 0 {
        text.push('-');
    }
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataflows::answer::testing::{WIDE, all_views, changes, one_row};
    use dataflows::configuration::Recorded;
    use dataflows::view::{Codecs, View};

    fn views_with(rows: Vec<SourceHealthRow>) -> Views {
        let mut views = all_views(WIDE);
        let mut all: Vec<_> = match rows.is_empty() {
            true => Vec::new(),
            false => vec![
                one_row::<VariantMinutes>(),
                one_row::<VariantTotals>(),
                one_row::<Stock>(),
                one_row::<Availability>(),
            ],
        };
        all.push(changes::<SourceHealth>(rows.into_iter().map(|row| (row, 1)).collect()));
        views.apply_tick(0, 0, all, vec![]).unwrap();
        views
    }

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (-1_234_567, "-1,234,567"), (-100, "-100")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn conservation_is_shown_with_its_numbers() {
        let mut row = SourceHealth::example();
        let words = |row: &SourceHealthRow| {
            let text = source_health(&views_with(vec![row.clone()]));
            let line = text.lines().find(|line| line.contains(&*row.partition)).unwrap();
            line.split_whitespace().skip(2).take(6).map(str::to_owned).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(words(&row), "10 6 2 1 1 holds");
        (row.read, row.dead_letters) = (1_011, 0);
        assert_eq!(words(&row), "1,011 6 2 1 - FAILS");
    }

    /// Nothing is wider than a terminal, however long names and numbers are.
    #[test]
    fn tables_fit() {
        let mut wide = SourceHealth::example();
        wide.partition = "p".repeat(200).into();
        (wide.read, wide.on_time, wide.late) = (i64::MAX, i64::MAX, i64::MIN);
        let text = render(&views_with(vec![SourceHealth::example(), wide]));
        for line in text.lines() {
            assert!(line.chars().count() <= usize::from(COLUMNS_MAX), "{line}");
        }
        for title in ["Minutes", "Totals", "Availability", "Stock", "Sources"] {
            assert!(text.contains(title), "{title}: {text}");
        }
        assert!(render(&views_with(vec![])).contains("(no rows)"));
        let few = Views::new(Codecs::new(&Recorded::default()), &[ViewId::of::<Stock>()], WIDE);
        assert!(!render(&few).contains("Totals"), "what is not computed is not shown");
    }
}
