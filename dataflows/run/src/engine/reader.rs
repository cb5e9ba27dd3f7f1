//! The thread that drives a partition's reader.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use operators::feed::Feed;
use operators::minter::Holding;
use operators::record::{Batch, Record};
use operators::source::{Polled, Source, SourceError};
use operators::time::{MINUS_INFINITY, TimeMs};
use operators::topology::PartitionId;

use super::{EngineError, Holdings, lock, spawn};

/// How long a reader rests that found nothing, or could not read.
const REST: Duration = Duration::from_millis(10);

pub(super) struct Reader {
    pub(super) partition: PartitionId,
    pub(super) outlet: Holdings,
    pub(super) failure: Arc<Mutex<Option<EngineError>>>,
    pub(super) stop: Arc<AtomicBool>,
    /// Event times beyond this are `future`: they say nothing of where the partition stands.
    pub(super) future_ms: TimeMs,
    /// Where it begins.
    pub(super) from: u64,
    /// How much is read at once.
    pub(super) poll_bytes: usize,
}

impl Reader {
    pub(super) fn start<R: Record>(self, source: Box<dyn Source<Record = R>>, feed: Feed<R>) -> JoinHandle<()> {
        spawn(&format!("reader-{}", self.partition.0), move || match self.read(source, &feed) {
            Ok(()) | Err(SourceError::Stopped { .. }) => {}
            Err(error) => drop(lock(&self.failure).get_or_insert(error.into())),
        })
    }

    fn read<R: Record>(&self, mut source: Box<dyn Source<Record = R>>, feed: &Feed<R>) -> Result<(), SourceError> {
        source.stop_with(Arc::clone(&self.stop));
        source.seek(self.from)?;
        let mut is_stalled = false;
        while !self.stop.load(Ordering::Acquire) && feed.wait_for_room() {
            let polled = source.poll(self.poll_bytes);
            if is_stalled && polled.is_ok() {
                is_stalled = false;
                tracing::warn!(partition = self.partition.0, "can be read again");
            }
            match polled {
                Ok(Polled::Batch(batch)) => {
                    let holding = holding(&batch, self.future_ms);
                    feed.push(batch);
                    self.outlet.tell((self.partition, holding));
                }
                Ok(Polled::Nothing) => std::thread::sleep(REST),
                Ok(Polled::CaughtUp(offset)) => {
                    self.outlet.tell((self.partition, Holding::CaughtUp(offset)));
                    std::thread::sleep(REST);
                }
                Ok(Polled::Ended(offset)) => {
                    self.outlet.tell((self.partition, Holding::Ended(offset)));
                    return Ok(());
                }
                Err(error) if error.is_transient() => {
                    // A stall is told once, however long it is.
                    if !std::mem::replace(&mut is_stalled, true) {
                        let error = &error as &dyn std::error::Error;
                        tracing::warn!(partition = self.partition.0, error, "can't be read now, and is tried again");
                        self.outlet.tell((self.partition, Holding::Stalled));
                    }
                    std::thread::sleep(REST * 50);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn holding<R>(batch: &Batch<R>, future_ms: TimeMs) -> Holding {
    let decoded =
        batch.items.iter().filter_map(|item| item.outcome.as_ref().ok()).map(|(header, _)| header.event_time_ms);
    let times: Vec<TimeMs> = decoded.filter(|time_ms| *time_ms <= future_ms).collect();
    Holding::Records {
        end_offset: batch.end_offset,
        bytes: batch.bytes,
        least_ms: times.iter().copied().min().unwrap_or(MINUS_INFINITY),
        greatest_ms: times.into_iter().max().unwrap_or(MINUS_INFINITY),
    }
}
