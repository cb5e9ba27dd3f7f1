//! The clock operator: watermarks from reports, in-tick to folds and emission, by a shared cell to release.
//!
//! Its second input, the bindings, gives it a capability at every tick, so a tick without data needs no wake-up machinery:
//! at each complete tick it gives exactly one [`Mark`] on every worker, which brings `W(T)` and the capability. To release
//! it writes the worker's [`SharedClock`]: release needs only `W(T-1)`, so no cycle of the graph is needed.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::{Capability, vec::Broadcast};
use timely::scheduling::Activator;

use crate::binding::Binding;
use crate::checkpoint::{Checkpoints, Place, Save, decode, encode};
use crate::time::{Tick, TimeMs};
use crate::topology::Topology;
use crate::watermark::{Report, Watermarks};

/// A complete tick: what time it was, and the watermark of each group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mark {
    /// The tick.
    pub tick: Tick,
    /// `now` of its binding.
    pub now_ms: TimeMs,
    /// `W(T)` by group.
    pub watermarks: Arc<[TimeMs]>,
    /// By group: the greatest `W` up to here that was not plus infinity.
    pub reached: Arc<[TimeMs]>,
    /// Whether a checkpoint is asked for as of this tick.
    pub checkpoint: bool,
}

/// The face of a worker's clock: watermarks and floors, and the tick through which they are complete.
#[derive(Debug)]
pub struct ClockFace {
    /// The watermarks as of that tick.
    pub watermarks: Watermarks,
    /// The first tick of which they know nothing.
    pub upper: Tick,
    /// Releases to be woken when that changes.
    pub waiting: Vec<Activator>,
}

/// The clock of a worker, shared by its operators. It is written only from complete ticks.
pub type SharedClock = Rc<RefCell<ClockFace>>;

/// A clock before tick 0, or as a checkpoint held it.
pub fn shared_clock(topology: &Topology, checkpoints: &Checkpoints) -> SharedClock {
    let restored = checkpoints.take(CLOCK).next().map(|part| decode(&mut part.bytes.as_slice()));
    let watermarks =
        restored.map_or_else(|| Watermarks::new(topology), |watermarks: Watermarks| watermarks.with_added(topology));
    Rc::new(RefCell::new(ClockFace { watermarks, upper: checkpoints.restored_upper(), waiting: Vec::new() }))
}

/// The operator's name in the graph and in checkpoints.
pub const CLOCK: &str = "Clock";

/// What a checkpoint holds of the clock: the first worker's is everybody's.
struct Saved {
    is_first: bool,
    face: SharedClock,
    coded: Option<Vec<u8>>,
}

impl Save for Saved {
    fn freeze(&mut self, _: Tick) {
        self.coded = self.is_first.then(|| encode(&self.face.borrow().watermarks, Vec::new()));
    }

    fn give(&mut self, _: usize, give: &mut dyn FnMut(Place, Vec<u8>)) -> bool {
        self.coded.take().into_iter().for_each(|coded| give(Place::Everyone, coded));
        true
    }
}

/// Computes watermarks on every worker; gives one [`Mark`] per worker and tick.
pub fn clock<'scope>(
    reports: StreamVec<'scope, Tick, Report>,
    bindings: StreamVec<'scope, Tick, Arc<Binding>>,
    clock: &SharedClock,
    checkpoints: &Checkpoints,
) -> StreamVec<'scope, Tick, Mark> {
    let clock = Rc::clone(clock);
    let worker = bindings.scope().worker();
    let is_first = bindings.scope().index() == 0;
    let checkpoints = checkpoints.clone();
    reports.broadcast().binary_frontier(bindings, Pipeline, Pipeline, CLOCK, move |_, info| {
        let seat = checkpoints.seat(CLOCK, worker.activator_for(info.address));
        let mut saved = Saved { is_first, face: Rc::clone(&clock), coded: None };
        let mut reported: BTreeMap<Tick, Vec<Report>> = BTreeMap::new();
        let mut bound: BTreeMap<Tick, (Capability<Tick>, Arc<Binding>)> = BTreeMap::new();
        move |(reports, reports_frontier), (bindings, bindings_frontier), output| {
            reports.for_each(|_, reports| {
                for report in reports.drain(..) {
                    reported.entry(report.tick).or_default().push(report);
                }
            });
            bindings.for_each(|capability, bindings| {
                for binding in bindings.drain(..) {
                    bound.insert(binding.tick, (capability.retain(0), binding));
                }
            });
            while let Some((&tick, _)) = bound.first_key_value() {
                if reports_frontier.less_equal(&tick) || bindings_frontier.less_equal(&tick) {
                    break;
                }
                let (capability, binding) = bound.remove(&tick).expect("it was looked at just now");
                let mut reports = reported.remove(&tick).unwrap_or_default();
                reports.sort_unstable_by_key(|report| report.partition);
                let mut face = clock.borrow_mut();
                if tick >= face.upper {
                    face.watermarks.advance(&binding, &reports);
                    face.upper = tick + 1;
                }
                let watermarks = face.watermarks.groups().into();
                let reached = face.watermarks.reached().into();
                let mut session = output.session(&capability);
                session.give(Mark {
                    tick,
                    now_ms: binding.now_ms,
                    watermarks,
                    reached,
                    checkpoint: binding.checkpoint,
                });
                face.waiting.iter().for_each(Activator::activate);
                drop(face);
                if binding.checkpoint {
                    seat.freeze(tick + 1, &mut saved);
                }
            }
            seat.work(&mut saved);
        }
    })
}

#[cfg(test)]
mod tests;
