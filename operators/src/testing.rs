//! What the tests of the operators share: small dataflows on workers that a seed schedules, and records told by hand.

use std::sync::{Arc, Mutex};

use timely::dataflow::operators::probe::Handle;
use timely::dataflow::operators::vec::{Delay, Map, ToStream};
use timely::dataflow::{Scope, StreamVec};
use timely::worker::Worker;

use crate::binding::{Advance, Binding, Configuration, Status};
use crate::checkpoint::{Checkpoints, Depot, Part, Piece, Restore};
use crate::clock::Mark;
use crate::record::{Batch, Header, Identity, Item, Rejection};
use crate::simulation::{Cluster, Random};
use crate::time::{Tick, TimeMs};
use crate::topology::{GroupId, LaneParameters, Lanes, Parameters, Partition, PartitionId, ReleaseId, Topology};

/// Steps after which a run that is still not done is stuck.
const STEPS_MAX: usize = 200_000;

/// What the workers of a test take down, in the order in which they do.
pub(crate) struct Notebook<T>(Arc<Mutex<Vec<T>>>);

impl<T> Clone for Notebook<T> {
    fn clone(&self) -> Self {
        Notebook(Arc::clone(&self.0))
    }
}

impl<T> Notebook<T> {
    /// An empty notebook.
    pub(crate) fn new() -> Self {
        Notebook(Arc::default())
    }

    /// Takes something down.
    pub(crate) fn note(&self, entry: T) {
        self.0.lock().expect("nobody panics while writing").push(entry);
    }

    /// Takes all out that was taken down.
    pub(crate) fn take(&self) -> Vec<T> {
        std::mem::take(&mut *self.0.lock().expect("nobody panics while writing"))
    }
}

/// Runs a dataflow to its end on so many workers, step by step in an order that follows from the seed; gives what they
/// took down.
pub(crate) fn run<T: Send + 'static>(
    workers: usize,
    seed: u64,
    build: impl Fn(Scope<'_, Tick>, Notebook<T>) -> Handle<Tick> + Send + Sync + 'static,
) -> Vec<T> {
    let notebook = Notebook::new();
    let notes = notebook.clone();
    let mut cluster = Cluster::start(workers, move |worker| {
        let notes = notes.clone();
        let probe = worker.dataflow(|scope| build(scope, notes));
        move || probe.done()
    });
    let mut random = Random::new(seed);
    let mut done = vec![false; workers];
    for step in 0.. {
        assert!(step < STEPS_MAX, "seed {seed}, {workers} workers: stuck");
        let worker = random.below(workers as u64) as usize;
        done[worker] = cluster.step(worker);
        if done.iter().all(|done| *done) {
            break;
        }
    }
    drop(cluster);
    notebook.take()
}

/// Lets a worker do what it can: none of these dataflows needs so many steps to come to rest.
pub(crate) fn rest(worker: &mut Worker) {
    for _ in 0..50 {
        worker.step();
    }
}

/// This worker's part of what all workers are given, each entry at the tick that it belongs to.
pub(crate) fn dealt<'scope, D: Clone + 'static>(
    scope: Scope<'scope, Tick>,
    all: &[D],
    tick_of: impl Fn(&D) -> Tick + 'static,
) -> StreamVec<'scope, Tick, D> {
    let mine: Vec<D> = all.iter().skip(scope.index()).step_by(scope.peers()).cloned().collect();
    mine.to_stream(scope).delay(move |entry, _| tick_of(entry))
}

/// The end of a stream: nothing but its frontier.
pub(crate) fn end<'scope, D: 'static>(stream: StreamVec<'scope, Tick, D>) -> StreamVec<'scope, Tick, ()> {
    stream.flat_map(|_| None)
}

/// The marks of these ticks, on every worker.
pub(crate) fn marks<'scope>(scope: Scope<'scope, Tick>, marks: &[Mark]) -> StreamVec<'scope, Tick, Mark> {
    marks.to_vec().to_stream(scope).delay(|mark, _| mark.tick)
}

/// A mark at which `now` and every watermark stand at this time.
pub(crate) fn mark(tick: Tick, time_ms: TimeMs) -> Mark {
    let watermarks: Arc<[TimeMs]> = vec![time_ms; 2].into();
    Mark { tick, now_ms: time_ms, reached: Arc::clone(&watermarks), watermarks, checkpoint: false }
}

