//! The [`Source`] over one partition of a topic.

#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use operators::answers::{AnswerBook, Asked};
use operators::record::{Batch, DecodeMessage, Item, Part, RAW_BYTES_MAX, Rejection};
use operators::source::{Polled, Source, SourceError};
use rdkafka::error::RDKafkaErrorCode;

use super::cluster::{Cluster, ClusterError, Seen};
use super::native::{Arrivals, Arrived, Reading};
use crate::files::reject;

/// How often the cluster is asked where the partition ends, while nothing arrives.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// The same after an end was reached that nobody asked about yet.
const ASK_AT_END_EVERY: Duration = Duration::from_millis(50);

/// A partition, as a run recorded it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: String,
    /// The topic's id.
    pub topic_id: String,
    /// The partition's number.
    pub partition: u32,
}

/// One partition of a topic, a message a record.
///
/// * An offset is Kafka's. What is not committed is not read; offsets of aborted messages and of the marks of transactions
///   are passed over, with a batch without items where nothing else follows.
/// * A message without a value is a dead letter `tombstone`; one that is too long or not UTF-8 is what a line of a file
///   would be.
/// * Caught up is said on evidence only: everything below an offset was given, and the cluster, asked right then, said
///   that the log ends at exactly this offset, counting what is not committed yet.
/// * Where a decoder has a question whose answer is not in the book, whoever answers is asked, right there. As long as he does
///   not answer, that is [`SourceError::Unreachable`] too, and what lies before the record was given.
/// * A cluster that does not answer is [`SourceError::Unreachable`], and reading goes on where it was. A topic that is gone
///   or is another one, and offsets that are gone, are errors with names; nothing is ever reset.
pub struct TopicSource<D> {
    cluster: Arc<Cluster>,
    place: TopicPartition,
    origin: Arc<str>,
    decoder: D,
    reading: Option<Reading>,
    /// Where the next batch begins.
    next: u64,
    /// Whether a batch has said so: the first end is told even if there is nothing before it.
    is_told: bool,
    /// A failure that came behind records.
    failed: Option<(RDKafkaErrorCode, String)>,
    /// The offset at which the partition ended when the last message below it had been given; none before that is known.
    end: Option<u64>,
    /// Whether the end is new since somebody asked.
    end_is_new: bool,
    asked: Option<Instant>,
    items_expected: usize,
    answers: AnswerBook,
    outside: Asked,
    /// The question of the next record, while nobody has answered it.
    waiting: Option<Waiting>,
}

struct Waiting {
    question: Vec<u8>,
    /// Why there was no answer, if that was not told yet.
    untold: Option<SourceError>,
}

impl<D: DecodeMessage> TopicSource<D> {
    /// A partition. Nothing is asked of the cluster before the first poll.
    pub fn new(cluster: Arc<Cluster>, place: TopicPartition, decoder: D) -> Self {
        let origin = format!("{}[{}]", place.topic, place.partition).into();
        cluster.watch(&place.topic);
        TopicSource {
            cluster,
            place,
            origin,
            decoder,
            reading: None,
            next: 0,
            is_told: false,
            failed: None,
            end: None,
            end_is_new: false,
            asked: None,
            items_expected: 0,
            answers: AnswerBook::default(),
            outside: Asked::Nobody { bound: 0 },
            waiting: None,
        }
    }

    /// The same, whose decoder may have questions. Without this there is nobody to ask.
    pub fn asking(mut self, answers: AnswerBook, outside: Asked) -> Self {
        (self.answers, self.outside) = (answers, outside);
        self
    }

    /// Makes sure that the partition is the one that was recorded and still holds what is to be read next.
    fn begin(&mut self) -> Result<(), SourceError> {
        let TopicPartition { topic, topic_id, partition } = &self.place;
        let found = match self.cluster.topic_now(topic) {
            Ok(found) => found,
            // It may be gone, or a broker may not know it yet: the watching thread finds out.
            Err(error) => return Err(self.check_topic().err().unwrap_or_else(|| self.unreachable(&error))),
        };
        if found.id != *topic_id {
            return Err(self.recreated(found.id));
        }
        if *partition >= found.partitions {
            // A topic of this id never has fewer partitions than before: this broker has not heard of the new ones yet.
            let what = format!("topic \"{topic}\" has {} partitions as far as this broker knows", found.partitions);
            return Err(self.unreachable_as(what));
        }
        self.check_offset()?;
        let reading = Reading::start(self.cluster.reading(), topic, *partition, self.next);
        let refused = || self.unreachable_as("librdkafka could not begin to read it".to_owned());
        self.reading = Some(reading.ok_or_else(refused)?);
        Ok(())
    }

    /// An error if what is to be read next is gone, or was never there.
    fn check_offset(&self) -> Result<(), SourceError> {
        let (oldest, end) = self.ask()?;
        let (origin, wanted) = (self.origin.to_string(), self.next);
        match wanted {
            _ if wanted < oldest => Err(SourceError::Expired { origin, wanted, oldest }),
            _ if wanted > end => Err(SourceError::Truncated { origin, wanted, end }),
            _ => Ok(()),
        }
    }

