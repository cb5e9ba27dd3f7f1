//! Experiments as tables: their last minutes, and their totals with inference.

use std::collections::{BTreeMap, BTreeSet};

use methods::moments::{Mean, difference_of, mean_of};
use operators::time::{MINUS_INFINITY, MINUTE_MS, TimeMs};

use crate::tables::{align_right, counter, grouped, instant, section, table};
use dataflows::answer::Views;
use dataflows::experiment::measures::Moments;
use dataflows::experiment::variant_minutes::{VariantMinute, VariantMinutes};
use dataflows::experiment::variant_totals::{VariantTotal, VariantTotals};

/// How many rows of minutes an experiment is shown with; a minute is shown with all its variants, or not at all.
const MINUTE_ROWS_SHOWN: usize = 5;

/// The sums for which a difference is worth reading.
const METRICS: [(&str, fn(&Moments) -> i128); 5] = [
    ("clicks", |moments| moments.clicks),
    ("add to carts", |moments| moments.add_to_carts),
    ("purchases", |moments| moments.purchases),
    ("quantity", |moments| moments.quantity),
    ("value", |moments| moments.value),
];

/// The last sealed minutes of each experiment; where none is sealed, the last ones.
pub(super) fn minutes(views: &Views) -> String {
    let mut by_experiment: BTreeMap<(&str, &str), Vec<&VariantMinute>> = BTreeMap::new();
    for row in views.rows::<VariantMinutes>() {
        by_experiment.entry((&row.tenant, &row.experiment)).or_default().push(row);
    }
    let mut table = table(&[
        "experiment",
        "minute",
        "variant",
        "active",
        "started",
        "views",
        "clicks",
        "carts",
        "bought",
        "returned",
        "value",
    ]);
    let (mut total, mut shown) = (0, 0);
    for ((tenant, experiment), rows) in &by_experiment {
        let sealed_ms = sealed_through(views, tenant);
        let is_sealed = |row: &&&VariantMinute| row.minute_ms.saturating_add(MINUTE_MS) <= sealed_ms;
        let sealed: Vec<&VariantMinute> = rows.iter().filter(is_sealed).copied().collect();
        let rows_shown = last_minutes(if sealed.is_empty() { rows } else { &sealed });
        total += rows.len();
        shown += rows_shown.len();
        let mut name = format!("{tenant}\n{experiment}");
        for row in rows_shown {
            let measures = &row.measures;
            let numbers = [
                row.sessions_active,
                row.sessions_started,
                measures.views,
                measures.clicks,
                measures.add_to_carts,
                measures.purchases,
                measures.returns,
                measures.value,
            ];
            // Minutes have no seconds, and the columns are needed.
            let minute = instant(row.minute_ms).replace('T', " ").replace(":00Z", "");
            let open = if row.minute_ms.saturating_add(MINUTE_MS) <= sealed_ms { "" } else { "*" };
            // An experiment is named once, on its first row.
            let mut cells = vec![std::mem::take(&mut name), minute + open, row.variant.to_string()];
            cells.extend(numbers.map(counter));
            table.add_row(cells);
        }
    }
    align_right(&mut table, &[3, 4, 5, 6, 7, 8, 9, 10]);
    let which = match total {
        0 => String::new(),
        total => format!(": the last {shown} of {} rows, by sessions (* not sealed)", grouped(total as i128)),
    };
    section(&format!("Minutes of each experiment{which}"), table)
}

/// Through which event time the tenant's experiment events are sealed: the watermark of their group.
fn sealed_through(views: &Views, tenant: &str) -> TimeMs {
    let group = format!("{tenant}/events");
    let sealed = views.published().and_then(|mark| mark.sealed_through.get(&group).copied());
    sealed.unwrap_or(MINUS_INFINITY)
}

/// The rows of as many of the last minutes as fit, but of one at least, by minute and variant.
fn last_minutes<'a>(rows: &[&'a VariantMinute]) -> Vec<&'a VariantMinute> {
    let minutes: BTreeSet<TimeMs> = rows.iter().map(|row| row.minute_ms).collect();
    let mut shown: Vec<&VariantMinute> = Vec::new();
    for minute_ms in minutes.into_iter().rev() {
        let of_minute: Vec<&VariantMinute> = rows.iter().filter(|row| row.minute_ms == minute_ms).copied().collect();
        if !shown.is_empty() && shown.len() + of_minute.len() > MINUTE_ROWS_SHOWN {
            break;
        }
        shown.extend(of_minute);
    }
    shown.sort_by_key(|row| (row.minute_ms, &row.variant));
    shown
}

