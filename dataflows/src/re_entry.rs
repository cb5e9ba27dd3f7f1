//! Re-entry: dead letters that come in again, as they were or repaired.
//!
//! Somebody asks for it with lines of JSON that name letters. They become a [`Command`], an entry of the command log, which
//! is one more input of the run: its header says which letters it is of, and behind it lie the texts of the records.
//!
//! ```text
//! {"principal":"local","re_enter":{"line":3,"offset":412,"partition":"events/0"}}
//! {"tenant":"north","id":"e17", ...}
//! ```
//!
//! A command of several letters has a list there, in which each also says how many `bytes` its text has.
//!
//! For every partition of a source there is one in which its records enter again, `re-entry/<its name>`; its reader takes
//! from the command log what is meant for it ([`ReEntryDecoder`]). Such a record is JSON, whatever format its source has.
//! A letter enters once: the log says which ones did. One that is refused again is a letter of the re-entry partition.

use std::collections::BTreeSet;
use std::ops::Range;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use operators::record::{self, Decode, DecodeMessage, Part, RAW_BYTES_MAX, Rejection};

use crate::commands::{Command, Enters, Published, Refused};
use crate::dead_letters::{DeadLetter, DeadLetters};
use crate::view::ViewId;

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

impl DeadLetterId {
    /// What is done once only: to let this letter in.
    pub fn entering(&self) -> Vec<u8> {
        let DeadLetterId { partition, offset, line } = self;
        format!("re_enter\n{partition}\n{offset}\n{line}").into_bytes()
    }
}

impl std::fmt::Display for DeadLetterId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} at offset {}, line {}", self.partition, self.offset, self.line)
    }
}

/// A letter that enters again, with the text that enters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepairedLetter {
    /// Which letter.
    pub place: DeadLetterId,
    /// The text.
    pub record: String,
}

/// The command that lets dead letters in again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReEnter {
    /// The letters, one at least.
    pub letters: Vec<RepairedLetter>,
}

/// The header of a command, as far as it lets letters in.
#[derive(Deserialize)]
struct Header {
    re_enter: Letters,
}

/// Which letters: one, whose text is all that lies behind the header, or several, whose texts lie there one behind the other.
#[derive(Deserialize)]
#[serde(untagged)]
enum Letters {
    One(DeadLetterId),
    Many(Vec<LetterLength>),
}

/// A letter among several, and how long its text is.
#[derive(Serialize, Deserialize)]
struct LetterLength {
    #[serde(flatten)]
    place: DeadLetterId,
    bytes: usize,
}

impl Letters {
    /// Each letter with its place in the command and where its text lies behind the header; none where they do not fit.
    fn placed(self, body_bytes: usize) -> Option<Vec<(u64, DeadLetterId, Range<usize>)>> {
        let many = match self {
            Letters::One(place) => return Some(vec![(0, place, 0..body_bytes)]),
            Letters::Many(many) => many,
        };
        let mut from = 0_usize;
        let mut placed = Vec::with_capacity(many.len());
        for (number, LetterLength { place, bytes }) in (1..).zip(many) {
            let upto = from.checked_add(bytes).filter(|upto| *upto <= body_bytes)?;
            placed.push((number, place, from..upto));
            from = upto;
        }
        (from == body_bytes).then_some(placed)
    }
}

impl Command for ReEnter {
    const NAME: &'static str = "re_enter";
    const SCOPE: &'static str = "dead-letters";
    const PATH: &'static str = "/v1/dead-letters/re-enter";
    const CHECKED_AGAINST: Option<ViewId> = Some(ViewId::of::<DeadLetters>());
    const ENTERS: Enters = Enters::ReEntry;

