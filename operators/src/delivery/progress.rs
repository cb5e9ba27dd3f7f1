//! How far a shard is written: what each transaction ends with.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::{Message, MessagePosition};
use crate::time::Tick;

/// Which message of a topic's partition: they ascend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// The tick of the message.
    pub tick: Tick,
    /// Its place among the messages of that tick in this partition, from 0.
    pub seq: u32,
}

/// How many messages a partition has, and the hash of all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chain {
    /// How many messages the partition has.
    pub messages: u64,
    /// XXH3 of the hash before and the last message; 0 before the first.
    #[serde(with = "hexadecimal")]
    pub hash: u128,
    /// The last of them; none where an earlier version wrote this.
    #[serde(default)]
    pub last: Option<Position>,
}

impl Chain {
    /// The chain with one more message.
    pub fn with(self, tick: Tick, message: &Message) -> Chain {
        let Message { seq, of, key, value, .. } = message;
        let mut bytes = Vec::with_capacity(64 + key.len() + value.as_ref().map_or(0, Vec::len));
        bytes.extend_from_slice(&self.hash.to_le_bytes());
        bytes.extend_from_slice(&tick.to_le_bytes());
        bytes.extend_from_slice(&seq.to_le_bytes());
        bytes.extend_from_slice(&of.to_le_bytes());
        bytes.extend_from_slice(&(key.len() as u64).to_le_bytes());
        bytes.extend_from_slice(key);
        // A missing value is not an empty one.
        bytes.push(u8::from(value.is_some()));
        bytes.extend_from_slice(value.as_deref().unwrap_or_default());
        Chain { messages: self.messages + 1, hash: xxh3_128(&bytes), last: Some(Position { tick, seq: *seq }) }
    }

    /// Whether both are of the same messages.
    pub(super) fn is_of_same(self, other: Chain) -> bool {
        (self.messages, self.hash) == (other.messages, other.hash)
    }
}

/// How far a shard is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Every tick below is complete.
    pub tick: Tick,
    /// So many messages of it are there.
    pub sent: u32,
    /// Which start of the engine wrote this.
    pub writer: String,
    /// The messages that each topic has, by its name.
    pub topics: BTreeMap<String, Chain>,
}

impl Progress {
    /// Where to go on.
    pub fn place(&self) -> MessagePosition {
        MessagePosition { tick: self.tick, passed: self.sent }
    }
}

/// 128 bits as 32 digits.
mod hexadecimal {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(hash: &u128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{hash:032x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
        let digits = String::deserialize(deserializer)?;
        u128::from_str_radix(&digits, 16).map_err(D::Error::custom)
    }
}
