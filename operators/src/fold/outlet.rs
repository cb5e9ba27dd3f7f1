//! Where a fold's changes go: rows for a view, or differences that are added up for another fold.
//!
//! An outlet is part of the fold's operator, so what nobody wants as a row is never made into one, and nothing lies
//! between a change and its sum. Sums are added up within a tick and then sent: on each worker once for a key and tick.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash};
use std::marker::PhantomData;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use super::{Data, Fold, Posting};
use crate::judge::LaneHasher;
use crate::shard::PlaceKey;
use crate::time::Tick;

/// Something that takes the changes of a fold, before its operator is built.
pub trait Outlet<'scope, F: Fold> {
    /// The streams that come out.
    type Streams;
    /// Itself, once the operator is built.
    type Port: Port<F>;
    /// Adds its outputs to the operator.
    fn open(self, builder: &mut OperatorBuilder<'scope, Tick>) -> (Self::Port, Self::Streams);
}

/// Something that takes the changes of a fold.
pub trait Port<F: Fold>: 'static {
    /// In this tick a key shows something instead of something else, or more, or less.
    fn replace(&mut self, fold: &F, key: &F::Key, old: Option<&F::Value>, new: Option<&F::Value>, tick: Tick);
    /// A key shows something since before the checkpoint from which it was restored. Whoever shows rows gives it, and does
    /// not hold all of them back until the tick ends; whoever adds up has it in the sums already.
    fn restore(&mut self, fold: &F, key: &F::Key, value: &F::Value, tick: Tick, capabilities: &[Capability<Tick>]) {
        let _ = (fold, key, value, tick, capabilities);
    }
    /// The tick is complete: what is still held back goes out. One capability for each output of the operator.
    fn end_tick(&mut self, tick: Tick, capabilities: &[Capability<Tick>]);
}

/// Changes that go out in one message.
const CHANGES_PER_MESSAGE: usize = 512;

/// So many of them go out together while everything that was restored is shown: fresh memory is what that costs, and what
/// went out is used again.
const RESTORED_MESSAGES: usize = 16;

/// The changes of rows.
pub struct Rows<D, M>(M, PhantomData<D>);

/// The changes of the rows that `map` makes of what keys show; `None` makes none.
pub fn rows<F: Fold, D, M: FnMut(&F, &F::Key, &F::Value) -> Option<D>>(map: M) -> Rows<D, M> {
    Rows(map, PhantomData)
}

/// [`Rows`] in an operator.
pub struct RowsPort<D: 'static, M> {
    map: M,
    index: usize,
    output: OutputBuilder<Tick, CapacityContainerBuilder<Vec<(D, Tick, isize)>>>,
    full: Vec<Vec<(D, Tick, isize)>>,
    last: Vec<(D, Tick, isize)>,
}

impl<'scope, F: Fold, D: Data, M> Outlet<'scope, F> for Rows<D, M>
where
    M: FnMut(&F, &F::Key, &F::Value) -> Option<D> + 'static,
{
    type Streams = StreamVec<'scope, Tick, (D, Tick, isize)>;
    type Port = RowsPort<D, M>;

    fn open(self, builder: &mut OperatorBuilder<'scope, Tick>) -> (Self::Port, Self::Streams) {
        let index = builder.shape().outputs();
        let (output, stream) = builder.new_output();
        let output = OutputBuilder::from(output);
        (RowsPort { map: self.0, index, output, full: Vec::new(), last: Vec::new() }, stream)
    }
}

