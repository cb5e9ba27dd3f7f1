//! Minting: what belongs to the next tick, and when there is one.
//!
//! One minter a cluster. Readers report what they hold; when a tick is due, the minter composes a binding from that. A
//! binding takes at most `tick_bytes`, shared among the partitions by weight, so that one partition's backlog delays
//! another by one tick at most; within that bound ticks grow with the backlog. There is a tick without data too, at least
//! every `empty_tick_ms`. This is a state machine: time is an argument, and the caller makes each binding durable.

use crate::binding::{Advance, Binding, Configuration, Status};
use crate::time::{MINUS_INFINITY, PLUS_INFINITY, Tick, TimeMs};
use crate::topology::{Parameters, PartitionId, Topology};

use held::{Granule, Held};

mod held;

/// What a reader says of its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Holding {
    /// It holds records up to here.
    Records {
        /// The offset after the last of them.
        end_offset: u64,
        /// How many bytes of input they are.
        bytes: u64,
        /// The least event time among them.
        least_ms: TimeMs,
        /// The greatest event time among them; minus infinity where none decoded.
        greatest_ms: TimeMs,
    },
    /// The log ended at this offset when it was asked.
    CaughtUp(u64),
    /// Reading failed, or the reader is paused by somebody else: whatever was evidence is none any more.
    Stalled,
    /// There will be no more records after this offset.
    Ended(u64),
}

/// When ticks are minted and how large they may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MinterOptions {
    /// The most input of one tick; a single larger granule is still taken, alone.
    pub tick_bytes: u64,
    /// A tick is due this long after the last one, if anything is held.
    pub tick_ms: i64,
    /// A tick is due this long after the last one, whatever is held.
    pub empty_tick_ms: i64,
    /// Files: event time per wall time, each partition from its own first event. `None` is as fast as it goes.
    pub speed: Option<f64>,
}

impl Default for MinterOptions {
    fn default() -> Self {
        MinterOptions { tick_bytes: 2 << 20, tick_ms: 100, empty_tick_ms: 1_000, speed: None }
    }
}

/// The minter's state.
#[derive(Debug)]
pub struct Minter {
    topology: Topology,
    parameters: Parameters,
    options: MinterOptions,
    held: Vec<Held>,
    tick: Tick,
    now_ms: TimeMs,
    minted_wall_ms: Option<TimeMs>,
    started_wall_ms: Option<TimeMs>,
    first_share: usize,
    /// `now` of the last replayed binding.
    resumed_ms: TimeMs,
    /// Whether the last binding was the first to say that some source has ended.
    told_end: bool,
}

impl Minter {
    /// A minter before tick 0.
    pub fn new(topology: Topology, options: MinterOptions) -> Self {
        let held = topology.partitions.iter().map(|_| Held::default()).collect();
        Minter {
            topology,
            parameters: Parameters::default(),
            options,
            held,
            tick: 0,
            now_ms: MINUS_INFINITY,
            minted_wall_ms: None,
            started_wall_ms: None,
            first_share: 0,
            resumed_ms: MINUS_INFINITY,
            told_end: false,
        }
    }

    /// The tick that is minted next.
    pub fn tick(&self) -> Tick {
        self.tick
    }

    /// Where a partition's reader has to begin: the offset of its first record that is not bound.
    pub fn bound(&self, partition: PartitionId) -> u64 {
        self.held[partition.0 as usize].bound
    }

    /// Whether every partition has ended, so that only empty ticks can follow. Of what people may let in again at any time
    /// all that there was when it was last asked has to be bound.
    pub fn all_ended(&self) -> bool {
        !self.has_ages_to_tell()
            && self.held.iter().zip(&self.topology.partitions).all(|(held, partition)| match partition.re_enters {
                None => held.status == Some(Status::Ended),
                Some(_) => held.is_read() && held.granules.is_empty(),
            })
    }

    /// Whether the last binding of this run says of every partition that it has ended or that there was no more to read.
    pub fn all_read(&self) -> bool {
        self.minted_wall_ms.is_some() && !self.has_ages_to_tell() && self.held.iter().all(Held::is_read)
    }

