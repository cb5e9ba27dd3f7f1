//! The [`Source`] over a command log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use operators::record::{Batch, DecodeMessage, Item, RAW_BYTES_MAX};
use operators::source::{Polled, Source, SourceError};

use super::{Commands, Page, Piece};

/// How often a reader at the end of the log says so.
const TELL_END_EVERY: Duration = Duration::from_millis(250);

/// Reads the commands as one partition does: a command's offset is its number. What the decoder takes nothing of is passed
/// over; it is for somebody else.
#[derive(Debug)]
pub struct CommandSource<D> {
    commands: Commands,
    decoder: D,
    origin: Arc<str>,
    next: u64,
    told_end: Option<(u64, Instant)>,
}

impl<D: DecodeMessage> CommandSource<D> {
    /// A reader of these commands; `origin` names them in dead letters.
    pub fn new(commands: Commands, origin: &str, decoder: D) -> Self {
        CommandSource { commands, decoder, origin: origin.into(), next: 0, told_end: None }
    }

    /// The batch of some commands. It stands for the bytes of the records that it has, not of the commands, most of which
    /// may be for others.
    fn batch(&mut self, page: &Page) -> Batch<D::Record> {
        let (mut items, mut text, mut text_starts) = (Vec::new(), Vec::new(), Vec::new());
        for (offset, command) in (self.next..).zip(page) {
            self.decoder.decode_message(command, |part, outcome| {
                let from = part.start as usize;
                let upto = from + (part.length as usize).min(RAW_BYTES_MAX);
                let raw = command.get(from..upto.min(command.len())).unwrap_or_default();
                text_starts.push(u32::try_from(text.len()).unwrap_or(u32::MAX));
                if outcome.is_ok() {
                    text.extend_from_slice(raw);
                }
                let outcome = outcome.map_err(|rejection| (rejection, raw.to_vec()));
                items.push(Item { offset, length: part.length, line: part.place, outcome });
            });
        }
        self.next += page.len() as u64;
        let bytes = items.iter().map(|item| u64::from(item.length).max(1)).sum();
        Batch {
            end_offset: self.next,
            bytes,
            origin: Arc::clone(&self.origin),
            items,
            text: text.into(),
            text_offset: 0,
            text_starts,
            append_ms: Vec::new(),
        }
    }
}

impl<D: DecodeMessage> Source for CommandSource<D> {
    type Record = D::Record;

    fn seek(&mut self, offset: u64) -> Result<(), SourceError> {
        // What this process was not told yet is on its way: nobody seeks what is not durable.
        if let Some(end) = self.commands.end().filter(|end| offset > *end) {
            return Err(SourceError::Truncated { origin: self.origin.to_string(), wanted: offset, end });
        }
        (self.next, self.told_end) = (offset, None);
        Ok(())
    }

    fn poll(&mut self, bytes_max: usize) -> Result<Polled<D::Record>, SourceError> {
        match self.commands.read(self.next, bytes_max)? {
            Piece::Commands(page) => Ok(Polled::Batch(self.batch(&page))),
            Piece::Coming => Ok(Polled::Nothing),
            Piece::End => {
                let is_told = |(end, at): (u64, Instant)| end == self.next && at.elapsed() < TELL_END_EVERY;
                if self.told_end.is_some_and(is_told) {
                    return Ok(Polled::Nothing);
                }
                self.told_end = Some((self.next, Instant::now()));
                Ok(Polled::CaughtUp(self.next))
            }
        }
    }
}
