//! Release: at tick `T`, in offset order, a partition's owner gives verdicts and sends what is accepted.
//!
//! The bindings are its only input. It holds a binding's capabilities until its partitions have reached the bound
//! offsets, so everything downstream waits for exactly the records of the tick. In live running the minter binds only
//! what readers hold, so release does not wait for them; in replay it does, and takes records piecemeal.
//!
//! Release of `T` waits until the clock of its own worker is complete through `T-1`: the floors under lanes, and what
//! counts as absent among the identities, are as of that tick. Waiting always costs about 4 % of throughput against
//! waiting only when such a lane speaks, and leaves one rule instead of three.

mod owned;
mod verdict;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::scheduling::Activator;

use crate::binding::Binding;
use crate::checkpoint::{Checkpoints, decode};
use crate::clock::CLOCK;
use crate::feed::Feed;
use crate::fold::FoldGauge;
use crate::record::{Header, Record, Rejection};
use crate::time::{Tick, TimeMs};
use crate::topology::{PartitionId, ReleaseId, Topology};
use crate::watermark::{Report, Watermarks};
use owned::{AllOwned, Out, Owned};
pub(crate) use verdict::{Sight, conflict, count_accepted, sight};

/// What becomes of late records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LatePolicy {
    /// They are set aside. Precedence: dead letter, late, duplicate, on time.
    SetAside,
    /// They are folded and counted. Precedence: dead letter, duplicate, late, on time. Identities are remembered for the
    /// partition's `dedup_horizon_ms` behind the watermark; a record without a sequence that is older is not folded.
    Fold,
}

/// How an accepted record stands in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Standing {
    /// On time.
    OnTime,
    /// Late, and to be folded.
    Late,
    /// Too old to be judged a duplicate or none: not to be folded. What it touches is in doubt until this event time.
    TooOld {
        /// The watermark of the tick before.
        doubt_ms: TimeMs,
    },
}

/// A record that was accepted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Released<R> {
    /// The record.
    pub record: R,
    /// How it stands in time.
    pub standing: Standing,
}

/// A record that was not accepted and not seen before.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SetAside<R> {
    /// Its partition.
    pub partition: PartitionId,
    /// Its offset.
    pub offset: u64,
    /// Why it was set aside.
    pub reason: SetAsideReason<R>,
}

/// Why a record was set aside.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SetAsideReason<R> {
    /// It came behind its lane.
    Late(R),
    /// It is none.
    Dead {
        /// Where it came from.
        origin: Arc<str>,
        /// Its line there.
        line: u64,
        /// What was wrong.
        rejection: Rejection,
        /// Its bytes.
        raw: Vec<u8>,
    },
}

/// A record whose identity does not fix its partition: whether it was seen is decided after an exchange.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pending<R> {
    /// What it is judged by.
    pub header: Header,
    /// Its partition: the first in the order of (partition, offset, line) is the one that counts.
    pub partition: PartitionId,
    /// Its offset.
    pub offset: u64,
    /// Whether it was late.
    pub late: bool,
    /// `W(T-1)` of its group.
    pub watermark_ms: TimeMs,
    /// The event time behind which a remembered identity counts as absent.
    pub absent_before_ms: TimeMs,
    /// The record.
    pub record: R,
    /// Where it came from, should it be a dead letter.
    pub origin: Arc<str>,
    /// Its line there.
    pub line: u64,
    /// Its bytes, likewise.
    pub raw: Vec<u8>,
    /// Whether somebody waits to hear what becomes of it.
    pub is_awaited: bool,
}

/// Watermarks and floors of a worker's clock, and the tick through which they are complete.
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

/// The streams that leave a release.
pub struct ReleaseStreams<'scope, R: Record> {
    /// What was accepted, at the tick it belongs to, on the partition owner's worker.
    pub released: StreamVec<'scope, Tick, Released<R>>,
    /// What was set aside.
    pub aside: StreamVec<'scope, Tick, SetAside<R>>,
    /// One report per partition and tick.
    pub reports: StreamVec<'scope, Tick, Report>,
    /// What has to be deduplicated after an exchange; empty where identities fix their partition.
    pub pending: StreamVec<'scope, Tick, Pending<R>>,
    /// How much is remembered of identities on this worker.
    pub remembered: Box<dyn Fn() -> FoldGauge>,
}

/// What a release has to be told.
pub struct ReleasePlan<R> {
    /// Its name in the graph.
    pub name: String,
    /// Which one it is.
    pub release: ReleaseId,
    /// What becomes of late records.
    pub late: LatePolicy,
    /// Accepted records to be counted apart.
    pub mark: fn(&R) -> bool,
    /// The queues of the partitions that this worker owns.
    pub feeds: Vec<(PartitionId, Feed<R>)>,
}