    /// Whether a tick has to follow, since ages hold only behind the tick that tells an end.
    fn has_ages_to_tell(&self) -> bool {
        self.told_end && self.topology.ends_ms.is_some()
    }

    /// Takes note of a binding of an earlier run, which is replayed as it was written.
    pub fn replayed(&mut self, binding: &Binding) {
        self.tick = binding.tick + 1;
        self.now_ms = binding.now_ms;
        self.resumed_ms = binding.now_ms;
        if let Some(configuration) = &binding.configuration {
            self.parameters = configuration.parameters.clone();
        }
        self.told_end = false;
        for advance in &binding.advances {
            self.told_end |= self.tells_end(advance);
            let held = &mut self.held[advance.partition.0 as usize];
            held.status = Some(advance.status);
            held.bound_upto(advance.next);
        }
    }

    /// Whether it is the first that says that a source has ended.
    fn tells_end(&self, advance: &Advance) -> bool {
        let place = advance.partition.0 as usize;
        let is_source = self.topology.partitions[place].re_enters.is_none();
        is_source && advance.status == Status::Ended && self.held[place].status != Some(Status::Ended)
    }

    /// Takes note of what a reader holds.
    pub fn hold(&mut self, partition: PartitionId, holding: Holding, wall_ms: TimeMs) {
        let held = &mut self.held[partition.0 as usize];
        let is_source = self.topology.partitions[partition.0 as usize].re_enters.is_none();
        match holding {
            Holding::Records { end_offset, bytes, least_ms, greatest_ms } => {
                if is_source && greatest_ms != MINUS_INFINITY {
                    held.first_event_ms.get_or_insert(least_ms);
                }
                // What takes up offsets without being a record, such as the mark of a transaction's end, is no speech.
                if bytes > 0 {
                    held.spoke_wall_ms = Some(wall_ms);
                }
                if end_offset > held.bound {
                    held.granules.push_back(Granule { end_offset, bytes, greatest_ms });
                } else {
                    // Bound by an earlier run: its event times still say where the file stands.
                    held.bound_greatest_ms = held.bound_greatest_ms.max(Some(greatest_ms));
                }
            }
            Holding::CaughtUp(offset) => held.evidence = Some((offset, wall_ms)),
            Holding::Stalled => held.evidence = None,
            Holding::Ended(offset) => held.ended_at = Some(offset),
        }
    }

    /// The first binding of a run, or of a run whose configuration changed.
    pub fn configure(&mut self, configuration: Configuration, wall_ms: TimeMs) -> Binding {
        self.parameters = configuration.parameters.clone();
        self.now_ms = self.now(wall_ms);
        self.finish(Vec::new(), Some(configuration), wall_ms)
    }

    /// The next binding, if one is due.
    pub fn mint(&mut self, wall_ms: TimeMs) -> Option<Binding> {
        let started_wall_ms = *self.started_wall_ms.get_or_insert(wall_ms);
        // A clock that was set back begins to count anew, so that ticks go on.
        self.minted_wall_ms = self.minted_wall_ms.map(|minted_ms| minted_ms.min(wall_ms));
        let elapsed_ms = self.minted_wall_ms.map_or(i64::MAX, |minted_ms| wall_ms - minted_ms);
        let eligible = self.eligible(self.played_ms(wall_ms.max(started_wall_ms) - started_wall_ms));
        let ready_bytes: u64 = self.held.iter().zip(&eligible).map(|(held, count)| held.bytes_of(*count)).sum();
        let news = ready_bytes > 0 || self.ends_to_tell() || self.has_ages_to_tell();
        let due = ready_bytes >= self.options.tick_bytes
            || (news && (elapsed_ms >= self.options.tick_ms || self.all_held()))
            || elapsed_ms >= self.options.empty_tick_ms;
        if !due {
            return None;
        }
        let taken = self.share(&eligible);
        for (held, count) in self.held.iter_mut().zip(&taken) {
            for granule in held.granules.drain(..*count) {
                held.bound = granule.end_offset;
                held.bound_greatest_ms = held.bound_greatest_ms.max(Some(granule.greatest_ms));
            }
        }
        let had_ended = self.sources().all(|held| held.status == Some(Status::Ended));
        let mut advances = Vec::new();
        self.told_end = false;
        for (index, taken) in taken.into_iter().enumerate() {
            let status = self.status(index, wall_ms);
            let advance = Advance { partition: PartitionId(index as u32), next: self.held[index].bound, status };
            if taken > 0 || self.held[index].status != Some(status) {
                self.told_end |= self.tells_end(&advance);
                self.held[index].status = Some(status);
                advances.push(advance);
            }
        }
        // A file that has just ended no longer counts.
        self.now_ms = self.now(wall_ms);
        if let Some(ends_ms) = self.topology.ends_ms.filter(|_| had_ended && !self.is_live()) {
            self.now_ms = self.now_ms.max(ends_ms);
        }
        Some(self.finish(advances, None, wall_ms))
    }

