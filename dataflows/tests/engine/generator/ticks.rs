//! The remap log of a history: what is bound in each tick, and what becomes of each partition.

use operators::binding::{Advance, Binding, Status};
use operators::record::Item;
use operators::time::{MINUS_INFINITY, TimeMs};
use operators::topology::{Partition, PartitionId};

use super::{BASE_MS, Generator, MINUTE, SECOND, YEAR_2099_MS};
use crate::history::Records;

impl Generator {
    /// The remap log of a short history.
    pub(super) fn bindings(&mut self, ticks: u64, rate: u64) -> Vec<Binding> {
        let live = self.partitions.iter().any(|partition| partition.live);
        let mut now_ms = BASE_MS;
        let mut bindings = vec![self.first_binding()];
        for tick in 1..ticks {
            now_ms += match self.random.below(8) {
                0 => 0,
                1 => self.random.below(5 * MINUTE as u64) as i64,
                _ => self.random.below(45 * SECOND as u64) as i64,
            };
            now_ms -= now_ms.rem_euclid(self.grain_ms);
            for number in 0..self.feeds.len() {
                self.step(number, tick, ticks - 1, now_ms, rate);
            }
            let bound_ms = if live { now_ms } else { self.scheduled_ms(bindings[tick as usize - 1].now_ms) };
            let binding = self.binding(tick, bound_ms);
            bindings.push(binding);
        }
        bindings
    }

    pub(super) fn first_binding(&self) -> Binding {
        let live = self.partitions.iter().any(|partition| partition.live);
        let now_ms = if live { BASE_MS } else { MINUS_INFINITY };
        Binding { tick: 0, now_ms, advances: Vec::new(), configuration: None, answers: Vec::new(), checkpoint: false }
    }

    pub(super) fn binding(&mut self, tick: u64, now_ms: TimeMs) -> Binding {
        let mut advances = Vec::new();
        for (number, feed) in (0..).zip(&self.feeds) {
            if feed.bound > 0 || feed.status != Status::Behind || self.random.once_in(4) {
                let partition = PartitionId(number);
                advances.push(Advance { partition, next: 10 * feed.bound, status: feed.status });
            }
        }
        Binding { tick, now_ms, advances, configuration: None, answers: Vec::new(), checkpoint: false }
    }

    /// `now` of files: the running maximum of the least greatest event time bound, over files not ended.
    pub(super) fn scheduled_ms(&self, before_ms: TimeMs) -> TimeMs {
        let both = self.feeds.iter().zip(&self.partitions);
        let running = both.filter(|(feed, partition)| feed.status != Status::Ended && partition.re_enters.is_none());
        let running = running.map(|(feed, _)| feed);
        let least_ms = running.map(|feed| {
            let bound = feed.bound as usize;
            let times: Vec<TimeMs> = match &feed.records {
                Records::Events(items) => times_of(&items[..bound]).collect(),
                Records::Facts(items) => times_of(&items[..bound]).collect(),
            };
            times.into_iter().max().unwrap_or(MINUS_INFINITY)
        });
        least_ms.min().unwrap_or(MINUS_INFINITY).max(before_ms)
    }

    /// What happens to a partition in a tick: records are made, and some are bound.
    pub(super) fn step(&mut self, number: usize, tick: u64, last: u64, now_ms: TimeMs, rate: u64) {
        let burst = if self.random.once_in(15) { 20 } else { 0 };
        let quiet = self.random.once_in(4);
        let made = if quiet { 0 } else { self.random.below(2 * rate) + burst };
        let Partition { live, re_enters, .. } = self.partitions[number];
        if live || re_enters.is_some() {
            for _ in 0..made {
                self.make(number, tick, now_ms);
            }
            let end = self.feeds[number].records.end() / 10;
            if self.feeds[number].behind_until <= tick && self.random.once_in(8) {
                self.feeds[number].behind_until = tick + 1 + self.random.below(5);
            }
            let all = self.random.once_in(3);
            let ready = end - self.feeds[number].bound;
            let some = self.random.below(ready + 1).min(2);
            let feed = &mut self.feeds[number];
            if tick < feed.behind_until {
                feed.status = Status::Behind;
                feed.bound += if all { ready } else { some };
            } else {
                feed.status = if ready == 0 && quiet { Status::Idle } else { Status::CaughtUp };
                feed.bound = end;
            }
        } else if self.feeds[number].status != Status::Ended {
            for _ in 0..made {
                let gap_ms = self.random.below(20 * SECOND as u64) as i64;
                self.feeds[number].written_ms += gap_ms;
                let written_ms = self.feeds[number].written_ms;
                if self.feeds[number].records.end() / 10 < self.feeds[number].length {
                    self.make(number, tick, written_ms);
                }
            }
            let feed = &mut self.feeds[number];
            let done = feed.bound == feed.length;
            feed.bound = feed.records.end() / 10;
            let full = feed.bound == feed.length;
            if done || (full && self.random.once_in(2)) || (tick == last && self.random.once_in(3)) {
                feed.status = Status::Ended;
            }
        }
    }
}

fn times_of<R>(items: &[Item<R>]) -> impl Iterator<Item = TimeMs> {
    let times = items.iter().filter_map(|item| item.outcome.as_ref().ok());
    times.map(|(header, _)| header.event_time_ms).filter(|time_ms| *time_ms < YEAR_2099_MS)
}
