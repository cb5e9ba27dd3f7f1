//! What the change files of a run add up to.

use std::collections::BTreeMap;
use std::path::Path;

use crate::place::outputs;

/// Rows by view, each with how many copies there are of it.
pub(crate) struct Rows(BTreeMap<(String, String), i64>);

/// Adds up every change file of a data folder. The lines of one shard have to be of ascending ticks.
pub(crate) fn rows_of(data: &Path) -> Rows {
    let mut rows: BTreeMap<(String, String), i64> = BTreeMap::new();
    for (path, bytes) in outputs(data) {
        let view = path.parent().unwrap().to_string_lossy().into_owned();
        let mut complete = 0;
        for line in String::from_utf8(bytes).unwrap().lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            if let Some(progress) = line["progress"].as_u64() {
                assert!(progress > complete, "{}: progress {progress} after {complete}", path.display());
                complete = progress;
                continue;
            }
            assert!(line["tick"].as_u64().unwrap() >= complete, "{}: a tick came twice", path.display());
            let copies = rows.entry((view.clone(), line["row"].to_string())).or_default();
            *copies += line["diff"].as_i64().unwrap();
        }
    }
    rows.retain(|_, copies| *copies != 0);
    assert!(rows.values().all(|copies| *copies > 0), "a row was taken away that was not there");
    Rows(with_sums_of_health(rows))
}

/// Of one record in two partitions the first is the one of the lesser partition *within the tick*, and where ticks end is
/// the clock's choice. So it is not known which partition has the duplicate, only that one has.
fn with_sums_of_health(rows: BTreeMap<(String, String), i64>) -> BTreeMap<(String, String), i64> {
    let (health, mut rows): (Vec<_>, BTreeMap<_, _>) = {
        let (health, others): (Vec<_>, Vec<_>) =
            rows.into_iter().partition(|((view, _), _)| view.ends_with("source_health"));
        (health, others.into_iter().collect())
    };
    let mut sums: BTreeMap<String, i64> = BTreeMap::new();
    for ((_, row), copies) in &health {
        let row: BTreeMap<String, serde_json::Value> = serde_json::from_str(row).unwrap();
        for (column, value) in row {
            *sums.entry(column).or_default() += copies * value.as_i64().unwrap_or(0);
        }
    }
    rows.insert(("source_health".to_owned(), format!("{sums:?}")), 1);
    rows
}

impl Rows {
    /// Rows of which the two have different numbers of copies: negative where this one lacks them.
    pub(crate) fn differences<'a>(&'a self, other: &'a Rows) -> Vec<(i64, &'a str)> {
        let of = |rows: &Rows, key: &(String, String)| rows.0.get(key).copied().unwrap_or(0);
        let keys: std::collections::BTreeSet<_> = self.0.keys().chain(other.0.keys()).collect();
        let by = keys.into_iter().map(|key| (of(self, key) - of(other, key), key.1.as_str()));
        by.filter(|(by, _)| *by != 0).collect()
    }
}
