//! A [`Channel`] into a topic in memory, for tests and for the seeded scheduler: all topics of a shard, and its progress, are
//! one.

use std::ops::ControlFlow;

use super::{Channel, Message, Position, Progress};
use crate::memory_topic::{MemoryTopicError, MemoryTransactions};
use crate::time::Tick;
use crate::transactional_log::{self, Transactions, Upto};

/// The key of the messages that are progress.
const PROGRESS: &[u8] = b"progress";

/// A channel of one client.
#[derive(Debug)]
pub struct MemoryChannel(pub MemoryTransactions);

impl Channel for MemoryChannel {
    type Error = MemoryTopicError;

    fn fence(&mut self) -> Result<(), MemoryTopicError> {
        self.0.fence()
    }

    fn newest(&mut self, upto: Upto) -> Result<Option<Progress>, MemoryTopicError> {
        let mut newest = None;
        self.0.read(0, upto, &mut |seen| {
            if seen.key == PROGRESS {
                newest = Some(seen.value.to_vec());
            }
            ControlFlow::Continue(())
        })?;
        Ok(newest.map(|bytes: Vec<u8>| postcard::from_bytes(&bytes).expect("it is as it was written")))
    }

    fn last_messages(&mut self, topics: &[String]) -> Result<Vec<Option<Position>>, MemoryTopicError> {
        let mut last = vec![None; topics.len()];
        for (tick, message) in read_messages(&mut self.0)? {
            last[usize::from(message.topic)] = Some(Position { tick, seq: message.seq });
        }
        Ok(last)
    }

    fn send(&mut self, messages: &[(Tick, Message)], progress: &Progress) -> Result<(), MemoryTopicError> {
        let coded = |key: &[u8], value| transactional_log::Message { key: key.to_vec(), headers: Vec::new(), value };
        let of_message = |message| coded(b"", postcard::to_stdvec(message).expect("a message has a form in bytes"));
        let mut all: Vec<_> = messages.iter().map(of_message).collect();
        all.push(coded(PROGRESS, postcard::to_stdvec(progress).expect("progress has a form in bytes")));
        self.0.write(&all).map(|_| ())
    }
}

/// What a reader of committed messages sees.
pub fn read_messages(client: &mut MemoryTransactions) -> Result<Vec<(Tick, Message)>, MemoryTopicError> {
    let mut messages = Vec::new();
    client.read(0, Upto::End, &mut |seen| {
        if seen.key != PROGRESS {
            messages.push(postcard::from_bytes(seen.value).expect("it is as it was written"));
        }
        ControlFlow::Continue(())
    })?;
    Ok(messages)
}
