//! The thread of a shard: from the outbox to the topics.

use std::sync::Arc;
use std::time::{Duration, Instant};

use operators::delivery::Writer;

use super::KafkaSinkError;
use super::channel::KafkaChannel;
use super::shared::Shared;

/// Ticks without messages are covered by a progress of their own only this often.
const QUIET_PROGRESS: Duration = Duration::from_secs(1);

/// The longest pause between two attempts to reach the cluster.
const PAUSE_MAX: Duration = Duration::from_secs(5);

pub(super) struct Shipper {
    shared: Arc<Shared>,
    shard: u32,
}

impl Shipper {
    pub(super) fn new(shared: Arc<Shared>, shard: u32) -> Self {
        Shipper { shared, shard }
    }

    /// Sends until the sink is closed or can't go on.
    pub(super) fn run(self, writer: Writer<KafkaChannel>) {
        match self.send_all(writer) {
            Ok(()) | Err(KafkaSinkError::Stopped) => {}
            Err(error) => self.shared.fail(error),
        }
    }

    /// Sends, with one writer after the other, until the sink is closed.
    fn send_all(&self, mut writer: Writer<KafkaChannel>) -> Result<(), KafkaSinkError> {
        let Shipper { shared, shard } = self;
        loop {
            let error = match self.send(&mut writer) {
                Ok(()) => return Ok(()),
                Err(error) if error.is_transient() => error,
                Err(error) => return Err(error),
            };
            let before = writer.progress().clone();
            tracing::warn!(
                sink = shared.options.name,
                shard,
                error = told(&error),
                "sending is interrupted; it goes on by itself once the cluster answers"
            );
            // Nothing of a client whose last answer is unknown is used again.
            drop(writer);
            let (mut pause, mut attempts) = (Duration::from_millis(100), 0_u32);
            writer = loop {
                if shared.is_stopped() {
                    return Err(KafkaSinkError::Stopped);
                }
                match shared.reopen(*shard, &before) {
                    Ok(writer) => break writer,
                    Err(error) if error.is_transient() => {
                        attempts += 1;
                        // Ever less often: what stands in the way may change.
                        if attempts.is_power_of_two() {
                            let sink = shared.options.name.as_str();
                            tracing::warn!(sink, shard, attempts, error = told(&error), "sending can't go on yet");
                        }
                    }
                    Err(error) => return Err(error),
                }
                wait(shared, pause);
                pause = PAUSE_MAX.min(pause * 2);
            };
            tracing::warn!(sink = shared.options.name, shard, tick = writer.progress().tick, "sending goes on");
            shared.passed(*shard, writer.progress().place())?;
        }
    }

    /// Sends what comes until the sink is closed.
    fn send(&self, writer: &mut Writer<KafkaChannel>) -> Result<(), KafkaSinkError> {
        let Shipper { shared, shard } = self;
        // Ticks without messages may lie between what is durable and this.
        let mut next = writer.progress().place();
        let mut quiet_since = Instant::now();
        while !shared.is_stopped() {
            let taken = shared.take(*shard, next, QUIET_PROGRESS / 2)?;
            if next == writer.progress().place() {
                quiet_since = Instant::now();
            }
            next = taken.next;
            let is_quiet = taken.messages.is_empty();
            if is_quiet && (next == writer.progress().place() || quiet_since.elapsed() < QUIET_PROGRESS) {
                continue;
            }
            writer.send(&taken.messages, next)?;
            shared.passed(*shard, next)?;
        }
        Ok(())
    }
}

/// Pauses, unless the sink is closed meanwhile.
fn wait(shared: &Shared, pause: Duration) {
    let began = Instant::now();
    while began.elapsed() < pause && !shared.is_stopped() {
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn told(error: &KafkaSinkError) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("{error}{cause}")
}
