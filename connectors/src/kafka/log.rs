//! A log in a topic of one partition: the [`Transactions`] of Kafka for a [`TransactionalLog`].
//!
//! The name of the topic is the transactional id, too: one writer for each topic, whatever the machines are called.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Header, Headers, Message as _, OwnedHeaders};
use rdkafka::producer::BaseRecord;
use rdkafka::types::RDKafkaErrorCode as Code;

use operators::disk::EachEntry;
use operators::transactional_log::{
    Message, PagedTransactionalLog, Seen, TransactionalLog, TransactionalLogError, TransactionalReader, Transactions,
    Upto, read_entries,
};

use super::committed::{From, Reader};
use super::connection::Connection;
use super::hanging;
use super::producer::{Producer, new_identity, transactional};
use super::request::RequestError;
use super::start::{may_succeed, start};
use super::topics::{Topics, Wanted};
use crate::fault;

/// When the cluster gives up a transaction whose writer is silent.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(60);

/// How long the cluster may take to answer before the client is given up and everything stands still, told.
const PATIENCE: Duration = Duration::from_secs(5);

/// The pause between two attempts to reach the cluster.
const PAUSE: Duration = Duration::from_millis(500);

/// What keeps everything.
const SETTINGS: [(&str, &str); 3] = [("cleanup.policy", "delete"), ("retention.ms", "-1"), ("retention.bytes", "-1")];

/// Where a log is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicLogOptions {
    /// Its topic.
    pub topic: String,
    /// A topic that is missing is made with this many replicas, if it is given.
    pub create_with_replicas: Option<u16>,
}

/// Why a topic is no place for a log.
#[derive(Debug, thiserror::Error)]
pub enum TopicLogError {
    /// A question or an order of ours to the cluster.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// There is no such topic.
    #[error("there is no topic \"{topic}\" for the log; set `create = true` under `[logs]`, or make it: {command}")]
    Missing {
        /// Which.
        topic: String,
        /// The command that makes it.
        command: String,
    },
    /// A log is in one partition.
    #[error("the topic \"{topic}\" has {found} partitions, but a log is in one; name another topic under `[logs]`")]
    Partitions {
        /// Which.
        topic: String,
        /// How many it has.
        found: usize,
    },
    /// The cluster would delete what is needed.
    #[error("the topic \"{topic}\" does not keep all of a log ({differing}); correct it: {command}")]
    Settings {
        /// Which.
        topic: String,
        /// The settings, as they are.
        differing: String,
        /// The command that corrects them.
        command: String,
    },
    /// What is in the topic, and who else writes it.
    #[error(transparent)]
    Log(#[from] TransactionalLogError<RequestError>),
}

/// A log in a topic.
pub type TopicLog = TransactionalLog<TopicTransactions>;

/// Takes a log over from whoever wrote it before. What waits for the cluster ends once `stop` is set.
pub fn open(
    connection: &Connection,
    options: &TopicLogOptions,
    stop: Arc<AtomicBool>,
) -> Result<TopicLog, TopicLogError> {
    look_after_topic(connection, options)?;
    let (what, is_wanted) = (format!("the writer of the log \"{}\"", options.topic), || !stop.load(Ordering::Acquire));
    let may_start = |error: &TopicLogError| matches!(error, TopicLogError::Log(TransactionalLogError::Transactions(error)) if may_succeed(error));
    start(&what, may_start, is_wanted, || {
        let transactions = TopicTransactions::new(connection, &options.topic, Arc::clone(&stop))?;
        Ok(TransactionalLog::open(transactions, new_identity())?)
    })
}

/// The entries of a log that are committed now, for those who only read: nobody is fenced.
pub fn read(connection: &Connection, topic: &str) -> Result<Vec<Vec<u8>>, TopicLogError> {
    Ok(read_entries(&mut TopicTransactions::new(connection, topic, Arc::default())?)?)
}

/// A log in a topic that is written in groups and read in pages.
pub type PagedTopicLog = PagedTransactionalLog<TopicTransactions>;

/// A reader of such a log.
pub type TopicLogReader = TransactionalReader<TopicTransactions>;

/// Takes a log over from whoever wrote it before, and shows every entry; gives it with a reader of it.
pub fn open_paged(
    connection: &Connection,
    options: &TopicLogOptions,
    stop: Arc<AtomicBool>,
    each: EachEntry<'_>,
) -> Result<(PagedTopicLog, TopicLogReader), TopicLogError> {
    let transactions = TopicTransactions::new(connection, &options.topic, Arc::clone(&stop))?;
    let log = PagedTransactionalLog::open(open(connection, options, stop)?, each)?;
    let reader = log.reader(transactions);
    Ok((log, reader))
}

/// A reader of what is committed now, for those who only read: nobody is fenced. Shows every entry.
pub fn read_paged(connection: &Connection, topic: &str, each: EachEntry<'_>) -> Result<TopicLogReader, TopicLogError> {
    Ok(TransactionalReader::open(TopicTransactions::new(connection, topic, Arc::default())?, each)?)
}

/// The messages of a log's topic.
pub struct TopicTransactions {
    connection: Connection,
    topic: String,
    name: String,
    reader: Reader,
    /// The one that may write. Nothing of a client whose last answer is unknown is used again.
    producer: Option<Producer>,
    stop: Arc<AtomicBool>,
}

impl TopicTransactions {
    fn new(connection: &Connection, topic: &str, stop: Arc<AtomicBool>) -> Result<Self, RequestError> {
        let (connection, name) = (connection.clone(), format!("the topic \"{topic}\""));
        let reader = Reader::new(&connection)?;
        Ok(TopicTransactions { connection, topic: topic.to_owned(), name, reader, producer: None, stop })
    }

