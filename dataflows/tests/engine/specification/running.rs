//! Running a fold, or a specification, over a stream that is known beforehand.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::Range;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use super::shown::Shown;
use dataflows::experiment::specification::Ticked;
use differential_dataflow::ExchangeData;
use differential_dataflow::input::InputSession;
use operators::checkpoint::{Checkpoints, Depot, Part, Piece, Restore};
use operators::clock::Mark;
use operators::fold::{Folded, Posting, rows as rows_of};
use operators::simulation::{Cluster, Random};
use operators::time::Tick;
use operators::topology::Topology;
use timely::dataflow::operators::vec::Input;
use timely::dataflow::operators::{Inspect, Probe};

/// Changes of rows.
pub type Changes<R> = Vec<(R, Tick, isize)>;
/// By tick: records, each with what it posts. What a record posts stays together, in its order.
pub type Records<K, E> = Vec<Vec<Vec<(K, E)>>>;

/// Steps after which a run that is still not done is stuck.
const STEPS_MAX: usize = 200_000;

/// A fold, what it is given, and where it begins.
pub struct Run<F: Shown> {
    make: Arc<dyn Fn() -> F + Send + Sync>,
    records: Arc<Records<F::Key, F::Event>>,
    pub marks: Arc<Vec<Mark>>,
}

impl<F: Shown> Run<F> {
    pub fn new(
        make: impl Fn() -> F + Send + Sync + 'static,
        records: Records<F::Key, F::Event>,
        marks: &[Mark],
    ) -> Self {
        assert_eq!(records.len(), marks.len());
        Run { make: Arc::new(make), records: Arc::new(records), marks: Arc::new(marks.to_vec()) }
    }

    /// A fold of the records that were released.
    pub fn of_inputs(make: impl Fn() -> F + Send + Sync + 'static, inputs: &[Vec<F::Input>], marks: &[Mark]) -> Self {
        let fold = make();
        let posted = |input: &F::Input| {
            let mut posted = Vec::new();
            fold.keys(input, &mut |key, event| posted.push((key, event)));
            posted
        };
        let records = inputs.iter().map(|inputs| inputs.iter().map(posted).collect()).collect();
        Run::new(make, records, marks)
    }

    /// Everything, from the start.
    pub fn whole(&self, workers: usize, seed: u64) -> Changes<F::Row> {
        self.run(workers, seed, None, None).0
    }

    /// Everything, from the start; a checkpoint of the tick before `at` is taken while the run goes on.
    pub fn with_checkpoint(&self, at: usize, workers: usize, seed: u64) -> (Changes<F::Row>, Vec<Part>) {
        self.run(workers, seed, Some(at), None)
    }

    /// From the tick before `at` on, which shows what was restored.
    pub fn restored(&self, at: usize, parts: &[Part], workers: usize, seed: u64) -> Changes<F::Row> {
        self.run(workers, seed, None, Some((at, parts.to_vec()))).0
    }

    fn run(
        &self,
        workers: usize,
        seed: u64,
        checkpoint_at: Option<usize>,
        restore: Option<(usize, Vec<Part>)>,
    ) -> (Changes<F::Row>, Vec<Part>) {
        let changes = Arc::new(Mutex::new(Vec::new()));
        let (make, records) = (Arc::clone(&self.make), Arc::clone(&self.records));
        let mut marks = self.marks.to_vec();
        checkpoint_at.into_iter().for_each(|at| marks[at - 1].checkpoint = true);
        let ticks = restore.as_ref().map_or(0, |(at, _)| at - 1)..marks.len();
        let depot = Arc::new(Shelf::new(workers, seed));
        let shelf = Arc::clone(&depot);
        let seen = Arc::clone(&changes);
        let mut cluster = Cluster::start(workers, move |worker| {
            let (index, peers) = (worker.index(), worker.peers());
            let (seen, fold) = (Arc::clone(&seen), Rc::new(make()));
            let (mut to_fold, mut to_marks, probe) = worker.dataflow::<Tick, _, _>(|scope| {
                let (to_fold, posted) = scope.new_input();
                let (to_marks, marked) = scope.new_input();
                let restore = restore.clone().map(|(at, mut parts)| {
                    parts.retain(|part| part.place.is_of(index, peers, &Topology::default()));
                    Restore { upper: at as Tick, parts: parts.into_iter().map(Into::into).collect() }
                });
                let checkpoints = Checkpoints::new(index, Some(depot.clone()), restore);
                let outlet = rows_of(|fold: &F, key, value| Some(fold.shown(key, value)));
                let (changes, _) = posted.fold_into(fold, marked, &checkpoints, outlet);
                let (probe, _) = changes.inspect(move |change| push(&seen, change)).probe();
                (to_fold, to_marks, probe)
            });
            to_fold.advance_to(ticks.start as Tick);
            to_marks.advance_to(ticks.start as Tick);
            let (records, marks, depot) = (Arc::clone(&records), marks.clone(), Arc::clone(&depot));
            let (mut inputs, mut ticks) = (Some((to_fold, to_marks)), ticks.clone());
            let mut random = Random::new(seed ^ (index as u64) << 32);
            let of_worker = |tick: usize| (index..records[tick].len()).step_by(peers).collect::<Vec<_>>();
            let mut mine: Vec<Vec<usize>> = (0..ticks.end).map(of_worker).collect();
            move || {
                if let Some((to_fold, to_marks)) = inputs.as_mut().filter(|_| random.once_in(2)) {
                    if let Some(tick) = ticks.next() {
                        // Some of the next tick's come in a message of this one: a posting belongs to its own tick.
                        while !mine[tick].is_empty() {
                            let early = tick + 1 < ticks.end && !mine[tick + 1].is_empty() && random.once_in(4);
                            let of = if early { tick + 1 } else { tick };
                            let at = random.below(mine[of].len() as u64) as usize;
                            let record = mine[of].swap_remove(at);
                            for (key, event) in records[of][record].iter().cloned() {
                                to_fold.send(Posting::new(key, event, of as Tick));
                            }
                        }
                        to_marks.send(marks[tick].clone());
                        to_fold.advance_to(tick as Tick + 1);
                        to_marks.advance_to(tick as Tick + 1);
                    } else if checkpoint_at.is_none() || depot.is_complete() {
                        inputs = None;
                    }
                }
                probe.done()
            }
        });
        let mut random = Random::new(seed);
        let mut done = vec![false; workers];
        for step in 0.. {
            assert!(step < STEPS_MAX, "seed {seed}, {workers} workers: stuck");
            // A worker that is done may still have to help others on.
            let worker = random.below(workers as u64) as usize;
            done[worker] = cluster.step(worker);
            if done.iter().all(|done| *done) {
                break;
            }
        }
        drop(cluster);
        let parts = std::mem::take(&mut lock(&shelf.0).parts);
        (take(&changes), parts)
    }
}

