//! The text of one file, cut into whole lines.
//!
//! One buffer is used again and again. It grows to hold the longest line that is allowed and no further: of a longer one
//! only the beginning is kept.

use std::io;

use memchr::{memchr, memchr_iter, memrchr};
use operators::record::RAW_BYTES_MAX;

use super::rows::{Framing, ROW_BYTES_MAX, Row, line_end_of};
use super::source::LINE_BYTES_MAX;
use super::stored::{PIECE_BYTES, Piece, Stored};

const BUFFER_BYTES: usize = 8 * PIECE_BYTES;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A file being read.
pub(super) struct Text {
    stored: Stored,
    buffer: Vec<u8>,
    /// What of the buffer has been read and not yet consumed.
    from: usize,
    upto: usize,
    /// The offset within the file of what comes next.
    pub(super) position: u64,
    /// The number of the line that comes next, from 1.
    pub(super) line: u64,
    /// How rows are told apart. Without rows only the line end counts.
    pub(super) framing: Framing,
    /// How the file ended, once it has: the damage in words, if any.
    ended: Option<Option<String>>,
    /// How many bytes were looked at in search of rows.
    #[cfg(test)]
    pub(super) looked_bytes: u64,
}

/// What comes next in a file.
pub(super) enum Next {
    /// The next so many bytes are whole lines, at least one; only the file's last may lack its line ending.
    Lines(usize),
    /// A line that is too long, consumed already.
    LongLine(LongLine),
    /// The rest of a damaged file, consumed already: its incomplete last line and the damage in words.
    Damage(LongLine, String),
    /// The end of an undamaged file.
    End,
}

/// A line of which only the beginning is kept.
pub(super) struct LongLine {
    /// Where it begins in the file.
    pub(super) position: u64,
    /// Its number.
    pub(super) line: u64,
    /// Its first bytes, at most [`RAW_BYTES_MAX`].
    pub(super) head: Vec<u8>,
    /// How long it is without its line ending.
    pub(super) length: u64,
}

impl Text {
    /// Begins a file; a byte order mark is consumed.
    pub(super) fn new(stored: Stored) -> io::Result<Self> {
        let buffer = vec![0; BUFFER_BYTES];
        let framing = Framing { delimiter: b',', line_end: b'\n', columns: None };
        let mut text = Text {
            stored,
            buffer,
            from: 0,
            upto: 0,
            position: 0,
            line: 1,
            framing,
            ended: None,
            #[cfg(test)]
            looked_bytes: 0,
        };
        while text.available().len() < BYTE_ORDER_MARK.len() && text.fill()? {}
        if text.available().starts_with(BYTE_ORDER_MARK) {
            text.consume(BYTE_ORDER_MARK.len());
        }
        Ok(text)
    }

    /// The file that is read.
    pub(super) fn file(&self) -> &std::fs::File {
        self.stored.file()
    }

    /// What has been read and not yet consumed.
    pub(super) fn available(&self) -> &[u8] {
        &self.buffer[self.from..self.upto]
    }

    /// Whether the file has ended with damage.
    pub(super) fn is_damaged(&self) -> bool {
        matches!(self.ended, Some(Some(_)))
    }

    /// Goes on behind the next `bytes`; the caller counts their lines.
    pub(super) fn consume(&mut self, bytes: usize) {
        self.from += bytes;
        self.position += bytes as u64;
    }

    /// Skips to a position, or to the end of the text if that comes first, and counts the lines.
    pub(super) fn skip_to(&mut self, position: u64) -> io::Result<()> {
        while self.position < position {
            if self.available().is_empty() && !self.fill()? {
                break;
            }
            let wanted = usize::try_from(position - self.position).unwrap_or(usize::MAX);
            let skipped = &self.available()[..wanted.min(self.available().len())];
            let (bytes, lines) = (skipped.len(), memchr_iter(self.framing.line_end, skipped).count());
            self.consume(bytes);
            self.line += lines as u64;
        }
        Ok(())
    }

    /// The next lines: as many as about `bytes_max` hold, one at least.
    pub(super) fn next(&mut self, bytes_max: usize) -> io::Result<Next> {
        while self.available().len() < bytes_max.min(BUFFER_BYTES - PIECE_BYTES) && self.fill()? {}
        let wanted = bytes_max.min(self.available().len());
        if let Some(newline) = memrchr(b'\n', &self.available()[..wanted]) {
            return Ok(Next::Lines(newline + 1));
        }
        let mut searched = wanted;
        loop {
            if let Some(newline) = memchr(b'\n', &self.available()[searched..]) {
                return Ok(Next::Lines(searched + newline + 1));
            }
            searched = self.available().len();
            // The last byte may belong to the line ending.
            if searched > LINE_BYTES_MAX + 1 {
                return self.long_line();
            }
            if !self.fill()? {
                return Ok(self.end());
            }
        }
    }

