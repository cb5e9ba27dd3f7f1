//! What makes a checkpoint of many objects one thing.

use operators::checkpoint::{Parcel, StateFormats};
use operators::time::Tick;
use operators::timekeeper::Position;
use serde::{Deserialize, Serialize};

use super::{Store, StoreError};

/// One object of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SegmentRecord {
    pub(super) object: String,
    pub(super) bytes: u64,
    pub(super) checksum: u32,
}

/// A checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub(super) format: u32,
    /// The commit of the build that wrote it: for people. Which builds can restore it, the formats of its states say.
    pub build: String,
    /// The operators whose states it has, also where those are empty. Manifests did not have this at first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub states: Option<StateFormats>,
    /// SHA-256 of the configuration that was in force.
    pub configuration: String,
    /// Where the logs stood.
    pub position: Position,
    /// Which writer it is of.
    pub(super) epoch: u64,
    /// How many workers wrote it.
    pub workers: usize,
    pub(super) segments: Vec<SegmentRecord>,
}

pub(super) const FORMAT: u32 = 1;

/// The longest manifest that is read: of some 400,000 segments.
pub(super) const MANIFEST_BYTES_MAX: u64 = 64 << 20;

impl Manifest {
    /// The operators of which it has states, with their formats: what it says, or else those of its `parts`, whose formats are
    /// the first.
    pub fn states(&self, parts: &[Parcel]) -> StateFormats {
        let said = self.states.clone();
        said.unwrap_or_else(|| StateFormats::first(parts.iter().map(|part| part.operator.as_str())))
    }

    /// The size of all segments.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().fold(0, |bytes, segment| segment.bytes.saturating_add(bytes))
    }

    /// As written: one line of JSON, then its checksum in hexadecimal.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let json = serde_json::to_string(self).expect("a manifest is strings and integers under string keys");
        format!("{json}\n{:08x}\n", crc32fast::hash(json.as_bytes())).into_bytes()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Manifest, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "it is no text")?;
        let (json, checksum) = text.trim_end().rsplit_once('\n').ok_or("it is cut short")?;
        if checksum != format!("{:08x}", crc32fast::hash(json.as_bytes())) {
            return Err("it does not match its checksum".to_owned());
        }
        let manifest: Manifest = serde_json::from_str(json).map_err(|error| error.to_string())?;
        match manifest.format {
            FORMAT if manifest.position.upper == 0 => Err("it is of no tick".to_owned()),
            FORMAT => Ok(manifest),
            other => Err(format!("its format is version {other}, this build reads {FORMAT}")),
        }
    }
}

/// The folder of a checkpoint's parts.
pub(super) fn folder(upper: Tick, epoch: u64) -> String {
    format!("parts/{upper:020}-{epoch}")
}

/// The object of a manifest.
pub(super) fn object(upper: Tick) -> String {
    format!("manifests/{upper:020}")
}

/// The ticks of which there are manifests, ascending. Names that nobody of us gives are passed over.
pub(super) fn uppers(store: &Store) -> Result<Vec<Tick>, StoreError> {
    Ok(store.list("manifests")?.iter().filter_map(|name| number(name, |upper| format!("{upper:020}"))).collect())
}

/// The number that a name stands for, if the number would be given this very name.
pub(super) fn number(name: &str, name_of: impl Fn(u64) -> String) -> Option<u64> {
    name.parse().ok().filter(|number| name_of(*number) == name)
}
