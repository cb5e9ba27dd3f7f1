//! History's files in an object store, and the questions that they answer.
//!
//! Below a folder for each run, as for checkpoints, lies `variant_minutes/`, whose files are what [`dataflows::history`] says:
//! each is made once, under a name that no other content can have, and is never changed. Three threads meet at the
//! `Shelf`: the publisher puts complete files there and goes on; the writer makes objects of them, as long as it takes,
//! and deletes what is out of retention; the reader answers questions from objects and from what is not yet in one. An
//! answer is of one tick: which rows it has is decided in one look at the shelf.
//!
//! A store that can't be reached is told once and tried again; where [`WAITING_MAX`] files wait for it, the publisher waits
//! too, and with it time. What was not written when the process ends is made again from the logs, since no checkpoint
//! behind it can be restored ([`Output::needed_from`]).
//!
//! A build without the feature `history` has no `FileCodec`: a run that keeps history is refused with the build that can.

#[cfg(feature = "history")]
mod file;
mod kept;
mod reader;
mod writer;

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use connectors::objects::{Location, Objects, ObjectsError};
use operators::time::{MINUS_INFINITY, Tick, TimeMs};

use super::engine::{CompleteTick, PublishError};
use super::http::Published;
use super::outputs::Output;
use super::terminal::say;
use dataflows::answer::Failure;
use dataflows::answer::history::{Found, Question};
use dataflows::configuration::{ArchiveSettings, Plan};
use dataflows::experiment::variant_minutes::{VariantMinute, VariantMinutes};
use dataflows::history::{Boundaries, Closed, FOLDER, FileName, Keeping, Moment, Written};
use dataflows::names::Name;
use dataflows::view::{Codecs, Columns, ViewChanges, ViewId};

pub use kept::Kept;
pub use reader::Ask;

/// How many complete files may wait to be written.
pub const WAITING_MAX: usize = 4;

/// Why there can't be a history, or no more of it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum HistoryError {
    /// This build can't write its files.
    #[error(
        "this run keeps history, and this build of Aisle has none; build it with `cargo build --release --package aisle \
         --features history`"
    )]
    NotBuilt,
    /// The store. Nothing is lost by trying later.
    #[error("{what}")]
    Store {
        /// What it could not do, and why.
        what: String,
    },
    /// There is no file of a run that has begun.
    #[error(
        "{shown} holds no history of this run, which has begun with one; bring the files back, or let \
         `--replay-all` write them again, if the input is still there from its beginning"
    )]
    Gone {
        /// The store.
        shown: String,
    },
    /// The files know of ticks that the remap log does not.
    #[error(
        "the history in {shown} is complete up to tick {upper}, but the remap log ends at tick {log}: the log was cut; \
         restore it from a copy, or start again with --fresh"
    )]
    LogCut {
        /// The store.
        shown: String,
        /// Ticks in files.
        upper: Tick,
        /// Ticks in the log.
        log: Tick,
    },
    /// Something is there that this run would have written otherwise.
    #[error("{shown}/{name} is not what this run writes there: {what}; move it away, or start again with --fresh")]
    Foreign {
        /// The store.
        shown: String,
        /// The object.
        name: String,
        /// What does not hold.
        what: String,
    },
}

impl From<ObjectsError> for HistoryError {
    fn from(error: ObjectsError) -> Self {
        HistoryError::Store { what: told(&error) }
    }
}

/// An error with its causes, since the thread that meets it is not the one that tells it.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(because) = cause {
        text.push_str(": ");
        text.push_str(&because.to_string());
        cause = because.source();
    }
    text
}

/// How files are written and read.
#[derive(Clone, Copy)]
struct FileCodec {
    /// The file.
    bytes: fn(&Columns<VariantMinute>, &Closed) -> Vec<u8>,
    /// What is in files once this one is, or why it can't be used.
    written: fn(Vec<u8>) -> Result<Written, String>,
    /// Adds what is asked for, or says why the file can't be used; the inner error is the question's.
    find: fn(Vec<u8>, &Question, &mut Found<'_>) -> Result<Result<(), Failure>, String>,
}

#[cfg(feature = "history")]
const CODEC: Result<FileCodec, HistoryError> = Ok(file::PARQUET);
#[cfg(not(feature = "history"))]
const CODEC: Result<FileCodec, HistoryError> = Err(HistoryError::NotBuilt);

/// The files of a run: how they are written and read, and the columns that they have.
#[derive(Clone)]
struct FileFormat {
    codec: FileCodec,
    columns: Arc<Columns<VariantMinute>>,
}

/// An object, and its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stored {
    name: FileName,
    bytes: u64,
}