/// The totals of each experiment.
pub(super) fn totals(views: &Views) -> String {
    let mut by_experiment: BTreeMap<(&str, &str), Vec<&VariantTotal>> = BTreeMap::new();
    for row in views.rows::<VariantTotals>() {
        by_experiment.entry((&row.tenant, &row.experiment)).or_default().push(row);
    }
    let mut table =
        table(&["experiment", "metric", "variant", "units", "sum", "mean per unit ± error", "difference ± error"]);
    let mut overflowed = 0;
    for ((tenant, experiment), variants) in &by_experiment {
        let mut name = format!("{tenant}\n{experiment}");
        overflowed += variants.iter().map(|variant| variant.units_overflowed).sum::<i64>();
        for (metric, sum_of) in METRICS {
            if variants.iter().all(|variant| sum_of(&variant.squares) == 0) && metric != "value" {
                continue;
            }
            for cells in lines_of(variants, metric, sum_of) {
                table.add_row([vec![std::mem::take(&mut name)], cells].concat());
            }
        }
    }
    align_right(&mut table, &[3, 4, 5, 6]);
    let mut text = section("Totals over units; differences are to each experiment's first variant", table);
    if overflowed > 0 {
        text.push_str(&format!(
            "  {} units are left out, one of their sums is beyond 2^40\n",
            grouped(overflowed.into())
        ));
    }
    text
}

/// One metric of an experiment, a line for each variant.
fn lines_of(variants: &[&VariantTotal], metric: &str, sum_of: fn(&Moments) -> i128) -> Vec<Vec<String>> {
    let mean_of_variant =
        |variant: &VariantTotal| mean_of(variant.units, sum_of(&variant.sums), sum_of(&variant.squares));
    let first = variants.first().map(|variant| mean_of_variant(variant));
    let line_of = |(place, variant): (usize, &&VariantTotal)| {
        let mean = mean_of_variant(variant);
        let difference = match (&first, &mean) {
            _ if place == 0 => "first".to_owned(),
            (Some(Ok(first)), Ok(mean)) => difference_text(mean, first),
            _ => "none".to_owned(),
        };
        vec![
            metric.to_owned(),
            variant.variant.to_string(),
            counter(variant.units),
            counter(sum_of(&variant.sums)),
            mean.map_or_else(|reason| reason.name().replace('_', " "), |mean| estimate(mean.mean, mean.standard_error)),
            difference,
        ]
    };
    variants.iter().enumerate().map(line_of).collect()
}

fn difference_text(mean: &Mean, first: &Mean) -> String {
    let difference = difference_of(mean, first);
    let sign = if difference.difference > 0.0 { "+" } else { "" };
    format!("{sign}{}", estimate(difference.difference, difference.standard_error))
}

/// As many decimals as the error makes worth reading.
fn estimate(value: f64, standard_error: f64) -> String {
    let decimals = match standard_error {
        error if error >= 100.0 => 0,
        error if error >= 1.0 => 2,
        error if error >= 0.01 => 4,
        _ => 6,
    };
    format!("{value:.decimals$} ± {standard_error:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataflows::answer::testing::{WIDE, all_views, changes};
    use dataflows::names::Name;
    use dataflows::view::{Listed, View};

    fn total(variant: &str, units: i64, sum: i128, squares: i128) -> VariantTotal {
        let mut row = VariantTotals::example();
        (row.variant, row.units) = (Name::new(variant), units);
        (row.sums.value, row.squares.value) = (sum, squares);
        row
    }

    fn minute(variant: &str, minute: i64) -> VariantMinute {
        let mut row = VariantMinutes::example();
        (row.variant, row.minute_ms) = (Name::new(variant), minute * MINUTE_MS);
        row
    }

    fn views_with<V: Listed>(rows: Vec<V::Row>, sealed_ms: TimeMs) -> Views {
        let mut views = all_views(WIDE);
        let changes = vec![changes::<V>(rows.into_iter().map(|row| (row, 1)).collect())];
        views.apply_tick(0, 0, changes, vec![("north/events".to_owned(), sealed_ms)]).unwrap();
        views
    }

    #[test]
    fn totals_are_compared_with_the_first_variant() {
        // 1, 2, 3, 4 against 3, 7: the same blocks as in the tests of the moments.
        let rows = vec![total("a", 4, 10, 30), total("b", 2, 10, 58), total("c", 1, 5, 25)];
        let text = totals(&views_with::<VariantTotals>(rows, 0));
        let line = |variant: &str| {
            // The experiment is named on its first row only, so the variant is the third word or the second.
            let behind = |line: &str| {
                let words: Vec<&str> = line.split_whitespace().collect();
                words.iter().position(|word| *word == variant).map(|at| words[at + 1..].join(" "))
            };
            text.lines().find_map(behind).unwrap()
        };
        assert_eq!(line("a"), "4 10 2.5000 ± 0.6455 first");
        assert_eq!(line("b"), "2 10 5.00 ± 2.00 +2.50 ± 2.10");
        assert_eq!(line("c"), "1 5 insufficient units none");
        assert!(!text.contains("clicks"), "a metric that is zero everywhere is left out");
    }

    #[test]
    fn only_the_last_sealed_minutes_are_shown() {
        let rows = (0..10).flat_map(|number| [minute("a", number), minute("b", number)]).collect();
        let text = minutes(&views_with::<VariantMinutes>(rows, 8 * MINUTE_MS));
        assert!(text.starts_with("Minutes of each experiment: the last 4 of 20 rows"), "{text}");
        assert!(text.contains(" 00:06 ") && text.contains(" 00:07 ") && !text.contains(" 00:08"), "{text}");
        let text = minutes(&views_with::<VariantMinutes>(vec![minute("a", 3)], 0));
        assert!(text.contains(" 00:03*"), "with none sealed, an open one is shown as such: {text}");
    }
}
