//! The ways in which a run of this process ends.
//!
//! | way | workers | links |
//! |---|---|---|
//! | `finish`: every source has ended | complete the dataflow | end well, in every process |
//! | `begin_anew`, `leave`: there is more to read | leave their work as it is | end well, in every process |
//! | `stop`: interrupted, or something failed | of a cluster: stay as they are | the others have to see them break |

use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use super::{Engine, EngineError, Holdings, Loss, PublisherNews, TimeNews, lock, spawn};

/// How often what others decide is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

impl Engine {
    /// Ends a run whose sources have ended: the dataflow completes in every process of the cluster, then all stop.
    pub fn finish(mut self) -> Result<(), EngineError> {
        self.inlet.close();
        self.join_workers();
        self.stop()
    }

    /// Whether process 0 said that there is more to read than the run began with.
    pub fn begins_anew(&self) -> bool {
        self.control.as_ref().is_some_and(super::Control::begins_anew)
    }

    /// Ends a run that there is more to read for than it began with. In process 0 of a cluster, all others hear of it and
    /// [`leave`](Engine::leave) it.
    pub fn begin_anew(self) -> Result<(), EngineError> {
        if let Some(control) = &self.control {
            control.tell_to_begin_anew();
        }
        // Whoever hears it knows that it was handed to everybody.
        while self.control.is_some() && !self.begins_anew() && !self.has_failed() {
            std::thread::sleep(LOOK_EVERY);
        }
        self.leave()
    }

    /// Leaves the work as it is, which every process of the cluster does now; all that it held is given back.
    pub fn leave(mut self) -> Result<(), EngineError> {
        if !self.has_failed() {
            self.silence();
            self.halt_workers();
        }
        self.stop()
    }

    /// Stops every thread and says what went wrong, if anything did.
    pub fn stop(mut self) -> Result<(), EngineError> {
        self.silence();
        match &self.control {
            Some(_) => std::mem::forget(self.guards.take()),
            None => self.halt_workers(),
        }
        let _ = self.publisher.send(PublisherNews::Stop);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                lock(&self.failure).get_or_insert(EngineError::Workers { what: "a thread panicked".to_owned() });
            }
        }
        let failure = lock(&self.failure).take();
        let lost = || {
            let Loss { process, address } = self.lost()?.clone();
            Some(EngineError::Lost { process, address })
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

    fn halt_workers(&mut self) {
        self.halt.store(true, Ordering::Release);
        self.outlets.iter().for_each(Holdings::close);
        let guards = self.guards.iter().flat_map(|guards| guards.guards());
        guards.for_each(|guard| guard.thread().unpark());
        self.join_workers();
    }

    /// Waits for the workers, and in a cluster for the links, which are read until every process has ended.
    fn join_workers(&mut self) {
        let Some(guards) = self.guards.take() else { return };
        // A thread that waits for a process which is lost waits for ever.
        let (told, joined) = channel();
        spawn("join", move || drop(told.send(guards.join())));
        loop {
            match joined.recv_timeout(LOOK_EVERY) {
                Ok(joined) => {
                    if let Some(what) = joined.into_iter().find_map(Result::err) {
                        lock(&self.failure).get_or_insert(EngineError::Workers { what });
                    }
                    return;
                }
                Err(RecvTimeoutError::Timeout) if self.lost().is_none() => {}
                Err(_) => return,
            }
        }
    }
}