/// The folder of a run.
fn folder_of(run: u64) -> String {
    format!("{run:016x}")
}

/// The name of a file's object.
fn object(name: &FileName) -> String {
    format!("{FOLDER}/{name}")
}

struct State {
    keeping: Keeping,
    /// The last tick that was taken and its time.
    newest: Option<(Tick, TimeMs)>,
    /// `W` of each tenant's events, by then.
    watermarks: BTreeMap<Name, TimeMs>,
    /// Complete, but not yet objects.
    waiting: VecDeque<Arc<Closed>>,
    /// In the order of their ticks.
    files: Vec<Stored>,
    failure: Option<HistoryError>,
    /// Nobody waits for the store any more.
    gives_up: bool,
    /// Nothing more comes.
    ends: bool,
}

/// Where the threads meet.
struct Shelf {
    state: Mutex<State>,
    news: Condvar,
}

impl Shelf {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, at_most: Duration) -> MutexGuard<'a, State> {
        self.news.wait_timeout(state, at_most).unwrap_or_else(PoisonError::into_inner).0
    }
}

/// The history of a run: its threads, until it is finished or dropped.
pub struct History {
    shelf: Arc<Shelf>,
    writer: Option<JoinHandle<()>>,
    ask: Ask,
}

impl History {
    /// Opens the history of a run, if it has one. `log` is where its remap log ends; `anew` says that every tick comes again.
    pub fn open(
        archive: &ArchiveSettings,
        data: &Path,
        plan: &Plan,
        run: u64,
        log: Tick,
        anew: bool,
    ) -> Result<Option<History>, HistoryError> {
        let rules = plan.recorded.history;
        if !rules.kept || !plan.recorded.view(ViewId::of::<VariantMinutes>()).enabled {
            return Ok(None);
        }
        let columns = Codecs::new(&plan.recorded).columns::<VariantMinutes>();
        let format = FileFormat { codec: CODEC?, columns: Arc::clone(&columns) };
        let location = Location::parse(&archive.to, archive.endpoint.clone(), data)?;
        let open = || Objects::open(&location, &folder_of(run));
        let objects = open()?;
        objects.remove_leftovers();
        let mut files = stored(&objects)?;
        if files.is_empty() {
            if log > 0 && !anew {
                return Err(HistoryError::Gone { shown: objects.shown().to_owned() });
            }
            files.push(writer::write(&objects, &format, &Closed::beginning())?);
        }
        let newest = files.last().expect("the beginning was written if there was none").name;
        if newest.upper > log {
            return Err(HistoryError::LogCut { shown: objects.shown().to_owned(), upper: newest.upper, log });
        }
        let written = written_by(&objects, &format, &newest)?;
        let boundaries = Boundaries { file_ms: rules.file_ms, rows_max: rules.rows_max };
        let shelf = Arc::new(Shelf {
            state: Mutex::new(State {
                keeping: Keeping::new(boundaries, written, columns),
                newest: None,
                watermarks: BTreeMap::new(),
                waiting: VecDeque::new(),
                files,
                failure: None,
                gives_up: false,
                ends: false,
            }),
            news: Condvar::new(),
        });
        let ask = Ask::start(open()?, format.clone(), Arc::clone(&shelf));
        let writer = writer::start(objects, format, Arc::clone(&shelf), archive.retention_ms);
        Ok(Some(History { shelf, writer: Some(writer), ask }))
    }

    /// What takes complete ticks.
    pub fn follower(&self, plan: &Plan) -> Box<dyn Output> {
        let groups = (0..).zip(&plan.topology.groups);
        let tenants = groups.filter_map(|(place, name)| Some((place, Name::new(name.strip_suffix("/events")?))));
        Box::new(Follower { shelf: Arc::clone(&self.shelf), tenants: tenants.collect() })
    }

    /// Where questions are asked.
    pub fn ask(&self) -> Ask {
        self.ask.clone()
    }

    /// Lets whoever asks over HTTP have answers.
    pub fn serve(&self, published: &Published) {
        let ask = self.ask();
        published.set_history(Box::new(move |query| ask.answer(query)));
    }

    /// From now on nobody waits for a store that can't be reached.
    pub fn give_up(&self) {
        self.shelf.lock().gives_up = true;
        self.shelf.news.notify_all();
    }

    /// The first tick of the oldest file that there is, and the first tick that is in none.
    pub fn written(&self) -> (Tick, Tick) {
        let state = self.shelf.lock();
        let (oldest, newest) = (state.files.first(), state.files.last());
        (oldest.map_or(0, |stored| stored.name.lower), newest.map_or(0, |stored| stored.name.upper))
    }

