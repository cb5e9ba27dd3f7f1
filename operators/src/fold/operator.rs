//! The operator that runs a fold.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::hash::Hash;
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use super::Fold;
use super::folding::{Blocks, Folding};
use super::outlet::{Outlet, Port};
use super::states::States;
use crate::checkpoint::Checkpoints;
use crate::clock::Mark;
use crate::shard::{PlaceKey, SHARDS, shard_of_hash};
use crate::time::Tick;

/// An event on its way to its key. It carries its own tick: a message may hold several.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Posting<K, E> {
    /// The hash of the key, which both the exchange and the table need.
    pub(super) hash: u64,
    /// The tick to which the event belongs.
    pub(super) tick: Tick,
    /// The key that the event concerns.
    pub(super) key: K,
    /// What the key needs of the event.
    pub(super) event: E,
}

impl<K: Hash, E> Posting<K, E> {
    /// An event of a key at a tick, in a run without a [`PlaceKey`].
    pub fn new(key: K, event: E, tick: Tick) -> Self {
        Posting::placed(PlaceKey::WRITTEN, key, event, tick)
    }

    /// The same in a run with that key, which has to be the one of the fold's [`Checkpoints`].
    pub fn placed(by: PlaceKey, key: K, event: E, tick: Tick) -> Self {
        Posting { hash: by.hash_of(&key), tick, key, event }
    }
}

impl<K, E> Posting<K, E> {
    /// The tick to which the event belongs.
    pub fn tick(&self) -> Tick {
        self.tick
    }

    /// The key that the event concerns.
    pub fn key(&self) -> &K {
        &self.key
    }

    /// What the key needs of the event.
    pub fn event(&self) -> &E {
        &self.event
    }
}

/// How much a fold holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FoldGauge {
    /// How many keys the table has.
    pub keys: usize,
    /// The resident bytes of the table, by capacity.
    pub table_bytes: usize,
    /// The bytes that the states own on the heap.
    pub heap_bytes: usize,
}

impl std::iter::Sum for FoldGauge {
    fn sum<I: Iterator<Item = FoldGauge>>(gauges: I) -> FoldGauge {
        gauges.fold(FoldGauge::default(), |sum, gauge| FoldGauge {
            keys: sum.keys + gauge.keys,
            table_bytes: sum.table_bytes + gauge.table_bytes,
            heap_bytes: sum.heap_bytes + gauge.heap_bytes,
        })
    }
}

/// A fold's state from outside of its operator, on the same worker.
pub struct FoldHandle<F: Fold>(Rc<RefCell<Folding<F>>>);

impl<F: Fold> Clone for FoldHandle<F> {
    fn clone(&self) -> Self {
        FoldHandle(Rc::clone(&self.0))
    }
}

impl<F: Fold> FoldHandle<F> {
    /// How much it holds now. Costs a walk over every state.
    pub fn gauge(&self) -> FoldGauge {
        let folding = self.0.borrow();
        let states = (0..SHARDS).flat_map(|shard| folding.table.shard(shard));
        FoldGauge {
            keys: folding.table.len(),
            table_bytes: folding.table.bytes(),
            heap_bytes: states.map(|(_, state, _)| folding.fold.heap_bytes(state)).sum(),
        }
    }
}

/// Runs folds over streams.
pub trait Folded<'scope, F: Fold>: Sized {
    /// Exchanges postings by virtual shard, folds them at complete ticks, and gives what changed to an outlet.
    /// `marks` bring `W(T)` and the capability of every tick. State comes from `checkpoints` at a restore, and goes there
    /// when one is asked for.
    fn fold_into<O: Outlet<'scope, F>>(
        self,
        fold: Rc<F>,
        marks: StreamVec<'scope, Tick, Mark>,
        checkpoints: &Checkpoints,
        outlet: O,
    ) -> (O::Streams, FoldHandle<F>);
}

impl<'scope, F: Fold> Folded<'scope, F> for StreamVec<'scope, Tick, Posting<F::Key, F::Event>> {
    fn fold_into<O: Outlet<'scope, F>>(
        self,
        fold: Rc<F>,
        marks: StreamVec<'scope, Tick, Mark>,
        checkpoints: &Checkpoints,
        outlet: O,
    ) -> (O::Streams, FoldHandle<F>) {
        let scope = self.scope();
        let mut folding = Folding::new(Rc::clone(&fold), checkpoints.place_key());
        checkpoints.take(fold.name()).for_each(|part| folding.restore(&part));
        folding.upper = checkpoints.restored_upper();
        let folding = Rc::new(RefCell::new(folding));
        let handle = FoldHandle(Rc::clone(&folding));

        let mut builder = OperatorBuilder::new(fold.name().to_owned(), scope);
        let activator = scope.worker().activator_for(builder.operator_info().address);
        let seat = checkpoints.seat(fold.name(), F::STATE_FORMAT, activator);
        let pact = Exchange::new(|posting: &Posting<F::Key, F::Event>| shard_of_hash(posting.hash));
        let mut postings = builder.new_input(self, pact);
        let mut marks = builder.new_input(marks, Pipeline);
        let (mut port, streams) = outlet.open(&mut builder);
        let outputs = builder.shape().outputs();
        builder.build(move |_| {
            let mut stash: BTreeMap<Tick, Blocks<F>> = BTreeMap::new();
            let mut marked: BTreeMap<Tick, (Vec<Capability<Tick>>, Mark)> = BTreeMap::new();
            move |frontiers| {
                // By their messages' ticks, without a look at what another core wrote just now.
                postings.for_each(|capability, postings| {
                    stash.entry(*capability.time()).or_default().push(std::mem::take(postings));
                });
                marks.for_each(|capability, marks| {
                    for mark in marks.drain(..) {
                        let capabilities = (0..outputs).map(|output| capability.retain(output)).collect();
                        marked.insert(mark.tick, (capabilities, mark));
                    }
                });
                while let Some(entry) = marked.first_entry()
                    && !frontiers[0].less_equal(entry.key())
                {
                    let (capabilities, mark) = entry.remove();
                    let blocks = stash.remove(&mark.tick).unwrap_or_default();
                    let tick = mark.tick;
                    let mut folding = folding.borrow_mut();
                    let later = if tick < folding.upper {
                        // The tick of the checkpoint, once more: its postings are applied, its rows are to be shown.
                        folding.show(&mark, |key, value| port.restore(&fold, key, value, tick, &capabilities));
                        blocks.into_iter().flatten().filter(|posting| posting.tick > tick).collect::<Vec<_>>()
                    } else {
                        folding.tick(blocks, &mark, |key, old, new| port.replace(&fold, key, old, new, tick))
                    };
                    assert!(later.iter().all(|posting| posting.tick > tick), "no posting comes behind its tick");
                    put_by(&mut stash, later);
                    port.end_tick(tick, &capabilities);
                    if mark.checkpoint {
                        seat.freeze(folding.upper, &mut *folding);
                    }
                }
                seat.work(&mut *folding.borrow_mut());
            }
        });
        (streams, handle)
    }
}

/// Puts postings by under their own ticks.
fn put_by<K, E>(stash: &mut BTreeMap<Tick, Vec<Vec<Posting<K, E>>>>, postings: Vec<Posting<K, E>>) {
    let mut by_tick: BTreeMap<Tick, Vec<Posting<K, E>>> = BTreeMap::new();
    for posting in postings {
        by_tick.entry(posting.tick).or_default().push(posting);
    }
    by_tick.into_iter().for_each(|(tick, postings)| stash.entry(tick).or_default().push(postings));
}
