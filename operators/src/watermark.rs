//! Where lanes stand, the watermark of each group, and the floors under the lanes: pure functions of reports and bindings.
//!
//! At each tick every partition reports which of its lanes spoke. From that and the binding follow, in this order:
//!
//! 1. the partition's **log time**: `now` while it is caught up or idle; while behind, what its records say;
//! 2. where each lane **stands**: if it spoke within `idle_ms` of log time, at the greater of its own greatest event time
//!    and log time less `hold_ms`; any other lane, seen or not, at the greater of its own greatest and log time less
//!    `idle_ms`. So quiet seals, a stuck clock holds for `hold_ms` at most, an uneven catch-up makes nothing late;
//! 3. `W(T)` of a group: the greater of `W(T-1)` and the least, over its lanes, of (where it stands less lateness).
//!    Lanes of ended partitions do not count; when all partitions of a group have ended, `W` is plus infinity;
//! 4. how far event time has come in a group, by which ages are measured: `W`, while it is finite. Where the greatest event time
//!    of bounded input is known ([`Topology::ends_ms`]), a group whose `W` was plus infinity at `T-1` has come through the minute
//!    of the greatest event time of its lanes at `T`: what ends seals first, and makes older in the next tick;
//! 5. the **floor** of each lane for tick `T+1`: it rises to `W(T)` if `T` did not stand the lane at its own greatest,
//!    whether or not it spoke; and to `W(T-1)` at a tick `T` that changes lateness. It never falls.
//!
//! A partition that was added counts from the tick whose configuration first names it, and its lanes have the watermark of
//! the tick before as their first floor: it makes nothing that was sealed on time again, and `W` waits for it.
//!
//! Hence a record that is on time at `T` is never behind `W(T-1)`. Every worker computes all of this for itself, from the
//! same reports, so it costs no second exchange.

use serde::{Deserialize, Serialize};

use crate::binding::{Binding, Status};
use crate::outcome::Outcome;
use crate::time::{MINUS_INFINITY, PLUS_INFINITY, Tick, TimeMs, minus_ms, minute_end_ms, minute_of};
use crate::topology::{GroupId, Lanes, Parameters, Partition, PartitionId, Topology};

/// A lane that spoke in a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spoken {
    /// The lane's place among the lanes of its partition; declared lanes first, then in the order of their first record.
    pub lane: u32,
    /// The group that the lane feeds.
    pub group: GroupId,
    /// The lane's greatest event time so far.
    pub greatest_ms: TimeMs,
}

/// Verdict counts. Conservation: `read = on_time + late + duplicate + dead`, exactly, per partition, at every tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Counts {
    /// Records at their place in the log.
    pub read: i64,
    /// Records that were accepted on time.
    pub on_time: i64,
    /// Records behind their lane or the floor under it.
    pub late: i64,
    /// Records that were seen before.
    pub duplicate: i64,
    /// Dead letters: lines that could not be decoded, lie too far ahead, or contradict a record of the same id.
    pub dead: i64,
    /// Late records that are too old for anybody to know whether they are duplicates: counted, not folded.
    pub too_old: i64,
    /// Accepted records of which the release's `counted_apart` is true.
    pub counted_apart: i64,
}

impl Counts {
    /// Adds what was counted elsewhere, or in another tick.
    pub fn add(&mut self, other: &Counts) {
        self.read += other.read;
        self.on_time += other.on_time;
        self.late += other.late;
        self.duplicate += other.duplicate;
        self.dead += other.dead;
        self.too_old += other.too_old;
        self.counted_apart += other.counted_apart;
    }
}

/// What a partition's owner says of a tick; given at every tick, also when nothing was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The tick that is released.
    pub tick: Tick,
    /// The partition that is reported on.
    pub partition: PartitionId,
    /// The offset of the first record behind the tick.
    pub next: u64,
    /// How far the reader was, from the binding.
    pub status: Status,
    /// The partition's log time while it is behind.
    pub behind_ms: TimeMs,
    /// The lanes that spoke in this tick.
    pub spoken: Vec<Spoken>,
    /// The verdicts of this tick, counted.
    pub counts: Counts,
    /// What became of each record, where somebody waits to hear it.
    pub outcomes: Vec<Outcome>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Lane {
    group: GroupId,
    greatest_ms: TimeMs,
    spoke_at_ms: Option<TimeMs>,
    floor_ms: TimeMs,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct PartitionLanes {
    lanes: Vec<Lane>,
    /// Groups in which lanes may still appear: each has a nameless lane that never spoke.
    open: Vec<GroupId>,
    status: Status,
    ended: bool,
}

/// The watermarks of all groups and the floors of all lanes, as of a tick.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Watermarks {
    groups: Vec<TimeMs>,
    /// The greatest `W` of each group that was not plus infinity.
    reached: Vec<TimeMs>,
    /// Whether any partition feeds the group; of one that none feeds nothing is ever known.
    fed: Vec<bool>,
    partitions: Vec<PartitionLanes>,
    parameters: Parameters,
    /// Whether ages are measured against the greatest event time of a group behind its end.
    #[serde(skip)]
    ages_at_end: bool,
}

