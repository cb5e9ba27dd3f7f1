//! Rows of delimited text (CSV, RFC 4180): a quoted field may hold delimiters and newlines, so where a row ends is not where
//! a line ends.
//!
//! Quotes count at the beginning of a field only; elsewhere they are text. Within a quoted field two quotes are one.

use memchr::{memchr, memchr_iter, memchr2};
use operators::record::{Decode, Item};

use super::lines::{raw, reject};

/// Where the newline lies that ends the first row of a text; none where the text ends before it.
pub(super) fn row_end(text: &[u8], delimiter: u8) -> Option<usize> {
    let mut at = 0;
    loop {
        // At the beginning of a field.
        if text.get(at) == Some(&b'"') {
            at += 1;
            loop {
                at += memchr(b'"', &text[at..])? + 1;
                if text.get(at) != Some(&b'"') {
                    break;
                }
                at += 1;
            }
        }
        at += memchr2(delimiter, b'\n', &text[at..])?;
        if text[at] == b'\n' {
            return Some(at);
        }
        at += 1;
    }
}

/// Decodes whole rows. `offset` and `line` are those of the first; returns how many lines there were.
pub(super) fn decode_rows<D: Decode>(
    decoder: &mut D,
    delimiter: u8,
    text: &[u8],
    offset: u64,
    line: u64,
    items: &mut Vec<Item<D::Record>>,
) -> u64 {
    let is_valid = std::str::from_utf8(text).is_ok();
    let (mut from, mut number) = (0, line);
    while from < text.len() {
        let end = row_end(&text[from..], delimiter).map_or(text.len(), |end| from + end);
        let content = &text[from..end];
        let content = content.strip_suffix(b"\r").unwrap_or(content);
        // Blank rows are no records.
        if !content.iter().all(u8::is_ascii_whitespace) {
            let outcome = reject(content, is_valid).map_or_else(|| decoder.decode(content), Err);
            let outcome = outcome.map_err(|rejection| (rejection, raw(content)));
            let length = content.len() as u32;
            items.push(Item { offset: offset + from as u64, length, line: number, outcome });
        }
        let next = (end + 1).min(text.len());
        number += memchr_iter(b'\n', &text[from..next]).count() as u64;
        from = next;
    }
    number - line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_ends_at_the_first_newline_that_is_not_quoted() {
        let end = |text: &str| row_end(text.as_bytes(), b',');
        assert_eq!(end("a,b\nc"), Some(3));
        assert_eq!(end("\"a\nb\",c\nd"), Some(7));
        assert_eq!(end("\"a\"\"\n\"\nd"), Some(7));
        assert_eq!(end("5\" pipe,b\nc"), Some(9), "a quote within a field is text");
        assert_eq!(end("a,\"b\nc"), None, "the quote is open");
        assert_eq!(end("a,b"), None);
        assert_eq!(end("\"a\""), None);
        assert_eq!(end(""), None);
        assert_eq!(row_end(b"a,\"b;\n\"\n", b';'), Some(5), "the quote is not at the beginning of a field");
    }
}
