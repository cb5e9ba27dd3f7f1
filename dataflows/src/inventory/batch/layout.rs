//! Where the bytes of a batch lie. The numbers are those of `docs/facts-batch.md`.

/// The first bytes: no JSON begins so, nor what carries a schema's id.
pub(super) const MAGIC: [u8; 4] = *b"AFCT";
/// The only version so far.
pub(super) const VERSION: u16 = 1;
/// The length of what precedes the sections.
pub(super) const HEADER_BYTES: usize = 32;
/// The length of a correction.
pub(super) const CORRECTION_BYTES: usize = 24;
/// The length of a fact.
pub(super) const FACT_BYTES: usize = 72;
/// The number of a text or correction that is not there.
pub(super) const NONE: u32 = u32::MAX;
/// The flag of a void.
pub(super) const VOID: u8 = 1;

/// The most bytes that a batch may have.
pub const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Whether a message means to be a batch, by its first bytes.
pub fn is_batch(message: &[u8]) -> bool {
    message.starts_with(&MAGIC)
}

/// How many of each part a batch has.
pub(super) struct Sections {
    pub(super) texts: u32,
    pub(super) corrections: u32,
    pub(super) facts: u32,
    pub(super) text_bytes: u32,
}

impl Sections {
    /// The length of the whole, beyond 32 bits where the numbers are nonsense.
    pub(super) fn length(&self) -> u64 {
        HEADER_BYTES as u64
            + u64::from(self.texts) * 4
            + u64::from(self.corrections) * CORRECTION_BYTES as u64
            + u64::from(self.facts) * FACT_BYTES as u64
            + u64::from(self.text_bytes)
    }
}

/// Four bytes of a part of fixed length.
#[inline]
pub(super) fn int<const BYTES: usize>(part: &[u8; BYTES], at: usize) -> u32 {
    u32::from_le_bytes(part[at..at + 4].try_into().expect("four bytes"))
}

/// Eight bytes of a part of fixed length.
#[inline]
pub(super) fn number<const BYTES: usize>(part: &[u8; BYTES], at: usize) -> u64 {
    u64::from_le_bytes(part[at..at + 8].try_into().expect("eight bytes"))
}

/// Eight bytes with a sign.
#[inline]
pub(super) fn long<const BYTES: usize>(part: &[u8; BYTES], at: usize) -> i64 {
    number(part, at).cast_signed()
}
