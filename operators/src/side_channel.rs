//! What threads beside the workers tell each other: tiny dataflows of the same workers, which also cross to other processes.
//!
//! Readers live with the workers that own their partitions, whoever binds and answers lives with worker 0. So there are two
//! ways: [`gather`] brings what is told at any worker to worker 0, [`broadcast`] what is told at worker 0 to every worker.
//! Both keep the order of what one outlet was told. Nothing of it has a logical time of interest: it says what could be bound
//! or is known, and the remap log says what was bound.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use timely::ExchangeData;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::generic::operator::source;
use timely::dataflow::operators::vec::Broadcast;
use timely::dataflow::{Scope, StreamVec};
use timely::scheduling::SyncActivator;
use timely::worker::Worker;

struct Shared<T> {
    queue: VecDeque<T>,
    activator: Option<SyncActivator>,
    closed: bool,
}

/// Where something is told at one worker; clones share it. What is told before the worker is there waits for it.
pub struct Outlet<T>(Arc<Mutex<Shared<T>>>);

impl<T> Clone for Outlet<T> {
    fn clone(&self) -> Self {
        Outlet(Arc::clone(&self.0))
    }
}

impl<T> Default for Outlet<T> {
    fn default() -> Self {
        Outlet(Arc::new(Mutex::new(Shared { queue: VecDeque::new(), activator: None, closed: false })))
    }
}

impl<T> Outlet<T> {
    /// Tells it. Does not wait.
    pub fn tell(&self, told: T) {
        let mut shared = self.shared();
        shared.queue.push_back(told);
        shared.wake();
    }

    /// Whether the worker took all that was told: it gets on.
    pub fn is_taken(&self) -> bool {
        self.shared().queue.is_empty()
    }

    /// There is nothing more to tell: lets the dataflow end.
    pub fn close(&self) {
        let mut shared = self.shared();
        shared.closed = true;
        shared.wake();
    }

    fn shared(&self) -> MutexGuard<'_, Shared<T>> {
        self.0.lock().expect("nobody panics while holding the lock of an outlet")
    }
}

impl<T> Shared<T> {
    fn wake(&self) {
        if let Some(activator) = &self.activator {
            // At the end of a run the worker may be gone: then nobody needs to wake.
            let _ = activator.activate();
        }
    }
}

/// Builds the dataflow that brings what the `outlet` of any worker is told to `take`, which is called on worker 0.
pub fn gather<T: ExchangeData>(worker: &mut Worker, name: &str, outlet: &Outlet<T>, take: impl FnMut(T) + 'static) {
    worker.dataflow::<u64, _, _>(|scope| {
        let told = source_of(scope, &format!("{name}Told"), Some(outlet.clone()));
        let to_first = Exchange::new(|_: &T| 0);
        let first = told.unary::<CapacityContainerBuilder<Vec<T>>, _, _, _>(
            to_first,
            &format!("{name}ToFirstWorker"),
            |_, _| |input, output| input.for_each(|capability, data| output.session(&capability).give_container(data)),
        );
        taken(first, name, take);
    });
}

/// Builds the dataflow that brings what the `outlet` of worker 0 is told to `take`, which is called on every worker. What
/// other workers' outlets are told goes nowhere.
pub fn broadcast<T: ExchangeData + Clone>(
    worker: &mut Worker,
    name: &str,
    outlet: &Outlet<T>,
    take: impl FnMut(T) + 'static,
) {
    let outlet = (worker.index() == 0).then(|| outlet.clone());
    worker.dataflow::<u64, _, _>(|scope| {
        let told = source_of(scope, &format!("{name}Told"), outlet);
        taken(told.broadcast(), name, take);
    });
}

/// What an outlet is told, until it is closed; nothing where there is none.
fn source_of<'scope, T: ExchangeData>(
    scope: Scope<'scope, u64>,
    name: &str,
    outlet: Option<Outlet<T>>,
) -> StreamVec<'scope, u64, T> {
    let worker = scope.worker();
    source::<_, CapacityContainerBuilder<Vec<T>>, _, _>(scope, name, |capability, info| {
        let mut open = outlet.map(|outlet| (capability, outlet));
        if let Some((_, outlet)) = &open {
            outlet.shared().activator = Some(worker.sync_activator_for(info.address.to_vec()));
        }
        move |output| {
            let Some((held, outlet)) = &open else { return };
            let mut shared = outlet.shared();
            output.session(held).give_iterator(shared.queue.drain(..));
            let is_over = shared.closed;
            drop(shared);
            if is_over {
                open = None;
            }
        }
    })
}

fn taken<T: ExchangeData>(stream: StreamVec<'_, u64, T>, name: &str, mut take: impl FnMut(T) + 'static) {
    stream.sink(Pipeline, name, move |(input, _)| {
        input.for_each(|_, told| told.drain(..).for_each(&mut take));
    });
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Runs three workers with an outlet each, to which `tell` tells something; gives what each worker's sink took.
    fn run(
        build: fn(&mut Worker, &Outlet<(usize, u64)>, Sender<(usize, u64)>),
        tell: fn(usize, &Outlet<(usize, u64)>),
    ) -> Vec<Vec<(usize, u64)>> {
        let outlets: Vec<Outlet<(usize, u64)>> = (0..3).map(|_| Outlet::default()).collect();
        let (senders, receivers): (Vec<Sender<_>>, Vec<Receiver<_>>) = (0..3).map(|_| channel()).unzip();
        let (of_workers, senders) = (outlets.clone(), Mutex::new(senders));
        let guards = timely::execute(timely::Config::process(3), move |worker| {
            let index = worker.index();
            let sender = senders.lock().unwrap()[index].clone();
            build(worker, &of_workers[index], sender);
            while worker.has_dataflows() {
                worker.step_or_park(None);
            }
        });
        for (index, outlet) in outlets.iter().enumerate() {
            tell(index, outlet);
            outlet.close();
        }
        guards.unwrap().join().into_iter().for_each(|joined| joined.unwrap());
        receivers.into_iter().map(|receiver| receiver.try_iter().collect()).collect()
    }

    fn hundred(index: usize, outlet: &Outlet<(usize, u64)>) {
        (0..100).for_each(|number| outlet.tell((index, number)));
    }

    #[test]
    fn what_is_told_anywhere_comes_to_worker_0_in_order() {
        let build = |worker: &mut Worker, outlet: &Outlet<_>, sender: Sender<_>| {
            gather(worker, "Test", outlet, move |told| sender.send(told).unwrap());
        };
        let taken = run(build, hundred);
        for index in 0..3 {
            let of_one = taken[0].iter().filter(|(from, _)| *from == index).map(|(_, number)| *number);
            assert_eq!(of_one.collect::<Vec<_>>(), (0..100).collect::<Vec<_>>(), "of worker {index}");
        }
        assert!(taken[1].is_empty() && taken[2].is_empty());
    }

    #[test]
    fn what_is_told_at_worker_0_comes_to_every_worker_in_order() {
        let build = |worker: &mut Worker, outlet: &Outlet<_>, sender: Sender<_>| {
            broadcast(worker, "Test", outlet, move |told| sender.send(told).unwrap());
        };
        let expected: Vec<(usize, u64)> = (0..100).map(|number| (0, number)).collect();
        assert_eq!(run(build, hundred), vec![expected; 3]);
    }
}
