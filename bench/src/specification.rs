//! The specification, which is made of stock differential operators, on as many workers as the engine.
//!
//! Decoding and verdicts are done beforehand and not part of its figures.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use dataflows::view::ViewId;
use differential_dataflow::VecCollection;
use differential_dataflow::input::InputSession;
use operators::time::Tick;
use timely::dataflow::operators::probe::Handle;

use crate::arguments::Arguments;
use crate::engine::{Measured, Setup, tally_of};
use crate::machine::{cpu_seconds, forget_peak, resident_bytes};

/// How many changes each view had; clones share it.
#[derive(Clone)]
pub(crate) struct Counters(Arc<Mutex<Vec<u64>>>);

impl Counters {
    /// Counts a change.
    pub(crate) fn count(&self, view: ViewId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)[view.index()] += 1;
    }
}

/// Runs it over what was accepted, by tick; `build` gives a probe for each of its outputs.
pub(crate) fn run<D: differential_dataflow::ExchangeData>(
    arguments: &Arguments,
    setup: &Setup,
    arrivals: Vec<Vec<D>>,
    build: impl for<'scope> Fn(VecCollection<'scope, Tick, D, isize>, &Counters) -> Vec<Handle<Tick>>
    + Send
    + Sync
    + 'static,
) -> Result<Measured, Box<dyn std::error::Error>> {
    let (workers, in_flight) = (arguments.workers, arguments.in_flight);
    let mut shares: Vec<Vec<Vec<D>>> = (0..workers).map(|_| Vec::new()).collect();
    for arrivals in arrivals {
        let mut share: Vec<Vec<D>> = (0..workers).map(|_| Vec::new()).collect();
        for (number, arrival) in arrivals.into_iter().enumerate() {
            share[number % workers].push(arrival);
        }
        shares.iter_mut().zip(share).for_each(|(all, share)| all.push(share));
    }
    let ticks = shares[0].len() as u64;
    let shares = Mutex::new(shares);
    let counters = Counters(Arc::new(Mutex::new(vec![0; ViewId::count()])));
    let counted = counters.clone();

    forget_peak();
    let (inputs_bytes, _) = resident_bytes();
    let (cpu_before, started) = (cpu_seconds(), Instant::now());
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        let share = std::mem::take(&mut shares.lock().unwrap_or_else(PoisonError::into_inner)[worker.index()]);
        let mut input = InputSession::<Tick, D, isize>::new();
        let probes = worker.dataflow::<Tick, _, _>(|scope| build(input.to_collection(scope), &counted));
        for (tick, arrivals) in (0..).zip(share) {
            arrivals.into_iter().for_each(|arrival| input.insert(arrival));
            input.advance_to(tick + 1);
            input.flush();
            let done = (tick + 1).saturating_sub(in_flight);
            worker.step_or_park_while(None, || probes.iter().any(|probe| probe.less_than(&done)));
        }
    })?;
    if let Some(what) = guards.join().into_iter().find_map(Result::err) {
        return Err(what.into());
    }
    let (wall_seconds, cpu_after) = (started.elapsed().as_secs_f64(), cpu_seconds());
    let (_, peak_bytes) = resident_bytes();
    let mut tally = tally_of(&setup.plan.topology);
    tally.ticks = ticks;
    tally.changes = counters.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok(Measured {
        wall_seconds,
        cpu_seconds: cpu_after - cpu_before,
        threads: Vec::new(),
        inputs_bytes,
        peak_bytes,
        tally,
        held: Vec::new(),
        checkpoints: None,
    })
}
