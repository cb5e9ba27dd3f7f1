//! What every writer of ours has in common.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{ProducerContext, ThreadedProducer};

use super::connection::Connection;

/// How long the cluster may take to answer before a client is given up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A name for a writer, which no other start of any process has: who wrote last is told by it.
pub(crate) fn new_identity() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}-{:x}", std::process::id(), since.as_nanos())
}

/// A producer whose reports are served by a thread of its own: nothing else calls often enough while a transaction commits
/// or aborts.
pub(crate) type Producer = ThreadedProducer<Deliveries>;

/// Keeps the first failure of a delivery, and how far the topic was written.
#[derive(Default)]
pub(crate) struct Deliveries {
    failed: Mutex<Option<KafkaError>>,
    next_offset: AtomicI64,
}

impl Deliveries {
    /// The first failure since this was asked last.
    pub(crate) fn failure(&self) -> Option<KafkaError> {
        self.locked().take()
    }

    /// The offset behind the last message that was delivered, where all of them go to one partition.
    pub(crate) fn next_offset(&self) -> i64 {
        self.next_offset.load(Ordering::Acquire)
    }

    fn locked(&self) -> MutexGuard<'_, Option<KafkaError>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(message) => drop(self.next_offset.fetch_max(message.offset() + 1, Ordering::AcqRel)),
            Err((error, _)) => drop(self.locked().get_or_insert(error.clone())),
        }
    }
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
