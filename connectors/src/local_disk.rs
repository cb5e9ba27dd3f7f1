//! The [`Disk`] of production: files in a folder.
//!
//! An append is all or nothing as long as the process lives: what a full disk left of it is cut off again. After a failed
//! synchronisation the kernel may drop the bytes and call the next one a success, so the file stays refused from then on;
//! only a restart, which reads what is really there, goes on.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use operators::disk::{Disk, Folder};

use crate::fault;

mod room;

pub use room::Room;

/// The permissions of a folder that is made: it is its owner's alone.
pub(crate) const PRIVATE_FOLDER: u32 = 0o700;

/// The permissions of a file that is made.
pub(crate) const PRIVATE_FILE: u32 = 0o600;

/// Files in a folder; their names may contain `/`, the folders between are made.
#[derive(Debug)]
pub struct LocalDisk {
    folder: PathBuf,
    open: BTreeMap<String, OpenFile>,
    /// What its files are called at points of faults, where that is not their name.
    called: Option<&'static str>,
    /// How much may be written, where that is limited.
    room: Option<Arc<Room>>,
}

#[derive(Debug)]
struct OpenFile {
    file: File,
    length: u64,
    /// Whether its folders' entries are known to be durable. A process before us may have died between making the file
    /// and synchronising its folder, so this is found out once for files that are already there, too.
    name_is_durable: bool,
    /// Whether it holds something unknown since a failure.
    failed: bool,
}

impl LocalDisk {
    /// A disk in this folder, which is made when the first file is.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        LocalDisk { folder: folder.into(), open: BTreeMap::new(), called: None, room: None }
    }

    /// A disk in this folder, which is made now: its name, and that of the folder that it is in, are durable.
    pub fn open(folder: impl Into<PathBuf>) -> io::Result<Self> {
        let folder = folder.into();
        make_folders(&folder)?;
        folder.ancestors().skip(1).take(2).filter(|above| above.is_dir()).try_for_each(sync_folder)?;
        Ok(LocalDisk::new(folder))
    }

    /// The same, with one name for all of its files at points of faults: theirs say nothing.
    pub fn called(self, name: &'static str) -> Self {
        LocalDisk { called: Some(name), ..self }
    }

    /// The same, which writes no more than there is room for; several may share it.
    pub fn within(self, room: Arc<Room>) -> Self {
        LocalDisk { room: Some(room), ..self }
    }

    /// Where a file lies. A name that leads out of the folder is refused.
    fn path_of(&self, name: &str) -> io::Result<PathBuf> {
        let relative = Path::new(name);
        if name.is_empty() || !relative.components().all(|part| matches!(part, Component::Normal(_))) {
            let why = format!("\"{name}\" is not the name of a file within the folder");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        Ok(self.folder.join(relative))
    }

    /// The open file, unless it failed before.
    fn opened(&mut self, name: &str, create: bool) -> io::Result<&mut OpenFile> {
        if !self.open.contains_key(name) {
            let path = self.path_of(name)?;
            if create {
                make_folders(path.parent().expect("a file within the folder has a parent"))?;
            }
            let file = OpenOptions::new().read(true).append(true).create(create).mode(PRIVATE_FILE).open(&path)?;
            let length = file.metadata()?.len();
            self.open.insert(name.to_owned(), OpenFile { file, length, name_is_durable: false, failed: false });
        }
        let file = self.open.get_mut(name).expect("it was opened just now");
        match file.failed {
            true => Err(io::Error::other("an earlier write to it failed, a restart finds out what is there")),
            false => Ok(file),
        }
    }
}

impl Disk for LocalDisk {
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.path_of(name)?) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let point = self.called.unwrap_or(name);
        let room = self.room.clone();
        let file = self.opened(name, true)?;
        room.as_ref().map_or(Ok(()), |room| room.take(bytes.len() as u64))?;
        fault::point_of("append", point);
        if fault::is_next("torn", point) {
            file.file.write_all(&bytes[..bytes.len() / 2])?;
            fault::point_of("torn", point);
        }
        match file.file.write_all(bytes) {
            Ok(()) => {
                file.length += bytes.len() as u64;
                Ok(())
            }
            Err(error) => {
                file.failed = file.file.set_len(file.length).is_err();
                room.iter().for_each(|room| room.give_back(bytes.len() as u64));
                Err(error)
            }
        }
    }

    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()> {
        let room = self.room.clone();
        let file = self.opened(name, false)?;
        if length > file.length {
            let why = format!("it has {} bytes and cannot be cut to {length}", file.length);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        file.file.set_len(length)?;
        room.iter().for_each(|room| room.give_back(file.length - length));
        file.length = length;
        // The next append comes to lie at the cut: whether what lay behind it was there must not depend on a crash.
        file.file.sync_all().inspect_err(|_| file.failed = true)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        let point = self.called.unwrap_or(name);
        fault::point_of("sync", point);
        let file = self.opened(name, false)?;
        file.file.sync_data().inspect_err(|_| file.failed = true)?;
        if !file.name_is_durable {
            sync_folders(&self.folder, name)?;
            self.opened(name, false)?.name_is_durable = true;
        }
        fault::point_of("synced", point);
        Ok(())
    }
}

