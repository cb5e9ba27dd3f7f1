//! Reads a topic as its consumer would, and proves that each message is there once: ticks ascend, each has its messages
//! from 0 to the last, and their count and hash are those of the sink's progress.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Headers, Message as _};

use operators::delivery::{Chain, Message, Progress};
use operators::time::Tick;

use super::wire::from_json;
use super::{KafkaSinkError, Mode};
use crate::kafka::committed::{From, Reader, Upto};
use crate::kafka::connection::Connection;
use crate::kafka::request::RequestError;

/// What is to be verified.
#[derive(Clone, Debug)]
pub struct Question {
    /// The topic.
    pub topic: String,
    /// The sink's progress topic; otherwise it is looked for by the name of the sink in the headers.
    pub progress_topic: Option<String>,
    /// How the sink writes: without transactions, what was seen is dropped.
    pub mode: Mode,
    /// How long one partition may take to be read.
    pub patience: Duration,
}

/// A message, as a consumer has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentMessage {
    /// Its key.
    pub key: Vec<u8>,
    /// Its value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Its headers, in their order.
    pub headers: Vec<(String, Vec<u8>)>,
}

/// What was found in a partition, which is a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardFound {
    /// The partition.
    pub shard: u32,
    /// The sink that writes it; empty where it has no messages.
    pub sink: String,
    /// Messages, each once.
    pub messages: u64,
    /// Messages that were dropped, since they had been seen.
    pub dropped: u64,
    /// Ticks with messages.
    pub ticks: u64,
    /// The last of them.
    pub last_tick: Option<Tick>,
    /// The sink says that it is complete below this tick.
    pub complete_below: Tick,
    /// Progress records whose count and hash were compared.
    pub compared: u64,
    /// Whether the first messages have expired, so that hashes can't be compared.
    pub is_cut: bool,
}

/// What does not hold, first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Where.
    pub partition: u32,
    /// The offset of the message; none where something is missing at the end.
    pub offset: Option<i64>,
    /// What.
    pub what: String,
}

/// What was found in a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// By partition, up to the first violation.
    pub shards: Vec<ShardFound>,
    /// The progress topic.
    pub progress_topic: String,
    /// What does not hold.
    pub violation: Option<Violation>,
}

/// Why it could not be found out.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The cluster.
    #[error(transparent)]
    Kafka(#[from] KafkaSinkError),
    /// There is no such topic.
    #[error("there is no topic \"{0}\"")]
    Missing(String),
    /// Whose progress is it?
    #[error("could not tell the progress topic of \"{topic}\" ({found}); name it with --progress")]
    Progress {
        /// The topic.
        topic: String,
        /// What was found.
        found: String,
    },
}

impl std::convert::From<RequestError> for VerifyError {
    fn from(error: RequestError) -> Self {
        VerifyError::Kafka(error.into())
    }
}

