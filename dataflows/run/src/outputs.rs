//! Where a run's complete ticks go: one trait, one value for each output.
//!
//! ```text
//! complete tick -> change files -> Kafka sinks -> history -> served views
//! ```
//!
//! An output knows by itself what it has, and says which ticks it still needs; whoever drives it gives it every tick in
//! order, after a restore the whole collection first. The cost of one more output is one call a tick.

pub mod change_files;
#[cfg(feature = "kafka")]
mod encoder;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod served;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use connectors::data_folder::DataFolder;
use operators::time::{Tick, TimeMs};

use super::engine::{CompleteTick, Publish, PublishError};
use super::job::RunError;
use dataflows::configuration::{Plan, Settings};

#[cfg(feature = "kafka")]
pub use encoder::Encoder;

/// In which processes of a cluster an output stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stands {
    /// In the first one, to which all changes come.
    First,
    /// In every one, each with the shards of its own workers.
    Every,
}

/// Takes complete ticks, and keeps progress of its own.
pub trait Output: Send {
    /// Its name, for people.
    fn name(&self) -> &str;
    /// In which processes it stands.
    fn stands(&self) -> Stands {
        Stands::First
    }
    /// The first tick that it does not know of, of all of its parts; 0 for an output that remembers nothing.
    fn resumed(&self) -> Tick {
        0
    }
    /// Whether it wants to be given a tick: what it has need not be made for it again.
    fn wants(&self, tick: Tick) -> bool {
        let _ = tick;
        true
    }
    /// Takes the next complete tick; may be slow, but only for want of room.
    fn take(&mut self, tick: &mut CompleteTick) -> Result<(), PublishError>;
    /// Returns once everything taken is durable, or kept where a crash leaves it.
    fn flush(&mut self) -> Result<(), PublishError> {
        Ok(())
    }
    /// The first tick that it would need again after a restart, if it is behind what was flushed. A checkpoint at or below it
    /// can be restored; time does not wait for it.
    fn needed_from(&self) -> Option<Tick> {
        None
    }
    /// The first tick of which some part of it does not know: no checkpoint behind it may be restored.
    fn least_resumed(&self) -> Tick {
        Tick::MAX
    }
    /// Is told, at the start, what is set once the run stops: whoever waits has to look at it.
    fn stop_with(&mut self, stop: Arc<AtomicBool>) {
        let _ = stop;
    }
    /// For those who wait until it has sent everything.
    fn watch(&self) -> Option<Box<dyn WatchOutput>> {
        None
    }
}

/// How far an output is that sends on a thread of its own.
pub trait WatchOutput: Send {
    /// Whether everything that was taken has arrived.
    fn is_drained(&self) -> bool;
    /// What ended it, if anything did.
    fn failure(&self) -> Option<RunError>;
    /// Its name, and the first tick of which not everything has arrived.
    fn sent(&self) -> (String, Tick);
}

/// How far the outputs of a run are.
#[derive(Default)]
pub struct OutputsWatch {
    outputs: Vec<Box<dyn WatchOutput>>,
    folder: Option<Arc<DataFolder>>,
    durable: Arc<AtomicU64>,
}

impl OutputsWatch {
    /// Whether everything that was taken has arrived.
    pub fn is_drained(&self) -> bool {
        self.outputs.iter().all(|output| output.is_drained())
    }

    /// What ended one of them, if anything did, or what became of the data folder.
    pub fn failure(&self) -> Option<RunError> {
        let of_output = self.outputs.iter().find_map(|output| output.failure());
        of_output.or_else(|| self.folder.as_ref()?.check().err().map(RunError::from))
    }

    /// By the name of each output that sends: the first tick of which not everything has arrived.
    pub fn sent(&self) -> Vec<(String, Tick)> {
        self.outputs.iter().map(|output| output.sent()).collect()
    }

    /// Every output has the ticks below this, or keeps them where a crash leaves them.
    pub fn durable(&self) -> Tick {
        self.durable.load(Ordering::Acquire)
    }
}

/// How often the whole data folder is measured. What its disks write is counted before it is written; this finds what others
/// add: checkpoints, files of history, outboxes, commands.
const MEASURE_EVERY: Duration = Duration::from_secs(1);

/// All outputs of a run, in the order in which they are given a tick.
#[derive(Default)]
pub struct Outputs {
    outputs: Vec<Box<dyn Output>>,
    folder: Option<Arc<DataFolder>>,
    measured: Option<Instant>,
    /// The first tick that was not published.
    published: Tick,
    /// The first tick that is not durable.
    durable: Arc<AtomicU64>,
}

