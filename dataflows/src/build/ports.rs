//! Where a worker's readers put records, and where it publishes.

use std::any::Any;
use std::sync::Arc;

use operators::bindings::Inlet;
use operators::checkpoint::{Depot, Restore};
use operators::clock::Mark;
use operators::feed::Feed;
use operators::outcome::Outcome;
use operators::time::Tick;
use operators::topology::PartitionId;

use crate::kind::{KindId, ListedKind};
use crate::view::ViewChanges;

/// What a worker publishes.
#[derive(Clone, Debug)]
pub enum Publication {
    /// Changes of a view; all changes of a tick come before anybody knows that the tick is complete.
    Changes(ViewChanges),
    /// A complete tick's watermarks, from worker 0.
    Mark(Mark),
    /// What became in a tick of records that enter again, from worker 0; all of it comes before anybody knows that the tick
    /// is complete.
    Outcomes(Tick, Vec<Outcome>),
}

/// The queues of the partitions that a worker owns, by kind of record.
#[derive(Default)]
pub struct Feeds(Vec<(KindId, PartitionId, Box<dyn Any + Send>)>);

impl Feeds {
    /// Adds the queue of a partition.
    pub fn push<K: ListedKind>(&mut self, partition: PartitionId, feed: Feed<K::Record>) {
        self.0.push((K::ID, partition, Box::new(feed)));
    }

    /// Takes the queues of all partitions of a kind.
    pub fn take<K: ListedKind>(&mut self) -> Vec<(PartitionId, Feed<K::Record>)> {
        let of_kind = self.0.extract_if(.., |(kind, _, _)| *kind == K::ID);
        let typed = |feed: Box<dyn Any + Send>| *feed.downcast().expect("a queue of a kind has its records");
        of_kind.map(|(_, partition, feed)| (partition, typed(feed))).collect()
    }
}

/// Where a worker's readers put records, and where it publishes.
pub struct Ports {
    /// The queues of the partitions that the worker owns.
    pub feeds: Feeds,
    /// Where bindings come from.
    pub inlet: Inlet,
    /// Where publications go.
    pub publish: Arc<dyn Fn(Publication) + Send + Sync>,
    /// Where checkpoints go, where any are taken.
    pub depot: Option<Arc<dyn Depot>>,
    /// What the worker begins with; the beginning otherwise.
    pub restore: Option<Restore>,
}

impl Ports {
    /// Those of a graph that reads nothing and ends at once: to look at how it is built.
    pub fn closed() -> Ports {
        let inlet = Inlet::default();
        inlet.close();
        Ports { feeds: Feeds::default(), inlet, publish: Arc::new(|_| {}), depot: None, restore: None }
    }
}
