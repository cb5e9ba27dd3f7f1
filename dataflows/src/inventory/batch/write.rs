//! Makes batches: for generators, tests, benches, and as the model of a sender.

use std::collections::HashMap;

use super::layout::{BATCH_BYTES_MAX, CORRECTION_BYTES, FACT_BYTES, MAGIC, NONE, Sections, VERSION, VOID};
use crate::inventory::statement::{Corrected, Statement};

/// Gathers statements into one batch. Texts are numbered as they first occur, so the same statements make the same
/// bytes.
#[derive(Debug, Default)]
pub struct BatchWriter {
    numbers: HashMap<String, u32>,
    ends: Vec<u8>,
    text: Vec<u8>,
    corrections: Vec<u8>,
    facts: Vec<u8>,
}

impl BatchWriter {
    /// Adds a statement; whether it is a fact is the reader's question. Says no, and adds nothing, where the batch would
    /// pass [`BATCH_BYTES_MAX`].
    ///
    /// # Panics
    /// Where a statement has no tenant, id, node or source, or a text that is empty or longer than 256 bytes, or an epoch
    /// without a sequence, or a number that the layout has no room for.
    pub fn push(&mut self, said: &Statement<'_>) -> bool {
        // Ten texts at most, each with its end.
        let fact_bytes_max = FACT_BYTES + CORRECTION_BYTES + 10 * (256 + 4);
        if self.length() as usize + fact_bytes_max > BATCH_BYTES_MAX {
            return false;
        }
        let event_time_ms = said.event_time_ms.expect("a fact has an event time");
        let duration_ms = said.observed_from_ms.map_or(0, |from_ms| event_time_ms.saturating_sub(from_ms));
        let texts = [
            self.text(said.tenant.expect("a fact has a tenant")),
            self.text(said.id.expect("a fact has an id")),
            self.text(said.node.expect("a fact has a node")),
            said.sku.map_or(NONE, |sku| self.text(sku)),
            self.text(said.source.expect("a fact has a source")),
            said.corrects.as_ref().map_or(NONE, |corrected| self.correction(corrected)),
            self.optional(said.reference),
            self.optional(said.reason),
            self.optional(said.principal),
            u32::try_from(said.epoch.unwrap_or(0)).expect("an epoch has 32 bits"),
        ];
        for number in texts {
            self.facts.extend_from_slice(&number.to_le_bytes());
        }
        assert!(said.epoch.is_some() == said.sequence.is_some(), "epoch and sequence go together");
        let sequence = said.sequence.map_or(u64::MAX, |sequence| sequence.cast_unsigned());
        self.facts.extend_from_slice(&sequence.to_le_bytes());
        self.facts.extend_from_slice(&said.quantity.unwrap_or(0).to_le_bytes());
        self.facts.extend_from_slice(&event_time_ms.to_le_bytes());
        let state = |state: Option<_>| state.map_or(0, |state| state as u8 + 1);
        let flags = if said.void == Some(true) { VOID } else { 0 };
        self.facts.extend_from_slice(&[said.kind as u8, state(said.state), state(said.to_state), flags]);
        let duration_ms = u32::try_from(duration_ms).expect("a count begins before it ends, by less than 49 days");
        self.facts.extend_from_slice(&duration_ms.to_le_bytes());
        true
    }

    /// How many facts it holds.
    pub fn facts(&self) -> usize {
        self.facts.len() / FACT_BYTES
    }

    /// The message, or `None` where it holds no fact. The writer is as new afterwards.
    pub fn finish(&mut self) -> Option<Vec<u8>> {
        if self.facts.is_empty() {
            return None;
        }
        let sections = self.sections();
        let length = self.length();
        let mut message = Vec::with_capacity(length as usize);
        message.extend_from_slice(&MAGIC);
        message.extend_from_slice(&VERSION.to_le_bytes());
        // Two bytes of zero, and four for the checksum, which comes last.
        message.extend_from_slice(&[0; 6]);
        let length = u32::try_from(length).expect("16 MiB fit 32 bits");
        for number in [length, sections.texts, sections.corrections, sections.facts, sections.text_bytes] {
            message.extend_from_slice(&number.to_le_bytes());
        }
        for section in [&mut self.ends, &mut self.corrections, &mut self.facts, &mut self.text] {
            message.append(section);
        }
        let checksum = crc32fast::hash(&message[12..]);
        message[8..12].copy_from_slice(&checksum.to_le_bytes());
        self.numbers.clear();
        Some(message)
    }

    fn sections(&self) -> Sections {
        // Each is part of a batch of 16 MiB at most.
        Sections {
            texts: (self.ends.len() / 4) as u32,
            corrections: (self.corrections.len() / CORRECTION_BYTES) as u32,
            facts: (self.facts.len() / FACT_BYTES) as u32,
            text_bytes: self.text.len() as u32,
        }
    }

    fn length(&self) -> u64 {
        self.sections().length()
    }

    fn text(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        assert!((1..=256).contains(&text.len()), "a text has 1 to 256 bytes, not {}", text.len());
        let number = (self.ends.len() / 4) as u32;
        self.text.extend_from_slice(text.as_bytes());
        self.ends.extend_from_slice(&(self.text.len() as u32).to_le_bytes());
        self.numbers.insert(text.to_owned(), number);
        number
    }

    fn optional(&mut self, text: &str) -> u32 {
        if text.is_empty() { NONE } else { self.text(text) }
    }

    fn correction(&mut self, corrected: &Corrected<'_>) -> u32 {
        let number = (self.corrections.len() / CORRECTION_BYTES) as u32;
        let id = self.text(corrected.id);
        self.corrections.extend_from_slice(&id.to_le_bytes());
        self.corrections.extend_from_slice(&[corrected.kind as u8, 0, 0, 0]);
        self.corrections.extend_from_slice(&corrected.quantity.to_le_bytes());
        self.corrections.extend_from_slice(&corrected.event_time_ms.to_le_bytes());
        number
    }
}
