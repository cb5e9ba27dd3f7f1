//! A story: judges and watermarks put together as release and clock do it, and records told tick by tick.

use operators::binding::{Advance, Binding, Configuration, Status};
use operators::judge::{Judge, Rules, Timeliness};
use operators::record::{Header, Identity};
use operators::time::{MINUS_INFINITY, Tick, TimeMs};
use operators::topology::{GroupId, LaneParameters, Lanes, Parameters, Partition, PartitionId, ReleaseId, Topology};
use operators::watermark::{Counts, Report, Watermarks};

/// When stories begin.
pub const START_MS: TimeMs = 1_700_000_040_000;
/// A second.
pub const SECOND: i64 = 1_000;
/// A minute.
pub const MINUTE: i64 = 60 * SECOND;
/// The only group of most stories.
pub const GROUP: GroupId = GroupId(0);
/// What every lane is allowed, unless a story says otherwise.
pub const USUAL: LaneParameters = LaneParameters {
    lateness_ms: 10 * SECOND,
    hold_ms: 30 * SECOND,
    idle_ms: 2 * MINUTE,
    skew_max_ms: 5 * MINUTE,
    dedup_horizon_ms: 0,
};

/// A record: its partition, its lane, when it happened. Its group is the partition's first.
pub type Said = (u32, u128, TimeMs);

/// A partition that feeds the only group.
pub fn partition(live: bool, lanes: Lanes) -> Partition {
    feeding(live, vec![(GROUP, lanes)])
}

/// A partition that feeds these groups.
pub fn feeding(live: bool, groups: Vec<(GroupId, Lanes)>) -> Partition {
    Partition {
        name: String::new(),
        release: ReleaseId(0),
        groups,
        identity_fixes_partition: true,
        live,
        re_enters: None,
        shown_once_read: false,
        weight: 1,
    }
}

/// Lanes that are declared: so many, from 0.
pub fn closed(lanes: u128) -> Lanes {
    Lanes::Closed((0..lanes).collect())
}

/// A topology of these partitions, with as many groups as they feed.
pub fn topology(partitions: Vec<Partition>) -> Topology {
    let fed = partitions.iter().flat_map(|partition| partition.groups.iter().map(|(group, _)| group.0));
    let groups = fed.max().map_or(0, |greatest| greatest + 1);
    Topology { partitions, groups: (0..groups).map(|group| format!("tenant {group}")).collect(), ends_ms: None }
}

/// A configuration with these parameters for each partition.
pub fn configuration(lanes: Vec<LaneParameters>) -> Configuration {
    let parameters = Parameters { lanes, start_ms: START_MS };
    Configuration { canonical: String::new(), sha256: String::new(), build: String::new(), parameters }
}

/// What was told so far, and what follows from it.
pub struct Story {
    topology: Topology,
    watermarks: Watermarks,
    judges: Vec<Judge>,
    statuses: Vec<Status>,
    parameters: Parameters,
    greatest: Vec<Vec<TimeMs>>,
    /// When the log appended the records that are told, if it says so.
    append_ms: Option<TimeMs>,
    tick: Tick,
}

impl Story {
    /// A story in which every lane is allowed the usual.
    pub fn new(partitions: Vec<Partition>) -> Self {
        let usual = vec![USUAL; partitions.len()];
        Story::with(partitions, usual)
    }

    /// A story in which the lanes of each partition are allowed this.
    pub fn with(partitions: Vec<Partition>, lanes: Vec<LaneParameters>) -> Self {
        let topology = topology(partitions);
        let judges = (0..).map(PartitionId).zip(&topology.partitions).map(|(id, partition)| Judge::new(id, partition));
        let mut story = Story {
            watermarks: Watermarks::new(&topology),
            judges: judges.collect(),
            statuses: vec![Status::Behind; topology.partitions.len()],
            parameters: Parameters::default(),
            greatest: vec![Vec::new(); topology.partitions.len()],
            append_ms: None,
            tick: 0,
            topology,
        };
        story.configured(START_MS, lanes, &[]);
        story
    }

    /// From now on a partition is so far.
    pub fn is(&mut self, partition: u32, status: Status) {
        self.statuses[partition as usize] = status;
    }

    /// From now on the log says of every record that it was appended then.
    pub fn appended_at(&mut self, append_ms: Option<TimeMs>) {
        self.append_ms = append_ms;
    }