    /// Returns once every complete file is written, or nobody wants to wait for it any more.
    pub fn finish(&self, interrupted: &AtomicBool) -> Result<(), HistoryError> {
        let mut state = self.shelf.lock();
        while !state.waiting.is_empty() && state.failure.is_none() && !interrupted.load(Ordering::Acquire) {
            state = self.shelf.wait(state, Duration::from_millis(100));
        }
        if !state.waiting.is_empty() {
            say(&format!("{} files of history are not written yet; run again to write them", state.waiting.len()));
        }
        let failure = state.failure.clone();
        drop(state);
        failure.map_or(Ok(()), Err)
    }
}

impl Drop for History {
    fn drop(&mut self) {
        self.give_up();
        self.shelf.lock().ends = true;
        self.shelf.news.notify_all();
        if let Some(writer) = self.writer.take() {
            // It has nothing to say that was not told.
            let _ = writer.join();
        }
    }
}

/// The files that are there, in the order of their ticks. One that is missing between two others is told.
fn stored(objects: &Objects) -> Result<Vec<Stored>, HistoryError> {
    let named = |(name, bytes): (String, u64)| Some(Stored { name: FileName::parse(&name)?, bytes });
    let files: Vec<Stored> = objects.list_sized(FOLDER)?.into_iter().filter_map(named).collect();
    for pair in files.windows(2) {
        let [before, after] = [pair[0].name, pair[1].name];
        if after.lower < before.upper {
            let what = format!("it has ticks of {before}");
            return Err(HistoryError::Foreign { shown: objects.shown().to_owned(), name: object(&after), what });
        }
        if after.lower > before.upper {
            let shown = objects.shown();
            say(&format!(
                "WARNING: the history in {shown} lacks the ticks {} to {}: a file was deleted",
                before.upper,
                after.lower - 1
            ));
        }
    }
    Ok(files)
}

/// What the newest file says is written.
fn written_by(objects: &Objects, format: &FileFormat, newest: &FileName) -> Result<Written, HistoryError> {
    let foreign =
        |what: String| HistoryError::Foreign { shown: objects.shown().to_owned(), name: object(newest), what };
    let written = (format.codec.written)(objects.get(&object(newest))?).map_err(foreign)?;
    match written.upper == newest.upper {
        true => Ok(written),
        false => Err(foreign(format!("it ends at tick {}", written.upper))),
    }
}

/// The publisher's side.
struct Follower {
    shelf: Arc<Shelf>,
    /// Each tenant's group of events.
    tenants: Vec<(usize, Name)>,
}

impl Output for Follower {
    fn name(&self) -> &str {
        "history"
    }

    fn take(&mut self, tick: &mut CompleteTick) -> Result<(), PublishError> {
        let mark = &tick.mark;
        let mut state = self.shelf.lock();
        let State { keeping, watermarks, .. } = &mut *state;
        for (place, tenant) in &self.tenants {
            let watermark_ms = mark.watermarks.get(*place).copied().unwrap_or(MINUS_INFINITY);
            match watermarks.get_mut(tenant) {
                Some(known) => *known = watermark_ms,
                None => drop(watermarks.insert(tenant.clone(), watermark_ms)),
            }
        }
        let mut shards = tick.changes.iter().filter_map(ViewChanges::of::<VariantMinutes>);
        let moment = Moment { tick: mark.tick, now_ms: mark.now_ms, watermarks };
        let closed = match (shards.next(), shards.next()) {
            (None, _) => keeping.tick(moment, &[]),
            (Some(changes), None) => keeping.tick(moment, changes),
            (Some(first), Some(second)) => {
                let others = [first, second].into_iter().chain(shards);
                let changes: Vec<(VariantMinute, i64)> = others.flatten().cloned().collect();
                keeping.tick(moment, &changes)
            }
        };
        state.newest = Some((mark.tick, mark.now_ms));
        if !closed.is_empty() {
            state.waiting.extend(closed.into_iter().map(Arc::new));
            self.shelf.news.notify_all();
        }
        loop {
            if let Some(failure) = &state.failure {
                return Err(PublishError::History(failure.to_string()));
            }
            if state.waiting.len() <= WAITING_MAX || state.gives_up {
                return Ok(());
            }
            state = self.shelf.wait(state, Duration::from_secs(1));
        }
    }

    fn needed_from(&self) -> Option<Tick> {
        let state = self.shelf.lock();
        let unwritten = state.waiting.front().map(|closed| closed.lower);
        [unwritten, state.keeping.needed_from()].into_iter().flatten().min()
    }
}
