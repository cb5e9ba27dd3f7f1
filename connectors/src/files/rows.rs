//! Rows of delimited text (CSV, RFC 4180): a quoted cell may hold delimiters and line ends, so where a row ends is not where
//! a line ends.
//!
//! Quotes count at the beginning of a cell only; elsewhere they are text. Within a quoted cell two quotes are one.
//!
//! A quote that somebody wrote as a sign of inches opens a cell, too, and the next quote of the file closes it, however
//! many rows lie between. So a row that goes on behind its first line has to be one as a writer of CSV writes it: each of
//! its quoted cells ends with a quote behind which the next cell or the next row begins, and it has as many cells as the
//! header. Otherwise its first line alone is taken away, as malformed, and the next row begins on the next line.
//!
//! How many bytes that looks at grows with the file, whatever it holds. Every look ahead from a row whose first line ends
//! within quotes passes over at most [`SPANNING_CELLS_MAX`] cells that hold line ends. The lines within such a cell hold
//! pairs of quotes only, so that no row which begins there is open at its end: they are looked at, and nobody looks ahead
//! from them. A byte is therefore looked at from at most as many lines as there are such cells in a row.

use memchr::{memchr, memchr_iter, memchr2};
use operators::record::{Decode, Item, Rejection};

use super::lines::{raw, reject};
use super::source::LINE_BYTES_MAX;

/// How many cells of a row may hold line ends.
const SPANNING_CELLS_MAX: usize = 100;

/// The longest stretch of text in which the end of a row is looked for; its last bytes may belong to the line end.
pub(super) const ROW_BYTES_MAX: usize = LINE_BYTES_MAX + 2;

/// How the rows of a file are told apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Framing {
    /// The ASCII character between two cells.
    pub(super) delimiter: u8,
    /// The byte that ends a line.
    pub(super) line_end: u8,
    /// How many cells the header has, once it was read.
    pub(super) columns: Option<usize>,
}

/// The place of one row, or of a line that was taken away from a malformed one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// How many bytes it takes up with its line end.
    pub(super) bytes: usize,
    /// How many cells it has; none where a quote is open at the end of its first line.
    pub(super) cells: usize,
    /// What is wrong with a quote that is open at the end of the first line.
    pub(super) fault: Option<QuoteFault>,
}

/// What is wrong with a quote that is open at the end of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QuoteFault {
    /// No quote closes it within the length of a row.
    Unclosed,
    /// What closes it makes no cell of a row like the header.
    Stray,
}

/// What lies behind a closing quote.
enum Behind {
    /// The next cell, which begins there.
    Cell(usize),
    /// The next row, or the end of the text.
    Row(usize),
    /// Text.
    Text,
    /// More would have to be read to know it.
    Unknown,
}

impl Framing {
    /// The first row of a text; none where more has to be read to know its end. Of the last text of a file (`is_last`) all
    /// is known. How many bytes were looked at is told, too.
    pub(super) fn row(&self, text: &[u8], is_last: bool) -> (Option<Row>, usize) {
        if text.is_empty() {
            return (None, 0);
        }
        let (mut at, mut cells) = (0, 0);
        let (mut first_line_end, mut spanning_cells, mut is_malformed) = (None, 0, false);
        loop {
            cells += 1;
            if text.get(at) == Some(&b'"') {
                let opened = at + 1;
                let Some(closed) = closing_quote(text, opened, is_last) else {
                    let first_line =
                        || self.unclosed(text).unwrap_or_else(|| Row::open(text.len(), QuoteFault::Unclosed));
                    return (is_last.then(first_line), text.len());
                };
                if let Some(place) = memchr(self.line_end, &text[opened..closed]) {
                    let line_end = *first_line_end.get_or_insert(opened + place);
                    spanning_cells += 1;
                    let is_beyond = self.columns.is_some_and(|columns| cells > columns);
                    if is_malformed || is_beyond || spanning_cells > SPANNING_CELLS_MAX {
                        return (Some(Row::stray(line_end)), closed);
                    }
                }
                match (self.behind(text, closed + 1, is_last), first_line_end) {
                    (Behind::Cell(next), _) => {
                        at = next;
                        continue;
                    }
                    (Behind::Row(next), _) => return (Some(self.ended(next, cells, first_line_end)), next),
                    (Behind::Unknown, _) => return (None, text.len()),
                    (Behind::Text, Some(line_end)) => return (Some(Row::stray(line_end)), closed + 1),
                    (Behind::Text, None) => is_malformed = true,
                }
                at = closed + 1;
            }
            match memchr2(self.delimiter, self.line_end, &text[at..]) {
                Some(place) if text[at + place] == self.delimiter => at += place + 1,
                Some(place) => {
                    let next = at + place + 1;
                    return (Some(self.ended(next, cells, first_line_end)), next);
                }
                None => {
                    return (is_last.then(|| self.ended(text.len(), cells, first_line_end)), text.len());
                }
            }
        }
    }

