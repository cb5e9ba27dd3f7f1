//! The clock: at each complete tick it computes the watermark of every group, and tells folds, emission and release.
//!
//! A watermark `W(T)` of a group says that no record which is on time after tick `T` lies behind it; [`crate::watermark`] has
//! the rules. The clock is the operator around them. Whatever applies ticks in order (folds, emission, [`crate::resolve`])
//! waits for its [`Mark`]: the message that a tick is over, with `now` and every watermark as of it.
//!
//! # What goes in and comes out
//!
//! In go the [`Report`]s of all partitions, from wherever their owners are, and the bindings. Out comes exactly one mark a
//! tick on every worker, in order, also at a tick to which no record belongs: a binding brings the capability of its tick
//! along, so an idle tick needs no machinery of its own. A mark's message carries that capability on, and who holds it may
//! still send at its tick. Release is told by the worker's [`SharedClock`] instead, a cell: it needs `W(T-1)` when it
//! releases `T`, and through a stream that would be a loop in the graph.
//!
//! # SetAsideReason it is exact
//!
//! A tick is computed once timely says that no report and no binding of it can come any more. Every worker then has the
//! same reports, puts them in the order of partitions, and calls the same pure function, so all workers have the same
//! watermarks without a second exchange. The cell is written only then, before the mark is sent, and says which tick it is
//! complete through: release of `T` waits until that is `T-1`, never for a moment.
//!
//! # Cost
//!
//! Reports are broadcast: `partitions * workers` small messages a tick. Each worker looks at each lane of the run once a
//! tick.
//!
//! # What it does not do
//!
//! It reads no clock: `now` is what the binding says. It gives no verdicts and holds no record. A silent partition does not
//! stop it; how long silence holds a watermark back is a rule of [`crate::watermark`].
//!
//! # Example
//!
//! One partition of one lane, caught up. It speaks at tick 1; its lateness is ten seconds.
//!
//! ```
//! use std::sync::Arc;
//!
//! use operators::binding::{Binding, Configuration, Status};
//! use operators::bindings::Inlet;
//! use operators::checkpoint::Checkpoints;
//! use operators::clock::{clock, shared_clock};
//! use operators::topology::{
//!     GroupId, LaneParameters, Lanes, Parameters, Partition, PartitionId, ReleaseId, Topology,
//! };
//! use operators::watermark::{Counts, Report, Spoken};
//! use timely::dataflow::operators::capture::{Capture, Extract};
//! use timely::dataflow::operators::vec::{Delay, Map, ToStream};
//!
//! let topology = Topology {
//!     partitions: vec![Partition {
//!         name: "sensors/0".into(),
//!         release: ReleaseId(0),
//!         groups: vec![(GroupId(0), Lanes::Closed(vec![0]))],
//!         identity_fixes_partition: true,
//!         live: true,
//!         re_enters: None,
//!         shown_once_read: false,
//!         weight: 1,
//!     }],
//!     groups: vec!["sensors".into()],
//!     ends_ms: None,
//! };
//! let lanes = LaneParameters {
//!     lateness_ms: 10_000,
//!     hold_ms: 30_000,
//!     idle_ms: 60_000,
//!     skew_max_ms: 60_000,
//!     dedup_horizon_ms: 0,
//! };
//! let configuration = Configuration {
//!     canonical: String::new(),
//!     sha256: String::new(),
//!     build: String::new(),
//!     parameters: Parameters { lanes: vec![lanes], start_ms: 0 },
//! };
//! let inlet = Inlet::default();
//! inlet.give(Binding { configuration: Some(configuration), ..Binding::new(0, 100_000) });
//! inlet.give(Binding::new(1, 101_000));
//! inlet.close();
//!
//! let report = |tick, spoken: Option<i64>| Report {
//!     tick,
//!     partition: PartitionId(0),
//!     next: 0,
//!     status: Status::CaughtUp,
//!     behind_ms: i64::MIN,
//!     spoken: spoken.map(|greatest_ms| Spoken { lane: 0, group: GroupId(0), greatest_ms }).into_iter().collect(),
//!     counts: Counts::default(),
//!     outcomes: Vec::new(),
//! };
//! let reports = vec![report(0, None), report(1, Some(100_500))];
//!
//! let marks = timely::example(move |scope| {
//!     let checkpoints = Checkpoints::default();
//!     let face = shared_clock(&topology, &checkpoints);
//!     let reports = reports.to_stream(scope).delay(|report, _| report.tick);
//!     let marks = clock(reports, inlet.bindings(scope), &face, &checkpoints);
//!     marks.map(|mark| mark.watermarks[0]).capture()
//! });
//! // A lane that has not spoken stands an idle time behind `now`, one that has stands at its greatest event time.
//! assert_eq!(marks.extract(), [(0, vec![100_000 - 60_000 - 10_000]), (1, vec![100_500 - 10_000])]);
//! ```

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
use crate::checkpoint::{Checkpoints, PartOwner, Save, decode, encode};
use crate::time::{Tick, TimeMs};
use crate::topology::Topology;
use crate::watermark::{Report, Watermarks};

/// A complete tick: what time it was, and the watermark of each group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mark {
    /// The tick that is complete.
    pub tick: Tick,
    /// What time it was, by the tick's binding.
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
    /// The watermarks and floors as of the last complete tick.
    pub watermarks: Watermarks,
    /// The first tick that is not in them.
    pub upper: Tick,
    /// The releases that are woken when another tick is complete.
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

/// The format in which checkpoints have watermarks.
const STATE_FORMAT: u32 = 1;

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

    fn give(&mut self, _: usize, give: &mut dyn FnMut(PartOwner, Vec<u8>)) -> bool {
        self.coded.take().into_iter().for_each(|coded| give(PartOwner::Everyone, coded));
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
        let seat = checkpoints.seat(CLOCK, STATE_FORMAT, worker.activator_for(info.address));
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
