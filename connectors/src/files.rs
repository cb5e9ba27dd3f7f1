//! Files of lines as a partition of the input log.
//!
//! A partition is a list of files, read one after the other. What they are is recorded when a run begins (size and
//! SHA-256 of the stored bytes) and looked at again before each is read, because a replay from other bytes would be
//! another run. An offset counts decompressed bytes over all files in their order.
//!
//! A file is plain, gzip (of any number of members) or zstd (of any number of frames), by its first bytes and whatever
//! its name says. A damaged one ends where it is damaged, with one dead letter, and takes up one offset more than it has
//! text, so that going on behind it has an offset of its own.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use expand::open_regular;

pub use expand::expand;
#[cfg(feature = "kafka")]
pub(crate) use lines::reject;
pub use source::{FileSource, LINE_BYTES_MAX};

mod expand;
mod lines;
mod newlines;
mod rows;
mod source;
mod stored;
#[cfg(test)]
mod tests;
mod text;

/// How many bytes say how a file is compressed.
const FIRST_BYTES: usize = 4;

/// What is recorded of a file when a run begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSpec {
    /// Where it lies, as it was named.
    pub path: PathBuf,
    /// How many bytes are stored.
    pub size_bytes: u64,
    /// What the stored bytes hash to, in hexadecimal.
    pub sha256: String,
    /// How they are stored.
    pub compression: Compression,
}

/// How a file's text is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// As it is.
    Plain,
    /// Members of gzip.
    Gzip,
    /// Frames of zstd.
    Zstd,
}

