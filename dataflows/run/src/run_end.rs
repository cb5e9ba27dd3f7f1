//! The file `run-end.json` of a data folder: up to which tick the outputs of its run are complete, as the run itself said when
//! it ended in order.
//!
//! It is written last, in one step, and stays when the run goes on: what was complete then is so for ever, so a replay may
//! demand it. A run that was killed leaves the one of the time before, or none, as older builds did; then what has to be
//! there is what checkpoints and the remap log prove ([`replay`](super::replay)).

use std::collections::BTreeMap;
use std::path::Path;

use connectors::data_folder::DataFolder;
use operators::time::Tick;
use serde::{Deserialize, Serialize};

use super::history::History;
use super::outputs::OutputsWatch;
use dataflows::configuration::ArchiveSettings;

/// The name of the file.
pub const RUN_END: &str = "run-end.json";

/// What a run says of itself when it ends in order. A newer build may say more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunEnd {
    /// Every output has the ticks below this.
    pub ticks: Tick,
    /// Which files there are of history, where it is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<HistoryEnd>,
    /// By the name of each Kafka sink: its topics have the ticks below this.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sent: BTreeMap<String, Tick>,
}

/// Which files there were of history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEnd {
    /// The folder, relative to the data folder, or the bucket.
    pub to: String,
    /// Of S3, unless it is Amazon's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// How far behind the time of the ticks a file is deleted.
    pub retention_ms: i64,
    /// The first tick of the oldest file.
    pub lower: Tick,
    /// The first tick that is in no file.
    pub upper: Tick,
}

impl HistoryEnd {
    /// Where the files are.
    pub fn archive(&self) -> ArchiveSettings {
        let HistoryEnd { to, endpoint, retention_ms, .. } = self.clone();
        ArchiveSettings { to, endpoint, retention_ms }
    }
}

impl RunEnd {
    /// What the run of a data folder said last; nothing where it never did, or where what it said can't be read.
    pub fn read(folder: &Path) -> Option<RunEnd> {
        serde_json::from_slice(&std::fs::read(folder.join(RUN_END)).ok()?).ok()
    }

    /// Says it: every output of the run has stopped.
    pub(super) fn write(
        folder: &DataFolder,
        outputs: &OutputsWatch,
        history: Option<&History>,
        archive: &ArchiveSettings,
    ) {
        let history = history.map(|history| {
            let (lower, upper) = history.written();
            let ArchiveSettings { to, endpoint, retention_ms } = archive.clone();
            HistoryEnd { to, endpoint, retention_ms, lower, upper }
        });
        let end = RunEnd { ticks: outputs.durable(), history, sent: outputs.sent().into_iter().collect() };
        let mut text = serde_json::to_vec(&end).expect("numbers and names are always JSON");
        text.push(b'\n');
        // Nothing was published, the folder isn't ours any more, or it can't be said: then a replay goes by what it can prove.
        if end.ticks > 0
            && folder.check().is_ok()
            && let Err(error) = folder.replace(RUN_END, &text)
        {
            tracing::warn!(%error, "{RUN_END} could not be written, so a replay can't demand the last ticks");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_build_says_is_read_and_what_is_none_is_nothing() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(RunEnd::read(folder.path()), None);
        let read = |text: &str| {
            std::fs::write(folder.path().join(RUN_END), text).unwrap();
            RunEnd::read(folder.path())
        };
        assert_eq!(read(""), None);
        assert_eq!(read(r#"{"ticks":12,"#), None);
        let end = RunEnd { ticks: 12, ..RunEnd::default() };
        assert_eq!(read(r#"{"ticks":12,"of_a_newer_build":[1]}"#), Some(end));
    }
}
