//! The [`Source`] over a list of files.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use operators::record::{Batch, Decode, Item, Rejection};
use operators::source::{Polled, Source, SourceError};

use super::lines::{decode_lines, too_long};
use super::rows::{Row, decode_rows};
use super::stored::{Stored, is_stopped};
use super::text::{LongLine, Next, Text};
use super::{Compression, FileSpec};

/// The longest line, in bytes without its line ending; a longer one is a dead letter.
pub const LINE_BYTES_MAX: usize = 1024 * 1024;

/// A partition of lines in files, read in the order of the list.
///
/// * A line ends with `\n`; a `\r` before it is no part of it. A file's last line may lack its ending, and no line spans
///   two files. Blank lines are no records, and a byte order mark at the beginning of a file is none of its first line;
///   offsets count both.
/// * A line longer than [`LINE_BYTES_MAX`] is a dead letter `line_too_long`, one that is not UTF-8 is `invalid_utf8`.
///   The decoder sees neither.
/// * Of rows ([`FileSource::of_rows`]) a quoted field may hold newlines, and the first row of each file goes to the decoder
///   as the names of the columns. A row is as long as a line may be. Where a quote is open at the end of a row's first line
///   and what follows does not make a row of it, that line is a dead letter `open_quote`, and reading goes on behind it.
/// * Where a compressed file is cut short or damaged, what came before it stays, one dead letter `truncated_input` holds
///   the incomplete last line, and the next file goes on.
/// * Batches never span files, and together they cover every offset: a stretch with nothing but blank lines is a batch
///   without items.
///
/// Opening a file hashes all of it, which [`Source::poll`] waits for, as it does for the whole of a line that is too long;
/// both end once nobody wants to go on ([`Source::stop_with`]).
/// Seeking decompresses everything that lies before the offset, except plain files that lie before it as a whole.
///
/// After [`SourceError::Unreachable`] the next poll goes on where the last batch ended.
pub struct FileSource<D: Decode> {
    name: String,
    decoder: D,
    files: Vec<PartFile>,
    /// The file that is read, or is to be opened next.
    index: usize,
    /// The offset at which that file begins.
    base: u64,
    current: Option<Text>,
    /// Where the next batch begins.
    offset: u64,
    /// What stands between the cells of rows; none of lines.
    delimiter: Option<u8>,
    /// The rows of the last batch.
    rows: Vec<Row>,
    /// How many items the last batch had: about as many as the next will have.
    items_expected: usize,
    just_recorded: bool,
    /// Ends every call once it is set.
    stop: Arc<AtomicBool>,
}

struct PartFile {
    spec: FileSpec,
    origin: Arc<str>,
    /// How many offsets it takes up, as soon as that is known.
    span: Option<u64>,
}

impl<D: Decode> FileSource<D> {
    /// Names the files as dead letters and errors are to show them, in their order: outputs may not depend on where a
    /// folder lies.
    pub fn shown_as(mut self, names: impl IntoIterator<Item = String>) -> Self {
        for (file, name) in self.files.iter_mut().zip(names) {
            file.origin = name.into();
        }
        self
    }

    /// The same files as rows of cells with this ASCII character between them.
    pub fn of_rows(mut self, delimiter: u8) -> Self {
        self.delimiter = Some(delimiter);
        self
    }

    /// The same files, of which it was found out just now that they are what was recorded: they are not hashed again.
    pub fn just_recorded(mut self) -> Self {
        self.just_recorded = true;
        self
    }

    /// A partition of these files, by its name in errors. Nothing is opened yet.
    pub fn new(name: impl Into<String>, specs: Vec<FileSpec>, decoder: D) -> Self {
        let files = specs.into_iter().map(|spec| PartFile {
            origin: spec.path.display().to_string().into(),
            // A plain file cannot be damaged and has as much text as it has bytes.
            span: (spec.compression == Compression::Plain).then_some(spec.size_bytes),
            spec,
        });
        FileSource {
            name: name.into(),
            decoder,
            files: files.collect(),
            index: 0,
            base: 0,
            current: None,
            offset: 0,
            delimiter: None,
            rows: Vec::new(),
            items_expected: 0,
            just_recorded: false,
            stop: Arc::default(),
        }
    }

