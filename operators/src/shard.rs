//! Virtual shards: where a key's state lives, whatever the number of workers.
//!
//! Keys are routed by shard and shards by `shard % peers`; a key is never routed by `hash % peers`, because then its
//! state could not be restored under another number of workers without reading every key.
//!
//! There are two hashes, and neither may change: checkpoints and sink shards depend on them.
//!
//! * The **written** one ([`hash_of`]: a multiply-and-fold of each field, strings by xxh3, seed [`HASH_SEED`]) places rows among
//!   sink shards, so that a key's partition does not depend on the run.
//! * The one of a **key** ([`PlaceKey`]: SipHash-1-3) places the state of folds. Whoever writes input chooses names, and names of
//!   one written hash can be made at will, 40,000 of them in a file of 5 MB: they would lie in one place, and each would be
//!   looked for among all the others. Of a key that nobody is told, none can be made. A run without a key has the written hash.

use std::fmt;
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;

/// The number of virtual shards.
pub const SHARDS: u64 = 1_024;

/// The fixed seed of every hash that decides a place.
pub const HASH_SEED: u64 = 0x6169_736c_6531_3234;

/// The written 64-bit hash of a key. A place, never an identity.
pub fn hash_of<K: Hash + ?Sized>(key: &K) -> u64 {
    let mut hasher = PlaceHasher(HASH_SEED);
    key.hash(&mut hasher);
    hasher.finish()
}

/// The key of the hash that places the state of folds, recorded for a run and told to nobody.
#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceKey(Option<(u64, u64)>);

impl PlaceKey {
    /// No key: the written hash.
    pub const WRITTEN: PlaceKey = PlaceKey(None);

    /// A key of these bits.
    pub fn secret(bits: u128) -> Self {
        PlaceKey(Some(((bits >> 64) as u64, bits as u64)))
    }

    /// The 64-bit hash of a key. A place, never an identity.
    #[inline]
    pub fn hash_of<K: Hash + ?Sized>(self, key: &K) -> u64 {
        match self.0 {
            None => hash_of(key),
            Some((high, low)) => {
                let mut hasher = KeyedHasher(SipHasher13::new_with_keys(high, low));
                key.hash(&mut hasher);
                hasher.finish()
            }
        }
    }
}

impl fmt::Debug for PlaceKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.0.is_some() { "PlaceKey(secret)" } else { "PlaceKey(written)" })
    }
}

/// SipHash of what is written, integers as little-endian values on every platform.
struct KeyedHasher(SipHasher13);

impl Hasher for KeyedHasher {
    fn finish(&self) -> u64 {
        self.0.finish()
    }
    fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }
    fn write_u16(&mut self, value: u16) {
        self.0.write(&value.to_le_bytes());
    }
    fn write_u32(&mut self, value: u32) {
        self.0.write(&value.to_le_bytes());
    }
    fn write_u64(&mut self, value: u64) {
        self.0.write(&value.to_le_bytes());
    }
    fn write_u128(&mut self, value: u128) {
        self.0.write(&value.to_le_bytes());
    }
    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }
}

/// The virtual shard of a key.
pub fn shard_of<K: Hash + ?Sized>(key: &K) -> u64 {
    shard_of_hash(hash_of(key))
}

/// The virtual shard of a hash: its top ten bits, so that tables may use the low ones.
pub fn shard_of_hash(hash: u64) -> u64 {
    hash >> 54
}

/// The worker, of `peers`, that holds a shard.
pub fn worker_of(shard: u64, peers: usize) -> usize {
    (shard % peers as u64) as usize
}

/// A hasher whose result depends on the written bytes alone: each field is folded in with a multiply-and-fold of 64 bits,
/// strings by xxh3. Integers are written as little-endian values on every platform.
struct PlaceHasher(u64);

impl PlaceHasher {
    fn fold(&mut self, value: u64) {
        let product = u128::from(self.0 ^ value.wrapping_mul(0x9e37_79b9_7f4a_7c15)) * 0xd6e8_feb8_6659_fd93;
        self.0 = (product as u64) ^ ((product >> 64) as u64);
    }
}

