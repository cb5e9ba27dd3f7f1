//! A disk that loses its power in the middle of a write: what was appended lies there, and nobody synchronised it.

use std::io;
use std::sync::{Arc, Mutex};

use operators::disk::{Disk, Folder};
use operators::memory_disk::MemoryDisk;

/// A disk in memory with a fuse; clones share both.
#[derive(Clone, Debug, Default)]
pub struct FusedDisk {
    files: MemoryDisk,
    /// Appends and synchronisations that still go through; `None` is any number.
    fuse: Arc<Mutex<Option<u64>>>,
}

impl FusedDisk {
    /// The disk beneath, which keeps working.
    pub fn files(&self) -> &MemoryDisk {
        &self.files
    }

    /// Another folder of files, with the same power.
    pub fn beside(&self) -> FusedDisk {
        FusedDisk { files: MemoryDisk::default(), fuse: Arc::clone(&self.fuse) }
    }

    /// From now on so many appends and synchronisations succeed.
    pub fn burn_after(&self, operations: u64) {
        *self.fuse.lock().unwrap() = Some(operations);
    }

    /// The power is back.
    pub fn mend(&self) {
        *self.fuse.lock().unwrap() = None;
    }

    /// Whether the power is still there for one more.
    fn spend(&self) -> bool {
        match &mut *self.fuse.lock().unwrap() {
            None => true,
            Some(0) => false,
            Some(operations) => {
                *operations -= 1;
                true
            }
        }
    }
}

fn no_power() -> io::Error {
    io::Error::other("the power is gone")
}

impl Disk for FusedDisk {
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        self.files.read(name)
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        // The bytes get as far as the device's cache: how many of them survive is for the crash to say.
        self.files.append(name, bytes)?;
        if self.spend() { Ok(()) } else { Err(no_power()) }
    }

    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()> {
        self.files.truncate(name, length)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        if self.spend() { self.files.sync(name) } else { Err(no_power()) }
    }
}

impl Folder for FusedDisk {
    fn read_at(&self, name: &str, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
        self.files.read_at(name, offset, bytes)
    }

    fn size(&self, name: &str) -> io::Result<Option<u64>> {
        self.files.size(name)
    }

    fn names(&self) -> io::Result<Vec<String>> {
        self.files.names()
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.files.remove(name)
    }
}