    fn transact(&self, producer: &Producer, messages: &[Message]) -> Result<u64, RequestError> {
        producer.begin_transaction().map_err(|error| self.failed("begin a transaction", error))?;
        fault::point("log.begun");
        let began = Instant::now();
        for message in messages {
            let headers = message.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
                headers.insert(Header { key, value: Some(value.as_bytes()) })
            });
            let record = BaseRecord::to(&self.topic).partition(0).key(message.key.as_slice());
            let handed_over =
                producer.hand_over(record.payload(message.value.as_slice()).headers(headers), || self.is_wanted(began));
            handed_over.map_err(|error| self.failed("send an entry", error))?;
        }
        fault::point("log.sent");
        self.wait_for_acknowledgements(producer)?;
        fault::point("log.acknowledged");
        producer.commit_transaction(PATIENCE).map_err(|error| self.failed("commit a transaction", error))?;
        fault::point("log.committed");
        Ok(u64::try_from(producer.next_offset()).unwrap_or_default())
    }

    fn wait_for_acknowledgements(&self, producer: &Producer) -> Result<(), RequestError> {
        let began = Instant::now();
        let failed = |error| self.failed("deliver an entry", error);
        while !producer.is_acknowledged(Duration::from_millis(100)).map_err(failed)? {
            if !self.is_wanted(began) {
                return Err(failed(KafkaError::Flush(Code::OperationTimedOut)));
            }
        }
        Ok(())
    }

    /// Whether it is worth waiting on.
    fn is_wanted(&self, since: Instant) -> bool {
        since.elapsed() < PATIENCE && !self.stop.load(Ordering::Acquire)
    }

    /// Who it was that fenced us, another writer or the cluster itself, is not told by the answer: it is looked up.
    fn failed(&self, doing: &str, error: KafkaError) -> RequestError {
        RequestError::of(format!("{doing} of the log in {}", self.name), error)
    }
}

impl Transactions for TopicTransactions {
    type Error = RequestError;

    fn name(&self) -> &str {
        &self.name
    }

