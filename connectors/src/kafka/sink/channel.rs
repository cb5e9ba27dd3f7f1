//! Where a shard is written: its partition of each topic, and of the progress topic.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::BaseRecord;
use rdkafka::types::RDKafkaErrorCode as Code;

use operators::delivery::torn::{Retreat, retreat};
use operators::delivery::{Channel, Message, Position, Progress};
use operators::time::Tick;

use super::wire::{from_json, headers_of, position_of, to_json};
use super::{KafkaSinkError, Mode, SinkOptions};
use crate::fault;
use crate::kafka::committed::{From, Reader, Upto};
use crate::kafka::connection::Connection;
use crate::kafka::hanging::{self, Hanging};
use crate::kafka::producer::{self, Producer};
use crate::kafka::request::{RequestError, is_fenced};

/// How long the cluster may take to answer before the client is given up.
const PATIENCE: Duration = Duration::from_secs(20);

/// From where a partition is read for what comes last in it, in vain until something is found: an aborted transaction may be
/// the last, and long.
const TAILS: [From; 3] = [From::Last(500), From::Last(50_000), From::Beginning];

/// The client of a shard.
pub(super) struct KafkaChannel {
    connection: Connection,
    options: SinkOptions,
    shard: u32,
    producer: Producer,
    /// Ends every wait.
    stop: Arc<AtomicBool>,
}

impl KafkaChannel {
    pub(super) fn new(
        connection: &Connection,
        options: &SinkOptions,
        shard: u32,
        stop: &Arc<AtomicBool>,
    ) -> Result<Self, KafkaSinkError> {
        Ok(KafkaChannel {
            producer: producer(connection, options, shard)?,
            connection: connection.clone(),
            options: options.clone(),
            shard,
            stop: Arc::clone(stop),
        })
    }

    /// Sends messages in their order, each to its topic.
    fn hand_over_all(&self, messages: &[(Tick, Message)]) -> Result<(), KafkaSinkError> {
        for (tick, message) in messages {
            let topic = &self.options.topics[usize::from(message.topic)].name;
            let headers = headers_of(&self.options.name, self.shard, *tick, message);
            let headers = headers.iter().fold(OwnedHeaders::new_with_capacity(5), |headers, (key, value)| {
                headers.insert(Header { key, value: Some(value) })
            });
            let record = BaseRecord::to(topic).key(message.key.as_slice()).headers(headers);
            let record = match &message.value {
                Some(value) => record.payload(value.as_slice()),
                None => record,
            };
            self.hand_over(record)?;
        }
        Ok(())
    }

    /// Gives a record to the producer's queue, and waits while that is full.
    fn hand_over(&self, record: BaseRecord<'_, [u8], [u8]>) -> Result<(), KafkaSinkError> {
        let topic = record.topic;
        let handed_over = self.producer.hand_over(record.partition(self.shard as i32), || !self.is_stopped());
        handed_over.map_err(|error| match self.is_stopped() {
            true => KafkaSinkError::Stopped,
            false => self.failed(&format!("send to {topic}"), error),
        })
    }

    /// Returns once everything handed over is acknowledged. Without transactions nothing is ever given up: an error would
    /// leave a gap that the consumer can't see.
    fn wait_for_acknowledgements(&self) -> Result<(), KafkaSinkError> {
        let began = Instant::now();
        let mut told = false;
        loop {
            let acknowledged = self.producer.is_acknowledged(Duration::from_millis(200));
            if acknowledged.map_err(|error| self.failed("deliver messages", error))? {
                return Ok(());
            }
            if self.is_stopped() {
                return Err(KafkaSinkError::Stopped);
            }
            if self.options.mode == Mode::Transactional && began.elapsed() > self.options.transaction_timeout {
                let error = KafkaError::Flush(Code::OperationTimedOut);
                return Err(self.failed("deliver messages", error));
            }
            if !told && began.elapsed() > PATIENCE {
                told = true;
                tracing::warn!(
                    sink = self.options.name,
                    shard = self.shard,
                    "the cluster acknowledges nothing; waiting for it"
                );
            }
        }
    }

