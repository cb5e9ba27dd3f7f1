//! A partition on the worker that owns it: its records, judged in offset order up to what is bound.

mod all;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use timely::scheduling::SyncActivator;

use super::verdict::{Sight, absent_before, conflict, count_accepted, sight};
use super::{LatePolicy, Pending, Released, SetAside, SetAsideReason};
use crate::binding::{Binding, Status};
use crate::checkpoint::{decode, encode};
use crate::feed::Feed;
use crate::fetch::fetch;
use crate::identity::Identities;
use crate::judge::{Judge, Rules, Timeliness};
use crate::outcome::{Outcome, Verdict};
use crate::record::{Batch, Header, Item, Record, Rejection};
use crate::streams::StreamReport;
use crate::time::{PLUS_INFINITY, Tick, TimeMs};
use crate::topology::{GroupId, LaneParameters, Parameters, PartitionId, Topology};
use crate::watermark::{Counts, Report, Watermarks};
pub(super) use all::AllOwned;

/// What a checkpoint holds of a partition.
#[derive(Deserialize)]
enum Saved {
    Head { bound: u64, status: Status, judge: Box<Judge> },
    Identities { group: GroupId, coded: Vec<u8> },
}

/// [`Saved`], as it is written.
#[derive(Serialize)]
enum SavedRef<'a> {
    Head { bound: u64, status: Status, judge: &'a Judge },
    Identities { group: GroupId, coded: &'a [u8] },
}

/// Where a partition's verdicts go, and the records of streams whose names are asked for.
pub(super) struct Out<A, B, C, D> {
    pub(super) released: A,
    pub(super) aside: B,
    pub(super) pending: C,
    pub(super) unnamed: D,
}

/// How many items ahead memory is asked for: another core wrote them a while ago.
const ITEMS_AHEAD: usize = 16;

/// How many items ahead it is asked for what is remembered of their identities.
const IDENTITIES_AHEAD: usize = 8;

/// The items of a batch, each with its place in it.
struct Numbered<R> {
    place: usize,
    items: std::vec::IntoIter<Item<R>>,
}

impl<R> Iterator for Numbered<R> {
    type Item = (usize, Item<R>);

    fn next(&mut self) -> Option<(usize, Item<R>)> {
        if let Some(ahead) = self.items.as_slice().get(ITEMS_AHEAD) {
            fetch(ahead);
        }
        let place = self.place;
        self.place += 1;
        Some((place, self.items.next()?))
    }
}

/// A partition that this worker owns.
pub(super) struct Owned<R> {
    id: PartitionId,
    feed: Feed<R>,
    late: LatePolicy,
    counted_apart: fn(&R) -> bool,
    live: bool,
    /// The partition whose records come in again here, if it is such a one.
    re_enters: Option<PartitionId>,
    identity_fixes_partition: bool,
    judge: Judge,
    pub(super) identities: Vec<(GroupId, Identities)>,
    /// The batch at hand, without its items, and what is left of them.
    batch: Option<(Batch<()>, Numbered<R>)>,
    /// The next item and its place in that batch, where it lies beyond the bound.
    ahead: Option<(usize, Item<R>)>,
    /// The last two hold for the tick that is being released.
    bound: u64,
    status: Status,
    /// None before the tick that first names the partition: until then it has no records and makes no reports.
    parameters: Option<LaneParameters>,
    lateness_changed: bool,
    future_ms: TimeMs,
    reached: u64,
    counts: Counts,
    /// Where records enter again: what became of each, but for those whose identities are judged after an exchange.
    outcomes: Vec<Outcome>,
}

impl<R: Record> Owned<R> {
    pub(super) fn new(
        id: PartitionId,
        feed: Feed<R>,
        topology: &Topology,
        late: LatePolicy,
        counted_apart: fn(&R) -> bool,
    ) -> Self {
        let partition = &topology.partitions[id.0 as usize];
        Owned {
            id,
            feed,
            late,
            counted_apart,
            live: partition.live,
            re_enters: partition.re_enters,
            identity_fixes_partition: partition.identity_fixes_partition,
            judge: Judge::new(id, partition),
            identities: partition.groups.iter().map(|(group, _)| (*group, Identities::default())).collect(),
            batch: None,
            ahead: None,
            bound: 0,
            status: Status::Behind,
            parameters: None,
            lateness_changed: false,
            future_ms: PLUS_INFINITY,
            reached: 0,
            counts: Counts::default(),
            outcomes: Vec::new(),
        }
    }

    /// What a checkpoint holds of a partition, beside its identities.
    fn head(&self) -> Vec<u8> {
        let head = SavedRef::Head { bound: self.bound, status: self.status, judge: &self.judge };
        encode(&head, Vec::new())
    }

    /// Takes what a checkpoint held of a partition.
    fn restore(&mut self, mut bytes: &[u8]) {
        match decode(&mut bytes) {
            Saved::Head { bound, status, judge } => {
                (self.bound, self.reached, self.status, self.judge) = (bound, bound, status, *judge);
            }
            Saved::Identities { group, coded } => {
                let of_group = self.identities.iter_mut().find(|(known, _)| *known == group);
                of_group.into_iter().for_each(|(_, identities)| identities.restore(&coded));
            }
        }
    }

    pub(super) fn begin(&mut self, binding: &Binding, before: &Parameters, parameters: &Parameters) {
        if let Some(advance) = binding.advances.iter().find(|advance| advance.partition == self.id) {
            self.bound = advance.next;
            self.status = advance.status;
        }
        let place = self.id.0 as usize;
        self.parameters = parameters.lanes.get(place).copied();
        let Some(lanes) = &self.parameters else { return };
        self.lateness_changed = before.lanes.get(place).is_some_and(|before| before.lateness_ms != lanes.lateness_ms);
        let from_ms = match self.re_enters {
            // Somebody mended it while the run was there, whatever kind of input it came from.
            Some(_) => binding.now_ms.max(parameters.start_ms),
            None if self.live => binding.now_ms,
            None => parameters.start_ms,
        };
        self.future_ms = from_ms.saturating_add(lanes.skew_max_ms);
    }

    /// Begins a tick in which it is told which streams move.
    pub(super) fn begin_streams(&mut self, binding: &Binding) {
        self.identities.iter_mut().for_each(|(_, identities)| identities.begin_tick(binding.tick, binding.now_ms));
    }

    /// Ends such a tick; everything is told where a checkpoint is to have it.
    pub(super) fn end_streams(&mut self, everything: bool, mut give: impl FnMut(StreamReport<u128>)) {
        self.identities.iter_mut().for_each(|(_, identities)| identities.end_tick(everything, &mut give));
    }

    pub(super) fn is_named(&self) -> bool {
        self.parameters.is_some()
    }

    /// Whether everything that is bound was judged.
    fn has_reached(&self) -> bool {
        self.reached >= self.bound
    }

    /// What the partition is allowed, once it is named.
    fn allowed(&self) -> LaneParameters {
        self.parameters.expect("a binding binds no records of a partition that no configuration has named")
    }

    /// Judges what is there, up to the bound; says whether the bound was reached.
    fn run<A, B, C, D>(&mut self, watermarks: &Watermarks, out: &mut Out<A, B, C, D>, wake: &SyncActivator) -> bool
    where
        A: FnMut(Released<R>),
        B: FnMut(SetAside<R>),
        C: FnMut(Pending<R>),
        D: FnMut(u128, &R),
    {
        while self.reached < self.bound {
            self.fetch_ahead();
            let next = self.ahead.take().or_else(|| self.batch.as_mut().and_then(|(_, items)| items.next()));
            match next {
                Some((place, item)) if item.offset < self.bound => self.decide(place, item, watermarks, out),
                Some(beyond) => {
                    self.ahead = Some(beyond);
                    self.reached = self.bound;
                }
                None => {
                    if let Some((batch, _)) = self.batch.take() {
                        self.reached = batch.end_offset;
                        continue;
                    }
                    let Some(batch) = self.feed.take_or_wait(|| wake.clone()) else { return false };
                    let (shell, items) = batch.divided();
                    self.batch = Some((shell, Numbered { place: 0, items: items.into_iter() }));
                }
            }
        }
        true
    }

    /// Asks for the memory that the identity of a later item will need.
    fn fetch_ahead(&self) {
        let later = self.batch.as_ref().and_then(|(_, items)| items.items.as_slice().get(IDENTITIES_AHEAD));
        if let Some(Item { outcome: Ok((header, _)), .. }) = later
            && let Some((_, identities)) = self.identities.iter().find(|(group, _)| *group == header.group)
        {
            identities.fetch(header.identity);
        }
    }

    fn decide<A, B, C, D>(&mut self, place: usize, item: Item<R>, watermarks: &Watermarks, out: &mut Out<A, B, C, D>)
    where
        A: FnMut(Released<R>),
        B: FnMut(SetAside<R>),
        C: FnMut(Pending<R>),
        D: FnMut(u128, &R),
    {
        self.counts.read += 1;
        self.judge.appended(self.at_hand().append_ms.get(place).copied());
        let Item { offset, length, line, outcome } = item;
        let (header, record) = match outcome {
            Ok(decoded) => decoded,
            Err((rejection, raw)) => return self.bury(offset, line, rejection, raw, out),
        };
        let late = match self.timeliness(&header, watermarks) {
            Timeliness::Future => {
                let detail = format!(
                    "event time {} is later than {}, the last that may be",
                    header.event_time_ms, self.future_ms
                );
                let raw = self.at_hand().raw(place, offset, length);
                return self.bury(offset, line, Rejection::new("future", detail), raw, out);
            }
            timeliness => timeliness == Timeliness::Late,
        };
        // What enters again when every source has ended is as old as it was, not older than everything.
        let watermark_ms = watermarks.reached_by(header.group);
        let absent_before_ms = absent_before(watermark_ms, &self.allowed());
        if !self.identity_fixes_partition {
            let raw = self.at_hand().raw(place, offset, length);
            let origin = self.origin();
            return (out.pending)(Pending {
                header,
                partition: self.id,
                offset,
                late,
                watermark_ms,
                absent_before_ms,
                record,
                origin,
                line,
                raw,
                is_awaited: self.re_enters.is_some(),
            });
        }
        let group = self.identities.iter_mut().find(|(group, _)| *group == header.group);
        let (_, identities) = group.expect("decoders give only groups that the partition feeds");
        let sight = sight(identities, &header, late, self.late, absent_before_ms, watermark_ms);
        if let Some(stream) = identities.take_unnamed() {
            (out.unnamed)(stream, &record);
        }
        match sight {
            Sight::Conflict => {
                let raw = self.at_hand().raw(place, offset, length);
                self.bury(offset, line, conflict(), raw, out);
            }
            Sight::SetAside => {
                self.counts.late += 1;
                self.tell(offset, line, Verdict::Late);
                (out.aside)(SetAside { partition: self.id, offset, reason: SetAsideReason::Late(record) });
            }
            Sight::Duplicate => {
                self.counts.duplicate += 1;
                self.tell(offset, line, Verdict::Duplicate);
            }
            Sight::Accepted(standing) => {
                self.tell(offset, line, standing.into());
                count_accepted(&mut self.counts, standing, (self.counted_apart)(&record));
                (out.released)(Released { record, standing });
            }
        }
    }

    /// Remembers what became of a record, if somebody waits to hear it.
    fn tell(&mut self, offset: u64, line: u64, verdict: Verdict) {
        if self.re_enters.is_some() {
            self.outcomes.push(Outcome { partition: self.id, offset, line, verdict });
        }
    }

    fn timeliness(&mut self, header: &Header, watermarks: &Watermarks) -> Timeliness {
        if self.re_enters.is_some() {
            // It has no lane: it raises nothing, and is late only where it comes behind what is sealed.
            return match header.event_time_ms {
                time_ms if time_ms > self.future_ms => Timeliness::Future,
                time_ms if time_ms < watermarks.group(header.group) => Timeliness::Late,
                _ => Timeliness::OnTime,
            };
        }
        let rules = Rules {
            parameters: self.allowed(),
            lateness_changed: self.lateness_changed,
            future_ms: self.future_ms,
            watermarks,
        };
        self.judge.judge(header, &rules)
    }

    fn bury<A, B: FnMut(SetAside<R>), C, D>(
        &mut self,
        offset: u64,
        line: u64,
        rejection: Rejection,
        raw: Vec<u8>,
        out: &mut Out<A, B, C, D>,
    ) {
        self.counts.dead += 1;
        self.tell(offset, line, Verdict::DeadLetter { code: rejection.code.to_string() });
        (out.aside)(SetAside {
            partition: self.id,
            offset,
            reason: SetAsideReason::Dead { origin: self.origin(), line, rejection, raw },
        });
    }

    fn origin(&self) -> Arc<str> {
        Arc::clone(&self.at_hand().origin)
    }

    fn at_hand(&self) -> &Batch<()> {
        &self.batch.as_ref().expect("an item comes from the batch at hand").0
    }

    pub(super) fn end(&mut self, tick: Tick, watermarks: &Watermarks) -> Report {
        let allowed = self.allowed();
        for (group, identities) in &mut self.identities {
            identities.sweep(absent_before(watermarks.reached_by(*group), &allowed));
        }
        let (spoken, behind_ms) = self.judge.end_tick();
        let (counts, outcomes) = (std::mem::take(&mut self.counts), std::mem::take(&mut self.outcomes));
        Report { tick, partition: self.id, next: self.bound, status: self.status, behind_ms, spoken, counts, outcomes }
    }
}
