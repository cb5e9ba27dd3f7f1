//! From a stretch of text to the items of a batch.

use operators::record::{Decode, Item, RAW_BYTES_MAX, Rejection};

use super::newlines::for_each_newline;
use super::source::LINE_BYTES_MAX;

/// Decodes whole lines. `offset` and `line` are those of the first; returns how many lines there were.
pub(super) fn decode_lines<D: Decode>(
    decoder: &mut D,
    text: &[u8],
    offset: u64,
    line: u64,
    items: &mut Vec<Item<D::Record>>,
) -> u64 {
    let is_valid = std::str::from_utf8(text).is_ok();
    let mut number = line;
    let mut from = 0;
    let mut decode = |content: &[u8], from: usize, number: u64| {
        // Blank lines are no records.
        if content.iter().all(u8::is_ascii_whitespace) {
            return;
        }
        let outcome = match reject(content, is_valid) {
            None => decoder.decode(content),
            Some(rejection) => Err(rejection),
        };
        let outcome = outcome.map_err(|rejection| (rejection, raw(content)));
        let length = content.len() as u32;
        items.push(Item { offset: offset + from as u64, length, line: number, outcome });
    };
    for_each_newline(text, |newline| {
        let content = &text[from..newline];
        decode(content.strip_suffix(b"\r").unwrap_or(content), from, number);
        from = newline + 1;
        number += 1;
    });
    if from < text.len() {
        decode(&text[from..], from, number);
        number += 1;
    }
    number - line
}

/// What is wrong with a line before anybody looks at what it says.
pub(crate) fn reject(content: &[u8], is_valid: bool) -> Option<Rejection> {
    if content.len() > LINE_BYTES_MAX {
        return Some(too_long(content.len() as u64));
    }
    if is_valid {
        return None;
    }
    let error = std::str::from_utf8(content).err()?;
    Some(Rejection::new("invalid_utf8", format!("byte {} of the line is not UTF-8", error.valid_up_to() + 1)))
}

/// The rejection of a line of this length.
pub(super) fn too_long(length: u64) -> Rejection {
    Rejection::new("line_too_long", format!("the line has {length} bytes, {LINE_BYTES_MAX} are allowed"))
}

/// What of a line a dead letter keeps.
pub(super) fn raw(content: &[u8]) -> Vec<u8> {
    content[..content.len().min(RAW_BYTES_MAX)].to_vec()
}