    fn finish(&mut self, advances: Vec<Advance>, configuration: Option<Configuration>, wall_ms: TimeMs) -> Binding {
        let binding = Binding {
            tick: self.tick,
            now_ms: self.now_ms,
            advances,
            configuration,
            answers: Vec::new(),
            checkpoint: false,
        };
        self.tick += 1;
        self.minted_wall_ms = Some(wall_ms);
        binding
    }

    /// With `speed`: wall time into the schedule. After a restart the schedule goes on from the recorded `now`.
    fn played_ms(&self, elapsed_ms: i64) -> i64 {
        let Some(speed) = self.options.speed else { return elapsed_ms };
        let first_ms = self.held.iter().filter_map(|held| held.first_event_ms).min();
        let replayed_ms = first_ms.map_or(0, |first_ms| self.resumed_ms.saturating_sub(first_ms).max(0));
        elapsed_ms.saturating_add((replayed_ms as f64 / speed) as i64)
    }

    /// How many granules of each partition may be bound: all, or those whose scheduled time has come.
    fn eligible(&self, elapsed_ms: i64) -> Vec<usize> {
        let due = |held: &Held, granule: &&Granule| match (self.options.speed, held.first_event_ms) {
            (Some(speed), Some(first_ms)) => granule.greatest_ms <= scheduled(first_ms, elapsed_ms, speed),
            _ => true,
        };
        self.held.iter().map(|held| held.granules.iter().take_while(|granule| due(held, granule)).count()).collect()
    }

    /// Whether readers hold all that there will ever be: then there is nothing to wait for.
    fn all_held(&self) -> bool {
        self.options.speed.is_none() && self.sources().all(|held| held.ended_at.is_some())
    }

    /// The partitions that the outside writes to; those of records that enter again say nothing of time.
    fn sources(&self) -> impl Iterator<Item = &Held> {
        let both = self.held.iter().zip(&self.topology.partitions);
        both.filter(|(_, partition)| partition.re_enters.is_none()).map(|(held, _)| held)
    }

    fn ends_to_tell(&self) -> bool {
        let both = self.held.iter().zip(&self.topology.partitions);
        let mut running = both.filter(|(held, _)| held.status != Some(Status::Ended));
        running.any(|(held, partition)| {
            let asked = held.evidence.filter(|_| partition.re_enters.is_some() && !held.is_read());
            held.ended_at == Some(held.bound) || asked.is_some_and(|(offset, _)| offset == held.bound)
        })
    }

