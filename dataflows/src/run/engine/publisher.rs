//! The publisher's thread: puts complete ticks together and hands them on in order.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex};

use operators::clock::Mark;
use operators::emit::Emitted;
use operators::index::ApplyError;
use operators::sink::SinkError;
use operators::time::Tick;

use super::{EngineError, PublisherNews, TimeNews, lock};
use crate::graph::Publication;
use crate::views::{Row, View};

/// Everything that changed in a complete tick.
#[derive(Debug)]
pub struct CompleteTick {
    /// What time it was, and the watermarks.
    pub mark: Mark,
    /// By view and shard, each in canonical order; those without changes are left out.
    pub changes: Vec<(View, Emitted<Row>)>,
}

/// Takes complete ticks, in order.
pub trait Publish: Send {
    /// Is told, at the start, what is set once the run stops: whoever waits has to look at it.
    fn stop_with(&mut self, _stop: Arc<AtomicBool>) {}
    /// Takes the next complete tick.
    fn publish(&mut self, tick: CompleteTick) -> Result<(), PublishError>;
    /// Returns once everything taken is durable and visible.
    fn flush(&mut self) -> Result<(), PublishError>;
    /// The first tick that some sink would need again after a restart. A checkpoint at or below it can be restored; time
    /// does not wait for it. Default: none, everything that was flushed.
    fn needed_from(&self) -> Option<Tick> {
        None
    }
}

/// What publishing could not do.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// A sink refused.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// The served views refused: our own mistake.
    #[error("the published views are broken")]
    Views(#[from] ApplyError),
    /// A Kafka sink can't go on.
    #[cfg(feature = "kafka")]
    #[error(transparent)]
    Kafka(#[from] connectors::kafka::sink::KafkaSinkError),
    /// History can't go on.
    #[error("{0}")]
    History(String),
    /// The data folder is full.
    #[error("{0}")]
    Full(String),
}

pub(super) struct Publisher {
    publish: Box<dyn Publish>,
    time: Sender<TimeNews>,
    failure: Arc<Mutex<Option<EngineError>>>,
    stop: Arc<AtomicBool>,
    changes: BTreeMap<Tick, Vec<(View, Emitted<Row>)>>,
    marks: BTreeMap<Tick, Mark>,
}

impl Publisher {
    pub(super) fn new(
        mut publish: Box<dyn Publish>,
        time: Sender<TimeNews>,
        failure: Arc<Mutex<Option<EngineError>>>,
        stop: Arc<AtomicBool>,
    ) -> Self {
        publish.stop_with(Arc::clone(&stop));
        Publisher { publish, time, failure, stop, changes: BTreeMap::new(), marks: BTreeMap::new() }
    }

    pub(super) fn run(mut self, news: &Receiver<PublisherNews>) {
        while let Ok(told) = news.recv() {
            match told {
                PublisherNews::Publication(Publication::Changes(view, emitted)) => {
                    self.changes.entry(emitted.tick).or_default().push((view, emitted));
                }
                PublisherNews::Publication(Publication::Mark(mark)) => drop(self.marks.insert(mark.tick, mark)),
                PublisherNews::Frontier(frontier) => {
                    // A run that is stopping may have dropped its dataflow: its frontier says nothing any more.
                    if self.stop.load(Ordering::Acquire) {
                        return;
                    }
                    if let Err(error) = self.complete(frontier) {
                        // A sink that waited for its outbox was told to stop.
                        #[cfg(feature = "kafka")]
                        if matches!(error, PublishError::Kafka(connectors::kafka::sink::KafkaSinkError::Stopped)) {
                            return;
                        }
                        lock(&self.failure).get_or_insert(error.into());
                        return;
                    }
                }
                PublisherNews::Stop => return,
            }
        }
    }

    /// Hands on every tick below the frontier; all of them, where there is none any more.
    fn complete(&mut self, frontier: Option<Tick>) -> Result<(), PublishError> {
        let mut upper = None;
        while let Some(entry) = self.marks.first_entry()
            && frontier.is_none_or(|frontier| *entry.key() < frontier)
        {
            let (tick, mark) = entry.remove_entry();
            let mut changes = self.changes.remove(&tick).unwrap_or_default();
            changes.sort_unstable_by_key(|(view, emitted)| (*view, emitted.shard));
            self.publish.publish(CompleteTick { mark, changes })?;
            upper = Some(tick + 1);
        }
        if let Some(upper) = upper {
            self.publish.flush()?;
            // The timekeeper hangs up when the run stops.
            let acknowledged = self.publish.needed_from().map_or(upper, |needed| needed.min(upper));
            let _ = self.time.send(TimeNews::Published { upper, acknowledged });
        }
        Ok(())
    }
}
