//! The writer: makes objects of complete files, one after the other, and deletes those that are out of retention.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use connectors::fault;
use connectors::objects::Objects;

use super::{FileFormat, HistoryError, Shelf, Stored, object};
use crate::terminal::say;
use dataflows::history::{Closed, FileName};

/// How long it rests after the first failure, and at most.
const REST: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Writes a file. One that is there already has to be the same.
pub(super) fn write(objects: &Objects, format: &FileFormat, closed: &Closed) -> Result<Stored, HistoryError> {
    let name = closed.name();
    let bytes = (format.codec.bytes)(&format.columns, closed);
    let stored = Stored { name, bytes: bytes.len() as u64 };
    fault::point("history.file.before");
    if !objects.create(&object(&name), bytes.clone())? && objects.get(&object(&name))? != bytes {
        let what = "its bytes differ".to_owned();
        return Err(HistoryError::Foreign { shown: objects.shown().to_owned(), name: object(&name), what });
    }
    fault::point("history.file.after");
    Ok(stored)
}

pub(super) fn start(objects: Objects, format: FileFormat, shelf: Arc<Shelf>, retention_ms: i64) -> JoinHandle<()> {
    let writer = Writer { objects, format, shelf, retention_ms };
    let thread = std::thread::Builder::new().name("history".to_owned()).spawn(move || writer.run());
    thread.expect("the system has a thread left for a handful of them")
}

struct Writer {
    objects: Objects,
    format: FileFormat,
    shelf: Arc<Shelf>,
    retention_ms: i64,
}

impl Writer {
    fn run(self) {
        let mut rest = REST.0;
        while let Some(closed) = self.next() {
            match write(&self.objects, &self.format, &closed) {
                Ok(stored) => {
                    if rest > REST.0 {
                        say(&format!("history: {} can be written to again", self.objects.shown()));
                        rest = REST.0;
                    }
                    let mut state = self.shelf.lock();
                    state.waiting.pop_front();
                    state.files.push(stored);
                    self.shelf.news.notify_all();
                    drop(state);
                    self.forget();
                }
                Err(HistoryError::Store { what }) => {
                    if rest == REST.0 {
                        say(&format!("history: {what}; it is tried again until it succeeds"));
                    }
                    rest = (rest * 2).min(REST.1);
                    let state = self.shelf.lock();
                    if state.gives_up {
                        return;
                    }
                    drop(self.shelf.wait(state, rest));
                }
                Err(failure) => {
                    self.shelf.lock().failure = Some(failure);
                    self.shelf.news.notify_all();
                    return;
                }
            }
        }
    }

    /// The next file to write; none once there will be no more.
    fn next(&self) -> Option<Arc<Closed>> {
        let mut state = self.shelf.lock();
        loop {
            if let Some(closed) = state.waiting.front() {
                return Some(Arc::clone(closed));
            }
            if state.ends {
                return None;
            }
            state = self.shelf.wait(state, Duration::from_secs(1));
        }
    }

    /// Deletes what is out of retention, the oldest first, so that no gap comes about; the newest stays, which says
    /// what is written.
    fn forget(&self) {
        loop {
            let mut state = self.shelf.lock();
            let Some((_, now_ms)) = state.newest else { return };
            let is_old = |name: &FileName| name.last_minute_ms.saturating_add(self.retention_ms) < now_ms;
            if state.files.len() < 2 || !is_old(&state.files[0].name) {
                return;
            }
            let old = state.files[0].name;
            drop(state);
            // Readers that are about to look into it find that it is gone, and look again at what is there.
            if let Err(error) = self.objects.delete(&object(&old)) {
                tracing::warn!(error = &error as &dyn std::error::Error, "an old file of history could not be deleted");
                return;
            }
            fault::point("history.forget");
            state = self.shelf.lock();
            state.files.remove(0);
        }
    }
}
