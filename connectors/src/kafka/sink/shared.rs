//! What a sink and the threads of its shards share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use operators::delivery::{Delivery, Foreign, Message, MessagePosition, Progress, Taken, Writer, WriterError};
use operators::time::Tick;

use super::channel::KafkaChannel;
use super::{KafkaSinkError, SinkOptions};
use crate::kafka::connection::Connection;
use crate::local_disk::LocalDisk;

/// The sink's ticks, and how its threads wait for each other.
#[derive(Debug)]
pub(super) struct Shared {
    connection: Connection,
    pub(super) options: SinkOptions,
    /// The names of its topics.
    topics: Vec<String>,
    delivery: Mutex<Delivery<LocalDisk>>,
    /// Something came, something went, or it was closed.
    changed: Condvar,
    /// Ends every wait.
    stop: Arc<AtomicBool>,
    failure: Mutex<Option<Arc<KafkaSinkError>>>,
}

impl Shared {
    pub(super) fn new(
        connection: Connection,
        options: SinkOptions,
        topics: Vec<String>,
        delivery: Delivery<LocalDisk>,
        stop: Arc<AtomicBool>,
    ) -> Self {
        let (delivery, changed, failure) = (Mutex::new(delivery), Condvar::new(), Mutex::new(None));
        Shared { connection, options, topics, delivery, changed, stop, failure }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Delivery<LocalDisk>> {
        // A thread that panicked ends the process; what it left is not relied on.
        self.delivery.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the outbox.
    fn on_disk<T>(
        &self,
        act: impl FnOnce(&mut Delivery<LocalDisk>) -> std::io::Result<T>,
    ) -> Result<T, KafkaSinkError> {
        act(&mut self.lock()).map_err(|source| KafkaSinkError::outbox(&self.options.name, source))
    }

    /// Compares a tick that was derived again with what is there.
    pub(super) fn compare(&self, tick: Tick, shards: &[Vec<Message>]) -> Result<(), KafkaSinkError> {
        let foreign =
            |Foreign { shard, tick }| KafkaSinkError::Foreign { sink: self.options.name.clone(), shard, tick };
        self.lock().compare(tick, shards).map_err(foreign)
    }

    pub(super) fn append(&self, tick: Tick, shards: Vec<Vec<Message>>) -> Result<(), KafkaSinkError> {
        self.on_disk(|delivery| delivery.append(tick, shards))
    }

    pub(super) fn sync(&self) -> Result<(), KafkaSinkError> {
        let synced = self.on_disk(Delivery::sync);
        self.changed.notify_all();
        synced
    }

    /// Waits until the outbox has room, the sink is closed, or the time is up.
    pub(super) fn wait_for_room(&self, patience: Duration) {
        let is_full = |delivery: &mut Delivery<LocalDisk>| delivery.is_full() && !self.is_closed();
        drop(self.changed.wait_timeout_while(self.lock(), patience, is_full));
    }

    /// What a shard has from `place` on. Waits for something to come for as long as `patience`.
    pub(super) fn take(&self, shard: u32, place: MessagePosition, patience: Duration) -> Result<Taken, KafkaSinkError> {
        let nothing_new = |delivery: &mut Delivery<LocalDisk>| delivery.synced() <= place.tick && !self.is_closed();
        let waited = self.changed.wait_timeout_while(self.lock(), patience, nothing_new);
        let delivery = waited.unwrap_or_else(PoisonError::into_inner).0;
        let taken =
            delivery.take(shard, place, self.options.transaction_messages_max, self.options.transaction_bytes_max);
        taken.map_err(|source| KafkaSinkError::outbox(&self.options.name, source))
    }

    /// Notes how far a shard is durable in its topics.
    pub(super) fn passed(&self, shard: u32, place: MessagePosition) -> Result<(), KafkaSinkError> {
        let passed = self.on_disk(|delivery| delivery.passed(shard, place));
        self.changed.notify_all();
        passed
    }

    /// Another writer in place of the one of a shard that failed.
    pub(super) fn reopen(&self, shard: u32, before: &Progress) -> Result<Writer<KafkaChannel>, KafkaSinkError> {
        let channel = KafkaChannel::new(&self.connection, &self.options, shard, &self.stop)?;
        Writer::reopen(channel, &self.topics, before).map_err(|error| match error {
            WriterError::Channel(error) => error,
            WriterError::TakenOver => KafkaSinkError::Fenced { id: self.options.transactional_id(shard) },
            WriterError::WentBack { before, now } => {
                KafkaSinkError::WentBack { topic: self.options.progress_topic(), partition: shard, before, now }
            }
        })
    }

    /// Ends every wait, now and later.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        // Whoever looked before the flag was set has to be waiting by now.
        drop(self.lock());
        self.changed.notify_all();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Ends the sink.
    pub(super) fn fail(&self, error: KafkaSinkError) {
        lock(&self.failure).get_or_insert(Arc::new(error));
        drop(self.lock());
        self.changed.notify_all();
    }

    /// What ended it, if anything did.
    pub(super) fn failure(&self) -> Option<Arc<KafkaSinkError>> {
        lock(&self.failure).clone()
    }

    fn is_closed(&self) -> bool {
        self.is_stopped() || lock(&self.failure).is_some()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How far a sink is, for those who watch it.
#[derive(Clone, Debug)]
pub struct Watch(pub(super) Arc<Shared>);

impl Watch {
    /// Whether everything that was taken is durable in its topics.
    pub fn is_drained(&self) -> bool {
        self.0.lock().is_drained()
    }

    /// The ticks below are durable in every topic.
    pub fn durable(&self) -> Tick {
        self.0.lock().durable()
    }

    /// What ended it, if anything did.
    pub fn failure(&self) -> Option<Arc<KafkaSinkError>> {
        self.0.failure()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.options.name
    }
}
