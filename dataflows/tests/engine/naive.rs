//! The naive model: what every view holds at every tick, by the rules as they are written and nothing cleverer.
//!
//! It shares no code with the engine: no judge, no watermarks, no identities, no folds. Records are judged one by one, in
//! the order of (partition, offset); what was accepted is kept in lists for ever, and at each tick every view is computed
//! from those lists anew. What a fold may forget is therefore never a question here, except where forgetting is itself
//! the rule: identities behind their horizon, sessions behind `session_keep_ms`, rows out of retention.

pub mod feeds;
mod judging;
mod ledger;
mod overlap;
mod rising;
mod showing;
#[cfg(test)]
mod stories;

use std::collections::{BTreeMap, BTreeSet};

use crate::rows::Row;
use dataflows::experiment::event::Event;
use dataflows::inventory::fact::Fact;
use dataflows::inventory::feed_health::{SILENT_AFTER_MS, view};
use dataflows::inventory::worst_feeds::WorstFeeds;
use dataflows::names::{Name, TenantId};
use dataflows::view::ViewId;
use operators::binding::{Binding, Status};
use operators::time::{MINUS_INFINITY, PLUS_INFINITY, Tick, TimeMs};
use operators::topology::{GroupId, Lanes, Parameters};

use judging::Memory;

use crate::history::History;

/// The contents of every view that is not empty.
pub type Snapshot = BTreeMap<ViewId, BTreeMap<Row, i64>>;

/// The views at each tick of a history.
pub fn naive(history: &History) -> Vec<Snapshot> {
    let mut model = Model::new(history);
    let snapshot = |binding| {
        model.tick(binding);
        model.snapshot()
    };
    history.bindings.iter().map(snapshot).collect()
}

/// The views at some ticks of a history only, where a snapshot of every tick would be too much.
#[allow(dead_code, reason = "the tests that need it run the engine with its files")]
pub fn naive_at(history: &History, ticks: &BTreeSet<Tick>) -> BTreeMap<Tick, Snapshot> {
    let mut model = Model::new(history);
    let mut snapshots = BTreeMap::new();
    for binding in &history.bindings {
        model.tick(binding);
        if ticks.contains(&binding.tick) {
            snapshots.insert(binding.tick, model.snapshot());
        }
    }
    snapshots
}

/// Everything that the model knows after a tick.
struct Model<'a> {
    history: &'a History,
    parameters: Parameters,
    now_ms: TimeMs,
    partitions: Vec<PartitionModel>,
    /// `W` of each group, as of the last tick.
    watermarks: Vec<TimeMs>,
    /// The greatest watermarks that were not plus infinity.
    finite_watermarks: Vec<TimeMs>,
    /// What was seen: a partition's own memory, or that of all partitions of a release that share one.
    memories: BTreeMap<Scope, Memory>,
    /// Sessions that are not forgotten: which visit it is of this id, and the event time of its last event.
    sessions: BTreeMap<(TenantId, Name, Name), (usize, TimeMs)>,
    visits: usize,
    events: Vec<AcceptedEvent>,
    facts: Vec<AcceptedFact>,
    feeds: feeds::Feeds,
    /// The feeds as they are shown after the tick, where their view is wanted.
    shown_feeds: feeds::FeedSnapshot,
    late_events: Vec<Shown>,
    dead_letters: Vec<Shown>,
}

/// One partition.
struct PartitionModel {
    /// Items that were judged.
    judged: usize,
    next: u64,
    status: Status,
    lanes: Vec<LaneModel>,
    /// The lane of every record that was decoded and not `future`, in offset order.
    spoken: Vec<usize>,
    /// The running maximum of the least greatest event time among the lanes of the recent records.
    behind_ms: TimeMs,
    counts: Counts,
}

/// Verdicts since the beginning.
#[derive(Default)]
struct Counts {
    read: i64,
    on_time: i64,
    late: i64,
    duplicate: i64,
    dead_letters: i64,
    too_old: i64,
    without_unit: i64,
}

/// One lane. The one without a name stands, in an open partition, for those that are still to come.
#[derive(Clone)]
struct LaneModel {
    group: GroupId,
    name: Option<u128>,
    greatest_ms: TimeMs,
    floor_ms: TimeMs,
    /// Log time of the last tick in which it spoke.
    spoke_at_ms: Option<TimeMs>,
    speaks: bool,
}

/// Whose identities are compared with each other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Scope {
    Partition(usize),
    Release(u8),
}

