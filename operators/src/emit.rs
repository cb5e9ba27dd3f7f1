//! Emission: a view's changes leave the dataflow, tick by complete tick, by sink shard.
//!
//! This is the way out. A view is a stream of changes `(row, tick, difference)`; whoever is outside (files, topics, the
//! served index) wants each tick once, whole, and in shards that never depend on the number of workers.
//!
//! # What goes in and comes out
//!
//! The changes of a view and the clock's marks go in. For each complete tick and each shard that it changed, one
//! [`Emitted`] goes to `publish`, on the worker that has the shard. The stream that comes out is empty: a probe behind it
//! has passed a tick once `publish` was given all of it.
//!
//! # Why it is exact
//!
//! How many shards there are is configured, and which one a row is in follows from a hash of its key. So the set of changes
//! of a shard at a tick is the same whatever the number of workers, and on which of them it goes out does not matter. A
//! change carries its own tick and is kept until the frontier has passed that tick. The order within a tick is that of
//! arrival, and means nothing: the canonical order is that of the rows, and only who writes or shows changes needs it
//! ([`Emitted::make_canonical`]). Sorting is not the workers' business.
//!
//! # Cost
//!
//! All changes of a view cross to the workers that emit; where there is one shard they go by whole messages, without a look
//! at them. Each change is moved once from its message into its shard.
//!
//! # What it does not do
//!
//! It does not consolidate, sort, or write. It says nothing of a tick without changes: [`marks_to`] gives every complete
//! tick, so that whoever publishes knows how far it is. It does not hold ticks back for a slow publisher; the timekeeper's
//! gate does, by what was published.
//!
//! # Example
//!
//! ```
//! use std::sync::mpsc::channel;
//!
//! use operators::clock::Mark;
//! use operators::emit::{EmitPlan, Emitted, Shards, emit};
//! use timely::dataflow::operators::vec::{Delay, ToStream};
//!
//! let (sender, receiver) = channel();
//! timely::example(move |scope| {
//!     let changes = [("tea", 0, 1), ("tea", 1, -1), ("milk", 1, 1), ("salt", 1, 1)];
//!     let changes = changes.map(|(row, tick, diff)| (row.to_owned(), tick, diff));
//!     let changes = changes.to_stream(scope).delay(|(_, tick, _), _| *tick);
//!     let mark = |tick| Mark { tick, now_ms: 0, watermarks: [].into(), reached: [].into(), checkpoint: false };
//!     let marks = [0, 1, 2].map(mark).to_stream(scope).delay(|mark, _| mark.tick);
//!     let plan = EmitPlan {
//!         name: "Emit groceries",
//!         shards: Shards { count: 2, first_worker: 0, workers: 1 },
//!         restored_upper: 0,
//!         place: |row: &String| row.len() as u64,
//!         publish: move |mut emitted: Emitted<String>| {
//!             emitted.make_canonical();
//!             sender.send((emitted.tick, emitted.shard, emitted.changes)).expect("the receiver is there");
//!         },
//!     };
//!     emit(changes, marks, plan);
//! });
//! let row = |name: &str, diff| (name.to_owned(), diff);
//! assert_eq!(
//!     receiver.iter().collect::<Vec<_>>(),
//!     [(0, 1, vec![row("tea", 1)]), (1, 0, vec![row("milk", 1), row("salt", 1)]), (1, 1, vec![row("tea", -1)])]
//! );
//! ```

use std::collections::BTreeMap;

use timely::communication::Push;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::Message;
use timely::dataflow::channels::pact::{DistributorPact, Pipeline};
use timely::dataflow::channels::pushers::exchange::{Distributor, DrainContainerDistributor};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::Operator;

use crate::clock::Mark;
use crate::fold::Data;
use crate::time::Tick;

/// What changed in one shard of a view at one complete tick: everything, except that a whole collection, which is shown
/// after a restore, comes in pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emitted<R> {
    /// The complete tick at which they changed.
    pub tick: Tick,
    /// The sink shard to which the rows belong.
    pub shard: u32,
    /// Rows and differences, in no order.
    pub changes: Vec<(R, i64)>,
}

impl<R: Ord> Emitted<R> {
    /// Brings the changes into canonical order: ascending rows, none of which occurs twice, and no difference is 0.
    pub fn make_canonical(&mut self) {
        make_canonical(&mut self.changes);
    }
}

/// Brings changes into canonical order: ascending rows, none of which occurs twice, and no difference is 0.
pub fn make_canonical<R: Ord>(changes: &mut Vec<(R, i64)>) {
    crate::index::consolidate(changes);
}

/// Where the shards of a view are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shards {
    /// How many shards there are: fixed by configuration.
    pub count: u32,
    /// The worker of the first one; the others follow in turn.
    pub first_worker: usize,
    /// How many workers take turns: those of the first process.
    pub workers: usize,
}

/// What an emission has to be told.
pub struct EmitPlan<'a, P, G> {
    /// The operator's name in the graph.
    pub name: &'a str,
    /// Where the shards of the view are.
    pub shards: Shards,
    /// Ticks below this one show whole collections, restored from a checkpoint; 0 where nothing was restored. Such a tick is
    /// given as it came, in pieces, since copying them together costs as much fresh memory as they have.
    pub restored_upper: Tick,
    /// A hash of what a row is known by: rows of which it is the same are in one shard.
    pub place: P,
    /// Takes the changes, on the worker that has their shard.
    pub publish: G,
}

