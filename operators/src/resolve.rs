//! Duplicates among partitions: for records whose identity does not fix their partition.
//!
//! They are exchanged by identity and decided at complete ticks: the first is the least (partition, offset, line) within
//! the tick, since records of one message share its offset. What was found is told back as counts of the partition, so
//! conservation holds there too.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use crate::checkpoint::{Checkpoints, Part, PartOwner, Save, decode, encode};
use crate::clock::Mark;
use crate::fold::FoldGauge;
use crate::identity::{Identities, identity_shard};
use crate::outcome::{Outcome, Verdict};
use crate::record::{Identity, Record};
use crate::release::{LatePolicy, Pending, Released, SetAside, SetAsideReason, Sight, conflict, count_accepted, sight};
use crate::time::{Tick, TimeMs};
use crate::topology::{GroupId, PartitionId};
use crate::watermark::Counts;

/// What was made of the records of a partition in a tick.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// The partition.
    pub partition: PartitionId,
    /// Verdicts.
    pub counts: Counts,
    /// What became of each record, where somebody waits to hear it.
    pub outcomes: Vec<Outcome>,
}

/// The streams that leave it.
pub struct ResolveStreams<'scope, R: Record> {
    /// What was accepted.
    pub released: StreamVec<'scope, Tick, Released<R>>,
    /// Conflicts.
    pub aside: StreamVec<'scope, Tick, SetAside<R>>,
    /// Verdicts, told back to the partition.
    pub tallies: StreamVec<'scope, Tick, Tally>,
    /// How much is remembered of identities on this worker.
    pub remembered: Box<dyn Fn() -> FoldGauge>,
}

/// By group: what was seen, and the event time behind which it counts as absent.
type Seen = BTreeMap<GroupId, (Identities, TimeMs)>;

/// What is remembered on a worker, and what of a checkpoint was taken when it was frozen.
#[derive(Default)]
struct Remembered {
    seen: Seen,
    taken: Vec<(PartOwner, Vec<u8>)>,
}

/// What a checkpoint holds: a group, the event time behind which its identities count as absent, and some of these.
type Saved = (GroupId, TimeMs, Vec<u8>);

impl Remembered {
    fn restore(&mut self, part: &Part) {
        let (group, absent_before_ms, coded): Saved = decode(&mut part.bytes.as_slice());
        let (identities, absent) = self.seen.entry(group).or_default();
        *absent = absent_before_ms;
        identities.restore(&coded);
    }
}

fn save(group: GroupId, absent_before_ms: TimeMs, shard: u64, coded: Vec<u8>) -> (PartOwner, Vec<u8>) {
    let saved: Saved = (group, absent_before_ms, coded);
    (PartOwner::Shard(shard as u16), encode(&saved, Vec::new()))
}

impl Save for Remembered {
    fn freeze(&mut self, _: Tick) {
        for (group, (identities, absent_before_ms)) in &mut self.seen {
            identities.freeze(|shard, coded| self.taken.push(save(*group, *absent_before_ms, shard, coded)));
        }
    }

    fn give(&mut self, bytes_max: usize, give: &mut dyn FnMut(PartOwner, Vec<u8>)) -> bool {
        self.taken.drain(..).for_each(|(place, bytes)| give(place, bytes));
        let mut given = 0;
        for (group, (identities, absent_before_ms)) in &mut self.seen {
            if given < bytes_max && identities.is_saving() {
                given += identities.give(bytes_max - given, |shard, coded| {
                    let (place, bytes) = save(*group, *absent_before_ms, shard, coded);
                    give(place, bytes);
                });
            }
        }
        self.seen.values().all(|(identities, _)| !identities.is_saving())
    }
}

/// What is told to whoever waits to hear of a record.
fn verdict(sight: &Sight) -> Verdict {
    match sight {
        Sight::Conflict => Verdict::DeadLetter { code: conflict().code.into_owned() },
        Sight::SetAside => Verdict::Late,
        Sight::Duplicate => Verdict::Duplicate,
        Sight::Accepted(standing) => (*standing).into(),
    }
}

