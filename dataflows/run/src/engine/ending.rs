//! The ways in which a run of this process ends.
//!
//! | way | workers | links |
//! |---|---|---|
//! | `finish`: every source has ended | complete the dataflow | end well, in every process |
//! | `begin_anew`, `leave`: there is more to read | leave their work as it is | end well, in every process |
//! | `stop`: interrupted, or something failed | of a cluster: stay as they are | the others have to see them break |
//!
//! Whoever ends well waits for the others to do so too. One that hangs is waited for until somebody interrupts this process.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::{Engine, EngineError, Holdings, PublisherNews, TimeNews, lock, spawn};

/// How often what others decide is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// How long the other processes may take to end before it is told for whom this one waits.
const TOLD_AFTER: Duration = Duration::from_secs(10);

/// How long they may take once this process was interrupted.
const INTERRUPTED_MAX: Duration = Duration::from_secs(5);

impl Engine {
    /// Ends a run whose sources have ended: the dataflow completes in every process of the cluster, then all stop.
    /// Once `interrupted`, the others have a few seconds for it.
    pub fn finish(mut self, interrupted: &AtomicBool) -> Result<(), EngineError> {
        self.inlet.close();
        self.join_workers(interrupted);
        self.stop()
    }

    /// Whether process 0 said that there is more to read than the run began with.
    pub fn begins_anew(&self) -> bool {
        self.control.as_ref().is_some_and(super::Control::begins_anew)
    }

    /// Ends a run that there is more to read for than it began with. In process 0 of a cluster, all others hear of it and
    /// [`leave`](Engine::leave) it.
    pub fn begin_anew(self, interrupted: &AtomicBool) -> Result<(), EngineError> {
        if let Some(control) = &self.control {
            control.tell_to_begin_anew();
        }
        // Whoever hears it knows that it was handed to everybody.
        let is_over = || self.begins_anew() || self.has_failed() || interrupted.load(Ordering::Acquire);
        while self.control.is_some() && !is_over() {
            std::thread::sleep(LOOK_EVERY);
        }
        self.leave(interrupted)
    }

    /// Leaves the work as it is, which every process of the cluster does now; all that it held is given back.
    /// Once `interrupted`, the others have a few seconds for it.
    pub fn leave(mut self, interrupted: &AtomicBool) -> Result<(), EngineError> {
        if !self.has_failed() {
            self.silence();
            self.halt_workers(interrupted);
        }
        self.stop()
    }

    /// Stops every thread and says what went wrong, if anything did.
    pub fn stop(mut self) -> Result<(), EngineError> {
        self.silence();
        match &self.control {
            Some(_) => std::mem::forget(self.guards.take()),
            // There is nobody else to wait for.
            None => self.halt_workers(&AtomicBool::new(false)),
        }
        let _ = self.publisher.send(PublisherNews::Stop);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                lock(&self.failure).get_or_insert(EngineError::Workers { what: "a thread panicked".to_owned() });
            }
        }
        let failure = lock(&self.failure).take();
        let lost = || {
            let lost = self.lost()?;
            Some(EngineError::Lost { process: lost.process, address: lost.address.clone() })
        };
        failure.or_else(lost).map_or(Ok(()), Err)
    }

    /// Readers and timekeeper do nothing more.
    fn silence(&self) {
        self.stop.store(true, Ordering::Release);
        self.close_feeds.iter().for_each(|close| close());
        self.control.iter().for_each(super::Control::close);
        // Whoever ended already has hung up.
        let _ = self.time.send(TimeNews::Stop);
    }

    fn halt_workers(&mut self, interrupted: &AtomicBool) {
        self.halt.store(true, Ordering::Release);
        self.outlets.iter().for_each(Holdings::close);
        let guards = self.guards.iter().flat_map(|guards| guards.guards());
        guards.for_each(|guard| guard.thread().unpark());
        self.join_workers(interrupted);
    }

    /// Waits for the workers, and in a cluster for the links, which are read until every process has ended.
    fn join_workers(&mut self, interrupted: &AtomicBool) {
        let Some(guards) = self.guards.take() else { return };
        // A thread that waits for a process which is lost waits for ever.
        let (told, joined) = channel();
        spawn("join", move || drop(told.send(guards.join())));
        let (began, mut was_told, mut interruption) = (Instant::now(), false, None);
        while self.lost().is_none() {
            match joined.recv_timeout(LOOK_EVERY) {
                Ok(joined) => {
                    if let Some(what) = joined.into_iter().find_map(Result::err) {
                        lock(&self.failure).get_or_insert(EngineError::Workers { what });
                    }
                    return;
                }
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.control.is_some() && interrupted.load(Ordering::Acquire) {
                let since = *interruption.get_or_insert_with(Instant::now);
                if since.elapsed() >= INTERRUPTED_MAX {
                    tracing::warn!("{} did not end, and is not waited for any more", self.who_has_not_ended());
                    return;
                }
            }
            if began.elapsed() >= TOLD_AFTER && !std::mem::replace(&mut was_told, true) {
                tracing::warn!("waiting for {} to end", self.who_has_not_ended());
            }
        }
    }

    fn who_has_not_ended(&self) -> String {
        let others = self.neighbours.iter().filter(|neighbour| !neighbour.has_ended());
        let others: Vec<String> =
            others.map(|neighbour| format!("process {} ({})", neighbour.process, neighbour.address)).collect();
        if others.is_empty() { "this process's own workers".to_owned() } else { others.join(", ") }
    }
}
