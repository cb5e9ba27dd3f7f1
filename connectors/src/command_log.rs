//! The command log: what people tell a run while it is there, as a log of its own beside the remap log.
//!
//! A command is durable before anybody is told that it was taken, and from then on it is input like any other: the remap
//! log binds it, a replay reads it again. What the commands mean is the decoder's business.
//!
//! Commands are few. They are kept in memory as they lie in the file, and [`BYTES_MAX`] bounds both.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use operators::disk::{Log, LogError};
use operators::record::{Batch, DecodeMessage, Item, RAW_BYTES_MAX};
use operators::source::{Polled, Source, SourceError};

/// How many bytes of commands a run may be told in all.
pub const BYTES_MAX: u64 = 256 << 20;

/// How often a reader at the end of the log says so.
const TELL_END_EVERY: Duration = Duration::from_millis(250);

/// Why a command was not taken.
#[derive(Debug, thiserror::Error)]
pub enum CommandLogError {
    /// The log refused.
    #[error(transparent)]
    Log(#[from] LogError),
    /// It is full.
    #[error(
        "the command log holds {held} bytes, and {more} more would pass its limit of {BYTES_MAX}; \
         start a new run (--fresh) from repaired input"
    )]
    Full {
        /// What it holds.
        held: u64,
        /// What was to be added.
        more: u64,
    },
    /// What is on the disk is not known since a command was refused by it.
    #[error("the command log failed before and takes no more commands; restart the run")]
    Failed,
}

/// The commands that are durable, by their numbers.
#[derive(Clone, Debug, Default)]
pub struct Commands(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    commands: Vec<Arc<[u8]>>,
    /// In a copy: that there are others, which are still to be told.
    is_partial: bool,
}

impl Commands {
    /// A copy of what another process has, of which nothing was told yet.
    pub fn copy() -> Self {
        Commands(Arc::new(Mutex::new(Held { commands: Vec::new(), is_partial: true })))
    }

    /// Takes what the process that has the log tells of it: commands from the number `first` on, in order, and whether these
    /// are all that it has so far.
    ///
    /// # Panics
    /// If some were left out: that would be the mistake of whoever told them.
    pub fn told(&self, first: u64, commands: Vec<Vec<u8>>, is_all: bool) {
        let mut held = self.held();
        assert_eq!(first, held.commands.len() as u64, "commands are told in their order");
        held.commands.extend(commands.into_iter().map(Arc::from));
        held.is_partial = !is_all;
    }

    /// Those from a number on, in order; shares their bytes.
    pub fn from(&self, number: u64) -> Vec<Arc<[u8]>> {
        let commands = &self.held().commands;
        commands[usize::try_from(number).unwrap_or(usize::MAX).min(commands.len())..].to_vec()
    }

    /// How many there are: the number of the next one.
    pub fn end(&self) -> u64 {
        self.held().commands.len() as u64
    }

