//! A simulated store of checkpoints. An object of it is there whole or not at all, and outlives every crash; a checkpoint is
//! one once every worker has given everything and every sink holds its tick durably.

use std::sync::{Arc, Mutex, MutexGuard};

use operators::checkpoint::{Depot, Part, Piece, Restore};
use operators::simulation::Random;
use operators::time::Tick;
use operators::timekeeper::Position;
use operators::topology::Topology;

/// A checkpoint that can be restored.
#[derive(Clone)]
pub struct Saved {
    pub position: Position,
    parts: Vec<Part>,
}

impl Saved {
    /// What a worker begins with.
    pub fn of_worker(&self, worker: usize, peers: usize, topology: &Topology) -> Restore {
        let mine = self.parts.iter().filter(|part| part.place.is_of(worker, peers, topology));
        Restore { upper: self.position.upper, parts: mine.cloned().map(Into::into).collect() }
    }
}

/// The checkpoint under way in one incarnation.
#[derive(Clone)]
pub struct Vault(Arc<Mutex<UnderWay>>);

struct UnderWay {
    position: Option<Position>,
    parts: Vec<Part>,
    complete: usize,
    random: Random,
}

impl Vault {
    pub fn new(random: Random) -> Self {
        Vault(Arc::new(Mutex::new(UnderWay { position: None, parts: Vec::new(), complete: 0, random })))
    }

    fn lock(&self) -> MutexGuard<'_, UnderWay> {
        self.0.lock().unwrap()
    }

    /// Whether a checkpoint is under way.
    pub fn is_busy(&self) -> bool {
        self.lock().position.is_some()
    }

    /// One was asked for.
    pub fn begin(&self, position: Position) {
        let before = self.lock().position.replace(position);
        assert!(before.is_none(), "one at a time");
    }

    /// The checkpoint, once all workers have given everything and the sinks hold the ticks below `acknowledged`.
    pub fn finish(&self, workers: usize, acknowledged: Tick) -> Option<Saved> {
        let mut under_way = self.lock();
        let upper = under_way.position.as_ref()?.upper;
        if under_way.complete < workers || acknowledged < upper {
            return None;
        }
        under_way.complete = 0;
        let position = under_way.position.take()?;
        Some(Saved { position, parts: std::mem::take(&mut under_way.parts) })
    }
}

impl Depot for Vault {
    fn put(&self, upper: Tick, _: usize, piece: Piece) {
        let mut under_way = self.lock();
        let asked = under_way.position.as_ref().map(|position| position.upper);
        assert_eq!(asked, Some(upper), "what was asked for is given");
        match piece {
            Piece::Part(part) => under_way.parts.push(part),
            Piece::Complete => under_way.complete += 1,
        }
    }

    fn has_room(&self) -> bool {
        self.lock().random.once_in(2)
    }
}
