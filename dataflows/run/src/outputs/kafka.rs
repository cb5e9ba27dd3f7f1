//! A Kafka sink as an output: transactions, an outbox on disk, a thread that sends.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use connectors::kafka::sink::{KafkaSink, KafkaSinkError, Mode, SinkOptions, Topic, Watch, WhenFull};
use operators::time::Tick;

use super::{Encoder, Output, WatchOutput};
use crate::brokers::connection;
use crate::engine::{CompleteTick, PublishError};
use crate::job::RunError;
use dataflows::configuration::{Delivery, DeliveryMode, KafkaSinkSettings, Plan};

/// A Kafka sink with its encoder.
pub struct KafkaOutput {
    encoder: Encoder,
    sink: KafkaSink,
    name: String,
    stop: Arc<AtomicBool>,
}

impl KafkaOutput {
    /// Opens a sink of a plan with its outbox in a folder of its name. Paths of certificates and passwords are relative to
    /// `folder`.
    pub fn open(
        settings: &KafkaSinkSettings,
        delivery: &Delivery,
        plan: &Plan,
        (outboxes, folder): (&Path, &Path),
        interrupted: &AtomicBool,
    ) -> Result<Self, RunError> {
        let encoder = Encoder::new(settings, plan);
        let options = options_of(settings, delivery, &encoder);
        let (connection, outbox) = (connection(&delivery.kafka, folder)?, outboxes.join(&settings.name));
        let sink = KafkaSink::open(&connection, options, outbox, interrupted)?;
        Ok(KafkaOutput { encoder, sink, name: settings.name.clone(), stop: Arc::default() })
    }
}

impl Output for KafkaOutput {
    fn name(&self) -> &str {
        &self.name
    }

    fn resumed(&self) -> Tick {
        self.sink.next_tick()
    }

    fn least_resumed(&self) -> Tick {
        self.sink.next_tick()
    }

    fn wants(&self, tick: Tick) -> bool {
        self.sink.wants(tick) || self.encoder.needs(tick)
    }

    fn take(&mut self, tick: &mut CompleteTick) -> Result<(), PublishError> {
        let messages = self.encoder.tick(tick);
        Ok(self.sink.write(tick.mark.tick, messages, &self.stop)?)
    }

    fn flush(&mut self) -> Result<(), PublishError> {
        Ok(self.sink.flush()?)
    }

    /// Nothing that derives a tick which the sink still needs may be forgotten.
    fn needed_from(&self) -> Option<Tick> {
        Some(self.sink.next_tick())
    }

    fn stop_with(&mut self, stop: Arc<AtomicBool>) {
        self.stop = stop;
    }

    fn watch(&self) -> Option<Box<dyn WatchOutput>> {
        Some(Box::new(WatchSink(self.sink.watch())))
    }
}

impl From<KafkaSinkError> for PublishError {
    fn from(error: KafkaSinkError) -> Self {
        match error {
            KafkaSinkError::Stopped => PublishError::Stopped,
            error => PublishError::Kafka(Box::new(error)),
        }
    }
}

/// How far a sink is.
struct WatchSink(Watch);

impl WatchOutput for WatchSink {
    fn is_drained(&self) -> bool {
        self.0.is_drained()
    }

    fn sent(&self) -> (String, Tick) {
        (self.0.name().to_owned(), self.0.durable())
    }

    fn failure(&self) -> Option<RunError> {
        let cause = self.0.failure()?;
        Some(RunError::Kafka(KafkaSinkError::Ended { sink: self.0.name().to_owned(), cause }))
    }
}

/// How a sink of that setting writes.
pub(crate) fn mode_of(mode: DeliveryMode) -> Mode {
    match mode {
        DeliveryMode::Transactional => Mode::Transactional,
        DeliveryMode::IdempotentSequenced => Mode::IdempotentSequenced,
    }
}

fn options_of(settings: &KafkaSinkSettings, delivery: &Delivery, encoder: &Encoder) -> SinkOptions {
    let topics = encoder.topics().map(|(name, shards)| Topic { name: name.to_owned(), shards });
    SinkOptions {
        mode: mode_of(delivery.mode),
        create_with_replicas: delivery.create_with_replicas,
        outbox_bytes: delivery.outbox_bytes,
        transaction_timeout: Duration::from_millis(delivery.transaction_timeout_ms),
        since: settings.since,
        when_full: if delivery.detaches { WhenFull::Detach } else { WhenFull::Stall },
        ..SinkOptions::new(&delivery.engine, &settings.name, topics.collect())
    }
}