    /// Begins to read rows with this character between their cells: finds out what ends the file's lines.
    pub(super) fn begin_rows(&mut self, delimiter: u8) -> io::Result<()> {
        // A carriage return before the first line feed needs a closer look, for which more is read.
        let mut searched = 0;
        while self.available().len() < ROW_BYTES_MAX {
            let found = memchr(b'\n', &self.available()[searched..]).map(|place| searched + place);
            if found.is_some_and(|place| memchr(b'\r', &self.available()[..place.saturating_sub(1)]).is_none()) {
                break;
            }
            searched = found.unwrap_or(self.available().len());
            if !self.fill()? {
                break;
            }
        }
        let text = &self.available()[..self.available().len().min(ROW_BYTES_MAX)];
        let line_end = line_end_of(text, delimiter, self.is_whole(text.len()));
        self.framing = Framing { delimiter, line_end, columns: None };
        Ok(())
    }

    /// The next rows: as many as about `bytes_max` hold, one at least. They go into `rows`.
    pub(super) fn next_rows(&mut self, bytes_max: usize, rows: &mut Vec<Row>) -> io::Result<Next> {
        rows.clear();
        while self.available().len() < bytes_max.min(BUFFER_BYTES - PIECE_BYTES) && self.fill()? {}
        let mut bytes = 0;
        loop {
            let rest = &self.available()[bytes..];
            let text = &rest[..rest.len().min(ROW_BYTES_MAX)];
            let (row, _looked_bytes) = self.framing.row(text, self.is_whole(bytes + text.len()));
            let is_longest = text.len() == ROW_BYTES_MAX;
            // A row that is too long is its first line alone, so that one quote can't swallow a file.
            let first_line = || is_longest.then(|| self.framing.unclosed(text)).flatten();
            let row = row.or_else(first_line);
            #[cfg(test)]
            {
                self.looked_bytes += _looked_bytes as u64;
            }
            match row {
                Some(row) => {
                    bytes += row.bytes;
                    rows.push(row);
                    if bytes >= bytes_max {
                        return Ok(Next::Lines(bytes));
                    }
                }
                None if bytes > 0 => return Ok(Next::Lines(bytes)),
                None if is_longest => return self.long_line(),
                // At the end of the file the last row is known to end there.
                None if self.fill()? => {}
                None if self.is_damaged() || self.available().is_empty() => return Ok(self.end()),
                None => {}
            }
        }
    }

    /// Whether the next `bytes` are all that is left of an undamaged file.
    fn is_whole(&self, bytes: usize) -> bool {
        self.available().len() == bytes && matches!(self.ended, Some(None))
    }

    /// What is left where the file has ended, in which there is no line ending.
    fn end(&mut self) -> Next {
        let bytes = self.available().len();
        match &self.ended {
            Some(Some(damage)) => {
                let damage = damage.clone();
                let mut rest = self.begin_long_line();
                rest.length = bytes as u64;
                self.consume(bytes);
                Next::Damage(rest, damage)
            }
            _ if bytes > 0 => Next::Lines(bytes),
            _ => Next::End,
        }
    }

    /// Consumes a line that is longer than the buffer.
    fn long_line(&mut self) -> io::Result<Next> {
        let mut long = self.begin_long_line();
        let mut last_byte = 0;
        loop {
            let newline = memchr(self.framing.line_end, self.available());
            let content = newline.unwrap_or(self.available().len());
            if content > 0 {
                last_byte = self.available()[content - 1];
            }
            long.length += content as u64;
            self.consume(content + usize::from(newline.is_some()));
            if newline.is_some() {
                long.length -= u64::from(last_byte == b'\r');
                self.line += 1;
                return Ok(Next::LongLine(long));
            }
            if !self.fill()? {
                return Ok(match &self.ended {
                    Some(Some(damage)) => Next::Damage(long, damage.clone()),
                    _ => Next::LongLine(long),
                });
            }
        }
    }

    fn begin_long_line(&self) -> LongLine {
        let head = &self.available()[..self.available().len().min(RAW_BYTES_MAX)];
        LongLine { position: self.position, line: self.line, head: head.to_vec(), length: 0 }
    }

    /// Reads a piece more; says whether there was one.
    fn fill(&mut self) -> io::Result<bool> {
        if self.ended.is_some() {
            return Ok(false);
        }
        if self.buffer.len() - self.upto < PIECE_BYTES {
            self.buffer.copy_within(self.from..self.upto, 0);
            (self.from, self.upto) = (0, self.upto - self.from);
            let needed = self.upto + PIECE_BYTES;
            if self.buffer.len() < needed {
                self.buffer.resize(needed.next_multiple_of(BUFFER_BYTES), 0);
            }
        }
        match self.stored.read(&mut self.buffer[self.upto..])? {
            Piece::Text(bytes) => {
                self.upto += bytes;
                return Ok(true);
            }
            Piece::End => self.ended = Some(None),
            Piece::Damage(damage) => self.ended = Some(Some(damage)),
        }
        Ok(false)
    }
}
