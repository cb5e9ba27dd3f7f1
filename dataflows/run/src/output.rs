//! Where a run's complete ticks go: the change files of each view and the Kafka sinks, then the served views.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use connectors::change_file::ChangeFileSink;
use connectors::data_folder::DataFolder;
use operators::disk::Disk;
use operators::sink::{Change, Changes, Sink, SinkError};
use operators::time::{Tick, TimeMs};

use super::command_desk::CommandDesk;
use super::engine::{CompleteTick, Publish, PublishError};
use super::http::Published;
use super::sinks::KafkaSinks;
use dataflows::configuration::{Plan, SinkSetting};
use dataflows::sealing::Sealing;
use dataflows::views::View;

/// Ticks between two looks at the size of the data folder.
const SIZE_CHECK_TICKS: u64 = 256;

/// The change files of all views.
pub struct ChangeFiles<D> {
    sink: ChangeFileSink<D>,
    /// Each with the first tick that its file did not know of.
    shards: Vec<(View, u32, Tick)>,
    sealing: BTreeMap<(View, u32), Sealing>,
    groups: Vec<String>,
    resumed: Tick,
    least_resumed: Tick,
}

impl<D: Disk> ChangeFiles<D> {
    /// Opens them and resumes where each one ends.
    pub fn open(disk: D, plan: &Plan) -> Result<Self, SinkError> {
        let mut sink = ChangeFileSink::new(disk);
        let (mut shards, mut sealing, mut resumed, mut least_resumed) = (Vec::new(), BTreeMap::new(), 0, Tick::MAX);
        for view in View::ALL {
            let settings = plan.recorded.view(view);
            if !settings.enabled || settings.sink == SinkSetting::None {
                continue;
            }
            for shard in 0..settings.shards {
                let next = sink.resume(view.name(), shard)?;
                (resumed, least_resumed) = (next.max(resumed), next.min(least_resumed));
                shards.push((view, shard, next));
                if settings.sink == SinkSetting::Sealed {
                    sealing.insert((view, shard), Sealing::default());
                }
            }
        }
        Ok(ChangeFiles { sink, shards, sealing, groups: plan.topology.groups.clone(), resumed, least_resumed })
    }

    /// The first tick that no file knows of.
    pub fn resumed(&self) -> Tick {
        self.resumed
    }

    /// The first tick that some file does not know of.
    pub fn least_resumed(&self) -> Tick {
        self.least_resumed
    }

    /// The names of the files.
    pub fn names(&self) -> impl Iterator<Item = String> {
        self.shards.iter().map(|(view, shard, _)| format!("sinks/{}/shard-{shard}.ndjson", view.name()))
    }

    /// Writes a complete tick; what is written is in canonical order afterwards. What a file has is not made again: after a
    /// restart that may be whole collections.
    pub fn write(&mut self, tick: &mut CompleteTick) -> Result<(), SinkError> {
        let sealed_through = sealed_through(tick, &self.groups);
        for (view, shard, next) in &self.shards {
            let is_there = tick.mark.tick < *next;
            if is_there && !self.sealing.contains_key(&(*view, *shard)) {
                continue;
            }
            let at = tick.mark.tick;
            let mut changes = tick.canonical(*view, *shard);
            let sealed;
            if let Some(sealing) = self.sealing.get_mut(&(*view, *shard)) {
                let of = |tenant: &str| {
                    let name = format!("{tenant}/events");
                    sealed_through
                        .iter()
                        .find(|(group, _)| *group == name)
                        .map_or(TimeMs::MIN, |(_, sealed_ms)| *sealed_ms)
                };
                sealed = sealing.tick(changes, of);
                changes = &sealed;
            }
            if is_there {
                continue;
            }
            let changes = changes.iter().map(|(row, diff)| (at, Change { row: row.to_json(), diff: *diff }));
            self.sink.write(&Changes {
                view: view.name().to_owned(),
                shard: *shard,
                lower: at,
                upper: at + 1,
                changes: changes.collect(),
                sealed_through: sealed_through.clone(),
            })?;
        }
        Ok(())
    }

