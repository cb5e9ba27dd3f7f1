//! The same in a build without history: a configuration that asks for it is refused before it comes to this, but a data folder
//! may have begun with one.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::http::Published;
use super::output::Follow;
use dataflows::configuration::{ArchiveSettings, Plan};

/// Why there can't be a history.
#[derive(Clone, Debug, thiserror::Error)]
pub enum HistoryError {
    /// The recorded configuration keeps one.
    #[error("this run keeps history, for which the build needs a feature: cargo build --release --features history")]
    NotBuilt,
}

/// Nothing that could ever be made.
pub enum History {}

impl History {
    /// There is none, and there must not have been one.
    pub fn open(
        _: &ArchiveSettings,
        _: &Path,
        plan: &Plan,
        _: u64,
        _: u64,
        _: bool,
    ) -> Result<Option<Self>, HistoryError> {
        if plan.meaning.history.kept { Err(HistoryError::NotBuilt) } else { Ok(None) }
    }

    /// Never called.
    pub fn follower(&self, _: &Plan) -> Box<dyn Follow> {
        match *self {}
    }

    /// Never called.
    pub fn serve(&self, _: &Published) {
        match *self {}
    }

    /// Never called.
    pub fn give_up(&self) {
        match *self {}
    }

    /// Never called.
    pub fn finish(self, _: &AtomicBool) -> Result<(), HistoryError> {
        match self {}
    }
}

/// What was kept of a run: nothing, since a folder with history can't be replayed by this build.
pub struct Kept {
    /// Where it would be.
    pub shown: String,
    /// None.
    pub names: Vec<String>,
}

impl Kept {
    /// Nothing.
    pub fn open(archive: &ArchiveSettings, _: &Path, _: u64) -> Result<Kept, HistoryError> {
        Ok(Kept { shown: archive.to.clone(), names: Vec::new() })
    }

    /// Never called: there is no such name.
    pub fn bytes(&self, _: &str) -> Result<Vec<u8>, HistoryError> {
        Err(HistoryError::NotBuilt)
    }

    /// Never called: there is no such name.
    pub fn path(&self, name: &str) -> String {
        name.to_owned()
    }
}
