//! A topic in memory whose transactions go wrong as a cluster's do: for tests and for the seeded scheduler.
//!
//! A transaction is refused, or its messages are there and its end never comes; its end is held up on the way, and arrives
//! before the next writer fences this one, or after, when it counts for nothing; it is committed, and the answer is lost,
//! so that the writer ends it once more; committed messages are not shown yet. What happens when, the caller chooses.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::transactional_log::{Message, Seen, Transactions, Upto};

/// What did not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemoryTopicError {
    /// There was no answer, or none yet.
    #[error("no answer")]
    NoAnswer,
    /// Another writer has claimed the topic.
    #[error("fenced")]
    Fenced,
}

/// How often each thing went wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Troubles {
    /// Nothing of a transaction arrived.
    pub refused: u64,
    /// Its messages did, and nobody ever ended it but a fence.
    pub left_open: u64,
    /// Its end was held up, and came just before the fence.
    pub held: u64,
    /// Its end came after the fence, and counted for nothing.
    pub too_late: u64,
    /// It was committed, but the writer did not hear of it.
    pub answers_lost: u64,
    /// What was committed was not shown yet.
    pub unstable: u64,
}

impl std::ops::Add for Troubles {
    type Output = Troubles;

    fn add(self, other: Troubles) -> Troubles {
        Troubles {
            refused: self.refused + other.refused,
            left_open: self.left_open + other.left_open,
            held: self.held + other.held,
            too_late: self.too_late + other.too_late,
            answers_lost: self.answers_lost + other.answers_lost,
            unstable: self.unstable + other.unstable,
        }
    }
}

/// A topic of one partition; clones share it.
#[derive(Clone, Debug, Default)]
pub struct MemoryTopic {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// By offset; an end of a transaction takes one up, too.
    slots: Vec<Slot>,
    /// Of the writer that is not fenced.
    epoch: u64,
    /// Where the transaction begins that has not ended, and whether its end is on the way.
    open: Option<(usize, bool)>,
    troubles: Troubles,
}

#[derive(Debug)]
enum Slot {
    Message { message: Message, is_committed: bool },
    End,
}

impl State {
    fn end(&mut self, first: usize, commits: bool) {
        for slot in &mut self.slots[first..] {
            if let Slot::Message { is_committed, .. } = slot {
                *is_committed = commits;
            }
        }
        self.slots.push(Slot::End);
        self.open = None;
    }
}

impl MemoryTopic {
    /// A client of the topic. `choose(n)` gives a number below `n`: 0 is for what should be.
    pub fn client(&self, choose: impl FnMut(u64) -> u64 + Send + 'static) -> MemoryTransactions {
        MemoryTransactions { topic: self.clone(), epoch: 0, choose: Box::new(choose), pauses: true }
    }

    /// A client for which everything is as it should be.
    pub fn sound_client(&self) -> MemoryTransactions {
        self.client(|_| 0)
    }

    /// What went wrong so far.
    pub fn troubles(&self) -> Troubles {
        self.lock().troubles
    }

    /// Loses everything from an offset on, as no cluster may.
    pub fn cut(&self, offset: usize) {
        self.lock().slots.truncate(offset);
    }

    /// Somebody else writes a message, without transactions.
    pub fn put(&self, message: Message) {
        self.lock().slots.push(Slot::Message { message, is_committed: true });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while holding the lock of a topic")
    }
}

/// A client of a [`MemoryTopic`].
pub struct MemoryTransactions {
    topic: MemoryTopic,
    epoch: u64,
    choose: Box<dyn FnMut(u64) -> u64 + Send>,
    /// Whether it waits for a further attempt; otherwise a pause may be where the process is killed.
    pauses: bool,
}

impl MemoryTransactions {
    /// Lets one of four pauses be the last: as if the process was killed there.
    pub fn killed_in_pauses(mut self) -> Self {
        self.pauses = false;
        self
    }
}

impl fmt::Debug for MemoryTransactions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("MemoryTransactions").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

impl Transactions for MemoryTransactions {
    type Error = MemoryTopicError;

    fn name(&self) -> &str {
        "a topic in memory"
    }

    fn ends(&mut self) -> Result<(u64, u64), MemoryTopicError> {
        Ok((0, self.topic.lock().slots.len() as u64))
    }

    fn read(
        &mut self,
        from: u64,
        upto: Upto,
        see: &mut dyn FnMut(Seen<'_>) -> ControlFlow<()>,
    ) -> Result<(), MemoryTopicError> {
        let is_shown = (self.choose)(4) != 3;
        let mut state = self.topic.lock();
        if upto == Upto::End && (state.open.is_some() || !is_shown) {
            state.troubles.unstable += 1;
            return Err(MemoryTopicError::NoAnswer);
        }
        let stable = state.open.map_or(state.slots.len(), |(first, _)| first);
        for (offset, slot) in state.slots.iter().enumerate().take(stable).skip(from as usize) {
            if let Slot::Message { message, is_committed: true } = slot
                && see(message.seen(offset as u64)).is_break()
            {
                break;
            }
        }
        Ok(())
    }

    fn fence(&mut self) -> Result<(), MemoryTopicError> {
        let (is_refused, comes_first) = ((self.choose)(6) == 5, (self.choose)(2) == 1);
        let mut state = self.topic.lock();
        if is_refused {
            return Err(MemoryTopicError::NoAnswer);
        }
        if let Some((first, is_on_the_way)) = state.open {
            let commits = is_on_the_way && comes_first;
            state.end(first, commits);
            match (is_on_the_way, commits) {
                (true, true) => state.troubles.held += 1,
                (true, false) => state.troubles.too_late += 1,
                (false, _) => state.troubles.left_open += 1,
            }
        }
        state.epoch += 1;
        self.epoch = state.epoch;
        Ok(())
    }

    fn write(&mut self, messages: &[Message]) -> Result<u64, MemoryTopicError> {
        let fate = (self.choose)(10);
        let mut state = self.topic.lock();
        if self.epoch != state.epoch || state.open.is_some() {
            return Err(MemoryTopicError::Fenced);
        }
        if fate == 1 {
            state.troubles.refused += 1;
            return Err(MemoryTopicError::NoAnswer);
        }
        let first = state.slots.len();
        let of = |message: &Message| Slot::Message { message: message.clone(), is_committed: false };
        state.slots.extend(messages.iter().map(of));
        let behind = state.slots.len() as u64;
        match fate {
            2 | 3 => {
                state.open = Some((first, fate == 3));
                Err(MemoryTopicError::NoAnswer)
            }
            4 => {
                state.end(first, true);
                state.troubles.answers_lost += 1;
                Err(MemoryTopicError::NoAnswer)
            }
            _ => {
                state.end(first, true);
                Ok(behind)
            }
        }
    }

    fn is_transient(_: &MemoryTopicError) -> bool {
        true
    }

    fn pause(&mut self) -> bool {
        self.pauses || (self.choose)(4) != 3
    }
}
