//! A log in files of bounded length, its segments: written in groups, read in pages, with a sparse index in memory.
//!
//! ```text
//! commands.log        entries from 0 on: a framed log, as builds wrote it that knew of one file only
//! commands-4711.log   entries from number 4711 on, a framed log of its own
//! ```
//!
//! A segment is begun only once the one before is durable, so only the last may have a torn tail. Its name says the number
//! of its first entry: a segment that is missing or was cut is noticed when the log is opened.
//!
//! Memory: 32 bytes for every [`MARK_EVERY_BYTES`] of the log, and while reading one window of a file.

use std::io;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::disk::{EachEntry, Folder, LogError, PageReader, PagedLog};
use crate::framed_log::{ENTRY_BYTES_MAX, Position, framed, scan};

/// How long a segment is before the next one is begun, in bytes.
pub const SEGMENT_BYTES: u64 = 64 << 20;

/// How far apart the places are that the index knows, in bytes.
pub const MARK_EVERY_BYTES: u64 = 256 << 10;

/// Where entries lie.
#[derive(Debug, Default)]
struct Index {
    segments: Vec<Segment>,
    /// How many entries are durable.
    end: u64,
}

#[derive(Debug)]
struct Segment {
    name: String,
    first: u64,
    /// Some entries, with where they begin, ascending; the first one always.
    marks: Vec<(u64, Position)>,
}

impl Segment {
    fn new(stem: &str, first: u64) -> Self {
        Segment { name: name_of(stem, first), first, marks: vec![(first, Position::default())] }
    }

    fn mark(&mut self, number: u64, at: Position) {
        let (_, last) = self.marks.last().expect("the first entry is marked");
        if at.offset >= last.offset + MARK_EVERY_BYTES {
            self.marks.push((number, at));
        }
    }
}

fn name_of(stem: &str, first: u64) -> String {
    if first == 0 { format!("{stem}.log") } else { format!("{stem}-{first}.log") }
}

/// The numbers of the first entries of the segments that a folder has.
fn firsts(disk: &impl Folder, stem: &str) -> io::Result<Vec<u64>> {
    let first_of = |name: &str| -> Option<u64> {
        let first = name.strip_prefix(stem)?.strip_suffix(".log")?;
        let first = if first.is_empty() { 0 } else { first.strip_prefix('-')?.parse().ok()? };
        (name == name_of(stem, first)).then_some(first)
    };
    let mut firsts: Vec<u64> = disk.names()?.iter().filter_map(|name| first_of(name)).collect();
    firsts.sort_unstable();
    Ok(firsts)
}

/// The one writer of a log in segments.
#[derive(Debug)]
pub struct SegmentedLog<D> {
    disk: D,
    stem: String,
    index: Arc<Mutex<Index>>,
    /// Where the last segment ends; unknown after a failure.
    at: Option<Position>,
    segment_bytes: u64,
}

impl<D: Folder> SegmentedLog<D> {
    /// Opens the log whose files are named after `stem`, cuts a torn tail off, and shows every entry.
    pub fn open(disk: D, stem: &str, each: EachEntry<'_>) -> Result<Self, LogError> {
        let mut log =
            SegmentedLog { disk, stem: stem.to_owned(), index: Arc::default(), at: None, segment_bytes: SEGMENT_BYTES };
        let (index, at, is_torn) = read_index(&log.disk, stem, each)?;
        if let Some(last) = index.segments.last() {
            let refused = |doing| move |source| LogError::Disk { name: last.name.clone(), doing, source };
            if is_torn {
                tracing::warn!(
                    file = last.name,
                    offset = at.offset,
                    "cut off an entry that a crash had left incomplete"
                );
                log.disk.truncate(&last.name, at.offset).map_err(refused("cut the torn tail off"))?;
            }
            // What the last process appended may not be on the disk yet, and nor may the cut. Whoever reads acts upon it.
            if log.disk.size(&last.name).map_err(refused("read"))?.is_some() {
                log.disk.sync(&last.name).map_err(refused("synchronise"))?;
            }
        }
        log.at = Some(at);
        *log.index() = index;
        Ok(log)
    }

    /// A log whose segments are shorter: for tests.
    pub fn with_segment_bytes(mut self, segment_bytes: u64) -> Self {
        self.segment_bytes = segment_bytes;
        self
    }

    /// A reader of this log, by a disk of its own.
    pub fn reader(&self, disk: D) -> SegmentedReader<D> {
        SegmentedReader { disk, index: Arc::clone(&self.index), next: None }
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        locked(&self.index)
    }

    fn refused(name: &str, doing: &'static str, source: io::Error) -> LogError {
        LogError::Disk { name: name.to_owned(), doing, source }
    }
}

