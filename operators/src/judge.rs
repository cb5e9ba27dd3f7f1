//! Verdicts: what a partition's owner makes of each record, in offset order, at its place in the log.
//!
//! Late is a record whose event time is below the greater of its lane's greatest so far less lateness and the floor under
//! the lane. Every decoded record that is not `future` raises its lane's greatest, whatever its verdict.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::record::Header;
use crate::time::{MINUS_INFINITY, TimeMs, minus_ms};
use crate::topology::{GroupId, LaneParameters, Lanes, Partition, PartitionId};
use crate::watermark::{Spoken, Watermarks};

/// Whether a record is in time, before anybody asks whether it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeliness {
    /// Too far ahead of the clock: no record at all.
    Future,
    /// Behind its lane, or the floor under it.
    Late,
    /// Neither too far ahead nor late.
    OnTime,
}

/// What the records of one tick are judged by.
#[derive(Debug)]
pub struct Rules<'a> {
    /// The partition's parameters, as of this tick.
    pub parameters: LaneParameters,
    /// Whether this tick changed its lateness: then the floor under every lane is at `W(T-1)` at least.
    pub lateness_changed: bool,
    /// The last event time that is not `future`.
    pub future_ms: TimeMs,
    /// Watermarks and floors, as of the tick before.
    pub watermarks: &'a Watermarks,
}

/// The records over which a partition's log time is the least of its lanes' greatest event times.
pub const RECENT_RECORDS: u64 = 10_000;

/// The lanes of one partition, as its owner knows them.
#[derive(Debug, Serialize, Deserialize)]
pub struct Judge {
    partition: PartitionId,
    lanes: Vec<Lane>,
    #[serde(with = "places")]
    places: Places,
    #[serde(skip)]
    last: Option<((GroupId, u128), u32)>,
    /// Empty between ticks.
    #[serde(skip)]
    spoken: Vec<u32>,
    recent: Recent,
    behind_ms: TimeMs,
    /// The greatest append time, if the log said it of the last record.
    append_ms: Option<TimeMs>,
}

/// By group and lane, its place among the lanes. A tree, since whoever writes input chooses the names of lanes.
type Places = BTreeMap<(GroupId, u128), u32>;

#[derive(Debug, Serialize, Deserialize)]
struct Lane {
    group: GroupId,
    greatest_ms: TimeMs,
    /// In this tick: never between ticks.
    #[serde(skip)]
    spoke: bool,
}

/// Checkpoints have the lanes in the order of their places.
mod places {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{GroupId, Places};

    pub(super) fn serialize<S: Serializer>(places: &Places, serializer: S) -> Result<S::Ok, S::Error> {
        let mut lanes: Vec<(u32, GroupId, u128)> =
            places.iter().map(|((group, lane), place)| (*place, *group, *lane)).collect();
        lanes.sort_unstable();
        lanes.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Places, D::Error> {
        let lanes = Vec::<(u32, GroupId, u128)>::deserialize(deserializer)?;
        Ok(lanes.into_iter().map(|(place, group, lane)| ((group, lane), place)).collect())
    }
}

impl Judge {
    /// Before the first record of a partition.
    pub fn new(id: PartitionId, partition: &Partition) -> Self {
        let mut judge = Judge {
            partition: id,
            lanes: Vec::new(),
            places: BTreeMap::new(),
            last: None,
            spoken: Vec::new(),
            recent: Recent::default(),
            behind_ms: MINUS_INFINITY,
            append_ms: None,
        };
        for (group, lanes) in &partition.groups {
            if let Lanes::Closed(lanes) = lanes {
                for lane in lanes {
                    judge.place_of(*group, *lane);
                }
            }
        }
        judge
    }

    /// Takes note of when the log appended the next record, be it a dead letter, where the log says so. A log that says
    /// so no more is one that never did.
    pub fn appended(&mut self, append_ms: Option<TimeMs>) {
        self.append_ms = append_ms.map(|append_ms| self.append_ms.map_or(append_ms, |last_ms| last_ms.max(append_ms)));
    }

