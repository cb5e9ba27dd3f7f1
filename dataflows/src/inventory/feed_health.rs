//! Feed health: does a numbered feed of facts still speak, and has everything of it come?
//!
//! A feed is what a source says of a node in one of its epochs; its facts are numbered without gaps. Release tells how far
//! each one is ([`operators::streams`]); the fold here remembers that, finds out by recorded time which ones fell silent, and
//! says since when something is missing.
//!
//! Rows hold instants, never ages, so nothing changes while nothing happens. A row changes at once where a gap opens or
//! closes and where the feed falls silent or speaks again; otherwise once a minute of recorded time, if there is anything
//! new. All instants but `last_event_ms` are recorded time: `now` of the tick in which something was seen, so a source
//! with a wrong clock cannot make a gap old. How a tick was cut matters for them only as far as it matters for `now`.
//!
//! What it costs: a feed is a key with some 700 bytes, and 24 for each of up to [`OPENINGS_MAX`] times at which its open
//! gaps began; release has 170 more. How many feeds there are is the input's business: each epoch of a source at a node is
//! one, and none is forgotten.

pub mod view;

use std::rc::Rc;

use serde::{Deserialize, Serialize};
use timely::dataflow::StreamVec;

use operators::checkpoint::Checkpoints;
use operators::clock::Mark;
use operators::fetch::fetch_slice;
use operators::fold::{Fold, FoldHandle, Folded, Now, Table, Wake, rows};
use operators::route::route;
use operators::streams::StreamReport;
use operators::time::{MINUS_INFINITY, MINUTE_MS, Tick, TimeMs, minute_end_ms, minute_of};

use crate::inventory::fact::Fact;
use crate::names::{Name, TenantId};

/// How long a feed may say nothing before it is silent, unless somebody configures it.
pub const SILENT_AFTER_MS: i64 = 15 * MINUTE_MS;

/// The times at which open gaps of a feed began that are told apart.
pub const OPENINGS_MAX: usize = 64;

/// A numbered feed of facts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FeedKey {
    /// The tenant.
    pub tenant: TenantId,
    /// The system that speaks.
    pub source: Name,
    /// The node of which it speaks.
    pub node: Name,
    /// Which of its sequences.
    pub epoch: u32,
}

/// The feed of a fact that has a sequence.
pub fn feed_of(fact: &Fact) -> Option<FeedKey> {
    let Fact { tenant, source, node, epoch, .. } = fact;
    Some(FeedKey { tenant: *tenant, source: source.clone(), node: node.clone(), epoch: *epoch })
}

/// What is to be thought of a feed, better ones first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeedState {
    /// It speaks, and nothing is missing.
    Live,
    /// It speaks, and something between its facts is missing.
    Gapped,
    /// It has said nothing for some time.
    Silent,
}

impl FeedState {
    /// The name in views.
    pub fn name(self) -> &'static str {
        match self {
            FeedState::Live => "live",
            FeedState::Gapped => "gapped",
            FeedState::Silent => "silent",
        }
    }
}

/// How a feed is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FeedHealth {
    /// What is to be thought of it.
    pub state: FeedState,
    /// The greatest sequence number that came.
    pub last_sequence: u64,
    /// Runs of numbers that are missing between those that came.
    pub open_gaps: u64,
    /// When the first of these gaps was seen: the one with the least numbers. None where it was there before
    /// anybody looked, and where there is none.
    pub oldest_gap_ms: Option<TimeMs>,
    /// The greatest event time.
    pub last_event_ms: TimeMs,
    /// When it last spoke, be it a duplicate; none before there is a recorded time.
    pub last_spoke_ms: Option<TimeMs>,
}

/// Numbers that are missing since some time, if they did not come since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Opening {
    from: u64,
    upto: u64,
    since_ms: TimeMs,
}

/// What is known of a feed, and what of it is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedProgress {
    known: Option<Known>,
    /// Ascending, none of them below the first number that is missing.
    openings: Vec<Opening>,
    shown: Option<FeedHealth>,
    shown_minute: i64,
    /// When somebody has to look again, or before that: a look that comes too early finds the next time. So a feed that speaks
    /// all the time does not leave a time to look at behind with each report.
    look_at_ms: Option<TimeMs>,
}

