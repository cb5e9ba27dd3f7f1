//! What can go wrong with dead letters.

use std::io;
use std::path::PathBuf;

use connectors::data_folder::DataFolderError;

use crate::command_desk::{ASKED_BYTES_MAX, CommandsCut, HandInError};
use crate::job::RunError;
use crate::logs::{LogsError, REMAP_LOG};

/// What can go wrong with dead letters.
#[derive(Debug, thiserror::Error)]
pub enum DeadLettersError {
    /// There is no such folder, or it is none of a run.
    #[error("{} has no {REMAP_LOG}: is it a data folder of `aisle run`?", .folder.display())]
    NoFolder {
        /// As given.
        folder: PathBuf,
    },
    /// No file says which letters there are.
    #[error(
        "{} has no change file of dead letters: the view `dead_letters` is off or has `sink = \"none\"`; \
         ask the running process (GET /v1/views/dead_letters)", .folder.display()
    )]
    NoLetters {
        /// The data folder.
        folder: PathBuf,
    },
    /// A file can't be read.
    #[error("could not read {}", .path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line of a change file is not as it was written.
    #[error("{} line {line} is no change of dead letters ({what}); `aisle replay` tells what is damaged", .path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Its line, from 1.
        line: u64,
        /// Why.
        what: String,
    },
    /// Nothing was chosen.
    #[error("say which letters: --letters FILE, --partition or --code")]
    NotSaid,
    /// Nothing fits.
    #[error("there is no dead letter like that which has not entered before")]
    NoneLeft,
    /// More than is taken at once.
    #[error("{bytes} bytes are asked at once, {ASKED_BYTES_MAX} are taken; divide the letters")]
    TooMany {
        /// How much it is.
        bytes: usize,
    },
    /// The data folder.
    #[error(transparent)]
    Folder(#[from] DataFolderError),
    /// Where the command log is.
    #[error(transparent)]
    Logs(#[from] LogsError),
    /// The configuration.
    #[error(transparent)]
    Configuration(Box<RunError>),
    /// What was asked can't be done.
    #[error("nothing was let in: {0}")]
    Enter(#[from] HandInError),
    /// The command log lacks what was bound.
    #[error(transparent)]
    CommandsCut(#[from] CommandsCut),
    /// A name is none.
    #[error("{0}")]
    Name(String),
    /// The process that has the folder does not answer.
    #[error(
        "another process has the data folder, and does not answer at {url}; pass --url with the address that it printed"
    )]
    Unreachable {
        /// Where it was asked.
        url: String,
        /// Why.
        source: Box<ureq::Error>,
    },
    /// The process that has the folder said no.
    #[error("nothing was let in: {url} answered {status}: {message}")]
    Refused {
        /// Where it was asked.
        url: String,
        /// As in HTTP.
        status: u16,
        /// Why.
        message: String,
    },
    /// Nobody takes what is printed.
    #[error("could not write the letters")]
    Unwritable(#[source] io::Error),
}

impl DeadLettersError {
    /// Whether the command line was wrong.
    pub fn is_usage(&self) -> bool {
        matches!(self, DeadLettersError::NoFolder { .. } | DeadLettersError::NotSaid | DeadLettersError::Name(_))
    }
}
