//! A [`Log`] in something that keeps messages in transactions, such as a topic: it outlives the machine, and a writer that
//! comes fences the one before.
//!
//! ```text
//! append -> pending -> sync: one transaction with all that is pending -> durable
//! ```
//!
//! A writer begins in a fixed order: it fences whoever wrote before, which ends what that one left open; it claims the log
//! with a message; only then is the log read. After any failure, whatever its kind, nobody knows what became of the last
//! transaction: it is read, never guessed. Before the next attempt fences anybody it looks who wrote last, since a process
//! that was frozen for long must not fence the one that took its place. Then it reads what lies behind the last entry that
//! it knows of: what was pending is there as a whole or not at all, and is not written twice. Until then [`Log::sync`]
//! waits, says so, and ends only when it is told to stop.
//!
//! What keeps the messages is a trait, [`Transactions`]: Kafka in production, a model in the simulation.

use std::ops::ControlFlow;

use crate::disk::{Log, LogError};
use crate::framed_log::ENTRY_BYTES_MAX;

use self::chain::{CLAIM, Chain, Link};
pub use self::pages::{PagedTransactionalLog, TransactionalReader};

mod chain;
mod pages;
#[cfg(test)]
mod tests;

/// A message that is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The key of the message.
    pub key: Vec<u8>,
    /// The headers of the message, in their order.
    pub headers: Vec<(&'static str, String)>,
    /// The value of the message.
    pub value: Vec<u8>,
}

impl Message {
    fn claim(writer: &str) -> Message {
        Message { key: CLAIM.to_vec(), headers: Vec::new(), value: writer.as_bytes().to_vec() }
    }

    /// The same as it is read at an offset.
    pub fn seen(&self, offset: u64) -> Seen<'_> {
        let headers = self.headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        Seen { offset, key: &self.key, headers, value: &self.value }
    }
}

/// A message that is read.
#[derive(Clone, Debug)]
pub struct Seen<'a> {
    /// Where it lies. Offsets ascend, and may leave gaps.
    pub offset: u64,
    /// The key of the message.
    pub key: &'a [u8],
    /// The headers of the message.
    pub headers: Vec<(&'a str, &'a [u8])>,
    /// The value of the message.
    pub value: &'a [u8],
}

/// How far committed messages are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upto {
    /// To the end as it is at the beginning of reading: transactions that are open before it are waited for.
    End,
    /// To the first open transaction.
    Stable,
}

/// Whoever keeps messages in transactions, for one writer at a time.
pub trait Transactions: Send {
    /// What it could not do.
    type Error: std::error::Error + Send + Sync + 'static;

    /// What it is called, for people: `topic "orders"`.
    fn name(&self) -> &str;
    /// The first offset that it holds, and the one behind its last.
    fn ends(&mut self) -> Result<(u64, u64), Self::Error>;
    /// Shows every committed message from an offset on, in order, until `see` breaks.
    fn read(
        &mut self,
        from: u64,
        upto: Upto,
        see: &mut dyn FnMut(Seen<'_>) -> ControlFlow<()>,
    ) -> Result<(), Self::Error>;
    /// Becomes the one writer: from now on nothing of another one is committed, and what was open is ended.
    fn fence(&mut self) -> Result<(), Self::Error>;
    /// Writes messages as one transaction; gives an offset which is behind all of them and not behind what comes next. An
    /// error leaves open whether they are there, and the writer has to [`Transactions::fence`] again.
    fn write(&mut self, messages: &[Message]) -> Result<u64, Self::Error>;
    /// Whether the same may succeed later.
    fn is_transient(error: &Self::Error) -> bool;
    /// Waits before the next attempt; false if there shall be none.
    fn pause(&mut self) -> bool;
}

/// What a log could not do, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum TransactionalLogError<E: std::error::Error + 'static> {
    /// The broker or its client failed.
    #[error(transparent)]
    Transactions(E),
    /// What is needed was deleted.
    #[error(
        "the log in {name} has lost its beginning: its first offset is {low}; restore it from a copy, or name another place \
         and start again with --fresh"
    )]
    Emptied {
        /// The name of the topic.
        name: String,
        /// The first offset that the topic still has.
        low: u64,
    },
    /// Somebody else wrote into it, or something was lost.
    #[error(
        "the log in {name} is damaged at offset {offset}: {what}; restore it from a copy, or name another place and start \
         again with --fresh"
    )]
    Damaged {
        /// The name of the topic.
        name: String,
        /// The offset at which it is damaged.
        offset: u64,
        /// What does not hold.
        what: String,
    },
    /// It ends before what was durable.
    #[error(
        "the log in {name} went back: it ended at offset {before}, and now ends at {now}; it was made anew, or what had been \
         acknowledged was lost"
    )]
    WentBack {
        /// The name of the topic.
        name: String,
        /// The offset at which it ended before.
        before: u64,
        /// The offset at which it ends now.
        now: u64,
    },
    /// Another process writes it.
    #[error("another process has taken over the log in {name}; two runs of one log? stop one of them")]
    TakenOver {
        /// The name of the topic.
        name: String,
    },
    /// More than is ever written.
    #[error("an entry for the log in {name} has {bytes} bytes, {ENTRY_BYTES_MAX} are allowed")]
    TooLarge {
        /// The name of the topic.
        name: String,
        /// How long the entry is.
        bytes: usize,
    },
    /// It was asked to stop while it waited.
    #[error("the log in {name} was stopped while it waited")]
    Stopped {
        /// The name of the topic.
        name: String,
    },
}

