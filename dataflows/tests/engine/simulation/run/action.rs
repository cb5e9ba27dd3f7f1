//! The small actions of a run: the clock, a reader, the timekeeper, the sinks, or a worker gets on by one step.

use dataflows::build::Publication;
use operators::time::Tick;
use operators::topology::PartitionId;

use super::super::delivery::Sinks;
use super::{Incarnation, Simulation};
use crate::trial::snapshots;

impl Simulation {
    /// Does what was chosen, a number below 24: anything from 7 on is a step of a worker.
    pub(super) fn act(&mut self, now: &mut Incarnation, choice: u64) -> std::io::Result<()> {
        let partitions = self.history.records.len() as u64;
        match choice {
            0 => {
                // Now and then a long time goes by, or somebody sets the clock back.
                let most_ms = if self.random.once_in(12) { 240_000 } else { 3_000 };
                let by_ms = self.random.below(most_ms) as i64;
                self.wall_ms += if self.random.once_in(60) { -by_ms } else { by_ms };
            }
            1 => {
                if let Some(sinks) = &mut now.sinks {
                    (0..3).try_for_each(|_| sinks.step())?;
                }
                let partition = self.random.below(partitions) as usize;
                if let Some(holding) = now.told[partition].pop_front() {
                    now.timekeeper.hold(PartitionId(partition as u32), holding, self.wall_ms);
                }
            }
            2 | 3 => {
                let partition = self.random.below(partitions) as usize;
                let (written, complete) = self.written(partition);
                let holding = now.readers[partition].turn(&self.history, written, complete, &mut self.random);
                now.told[partition].extend(holding);
            }
            4 => {
                if !now.vault.is_busy() && self.random.once_in(2) {
                    now.timekeeper.ask_for_checkpoint();
                }
                if let Some(mut binding) = now.timekeeper.poll(now.done, self.wall_ms).map_err(std::io::Error::other)? {
                    let asked = std::mem::take(&mut binding.checkpoint);
                    if asked {
                        now.vault.begin(now.timekeeper.position().clone());
                    }
                    if binding.tick as usize == self.given.len() {
                        self.given.push(binding.clone());
                    } else {
                        assert_eq!(binding, self.given[binding.tick as usize], "a binding is replayed as it was given");
                    }
                    binding.checkpoint = asked;
                    now.inlet.give(binding);
                }
            }
            5 => {
                let published = std::mem::take(&mut *now.publications.lock().unwrap());
                self.look_at_what_is_shown(now, &published);
                if let Some(sinks) = &mut now.sinks {
                    sinks.take(&published);
                    sinks.write(now.done)?;
                }
                now.sink.take(published);
                now.sink.write(now.done)?;
            }
            6 => {
                let which = self.random.next();
                now.sink.sync(Some(which))?;
                let of_sinks = now.sinks.as_ref().map_or(Tick::MAX, Sinks::acknowledged);
                if let Some(saved) = now.vault.finish(now.workers, now.sink.acknowledged().min(of_sinks)) {
                    self.coverage.checkpoints += 1;
                    self.saved.push(saved);
                }
            }
            _ => {
                // Several at once: a tick takes as many steps as operators lie behind each other, and checkpoints as many ticks.
                for _ in 0..1 + self.random.below(4) {
                    let worker = self.random.below(now.workers as u64) as usize;
                    let frontier = now.cluster.step(worker);
                    if worker == 0 {
                        // After a restore the frontier stands at 0 until the first binding is given.
                        now.done = frontier.max(now.done);
                    }
                }
            }
        }
        Ok(())
    }

    /// Keeps the views as they are shown right after a restore.
    fn look_at_what_is_shown(&mut self, now: &mut Incarnation, published: &[Publication]) {
        let Some((upper, shown)) = &mut now.restored else { return };
        let is_of = |publication: &&Publication| match publication {
            Publication::Changes(changes) => changes.tick + 1 == *upper,
            Publication::Mark(_) | Publication::Outcomes(..) => false,
        };
        shown.extend(published.iter().filter(is_of).cloned());
        if now.done >= *upper {
            let snapshot = snapshots(std::mem::take(shown), *upper).pop().expect("there is one for each tick");
            self.shown.push((*upper, snapshot));
            now.restored = None;
        }
    }

    /// How many records of a partition lie in the input log, and whether that is all. Files are there from the start; of a
    /// live partition the records come as the clock goes by, at the times at which the history saw them.
    fn written(&self, partition: usize) -> (usize, bool) {
        let end = (self.history.records[partition].end() / 10) as usize;
        if !self.history.topology.partitions[partition].live {
            return (end, self.ends);
        }
        let last = self.history.bindings.last().is_none_or(|binding| binding.now_ms <= self.wall_ms);
        if last {
            return (end, self.ends);
        }
        let seen = self.history.bindings.iter().take_while(|binding| binding.now_ms <= self.wall_ms);
        let advances =
            seen.flat_map(|binding| &binding.advances).filter(|advance| advance.partition.0 as usize == partition);
        (advances.map(|advance| advance.next / 10).max().unwrap_or(0) as usize, false)
    }
}
