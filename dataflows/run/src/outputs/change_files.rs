//! The change files of all views: one for each shard, which is its own progress.

use connectors::change_file::ChangeFileSink;
use operators::disk::Disk;
use operators::sink::{Change, Changes, Sink, SinkError};
use operators::time::Tick;

use super::{Output, sealed_through, watermark_of};
use crate::engine::{CompleteTick, PublishError};
use dataflows::configuration::{Plan, SinkSetting};
use dataflows::view::sealing::AnySealing;
use dataflows::view::{Codecs, RowText, ViewId};

/// The change files of all views.
pub struct ChangeFiles<D> {
    sink: ChangeFileSink<D>,
    codecs: Codecs,
    shards: Vec<Shard>,
    groups: Vec<String>,
    resumed: Tick,
    least_resumed: Tick,
}

/// A shard's file.
struct Shard {
    view: ViewId,
    number: u32,
    /// The first tick that the file did not know of when it was opened.
    next: Tick,
    /// Holds rows back until they are sealed, where only those are written.
    sealing: Option<Box<dyn AnySealing>>,
}

impl<D: Disk> ChangeFiles<D> {
    /// Opens them and resumes where each one ends. The file of a view that was added to the run begins at the view's first
    /// tick.
    pub fn open(disk: D, plan: &Plan) -> Result<Self, SinkError> {
        let (mut sink, codecs) = (ChangeFileSink::new(disk), Codecs::new(&plan.recorded));
        let (mut shards, mut resumed, mut least_resumed) = (Vec::new(), 0, Tick::MAX);
        for view in ViewId::all() {
            let settings = plan.recorded.view(view);
            if !settings.enabled || settings.sink == SinkSetting::None {
                continue;
            }
            for number in 0..settings.shards {
                let next = sink.resume(view.name(), number)?.max(plan.recorded.since(view));
                (resumed, least_resumed) = (next.max(resumed), next.min(least_resumed));
                let sealing = (settings.sink == SinkSetting::Sealed).then(|| codecs.of(view).sealing()).flatten();
                shards.push(Shard { view, number, next, sealing });
            }
        }
        Ok(ChangeFiles { sink, codecs, shards, groups: plan.topology.groups.clone(), resumed, least_resumed })
    }

    /// The names of the files.
    pub fn names(&self) -> impl Iterator<Item = String> {
        self.shards.iter().map(|shard| format!("sinks/{}/shard-{}.ndjson", shard.view.name(), shard.number))
    }

    /// Writes a complete tick; what is written is in canonical order afterwards. What a file has is not made again: after a
    /// restart that may be whole collections.
    fn write(&mut self, tick: &mut CompleteTick) -> Result<(), SinkError> {
        let sealed_through = sealed_through(tick, &self.groups);
        let at = tick.mark.tick;
        for Shard { view, number, next, sealing } in &mut self.shards {
            let is_there = at < *next;
            if is_there && sealing.is_none() {
                continue;
            }
            let changes = tick.canonical(*view, *number);
            let sealed =
                sealing.as_mut().map(|sealing| sealing.tick(changes, &|tenant| watermark_of(&sealed_through, tenant)));
            if is_there {
                continue;
            }
            let changes = sealed.as_deref().or(changes);
            let texts = changes.map_or_else(Vec::new, |changes| self.codecs.of(*view).texts(changes));
            self.sink.write(&Changes {
                view: view.name().to_owned(),
                shard: *number,
                lower: at,
                upper: at + 1,
                changes: texts.into_iter().map(|RowText { row, diff }| (at, Change { row, diff })).collect(),
                sealed_through: sealed_through.clone(),
            })?;
        }
        Ok(())
    }
}

impl<D: Disk + Send> Output for ChangeFiles<D> {
    fn name(&self) -> &str {
        "change files"
    }

    fn resumed(&self) -> Tick {
        self.resumed
    }

    fn least_resumed(&self) -> Tick {
        self.least_resumed
    }

    fn take(&mut self, tick: &mut CompleteTick) -> Result<(), PublishError> {
        Ok(self.write(tick)?)
    }

    fn flush(&mut self) -> Result<(), PublishError> {
        Ok(self.sink.flush()?)
    }
}
