//! Re-entry: dead letters that come in again, as they were or repaired.
//!
//! Somebody asks for it with lines of JSON that name letters ([`accept`]). Each becomes a command: an entry of the command
//! log, which is one more input of the run. Its first line says which letter it is of, the rest is the record's text.
//!
//! ```text
//! {"re_enter":{"line":3,"offset":412,"partition":"events/0"}}
//! {"tenant":"north","id":"e17", ...}
//! ```
//!
//! For every partition of a source there is one in which its records enter again, `re-entry/<its name>`; its reader takes
//! from the command log what is meant for it ([`ReEntryDecoder`]). Such a record is JSON, whatever format its source has.
//! A letter enters once: the log says which ones did. One that is refused again is a letter of the re-entry partition.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use operators::record::{Decode, DecodeMessage, Header, Part, RAW_BYTES_MAX, Rejection};

use crate::dead_letters::DeadLetter;

/// What precedes the name of a partition in the name of the one in which its records enter again.
pub const PREFIX: &str = "re-entry/";

/// The longest text of a record that enters again, as for a line of a file.
pub const RECORD_BYTES_MAX: usize = 1024 * 1024;

/// Which dead letter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DeadLetterId {
    /// The partition's name.
    pub partition: String,
    /// The offset there.
    pub offset: u64,
    /// The line, or the place in a message of many records; 0 where there is neither.
    pub line: u64,
}

impl std::fmt::Display for DeadLetterId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} at offset {}, line {}", self.partition, self.offset, self.line)
    }
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    re_enter: DeadLetterId,
}

/// A command, as it is written into the command log.
pub fn command(place: &DeadLetterId, record: &[u8]) -> Vec<u8> {
    let envelope = serde_json::to_value(Envelope { re_enter: place.clone() }).map(|value| value.to_string());
    let mut command = envelope.expect("an envelope is strings and integers").into_bytes();
    command.push(b'\n');
    command.extend_from_slice(record);
    command
}

/// The letter that a command is of, and where the record's text begins; none for a command of another kind.
pub fn read_command(command: &[u8]) -> Option<(DeadLetterId, usize)> {
    let end = command.iter().position(|byte| *byte == b'\n')?;
    let envelope: Envelope = serde_json::from_slice(&command[..end]).ok()?;
    Some((envelope.re_enter, end + 1))
}

/// The partition of a source in which a letter of this one enters again.
fn target(partition: &str) -> &str {
    partition.strip_prefix(PREFIX).unwrap_or(partition)
}

/// Decodes the commands that are meant for one partition of a source, by what decodes its JSON records.
#[derive(Clone, Debug)]
pub struct ReEntryDecoder<D> {
    partition: String,
    inner: D,
}

impl<D> ReEntryDecoder<D> {
    /// A decoder for the commands of the source's partition of this name.
    pub fn new(partition: &str, inner: D) -> Self {
        ReEntryDecoder { partition: target(partition).to_owned(), inner }
    }
}

impl<D: Decode> DecodeMessage for ReEntryDecoder<D> {
    type Record = D::Record;

    fn decode_message(
        &mut self,
        message: &[u8],
        mut give: impl FnMut(Part, Result<(Header, Self::Record), Rejection>),
    ) {
        let Some((place, start)) = read_command(message) else { return };
        if target(&place.partition) == self.partition {
            let record = &message[start..];
            let length = u32::try_from(record.len()).unwrap_or(u32::MAX);
            give(Part { place: 0, start: start as u32, length }, self.inner.decode(record));
        }
    }
}

/// A line of what somebody asks: one of what `aisle dead-letters list --json` prints, of which only the first four count.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "the rest is what the listing says of a letter, and may stay in")]
struct Asked {
    partition: String,
    offset: u64,
    #[serde(default)]
    line: Option<u64>,
    #[serde(default)]
    record: Option<serde_json::Value>,
    #[serde(default)]
    raw: Option<String>,
    #[serde(default)]
    file: Option<String>,
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    detail: Option<String>,
    #[serde(default)]
    re_entered: Option<bool>,
}