    /// Writes progress again that does not cover what hangs, if the newest does: step 1 of [`operators::delivery::torn`].
    fn go_back(&self, reader: &Reader, hanging: &[Hanging]) -> Result<(), KafkaSinkError> {
        let KafkaChannel { options, shard, producer, .. } = self;
        let mut first = Vec::new();
        for hanging in hanging.iter().filter(|hanging| hanging.topic != options.progress_topic()) {
            reader.read_uncommitted(&hanging.topic, hanging.partition, hanging.offset, PATIENCE, |message| {
                let position = position_of(message, &options.name);
                first.extend(position.map(|position| (hanging.topic.clone(), position)));
                ControlFlow::Break(())
            })?;
        }
        for from in TAILS {
            let committed = progress_from(reader, options, *shard, from, Upto::Stable)?;
            match retreat(&committed, &first) {
                Retreat::Stay => return Ok(()),
                Retreat::To(before) => {
                    let (sink, tick) = (options.name.as_str(), before.tick);
                    tracing::warn!(sink, shard, tick, "the cluster tore a transaction: what it lacks is sent again");
                    producer.begin_transaction().map_err(|error| self.failed("begin a transaction", error))?;
                    return self.send_progress(before);
                }
                // It may lie further back.
                Retreat::Lost => {}
            }
        }
        let Hanging { topic, partition, offset } = hanging[0].clone();
        Err(KafkaSinkError::Hanging { id: options.transactional_id(*shard), topic, partition, offset })
    }

    /// Sends progress, and commits where there are transactions.
    fn send_progress(&self, progress: &Progress) -> Result<(), KafkaSinkError> {
        let (topic, key) = (self.options.progress_topic(), self.options.progress_key(self.shard));
        let json = to_json(progress);
        self.hand_over(BaseRecord::to(&topic).key(key.as_bytes()).payload(json.as_bytes()))?;
        self.wait_for_acknowledgements()?;
        fault::point("sink.acknowledged");
        if self.options.mode == Mode::Transactional {
            let committed = self.producer.commit_transaction(PATIENCE);
            committed.map_err(|error| self.failed("commit a transaction", error))?;
        }
        fault::point("sink.committed");
        Ok(())
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    fn failed(&self, doing: &str, error: KafkaError) -> KafkaSinkError {
        let id = self.options.transactional_id(self.shard);
        if matches!(
            error.rdkafka_error_code(),
            Some(Code::UnknownTopic | Code::UnknownPartition | Code::UnknownTopicOrPartition)
        ) {
            let topics: Vec<&str> = self.options.topics.iter().map(|topic| topic.name.as_str()).collect();
            let command = "it was there at the start; stop, and start again once it is".to_owned();
            return KafkaSinkError::MissingTopic { topic: topics.join("\" or \""), command };
        }
        if is_fenced(&error) {
            // Who it was is looked up before anything else happens.
            return RequestError::Unreachable {
                doing: format!("{doing} as \"{id}\", which was fenced"),
                source: error,
            }
            .into();
        }
        RequestError::of(format!("{doing} as \"{id}\""), error).into()
    }
}

impl Channel for KafkaChannel {
    type Error = KafkaSinkError;

    fn fence(&mut self) -> Result<(), KafkaSinkError> {
        let KafkaChannel { connection, options, shard, producer, .. } = &*self;
        if options.mode == Mode::IdempotentSequenced {
            return Ok(());
        }
        let initialised = producer.init_transactions(PATIENCE);
        initialised.map_err(|error| self.failed("initialise the transactions", error))?;
        fault::point("sink.fenced");
        let reader = Reader::new(connection)?;
        let progress_topic = options.progress_topic();
        let of_views = options.topics.iter().filter(|topic| shard < &topic.shards).map(|topic| topic.name.as_str());
        let topics: Vec<&str> = of_views.chain([progress_topic.as_str()]).collect();
        let hanging = hanging::find(&reader, topics.iter().copied(), *shard)?;
        if !hanging.is_empty() {
            self.go_back(&reader, &hanging)?;
            let aborted = hanging::abort(producer, &hanging, || !self.is_stopped());
            aborted.map_err(|error| self.failed("abort a hanging transaction", error))?;
        }
        // What is open still, somebody else began. Nobody would see what is written behind it.
        for topic in topics {
            reader.settled(topic, *shard, options.transaction_timeout + PATIENCE)?;
        }
        Ok(())
    }

    fn newest(&mut self, upto: Upto) -> Result<Option<Progress>, KafkaSinkError> {
        let reader = Reader::new(&self.connection)?;
        let newest = newest(&reader, &self.options, self.shard, upto)?;
        if newest.is_none() && upto == Upto::End {
            nothing_yet(&reader, &self.options, self.shard)?;
        }
        Ok(newest)
    }

    fn last_messages(&mut self, topics: &[String]) -> Result<Vec<Option<Position>>, KafkaSinkError> {
        if self.options.mode == Mode::IdempotentSequenced {
            return Ok(vec![None; topics.len()]);
        }
        let reader = Reader::new(&self.connection)?;
        let is_of_shard =
            |topic: &String| self.options.topics.iter().any(|of| of.name == *topic && self.shard < of.shards);
        let last = |topic| {
            if is_of_shard(topic) { last_position(&reader, &self.options.name, topic, self.shard) } else { Ok(None) }
        };
        Ok(topics.iter().map(last).collect::<Result<_, _>>()?)
    }

