//! A bounded outbox on disk: complete ticks of messages that a sink has taken and its receiver has not yet.
//!
//! One writer appends ticks in order and synchronises them; a reader for each shard goes through them at its own pace;
//! what every reader is done with is trimmed. Ticks lie in segments, one file each, named by its first tick:
//!
//! ```text
//! file    magic (8 bytes) | format version u32 | entry*
//! entry   length u32 | checksum u32 | payload                                   all little endian
//! ```
//!
//! An entry is a piece of a tick: up to `PIECE_BYTES` of one shard's messages. A tick never spans two segments, and one
//! whose last piece is missing never happened. So an outbox that a crash left is good up to its last complete tick, and
//! one that was damaged is good up to the damage: the rest is derived again from the logs by whoever writes it.
//!
//! Ticks without messages are written, too, and cost some 30 bytes: what the outbox holds is what was acknowledged.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use operators::time::Tick;
use serde::{Deserialize, Serialize};

use self::segment::Segment;
use crate::fault;
use crate::local_disk::sync_folder;

mod segment;
#[cfg(test)]
mod tests;

/// Messages of a shard go into a piece until it holds this much.
const PIECE_BYTES: usize = 256 << 10;

/// A segment this long is followed by another.
const SEGMENT_BYTES: u64 = 8 << 20;

/// Something to be sent: the bytes, and its place among those of its tick and topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Which of the sink's topics.
    pub topic: u16,
    /// Its place among the tick's messages to this shard and topic, from 0.
    pub seq: u32,
    /// How many those are.
    pub of: u32,
    /// What it is about.
    pub key: Vec<u8>,
    /// What it says; `None` says that the key is gone.
    pub value: Option<Vec<u8>>,
}

impl Message {
    fn bytes(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, Vec::len) + 16
    }
}

/// A place among a shard's messages: some of a tick's are passed, and all of every tick before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The tick.
    pub tick: Tick,
    /// How many of its messages are passed.
    pub passed: u32,
}

/// What a reader takes at once.
#[derive(Debug, Default)]
pub struct Taken {
    /// Messages with their ticks, in order.
    pub messages: Vec<(Tick, Message)>,
    /// Where to go on.
    pub next: Place,
    /// How many messages of the shard the last tick has in all, and how many of them are passed.
    pub last: Option<(Tick, u32, u32)>,
}

/// A piece of a tick.
#[derive(Debug, Serialize, Deserialize)]
struct Piece {
    tick: Tick,
    shard: u32,
    /// The place of its first message among the shard's messages of the tick.
    first: u32,
    /// How many the shard has in this tick.
    of: u32,
    /// Whether it is the tick's last, over all shards.
    last: bool,
    messages: Vec<Message>,
}

/// Where a piece lies, and what it holds.
#[derive(Clone, Copy, Debug)]
struct Known {
    shard: u32,
    first: u32,
    count: u32,
    of: u32,
    segment: Tick,
    offset: u64,
}

/// Complete ticks: one with messages, or a run of them without.
#[derive(Debug)]
struct Ticks {
    from: Tick,
    /// The last one.
    upto: Tick,
    pieces: Vec<Known>,
}

#[derive(Debug, Default)]
struct Inner {
    segments: VecDeque<Segment>,
    ticks: VecDeque<Ticks>,
    /// Where it begins, and the tick to be appended next; neither is known while it is empty and was not told.
    range: Option<(Tick, Tick)>,
    /// Readers see ticks below.
    synced: Tick,
    closed: bool,
}

/// The outbox. Shared by its writer and its readers.
#[derive(Debug)]
pub struct Outbox {
    folder: PathBuf,
    bytes_max: u64,
    inner: Mutex<Inner>,
    /// Something came, something went, or it was closed.
    changed: Condvar,
}

