use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::{Inspect, Probe};

use super::*;
use crate::testing::{binding, run};

fn given(ticks: Tick) -> Inlet {
    let inlet = Inlet::default();
    (0..ticks).for_each(|tick| inlet.give(binding(tick, tick as i64, &[])));
    inlet
}

#[test]
fn every_worker_is_given_every_binding_once_at_its_own_tick() {
    for seed in 0..8 {
        let inlet = given(5);
        inlet.close();
        let seen = run(3, seed, move |scope, notebook| {
            let worker = scope.index();
            let bindings = inlet.bindings(scope);
            let noted = bindings.unary::<CapacityContainerBuilder<Vec<()>>, _, _, _>(Pipeline, "Note", |_, _| {
                move |bindings, _| {
                    bindings.for_each(|time, bindings| {
                        bindings.drain(..).for_each(|binding| notebook.note((worker, *time.time(), binding.tick)));
                    });
                }
            });
            noted.probe().0
        });
        for worker in 0..3 {
            let of_worker: Vec<_> =
                seen.iter().filter(|(of, ..)| *of == worker).map(|(_, at, tick)| (*at, *tick)).collect();
            assert_eq!(of_worker, [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4)], "seed {seed}, worker {worker}");
        }
    }
}

#[test]
fn the_frontier_stands_at_the_first_tick_that_was_not_given() {
    timely::execute_directly(|worker| {
        let inlet = given(2);
        let probe = worker.dataflow(|scope| inlet.bindings(scope).probe().0);
        worker.step_while(|| probe.less_than(&2));
        assert!(probe.less_equal(&2), "tick 2 may still come");
        inlet.give(binding(2, 2, &[]));
        worker.step_while(|| probe.less_than(&3));
        assert!(!probe.done());
        inlet.close();
        worker.step_while(|| !probe.done());
    });
}

/// Each binding is given when the one before has arrived, so the worker is parked, or about to be, each time.
#[test]
fn a_binding_wakes_a_worker_that_is_parked() {
    let started = Instant::now();
    let inlet = Inlet::default();
    let giver = inlet.clone();
    let (arrived, arrivals) = channel::<()>();
    let thread = std::thread::spawn(move || {
        (0..20).for_each(|tick| {
            giver.give(binding(tick, 0, &[]));
            arrivals.recv().unwrap();
        });
        giver.close();
    });
    timely::execute_directly(move |worker| {
        let probe =
            worker.dataflow(|scope| inlet.bindings(scope).inspect(move |_| arrived.send(()).unwrap()).probe().0);
        while !probe.done() {
            worker.step_or_park(Some(Duration::from_secs(60)));
            assert!(started.elapsed() < Duration::from_secs(60), "nobody woke the worker");
        }
    });
    thread.join().unwrap();
}
