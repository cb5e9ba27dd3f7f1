//! The folder that a run keeps its logs in: made, locked and, with `--fresh`, moved aside.
//!
//! One process at a time owns it. The lock is the kernel's, so that it goes with the process however that ends; the pid
//! in the lock file is for people only.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};

use crate::local_disk::{LocalDisk, sync_folder};

const LOCK: &str = "LOCK";

/// A data folder that this process, and no other, may write to until it is dropped.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    /// Holds the lock.
    _lock: File,
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
        LocalDisk::new(&self.path)
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
        fs::create_dir_all(path).map_err(unwritable)?;
        // Behind a link to another disk, the folder is moved aside over there and the link stays.
        let path = fs::canonicalize(path).map_err(unwritable)?;
        let lock_path = path.join(LOCK);
        let mut lock =
            OpenOptions::new().write(true).create(true).truncate(false).open(&lock_path).map_err(unwritable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let pid = pid_in(&lock_path);
                return Err(DataFolderError::InUse { path, pid });
            }
            Err(TryLockError::Error(source)) => return Err(unwritable(source)),
        }
        write_pid(&mut lock).map_err(unwritable)?;
        // Between opening and locking, another process may have moved the folder aside and made a new one.
        match pid_in(&lock_path) {
            Some(pid) if pid == std::process::id() => {}
            pid => return Err(DataFolderError::InUse { path, pid }),
        }
        path.parent().map_or(Ok(()), sync_folder).map_err(unwritable)?;
        Ok(DataFolder { path, _lock: lock })
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
mod tests {
    use operators::disk::Disk;

    use super::*;

    #[test]
    fn a_second_instance_is_told_who_has_the_folder() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("deep/data");
        let (first, _) = DataFolder::open(&path, false).unwrap();
        for fresh in [false, true] {
            let error = DataFolder::open(&path, fresh).unwrap_err();
            assert!(matches!(&error, DataFolderError::InUse { pid: Some(pid), .. } if *pid == std::process::id()));
            let text = error.to_string();
            assert!(
                text.contains("deep/data") && text.contains(&format!("by process {}", std::process::id())),
                "{text}"
            );
        }
        drop(first);
        DataFolder::open(&path, false).unwrap();
    }

    #[test]
    fn fresh_moves_what_is_there_to_the_first_free_number() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("data");
        let (folder, moved_to) = DataFolder::open(&path, true).unwrap();
        assert_eq!(moved_to, None, "there was nothing to move");
        folder.disk().append("remap.log", b"first run").unwrap();
        drop(folder);

        let (folder, moved_to) = DataFolder::open(&path, false).unwrap();
        assert_eq!((folder.disk().read("remap.log").unwrap().is_some(), moved_to), (true, None));
        drop(folder);

        fs::create_dir(parent.path().join("data.1")).unwrap();
        let (folder, moved_to) = DataFolder::open(&path, true).unwrap();
        let aside = fs::canonicalize(parent.path()).unwrap().join("data.2");
        assert_eq!(moved_to.as_ref(), Some(&aside));
        assert_eq!(folder.disk().read("remap.log").unwrap(), None);
        assert_eq!(fs::read(aside.join("remap.log")).unwrap(), b"first run");
        assert!(matches!(DataFolder::open(&path, false), Err(DataFolderError::InUse { .. })), "the new one is locked");
    }

    #[cfg(unix)]
    #[test]
    fn fresh_moves_the_folder_behind_a_link_and_leaves_the_link() {
        let parent = tempfile::tempdir().unwrap();
        fs::create_dir(parent.path().join("big")).unwrap();
        fs::write(parent.path().join("big/file"), b"x").unwrap();
        std::os::unix::fs::symlink(parent.path().join("big"), parent.path().join("data")).unwrap();
        let (folder, _) = DataFolder::open(parent.path().join("data"), true).unwrap();
        assert!(folder.path().ends_with("big"));
        assert!(parent.path().join("big.1/file").exists() && parent.path().join("data/LOCK").exists());
    }

    #[test]
    fn a_folder_that_cannot_be_written_to_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        fs::write(parent.path().join("file"), b"").unwrap();
        for path in ["file", "file/data"] {
            let error = DataFolder::open(parent.path().join(path), false).unwrap_err();
            assert!(matches!(error, DataFolderError::Unwritable { .. }), "{error:?}");
            assert!(error.to_string().contains("make it writable for this user, or name another folder"));
        }
    }

    #[test]
    fn the_size_counts_files_in_subfolders() {
        let parent = tempfile::tempdir().unwrap();
        let (folder, _) = DataFolder::open(parent.path().join("data"), false).unwrap();
        let with_lock_only_bytes = folder.size_bytes().unwrap();
        let mut disk = folder.disk();
        disk.append("remap.log", &[0; 1000]).unwrap();
        disk.append("sinks/view/shard-0.ndjson", &[0; 234]).unwrap();
        assert_eq!(folder.size_bytes().unwrap(), with_lock_only_bytes + 1234);
    }
}
