//! Resolve: verdicts on records whose identity may also occur in another partition.
//!
//! [Release](crate::release) gives verdicts where a partition's records are. Where an id may come in several partitions (a
//! retry by another gateway, a topic that was divided anew), no owner of one can tell which came first. Such records leave
//! release as [`Pending`], each with all that the verdict needs. Resolve brings those of one identity together and decides.
//!
//! # What goes in and comes out
//!
//! Pending records and the clock's marks go in. Accepted records, records that were set aside, and for each partition of
//! the tick the verdicts that were given here come out, at the tick of the record. The counts go to whoever adds them to
//! what release has reported, so that `read = on time + late + duplicate + dead letters` holds for these partitions too.
//!
//! # SetAsideReason it is exact
//!
//! Records are exchanged by their identity and decided once their tick is complete, in the order of (partition, offset,
//! line): the least within the tick is the one that counts. Records of one message share an offset, hence the line. The
//! watermark and the bound behind which an identity counts as absent come with each record, as of the tick before it, so
//! they are the same wherever it is decided. Neither the number of workers nor the order of arrival has a say.
//!
//! # Cost
//!
//! Each pending record is exchanged with its bytes, since a conflict becomes a dead letter and its owner has moved on by
//! then. A sort within each tick, a lookup for each record, 32 bytes and some slack for each id that is remembered. A record is
//! accepted one exchange later than release could.
//!
//! # What it does not do
//!
//! It does not move time: the lane had the record's event time at release already. It does not judge whether a record is
//! late. It is not needed, and not built, where every source's ids fix their partition.
//!
//! # Example
//!
//! The same id comes in two partitions in one tick, and once more in the next.
//!
//! ```
//! use operators::checkpoint::Checkpoints;
//! use operators::clock::Mark;
//! use operators::record::{Header, Identity};
//! use operators::release::{LatePolicy, Pending};
//! use operators::resolve::{ResolvePlan, Tally, resolve};
//! use operators::streams::StreamPlan;
//! use operators::topology::{GroupId, PartitionId};
//! use timely::dataflow::operators::capture::{Capture, Extract};
//! use timely::dataflow::operators::vec::{Delay, Map, ToStream};
//!
//! let pending = |(tick, partition): (u64, u32)| {
//!     let identity = Identity::Id { id: 7, content: 1 };
//!     let pending = Pending {
//!         header: Header { group: GroupId(0), lane: 0, event_time_ms: 50_000, identity },
//!         partition: PartitionId(partition),
//!         offset: tick,
//!         late: false,
//!         watermark_ms: 40_000,
//!         absent_before_ms: 40_000,
//!         record: format!("of partition {partition}"),
//!         origin: "retries".into(),
//!         line: 0,
//!         raw: vec![],
//!         is_awaited: false,
//!     };
//!     (tick, pending)
//! };
//! let (released, counts) = timely::example(move |scope| {
//!     let told = [(0, 1), (0, 0), (1, 1)].map(pending).to_stream(scope).delay(|(tick, _), _| *tick);
//!     let mark = |tick| Mark { tick, now_ms: 0, watermarks: [].into(), reached: [].into(), checkpoint: false };
//!     let marks = [0, 1].map(mark).to_stream(scope).delay(|mark, _| mark.tick);
//!     let plan = ResolvePlan {
//!         name: "Resolve",
//!         late: LatePolicy::SetAside,
//!         counted_apart: |_: &String| false,
//!         streams: StreamPlan::NONE,
//!         checkpoints: &Checkpoints::default(),
//!     };
//!     let streams = resolve(told.map(|(_, pending)| pending), marks, plan);
//!     let counts = streams.tallies.map(|Tally { partition, counts, .. }| (partition.0, counts.on_time, counts.duplicate));
//!     (streams.released.map(|released| released.record).capture(), counts.capture())
//! });
//! assert_eq!(released.extract(), [(0, vec!["of partition 0".to_owned()])]);
//! assert_eq!(counts.extract(), [(0, vec![(0, 1, 0), (1, 0, 1)]), (1, vec![(1, 0, 1)])]);
//! ```

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
use crate::streams::{StreamNames, StreamPlan, StreamReport};
use crate::time::{MINUS_INFINITY, Tick, TimeMs};
use crate::topology::{GroupId, PartitionId};
use crate::watermark::Counts;

/// The format in which checkpoints have what is remembered of identities.
const STATE_FORMAT: u32 = 1;

