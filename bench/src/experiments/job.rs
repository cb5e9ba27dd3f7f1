//! The plain program for experiments: one thread, hash maps, the same decoder, the same folds, the same rows.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use dataflows::catalog::Catalog;
use dataflows::experiment::assignments::Assignments;
use dataflows::experiment::decode::EventDecoder;
use dataflows::experiment::event::Event;
use dataflows::experiment::late_events::LateEvents;
use dataflows::experiment::rollups::{
    VariantMinutesFold, VariantTotalsFold, minute_of_session, minute_of_start, minute_of_unit, spread_minutes,
    spread_totals, total_of_unit,
};
use dataflows::experiment::session_minutes::SessionMinutes;
use dataflows::experiment::sessions::{SessionMinutesFold, SessionStartsFold};
use dataflows::experiment::specification::Arrival;
use dataflows::experiment::units::UnitsFold;
use dataflows::experiment::variant_minutes::VariantMinutes;
use dataflows::experiment::variant_totals::VariantTotals;
use dataflows::experiment::{late_events, session_minutes};
use dataflows::view::Codecs;
use operators::identity::{Admission, Identities};
use operators::record::Decode;
use operators::release::{Released, Standing};
use operators::time::{MINUS_INFINITY, Tick, TimeMs, minus_ms};
use operators::topology::PartitionId;

use super::{LATENESS_MS, PARTITIONS, TENANTS};
use crate::arguments::Arguments;
use crate::engine::{Measured, Setup, tally_of};
use crate::machine::{cpu_seconds, forget_peak, resident_bytes};
use crate::plain::{PlainFold, each_row};
use crate::recorder::{Tally, codecs};
use crate::sources::Lines;

struct Job<'a> {
    setup: &'a Setup,
    codecs: Option<Codecs>,
    with_session_minutes: bool,
    decoder: EventDecoder,
    /// By partition and tenant: the greatest event time, and what was seen.
    lanes: Vec<Vec<(TimeMs, Identities)>>,
    watermarks: Vec<TimeMs>,
    minutes: PlainFold<SessionMinutesFold>,
    starts: PlainFold<SessionStartsFold>,
    units: PlainFold<UnitsFold>,
    variant_minutes: PlainFold<VariantMinutesFold>,
    variant_totals: PlainFold<VariantTotalsFold>,
    assignments: Rc<Assignments>,
    tally: Tally,
}