    /// Judges the next record by the rules of its tick.
    pub fn judge(&mut self, header: &Header, rules: &Rules<'_>) -> Timeliness {
        if header.event_time_ms > rules.future_ms {
            return Timeliness::Future;
        }
        let place = self.place_of(header.group, header.lane);
        self.recent.push(place);
        let lane = &mut self.lanes[place as usize];
        if !lane.spoke {
            lane.spoke = true;
            self.spoken.push(place);
        }
        let floor_ms = rules.watermarks.floor(self.partition, place, header.group);
        let sealed_ms = if rules.lateness_changed { rules.watermarks.group(header.group) } else { MINUS_INFINITY };
        let bound_ms = minus_ms(lane.greatest_ms, rules.parameters.lateness_ms).max(floor_ms).max(sealed_ms);
        lane.greatest_ms = lane.greatest_ms.max(header.event_time_ms);
        if header.event_time_ms < bound_ms { Timeliness::Late } else { Timeliness::OnTime }
    }

    /// Ends a tick: the lanes that spoke, and the partition's log time while it is behind.
    pub fn end_tick(&mut self) -> (Vec<Spoken>, TimeMs) {
        let least = || self.recent.lanes().map(|place| self.lanes[place as usize].greatest_ms).min();
        if let Some(read_ms) = self.append_ms.or_else(least) {
            self.behind_ms = self.behind_ms.max(read_ms);
        }
        let mut places = std::mem::take(&mut self.spoken);
        // New lanes have to reach the clock in the order of their places.
        places.sort_unstable();
        let spoken = places.into_iter().map(|place| {
            let lane = &mut self.lanes[place as usize];
            lane.spoke = false;
            Spoken { lane: place, group: lane.group, greatest_ms: lane.greatest_ms }
        });
        (spoken.collect(), self.behind_ms)
    }

    fn place_of(&mut self, group: GroupId, lane: u128) -> u32 {
        if let Some((known, place)) = self.last
            && known == (group, lane)
        {
            return place;
        }
        let next = self.lanes.len() as u32;
        let place = *self.places.entry((group, lane)).or_insert(next);
        if place == next {
            self.lanes.push(Lane { group, greatest_ms: MINUS_INFINITY, spoke: false });
        }
        self.last = Some(((group, lane), place));
        place
    }
}

/// A hasher with a written seed for lanes: places only.
#[derive(Default, Debug)]
pub struct LaneHasher(u64);

impl std::hash::Hasher for LaneHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxhash_rust::xxh3::xxh3_64_with_seed(bytes, self.0);
    }
    fn write_u8(&mut self, value: u8) {
        self.write_u64(u64::from(value));
    }
    fn write_u16(&mut self, value: u16) {
        self.write_u64(u64::from(value));
    }
    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }
    fn write_u64(&mut self, value: u64) {
        let product = u128::from(self.0 ^ value.wrapping_mul(0x9e37_79b9_7f4a_7c15)) * 0xd6e8_feb8_6659_fd93;
        self.0 = (product as u64) ^ ((product >> 64) as u64);
    }
    fn write_i64(&mut self, value: i64) {
        self.write_u64(value as u64);
    }
    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }
    fn write_u128(&mut self, value: u128) {
        self.write_u64(value as u64);
        self.write_u64((value >> 64) as u64);
    }
}

/// The lanes of the last [`RECENT_RECORDS`] records, as runs.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Recent {
    runs: VecDeque<(u32, u64)>,
    counts: Vec<u64>,
    records: u64,
}

impl Recent {
    fn push(&mut self, lane: u32) {
        if lane as usize >= self.counts.len() {
            self.counts.resize(lane as usize + 1, 0);
        }
        self.counts[lane as usize] += 1;
        match self.runs.back_mut() {
            Some((last, run)) if *last == lane => *run += 1,
            _ => self.runs.push_back((lane, 1)),
        }
        if self.records < RECENT_RECORDS {
            self.records += 1;
            return;
        }
        let (first, run) = self.runs.front_mut().expect("there are records");
        self.counts[*first as usize] -= 1;
        *run -= 1;
        if *run == 0 {
            self.runs.pop_front();
        }
    }

    /// The lanes among them; none before there were so many records.
    fn lanes(&self) -> impl Iterator<Item = u32> {
        let enough = self.records >= RECENT_RECORDS;
        (0u32..).zip(&self.counts).filter(move |(_, count)| enough && **count > 0).map(|(lane, _)| lane)
    }
}
