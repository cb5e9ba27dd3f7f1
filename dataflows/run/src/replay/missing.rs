//! What a data folder lacks: outputs of ticks that it proves were written.
//!
//! A run that was stopped may not have written its last ticks, so an output may be shorter than its replay. How much shorter is
//! decided by what the folder itself says:
//!
//! * `run-end.json` ([`RunEnd`]), up to which tick the outputs were complete when the run ended in order;
//! * a checkpoint, which is written only once every output has its ticks;
//! * the remap log: at most [`IN_FLIGHT_MAX`] of its ticks were not yet acknowledged by all outputs when its last one was
//!   minted.
//!
//! Of files of history, which are made once and deleted from the oldest on, none may be missing between two others; older ones
//! only where they are out of retention.

use std::path::Path;

use operators::time::{Tick, TimeMs};

use crate::run_end::{HistoryEnd, RUN_END, RunEnd};
use dataflows::configuration::IN_FLIGHT_MAX;
use dataflows::history::FileName;

/// A file of a data folder that lacks something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The file.
    pub file: String,
    /// What it lacks, how that is known, and what to do.
    pub what: String,
}

/// Up to which tick the outputs of a run were complete, and how that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    /// Every output had the ticks below this.
    pub upper: Tick,
    /// What says so.
    pub by: String,
}

impl Proof {
    /// The strongest that there is, for a remap log of so many ticks.
    pub(super) fn strongest(ticks: Tick, end: Option<&RunEnd>, checkpoint: Option<Tick>) -> Proof {
        let of_log = Proof {
            upper: ticks.saturating_sub(IN_FLIGHT_MAX),
            by: format!("its remap log has {ticks} ticks, of which at most {IN_FLIGHT_MAX} may have been under way"),
        };
        let of_checkpoint =
            checkpoint.map(|upper| Proof { upper, by: format!("a checkpoint was taken of tick {upper}") });
        let of_end = end.map(|end| Proof { upper: end.ticks, by: format!("{RUN_END} says so") });
        let all = [Some(of_log), of_checkpoint, of_end].into_iter().flatten();
        all.max_by_key(|proof| proof.upper).unwrap_or_default()
    }

    /// What can't be said of a folder with so many ticks.
    pub fn doubt(&self, ticks: Tick) -> Option<String> {
        (self.upper < ticks).then(|| {
            format!(
                "its run did not say that it ended in order ({RUN_END}), so the outputs of its last {} ticks may be incomplete: \
                 they are complete once it has gone on\n",
                ticks - self.upper
            )
        })
    }

    /// What a remap log lacks that ends before what is proven.
    pub(super) fn missing_of_log(&self, ticks: Tick) -> Option<Missing> {
        (self.upper > ticks).then(|| Missing {
            file: "the remap log".to_owned(),
            what: format!(
                "it ends at tick {ticks}, but the outputs were complete up to tick {} ({}): it was cut; restore it from a copy",
                self.upper, self.by
            ),
        })
    }

    /// What a change file of so many bytes lacks, by its replay.
    pub(super) fn missing_of_changes(&self, file: &str, bytes: usize, again: &[u8]) -> Option<Missing> {
        let needed = bytes_below(again, self.upper);
        (bytes < needed).then(|| Missing {
            file: file.to_owned(),
            what: format!(
                "it has {bytes} of the {needed} bytes that it had at tick {} ({}): it was removed, emptied or cut; restore \
                 it from a copy, or run again with --replay-all, which writes what is missing from the logs",
                self.upper, self.by
            ),
        })
    }
}