impl<E: std::error::Error + Send + Sync + 'static> From<TransactionalLogError<E>> for LogError {
    fn from(error: TransactionalLogError<E>) -> LogError {
        match error {
            TransactionalLogError::Stopped { .. } => LogError::Stopped,
            error => LogError::Elsewhere(Box::new(error)),
        }
    }
}

/// The one writer of a log.
#[derive(Debug)]
pub struct TransactionalLog<T> {
    transactions: T,
    /// A name for this writer, which nobody else has.
    writer: String,
    /// Whether it is the one that may write, as far as it knows.
    has_fenced: bool,
    /// Where the durable log ends, once it has been read.
    end: Option<End>,
    pending: Vec<Vec<u8>>,
}

/// Where a log ends.
#[derive(Clone, Copy, Debug, Default)]
struct End {
    link: Link,
    /// Behind its last message.
    offset: u64,
}

impl<T: Transactions> TransactionalLog<T> {
    /// Takes the log over from whoever wrote it before. Nobody else may ever have this writer's name.
    pub fn open(mut transactions: T, writer: String) -> Result<Self, TransactionalLogError<T::Error>> {
        transactions.fence().map_err(TransactionalLogError::Transactions)?;
        let claim = Message::claim(&writer);
        transactions.write(&[claim]).map_err(TransactionalLogError::Transactions)?;
        Ok(TransactionalLog { transactions, writer, has_fenced: true, end: None, pending: Vec::new() })
    }

    fn name(&self) -> String {
        self.transactions.name().to_owned()
    }

    /// Makes what is pending durable, however long that takes.
    fn sync_pending(&mut self) -> Result<(), TransactionalLogError<T::Error>> {
        let mut attempts = 0_u32;
        while !self.pending.is_empty() {
            match if self.has_fenced { self.write() } else { self.take_up() } {
                Ok(()) => {}
                Err(TransactionalLogError::Transactions(error)) if T::is_transient(&error) => {
                    self.has_fenced = false;
                    attempts += 1;
                    // Again, but ever less often: what stands in the way may change.
                    if attempts.is_power_of_two() {
                        let (log, error) = (self.name(), told(&error));
                        tracing::warn!(
                            log,
                            error,
                            attempts,
                            "the log can't be written now; the run waits until it can be"
                        );
                    }
                    if !self.transactions.pause() {
                        return Err(TransactionalLogError::Stopped { name: self.name() });
                    }
                }
                Err(error) => return Err(error),
            }
        }
        if attempts > 0 {
            tracing::warn!(log = self.name(), "the log can be written again");
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), TransactionalLogError<T::Error>> {
        let End { mut link, offset: before } = self.end.expect("whoever appends has read to the end");
        let mut messages = Vec::new();
        for entry in &self.pending {
            messages.extend(chain::messages(link, entry, &self.writer));
            link = link.with(entry);
        }
        let offset = self.transactions.write(&messages).map_err(TransactionalLogError::Transactions)?;
        if offset <= before {
            return Err(TransactionalLogError::WentBack { name: self.name(), before, now: offset });
        }
        self.end = Some(End { link, offset });
        self.pending.clear();
        Ok(())
    }

    /// Goes on after a failure, unless somebody else has taken over meanwhile. What was pending is not pending any more if
    /// it turns out to be there.
    fn take_up(&mut self) -> Result<(), TransactionalLogError<T::Error>> {
        let end = self.end.expect("whoever appends has read to the end");
        let (_, chain, _) = read_on(&mut self.transactions, end, Upto::Stable)?;
        if chain.writer.is_some_and(|writer| writer != self.writer) {
            return Err(TransactionalLogError::TakenOver { name: self.name() });
        }
        self.transactions.fence().map_err(TransactionalLogError::Transactions)?;
        let (entries, chain, offset) = read_on(&mut self.transactions, end, Upto::End)?;
        self.end = Some(End { link: chain.link(), offset });
        if entries == self.pending {
            self.pending.clear();
        } else if !entries.is_empty() {
            let what = "there are entries that this writer did not write".to_owned();
            return Err(TransactionalLogError::Damaged { name: self.name(), offset: end.offset, what });
        }
        self.has_fenced = true;
        Ok(())
    }
}

impl<T: Transactions> Log for TransactionalLog<T> {
    fn read(&mut self) -> Result<Vec<Vec<u8>>, LogError> {
        self.sync_pending()?;
        let (entries, chain, offset) = read_on(&mut self.transactions, End::default(), Upto::End)?;
        self.end = Some(End { link: chain.link(), offset });
        Ok(entries)
    }

