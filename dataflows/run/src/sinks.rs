//! The Kafka sinks of a run.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use connectors::kafka::sink::{KafkaSink, KafkaSinkError, Mode, SinkOptions, Topic, Watch, WhenFull};
use operators::time::Tick;

use super::brokers::connection;
use super::encoder::Encoder;
use super::engine::CompleteTick;
use super::job::RunError;
use dataflows::configuration::{Delivery, DeliveryMode, KafkaSinkSettings, Plan};

/// All of them, each with its encoder.
pub struct KafkaSinks {
    sinks: Vec<(Encoder, KafkaSink)>,
    stop: Arc<AtomicBool>,
}

impl KafkaSinks {
    /// Opens the sinks of a plan, each with its outbox in a folder of its name. Paths of certificates and passwords are
    /// relative to `folder`.
    pub fn open(deliveries: &[Delivery], plan: &Plan, outboxes: &Path, folder: &Path) -> Result<Self, RunError> {
        let mut sinks = Vec::new();
        for (settings, delivery) in plan.recorded.sinks.iter().zip(deliveries) {
            let encoder = Encoder::new(settings, plan);
            let options = options_of(settings, delivery, &encoder);
            let sink = KafkaSink::open(&connection(&delivery.kafka, folder)?, options, outboxes.join(&settings.name))?;
            sinks.push((encoder, sink));
        }
        Ok(KafkaSinks { sinks, stop: Arc::default() })
    }

    /// The first tick that none of them knows of.
    pub fn resumed(&self) -> Tick {
        self.sinks.iter().map(|(_, sink)| sink.next_tick()).max().unwrap_or(0)
    }

    /// The first tick that one of them still needs: nothing that derives it may be forgotten.
    pub fn needed_from(&self) -> Option<Tick> {
        self.sinks.iter().map(|(_, sink)| sink.next_tick()).min()
    }

    /// Ends every wait once this is set.
    pub fn stop_with(&mut self, stop: Arc<AtomicBool>) {
        self.stop = stop;
    }

    /// Takes a complete tick.
    pub fn write(&mut self, tick: &mut CompleteTick) -> Result<(), KafkaSinkError> {
        for (encoder, sink) in &mut self.sinks {
            if !sink.wants(tick.mark.tick) && !encoder.remembers() {
                continue;
            }
            let messages = encoder.tick(tick);
            sink.write(tick.mark.tick, messages, &self.stop)?;
        }
        Ok(())
    }

    /// Returns once everything taken survives a crash.
    pub fn flush(&mut self) -> Result<(), KafkaSinkError> {
        self.sinks.iter_mut().try_for_each(|(_, sink)| sink.flush())
    }

    /// For those who watch them.
    pub fn watch(&self) -> SinksWatch {
        SinksWatch(self.sinks.iter().map(|(_, sink)| sink.watch()).collect())
    }
}

/// How far the sinks are.
#[derive(Clone, Debug)]
pub struct SinksWatch(Vec<Watch>);

impl SinksWatch {
    /// Whether everything that was taken is in its topics.
    pub fn is_drained(&self) -> bool {
        self.0.iter().all(Watch::is_drained)
    }

    /// What ended one of them, if anything did.
    pub fn failure(&self) -> Option<RunError> {
        let ended = |watch: &Watch| Some((watch.name().to_owned(), watch.failure()?));
        let (sink, cause) = self.0.iter().find_map(ended)?;
        Some(RunError::Kafka(KafkaSinkError::Ended { sink, cause }))
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
        when_full: if delivery.detaches { WhenFull::Detach } else { WhenFull::Stall },
        ..SinkOptions::new(&delivery.engine, &settings.name, topics.collect())
    }
}
