//! The folder that a run keeps its logs in: made, locked and, with `--fresh`, moved aside.
//!
//! One process at a time owns it. The lock is the kernel's, so that it goes with the process however that ends; the pid
//! in the lock file is for people only. A lock file that is removed or replaced locks nobody out any more, so whoever owns
//! the folder looks now and then whether it is still there ([`DataFolder::check`]).
//!
//! The folder holds the records themselves: it is made for its owner alone, and so are its files. One that is there keeps
//! its permissions.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::local_disk::{LocalDisk, PRIVATE_FILE, PRIVATE_FOLDER, Room, sync_folder};

const LOCK: &str = "LOCK";

/// A data folder that this process, and no other, may write to until it is dropped.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    /// Holds the lock.
    lock: File,
    room: Option<Arc<Room>>,
}

/// Why a data folder could not be had, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum DataFolderError {
    /// Another process has it.
    #[error(
        "the data folder {} is in use by {}; stop that process, or name another folder",
        .path.display(),
        process(.pid)
    )]
    InUse {
        /// The folder.
        path: PathBuf,
        /// Whose it is, if it said so.
        pid: Option<u32>,
    },
    /// It cannot be made or written to.
    #[error("the data folder {} cannot be written to; make it writable for this user, or name another folder", .path.display())]
    Unwritable {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its lock file is a link: what it leads to is not ours to write to.
    #[error(
        "{} is not a file of its own but a link or a folder; remove it if no process has the data folder, and start again",
        .path.display()
    )]
    NoLockFile {
        /// The lock file.
        path: PathBuf,
    },
    /// It can't be read any more.
    #[error(
        "the data folder {} is gone or can't be read any more; what was written last may be lost: bring it back, or restore \
         it from a copy, and start again", .path.display()
    )]
    Gone {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It isn't ours alone any more.
    #[error(
        "somebody removed or replaced {} while this process had the data folder, so that another one may be writing to it; \
         see to it that there is no other, and start again: what was written is resumed", .path.display()
    )]
    Unlocked {
        /// The lock file.
        path: PathBuf,
    },
    /// It cannot be moved aside.
    #[error("could not move the data folder {} aside; move it away by hand, or name another folder", .path.display())]
    Unmovable {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl DataFolder {
    /// Opens the folder, which is made if there is none, and says where the former one went if it was moved aside.
    ///
    /// With `fresh`, a folder that holds anything is moved to the first free of `<name>.1`, `<name>.2`, ... beside it.
    /// Nothing is ever deleted.
    pub fn open(path: impl AsRef<Path>, fresh: bool) -> Result<(Self, Option<PathBuf>), DataFolderError> {
        let path = path.as_ref();
        let folder = Self::lock(path)?;
        if !fresh || folder.is_empty().map_err(|source| unmovable(path, source))? {
            return Ok((folder, None));
        }
        // It is moved while locked: nobody can be writing to it.
        let moved_to = folder.move_aside().map_err(|source| unmovable(path, source))?;
        Ok((Self::lock(&folder.path)?, Some(moved_to)))
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A disk in this folder.
    pub fn disk(&self) -> LocalDisk {
        match &self.room {
            None => LocalDisk::new(&self.path),
            Some(room) => LocalDisk::new(&self.path).within(Arc::clone(room)),
        }
    }

    /// From now on the folder holds at most so many bytes: its disks write nothing that would be more.
    pub fn limit(&mut self, bytes_max: u64) -> io::Result<()> {
        self.room = Some(Arc::new(Room::new(self.size_bytes()?, bytes_max)));
        Ok(())
    }

    /// Measures the folder: what others than its disks write to it counts from now on. Says how much it holds, and how much it
    /// may, where that is too much.
    pub fn measure(&self) -> io::Result<Option<(u64, u64)>> {
        self.room.as_ref().map_or(Ok(None), |room| room.measure(|| self.size_bytes()))
    }

    /// An error where the folder has gone, or its lock file: then it isn't this process's alone any more. Costs two looks at
    /// the file system.
    pub fn check(&self) -> Result<(), DataFolderError> {
        let gone = |source| DataFolderError::Gone { path: self.path.clone(), source };
        let lock_path = self.path.join(LOCK);
        let held = self.lock.metadata().map_err(gone)?;
        match fs::symlink_metadata(&lock_path) {
            Ok(found) if is_same(&found, &held) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::read_dir(&self.path).map_err(gone)?;
                Err(DataFolderError::Unlocked { path: lock_path })
            }
            Ok(_) => Err(DataFolderError::Unlocked { path: lock_path }),
            Err(source) => Err(gone(source)),
        }
    }

    /// The permissions of the folder, where others than its owner may look into it.
    pub fn open_to_others(&self) -> io::Result<Option<u32>> {
        let mode = fs::metadata(&self.path)?.mode() & 0o777;
        Ok((mode & 0o077 != 0).then_some(mode))
    }

    /// Puts a file in the place of the one of that name, if there is any: a crash leaves the one or the other, whole.
    pub fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let beside = self.path.join(format!("{name}.new"));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(PRIVATE_FILE).open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, self.path.join(name))?;
        sync_folder(&self.path)
    }

    /// How much its files hold, subfolders included. A file that goes away meanwhile counts as nothing.
    pub fn size_bytes(&self) -> io::Result<u64> {
        let mut size_bytes = 0;
        let mut folders = vec![self.path.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                match entry.metadata() {
                    Ok(metadata) if metadata.is_dir() => folders.push(entry.path()),
                    Ok(metadata) => size_bytes += metadata.len(),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(size_bytes)
    }

    fn lock(path: &Path) -> Result<Self, DataFolderError> {
        let unwritable = |source| DataFolderError::Unwritable { path: path.to_owned(), source };
        DirBuilder::new().recursive(true).mode(PRIVATE_FOLDER).create(path).map_err(unwritable)?;
        // Behind a link to another disk, the folder is moved aside over there and the link stays.
        let path = fs::canonicalize(path).map_err(unwritable)?;
        let lock_path = path.join(LOCK);
        let no_file = || DataFolderError::NoLockFile { path: lock_path.clone() };
        // A link is not followed: what it leads to would be emptied.
        if fs::symlink_metadata(&lock_path).is_ok_and(|found| !found.is_file()) {
            return Err(no_file());
        }
        let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(PRIVATE_FILE).open(&lock_path);
        let mut lock = opened.map_err(unwritable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let pid = pid_in(&lock_path);
                return Err(DataFolderError::InUse { path, pid });
            }
            Err(TryLockError::Error(source)) => return Err(unwritable(source)),
        }
        let held = lock.metadata().map_err(unwritable)?;
        match fs::symlink_metadata(&lock_path) {
            Ok(found) if is_same(&found, &held) => {}
            Ok(found) if !found.is_file() => return Err(no_file()),
            // Between opening and locking, another process may have moved the folder aside and made a new one.
            _ => return Err(DataFolderError::InUse { pid: pid_in(&lock_path), path }),
        }
        write_pid(&mut lock).map_err(unwritable)?;
        path.parent().map_or(Ok(()), sync_folder).map_err(unwritable)?;
        Ok(DataFolder { path, lock, room: None })
    }

    fn is_empty(&self) -> io::Result<bool> {
        for entry in fs::read_dir(&self.path)? {
            if entry?.file_name() != LOCK {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn move_aside(&self) -> io::Result<PathBuf> {
        let mut number = 1u32;
        loop {
            let mut name = self.path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
            name.push(format!(".{number}"));
            let aside = self.path.with_file_name(name);
            // A link that leads nowhere takes up its name, too.
            if fs::symlink_metadata(&aside).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
                fs::rename(&self.path, &aside)?;
                return Ok(aside);
            }
            number += 1;
        }
    }
}

/// Whether both are the same file.
fn is_same(one: &fs::Metadata, other: &fs::Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

fn process(pid: &Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

fn unmovable(path: &Path, source: io::Error) -> DataFolderError {
    DataFolderError::Unmovable { path: path.to_owned(), source }
}

fn write_pid(lock: &mut File) -> io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{}", std::process::id())
}

fn pid_in(lock_path: &Path) -> Option<u32> {
    fs::read_to_string(lock_path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests;
