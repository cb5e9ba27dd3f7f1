//! The plain program for inventory: one thread, a hash map, the same ledger, the same rows.

use std::collections::HashMap;
use std::time::Instant;

use dataflows::inventory::availability::Availability;
use dataflows::inventory::fact::Fact;
use dataflows::inventory::ledger::fold::{LedgerFold, LedgerRow};
use dataflows::inventory::ledger::{Entry, LedgerKey, postings};
use dataflows::inventory::stock::Stock;
use dataflows::view::Codecs;
use operators::fold::FoldGauge;
use operators::identity::{Admission, Identities};
use operators::record::Item;
use operators::release::{Released, Standing};
use operators::time::{MINUS_INFINITY, TimeMs, minus_ms};

use super::{DEDUP_HORIZON_MS, LATENESS_MS, PARTITIONS};
use crate::arguments::Arguments;
use crate::engine::{Measured, Setup, tally_of};
use crate::machine::{cpu_seconds, forget_peak, resident_bytes};
use crate::plain::{PlainFold, each_row};
use crate::recorder::{Tally, codecs};

struct Job {
    codecs: Option<Codecs>,
    /// By partition: the greatest event time of each lane, and what was seen.
    partitions: Vec<(HashMap<u128, TimeMs>, Identities)>,
    group: usize,
    watermarks: Vec<TimeMs>,
    ledger: PlainFold<LedgerFold>,
    tally: Tally,
}

/// Goes through the facts in ticks of as many as the engine's have.
fn each_tick(
    job: &mut Job,
    arguments: &Arguments,
    partitions: Vec<Vec<Item<Fact>>>,
    mut take: impl FnMut(&mut Job, usize, Released<Fact>),
) {
    let share = (arguments.tick_events as usize / PARTITIONS).max(1);
    let mut left: Vec<_> = partitions.into_iter().map(Vec::into_iter).collect();
    let mut tick = 0;
    while left.iter().any(|items| items.len() > 0) {
        for (partition, items) in left.iter_mut().enumerate() {
            for item in items.by_ref().take(share) {
                if let Some(released) = job.judge(partition, item) {
                    take(job, tick, released);
                }
            }
        }
        job.end_tick();
        tick += 1;
    }
}

/// What is posted, by tick: judged beforehand for those who do not.
pub(super) fn arrivals(
    arguments: &Arguments,
    setup: &Setup,
    partitions: Vec<Vec<Item<Fact>>>,
) -> Vec<Vec<(LedgerKey, Entry)>> {
    let mut arrivals: Vec<Vec<(LedgerKey, Entry)>> = Vec::new();
    each_tick(&mut Job::new(arguments, setup), arguments, partitions, |_, tick, released| {
        arrivals.resize_with(tick + 1, Vec::new);
        postings(&released.record, None, &mut |key, entry| arrivals[tick].push((key, entry)));
    });
    arrivals
}

/// Does the job in ticks of as many facts as the engine's have.
pub(super) fn run(arguments: &Arguments, setup: &Setup, partitions: Vec<Vec<Item<Fact>>>) -> Measured {
    let mut job = Job::new(arguments, setup);
    forget_peak();
    let (inputs_bytes, _) = resident_bytes();
    let (cpu_before, started) = (cpu_seconds(), Instant::now());
    each_tick(&mut job, arguments, partitions, |job, _, released| job.ledger.input(&released));
    let (wall_seconds, cpu_after) = (started.elapsed().as_secs_f64(), cpu_seconds());
    let (_, peak_bytes) = resident_bytes();
    let seen = |(_, identities): &(_, Identities)| FoldGauge {
        keys: identities.len().0 + identities.len().1,
        table_bytes: identities.bytes(),
        heap_bytes: 0,
    };
    let identities = job.partitions.iter().map(seen).fold(FoldGauge::default(), |sum, gauge| FoldGauge {
        keys: sum.keys + gauge.keys,
        table_bytes: sum.table_bytes + gauge.table_bytes,
        heap_bytes: 0,
    });
    let ledger = FoldGauge { keys: job.ledger.len(), ..FoldGauge::default() };
    Measured {
        wall_seconds,
        cpu_seconds: cpu_after - cpu_before,
        threads: Vec::new(),
        inputs_bytes,
        peak_bytes,
        tally: job.tally,
        held: vec![("Ledger", ledger), ("Identities", identities)],
        checkpoints: None,
    }
}

impl Job {
    fn new(arguments: &Arguments, setup: &Setup) -> Job {
        let plan = &setup.plan;
        let groups = plan.topology.groups.len();
        let fold = LedgerFold { catalog: plan.catalog.clone(), policy: plan.policy };
        Job {
            codecs: codecs(arguments.verify),
            partitions: (0..PARTITIONS).map(|_| (HashMap::new(), Identities::default())).collect(),
            group: usize::from(plan.catalog.fact_group(0).0),
            watermarks: vec![MINUS_INFINITY; groups],
            ledger: PlainFold::new(fold, groups, false),
            tally: tally_of(&plan.topology),
        }
    }

    /// Judges a fact; gives it where it is accepted.
    fn judge(&mut self, partition: usize, item: Item<Fact>) -> Option<Released<Fact>> {
        let health = &mut self.tally.health[partition];
        health.read += 1;
        let Ok((header, record)) = item.outcome else {
            health.dead_letters += 1;
            return None;
        };
        let (lanes, identities) = &mut self.partitions[partition];
        let greatest_ms = lanes.entry(header.lane).or_insert(MINUS_INFINITY);
        let late = header.event_time_ms < minus_ms(*greatest_ms, LATENESS_MS);
        *greatest_ms = header.event_time_ms.max(*greatest_ms);
        let absent_before_ms = minus_ms(self.watermarks[self.group], DEDUP_HORIZON_MS);
        let standing = match identities.admit(header.identity, header.event_time_ms, absent_before_ms) {
            Admission::New if late => Standing::Late,
            Admission::New => Standing::OnTime,
            Admission::Duplicate => {
                health.duplicate += 1;
                return None;
            }
            Admission::Conflict => {
                health.dead_letters += 1;
                return None;
            }
        };
        *(if late { &mut health.late } else { &mut health.on_time }) += 1;
        Some(Released { record, standing })
    }

    fn end_tick(&mut self) {
        let Job { partitions, watermarks, ledger, tally, codecs, .. } = self;
        let all = partitions.iter().flat_map(|(lanes, _)| lanes.values());
        watermarks[self.group] = minus_ms(all.copied().min().unwrap_or(MINUS_INFINITY), LATENESS_MS);
        ledger.end_tick(watermarks, |fold, key, old, new| {
            each_row(
                old,
                new,
                |value| fold.row(key, value),
                |row, diff| match row {
                    LedgerRow::Stock(row) => tally.change::<Stock>(&row, diff, codecs.as_ref()),
                    LedgerRow::Availability(row) => tally.change::<Availability>(&row, diff, codecs.as_ref()),
                },
            );
        });
        tally.ticks += 1;
    }
}
