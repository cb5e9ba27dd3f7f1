//! Writing checkpoints: a thread that takes the pieces of its process's workers and, in the first process, makes one
//! checkpoint of what all processes wrote.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use operators::checkpoint::{Depot, Piece, StateFormats};
use operators::time::Tick;
use operators::timekeeper::Position;

use super::manifest::{FORMAT, Manifest, SegmentRecord, folder, object, uppers};
use super::segment::Segment;
use super::{Store, StoreError};
use crate::fault;

/// About how large a segment becomes.
const SEGMENT_BYTES: usize = 32 << 20;
/// What may wait to be written before workers have to wait, too.
const WAITING_BYTES_MAX: usize = 64 << 20;
/// How often the first process looks for what others wrote.
const REST: Duration = Duration::from_millis(50);
/// The time that a checkpoint takes may be so much of all time.
const SHARE: u32 = 10;

/// How checkpoints are taken.
#[derive(Clone, Debug)]
pub struct CheckpointerOptions {
    /// From the beginning of one to the beginning of the next, at least. Longer where writing one takes more than a tenth
    /// of that.
    pub interval: Duration,
    /// How many are kept.
    pub keep: usize,
    /// The workers of all processes.
    pub workers: usize,
    /// Those of this process; the process of worker 0 makes the manifests.
    pub here: Range<usize>,
    /// The build, as manifests name it.
    pub build: String,
    /// The operators that have state, which is the same on every worker.
    pub states: StateFormats,
    /// SHA-256 of the configuration.
    pub configuration: String,
}

enum News {
    Piece(Tick, usize, Piece),
    Asked(Position),
    Stop,
}

/// What the thread shares with those around it.
struct Shared {
    waiting_bytes: AtomicUsize,
    is_under_way: AtomicBool,
    acknowledged: AtomicU64,
    newest: AtomicU64,
    due: Mutex<Instant>,
}

/// Takes checkpoints of a running engine.
pub struct Checkpointer {
    shared: Arc<Shared>,
    sender: Sender<News>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    /// Becomes the writer of a store.
    pub fn start(store: Store, options: CheckpointerOptions) -> Result<Checkpointer, StoreError> {
        let epoch = if options.here.contains(&0) { Some(store.elect()?) } else { None };
        let shared = Arc::new(Shared {
            waiting_bytes: AtomicUsize::new(0),
            is_under_way: AtomicBool::new(false),
            acknowledged: AtomicU64::new(0),
            newest: AtomicU64::new(0),
            due: Mutex::new(Instant::now() + options.interval),
        });
        let (sender, news) = channel();
        let writer = Writer { store, epoch, options, shared: Arc::clone(&shared), current: None };
        let thread = std::thread::Builder::new().name("checkpoints".to_owned()).spawn(move || writer.run(&news));
        let thread = thread.expect("the system has a thread left for a handful of them");
        Ok(Checkpointer { shared, sender, thread: Some(thread) })
    }

    /// Where workers put their pieces.
    pub fn depot(&self) -> Arc<dyn Depot> {
        Arc::new(Shelf { shared: Arc::clone(&self.shared), sender: self.sender.clone() })
    }

    /// Whether the next one should be asked for.
    pub fn is_due(&self) -> bool {
        !self.shared.is_under_way.load(Ordering::Acquire) && Instant::now() >= *lock(&self.shared.due)
    }

    /// One was asked for, as of this position.
    pub fn asked(&self, position: Position) {
        self.shared.is_under_way.store(true, Ordering::Release);
        // The thread hangs up only when it is stopped.
        let _ = self.sender.send(News::Asked(position));
    }

    /// Every sink has acknowledged the ticks below `upper`.
    pub fn acknowledged(&self, upper: Tick) {
        self.shared.acknowledged.fetch_max(upper, Ordering::AcqRel);
    }

    /// The first tick that is not in the newest checkpoint of this run; 0 before there is one.
    pub fn newest(&self) -> Tick {
        self.shared.newest.load(Ordering::Acquire)
    }
}

impl Drop for Checkpointer {
    /// What is under way is given up: its objects go with the next checkpoint that is complete.
    fn drop(&mut self) {
        let _ = self.sender.send(News::Stop);
        if let Some(thread) = self.thread.take() {
            // It has nothing to say that was not logged.
            let _ = thread.join();
        }
    }
}

