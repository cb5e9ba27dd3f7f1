//! SipHash-1-3 of one short text behind many prefixes.
//!
//! Which variants a unit has takes a hash of the unit for each layer and experiment that might have it, and nothing but the
//! prefix differs. So the words of the text are read once, and what is left of each hash is a round a word and three more.
//! The `siphasher` crate, whose hasher has to be begun anew by each, takes a third more instructions; tests hold this one to
//! it.
//!
//! Source: J.-P. Aumasson and D. J. Bernstein, "SipHash: a fast short-input PRF" (2012), with one round a word and three
//! at the end.

/// The state behind a prefix whose length is a multiple of 8 bytes.
#[derive(Clone, Debug)]
pub(crate) struct Prefix {
    state: [u64; 4],
    length: u64,
}

/// A text that is to be hashed, in words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text<'a> {
    words: &'a [[u8; 8]],
    /// The bytes behind the last full word, zeros above them.
    rest: u64,
    length: u64,
}

impl<'a> Text<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let (words, rest) = text.as_bytes().as_chunks();
        let rest = rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        Text { words, rest, length: text.len() as u64 }
    }
}

impl Prefix {
    /// Behind these bytes, and zeros up to a multiple of 8.
    pub(crate) fn new(key: &[u8; 16], bytes: &[u8]) -> Self {
        let key = u128::from_le_bytes(*key);
        let (low, high) = (key as u64, (key >> 64) as u64);
        let mut state = [
            low ^ 0x736f_6d65_7073_6575,
            high ^ 0x646f_7261_6e64_6f6d,
            low ^ 0x6c79_6765_6e65_7261,
            high ^ 0x7465_6462_7974_6573,
        ];
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            absorb(&mut state, u64::from_le_bytes(word));
        }
        Prefix { state, length: bytes.len().next_multiple_of(8) as u64 }
    }

    /// The hash of the prefix and the text.
    #[inline]
    pub(crate) fn hash(&self, text: Text<'_>) -> u64 {
        let mut state = self.state;
        for word in text.words {
            absorb(&mut state, u64::from_le_bytes(*word));
        }
        absorb(&mut state, text.rest | (self.length + text.length) << 56);
        state[2] ^= 0xff;
        (0..3).for_each(|_| round(&mut state));
        state[0] ^ state[1] ^ state[2] ^ state[3]
    }
}

#[inline]
fn absorb(state: &mut [u64; 4], word: u64) {
    state[3] ^= word;
    round(state);
    state[0] ^= word;
}

#[inline]
fn round([v0, v1, v2, v3]: &mut [u64; 4]) {
    *v0 = v0.wrapping_add(*v1);
    *v2 = v2.wrapping_add(*v3);
    *v1 = v1.rotate_left(13) ^ *v0;
    *v3 = v3.rotate_left(16) ^ *v2;
    *v0 = v0.rotate_left(32);
    *v2 = v2.wrapping_add(*v1);
    *v0 = v0.wrapping_add(*v3);
    *v1 = v1.rotate_left(17) ^ *v2;
    *v3 = v3.rotate_left(21) ^ *v0;
    *v2 = v2.rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::Hasher;

    /// Every length around the words, of the prefix and of the text, and lengths that pass a byte.
    #[test]
    fn it_is_the_hash_of_the_library() {
        let key = *b"aisle-assignment";
        let text: String = ('!'..='~').cycle().take(600).collect();
        for prefix_length in [0, 1, 7, 8, 9, 16, 40, 255, 256, 264] {
            let mut bytes = text.as_bytes()[..prefix_length].to_vec();
            let prefix = Prefix::new(&key, &bytes);
            bytes.resize(prefix_length.next_multiple_of(8), 0);
            for length in (0..40).chain([255, 256, 257, 511, 600]) {
                let mut hasher = siphasher::sip::SipHasher13::new_with_key(&key);
                hasher.write(&bytes);
                hasher.write(&text.as_bytes()[..length]);
                assert_eq!(prefix.hash(Text::new(&text[..length])), hasher.finish(), "{prefix_length}, {length}");
            }
        }
    }
}
