//! The publisher's thread: puts complete ticks together and hands them on in order.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex};

use connectors::data_folder::DataFolderError;
use operators::clock::Mark;
use operators::index::ApplyError;
use operators::outcome::Outcome;
use operators::sink::SinkError;
use operators::time::Tick;

use super::{EngineError, PublisherNews, TimeNews, lock};
use dataflows::build::Publication;
use dataflows::view::{ChangeList, ViewChanges, ViewId};

/// Everything that changed in a complete tick.
#[derive(Debug)]
pub struct CompleteTick {
    /// What time it was, and the watermarks.
    pub mark: Mark,
    /// By view and shard; those without changes are left out. The whole collection of a shard, after a restore, lies here
    /// in pieces.
    pub changes: Vec<ViewChanges>,
    /// What became of records that entered again, in the order of their places.
    pub outcomes: Vec<Outcome>,
}

impl CompleteTick {
    /// What changed in a shard of a view, in canonical order; nothing where there is no such shard.
    pub fn canonical(&mut self, view: ViewId, shard: u32) -> Option<&dyn ChangeList> {
        let is_of = |changes: &ViewChanges| changes.view == view && changes.shard == shard;
        let first = self.changes.iter().position(is_of)?;
        if self.changes[first + 1..].iter().any(is_of) {
            let pieces: Vec<ViewChanges> = self.changes.extract_if(first + 1.., |changes| is_of(changes)).collect();
            pieces.into_iter().for_each(|piece| self.changes[first].rows.append(piece.rows));
        }
        let changes = &mut self.changes[first];
        changes.rows.make_canonical();
        Some(&*changes.rows)
    }
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
    /// An output was told to stop while it waited.
    #[error("the run is stopping")]
    Stopped,
    /// A Kafka sink can't go on.
    #[error("{0}")]
    Kafka(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// History can't go on.
    #[error("{0}")]
    History(String),
    /// The data folder is full.
    #[error("{0}")]
    Full(String),
    /// The data folder has gone, or is another process's.
    #[error(transparent)]
    Folder(#[from] DataFolderError),
}

pub(super) struct Publisher {
    publish: Box<dyn Publish>,
    time: Sender<TimeNews>,
    failure: Arc<Mutex<Option<EngineError>>>,
    stop: Arc<AtomicBool>,
    changes: BTreeMap<Tick, Vec<ViewChanges>>,
    outcomes: BTreeMap<Tick, Vec<Outcome>>,
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
        Publisher {
            publish,
            time,
            failure,
            stop,
            changes: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            marks: BTreeMap::new(),
        }
    }

    pub(super) fn run(mut self, news: &Receiver<PublisherNews>) {
        while let Ok(told) = news.recv() {
            match told {
                PublisherNews::Publication(Publication::Changes(changes)) => {
                    self.changes.entry(changes.tick).or_default().push(changes);
                }
                PublisherNews::Publication(Publication::Mark(mark)) => drop(self.marks.insert(mark.tick, mark)),
                PublisherNews::Publication(Publication::Outcomes(tick, outcomes)) => {
                    self.outcomes.entry(tick).or_default().extend(outcomes);
                }
                PublisherNews::Frontier(frontier) => {
                    // A run that is stopping may have dropped its dataflow: its frontier says nothing any more.
                    if self.stop.load(Ordering::Acquire) {
                        return;
                    }
                    if let Err(error) = self.complete(frontier) {
                        // A sink that waited for its outbox was told to stop.
                        if matches!(error, PublishError::Stopped) {
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
            // Pieces of a collection stay in the order in which they came.
            changes.sort_by_key(|changes| (changes.view, changes.shard));
            let mut outcomes = self.outcomes.remove(&tick).unwrap_or_default();
            outcomes.sort_unstable();
            self.publish.publish(CompleteTick { mark, changes, outcomes })?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use dataflows::answer::testing::stock;
    use dataflows::inventory::availability::Availability;
    use dataflows::inventory::stock::{Stock, StockRow};
    use dataflows::view::Listed;

    #[test]
    fn a_shard_that_comes_in_pieces_is_one_in_canonical_order() {
        let piece = |shard, rows: &[u64]| {
            let changes: Vec<(StockRow, i64)> = rows.iter().map(|number| (stock(*number), 1)).collect();
            ViewChanges { view: Stock::ID, tick: 3, shard, rows: Box::new(changes) }
        };
        let mark = Mark { tick: 3, now_ms: 0, watermarks: [].into(), reached: [].into(), checkpoint: false };
        let changes = vec![piece(0, &[5, 1]), piece(0, &[4]), piece(1, &[9]), piece(0, &[2])];
        let mut tick = CompleteTick { mark, changes, outcomes: Vec::new() };
        let rows = |numbers: &[u64]| numbers.iter().map(|number| (stock(*number), 1)).collect::<Vec<_>>();
        for _ in 0..2 {
            let mut of = |shard| {
                let changes = tick.canonical(Stock::ID, shard);
                changes.map(|changes| changes.as_any().downcast_ref::<Vec<(StockRow, i64)>>().unwrap().clone())
            };
            assert_eq!(of(0), Some(rows(&[1, 2, 4, 5])));
            assert_eq!(of(1), Some(rows(&[9])));
            assert_eq!(of(2), None);
            assert!(tick.canonical(Availability::ID, 0).is_none());
        }
        assert_eq!(tick.changes.len(), 2);
    }
}
