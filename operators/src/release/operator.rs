//! The operator around the partitions that a worker owns: which tick is released when, and where the verdicts go.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::scheduling::SyncActivator;

use super::owned::{AllOwned, Out, Owned};
use super::{LatePolicy, Pending, Released, SetAside};
use crate::binding::Binding;
use crate::checkpoint::{Checkpoints, Seat};
use crate::clock::SharedClock;
use crate::feed::Feed;
use crate::fold::FoldGauge;
use crate::record::Record;
use crate::streams::{StreamNames, StreamPlan, StreamReport};
use crate::time::Tick;
use crate::topology::{Parameters, PartitionId, Topology};
use crate::watermark::Report;

/// The format in which checkpoints have a partition's offset, its judge and its identities.
const STATE_FORMAT: u32 = 1;

/// The streams that leave a release.
pub struct ReleaseStreams<'scope, R: Record, S: 'static> {
    /// Accepted records, at the tick they belong to, on the worker that owns their partition.
    pub released: StreamVec<'scope, Tick, Released<R>>,
    /// Records that were set aside.
    pub aside: StreamVec<'scope, Tick, SetAside<R>>,
    /// One report for each partition and tick.
    pub reports: StreamVec<'scope, Tick, Report>,
    /// Records that have to be deduplicated after an exchange ([`resolve`](crate::resolve)); none where identities fix
    /// their partition.
    pub pending: StreamVec<'scope, Tick, Pending<R>>,
    /// What is told of sequenced streams ([`streams`](crate::streams)), where the plan says how.
    pub streams: StreamVec<'scope, Tick, StreamReport<S>>,
    /// Says how much this worker remembers of identities.
    pub remembered: Box<dyn Fn() -> FoldGauge>,
}

/// What a release has to be told.
pub struct ReleasePlan<'a, R, S> {
    /// The operator's name in the graph and in checkpoints.
    pub name: String,
    /// What becomes of late records.
    pub late: LatePolicy,
    /// Accepted records of which this is true are counted in [`Counts::counted_apart`](crate::watermark::Counts) as well.
    pub counted_apart: fn(&R) -> bool,
    /// How sequenced streams are told of, if they are.
    pub streams: Option<StreamPlan<R, S>>,
    /// The queues of the partitions that this worker owns.
    pub feeds: Vec<(PartitionId, Feed<R>)>,
    /// All partitions and groups of the run.
    pub topology: &'a Topology,
    /// This worker's clock, already restored.
    pub clock: &'a SharedClock,
    /// Where state comes from at a restore, and goes when a checkpoint is asked for.
    pub checkpoints: &'a Checkpoints,
}

/// Builds the release of one kind of records.
pub fn release<'scope, R: Record, S: Clone + 'static>(
    bindings: StreamVec<'scope, Tick, Arc<Binding>>,
    plan: ReleasePlan<'_, R, S>,
) -> ReleaseStreams<'scope, R, S> {
    let ReleasePlan { name, late, counted_apart, streams, feeds, topology, clock, checkpoints } = plan;
    let scope = bindings.scope();
    let mut builder = OperatorBuilder::new(name.clone(), scope);
    let mut input = builder.new_input(bindings, Pipeline);
    let (released, released_stream) = builder.new_output();
    let (aside, aside_stream) = builder.new_output();
    let (reports, reports_stream) = builder.new_output();
    let (pending, pending_stream) = builder.new_output();
    let (told, streams_stream) = builder.new_output();
    let mut outputs = Outputs {
        released: OutputBuilder::from(released),
        aside: OutputBuilder::from(aside),
        reports: OutputBuilder::from(reports),
        pending: OutputBuilder::from(pending),
        streams: OutputBuilder::from(told),
    };

    let address = builder.operator_info().address;
    let worker = scope.worker();
    clock.borrow_mut().waiting.push(worker.activator_for(Rc::clone(&address)));
    let wake = worker.sync_activator_for(address.to_vec());
    let seat = checkpoints.seat(&name, STATE_FORMAT, worker.activator_for(address));

    let owned = feeds.into_iter().map(|(id, feed)| Owned::new(id, feed, topology, late, counted_apart));
    let owned = Rc::new(RefCell::new(AllOwned::new(owned.collect(), checkpoints.take(&name))));
    let shared = Rc::clone(&owned);
    let remembered =
        move || shared.borrow().partitions.iter().flat_map(|owned| &owned.identities).map(|(_, ids)| ids.gauge()).sum();
    let mut bound = Bound {
        queue: VecDeque::new(),
        begun: false,
        parameters: clock.borrow().watermarks.parameters().clone(),
        clock: Rc::clone(clock),
        restored_upper: checkpoints.restored_upper(),
        seat,
        wake,
        names: StreamNames::new(streams),
    };

    builder.build(move |_| {
        move |_frontiers| {
            input.for_each(|capability, bindings| {
                let bindings = bindings.drain(..);
                bound.queue.extend(bindings.map(|binding| (OUTPUTS.map(|port| capability.retain(port)), binding)));
            });
            bound.release(&mut owned.borrow_mut(), &mut outputs);
        }
    });

    ReleaseStreams {
        released: released_stream,
        aside: aside_stream,
        reports: reports_stream,
        pending: pending_stream,
        streams: streams_stream,
        remembered: Box::new(remembered),
    }
}