    /// Begins or goes on with the file that is to be read, at the present offset.
    fn open(&mut self) -> Result<Text, SourceError> {
        let file = &self.files[self.index];
        let opened = file.spec.open(!self.just_recorded, &self.stop).map_err(|error| file.unreachable(error))?;
        let opened = opened.map_err(|difference| file.changed(difference))?;
        let (decoder, delimiter) = (&mut self.decoder, self.delimiter);
        let begin = || {
            let mut text = Text::new(Stored::new(opened, file.spec.compression, &self.stop)?)?;
            if let Some(delimiter) = delimiter {
                begin_rows(decoder, &mut text, delimiter)?;
            }
            text.skip_to(self.offset - self.base)?;
            Ok(text)
        };
        let text = begin().map_err(|error| file.unreachable(error))?;
        if text.position < self.offset - self.base {
            file.check_unchanged(&text)?;
        }
        Ok(text)
    }

    /// The next batch, or `None` at the end of the file. On an error the file has to be opened again.
    fn read(&mut self, text: &mut Text, bytes_max: usize) -> Result<Option<Batch<D::Record>>, SourceError> {
        let file = &self.files[self.index];
        let next = match self.delimiter {
            None => text.next(bytes_max),
            Some(_) => text.next_rows(bytes_max, &mut self.rows),
        };
        let next = next.map_err(|error| file.unreachable(error))?;
        if matches!(next, Next::Damage(..) | Next::End) {
            file.check_unchanged(text)?;
        }
        let batch = match next {
            Next::Lines(bytes) => self.lines(text, bytes),
            Next::LongLine(long) => {
                let rejection = too_long(long.length);
                self.dead_letter(long, rejection, text.position)
            }
            Next::Damage(rest, damage) => {
                let detail = format!("{} {damage}, at byte {} of its text", file.origin, text.position);
                // The damage itself takes up one offset.
                self.dead_letter(rest, Rejection::new("truncated_input", detail), text.position + 1)
            }
            Next::End if self.base + text.position > self.offset => {
                self.batch(Vec::new(), Arc::default(), self.offset, self.base + text.position)
            }
            Next::End => return Ok(None),
        };
        self.offset = batch.end_offset;
        Ok(Some(batch))
    }

    fn lines(&mut self, text: &mut Text, bytes: usize) -> Batch<D::Record> {
        let mut items = Vec::with_capacity(self.items_expected);
        let text_offset = self.base + text.position;
        let chunk = &text.available()[..bytes];
        let lines = match self.delimiter {
            None => decode_lines(&mut self.decoder, chunk, text_offset, text.line, &mut items),
            Some(_) => {
                let rows = (&text.framing, &self.rows[..]);
                decode_rows(&mut self.decoder, rows, chunk, text_offset, text.line, &mut items)
            }
        };
        let raw = Arc::from(chunk);
        text.consume(bytes);
        text.line += lines;
        self.items_expected = items.len();
        self.batch(items, raw, text_offset, self.base + text.position)
    }

    fn dead_letter(&self, line: LongLine, rejection: Rejection, end_position: u64) -> Batch<D::Record> {
        let offset = self.base + line.position;
        let text = Arc::from(&line.head[..]);
        let length = u32::try_from(line.length).unwrap_or(u32::MAX);
        let item = Item { offset, length, line: line.line, outcome: Err((rejection, line.head)) };
        self.batch(vec![item], text, offset, self.base + end_position)
    }

