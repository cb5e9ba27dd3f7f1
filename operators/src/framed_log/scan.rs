//! Reading a log's file through a window, from any place between two entries.

use std::io;
use std::ops::ControlFlow;

use super::{Damage, ENTRY_BYTES_MAX, FRAME_BYTES, Frame, HEADER_BYTES, has_header, header, next_frame};
use crate::disk::{Folder, LogError};

/// How much of a file is read at once.
const WINDOW_BYTES: usize = 256 << 10;

/// How much of a file is in memory at most: the longest entry with its frame.
const WINDOW_BYTES_MAX: usize = FRAME_BYTES + ENTRY_BYTES_MAX;

/// A place between two entries of a file: an entry can be read and written there. The default is where the file begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The byte at which the next entry begins; 0 before the header.
    pub offset: u64,
    /// The checksum of the entry before, which the next one's covers.
    pub checksum: u32,
}

/// How far a file was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// Behind the last entry that was seen.
    pub end: Position,
    /// How long the file was.
    pub file_bytes: u64,
    /// Whether reading ended because nothing intact follows, and not because it was broken off.
    pub is_end: bool,
}

impl Scanned {
    /// Whether a torn tail lies behind what was read.
    pub fn is_torn(&self) -> bool {
        self.is_end && self.end.offset < self.file_bytes
    }
}

/// Shows every intact entry of a file from a position on, with the position behind it, until `see` breaks. What is damaged
/// is an error; a torn tail is where reading ends. No more is in memory than a window, or one entry where that is longer.
pub fn scan(
    disk: &impl Folder,
    name: &str,
    from: Position,
    see: &mut dyn FnMut(&[u8], Position) -> ControlFlow<()>,
) -> Result<Scanned, LogError> {
    let unreadable = |source| LogError::Disk { name: name.to_owned(), doing: "read", source };
    let damaged = |Damage { offset, what }| LogError::Damaged { name: name.to_owned(), offset: offset as u64, what };
    let file_bytes = disk.size(name).map_err(unreadable)?.unwrap_or(0);
    let mut window = Window { disk, name, file_bytes, offset: from.offset, bytes: Vec::new() };
    let mut end = from;
    loop {
        let rest = window.from(end.offset);
        let next = match end.offset {
            0 => has_header(rest).map(|is_there| is_there.then_some(None)),
            offset => next_frame(rest, offset as usize, end.checksum).map(|frame| frame.map(Some)),
        };
        match next {
            Ok(Some(None)) => end.offset = HEADER_BYTES as u64,
            Ok(Some(Some(frame))) => {
                let entry = &rest[FRAME_BYTES..FRAME_BYTES + frame.length as usize];
                end.offset += (FRAME_BYTES + entry.len()) as u64;
                end.checksum = frame.entry_checksum;
                if see(entry, end).is_break() {
                    return Ok(Scanned { end, file_bytes, is_end: false });
                }
            }
            // What is damaged is so whatever follows. What looks torn may only be longer than the window.
            Err(damage) => return Err(damaged(damage)),
            Ok(None) if window.can_grow(end.offset) => window.grow(end.offset).map_err(unreadable)?,
            // In a window that holds the longest entry, what looks torn ends with zeros, as its file then has to.
            Ok(None) if !window.is_followed_by_zeros().map_err(unreadable)? => {
                let what = "it holds something behind an entry that was cut short".to_owned();
                return Err(damaged(Damage { offset: usize::try_from(end.offset).unwrap_or(usize::MAX), what }));
            }
            Ok(None) => return Ok(Scanned { end, file_bytes, is_end: true }),
        }
    }
}

/// The bytes of entries that go on from a position, with the header where the file begins, and the position behind them.
///
/// # Panics
/// If an entry is longer than [`ENTRY_BYTES_MAX`].
pub fn framed(at: Position, entries: &[Vec<u8>]) -> (Vec<u8>, Position) {
    let mut bytes =
        Vec::with_capacity(entries.iter().map(|entry| FRAME_BYTES + entry.len()).sum::<usize>() + HEADER_BYTES);
    if at.offset == 0 {
        bytes.extend_from_slice(&header());
    }
    let mut checksum = at.checksum;
    for entry in entries {
        assert!(entry.len() <= ENTRY_BYTES_MAX, "whoever appends has looked at how long an entry is");
        let frame = Frame::of(checksum, entry);
        bytes.extend_from_slice(&frame.to_bytes());
        bytes.extend_from_slice(entry);
        checksum = frame.entry_checksum;
    }
    let offset = at.offset + bytes.len() as u64;
    (bytes, Position { offset, checksum })
}

struct Window<'a, D> {
    disk: &'a D,
    name: &'a str,
    file_bytes: u64,
    /// Where `bytes` begin in the file.
    offset: u64,
    bytes: Vec<u8>,
}

impl<D: Folder> Window<'_, D> {
    fn from(&self, offset: u64) -> &[u8] {
        let skipped = usize::try_from(offset - self.offset).unwrap_or(usize::MAX);
        self.bytes.get(skipped..).unwrap_or_default()
    }

    fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }

    /// Whether more of what follows `offset` can be shown.
    fn can_grow(&self, offset: u64) -> bool {
        self.end() < self.file_bytes && self.from(offset).len() < WINDOW_BYTES_MAX
    }

    /// Whether the file holds nothing but zeros behind the window.
    fn is_followed_by_zeros(&self) -> io::Result<bool> {
        let mut offset = self.end();
        while offset < self.file_bytes {
            let bytes = (WINDOW_BYTES as u64).min(self.file_bytes - offset);
            if self.disk.read_at(self.name, offset, bytes as usize)?.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            offset += bytes;
        }
        Ok(true)
    }

    /// Shows more of what follows `offset` than before.
    fn grow(&mut self, offset: u64) -> io::Result<()> {
        let wanted = WINDOW_BYTES.max(2 * self.from(offset).len()).min(WINDOW_BYTES_MAX) as u64;
        let bytes = wanted.min(self.file_bytes.saturating_sub(offset));
        self.bytes = self.disk.read_at(self.name, offset, bytes as usize)?;
        self.offset = offset;
        Ok(())
    }
}