    fn append(&mut self, entry: &[u8]) -> Result<(), LogError> {
        if entry.len() > ENTRY_BYTES_MAX {
            let (name, bytes) = (self.name(), entry.len());
            return Err(TransactionalLogError::<T::Error>::TooLarge { name, bytes }.into());
        }
        if self.end.is_none() {
            self.read()?;
        }
        self.pending.push(entry.to_vec());
        Ok(())
    }

    fn sync(&mut self) -> Result<(), LogError> {
        Ok(self.sync_pending()?)
    }
}

/// The entries that are committed now, for those who only read: nobody is fenced.
pub fn read_entries<T: Transactions>(transactions: &mut T) -> Result<Vec<Vec<u8>>, TransactionalLogError<T::Error>> {
    Ok(read_on(transactions, End::default(), Upto::Stable)?.0)
}

/// What was read, what came of it, and the offset behind it.
type ReadOn = (Vec<Vec<u8>>, Chain, u64);

/// Reads on from `end`.
fn read_on<T: Transactions>(
    transactions: &mut T,
    end: End,
    upto: Upto,
) -> Result<ReadOn, TransactionalLogError<T::Error>> {
    let mut entries = Vec::new();
    let (chain, offset) = scan_on(transactions, end, upto, &mut |entry, _| {
        entries.push(entry);
        ControlFlow::Continue(())
    })?;
    Ok((entries, chain, offset))
}

/// Shows every entry behind `end` with where it ends, until `see` breaks; gives what came of it, and the offset behind it.
fn scan_on<T: Transactions>(
    transactions: &mut T,
    end: End,
    upto: Upto,
    see: &mut dyn FnMut(Vec<u8>, End) -> ControlFlow<()>,
) -> Result<(Chain, u64), TransactionalLogError<T::Error>> {
    let name = transactions.name().to_owned();
    let (low, high) = transactions.ends().map_err(TransactionalLogError::Transactions)?;
    if low > 0 {
        return Err(TransactionalLogError::Emptied { name, low });
    }
    if high < end.offset {
        return Err(TransactionalLogError::WentBack { name, before: end.offset, now: high });
    }
    let (mut chain, mut offset, mut wrong) = (Chain::after(end.link), end.offset, None);
    let read = transactions.read(end.offset, upto, &mut |seen| match chain.take(&seen) {
        Ok(entry) => {
            offset = seen.offset + 1;
            entry.map_or(ControlFlow::Continue(()), |entry| see(entry, End { link: chain.link(), offset }))
        }
        Err(what) => {
            wrong = Some((seen.offset, what));
            ControlFlow::Break(())
        }
    });
    read.map_err(TransactionalLogError::Transactions)?;
    match wrong.or_else(|| Some((offset, chain.is_between_entries().err()?))) {
        None => Ok((chain, offset)),
        Some((offset, what)) => Err(TransactionalLogError::Damaged { name, offset, what }),
    }
}

fn told(error: &dyn std::error::Error) -> String {
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("{error}{cause}")
}