/// Why the files of a partition could not be listed.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The pattern is none.
    #[error("\"{pattern}\" is not a pattern of file names: {what}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The pattern has no match.
    #[error("no file matches \"{pattern}\"; correct the pattern, or put the files there")]
    NoMatch {
        /// The pattern.
        pattern: String,
    },
    /// The pattern has no match, since its signs mean something else than what was meant.
    #[error("no file matches \"{pattern}\": {reason}")]
    Notation {
        /// The pattern.
        pattern: String,
        /// What its signs mean, and what to write.
        reason: String,
    },
    /// A name that can't be recorded.
    #[error("the name of \"{}\" is not UTF-8; rename it, or write a pattern that does not match it", .path.display())]
    Name {
        /// Where the file lies.
        path: PathBuf,
    },
    /// A match that can't be read twice.
    #[error("{} is a {kind}, not a file; take it away, or write a pattern that does not match it", .path.display())]
    Irregular {
        /// Where it lies.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// A file or folder cannot be read.
    #[error("could not read {}; make it readable for this user, or leave it out", .path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl FileSpec {
    /// Records a file as it is now. Reads it once, whole.
    pub fn record(path: impl Into<PathBuf>) -> Result<Self, FilesError> {
        Self::record_until(path.into(), &AtomicBool::new(false))
    }

    fn record_until(path: PathBuf, stop: &AtomicBool) -> Result<Self, FilesError> {
        match Self::measure(&path, stop) {
            Ok(Ok((size_bytes, sha256, compression))) => Ok(FileSpec { path, size_bytes, sha256, compression }),
            Ok(Err(kind)) => Err(FilesError::Irregular { path, kind }),
            Err(source) => Err(FilesError::Unreadable { path, source }),
        }
    }

    /// The same of several files, in their order: as many at a time as there are processors. An error, once `stop` is set.
    pub fn record_all(paths: &[PathBuf], stop: &AtomicBool) -> Result<Vec<Self>, FilesError> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(paths.len());
        let next = AtomicUsize::new(0);
        let record = || {
            let places = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
            let of_thread =
                places.map_while(|place| Some((place, FileSpec::record_until(paths.get(place)?.clone(), stop))));
            of_thread.collect::<Vec<_>>()
        };
        let mut all: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(record)).collect();
            let joined = threads.into_iter().map(|thread| thread.join());
            joined.flat_map(|of_thread| of_thread.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        });
        all.sort_unstable_by_key(|(place, _)| *place);
        all.into_iter().map(|(_, spec)| spec).collect()
    }

    /// A file of which is known what was recorded. Reads its first bytes only: what it holds is looked at when it is read.
    pub fn recorded(path: impl Into<PathBuf>, size_bytes: u64, sha256: String) -> Result<Self, FilesError> {
        let path = path.into();
        match Self::first_bytes(&path) {
            Ok(Ok(first)) => Ok(FileSpec { path, size_bytes, sha256, compression: Compression::of(&first) }),
            Ok(Err(kind)) => Err(FilesError::Irregular { path, kind }),
            Err(source) => Err(FilesError::Unreadable { path, source }),
        }
    }

    fn first_bytes(path: &Path) -> io::Result<Result<Vec<u8>, &'static str>> {
        let file = match open_regular(path)? {
            Ok(file) => file,
            Err(kind) => return Ok(Err(kind)),
        };
        let mut first = Vec::new();
        file.take(FIRST_BYTES as u64).read_to_end(&mut first)?;
        Ok(Ok(first))
    }

    fn measure(path: &Path, stop: &AtomicBool) -> io::Result<Result<(u64, String, Compression), &'static str>> {
        let mut file = match open_regular(path)? {
            Ok(file) => file,
            Err(kind) => return Ok(Err(kind)),
        };
        let (size_bytes, sha256, first) = digest(&mut file, stop)?;
        Ok(Ok((size_bytes, sha256, Compression::of(&first))))
    }

    /// Opens the file if it still is what was recorded; otherwise says what differs. Where its hash is compared, too, that reads
    /// it once, whole: one to two seconds for each GB. An error, once `stop` is set.
    fn open(&self, hashed: bool, stop: &AtomicBool) -> io::Result<Result<File, String>> {
        let mut file = match open_regular(&self.path) {
            Ok(Ok(file)) => file,
            Ok(Err(kind)) => return Ok(Err(format!("it is a {kind}, not a file"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Err("it is missing".to_owned())),
            Err(error) => return Err(error),
        };
        if let Some(difference) = self.size_difference(&file)? {
            return Ok(Err(difference));
        }
        if !hashed {
            return Ok(Ok(file));
        }
        let (_, sha256, _) = digest(&mut file, stop)?;
        if sha256 != self.sha256 {
            return Ok(Err(format!("its SHA-256 is {sha256}, not {}", self.sha256)));
        }
        file.rewind()?;
        Ok(Ok(file))
    }

    /// What differs if the file no longer has its recorded size.
    fn size_difference(&self, file: &File) -> io::Result<Option<String>> {
        let size_bytes = file.metadata()?.len();
        let differs = size_bytes != self.size_bytes;
        Ok(differs.then(|| format!("it has {size_bytes} bytes, not {}", self.size_bytes)))
    }
}

impl Compression {
    /// What the first bytes of a file say.
    fn of(first: &[u8]) -> Self {
        match first {
            [0x1f, 0x8b, ..] => Compression::Gzip,
            // A frame, or one that is to be skipped: some tools begin with it.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
            _ => Compression::Plain,
        }
    }
}

/// The size, the SHA-256 and the first bytes of what is left of a file. An error, once `stop` is set.
fn digest(file: &mut File, stop: &AtomicBool) -> io::Result<(u64, String, Vec<u8>)> {
    let mut hasher = Sha256::new();
    let mut size_bytes = 0;
    let mut first = Vec::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        stored::check(stop)?;
        let bytes = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if first.len() < FIRST_BYTES {
            first.extend(buffer[..bytes].iter().take(FIRST_BYTES - first.len()));
        }
        hasher.update(&buffer[..bytes]);
        size_bytes += bytes as u64;
    }
    let sha256 = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((size_bytes, sha256, first))
}