    /// An error if the topic is known not to be the one that was recorded.
    fn check_topic(&self) -> Result<(), SourceError> {
        match self.cluster.seen(&self.place.topic, &self.place.topic_id) {
            Seen::Same => Ok(()),
            Seen::Recreated(found) => Err(self.recreated(found)),
            Seen::Gone => {
                let what = format!("there has been no topic \"{}\" for some seconds", self.place.topic);
                Err(SourceError::Gone { origin: self.origin.to_string(), what })
            }
        }
    }

    fn ask(&self) -> Result<(u64, u64), SourceError> {
        let asked = self.cluster.offsets_now(&self.place.topic, self.place.partition);
        asked.map_err(|error| self.unreachable(&error))
    }

    fn recreated(&self, found: String) -> SourceError {
        let TopicPartition { topic, topic_id, .. } = &self.place;
        SourceError::Recreated { origin: format!("topic \"{topic}\""), recorded: topic_id.clone(), found }
    }

    fn unreachable(&self, error: &ClusterError) -> SourceError {
        self.unreachable_as(error.to_string())
    }

    fn unreachable_as(&self, what: String) -> SourceError {
        SourceError::Unreachable { origin: self.origin.to_string(), source: io::Error::other(what) }
    }

    /// Takes what has arrived: records, an end, a failure where nothing came before it.
    fn take(&mut self, bytes_max: usize) -> Result<Option<Batch<D::Record>>, (RDKafkaErrorCode, String)> {
        let mut reading = self.reading.take().expect("a poll begins before it takes");
        let taken = self.take_from(&mut reading, bytes_max);
        // Of a record whose question has no answer yet nothing is kept: it is fetched again when there is one.
        if self.waiting.is_none() {
            self.reading = Some(reading);
        }
        taken
    }

    fn take_from(
        &mut self,
        arrivals: &mut impl Arrivals,
        bytes_max: usize,
    ) -> Result<Option<Batch<D::Record>>, (RDKafkaErrorCode, String)> {
        if let Some(failure) = self.failed.take() {
            return Err(failure);
        }
        let (mut items, mut text) = (Vec::with_capacity(self.items_expected), Vec::with_capacity(bytes_max));
        let (mut text_starts, mut append_times) = (Vec::with_capacity(self.items_expected), Vec::new());
        let (mut bytes, mut end_offset) = (0, self.next);
        while bytes < bytes_max {
            match arrivals.take() {
                Some(Arrived::Message { offset, value, append_ms }) => {
                    if let Some(question) = value.and_then(|value| self.decoder.question(value)) {
                        match answer(&self.answers, &self.outside, &self.origin, offset, &question) {
                            Ok(answer) => self.decoder.answered(&question, answer.as_deref()),
                            Err(error) => {
                                self.waiting = Some(Waiting { question, untold: error });
                                break;
                            }
                        }
                    }
                    end_offset = offset + 1;
                    let content = value.unwrap_or_default();
                    bytes += content.len().max(1);
                    let start = text.len();
                    // Of a container all of it, since each of its records may be asked for its own bytes.
                    let kept = if D::IS_TEXT { content.len().min(RAW_BYTES_MAX) } else { content.len() };
                    text.extend_from_slice(&content[..kept]);
                    decode(&mut self.decoder, value, |part, outcome| {
                        text_starts.push(u32::try_from(start + part.start as usize).unwrap_or(u32::MAX));
                        append_times.extend(append_ms);
                        items.push(Item { offset, length: part.length, line: part.place, outcome });
                    });
                }
                Some(Arrived::End(offset)) => {
                    // What has come since lies behind it. A reader that is behind finds an end behind every few messages:
                    // were it to rest at each of them, it would stay behind.
                    (self.end, self.end_is_new) = (Some(offset), true);
                    end_offset = end_offset.max(offset);
                }
                Some(Arrived::Failed(code, text)) => {
                    self.failed = Some((code, text));
                    break;
                }
                None => break,
            }
        }
        if self.waiting.is_some() {
            self.end = None;
        }
        let is_news = end_offset > self.next || (!self.is_told && self.end == Some(self.next));
        if !is_news {
            return self.failed.take().map_or(Ok(None), Err);
        }
        self.items_expected = items.len();
        // All of a batch or nothing: a topic's type of timestamp may change, and half a clock is none.
        let append_ms = if append_times.len() == items.len() { append_times } else { Vec::new() };
        Ok(Some(Batch {
            end_offset,
            bytes: bytes as u64,
            origin: Arc::clone(&self.origin),
            items,
            text: text.into(),
            text_offset: 0,
            text_starts,
            append_ms,
        }))
    }