/// What was made of the records of a partition in a tick.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// The partition.
    pub partition: PartitionId,
    /// How many records had each verdict.
    pub counts: Counts,
    /// What became of each record, where somebody waits to hear it.
    pub outcomes: Vec<Outcome>,
}

impl Tally {
    fn tell(&mut self, offset: u64, line: u64, sight: &Sight) {
        let verdict = match sight {
            Sight::Conflict => Verdict::DeadLetter { code: conflict().code.into_owned() },
            Sight::SetAside => Verdict::Late,
            Sight::Duplicate => Verdict::Duplicate,
            Sight::Accepted(standing) => (*standing).into(),
        };
        self.outcomes.push(Outcome { partition: self.partition, offset, line, verdict });
    }
}

/// The streams that leave a resolve.
pub struct ResolveStreams<'scope, R: Record, S: 'static> {
    /// Records that were accepted.
    pub released: StreamVec<'scope, Tick, Released<R>>,
    /// Records that are late, or that contradict one of the same id.
    pub aside: StreamVec<'scope, Tick, SetAside<R>>,
    /// The verdicts that were given here, counted for each partition of the tick.
    pub tallies: StreamVec<'scope, Tick, Tally>,
    /// What is told of sequenced streams ([`streams`](crate::streams)), where the plan says how.
    pub streams: StreamVec<'scope, Tick, StreamReport<S>>,
    /// Says how much this worker remembers of identities.
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

/// A record that leaves; duplicates are only counted.
#[derive(Debug, PartialEq, Eq)]
enum Decided<R> {
    Released(Released<R>),
    SetAside(SetAside<R>),
}

impl Remembered {
    /// Decides the records of a complete tick, in the order of (partition, offset, line); gives those that leave, and says
    /// what to count for each partition.
    fn decide<R: Record, S: Clone>(
        &mut self,
        mut records: Vec<Pending<R>>,
        (late, counted_apart): (LatePolicy, fn(&R) -> bool),
        mark: &Mark,
        names: &mut StreamNames<R, S>,
        mut give: impl FnMut(Decided<R>),
    ) -> BTreeMap<PartitionId, Tally> {
        let mut told: BTreeMap<PartitionId, Tally> = BTreeMap::new();
        let is_told = names.counts(mark.tick);
        let begin = |identities: &mut Identities| {
            if is_told {
                identities.begin_tick(mark.tick, mark.now_ms);
            }
        };
        self.seen.values_mut().for_each(|(identities, _)| begin(identities));
        let new = || {
            let mut identities = Identities::default();
            begin(&mut identities);
            (identities, MINUS_INFINITY)
        };
        records.sort_unstable_by_key(|pending| (pending.partition, pending.offset, pending.line));
        for pending in records {
            let Pending { partition, offset, record, origin, line, raw, is_awaited, .. } = pending;
            let (identities, absent_before_ms) = self.seen.entry(pending.header.group).or_insert_with(new);
            *absent_before_ms = pending.absent_before_ms;
            let tally = told.entry(partition).or_insert_with(|| Tally { partition, ..Tally::default() });
            let sight =
                sight(identities, &pending.header, pending.late, late, pending.absent_before_ms, pending.watermark_ms);
            if let Some(stream) = identities.take_unnamed() {
                names.take(stream, &record);
            }
            if is_awaited {
                tally.tell(offset, line, &sight);
            }
            let counts = &mut tally.counts;
            match sight {
                Sight::SetAside => {
                    counts.late += 1;
                    give(Decided::SetAside(SetAside { partition, offset, reason: SetAsideReason::Late(record) }));
                }
                Sight::Duplicate => counts.duplicate += 1,
                Sight::Conflict => {
                    counts.dead += 1;
                    let why = SetAsideReason::Dead { origin, line, rejection: conflict(), raw };
                    give(Decided::SetAside(SetAside { partition, offset, reason: why }));
                }
                Sight::Accepted(standing) => {
                    count_accepted(counts, standing, counted_apart(&record));
                    give(Decided::Released(Released { record, standing }));
                }
            }
        }
        for (identities, absent_before_ms) in self.seen.values_mut() {
            identities.sweep(*absent_before_ms);
        }
        told
    }

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

/// What a resolve has to be told.
pub struct ResolvePlan<'a, R, S> {
    /// The operator's name in the graph and in checkpoints.
    pub name: &'a str,
    /// What becomes of late records.
    pub late: LatePolicy,
    /// Accepted records of which this is true are counted in [`Counts::counted_apart`] as well.
    pub counted_apart: fn(&R) -> bool,
    /// How sequenced streams are told of, if they are.
    pub streams: Option<StreamPlan<R, S>>,
    /// Where state comes from at a restore, and goes when a checkpoint is asked for.
    pub checkpoints: &'a Checkpoints,
}

/// Decides which pending records were seen before. `marks` say when a tick is complete.
pub fn resolve<'scope, R: Record, S: Clone + 'static>(
    pending: StreamVec<'scope, Tick, Pending<R>>,
    marks: StreamVec<'scope, Tick, Mark>,
    plan: ResolvePlan<'_, R, S>,
) -> ResolveStreams<'scope, R, S> {
    let ResolvePlan { name, late, counted_apart, streams, checkpoints } = plan;
    let scope = pending.scope();
    let mut builder = OperatorBuilder::new(name.to_owned(), scope);
    let activator = scope.worker().activator_for(builder.operator_info().address);
    let seat = checkpoints.seat(name, STATE_FORMAT, activator);
    let mut input = builder.new_input(pending, Exchange::new(place_of));
    let mut marks = builder.new_input(marks, Pipeline);
    let (released, released_stream) = builder.new_output();
    let (aside, aside_stream) = builder.new_output();
    let (tallies, tallies_stream) = builder.new_output();
    let (told, streams_stream) = builder.new_output();
    let mut released = OutputBuilder::<_, CapacityContainerBuilder<Vec<Released<R>>>>::from(released);
    let mut aside = OutputBuilder::<_, CapacityContainerBuilder<Vec<SetAside<R>>>>::from(aside);
    let mut tallies = OutputBuilder::<_, CapacityContainerBuilder<Vec<Tally>>>::from(tallies);
    let mut told = OutputBuilder::<_, CapacityContainerBuilder<Vec<StreamReport<S>>>>::from(told);
    let mut names = StreamNames::new(streams);

