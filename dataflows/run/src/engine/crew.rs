//! The worker threads: the graph on each of them, and what it says to the threads around it.

use std::any::Any;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use timely::communication::allocator::zero_copy::initialize::initialize_networking_from_sockets;
use timely::communication::allocator::{AllocatorBuilder, ProcessBuilder};
use timely::communication::{Hooks, WorkerGuards};
use timely::{CommunicationConfig, WorkerConfig};

use operators::bindings::Inlet;
use operators::checkpoint::{Depot, Restore};
use operators::side_channel::gather;

use super::cluster::Links;
use super::control::{Asked, Control};
use super::{Held, Holdings, PublisherNews, TimeNews, lock};
use dataflows::build::{Feeds, GraphPlan, Ports, build};

/// How long a worker parks at most: a seat belt against a lost activation.
const PARK_MAX: Duration = Duration::from_millis(100);

/// Adds the queue of a partition to those of a worker.
pub(super) type AddFeed = Box<dyn Fn(&mut Feeds) + Send>;

/// What the worker threads share.
pub(super) struct Crew {
    pub(super) plan: GraphPlan,
    /// The queue of each partition of this process, with the worker that owns it.
    pub(super) feeds: Mutex<Vec<(usize, AddFeed)>>,
    pub(super) inlet: Inlet,
    pub(super) outlets: Vec<Holdings>,
    /// In a cluster: what its processes tell each other, and where their questions go.
    pub(super) control: Option<(Control, Mutex<Sender<Asked>>)>,
    pub(super) threads: usize,
    pub(super) time: Mutex<Sender<TimeNews>>,
    pub(super) publisher: Mutex<Sender<PublisherNews>>,
    /// Set to make the workers leave their work.
    pub(super) halt: Arc<AtomicBool>,
    pub(super) gauge_wanted: Arc<AtomicU64>,
    pub(super) gauges: Arc<Mutex<Vec<(u64, Held)>>>,
    pub(super) depot: Option<Arc<dyn Depot>>,
    /// By worker of this process; taken when it starts.
    pub(super) restore: Mutex<Vec<Option<Restore>>>,
}

impl Crew {
    /// Starts the threads; with links, as those of one process of a cluster.
    pub(super) fn start(self, process: usize, links: Option<Links>) -> Result<WorkerGuards<()>, String> {
        let (builders, others) = match links {
            Some(links) => clustered(self.threads, process, links)?,
            None if self.threads == 1 => CommunicationConfig::Thread.try_build()?,
            None => CommunicationConfig::Process(self.threads).try_build()?,
        };
        timely::execute::execute_from(builders, others, WorkerConfig::default(), move |worker| self.work(worker))
    }

    /// The queues of the partitions that a worker owns.
    fn feeds_of(&self, worker: usize) -> Feeds {
        let mut feeds = Feeds::default();
        lock(&self.feeds).iter().filter(|(owner, _)| *owner == worker).for_each(|(_, add)| add(&mut feeds));
        feeds
    }

    fn work(&self, worker: &mut timely::worker::Worker) {
        let index = worker.index();
        let local = index % self.threads;
        let time = lock(&self.time).clone();
        gather(worker, "Holdings", &self.outlets[local], move |(partition, holding)| {
            // The timekeeper hangs up when the run stops.
            let _ = time.send(TimeNews::Holding(partition, holding));
        });
        if let Some((control, asked)) = &self.control {
            control.build(worker, local, lock(asked).clone());
        }
        let publisher = lock(&self.publisher).clone();
        let publications = Mutex::new(publisher.clone());
        let ports = Ports {
            feeds: self.feeds_of(index),
            inlet: self.inlet.clone(),
            publish: Arc::new(move |publication| {
                drop(lock(&publications).send(PublisherNews::Publication(publication)))
            }),
            depot: self.depot.clone(),
            restore: lock(&self.restore).get_mut(local).and_then(Option::take),
        };
        let graph = build(worker, &self.plan, ports);
        let (mut told, mut gauged) = (Some(0), 0);
        while !self.halt.load(Ordering::Acquire) && worker.has_dataflows() {
            worker.step_or_park(Some(PARK_MAX));
            let frontier = graph.probe.with_frontier(|frontier| frontier.first().copied());
            if index == 0 && frontier != told {
                told = frontier;
                // The publisher hangs up when the run stops.
                let _ = publisher.send(PublisherNews::Frontier(frontier));
            }
            if frontier.is_none() {
                // The run is over: nobody will ask what could be bound.
                self.outlets[local].close();
                self.control.iter().for_each(|(control, _)| control.close());
            }
            let wanted = self.gauge_wanted.load(Ordering::Acquire);
            if wanted > gauged {
                gauged = wanted;
                let held = graph.gauges.iter().map(|(name, gauge)| (*name, gauge())).collect();
                lock(&self.gauges)[local] = (wanted, held);
            }
        }
        for dataflow in worker.installed_dataflows() {
            worker.drop_dataflow(dataflow);
        }
    }
}

/// The workers of one process of a cluster, and the guard of the threads that read and write its links.
fn clustered(
    threads: usize,
    process: usize,
    links: Links,
) -> Result<(Vec<AllocatorBuilder>, Box<dyn Any + Send>), String> {
    let hooks = Hooks::default();
    let here = ProcessBuilder::new_typed_vector(threads, hooks.refill.clone(), None);
    let (builders, guard) = initialize_networking_from_sockets(here, links.sockets, process, threads, hooks)
        .map_err(|error| error.to_string())?;
    Ok((builders.into_iter().map(AllocatorBuilder::Tcp).collect(), Box::new(guard)))
}
