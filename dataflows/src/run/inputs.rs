//! From a configuration to what a run reads: files found and recorded, readers for each partition.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use connectors::files::{FileSource, FileSpec, FilesError, expand};
use operators::time::TimeMs;

use super::engine::PartitionSource;
use crate::configuration::{FileRecord, Plan, Settings, SourceKind};
use crate::experiment::decode::EventDecoder;
use crate::inventory::decode::FactDecoder;

/// The files of a pattern, relative to the configuration's folder.
pub fn find(folder: &Path, pattern: &str) -> Result<Vec<PathBuf>, FilesError> {
    expand(&folder.join(pattern).to_string_lossy())
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
            let found = FileSpec::record(folder.join(path))?;
            specs.push(FileSpec { size_bytes: *size_bytes, sha256: sha256.clone(), ..found });
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