    fn ends(&mut self) -> Result<(u64, u64), RequestError> {
        let (low, high) = self.reader.offsets(&self.topic, 0)?;
        Ok((u64::try_from(low).unwrap_or_default(), u64::try_from(high).unwrap_or_default()))
    }

    fn read(
        &mut self,
        from: u64,
        upto: Upto,
        see: &mut dyn FnMut(Seen<'_>) -> ControlFlow<()>,
    ) -> Result<(), RequestError> {
        let from = From::Offset(i64::try_from(from).unwrap_or(i64::MAX));
        self.reader.read(&self.topic, 0, from, upto, TRANSACTION_TIMEOUT + PATIENCE, |message| see(seen(message)))
    }

    fn fence(&mut self) -> Result<(), RequestError> {
        self.producer = None;
        let config = transactional(&self.connection, &self.topic, TRANSACTION_TIMEOUT);
        let producer = Producer::new(&config).map_err(|error| RequestError::of("make a producer", error))?;
        let initialised = producer.init_transactions(PATIENCE);
        initialised.map_err(|error| self.failed("initialise the transactions", error))?;
        fault::point("log.fenced");
        // Nothing of it was acknowledged: whoever wrote it has not seen its end.
        let hanging = hanging::find(&self.reader, [self.topic.as_str()], 0)?;
        let aborted = hanging::abort(&producer, &hanging, || !self.stop.load(Ordering::Acquire));
        aborted.map_err(|error| self.failed("abort a hanging transaction", error))?;
        self.producer = Some(producer);
        Ok(())
    }

    fn write(&mut self, messages: &[Message]) -> Result<u64, RequestError> {
        let producer = self.producer.take().expect("who writes has fenced, and fences again after an error");
        let behind = self.transact(&producer, messages)?;
        self.producer = Some(producer);
        Ok(behind)
    }

    fn is_transient(error: &RequestError) -> bool {
        error.is_transient()
    }

    fn pause(&mut self) -> bool {
        let began = Instant::now();
        while began.elapsed() < PAUSE && !self.stop.load(Ordering::Acquire) {
            std::thread::sleep(Duration::from_millis(20));
        }
        !self.stop.load(Ordering::Acquire)
    }
}

fn seen<'m>(message: &'m BorrowedMessage<'_>) -> Seen<'m> {
    let headers = message
        .headers()
        .map(|headers| headers.iter().map(|header| (header.key, header.value.unwrap_or_default())).collect::<Vec<_>>());
    Seen {
        offset: u64::try_from(message.offset()).unwrap_or_default(),
        key: message.key().unwrap_or_default(),
        headers: headers.unwrap_or_default(),
        value: message.payload().unwrap_or_default(),
    }
}

/// Makes sure that the topic is there, has one partition, and that nothing in it is ever deleted.
fn look_after_topic(connection: &Connection, options: &TopicLogOptions) -> Result<(), TopicLogError> {
    let topics = Topics::new(connection)?;
    let wanted = Wanted { name: &options.topic, partitions: 1, settings: &SETTINGS };
    let topic = options.topic.clone();
    let Some(found) = topics.find_or_make(wanted, options.create_with_replicas)? else {
        return Err(TopicLogError::Missing { topic, command: wanted.command(connection) });
    };
    if found != 1 {
        return Err(TopicLogError::Partitions { topic, found });
    }
    let differing = topics.differing(wanted)?;
    if differing.is_empty() {
        return Ok(());
    }
    let told: Vec<String> = differing.iter().map(|(key, found, _)| format!("{key}={found}")).collect();
    let settings: Vec<String> = differing.iter().map(|(key, _, wanted)| format!("{key}={wanted}")).collect();
    let command = format!(
        "kafka-configs.sh --bootstrap-server {} --alter --topic {topic} --add-config {}",
        connection.bootstrap,
        settings.join(",")
    );
    Err(TopicLogError::Settings { topic, differing: told.join(", "), command })
}
