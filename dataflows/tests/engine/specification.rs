//! The folds against their specification in stock differential operators: over seeds, the changes of each fold add up to
//! what the specification holds, at every tick, on one to four workers. A fold that is restored from a snapshot under
//! another number of workers goes on as if nothing had been; and rows change by time alone, exactly when they should.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use dataflows::catalog::Catalog;
use dataflows::experiment::assignments::Assignments;
use dataflows::experiment::event::Event;
use dataflows::experiment::rollups::{
    VariantMinutesFold, VariantTotalsFold, minute_of_session, minute_of_start, minute_of_unit, spread_minutes,
    spread_totals, total_of_unit,
};
use dataflows::experiment::sessions::{MinuteValue, SessionMinutesFold, SessionStartsFold, StartValue};
use dataflows::experiment::specification::{self as experiments, Arrival, Flavour, Ticked};
use dataflows::experiment::units::{UnitFact, UnitRow, UnitValue, UnitsFold};
use dataflows::inventory::ledger::fold::{LedgerFold, LedgerRow};
use dataflows::inventory::ledger::{Entry, LedgerKey};
use dataflows::inventory::specification as inventory;
use dataflows::names::TenantId;
use operators::clock::Mark;
use operators::release::{Released, Standing};
use operators::simulation::Random;
use operators::time::{MINUTE_MS, TimeMs, minute_end_ms};

mod orders;
mod running;
mod shown;
mod streams;
mod wakes;

use running::{Changes, Run, rows, specified};
use shown::Shown;
use streams::{EventStream, FactStream};

const SEEDS: Range<u64> = 0..24;

/// Holds two histories equal; shows the first difference.
fn hold_equal<R: Ord + Clone + Debug>(what: &str, fold: &[BTreeMap<R, isize>], specification: &[BTreeMap<R, isize>]) {
    assert_eq!(fold.len(), specification.len(), "{what}");
    for (tick, (fold, specification)) in fold.iter().zip(specification).enumerate() {
        let alone = |ours: &BTreeMap<R, isize>, theirs: &BTreeMap<R, isize>| -> Vec<(R, isize)> {
            let alone = ours.iter().filter(|(row, copies)| theirs.get(row) != Some(copies));
            alone.map(|(row, copies)| (row.clone(), *copies)).collect()
        };
        let (ours, theirs) = (alone(fold, specification), alone(specification, fold));
        assert!(
            ours.is_empty() && theirs.is_empty(),
            "{what}, tick {tick}\nthe fold alone: {ours:#?}\nthe other alone: {theirs:#?}"
        );
    }
}

/// Runs the fold on one worker and on several; both must say what is specified.
fn agree<F: Shown>(what: &str, seed: u64, run: &Run<F>, specification: &Changes<F::Row>) -> Changes<F::Row> {
    let ticks = 0..run.marks.len();
    let specified = rows(specification, ticks.clone());
    for workers in [1, 2 + seed as usize % 3] {
        let fold = rows(&run.whole(workers, seed), ticks.clone());
        hold_equal(&format!("{what}, seed {seed}, {workers} workers"), &fold, &specified);
    }
    run.whole(1, seed)
}

/// Restores the fold from a checkpoint at some tick, which was given while the run went on, under another number of workers. What it says from there on is what it
/// would have said, but for rows of what was forgotten by then: those must be such that `forgotten` knows
/// them. Gives the number of rows that are missing.
fn restores<F: Shown>(what: &str, seed: u64, run: &Run<F>, forgotten: impl Fn(&F::Row, &Mark) -> bool) -> usize {
    let mut random = Random::new(seed);
    let ticks = run.marks.len();
    let at = 1 + random.below(ticks as u64 - 1) as usize;
    let (before, after) = (1 + seed as usize % 4, 1 + (seed as usize + 1 + seed as usize / 4 % 3) % 4);
    let what = format!("{what}, seed {seed}, restored at {at}, {before} and then {after} workers");
    let (_, parts) = run.with_checkpoint(at, before, seed);
    let resumed = run.restored(at, &parts, after, seed + 1);
    let whole = rows(&run.whole(1, seed), 0..ticks).split_off(at - 1);
    let resumed = rows(&resumed, at - 1..ticks);
    // What is missing at first is missing for good, and nothing else ever is.
    let mut lost = whole[0].clone();
    for (row, copies) in &resumed[0] {
        *lost.entry(row.clone()).or_default() -= copies;
    }
    lost.retain(|_, copies| *copies != 0);
    for (row, copies) in &lost {
        assert!(*copies > 0 && forgotten(row, &run.marks[at - 1]), "{what}: {copies} of {row:?} are missing");
    }
    let mended = resumed.into_iter().map(|mut rows| {
        lost.iter().for_each(|(row, copies)| *rows.entry(row.clone()).or_default() += copies);
        rows
    });
    hold_equal(&what, &mended.collect::<Vec<_>>(), &whole);
    lost.len()
}