impl Outbox {
    /// The outbox in this folder, as it was left. It holds up to `bytes_max`, or a single tick that is larger.
    pub fn open(folder: impl Into<PathBuf>, bytes_max: u64) -> io::Result<Self> {
        let folder = folder.into();
        fs::create_dir_all(&folder)?;
        folder.ancestors().skip(1).take(2).filter(|above| above.is_dir()).try_for_each(sync_folder)?;
        let outbox = Outbox { folder, bytes_max, inner: Mutex::default(), changed: Condvar::new() };
        let mut inner = Inner::default();
        for first in segments_in(&outbox.folder)? {
            let path = path_of(&outbox.folder, first);
            let fits = inner.range.is_none_or(|(_, next)| next == first);
            let (segment, ticks, whole) = match fits {
                true => Segment::read(&path, first)?,
                false => (None, Vec::new(), false),
            };
            if !fits || !whole {
                tracing::warn!(
                    file = %path.display(),
                    "the outbox is not as it was left from here on; what is missing is derived again from the logs"
                );
            }
            let Some(segment) = segment.filter(|_| !ticks.is_empty()) else {
                fs::remove_file(&path)?;
                // What lies behind a hole is of no use.
                continue;
            };
            let next = ticks.last().map_or(first, |last| last.upto + 1);
            inner.range = Some((inner.range.map_or(first, |(first, _)| first), next));
            inner.segments.push_back(segment);
            ticks.into_iter().for_each(|each| inner.push(each));
        }
        // What the last process appended may not be on the disk yet, and whoever resumes counts on it.
        inner.segments.iter().try_for_each(Segment::sync)?;
        // No segment is appended to by a second process: a piece that was cut short stays the last of its file.
        inner.segments.iter_mut().for_each(Segment::close);
        inner.synced = inner.range.map_or(0, |(_, next)| next);
        *outbox.inner.lock().unwrap_or_else(PoisonError::into_inner) = inner;
        Ok(outbox)
    }

    /// The ticks it holds: the first, and the one to be appended next. None where it is empty and was not begun.
    pub fn range(&self) -> Option<(Tick, Tick)> {
        self.lock().range
    }

    /// Forgets everything; the next tick is `first`.
    pub fn begin(&self, first: Tick) -> io::Result<()> {
        let mut inner = self.lock();
        for segment in inner.segments.drain(..) {
            segment.remove()?;
        }
        *inner = Inner { range: Some((first, first)), synced: first, ..Inner::default() };
        Ok(())
    }

    /// How much it holds.
    pub fn bytes(&self) -> u64 {
        self.lock().bytes()
    }

    /// Whether it holds as much as it may, so that no tick may be appended.
    pub fn is_full(&self) -> bool {
        let inner = self.lock();
        !inner.ticks.is_empty() && inner.bytes() >= self.bytes_max
    }

