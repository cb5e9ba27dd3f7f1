//! Batches of facts: many facts in one message, in a fixed layout (`docs/facts-batch.md` gives every byte).
//!
//! A message of one JSON fact costs more in the log and its client than in the engine, so at a million facts a second
//! they have to travel together. Texts stand once in a dictionary of the message, facts are records of one size that
//! refer to it, and a checksum covers everything: a message either is what its sender wrote or is one dead letter.
//!
//! A batch may come from anyone. Nothing is read before its place was checked against the message's own length, and
//! decoding allocates nothing in proportion to a number that the message merely claims.
//!
//! A decoded fact is the same as the one from JSON, to the bit: see [`statement`](super::statement).

mod layout;
mod write;

use std::sync::Arc;

use operators::record::{DecodeMessage, Header, Part, Rejection};

use self::layout::{
    CORRECTION_BYTES, FACT_BYTES, HEADER_BYTES, MAGIC, NONE, Sections, VERSION, VOID, int, long, number,
};
use crate::catalog::Catalog;
use crate::inventory::fact::{Fact, FactKind, StockState};
use crate::inventory::statement::{Corrected, KINDS, Rules, STATES, Statement};
use crate::names::TenantId;

pub use self::layout::{BATCH_BYTES_MAX, is_batch};
pub use self::write::BatchWriter;

/// Decodes the batches of one source.
#[derive(Clone, Debug)]
pub struct BatchDecoder {
    rules: Rules,
}

impl BatchDecoder {
    /// A decoder for a source that has records of these tenants and these fact sources only, or of any.
    pub fn new(catalog: Arc<Catalog>, tenants: Option<Vec<TenantId>>, fact_sources: Option<Vec<String>>) -> Self {
        BatchDecoder { rules: Rules::new(catalog, tenants, fact_sources) }
    }
}

impl DecodeMessage for BatchDecoder {
    type Record = Fact;

    /// About 100 ns a fact, in place: what it allocates is what a fact owns (names of more than 24 bytes, corrections).
    fn decode_message(&mut self, message: &[u8], mut give: impl FnMut(Part, Result<(Header, Fact), Rejection>)) {
        let batch = match Batch::of(message) {
            Ok(batch) => batch,
            Err(detail) => return give(Part::whole(message), Err(malformed(detail))),
        };
        let mut start = batch.facts_start;
        for (place, fact) in (1..).zip(batch.facts) {
            let outcome = match batch.statement(fact) {
                Ok(said) => self.rules.fact(&said),
                Err(detail) => Err(malformed(detail)),
            };
            give(Part { place, start, length: FACT_BYTES as u32 }, outcome);
            start += FACT_BYTES as u32;
        }
    }
}

#[cold]
fn malformed(detail: String) -> Rejection {
    Rejection::new("malformed_batch", detail)
}

/// A message whose checksum is right and whose parts lie where they should.
struct Batch<'a> {
    ends: &'a [[u8; 4]],
    corrections: &'a [[u8; CORRECTION_BYTES]],
    facts: &'a [[u8; FACT_BYTES]],
    facts_start: u32,
    text: &'a str,
}

impl<'a> Batch<'a> {
    /// Checks everything that does not depend on a single fact.
    fn of(message: &'a [u8]) -> Result<Self, String> {
        let Some((header, body)) = message.split_first_chunk::<HEADER_BYTES>() else {
            return Err(format!("{} bytes are no batch: its header alone has {HEADER_BYTES}", message.len()));
        };
        if header[..4] != MAGIC {
            return Err(format!("the first bytes are {:02x?}, a batch begins with {MAGIC:02x?}", &header[..4]));
        }
        let version = u16::from_le_bytes([header[4], header[5]]);
        if version != VERSION {
            return Err(format!("version {version} is not known, only {VERSION}"));
        }
        if message.len() > BATCH_BYTES_MAX {
            return Err(format!("{} bytes are more than {BATCH_BYTES_MAX}, the most a batch may have", message.len()));
        }
        if header[6..8] != [0; 2] {
            return Err("bytes 6 and 7 have to be zero".to_owned());
        }
        let sections = Sections {
            texts: int(header, 16),
            corrections: int(header, 20),
            facts: int(header, 24),
            text_bytes: int(header, 28),
        };
        let claimed = u64::from(int(header, 12));
        if claimed != message.len() as u64 || sections.length() != claimed {
            let [length, parts] = [message.len() as u64, sections.length()];
            return Err(format!("it says {claimed} bytes, its parts have {parts}, the message has {length}"));
        }
        let [said, computed] = [int(header, 8), crc32fast::hash(&message[12..])];
        if said != computed {
            return Err(format!("its checksum is {said:08x}, that of its bytes is {computed:08x}"));
        }
        if sections.facts == 0 {
            return Err("it holds no fact".to_owned());
        }

        let (ends, body) = body.split_at(sections.texts as usize * 4);
        let (corrections, body) = body.split_at(sections.corrections as usize * CORRECTION_BYTES);
        let (facts, text) = body.split_at(sections.facts as usize * FACT_BYTES);
        let facts_start = (message.len() - text.len() - facts.len()) as u32;
        let text = std::str::from_utf8(text).map_err(|error| format!("its texts are no UTF-8: {error}"))?;
        let batch = Batch {
            ends: ends.as_chunks().0,
            corrections: corrections.as_chunks().0,
            facts: facts.as_chunks().0,
            facts_start,
            text,
        };
        batch.check_texts()?;
        Ok(batch)
    }