/// How far a feed is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    /// The tick of the last report.
    tick: Tick,
    greatest: u64,
    gaps: u64,
    first_missing: Option<u64>,
    event_time_ms: TimeMs,
    /// When it last spoke; minus infinity before there was a recorded time.
    moved_ms: TimeMs,
}

impl FeedProgress {
    /// Takes a report. Two of one tick, of a feed that comes over two partitions which know nothing of each other, give the same
    /// in either order.
    fn hear(&mut self, report: &StreamReport<()>) {
        let &StreamReport { tick, greatest, gaps, first_missing, event_time_ms, moved_ms, .. } = report;
        let known = self.known.get_or_insert(Known { tick, greatest, gaps, first_missing, event_time_ms, moved_ms });
        known.greatest = known.greatest.max(greatest);
        known.event_time_ms = known.event_time_ms.max(event_time_ms);
        known.moved_ms = known.moved_ms.max(moved_ms);
        if tick > known.tick {
            (known.tick, known.gaps, known.first_missing) = (tick, gaps, first_missing);
        } else {
            known.gaps = known.gaps.max(gaps);
            known.first_missing = known.first_missing.into_iter().chain(first_missing).min();
        }
        for (from, upto) in report.opened.iter().copied() {
            let opening = Opening { from, upto, since_ms: moved_ms };
            let place = self.openings.partition_point(|known| *known < opening);
            self.openings.insert(place, opening);
        }
    }

    /// What there was before any recorded time counts from the first one.
    fn begin_at(&mut self, now_ms: TimeMs) {
        let known = self.known.iter_mut().map(|known| &mut known.moved_ms);
        for since_ms in known.chain(self.openings.iter_mut().map(|opening| &mut opening.since_ms)) {
            *since_ms = if *since_ms == MINUS_INFINITY { now_ms } else { *since_ms };
        }
    }

    /// Forgets openings of which everything has come, and tells no more of them apart than it may: the two neighbours that
    /// began at nearly the same time become one, as old as the older one.
    fn close(&mut self) {
        let first_missing = self.known.as_ref().and_then(|known| known.first_missing);
        let is_closed = |opening: &&Opening| first_missing.is_none_or(|first_missing| opening.upto <= first_missing);
        let closed = self.openings.iter().take_while(is_closed).count();
        self.openings.drain(..closed);
        while self.openings.len() > OPENINGS_MAX {
            let apart_ms = |place: &usize| self.openings[*place].since_ms.abs_diff(self.openings[place + 1].since_ms);
            let nearest = (0..self.openings.len() - 1).min_by_key(apart_ms);
            let Some(nearest) = nearest else { return };
            let next = self.openings.remove(nearest + 1);
            let joined = &mut self.openings[nearest];
            (joined.upto, joined.since_ms) = (joined.upto.max(next.upto), joined.since_ms.min(next.since_ms));
        }
    }

    /// How the feed is at a time.
    fn health(&self, now_ms: TimeMs, silent_after_ms: i64) -> Option<FeedHealth> {
        let known = self.known.as_ref()?;
        let last_spoke_ms = (known.moved_ms > MINUS_INFINITY).then_some(known.moved_ms);
        let is_silent = last_spoke_ms.is_some_and(|spoke_ms| now_ms >= spoke_ms.saturating_add(silent_after_ms));
        let holds = |number: &u64| self.openings.iter().find(|opening| (opening.from..opening.upto).contains(number));
        let oldest = known.first_missing.as_ref().and_then(holds);
        Some(FeedHealth {
            state: match known.gaps {
                _ if is_silent => FeedState::Silent,
                0 => FeedState::Live,
                _ => FeedState::Gapped,
            },
            last_sequence: known.greatest,
            open_gaps: known.gaps,
            oldest_gap_ms: oldest.map(|opening| opening.since_ms).filter(|since_ms| *since_ms > MINUS_INFINITY),
            last_event_ms: known.event_time_ms,
            last_spoke_ms,
        })
    }
}

/// Whether a row has to change at once, not only when the minute is over.
fn is_urgent(shown: &FeedHealth, health: &FeedHealth) -> bool {
    let urgent = |health: &FeedHealth| (health.state, health.open_gaps, health.oldest_gap_ms);
    urgent(shown) != urgent(health)
}

