//! The outputs of a data folder, file by file, beside those of its replay.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use operators::time::{Tick, TimeMs};

use super::missing::{HistoryFacts, Missing, Proof, missing_files};
use super::{Compared, HISTORY};
use crate::history::Kept;
use crate::job::RunError;
use crate::run_end::RunEnd;
use crate::terminal::say;
use dataflows::configuration::ArchiveSettings;
use dataflows::history::FOLDER;

/// How long a line may be that is shown.
const LINE_CHARS_MAX: usize = 400;

/// What a data folder says beside its outputs.
pub(super) struct FolderFacts {
    /// Which run it is.
    pub(super) run: u64,
    /// What time its last tick was.
    pub(super) now_ms: TimeMs,
    /// The first tick that is not in its newest checkpoint.
    pub(super) checkpoint: Option<Tick>,
    /// Up to which tick its outputs were complete.
    pub(super) proof: Proof,
}

/// A data folder and its replay.
pub(super) struct Comparison<'a> {
    pub(super) folder: &'a Path,
    /// Where the outputs of the replay are.
    pub(super) scratch: &'a Path,
    pub(super) ticks: Tick,
    pub(super) facts: &'a FolderFacts,
    pub(super) end: Option<&'a RunEnd>,
}

impl Comparison<'_> {
    /// The first difference; where there is none, all that is missing.
    pub(super) fn compare(
        &self,
        names: &[String],
        kept: Option<&Kept>,
        archive: Option<&ArchiveSettings>,
    ) -> Result<Compared, RunError> {
        let proof = &self.facts.proof;
        let mut missing: Vec<Missing> = proof.missing_of_log(self.ticks).into_iter().collect();
        let (mut files, mut bytes) = (0, 0);
        for name in names {
            let (written, again) = (read(&self.folder.join(name))?, read(&self.scratch.join(name))?);
            // A run that was stopped may not have written its last ticks yet: it will when it goes on.
            let again_upto = &again[..written.len().min(again.len())];
            if let Some(differs) = difference(name, &written, again_upto) {
                return Ok(differs);
            }
            missing.extend(proof.missing_of_changes(name, written.len(), &again));
            files += 1;
            bytes += written.len() as u64;
        }
        for (kept, name) in kept.into_iter().flat_map(|kept| kept.names.iter().map(move |name| (kept, name))) {
            let path = kept.path(name);
            let (written, again) = (kept.bytes(name)?, read(&self.scratch.join(HISTORY).join(&path))?);
            // Such a file is there whole or not at all.
            if let Some(differs) = difference(&format!("{}/{path}", kept.shown), &written, &again) {
                return Ok(differs);
            }
            files += 1;
            bytes += written.len() as u64;
        }
        if let Some(kept) = kept {
            missing.extend(self.missing_of_history(kept, archive)?);
        }
        match missing.is_empty() {
            true => Ok(Compared::Same { files, bytes, ticks: self.ticks, proof: proof.clone() }),
            false => Ok(Compared::Lacks(missing)),
        }
    }

    /// Files of history that are missing; where nobody can say so, that is told.
    fn missing_of_history(&self, kept: &Kept, archive: Option<&ArchiveSettings>) -> Result<Vec<Missing>, RunError> {
        let own = ArchiveSettings { to: HISTORY.to_owned(), endpoint: None, retention_ms: i64::MAX };
        let again = Kept::open(&own, self.scratch, self.facts.run)?;
        let end = self.end.and_then(|end| Some((end.ticks, end.history.as_ref()?)));
        let facts = HistoryFacts {
            ticks: self.ticks,
            now_ms: self.facts.now_ms,
            retention_ms: archive.map(|archive| archive.retention_ms),
            end,
        };
        let is_known = archive.is_some() || !kept.names.is_empty();
        let proven = end.map_or(0, |(_, end)| end.upper).max(self.facts.checkpoint.unwrap_or(0));
        let (missing, unknown) = match is_known {
            true => missing_files(&again.files(), &kept.files(), proven, &facts),
            // It may never have been here.
            false => (Vec::new(), again.names.len()),
        };
        let shown = &kept.shown;
        if !is_known {
            say(&format!(
                "its history was not compared, since none of it is in {shown}; where it is elsewhere, give the run's \
                 --configuration"
            ));
        } else if unknown > 0 {
            say(&format!(
                "{unknown} of the oldest files of its history are not in {shown}; whether they are out of retention is not \
                 known without the run's --configuration"
            ));
        }
        let what = "it was written, and is not out of retention: bring it back from a copy";
        let missing =
            missing.iter().map(|name| kept.path(&format!("{FOLDER}/{name}"))).map(|path| format!("{shown}/{path}"));
        Ok(missing.map(|file| Missing { file, what: what.to_owned() }).collect())
    }
}

/// Where two files differ, if they do.
fn difference(file: &str, written: &[u8], again: &[u8]) -> Option<Compared> {
    let upto = written.len().min(again.len());
    let differs = written[..upto].iter().zip(&again[..upto]).position(|(left, right)| left != right);
    let byte = differs.or_else(|| (written.len() != again.len()).then_some(upto))?;
    let lines = Box::new([line_at(written, byte), line_at(again, byte)]);
    Some(Compared::Differs { file: file.to_owned(), byte: byte as u64, lines, defects: Vec::new() })
}

fn read(path: &Path) -> Result<Vec<u8>, RunError> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => drop(BufReader::new(file).read_to_end(&mut bytes)?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    Ok(bytes)
}

/// The line that has the byte; of what is no text, some bytes from there.
fn line_at(bytes: &[u8], byte: usize) -> String {
    let from = bytes[..byte.min(bytes.len())].iter().rposition(|each| *each == b'\n').map_or(0, |at| at + 1);
    let upto = bytes[from..].iter().position(|each| *each == b'\n').map_or(bytes.len(), |at| from + at);
    match std::str::from_utf8(&bytes[from..upto]) {
        Ok(line) => line.chars().take(LINE_CHARS_MAX).collect(),
        Err(_) => format!("{:02x?}", &bytes[byte.min(bytes.len())..][..16.min(bytes.len().saturating_sub(byte))]),
    }
}
