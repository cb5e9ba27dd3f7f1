//! The end of a tick: where lanes stand, watermarks, floors.

use operators::binding::Status;
use operators::judge::RECENT_RECORDS;
use operators::time::{MINUS_INFINITY, PLUS_INFINITY, TimeMs};
use operators::topology::GroupId;

use super::{LaneModel, Model, earlier};

impl Model<'_> {
    /// Ends a tick: log times, where every lane stands, watermarks, and the floors of the next tick.
    pub(super) fn rise(&mut self) {
        let mut log_times = Vec::new();
        for partition in &mut self.partitions {
            if partition.spoken.len() as u64 >= RECENT_RECORDS {
                let recent = &partition.spoken[partition.spoken.len() - RECENT_RECORDS as usize..];
                let least_ms = recent.iter().map(|lane| partition.lanes[*lane].greatest_ms).min();
                partition.behind_ms = partition.behind_ms.max(least_ms.expect("there are recent records"));
            }
            let log_time_ms = match partition.status {
                Status::CaughtUp | Status::Idle => self.now_ms,
                Status::Behind | Status::Ended => partition.behind_ms,
            };
            for lane in partition.lanes.iter_mut().filter(|lane| lane.speaks) {
                lane.speaks = false;
                lane.spoke_at_ms = Some(log_time_ms);
            }
            log_times.push(log_time_ms);
        }

        let before = self.watermarks.clone();
        for group in (0..self.watermarks.len() as u16).map(GroupId) {
            let feeds =
                |number: &usize| self.history.topology.partitions[*number].groups.iter().any(|(fed, _)| *fed == group);
            let feeding: Vec<usize> = (0..self.partitions.len()).filter(feeds).collect();
            let running: Vec<usize> =
                feeding.iter().copied().filter(|number| self.partitions[*number].status != Status::Ended).collect();
            let watermark_ms = &mut self.watermarks[usize::from(group.0)];
            if !feeding.is_empty() && running.is_empty() {
                *watermark_ms = PLUS_INFINITY;
                continue;
            }
            let mut least_ms = None;
            for number in &running {
                let parameters = self.parameters.lanes[*number];
                for lane in self.partitions[*number].lanes.iter().filter(|lane| lane.group == group) {
                    let stands_ms = lane.stands(log_times[*number], parameters.hold_ms, parameters.idle_ms);
                    let bound_ms = earlier(stands_ms, parameters.lateness_ms);
                    least_ms = Some(least_ms.map_or(bound_ms, |least_ms: TimeMs| least_ms.min(bound_ms)));
                }
            }
            *watermark_ms = (*watermark_ms).max(least_ms.unwrap_or(MINUS_INFINITY));
            for number in &running {
                let parameters = self.parameters.lanes[*number];
                for lane in self.partitions[*number].lanes.iter_mut().filter(|lane| lane.group == group) {
                    let stands_ms = lane.stands(log_times[*number], parameters.hold_ms, parameters.idle_ms);
                    if stands_ms != lane.greatest_ms {
                        lane.floor_ms = lane.floor_ms.max(*watermark_ms);
                    }
                }
            }
        }
        for (finite_ms, watermark_ms) in self.finite_watermarks.iter_mut().zip(&self.watermarks) {
            if *watermark_ms != PLUS_INFINITY {
                *finite_ms = *watermark_ms;
            }
        }
        // Where the input's end is known, a group that had ended before this tick is as old as the newest of its records.
        for group in (0..before.len()).filter(|group| before[*group] == PLUS_INFINITY) {
            let lanes = self.partitions.iter().flat_map(|partition| &partition.lanes);
            let newest_ms = lanes.filter(|lane| usize::from(lane.group.0) == group).map(|lane| lane.greatest_ms).max();
            if let Some(newest_ms) = newest_ms.filter(|newest_ms| *newest_ms != MINUS_INFINITY)
                && self.history.topology.ends_ms.is_some()
            {
                let minute_end_ms = (newest_ms.div_euclid(60_000) + 1) * 60_000;
                self.finite_watermarks[group] = self.finite_watermarks[group].max(minute_end_ms);
            }
        }
        for shown in self.late_events.iter_mut().chain(&mut self.dead_letters) {
            if shown.since_ms.is_none() && self.now_ms != MINUS_INFINITY {
                shown.since_ms = Some(self.now_ms);
            }
        }
    }
}

impl LaneModel {
    pub(super) fn silent(group: GroupId, name: Option<u128>) -> LaneModel {
        let nothing = MINUS_INFINITY;
        LaneModel { group, name, greatest_ms: nothing, floor_ms: nothing, spoke_at_ms: None, speaks: false }
    }

    fn stands(&self, log_time_ms: TimeMs, hold_ms: i64, idle_ms: i64) -> TimeMs {
        if log_time_ms == MINUS_INFINITY {
            return self.greatest_ms;
        }
        let spoke_lately = match self.spoke_at_ms {
            None | Some(MINUS_INFINITY) => false,
            Some(spoke_at_ms) => log_time_ms - spoke_at_ms <= idle_ms,
        };
        let behind_ms = if spoke_lately { hold_ms } else { idle_ms };
        self.greatest_ms.max(earlier(log_time_ms, behind_ms))
    }
}
