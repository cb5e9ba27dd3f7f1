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
use std::io;

use serde::{Deserialize, Serialize};

use super::segment::Segment;
use super::{Message, MessagePosition};
use crate::disk::Folder;
use crate::time::Tick;

#[cfg(test)]
mod tests;

/// Messages of a shard go into a piece until it holds this much.
const PIECE_BYTES: usize = 256 << 10;

/// A segment this long is followed by another.
const SEGMENT_BYTES: u64 = 8 << 20;

/// What a reader takes at once.
#[derive(Debug, Default)]
pub struct Taken {
    /// Messages with their ticks, in order.
    pub messages: Vec<(Tick, Message)>,
    /// Where to go on.
    pub next: MessagePosition,
}

/// A piece of a tick.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Piece {
    pub(super) tick: Tick,
    pub(super) shard: u32,
    /// The place of its first message among the shard's messages of the tick.
    pub(super) first: u32,
    /// How many the shard has in this tick.
    pub(super) of: u32,
    /// Whether it is the tick's last, over all shards.
    pub(super) last: bool,
    pub(super) messages: Vec<Message>,
}

/// Where a piece lies, and what it holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) shard: u32,
    pub(super) first: u32,
    pub(super) count: u32,
    /// The first tick of its segment.
    pub(super) segment: Tick,
    pub(super) offset: u64,
}

/// Complete ticks: one with messages, or a run of them without.
#[derive(Debug)]
pub(super) struct Ticks {
    pub(super) from: Tick,
    /// The last tick of the run.
    pub(super) upto: Tick,
    pub(super) pieces: Vec<Known>,
}

/// Messages of complete ticks on a disk, until every shard has them.
#[derive(Debug)]
pub struct Outbox<D> {
    disk: D,
    bytes_max: u64,
    segments: VecDeque<Segment>,
    ticks: VecDeque<Ticks>,
    /// Where it begins, and the tick to be appended next.
    range: (Tick, Tick),
    /// Readers see ticks below.
    synced: Tick,
    damaged: Vec<String>,
}

impl<D: Folder> Outbox<D> {
    /// The outbox as it was left, from tick `needed` on: what is below was delivered, and what does not follow is of no use.
    /// It holds up to `bytes_max`, or a single tick that is larger.
    pub fn open(disk: D, bytes_max: u64, needed: Tick) -> io::Result<Self> {
        let mut outbox = Outbox {
            disk,
            bytes_max,
            segments: VecDeque::new(),
            ticks: VecDeque::new(),
            range: (needed, needed),
            synced: needed,
            damaged: Vec::new(),
        };
        for (first, name) in Segment::all(&outbox.disk)? {
            let (segment, ticks, whole) = Segment::read(&mut outbox.disk, name, first)?;
            let next = ticks.last().map_or(first, |last| last.upto + 1);
            let follows = if outbox.segments.is_empty() { first <= needed } else { first == outbox.range.1 };
            if !whole || (next > needed && !follows) {
                outbox.damaged.push(segment.name().to_owned());
            }
            if next <= needed || !follows || ticks.is_empty() {
                outbox.disk.remove(segment.name())?;
                continue;
            }
            if outbox.segments.is_empty() {
                outbox.range.0 = first;
            }
            outbox.range.1 = next;
            // What the last process appended may not be on the disk yet, and whoever resumes counts on it.
            outbox.disk.sync(segment.name())?;
            // No segment is appended to by a second process: a piece that was cut short stays the last of its file.
            outbox.segments.push_back(segment);
            ticks.into_iter().for_each(|each| outbox.push(each));
        }
        outbox.synced = outbox.range.1;
        Ok(outbox)
    }

    /// The ticks it holds: the first, and the one to be appended next.
    pub fn range(&self) -> (Tick, Tick) {
        self.range
    }

    /// Readers see the ticks below.
    pub fn synced(&self) -> Tick {
        self.synced
    }

    /// The files that were not as they had been left, from somewhere on: what is missing has to be derived again.
    pub fn damaged(&self) -> &[String] {
        &self.damaged
    }