impl Watermarks {
    /// Before tick 0: nothing is known, every watermark is minus infinity.
    pub fn new(topology: &Topology) -> Self {
        let partitions = topology.partitions.iter().map(PartitionLanes::new);
        let feeds = |group: u16| {
            topology.partitions.iter().any(|partition| partition.groups.iter().any(|(fed, _)| fed.0 == group))
        };
        Watermarks {
            fed: (0..topology.groups.len() as u16).map(feeds).collect(),
            partitions: partitions.collect(),
            groups: vec![MINUS_INFINITY; topology.groups.len()],
            reached: vec![MINUS_INFINITY; topology.groups.len()],
            parameters: Parameters::default(),
            ages_at_end: topology.ends_ms.is_some(),
        }
    }

    /// The same, with room for the partitions that were added since: a checkpoint knows only those that there were.
    pub fn with_added(mut self, topology: &Topology) -> Self {
        let added = topology.partitions.iter().skip(self.partitions.len());
        self.partitions.extend(added.map(PartitionLanes::new));
        self.ages_at_end = topology.ends_ms.is_some();
        self
    }

    /// The parameters as of the last tick.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// `W` of each group, by [`GroupId`].
    pub fn groups(&self) -> &[TimeMs] {
        &self.groups
    }

    /// How far event time has come in each group, by [`GroupId`]: the greatest `W` that was not plus infinity or, behind the end of
    /// bounded input, the minute of the greatest event time. That every source has ended makes nothing older than that.
    pub fn reached(&self) -> &[TimeMs] {
        &self.reached
    }

    /// How far event time has come in a group: ages, and what is still remembered, are measured against this.
    pub fn reached_by(&self, group: GroupId) -> TimeMs {
        self.reached[group.0 as usize]
    }

    /// `W` of a group.
    pub fn group(&self, group: GroupId) -> TimeMs {
        self.groups[group.0 as usize]
    }

    /// The floor under a lane in the next tick; a lane that is not known yet stands on its group's watermark, since the
    /// nameless lane that stood for it never stands at its own greatest.
    pub fn floor(&self, partition: PartitionId, lane: u32, group: GroupId) -> TimeMs {
        let lanes = &self.partitions[partition.0 as usize].lanes;
        lanes.get(lane as usize).map_or(self.groups[group.0 as usize], |lane| lane.floor_ms)
    }

    /// Goes on to tick `T`, given its binding and one report of every partition.
    pub fn advance(&mut self, binding: &Binding, reports: &[Report]) {
        if let Some(configuration) = &binding.configuration {
            self.change_parameters(&configuration.parameters);
        }
        for report in reports {
            let now_ms = binding.now_ms;
            let known = &mut self.partitions[report.partition.0 as usize];
            known.status = report.status;
            known.ended |= report.status == Status::Ended;
            let log_time_ms = log_time(report.status, now_ms, report.behind_ms);
            for spoken in &report.spoken {
                if spoken.lane as usize == known.lanes.len() {
                    let floor_ms = self.groups[spoken.group.0 as usize];
                    known.lanes.push(Lane { floor_ms, ..Lane::silent(spoken.group) });
                }
                let lane = &mut known.lanes[spoken.lane as usize];
                lane.greatest_ms = spoken.greatest_ms;
                lane.spoke_at_ms = Some(log_time_ms);
            }
        }
        self.rise(binding, reports);
    }