/// Verifies a topic and gives every message to `visit`, partition by partition, in order and once.
pub fn verify(
    connection: &Connection,
    question: &Question,
    mut visit: impl FnMut(u32, SentMessage),
) -> Result<Found, VerifyError> {
    let topics = topics_of(connection)?;
    let missing = || VerifyError::Missing(question.topic.clone());
    let partitions = *topics.get(&question.topic).ok_or_else(missing)? as u32;
    let reader = Reader::new(connection)?;
    let progress_topic = match &question.progress_topic {
        Some(named) if topics.contains_key(named) => named.clone(),
        Some(named) => return Err(VerifyError::Missing(named.clone())),
        None => look_for_progress(&reader, question, partitions, &topics)?,
    };
    let mut found = Found { progress_topic, ..Found::default() };
    for partition in 0..partitions {
        let mut shard = Shard::new(question, partition);
        shard.learn(&reader, &found.progress_topic)?;
        shard.said_before = shard.claims.last_key_value().map_or(0, |(messages, _)| *messages);
        let (low, _) = reader.offsets(&question.topic, partition)?;
        shard.found.is_cut = low > 0;
        reader.read(&question.topic, partition, From::Beginning, Upto::End, question.patience, |message| {
            match shard.message(message) {
                Ok(Some(message)) => visit(partition, message),
                Ok(None) => {}
                Err(what) => {
                    shard.violation = Some((Some(message.offset()), what));
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        })?;
        // The sink may have gone on since its progress was read.
        shard.learn(&reader, &found.progress_topic)?;
        shard.end();
        let violation = shard.violation.take();
        found.shards.push(shard.found);
        if let Some((offset, what)) = violation {
            found.violation = Some(Violation { partition, offset, what });
            break;
        }
    }
    Ok(found)
}

/// A partition while it is read.
struct Shard {
    topic: String,
    mode: Mode,
    found: ShardFound,
    chain: Chain,
    /// The last message's tick, place and number.
    last: Option<(Tick, u32, u32)>,
    /// By number of messages: what progress says of the partition then, and where it stands itself.
    claims: BTreeMap<u64, (Chain, Progress)>,
    newest: Option<Progress>,
    /// Of how many messages progress spoke before the partition was read.
    said_before: u64,
    violation: Option<(Option<i64>, String)>,
}

impl Shard {
    fn new(question: &Question, shard: u32) -> Self {
        Shard {
            topic: question.topic.clone(),
            mode: question.mode,
            found: ShardFound { shard, ..ShardFound::default() },
            chain: Chain::default(),
            last: None,
            claims: BTreeMap::new(),
            newest: None,
            said_before: 0,
            violation: None,
        }
    }

    /// Reads what progress there is.
    fn learn(&mut self, reader: &Reader, progress_topic: &str) -> Result<(), KafkaSinkError> {
        let partition = self.found.shard;
        let mut wrong = None;
        reader.read(progress_topic, partition, From::Beginning, Upto::End, Duration::from_secs(120), |message| {
            match from_json(message.payload().unwrap_or_default()) {
                Ok(progress) => {
                    let chain = progress.topics.get(&self.topic).copied().unwrap_or_default();
                    self.claims.insert(chain.messages, (chain, progress.clone()));
                    self.newest = Some(progress);
                    ControlFlow::Continue(())
                }
                Err(what) => {
                    let topic = progress_topic.to_owned();
                    wrong = Some(KafkaSinkError::Progress { topic, partition, offset: message.offset(), what });
                    ControlFlow::Break(())
                }
            }
        })?;
        wrong.map_or(Ok(()), Err)
    }

    /// Takes the next message; none where it was seen before.
    fn message(&mut self, message: &BorrowedMessage<'_>) -> Result<Option<SentMessage>, String> {
        let sent = SentMessage {
            key: message.key().unwrap_or_default().to_vec(),
            value: message.payload().map(<[u8]>::to_vec),
            headers: message.headers().map_or_else(Vec::new, |headers| {
                let owned = |header: rdkafka::message::Header<'_, &[u8]>| {
                    (header.key.to_owned(), header.value.unwrap_or_default().to_vec())
                };
                headers.iter().map(owned).collect()
            }),
        };
        let Origin { sink, shard, tick, seq, of } = Origin::of(&sent.headers)?;
        if shard != self.found.shard {
            return Err(format!("it is of shard {shard}"));
        }
        if self.found.sink.is_empty() {
            self.found.sink = sink;
        } else if self.found.sink != sink {
            return Err(format!("it is of sink \"{sink}\", those before are of \"{}\"", self.found.sink));
        }
        if self.mode == Mode::IdempotentSequenced && self.last.is_some_and(|(at, place, _)| (tick, seq) <= (at, place))
        {
            self.found.dropped += 1;
            return Ok(None);
        }
        match self.last {
            _ if seq >= of => return Err(format!("it is number {seq} of {of}")),
            None if seq == 0 || self.found.is_cut => {}
            Some((at, place, of_last)) if at == tick && seq == place + 1 && of == of_last => {}
            Some((at, place, of_last)) if at < tick && seq == 0 && place + 1 == of_last => {}
            None => return Err(format!("the first message is number {seq} of tick {tick}")),
            Some((at, place, of_last)) => {
                return Err(format!(
                    "tick {tick}, number {seq} of {of}, follows tick {at}, number {place} of {of_last}"
                ));
            }
        }
        self.found.ticks += u64::from(self.last.is_none_or(|(at, _, _)| at < tick));
        self.check_claim(Some(tick))?;
        self.last = Some((tick, seq, of));
        self.found.messages += 1;
        self.found.last_tick = Some(tick);
        let message = Message { topic: 0, seq, of, key: sent.key.clone(), value: sent.value.clone() };
        self.chain = self.chain.with(tick, &message);
        Ok(Some(sent))
    }

    /// Compares with what progress says of as many messages, before one of tick `following` comes.
    fn check_claim(&mut self, following: Option<Tick>) -> Result<(), String> {
        if self.found.is_cut {
            return Ok(());
        }
        let Some((claimed, progress)) = self.claims.get(&self.chain.messages) else { return Ok(()) };
        self.found.compared += 1;
        if claimed.hash != self.chain.hash {
            return Err(format!(
                "the first {} messages have the hash {:032x}, but progress says {:032x}",
                self.chain.messages, self.chain.hash, claimed.hash
            ));
        }
        let is_ahead = |tick: Tick| tick > progress.tick || tick == progress.tick && progress.sent == 0;
        if let Some((tick, _, _)) = self.last.filter(|(tick, _, _)| is_ahead(*tick)) {
            return Err(format!("there are messages of tick {tick}, but progress is at tick {}", progress.tick));
        }
        if let Some(tick) = following.filter(|tick| *tick < progress.tick) {
            return Err(format!("there are more messages of tick {tick}, which is complete by its progress"));
        }
        Ok(())
    }

    /// Whether everything that progress speaks of was there, and nothing else.
    fn end(&mut self) {
        if self.violation.is_some() {
            return;
        }
        self.violation = self.end_of_partition().err().map(|what| (None, what));
    }

    fn end_of_partition(&mut self) -> Result<(), String> {
        self.check_claim(None)?;
        let Some(newest) = self.newest.clone() else {
            return match self.found.messages {
                0 => Ok(()),
                messages => Err(format!("there are {messages} messages, and no progress")),
            };
        };
        self.found.complete_below = newest.tick;
        if self.found.is_cut {
            return Ok(());
        }
        let there = self.chain.messages;
        let said = self.claims.last_key_value().map_or(0, |(messages, _)| *messages);
        if self.said_before > there {
            return Err(format!("progress speaks of {} messages, and {there} are there", self.said_before));
        }
        if said < there && self.mode == Mode::Transactional {
            return Err(format!("{there} messages are there, but progress speaks of {said}"));
        }
        let complete_below = self.claims.get(&there).map_or(0, |(_, progress)| progress.tick);
        match self.last {
            Some((tick, place, of)) if place + 1 < of && tick < complete_below => {
                Err(format!("tick {tick} ends with number {place} of {of}, but it is complete by its progress"))
            }
            _ => Ok(()),
        }
    }
}

/// What the headers say.
struct Origin {
    sink: String,
    shard: u32,
    tick: Tick,
    seq: u32,
    of: u32,
}

impl Origin {
    fn of(headers: &[(String, Vec<u8>)]) -> Result<Origin, String> {
        let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
        if names != ["sink", "shard", "tick", "seq", "of"] {
            return Err(format!("its headers are {names:?}: no sink wrote it"));
        }
        let text = |at: usize| {
            let (name, value) = &headers[at];
            str::from_utf8(value).map_err(|_| format!("its header `{name}` is no text"))
        };
        fn number<N: std::str::FromStr>(name: &str, text: &str) -> Result<N, String> {
            text.parse().map_err(|_| format!("its header `{name}` is \"{text}\", no number"))
        }
        Ok(Origin {
            sink: text(0)?.to_owned(),
            shard: number("shard", text(1)?)?,
            tick: number("tick", text(2)?)?,
            seq: number("seq", text(3)?)?,
            of: number("of", text(4)?)?,
        })
    }
}

/// The topics of a cluster, with their partitions.
fn topics_of(connection: &Connection) -> Result<BTreeMap<String, usize>, RequestError> {
    let doing = || format!("ask {} for its topics", connection.bootstrap);
    let failed = |error| RequestError::of(doing(), error);
    let consumer: BaseConsumer = connection.client_config().create().map_err(failed)?;
    let metadata = consumer.fetch_metadata(None, Duration::from_secs(20)).map_err(failed)?;
    Ok(metadata.topics().iter().map(|topic| (topic.name().to_owned(), topic.partitions().len())).collect())
}

fn look_for_progress(
    reader: &Reader,
    question: &Question,
    partitions: u32,
    topics: &BTreeMap<String, usize>,
) -> Result<String, VerifyError> {
    let unknown = |found: String| VerifyError::Progress { topic: question.topic.clone(), found };
    let mut sink = None;
    for partition in 0..partitions {
        reader.read(&question.topic, partition, From::Beginning, Upto::Stable, question.patience, |message| {
            let header = message.headers().and_then(|headers| headers.iter().find(|header| header.key == "sink"));
            sink = header.and_then(|header| Some(str::from_utf8(header.value?).ok()?.to_owned()));
            ControlFlow::Break(())
        })?;
        if sink.is_some() {
            break;
        }
    }
    let sink = sink.ok_or_else(|| unknown("no message names its sink".to_owned()))?;
    let suffix = format!(".{sink}.progress");
    let mut candidates = topics.keys().filter(|name| name.ends_with(&suffix));
    match (candidates.next(), candidates.count()) {
        (Some(only), 0) => Ok(only.clone()),
        (None, _) => Err(unknown(format!("there is no topic \"…{suffix}\""))),
        (Some(_), others) => Err(unknown(format!("{} topics end with \"{suffix}\"", others + 1))),
    }
}
