//! One file of an outbox.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use operators::time::Tick;

use super::{Known, Piece, Ticks};
use crate::fault;
use crate::local_disk::sync_folder;

const MAGIC: &[u8; 8] = b"aisleout";
const FORMAT_VERSION: u32 = 1;
const HEADER_BYTES: u64 = 12;
const FRAME_BYTES: usize = 8;

/// A file of entries, open for as long as it is of use.
#[derive(Debug)]
pub(super) struct Segment {
    path: PathBuf,
    file: File,
    first: Tick,
    bytes: u64,
    /// Whether nothing more is appended.
    closed: bool,
}

impl Segment {
    /// A new one; its name is durable when this returns.
    pub(super) fn create(folder: &Path, path: PathBuf, first: Tick) -> io::Result<Segment> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
        file.write_all(&header())?;
        fault::point_of("create", "outbox");
        file.sync_data()?;
        sync_folder(folder)?;
        Ok(Segment { path, file, first, bytes: HEADER_BYTES, closed: false })
    }

    /// A file as it was left: its complete ticks, and whether nothing else is in it. None where it is no segment at all.
    pub(super) fn read(path: &Path, first: Tick) -> io::Result<(Option<Segment>, Vec<Ticks>, bool)> {
        let bytes = fs::read(path)?;
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        if !bytes.starts_with(&header()) {
            return Ok((None, Vec::new(), false));
        }
        let (mut ticks, mut pieces): (Vec<Ticks>, _) = (Vec::new(), Vec::new());
        let (mut at, mut complete, mut next) = (HEADER_BYTES, HEADER_BYTES, first);
        while let Some((piece, upto)) = entry_at(&bytes, at) {
            if piece.tick != next {
                break;
            }
            pieces.extend((piece.of > 0).then_some(piece.known(first, at)));
            at = upto;
            if piece.last {
                ticks.push(Ticks { from: next, upto: next, pieces: std::mem::take(&mut pieces) });
                (complete, next) = (at, next + 1);
            }
        }
        let whole = complete == bytes.len() as u64;
        if !whole {
            // It may be the beginning of a tick that comes again: what counts has to be what is there.
            file.set_len(complete)?;
            file.sync_all()?;
        }
        Ok((Some(Segment { path: path.to_owned(), file, first, bytes: complete, closed: true }), ticks, whole))
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

    pub(super) fn append(&mut self, piece: &Piece) -> io::Result<Known> {
        let payload = postcard::to_stdvec(piece).map_err(io::Error::other)?;
        let mut entry = Vec::with_capacity(FRAME_BYTES + payload.len());
        let length =
            u32::try_from(payload.len()).map_err(|_| io::Error::other("a message has more than 2^32 bytes"))?;
        entry.extend_from_slice(&length.to_le_bytes());
        entry.extend_from_slice(&checksum(length, &payload).to_le_bytes());
        entry.extend_from_slice(&payload);
        let offset = self.bytes;
        fault::point_of("append", "outbox");
        if fault::is_next("torn", "outbox") {
            self.file.write_all_at(&entry[..entry.len() / 2], offset)?;
            fault::point_of("torn", "outbox");
        }
        self.file.write_all_at(&entry, offset)?;
        self.bytes += entry.len() as u64;
        Ok(piece.known(self.first, offset))
    }

    /// Takes back what was appended behind `bytes`.
    pub(super) fn cut(&mut self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)?;
        self.bytes = bytes;
        Ok(())
    }

    pub(super) fn piece(&self, offset: u64) -> io::Result<Piece> {
        let damaged = || {
            let what = format!("{} is damaged at byte {offset}; restart, it is derived again", self.path.display());
            io::Error::new(io::ErrorKind::InvalidData, what)
        };
        let mut frame = [0; FRAME_BYTES];
        self.file.read_exact_at(&mut frame, offset)?;
        let (length, _) = words(&frame);
        if offset + FRAME_BYTES as u64 + u64::from(length) > self.bytes {
            return Err(damaged());
        }
        let mut entry = vec![0; FRAME_BYTES + length as usize];
        self.file.read_exact_at(&mut entry, offset)?;
        entry_at(&entry, 0).map(|(piece, _)| piece).ok_or_else(damaged)
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    pub(super) fn remove(self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }
}

impl Piece {
    fn known(&self, segment: Tick, offset: u64) -> Known {
        Known { shard: self.shard, first: self.first, count: self.messages.len() as u32, of: self.of, segment, offset }
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
