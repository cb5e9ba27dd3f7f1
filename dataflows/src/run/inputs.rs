//! From a configuration to what a run reads: files found and recorded, readers for each partition.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use connectors::files::{FileSource, FileSpec, FilesError, expand};
use operators::time::TimeMs;

use super::engine::PartitionSource;
use crate::configuration::{FileRecord, Plan, Settings, SourceKind};
use crate::experiment::decode::EventDecoder;
use crate::inventory::decode::FactDecoder;

/// The files of a pattern, relative to the configuration's folder. The folder's own name is taken as it is.
pub fn find(folder: &Path, pattern: &str) -> Result<Vec<PathBuf>, FilesError> {
    let literal = glob::Pattern::escape(&folder.to_string_lossy());
    expand(&Path::new(&literal).join(pattern).to_string_lossy()).map_err(|error| {
        let shown = folder.join(pattern).to_string_lossy().into_owned();
        match error {
            FilesError::NoMatch { .. } => FilesError::NoMatch { pattern: shown },
            FilesError::Pattern { what, .. } => FilesError::Pattern { pattern: shown, what },
            error @ FilesError::Unreadable { .. } => error,
        }
    })
}

/// Finds every source's files and records their sizes and hashes. Reads each file once.
pub fn plan(settings: &Settings, folder: &Path, start_ms: TimeMs) -> Result<Plan, FilesError> {
    let mut by_source = Vec::new();
    for files in &settings.files {
        let mut records = Vec::new();
        for path in find(folder, &files.pattern)? {
            let FileSpec { size_bytes, sha256, .. } = FileSpec::record(&path)?;
            let relative = path.strip_prefix(folder).unwrap_or(&path);
            records.push(FileRecord { path: relative.to_string_lossy().into_owned(), size_bytes, sha256 });
        }
        by_source.push(files.partitioned(records));
    }
    Ok(settings.plan(by_source, start_ms))
}

/// A reader for each partition of a plan. The files are opened, and held against what was recorded, when they are read.
pub fn sources(plan: &Plan, folder: &Path) -> Result<Vec<PartitionSource>, FilesError> {
    let catalog = Arc::new(plan.catalog());
    let mut sources = Vec::new();
    for (partition, wiring) in plan.partitions.iter().zip(&plan.topology.partitions) {
        let source = plan.source_of(partition);
        let tenants = plan.meaning.tenants_of(source);
        let tenants = (!source.tenants.is_empty()).then_some(tenants);
        let mut specs = Vec::new();
        for FileRecord { path, size_bytes, sha256 } in &partition.files {
            specs.push(FileSpec::recorded(folder.join(path), *size_bytes, sha256.clone())?);
        }
        let shown_as: Vec<String> = partition.files.iter().map(|file| file.path.clone()).collect();
        let catalog = Arc::clone(&catalog);
        sources.push(match source.kind {
            SourceKind::Experiment => {
                let decoder = EventDecoder::new(catalog, tenants);
                PartitionSource::Events(Box::new(FileSource::new(&wiring.name, specs, decoder).shown_as(shown_as)))
            }
            SourceKind::Inventory => {
                let decoder = FactDecoder::new(catalog, tenants, source.fact_sources.clone());
                PartitionSource::Facts(Box::new(FileSource::new(&wiring.name, specs, decoder).shown_as(shown_as)))
            }
        });
    }
    Ok(sources)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_no_pattern() {
        let parent = tempfile::tempdir().unwrap();
        for folder in ["a[b]", "ab", "what?", "*"] {
            let folder = parent.path().join(folder);
            std::fs::create_dir(&folder).unwrap();
            std::fs::write(folder.join("1.ndjson"), "").unwrap();
            std::fs::write(folder.join("[2].ndjson"), "").unwrap();
        }
        for folder in ["a[b]", "what?", "*"] {
            let folder = parent.path().join(folder);
            assert_eq!(find(&folder, "?.ndjson").unwrap(), [folder.join("1.ndjson")]);
            assert_eq!(find(&folder, "[[]2].ndjson").unwrap(), [folder.join("[2].ndjson")]);
            let error = find(&folder, "3.ndjson").unwrap_err().to_string();
            assert!(error.contains(&*folder.join("3.ndjson").to_string_lossy()), "as it was given: {error}");
            assert!(matches!(find(&folder, "[").unwrap_err(), FilesError::Pattern { .. }));
        }
    }

    #[test]
    fn what_was_recorded_stays_recorded() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a[1].ndjson"), "one").unwrap();
        let settings = crate::configuration::parse(
            "[[sources]]\nname = \"own\"\nkind = \"experiment\"\nfiles = \"*.ndjson\"\ntenants = [\"me\"]\n",
            "own.toml",
        );
        let plan = plan(&settings.unwrap(), folder.path(), 0).unwrap();
        let files = &plan.partitions[0].files;
        assert_eq!((files[0].path.as_str(), files[0].size_bytes), ("a[1].ndjson", 3));
        // The bytes are looked at when they are read, so that each file is hashed once before and once then.
        std::fs::write(folder.path().join("a[1].ndjson"), "another").unwrap();
        let sources = sources(&plan, folder.path()).unwrap();
        let PartitionSource::Events(mut source) = sources.into_iter().next().unwrap() else { unreachable!("events") };
        assert!(source.poll(1 << 20).unwrap_err().to_string().contains("a[1].ndjson"));
    }
}
