//! How much a folder may hold, and holds: a limit that is looked at before anything is written, not behind it.
//!
//! The disks that share a room count what they write. What others write there, such as objects of a store or another disk's
//! files, counts once the folder is measured.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number of bytes that may be used, and how many of them are.
#[derive(Debug)]
pub struct Room {
    used_bytes: AtomicU64,
    bytes_max: u64,
    /// How much was written and taken away since the room was made: tells whether anything was while it was measured.
    changes: AtomicU64,
}

impl Room {
    /// Room for so many bytes, of which some are used.
    pub fn new(used_bytes: u64, bytes_max: u64) -> Room {
        Room { used_bytes: AtomicU64::new(used_bytes), bytes_max, changes: AtomicU64::new(0) }
    }

    /// Takes so many bytes, or none where there are less.
    pub(super) fn take(&self, bytes: u64) -> io::Result<()> {
        let with_them = |used: u64| used.checked_add(bytes).filter(|with_them| *with_them <= self.bytes_max);
        self.changes.fetch_add(1, Ordering::AcqRel);
        match self.used_bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, with_them) {
            Ok(_) => Ok(()),
            Err(used) => Err(io::Error::new(
                io::ErrorKind::StorageFull,
                format!(
                    "the data folder holds {used} bytes, and {bytes} more would be beyond data_bytes_max = {}; raise the \
                     limit, switch sinks off (`sink = \"none\"`), or start again with --fresh",
                    self.bytes_max
                ),
            )),
        }
    }

    /// Gives bytes back that are not used any more.
    pub(super) fn give_back(&self, bytes: u64) {
        self.changes.fetch_add(1, Ordering::AcqRel);
        let without = |used: u64| Some(used.saturating_sub(bytes));
        // It is never refused.
        let _ = self.used_bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, without);
    }

    /// Counts anew by what is measured, unless something is written meanwhile: then it is measured the next time. Says how
    /// much is used and how much may be, where that is too much.
    pub(crate) fn measure(&self, size_bytes: impl FnOnce() -> io::Result<u64>) -> io::Result<Option<(u64, u64)>> {
        let changes = self.changes.load(Ordering::Acquire);
        let size_bytes = size_bytes()?;
        if self.changes.load(Ordering::Acquire) == changes {
            self.used_bytes.store(size_bytes, Ordering::Release);
        }
        Ok((size_bytes > self.bytes_max).then_some((size_bytes, self.bytes_max)))
    }
}