    fn behind(&self, text: &[u8], at: usize, is_last: bool) -> Behind {
        match &text[at..] {
            [] if is_last => Behind::Row(at),
            [] => Behind::Unknown,
            [byte, ..] if *byte == self.delimiter => Behind::Cell(at + 1),
            [byte, ..] if *byte == self.line_end => Behind::Row(at + 1),
            [b'\r', b'\n', ..] => Behind::Row(at + 2),
            [b'\r'] if is_last => Behind::Row(at + 1),
            [b'\r'] => Behind::Unknown,
            _ => Behind::Text,
        }
    }

    /// A row that ends before `next`, if one that goes on behind its first line may.
    fn ended(&self, next: usize, cells: usize, first_line_end: Option<usize>) -> Row {
        match first_line_end {
            Some(line_end) if self.columns.is_some_and(|columns| columns != cells) => Row::stray(line_end),
            _ => Row { bytes: next, cells, fault: None },
        }
    }

    /// The first line of a row that does not end within the text; none where the line doesn't either.
    pub(super) fn unclosed(&self, text: &[u8]) -> Option<Row> {
        memchr(self.line_end, text).map(|line_end| Row::open(line_end + 1, QuoteFault::Unclosed))
    }

    /// A row's content without its line end.
    pub(super) fn content<'a>(&self, row: &'a [u8]) -> &'a [u8] {
        let content = row.strip_suffix(&[self.line_end]).unwrap_or(row);
        content.strip_suffix(b"\r").unwrap_or(content)
    }
}

impl Row {
    /// The first line of a row, at the end of which a quote is open.
    fn open(bytes: usize, fault: QuoteFault) -> Self {
        Row { bytes, cells: 0, fault: Some(fault) }
    }

    fn stray(line_end: usize) -> Self {
        Row::open(line_end + 1, QuoteFault::Stray)
    }
}

impl QuoteFault {
    fn rejection(self) -> Rejection {
        let detail = match self {
            QuoteFault::Unclosed => {
                format!("a quote is open, and is not closed within {LINE_BYTES_MAX} bytes or before the end")
            }
            QuoteFault::Stray => {
                "a quote is open at the end of the line, and the lines behind it make no row of it".to_owned()
            }
        };
        Rejection::new("open_quote", detail)
    }
}

/// Where the quote lies that ends a quoted cell; none where that is not known.
fn closing_quote(text: &[u8], from: usize, is_last: bool) -> Option<usize> {
    let mut at = from;
    loop {
        at += memchr(b'"', &text[at..])?;
        match text.get(at + 1) {
            Some(b'"') => at += 2,
            None if !is_last => return None,
            _ => return Some(at),
        }
    }
}

/// What ends the lines of a file that begins with this text: LF, or CR alone, with which spreadsheets of old Macs saved.
/// CR alone does where the text has no LF, or where it ends the header before any LF and the next row has as many cells.
pub(super) fn line_end_of(text: &[u8], delimiter: u8, is_last: bool) -> u8 {
    let newline = memchr(b'\n', text);
    let by_return = Framing { delimiter, line_end: b'\r', columns: None };
    let has_rows = |newline: usize| {
        let (Some(header), _) = by_return.row(text, is_last) else { return false };
        let ends_header = header.fault.is_none() && header.cells > 1 && header.bytes < newline;
        let row = || by_return.row(&text[header.bytes..], is_last).0;
        ends_header && row().is_some_and(|row| row.fault.is_none() && row.cells == header.cells)
    };
    let is_return = match (memchr(b'\r', text), newline) {
        (Some(_), None) => true,
        (Some(first), Some(newline)) => first + 1 < newline && has_rows(newline),
        (None, _) => false,
    };
    if is_return { b'\r' } else { b'\n' }
}