/// Goes through the lines in ticks of as many as the engine's have.
fn each_tick(
    job: &mut Job<'_>,
    arguments: &Arguments,
    partitions: &[Arc<Lines>],
    mut take: impl FnMut(&mut Job<'_>, Tick, TimeMs, Event),
) {
    let share = (arguments.tick_events as usize / PARTITIONS).max(1);
    let longest = partitions.iter().map(|lines| lines.ends.len()).max().unwrap_or(0);
    for (tick, from) in (0..).zip((0..longest).step_by(share)) {
        for (partition, lines) in partitions.iter().enumerate() {
            for line in from..(from + share).min(lines.ends.len()) {
                if let Some((watermark_ms, record)) = job.judge(partition, lines, line) {
                    take(job, tick, watermark_ms, record);
                }
            }
        }
        job.end_tick();
    }
}

/// What is accepted, by tick: decoded and judged beforehand for those who do neither.
pub(super) fn arrivals(arguments: &Arguments, setup: &Setup, partitions: &[Arc<Lines>]) -> Vec<Vec<Arrival>> {
    let mut arrivals: Vec<Vec<Arrival>> = Vec::new();
    each_tick(&mut Job::new(arguments, setup), arguments, partitions, |_, tick, watermark_ms, event| {
        arrivals.resize_with(tick as usize + 1, Vec::new);
        arrivals[tick as usize].push(Arrival { event, tick, watermark_ms });
    });
    arrivals
}

/// Does the job.
pub(super) fn run(arguments: &Arguments, setup: &Setup, partitions: &[Arc<Lines>]) -> Measured {
    let mut job = Job::new(arguments, setup);
    forget_peak();
    let (inputs_bytes, _) = resident_bytes();
    let (cpu_before, started) = (cpu_seconds(), Instant::now());
    each_tick(&mut job, arguments, partitions, |job, _, _, record| job.accept(record));
    let (wall_seconds, cpu_after) = (started.elapsed().as_secs_f64(), cpu_seconds());
    let (_, peak_bytes) = resident_bytes();
    job.tally.last = Instant::now();
    let held = [
        ("SessionMinutes", job.minutes.len()),
        ("SessionStarts", job.starts.len()),
        ("Units", job.units.len()),
        ("Identities", job.lanes.iter().flatten().map(|(_, identities)| identities.len().0).sum()),
    ];
    let identities_bytes = job.lanes.iter().flatten().map(|(_, identities)| identities.bytes()).sum();
    let gauge = |(name, keys)| {
        let table_bytes = if name == "Identities" { identities_bytes } else { 0 };
        (name, operators::fold::FoldGauge { keys, table_bytes, heap_bytes: 0 })
    };
    Measured {
        wall_seconds,
        cpu_seconds: cpu_after - cpu_before,
        threads: Vec::new(),
        inputs_bytes,
        peak_bytes,
        tally: job.tally,
        held: held.map(gauge).to_vec(),
        checkpoints: None,
    }
}

impl<'a> Job<'a> {
    fn new(arguments: &Arguments, setup: &'a Setup) -> Self {
        let catalog: &Arc<Catalog> = &setup.plan.catalog;
        let groups = setup.plan.topology.groups.len();
        let keep_ms = setup.plan.session_keep_ms;
        let retention_ms = setup.plan.view::<VariantMinutes>().retention_ms;
        let lanes = || (0..TENANTS).map(|_| (MINUS_INFINITY, Identities::default())).collect();
        let of = || Arc::clone(catalog);
        let assignments = Rc::new(Assignments::new(of()));
        let shared = || Rc::clone(&assignments);
        Job {
            setup,
            codecs: codecs(arguments.verify),
            with_session_minutes: arguments.session_minutes,
            decoder: EventDecoder::new(of(), None),
            lanes: (0..PARTITIONS).map(|_| lanes()).collect(),
            watermarks: vec![MINUS_INFINITY; groups],
            minutes: PlainFold::new(SessionMinutesFold { assignments: shared() }, groups, true),
            starts: PlainFold::new(SessionStartsFold { assignments: shared(), keep_ms }, groups, true),
            units: PlainFold::new(UnitsFold { assignments: shared(), keep_ms, shows_membership: false }, groups, true),
            variant_minutes: PlainFold::new(VariantMinutesFold { catalog: of(), retention_ms }, groups, false),
            variant_totals: PlainFold::new(VariantTotalsFold { catalog: of() }, groups, false),
            assignments,
            tally: tally_of(&setup.plan.topology),
        }
    }

    /// Decodes a line and judges it; gives it, and the watermark before it, where it is accepted.
    fn judge(&mut self, partition: usize, lines: &Lines, line: usize) -> Option<(TimeMs, Event)> {
        let health = &mut self.tally.health[partition];
        health.read += 1;
        let Ok((header, record)) = self.decoder.decode(lines.line(line)) else {
            health.dead_letters += 1;
            return None;
        };
        let (greatest_ms, identities) = &mut self.lanes[partition][usize::from(record.tenant)];
        let bound_ms = minus_ms(*greatest_ms, LATENESS_MS);
        *greatest_ms = header.event_time_ms.max(*greatest_ms);
        if header.event_time_ms < bound_ms {
            health.late += 1;
            let plan = &self.setup.plan;
            let partition = PartitionId(partition as u32);
            let row = late_events::row_of(partition, lines.begin_of(line), record, &plan.topology, &plan.catalog);
            self.tally.change::<LateEvents>(&row, 1, self.codecs.as_ref());
            return None;
        }
        let watermark_ms = self.watermarks[usize::from(header.group.0)];
        match identities.admit(header.identity, header.event_time_ms, watermark_ms) {
            Admission::New => {
                health.on_time += 1;
                return Some((watermark_ms, record));
            }
            Admission::Duplicate => health.duplicate += 1,
            Admission::Conflict => health.dead_letters += 1,
        }
        None
    }

    fn accept(&mut self, record: Event) {
        let released = Released { record, standing: Standing::OnTime };
        self.minutes.input(&released);
        self.starts.input(&released);
        self.units.input(&released);
    }

    fn end_tick(&mut self) {
        let Job { watermarks, variant_minutes, variant_totals, assignments, tally, codecs, .. } = self;
        let catalog = &self.setup.plan.catalog;
        for tenant in 0..TENANTS {
            let least_ms = self.lanes.iter().map(|lanes| lanes[usize::from(tenant)].0).min().unwrap_or(MINUS_INFINITY);
            watermarks[usize::from(catalog.event_group(tenant).0)] = minus_ms(least_ms, LATENESS_MS);
            for lanes in &mut self.lanes {
                lanes[usize::from(tenant)].1.sweep(minus_ms(least_ms, LATENESS_MS));
            }
        }
        self.minutes.end_tick(watermarks, |fold, key, old, new| {
            minute_of_session(key.minute, old, new, &mut |of, delta| {
                spread_minutes(assignments, of, &mut |key| variant_minutes.post(key, &delta));
            });
            if self.with_session_minutes {
                each_row(
                    old,
                    new,
                    |value| fold.row(key, value),
                    |row, diff| {
                        let row = session_minutes::row_of(row, catalog);
                        tally.change::<SessionMinutes>(&row, diff, codecs.as_ref());
                    },
                );
            }
        });
        self.starts.end_tick(watermarks, |_, _, old, new| {
            minute_of_start(old, new, &mut |of, delta| {
                spread_minutes(assignments, of, &mut |key| variant_minutes.post(key, &delta));
            });
        });
        self.units.end_tick(watermarks, |_, _, old, new| {
            minute_of_unit(old, new, &mut |of, delta| {
                spread_minutes(assignments, of, &mut |key| variant_minutes.post(key, &delta));
            });
            total_of_unit(old, new, &mut |list, block| {
                spread_totals(assignments, list, &mut |key| variant_totals.post(key, &block));
            });
        });
        variant_minutes.end_tick(watermarks, |fold, key, old, new| {
            each_row(
                old,
                new,
                |value| fold.row(key, value),
                |row, diff| tally.change::<VariantMinutes>(&row, diff, codecs.as_ref()),
            );
        });
        variant_totals.end_tick(watermarks, |fold, key, old, new| {
            each_row(
                old,
                new,
                |value| fold.row(key, value),
                |row, diff| tally.change::<VariantTotals>(&row, diff, codecs.as_ref()),
            );
        });
        tally.ticks += 1;
    }
}
