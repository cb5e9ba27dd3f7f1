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
    Rows(rows)
}

impl Rows {
    /// Copies of rows that only the other one has, and that only this one has.
    pub(crate) fn differences(&self, other: &Rows) -> (i64, i64) {
        let of = |rows: &Rows, key: &(String, String)| rows.0.get(key).copied().unwrap_or(0);
        let keys: std::collections::BTreeSet<_> = self.0.keys().chain(other.0.keys()).collect();
        let by = keys.into_iter().map(|key| of(self, key) - of(other, key));
        by.fold((0, 0), |(lost, added), by| (lost + (-by).max(0), added + by.max(0)))
    }
}