impl<F: Fold, D: Data, M> Port<F> for RowsPort<D, M>
where
    M: FnMut(&F, &F::Key, &F::Value) -> Option<D> + 'static,
{
    fn replace(&mut self, fold: &F, key: &F::Key, old: Option<&F::Value>, new: Option<&F::Value>, tick: Tick) {
        let changes = [(old, -1), (new, 1)];
        for (value, diff) in changes.into_iter().filter_map(|(value, diff)| Some((value?, diff))) {
            if let Some(row) = (self.map)(fold, key, value) {
                if self.last.len() == CHANGES_PER_MESSAGE {
                    self.full.push(std::mem::take(&mut self.last));
                }
                if self.last.capacity() == 0 {
                    self.last.reserve_exact(if self.full.is_empty() { 8 } else { CHANGES_PER_MESSAGE });
                }
                self.last.push((row, tick, diff));
            }
        }
    }

    fn restore(&mut self, fold: &F, key: &F::Key, value: &F::Value, tick: Tick, capabilities: &[Capability<Tick>]) {
        self.replace(fold, key, None, Some(value), tick);
        if self.full.len() == RESTORED_MESSAGES {
            self.send(capabilities);
        }
    }

    fn end_tick(&mut self, _: Tick, capabilities: &[Capability<Tick>]) {
        self.full.push(std::mem::take(&mut self.last));
        self.send(capabilities);
    }
}

impl<D: Data, M> RowsPort<D, M> {
    /// Sends what is full.
    fn send(&mut self, capabilities: &[Capability<Tick>]) {
        let mut activated = self.output.activate();
        let mut session = activated.session(&capabilities[self.index]);
        for mut changes in self.full.drain(..).filter(|changes| !changes.is_empty()) {
            session.give_container(&mut changes);
        }
    }
}

/// Differences for another fold, added up by what several of its keys have in common.
pub struct Combined<G, K, E, M, S, A>(M, S, A, PlaceKey, PhantomData<(G, K, E)>);

/// Turns changes into differences by group, adds those of one tick up, and spreads the sums over the keys that a group
/// stands for: a change costs one addition, however many keys it concerns.
///
/// The keys of the other fold are placed by the run's key.
pub fn combined<F: Fold, G, K, E, M, S, A>(
    differences: M,
    spread: S,
    add: A,
    by: PlaceKey,
) -> Combined<G, K, E, M, S, A>
where
    M: FnMut(&F, &F::Key, Option<&F::Value>, Option<&F::Value>, &mut dyn FnMut(G, E)),
    S: FnMut(&G, &mut dyn FnMut(K)),
    A: Fn(&mut E, &E),
{
    Combined(differences, spread, add, by, PhantomData)
}

pub(super) type Sums<K, E> = HashMap<K, E, BuildHasherDefault<LaneHasher>>;

/// [`Combined`] in an operator.
pub struct CombinedPort<G, K: 'static, E: 'static, M, S, A> {
    differences: M,
    spread: S,
    add: A,
    place_key: PlaceKey,
    index: usize,
    output: OutputBuilder<Tick, CapacityContainerBuilder<Vec<Posting<K, E>>>>,
    by_group: Sums<G, E>,
    by_key: Sums<K, E>,
}

impl<'scope, F: Fold, G: Eq + Hash + 'static, K: Data + Hash, E: Data, M, S, A> Outlet<'scope, F>
    for Combined<G, K, E, M, S, A>
where
    M: FnMut(&F, &F::Key, Option<&F::Value>, Option<&F::Value>, &mut dyn FnMut(G, E)) + 'static,
    S: FnMut(&G, &mut dyn FnMut(K)) + 'static,
    A: Fn(&mut E, &E) + 'static,
{
    type Streams = StreamVec<'scope, Tick, Posting<K, E>>;
    type Port = CombinedPort<G, K, E, M, S, A>;

    fn open(self, builder: &mut OperatorBuilder<'scope, Tick>) -> (Self::Port, Self::Streams) {
        let Combined(differences, spread, add, place_key, _) = self;
        let index = builder.shape().outputs();
        let (output, stream) = builder.new_output();
        let output = OutputBuilder::from(output);
        let (by_group, by_key) = (Sums::default(), Sums::default());
        (CombinedPort { differences, spread, add, place_key, index, output, by_group, by_key }, stream)
    }
}

