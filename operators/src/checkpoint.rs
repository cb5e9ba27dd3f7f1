//! Checkpoints: everything that the operators of a worker hold, as of one tick, given out piece by piece while work goes on.
//!
//! ```text
//! binding(T) asks -> every stateful operator freezes once it has applied T -> one after the other gives its parts
//!                                                                          -> Depot (another thread writes them)
//! ```
//!
//! Frozen is a word, not a copy: an operator goes on with tick `T+1` and puts by what a key held as of `T` when it first
//! touches the key (copy on first write, by key). What is given is therefore exactly the state as of `T`, although it is
//! given over many later ticks, a bounded number of bytes at each activation. The operators of a worker take turns, so a
//! worker is never busy with more than one of them. Whether and when a checkpoint is taken decides no output.
//!
//! At restore an operator takes the parts whose place is its worker's, under whatever number of workers. Time then begins
//! again at tick `T` itself: its binding is given once more, every operator that was restored takes it as applied, folds
//! show the rows that they hold, and the whole collection of each view is what "changes" at that tick. An operator of
//! which the checkpoint has nothing begins without state, as of that same tick.

mod formats;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use timely::scheduling::Activator;

use crate::shard::{PlaceKey, worker_of};
use crate::time::Tick;
use crate::topology::{PartitionId, Topology};

pub use formats::{FIRST_STATE_FORMAT, StateError, StateFormats};

/// Which worker a part belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PartOwner {
    /// The worker of a virtual shard.
    Shard(u16),
    /// The owner of a partition.
    Partition(PartitionId),
    /// The part belongs to every worker.
    Everyone,
}

impl PartOwner {
    /// Whether a worker, of `peers`, has it.
    pub fn is_of(self, worker: usize, peers: usize, topology: &Topology) -> bool {
        match self {
            PartOwner::Shard(shard) => worker_of(u64::from(shard), peers) == worker,
            PartOwner::Partition(partition) => topology.owner(partition, peers) == worker,
            PartOwner::Everyone => true,
        }
    }
}

/// A part of a checkpoint: what an operator holds at a place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The operator's name in the graph.
    pub operator: String,
    /// Which workers it belongs to.
    pub place: PartOwner,
    /// The state, in postcard's coding.
    pub bytes: Vec<u8>,
}

/// A part that a worker begins with. It is unpacked when its operator takes it, one part at a time: what was taken is used
/// and its memory serves the next one.
#[derive(Clone)]
pub struct Parcel {
    /// The operator's name in the graph.
    pub operator: String,
    /// Which workers it belongs to.
    pub place: PartOwner,
    unpack: Arc<dyn Fn() -> Vec<u8> + Send + Sync>,
}

impl Parcel {
    /// A parcel of which `unpack` gives the part's bytes. It was verified before and can't fail.
    pub fn new(operator: String, place: PartOwner, unpack: impl Fn() -> Vec<u8> + Send + Sync + 'static) -> Parcel {
        Parcel { operator, place, unpack: Arc::new(unpack) }
    }

    /// What is in it.
    pub fn open(&self) -> Part {
        Part { operator: self.operator.clone(), place: self.place, bytes: (self.unpack)() }
    }
}

impl From<Part> for Parcel {
    fn from(part: Part) -> Parcel {
        let Part { operator, place, bytes } = part;
        Parcel::new(operator, place, move || bytes.clone())
    }
}

/// What a worker hands over for a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// One part of what the worker holds.
    Part(Part),
    /// There are no more parts of this worker.
    Complete,
}

/// Where pieces go: off the worker, to be written.
pub trait Depot: Send + Sync {
    /// Takes a piece of the checkpoint that holds every tick below `upper`.
    fn put(&self, upper: Tick, worker: usize, piece: Piece);
    /// Whether it can take more now. Workers ask again soon; nothing is lost by a no.
    fn has_room(&self) -> bool;
}

/// The parts that a worker begins with.
#[derive(Clone, Default)]
pub struct Restore {
    /// The first tick that is not in them.
    pub upper: Tick,
    /// What this worker has of it.
    pub parts: Vec<Parcel>,
}

/// About how many bytes an operator gives at one activation.
const BYTES_PER_TURN: usize = 256 << 10;

/// How long a worker waits for a depot that is full.
const REST: Duration = Duration::from_millis(2);

/// An operator whose state can be saved.
pub trait Save {
    /// From now on, until everything was given, whatever is changed is put by first. `upper` is the first tick that is
    /// not applied.
    fn freeze(&mut self, upper: Tick);
    /// Gives the next parts, of about `bytes_max` bytes together; says whether there are no more.
    fn give(&mut self, bytes_max: usize, give: &mut dyn FnMut(PartOwner, Vec<u8>)) -> bool;
}

#[derive(Default)]
struct UnderWay {
    upper: Tick,
    /// By seat.
    frozen: Vec<bool>,
    /// Whose turn it is.
    turn: usize,
}

struct Shared {
    worker: usize,
    depot: Option<Arc<dyn Depot>>,
    restored_upper: Tick,
    place_key: Cell<PlaceKey>,
    restore: RefCell<BTreeMap<String, Vec<Parcel>>>,
    seats: RefCell<Vec<Activator>>,
    formats: RefCell<StateFormats>,
    under_way: RefCell<Option<UnderWay>>,
}

/// The checkpoints of a worker; clones share them.
#[derive(Clone)]
pub struct Checkpoints(Rc<Shared>);

