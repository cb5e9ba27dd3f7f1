//! The text of one file, cut into whole lines.
//!
//! One buffer is used again and again. It grows to hold the longest line that is allowed and no further: of a longer one
//! only the beginning is kept.

use std::io;

use memchr::{memchr, memchr_iter, memrchr};
use operators::record::RAW_BYTES_MAX;

use super::rows::row_end;
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
    /// How the file ended, once it has: the damage in words, if any.
    ended: Option<Option<String>>,
}

/// What comes next in a file.
pub(super) enum Next {
    /// The next so many bytes are whole lines, at least one; only the file's last may lack its line ending.
    Lines(usize),
    /// A line that is too long, consumed already.
    LongLine(LongLine),
    /// Of rows: a line in which a quote is opened and not closed for as long as a row may be, consumed already.
    OpenQuote(LongLine),
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
        let mut text = Text { stored, buffer, from: 0, upto: 0, position: 0, line: 1, ended: None };
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
            let (bytes, lines) = (skipped.len(), memchr_iter(b'\n', skipped).count());
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

    /// The next rows with this delimiter: as many as about `bytes_max` hold, one at least. A row that does not end within
    /// [`LINE_BYTES_MAX`] takes up its first line only, so that one quote cannot swallow a file.
    pub(super) fn next_rows(&mut self, bytes_max: usize, delimiter: u8) -> io::Result<Next> {
        while self.available().len() < bytes_max.min(BUFFER_BYTES - PIECE_BYTES) && self.fill()? {}
        let mut bytes = 0;
        loop {
            let rest = &self.available()[bytes..];
            // The last byte may belong to the line ending.
            match row_end(&rest[..rest.len().min(LINE_BYTES_MAX + 2)], delimiter) {
                Some(end) => {
                    bytes += end + 1;
                    if bytes >= bytes_max {
                        return Ok(Next::Lines(bytes));
                    }
                }
                None if bytes > 0 => return Ok(Next::Lines(bytes)),
                None if rest.len() > LINE_BYTES_MAX + 1 => return self.row_without_end(),
                None if self.fill()? => {}
                None if self.is_damaged() => return Ok(self.end()),
                // The file's last row may lack its line ending.
                None if row_end(&[self.available(), b"\n"].concat(), delimiter).is_some() => return Ok(self.end()),
                None if self.available().is_empty() => return Ok(Next::End),
                None => return self.row_without_end(),
            }
        }
    }

    /// Consumes the first line of a row that does not end.
    fn row_without_end(&mut self) -> io::Result<Next> {
        let Some(newline) = memchr(b'\n', self.available()) else {
            return Ok(match self.long_line()? {
                Next::LongLine(long) if long.length <= LINE_BYTES_MAX as u64 => Next::OpenQuote(long),
                next => next,
            });
        };
        let content = &self.available()[..newline];
        let content = content.strip_suffix(b"\r").unwrap_or(content);
        let (head, length) = (content[..content.len().min(RAW_BYTES_MAX)].to_vec(), content.len() as u64);
        let long = LongLine { position: self.position, line: self.line, head, length };
        self.consume(newline + 1);
        self.line += 1;
        Ok(Next::OpenQuote(long))
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
            let newline = memchr(b'\n', self.available());
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