fn assignments(catalog: &Arc<Catalog>) -> Rc<Assignments> {
    Rc::new(Assignments::new(Arc::clone(catalog)))
}

/// A value that left, or one that came.
fn sides<V>(value: &V, diff: isize) -> (Option<&V>, Option<&V>) {
    if diff < 0 { (Some(value), None) } else { (None, Some(value)) }
}

/// The folds of a stream of events, in the order of the graph.
struct Experiments {
    stream: EventStream,
    minutes: Run<SessionMinutesFold>,
    starts: Run<SessionStartsFold>,
    units: Run<UnitsFold>,
}

impl Experiments {
    fn new(seed: u64) -> Experiments {
        let stream = EventStream::new(seed);
        let (keep_ms, marks) = (stream.keep_ms, &stream.marks);
        let released = |event: &Event| Released { record: event.clone(), standing: Standing::OnTime };
        let inputs: Vec<Vec<_>> = stream.events.iter().map(|events| events.iter().map(released).collect()).collect();
        let names = || Arc::clone(&stream.catalog);
        let (of_minutes, of_starts, of_units) = (names(), names(), names());
        Experiments {
            minutes: Run::of_inputs(
                move || SessionMinutesFold { assignments: assignments(&of_minutes) },
                &inputs,
                marks,
            ),
            starts: Run::of_inputs(
                move || SessionStartsFold { assignments: assignments(&of_starts), keep_ms },
                &inputs,
                marks,
            ),
            units: Run::of_inputs(
                move || UnitsFold { assignments: assignments(&of_units), keep_ms, shows_membership: false },
                &inputs,
                marks,
            ),
            stream,
        }
    }

    /// Both rollups, given the changes of the folds before them. Nothing is ever out of retention.
    fn rollups(&self, seed: u64) -> (Run<VariantMinutesFold>, Run<VariantTotalsFold>) {
        let (catalog, ticks) = (&self.stream.catalog, self.stream.marks.len());
        let mut of_minutes = vec![Vec::new(); ticks];
        let mut of_totals = vec![Vec::new(); ticks];
        let lists = assignments(catalog);
        for (row, tick, diff) in self.minutes.whole(1, seed) {
            let session = &row.key.session;
            let counts_for = lists.assigned(session.tenant, &session.unit);
            let value = MinuteValue { counts_for, measures: row.measures };
            let (old, new) = sides(&value, diff);
            let post = &mut |of, delta| {
                spread_minutes(&lists, of, &mut |key| of_minutes[tick as usize].push(vec![(key, delta)]));
            };
            minute_of_session(row.key.minute, old, new, post);
        }
        for (row, tick, diff) in self.starts.whole(1, seed) {
            let value = StartValue { counts_for: lists.assigned(row.tenant, &row.unit), minute: row.minute };
            for _ in 0..diff.abs() {
                let (old, new) = sides(&value, diff);
                let post = &mut |of, delta| {
                    spread_minutes(&lists, of, &mut |key| of_minutes[tick as usize].push(vec![(key, delta)]));
                };
                minute_of_start(old, new, post);
            }
        }
        for (row, tick, diff) in self.units.whole(1, seed) {
            let counts_for = match row.says {
                UnitFact::Assigned(_) | UnitFact::Member => lists.assigned(row.key.tenant, &row.key.unit),
                UnitFact::Exposed(experiment, _)
                | UnitFact::ExposedMinute(experiment, ..)
                | UnitFact::ExposedStart(experiment, ..) => lists.of_experiment(experiment, &row.key.unit),
            };
            let value = UnitValue { counts_for, says: row.says };
            let (old, new) = sides(&value, diff);
            let post = &mut |of, delta| {
                spread_minutes(&lists, of, &mut |key| of_minutes[tick as usize].push(vec![(key, delta)]));
            };
            minute_of_unit(old, new, post);
            let post = &mut |list, block| {
                spread_totals(&lists, list, &mut |key| of_totals[tick as usize].push(vec![(key, block)]));
            };
            total_of_unit(old, new, post);
        }
        let (names, others) = (Arc::clone(catalog), Arc::clone(catalog));
        let minutes = move || VariantMinutesFold { catalog: Arc::clone(&names), retention_ms: i64::MAX };
        let totals = move || VariantTotalsFold { catalog: Arc::clone(&others) };
        (Run::new(minutes, of_minutes, &self.stream.marks), Run::new(totals, of_totals, &self.stream.marks))
    }
}

