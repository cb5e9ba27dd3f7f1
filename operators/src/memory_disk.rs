//! A disk in memory that can crash: for tests and for the seeded scheduler.
//!
//! What was appended and not synchronised may survive a crash in part: its first bytes, as many as the caller says, which
//! is how a torn tail comes about. A cut is durable at once; a test that needs it lost has to say so by hand.
//! Files are kept by name in a sorted map, so that nothing depends on the order of a hash map.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::disk::{Disk, Folder};

/// A disk in memory; clones share the files, so that one outlives the crash of whoever wrote to the other.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk {
    files: Arc<Mutex<BTreeMap<String, File>>>,
    /// What was removed and may come back.
    removed: Arc<Mutex<BTreeMap<String, File>>>,
}

#[derive(Debug, Default)]
struct File {
    bytes: Vec<u8>,
    /// How many of the bytes survive a crash.
    synced_bytes: usize,
    /// Whether the file's name survives one.
    synced_once: bool,
}

impl MemoryDisk {
    /// A disk without files.
    pub fn new() -> Self {
        MemoryDisk::default()
    }

    /// Drops what was not synchronised, but for the first `keep(name, unsynced bytes)` bytes of it in each file. What
    /// remains is durable. A file that was never synchronised and of which nothing is kept is gone.
    pub fn crash(&self, mut keep: impl FnMut(&str, usize) -> usize) {
        self.lock().retain(|name, file| {
            let unsynced_bytes = file.bytes.len() - file.synced_bytes;
            let kept_bytes = if unsynced_bytes == 0 { 0 } else { keep(name, unsynced_bytes).min(unsynced_bytes) };
            file.bytes.truncate(file.synced_bytes + kept_bytes);
            file.synced_bytes = file.bytes.len();
            file.synced_once |= kept_bytes > 0;
            file.synced_once
        });
    }

    /// Lets some of the files come back that were removed since this was called before, unless there is another of their
    /// name: what a crash may do to a folder that nobody synchronised.
    pub fn bring_back(&self, mut comes_back: impl FnMut(&str) -> bool) {
        for (name, file) in std::mem::take(&mut *Self::locked(&self.removed)) {
            if file.synced_once && comes_back(&name) {
                self.lock().entry(name).or_insert(file);
            }
        }
    }

    /// Every file and all of its bytes, synchronised or not: to compare two runs.
    pub fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        self.lock().iter().map(|(name, file)| (name.clone(), file.bytes.clone())).collect()
    }

    /// Puts a file there as if it had always been: to plant damage.
    pub fn put(&self, name: &str, bytes: impl Into<Vec<u8>>) {
        let bytes = bytes.into();
        let file = File { synced_bytes: bytes.len(), bytes, synced_once: true };
        self.lock().insert(name.to_owned(), file);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, File>> {
        Self::locked(&self.files)
    }

    fn locked(files: &Mutex<BTreeMap<String, File>>) -> MutexGuard<'_, BTreeMap<String, File>> {
        files.lock().expect("nobody panics while holding the lock of a disk")
    }
}

impl Disk for MemoryDisk {
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.lock().get(name).map(|file| file.bytes.clone()))
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut files = self.lock();
        match files.get_mut(name) {
            Some(file) => file.bytes.extend_from_slice(bytes),
            None => {
                let file = File { bytes: bytes.to_vec(), ..File::default() };
                files.insert(name.to_owned(), file);
            }
        }
        Ok(())
    }

    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()> {
        let mut files = self.lock();
        let file = files.get_mut(name).ok_or(io::ErrorKind::NotFound)?;
        match usize::try_from(length) {
            Ok(length) if length <= file.bytes.len() => file.bytes.truncate(length),
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        }
        file.synced_bytes = file.synced_bytes.min(file.bytes.len());
        Ok(())
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        let mut files = self.lock();
        let file = files.get_mut(name).ok_or(io::ErrorKind::NotFound)?;
        file.synced_bytes = file.bytes.len();
        file.synced_once = true;
        Ok(())
    }
}

impl Folder for MemoryDisk {
    fn read_at(&self, name: &str, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
        let files = self.lock();
        let file = files.get(name).ok_or(io::ErrorKind::NotFound)?;
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let found = file.bytes.get(from..from.saturating_add(bytes)).ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(found.to_vec())
    }

    fn size(&self, name: &str) -> io::Result<Option<u64>> {
        Ok(self.lock().get(name).map(|file| file.bytes.len() as u64))
    }

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.lock().keys().cloned().collect())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        let mut file = self.lock().remove(name).ok_or(io::ErrorKind::NotFound)?;
        file.bytes.truncate(file.synced_bytes);
        Self::locked(&self.removed).insert(name.to_owned(), file);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_keeps_what_was_synchronised_and_as_much_of_the_rest_as_is_asked_for() {
        let disk = MemoryDisk::new();
        let mut writer = disk.clone();
        writer.append("log", b"durable").unwrap();
        writer.sync("log").unwrap();
        writer.append("log", b" and not").unwrap();
        writer.append("new", b"never synchronised").unwrap();

        let mut asked = Vec::new();
        disk.crash(|name, unsynced_bytes| {
            asked.push((name.to_owned(), unsynced_bytes));
            if name == "log" { 4 } else { 0 }
        });

        assert_eq!(asked, [("log".to_owned(), 8), ("new".to_owned(), 18)]);
        assert_eq!(disk.read("log").unwrap().unwrap(), b"durable and");
        assert_eq!(disk.read("new").unwrap(), None);
        disk.crash(|name, _| panic!("{name} survived a crash and is durable"));
    }

    #[test]
    fn a_cut_file_goes_on_at_the_cut() {
        let mut disk = MemoryDisk::new();
        disk.append("log", b"one two").unwrap();
        disk.sync("log").unwrap();
        disk.truncate("log", 4).unwrap();
        disk.append("log", b"three").unwrap();
        assert_eq!(disk.read("log").unwrap().unwrap(), b"one three");
        disk.crash(|_, _| 0);
        assert_eq!(disk.read("log").unwrap().unwrap(), b"one ");
        assert!(disk.truncate("log", 5).is_err(), "a cut never lengthens a file");
    }

    #[test]
    fn a_crash_may_bring_back_what_was_removed() {
        let mut disk = MemoryDisk::new();
        for name in ["kept", "back", "gone", "new"] {
            disk.append(name, name.as_bytes()).unwrap();
            if name != "new" {
                disk.sync(name).unwrap();
            }
            disk.append(name, b" and more").unwrap();
        }
        assert_eq!(disk.read_at("kept", 2, 4).unwrap(), b"pt a");
        assert!(disk.read_at("kept", 2, 40).is_err());
        for name in ["back", "gone", "new"] {
            disk.remove(name).unwrap();
        }
        assert!(disk.remove("new").is_err());
        disk.bring_back(|name| name != "gone");
        assert_eq!(disk.names().unwrap(), ["back", "kept"]);
        assert_eq!(disk.read("back").unwrap().unwrap(), b"back", "as it was synchronised");
        disk.bring_back(|name| panic!("{name} was removed long ago"));
    }
}