/// What an empty remap log lacks, by what else there is in the data folder.
pub(super) fn missing_of_empty_log(folder: &Path) -> Missing {
    let is_there = |name: &&str| {
        let path = folder.join(name);
        std::fs::metadata(&path).is_ok_and(|metadata| match metadata.is_dir() {
            true => holds_bytes(&path),
            false => metadata.len() > 0,
        })
    };
    let what = if let Some(name) = ["sinks", "history", "checkpoints", RUN_END].into_iter().find(is_there) {
        format!("it has no entries, but {name} shows that its run wrote ticks: restore it from a copy")
    } else if let Some(name) = ["inputs-folder", "address"].into_iter().find(is_there) {
        format!(
            "it has no entries, but {name} shows that a run began here: restore it from a copy; where the run was stopped before \
             its first tick there is nothing to compare, run again"
        )
    } else {
        "it has no entries, so there is nothing to compare".to_owned()
    };
    Missing { file: "the remap log".to_owned(), what }
}

/// Whether any file below a folder holds anything.
fn holds_bytes(folder: &Path) -> bool {
    std::fs::read_dir(folder).into_iter().flatten().flatten().any(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => holds_bytes(&entry.path()),
        Ok(metadata) => metadata.len() > 0,
        Err(_) => false,
    })
}

/// How many bytes of a change file are of ticks below `upper`: up to the last line of progress that is not beyond it.
fn bytes_below(file: &[u8], upper: Tick) -> usize {
    let mut end = file.len();
    while let Some(newline) = file[..end].iter().rposition(|byte| *byte == b'\n') {
        let begin = file[..newline].iter().rposition(|byte| *byte == b'\n').map_or(0, |before| before + 1);
        if progress_of(&file[begin..newline]).is_some_and(|progress| progress <= upper) {
            return newline + 1;
        }
        end = begin;
    }
    0
}

/// The tick of a line of progress.
fn progress_of(line: &[u8]) -> Option<Tick> {
    let rest = line.strip_prefix(b"{\"progress\":")?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()
}

/// What is known of a run's history beside its files.
#[derive(Clone, Copy, Debug)]
pub(super) struct HistoryFacts<'a> {
    /// How long the remap log is.
    pub ticks: Tick,
    /// What time its last tick was.
    pub now_ms: TimeMs,
    /// How long files are kept, where that is known.
    pub retention_ms: Option<i64>,
    /// What the run said when it ended.
    pub end: Option<(Tick, &'a HistoryEnd)>,
}