impl Hasher for PlaceHasher {
    fn finish(&self) -> u64 {
        let mut value = self.0;
        value ^= value >> 32;
        value = value.wrapping_mul(0xd6e8_feb8_6659_fd93);
        value ^ (value >> 29)
    }
    fn write(&mut self, bytes: &[u8]) {
        self.fold(xxhash_rust::xxh3::xxh3_64_with_seed(bytes, HASH_SEED));
    }
    fn write_u8(&mut self, value: u8) {
        self.fold(u64::from(value));
    }
    fn write_u16(&mut self, value: u16) {
        self.fold(u64::from(value));
    }
    fn write_u32(&mut self, value: u32) {
        self.fold(u64::from(value));
    }
    fn write_u64(&mut self, value: u64) {
        self.fold(value);
    }
    fn write_i64(&mut self, value: i64) {
        self.fold(value as u64);
    }
    fn write_i32(&mut self, value: i32) {
        self.fold(value as u64);
    }
    fn write_i16(&mut self, value: i16) {
        self.fold(value as u64);
    }
    fn write_i8(&mut self, value: i8) {
        self.fold(value as u64);
    }
    fn write_usize(&mut self, value: usize) {
        self.fold(value as u64);
    }
    fn write_isize(&mut self, value: isize) {
        self.fold(value as u64);
    }
    fn write_u128(&mut self, value: u128) {
        self.fold(value as u64);
        self.fold((value >> 64) as u64);
    }
    fn write_i128(&mut self, value: i128) {
        self.write_u128(value as u128);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The written hash is part of the format of checkpoints and sink shards: these values may never change.
    #[test]
    fn the_hash_is_frozen() {
        assert_eq!([shard_of("a"), shard_of("household-1"), shard_of(&7u64), shard_of(&(1u16, -5i64))], FROZEN);
    }
    const FROZEN: [u64; 4] = [586, 899, 98, 18];

    /// So are the hashes of a key: checkpoints of a run have state where they say.
    #[test]
    fn the_hash_of_a_key_is_frozen() {
        let key = PlaceKey::secret(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);
        let hashes = [key.hash_of("a"), key.hash_of(&7u64), key.hash_of(&(1u16, -5i64, true))];
        assert_eq!(hashes.map(|hash| format!("{hash:016x}")), FROZEN_OF_KEY);
        assert_ne!(key.hash_of("a"), PlaceKey::secret(1).hash_of("a"));
        assert_eq!(PlaceKey::WRITTEN.hash_of("a"), hash_of("a"));
        assert_eq!(format!("{key:?} {:?}", PlaceKey::WRITTEN), "PlaceKey(secret) PlaceKey(written)");
    }
    /// Written down without any search: the words in their middle cancel what differs before them.
    #[test]
    fn names_of_one_written_hash_have_as_many_hashes_of_a_key() {
        let names = |count: usize| {
            (0..count).map(|number| format!("{}{number:07}\u{d4}mMdm\u{5}\n\u{3}{}", "p".repeat(64), "s".repeat(48)))
        };
        let written: std::collections::BTreeSet<u64> = names(1_000).map(|name| hash_of(&name)).collect();
        assert_eq!(written.len(), 1);
        let key = PlaceKey::secret(7);
        let keyed: std::collections::BTreeSet<u64> = names(1_000).map(|name| key.hash_of(&name)).collect();
        assert_eq!(keyed.len(), 1_000);
    }

    const FROZEN_OF_KEY: [&str; 3] = ["9aa389a81d05cf2d", "49473e410007921c", "44bf6ad5e10ba215"];

    #[test]
    fn sequential_keys_spread_over_all_shards() {
        let mut counts = vec![0u32; SHARDS as usize];
        for key in 0u64..1_024_000 {
            counts[shard_of(&key) as usize] += 1;
        }
        let (least, most) = (counts.iter().min().copied().unwrap(), counts.iter().max().copied().unwrap());
        assert!(least > 800 && most < 1_200, "{least}..{most} of 1,000 expected");
    }
}
