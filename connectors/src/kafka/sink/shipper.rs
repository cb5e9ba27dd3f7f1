//! The thread of a shard: from the outbox to the topics.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::writer::Writer;
use super::{KafkaSinkError, Shared};

/// Ticks without messages are covered by a progress of their own only this often.
const QUIET_PROGRESS: Duration = Duration::from_secs(1);

/// The longest pause between two attempts to reach the cluster.
const PAUSE_MAX: Duration = Duration::from_secs(5);

pub(super) struct Shipper {
    shared: Arc<Shared>,
    writer: Writer,
}

impl Shipper {
    pub(super) fn new(shared: Arc<Shared>, writer: Writer) -> Self {
        Shipper { shared, writer }
    }

    /// Sends until the sink is closed or can't go on.
    pub(super) fn run(self) {
        let Shipper { shared, mut writer } = self;
        loop {
            let error = match ship(&shared, &mut writer) {
                Ok(()) | Err(KafkaSinkError::Stopped) => return,
                Err(error) => error,
            };
            if !error.is_transient() {
                return shared.fail(error);
            }
            let (shard, before) = (writer.shard(), writer.progress().clone());
            tracing::warn!(
                sink = shared.options.name,
                shard,
                error = told(&error),
                "sending is interrupted; it goes on by itself once the cluster answers"
            );
            // Nothing of a client whose last answer is unknown is used again.
            drop(writer);
            let mut pause = Duration::from_millis(100);
            writer = loop {
                if shared.stop.load(Ordering::Acquire) {
                    return;
                }
                match Writer::reopen(&shared.connection, &shared.options, shard, &before) {
                    Ok(writer) => break writer,
                    Err(error) if error.is_transient() => tracing::debug!(shard, error = told(&error), "not yet"),
                    Err(error) => return shared.fail(error),
                }
                wait(&shared, pause);
                pause = PAUSE_MAX.min(pause * 2);
            };
            tracing::warn!(sink = shared.options.name, shard, tick = writer.progress().tick, "sending goes on");
            if let Err(error) = shared.passed(shard, writer.progress().place()) {
                return shared.fail(error);
            }
        }
    }
}

/// Sends what comes until the sink is closed.
fn ship(shared: &Shared, writer: &mut Writer) -> Result<(), KafkaSinkError> {
    let options = &shared.options;
    // Ticks without messages may lie between what is durable and this.
    let mut next = writer.progress().place();
    let mut quiet_since = Instant::now();
    while !shared.stop.load(Ordering::Acquire) {
        let (messages_max, bytes_max) = (options.transaction_messages_max, options.transaction_bytes_max);
        let taken = shared.outbox.take(writer.shard(), next, messages_max, bytes_max, QUIET_PROGRESS / 2);
        let taken = taken.map_err(|source| KafkaSinkError::outbox(&options.name, source))?;
        if next == writer.progress().place() {
            quiet_since = Instant::now();
        }
        next = taken.next;
        let is_quiet = taken.messages.is_empty();
        if is_quiet && (next == writer.progress().place() || quiet_since.elapsed() < QUIET_PROGRESS) {
            continue;
        }
        writer.send(&taken.messages, next, &shared.stop)?;
        shared.passed(writer.shard(), next)?;
    }
    Ok(())
}

/// Pauses, unless the sink is closed meanwhile.
fn wait(shared: &Shared, pause: Duration) {
    let began = Instant::now();
    while began.elapsed() < pause && !shared.stop.load(Ordering::Acquire) {
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn told(error: &KafkaSinkError) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("{error}{cause}")
}
