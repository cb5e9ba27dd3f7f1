//! The command line.

use std::path::PathBuf;

use aisle::memory;
use clap::{Parser, ValueEnum};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Domain {
    /// NDJSON events to rollups by variant.
    Experiments,
    /// Decoded facts to stock and availability.
    Inventory,
}

/// What the engine is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Baseline {
    /// One thread, hash maps, no dataflow.
    Plain,
    /// Stock operators of differential dataflow.
    Specification,
    /// Nothing.
    None,
}

/// Who does the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Competitor {
    /// The engine.
    Engine,
    /// The plain program.
    Plain,
    /// Stock operators that add up in the difference, where they can.
    CountTotal,
    /// Stock operators that count again.
    Reduce,
    /// The engine, from topics.
    Topics,
    /// Polls the topics and decodes, and does nothing else: a thread for each partition, as the engine has.
    Poll,
    /// The same in one loop over all partitions.
    PollLoop,
    /// The engine with a share of that load.
    EngineAtLoad,
    /// The engine with a share of its load from topics, appended while it reads.
    TopicsAtLoad,
    /// The engine with checkpoints, the newest of which is restored afterwards.
    Checkpointed,
}

/// Measures the engine, and the same job without it.
#[derive(Clone, Debug, Parser)]
pub(crate) struct Arguments {
    /// What is measured.
    #[arg(value_enum)]
    pub(crate) domain: Domain,
    /// Records a second, released when they are due; without it, as fast as it goes.
    #[arg(long)]
    pub(crate) rate: Option<f64>,
    /// Also release records at this share of the speed which the engine has just had, from memory and from topics: 0.5
    /// is half load.
    #[arg(long, value_name = "SHARE")]
    pub(crate) load: Option<f64>,
    /// Worker threads.
    #[arg(long, default_value_t = 2)]
    pub(crate) workers: usize,
    /// Pairs of SKU and node that the facts are drawn from.
    #[arg(long, default_value_t = 10_000_000)]
    pub(crate) pairs: u64,
    /// Records of a tick, as fast as it goes.
    #[arg(long, default_value_t = 60_000)]
    pub(crate) tick_events: u64,
    /// Wall time of a tick, with a rate.
    #[arg(long, default_value_t = 30)]
    pub(crate) tick_ms: i64,
    /// Records in all; with a rate or at a load, `rate * seconds` instead.
    #[arg(long)]
    pub(crate) events: Option<u64>,
    /// How long records are released, with a rate.
    #[arg(long, default_value_t = 15.0)]
    pub(crate) seconds: f64,
    /// Records a second of event time: how dense the state is, not how fast records are given [default: 60,000 events,
    /// 20,000 facts].
    #[arg(long)]
    pub(crate) event_rate: Option<u64>,
    /// Ticks that may be given and not published.
    #[arg(long, default_value_t = 4)]
    pub(crate) in_flight: u64,
    /// Publish `session_minutes` too.
    #[arg(long)]
    pub(crate) session_minutes: bool,
    /// What the generators are seeded with.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Hash every published change, and hold the final views of engine and plain program against each other.
    #[arg(long)]
    pub(crate) verify: bool,
    /// What the engine is compared with.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "plain")]
    pub(crate) baselines: Vec<Baseline>,
    /// Also read the records from topics of this Kafka cluster, such as 127.0.0.1:19092: events as JSON, one a message,
    /// facts in batches. The topics are filled before and deleted after.
    #[arg(long, value_name = "BOOTSTRAP")]
    pub(crate) topics: Option<String>,
    /// Facts of a batch, in topics.
    #[arg(long, default_value_t = 500)]
    pub(crate) batch_facts: usize,
    /// The topic that was filled.
    #[arg(long, hide = true)]
    pub(crate) filled: Option<String>,
    /// Also run the engine with a checkpoint so many seconds after the last one, in a local folder, and restore the newest.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) checkpoints: Option<f64>,
    /// Let the first facts touch every pair once.
    #[arg(long)]
    pub(crate) every_pair: bool,
    /// How often everything is run. Figures are medians.
    #[arg(long, default_value_t = 1)]
    pub(crate) rounds: usize,
    /// Memory that each process takes before it measures, in MiB, as `aisle run --reserve-mib` does [default: 6144, or a
    /// third of what is free].
    #[arg(long)]
    pub(crate) reserve_mib: Option<u64>,
    /// Run one of them in this process, and give its figures as JSON: what a round does for each.
    #[arg(long, value_enum, hide = true)]
    pub(crate) only: Option<Competitor>,
    /// Where the figures go as JSON.
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,
}

impl Arguments {
    /// How many records there are.
    pub(crate) fn records(&self, otherwise: u64) -> u64 {
        match self.rate {
            Some(rate) => (rate * self.seconds) as u64,
            None => self.events.unwrap_or(otherwise),
        }
    }

    /// How much memory is taken beforehand.
    pub(crate) fn reserved_mib(&self) -> u64 {
        let free = memory::available_mib().unwrap_or(0) / 3;
        self.reserve_mib.unwrap_or(free.min(6_144))
    }

    /// Who does the job in each round, in turn.
    pub(crate) fn competitors(&self) -> Vec<Competitor> {
        let mut competitors = vec![Competitor::Engine];
        if self.baselines.contains(&Baseline::Plain) {
            competitors.push(Competitor::Plain);
        }
        if self.baselines.contains(&Baseline::Specification) {
            // Nothing in the ledger is a total.
            let totals = (self.domain == Domain::Experiments).then_some(Competitor::CountTotal);
            competitors.extend(totals.into_iter().chain([Competitor::Reduce]));
        }
        competitors.extend(self.checkpoints.map(|_| Competitor::Checkpointed));
        if self.topics.is_some() {
            competitors.push(Competitor::Topics);
            // What is appended while it is read comes no faster than that.
            let alone = [Competitor::Poll, Competitor::PollLoop];
            competitors.extend(alone.into_iter().filter(|_| self.rate.is_none()));
        }
        if self.load.is_some() {
            competitors.push(Competitor::EngineAtLoad);
            competitors.extend(self.topics.as_ref().map(|_| Competitor::TopicsAtLoad));
        }
        competitors
    }
}