/// Why nothing of what was asked is done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct Refused {
    /// The first line, from 1, that can't be done.
    pub line: usize,
    /// Why, and what to do.
    pub what: String,
}

/// The commands for what is asked, a letter a line: all of it, or nothing.
///
/// `find` gives the letters of a partition at an offset, `entered` says which ones were let in before.
pub fn accept(
    asked: &str,
    find: &dyn Fn(&str, u64) -> Vec<DeadLetter>,
    entered: &BTreeSet<DeadLetterId>,
) -> Result<Vec<Vec<u8>>, Refused> {
    let mut commands = Vec::new();
    let mut now = BTreeSet::new();
    for (line, text) in (1..).zip(asked.lines()).filter(|(_, text)| !text.trim().is_empty()) {
        let refused = |what: String| Refused { line, what };
        let asked: Asked = serde_json::from_str(text)
            .map_err(|error| refused(format!("{error}; a line is {{\"partition\":…,\"offset\":…,\"record\":…}}")))?;
        let letter = the_letter(find(&asked.partition, asked.offset), &asked).map_err(refused)?;
        let place = DeadLetterId { partition: asked.partition, offset: asked.offset, line: letter.line };
        if entered.contains(&place) || !now.insert(place.clone()) {
            return Err(refused(format!("{place} entered before; a letter enters once")));
        }
        let record = text_of(asked.record, &letter).map_err(refused)?;
        if record.len() > RECORD_BYTES_MAX {
            let what = format!("the record has {} bytes, {RECORD_BYTES_MAX} are allowed", record.len());
            return Err(refused(what));
        }
        commands.push(command(&place, record.as_bytes()));
    }
    if commands.is_empty() {
        return Err(Refused { line: 1, what: "there is no line that names a dead letter".to_owned() });
    }
    Ok(commands)
}

fn the_letter(mut found: Vec<DeadLetter>, asked: &Asked) -> Result<DeadLetter, String> {
    if let Some(line) = asked.line {
        found.retain(|letter| letter.line == line);
    }
    let Asked { partition, offset, .. } = asked;
    match found.len() {
        0 => Err(format!(
            "there is no dead letter of {partition} at offset {offset}; `aisle dead-letters list` shows those that there are, \
             and they leave after the retention of the view dead_letters"
        )),
        1 => Ok(found.remove(0)),
        several => Err(format!("{partition} has {several} dead letters at offset {offset}: say which by \"line\"")),
    }
}

/// The text that enters: what was given, or else what came.
fn text_of(given: Option<serde_json::Value>, letter: &DeadLetter) -> Result<String, String> {
    match given {
        Some(serde_json::Value::String(text)) => Ok(text),
        Some(object @ serde_json::Value::Object(_)) => Ok(object.to_string()),
        Some(_) => Err("\"record\" is neither an object nor a text".to_owned()),
        None => {
            let raw = STANDARD.decode(&letter.raw).map_err(|error| format!("its bytes can't be read: {error}"))?;
            if raw.len() >= RAW_BYTES_MAX {
                return Err(format!(
                    "only its first {RAW_BYTES_MAX} bytes were kept; give the whole text as \"record\""
                ));
            }
            String::from_utf8(raw).map_err(|_| "its bytes are no UTF-8; give a text as \"record\"".to_owned())
        }
    }
}

/// A letter as `aisle dead-letters list --json` prints it and [`accept`] takes it: its text as `record`, or its bytes in
/// base64 as `raw` where they are no text.
pub fn as_json(letter: &DeadLetter, re_entered: bool) -> String {
    let mut object = serde_json::json!({
        "partition": letter.partition,
        "offset": letter.offset,
        "line": letter.line,
        "file": letter.file,
        "code": letter.code,
        "detail": letter.detail,
        "re_entered": re_entered,
    });
    let text = STANDARD.decode(&letter.raw).ok().and_then(|raw| String::from_utf8(raw).ok());
    match text {
        Some(text) => object["record"] = text.into(),
        None => object["raw"] = letter.raw.clone().into(),
    }
    object.to_string()
}

#[cfg(test)]
mod tests;
