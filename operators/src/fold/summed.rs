//! Differences for differential's own operators, added up by key within a tick.
//!
//! What stands behind this outlet holds nothing of its own in a checkpoint: at a restore it is given the sums over all that
//! keys show, as one change of the tick of the checkpoint. So a `count_total` behind it begins where it ended.

use std::hash::Hash;
use std::marker::PhantomData;

use differential_dataflow::difference::Semigroup;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use super::outlet::Sums;
use super::{Data, Fold, Outlet, Port};
use crate::time::Tick;

/// Changes of sums, by other keys than the fold's.
pub struct Summed<K, R, M>(M, PhantomData<(K, R)>);

/// Turns changes of what keys show into differences of sums, and gives those of a tick added up: at most one for a key and
/// tick on each worker, and none where the sum is zero. `differences` is given what a key showed and what it shows, of which
/// one may be absent. Use [`as_collection`](differential_dataflow::AsCollection::as_collection) on the stream.
///
/// Cost: a lookup for each difference; until the tick ends, an entry for each key that changed. At a restore that is an
/// entry for each key that there is.
pub fn summed<F: Fold, K, R, M>(differences: M) -> Summed<K, R, M>
where
    M: FnMut(&F, &F::Key, Option<&F::Value>, Option<&F::Value>, &mut dyn FnMut(K, R)),
{
    Summed(differences, PhantomData)
}

/// [`Summed`] in an operator.
pub struct SummedPort<K: 'static, R: 'static, M> {
    differences: M,
    index: usize,
    output: OutputBuilder<Tick, CapacityContainerBuilder<Vec<(K, Tick, R)>>>,
    sums: Sums<K, R>,
}

impl<'scope, F: Fold, K: Data + Hash, R: Data + Semigroup, M> Outlet<'scope, F> for Summed<K, R, M>
where
    M: FnMut(&F, &F::Key, Option<&F::Value>, Option<&F::Value>, &mut dyn FnMut(K, R)) + 'static,
{
    type Streams = StreamVec<'scope, Tick, (K, Tick, R)>;
    type Port = SummedPort<K, R, M>;

    fn open(self, builder: &mut OperatorBuilder<'scope, Tick>) -> (Self::Port, Self::Streams) {
        let index = builder.shape().outputs();
        let (output, stream) = builder.new_output();
        let output = OutputBuilder::from(output);
        (SummedPort { differences: self.0, index, output, sums: Sums::default() }, stream)
    }
}

impl<F: Fold, K: Data + Hash, R: Data + Semigroup, M> Port<F> for SummedPort<K, R, M>
where
    M: FnMut(&F, &F::Key, Option<&F::Value>, Option<&F::Value>, &mut dyn FnMut(K, R)) + 'static,
{
    fn replace(&mut self, fold: &F, key: &F::Key, old: Option<&F::Value>, new: Option<&F::Value>, _: Tick) {
        let SummedPort { differences, sums, .. } = self;
        differences(fold, key, old, new, &mut |key, difference| {
            sums.entry(key).and_modify(|sum| sum.plus_equals(&difference)).or_insert(difference);
        });
    }

    fn restore(&mut self, fold: &F, key: &F::Key, value: &F::Value, tick: Tick, _: &[Capability<Tick>]) {
        self.replace(fold, key, None, Some(value), tick);
    }

    fn end_tick(&mut self, tick: Tick, capabilities: &[Capability<Tick>]) {
        let mut activated = self.output.activate();
        let mut session = activated.session(&capabilities[self.index]);
        let changed = self.sums.drain().filter(|(_, sum)| !sum.is_zero());
        session.give_iterator(changed.map(|(key, sum)| (key, tick, sum)));
    }
}