    /// A copy of each, in order; shares their bytes.
    pub fn all(&self) -> Vec<Arc<[u8]>> {
        self.held().commands.clone()
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The one writer of a command log.
#[derive(Debug)]
pub struct CommandLog<L> {
    log: L,
    commands: Commands,
    bytes: u64,
    failed: bool,
}

impl<L: Log> CommandLog<L> {
    /// Reads what there is.
    pub fn open(mut log: L) -> Result<Self, LogError> {
        let entries = log.read()?;
        let bytes = entries.iter().map(|entry| entry.len() as u64).sum();
        let commands = Commands::default();
        commands.told(0, entries, true);
        Ok(CommandLog { log, commands, bytes, failed: false })
    }

    /// The durable commands, also those that are still to come.
    pub fn commands(&self) -> Commands {
        self.commands.clone()
    }

    /// Makes commands durable, all of them or, if this fails, possibly none; gives their numbers.
    pub fn append(&mut self, commands: &[Vec<u8>]) -> Result<Range<u64>, CommandLogError> {
        if self.failed {
            return Err(CommandLogError::Failed);
        }
        let more = commands.iter().map(|command| command.len() as u64).sum();
        if self.bytes + more > BYTES_MAX {
            return Err(CommandLogError::Full { held: self.bytes, more });
        }
        // Until the disk has said yes nobody knows what it holds.
        self.failed = true;
        for command in commands {
            self.log.append(command)?;
        }
        self.log.sync()?;
        self.failed = false;
        self.bytes += more;
        let held = &mut self.commands.held().commands;
        let first = held.len() as u64;
        held.extend(commands.iter().map(|command| Arc::from(command.as_slice())));
        Ok(first..held.len() as u64)
    }
}

/// The [`Source`] over a command log: a command's offset is its number. Whatever is no command for the decoder is passed
/// over; it is one for somebody else.
#[derive(Debug)]
pub struct CommandSource<D> {
    commands: Commands,
    decoder: D,
    origin: Arc<str>,
    next: u64,
    told_end: Option<(u64, Instant)>,
}

impl<D: DecodeMessage> CommandSource<D> {
    /// A reader of these commands; `origin` names them in dead letters.
    pub fn new(commands: Commands, origin: &str, decoder: D) -> Self {
        CommandSource { commands, decoder, origin: origin.into(), next: 0, told_end: None }
    }

    /// The next commands; none at all where this is the end, as far as anybody knows.
    fn take(&self, bytes_max: usize) -> Option<Vec<Arc<[u8]>>> {
        let held = &self.commands.held();
        let from = usize::try_from(self.next).unwrap_or(usize::MAX).min(held.commands.len());
        if from == held.commands.len() && !held.is_partial {
            return None;
        }
        let (mut taken, mut bytes) = (Vec::new(), 0);
        for command in &held.commands[from..] {
            if bytes > 0 && bytes + command.len() > bytes_max {
                break;
            }
            bytes += command.len();
            taken.push(Arc::clone(command));
        }
        Some(taken)
    }
}

impl<D: DecodeMessage> Source for CommandSource<D> {
    type Record = D::Record;

    fn seek(&mut self, offset: u64) -> Result<(), SourceError> {
        let end = self.commands.end();
        // What a copy was not told yet is on its way: nobody seeks what is not durable.
        if offset > end && !self.commands.held().is_partial {
            return Err(SourceError::Truncated { origin: self.origin.to_string(), wanted: offset, end });
        }
        (self.next, self.told_end) = (offset, None);
        Ok(())
    }

    fn poll(&mut self, bytes_max: usize) -> Result<Polled<D::Record>, SourceError> {
        let Some(commands) = self.take(bytes_max) else {
            let is_told = |(end, at): (u64, Instant)| end == self.next && at.elapsed() < TELL_END_EVERY;
            if self.told_end.is_some_and(is_told) {
                return Ok(Polled::Nothing);
            }
            self.told_end = Some((self.next, Instant::now()));
            return Ok(Polled::CaughtUp(self.next));
        };
        if commands.is_empty() {
            return Ok(Polled::Nothing);
        }
        let (mut items, mut text, mut text_starts) = (Vec::new(), Vec::new(), Vec::new());
        for (offset, command) in (self.next..).zip(&commands) {
            let start = text.len();
            text.extend_from_slice(command);
            self.decoder.decode_message(command, |part, outcome| {
                let from = part.start as usize;
                let upto = from + (part.length as usize).min(RAW_BYTES_MAX);
                let raw = || command.get(from..upto.min(command.len())).unwrap_or_default().to_vec();
                text_starts.push(u32::try_from(start + from).unwrap_or(u32::MAX));
                let outcome = outcome.map_err(|rejection| (rejection, raw()));
                items.push(Item { offset, length: part.length, line: part.place, outcome });
            });
        }
        self.next += commands.len() as u64;
        Ok(Polled::Batch(Batch {
            end_offset: self.next,
            bytes: text.len() as u64,
            origin: Arc::clone(&self.origin),
            items,
            text: text.into(),
            text_offset: 0,
            text_starts,
            append_ms: Vec::new(),
        }))
    }
}

#[cfg(test)]
mod tests;