/// An event that was accepted on time.
struct AcceptedEvent {
    event: Event,
    visit: usize,
}

/// A fact that was accepted; if it was too old to be folded, the watermark of that moment.
struct AcceptedFact {
    fact: Fact,
    doubt_ms: Option<TimeMs>,
}

/// A row that leaves when it was shown for its view's retention.
struct Shown {
    row: Row,
    /// The first finite `now` at or after its tick.
    since_ms: Option<TimeMs>,
}

impl Shown {
    fn from_now_on(row: Row) -> Shown {
        Shown { row, since_ms: None }
    }
}

impl<'a> Model<'a> {
    fn new(history: &'a History) -> Model<'a> {
        let partitions = history.topology.partitions.iter().map(|partition| {
            let mut lanes = Vec::new();
            for (group, declared) in &partition.groups {
                let names: Vec<Option<u128>> = match declared {
                    Lanes::Closed(names) => names.iter().map(|name| Some(*name)).collect(),
                    Lanes::Open => vec![None],
                };
                lanes.extend(names.into_iter().map(|name| LaneModel::silent(*group, name)));
            }
            PartitionModel {
                judged: 0,
                next: 0,
                status: Status::Behind,
                lanes,
                spoken: Vec::new(),
                behind_ms: MINUS_INFINITY,
                counts: Counts::default(),
            }
        });
        Model {
            history,
            parameters: history.parameters.clone(),
            now_ms: MINUS_INFINITY,
            partitions: partitions.collect(),
            watermarks: vec![MINUS_INFINITY; history.topology.groups.len()],
            finite_watermarks: vec![MINUS_INFINITY; history.topology.groups.len()],
            memories: BTreeMap::new(),
            sessions: BTreeMap::new(),
            visits: 0,
            events: Vec::new(),
            facts: Vec::new(),
            feeds: feeds::Feeds::default(),
            shown_feeds: feeds::FeedSnapshot::new(),
            late_events: Vec::new(),
            dead_letters: Vec::new(),
        }
    }

    /// Goes on to the next tick: applies its records, then seals to its watermarks.
    fn tick(&mut self, binding: &Binding) {
        self.now_ms = binding.now_ms;
        self.feeds.begin_tick(binding.now_ms);
        if let Some(configuration) = &binding.configuration {
            self.change_parameters(&configuration.parameters);
        }
        for advance in &binding.advances {
            let partition = &mut self.partitions[advance.partition.0 as usize];
            partition.next = advance.next;
            partition.status = advance.status;
        }
        for number in 0..self.partitions.len() {
            self.read(number);
        }
        self.rise();
        let (catalog, watermarks) = (&self.history.catalog, &self.watermarks);
        let keep_ms = self.history.plan.session_keep_ms;
        self.sessions.retain(|(tenant, _, _), (_, last_ms)| {
            watermarks[catalog.event_group(*tenant).0 as usize] < last_ms.saturating_add(keep_ms)
        });
        let plan = &self.history.plan;
        if plan.view::<view::Feeds>().enabled || plan.view::<WorstFeeds>().enabled {
            self.shown_feeds = self.feeds.show(SILENT_AFTER_MS);
        }
    }

    /// A tick that changes a partition's lateness raises the floors under its lanes to what was sealed.
    fn change_parameters(&mut self, parameters: &Parameters) {
        for (number, partition) in self.partitions.iter_mut().enumerate() {
            if parameters.lanes[number].lateness_ms != self.parameters.lanes[number].lateness_ms {
                for lane in &mut partition.lanes {
                    lane.floor_ms = lane.floor_ms.max(self.watermarks[lane.group.0 as usize]);
                }
            }
        }
        self.parameters = parameters.clone();
    }

    fn partition_name(&self, number: usize) -> Name {
        Name::from(self.history.topology.partitions[number].name.as_str())
    }
}

fn minute_of(time_ms: TimeMs) -> i64 {
    time_ms.div_euclid(60_000)
}

/// A time less a duration; the infinities stay what they are.
fn earlier(time_ms: TimeMs, by_ms: i64) -> TimeMs {
    if time_ms == MINUS_INFINITY || time_ms == PLUS_INFINITY { time_ms } else { time_ms - by_ms }
}

/// A time and a duration; the infinities stay what they are.
fn later(time_ms: TimeMs, by_ms: i64) -> TimeMs {
    if time_ms == MINUS_INFINITY || time_ms == PLUS_INFINITY { time_ms } else { time_ms.saturating_add(by_ms) }
}
