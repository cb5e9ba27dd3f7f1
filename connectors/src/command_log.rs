//! The command log: what people tell a run while it is there, as a log of its own beside the remap log.
//!
//! A command is durable before anybody is told that it was taken, and from then on it is input like any other: the remap
//! log binds it, a replay reads it again. What the commands mean is the decoder's business.
//!
//! ```text
//! requests -> CommandWriter (one thread: a group, one synchronisation) -> log
//!                    \ newest pages                                        | pages, read when they are asked for
//!                     Commands (a bounded cache) <-------------------------/
//!                        \-> CommandSource, one for each partition in which records enter again
//! ```
//!
//! The log may be of any length: in memory is a sparse index of it, and [`CACHE_BYTES_MAX`] of pages. In a cluster process 0
//! has the log; the others ask it for the pages that their readers need.

mod cache;
mod source;
mod writer;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use operators::disk::{LogError, PageReader};

pub use cache::CACHE_BYTES_MAX;
use cache::Cache;
pub use source::CommandSource;
pub use writer::{CommandWriter, QUEUE_BYTES_MAX};

/// How many bytes of commands are read or told at once, but for one that is longer.
pub const PAGE_BYTES: usize = 256 << 10;

/// How long a process waits for a page before it asks for it again.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Why a command was not taken.
#[derive(Debug, thiserror::Error)]
pub enum CommandLogError {
    /// Too many commands wait to become durable.
    #[error(
        "the command log waits for whoever keeps it, and {QUEUE_BYTES_MAX} bytes of commands wait for it; ask again later"
    )]
    Busy,
    /// What the log holds is not known since it refused a command.
    #[error("the command log could not be written and takes no more commands ({what}); restart the run")]
    Failed {
        /// What went wrong.
        what: String,
    },
}

/// Some commands that follow each other.
pub type Page = Vec<Arc<[u8]>>;

/// The answer to somebody who reads commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// The next ones, one at least.
    Commands(Page),
    /// There are no more so far.
    End,
    /// Process 0 was asked for them.
    Coming,
}

/// The commands that are durable, by their numbers; clones share them.
#[derive(Clone)]
pub struct Commands(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Something changed in the state.
    changed: Condvar,
    origin: Origin,
}

#[derive(Default)]
struct State {
    /// How many there are; unknown in a process that was not told yet.
    end: Option<u64>,
    cache: Cache,
    /// Why the log takes no more.
    failure: Option<String>,
    /// Pages that process 0 was asked for, by the number of their first command, and when.
    asked: BTreeMap<u64, Instant>,
}

enum Origin {
    /// A log of this process.
    Log(Mutex<Box<dyn PageReader>>),
    /// Process 0, which is asked for the commands from a number on.
    Asked(Box<dyn Fn(u64) + Send + Sync>),
}

/// A log that is empty for ever.
struct EmptyLog;

impl PageReader for EmptyLog {
    fn read(&mut self, _: u64, _: usize) -> Result<Vec<Vec<u8>>, LogError> {
        Ok(Vec::new())
    }
}

impl Default for Commands {
    fn default() -> Self {
        Commands::of_log(0, Box::new(EmptyLog))
    }
}

impl fmt::Debug for Commands {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Commands").field("end", &self.state().end).finish_non_exhaustive()
    }
}

impl Commands {
    /// Those of a log that holds `end` of them.
    pub fn of_log(end: u64, reader: Box<dyn PageReader>) -> Self {
        Commands::new(State { end: Some(end), ..State::default() }, Origin::Log(Mutex::new(reader)))
    }

    /// Those that process 0 has: `ask` asks it for the ones from a number on, which it tells by [`Commands::told`].
    pub fn elsewhere(ask: impl Fn(u64) + Send + Sync + 'static) -> Self {
        Commands::new(State::default(), Origin::Asked(Box::new(ask)))
    }

    fn new(state: State, origin: Origin) -> Self {
        Commands(Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new(), origin }))
    }

    /// How many there are: the number of the next one. None as long as process 0 has not said it.
    pub fn end(&self) -> Option<u64> {
        self.state().end
    }

    /// Those from a number on, at most about `bytes_max` of them. May read the disk.
    pub fn read(&self, from: u64, bytes_max: usize) -> Result<Piece, LogError> {
        if let Some(piece) = self.known(from, bytes_max) {
            return Ok(piece);
        }
        match &self.0.origin {
            Origin::Log(reader) => {
                let mut reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
                // Whoever had the reader before may have read the same.
                if let Some(piece) = self.known(from, bytes_max) {
                    return Ok(piece);
                }
                let page: Page = reader.read(from, PAGE_BYTES)?.into_iter().map(Arc::from).collect();
                self.state().cache.insert(from, page);
            }
            Origin::Asked(ask) => {
                if self.state().is_to_be_asked(from, Instant::now()) {
                    ask(from);
                }
            }
        }
        Ok(self.known(from, bytes_max).unwrap_or(Piece::Coming))
    }

    /// What is known without asking anybody.
    fn known(&self, from: u64, bytes_max: usize) -> Option<Piece> {
        let mut state = self.state();
        if state.end.is_some_and(|end| from >= end) {
            return Some(Piece::End);
        }
        state.cache.find(from, bytes_max).map(Piece::Commands)
    }

    /// Takes a page that process 0 told, which begins with the command `first`.
    pub fn told(&self, first: u64, page: Vec<Vec<u8>>) {
        let mut state = self.state();
        state.asked.remove(&first);
        state.cache.insert(first, page.into_iter().map(Arc::from).collect());
    }

    /// There are so many of them now, as process 0 or the log says.
    pub fn ended(&self, end: u64) {
        let mut state = self.state();
        state.end = state.end.max(Some(end));
        self.0.changed.notify_all();
    }

    /// A group of them has become durable.
    fn grown(&self, group: Vec<Vec<u8>>) {
        let mut state = self.state();
        let first = state.end.unwrap_or(0);
        state.end = Some(first + group.len() as u64);
        state.cache.insert(first, group.into_iter().map(Arc::from).collect());
        self.0.changed.notify_all();
    }

    /// The log takes no more of them.
    fn failed(&self, what: String) {
        self.state().failure.get_or_insert(what);
        self.0.changed.notify_all();
    }

    /// Returns once a command is durable, or once it is too late for that: says whether it is.
    pub fn wait_for(&self, number: u64, deadline: Instant) -> Result<bool, CommandLogError> {
        let mut state = self.state();
        loop {
            if state.end.is_some_and(|end| number < end) {
                return Ok(true);
            }
            state.check()?;
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            state = self.0.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// An error once the log takes no more commands.
    fn check(&self) -> Result<(), CommandLogError> {
        self.state().check()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn check(&self) -> Result<(), CommandLogError> {
        match &self.failure {
            Some(what) => Err(CommandLogError::Failed { what: what.clone() }),
            None => Ok(()),
        }
    }

    fn is_to_be_asked(&mut self, from: u64, now: Instant) -> bool {
        self.asked.retain(|_, asked| now.saturating_duration_since(*asked) < ASK_AGAIN_AFTER);
        match self.asked.contains_key(&from) {
            true => false,
            false => self.asked.insert(from, now).is_none(),
        }
    }
}

#[cfg(test)]
mod tests;
