//! The engine against the naive model: on every history, at every tick, every view is the same, however many workers
//! there are and whatever their schedule.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that can't go on says so by stopping")]
#![allow(unreachable_pub, reason = "the modules of one test binary are public to each other")]

mod feeds;
mod generator;
mod history;
mod naive;
mod rows;
mod simulation;
mod specification;
mod trial;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::ops::Range;
use std::panic::catch_unwind;

use dataflows::inventory::availability::Reason;
use dataflows::view::ViewId;
use history::History;
use naive::Snapshot;
use rows::Row;

/// Where the engine and the naive model first disagree, in words; none if they don't.
fn disagreement(engine: &[Snapshot], naive: &[Snapshot]) -> Option<String> {
    if engine.len() != naive.len() {
        return Some(format!("the engine published {} ticks of {}", engine.len(), naive.len()));
    }
    for (tick, (engine, naive)) in engine.iter().zip(naive).enumerate() {
        for view in ViewId::all() {
            let [engine, naive] = [engine, naive].map(|snapshot| {
                let rows = snapshot.get(&view).into_iter().flatten();
                rows.map(|(row, count)| (row.clone(), *count)).collect::<BTreeSet<_>>()
            });
            if engine == naive {
                continue;
            }
            let mut words = format!("tick {tick}, view {}:\n", view.name());
            for (row, count) in engine.difference(&naive) {
                let _ = writeln!(words, "  the engine alone, {count} times: {}", row.to_json());
            }
            for (row, count) in naive.difference(&engine) {
                let _ = writeln!(words, "  the model alone, {count} times:  {}", row.to_json());
            }
            return Some(words);
        }
    }
    None
}

/// Compares the engine with the naive model on the histories of these seeds. All disagreements are printed.
fn agree(seeds: Range<u64>, workers: &[usize], history: fn(u64) -> History) {
    let mut disagreements = Vec::new();
    for seed in seeds {
        let history = history(seed);
        let Ok(naive) = catch_unwind(|| naive::naive(&history)) else {
            disagreements.push(format!("seed {seed}: the model panicked"));
            continue;
        };
        for workers in workers {
            let words = match catch_unwind(|| trial::run(&history, *workers, seed)) {
                Ok(engine) => disagreement(&engine, &naive),
                Err(_) => Some("the engine panicked or got stuck".to_owned()),
            };
            disagreements.extend(words.map(|words| format!("seed {seed}, {workers} workers, {words}")));
        }
    }
    assert!(disagreements.is_empty(), "{} disagreements\n{}", disagreements.len(), disagreements.join("\n"));
}

/// Seeds of the short histories.
const SEEDS: Range<u64> = 0..240;

#[test]
fn one_worker_agrees_with_the_naive_model() {
    agree(SEEDS, &[1], generator::history);
}

#[test]
fn two_workers_agree_with_the_naive_model() {
    agree(SEEDS, &[2], generator::history);
}

#[test]
fn three_workers_agree_with_the_naive_model() {
    agree(SEEDS, &[3], generator::history);
}

#[test]
fn four_workers_agree_with_the_naive_model() {
    agree(SEEDS, &[4], generator::history);
}

#[test]
fn eight_workers_agree_with_the_naive_model() {
    agree(SEEDS, &[8], generator::history);
}

#[test]
fn all_agree_where_log_time_follows_the_records() {
    agree(0..12, &[1, 3], generator::long_history);
}

/// What the histories exercise: a seed range that stops reaching a rule would prove nothing about it.
#[test]
fn the_histories_reach_every_rule() {
    let mut reached = BTreeSet::new();
    for seed in SEEDS {
        let history = generator::history(seed);
        for snapshot in naive::naive(&history) {
            for row in snapshot.values().flat_map(|rows| rows.keys()) {
                let found: Vec<&str> = match row {
                    Row::SourceHealth(row) => [
                        ("late", row.late > 0),
                        ("duplicate", row.duplicate > 0),
                        ("too old", row.too_old > 0),
                        ("without unit", row.without_unit > 0),
                        ("idle", row.status == "idle"),
                        ("caught up", row.status == "caught_up"),
                        ("ended", row.status == "ended"),
                        ("a watermark", row.watermark_ms.is_some()),
                        ("an infinite watermark", row.watermark_ms == Some(i64::MAX)),
                    ]
                    .into_iter()
                    .filter_map(|(name, found)| found.then_some(name))
                    .collect(),
                    Row::DeadLetter(row) if row.code == "conflict" => vec!["conflict"],
                    Row::DeadLetter(row) if row.code == "future" => vec!["future"],
                    Row::VariantTotal(row) if row.units_overflowed > 0 => vec!["overflow"],
                    Row::VariantTotal(row) if row.experiment == "badges" => vec!["exposed"],
                    Row::Stock(row) if row.in_doubt => vec!["in doubt"],
                    Row::Availability(row) => vec![match row.reason {
                        Reason::InStock => "in stock",
                        Reason::OutOfStock => "out of stock",
                        Reason::NeverCounted => "never counted",
                        Reason::RebasePending => "rebase pending",
                        Reason::InDoubt => "availability in doubt",
                        Reason::Stale => "stale",
                    }],
                    _ => vec![],
                };
                reached.extend(found);
            }
        }
    }
    assert_eq!(reached.len(), 20, "{reached:?}");
}
