//! A publisher to nowhere: it counts, and takes the time.
//!
//! The latency of a record is the time from when it was due to when its tick was published: a record that waited because
//! the engine was behind has waited for all of that time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use hdrhistogram::Histogram;

use aisle::engine::{CompleteTick, Publish, PublishError};
use dataflows::configuration::Recorded;
use dataflows::source_health::{SourceHealth, SourceHealthRow};
use dataflows::view::{Codecs, Listed, ViewId};
use operators::shard::hash_of;

use crate::sources::{Lines, Pace};

/// When the records of a partition were due, and which of them lie before an offset.
pub(crate) struct Due {
    /// The pace.
    pub(crate) pace: Pace,
    /// The lines, where offsets are bytes; otherwise a record's offset is its number.
    pub(crate) lines: Option<Arc<Lines>>,
}

/// What was published.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    /// Complete ticks.
    pub(crate) ticks: u64,
    /// Changes, by the order of the views.
    pub(crate) changes: Vec<u64>,
    /// Sums of the hashes of the rows that are there, by the order of the views.
    pub(crate) digests: Vec<u64>,
    /// The newest health of each partition.
    pub(crate) health: Vec<SourceHealthRow>,
    /// When the last record was published.
    pub(crate) last: Instant,
    /// Between one publication and the next, in microseconds.
    pub(crate) pauses_us: Histogram<u64>,
    /// From due to published, in microseconds.
    pub(crate) latency_us: Histogram<u64>,
}

impl Tally {
    pub(crate) fn new() -> Self {
        let histogram = || Histogram::new_with_max(3_600_000_000, 3).expect("an hour in three digits is allowed");
        Tally {
            ticks: 0,
            changes: vec![0; ViewId::count()],
            digests: vec![0; ViewId::count()],
            health: Vec::new(),
            last: Instant::now(),
            pauses_us: histogram(),
            latency_us: histogram(),
        }
    }

    /// Takes note of a change. Rows are hashed as the JSON that sinks write, where they are to be compared.
    pub(crate) fn change<V: Listed>(&mut self, row: &V::Row, diff: i64, codecs: Option<&Codecs>) {
        self.changes[V::ID.index()] += 1;
        if let Some(codecs) = codecs {
            self.digest(V::ID, &codecs.columns::<V>().json(row), diff);
        }
    }

    fn digest(&mut self, view: ViewId, row: &str, diff: i64) {
        let digest = &mut self.digests[view.index()];
        *digest = digest.wrapping_add(hash_of(row).wrapping_mul(diff as u64));
    }
}

/// Counts into a tally.
pub(crate) struct Recorder {
    /// What it counts into.
    pub(crate) tally: Arc<Mutex<Tally>>,
    /// By partition; empty where nothing is due at any time.
    pub(crate) due: Vec<Due>,
    /// Records that were published, by partition.
    pub(crate) published: Vec<usize>,
    /// The names of the partitions.
    pub(crate) names: Vec<String>,
    /// The columns, where rows are hashed.
    pub(crate) codecs: Option<Codecs>,
}

/// The columns of all views, for whoever hashes rows.
pub(crate) fn codecs(verify: bool) -> Option<Codecs> {
    verify.then(|| Codecs::new(&Recorded::default()))
}

impl Publish for Recorder {
    fn publish(&mut self, tick: CompleteTick) -> Result<(), PublishError> {
        let now = Instant::now();
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.ticks += 1;
        let pause_us = now.saturating_duration_since(tally.last).as_micros() as u64;
        let mut moved = false;
        for changes in &tick.changes {
            tally.changes[changes.view.index()] += changes.rows.len() as u64;
            if let Some(codecs) = &self.codecs {
                let texts = codecs.of(changes.view).texts(&*changes.rows);
                texts.iter().for_each(|text| tally.digest(changes.view, &text.row, text.diff));
            }
            for (health, _) in changes.of::<SourceHealth>().unwrap_or_default().iter().filter(|(_, diff)| *diff > 0) {
                let partition = self.names.iter().position(|name| *name == *health.partition);
                let partition = partition.expect("health is of partitions of the topology");
                moved |= tally.health[partition].next_offset < health.next_offset;
                tally.health[partition].clone_from(health);
                if let Some(due) = self.due.get(partition) {
                    let upto = due.count_before(health.next_offset);
                    for record in self.published[partition]..upto {
                        let waited = now.saturating_duration_since(due.pace.due_at(record));
                        tally.latency_us.saturating_record(waited.as_micros() as u64);
                    }
                    self.published[partition] = upto;
                }
            }
        }
        if moved {
            tally.last = now;
            tally.pauses_us.saturating_record(pause_us);
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), PublishError> {
        Ok(())
    }
}

impl Due {
    fn count_before(&self, offset: u64) -> usize {
        match &self.lines {
            Some(lines) => lines.ends.partition_point(|end| *end <= offset),
            None => offset as usize,
        }
    }
}
