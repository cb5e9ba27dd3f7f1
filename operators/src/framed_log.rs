//! A log in one file: a header, then entries behind frames that say how long each is and what it must hash to.
//!
//! ```text
//! file    magic (8 bytes) | format version u32 | entry*
//! entry   length u32 | frame checksum u32 | entry checksum u32 | payload           all little endian
//! ```
//!
//! The frame's checksum covers the previous entry's checksum and the length, the entry's covers the frame's and the
//! payload. So entries cannot be swapped, removed from the middle or replaced without notice, and a damaged length is not
//! mistaken for an entry that was cut short.
//!
//! A crash may leave an incomplete last entry, or zeros where the file system had made the file longer already: that tail
//! is cut off on reading, with a warning. An entry that was synchronised and then lost its last bytes looks the same. What
//! is damaged with intact bytes behind it is never cut off, it is an error.
//!
//! [`FramedLog`] reads a file as a whole. [`scan`] reads one of any length through a window, from any [`Position`].

mod scan;

use std::io;

use crate::disk::{Disk, Log, LogError};

pub use scan::{Position, Scanned, framed, scan};

/// The longest entry, in bytes.
pub const ENTRY_BYTES_MAX: usize = 64 * 1024 * 1024;

const MAGIC: &[u8; 8] = b"aislelog";
const FORMAT_VERSION: u32 = 1;
const HEADER_BYTES: usize = 12;
const FRAME_BYTES: usize = 12;

/// A [`Log`] in one file of a disk, with one writer.
#[derive(Debug)]
pub struct FramedLog<D> {
    disk: D,
    name: String,
    /// Where the file ends, once it has been read.
    end: Option<End>,
    /// Whether the file holds something that a crash might take.
    unsynced: bool,
}

/// What the next entry goes on from.
#[derive(Clone, Copy, Debug)]
struct End {
    has_header: bool,
    /// The last entry's checksum.
    checksum: u32,
}

impl<D: Disk> FramedLog<D> {
    /// The log in file `name`, which need not be there yet. Nothing is read before the first call that needs it.
    pub fn new(disk: D, name: impl Into<String>) -> Self {
        FramedLog { disk, name: name.into(), end: None, unsynced: false }
    }

    fn refused(&self, doing: &'static str, source: io::Error) -> LogError {
        LogError::Disk { name: self.name.clone(), doing, source }
    }

    fn damaged(&self, damage: Damage) -> LogError {
        LogError::Damaged { name: self.name.clone(), offset: damage.offset as u64, what: damage.what }
    }

    /// Cuts off a torn tail.
    fn cut_off(&mut self, offset: usize, file_bytes: usize) -> Result<(), LogError> {
        tracing::warn!(
            file = self.name,
            offset,
            bytes = file_bytes - offset,
            "cut off an entry that a crash had left incomplete"
        );
        self.disk.truncate(&self.name, offset as u64).map_err(|error| self.refused("cut the torn tail off", error))
    }
}

impl<D: Disk> Log for FramedLog<D> {
    fn read(&mut self) -> Result<Vec<Vec<u8>>, LogError> {
        self.end = None;
        let file = self.disk.read(&self.name).map_err(|error| self.refused("read", error))?.unwrap_or_default();
        let intact = read_entries(&file).map_err(|damage| self.damaged(damage))?;
        if intact.bytes < file.len() {
            self.cut_off(intact.bytes, file.len())?;
        }
        // What the last process appended may not be on the disk yet, and nor may the cut. Whoever reads acts upon it.
        self.unsynced |= !file.is_empty();
        self.sync()?;
        self.end = Some(End { has_header: intact.bytes > 0, checksum: intact.checksum });
        Ok(intact.entries)
    }

    fn append(&mut self, entry: &[u8]) -> Result<(), LogError> {
        if entry.len() > ENTRY_BYTES_MAX {
            let why = format!("an entry has {} bytes, {ENTRY_BYTES_MAX} are allowed", entry.len());
            return Err(self.refused("append to", io::Error::new(io::ErrorKind::InvalidInput, why)));
        }
        let end = match self.end {
            Some(end) => end,
            None => {
                self.read()?;
                self.end.expect("a log that was read knows its end")
            }
        };
        let mut bytes = Vec::with_capacity(HEADER_BYTES + FRAME_BYTES + entry.len());
        if !end.has_header {
            bytes.extend_from_slice(&header());
        }
        let frame = Frame::of(end.checksum, entry);
        bytes.extend_from_slice(&frame.to_bytes());
        bytes.extend_from_slice(entry);
        // A failed append may have left part of the entry: the file is looked at again before the next one.
        self.end = None;
        self.disk.append(&self.name, &bytes).map_err(|error| self.refused("append to", error))?;
        self.end = Some(End { has_header: true, checksum: frame.entry_checksum });
        self.unsynced = true;
        Ok(())
    }

