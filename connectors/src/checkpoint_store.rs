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

use std::path::Path as FilePath;
use std::sync::Arc;

use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use tokio::runtime::Runtime;

pub use manifest::Manifest;
pub use restore::{Found, Unusable};
pub use writer::{Checkpointer, CheckpointerOptions};

/// Where checkpoints are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// In a folder, which is made if there is none.
    Folder(std::path::PathBuf),
    /// Below a prefix of a bucket.
    S3 {
        /// The bucket.
        bucket: String,
        /// The prefix; may be empty.
        prefix: String,
        /// Where the store is, unless it is Amazon's.
        endpoint: Option<String>,
    },
}

impl Location {
    /// From `s3://bucket/prefix`, or the path of a folder relative to `base`.
    pub fn parse(text: &str, endpoint: Option<String>, base: &FilePath) -> Result<Location, StoreError> {
        if let Some(rest) = text.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            if bucket.is_empty() {
                return Err(StoreError::Location { text: text.to_owned(), what: "it names no bucket" });
            }
            let prefix = prefix.trim_matches('/').to_owned();
            return Ok(Location::S3 { bucket: bucket.to_owned(), prefix, endpoint });
        }
        if text.contains("://") {
            let what = "only folders and s3://bucket/prefix are known";
            return Err(StoreError::Location { text: text.to_owned(), what });
        }
        Ok(Location::Folder(base.join(text)))
    }
}

/// What a store could not do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The location is none.
    #[error("{text:?} is no place for checkpoints: {what}")]
    Location {
        /// As it was given.
        text: String,
        /// Why.
        what: &'static str,
    },
    /// This build lacks what the location needs.
    #[error("{shown} needs a build with the feature `s3`: cargo build --release --features s3")]
    Feature {
        /// The location.
        shown: String,
    },
    /// The store refused or can't be reached; nothing is lost by trying later.
    #[error("could not {doing} {shown}/{object}")]
    Refused {
        /// What was tried.
        doing: &'static str,
        /// The store.
        shown: String,
        /// The object.
        object: String,
        /// Why.
        source: object_store::Error,
    },
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
    /// The folder can't be made.
    #[error("could not make the folder {shown}")]
    Folder {
        /// The folder.
        shown: String,
        /// Why.
        source: std::io::Error,
    },
}

/// An object store, and the thread-bound runtime in which it is asked. Every call waits for the answer.
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    prefix: Path,
    runtime: Runtime,
    shown: String,
}