#[test]
fn session_minutes_are_as_specified() {
    for seed in SEEDS {
        let Experiments { stream, minutes, .. } = Experiments::new(seed);
        agree("counted", seed, &minutes, &specified(stream.arrivals(), experiments::session_minutes));
        agree("recomputed", seed, &minutes, &specified(stream.arrivals(), experiments::session_minutes_recomputed));
    }
}

#[test]
fn session_starts_are_as_specified() {
    let mut again = 0;
    for seed in SEEDS {
        let Experiments { stream, starts, .. } = Experiments::new(seed);
        let keep_ms = stream.keep_ms;
        let specified_starts =
            |keep_ms| specified(stream.arrivals(), move |arrivals| experiments::session_starts(arrivals, keep_ms));
        let changes = agree("starts", seed, &starts, &specified_starts(keep_ms));
        let copies = |changes: &Changes<_>| changes.iter().map(|(_, _, diff)| diff).sum::<isize>();
        again += copies(&changes) - copies(&specified_starts(i64::MAX));
    }
    assert!(again > 10, "sessions that start again are hardly reached: {again}");
}

#[test]
fn units_are_as_specified() {
    let mut exposed = 0;
    for seed in SEEDS {
        let Experiments { stream, units, .. } = Experiments::new(seed);
        for flavour in [Flavour::CountTotal, Flavour::Reduce] {
            let (names, keep_ms) = (Arc::clone(&stream.catalog), stream.keep_ms);
            let specification = specified(stream.arrivals(), move |arrivals| {
                let assigned = match flavour {
                    Flavour::CountTotal => experiments::assigned_units(arrivals.clone(), &names),
                    Flavour::Reduce => experiments::assigned_units_recomputed(arrivals.clone(), &names),
                };
                assigned.concat(experiments::exposed_units(arrivals, &names, keep_ms))
            });
            let changes = agree(&format!("{flavour:?}"), seed, &units, &specification);
            exposed += changes
                .iter()
                .filter(|(row, _, diff)| *diff < 0 && matches!(row.says, UnitFact::ExposedStart(..)))
                .count();
        }
    }
    assert!(exposed > 10, "exposures that come after what they cover are hardly reached: {exposed}");
}

#[test]
fn rollups_are_as_specified() {
    for seed in SEEDS {
        let folds = Experiments::new(seed);
        let (minutes, totals) = folds.rollups(seed);
        for flavour in [Flavour::CountTotal, Flavour::Reduce] {
            let (catalog, keep_ms) = (Arc::clone(&folds.stream.catalog), folds.stream.keep_ms);
            let names = Arc::clone(&catalog);
            let of_minutes = specified(folds.stream.arrivals(), move |arrivals: Ticked<'_, Arrival>| {
                experiments::variant_rollups(arrivals, &names, keep_ms, flavour).minutes
            });
            agree(&format!("variant minutes, {flavour:?}"), seed, &minutes, &of_minutes);
            let of_totals = specified(folds.stream.arrivals(), move |arrivals: Ticked<'_, Arrival>| {
                experiments::variant_rollups(arrivals, &catalog, keep_ms, flavour).totals
            });
            let changes = agree(&format!("variant totals, {flavour:?}"), seed, &totals, &of_totals);
            assert!(!changes.is_empty());
        }
    }
}

