//! One row for each fault: what was done, how it is known that it fired, and what it did to the outputs.

use std::fs::OpenOptions;
use std::io::Write;
use std::time::Duration;

/// What a disturbed run did to its records and outputs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Records or messages that are missing.
    pub(crate) lost: u64,
    /// Those that are there more than once.
    pub(crate) duplicated: u64,
    /// Rows and bytes that are others than they should be.
    pub(crate) wrong: u64,
    /// The first of each, for whoever has to find out why.
    pub(crate) told: Vec<String>,
}

/// Prints the row and adds it to the file that `AISLE_FAULTS_TABLE` names, if it does. Fails the test afterwards, if
/// anything was lost, duplicated or wrong: the table shows it too.
#[track_caller]
pub(crate) fn row(fault: &str, fired: &str, verdict: &Verdict, took: Duration) {
    let Verdict { lost, duplicated, wrong, told } = verdict;
    let row = format!("| {fault} | {fired} | {lost} | {duplicated} | {wrong} | {:.1} |", took.as_secs_f64());
    println!("{row}");
    if let Some(path) = std::env::var_os("AISLE_FAULTS_TABLE") {
        let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
        writeln!(file, "{row}").unwrap();
    }
    assert!((*lost, *duplicated, *wrong) == (0, 0, 0), "{row}\n{}", told.join("\n"));
}
