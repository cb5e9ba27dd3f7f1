//! A segment: parts of one worker, one after the other.
//!
//! ```text
//! segment   magic (8 bytes) | format version u32 | block*
//! block     header length u32 | body length u32 | checksum u32 | header | body          all little endian
//! header    operator, place, length of the part's bytes, in postcard's coding
//! body      the part's bytes, compressed by zstd
//! ```
//!
//! The checksum (CRC-32) covers both lengths, header and body; the manifest has one of the whole segment.

use std::sync::Arc;

use operators::checkpoint::{Parcel, Part, PartOwner};

const MAGIC: &[u8; 8] = b"aislepts";
const FORMAT_VERSION: u32 = 1;
/// The longest part, so that a damaged length asks for no memory.
const PART_BYTES_MAX: usize = 1 << 30;
/// The longest segment that is read: one is begun anew once it has 32 MiB, and the last part may be long.
pub(super) const SEGMENT_BYTES_MAX: u64 = 2 << 30;
/// zstd's fastest ordinary level: a checkpoint is written while work goes on.
const LEVEL: i32 = 1;

/// A segment that is being put together.
#[derive(Debug)]
pub(super) struct Segment {
    bytes: Vec<u8>,
}

impl Segment {
    pub(super) fn new() -> Self {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        Segment { bytes }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.len() == MAGIC.len() + 4
    }

    pub(super) fn push(&mut self, part: &Part) {
        let header = postcard::to_stdvec(&(&part.operator, part.place, part.bytes.len() as u64))
            .expect("a header is strings and integers, which the codec can always hold");
        let body = zstd::bulk::compress(&part.bytes, LEVEL).expect("there is memory for what is compressed");
        let lengths = [header.len() as u32, body.len() as u32].map(u32::to_le_bytes);
        let mut hasher = crc32fast::Hasher::new();
        for bytes in [&lengths[0][..], &lengths[1], &header, &body] {
            hasher.update(bytes);
        }
        self.bytes.extend_from_slice(&lengths[0]);
        self.bytes.extend_from_slice(&lengths[1]);
        self.bytes.extend_from_slice(&hasher.finalize().to_le_bytes());
        self.bytes.extend_from_slice(&header);
        self.bytes.extend_from_slice(&body);
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// The parts of a segment that are `wanted`, still compressed. Untrusted: whatever the bytes are, the answer is parcels or
/// words; what a parcel holds was written so, since its checksum holds.
pub(super) fn parcels(
    bytes: Vec<u8>,
    wanted: impl Fn(PartOwner) -> bool,
    mut give: impl FnMut(Parcel),
) -> Result<(), String> {
    let bytes = Arc::new(bytes);
    let rest = bytes.strip_prefix(MAGIC).ok_or("it does not begin as a segment does")?;
    let (version, mut rest) = take_u32(rest)?;
    if version != FORMAT_VERSION {
        return Err(format!("its format is version {version}, this build reads {FORMAT_VERSION}"));
    }
    while !rest.is_empty() {
        let offset = bytes.len() - rest.len();
        let damaged = |what: &str| format!("the block at byte {offset} {what}");
        let lengths = rest;
        let (header_bytes, after) = take_u32(rest)?;
        let (body_bytes, after) = take_u32(after)?;
        let (checksum, after) = take_u32(after)?;
        let (header_bytes, body_bytes) = (header_bytes as usize, body_bytes as usize);
        let header = after.get(..header_bytes).ok_or_else(|| damaged("is cut short"))?;
        let body = after[header_bytes..].get(..body_bytes).ok_or_else(|| damaged("is cut short"))?;
        let mut hasher = crc32fast::Hasher::new();
        for bytes in [&lengths[..8], header, body] {
            hasher.update(bytes);
        }
        if hasher.finalize() != checksum {
            return Err(damaged("does not match its checksum"));
        }
        rest = &after[header_bytes + body_bytes..];
        let (operator, place, length): (String, PartOwner, u64) =
            postcard::from_bytes(header).map_err(|_| damaged("has a header that is none"))?;
        if !wanted(place) {
            continue;
        }
        let length = usize::try_from(length).ok().filter(|length| *length <= PART_BYTES_MAX);
        let length = length.ok_or_else(|| damaged("is longer than any that is written"))?;
        // A length that its bytes do not have would ask for memory that nothing needs.
        let holds = zstd::zstd_safe::get_frame_content_size(body).ok().flatten();
        if holds != Some(length as u64) {
            return Err(damaged("does not hold as many bytes as its header says"));
        }
        let from = bytes.len() - rest.len() - body_bytes;
        let segment = Arc::clone(&bytes);
        let unpack = move || {
            let part = zstd::bulk::decompress(&segment[from..from + body_bytes], length)
                .expect("what was verified was compressed when it was written");
            assert_eq!(part.len(), length, "a part has the length that its header says");
            part
        };
        give(Parcel::new(operator, place, unpack));
    }
    Ok(())
}

fn take_u32(bytes: &[u8]) -> Result<(u32, &[u8]), String> {
    let (word, rest) = bytes.split_first_chunk::<4>().ok_or("it is cut short")?;
    Ok((u32::from_le_bytes(*word), rest))
}