/// What the specification of the ledger is given: entries, and how far event time has come.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
enum Given {
    Entry(LedgerKey, Entry),
    Reached(TenantId, TimeMs),
}

fn specified_ledger(stream: &FactStream) -> Changes<LedgerRow> {
    let (names, policy) = (Arc::clone(&stream.catalog), stream.policy);
    let mut given = Vec::new();
    for (tick, records) in stream.records.iter().enumerate() {
        let entries = records.iter().flatten().map(|(key, entry)| (Given::Entry(key.clone(), *entry), 1));
        let mut given_now: Vec<_> = entries.collect();
        for tenant in 0..stream.catalog.tenants.len() as TenantId {
            let reached = |tick: usize| {
                Given::Reached(tenant, stream.marks[tick].reached[usize::from(stream.catalog.fact_group(tenant).0)])
            };
            given_now.push((reached(tick), 1));
            given_now.extend(tick.checked_sub(1).map(|before| (reached(before), -1)));
        }
        given.push(given_now);
    }
    specified(given, move |given| {
        let entries = given.clone().flat_map(|given| match given {
            Given::Entry(key, entry) => Some((key, entry)),
            Given::Reached(..) => None,
        });
        let reached = given.flat_map(|given| match given {
            Given::Reached(tenant, reached_ms) => Some((tenant, reached_ms)),
            Given::Entry(..) => None,
        });
        inventory::ledger_rows(entries, reached, policy, &names)
    })
}

fn ledger(stream: &FactStream) -> Run<LedgerFold> {
    let (names, policy) = (Arc::clone(&stream.catalog), stream.policy);
    Run::new(move || LedgerFold { catalog: Arc::clone(&names), policy }, stream.records.clone(), &stream.marks)
}

#[test]
fn the_ledger_is_as_specified() {
    let mut reasons = BTreeSet::new();
    for seed in SEEDS.start..SEEDS.end * 4 {
        let stream = FactStream::new(seed);
        let changes = agree("ledger", seed, &ledger(&stream), &specified_ledger(&stream));
        reasons.extend(changes.into_iter().filter_map(|(row, ..)| match row {
            LedgerRow::Availability(row) => Some(row.reason),
            LedgerRow::Stock(_) => None,
        }));
    }
    assert_eq!(reasons.len(), 6, "{reasons:?}");
}

#[test]
fn folds_that_never_forget_restore_exactly() {
    for seed in SEEDS {
        restores("ledger", seed, &ledger(&FactStream::new(seed)), |_, _| false);
        restores("variant totals", seed, &Experiments::new(seed).rollups(seed).1, |_, _| false);
    }
}

#[test]
fn folds_that_forget_restore_all_else() {
    let mut forgotten = 0;
    for seed in SEEDS {
        let folds = Experiments::new(seed);
        let (catalog, keep_ms) = (Arc::clone(&folds.stream.catalog), folds.stream.keep_ms);
        let watermark_ms = |tenant, mark: &Mark| mark.watermarks[usize::from(catalog.event_group(tenant).0)];
        let sealed = |tenant, minute, mark: &Mark| watermark_ms(tenant, mark) >= minute_end_ms(minute);
        // A session that was forgotten started before its last event.
        let started = |tenant, minute: i64, mark: &Mark| watermark_ms(tenant, mark) > minute * MINUTE_MS + keep_ms;
        forgotten += restores("session minutes", seed, &folds.minutes, |row, mark| {
            sealed(row.key.session.tenant, row.key.minute, mark)
        });
        forgotten += restores("session starts", seed, &folds.starts, |row, mark| started(row.tenant, row.minute, mark));
        forgotten += restores("units", seed, &folds.units, |UnitRow { key, says }, mark| match says {
            UnitFact::Assigned(_) | UnitFact::Exposed(..) | UnitFact::Member => false,
            UnitFact::ExposedMinute(_, _, minute, _) => sealed(key.tenant, *minute, mark),
            UnitFact::ExposedStart(_, _, minute) => started(key.tenant, *minute, mark),
        });
        restores("variant minutes", seed, &folds.rollups(seed).0, |_, _| false);
    }
    assert!(forgotten > 100, "hardly anything is ever forgotten: {forgotten} rows");
}
