//! The written hashes of records: of their identities, streams, lanes and contents.
//!
//! They are part of checkpoints and of what counts as a duplicate, so neither the seeds nor the layout may change.
//! A text is written as its length (32 bits, little endian) and its bytes, an integer as 8 bytes, little endian:
//! whatever parts are written, other parts give other bytes. Each purpose has a seed of its own, so that an event and a
//! fact with the same id stay two records.

use xxhash_rust::xxh3;

/// Seeds the identity of an event.
pub(crate) const EVENT_SEED: u64 = 0x6169_736c_6530_3031;
/// Seeds the identity of a fact.
pub(crate) const FACT_SEED: u64 = 0x6169_736c_6530_3032;
/// Seeds the identity of a sequenced stream.
pub(crate) const STREAM_SEED: u64 = 0x6169_736c_6530_3033;
/// Seeds the lane of a fact source.
pub(crate) const LANE_SEED: u64 = 0x6169_736c_6530_3034;
/// Seeds the content of any record.
pub(crate) const CONTENT_SEED: u64 = 0x6169_736c_6530_3035;
/// Seeds an attribute.
pub(crate) const ATTRIBUTE_SEED: u64 = 0x6169_736c_6530_3036;

/// The parts of a record that are hashed together. Kept between records, so that it allocates once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Digest(Vec<u8>);

impl Digest {
    /// Forgets what was written.
    pub(crate) fn begin(&mut self) -> &mut Self {
        self.0.clear();
        self
    }

    /// Writes a text.
    #[inline]
    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        let bytes = u32::try_from(text.len()).expect("a text of a record has at most 256 bytes");
        self.0.reserve(size_of::<u32>() + text.len());
        self.0.extend_from_slice(&bytes.to_le_bytes());
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    /// Writes an integer.
    pub(crate) fn integer(&mut self, integer: i64) -> &mut Self {
        self.0.extend_from_slice(&integer.to_le_bytes());
        self
    }

    /// Writes a 128-bit hash.
    pub(crate) fn hash(&mut self, hash: u128) -> &mut Self {
        self.0.extend_from_slice(&hash.to_le_bytes());
        self
    }

    /// An identity of what was written.
    pub(crate) fn identity(&self, seed: u64) -> u128 {
        xxh3::xxh3_128_with_seed(&self.0, seed)
    }

    /// The content hash of what was written.
    pub(crate) fn content(&self) -> u64 {
        xxh3::xxh3_64_with_seed(&self.0, CONTENT_SEED)
    }
}

/// A fact source's lane.
pub(crate) fn lane_of(source: &str) -> u128 {
    xxh3::xxh3_128_with_seed(source.as_bytes(), LANE_SEED)
}

/// The hash of one attribute, to be added up with the others: a sum does not know their order.
/// `shape` keeps the text "1" apart from the number 1.
pub(crate) fn attribute(name: &str, shape: u64, value: &[u8]) -> u64 {
    let name = xxh3::xxh3_64_with_seed(name.as_bytes(), ATTRIBUTE_SEED.wrapping_add(shape));
    xxh3::xxh3_64_with_seed(value, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checkpoints hold these hashes: the values may never change.
    #[test]
    fn the_hashes_are_frozen() {
        let mut digest = Digest::default();
        let identity = digest.begin().text("north").text("event-1").identity(EVENT_SEED);
        let content = digest.begin().integer(-7).text("").hash(identity).content();
        assert_eq!(format!("{identity:032x} {content:016x}"), FROZEN_RECORD);
        assert_eq!(format!("{:032x} {:016x}", lane_of("pos"), attribute("colour", 1, b"red")), FROZEN_PARTS);
    }
    const FROZEN_RECORD: &str = "1f7a952621b944cb2c165327402b9513 c3f2afc5ddc5621e";
    const FROZEN_PARTS: &str = "53655b8f24d4c7e58d29621aae51aada 5ff522b77f4757df";

    #[test]
    fn parts_are_kept_apart_and_purposes_too() {
        let mut digest = Digest::default();
        let first = digest.begin().text("ab").text("c").identity(EVENT_SEED);
        let second = digest.begin().text("a").text("bc").identity(EVENT_SEED);
        let third = digest.begin().text("ab").text("c").identity(FACT_SEED);
        assert!(first != second && first != third);
        assert_ne!(attribute("a", 0, b"1"), attribute("a", 1, b"1"));
    }
}
