//! The files of a run's history as they were kept, for replay, which compares them.

use std::path::Path;

use connectors::objects::{Location, Objects};

use super::{FOLDER, HistoryError, folder_of};
use dataflows::configuration::ArchiveSettings;
use dataflows::history::FileName;

/// What was kept of a run, wherever that is.
pub struct Kept {
    /// None where there is no such folder.
    objects: Option<Objects>,
    below: String,
    /// Where it is, for people.
    pub shown: String,
    /// The objects of the run, in the order of their ticks.
    pub names: Vec<String>,
}

impl Kept {
    /// Lists the files of a run. A folder that is not there has none, and is not made.
    pub fn open(archive: &ArchiveSettings, data: &Path, run: u64) -> Result<Kept, HistoryError> {
        let location = Location::parse(&archive.to, archive.endpoint.clone(), data)?;
        let below = folder_of(run);
        if let Location::Folder(folder) = &location
            && !folder.join(&below).exists()
        {
            return Ok(Kept { objects: None, below, shown: folder.display().to_string(), names: Vec::new() });
        }
        let objects = Objects::open(&location, &below)?;
        let mut names = objects.list(FOLDER)?;
        names.retain(|name| FileName::parse(name).is_some());
        let names = names.into_iter().map(|name| format!("{FOLDER}/{name}")).collect();
        Ok(Kept { shown: objects.shown().to_owned(), objects: Some(objects), below, names })
    }

    /// What their names say, in the order of their ticks.
    pub fn files(&self) -> Vec<FileName> {
        let prefix = format!("{FOLDER}/");
        self.names.iter().filter_map(|name| FileName::parse(name.strip_prefix(&prefix)?)).collect()
    }

    /// The bytes of one of them.
    pub fn bytes(&self, name: &str) -> Result<Vec<u8>, HistoryError> {
        Ok(self.objects.as_ref().map_or(Ok(Vec::new()), |objects| objects.get(name))?)
    }

    /// The path of one of them below the folder of all runs.
    pub fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.below)
    }
}
