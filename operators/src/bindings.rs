//! The way of bindings into the dataflow: the only timely input there is.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::generic::operator::source;
use timely::dataflow::operators::vec::Broadcast;
use timely::dataflow::{Scope, StreamVec};
use timely::scheduling::SyncActivator;

use crate::binding::Binding;
use crate::time::Tick;

#[derive(Default)]
struct Shared {
    bindings: VecDeque<Arc<Binding>>,
    activator: Option<SyncActivator>,
    closed: bool,
}

/// Where the timekeeper puts bindings and worker 0 takes them; clones share it.
#[derive(Clone, Default)]
pub struct Inlet(Arc<Mutex<Shared>>);

impl Inlet {
    /// Hands a durable binding to the dataflow.
    pub fn give(&self, binding: Binding) {
        let mut shared = self.0.lock().expect("nobody panics while holding the lock of the inlet");
        shared.bindings.push_back(Arc::new(binding));
        shared.wake();
    }

    /// There will be no more bindings: the dataflow finishes what it has and ends.
    pub fn close(&self) {
        let mut shared = self.0.lock().expect("nobody panics while holding the lock of the inlet");
        shared.closed = true;
        shared.wake();
    }

    /// Builds the source of bindings on worker 0, and their broadcast to every worker.
    pub fn bindings<'scope>(&self, scope: Scope<'scope, Tick>) -> StreamVec<'scope, Tick, Arc<Binding>> {
        let inlet = self.clone();
        let first = scope.index() == 0;
        let worker = scope.worker();
        let stream = source::<_, CapacityContainerBuilder<Vec<Arc<Binding>>>, _, _>(
            scope,
            "Bindings",
            move |capability, info| {
                let mut capability = first.then_some(capability);
                if first {
                    let mut shared = inlet.0.lock().expect("nobody panics while holding the lock of the inlet");
                    shared.activator = Some(worker.sync_activator_for(info.address.to_vec()));
                }
                move |output| {
                    let Some(held) = capability.as_mut() else { return };
                    let mut shared = inlet.0.lock().expect("nobody panics while holding the lock of the inlet");
                    while let Some(binding) = shared.bindings.pop_front() {
                        held.downgrade(&binding.tick);
                        let after = binding.tick + 1;
                        output.session(&*held).give(binding);
                        held.downgrade(&after);
                    }
                    if shared.closed {
                        capability = None;
                    }
                }
            },
        );
        stream.broadcast()
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

#[cfg(test)]
mod tests;
