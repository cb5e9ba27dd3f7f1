//! Bindings: the only timely input. They bring ticks, and all that the outside decided, to every worker.
//!
//! A [`Binding`] makes a tick. It says which offsets of which partitions belong to the tick, what time it was, how far each
//! reader was, and what the configuration was. Whoever mints or replays them (the
//! [timekeeper](crate::timekeeper), on a thread of its own) puts each into an [`Inlet`] once it is durable. Everything
//! downstream of the stream that [`Inlet::bindings`] builds is a function of the bindings and of the records that they bind.
//!
//! # What goes in and comes out
//!
//! Bindings go in on any thread of the first process, with ticks that ascend. On every worker of every process each binding
//! comes out once, in a message of its own tick.
//!
//! # Why it is exact
//!
//! Worker 0 alone takes bindings out of the inlet. It holds one capability, which it lowers to the tick of a binding just
//! before it sends it, and to the next tick just after. So timely's frontier stands at `T` as long as the binding of `T` may
//! come, or anything of tick `T` is under way: an operator that waits until the frontier has passed `T` has seen all of it.
//! No other source holds a capability, so no worker can be ahead of the ticks that were given, and no clock takes part.
//!
//! # Cost
//!
//! One message to each worker for each tick. Within a process the workers share the binding, between processes it is
//! serialised. Giving one wakes worker 0 if it is parked.
//!
//! # What it does not do
//!
//! It neither orders nor checks what it is given. It does not bound how many ticks are under way: the timekeeper gives no
//! more than its gate allows. It does not make anything durable.
//!
//! # Example
//!
//! ```
//! use operators::binding::Binding;
//! use operators::bindings::Inlet;
//! use timely::dataflow::operators::capture::{Capture, Extract};
//! use timely::dataflow::operators::vec::Map;
//!
//! let inlet = Inlet::default();
//! for (tick, now_ms) in [(0, 1_000), (1, 1_100), (2, 1_100)] {
//!     inlet.give(Binding::new(tick, now_ms));
//! }
//! inlet.close();
//! let times = timely::example(move |scope| inlet.bindings(scope).map(|binding| binding.now_ms).capture());
//! assert_eq!(times.extract(), [(0, vec![1_000]), (1, vec![1_100]), (2, vec![1_100])]);
//! ```

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