    /// Tells a tick; gives the verdicts in the order of the records.
    pub fn tick(&mut self, now_ms: TimeMs, said: &[Said]) -> Vec<Timeliness> {
        self.tell(now_ms, None, &self.of_first_group(said))
    }

    /// Tells a tick whose records name their group.
    pub fn tick_of_groups(&mut self, now_ms: TimeMs, said: &[(GroupId, Said)]) -> Vec<Timeliness> {
        self.tell(now_ms, None, said)
    }

    /// Tells a tick that changes what the lanes of each partition are allowed.
    pub fn configured(&mut self, now_ms: TimeMs, lanes: Vec<LaneParameters>, said: &[Said]) -> Vec<Timeliness> {
        self.tell(now_ms, Some(configuration(lanes)), &self.of_first_group(said))
    }

    /// Tells a tick whose records name their group and that may change what lanes are allowed.
    pub fn tell(
        &mut self,
        now_ms: TimeMs,
        configuration: Option<Configuration>,
        said: &[(GroupId, Said)],
    ) -> Vec<Timeliness> {
        let parameters =
            configuration.as_ref().map_or_else(|| self.parameters.clone(), |changed| changed.parameters.clone());
        let before = std::mem::replace(&mut self.parameters, parameters);
        let verdicts = said.iter().map(|(group, record)| self.judge(now_ms, &before, *group, *record)).collect();
        let (binding, reports) = self.end_tick(now_ms, configuration);
        self.watermarks.advance(&binding, &reports);
        self.tick += 1;
        verdicts
    }

    fn judge(
        &mut self,
        now_ms: TimeMs,
        before: &Parameters,
        group: GroupId,
        (partition, lane, at_ms): Said,
    ) -> Timeliness {
        let place = partition as usize;
        let parameters = self.parameters.lanes[place];
        let from_ms = if self.topology.partitions[place].live { now_ms } else { self.parameters.start_ms };
        let rules = Rules {
            parameters,
            lateness_changed: before.lanes.get(place).is_some_and(|lanes| lanes.lateness_ms != parameters.lateness_ms),
            future_ms: from_ms.saturating_add(parameters.skew_max_ms),
            watermarks: &self.watermarks,
        };
        let identity = Identity::Id { id: 0, content: 0 };
        self.judges[place].appended(self.append_ms);
        self.judges[place].judge(&Header { group, lane, event_time_ms: at_ms, identity }, &rules)
    }

    fn end_tick(&mut self, now_ms: TimeMs, configuration: Option<Configuration>) -> (Binding, Vec<Report>) {
        let (mut advances, mut reports) = (Vec::new(), Vec::new());
        for (id, judge) in (0..).map(PartitionId).zip(&mut self.judges) {
            let place = id.0 as usize;
            if place >= self.parameters.lanes.len() {
                continue;
            }
            let status = self.statuses[place];
            let (spoken, behind_ms) = judge.end_tick();
            for spoken in &spoken {
                let greatest = &mut self.greatest[place];
                greatest.resize(greatest.len().max(spoken.lane as usize + 1), MINUS_INFINITY);
                greatest[spoken.lane as usize] = spoken.greatest_ms;
            }
            advances.push(Advance { partition: id, next: 0, status });
            let counts = Counts::default();
            reports.push(Report {
                tick: self.tick,
                partition: id,
                next: 0,
                status,
                behind_ms,
                spoken,
                counts,
                outcomes: Vec::new(),
            });
        }
        (Binding { tick: self.tick, now_ms, advances, configuration, answers: Vec::new(), checkpoint: false }, reports)
    }

    /// The watermark of the first group, as of the last tick.
    pub fn watermark(&self) -> TimeMs {
        self.watermarks.group(GROUP)
    }

    /// The watermarks of all groups, as of the last tick.
    pub fn watermarks(&self) -> &[TimeMs] {
        self.watermarks.groups()
    }

    /// The floor under the lane at this place, in the next tick.
    pub fn floor(&self, partition: u32, place: u32) -> TimeMs {
        self.watermarks.floor(PartitionId(partition), place, GROUP)
    }

    /// The greatest event time of the lane at this place, as its partition's owner last told it.
    pub fn greatest(&self, partition: u32, place: u32) -> TimeMs {
        self.greatest[partition as usize].get(place as usize).copied().unwrap_or(MINUS_INFINITY)
    }

    fn of_first_group(&self, said: &[Said]) -> Vec<(GroupId, Said)> {
        said.iter().map(|record| (self.topology.partitions[record.0 as usize].groups[0].0, *record)).collect()
    }
}
