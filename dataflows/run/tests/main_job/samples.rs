//! The main job over the samples, as somebody sees it who runs it for the first time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::place::succeeds;

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../samples")
}

/// The rows of a table by its title, from the left: words of one blank between them are one cell.
fn table<'a>(text: &'a str, title: &str) -> Vec<Vec<&'a str>> {
    let behind_header =
        text.lines().skip_while(|line| !line.starts_with(title)).skip_while(|line| !line.starts_with('═'));
    let lines = behind_header.skip(1).take_while(|line| !line.starts_with('─'));
    let cells = |line: &'a str| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
    let rows: Vec<Vec<&str>> = lines.map(cells).collect();
    assert!(!rows.is_empty(), "there is no \"{title}\" in {text}");
    rows
}

fn number(cell: &str) -> i64 {
    if cell == "-" { 0 } else { cell.replace(',', "").parse().unwrap() }
}

/// No counter is zero, in any table or line; what did not occur has no number. And everything that is counted anywhere
/// does occur somewhere.
#[test]
fn everything_that_the_main_job_counts_occurs_in_the_samples() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_aisle"));
    command.arg("run").arg(samples().join("aisle.toml")).args(["--once", "--listen", "127.0.0.1:0"]);
    let output = command.current_dir(folder.path()).output().unwrap();
    succeeds(&output);
    // What is told on the way, on standard error, may well be before anything was read.
    let text = String::from_utf8(output.stdout).unwrap();
    for line in text.lines() {
        assert!(line.split_whitespace().all(|word| word.trim_end_matches(':') != "0"), "{line}");
    }

    let sources = table(&text, "Sources: read");
    assert_eq!(sources.len(), 7, "{text}");
    let counted = ["read", "on time", "late", "duplicate", "dead letters", "holds", "too old", "without unit"];
    for (place, name) in (2..).zip(counted).filter(|(_, name)| *name != "holds") {
        assert!(sources.iter().any(|row| number(row[place]) > 0), "{name}: {text}");
    }
    let facts = sources.iter().find(|row| row[0] == "generated-facts/0").unwrap();
    assert!(number(facts[8]) >= 12, "what the scanner told that was offline: {text}");

    let stock = table(&text, "Stock: ");
    assert_eq!(stock.len(), 5, "{text}");
    for row in &stock {
        let [at_nodes, counted, exact, pending, in_doubt, book, lo, hi] =
            [2, 3, 4, 5, 6, 7, 8, 9].map(|at| number(row[at]));
        assert!(at_nodes >= counted && counted >= exact && exact > 0, "{row:?}");
        assert!(0 < lo && lo <= book && book <= hi, "what was counted is positive: {row:?}");
        assert!(pending >= 0 && in_doubt >= 0, "{row:?}");
    }
    for (place, name) in [(5, "rebase pending"), (6, "in doubt")] {
        assert!(stock.iter().any(|row| number(row[place]) > 0), "{name}: {text}");
    }

    let reasons: Vec<&str> = table(&text, "Availability by reason").iter().map(|row| row[1]).collect();
    for reason in ["in_stock", "out_of_stock", "never_counted", "stale", "rebase_pending", "in_doubt"] {
        assert!(reasons.contains(&reason), "{reason}: {text}");
    }
    for view in ["late_events", "dead_letters"] {
        let file = folder.path().join("aisle-data/sinks").join(view).join("shard-0.ndjson");
        let changes = fs::read_to_string(file).unwrap();
        let changes = |diff: &str| changes.matches(&format!("\"diff\":{diff},")).count();
        assert!(changes("1") > 0 && changes("-1") == 0, "{view} shows at the end what came into it");
    }
    #[cfg(feature = "history")]
    crate::history::holds_what_was_sealed(&folder.path().join("aisle-data"));
}

/// They are part of the repository, so they stay small.
#[test]
fn the_samples_are_below_8_mb() {
    let sizes = fs::read_dir(samples()).unwrap().map(|file| file.unwrap().metadata().unwrap().len());
    assert!(sizes.sum::<u64>() < 8_000_000);
}