/// Decodes the rows of a text. `offset` and `line` are those of the first; returns how many lines there were.
pub(super) fn decode_rows<D: Decode>(
    decoder: &mut D,
    (framing, rows): (&Framing, &[Row]),
    text: &[u8],
    offset: u64,
    line: u64,
    items: &mut Vec<Item<D::Record>>,
) -> u64 {
    let is_valid = std::str::from_utf8(text).is_ok();
    let (mut from, mut number) = (0, line);
    for row in rows {
        let whole = &text[from..from + row.bytes];
        let content = framing.content(whole);
        // Blank rows are no records.
        if !content.iter().all(u8::is_ascii_whitespace) {
            let outcome = match row.fault {
                Some(fault) => Err(fault.rejection()),
                None => reject(content, is_valid).map_or_else(|| decoder.decode(content), Err),
            };
            let outcome = outcome.map_err(|rejection| (rejection, raw(content)));
            let length = content.len() as u32;
            items.push(Item { offset: offset + from as u64, length, line: number, outcome });
        }
        number += memchr_iter(framing.line_end, whole).count() as u64;
        from += row.bytes;
    }
    number - line
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FRAMING: Framing = Framing { delimiter: b',', line_end: b'\n', columns: None };

    fn row(text: &str, columns: Option<usize>, is_last: bool) -> Option<(usize, Option<QuoteFault>)> {
        let (row, looked_bytes) = Framing { columns, ..FRAMING }.row(text.as_bytes(), is_last);
        assert!(looked_bytes <= text.len());
        row.map(|row| (row.bytes, row.fault))
    }

    proptest! {
        #[test]
        fn rows_as_writers_write_them_end_where_they_were_written(
            rows in proptest::collection::vec((proptest::array::uniform3("[a,\"\n\r]{0,5}"), any::<bool>()), 1..6),
            cut in 0usize..100,
        ) {
            let written = rows.iter().map(|(cells, is_windows)| {
                let quoted = cells.each_ref().map(|cell| format!("\"{}\"", cell.replace('"', "\"\"")));
                quoted.join(",") + if *is_windows { "\r\n" } else { "\n" }
            });
            let written: Vec<String> = written.collect();
            let text = written.concat();
            let mut from = 0;
            for whole in &written {
                prop_assert_eq!(row(&text[from..], Some(3), true), Some((whole.len(), None)));
                let part = &text[from..text.len().min(from + cut)];
                let ends = (part.len() >= whole.len()).then_some((whole.len(), None));
                prop_assert_eq!(row(part, Some(3), false), ends, "known as soon as it was read");
                from += whole.len();
            }
        }
    }

    #[test]
    fn a_row_ends_at_the_first_line_end_that_is_not_quoted() {
        let end = |text: &str| row(text, None, false);
        let ends = |bytes: usize| Some((bytes, None));
        assert_eq!(end("a,b\nc"), ends(4));
        assert_eq!(end("\"a\nb\",c\nd"), ends(8));
        assert_eq!(end("\"a\"\"\n\"\nd"), ends(7));
        assert_eq!(end("\"a\nb\"\r\nd"), ends(7));
        assert_eq!(end("5\" pipe,b\nc"), ends(10), "a quote within a cell is text");
        assert_eq!(end("\"a\"b,c\nd"), ends(7), "what is behind a quoted cell is for the decoder to see");
        assert_eq!(end("a,\"b\nc"), None, "the quote is open");
        for unknown in ["a,b", "\"a\"", "\"a\"\r", ""] {
            assert_eq!(end(unknown), None);
        }
        for whole in ["a,b", "\"a\"", "\"a\"\r", "\"a\nb\"", "\"a\"b"] {
            assert_eq!(row(whole, None, true), ends(whole.len()), "{whole}");
        }
        let semicolons = Framing { delimiter: b';', ..FRAMING };
        let found = semicolons.row(b"a,\"b;\n\"\n", false).0.expect("a row");
        assert_eq!((found.bytes, found.cells), (6, 2), "the quote is not at the beginning of a cell");
    }

    #[test]
    fn a_row_of_several_lines_is_one_as_writers_write_it_or_its_first_line_is_taken_away() {
        let stray = |bytes: usize| Some((bytes, Some(QuoteFault::Stray)));
        let whole = "1,\"two\nlines\",\"three\n\n\"\n";
        assert_eq!(row(whole, Some(3), false), Some((whole.len(), None)));
        assert_eq!(row(whole, Some(4), false), stray(7), "a row of other cells than the header's");
        assert_eq!(row("1,\"12 inch\n2,\"Smith\"\n", Some(2), false), stray(11), "text behind the quote, two cells");
        assert_eq!(row("1,\"12 inch\n2,\"Smith, J\"\n", Some(2), false), stray(11), "text behind the quote");
        assert_eq!(row("1,\"12 inch\n2,\"\",3\",x\n", Some(2), false), stray(11), "more cells than the header's");
        assert_eq!(row("\"a\"b,\"c\nd\"\n", Some(2), false), stray(8), "its first line has text behind a quote");
        assert_eq!(row("1,\"12 inch\n2,3\n", Some(2), true), Some((11, Some(QuoteFault::Unclosed))));
        assert_eq!(row("1,\"12 inch", Some(2), true), Some((10, Some(QuoteFault::Unclosed))));
        let many = "\"\n\",".repeat(SPANNING_CELLS_MAX);
        assert_eq!(row(&format!("{many}x\n"), None, false), Some((many.len() + 2, None)));
        assert_eq!(row(&format!("{many}\"\n\"\n"), None, false), stray(2));
    }

    #[test]
    fn a_carriage_return_ends_lines_where_no_line_feed_does() {
        let of = |text: &str| match line_end_of(text.as_bytes(), b',', false) {
            b'\r' => "CR",
            _ => "LF",
        };
        assert_eq!(of("a,b\r1,2\r3,4\r"), "CR");
        assert_eq!(of("a,b\r1,\"two\nlines\"\r3,4\r"), "CR", "a line feed within a cell");
        assert_eq!(of("a,b\r"), "CR");
        for text in [
            "a,b\n1,2\n",
            "a,b\r\n1,2\r\n",
            "a,b\r\r\n1,2\r\r\n",
            "a,b\rc\n1,2\n",
            "a,\"b\rc\"\n1,2\n",
            "a\r\nb",
            "a",
            "",
        ] {
            assert_eq!(of(text), "LF", "{text:?}");
        }
    }
}