    fn batch(
        &self,
        items: Vec<Item<D::Record>>,
        text: Arc<[u8]>,
        text_offset: u64,
        end_offset: u64,
    ) -> Batch<D::Record> {
        let origin = Arc::clone(&self.files[self.index].origin);
        let bytes = end_offset - self.offset;
        // Lines stand in the text where their offsets say, and a file does not know when it was appended to.
        let (text_starts, append_ms) = (Vec::new(), Vec::new());
        Batch { end_offset, bytes, origin, items, text, text_offset, text_starts, append_ms }
    }

    /// Goes on to the next file.
    fn close(&mut self, span: u64) {
        self.files[self.index].span = Some(span);
        self.base += span;
        self.index += 1;
        self.current = None;
    }
}

/// Reads the names of the columns, with which a file begins, whatever offset is to be read next.
fn begin_rows<D: Decode>(decoder: &mut D, text: &mut Text, delimiter: u8) -> io::Result<()> {
    text.begin_rows(delimiter)?;
    let mut rows = Vec::new();
    let next = text.next_rows(1, &mut rows)?;
    let (Next::Lines(bytes), [header]) = (next, &rows[..]) else {
        decoder.begin_rows(None);
        return Ok(());
    };
    let row = &text.available()[..bytes];
    decoder.begin_rows(header.fault.is_none().then(|| text.framing.content(row)));
    let lines = row.iter().filter(|byte| **byte == text.framing.line_end).count() as u64;
    text.framing.columns = header.fault.is_none().then_some(header.cells);
    text.consume(bytes);
    text.line += lines;
    Ok(())
}

impl<D: Decode> Source for FileSource<D> {
    type Record = D::Record;

    fn stop_with(&mut self, stop: Arc<AtomicBool>) {
        self.stop = stop;
    }

    fn seek(&mut self, offset: u64) -> Result<(), SourceError> {
        (self.index, self.base, self.current, self.offset) = (0, 0, None, offset);
        while self.index < self.files.len() {
            let wanted = offset - self.base;
            let span = match self.files[self.index].span {
                Some(span) => span,
                None => {
                    let text = self.open()?;
                    if text.position >= wanted {
                        self.current = Some(text);
                        return Ok(());
                    }
                    text.position + u64::from(text.is_damaged())
                }
            };
            if wanted < span {
                self.current = Some(self.open()?);
                return Ok(());
            }
            self.close(span);
        }
        match offset == self.base {
            true => Ok(()),
            false => Err(SourceError::Truncated { origin: self.name.clone(), wanted: offset, end: self.base }),
        }
    }

    fn poll(&mut self, bytes_max: usize) -> Result<Polled<D::Record>, SourceError> {
        while self.index < self.files.len() {
            let mut text = match self.current.take() {
                Some(text) => text,
                None => self.open()?,
            };
            match self.read(&mut text, bytes_max)? {
                Some(batch) => {
                    if self.offset > self.base + text.position {
                        // Behind the damage, with which the file ends.
                        self.close(self.offset - self.base);
                    } else {
                        self.current = Some(text);
                    }
                    return Ok(Polled::Batch(batch));
                }
                None => self.close(text.position),
            }
        }
        Ok(Polled::Ended(self.base))
    }
}

impl PartFile {
    fn unreachable(&self, source: io::Error) -> SourceError {
        match is_stopped(&source) {
            true => SourceError::Stopped { origin: self.origin.to_string() },
            false => SourceError::Unreachable { origin: self.origin.to_string(), source },
        }
    }

    fn changed(&self, difference: String) -> SourceError {
        SourceError::Changed { origin: self.origin.to_string(), difference }
    }

    /// A file that somebody cut or lengthened while it was read ends or is damaged where the recorded one does not.
    fn check_unchanged(&self, text: &Text) -> Result<(), SourceError> {
        match self.spec.size_difference(text.file()).map_err(|error| self.unreachable(error))? {
            Some(difference) => Err(self.changed(difference)),
            None => Ok(()),
        }
    }
}
