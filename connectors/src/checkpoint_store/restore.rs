//! Finding the newest checkpoint that can be restored, and reading it.

use operators::checkpoint::{Parcel, PartOwner};
use operators::time::Tick;

use super::manifest::{MANIFEST_BYTES_MAX, Manifest, object, uppers};
use super::segment::{self, SEGMENT_BYTES_MAX};
use super::{Store, StoreError};
use crate::fault;

/// A checkpoint that can't be used, and why: to be told, loudly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// The first tick that is not in it.
    pub upper: Tick,
    /// What does not hold.
    pub what: String,
}

/// What a store has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The newest that may be usable, if there is one. Its parts were not looked at.
    pub manifest: Option<Manifest>,
    /// Newer ones that are not.
    pub unusable: Vec<Unusable>,
}

impl Store {
    /// The newest checkpoint below or at `most`, which every sink has acknowledged. `check` says why one can't be used.
    pub fn newest(&self, most: Tick, check: impl Fn(&Manifest) -> Result<(), String>) -> Result<Found, StoreError> {
        let mut found = Found::default();
        for upper in uppers(self)?.into_iter().rev().filter(|upper| *upper <= most) {
            let bytes = self.objects.get_if(&object(upper), |bytes| bytes <= MANIFEST_BYTES_MAX)?;
            let bytes = bytes.ok_or_else(|| "it is longer than any that is written".to_owned());
            let manifest = bytes.and_then(|bytes| Manifest::from_bytes(&bytes)).and_then(|manifest| {
                // Whoever tries the one before goes by the tick of this one.
                match manifest.position.upper == upper {
                    true => check(&manifest).map(|()| manifest),
                    false => Err(format!("it is that of tick {}", manifest.position.upper)),
                }
            });
            match manifest {
                Ok(manifest) => {
                    found.manifest = Some(manifest);
                    break;
                }
                Err(what) => found.unusable.push(Unusable { upper, what }),
            }
        }
        Ok(found)
    }

    /// The parts that are `wanted`, once all objects of a checkpoint have been found to be as they were written; words, where
    /// one is not. Each object is read once, and what is wanted of it stays in memory as it is, compressed, until it is
    /// unpacked. `progress` is told how many bytes were read so far.
    pub fn load(
        &self,
        manifest: &Manifest,
        wanted: impl Fn(PartOwner) -> bool,
        mut progress: impl FnMut(u64),
    ) -> Result<Result<Vec<Parcel>, String>, StoreError> {
        let (mut parcels, mut read) = (Vec::new(), 0);
        for record in &manifest.segments {
            if record.bytes > SEGMENT_BYTES_MAX {
                return Ok(Err(format!("{} is longer than any that is written", record.object)));
            }
            let bytes = match self.objects.get_if(&record.object, |bytes| bytes == record.bytes) {
                Ok(Some(bytes)) => bytes,
                Ok(None) => return Ok(Err(format!("{} is not as it was written", record.object))),
                Err(error) if error.is_not_found() => return Ok(Err(format!("{} is missing", record.object))),
                Err(error) => return Err(error.into()),
            };
            if crc32fast::hash(&bytes) != record.checksum {
                return Ok(Err(format!("{} is not as it was written", record.object)));
            }
            if let Err(what) = segment::parcels(bytes, &wanted, |parcel| parcels.push(parcel)) {
                return Ok(Err(format!("{}: {what}", record.object)));
            }
            read += record.bytes;
            progress(read);
            fault::point("restore.read");
        }
        fault::point("restore.done");
        Ok(Ok(parcels))
    }
}