    fn send(&mut self, messages: &[(Tick, Message)], progress: &Progress) -> Result<(), KafkaSinkError> {
        let is_transaction = self.options.mode == Mode::Transactional;
        if is_transaction {
            self.producer.begin_transaction().map_err(|error| self.failed("begin a transaction", error))?;
            fault::point("sink.begun");
        }
        self.hand_over_all(messages)?;
        fault::point("sink.produced");
        if !is_transaction {
            // What the progress covers must be there before the progress is.
            self.wait_for_acknowledgements()?;
        }
        self.send_progress(progress)
    }
}

fn producer(connection: &Connection, options: &SinkOptions, shard: u32) -> Result<Producer, KafkaSinkError> {
    let config = match options.mode {
        Mode::Transactional => {
            producer::transactional(connection, &options.transactional_id(shard), options.transaction_timeout)
        }
        Mode::IdempotentSequenced => {
            let mut config = producer::idempotent(connection);
            // Never given up: what is sent later must not be there while something earlier is not.
            config.set("message.timeout.ms", "0");
            config
        }
    };
    Producer::new(&config).map_err(|error| RequestError::of("make a producer", error).into())
}

/// The last message of a partition that the sink wrote and readers see.
fn last_position(reader: &Reader, sink: &str, topic: &str, shard: u32) -> Result<Option<Position>, RequestError> {
    for from in TAILS {
        let mut last = None;
        reader.read(topic, shard, from, Upto::Stable, PATIENCE, |message| {
            last = position_of(message, sink).or(last);
            ControlFlow::Continue(())
        })?;
        if last.is_some() {
            return Ok(last);
        }
    }
    Ok(None)
}

/// A shard's newest progress.
fn newest(reader: &Reader, options: &SinkOptions, shard: u32, upto: Upto) -> Result<Option<Progress>, KafkaSinkError> {
    for from in TAILS {
        if let Some(newest) = progress_from(reader, options, shard, from, upto)?.pop() {
            return Ok(Some(newest));
        }
    }
    Ok(None)
}

/// A shard's progress, the newest last.
fn progress_from(
    reader: &Reader,
    options: &SinkOptions,
    shard: u32,
    from: From,
    upto: Upto,
) -> Result<Vec<Progress>, KafkaSinkError> {
    let (topic, wanted) = (options.progress_topic(), options.progress_key(shard));
    let (mut all, mut wrong) = (Vec::new(), None);
    reader.read(&topic, shard, from, upto, options.transaction_timeout + PATIENCE, |message| {
        let key = message.key().unwrap_or_default();
        let found = if key == wanted.as_bytes() {
            from_json(message.payload().unwrap_or_default())
        } else {
            Err(format!("its key is \"{}\", not \"{wanted}\"", String::from_utf8_lossy(key)))
        };
        match found {
            Ok(progress) => {
                all.push(progress);
                ControlFlow::Continue(())
            }
            Err(what) => {
                wrong = Some((message.offset(), what));
                ControlFlow::Break(())
            }
        }
    })?;
    match wrong {
        None => Ok(all),
        Some((offset, what)) => Err(KafkaSinkError::Progress { topic, partition: shard, offset, what }),
    }
}

/// There is no progress: that is right only where there never was any, and nothing was written.
fn nothing_yet(reader: &Reader, options: &SinkOptions, shard: u32) -> Result<(), KafkaSinkError> {
    let topic = options.progress_topic();
    let (low, _) = reader.offsets(&topic, shard)?;
    if low > 0 {
        return Err(KafkaSinkError::Emptied { topic, partition: shard, low });
    }
    for of_view in options.topics.iter().filter(|topic| shard < topic.shards) {
        let (low, _) = reader.offsets(&of_view.name, shard)?;
        let mut holds = low > 0;
        reader.read(&of_view.name, shard, From::Beginning, Upto::End, PATIENCE, |message| {
            // Without transactions, messages come before the first progress.
            let is_ours = message.headers().is_some_and(|headers| {
                headers.iter().any(|header| header.key == "sink" && header.value == Some(options.name.as_bytes()))
            });
            holds |= options.mode == Mode::Transactional || !is_ours;
            ControlFlow::Break(())
        })?;
        if holds {
            let topic = of_view.name.clone();
            return Err(KafkaSinkError::Orphaned { topic, partition: shard, progress_topic: options.progress_topic() });
        }
    }
    Ok(())
}