    /// How much it holds.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(Segment::bytes).sum()
    }

    /// Whether it holds as much as it may, so that no tick may be appended.
    pub fn is_full(&self) -> bool {
        !self.ticks.is_empty() && self.bytes() >= self.bytes_max
    }

    /// Appends the next tick: the messages of each shard. Durable, and seen by readers, after the next [`Outbox::sync`].
    pub fn append(&mut self, tick: Tick, shards: Vec<Vec<Message>>) -> io::Result<()> {
        assert_eq!(tick, self.range.1, "ticks are appended in order");
        if self.segments.back().is_none_or(|segment| segment.is_closed() || segment.bytes() >= SEGMENT_BYTES) {
            if let Some(segment) = self.segments.back_mut() {
                self.disk.sync(segment.name())?;
                segment.close();
            }
            self.segments.push_back(Segment::create(&mut self.disk, tick)?);
        }
        let segment = self.segments.back_mut().expect("there is one now");
        let before = segment.bytes();
        match append(&mut self.disk, segment, tick, shards) {
            Ok(pieces) => {
                self.push(Ticks { from: tick, upto: tick, pieces });
                self.range.1 = tick + 1;
                Ok(())
            }
            Err(error) => {
                segment.cut(&mut self.disk, before)?;
                Err(error)
            }
        }
    }

    /// Returns once everything appended survives a crash; readers see it then.
    pub fn sync(&mut self) -> io::Result<()> {
        if self.synced < self.range.1 {
            if let Some(segment) = self.segments.back() {
                self.disk.sync(segment.name())?;
            }
            self.synced = self.range.1;
        }
        Ok(())
    }

    /// What a shard has from `place` on, until it is `messages_max` messages or `bytes_max` bytes.
    pub fn take(&self, shard: u32, place: MessagePosition, messages_max: usize, bytes_max: usize) -> io::Result<Taken> {
        let mut taken = Taken { next: place, ..Taken::default() };
        let mut bytes = 0;
        let at = self.ticks.partition_point(|ticks| ticks.upto < place.tick);
        for ticks in self.ticks.range(at..) {
            if ticks.from >= self.synced {
                break;
            }
            if ticks.from > taken.next.tick {
                let (first, wanted) = (ticks.from, taken.next.tick);
                let what = format!("the outbox begins at tick {first}, but {wanted} is wanted");
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
            for known in ticks.pieces.iter().filter(|piece| piece.shard == shard) {
                if known.first + known.count <= taken.next.passed {
                    continue;
                }
                let segment = self.segments.iter().find(|segment| segment.first() == known.segment);
                let piece = segment.expect("a known piece has its segment").piece(&self.disk, known.offset)?;
                let skipped = taken.next.passed.saturating_sub(known.first) as usize;
                for message in piece.messages.into_iter().skip(skipped) {
                    if taken.messages.len() >= messages_max || bytes >= bytes_max {
                        return Ok(taken);
                    }
                    bytes += message.bytes();
                    taken.messages.push((ticks.upto, message));
                    taken.next = MessagePosition { tick: ticks.upto, passed: taken.next.passed + 1 };
                }
            }
            let upto = ticks.upto.min(self.synced - 1);
            taken.next = MessagePosition { tick: upto + 1, passed: 0 };
        }
        Ok(taken)
    }

    /// Removes what lies below a tick, by whole segments.
    pub fn trim(&mut self, below: Tick) -> io::Result<()> {
        while let Some(upper) = match self.segments.len() {
            0 => None,
            1 => Some(self.range.1),
            _ => Some(self.segments[1].first()),
        } && upper <= below.min(self.synced)
        {
            let segment = self.segments.pop_front().expect("it was looked at just now");
            self.disk.remove(segment.name())?;
            while self.ticks.front().is_some_and(|ticks| ticks.upto < upper) {
                self.ticks.pop_front();
            }
            if let Some(ticks) = self.ticks.front_mut() {
                ticks.from = ticks.from.max(upper);
            }
            self.range.0 = upper;
        }
        Ok(())
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
fn append(
    disk: &mut impl Folder,
    segment: &mut Segment,
    tick: Tick,
    shards: Vec<Vec<Message>>,
) -> io::Result<Vec<Known>> {
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
        let place = segment.append(disk, piece)?;
        known.extend((piece.of > 0).then_some(place));
    }
    Ok(known)
}
