//! Objects in a store: a local folder, or S3 and whatever speaks like it (feature `s3`).
//!
//! An object is there whole or not at all, and is never changed once it is there: [`Objects::create`] refuses a name that
//! exists. That is what exactly-once writing and the election of one writer are made of. Every call waits for its answer,
//! in a runtime that is bound to the calling thread; none may be made, and no store dropped, within another runtime.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use futures_util::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use tokio::runtime::Runtime;

use crate::local_disk::{PRIVATE_FILE, make_folders};

/// Where objects are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// In a folder, which is made if there is none.
    Folder(PathBuf),
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
    pub fn parse(text: &str, endpoint: Option<String>, base: &FilePath) -> Result<Location, ObjectsError> {
        if let Some(rest) = text.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            if bucket.is_empty() {
                return Err(ObjectsError::Location { text: text.to_owned(), what: "it names no bucket" });
            }
            let prefix = prefix.trim_matches('/').to_owned();
            return Ok(Location::S3 { bucket: bucket.to_owned(), prefix, endpoint });
        }
        if text.contains("://") {
            let what = "only folders and s3://bucket/prefix are known";
            return Err(ObjectsError::Location { text: text.to_owned(), what });
        }
        Ok(Location::Folder(base.join(text)))
    }
}

/// What a store could not do.
#[derive(Debug, thiserror::Error)]
pub enum ObjectsError {
    /// The location is none.
    #[error("{text:?} is no place for objects: {what}")]
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
    #[error("could not {doing} {shown}/{object}: {why}")]
    Refused {
        /// What was tried.
        doing: &'static str,
        /// The store.
        shown: String,
        /// The object.
        object: String,
        /// Why, in one line.
        why: String,
        /// Whether the object is simply not there.
        is_not_found: bool,
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

impl ObjectsError {
    /// Whether the object is simply not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, ObjectsError::Refused { is_not_found: true, .. })
    }

    fn refused(doing: &'static str, shown: &str, object: &str, error: &object_store::Error) -> ObjectsError {
        let mut why = reason(error);
        if shown.starts_with("s3://") && std::env::var_os("AWS_ACCESS_KEY_ID").is_none() {
            why.push_str("; AWS_ACCESS_KEY_ID is not set, so the credentials were asked of where this machine runs");
        }
        let is_not_found = matches!(error, object_store::Error::NotFound { .. });
        ObjectsError::Refused { doing, shown: shown.to_owned(), object: object.to_owned(), why, is_not_found }
    }
}

/// The longest reason that is told, in characters.
const REASON_MAX: usize = 300;

/// Why a store refused, in one line: its clients tell each error within the next, and S3 answers with a page.
fn reason(error: &object_store::Error) -> String {
    let mut deepest: &dyn std::error::Error = error;
    while let Some(inner) = deepest.source() {
        deepest = inner;
    }
    let text = deepest.to_string();
    let said = |name: &str| Some(text.split_once(&format!("<{name}>"))?.1.split_once(&format!("</{name}>"))?.0);
    match (said("Code"), said("Message")) {
        (Some(code), Some(message)) => format!("{code}: {message}").chars().take(REASON_MAX).collect(),
        _ => text.lines().next().unwrap_or_default().chars().take(REASON_MAX).collect(),
    }
}

/// The objects below one folder of a store.
pub struct Objects {
    objects: Arc<dyn ObjectStore>,
    prefix: Path,
    runtime: Runtime,
    shown: String,
    /// The folder itself, where it is a local one.
    local: Option<PathBuf>,
    /// Whether that is its owner's alone: then so are its objects.
    is_private: bool,
}

impl Objects {
    /// Opens a store; all that is read and written lies below `folder`. Credentials for S3 come from the usual variables
    /// (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION`).
    pub fn open(location: &Location, below: &str) -> Result<Objects, ObjectsError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|source| ObjectsError::Folder { shown: "of the runtime".to_owned(), source })?;
        match location {
            Location::Folder(folder) => {
                let shown = folder.display().to_string();
                let failed = |source| ObjectsError::Folder { shown: shown.clone(), source };
                let is_private = make_like_above(folder).map_err(failed)?;
                let objects = LocalFileSystem::new_with_prefix(folder)
                    .map_err(|error| ObjectsError::refused("open", &shown, "", &error))?;
                let objects = Arc::new(objects.with_fsync(true));
                let (prefix, local) = (Path::from(below), Some(folder.join(below)));
                Ok(Objects { objects, prefix, runtime, shown, local, is_private })
            }
            Location::S3 { bucket, prefix, endpoint } => {
                let shown = format!("s3://{bucket}/{prefix}");
                let objects = bucket_store(bucket, endpoint.as_deref(), &shown)?;
                let prefix = Path::from(format!("{prefix}/{below}"));
                Ok(Objects { objects, prefix, runtime, shown, local: None, is_private: false })
            }
        }
    }

    /// Deletes what a killed process left of objects that it had not finished, in a local folder; says how many there
    /// were. Only for whoever knows that nobody writes there now.
    pub fn remove_leftovers(&self) -> usize {
        let mut removed = 0;
        let mut folders: Vec<PathBuf> = self.local.iter().cloned().collect();
        while let Some(folder) = folders.pop() {
            // A folder that can't be read is told by whoever needs something of it.
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if is_leftover(&entry.file_name().to_string_lossy()) && std::fs::remove_file(&path).is_ok() {
                    removed += 1;
                }
            }
        }
        removed
    }

    /// What a person calls the store.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Whether any of the folders beside this one has objects in a folder of that name.
    pub fn others_have(&self, folder: &str) -> Result<bool, ObjectsError> {
        let below = |path: &Path| self.runtime.block_on(self.objects.list_with_delimiter(Some(path)));
        let parent = self.prefix.parent().unwrap_or_default();
        let others = below(&parent).map_err(self.refused("list", ""))?.common_prefixes;
        for other in others.into_iter().filter(|other| *other != self.prefix) {
            let inner = Path::from(format!("{other}/{folder}"));
            if !below(&inner).map_err(self.refused("list", ""))?.objects.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn path(&self, object: &str) -> Path {
        Path::from(format!("{}/{object}", self.prefix))
    }

    fn refused(&self, doing: &'static str, object: &str) -> impl FnOnce(object_store::Error) -> ObjectsError {
        let (shown, object) = (self.shown.clone(), object.to_owned());
        move |error| ObjectsError::refused(doing, &shown, &object, &error)
    }

    /// Writes a new object, durably; says whether it was new. An object that is there already stays as it is.
    pub fn create(&self, object: &str, bytes: Vec<u8>) -> Result<bool, ObjectsError> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let path = self.path(object);
        match self.runtime.block_on(self.objects.put_opts(&path, PutPayload::from(bytes), options)) {
            Ok(_) => {
                if let Some(folder) = self.local.as_ref().filter(|_| self.is_private) {
                    let private = Permissions::from_mode(PRIVATE_FILE);
                    // Nobody but the owner gets there anyway.
                    let _ = std::fs::set_permissions(folder.join(object), private);
                }
                Ok(true)
            }
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => Ok(false),
            Err(error) => Err(self.refused("write", object)(error)),
        }
    }

    /// All bytes of an object.
    pub fn get(&self, object: &str) -> Result<Vec<u8>, ObjectsError> {
        let path = self.path(object);
        let got = self.runtime.block_on(async { self.objects.get(&path).await?.bytes().await });
        got.map(|bytes| bytes.to_vec()).map_err(self.refused("read", object))
    }

    /// All bytes of an object, or nothing where its size is not as it is wanted: then none of it is read.
    pub fn get_if(&self, object: &str, is_wanted: impl Fn(u64) -> bool) -> Result<Option<Vec<u8>>, ObjectsError> {
        let path = self.path(object);
        let got = self.runtime.block_on(async {
            let got = self.objects.get(&path).await?;
            match is_wanted(got.meta.size) {
                true => Ok(Some(got.bytes().await?)),
                false => Ok(None),
            }
        });
        got.map(|bytes| bytes.map(Vec::from)).map_err(self.refused("read", object))
    }

    /// The names below a folder, ascending.
    pub fn list(&self, folder: &str) -> Result<Vec<String>, ObjectsError> {
        Ok(self.list_sized(folder)?.into_iter().map(|(name, _)| name).collect())
    }

    /// The names below a folder, ascending, and how many bytes each object has.
    pub fn list_sized(&self, folder: &str) -> Result<Vec<(String, u64)>, ObjectsError> {
        let path = self.path(folder);
        let listed = self.objects.list(Some(&path)).map_ok(|meta| (meta.location, meta.size));
        let listed = self.runtime.block_on(listed.try_collect::<Vec<(Path, u64)>>());
        let listed = listed.map_err(self.refused("list", folder))?;
        let below = format!("{path}/");
        let name_of = |path: &Path| Some(path.as_ref().strip_prefix(&below)?.to_owned());
        let mut names: Vec<(String, u64)> =
            listed.iter().filter_map(|(path, bytes)| Some((name_of(path)?, *bytes))).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Deletes an object; one that is not there is deleted already.
    pub fn delete(&self, object: &str) -> Result<(), ObjectsError> {
        let path = self.path(object);
        match self.runtime.block_on(self.objects.delete(&path)) {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.refused("delete", object)(error)),
        }
    }
}