    /// Returns once everything written is durable.
    pub fn flush(&mut self) -> Result<(), SinkError> {
        self.sink.flush()
    }
}

/// Through which event time each tenant's events and facts are sealed.
pub(super) fn sealed_through(tick: &CompleteTick, groups: &[String]) -> Vec<(String, TimeMs)> {
    groups.iter().cloned().zip(tick.mark.watermarks.iter().copied()).collect()
}

/// Takes complete ticks beside the change files, and keeps progress of its own.
pub trait Follow: Send {
    /// Takes the next complete tick; may be slow, but only for want of room.
    fn follow(&mut self, tick: &CompleteTick) -> Result<(), PublishError>;
    /// As [`Publish::needed_from`].
    fn needed_from(&self) -> Option<Tick>;
}

/// Files, Kafka sinks and history, then served views.
pub struct Output<D> {
    files: ChangeFiles<D>,
    sinks: KafkaSinks,
    history: Option<Box<dyn Follow>>,
    published: Arc<Published>,
    groups: Vec<String>,
    folder: DataFolder,
    bytes_max: u64,
    ticks: u64,
    /// Who is told what became of records that enter again.
    commands: Option<Arc<CommandDesk>>,
}

impl<D: Disk> Output<D> {
    /// An output of a run.
    pub fn new(
        files: ChangeFiles<D>,
        sinks: KafkaSinks,
        history: Option<Box<dyn Follow>>,
        published: Arc<Published>,
        plan: &Plan,
        folder: DataFolder,
        bytes_max: u64,
    ) -> Self {
        Output {
            files,
            sinks,
            history,
            published,
            groups: plan.topology.groups.clone(),
            folder,
            bytes_max,
            ticks: 0,
            commands: None,
        }
    }

    /// From now on whoever gave commands is told at the desk what became of them.
    pub fn answering(mut self, desk: Arc<CommandDesk>) -> Self {
        self.commands = Some(desk);
        self
    }
}

impl<D: Disk> Publish for Output<D> {
    fn stop_with(&mut self, stop: Arc<AtomicBool>) {
        self.sinks.stop_with(stop);
    }

    fn publish(&mut self, mut tick: CompleteTick) -> Result<(), PublishError> {
        self.files.write(&mut tick)?;
        self.sinks.write(&mut tick)?;
        if let Some(history) = &mut self.history {
            history.follow(&tick)?;
        }
        let sealed_through = sealed_through(&tick, &self.groups);
        let outcomes = std::mem::take(&mut tick.outcomes);
        let changes = tick.changes.into_iter().map(|(view, emitted)| (view, emitted.changes)).collect();
        self.published.apply_tick(tick.mark.tick, tick.mark.now_ms, changes, sealed_through)?;
        if let Some(desk) = &self.commands {
            desk.hear(tick.mark.tick, outcomes);
        }
        self.ticks += 1;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), PublishError> {
        self.files.flush()?;
        self.sinks.flush()?;
        if self.ticks >= SIZE_CHECK_TICKS {
            self.ticks = 0;
            // A folder that can't be measured now is measured the next time.
            let size_bytes = self.folder.size_bytes().unwrap_or(0);
            if size_bytes > self.bytes_max {
                return Err(PublishError::Full(format!(
                    "the data folder {} holds {size_bytes} bytes, more than data_bytes_max = {}; \
                     raise the limit, switch sinks off (`sink = \"none\"`), or start again with --fresh",
                    self.folder.path().display(),
                    self.bytes_max
                )));
            }
        }
        Ok(())
    }

    fn needed_from(&self) -> Option<Tick> {
        let history = self.history.as_ref().and_then(|history| history.needed_from());
        self.sinks.needed_from().into_iter().chain(history).min()
    }
}
