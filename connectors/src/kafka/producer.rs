//! What every writer of ours has in common.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode as Code;

use super::connection::Connection;

/// The longest pause between two looks at whether a transaction has ended.
const PAUSE_MAX: Duration = Duration::from_millis(20);

/// A name for a writer, which no other start of any process has: who wrote last is told by it.
pub(crate) fn new_identity() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}-{:x}", std::process::id(), since.as_nanos())
}

/// A producer that counts what it was given and what of that is acknowledged. Its reports are served by a thread of its own:
/// nothing else calls often enough while a transaction commits or aborts.
pub(crate) struct Producer {
    client: ThreadedProducer<Deliveries>,
    handed_over: AtomicU64,
}

/// What became of the messages of a producer.
#[derive(Default)]
pub(crate) struct Deliveries {
    reported: Mutex<Reported>,
    /// More was reported.
    more: Condvar,
}

#[derive(Default)]
struct Reported {
    /// The first failure.
    failed: Option<KafkaError>,
    acknowledged: u64,
    /// By partition: behind what was acknowledged since a transaction began.
    ends: Vec<End>,
}

/// Behind the last acknowledged message of a partition.
#[derive(Clone, Debug)]
struct End {
    topic: String,
    partition: i32,
    offset: i64,
}

impl Reported {
    fn reach(&mut self, topic: &str, partition: i32, offset: i64) {
        match self.ends.iter_mut().find(|end| end.partition == partition && end.topic == topic) {
            Some(end) => end.offset = end.offset.max(offset),
            None => self.ends.push(End { topic: topic.to_owned(), partition, offset }),
        }
    }
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let mut reported = lock(&self.reported);
        match result {
            Ok(message) => {
                reported.acknowledged += 1;
                reported.reach(message.topic(), message.partition(), message.offset() + 1);
            }
            Err((error, _)) => drop(reported.failed.get_or_insert(error.clone())),
        }
        self.more.notify_all();
    }
}

impl Producer {
    pub(crate) fn new(config: &ClientConfig) -> Result<Self, KafkaError> {
        let client = config.create_with_context(Deliveries::default())?;
        Ok(Producer { client, handed_over: AtomicU64::new(0) })
    }

    /// Gives a record to the queue, and waits while that is full, as long as it `is_wanted`.
    pub(crate) fn hand_over(
        &self,
        mut record: BaseRecord<'_, [u8], [u8]>,
        is_wanted: impl Fn() -> bool,
    ) -> Result<(), KafkaError> {
        loop {
            match self.client.send(record) {
                Ok(()) => {
                    self.handed_over.fetch_add(1, Ordering::AcqRel);
                    return Ok(());
                }
                Err((KafkaError::MessageProduction(Code::QueueFull), refused)) if is_wanted() => {
                    record = refused;
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err((error, _)) => return Err(error),
            }
        }
    }

    /// Waits until everything that was handed over is acknowledged, for some time at most; says whether it is.
    ///
    /// The client's own `flush` polls for reports, which the thread that serves them takes away from under it: it comes
    /// back a tenth of a second late.
    pub(crate) fn is_acknowledged(&self, at_most: Duration) -> Result<bool, KafkaError> {
        let all = self.handed_over.load(Ordering::Acquire);
        let deliveries = self.client.context();
        let waits = |reported: &mut Reported| reported.failed.is_none() && reported.acknowledged < all;
        let waited = deliveries.more.wait_timeout_while(lock(&deliveries.reported), at_most, waits);
        let (mut reported, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match reported.failed.take() {
            Some(error) => Err(error),
            None => Ok(reported.acknowledged >= all),
        }
    }

    /// The offset behind what was acknowledged since a transaction began, where all of it goes to one partition.
    pub(crate) fn next_offset(&self) -> i64 {
        lock(&self.client.context().reported).ends.iter().map(|end| end.offset).max().unwrap_or_default()
    }

    pub(crate) fn init_transactions(&self, patience: Duration) -> Result<(), KafkaError> {
        self.client.init_transactions(patience)
    }

    pub(crate) fn begin_transaction(&self) -> Result<(), KafkaError> {
        lock(&self.client.context().reported).ends.clear();
        self.client.begin_transaction()
    }

    /// Commits, and returns once a reader of committed messages sees all of it. The cluster answers as soon as it has decided,
    /// before the end of the transaction is in any partition, and may forget to write it if it is killed in between.
    pub(crate) fn commit_transaction(&self, patience: Duration) -> Result<(), KafkaError> {
        let deadline = Instant::now() + patience;
        self.client.commit_transaction(patience)?;
        let ends = lock(&self.client.context().reported).ends.clone();
        ends.iter().try_for_each(|end| self.wait_until_committed(end, deadline))
    }

    pub(crate) fn abort_transaction(&self, patience: Duration) -> Result<(), KafkaError> {
        self.client.abort_transaction(patience)
    }

    fn wait_until_committed(&self, end: &End, deadline: Instant) -> Result<(), KafkaError> {
        let mut pause = Duration::from_micros(500);
        loop {
            let patience = deadline.saturating_duration_since(Instant::now());
            // A client that is not told otherwise is shown what is committed.
            let (_, stable) = self.client.client().fetch_watermarks(&end.topic, end.partition, patience)?;
            if stable >= end.offset {
                return Ok(());
            }
            if patience.is_zero() {
                return Err(KafkaError::MetadataFetch(Code::OperationTimedOut));
            }
            std::thread::sleep(pause);
            pause = PAUSE_MAX.min(pause * 2);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An idempotent producer that waits until all replicas have a message.
pub(crate) fn idempotent(connection: &Connection) -> ClientConfig {
    let mut config = connection.client_config();
    config.set("enable.idempotence", "true").set("acks", "all").set("compression.codec", "lz4").set("linger.ms", "2");
    config
}

/// The same with transactions, which the cluster gives up when nothing was heard of them for so long.
pub(crate) fn transactional(connection: &Connection, id: &str, timeout: Duration) -> ClientConfig {
    let timeout_ms = timeout.as_millis().to_string();
    let mut config = idempotent(connection);
    config
        .set("transactional.id", id)
        .set("transaction.timeout.ms", &timeout_ms)
        .set("message.timeout.ms", &timeout_ms);
    config
}
