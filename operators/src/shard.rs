//! Virtual shards: where a key's state lives, whatever the number of workers.
//!
//! Keys are routed by shard and shards by `shard % peers`; a key is never routed by `hash % peers`, because then its
//! state could not be restored under another number of workers without reading every key.
//! The hash is written down here (a multiply-and-fold of each field, strings by xxh3, seed [`HASH_SEED`]) and may not
//! change: checkpoints and the order of sink shards depend on it.

use std::hash::{Hash, Hasher};

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
