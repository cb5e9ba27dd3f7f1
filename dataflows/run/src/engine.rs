//! A running engine: threads around the graph. Workers, readers, one timekeeper, one publisher.
//!
//! ```text
//! reader threads -> feeds -> workers (the graph) -> publisher thread -> sinks, served views
//!        \ what they hold -> workers (a tiny dataflow) -> timekeeper thread -> bindings -> workers
//! ```
//!
//! The timekeeper's gate is what the publisher has acknowledged: a slow sink holds minting back, and with it the readers.
//! Everything that this does is repeatable from the two logs, so a stop needs no ceremony.
//!
//! In a cluster, workers and links are left as they are when a run is interrupted or fails: the others have to see a
//! connection that breaks, not one that ends well, and the process ends anyway. `ending.rs` has all the ways to end.

mod cluster;
mod control;
mod crew;
mod ending;
mod keeper;
mod link;
mod options;
mod publisher;
mod pulse;
mod reader;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use timely::communication::WorkerGuards;

use operators::bindings::Inlet;
use operators::disk::{Clock, Log};
use operators::fold::FoldGauge;
use operators::minter::Holding;
use operators::side_channel::Outlet;
use operators::source::SourceError;
use operators::time::{Tick, TimeMs};
use operators::timekeeper::{Timekeeper, TimekeeperError};
use operators::topology::PartitionId;

use dataflows::build::{GraphPlan, Publication};

use crew::Crew;
use keeper::Keeper;
use link::{Loss, Neighbour};

pub use cluster::{Cluster, ClusterError, Links, StartPoint};
pub use control::Control;
use options::OpenedSource;
pub use options::{InputOptions, PartitionSource, Recovery, Workers};
pub use publisher::{CompleteTick, Publish, PublishError};

/// What can end a run.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A source.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The remap log.
    #[error(transparent)]
    Time(#[from] TimekeeperError),
    /// A sink, or an answer.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// Another process of the cluster ended before the run did, or can't be reached any more.
    #[error("process {process} ({address}) is gone; start every process again, the run resumes from the data folder")]
    Lost {
        /// Which one.
        process: usize,
        /// Where it was.
        address: String,
    },
    /// The worker threads.
    #[error("could not start the workers: {what}")]
    Workers {
        /// Why.
        what: String,
    },
}

/// The wall clock.
pub struct WallClock;

impl Clock for WallClock {
    fn now_ms(&self) -> TimeMs {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        TimeMs::try_from(since.as_millis()).unwrap_or(TimeMs::MAX)
    }
}

/// What the timekeeper is told.
pub(crate) enum TimeNews {
    Holding(PartitionId, Holding),
    /// Every tick below `upper` is durable and visible; those below `acknowledged` no sink will need again.
    Published {
        upper: Tick,
        acknowledged: Tick,
    },
    Stop,
}

/// What the publisher is told.
pub(crate) enum PublisherNews {
    Publication(Publication),
    Frontier(Option<Tick>),
    Stop,
}

/// Where readers say what they hold, by partition.
pub(crate) type Holdings = Outlet<(PartitionId, Holding)>;