/// Builds the release of one kind of records. The clock has to be restored before.
pub fn release<'scope, R: Record>(
    bindings: StreamVec<'scope, Tick, Arc<Binding>>,
    plan: ReleasePlan<R>,
    topology: &Topology,
    clock: &SharedClock,
    checkpoints: &Checkpoints,
) -> ReleaseStreams<'scope, R> {
    let scope = bindings.scope();
    let mut builder = OperatorBuilder::new(plan.name.clone(), scope);
    let mut input = builder.new_input(bindings, Pipeline);
    let (released, released_stream) = builder.new_output();
    let (aside, aside_stream) = builder.new_output();
    let (reports, reports_stream) = builder.new_output();
    let (pending, pending_stream) = builder.new_output();
    let mut released = OutputBuilder::<_, CapacityContainerBuilder<Vec<Released<R>>>>::from(released);
    let mut aside = OutputBuilder::<_, CapacityContainerBuilder<Vec<SetAside<R>>>>::from(aside);
    let mut reports = OutputBuilder::<_, CapacityContainerBuilder<Vec<Report>>>::from(reports);
    let mut pending = OutputBuilder::<_, CapacityContainerBuilder<Vec<Pending<R>>>>::from(pending);

    let address = builder.operator_info().address;
    let worker = scope.worker();
    clock.borrow_mut().waiting.push(worker.activator_for(Rc::clone(&address)));
    let wake = worker.sync_activator_for(address.to_vec());

    let seat = checkpoints.seat(&plan.name, worker.activator_for(Rc::clone(&address)));
    let restored_upper = checkpoints.restored_upper();
    let owned = plan.feeds.into_iter().map(|(id, feed)| Owned::new(id, feed, topology, plan.late, plan.mark));
    let owned = AllOwned::new(owned.collect(), checkpoints.take(&plan.name));
    let owned: Rc<RefCell<AllOwned<R>>> = Rc::new(RefCell::new(owned));
    let shared = Rc::clone(&owned);
    let remembered =
        move || shared.borrow().partitions.iter().flat_map(|owned| &owned.identities).map(|(_, ids)| ids.gauge()).sum();
    let clock = Rc::clone(clock);
    let mut parameters = clock.borrow().watermarks.parameters().clone();

    builder.build(move |_| {
        let mut queue: VecDeque<([Capability<Tick>; 4], Arc<Binding>)> = VecDeque::new();
        let mut begun = false;
        move |_frontiers| {
            input.for_each(|capability, bindings| {
                for binding in bindings.drain(..) {
                    queue.push_back(([0, 1, 2, 3].map(|port| capability.retain(port)), binding));
                }
            });
            let mut all = owned.borrow_mut();
            let (mut released, mut aside) = (released.activate(), aside.activate());
            let (mut reports, mut pending) = (reports.activate(), pending.activate());
            while let Some((capabilities, binding)) = queue.front() {
                let face = clock.borrow();
                if face.upper < binding.tick {
                    break;
                }
                if binding.tick < restored_upper {
                    // The tick of the checkpoint, once more: everything of it was released.
                    queue.pop_front();
                    continue;
                }
                if !begun {
                    begun = true;
                    let before = std::mem::take(&mut parameters);
                    parameters =
                        binding.configuration.as_ref().map_or_else(|| before.clone(), |new| new.parameters.clone());
                    for owned in &mut all.partitions {
                        owned.begin(binding, &before, &parameters);
                    }
                }
                let mut released = released.session(&capabilities[0]);
                let mut aside = aside.session(&capabilities[1]);
                let mut pending = pending.session(&capabilities[3]);
                let mut out = Out {
                    released: |record| released.give(record),
                    aside: |record| aside.give(record),
                    pending: |record| pending.give(record),
                };
                if !all.run(&face.watermarks, &mut out, &wake) {
                    break;
                }
                let mut reports = reports.session(&capabilities[2]);
                for owned in all.partitions.iter_mut().filter(|owned| owned.is_named()) {
                    reports.give(owned.end(binding.tick, &face.watermarks));
                }
                drop((released, aside, pending, reports));
                begun = false;
                let (tick, checkpoint) = (binding.tick, binding.checkpoint);
                queue.pop_front();
                if checkpoint {
                    seat.freeze(tick + 1, &mut *all);
                }
            }
            seat.work(&mut *all);
        }
    });

    ReleaseStreams {
        released: released_stream,
        aside: aside_stream,
        reports: reports_stream,
        pending: pending_stream,
        remembered: Box::new(remembered),
    }
}