impl<D: Folder> PagedLog for SegmentedLog<D> {
    fn append(&mut self, entries: &[Vec<u8>]) -> Result<(), LogError> {
        let end = self.index().end;
        let current = self.index().segments.last().map_or_else(|| name_of(&self.stem, end), |last| last.name.clone());
        if let Some(entry) = entries.iter().find(|entry| entry.len() > ENTRY_BYTES_MAX) {
            let why = format!("an entry has {} bytes, {ENTRY_BYTES_MAX} are allowed", entry.len());
            let source = io::Error::new(io::ErrorKind::InvalidInput, why);
            return Err(Self::refused(&current, "append to", source));
        }
        let Some(at) = self.at.take() else {
            let source = io::Error::other("an earlier write to it failed, a restart finds out what is there");
            return Err(Self::refused(&current, "append to", source));
        };
        let begins = at.offset >= self.segment_bytes;
        let (at, name) = if begins { (Position::default(), name_of(&self.stem, end)) } else { (at, current) };
        let (bytes, behind) = framed(at, entries);
        self.disk.append(&name, &bytes).map_err(|source| Self::refused(&name, "append to", source))?;
        self.disk.sync(&name).map_err(|source| Self::refused(&name, "synchronise", source))?;
        self.at = Some(behind);
        let mut index = self.index();
        if begins || index.segments.is_empty() {
            let segment = Segment::new(&self.stem, end);
            index.segments.push(segment);
        }
        index.end = end + entries.len() as u64;
        let (end, last) = (index.end, index.segments.last_mut().expect("there is one that was written to"));
        last.mark(end, behind);
        Ok(())
    }
}

/// A reader of a log in segments.
#[derive(Debug)]
pub struct SegmentedReader<D> {
    disk: D,
    index: Arc<Mutex<Index>>,
    /// Where the last page ended: the number of the next entry, its segment, and its place there.
    next: Option<(u64, String, Position)>,
}

impl<D: Folder> SegmentedReader<D> {
    /// A reader of what there is now, which another process may be writing to: a torn tail is passed over, and nothing is
    /// mended. Shows every entry.
    pub fn open(disk: D, stem: &str, each: EachEntry<'_>) -> Result<Self, LogError> {
        let (index, _, _) = read_index(&disk, stem, each)?;
        Ok(SegmentedReader { disk, index: Arc::new(Mutex::new(index)), next: None })
    }

    /// How many entries are durable.
    pub fn end(&self) -> u64 {
        locked(&self.index).end
    }

    /// Where to begin reading for entry `from`: a segment, the number of an entry in it that is not behind, and its place;
    /// and how far entries are durable in that segment.
    fn place_of(&self, from: u64) -> Option<(String, u64, Position, u64)> {
        let index = locked(&self.index);
        if from >= index.end {
            return None;
        }
        let behind = index.segments.partition_point(|segment| segment.first <= from);
        let segment = &index.segments[behind - 1];
        let end = index.segments.get(behind).map_or(index.end, |next| next.first);
        if let Some((next, name, at)) = &self.next
            && *next == from
            && *name == segment.name
        {
            return Some((name.clone(), from, *at, end));
        }
        let (number, at) = segment.marks[segment.marks.partition_point(|(number, _)| *number <= from) - 1];
        Some((segment.name.clone(), number, at, end))
    }
}

impl<D: Folder> PageReader for SegmentedReader<D> {
    fn read(&mut self, from: u64, bytes_max: usize) -> Result<Vec<Vec<u8>>, LogError> {
        let Some((name, mut number, at, end)) = self.place_of(from) else { return Ok(Vec::new()) };
        let (mut page, mut bytes) = (Vec::new(), 0);
        let scanned = scan(&self.disk, &name, at, &mut |entry, _| {
            if number >= from {
                bytes += entry.len();
                page.push(entry.to_vec());
            }
            number += 1;
            if number >= end || bytes >= bytes_max { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        if number < end && scanned.is_end {
            let what = format!("it ends before entry {number}, but had entries up to {end}");
            return Err(LogError::Damaged { name, offset: scanned.end.offset, what });
        }
        self.next = Some((number, name, scanned.end));
        Ok(page)
    }
}

/// Reads every segment once: what there is, where the last one ends, and whether a torn tail lies behind that.
fn read_index(disk: &impl Folder, stem: &str, each: EachEntry<'_>) -> Result<(Index, Position, bool), LogError> {
    let unreadable = |source| LogError::Disk { name: name_of(stem, 0), doing: "find the segments of", source };
    let firsts = firsts(disk, stem).map_err(unreadable)?;
    let (mut index, mut at, mut is_torn) = (Index::default(), Position::default(), false);
    for first in firsts {
        if is_torn || first != index.end {
            let name = index.segments.last().map_or_else(|| name_of(stem, 0), |last| last.name.clone());
            let what =
                format!("it ends before entry {}, but {} begins with entry {first}", index.end, name_of(stem, first));
            return Err(LogError::Damaged { name, offset: at.offset, what });
        }
        let mut segment = Segment::new(stem, first);
        let mut number = first;
        let scanned = scan(disk, &segment.name.clone(), Position::default(), &mut |entry, behind| {
            each(number, entry);
            number += 1;
            segment.mark(number, behind);
            ControlFlow::Continue(())
        })?;
        (at, is_torn) = (scanned.end, scanned.is_torn());
        index.segments.push(segment);
        index.end = number;
    }
    Ok((index, at, is_torn))
}

fn locked(index: &Mutex<Index>) -> MutexGuard<'_, Index> {
    index.lock().expect("nobody panics while holding the lock of an index")
}

#[cfg(test)]
mod tests;
