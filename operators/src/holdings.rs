//! What readers hold, on its way to the minter: a second, tiny dataflow of the same workers.
//!
//! Readers live with the workers that own their partitions, the minter lives with worker 0. Its messages carry no logical
//! time of interest: they say what could be bound, and the remap log says what was.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::generic::operator::source;
use timely::scheduling::SyncActivator;
use timely::worker::Worker;

use crate::minter::Holding;
use crate::topology::PartitionId;

#[derive(Default)]
struct Shared {
    queue: VecDeque<(PartitionId, Holding)>,
    activator: Option<SyncActivator>,
    closed: bool,
}

/// Where readers of one worker say what they hold; clones share it.
#[derive(Clone, Default)]
pub struct HoldingsOutlet(Arc<Mutex<Shared>>);

impl HoldingsOutlet {
    /// Says what a reader holds.
    pub fn tell(&self, partition: PartitionId, holding: Holding) {
        let mut shared = self.0.lock().expect("nobody panics while holding the lock of the holdings");
        shared.queue.push_back((partition, holding));
        shared.wake();
    }

    /// There is nothing more to say: lets the dataflow end.
    pub fn close(&self) {
        let mut shared = self.0.lock().expect("nobody panics while holding the lock of the holdings");
        shared.closed = true;
        shared.wake();
    }
}

impl Shared {
    fn wake(&self) {
        if let Some(activator) = &self.activator {
            // At the end of a run the worker may be gone: then nobody needs to wake.
            let _ = activator.activate();
        }
    }
}

/// Builds the dataflow that brings what `outlet` is told to `minter`, which is called on worker 0.
pub fn holdings(worker: &mut Worker, outlet: &HoldingsOutlet, mut minter: impl FnMut(PartitionId, Holding) + 'static) {
    worker.dataflow::<u64, _, _>(|scope| {
        let outlet = outlet.clone();
        let worker = scope.worker();
        let told = source::<_, CapacityContainerBuilder<Vec<(PartitionId, Holding)>>, _, _>(
            scope,
            "Holdings",
            |capability, info| {
                let mut capability = Some(capability);
                let activator = worker.sync_activator_for(info.address.to_vec());
                outlet.0.lock().expect("nobody panics while holding the lock of the holdings").activator =
                    Some(activator);
                move |output| {
                    let Some(held) = &capability else { return };
                    let mut shared = outlet.0.lock().expect("nobody panics while holding the lock of the holdings");
                    output.session(held).give_iterator(shared.queue.drain(..));
                    if shared.closed {
                        capability = None;
                    }
                }
            },
        );
        let to_first = Exchange::new(|_: &(PartitionId, Holding)| 0);
        told.unary::<CapacityContainerBuilder<Vec<(PartitionId, Holding)>>, _, _, _>(
            to_first,
            "HoldingsToMinter",
            |_, _| |input, output| input.for_each(|capability, data| output.session(&capability).give_container(data)),
        )
        .sink(Pipeline, "Minter", move |(input, _)| {
            input.for_each(|_, told| told.drain(..).for_each(|(partition, holding)| minter(partition, holding)));
        });
    });
}
