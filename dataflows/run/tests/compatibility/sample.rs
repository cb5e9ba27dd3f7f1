//! A copy of a sample, to be gone on with.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use dataflows::view::ViewId;
use sha2::{Digest, Sha256};

/// Views that the old build did not have: a run that goes on has them from its next tick on.
pub fn views_added() -> impl Iterator<Item = ViewId> {
    ViewId::all().skip(8)
}

/// A sample in a folder of its own, which goes at the end.
pub struct Sample {
    folder: tempfile::TempDir,
}

/// The folder of the samples.
fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/written_by_a19e63e")
}

impl Sample {
    /// Copies the sample of this name.
    pub fn copy(name: &str) -> Sample {
        let folder = tempfile::tempdir().unwrap();
        copy(&samples().join(name), folder.path());
        Sample { folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs the binary in it.
    pub fn aisle(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// The binary in it, which is not started yet.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_aisle"));
        command.args(arguments).current_dir(self.folder.path());
        command
    }

    /// Cuts its remap log to what was there when the run was killed.
    pub fn cut_log_to_the_kill(&self) {
        let bytes = fs::read_to_string(self.path("killed-at-byte")).unwrap().trim().parse().unwrap();
        fs::OpenOptions::new().write(true).open(self.path("aisle-data/remap.log")).unwrap().set_len(bytes).unwrap();
    }

    /// Change files and files of history are, to the byte, what the old build wrote when it went on to the same end.
    #[track_caller]
    pub fn has_written_what_was_expected(&self) {
        let expected = self.expected();
        let mut written: BTreeMap<String, usize> =
            self.outputs().into_iter().map(|(path, bytes)| (path, bytes.len())).collect();
        for view in views_added() {
            assert!(written.remove(&format!("sinks/{view}/shard-0.ndjson")).is_some(), "{view} holds from now on");
        }
        let bytes = expected.iter().map(|(path, (_, bytes))| (path.clone(), *bytes)).collect();
        assert_eq!(written, bytes, "files and their sizes");
        self.has_begun_as_expected();
    }

    /// They begin with what the old build wrote of those ticks that the sample's log has.
    #[track_caller]
    pub fn has_begun_as_expected(&self) {
        let written = self.outputs();
        for (path, (sha256, bytes)) in self.expected() {
            let head = written.get(&path).and_then(|written| written.get(..bytes));
            let head = head.unwrap_or_else(|| panic!("{path} is shorter than {bytes} bytes"));
            let found: String = Sha256::digest(head).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(found, sha256, "the first {bytes} bytes of {path}");
        }
    }

    /// By path: SHA-256 and size.
    fn expected(&self) -> BTreeMap<String, (String, usize)> {
        let text = fs::read_to_string(self.path("expected")).unwrap();
        let lines = text.lines().map(|line| {
            let mut words = line.split(' ');
            let mut word = || words.next().unwrap().to_owned();
            let (sha256, bytes, path) = (word(), word().parse().unwrap(), word());
            (path, (sha256, bytes))
        });
        let expected: BTreeMap<_, _> = lines.collect();
        assert!(expected.len() >= 10, "{expected:?}");
        expected
    }

    fn outputs(&self) -> BTreeMap<String, Vec<u8>> {
        let data = self.path("aisle-data");
        let mut files = BTreeMap::new();
        let mut folders = vec![data.join("sinks"), data.join("history")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path.strip_prefix(&data).unwrap().to_string_lossy().into_owned();
                    files.insert(name, fs::read(&path).unwrap());
                }
            }
        }
        files
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}