/// Decides which pending records were seen before. `marks` say when a tick is complete.
pub fn resolve<'scope, R: Record>(
    pending: StreamVec<'scope, Tick, Pending<R>>,
    marks: StreamVec<'scope, Tick, Mark>,
    checkpoints: &Checkpoints,
    name: &str,
    late: LatePolicy,
    mark: fn(&R) -> bool,
) -> ResolveStreams<'scope, R> {
    let scope = pending.scope();
    let mut builder = OperatorBuilder::new(name.to_owned(), scope);
    let route = |pending: &Pending<R>| match pending.header.identity {
        Identity::Id { id, .. } => identity_shard(id),
        Identity::Sequence { stream, .. } => identity_shard(stream),
    };
    let activator = scope.worker().activator_for(builder.operator_info().address);
    let seat = checkpoints.seat(name, activator);
    let mut input = builder.new_input(pending, Exchange::new(route));
    let mut marks = builder.new_input(marks, Pipeline);
    let (released, released_stream) = builder.new_output();
    let (aside, aside_stream) = builder.new_output();
    let (told, tallies_stream) = builder.new_output();
    let mut released = OutputBuilder::<_, CapacityContainerBuilder<Vec<Released<R>>>>::from(released);
    let mut aside = OutputBuilder::<_, CapacityContainerBuilder<Vec<SetAside<R>>>>::from(aside);
    let mut told = OutputBuilder::<_, CapacityContainerBuilder<Vec<Tally>>>::from(told);

    let mut remembered = Remembered::default();
    checkpoints.take(name).for_each(|part| remembered.restore(&part));
    let remembered = Rc::new(RefCell::new(remembered));
    let shared = Rc::clone(&remembered);
    let gauge = move || shared.borrow().seen.values().map(|(identities, _)| identities.gauge()).sum();
    builder.build(move |_| {
        let mut stash: BTreeMap<Tick, Vec<Pending<R>>> = BTreeMap::new();
        let mut marked: BTreeMap<Tick, ([Capability<Tick>; 3], bool)> = BTreeMap::new();
        move |frontiers| {
            let mut remembered = remembered.borrow_mut();
            input.for_each(|capability, data| stash.entry(*capability.time()).or_default().append(data));
            marks.for_each(|capability, marks| {
                for mark in marks.drain(..) {
                    let capabilities = [0, 1, 2].map(|port| capability.retain(port));
                    marked.insert(mark.tick, (capabilities, mark.checkpoint));
                }
            });
            let (mut released, mut aside, mut told) = (released.activate(), aside.activate(), told.activate());
            while let Some(entry) = marked.first_entry()
                && !frontiers[0].less_equal(entry.key())
            {
                let (tick, (capabilities, checkpoint)) = entry.remove_entry();
                let mut records = stash.remove(&tick).unwrap_or_default();
                let seen = &mut remembered.seen;
                records.sort_unstable_by_key(|pending| (pending.partition, pending.offset, pending.line));
                let mut released = released.session(&capabilities[0]);
                let mut aside = aside.session(&capabilities[1]);
                let mut tallies: BTreeMap<PartitionId, Tally> = BTreeMap::new();
                for pending in records {
                    let (identities, absent_before_ms) = seen.entry(pending.header.group).or_default();
                    *absent_before_ms = pending.absent_before_ms;
                    let Pending { partition, offset, line, absent_before_ms, watermark_ms, .. } = pending;
                    let tally = tallies.entry(partition).or_insert_with(|| Tally { partition, ..Tally::default() });
                    let counts = &mut tally.counts;
                    let sight = sight(identities, &pending.header, pending.late, late, absent_before_ms, watermark_ms);
                    if pending.is_awaited {
                        tally.outcomes.push(Outcome { partition, offset, line, verdict: verdict(&sight) });
                    }
                    match sight {
                        Sight::SetAside => {
                            counts.late += 1;
                            aside.give(SetAside { partition, offset, reason: SetAsideReason::Late(pending.record) });
                        }
                        Sight::Duplicate => counts.duplicate += 1,
                        Sight::Conflict => {
                            counts.dead += 1;
                            let Pending { origin, line, raw, .. } = pending;
                            let reason = SetAsideReason::Dead { origin, line, rejection: conflict(), raw };
                            aside.give(SetAside { partition, offset, reason });
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
                told.session(&capabilities[2]).give_iterator(tallies.into_values());
                if checkpoint {
                    seat.freeze(tick + 1, &mut *remembered);
                }
            }
            seat.work(&mut *remembered);
        }
    });
    ResolveStreams {
        released: released_stream,
        aside: aside_stream,
        tallies: tallies_stream,
        remembered: Box::new(gauge),
    }
}