type Output<D> = OutputBuilder<Tick, CapacityContainerBuilder<Vec<D>>>;

/// The operator's outputs, in the order of the capabilities of a tick.
struct Outputs<R: Record, S: 'static> {
    released: Output<Released<R>>,
    aside: Output<SetAside<R>>,
    reports: Output<Report>,
    pending: Output<Pending<R>>,
    streams: Output<StreamReport<S>>,
}

/// Their places.
const OUTPUTS: [usize; 5] = [0, 1, 2, 3, 4];

/// The ticks that are bound and not yet released, and what the release of one has to wait for.
struct Bound<R, S> {
    /// By tick, a capability for each output and the binding.
    queue: VecDeque<([Capability<Tick>; OUTPUTS.len()], Arc<Binding>)>,
    /// Whether the partitions know the binding of the tick at the front.
    begun: bool,
    /// The parameters as of that tick.
    parameters: Parameters,
    clock: SharedClock,
    restored_upper: Tick,
    seat: Seat,
    wake: SyncActivator,
    names: StreamNames<R, S>,
}

impl<R: Record, S: Clone + 'static> Bound<R, S> {
    /// Releases what is there: as many ticks as the clock is through with the tick before and the records have come, and
    /// of the next one the records that have.
    fn release(&mut self, owned: &mut AllOwned<R>, outputs: &mut Outputs<R, S>) {
        let (mut released, mut aside) = (outputs.released.activate(), outputs.aside.activate());
        let (mut reports, mut pending) = (outputs.reports.activate(), outputs.pending.activate());
        let mut streams = outputs.streams.activate();
        let clock = Rc::clone(&self.clock);
        let face = clock.borrow();
        while let Some((capabilities, binding)) = self.queue.front().filter(|(_, binding)| binding.tick <= face.upper) {
            if binding.tick < self.restored_upper {
                // The tick of the checkpoint, once more: everything of it was released.
                self.queue.pop_front();
                continue;
            }
            if !std::mem::replace(&mut self.begun, true) {
                begin(owned, binding, &mut self.parameters);
                if self.names.counts(binding.tick) {
                    owned.partitions.iter_mut().for_each(|owned| owned.begin_streams(binding));
                }
            }
            let mut released = released.session(&capabilities[0]);
            let mut aside = aside.session(&capabilities[1]);
            let mut pending = pending.session(&capabilities[3]);
            let mut out = Out {
                released: |record| released.give(record),
                aside: |record| aside.give(record),
                pending: |record| pending.give(record),
                unnamed: |stream, record: &R| self.names.take(stream, record),
            };
            if !owned.run(&face.watermarks, &mut out, &self.wake) {
                break;
            }
            let mut reports = reports.session(&capabilities[2]);
            let mut streams = streams.session(&capabilities[4]);
            for owned in owned.partitions.iter_mut().filter(|owned| owned.is_named()) {
                reports.give(owned.end(binding.tick, &face.watermarks));
                owned.end_streams(binding.checkpoint, |report| {
                    self.names.name(report).into_iter().for_each(|report| streams.give(report));
                });
            }
            drop((released, aside, pending, reports, streams));
            self.begun = false;
            if binding.checkpoint {
                self.seat.freeze(binding.tick + 1, owned);
            }
            self.queue.pop_front();
        }
        self.seat.work(owned);
    }
}

/// Tells the partitions that a tick begins, and what it binds.
fn begin<R: Record>(owned: &mut AllOwned<R>, binding: &Binding, parameters: &mut Parameters) {
    let now = binding.configuration.as_ref().map_or_else(|| parameters.clone(), |changed| changed.parameters.clone());
    let before = std::mem::replace(parameters, now);
    for owned in &mut owned.partitions {
        owned.begin(binding, &before, parameters);
    }
}