/// Takes the pieces of a checkpoint, when it feels like it.
struct Shelf(Mutex<Pieces>);

struct Pieces {
    parts: Vec<Part>,
    complete: Vec<bool>,
    random: Random,
}

impl Shelf {
    fn new(workers: usize, seed: u64) -> Self {
        let random = Random::new(seed ^ 0x5a5a);
        Shelf(Mutex::new(Pieces { parts: Vec::new(), complete: vec![false; workers], random }))
    }

    fn is_complete(&self) -> bool {
        lock(&self.0).complete.iter().all(|complete| *complete)
    }
}

impl Depot for Shelf {
    fn put(&self, _: Tick, worker: usize, piece: Piece) {
        let mut pieces = lock(&self.0);
        assert!(!pieces.complete[worker], "nothing comes after the end");
        match piece {
            Piece::Part(part) => pieces.parts.push(part),
            Piece::Complete => pieces.complete[worker] = true,
        }
    }

    fn has_room(&self) -> bool {
        lock(&self.0).random.once_in(3)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics while holding it")
}

fn push<R: Clone>(seen: &Mutex<Changes<R>>, change: &(R, Tick, isize)) {
    seen.lock().expect("nobody panics while pushing").push(change.clone());
}

fn take<R>(seen: &Mutex<Changes<R>>) -> Changes<R> {
    std::mem::take(&mut *seen.lock().expect("nobody panics while pushing"))
}

/// What the specification says of such an input, on one worker.
pub fn specified<D: ExchangeData + Sync, R: ExchangeData>(
    given: Vec<Vec<(D, isize)>>,
    build: impl for<'scope> FnOnce(Ticked<'scope, D>) -> Ticked<'scope, R> + Send + Sync + 'static,
) -> Changes<R> {
    timely::execute_directly(move |worker| {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let mut input = InputSession::<Tick, D, isize>::new();
        let shared = Arc::clone(&seen);
        let probe = worker.dataflow::<Tick, _, _>(|scope| {
            let rows = build(input.to_collection(scope));
            rows.inspect(move |change| push(&shared, change)).probe().0
        });
        for (tick, given) in given.into_iter().enumerate() {
            given.into_iter().for_each(|(datum, diff)| input.update(datum, diff));
            input.advance_to(tick as Tick + 1);
            input.flush();
            worker.step_while(|| probe.less_than(input.time()));
        }
        take(&seen)
    })
}

/// The rows at each of these ticks, each with its copies.
pub fn rows<R: Ord + Clone + Debug>(changes: &Changes<R>, ticks: Range<usize>) -> Vec<BTreeMap<R, isize>> {
    let mut by_tick: BTreeMap<Tick, Vec<(&R, isize)>> = BTreeMap::new();
    for (row, tick, diff) in changes {
        by_tick.entry(*tick).or_default().push((row, *diff));
    }
    let mut now: BTreeMap<R, isize> = BTreeMap::new();
    let snapshots = ticks.map(|tick| {
        for (row, diff) in by_tick.remove(&(tick as Tick)).unwrap_or_default() {
            *now.entry(row.clone()).or_default() += diff;
        }
        now.retain(|_, copies| *copies != 0);
        now.clone()
    });
    let snapshots = snapshots.collect();
    assert!(by_tick.is_empty(), "changes at ticks that there are not: {:?}", by_tick.keys());
    snapshots
}