    /// Asks again for what is missing; says whether the record can be decoded now.
    fn is_answered(&mut self) -> Result<bool, SourceError> {
        let Some(Waiting { question, untold }) = &mut self.waiting else { return Ok(true) };
        if let Some(error) = untold.take() {
            return Err(error);
        }
        if let Asked::Nobody { .. } = self.outside {
            return Ok(false);
        }
        let answer = answer(&self.answers, &self.outside, &self.origin, self.next, question);
        match answer {
            Ok(answer) => self.decoder.answered(question, answer.as_deref()),
            Err(error) => return error.map_or(Ok(false), Err),
        }
        self.waiting = None;
        Ok(true)
    }

    /// Nothing has arrived: asks, if it is time, whether that is because there is nothing.
    fn look_for_the_end(&mut self) -> Result<Polled<D::Record>, SourceError> {
        let every = if self.end_is_new { ASK_AT_END_EVERY } else { ASK_EVERY };
        if self.asked.is_some_and(|asked| asked.elapsed() < every) {
            return Ok(Polled::Nothing);
        }
        self.asked = Some(Instant::now());
        self.end_is_new = false;
        self.check_topic()?;
        // Whoever got no answer asks again at the next poll, so that nobody takes the time between for a recovery.
        let (_, end) = self.ask().inspect_err(|_| self.asked = None)?;
        let is_end = self.end == Some(self.next) && end == self.next;
        Ok(if is_end { Polled::CaughtUp(end) } else { Polled::Nothing })
    }

    /// What a failure means for the run. Whatever it is, reading begins anew where the last batch ended.
    fn explain(&mut self, code: RDKafkaErrorCode, text: String) -> SourceError {
        (self.reading, self.end) = (None, None);
        let checked = match code {
            RDKafkaErrorCode::AutoOffsetReset => self.check_topic().and_then(|()| self.check_offset()),
            _ => self.check_topic(),
        };
        checked.err().unwrap_or_else(|| self.unreachable_as(if text.is_empty() { code.to_string() } else { text }))
    }
}

/// The answer to a question, from the book or from outside. None of them may be an error that is told, or nobody's business:
/// a replay does not wait for records that it will not bind.
fn answer(
    book: &AnswerBook,
    outside: &Asked,
    origin: &str,
    offset: u64,
    question: &[u8],
) -> Result<Option<Arc<[u8]>>, Option<SourceError>> {
    if let Some(known) = book.find(question) {
        return Ok(known);
    }
    match outside {
        Asked::Outside(outside) => match outside.ask(question) {
            Ok(answer) => Ok(book.learn(question, answer)),
            Err(source) => Err(Some(SourceError::Unreachable { origin: origin.to_owned(), source })),
        },
        Asked::Nobody { bound } if offset < *bound => {
            let question = question.iter().map(|byte| format!("{byte:02x}")).collect();
            Err(Some(SourceError::Unanswered { origin: origin.to_owned(), offset, question }))
        }
        Asked::Nobody { .. } => Err(None),
    }
}

type Outcome<R> = Result<(operators::record::Header, R), (Rejection, Vec<u8>)>;

fn decode<D: DecodeMessage>(decoder: &mut D, value: Option<&[u8]>, mut give: impl FnMut(Part, Outcome<D::Record>)) {
    let Some(content) = value else {
        let tombstone = Rejection::new("tombstone", "the message has no value");
        return give(Part::whole(&[]), Err((tombstone, Vec::new())));
    };
    let raw = |part: Part| {
        let from = content.get(part.start as usize..).unwrap_or_default();
        from[..from.len().min(part.length as usize).min(RAW_BYTES_MAX)].to_vec()
    };
    if D::IS_TEXT
        && let Some(rejection) = reject(content, std::str::from_utf8(content).is_ok())
    {
        let whole = Part::whole(content);
        return give(whole, Err((rejection, raw(whole))));
    }
    decoder.decode_message(content, |part, outcome| give(part, outcome.map_err(|rejection| (rejection, raw(part)))));
}

impl<D: DecodeMessage> Source for TopicSource<D> {
    type Record = D::Record;

    fn seek(&mut self, offset: u64) -> Result<(), SourceError> {
        (self.reading, self.failed, self.end, self.asked) = (None, None, None, None);
        (self.next, self.is_told, self.end_is_new, self.waiting) = (offset, false, false, None);
        Ok(())
    }

    fn poll(&mut self, bytes_max: usize) -> Result<Polled<D::Record>, SourceError> {
        if !self.is_answered()? {
            return Ok(Polled::Nothing);
        }
        if self.reading.is_none() {
            self.begin()?;
        }
        match self.take(bytes_max) {
            Err((code, text)) => Err(self.explain(code, text)),
            Ok(None) if self.waiting.is_some() => self.is_answered().map(|_| Polled::Nothing),
            Ok(None) => self.look_for_the_end(),
            Ok(Some(batch)) => {
                self.check_topic()?;
                if !self.cluster.is_read_by_id(&self.place.topic) {
                    self.reading = None;
                    return Err(self.unreachable_as("the client did not say by which id it reads the topic".to_owned()));
                }
                (self.next, self.is_told) = (batch.end_offset, true);
                Ok(Polled::Batch(batch))
            }
        }
    }
}
