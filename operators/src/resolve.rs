//! Duplicates among partitions: for records whose identity does not fix their partition.
//!
//! They are exchanged by identity and decided at complete ticks: the first is the least (partition, offset, line) within
//! the tick, since records of one message share its offset. What was found is told back as counts of the partition, so
//! conservation holds there too.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasherDefault;
use std::rc::Rc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use crate::fold::FoldGauge;
use crate::identity::Identities;
use crate::judge::LaneHasher;
use crate::record::{Identity, Record};
use crate::release::{Aside, LatePolicy, Pending, Released, Sight, Why, conflict, count_accepted, sight};
use crate::shard::shard_of;
use crate::time::{Tick, TimeMs};
use crate::topology::{GroupId, PartitionId};
use crate::watermark::Counts;

/// The streams that leave it.
pub struct ResolveStreams<'scope, R: Record> {
    /// What was accepted.
    pub released: StreamVec<'scope, Tick, Released<R>>,
    /// Conflicts.
    pub aside: StreamVec<'scope, Tick, Aside<R>>,
    /// Verdicts, told back to the partition.
    pub counts: StreamVec<'scope, Tick, (PartitionId, Counts)>,
    /// How much is remembered of identities on this worker.
    pub remembered: Box<dyn Fn() -> FoldGauge>,
}

/// By group: what was seen, and the event time behind which it counts as absent.
type Seen = HashMap<GroupId, (Identities, TimeMs), BuildHasherDefault<LaneHasher>>;

/// Decides which pending records were seen before.
pub fn resolve<'scope, R: Record>(
    pending: StreamVec<'scope, Tick, Pending<R>>,
    name: &str,
    late: LatePolicy,
    mark: fn(&R) -> bool,
) -> ResolveStreams<'scope, R> {
    let mut builder = OperatorBuilder::new(name.to_owned(), pending.scope());
    let route = |pending: &Pending<R>| match pending.header.identity {
        Identity::Id { id, .. } => shard_of(&id),
        Identity::Sequence { stream, .. } => shard_of(&stream),
    };
    let mut input = builder.new_input(pending, Exchange::new(route));
    let (released, released_stream) = builder.new_output();
    let (aside, aside_stream) = builder.new_output();
    let (counts, counts_stream) = builder.new_output();
    let mut released = OutputBuilder::<_, CapacityContainerBuilder<Vec<Released<R>>>>::from(released);
    let mut aside = OutputBuilder::<_, CapacityContainerBuilder<Vec<Aside<R>>>>::from(aside);
    let mut counts = OutputBuilder::<_, CapacityContainerBuilder<Vec<(PartitionId, Counts)>>>::from(counts);

    let seen: Rc<RefCell<Seen>> = Rc::default();
    let shared = Rc::clone(&seen);
    let remembered = move || shared.borrow().values().map(|(identities, _)| identities.gauge()).sum();
    builder.build(move |_| {
        let mut stash: BTreeMap<Tick, ([Capability<Tick>; 3], Vec<Pending<R>>)> = BTreeMap::new();
        move |frontiers| {
            let mut seen = seen.borrow_mut();
            input.for_each(|capability, data| {
                let entry = stash.entry(*capability.time());
                let (_, records) = entry.or_insert_with(|| ([0, 1, 2].map(|port| capability.retain(port)), Vec::new()));
                records.append(data);
            });
            let (mut released, mut aside, mut counts) = (released.activate(), aside.activate(), counts.activate());
            while let Some(entry) = stash.first_entry()
                && !frontiers[0].less_equal(entry.key())
            {
                let (capabilities, mut records) = entry.remove();
                records.sort_unstable_by_key(|pending| (pending.partition, pending.offset, pending.line));
                let mut released = released.session(&capabilities[0]);
                let mut aside = aside.session(&capabilities[1]);
                let mut told: BTreeMap<PartitionId, Counts> = BTreeMap::new();
                for pending in records {
                    let (identities, absent_before_ms) = seen.entry(pending.header.group).or_default();
                    *absent_before_ms = pending.absent_before_ms;
                    let counts = told.entry(pending.partition).or_default();
                    let Pending { absent_before_ms, watermark_ms, .. } = pending;
                    match sight(identities, &pending.header, pending.late, late, absent_before_ms, watermark_ms) {
                        Sight::SetAside => {
                            counts.late += 1;
                            let Pending { partition, offset, record, .. } = pending;
                            aside.give(Aside { partition, offset, why: Why::Late(record) });
                        }
                        Sight::Duplicate => counts.duplicate += 1,
                        Sight::Conflict => {
                            counts.dead += 1;
                            let Pending { partition, offset, origin, line, raw, .. } = pending;
                            let why = Why::Dead { origin, line, rejection: conflict(), raw };
                            aside.give(Aside { partition, offset, why });
                        }
                        Sight::Accepted(standing) => {
                            count_accepted(counts, standing, mark(&pending.record));
                            released.give(Released { record: pending.record, standing });
                        }
                    }
                }
                for (identities, absent_before_ms) in seen.values_mut() {
                    identities.sweep(*absent_before_ms);
                }
                counts.session(&capabilities[2]).give_iterator(told.into_iter());
            }
        }
    });
    ResolveStreams {
        released: released_stream,
        aside: aside_stream,
        counts: counts_stream,
        remembered: Box::new(remembered),
    }
}
