//! The specification of experiments, which is made of stock differential operators, on as many workers as the engine.
//!
//! Decoding and verdicts are done beforehand and not part of its figures.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use dataflows::experiment::specification::{Arrival, Flavour, variant_rollups};
use dataflows::views::View;
use differential_dataflow::input::InputSession;
use operators::time::Tick;

use crate::arguments::Arguments;
use crate::engine::{Measured, Setup, tally_of};
use crate::machine::{cpu_seconds, forget_peak, resident_bytes};

/// Runs it over what was accepted, by tick.
pub(super) fn run(
    arguments: &Arguments,
    setup: &Setup,
    arrivals: Vec<Vec<Arrival>>,
    flavour: Flavour,
) -> Result<Measured, Box<dyn std::error::Error>> {
    let (workers, in_flight) = (arguments.workers, arguments.in_flight);
    let mut shares: Vec<Vec<Vec<Arrival>>> = (0..workers).map(|_| Vec::new()).collect();
    for arrivals in arrivals {
        let mut share: Vec<Vec<Arrival>> = (0..workers).map(|_| Vec::new()).collect();
        for (number, arrival) in arrivals.into_iter().enumerate() {
            share[number % workers].push(arrival);
        }
        shares.iter_mut().zip(share).for_each(|(all, share)| all.push(share));
    }
    let ticks = shares[0].len() as u64;
    let shares = Mutex::new(shares);
    let (catalog, keep_ms) = (Arc::clone(&setup.plan.catalog), setup.plan.session_keep_ms);
    let changes = Arc::new(Mutex::new([0u64; 8]));
    let counted = Arc::clone(&changes);

    forget_peak();
    let (inputs_bytes, _) = resident_bytes();
    let (cpu_before, started) = (cpu_seconds(), Instant::now());
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        let share = std::mem::take(&mut shares.lock().unwrap_or_else(PoisonError::into_inner)[worker.index()]);
        let mut input = InputSession::<Tick, Arrival, isize>::new();
        let count = |view: View| {
            let counted = Arc::clone(&counted);
            move || counted.lock().unwrap_or_else(PoisonError::into_inner)[view as usize] += 1
        };
        let (minute, total) = (count(View::VariantMinutes), count(View::VariantTotals));
        let (minutes, totals) = worker.dataflow::<Tick, _, _>(|scope| {
            let rollups = variant_rollups(input.to_collection(scope), &catalog, keep_ms, flavour);
            let minutes = rollups.minutes.inspect(move |_| minute()).probe().0;
            (minutes, rollups.totals.inspect(move |_| total()).probe().0)
        });
        for (tick, arrivals) in (0..).zip(share) {
            arrivals.into_iter().for_each(|arrival| input.insert(arrival));
            input.advance_to(tick + 1);
            input.flush();
            let done = (tick + 1).saturating_sub(in_flight);
            worker.step_or_park_while(None, || minutes.less_than(&done) || totals.less_than(&done));
        }
    })?;
    if let Some(what) = guards.join().into_iter().find_map(Result::err) {
        return Err(what.into());
    }
    let (wall_seconds, cpu_after) = (started.elapsed().as_secs_f64(), cpu_seconds());
    let (_, peak_bytes) = resident_bytes();
    let mut tally = tally_of(&setup.plan.topology);
    tally.ticks = ticks;
    tally.changes = *changes.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(Measured {
        wall_seconds,
        cpu_seconds: cpu_after - cpu_before,
        threads: Vec::new(),
        inputs_bytes,
        peak_bytes,
        tally,
        held: Vec::new(),
    })
}