/// How much the folds of all workers of this process hold, by name.
pub type Held = Vec<(&'static str, FoldGauge)>;

/// A running engine.
pub struct Engine {
    stop: Arc<AtomicBool>,
    time: Sender<TimeNews>,
    publisher: Sender<PublisherNews>,
    /// Makes the workers leave their work.
    halt: Arc<AtomicBool>,
    failure: Arc<Mutex<Option<EngineError>>>,
    /// In a cluster, which process was lost.
    loss: Option<Arc<Loss>>,
    neighbours: Vec<Arc<Neighbour>>,
    /// In a cluster, what its processes tell each other.
    control: Option<Control>,
    guards: Option<WorkerGuards<()>>,
    threads: Vec<JoinHandle<()>>,
    close_feeds: Vec<Box<dyn Fn() + Send>>,
    outlets: Vec<Holdings>,
    inlet: Inlet,
    gauge_wanted: Arc<AtomicU64>,
    gauges: Arc<Mutex<Vec<(u64, Held)>>>,
    ended: Arc<AtomicBool>,
}

impl Engine {
    /// Starts a run in one process. `sources` are by partition.
    pub fn start<L: Log + 'static>(
        plan: &GraphPlan,
        workers: &Workers,
        sources: Vec<PartitionSource>,
        input: &InputOptions,
        timekeeper: Option<Timekeeper<L>>,
        publish: Box<dyn Publish>,
    ) -> Result<Engine, EngineError> {
        Engine::start_linked(None, plan, workers, sources, input, timekeeper, Recovery::default(), publish)
    }

    /// Starts a run; with links, as one process of a cluster. Sources of partitions that workers of this process do not
    /// own are not opened. The timekeeper and the publisher are of process 0.
    pub fn start_linked<L: Log + 'static>(
        links: Option<Links>,
        plan: &GraphPlan,
        workers: &Workers,
        sources: Vec<PartitionSource>,
        input: &InputOptions,
        timekeeper: Option<Timekeeper<L>>,
        recovery: Recovery,
        publish: Box<dyn Publish>,
    ) -> Result<Engine, EngineError> {
        assert_eq!(links.is_some(), workers.addresses.len() > 1, "a cluster has links, and nobody else");
        let peers = workers.peers();
        let (time, time_news) = channel();
        let (publisher, publisher_news) = channel();
        let failure = Arc::new(Mutex::new(None));
        let (stop, halt) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let loss = links.as_ref().map(|links| Arc::clone(&links.loss));
        let neighbours = links.as_ref().map_or_else(Vec::new, |links| links.neighbours.clone());
        let control = links.as_ref().map(|links| links.control.clone());
        let inlet = Inlet::default();
        let way_in = inlet.clone();
        let outlets: Vec<_> = (0..workers.threads).map(|_| Holdings::default()).collect();

        let (mut feeds, mut threads, mut close_feeds) = (Vec::new(), Vec::new(), Vec::new());
        for (number, source) in (0u32..).zip(sources) {
            let partition = PartitionId(number);
            let owner = plan.topology.owner(partition, peers);
            if !workers.has(owner) {
                continue;
            }
            let reader = reader::Reader {
                partition,
                outlet: outlets[owner % workers.threads].clone(),
                failure: Arc::clone(&failure),
                stop: Arc::clone(&stop),
                future_ms: input.future_ms.get(number as usize).copied().unwrap_or(TimeMs::MAX),
                from: input.from.get(number as usize).copied().unwrap_or(0),
                poll_bytes: input.poll_bytes,
            };
            let OpenedSource { thread, close, feed } = source.open(input.queue_bytes, reader);
            threads.push(thread);
            close_feeds.push(close);
            feeds.push((owner, feed));
        }

        let ended = Arc::new(AtomicBool::new(false));
        if let Some(timekeeper) = timekeeper {
            let keeper = Keeper {
                timekeeper,
                checkpointer: recovery.checkpointer.clone(),
                inlet: inlet.clone(),
                ended: Arc::clone(&ended),
                failure: Arc::clone(&failure),
                stop: Arc::clone(&stop),
            };
            threads.push(spawn("timekeeper", move || keeper.run(&time_news)));
        }
        let told = time.clone();
        let publishing = publisher::Publisher::new(publish, told, Arc::clone(&failure), Arc::clone(&stop));
        threads.push(spawn("publisher", move || publishing.run(&publisher_news)));

        let (asked, questions) = channel();
        if let Some(control) = control.clone().filter(|_| workers.process == 0) {
            let stop = Arc::clone(&stop);
            threads.push(spawn("answers", move || control.answer(&questions, &stop)));
        }

        let gauge_wanted = Arc::new(AtomicU64::new(0));
        let gauges = Arc::new(Mutex::new(vec![(0, Held::new()); workers.threads]));
        let crew = Crew {
            plan: GraphPlan { emitting_workers: workers.threads, ..plan.clone() },
            feeds: Mutex::new(feeds),
            inlet,
            outlets: outlets.clone(),
            control: control.clone().map(|control| (control, Mutex::new(asked))),
            threads: workers.threads,
            time: Mutex::new(time.clone()),
            publisher: Mutex::new(publisher.clone()),
            halt: Arc::clone(&halt),
            gauge_wanted: Arc::clone(&gauge_wanted),
            gauges: Arc::clone(&gauges),
            depot: recovery.checkpointer.as_ref().map(|checkpointer| checkpointer.depot()),
            restore: Mutex::new(recovery.restore.into_iter().map(Some).collect()),
        };
        let guards = crew.start(workers.process, links).map_err(|what| EngineError::Workers { what })?;
        let guards = Some(guards);
        Ok(Engine {
            stop,
            time,
            publisher,
            halt,
            failure,
            loss,
            neighbours,
            control,
            guards,
            threads,
            close_feeds,
            outlets,
            inlet: way_in,
            gauge_wanted,
            gauges,
            ended,
        })
    }

    /// Whether every source has ended and everything was published.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Whether something ended the run.
    pub fn has_failed(&self) -> bool {
        lock(&self.failure).is_some() || self.lost().is_some()
    }

    fn lost(&self) -> Option<&Neighbour> {
        Some(self.loss.as_ref()?.get()?)
    }

    /// Whether the workers of this process have nothing left to do: the first process ended the run.
    pub fn has_finished(&self) -> bool {
        self.guards.as_ref().is_none_or(|guards| guards.guards().iter().all(JoinHandle::is_finished))
    }

    /// Returns once every source has ended and everything was published, or something ended the run.
    pub fn wait(&self) {
        while !self.has_ended() && !self.has_failed() {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// How much the folds hold now, over the workers of this process. Waits for the workers.
    pub fn held(&self) -> Held {
        let wanted = self.gauge_wanted.fetch_add(1, Ordering::AcqRel) + 1;
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        loop {
            let gauges = lock(&self.gauges);
            if gauges.iter().all(|(given, _)| *given >= wanted) || std::time::Instant::now() > deadline {
                return sum(gauges.iter().flat_map(|(_, held)| held.iter().copied()));
            }
            drop(gauges);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Adds gauges up by name, in the order in which names first occur.
fn sum(gauges: impl Iterator<Item = (&'static str, FoldGauge)>) -> Held {
    let mut sums = Held::new();
    for (name, gauge) in gauges {
        match sums.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sum)) => {
                sum.keys += gauge.keys;
                sum.table_bytes += gauge.table_bytes;
                sum.heap_bytes += gauge.heap_bytes;
            }
            None => sums.push((name, gauge)),
        }
    }
    sums
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .expect("the system has a thread left for a handful of them")
}

/// Locks; a thread that panicked ends the run anyway, so what it left is as good as any.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