    /// Returns whether there is room, once there is or the time is up.
    pub fn wait_for_room(&self, patience: Duration) -> bool {
        let full = |inner: &mut Inner| !inner.ticks.is_empty() && inner.bytes() >= self.bytes_max && !inner.closed;
        let waited = self.changed.wait_timeout_while(self.lock(), patience, full);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Appends the next tick: the messages of each shard. Durable, and seen by readers, after the next [`Outbox::sync`].
    pub fn append(&self, tick: Tick, shards: Vec<Vec<Message>>) -> io::Result<()> {
        let mut inner = self.lock();
        let (first, next) = *inner.range.get_or_insert((tick, tick));
        assert_eq!(tick, next, "ticks are appended in order");
        if inner.segments.back().is_none_or(|segment| segment.is_closed() || segment.bytes() >= SEGMENT_BYTES) {
            if let Some(segment) = inner.segments.back_mut() {
                segment.sync()?;
                segment.close();
            }
            inner.segments.push_back(Segment::create(&self.folder, path_of(&self.folder, tick), tick)?);
        }
        let segment = inner.segments.back_mut().expect("there is one now");
        let before = segment.bytes();
        match append(segment, tick, shards) {
            Ok(pieces) => {
                inner.push(Ticks { from: tick, upto: tick, pieces });
                inner.range = Some((first, next + 1));
                Ok(())
            }
            Err(error) => {
                segment.cut(before)?;
                Err(error)
            }
        }
    }

    /// Returns once everything appended survives a crash; readers see it then.
    pub fn sync(&self) -> io::Result<()> {
        let mut inner = self.lock();
        let next = inner.range.map_or(0, |(_, next)| next);
        if inner.synced == next {
            return Ok(());
        }
        fault::point_of("sync", "outbox");
        if let Some(segment) = inner.segments.back() {
            segment.sync()?;
        }
        fault::point_of("synced", "outbox");
        inner.synced = next;
        self.changed.notify_all();
        Ok(())
    }

    /// What a shard has from `place` on, until it is `messages_max` messages or `bytes_max` bytes. Waits for something to
    /// come for as long as `patience`; then, or when the outbox is closed, nothing is taken.
    pub fn take(
        &self,
        shard: u32,
        place: Place,
        messages_max: usize,
        bytes_max: usize,
        patience: Duration,
    ) -> io::Result<Taken> {
        let nothing_new = |inner: &mut Inner| inner.synced <= place.tick && !inner.closed;
        let waited = self.changed.wait_timeout_while(self.lock(), patience, nothing_new);
        let inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        let mut taken = Taken { next: place, ..Taken::default() };
        let mut bytes = 0;
        let at = inner.ticks.partition_point(|ticks| ticks.upto < place.tick);
        for ticks in inner.ticks.range(at..) {
            if ticks.from >= inner.synced {
                break;
            }
            if ticks.from > taken.next.tick {
                let (first, wanted) = (ticks.from, taken.next.tick);
                let what = format!("{} begins at tick {first}, but {wanted} is wanted", self.folder.display());
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
            let of = ticks.pieces.iter().find(|piece| piece.shard == shard).map_or(0, |piece| piece.of);
            for known in ticks.pieces.iter().filter(|piece| piece.shard == shard) {
                if known.first + known.count <= taken.next.passed {
                    continue;
                }
                let segment = inner.segments.iter().find(|segment| segment.first() == known.segment);
                let piece = segment.expect("a known piece has its segment").piece(known.offset)?;
                let skipped = taken.next.passed.saturating_sub(known.first) as usize;
                for message in piece.messages.into_iter().skip(skipped) {
                    if taken.messages.len() >= messages_max || bytes >= bytes_max {
                        taken.last = Some((ticks.upto, taken.next.passed, of));
                        return Ok(taken);
                    }
                    bytes += message.bytes();
                    taken.messages.push((ticks.upto, message));
                    taken.next = Place { tick: ticks.upto, passed: taken.next.passed + 1 };
                }
            }
            let upto = ticks.upto.min(inner.synced - 1);
            taken.last = Some((upto, of, of));
            taken.next = Place { tick: upto + 1, passed: 0 };
        }
        Ok(taken)
    }

    /// Removes what lies below a tick, by whole segments.
    pub fn trim(&self, below: Tick) -> io::Result<()> {
        let mut inner = self.lock();
        let Some((_, next)) = inner.range else { return Ok(()) };
        while let Some(upper) = match inner.segments.len() {
            0 => None,
            1 => Some(next),
            _ => Some(inner.segments[1].first()),
        } && upper <= below.min(inner.synced)
        {
            let segment = inner.segments.pop_front().expect("it was looked at just now");
            fault::point_of("trim", "outbox");
            segment.remove()?;
            fault::point_of("trimmed", "outbox");
            while inner.ticks.front().is_some_and(|ticks| ticks.upto < upper) {
                inner.ticks.pop_front();
            }
            if let Some(ticks) = inner.ticks.front_mut() {
                ticks.from = ticks.from.max(upper);
            }
            inner.range = Some((upper, next));
        }
        self.changed.notify_all();
        Ok(())
    }

    /// Ends every wait, now and later.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A thread that panicked ends the process; what it left is not relied on.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn bytes(&self) -> u64 {
        self.segments.iter().map(Segment::bytes).sum()
    }

    /// Ticks without messages that follow each other are one entry, so that a long silence takes no memory.
    fn push(&mut self, ticks: Ticks) {
        match self.ticks.back_mut() {
            Some(last) if last.pieces.is_empty() && ticks.pieces.is_empty() => last.upto = ticks.upto,
            _ => self.ticks.push_back(ticks),
        }
    }
}

/// Appends a tick piece by piece and says where they lie.
fn append(segment: &mut Segment, tick: Tick, shards: Vec<Vec<Message>>) -> io::Result<Vec<Known>> {
    let mut pieces = Vec::new();
    for (shard, messages) in (0..).zip(shards) {
        let of = u32::try_from(messages.len()).map_err(|_| io::Error::other("a tick has more than 2^32 messages"))?;
        let (mut first, mut bytes, mut gathered) = (0, 0, Vec::new());
        for message in messages {
            bytes += message.bytes();
            gathered.push(message);
            if bytes >= PIECE_BYTES {
                let count = gathered.len() as u32;
                pieces.push(Piece { tick, shard, first, of, last: false, messages: std::mem::take(&mut gathered) });
                (first, bytes) = (first + count, 0);
            }
        }
        if !gathered.is_empty() {
            pieces.push(Piece { tick, shard, first, of, last: false, messages: gathered });
        }
    }
    match pieces.last_mut() {
        Some(piece) => piece.last = true,
        None => pieces.push(Piece { tick, shard: 0, first: 0, of: 0, last: true, messages: Vec::new() }),
    }
    let mut known = Vec::with_capacity(pieces.len());
    for piece in &pieces {
        let place = segment.append(piece)?;
        known.extend((piece.of > 0).then_some(place));
    }
    Ok(known)
}

fn path_of(folder: &Path, first: Tick) -> PathBuf {
    folder.join(format!("{first:020}.segment"))
}

/// The first ticks of the segments in a folder, ascending.
fn segments_in(folder: &Path) -> io::Result<Vec<Tick>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        found.extend(name.to_str().and_then(|name| name.strip_suffix(".segment")?.parse::<Tick>().ok()));
    }
    found.sort_unstable();
    Ok(found)
}