/// A binding that binds these offsets of partitions, each of which is caught up.
pub(crate) fn binding(tick: Tick, now_ms: TimeMs, next: &[u64]) -> Binding {
    let advance =
        |(number, next): (u32, &u64)| Advance { partition: PartitionId(number), next: *next, status: Status::CaughtUp };
    Binding { advances: (0..).zip(next).map(advance).collect(), ..Binding::new(tick, now_ms) }
}

/// The binding of tick 0, which names so many partitions and allows the lanes of each this.
pub(crate) fn first_binding(now_ms: TimeMs, partitions: usize, lanes: LaneParameters) -> Binding {
    let parameters = Parameters { lanes: vec![lanes; partitions], start_ms: now_ms };
    let configuration =
        Configuration { canonical: String::new(), sha256: String::new(), build: String::new(), parameters };
    Binding { configuration: Some(configuration), ..binding(0, now_ms, &vec![0; partitions]) }
}

/// A second late is on time, a minute ahead is too far.
pub(crate) const LANES: LaneParameters =
    LaneParameters { lateness_ms: 1_000, hold_ms: 30_000, idle_ms: 60_000, skew_max_ms: 60_000, dedup_horizon_ms: 0 };

/// Live partitions of one lane each that feed one group.
pub(crate) fn topology(partitions: u32, identity_fixes_partition: bool) -> Topology {
    let partition = |number| Partition {
        name: format!("partition {number}"),
        release: ReleaseId(0),
        groups: vec![(GroupId(0), Lanes::Closed(vec![0]))],
        identity_fixes_partition,
        live: true,
        re_enters: None,
        shown_once_read: false,
        weight: 1,
    };
    Topology { partitions: (0..partitions).map(partition).collect(), groups: vec!["group".to_owned()], ends_ms: None }
}

/// What a record is judged by.
pub(crate) fn header(id: u128, content: u64, event_time_ms: TimeMs) -> Header {
    Header { group: GroupId(0), lane: 0, event_time_ms, identity: Identity::Id { id, content } }
}

/// A record that decoded to `name`; its content is the name's length.
pub(crate) fn item(offset: u64, id: u128, event_time_ms: TimeMs, name: &str) -> Item<String> {
    let outcome = Ok((header(id, name.len() as u64, event_time_ms), name.to_owned()));
    Item { offset, length: 1, line: offset + 1, outcome }
}

/// A record that did not decode.
pub(crate) fn garbage(offset: u64) -> Item<String> {
    let outcome = Err((Rejection::new("not_json", "no JSON"), b"?".to_vec()));
    Item { offset, length: 1, line: offset + 1, outcome }
}

/// A batch of one byte for each offset up to this one.
pub(crate) fn batch(items: Vec<Item<String>>, end_offset: u64) -> Batch<String> {
    let text = vec![b'x'; end_offset as usize].into();
    Batch {
        end_offset,
        bytes: items.len() as u64,
        origin: "file".into(),
        items,
        text,
        text_offset: 0,
        text_starts: Vec::new(),
        append_ms: Vec::new(),
    }
}

/// Keeps the parts of one checkpoint.
#[derive(Default)]
pub(crate) struct Shelf(Mutex<Vec<Part>>);

impl Depot for Shelf {
    fn put(&self, _: Tick, _: usize, piece: Piece) {
        if let Piece::Part(part) = piece {
            self.0.lock().expect("nobody panics while holding the lock of a shelf").push(part);
        }
    }

    fn has_room(&self) -> bool {
        true
    }
}

impl Shelf {
    /// The checkpoints of a worker that gives its parts to this shelf.
    pub(crate) fn filled_by(self: &Arc<Self>, worker: usize) -> Checkpoints {
        Checkpoints::new(worker, Some(Arc::clone(self) as Arc<dyn Depot>), None)
    }

    /// The checkpoints of a worker, of `peers`, that begins with what lies on this shelf.
    pub(crate) fn restored_on(&self, worker: usize, peers: usize, upper: Tick, topology: &Topology) -> Checkpoints {
        let parts = self.0.lock().expect("nobody panics while holding the lock of a shelf").clone();
        let mine = parts.into_iter().filter(|part| part.place.is_of(worker, peers, topology));
        Checkpoints::new(worker, None, Some(Restore { upper, parts: mine.map(Into::into).collect() }))
    }

    /// How many parts lie on it.
    pub(crate) fn len(&self) -> usize {
        self.0.lock().expect("nobody panics while holding the lock of a shelf").len()
    }
}
