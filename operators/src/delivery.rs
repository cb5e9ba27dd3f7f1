//! Exactly-once delivery of complete ticks to something that keeps messages in transactions.
//!
//! ```text
//! append(tick) -> outbox -> take -> a writer for each shard: messages and progress in one transaction -> trim the outbox
//! ```
//!
//! Each shard has one [`Writer`] and a place of its own, and messages of a tick carry their number. A writer starts in a fixed
//! order: it fences whoever wrote before, which ends what that one left open; it reads the progress to its end; it claims the
//! shard; only then does it know where to go on. After any failure, whatever its kind, it is dropped and another one starts in
//! that order: what became of the last transaction is read, never guessed. A message that is there is not sent again, even
//! where the rest of its transaction is not ([`torn`]).
//!
//! A tick is taken once it is durable in the outbox. What the outbox loses, the run derives again from its logs: so a tick
//! counts as taken only as long as the outbox or the progress has it, and a run goes on at the first that neither has.
//!
//! What keeps the messages is a trait, [`Channel`]: Kafka in production, a model in the simulation; and so is the disk.

use std::io;

use serde::{Deserialize, Serialize};

use crate::disk::Folder;
use crate::time::Tick;

pub mod outbox;
mod progress;
mod rederived;
mod segment;
#[cfg(test)]
mod tests;
pub mod torn;
mod writer;

#[cfg(any(test, feature = "simulation"))]
pub mod memory_channel;

pub use outbox::{Outbox, Taken};
pub use progress::{Chain, Position, Progress};
pub use rederived::Foreign;
pub use writer::{Channel, Writer, WriterError};

use rederived::Rederived;

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
pub struct MessagePosition {
    /// The tick of which some messages are passed.
    pub tick: Tick,
    /// How many of its messages are passed.
    pub passed: u32,
}

/// The ticks of a sink between the run that derives them and the writers of its shards.
#[derive(Debug)]
pub struct Delivery<D> {
    outbox: Outbox<D>,
    /// How far each shard is durable where it is written.
    places: Vec<MessagePosition>,
    /// By shard: compares what is derived again with what is there.
    rederived: Vec<Option<Rederived>>,
}

impl<D: Folder> Delivery<D> {
    /// Goes on with what lies in the outbox, given how far each shard was written. `topics` are those of the messages.
    pub fn open(disk: D, outbox_bytes: u64, written: &[Progress], topics: &[String]) -> io::Result<Self> {
        let places: Vec<MessagePosition> = written.iter().map(Progress::place).collect();
        let outbox = Outbox::open(disk, outbox_bytes, least(&places).tick)?;
        let rederived = (0..).zip(written).map(|(shard, written)| Rederived::of(shard, written, topics)).collect();
        Ok(Delivery { outbox, places, rederived })
    }

    /// The files of the outbox that were not as they had been left: what is missing has to be derived again.
    pub fn damaged(&self) -> &[String] {
        self.outbox.damaged()
    }

    /// The tick that is taken next: every one below is durable, in the outbox or where it is written.
    pub fn next_tick(&self) -> Tick {
        self.outbox.range().1
    }

    /// Whether a tick is looked at when it is given: to be taken, or to be compared with what is written.
    pub fn wants(&self, tick: Tick) -> bool {
        tick >= self.next_tick() || self.rederived.iter().flatten().any(|comparing| comparing.compares(tick))
    }

    /// Compares a tick that was derived again with what is written.
    pub fn compare(&mut self, tick: Tick, shards: &[Vec<Message>]) -> Result<(), Foreign> {
        for (rederived, messages) in self.rederived.iter_mut().zip(shards) {
            if let Some(comparing) = rederived
                && comparing.tick(tick, messages)?
            {
                *rederived = None;
            }
        }
        Ok(())
    }

    /// Whether the outbox holds as much as it may.
    pub fn is_full(&self) -> bool {
        self.outbox.is_full()
    }

    /// Takes the next tick: the messages of each shard. It counts as taken after the next [`Delivery::sync`].
    pub fn append(&mut self, tick: Tick, shards: Vec<Vec<Message>>) -> io::Result<()> {
        self.outbox.append(tick, shards)
    }

    /// Returns once everything appended survives a crash.
    pub fn sync(&mut self) -> io::Result<()> {
        self.outbox.sync()
    }

    /// Every tick below is there to be taken by writers.
    pub fn synced(&self) -> Tick {
        self.outbox.synced()
    }

    /// What a shard's writer has to send from `place` on, until it is `messages_max` messages or `bytes_max` bytes.
    pub fn take(&self, shard: u32, place: MessagePosition, messages_max: usize, bytes_max: usize) -> io::Result<Taken> {
        self.outbox.take(shard, place, messages_max, bytes_max)
    }

    /// Notes how far a shard is written, and trims the outbox behind the slowest one.
    pub fn passed(&mut self, shard: u32, place: MessagePosition) -> io::Result<()> {
        self.places[shard as usize] = place;
        self.outbox.trim(self.durable())
    }

    /// Every tick below is written in every shard.
    pub fn durable(&self) -> Tick {
        least(&self.places).tick
    }

    /// Whether everything that was taken is written.
    pub fn is_drained(&self) -> bool {
        self.durable() >= self.next_tick()
    }
}

fn least(places: &[MessagePosition]) -> MessagePosition {
    places.iter().min().copied().unwrap_or_default()
}
