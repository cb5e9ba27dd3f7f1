//! From a pattern such as `events/2024-*.ndjson.zst` to the files that it names.
//!
//! Each name in a folder that the pattern matches is a file to read, a folder, or an error with its name: what can't be a
//! file of a source is not passed over without a word.

use std::fs::{File, FileType};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use glob::Pattern;

use super::FilesError;

/// The files that match a pattern, in the order of their names. Folders are left out.
pub fn expand(pattern: &str) -> Result<Vec<PathBuf>, FilesError> {
    let matches =
        glob::glob(pattern).map_err(|error| FilesError::Pattern { pattern: pattern.to_owned(), what: error.msg })?;
    let mut paths = Vec::new();
    for found in matches {
        let path =
            found.map_err(|error| FilesError::Unreadable { path: error.path().to_owned(), source: error.into() })?;
        match path.metadata().ok().and_then(|metadata| other_kind(metadata.file_type())) {
            // Below `**` a folder's name may be what is not.
            None if path.to_str().is_none() => return Err(FilesError::Name { path }),
            None => paths.push(path),
            Some("folder") => {}
            Some(kind) => return Err(FilesError::Irregular { path, kind }),
        }
    }
    if let Some(path) = undecodable(pattern) {
        return Err(FilesError::Name { path });
    }
    if paths.is_empty() {
        return Err(FilesError::NoMatch { pattern: pattern.to_owned() });
    }
    paths.sort();
    Ok(paths)
}

/// What is at a path that is no regular file; none where it is one.
fn other_kind(file_type: FileType) -> Option<&'static str> {
    if file_type.is_file() {
        None
    } else if file_type.is_dir() {
        Some("folder")
    } else if file_type.is_fifo() {
        Some("named pipe")
    } else if file_type.is_socket() {
        Some("socket")
    } else {
        Some("device")
    }
}

/// Opens a regular file; of anything else it says what that is, and does not open it, since a named pipe would wait for
/// somebody who writes.
pub(super) fn open_regular(path: &Path) -> io::Result<Result<File, &'static str>> {
    match other_kind(path.metadata()?.file_type()) {
        None => File::open(path).map(Ok),
        Some(kind) => Ok(Err(kind)),
    }
}

/// A file that would match a pattern if its name, or that of a folder above it, were UTF-8. The crate `glob` passes over
/// such names; here their undecodable bytes match as one unknown character each.
fn undecodable(pattern: &str) -> Option<PathBuf> {
    let (start, rest) = pattern.strip_prefix('/').map_or((PathBuf::new(), pattern), |rest| (PathBuf::from("/"), rest));
    let components: Vec<&str> = rest.split('/').filter(|component| !component.is_empty()).collect();
    let mut waiting = vec![(start, &components[..])];
    while let Some((folder, components)) = waiting.pop() {
        let Some((first, behind)) = components.split_first() else { continue };
        if !first.contains(['*', '?', '[']) {
            waiting.push((folder.join(first), behind));
            continue;
        }
        let Ok(component) = Pattern::new(first) else { continue };
        let listed = std::fs::read_dir(if folder.as_os_str().is_empty() { Path::new(".") } else { &folder });
        // What can't be listed was told when the matches were looked for.
        for entry in listed.into_iter().flatten().flatten() {
            let (name, path) = (entry.file_name(), folder.join(entry.file_name()));
            let is_folder = path.is_dir();
            if *first == "**" {
                // Folders of any depth: the rest of the pattern holds here, or further down.
                if is_folder {
                    waiting.push((path.clone(), components));
                }
                continue;
            }
            if !component.matches(&name.to_string_lossy()) {
                continue;
            }
            if name.to_str().is_none() && (is_folder != behind.is_empty()) {
                return Some(path);
            }
            if is_folder {
                waiting.push((path, behind));
            }
        }
        if *first == "**" {
            waiting.push((folder, behind));
        }
    }
    None
}