/// The files of history that are missing, given those that a replay makes and those that there are, both in order; and how
/// many are not there of which nobody can say whether retention deleted them. Files of ticks below `proven` were written.
pub(super) fn missing_files(
    again: &[FileName],
    kept: &[FileName],
    proven: Tick,
    facts: &HistoryFacts<'_>,
) -> (Vec<FileName>, usize) {
    let oldest = kept.first().map(|name| name.lower);
    let newest_upper = kept.last().map_or(0, |name| name.upper);
    // Whatever retention deletes, the newest file stays.
    let newest_proven = again.iter().rfind(|name| name.upper <= proven);
    let (mut missing, mut unknown) = (Vec::new(), 0);
    // The file of no ticks says only that there are others: it is the first that retention deletes.
    let is_needed = |name: &&FileName| !kept.contains(name) && (name.lower < name.upper || kept.is_empty());
    for name in again.iter().filter(is_needed) {
        let is_proven = name.upper <= proven || name.upper <= newest_upper;
        if !is_proven {
            continue;
        }
        let is_older = oldest.is_none_or(|oldest| name.upper <= oldest);
        let is_newest = oldest.is_none() && newest_proven == Some(name);
        // Retention has deleted nothing since, where the run ended with the remap log.
        let was_there = facts.end.is_some_and(|(ticks, end)| ticks == facts.ticks && name.lower >= end.lower);
        let is_old = |retention_ms: i64| name.last_minute_ms.saturating_add(retention_ms) < facts.now_ms;
        match facts.retention_ms {
            _ if !is_older || is_newest || was_there => missing.push(*name),
            Some(retention_ms) if is_old(retention_ms) => {}
            Some(_) => missing.push(*name),
            None => unknown += 1,
        }
    }
    (missing, unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "{\"tick\":0,\"diff\":1,\"row\":{}}\n{\"progress\":1,\"sealed_through\":{}}\n\
                        {\"progress\":5,\"sealed_through\":{}}\n{\"tick\":7,\"diff\":1,\"row\":{}}\n{\"progress\":8,\"sealed_through\":{}}\n";

    #[test]
    fn the_bytes_of_a_tick_end_with_its_progress() {
        let upto = |line: usize| FILE.split_inclusive('\n').take(line).map(str::len).sum::<usize>();
        let lines = [(0, 0), (1, 2), (4, 2), (5, 3), (7, 3), (8, 5), (100, 5)];
        for (upper, line) in lines {
            assert_eq!(bytes_below(FILE.as_bytes(), upper), upto(line), "{upper}");
        }
        assert_eq!(bytes_below(b"", 9), 0);
        assert_eq!(bytes_below(b"{\"progress\":", 9), 0);
        let proof = Proof { upper: 5, by: "somebody says so".to_owned() };
        assert_eq!(proof.missing_of_changes("file", upto(3), FILE.as_bytes()), None);
        let missing = proof.missing_of_changes("file", upto(3) - 1, FILE.as_bytes()).unwrap();
        assert!(missing.what.contains("at tick 5 (somebody says so)"), "{missing:?}");
    }

    #[test]
    fn the_strongest_proof_counts() {
        let end = RunEnd { ticks: 90, ..RunEnd::default() };
        let upper = |ticks, end, checkpoint| Proof::strongest(ticks, end, checkpoint).upper;
        assert_eq!(upper(10, None, None), 0);
        assert_eq!(upper(100, None, None), 36);
        assert_eq!(upper(100, None, Some(50)), 50);
        assert_eq!(upper(100, Some(&end), Some(50)), 90);
        assert_eq!(upper(80, Some(&end), None), 90);
        assert!(Proof::strongest(80, Some(&end), None).missing_of_log(80).is_some());
        assert_eq!(Proof::strongest(90, Some(&end), None).missing_of_log(90), None);
    }

    fn name(lower: Tick, upper: Tick) -> FileName {
        FileName { lower, upper, first_minute_ms: lower as i64 * 1_000, last_minute_ms: upper as i64 * 1_000 }
    }

    #[test]
    fn files_may_be_missing_only_at_the_old_end_and_out_of_retention() {
        let again = [name(0, 0), name(0, 10), name(10, 20), name(20, 30), name(30, 40)];
        let facts = HistoryFacts { ticks: 50, now_ms: 50_000, retention_ms: None, end: None };
        let of = |kept: &[FileName], proven, facts: &HistoryFacts<'_>| {
            let (missing, unknown) = missing_files(&again, kept, proven, facts);
            (missing.iter().map(|name| name.upper).collect::<Vec<_>>(), unknown)
        };
        assert_eq!(of(&again, 50, &facts), (vec![], 0));
        assert_eq!(of(&[again[0], again[1], again[3]], 25, &facts), (vec![20], 0), "a gap, and the last is not proven");
        assert_eq!(of(&[again[2]], 20, &facts), (vec![], 1), "retention may have deleted them");
        assert_eq!(of(&[again[2]], 40, &facts), (vec![30, 40], 1));
        assert_eq!(of(&[], 40, &facts), (vec![40], 4), "the newest stays");
        let known = HistoryFacts { retention_ms: Some(35_000), ..facts };
        assert_eq!(of(&[again[3], again[4]], 50, &known), (vec![20], 0), "0 and 10 are older than 35 s");
        let end = HistoryEnd { to: "history".to_owned(), endpoint: None, retention_ms: 0, lower: 10, upper: 40 };
        let ended = HistoryFacts { retention_ms: Some(0), end: Some((50, &end)), ..facts };
        assert_eq!(of(&[again[3], again[4]], 50, &ended), (vec![20], 0), "it was there at the end");
        let went_on = HistoryFacts { end: Some((45, &end)), ..ended };
        assert_eq!(of(&[again[3], again[4]], 50, &went_on), (vec![], 0), "retention deleted it since");
    }
}
