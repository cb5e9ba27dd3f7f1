//! What a run gives, in a form that goes from one process to another.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use dataflows::source_health::SourceHealthRow;
use dataflows::view::ViewId;
use operators::fold::FoldGauge;

use crate::engine::Measured;

/// Quantiles in milliseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Quantiles {
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    #[serde(rename = "p99.9")]
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

impl Quantiles {
    fn of(microseconds: &Histogram<u64>) -> Option<Quantiles> {
        let at = |quantile: f64| microseconds.value_at_quantile(quantile) as f64 / 1e3;
        let quantiles = Quantiles { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: at(1.0) };
        (!microseconds.is_empty()).then_some(quantiles)
    }
}

impl std::fmt::Display for Quantiles {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Quantiles { p50, p90, p99, p999, max } = self;
        write!(formatter, "p50 {p50:.1}, p90 {p90:.1}, p99 {p99:.1}, p99.9 {p999:.1}, max {max:.1}")
    }
}

/// How much something holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Held {
    pub(crate) name: String,
    pub(crate) keys: usize,
    pub(crate) table_bytes: usize,
    pub(crate) heap_bytes: usize,
}

impl Held {
    fn of((name, gauge): &(&'static str, FoldGauge)) -> Held {
        let FoldGauge { keys, table_bytes, heap_bytes } = *gauge;
        Held { name: (*name).to_owned(), keys, table_bytes, heap_bytes }
    }
}

/// What checkpoints took and gave.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Checkpoints {
    /// How many were complete while the run went on.
    pub(crate) complete: u64,
    /// The size of the newest one.
    pub(crate) bytes: u64,
    /// Keys of the folds at the end.
    pub(crate) keys: usize,
    /// From opening the store until all of it was verified and read again.
    pub(crate) read_seconds: f64,
    /// Until the views showed it.
    pub(crate) shown_seconds: f64,
    /// Until everything behind it was published, too.
    pub(crate) caught_up_seconds: f64,
    /// How much that was.
    pub(crate) records_behind: u64,
}

/// The inputs.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Inputs {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    /// Records a second of event time.
    pub(crate) event_rate: u64,
    /// How many were due each second.
    pub(crate) rate: Option<f64>,
}

/// What a run took and gave.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) inputs: Inputs,
    pub(crate) wall_seconds: f64,
    pub(crate) cpu_seconds: f64,
    /// For what was done before: decoding and verdicts, where they are not part of the job. On one thread.
    pub(crate) prepared_cpu_seconds: f64,
    pub(crate) records_per_second: f64,
    pub(crate) cpu_ns_per_record: f64,
    pub(crate) thread_cpu_seconds: BTreeMap<String, f64>,
    pub(crate) resident_bytes_before: u64,
    pub(crate) resident_bytes_max: u64,
    pub(crate) ticks: u64,
    /// By view.
    pub(crate) changes: BTreeMap<String, u64>,
    /// Of the final rows, by view: zero where nobody asked.
    pub(crate) digests: BTreeMap<String, u64>,
    pub(crate) pauses_ms: Option<Quantiles>,
    pub(crate) latency_ms: Option<Quantiles>,
    pub(crate) held: Vec<Held>,
    pub(crate) checkpoints: Option<Checkpoints>,
    /// By name.
    pub(crate) verdicts: BTreeMap<String, i64>,
}

impl Figures {
    pub(crate) fn new(inputs: Inputs, prepared_cpu_seconds: f64, measured: &Measured) -> Figures {
        let Measured { wall_seconds, cpu_seconds, tally, .. } = measured;
        let by_view = |of: &[u64]| ViewId::all().map(|view| (view.name().to_owned(), of[view.index()])).collect();
        type Count = fn(&SourceHealthRow) -> i64;
        let counts: [(&str, Count); 5] = [
            ("read", |health| health.read),
            ("on_time", |health| health.on_time),
            ("late", |health| health.late),
            ("duplicate", |health| health.duplicate),
            ("dead_letters", |health| health.dead_letters),
        ];
        let sum = |(name, count): (&str, Count)| (name.to_owned(), tally.health.iter().map(count).sum());
        Figures {
            inputs,
            wall_seconds: *wall_seconds,
            cpu_seconds: *cpu_seconds,
            prepared_cpu_seconds,
            records_per_second: inputs.records as f64 / wall_seconds,
            cpu_ns_per_record: cpu_seconds * 1e9 / inputs.records as f64,
            thread_cpu_seconds: measured.threads.iter().cloned().collect(),
            resident_bytes_before: measured.inputs_bytes,
            resident_bytes_max: measured.peak_bytes,
            ticks: tally.ticks,
            changes: by_view(&tally.changes),
            digests: by_view(&tally.digests),
            pauses_ms: Quantiles::of(&tally.pauses_us),
            latency_ms: Quantiles::of(&tally.latency_us),
            held: measured.held.iter().filter(|(_, gauge)| gauge.keys > 0).map(Held::of).collect(),
            checkpoints: measured.checkpoints,
            verdicts: counts.map(sum).into(),
        }
    }

    /// The time of the whole job, with what was done beforehand spread over so many cores as if nothing were lost by it.
    pub(crate) fn job_seconds(&self, cores: usize) -> f64 {
        self.wall_seconds + self.prepared_cpu_seconds / cores as f64
    }

    /// CPU of the whole job, decoding and verdicts included, in ns a record.
    pub(crate) fn job_cpu_ns(&self) -> f64 {
        (self.cpu_seconds + self.prepared_cpu_seconds) * 1e9 / self.inputs.records as f64
    }
}
