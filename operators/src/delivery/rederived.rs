//! Compares what a run derives again with what its sink has already written.

use super::{Chain, Message, Progress};
use crate::time::Tick;

/// A shard holds something else than what this run derives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("shard {shard} holds other messages up to tick {tick}")]
pub struct Foreign {
    /// The number of the shard.
    pub shard: u32,
    /// Up to which tick both were compared.
    pub tick: Tick,
}

/// The comparison of one shard, from tick 0 up to its progress.
#[derive(Debug)]
pub(super) struct Rederived {
    shard: u32,
    topics: Vec<String>,
    chains: Vec<Chain>,
    next: Tick,
    written: Progress,
}

impl Rederived {
    /// None where nothing is written.
    pub(super) fn of(shard: u32, written: &Progress, topics: &[String]) -> Option<Self> {
        (written.place() > Default::default()).then(|| Rederived {
            shard,
            chains: vec![Chain::default(); topics.len()],
            topics: topics.to_vec(),
            next: 0,
            written: written.clone(),
        })
    }

    /// Whether this is the tick that it compares next.
    pub(super) fn compares(&self, tick: Tick) -> bool {
        tick == self.next
    }

    /// Takes the next tick, and says whether there is nothing more to compare. Whoever does not begin at tick 0 can't
    /// compare: the hashes are of everything.
    pub(super) fn tick(&mut self, tick: Tick, messages: &[Message]) -> Result<bool, Foreign> {
        if tick != self.next {
            return Ok(true);
        }
        self.next += 1;
        let is_reached = if tick < self.written.tick {
            self.add(tick, messages);
            self.next == self.written.tick && self.written.sent == 0
        } else {
            self.add(tick, &messages[..messages.len().min(self.written.sent as usize)]);
            true
        };
        if !is_reached {
            return Ok(false);
        }
        let written = |topic: &String| self.written.topics.get(topic).copied().unwrap_or_default();
        let same = self.topics.iter().zip(&self.chains).all(|(topic, chain)| written(topic).is_of_same(*chain));
        match same {
            true => Ok(true),
            false => Err(Foreign { shard: self.shard, tick }),
        }
    }

    fn add(&mut self, tick: Tick, messages: &[Message]) {
        for message in messages {
            let chain = &mut self.chains[usize::from(message.topic)];
            *chain = chain.with(tick, message);
        }
    }
}