struct Shelf {
    shared: Arc<Shared>,
    sender: Sender<News>,
}

impl Depot for Shelf {
    fn put(&self, upper: Tick, worker: usize, piece: Piece) {
        if let Piece::Part(part) = &piece {
            self.shared.waiting_bytes.fetch_add(part.bytes.len(), Ordering::AcqRel);
        }
        // The thread hangs up only when the run stops.
        let _ = self.sender.send(News::Piece(upper, worker, piece));
    }

    fn has_room(&self) -> bool {
        self.shared.waiting_bytes.load(Ordering::Acquire) < WAITING_BYTES_MAX
    }
}

struct Writer {
    store: Store,
    /// Of the first process.
    epoch: Option<u64>,
    options: CheckpointerOptions,
    shared: Arc<Shared>,
    current: Option<Current>,
}

/// The checkpoint under way.
struct Current {
    upper: Tick,
    began: Instant,
    position: Option<Position>,
    folder: String,
    by_worker: BTreeMap<usize, (Segment, Vec<SegmentRecord>)>,
    complete: usize,
    failed: bool,
}

impl Writer {
    fn run(mut self, news: &Receiver<News>) {
        loop {
            let told = match news.recv_timeout(REST) {
                Ok(News::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(told) => Some(told),
                Err(RecvTimeoutError::Timeout) => None,
            };
            if let Err(error) = self.step(told) {
                self.fail(&error);
            }
        }
    }

    fn step(&mut self, told: Option<News>) -> Result<(), StoreError> {
        match told {
            Some(News::Asked(position)) => {
                let upper = position.upper;
                self.current(upper)?.position = Some(position);
            }
            Some(News::Piece(upper, worker, piece)) => self.take(upper, worker, piece)?,
            Some(News::Stop) | None => {}
        }
        self.finish()
    }

    fn current(&mut self, upper: Tick) -> Result<&mut Current, StoreError> {
        if self.current.as_ref().is_none_or(|current| current.upper != upper) {
            let epoch = match self.epoch {
                Some(epoch) => epoch,
                None => self.store.epochs()?.last().copied().unwrap_or(0),
            };
            self.current = Some(Current {
                upper,
                began: Instant::now(),
                position: None,
                folder: folder(upper, epoch),
                by_worker: BTreeMap::new(),
                complete: 0,
                failed: false,
            });
        }
        Ok(self.current.as_mut().expect("it was made just now"))
    }

    fn take(&mut self, upper: Tick, worker: usize, piece: Piece) -> Result<(), StoreError> {
        let part = match piece {
            Piece::Part(part) => part,
            Piece::Complete => {
                self.current(upper)?.complete += 1;
                return self.complete(worker);
            }
        };
        self.shared.waiting_bytes.fetch_sub(part.bytes.len(), Ordering::AcqRel);
        let current = self.current(upper)?;
        if current.failed {
            return Ok(());
        }
        let (segment, _) = current.by_worker.entry(worker).or_insert_with(|| (Segment::new(), Vec::new()));
        segment.push(&part);
        if segment.len() >= SEGMENT_BYTES { self.write_segment(worker) } else { Ok(()) }
    }

    fn write_segment(&mut self, worker: usize) -> Result<(), StoreError> {
        let Some(current) = &mut self.current else { return Ok(()) };
        let Some((segment, records)) = current.by_worker.get_mut(&worker) else { return Ok(()) };
        if segment.is_empty() {
            return Ok(());
        }
        let bytes = std::mem::replace(segment, Segment::new()).into_bytes();
        let object = format!("{}/worker-{worker:04}-{:06}.segment", current.folder, records.len());
        let checksum = crc32fast::hash(&bytes);
        records.push(SegmentRecord { object: object.clone(), bytes: bytes.len() as u64, checksum });
        fault::point("checkpoint.segment.before");
        self.store.create(&object, bytes)?;
        fault::point("checkpoint.segment.after");
        Ok(())
    }

    /// A worker has given everything.
    fn complete(&mut self, worker: usize) -> Result<(), StoreError> {
        if self.current.as_ref().is_none_or(|current| current.failed) {
            return Ok(());
        }
        self.write_segment(worker)?;
        let Some(current) = &mut self.current else { return Ok(()) };
        let records = current.by_worker.remove(&worker).map(|(_, records)| records).unwrap_or_default();
        let json = serde_json::to_vec(&records).expect("records are strings and integers");
        let object = format!("{}/{}", current.folder, complete(worker));
        self.store.create(&object, json)?;
        fault::point("checkpoint.worker.complete");
        Ok(())
    }

    /// Makes a checkpoint of it, once everything is there and acknowledged.
    fn finish(&mut self) -> Result<(), StoreError> {
        let Some(current) = &self.current else { return Ok(()) };
        if current.complete < self.options.here.len() {
            return Ok(());
        }
        if current.failed {
            return self.give_up();
        }
        let Some(epoch) = self.epoch else {
            self.end();
            return Ok(());
        };
        let Some(position) = current.position.clone() else { return Ok(()) };
        if self.shared.acknowledged.load(Ordering::Acquire) < current.upper {
            return Ok(());
        }
        let names = self.store.list(&current.folder)?;
        let of_workers: Vec<String> = (0..self.options.workers).map(complete).collect();
        if !of_workers.iter().all(|name| names.contains(name)) {
            return Ok(());
        }
        let mut segments = Vec::new();
        for name in of_workers {
            let object = format!("{}/{name}", current.folder);
            let records: Vec<SegmentRecord> = serde_json::from_slice(&self.store.get(&object)?).map_err(|error| {
                StoreError::Damaged { shown: self.store.shown().to_owned(), object, what: error.to_string() }
            })?;
            segments.extend(records);
        }
        self.store.check_writer(epoch)?;
        let manifest = Manifest {
            format: FORMAT,
            build: self.options.build.clone(),
            states: Some(self.options.states.clone()),
            configuration: self.options.configuration.clone(),
            position,
            epoch,
            workers: self.options.workers,
            segments,
        };
        let upper = current.upper;
        fault::point("checkpoint.manifest.before");
        self.store.create(&object(upper), manifest.to_bytes())?;
        fault::point("checkpoint.manifest.after");
        tracing::info!(
            tick = upper,
            bytes = manifest.bytes(),
            seconds = current.began.elapsed().as_secs_f64(),
            "checkpoint"
        );
        self.shared.newest.store(upper, Ordering::Release);
        self.end();
        self.forget()
    }

    /// Lets the next one begin.
    fn end(&mut self) {
        let began = self.current.take().map_or_else(Instant::now, |current| current.began);
        *lock(&self.shared.due) = began + self.options.interval.max(began.elapsed() * SHARE);
        self.shared.is_under_way.store(false, Ordering::Release);
    }

    /// Deletes what is older than the checkpoints that are kept, manifests first.
    fn forget(&self) -> Result<(), StoreError> {
        let all = uppers(&self.store)?;
        let old = all.len().saturating_sub(self.options.keep.max(1));
        let Some(newest) = all.last() else { return Ok(()) };
        for upper in &all[..old] {
            self.store.delete(&object(*upper))?;
            fault::point("checkpoint.forget");
        }
        for name in self.store.list("parts")? {
            let of = name.split('-').next().and_then(|upper| upper.parse::<Tick>().ok());
            if of.is_some_and(|upper| upper < *newest && !all[old..].contains(&upper)) {
                self.store.delete(&format!("parts/{name}"))?;
            }
        }
        Ok(())
    }

    fn fail(&mut self, error: &StoreError) {
        tracing::error!(
            error = error as &dyn std::error::Error,
            "a checkpoint failed; the ones before it are kept, and the run goes on"
        );
        match &mut self.current {
            Some(current) => current.failed = true,
            None => self.end(),
        }
    }

    /// Deletes what there is of a checkpoint that failed.
    fn give_up(&mut self) -> Result<(), StoreError> {
        let folder = self.current.as_ref().map(|current| current.folder.clone()).unwrap_or_default();
        self.end();
        for name in self.store.list(&folder)? {
            self.store.delete(&format!("{folder}/{name}"))?;
        }
        Ok(())
    }
}

/// The name of the object that says what a worker wrote.
fn complete(worker: usize) -> String {
    format!("worker-{worker:04}.complete")
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