impl Folder for LocalDisk {
    fn read_at(&self, name: &str, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
        let mut found = vec![0; bytes];
        match self.open.get(name) {
            Some(open) => open.file.read_exact_at(&mut found, offset)?,
            None => File::open(self.path_of(name)?)?.read_exact_at(&mut found, offset)?,
        }
        Ok(found)
    }

    fn size(&self, name: &str) -> io::Result<Option<u64>> {
        match fs::metadata(self.path_of(name)?) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                names.extend(entry.file_name().into_string());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        let point = self.called.unwrap_or(name);
        let path = self.path_of(name)?;
        self.open.remove(name);
        fault::point_of("remove", point);
        let length = fs::metadata(&path).map_or(0, |metadata| metadata.len());
        fs::remove_file(path)?;
        self.room.iter().for_each(|room| room.give_back(length));
        fault::point_of("removed", point);
        Ok(())
    }
}

/// Makes a folder and those that it is in, where they are not there.
pub(crate) fn make_folders(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(PRIVATE_FOLDER).create(folder)
}

/// Makes the names on the way from `folder` to its file `name` durable, the folder's own included.
fn sync_folders(folder: &Path, name: &str) -> io::Result<()> {
    let relative = Path::new(name);
    for ancestor in relative.ancestors().skip(1) {
        sync_folder(&folder.join(ancestor))?;
    }
    match folder.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_folder(parent),
        _ => Ok(()),
    }
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_go_on_where_another_process_left_them() {
        let folder = tempfile::tempdir().unwrap();
        let mut disk = LocalDisk::new(folder.path().join("data"));
        assert_eq!(disk.read("remap/log").unwrap(), None);
        disk.append("remap/log", b"one ").unwrap();
        disk.append("remap/log", b"two ").unwrap();
        disk.sync("remap/log").unwrap();

        let mut disk = LocalDisk::new(folder.path().join("data"));
        assert_eq!(disk.read("remap/log").unwrap().unwrap(), b"one two ");
        disk.truncate("remap/log", 4).unwrap();
        disk.append("remap/log", b"three").unwrap();
        disk.sync("remap/log").unwrap();
        assert_eq!(fs::read(folder.path().join("data/remap/log")).unwrap(), b"one three");
    }

    #[test]
    fn parts_are_read_and_files_removed() {
        let folder = tempfile::tempdir().unwrap();
        let mut disk = LocalDisk::new(folder.path().join("data"));
        assert_eq!(disk.names().unwrap(), [""; 0], "the folder is not there yet");
        disk.append("two", b"second").unwrap();
        disk.append("one", b"first").unwrap();
        disk.append("folder/three", b"third").unwrap();
        let afresh = LocalDisk::new(folder.path().join("data"));
        for disk in [&disk, &afresh] {
            assert_eq!(disk.names().unwrap(), ["one", "two"]);
            assert_eq!((disk.size("two").unwrap(), disk.size("four").unwrap()), (Some(6), None));
            assert_eq!(disk.read_at("two", 1, 3).unwrap(), b"eco");
            assert_eq!(disk.read_at("two", 4, 3).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        }
        disk.remove("two").unwrap();
        assert_eq!(disk.names().unwrap(), ["one"]);
        disk.append("two", b"anew").unwrap();
        assert_eq!(disk.read("two").unwrap().unwrap(), b"anew");
    }

    #[test]
    fn a_name_cannot_lead_out_of_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let mut disk = LocalDisk::new(folder.path().join("data"));
        for name in ["../elsewhere", "/elsewhere", "", "a/../../elsewhere"] {
            assert_eq!(disk.append(name, b"x").unwrap_err().kind(), io::ErrorKind::InvalidInput, "{name}");
            assert!(disk.read(name).is_err(), "{name}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn only_a_file_that_is_there_is_cut_or_synchronised() {
        let folder = tempfile::tempdir().unwrap();
        let mut disk = LocalDisk::new(folder.path());
        assert_eq!(disk.sync("log").unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(disk.truncate("log", 0).unwrap_err().kind(), io::ErrorKind::NotFound);
        disk.append("log", b"one").unwrap();
        assert_eq!(disk.truncate("log", 4).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(disk.read("log").unwrap().unwrap(), b"one");
    }

    #[test]
    fn a_file_that_failed_stays_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut disk = LocalDisk::new(folder.path());
        disk.append("log", b"one").unwrap();
        // A handle that cannot be written to: the append fails, and so does cutting off what it may have left.
        let read_only = File::open(folder.path().join("log")).unwrap();
        disk.open.get_mut("log").unwrap().file = read_only;
        assert!(disk.append("log", b"two").is_err());
        assert!(disk.sync("log").unwrap_err().to_string().contains("an earlier write"));
        assert_eq!(disk.read("log").unwrap().unwrap(), b"one");
    }
}
