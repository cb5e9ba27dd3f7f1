//! The outside world as traits: a clock, a disk, a log. Production and simulation implement them; nothing here does.

use std::io;

use crate::time::TimeMs;

/// Where `now_ms` of a live binding comes from.
pub trait Clock: Send {
    /// The milliseconds since 1970 by the wall clock.
    fn now_ms(&self) -> TimeMs;
}

/// Files by name, appended to and synchronised. A crash loses what was not synchronised, whole or in part.
pub trait Disk: Send {
    /// The whole file, or `None` where there is none.
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>>;
    /// Appends to the file, which is made if there is none.
    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;
    /// Cuts the file to `length` bytes.
    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()>;
    /// Returns once everything appended to the file survives a crash.
    fn sync(&mut self, name: &str) -> io::Result<()>;
}

/// A disk whose files come and go.
pub trait Folder: Disk {
    /// So many bytes of a file from an offset on; an error where there are less.
    fn read_at(&self, name: &str, offset: u64, bytes: usize) -> io::Result<Vec<u8>>;
    /// How many bytes a file has, or `None` where there is none.
    fn size(&self, name: &str) -> io::Result<Option<u64>>;
    /// The names of the files, ascending. Those that contain a `/` may be left out.
    fn names(&self) -> io::Result<Vec<String>>;
    /// Removes a file. A crash may bring it back as it was.
    fn remove(&mut self, name: &str) -> io::Result<()>;
}

/// A durable sequence of entries with one writer.
pub trait Log: Send {
    /// Every entry, from the first. A torn tail (an append that a crash cut short) is cut off; anything else that is not
    /// as it was written is an error that says where.
    fn read(&mut self) -> Result<Vec<Vec<u8>>, LogError>;
    /// Appends an entry. It is durable only after the next [`Log::sync`].
    fn append(&mut self, entry: &[u8]) -> Result<(), LogError>;
    /// Returns once every appended entry survives a crash.
    fn sync(&mut self) -> Result<(), LogError>;
}

/// A log of any length: it is written in groups and read in pages, so that neither end has to hold it.
pub trait PagedLog: Send {
    /// Appends a group of entries: all of them are durable once this returns. After an error some of them may be there.
    fn append(&mut self, entries: &[Vec<u8>]) -> Result<(), LogError>;
}

/// A reader of a [`PagedLog`]: of what is durable, also of what becomes so later.
pub trait PageReader: Send {
    /// The entries from number `from` on, at most about `bytes_max` of them and one at least; none at the end.
    fn read(&mut self, from: u64, bytes_max: usize) -> Result<Vec<Vec<u8>>, LogError>;
}

/// Told each entry of a log, with its number, in order.
pub type EachEntry<'a> = &'a mut dyn FnMut(u64, &[u8]);

/// What a log could not do.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The disk refused to do something.
    #[error("could not {doing} {name}")]
    Disk {
        /// The name of the file.
        name: String,
        /// The verb of what was tried.
        doing: &'static str,
        /// The error of the operating system.
        source: io::Error,
    },
    /// Somebody changed the file, or the disk did.
    #[error("{name} is damaged at byte {offset}: {what}; restore the file from a copy, or start again with --fresh")]
    Damaged {
        /// The name of the file.
        name: String,
        /// Where the damaged entry begins.
        offset: u64,
        /// What does not hold.
        what: String,
    },
    /// A log that is no file.
    #[error(transparent)]
    Elsewhere(Box<dyn std::error::Error + Send + Sync>),
    /// A log that is no file and can't be reached now. Nothing is lost: the same read may succeed later.
    #[error(transparent)]
    Unreachable(Box<dyn std::error::Error + Send + Sync>),
    /// It was asked to stop while it waited for whoever keeps the log.
    #[error("the log was stopped while it waited")]
    Stopped,
}

impl<L: Log + ?Sized> Log for Box<L> {
    fn read(&mut self) -> Result<Vec<Vec<u8>>, LogError> {
        (**self).read()
    }
    fn append(&mut self, entry: &[u8]) -> Result<(), LogError> {
        (**self).append(entry)
    }
    fn sync(&mut self) -> Result<(), LogError> {
        (**self).sync()
    }
}
