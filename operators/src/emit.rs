//! Emission: per complete tick, by sink shard.
//!
//! The changes of a view are exchanged by sink shard. Sink shards are fixed by configuration and by key hash, so the
//! set of changes in each is the same at every tick, whatever the number of workers. The canonical order within a tick is
//! that of the rows, and only who writes or shows changes in an order needs it ([`Emitted::make_canonical`]): sorting them is not the
//! workers' business.

use std::collections::BTreeMap;

use differential_dataflow::consolidation::consolidate;
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
    /// The tick.
    pub tick: Tick,
    /// The shard.
    pub shard: u32,
    /// Rows and differences, in no order.
    pub changes: Vec<(R, i64)>,
}

impl<R: Ord> Emitted<R> {
    /// Brings the changes into canonical order: ascending rows, none of which occurs twice, and no difference is 0.
    pub fn make_canonical(&mut self) {
        consolidate(&mut self.changes);
    }
}

/// Where the shards of a view are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shards {
    /// How many: fixed by configuration.
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
