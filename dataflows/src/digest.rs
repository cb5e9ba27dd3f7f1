//! The written hashes of records: of their identities, streams, lanes and contents.
//!
//! They are part of checkpoints and of what counts as a duplicate, so neither the seeds nor the layout may change.
//! A text is written as its length (32 bits, little endian) and its bytes, an integer as 8 bytes, little endian:
//! whatever parts are written, other parts give other bytes. Each purpose has a seed of its own, so that an event and a
//! fact with the same id stay two records.
//!
//! # The key of a run
//!
//! XXH3 with a written seed can be solved for: an id can be made in a fifth of a second that has the identity of somebody
//! else's order, which then is taken for a duplicate. So a run has a [`HashKey`] that is drawn once, recorded with its
//! configuration and told to nobody; its identities and contents are SipHash-1-3 by that key, of 128 and 64 bits, behind the
//! seed of their purpose. A folder that recorded no key keeps XXH3, since its checkpoints hold what that gave.
//!
//! SipHash and not keyed BLAKE3: both are safe here, and BLAKE3 costs several times as much for texts as short as ids.

use std::fmt;
use std::hash::Hasher;

use operators::shard::PlaceKey;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use siphasher::sip::SipHasher13;
use siphasher::sip128::{Hasher128, SipHasher13 as SipHasher128};
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

/// Seeds the key of places.
const PLACE_SEED: u64 = 0x6169_736c_6530_3130;

/// The secret of a run's hashes. Its recorded form is 32 hexadecimal digits; nothing else shows it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HashKey(u128);

impl HashKey {
    /// A key of these bits, which have to be random.
    pub fn new(bits: u128) -> Self {
        HashKey(bits)
    }

    /// The key of the hash by which state is placed: another one, since places can be observed by timing.
    pub(crate) fn of_places(self) -> PlaceKey {
        PlaceKey::secret(self.wide(PLACE_SEED, &[]))
    }

    fn halves(self) -> (u64, u64) {
        (self.0 as u64, (self.0 >> 64) as u64)
    }

    fn wide(self, seed: u64, bytes: &[u8]) -> u128 {
        let (low, high) = self.halves();
        let mut hasher = SipHasher128::new_with_keys(low, high);
        hasher.write(&seed.to_le_bytes());
        hasher.write(bytes);
        hasher.finish128().as_u128()
    }

    fn narrow(self, seed: u64, bytes: &[u8]) -> u64 {
        let (low, high) = self.halves();
        let mut hasher = SipHasher13::new_with_keys(low, high);
        hasher.write(&seed.to_le_bytes());
        hasher.write(bytes);
        hasher.finish()
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("HashKey(secret)")
    }
}

impl Serialize for HashKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:032x}", self.0))
    }
}

impl<'de> Deserialize<'de> for HashKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let digits = String::deserialize(deserializer)?;
        let bits = u128::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 32);
        // Not with the digits: they are nobody's to read.
        bits.map(HashKey).ok_or_else(|| D::Error::custom("a key of hashes is 32 hexadecimal digits"))
    }
}

/// The parts of a record that are hashed together. Kept between records, so that it allocates once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Digest {
    bytes: Vec<u8>,
    key: Option<HashKey>,
}

impl Digest {
    /// One whose hashes go by a key, if there is one.
    pub(crate) fn keyed(key: Option<HashKey>) -> Self {
        Digest { bytes: Vec::new(), key }
    }

    /// Forgets what was written.
    pub(crate) fn begin(&mut self) -> &mut Self {
        self.bytes.clear();
        self
    }