    fn sync(&mut self) -> Result<(), LogError> {
        if self.unsynced {
            self.disk.sync(&self.name).map_err(|error| self.refused("synchronise", error))?;
            self.unsynced = false;
        }
        Ok(())
    }
}

struct Frame {
    length: u32,
    frame_checksum: u32,
    entry_checksum: u32,
}

impl Frame {
    fn of(previous_checksum: u32, entry: &[u8]) -> Self {
        let length = u32::try_from(entry.len()).expect("an entry within its limit has a length of 32 bits");
        let frame_checksum = checksum(previous_checksum, &length.to_le_bytes());
        Frame { length, frame_checksum, entry_checksum: checksum(frame_checksum, entry) }
    }

    fn to_bytes(&self) -> [u8; FRAME_BYTES] {
        let words = [self.length, self.frame_checksum, self.entry_checksum];
        let mut bytes = [0; FRAME_BYTES];
        for (place, word) in bytes.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: &[u8; FRAME_BYTES]) -> Self {
        let word = |from: usize| u32::from_le_bytes([bytes[from], bytes[from + 1], bytes[from + 2], bytes[from + 3]]);
        Frame { length: word(0), frame_checksum: word(4), entry_checksum: word(8) }
    }
}

fn checksum(previous: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&previous.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

fn header() -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    bytes
}

/// What of a file is as it was written.
struct Intact {
    entries: Vec<Vec<u8>>,
    /// Where the intact part ends; what lies behind is a torn tail.
    bytes: usize,
    checksum: u32,
}

struct Damage {
    offset: usize,
    what: String,
}

fn read_entries(file: &[u8]) -> Result<Intact, Damage> {
    let mut intact = Intact { entries: Vec::new(), bytes: 0, checksum: 0 };
    if !has_header(file)? {
        return Ok(intact);
    }
    intact.bytes = HEADER_BYTES;
    while let Some(frame) = next_frame(&file[intact.bytes..], intact.bytes, intact.checksum)? {
        let from = intact.bytes + FRAME_BYTES;
        let upto = from + frame.length as usize;
        intact.entries.push(file[from..upto].to_vec());
        intact.bytes = upto;
        intact.checksum = frame.entry_checksum;
    }
    Ok(intact)
}

/// Whether the file has a header; one that was cut short is none.
fn has_header(file: &[u8]) -> Result<bool, Damage> {
    let header = header();
    if file.starts_with(&header) {
        return Ok(true);
    }
    if header.starts_with(without_trailing_zeros(file)) {
        return Ok(false);
    }
    let what = match file.strip_prefix(MAGIC).and_then(|rest| rest.first_chunk()) {
        Some(version) => {
            format!("its format is version {}, this build reads {FORMAT_VERSION}", u32::from_le_bytes(*version))
        }
        None => "it does not begin as a log does".to_owned(),
    };
    Err(Damage { offset: 0, what })
}

/// The frame at the beginning of `rest` if its entry is intact, `None` if there is only a torn tail or nothing.
fn next_frame(rest: &[u8], offset: usize, previous_checksum: u32) -> Result<Option<Frame>, Damage> {
    let damage = |what: &str| Err(Damage { offset, what: what.to_owned() });
    let Some(frame) = rest.first_chunk::<FRAME_BYTES>().map(Frame::from_bytes) else {
        return Ok(None);
    };
    if frame.frame_checksum != checksum(previous_checksum, &frame.length.to_le_bytes()) {
        let torn = without_trailing_zeros(rest).len() < FRAME_BYTES;
        return if torn { Ok(None) } else { damage("the frame of an entry does not match its checksum") };
    }
    if frame.length as usize > ENTRY_BYTES_MAX {
        return damage("an entry is longer than any that is written");
    }
    let entry_end = FRAME_BYTES + frame.length as usize;
    let Some(payload) = rest.get(FRAME_BYTES..entry_end) else {
        return Ok(None);
    };
    if frame.entry_checksum != checksum(frame.frame_checksum, payload) {
        let torn = without_trailing_zeros(rest).len() <= entry_end;
        return if torn { Ok(None) } else { damage("an entry does not match its checksum") };
    }
    Ok(Some(frame))
}

/// File systems may lengthen a file before its bytes arrive: behind a crash there may be zeros.
fn without_trailing_zeros(bytes: &[u8]) -> &[u8] {
    let written = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    &bytes[..written]
}

#[cfg(test)]
mod tests;