    fn rise(&mut self, binding: &Binding, reports: &[Report]) {
        let mut least = vec![PLUS_INFINITY; self.groups.len()];
        let mut stands_elsewhere = Vec::new();
        for report in reports {
            let known = &self.partitions[report.partition.0 as usize];
            let parameters = self.parameters.lanes[report.partition.0 as usize];
            let log_time_ms = log_time(report.status, binding.now_ms, report.behind_ms);
            for (index, lane) in known.lanes.iter().enumerate() {
                let stands_ms =
                    stand(lane.greatest_ms, lane.spoke_at_ms, log_time_ms, parameters.hold_ms, parameters.idle_ms);
                if !known.ended {
                    let least = &mut least[lane.group.0 as usize];
                    *least = (*least).min(minus_ms(stands_ms, parameters.lateness_ms));
                }
                if stands_ms != lane.greatest_ms || known.ended {
                    stands_elsewhere.push((report.partition.0 as usize, index));
                }
            }
            for group in known.open.iter().filter(|_| !known.ended) {
                let least = &mut least[group.0 as usize];
                *least = (*least).min(minus_ms(minus_ms(log_time_ms, parameters.idle_ms), parameters.lateness_ms));
            }
        }
        let had_ended: Vec<bool> = self.groups.iter().map(|watermark| *watermark == PLUS_INFINITY).collect();
        for ((watermark, least), fed) in self.groups.iter_mut().zip(least).zip(&self.fed) {
            if *fed {
                *watermark = (*watermark).max(least);
            }
        }
        for (reached, watermark) in self.reached.iter_mut().zip(&self.groups) {
            if *watermark < PLUS_INFINITY {
                *reached = *watermark;
            }
        }
        if self.ages_at_end && had_ended.contains(&true) {
            for lane in self.partitions.iter().flat_map(|partition| &partition.lanes) {
                let group = lane.group.0 as usize;
                if had_ended[group] && lane.greatest_ms > MINUS_INFINITY {
                    self.reached[group] = self.reached[group].max(minute_end_ms(minute_of(lane.greatest_ms)));
                }
            }
        }
        for (partition, lane) in stands_elsewhere {
            let lane = &mut self.partitions[partition].lanes[lane];
            lane.floor_ms = lane.floor_ms.max(self.groups[lane.group.0 as usize]);
        }
    }

    /// A tick that changes lateness, or first names a partition, raises every floor of the partition to `W(T-1)`: what was
    /// sealed stays sealed.
    fn change_parameters(&mut self, parameters: &Parameters) {
        for (index, (partition, lanes)) in self.partitions.iter_mut().zip(&parameters.lanes).enumerate() {
            let before = self.parameters.lanes.get(index).map(|lane| lane.lateness_ms);
            if before != Some(lanes.lateness_ms) {
                for lane in &mut partition.lanes {
                    lane.floor_ms = lane.floor_ms.max(self.groups[lane.group.0 as usize]);
                }
            }
        }
        self.parameters = parameters.clone();
    }
}

impl PartitionLanes {
    fn new(partition: &Partition) -> Self {
        let closed = partition.groups.iter().flat_map(|(group, lanes)| match lanes {
            Lanes::Closed(lanes) => vec![*group; lanes.len()],
            Lanes::Open => Vec::new(),
        });
        let open = partition.groups.iter().filter(|(_, lanes)| *lanes == Lanes::Open).map(|(group, _)| *group);
        PartitionLanes {
            lanes: closed.map(Lane::silent).collect(),
            open: open.collect(),
            status: Status::Behind,
            ended: false,
        }
    }
}

impl Lane {
    fn silent(group: GroupId) -> Self {
        Lane { group, greatest_ms: MINUS_INFINITY, spoke_at_ms: None, floor_ms: MINUS_INFINITY }
    }
}

/// A partition's log time.
pub fn log_time(status: Status, now_ms: TimeMs, behind_ms: TimeMs) -> TimeMs {
    match status {
        Status::CaughtUp | Status::Idle => now_ms,
        Status::Behind | Status::Ended => behind_ms,
    }
}

/// Where a lane stands.
fn stand(greatest_ms: TimeMs, spoke_at_ms: Option<TimeMs>, log_time_ms: TimeMs, hold_ms: i64, idle_ms: i64) -> TimeMs {
    let speaks = spoke_at_ms.is_some_and(|spoke_at_ms| log_time_ms.saturating_sub(spoke_at_ms) <= idle_ms);
    greatest_ms.max(minus_ms(log_time_ms, if speaks { hold_ms } else { idle_ms }))
}