    /// How many granules of each partition go into this tick.
    fn share(&mut self, eligible: &[usize]) -> Vec<usize> {
        let partitions = self.held.len();
        let weight = |index: usize| u64::from(self.topology.partitions[index].weight.max(1));
        let weights: Vec<u64> = (0..partitions).map(weight).collect();
        let all: u64 = weights.iter().zip(eligible).filter(|(_, count)| **count > 0).map(|(weight, _)| weight).sum();
        for (held, (weight, count)) in self.held.iter_mut().zip(weights.iter().zip(eligible)) {
            let share = self.options.tick_bytes * weight / all.max(1);
            // Only a granule that no share can take earns over several ticks: what others left is not owed to anybody.
            let waits = *count > 0 && held.granules.front().is_some_and(|granule| granule.bytes > share);
            held.credit_bytes = if waits { held.credit_bytes + share } else { share };
        }
        // Whoever has waited longest goes first; among equals they take turns.
        let mut order: Vec<usize> = (0..partitions).map(|step| (self.first_share + step) % partitions).collect();
        order.sort_by_key(|index| std::cmp::Reverse(self.held[*index].credit_bytes / weights[*index]));
        let mut taken = vec![0; partitions];
        let mut total = 0;
        // By what each has earned first; then whoever comes next takes what the others left.
        for by_credit in [true, false] {
            for index in order.iter().copied() {
                let Held { granules, credit_bytes, .. } = &mut self.held[index];
                for granule in granules.iter().take(eligible[index]).skip(taken[index]) {
                    let fits = total + granule.bytes <= self.options.tick_bytes;
                    if !fits || (by_credit && granule.bytes > *credit_bytes) {
                        break;
                    }
                    total += granule.bytes;
                    *credit_bytes = credit_bytes.saturating_sub(granule.bytes);
                    taken[index] += 1;
                }
            }
        }
        if total == 0
            && let Some(index) = order.into_iter().find(|index| eligible[*index] > 0)
        {
            taken[index] = 1;
            self.held[index].credit_bytes = 0;
        }
        for (held, taken) in self.held.iter_mut().zip(&taken) {
            if *taken == held.granules.len() {
                held.credit_bytes = 0;
            }
        }
        self.first_share = (self.first_share + 1) % partitions.max(1);
        taken
    }

    fn status(&self, index: usize, wall_ms: TimeMs) -> Status {
        let held = &self.held[index];
        if held.status == Some(Status::Ended) || held.ended_at == Some(held.bound) {
            return Status::Ended;
        }
        let idle_ms = self.parameters.lanes.get(index).map_or(i64::MAX, |lanes| lanes.idle_ms);
        // What lies ahead of the clock was before somebody put it back: nobody knows how long ago.
        let fresh = |since_ms: TimeMs| (0..=idle_ms).contains(&wall_ms.saturating_sub(since_ms));
        match held.evidence {
            Some((offset, asked_ms))
                if (self.topology.partitions[index].live || self.topology.partitions[index].re_enters.is_some())
                    && offset == held.bound
                    && held.granules.is_empty()
                    && fresh(asked_ms) =>
            {
                if held.spoke_wall_ms.is_some_and(fresh) {
                    Status::CaughtUp
                } else {
                    Status::Idle
                }
            }
            _ => Status::Behind,
        }
    }

    /// Whether some source is.
    fn is_live(&self) -> bool {
        self.topology.partitions.iter().any(|partition| partition.live)
    }

    /// What time it is: the wall clock where a source is live; for files the scheduled event time, or else the running
    /// maximum of the least greatest event time bound over files that have not ended. It never falls.
    /// Behind the end of all files it is the greatest event time in them, where that is known.
    fn now(&self, wall_ms: TimeMs) -> TimeMs {
        let running = self.sources().filter(|held| held.status != Some(Status::Ended));
        let now_ms = match (self.is_live(), self.options.speed, self.started_wall_ms) {
            (true, _, _) => wall_ms,
            (false, Some(speed), Some(started_ms)) => {
                let played_ms = self.played_ms(wall_ms.max(started_ms) - started_ms);
                let scheduled = running.filter_map(|held| Some(scheduled(held.first_event_ms?, played_ms, speed)));
                scheduled.min().unwrap_or(MINUS_INFINITY)
            }
            _ => running.map(|held| held.bound_greatest_ms.unwrap_or(MINUS_INFINITY)).min().unwrap_or(MINUS_INFINITY),
        };
        debug_assert!(now_ms < PLUS_INFINITY);
        self.now_ms.max(now_ms)
    }
}

fn scheduled(first_ms: TimeMs, elapsed_ms: i64, speed: f64) -> TimeMs {
    first_ms.saturating_add((elapsed_ms as f64 * speed) as i64)
}