impl Outputs {
    /// Adds one behind the others.
    #[must_use]
    pub fn with(mut self, output: impl Output + 'static) -> Self {
        self.outputs.push(Box::new(output));
        self
    }

    /// Adds some behind the others.
    #[must_use]
    pub fn with_all(mut self, outputs: Vec<Box<dyn Output>>) -> Self {
        self.outputs.extend(outputs);
        self
    }

    /// Refuses to go on once a data folder holds more than it may, or isn't this process's any more.
    #[must_use]
    pub fn within(self, folder: Arc<DataFolder>) -> Self {
        Outputs { folder: Some(folder), ..self }
    }

    /// The first tick that none of them knows of.
    pub fn resumed(&self) -> Tick {
        self.outputs.iter().map(|output| output.resumed()).max().unwrap_or(0)
    }

    /// The first tick that some part of one of them does not know of.
    pub fn least_resumed(&self) -> Tick {
        self.outputs.iter().map(|output| output.least_resumed()).min().unwrap_or(Tick::MAX)
    }

    /// For those who wait until everything is sent.
    pub fn watch(&self) -> OutputsWatch {
        OutputsWatch {
            outputs: self.outputs.iter().filter_map(|output| output.watch()).collect(),
            folder: self.folder.clone(),
            durable: Arc::clone(&self.durable),
        }
    }

    fn check_folder(&mut self) -> Result<(), PublishError> {
        let Some(folder) = &self.folder else { return Ok(()) };
        folder.check()?;
        if self.measured.is_some_and(|measured| measured.elapsed() < MEASURE_EVERY) {
            return Ok(());
        }
        self.measured = Some(Instant::now());
        match folder.measure() {
            Ok(Some((size_bytes, bytes_max))) => Err(PublishError::Full(format!(
                "the data folder {} holds {size_bytes} bytes, more than data_bytes_max = {bytes_max}; \
                 raise the limit, switch sinks off (`sink = \"none\"`), or start again with --fresh",
                folder.path().display(),
            ))),
            // A folder that can't be measured now is measured the next time.
            Ok(None) | Err(_) => Ok(()),
        }
    }
}

impl Publish for Outputs {
    fn stop_with(&mut self, stop: Arc<AtomicBool>) {
        self.outputs.iter_mut().for_each(|output| output.stop_with(Arc::clone(&stop)));
    }

    fn publish(&mut self, mut tick: CompleteTick) -> Result<(), PublishError> {
        let at = tick.mark.tick;
        self.outputs.iter_mut().filter(|output| output.wants(at)).try_for_each(|output| output.take(&mut tick))?;
        self.published = at + 1;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), PublishError> {
        self.check_folder()?;
        self.outputs.iter_mut().try_for_each(|output| output.flush())?;
        self.durable.store(self.published, Ordering::Release);
        Ok(())
    }

    fn needed_from(&self) -> Option<Tick> {
        self.outputs.iter().filter_map(|output| output.needed_from()).min()
    }
}

/// The Kafka sinks of a plan, each with its outbox in a folder of its name. Paths of certificates and passwords are relative to
/// `folder`.
#[cfg(feature = "kafka")]
pub fn kafka_sinks(
    settings: &Settings,
    plan: &Plan,
    outboxes: &Path,
    folder: &Path,
    interrupted: &AtomicBool,
) -> Result<Vec<Box<dyn Output>>, RunError> {
    let sinks = plan.recorded.sinks.iter().zip(&settings.local.deliveries);
    let open = |(sink, delivery)| {
        Ok(Box::new(kafka::KafkaOutput::open(sink, delivery, plan, (outboxes, folder), interrupted)?) as _)
    };
    sinks.map(open).collect()
}

/// A build without Kafka has no such sinks; a configuration that asks for one is refused where it is read.
#[cfg(not(feature = "kafka"))]
pub fn kafka_sinks(
    _: &Settings,
    _: &Plan,
    _: &Path,
    _: &Path,
    _: &AtomicBool,
) -> Result<Vec<Box<dyn Output>>, RunError> {
    Ok(Vec::new())
}

/// Through which event time each group is sealed.
pub(crate) fn sealed_through(tick: &CompleteTick, groups: &[String]) -> Vec<(String, TimeMs)> {
    groups.iter().cloned().zip(tick.mark.watermarks.iter().copied()).collect()
}

/// `W` of a tenant's events, among those of all groups.
pub(crate) fn watermark_of(sealed_through: &[(String, TimeMs)], tenant: &str) -> TimeMs {
    let is_of = |group: &str| group.strip_prefix(tenant).is_some_and(|rest| rest == "/events");
    sealed_through.iter().find(|(group, _)| is_of(group)).map_or(TimeMs::MIN, |(_, sealed_ms)| *sealed_ms)
}