    /// Every text has 1 to 256 bytes, ends between two characters, and together they are all the text there is.
    fn check_texts(&self) -> Result<(), String> {
        let mut begin = 0;
        for (number, end) in self.ends.iter().enumerate() {
            let end = u32::from_le_bytes(*end) as usize;
            let bytes = end.checked_sub(begin).filter(|bytes| (1..=256).contains(bytes));
            if bytes.is_none() || !self.text.is_char_boundary(end) {
                return Err(format!("text {number} ends at byte {end}, and begins at {begin}"));
            }
            begin = end;
        }
        if begin != self.text.len() {
            return Err(format!("its texts end at byte {begin} of {}", self.text.len()));
        }
        Ok(())
    }

    #[inline]
    fn text(&self, field: &str, number: u32) -> Result<&'a str, String> {
        let number = number as usize;
        let begin = if number == 0 { Some(&[0; 4]) } else { self.ends.get(number - 1) };
        let (Some(begin), Some(end)) = (begin, self.ends.get(number)) else {
            return Err(format!("`{field}` is text {number}, there are {}", self.ends.len()));
        };
        let (begin, end) = (u32::from_le_bytes(*begin) as usize, u32::from_le_bytes(*end) as usize);
        self.text.get(begin..end).ok_or_else(|| format!("`{field}` is no text"))
    }

    fn optional(&self, field: &str, number: u32) -> Result<Option<&'a str>, String> {
        if number == NONE { Ok(None) } else { self.text(field, number).map(Some) }
    }

    #[inline]
    fn statement(&self, fact: &[u8; FACT_BYTES]) -> Result<Statement<'a>, String> {
        let [kind, state, to_state, flags] = [fact[64], fact[65], fact[66], fact[67]];
        if flags & !VOID != 0 {
            return Err(format!("its flags are {flags:#04x}, only {VOID:#04x} is known"));
        }
        let event_time_ms = long(fact, 56);
        let duration_ms = int(fact, 68);
        let sequence = number(fact, 40);
        let epoch = int(fact, 36);
        if sequence == u64::MAX && epoch != 0 {
            return Err("it has an epoch, but no sequence".to_owned());
        }
        Ok(Statement {
            tenant: Some(self.text("tenant", int(fact, 0))?),
            id: Some(self.text("id", int(fact, 4))?),
            kind: kind_of(kind)?,
            node: Some(self.text("node", int(fact, 8))?),
            sku: self.optional("sku", int(fact, 12))?,
            state: state_of("state", state)?,
            to_state: state_of("to_state", to_state)?,
            quantity: Some(long(fact, 48)),
            event_time_ms: Some(event_time_ms),
            observed_from_ms: (duration_ms > 0).then(|| event_time_ms.saturating_sub(i64::from(duration_ms))),
            source: Some(self.text("source", int(fact, 16))?),
            epoch: (sequence != u64::MAX).then_some(i64::from(epoch)),
            // What is beyond a signed integer is beyond the bounds of a sequence too, and refused as such.
            sequence: (sequence != u64::MAX).then(|| i64::try_from(sequence).unwrap_or(i64::MAX)),
            corrects: self.corrected(int(fact, 20))?,
            void: (flags & VOID != 0).then_some(true),
            reference: self.optional("reference", int(fact, 24))?.unwrap_or_default(),
            reason: self.optional("reason", int(fact, 28))?.unwrap_or_default(),
            principal: self.optional("principal", int(fact, 32))?.unwrap_or_default(),
        })
    }

    fn corrected(&self, number: u32) -> Result<Option<Corrected<'a>>, String> {
        if number == NONE {
            return Ok(None);
        }
        let Some(correction) = self.corrections.get(number as usize) else {
            return Err(format!("`corrects` is correction {number}, there are {}", self.corrections.len()));
        };
        if correction[5..8] != [0; 3] {
            return Err(format!("bytes 5 to 7 of correction {number} have to be zero"));
        }
        Ok(Some(Corrected {
            id: self.text("corrects.id", int(correction, 0))?,
            kind: kind_of(correction[4])?,
            quantity: long(correction, 8),
            event_time_ms: long(correction, 16),
        }))
    }
}

/// A kind by its number, from 0, in the order of `docs/events.md`.
fn kind_of(number: u8) -> Result<FactKind, String> {
    KINDS.get(usize::from(number)).map(|(_, kind)| *kind).ok_or_else(|| format!("kind {number} is not known"))
}

/// A state by its number, from 1; 0 is none given.
fn state_of(field: &str, number: u8) -> Result<Option<StockState>, String> {
    let Some(place) = usize::from(number).checked_sub(1) else { return Ok(None) };
    let (_, state) = STATES.get(place).ok_or_else(|| format!("`{field}` {number} is not known"))?;
    Ok(Some(*state))
}

#[cfg(test)]
mod tests;
