//! The timekeeper's thread.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use connectors::checkpoint_store::Checkpointer;
use operators::bindings::Inlet;
use operators::disk::{Clock, Log, LogError};
use operators::time::Tick;
use operators::timekeeper::{Timekeeper, TimekeeperError};

use super::{EngineError, TimeNews, WallClock, lock};

/// What that thread has.
pub(super) struct Keeper<L> {
    pub(super) timekeeper: Timekeeper<L>,
    pub(super) checkpointer: Option<Arc<Checkpointer>>,
    pub(super) inlet: Inlet,
    pub(super) ended: Arc<AtomicBool>,
    pub(super) failure: Arc<Mutex<Option<EngineError>>>,
    pub(super) stop: Arc<AtomicBool>,
}

impl<L: Log> Keeper<L> {
    pub(super) fn run(mut self, news: &Receiver<TimeNews>) {
        let mut published = self.timekeeper.first();
        while !self.stop.load(Ordering::Acquire) {
            let due = self.checkpointer.as_ref().filter(|checkpointer| checkpointer.is_due());
            if due.is_some() {
                self.timekeeper.ask_for_checkpoint();
            }
            match self.timekeeper.poll(published, WallClock.now_ms()) {
                Ok(Some(binding)) => {
                    if let Some(checkpointer) = due.filter(|_| binding.checkpoint) {
                        checkpointer.asked(self.timekeeper.position().clone());
                    }
                    self.inlet.give(binding);
                    while let Ok(told) = news.try_recv() {
                        self.note(told, &mut published);
                    }
                    continue;
                }
                Ok(None) => {}
                // A log that waited for its cluster was told to stop.
                Err(TimekeeperError::Log(LogError::Stopped)) => return,
                Err(error) => {
                    lock(&self.failure).get_or_insert(error.into());
                    return;
                }
            }
            if self.timekeeper.ended() && published >= self.timekeeper.durable() {
                self.ended.store(true, Ordering::Release);
            }
            match news.recv_timeout(Duration::from_millis(5)) {
                Ok(told) => self.note(told, &mut published),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            while let Ok(told) = news.try_recv() {
                self.note(told, &mut published);
            }
        }
    }

    fn note(&mut self, told: TimeNews, published: &mut Tick) {
        match told {
            TimeNews::Holding(partition, holding) => self.timekeeper.hold(partition, holding, WallClock.now_ms()),
            TimeNews::Published { upper, acknowledged } => {
                *published = upper.max(*published);
                self.checkpointer.iter().for_each(|checkpointer| checkpointer.acknowledged(acknowledged));
            }
            TimeNews::Stop => {}
        }
    }
}
