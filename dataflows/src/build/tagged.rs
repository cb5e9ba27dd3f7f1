//! Rows as keys of checkpoints that were written while all views had one type of rows.

use std::hash::{Hash, Hasher};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A row that is saved, and placed among virtual shards, as the variant of that number of an enumeration of all rows.
/// Checkpoints have such keys, so neither the number nor the hash may change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tagged<const TAG: u32, R>(pub(crate) R);

impl<const TAG: u32, R: Hash> Hash for Tagged<TAG, R> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_isize(TAG as isize);
        self.0.hash(state);
    }
}

impl<const TAG: u32, R: Serialize> Serialize for Tagged<TAG, R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (TAG, &self.0).serialize(serializer)
    }
}

impl<'de, const TAG: u32, R: Deserialize<'de>> Deserialize<'de> for Tagged<TAG, R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (tag, row) = <(u32, R)>::deserialize(deserializer)?;
        match tag == TAG {
            true => Ok(Tagged(row)),
            false => Err(serde::de::Error::custom(format!("a row of view {TAG} has the tag {tag}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use operators::shard::hash_of;

    #[derive(Hash, Serialize)]
    enum Rows {
        #[allow(dead_code, reason = "it takes the place of the variant before")]
        First(String),
        Second(Box<(u64, String)>),
    }

    /// A tagged row has the bytes and the hash of a variant.
    #[test]
    fn a_tagged_row_is_the_variant_of_its_number() {
        let row = (7u64, "seven".to_owned());
        let (variant, tagged) = (Rows::Second(Box::new(row.clone())), Tagged::<1, _>(row));
        let bytes = postcard::to_stdvec(&variant).unwrap();
        assert_eq!(postcard::to_stdvec(&tagged).unwrap(), bytes);
        assert_eq!(hash_of(&tagged), hash_of(&variant));
        assert_eq!(postcard::from_bytes::<Tagged<1, (u64, String)>>(&bytes).unwrap(), tagged);
        assert!(postcard::from_bytes::<Tagged<2, (u64, String)>>(&bytes).is_err());
    }
}