impl<F: Fold, G: Eq + Hash + 'static, K: Data + Hash, E: Data, M, S, A> Port<F> for CombinedPort<G, K, E, M, S, A>
where
    M: FnMut(&F, &F::Key, Option<&F::Value>, Option<&F::Value>, &mut dyn FnMut(G, E)) + 'static,
    S: FnMut(&G, &mut dyn FnMut(K)) + 'static,
    A: Fn(&mut E, &E) + 'static,
{
    fn replace(&mut self, fold: &F, key: &F::Key, old: Option<&F::Value>, new: Option<&F::Value>, _: Tick) {
        let CombinedPort { differences, add, by_group, .. } = self;
        differences(fold, key, old, new, &mut |group, event| sum_up(by_group, group, &event, add));
    }

    fn end_tick(&mut self, tick: Tick, capabilities: &[Capability<Tick>]) {
        let CombinedPort { spread, add, by_group, by_key, .. } = self;
        for (group, event) in by_group.drain() {
            spread(&group, &mut |key| sum_up(by_key, key, &event, add));
        }
        let mut activated = self.output.activate();
        let mut session = activated.session(&capabilities[self.index]);
        for (key, event) in self.by_key.drain() {
            session.give(Posting::placed(self.place_key, key, event, tick));
        }
    }
}

fn sum_up<K: Eq + Hash, E: Clone>(sums: &mut Sums<K, E>, key: K, event: &E, add: &impl Fn(&mut E, &E)) {
    sums.entry(key).and_modify(|sum| add(sum, event)).or_insert_with(|| event.clone());
}

impl<'scope, F: Fold, A: Outlet<'scope, F>, B: Outlet<'scope, F>> Outlet<'scope, F> for (A, B) {
    type Streams = (A::Streams, B::Streams);
    type Port = (A::Port, B::Port);

    fn open(self, builder: &mut OperatorBuilder<'scope, Tick>) -> (Self::Port, Self::Streams) {
        let ((first, of_first), (second, of_second)) = (self.0.open(builder), self.1.open(builder));
        ((first, second), (of_first, of_second))
    }
}

impl<F: Fold, A: Port<F>, B: Port<F>> Port<F> for (A, B) {
    fn replace(&mut self, fold: &F, key: &F::Key, old: Option<&F::Value>, new: Option<&F::Value>, tick: Tick) {
        self.0.replace(fold, key, old, new, tick);
        self.1.replace(fold, key, old, new, tick);
    }

    fn restore(&mut self, fold: &F, key: &F::Key, value: &F::Value, tick: Tick, capabilities: &[Capability<Tick>]) {
        self.0.restore(fold, key, value, tick, capabilities);
        self.1.restore(fold, key, value, tick, capabilities);
    }

    fn end_tick(&mut self, tick: Tick, capabilities: &[Capability<Tick>]) {
        self.0.end_tick(tick, capabilities);
        self.1.end_tick(tick, capabilities);
    }
}

/// An outlet that may not be wanted.
impl<'scope, F: Fold, A: Outlet<'scope, F>> Outlet<'scope, F> for Option<A> {
    type Streams = Option<A::Streams>;
    type Port = Option<A::Port>;

    fn open(self, builder: &mut OperatorBuilder<'scope, Tick>) -> (Self::Port, Self::Streams) {
        self.map(|outlet| outlet.open(builder)).unzip()
    }
}

impl<F: Fold, A: Port<F>> Port<F> for Option<A> {
    fn replace(&mut self, fold: &F, key: &F::Key, old: Option<&F::Value>, new: Option<&F::Value>, tick: Tick) {
        if let Some(port) = self {
            port.replace(fold, key, old, new, tick);
        }
    }

    fn restore(&mut self, fold: &F, key: &F::Key, value: &F::Value, tick: Tick, capabilities: &[Capability<Tick>]) {
        if let Some(port) = self {
            port.restore(fold, key, value, tick, capabilities);
        }
    }

    fn end_tick(&mut self, tick: Tick, capabilities: &[Capability<Tick>]) {
        if let Some(port) = self {
            port.end_tick(tick, capabilities);
        }
    }
}
