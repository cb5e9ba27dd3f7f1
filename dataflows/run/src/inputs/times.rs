//! Files are looked through once before a run begins: how far each is out of order, which come first, and what of them is no
//! record.
//!
//! Each file is decoded as it will be when it is read, and its records are dropped: the cost of a pass is that of decoding.
//! As many files are looked through at a time as there are processors.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use connectors::files::{FileSource, FileSpec};
use dataflows::configuration::{CsvSettings, Format, SourceSettings};
use dataflows::kind::{ListedKind, SourceDecoders, SourceNames};
use dataflows::kinds;
use operators::record::Decode;
use operators::source::{Polled, Source};
use operators::time::TimeMs;

use super::looked::Looked;
use super::{InputsError, csv_of};
use crate::terminal::say;

/// How much is read at once.
const POLL_BYTES: usize = 1 << 20;

/// A file that is to be looked through.
pub(super) struct Unread<'a> {
    pub(super) source: &'a SourceSettings,
    pub(super) names: SourceNames,
    pub(super) spec: &'a FileSpec,
    /// When the run begins: what lies further ahead than its source may will be a dead letter, and says nothing of times.
    pub(super) start_ms: TimeMs,
}

/// How far the pass is, for a person.
struct Told {
    began: Instant,
    bytes: u64,
    done_bytes: AtomicU64,
    /// Seconds after the beginning at which it was last told.
    told_s: AtomicU64,
}

/// After so many seconds, and again after each of as many, it is told how far the pass is.
const TELL_SECONDS: u64 = 2;

impl Told {
    fn read(&self, bytes: u64) {
        let done = self.done_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let (now_s, last_s) = (self.began.elapsed().as_secs(), self.told_s.load(Ordering::Relaxed));
        let is_due = now_s >= last_s + TELL_SECONDS;
        if is_due && self.told_s.compare_exchange(last_s, now_s, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let (done, all) = (done >> 20, self.bytes >> 20);
            say(&format!("looking at the event times of the files: {done} MiB of text, from {all} MiB stored"));
        }
    }
}

/// How often it is looked whether somebody interrupts.
const HEAR_EVERY: Duration = Duration::from_millis(10);

/// What is in each file, in their order. An error, once it is interrupted, also within an endless line.
pub(super) fn of_files(files: &[Unread<'_>], interrupted: &AtomicBool) -> Result<Vec<Looked>, InputsError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(files.len());
    let (next, bytes) = (AtomicUsize::new(0), files.iter().map(|file| file.spec.size_bytes).sum());
    let told = Told { began: Instant::now(), bytes, done_bytes: AtomicU64::new(0), told_s: AtomicU64::new(0) };
    let (stop, left) = (Arc::<AtomicBool>::default(), AtomicUsize::new(files.len()));
    let hear = || {
        while left.load(Ordering::Acquire) > 0 && !stop.load(Ordering::Acquire) {
            stop.store(interrupted.load(Ordering::Acquire), Ordering::Release);
            std::thread::sleep(HEAR_EVERY);
        }
    };
    let look = || {
        let places = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
        let of_thread = places.map_while(|place| {
            let looked = of_file(files.get(place)?, &told, &stop);
            left.fetch_sub(1, Ordering::AcqRel);
            Some((place, looked))
        });
        of_thread.collect::<Vec<_>>()
    };
    let mut all: Vec<_> = std::thread::scope(|scope| {
        scope.spawn(hear);
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(look)).collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined.flat_map(|of_thread| of_thread.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    all.sort_unstable_by_key(|(place, _)| *place);
    all.into_iter().map(|(_, looked)| looked).collect()
}

fn of_file(file: &Unread<'_>, told: &Told, stop: &Arc<AtomicBool>) -> Result<Looked, InputsError> {
    kinds::open(file.source.kind, Look { file, told, stop })
}

/// Looks through a file once the type of its records is known.
struct Look<'a> {
    file: &'a Unread<'a>,
    told: &'a Told,
    stop: &'a Arc<AtomicBool>,
}

impl SourceDecoders for Look<'_> {
    type Output = Result<Looked, InputsError>;

    fn open<K: ListedKind>(self) -> Self::Output {
        let Unread { source, names, spec, .. } = self.file;
        match source.format {
            Format::Csv => {
                let CsvSettings { delimiter, .. } = csv_of(source)?;
                self.through(source_of(spec, K::rows(K::json(names.clone()), csv_of(source)?)).of_rows(delimiter))
            }
            Format::Json | Format::Avro | Format::FactsBatch => self.through(source_of(spec, K::json(names.clone()))),
        }
    }
}

fn source_of<D: Decode>(spec: &FileSpec, decoder: D) -> FileSource<D> {
    let path: &Path = &spec.path;
    FileSource::new(path.display().to_string(), vec![spec.clone()], decoder).just_recorded()
}

impl Look<'_> {
    fn through<D: Decode>(self, mut source: FileSource<D>) -> Result<Looked, InputsError> {
        let mut looked = Looked::default();
        let (start_ms, skew_max_ms) = (self.file.start_ms, self.file.source.skew_max_ms);
        source.stop_with(Arc::clone(self.stop));
        source.seek(0)?;
        loop {
            if self.stop.load(Ordering::Acquire) {
                return Err(InputsError::Interrupted);
            }
            match source.poll(POLL_BYTES)? {
                Polled::Batch(batch) => {
                    for item in &batch.items {
                        match &item.outcome {
                            Ok((header, _)) => looked.takes(header.event_time_ms, start_ms, skew_max_ms),
                            Err((rejection, _)) => {
                                looked.refuses(&rejection.code, &rejection.detail, &batch.origin, item.line)
                            }
                        }
                    }
                    self.told.read(batch.bytes);
                }
                Polled::Ended(_) => return Ok(looked),
                // A file always has something to say.
                Polled::Nothing | Polled::CaughtUp(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }
}