/// Makes a folder where there is none, its owner's alone if the folder that it comes into is: a data folder's. Others may be
/// meant to be read by others, as history is. Says whether it is its owner's alone.
fn make_like_above(folder: &FilePath) -> std::io::Result<bool> {
    let is_private = |folder: &FilePath| std::fs::metadata(folder).map(|metadata| metadata.mode() & 0o077 == 0);
    if let Some(above) = folder.ancestors().find(|above| above.exists())
        && is_private(above)?
    {
        make_folders(folder)?;
    }
    std::fs::create_dir_all(folder)?;
    is_private(folder)
}

/// Whether a file is one that `object_store` writes before it gives it its name: that name, a hash sign and a number.
/// No object of ours has a hash sign in its name.
fn is_leftover(name: &str) -> bool {
    let number = name.rsplit_once('#').map(|(_, number)| number);
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// How often the client itself tries again, within some two seconds: who reads and writes here tells a store that is away, and
/// tries again for as long as it takes.
#[cfg(feature = "s3")]
const CLIENT_RETRIES: usize = 4;

#[cfg(feature = "s3")]
use object_store::{ClientConfigKey, aws::AmazonS3ConfigKey};

#[cfg(feature = "s3")]
fn bucket_store(bucket: &str, endpoint: Option<&str>, shown: &str) -> Result<Arc<dyn ObjectStore>, ObjectsError> {
    let mut builder = object_store::aws::AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .with_retry(object_store::RetryConfig { max_retries: CLIENT_RETRIES, ..object_store::RetryConfig::default() })
        .with_conditional_put(object_store::aws::S3ConditionalPut::ETagMatch);
    if let Some(endpoint) = endpoint {
        builder = builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
        if crate::http_client::is_loopback(endpoint) {
            // A proxy that no host is asked through takes the place of the one that the environment may name.
            builder = builder
                .with_config(AmazonS3ConfigKey::Client(ClientConfigKey::ProxyUrl), endpoint)
                .with_config(AmazonS3ConfigKey::Client(ClientConfigKey::ProxyExcludes), "*");
        }
    }
    let opened = builder.build();
    Ok(Arc::new(opened.map_err(|error| ObjectsError::refused("open", shown, "", &error))?))
}

#[cfg(not(feature = "s3"))]
fn bucket_store(_: &str, _: Option<&str>, shown: &str) -> Result<Arc<dyn ObjectStore>, ObjectsError> {
    Err(ObjectsError::Feature { shown: shown.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_s3_becomes_a_line() {
        let page =
            "403 Forbidden: <?xml version=\"1.0\"?>\n<Error><Code>AccessDenied</Code><Message>No.</Message></Error>";
        let nested = |text: &str| object_store::Error::Generic { store: "S3", source: text.to_owned().into() };
        assert_eq!(reason(&nested(page)), "AccessDenied: No.");
        assert_eq!(reason(&nested("first\nsecond")), "first");
        assert_eq!(reason(&nested(&"x".repeat(1_000))).len(), REASON_MAX);
    }

    #[test]
    fn objects_are_as_private_as_the_folder_that_they_come_into() {
        let parent = tempfile::tempdir().unwrap();
        for (mode, folder_mode, file_mode) in [(0o700, 0o700, 0o600), (0o755, 0o755, 0o644)] {
            std::fs::set_permissions(parent.path(), Permissions::from_mode(mode)).unwrap();
            let folder = parent.path().join(format!("{mode:o}/history"));
            let objects = Objects::open(&Location::Folder(folder.clone()), "run").unwrap();
            assert!(objects.create("file", b"whole".to_vec()).unwrap());
            let found = |path: &FilePath| std::fs::metadata(path).unwrap().mode() & 0o777;
            // What others get is up to the user's mask.
            assert_eq!(found(&folder) & !0o077, folder_mode & !0o077);
            assert_eq!(found(&folder) & 0o077 == 0, mode == 0o700);
            assert_eq!(found(&folder.join("run/file")) & 0o700, file_mode & 0o700);
            assert!(mode != 0o700 || found(&folder.join("run/file")) == file_mode);
        }
    }

    #[test]
    fn what_a_killed_process_left_goes_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let objects = Objects::open(&Location::Folder(folder.path().to_owned()), "run").unwrap();
        assert!(objects.create("history/one.parquet", b"whole".to_vec()).unwrap());
        std::fs::write(folder.path().join("run/history/two.parquet#1"), "half").unwrap();
        std::fs::write(folder.path().join("run/history/notes#old"), "somebody's").unwrap();
        std::fs::write(folder.path().join("other#1"), "of another run").unwrap();
        assert_eq!(objects.remove_leftovers(), 1);
        let left = std::fs::read_dir(folder.path().join("run/history")).unwrap().count();
        assert_eq!(left, 2);
        assert!(folder.path().join("other#1").exists());
    }
}
