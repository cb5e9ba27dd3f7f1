//! Checkpoints in an object store: a local folder, or S3 and whatever speaks like it (feature `s3`).
//!
//! Below a folder for each run, so that a run that was begun anew never meets the checkpoints of the one before:
//!
//! ```text
//! writers/0000000007                                       who may write: made only by its first writer, the greatest counts
//! parts/00000000000000001234-7/worker-0000-000000.segment  parts of one worker, compressed, each with a checksum
//! parts/00000000000000001234-7/worker-0000.complete        the names, sizes and checksums of its segments
//! manifests/00000000000000001234                           the checkpoint: all workers, and where the logs stood
//! ```
//!
//! They are written in this order, each durable before the next. A checkpoint exists once its manifest does, and the
//! manifest is written only after every sink has acknowledged its tick. Only then may older ones go, manifest first, so
//! that whatever is cut short at any point leaves a store in which every manifest can be restored. What a manifest holds
//! is a function of the two logs alone: should a writer that was superseded write one more, it is as good as any.

mod manifest;
mod restore;
mod segment;
#[cfg(test)]
mod tests;
mod writer;

use crate::objects::{Location, Objects, ObjectsError};

use manifest::number;

pub use manifest::Manifest;
pub use restore::{Found, Unusable};
pub use writer::{Checkpointer, CheckpointerOptions};

/// What a store of checkpoints could not do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store itself.
    #[error(transparent)]
    Objects(#[from] ObjectsError),
    /// Another process has taken the store over.
    #[error("{shown} has another writer since (epoch {newer}, ours was {ours}): a second instance writes to it")]
    Superseded {
        /// The store.
        shown: String,
        /// Its epoch.
        newer: u64,
        /// Ours.
        ours: u64,
    },
    /// No writer can be elected.
    #[error(
        "nobody can become the writer of {shown}: after {attempts} attempts there is still a greater epoch than ours ({epoch}); \
         look what is in its folder `writers`, and take away what this engine did not write"
    )]
    NoWriter {
        /// The store.
        shown: String,
        /// How often it was tried.
        attempts: u32,
        /// What was tried last.
        epoch: u64,
    },
    /// An object is not what was written.
    #[error("{shown}/{object} is not as it was written: {what}")]
    Damaged {
        /// The store.
        shown: String,
        /// The object.
        object: String,
        /// What does not hold.
        what: String,
    },
}

/// How often a process tries to become the writer. As many may try at once and each of them succeed.
const ELECTIONS_MAX: u32 = 1_000;

/// The checkpoints of one run.
pub struct Store {
    objects: Objects,
}

impl Store {
    /// Opens the store for one run: all its objects lie below the run's name.
    pub fn open(location: &Location, run: u64) -> Result<Store, StoreError> {
        Ok(Store { objects: Objects::open(location, &format!("{run:016x}"))? })
    }

    /// What a person calls it.
    pub fn shown(&self) -> &str {
        self.objects.shown()
    }

    /// Deletes what a killed process had not finished, in a local folder. For the process that has the data folder, before
    /// the others of its cluster may write.
    pub fn remove_leftovers(&self) {
        let removed = self.objects.remove_leftovers();
        if removed > 0 {
            tracing::info!(store = self.shown(), removed, "deleted what a killed process had not finished");
        }
    }

    /// Whether there are checkpoints of other runs. A run that was cut short before its first one left nothing to lose.
    pub fn has_others(&self) -> Result<bool, StoreError> {
        Ok(self.objects.others_have("manifests")?)
    }

    fn create(&self, object: &str, bytes: Vec<u8>) -> Result<bool, StoreError> {
        Ok(self.objects.create(object, bytes)?)
    }

    fn get(&self, object: &str) -> Result<Vec<u8>, StoreError> {
        Ok(self.objects.get(object)?)
    }

    fn list(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        Ok(self.objects.list(folder)?)
    }

    fn delete(&self, object: &str) -> Result<(), StoreError> {
        Ok(self.objects.delete(object)?)
    }

    /// Becomes the store's writer: the greatest epoch there is. Of several that try at once each gets one of its own.
    fn elect(&self) -> Result<u64, StoreError> {
        let mut epoch = 0;
        for _ in 0..ELECTIONS_MAX {
            let known = self.epochs()?;
            epoch = known.last().map_or(1, |last| last.saturating_add(1));
            // Whoever looked long ago may make one anew that was deleted meanwhile: then there are greater ones.
            if self.create(&writer(epoch), Vec::new())? && self.epochs()?.last() == Some(&epoch) {
                for old in known.iter().rev().skip(2) {
                    self.delete(&writer(*old))?;
                }
                return Ok(epoch);
            }
        }
        Err(StoreError::NoWriter { shown: self.shown().to_owned(), attempts: ELECTIONS_MAX, epoch })
    }

    /// Refuses where somebody became the writer after us.
    fn check_writer(&self, ours: u64) -> Result<(), StoreError> {
        match self.epochs()?.last() {
            Some(&newer) if newer > ours => Err(StoreError::Superseded { shown: self.shown().to_owned(), newer, ours }),
            _ => Ok(()),
        }
    }

    /// The epochs of the writers that there are or were, ascending. Names that nobody of us gives are passed over.
    fn epochs(&self) -> Result<Vec<u64>, StoreError> {
        let names = self.list("writers")?;
        let mut epochs: Vec<u64> =
            names.iter().filter_map(|name| number(name, |epoch| format!("{epoch:010}"))).collect();
        epochs.sort_unstable();
        Ok(epochs)
    }
}

/// The object by which somebody became the writer of an epoch.
fn writer(epoch: u64) -> String {
    format!("writers/{epoch:010}")
}
