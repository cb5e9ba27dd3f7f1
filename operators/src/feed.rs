//! The bounded queue between a partition's reader and its release: this is where backpressure begins.
//!
//! The reader pushes while there is room and pauses when there is none. Release takes records piecemeal, so a tick may be
//! larger than the queue and nothing locks up. The order "waiting, then look" on one side and "push, then wake" on the
//! other, both under one lock, is what keeps a wake-up from being lost.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use timely::scheduling::SyncActivator;

use crate::record::Batch;

struct Shared<R> {
    batches: VecDeque<Batch<R>>,
    bytes: u64,
    capacity_bytes: u64,
    waiting: Option<SyncActivator>,
    closed: bool,
}

/// Both ends of the queue; clones share it.
pub struct Feed<R> {
    shared: Arc<(Mutex<Shared<R>>, Condvar)>,
}

impl<R> Clone for Feed<R> {
    fn clone(&self) -> Self {
        Feed { shared: Arc::clone(&self.shared) }
    }
}

impl<R> Feed<R> {
    /// An empty queue with room for about this many bytes of input.
    pub fn new(capacity_bytes: u64) -> Self {
        let shared = Shared { batches: VecDeque::new(), bytes: 0, capacity_bytes, waiting: None, closed: false };
        Feed { shared: Arc::new((Mutex::new(shared), Condvar::new())) }
    }

    fn lock(&self) -> MutexGuard<'_, Shared<R>> {
        self.shared.0.lock().expect("nobody panics while holding the lock of a feed")
    }

    /// Whether the reader still has credits. An empty queue always has: one batch may be larger than the capacity.
    pub fn has_room(&self) -> bool {
        let shared = self.lock();
        shared.batches.is_empty() || shared.bytes < shared.capacity_bytes
    }

    /// Waits until there is room or the queue is closed; says whether there is room.
    pub fn wait_for_room(&self) -> bool {
        let mut shared = self.lock();
        while !shared.closed && !shared.batches.is_empty() && shared.bytes >= shared.capacity_bytes {
            shared = self.shared.1.wait(shared).expect("nobody panics while holding the lock of a feed");
        }
        !shared.closed
    }

    /// Hands a batch over and wakes release if it waits.
    pub fn push(&self, batch: Batch<R>) {
        let waiting = {
            let mut shared = self.lock();
            shared.bytes += batch.bytes;
            shared.batches.push_back(batch);
            shared.waiting.take()
        };
        if let Some(activator) = waiting {
            // The worker may be gone already, at the end of a run: then nobody waits for the batch.
            let _ = activator.activate();
        }
    }

    /// Takes the next batch, or leaves word whom to wake.
    pub fn take_or_wait(&self, activator: impl FnOnce() -> SyncActivator) -> Option<Batch<R>> {
        let mut shared = self.lock();
        let Some(batch) = shared.batches.pop_front() else {
            shared.waiting = Some(activator());
            return None;
        };
        shared.bytes -= batch.bytes;
        drop(shared);
        self.shared.1.notify_one();
        Some(batch)
    }

    /// Ends the reader's waiting for ever.
    pub fn close(&self) {
        self.lock().closed = true;
        self.shared.1.notify_all();
    }
}
