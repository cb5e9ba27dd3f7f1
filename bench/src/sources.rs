//! Inputs that were made beforehand, as sources of the engine: lines that are decoded when they are read, and items that
//! are decoded already. With a pace, a record is given no earlier than it is due.

use std::sync::Arc;
use std::time::{Duration, Instant};

use operators::record::{Batch, Decode, Item, Record};
use operators::source::{Polled, Source, SourceError};

/// What a decoded record counts for in bytes of input.
pub(crate) const ITEM_BYTES: u64 = 64;

/// When the records of a partition are due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// When the first one is.
    pub(crate) begins: Instant,
    /// How many follow it each second.
    pub(crate) per_second: f64,
}

impl Pace {
    /// How many records are due.
    pub(crate) fn due(&self) -> usize {
        let now = Instant::now();
        if now < self.begins { 0 } else { ((now - self.begins).as_secs_f64() * self.per_second) as usize + 1 }
    }

    /// When a record is due.
    pub(crate) fn due_at(&self, record: usize) -> Instant {
        self.begins + Duration::from_secs_f64(record as f64 / self.per_second)
    }
}

/// The lines of a partition.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lines {
    /// All of them, each with its newline.
    pub(crate) text: Vec<u8>,
    /// Where each one ends.
    pub(crate) ends: Vec<u64>,
}

impl Lines {
    /// Where a line begins.
    pub(crate) fn begin_of(&self, line: usize) -> u64 {
        if line == 0 { 0 } else { self.ends[line - 1] }
    }

    /// A line without its newline.
    pub(crate) fn line(&self, line: usize) -> &[u8] {
        &self.text[self.begin_of(line) as usize..self.ends[line] as usize - 1]
    }
}

/// Reads and decodes a partition's lines, as a file is read: what is read is copied once.
pub(crate) struct LineSource<D> {
    lines: Arc<Lines>,
    decoder: D,
    pace: Option<Pace>,
    next: usize,
    origin: Arc<str>,
}

impl<D> LineSource<D> {
    pub(crate) fn new(lines: Arc<Lines>, decoder: D, pace: Option<Pace>) -> Self {
        LineSource { lines, decoder, pace, next: 0, origin: Arc::from("memory") }
    }
}

impl<D: Decode> Source for LineSource<D> {
    type Record = D::Record;

    fn seek(&mut self, offset: u64) -> Result<(), SourceError> {
        self.next = self.lines.ends.partition_point(|end| *end <= offset);
        Ok(())
    }

    fn poll(&mut self, bytes_max: usize) -> Result<Polled<D::Record>, SourceError> {
        let ends = &self.lines.ends;
        let begin = self.lines.begin_of(self.next);
        if self.next == ends.len() {
            return Ok(Polled::Ended(begin));
        }
        let fits = self.next + ends[self.next..].partition_point(|end| end - begin <= bytes_max as u64);
        let upto = fits.max(self.next + 1).min(self.pace.map_or(usize::MAX, |pace| pace.due()));
        if upto <= self.next {
            return Ok(Polled::Nothing);
        }
        let end = ends[upto - 1];
        let chunk = &self.lines.text[begin as usize..end as usize];
        let mut items = Vec::with_capacity(upto - self.next);
        let mut from = 0;
        for newline in memchr::memchr_iter(b'\n', chunk) {
            let line = &chunk[from..newline];
            let outcome = self.decoder.decode(line).map_err(|rejection| (rejection, line.to_vec()));
            let number = (self.next + items.len() + 1) as u64;
            items.push(Item { offset: begin + from as u64, length: line.len() as u32, line: number, outcome });
            from = newline + 1;
        }
        self.next = upto;
        let origin = Arc::clone(&self.origin);
        let text = Arc::from(chunk);
        Ok(Polled::Batch(Batch {
            end_offset: end,
            bytes: end - begin,
            origin,
            items,
            text,
            text_offset: begin,
            text_starts: Vec::new(),
            append_ms: Vec::new(),
        }))
    }
}

/// Gives items that are decoded already.
pub(crate) struct ItemSource<R> {
    items: std::vec::IntoIter<Item<R>>,
    count: usize,
    pace: Option<Pace>,
    origin: Arc<str>,
}

impl<R> ItemSource<R> {
    pub(crate) fn new(items: Vec<Item<R>>, pace: Option<Pace>) -> Self {
        ItemSource { count: items.len(), items: items.into_iter(), pace, origin: Arc::from("memory") }
    }
}

impl<R: Record> Source for ItemSource<R> {
    type Record = R;

    fn seek(&mut self, offset: u64) -> Result<(), SourceError> {
        let given = self.count - self.items.len();
        self.items.by_ref().take((offset as usize).saturating_sub(given)).for_each(drop);
        Ok(())
    }

    fn poll(&mut self, bytes_max: usize) -> Result<Polled<R>, SourceError> {
        let given = self.count - self.items.len();
        if given == self.count {
            return Ok(Polled::Ended(given as u64));
        }
        let most = (bytes_max / ITEM_BYTES as usize).min(self.items.len());
        let taken = self.pace.map_or(most, |pace| most.min(pace.due().saturating_sub(given)));
        if taken == 0 {
            return Ok(Polled::Nothing);
        }
        let items: Vec<Item<R>> = self.items.by_ref().take(taken).collect();
        Ok(Polled::Batch(Batch {
            end_offset: (given + taken) as u64,
            bytes: taken as u64 * ITEM_BYTES,
            origin: Arc::clone(&self.origin),
            items,
            text: Arc::default(),
            text_offset: given as u64,
            text_starts: Vec::new(),
            append_ms: Vec::new(),
        }))
    }
}