impl Default for Checkpoints {
    /// No checkpoint is ever taken, and nothing is restored.
    fn default() -> Self {
        Checkpoints::new(0, None, None)
    }
}

impl Checkpoints {
    /// The checkpoints of a worker that begins with `restore`. Without a depot none may be asked for.
    pub fn new(worker: usize, depot: Option<Arc<dyn Depot>>, restore: Option<Restore>) -> Self {
        let Restore { upper, parts } = restore.unwrap_or_default();
        let mut by_operator: BTreeMap<String, Vec<Parcel>> = BTreeMap::new();
        for part in parts {
            by_operator.entry(part.operator.clone()).or_default().push(part);
        }
        Checkpoints(Rc::new(Shared {
            worker,
            depot,
            restored_upper: upper,
            place_key: Cell::default(),
            restore: RefCell::new(by_operator),
            seats: RefCell::default(),
            formats: RefCell::default(),
            under_way: RefCell::default(),
        }))
    }

    /// The same for a run with a key by which state is placed.
    #[must_use]
    pub fn placed_by(self, place_key: PlaceKey) -> Self {
        self.0.place_key.set(place_key);
        self
    }

    /// The key by which state is placed.
    pub fn place_key(&self) -> PlaceKey {
        self.0.place_key.get()
    }

    /// The first tick that is not in what was restored; 0 at a beginning.
    pub fn restored_upper(&self) -> Tick {
        self.0.restored_upper
    }

    /// Takes what was restored for an operator; each part is unpacked when it comes.
    pub fn take(&self, operator: &str) -> impl Iterator<Item = Part> + use<> {
        let parcels = self.0.restore.borrow_mut().remove(operator).unwrap_or_default();
        parcels.into_iter().map(|parcel| parcel.open())
    }

    /// The operators that have taken a seat, with the formats of their states: all of a graph, once it is built.
    pub fn formats(&self) -> StateFormats {
        self.0.formats.borrow().clone()
    }

    /// A seat for an operator that has state, coded in this format. Every operator has to take one while the graph is built.
    pub fn seat(&self, operator: &str, format: u32, activator: Activator) -> Seat {
        self.0.formats.borrow_mut().add(operator, format);
        let mut seats = self.0.seats.borrow_mut();
        seats.push(activator);
        Seat {
            checkpoints: self.clone(),
            operator: operator.to_owned(),
            index: seats.len() - 1,
            upper: Cell::new(None),
        }
    }
}

/// An operator's place in the order in which a worker's operators give their parts.
pub struct Seat {
    checkpoints: Checkpoints,
    operator: String,
    index: usize,
    /// Of the checkpoint that this operator has frozen and not yet given.
    upper: Cell<Option<Tick>>,
}

impl Seat {
    /// The operator has applied the tick that asks for a checkpoint.
    pub fn freeze(&self, upper: Tick, state: &mut impl Save) {
        let shared = &self.checkpoints.0;
        assert!(self.upper.get().is_none(), "a checkpoint is asked for only after the last one is complete");
        let seats = shared.seats.borrow().len();
        let mut under_way = shared.under_way.borrow_mut();
        let under_way = under_way.get_or_insert_with(|| UnderWay { upper, frozen: vec![false; seats], turn: 0 });
        assert_eq!(under_way.upper, upper, "all operators freeze at the same tick");
        under_way.frozen[self.index] = true;
        self.upper.set(Some(upper));
        state.freeze(upper);
    }

    /// Gives some parts, if it is this operator's turn. To be called whenever the operator is activated; as long as there
    /// is more to give it activates the operator again, and in the end whoever is next.
    pub fn work(&self, state: &mut impl Save) {
        let Some(upper) = self.upper.get() else { return };
        let shared = &self.checkpoints.0;
        let depot = shared.depot.as_ref().expect("a checkpoint is asked for only where there is a depot");
        let is_next = shared.under_way.borrow().as_ref().is_some_and(|under_way| under_way.turn == self.index);
        if !is_next {
            return;
        }
        let seats = shared.seats.borrow();
        if !depot.has_room() {
            return seats[self.index].activate_after(REST);
        }
        let is_done = state.give(BYTES_PER_TURN, &mut |place, bytes| {
            let part = Part { operator: self.operator.clone(), place, bytes };
            depot.put(upper, shared.worker, Piece::Part(part));
        });
        if !is_done {
            return seats[self.index].activate();
        }
        self.upper.set(None);
        let mut slot = shared.under_way.borrow_mut();
        let under_way = slot.as_mut().expect("it was looked at just now");
        under_way.turn += 1;
        match seats.get(under_way.turn) {
            Some(next) => next.activate(),
            None => {
                depot.put(upper, shared.worker, Piece::Complete);
                *slot = None;
            }
        }
    }
}

/// Appends a value to a part.
pub fn encode<T: Serialize>(value: &T, bytes: Vec<u8>) -> Vec<u8> {
    postcard::to_extend(value, bytes).expect("states are made of what the codec can always hold")
}

/// The next value of a part, which was checked against its hash when it was read.
///
/// # Panics
/// If the bytes are not what [`encode`] wrote: a checkpoint whose states have other formats is refused before it is restored.
pub fn decode<T: for<'de> Deserialize<'de>>(bytes: &mut &[u8]) -> T {
    let (value, rest) = postcard::take_from_bytes(bytes).expect("a part is checked before it is restored");
    *bytes = rest;
    value
}
