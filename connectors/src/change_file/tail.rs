//! How far a file of changes is complete.

use memchr::{memchr, memchr_iter};
use operators::time::Tick;

const CHANGE: &[u8] = b"{\"tick\":";
const PROGRESS: &[u8] = b"{\"progress\":";
const SEALED_THROUGH: &str = ",\"sealed_through\":";

/// What of a file counts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tail<'a> {
    /// Its length up to and including the last progress line.
    pub(super) bytes: usize,
    /// What that line says; 0 if there is none.
    pub(super) progress: Tick,
    /// How far it says that is sealed: the JSON as it stands there.
    pub(super) sealed_through: Option<&'a str>,
}

/// Finds the last progress line, and makes sure that the whole file looks like changes. The error is in words.
pub(super) fn read_tail(file: &[u8]) -> Result<Tail<'_>, String> {
    // No line of ours holds a zero byte: from the first one on, the file system had not stored what was written.
    let stored = memchr(0, file).map_or(file, |hole| &file[..hole]);
    if stored.is_empty() && file.iter().any(|&byte| byte != 0) {
        return Err("it is no text".to_owned());
    }
    let mut tail = Tail { bytes: 0, progress: 0, sealed_through: None };
    let mut from = 0;
    for newline in memchr_iter(b'\n', stored) {
        let line = &stored[from..newline];
        if line.starts_with(PROGRESS) {
            let (progress, sealed_through) =
                parse_progress(line).ok_or_else(|| format!("the progress line at byte {from} cannot be read"))?;
            if progress <= tail.progress {
                return Err(format!("the progress line at byte {from} goes back to {progress}"));
            }
            tail = Tail { bytes: newline + 1, progress, sealed_through: Some(sealed_through) };
        } else if !line.starts_with(CHANGE) || !line.ends_with(b"}") {
            return Err(format!("the line at byte {from} is no change"));
        }
        from = newline + 1;
    }
    let torn = &stored[from..];
    let looks_like = |beginning: &[u8]| torn.starts_with(beginning) || beginning.starts_with(torn);
    if !looks_like(CHANGE) && !looks_like(PROGRESS) {
        return Err(format!("the line at byte {from} is no change"));
    }
    Ok(tail)
}

fn parse_progress(line: &[u8]) -> Option<(Tick, &str)> {
    let line = str::from_utf8(line.strip_prefix(PROGRESS)?).ok()?.strip_suffix('}')?;
    let (progress, sealed_through) = line.split_once(SEALED_THROUGH)?;
    serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(sealed_through).ok()?;
    Some((progress.parse().ok()?, sealed_through))
}
