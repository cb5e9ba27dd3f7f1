//! One file of an outbox.

use std::io;

use super::outbox::{Known, Piece, Ticks};
use crate::disk::Folder;
use crate::time::Tick;

const MAGIC: &[u8; 8] = b"aisleout";
const FORMAT_VERSION: u32 = 1;
const HEADER_BYTES: u64 = 12;
const FRAME_BYTES: usize = 8;

/// A file of entries.
#[derive(Debug)]
pub(super) struct Segment {
    name: String,
    first: Tick,
    bytes: u64,
    /// Whether nothing more is appended.
    closed: bool,
}

impl Segment {
    /// A new one; its name is durable when this returns.
    pub(super) fn create(disk: &mut impl Folder, first: Tick) -> io::Result<Segment> {
        let name = name_of(first);
        disk.append(&name, &header())?;
        disk.sync(&name)?;
        Ok(Segment { name, first, bytes: HEADER_BYTES, closed: false })
    }

    /// The first ticks of the segments that there are, ascending. Names that nobody of us gives are passed over.
    pub(super) fn all(disk: &impl Folder) -> io::Result<Vec<(Tick, String)>> {
        let first = |name: &String| {
            let first = name.strip_suffix(".segment")?.parse::<Tick>().ok()?;
            (first < Tick::MAX && *name == name_of(first)).then_some(first)
        };
        let mut found: Vec<_> =
            disk.names()?.into_iter().filter_map(|name| first(&name).map(|first| (first, name))).collect();
        found.sort_unstable();
        Ok(found)
    }

    /// A file as it was left: its complete ticks, and whether nothing else is in it. What is behind them is cut off.
    pub(super) fn read(disk: &mut impl Folder, name: String, first: Tick) -> io::Result<(Segment, Vec<Ticks>, bool)> {
        let bytes = disk.read(&name)?.unwrap_or_default();
        let mut segment = Segment { name, first, bytes: HEADER_BYTES, closed: true };
        if !bytes.starts_with(&header()) {
            return Ok((segment, Vec::new(), false));
        }
        let (mut ticks, mut pieces): (Vec<Ticks>, _) = (Vec::new(), Vec::new());
        let (mut at, mut next) = (HEADER_BYTES, first);
        while let Some((piece, upto)) = entry_at(&bytes, at) {
            if piece.tick != next || next == Tick::MAX {
                break;
            }
            pieces.extend((piece.of > 0).then_some(piece.known(first, at)));
            at = upto;
            if piece.last {
                ticks.push(Ticks { from: next, upto: next, pieces: std::mem::take(&mut pieces) });
                (segment.bytes, next) = (at, next + 1);
            }
        }
        let whole = segment.bytes == bytes.len() as u64;
        if !whole {
            // It may be the beginning of a tick that comes again: what counts has to be what is there.
            disk.truncate(&segment.name, segment.bytes)?;
        }
        Ok((segment, ticks, whole))
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn first(&self) -> Tick {
        self.first
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    pub(super) fn append(&mut self, disk: &mut impl Folder, piece: &Piece) -> io::Result<Known> {
        let payload = postcard::to_stdvec(piece).map_err(io::Error::other)?;
        let mut entry = Vec::with_capacity(FRAME_BYTES + payload.len());
        let length =
            u32::try_from(payload.len()).map_err(|_| io::Error::other("a message has more than 2^32 bytes"))?;
        entry.extend_from_slice(&length.to_le_bytes());
        entry.extend_from_slice(&checksum(length, &payload).to_le_bytes());
        entry.extend_from_slice(&payload);
        let offset = self.bytes;
        disk.append(&self.name, &entry)?;
        self.bytes += entry.len() as u64;
        Ok(piece.known(self.first, offset))
    }

    /// Takes back what was appended behind `bytes`.
    pub(super) fn cut(&mut self, disk: &mut impl Folder, bytes: u64) -> io::Result<()> {
        if self.bytes > bytes {
            disk.truncate(&self.name, bytes)?;
            self.bytes = bytes;
        }
        Ok(())
    }

    pub(super) fn piece(&self, disk: &impl Folder, offset: u64) -> io::Result<Piece> {
        let damaged = || {
            let what = format!("{} is damaged at byte {offset}; restart, it is derived again", self.name);
            io::Error::new(io::ErrorKind::InvalidData, what)
        };
        let frame = disk.read_at(&self.name, offset, FRAME_BYTES)?;
        let (length, _) = words(frame.first_chunk().ok_or_else(damaged)?);
        if offset + FRAME_BYTES as u64 + u64::from(length) > self.bytes {
            return Err(damaged());
        }
        let entry = disk.read_at(&self.name, offset, FRAME_BYTES + length as usize)?;
        entry_at(&entry, 0).map(|(piece, _)| piece).ok_or_else(damaged)
    }
}

fn name_of(first: Tick) -> String {
    format!("{first:020}.segment")
}

impl Piece {
    fn known(&self, segment: Tick, offset: u64) -> Known {
        Known { shard: self.shard, first: self.first, count: self.messages.len() as u32, segment, offset }
    }
}

/// The entry at an offset and where it ends; none where it is not as it was written.
fn entry_at(bytes: &[u8], at: u64) -> Option<(Piece, u64)> {
    let rest = bytes.get(usize::try_from(at).ok()?..)?;
    let (length, wanted) = words(rest.first_chunk()?);
    let payload = rest.get(FRAME_BYTES..FRAME_BYTES + length as usize)?;
    if checksum(length, payload) != wanted {
        return None;
    }
    let piece = postcard::from_bytes(payload).ok()?;
    Some((piece, at + (FRAME_BYTES + payload.len()) as u64))
}

fn words(frame: &[u8; FRAME_BYTES]) -> (u32, u32) {
    let word = |from: usize| u32::from_le_bytes([frame[from], frame[from + 1], frame[from + 2], frame[from + 3]]);
    (word(0), word(4))
}

fn checksum(length: u32, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length.to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}

fn header() -> [u8; HEADER_BYTES as usize] {
    let mut bytes = [0; HEADER_BYTES as usize];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    bytes
}