    /// Lines of JSON, a letter each: all of them, or nothing.
    fn check(asked: &str, published: &dyn Published) -> Result<Self, Refused> {
        let mut letters = Vec::new();
        let mut now = BTreeSet::new();
        for (line, text) in (1..).zip(asked.lines()).filter(|(_, text)| !text.trim().is_empty()) {
            let refused = |what: String| Refused { line, what };
            let asked: Asked = serde_json::from_str(text).map_err(|error| {
                refused(format!("{error}; a line is {{\"partition\":…,\"offset\":…,\"record\":…}}"))
            })?;
            let letter = the_letter(published.dead_letters(&asked.partition, asked.offset), &asked).map_err(refused)?;
            let place = DeadLetterId { partition: asked.partition, offset: asked.offset, line: letter.line };
            if published.is_done(&place.entering()) || !now.insert(place.clone()) {
                return Err(refused(format!("{place} entered before; a letter enters once")));
            }
            let record = text_of(asked.record, &letter).map_err(refused)?;
            if record.len() > RECORD_BYTES_MAX {
                let what = format!("the record has {} bytes, {RECORD_BYTES_MAX} are allowed", record.len());
                return Err(refused(what));
            }
            letters.push(RepairedLetter { place, record });
        }
        match letters.is_empty() {
            false => Ok(ReEnter { letters }),
            true => Err(Refused { line: 1, what: "there is no line that names a dead letter".to_owned() }),
        }
    }

    fn once(&self, tell: &mut dyn FnMut(&[u8])) {
        self.letters.iter().for_each(|letter| tell(&letter.place.entering()));
    }

    fn records(&self) -> Vec<Map<String, Value>> {
        let record = |letter: &RepairedLetter| {
            let DeadLetterId { partition, offset, line } = &letter.place;
            let fields =
                [("partition", partition.as_str().into()), ("offset", (*offset).into()), ("line", (*line).into())];
            fields.into_iter().map(|(name, value): (&str, Value)| (name.to_owned(), value)).collect()
        };
        self.letters.iter().map(record).collect()
    }

    fn encode(&self) -> (Value, Vec<u8>) {
        let lengths = self
            .letters
            .iter()
            .map(|RepairedLetter { place, record }| LetterLength { place: place.clone(), bytes: record.len() });
        let content = match self.letters.as_slice() {
            [RepairedLetter { place, .. }] => serde_json::to_value(place),
            _ => serde_json::to_value(lengths.collect::<Vec<_>>()),
        };
        let body = self.letters.iter().flat_map(|letter| letter.record.bytes()).collect();
        (content.expect("places are strings and integers"), body)
    }

    fn decode(content: &Value, body: &[u8]) -> Option<Self> {
        let placed = Letters::deserialize(content).ok()?.placed(body.len())?;
        let letter = |(_, place, text): (u64, DeadLetterId, Range<usize>)| {
            Some(RepairedLetter { place, record: String::from_utf8(body[text].to_vec()).ok()? })
        };
        Some(ReEnter { letters: placed.into_iter().map(letter).collect::<Option<_>>()? })
    }
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
        mut give: impl FnMut(Part, Result<(record::Header, Self::Record), Rejection>),
    ) {
        let Some(end) = message.iter().position(|byte| *byte == b'\n') else { return };
        let body = end + 1;
        let header: Option<Header> = serde_json::from_slice(&message[..end]).ok();
        let placed = header.and_then(|header| header.re_enter.placed(message.len() - body));
        for (number, place, text) in placed.unwrap_or_default() {
            if target(&place.partition) == self.partition {
                let (from, upto) = (body + text.start, body + text.end);
                let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
                let part = Part { place: number, start: u32::try_from(from).unwrap_or(u32::MAX), length };
                give(part, self.inner.decode(&message[from..upto]));
            }
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
            let text = String::from_utf8(raw);
            let text = text.map_err(|_| "its bytes are no UTF-8; give a text as \"record\"".to_owned())?;
            // What is known to be no JSON may be tried once more; any other text would use its one chance up for nothing.
            let is_object = text.trim_start().starts_with('{');
            if !is_object && letter.code != "not_json" {
                return Err("it did not come as JSON, and what enters is JSON whatever its source's format; \
                            write it as a JSON object and give that as \"record\""
                    .to_owned());
            }
            Ok(text)
        }
    }
}

/// A letter as `aisle dead-letters list --json` prints it and [`ReEnter`] takes it: its text as `record`, or its bytes in
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
