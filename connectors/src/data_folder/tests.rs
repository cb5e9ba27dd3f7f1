//! The folder that a run keeps its logs in.

use std::os::unix::fs::PermissionsExt;

use operators::disk::{Disk, Folder};

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
        assert!(text.contains("deep/data") && text.contains(&format!("by process {}", std::process::id())), "{text}");
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

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

#[test]
fn a_new_folder_is_its_owners_alone_and_one_that_is_there_stays_as_it_is() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("deep/data");
    let (folder, _) = DataFolder::open(&path, false).unwrap();
    folder.disk().append("sinks/view/shard-0.ndjson", b"a row").unwrap();
    folder.replace("end", b"it is over").unwrap();
    for inner in ["", "sinks", "sinks/view"] {
        assert_eq!(mode(&path.join(inner)), 0o700, "{inner}");
    }
    for file in ["LOCK", "sinks/view/shard-0.ndjson", "end"] {
        assert_eq!(mode(&path.join(file)), 0o600, "{file}");
    }
    assert_eq!(folder.open_to_others().unwrap(), None);
    drop(folder);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let (folder, _) = DataFolder::open(&path, false).unwrap();
    assert_eq!(folder.open_to_others().unwrap(), Some(0o755));
}

#[test]
fn a_lock_file_that_is_a_link_is_neither_followed_nor_taken_for_a_lock() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("data");
    fs::create_dir(&path).unwrap();
    fs::write(parent.path().join("precious"), b"12345").unwrap();
    for target in ["precious", "nowhere"] {
        std::os::unix::fs::symlink(parent.path().join(target), path.join(LOCK)).unwrap();
        let error = DataFolder::open(&path, false).unwrap_err();
        assert!(matches!(error, DataFolderError::NoLockFile { .. }), "{error:?}");
        fs::remove_file(path.join(LOCK)).unwrap();
    }
    assert_eq!(fs::read(parent.path().join("precious")).unwrap(), b"12345");
    assert!(!parent.path().join("nowhere").exists());
}

#[test]
fn a_lock_file_or_folder_that_is_gone_is_noticed() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("data");
    let (folder, _) = DataFolder::open(&path, false).unwrap();
    folder.check().unwrap();
    fs::remove_file(path.join(LOCK)).unwrap();
    assert!(matches!(folder.check(), Err(DataFolderError::Unlocked { .. })));
    let (second, _) = DataFolder::open(&path, false).unwrap();
    assert!(matches!(folder.check(), Err(DataFolderError::Unlocked { .. })), "it is another one's");
    second.check().unwrap();
    fs::rename(&path, parent.path().join("elsewhere")).unwrap();
    assert!(matches!(second.check(), Err(DataFolderError::Gone { .. })));
}

#[test]
fn nothing_is_written_that_would_be_more_than_the_folder_may_hold() {
    let parent = tempfile::tempdir().unwrap();
    let (mut folder, _) = DataFolder::open(parent.path().join("data"), false).unwrap();
    let mut before = folder.disk();
    before.append("remap.log", &[0; 1000]).unwrap();
    let with_lock_bytes = folder.size_bytes().unwrap();
    folder.limit(with_lock_bytes + 500).unwrap();
    let (mut one, mut other) = (folder.disk(), folder.disk());
    one.append("one", &[0; 300]).unwrap();
    let error = other.append("other", &[0; 201]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert!(error.to_string().contains("data_bytes_max"), "{error}");
    other.append("other", &[0; 200]).unwrap();
    assert!(one.append("one", &[0]).is_err());
    one.truncate("one", 100).unwrap();
    one.append("one", &[0; 200]).unwrap();
    other.remove("other").unwrap();
    one.append("one", &[0; 100]).unwrap();
    assert_eq!(folder.measure().unwrap(), None);
    // Somebody else's bytes count as soon as the folder is measured.
    fs::write(folder.path().join("object"), [0; 200]).unwrap();
    assert_eq!(folder.measure().unwrap(), Some((with_lock_bytes + 600, with_lock_bytes + 500)));
    assert!(one.append("one", &[0]).is_err());
}