/// Gives each complete tick's changes of a view to `publish`, shard by shard. The stream that comes out is empty and
/// carries the frontier.
pub fn emit<'scope, R, P, G>(
    changes: StreamVec<'scope, Tick, (R, Tick, isize)>,
    marks: StreamVec<'scope, Tick, Mark>,
    plan: EmitPlan<'_, P, G>,
) -> StreamVec<'scope, Tick, ()>
where
    R: Data,
    P: Fn(&R) -> u64 + Clone + 'static,
    G: FnMut(Emitted<R>) + 'static,
{
    let EmitPlan { name, shards, restored_upper, place, mut publish } = plan;
    let shard_of = move |row: &R| (place(row) % u64::from(shards.count)) as u32;
    let route = shard_of.clone();
    let worker_of = move |shard: u32| (shards.first_worker + shard as usize) % shards.workers;
    let pact = DistributorPact(move |peers| ToShards {
        only: (shards.count == 1).then(|| worker_of(0)),
        by_row: DrainContainerDistributor::new(
            move |(row, _, _): &(R, Tick, isize)| worker_of(route(row)) as u64,
            peers,
        ),
    });
    changes.binary_frontier::<_, CapacityContainerBuilder<Vec<()>>, _, _, _, _>(
        marks,
        pact,
        Pipeline,
        name,
        move |_, _| {
            let mut stash: BTreeMap<Tick, Vec<Vec<(R, Tick, isize)>>> = BTreeMap::new();
            let mut marked: BTreeMap<Tick, Capability<Tick>> = BTreeMap::new();
            move |(changes, changes_frontier), (marks, _), _| {
                changes.for_each(|_, changes| match changes.first().map(|(_, tick, _)| *tick) {
                    Some(first) if changes.iter().all(|(_, tick, _)| *tick == first) => {
                        stash.entry(first).or_default().push(std::mem::take(changes));
                    }
                    _ => changes.drain(..).for_each(|change| stash.entry(change.1).or_default().push(vec![change])),
                });
                marks.for_each(|capability, marks| {
                    for mark in marks.drain(..) {
                        marked.insert(mark.tick, capability.retain(0));
                    }
                });
                while let Some(entry) = marked.first_entry()
                    && !changes_frontier.less_equal(entry.key())
                {
                    let (tick, capability) = entry.remove_entry();
                    let messages = stash.remove(&tick).unwrap_or_default();
                    let mut give = |messages: Vec<Vec<(R, Tick, isize)>>| {
                        for (shard, changes) in by_shard(messages, shards.count, &shard_of) {
                            publish(Emitted { tick, shard, changes });
                        }
                    };
                    match tick < restored_upper {
                        true => messages.into_iter().for_each(|message| give(vec![message])),
                        false => give(messages),
                    }
                    drop(capability);
                }
            }
        },
    )
}

/// Takes changes to the workers of their shards; where there is one shard, whole messages, without a look at them.
struct ToShards<R, H> {
    only: Option<usize>,
    by_row: DrainContainerDistributor<CapacityContainerBuilder<Vec<(R, Tick, isize)>>, H>,
}

impl<R: Data, H: FnMut(&(R, Tick, isize)) -> u64> Distributor<Vec<(R, Tick, isize)>> for ToShards<R, H> {
    fn partition<T: Clone, P: Push<Message<T, Vec<(R, Tick, isize)>>>>(
        &mut self,
        changes: &mut Vec<(R, Tick, isize)>,
        time: &T,
        pushers: &mut [P],
    ) {
        match self.only {
            Some(worker) => Message::push_at(changes, time.clone(), &mut pushers[worker]),
            None => self.by_row.partition(changes, time, pushers),
        }
    }

    fn flush<T: Clone, P: Push<Message<T, Vec<(R, Tick, isize)>>>>(&mut self, time: &T, pushers: &mut [P]) {
        self.by_row.flush(time, pushers);
    }

    fn relax(&mut self) {
        Distributor::<Vec<(R, Tick, isize)>>::relax(&mut self.by_row);
    }
}

/// The changes of each shard, in the order in which they came. A message that is all there is stays where it is.
fn by_shard<R>(
    mut messages: Vec<Vec<(R, Tick, isize)>>,
    count: u32,
    shard_of: impl Fn(&R) -> u32,
) -> BTreeMap<u32, Vec<(R, i64)>> {
    if let [message] = messages.as_mut_slice()
        && count == 1
    {
        let changes = std::mem::take(message).into_iter().map(|(row, _, diff)| (row, diff as i64));
        return BTreeMap::from([(0, changes.collect())]);
    }
    let changes: usize = messages.iter().map(Vec::len).sum();
    let mut by_shard: BTreeMap<u32, Vec<(R, i64)>> = BTreeMap::new();
    for (row, _, diff) in messages.into_iter().flatten() {
        let shard = if count == 1 { 0 } else { shard_of(&row) };
        let room = || Vec::with_capacity(changes / count as usize);
        by_shard.entry(shard).or_insert_with(room).push((row, diff as i64));
    }
    by_shard
}

/// Gives every complete tick to `publish`, in order, on worker 0 alone. The stream that comes out is empty: a probe behind
/// it stands at a tick until its mark was given.
pub fn marks_to<'scope>(
    marks: StreamVec<'scope, Tick, Mark>,
    mut publish: impl FnMut(Mark) + 'static,
) -> StreamVec<'scope, Tick, ()> {
    let first = marks.scope().index() == 0;
    marks.unary::<CapacityContainerBuilder<Vec<()>>, _, _, _>(Pipeline, "PublishMarks", move |_, _| {
        move |marks, _| {
            marks.for_each(|_, marks| {
                for mark in marks.drain(..).filter(|_| first) {
                    publish(mark);
                }
            });
        }
    })
}

#[cfg(test)]
mod tests;
