//! Polling and decoding alone: what reading topics costs before anything is done with the records.

use std::error::Error;
use std::time::{Duration, Instant};

use operators::record::Record;
use operators::source::{Polled, Source, SourceError};
use operators::topology::Topology;

use crate::engine::{Measured, tally_of};
use crate::machine::{cpu_seconds, forget_peak, resident_bytes};

/// How much is polled at once.
const POLL_BYTES: usize = 64 << 10;

/// The sources of all partitions.
pub(crate) type Sources<R> = Vec<Box<dyn Source<Record = R>>>;

/// One thread a partition, as in the engine.
pub(crate) fn threads<R: Record>(topology: &Topology, sources: Sources<R>) -> Result<Measured, Box<dyn Error>> {
    measured(topology, || {
        let read = |source| std::thread::spawn(move || in_turn(vec![source]));
        let threads: Vec<_> = sources.into_iter().map(read).collect();
        let mut all = Vec::new();
        for thread in threads {
            all.extend(thread.join().map_err(|_| "a reading thread panicked")??);
        }
        Ok(all)
    })
}

/// One thread for all partitions: a loop.
pub(crate) fn one_loop<R: Record>(topology: &Topology, sources: Sources<R>) -> Result<Measured, Box<dyn Error>> {
    measured(topology, || Ok(in_turn(sources)?))
}

/// What was read of a partition.
struct Read {
    items: i64,
    dead: i64,
    last: Instant,
}

fn measured(
    topology: &Topology,
    work: impl FnOnce() -> Result<Vec<Read>, Box<dyn Error>>,
) -> Result<Measured, Box<dyn Error>> {
    forget_peak();
    let (inputs_bytes, _) = resident_bytes();
    let (cpu_before, started) = (cpu_seconds(), Instant::now());
    let all = work()?;
    let (cpu_after, (_, peak_bytes)) = (cpu_seconds(), resident_bytes());
    let mut tally = tally_of(topology);
    for (Read { items, dead, last }, health) in all.into_iter().zip(&mut tally.health) {
        (health.read, health.dead_letters, health.on_time) = (items, dead, items - dead);
        tally.last = tally.last.max(last);
    }
    Ok(Measured {
        wall_seconds: tally.last.saturating_duration_since(started).as_secs_f64(),
        cpu_seconds: cpu_after - cpu_before,
        threads: Vec::new(),
        inputs_bytes,
        peak_bytes,
        tally,
        held: Vec::new(),
        checkpoints: None,
    })
}

/// Polls sources in turn until all have ended.
fn in_turn<R: Record>(mut sources: Sources<R>) -> Result<Vec<Read>, SourceError> {
    sources.iter_mut().try_for_each(|source| source.seek(0))?;
    let mut all: Vec<Read> = sources.iter().map(|_| Read { items: 0, dead: 0, last: Instant::now() }).collect();
    let mut ended = vec![false; sources.len()];
    while !ended.iter().all(|ended| *ended) {
        let mut is_idle = true;
        for ((source, read), ended) in sources.iter_mut().zip(&mut all).zip(&mut ended).filter(|(_, ended)| !**ended) {
            match source.poll(POLL_BYTES)? {
                Polled::Batch(batch) => {
                    is_idle = false;
                    read.items += batch.items.len() as i64;
                    read.dead += batch.items.iter().filter(|item| item.outcome.is_err()).count() as i64;
                    read.last = Instant::now();
                }
                Polled::Ended(_) => *ended = true,
                Polled::Nothing | Polled::CaughtUp(_) => {}
            }
        }
        if is_idle {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    Ok(all)
}
