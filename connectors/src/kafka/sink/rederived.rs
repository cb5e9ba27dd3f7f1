//! Compares what a run derives again with what its sink has already written.

use operators::time::Tick;

use super::progress::{Chain, Progress};
use super::{KafkaSinkError, SinkOptions};
use crate::outbox::Message;

/// The comparison of one shard, from tick 0 up to its progress.
#[derive(Debug)]
pub(super) struct Rederived {
    sink: String,
    shard: u32,
    topics: Vec<String>,
    chains: Vec<Chain>,
    next: Tick,
    written: Progress,
}

impl Rederived {
    /// None where nothing is written.
    pub(super) fn of(options: &SinkOptions, shard: u32, written: &Progress) -> Option<Self> {
        let topics: Vec<String> = options.topics.iter().map(|topic| topic.name.clone()).collect();
        (written.place() > Default::default()).then(|| Rederived {
            sink: options.name.clone(),
            shard,
            chains: vec![Chain::default(); topics.len()],
            topics,
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
    pub(super) fn tick(&mut self, tick: Tick, messages: &[Message]) -> Result<bool, KafkaSinkError> {
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
        let same = self.topics.iter().zip(&self.chains).all(|(topic, chain)| written(topic) == *chain);
        match same {
            true => Ok(true),
            false => Err(KafkaSinkError::Foreign { sink: self.sink.clone(), shard: self.shard, tick }),
        }
    }

    fn add(&mut self, tick: Tick, messages: &[Message]) {
        for message in messages {
            let chain = &mut self.chains[usize::from(message.topic)];
            *chain = chain.with(tick, message);
        }
    }
}