    /// Writes a text.
    #[inline]
    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        let bytes = u32::try_from(text.len()).expect("a text of a record has at most 256 bytes");
        self.bytes.reserve(size_of::<u32>() + text.len());
        self.bytes.extend_from_slice(&bytes.to_le_bytes());
        self.bytes.extend_from_slice(text.as_bytes());
        self
    }

    /// Writes an integer.
    pub(crate) fn integer(&mut self, integer: i64) -> &mut Self {
        self.bytes.extend_from_slice(&integer.to_le_bytes());
        self
    }

    /// Writes a 128-bit hash.
    pub(crate) fn hash(&mut self, hash: u128) -> &mut Self {
        self.bytes.extend_from_slice(&hash.to_le_bytes());
        self
    }

    /// An identity of what was written.
    pub(crate) fn identity(&self, seed: u64) -> u128 {
        match self.key {
            Some(key) => key.wide(seed, &self.bytes),
            None => xxh3::xxh3_128_with_seed(&self.bytes, seed),
        }
    }

    /// The content hash of what was written.
    pub(crate) fn content(&self) -> u64 {
        match self.key {
            Some(key) => key.narrow(CONTENT_SEED, &self.bytes),
            None => xxh3::xxh3_64_with_seed(&self.bytes, CONTENT_SEED),
        }
    }

    /// The hash of one attribute, to be added up with the others: a sum does not know their order.
    /// `shape` keeps the text "1" apart from the number 1.
    pub(crate) fn attribute(&self, name: &str, shape: u64, value: &[u8]) -> u64 {
        let seed = ATTRIBUTE_SEED.wrapping_add(shape);
        match self.key {
            Some(key) => key.narrow(key.narrow(seed, name.as_bytes()), value),
            None => xxh3::xxh3_64_with_seed(value, xxh3::xxh3_64_with_seed(name.as_bytes(), seed)),
        }
    }
}

/// A fact source's lane.
pub(crate) fn lane_of(source: &str) -> u128 {
    xxh3::xxh3_128_with_seed(source.as_bytes(), LANE_SEED)
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
        assert_eq!(format!("{:032x} {:016x}", lane_of("pos"), digest.attribute("colour", 1, b"red")), FROZEN_PARTS);
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
        assert_ne!(digest.attribute("a", 0, b"1"), digest.attribute("a", 1, b"1"));
    }

    /// So are those of a key; and nothing that shows it to anybody has it.
    #[test]
    fn the_hashes_of_a_key_are_frozen_and_it_is_told_to_nobody() {
        let key = HashKey::new(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);
        let mut digest = Digest::keyed(Some(key));
        let identity = digest.begin().text("north").text("event-1").identity(EVENT_SEED);
        let content = digest.begin().integer(-7).text("").hash(identity).content();
        let attribute = digest.attribute("colour", 1, b"red");
        assert_eq!(format!("{identity:032x} {content:016x} {attribute:016x}"), FROZEN_OF_KEY);
        let other = Digest::keyed(Some(HashKey::new(1))).begin().text("north").text("event-1").identity(EVENT_SEED);
        assert_ne!(identity, other);
        let coded = serde_json::to_string(&key).unwrap();
        assert_eq!(
            (coded.as_str(), serde_json::from_str(&coded).unwrap()),
            ("\"00112233445566778899aabbccddeeff\"", key)
        );
        let error = serde_json::from_str::<HashKey>("\"0011\"").unwrap_err().to_string();
        assert!(!error.contains("0011") && !format!("{key:?} {digest:?}").contains("eeff"), "{error}");
    }
    /// Solved for the written seed, by nobody who knows a key.
    #[test]
    fn a_forged_id_is_that_of_nobody_else() {
        let forged = "xxxxxx878l29ms\u{4d0}\u{10}\u{776}\u{2}Mvh2qxrct09ams2o823ex5hupnlfiaa09ju\u{1a53}n\u{7f}s\u{117}oNdm\u{5}\u{a}\u{3}xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
        let of = |key, id| Digest::keyed(key).begin().text("me").text(id).identity(EVENT_SEED);
        assert_eq!(of(None, forged), of(None, "order-12345678"), "it is one, where there is no key");
        let key = Some(HashKey::new(7));
        assert_ne!(of(key, forged), of(key, "order-12345678"));
    }

    const FROZEN_OF_KEY: &str = "2cbf79752735e2906ca2d6c3adef0954 fbf51649d2ac45da 8611c5a8b94693a1";
}