impl Store {
    /// Opens the store for one run: all its objects lie below the run's name. Credentials for S3 come from the usual variables (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
    /// `AWS_SESSION_TOKEN`, `AWS_REGION`).
    pub fn open(location: &Location, run: u64) -> Result<Store, StoreError> {
        let run = format!("{run:016x}");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|source| StoreError::Folder { shown: "of the runtime".to_owned(), source })?;
        match location {
            Location::Folder(folder) => {
                let shown = folder.display().to_string();
                let failed = |source| StoreError::Folder { shown: shown.clone(), source };
                std::fs::create_dir_all(folder).map_err(failed)?;
                let objects = LocalFileSystem::new_with_prefix(folder).map_err(|source| StoreError::Refused {
                    doing: "open",
                    shown: shown.clone(),
                    object: String::new(),
                    source,
                })?;
                let objects = Arc::new(objects.with_fsync(true));
                Ok(Store { objects, prefix: Path::from(run), runtime, shown })
            }
            Location::S3 { bucket, prefix, endpoint } => {
                let shown = format!("s3://{bucket}/{prefix}");
                let objects = bucket_store(bucket, endpoint.as_deref(), &shown)?;
                Ok(Store { objects, prefix: Path::from(format!("{prefix}/{run}")), runtime, shown })
            }
        }
    }

    /// What a person calls it.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Whether there are checkpoints of other runs, but none of this one.
    pub fn is_of_others(&self) -> Result<bool, StoreError> {
        let parent = self.prefix.parent().unwrap_or_default();
        let listed = self.runtime.block_on(self.objects.list_with_delimiter(Some(&parent)));
        let listed = listed.map_err(self.refused("list", ""))?;
        Ok(!listed.common_prefixes.is_empty() && !listed.common_prefixes.contains(&self.prefix))
    }

    fn path(&self, object: &str) -> Path {
        Path::from(format!("{}/{object}", self.prefix))
    }

    fn refused(&self, doing: &'static str, object: &str) -> impl FnOnce(object_store::Error) -> StoreError {
        let (shown, object) = (self.shown.clone(), object.to_owned());
        move |source| StoreError::Refused { doing, shown, object, source }
    }

    /// Writes a new object; says whether it was new. An object that is there already stays as it is.
    fn create(&self, object: &str, bytes: Vec<u8>) -> Result<bool, StoreError> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let path = self.path(object);
        match self.runtime.block_on(self.objects.put_opts(&path, PutPayload::from(bytes), options)) {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => Ok(false),
            Err(error) => Err(self.refused("write", object)(error)),
        }
    }

    fn get(&self, object: &str) -> Result<Vec<u8>, StoreError> {
        let path = self.path(object);
        let got = self.runtime.block_on(async { self.objects.get(&path).await?.bytes().await });
        got.map(|bytes| bytes.to_vec()).map_err(self.refused("read", object))
    }

    /// The names below a folder of the store, ascending.
    fn list(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        use futures_util::TryStreamExt;
        let path = self.path(folder);
        let listed = self.objects.list(Some(&path)).map_ok(|meta| meta.location).try_collect::<Vec<Path>>();
        let listed = self.runtime.block_on(listed).map_err(self.refused("list", folder))?;
        let below = format!("{path}/");
        let mut names: Vec<String> =
            listed.iter().filter_map(|path| Some(path.as_ref().strip_prefix(&below)?.to_owned())).collect();
        names.sort_unstable();
        Ok(names)
    }

    fn delete(&self, object: &str) -> Result<(), StoreError> {
        let path = self.path(object);
        match self.runtime.block_on(self.objects.delete(&path)) {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.refused("delete", object)(error)),
        }
    }

    /// Becomes the store's writer: the greatest epoch there is. Of several that try at once each gets one of its own.
    fn elect(&self) -> Result<u64, StoreError> {
        loop {
            let known = self.epochs()?;
            let epoch = known.last().map_or(1, |last| last + 1);
            if self.create(&format!("writers/{epoch:010}"), Vec::new())? {
                for old in known.iter().rev().skip(2) {
                    self.delete(&format!("writers/{old:010}"))?;
                }
                return Ok(epoch);
            }
        }
    }

    /// Refuses where somebody became the writer after us.
    fn check_writer(&self, ours: u64) -> Result<(), StoreError> {
        match self.epochs()?.last() {
            Some(&newer) if newer > ours => Err(StoreError::Superseded { shown: self.shown.clone(), newer, ours }),
            _ => Ok(()),
        }
    }

    fn epochs(&self) -> Result<Vec<u64>, StoreError> {
        Ok(self.list("writers")?.iter().filter_map(|name| name.parse().ok()).collect())
    }
}

#[cfg(feature = "s3")]
fn bucket_store(bucket: &str, endpoint: Option<&str>, shown: &str) -> Result<Arc<dyn ObjectStore>, StoreError> {
    let mut builder = object_store::aws::AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .with_conditional_put(object_store::aws::S3ConditionalPut::ETagMatch);
    if let Some(endpoint) = endpoint {
        builder = builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
    }
    let refused =
        |source| StoreError::Refused { doing: "open", shown: shown.to_owned(), object: String::new(), source };
    Ok(Arc::new(builder.build().map_err(refused)?))
}

#[cfg(not(feature = "s3"))]
fn bucket_store(_: &str, _: Option<&str>, shown: &str) -> Result<Arc<dyn ObjectStore>, StoreError> {
    Err(StoreError::Feature { shown: shown.to_owned() })
}