/// Folds what release tells of streams into the health of feeds.
#[derive(Clone, Copy, Debug)]
pub struct FeedHealthFold {
    silent_after_ms: i64,
}

impl FeedHealthFold {
    /// A fold for which a feed is silent that has said nothing for so long, a minute or more: release may keep for itself for so long
    /// that a feed went on.
    pub fn new(silent_after_ms: i64) -> Self {
        assert!(silent_after_ms >= MINUTE_MS, "nobody is silent within a minute");
        FeedHealthFold { silent_after_ms }
    }
}

impl Fold for FeedHealthFold {
    type Input = StreamReport<FeedKey>;
    type Key = FeedKey;
    type Event = StreamReport<()>;
    type State = FeedProgress;
    type Value = FeedHealth;
    type Table = Table<FeedKey, FeedProgress>;

    fn name(&self) -> &'static str {
        "FeedHealth"
    }

    fn keys(&self, report: &StreamReport<FeedKey>, post: &mut dyn FnMut(FeedKey, StreamReport<()>)) {
        post(report.stream.clone(), report.clone().renamed(()));
    }

    fn apply(&self, progress: &mut FeedProgress, _: &FeedKey, report: &StreamReport<()>) {
        progress.hear(report);
    }

    fn seal(&self, progress: &mut FeedProgress, _: &FeedKey, now: &Now<'_>) {
        let has_time = progress.shown.as_ref().is_some_and(|shown| shown.last_spoke_ms.is_some());
        if !has_time && now.now_ms > MINUS_INFINITY {
            progress.begin_at(now.now_ms);
        }
        progress.close();
        let Some(health) = progress.health(now.now_ms, self.silent_after_ms) else { return };
        let minute = minute_of(now.now_ms);
        let waits = match &progress.shown {
            Some(shown) if is_urgent(shown, &health) => false,
            Some(shown) => *shown != health && minute <= progress.shown_minute,
            None => false,
        };
        let falls_silent_ms = match health.last_spoke_ms {
            // As soon as there is a recorded time at all.
            None => Some(MINUS_INFINITY + 1),
            Some(_) if health.state == FeedState::Silent => None,
            Some(spoke_ms) => Some(spoke_ms.saturating_add(self.silent_after_ms)),
        };
        if !waits && progress.shown.as_ref() != Some(&health) {
            (progress.shown, progress.shown_minute) = (Some(health), minute);
        }
        let minute_ends_ms = waits.then(|| minute_end_ms(progress.shown_minute));
        let due_ms = falls_silent_ms.into_iter().chain(minute_ends_ms).min();
        let before = progress.look_at_ms.filter(|look_at_ms| *look_at_ms > now.now_ms);
        progress.look_at_ms = due_ms.map(|due_ms| before.map_or(due_ms, |before_ms| before_ms.min(due_ms)));
    }

    fn values(&self, _: &FeedKey, progress: &FeedProgress, values: &mut Vec<FeedHealth>) {
        values.extend(progress.shown.clone());
    }

    fn wake(&self, _: &FeedKey, progress: &FeedProgress) -> Option<Wake> {
        progress.look_at_ms.map(Wake::Now)
    }

    /// The openings.
    const FETCHED: u8 = 1;

    fn fetch(&self, progress: &FeedProgress, _: u8) {
        fetch_slice(&progress.openings);
    }

    fn heap_bytes(&self, progress: &FeedProgress) -> usize {
        progress.openings.capacity() * size_of::<Opening>()
    }
}

/// The health of every feed of which release tells: its rows, and the fold's own state for gauges.
pub fn feed_health<'scope>(
    reports: StreamVec<'scope, Tick, StreamReport<FeedKey>>,
    marks: StreamVec<'scope, Tick, Mark>,
    checkpoints: &Checkpoints,
    fold: FeedHealthFold,
) -> (StreamVec<'scope, Tick, ((FeedKey, FeedHealth), Tick, isize)>, FoldHandle<FeedHealthFold>) {
    let fold = Rc::new(fold);
    let shown = rows(|_: &FeedHealthFold, key: &FeedKey, health: &FeedHealth| Some((key.clone(), health.clone())));
    route(reports, "RouteFeedHealth", Rc::clone(&fold), checkpoints.place_key()).fold_into(
        fold,
        marks,
        checkpoints,
        shown,
    )
}

#[cfg(test)]
mod tests;