    let mut remembered = Remembered::default();
    checkpoints.take(name).for_each(|part| remembered.restore(&part));
    let remembered = Rc::new(RefCell::new(remembered));
    let shared = Rc::clone(&remembered);
    let gauge = move || shared.borrow().seen.values().map(|(identities, _)| identities.gauge()).sum();
    builder.build(move |_| {
        let mut stash: BTreeMap<Tick, Vec<Pending<R>>> = BTreeMap::new();
        let mut marked: BTreeMap<Tick, ([Capability<Tick>; 4], Mark)> = BTreeMap::new();
        move |frontiers| {
            let mut remembered = remembered.borrow_mut();
            input.for_each(|capability, data| stash.entry(*capability.time()).or_default().append(data));
            marks.for_each(|capability, marks| {
                for mark in marks.drain(..) {
                    let capabilities = [0, 1, 2, 3].map(|port| capability.retain(port));
                    marked.insert(mark.tick, (capabilities, mark));
                }
            });
            let (mut released, mut aside) = (released.activate(), aside.activate());
            let (mut tallies, mut told) = (tallies.activate(), told.activate());
            while let Some(entry) = marked.first_entry()
                && !frontiers[0].less_equal(entry.key())
            {
                let (capabilities, mark) = entry.remove();
                let records = stash.remove(&mark.tick).unwrap_or_default();
                let mut released = released.session(&capabilities[0]);
                let mut aside = aside.session(&capabilities[1]);
                let rules = (late, counted_apart);
                let verdicts = remembered.decide(records, rules, &mark, &mut names, |decided| match decided {
                    Decided::Released(record) => released.give(record),
                    Decided::SetAside(record) => aside.give(record),
                });
                tallies.session(&capabilities[2]).give_iterator(verdicts.into_values());
                let mut told = told.session(&capabilities[3]);
                for (identities, _) in remembered.seen.values_mut() {
                    identities.end_tick(mark.checkpoint, |report| names.tell(report));
                }
                names.end_tick(|report| told.give(report));
                if mark.checkpoint {
                    seat.freeze(mark.tick + 1, &mut *remembered);
                }
            }
            seat.work(&mut *remembered);
        }
    });
    ResolveStreams {
        released: released_stream,
        aside: aside_stream,
        tallies: tallies_stream,
        streams: streams_stream,
        remembered: Box::new(gauge),
    }
}

/// Where a record is decided: with all others of the same identity.
fn place_of<R>(pending: &Pending<R>) -> u64 {
    match pending.header.identity {
        Identity::Id { id, .. } => identity_shard(id),
        Identity::Sequence { stream, .. } => identity_shard(stream),
    }
}

#[cfg(test)]
mod tests;
