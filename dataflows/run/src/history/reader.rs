//! The reader: answers questions, one after the other, on a thread of its own.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use connectors::objects::Objects;
use operators::time::MINUS_INFINITY;

use super::{FileFormat, Shelf, Stored, object, told};
use dataflows::answer::history::{AsOf, BYTES_MAX, FILES_MAX, Found, Question};
use dataflows::answer::{Failure, Response};
use dataflows::experiment::variant_minutes::VariantMinute;
use dataflows::history::Closed;
use dataflows::view::Columns;

/// How many questions may wait.
const QUESTIONS_MAX: usize = 16;

/// How often it looks again for files that retention has deleted meanwhile.
const LOOKS_MAX: usize = 3;

type Asked = (Question, SyncSender<Result<Response, Failure>>);

/// Where questions are asked. Whoever does waits for the answer.
#[derive(Clone)]
pub struct Ask {
    questions: SyncSender<Asked>,
    columns: Arc<Columns<VariantMinute>>,
}

impl Ask {
    pub(super) fn start(objects: Objects, format: FileFormat, shelf: Arc<Shelf>) -> Ask {
        let (questions, asked) = sync_channel(QUESTIONS_MAX);
        let columns = Arc::clone(&format.columns);
        let reader = Reader { objects, format, shelf };
        let thread = std::thread::Builder::new().name("history-reader".to_owned()).spawn(move || reader.run(&asked));
        // It ends with the last one who can ask.
        drop(thread.expect("the system has a thread left for a handful of them"));
        Ask { questions, columns }
    }

    /// The answer to a question.
    pub fn answer(&self, query: &[(String, String)]) -> Response {
        self.ask(query).unwrap_or_else(Failure::into_response)
    }

    fn ask(&self, query: &[(String, String)]) -> Result<Response, Failure> {
        let question = Question::parse(query, &self.columns)?;
        let (answer, answered) = sync_channel(1);
        match self.questions.try_send((question, answer)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                let message =
                    format!("{QUESTIONS_MAX} questions wait for an answer, which is the most; try again later");
                return Err(Failure::history_unavailable(message));
            }
            Err(TrySendError::Disconnected(_)) => return Err(Failure::history_unavailable("the engine is stopping")),
        }
        answered.recv().unwrap_or_else(|_| Err(Failure::history_unavailable("the engine is stopping")))
    }
}

struct Reader {
    objects: Objects,
    format: FileFormat,
    shelf: Arc<Shelf>,
}

/// What is looked at for an answer.
struct Look<'a> {
    as_of: AsOf,
    found: Found<'a>,
    files: Vec<Stored>,
    waiting: Vec<Arc<Closed>>,
}

impl Reader {
    fn run(self, asked: &Receiver<Asked>) {
        while let Ok((question, answer)) = asked.recv() {
            // Whoever asked may have gone.
            let _ = answer.send(self.answer(&question));
        }
    }

    fn answer(&self, question: &Question) -> Result<Response, Failure> {
        for _ in 0..LOOKS_MAX {
            let look = self.look(question)?;
            if let Some(response) = self.read(question, look)? {
                return Ok(response);
            }
        }
        Err(Failure::history_unavailable("files are being deleted while they are read; ask again"))
    }

    /// Everything that is sealed, as of the newest tick: what is in memory right here, and which files to read.
    fn look<'a>(&self, question: &'a Question) -> Result<Look<'a>, Failure> {
        let state = self.shelf.lock();
        let (tick, time_ms) = state.newest.ok_or_else(Failure::starting)?;
        let sealed_through_ms = state.watermarks.get(&question.tenant).copied().unwrap_or(MINUS_INFINITY);
        let oldest = state.files.first().map(|stored| stored.name);
        let kept_from_ms = oldest.filter(|name| name.lower > 0).map(|name| name.first_minute_ms);
        let as_of = AsOf { tick, time_ms, sealed_through_ms, kept_from_ms };
        let overlapping = state.files.iter().filter(|stored| stored.name.overlaps(question.from_ms, question.upto_ms));
        let files: Vec<Stored> = overlapping.copied().collect();
        let bytes: u64 = files.iter().map(|stored| stored.bytes).sum();
        if files.len() > FILES_MAX || bytes > BYTES_MAX {
            return Err(Failure::too_large(format!(
                "{bytes} bytes in {} files would have to be read; ask for a shorter time, of at most {BYTES_MAX} bytes in \
                 {FILES_MAX} files, or read the files yourself, in {}",
                files.len(),
                self.objects.shown()
            )));
        }
        let mut found = Found::new(question);
        for row in state.keeping.rows_of(&question.tenant, &question.experiment) {
            if question.asks_for(&row.tenant, &row.experiment, &row.variant, row.minute_ms) {
                add(&mut found, question, row)?;
            }
        }
        Ok(Look { as_of, found, files, waiting: state.waiting.iter().cloned().collect() })
    }

    /// The answer; none, where a file has gone meanwhile.
    fn read(&self, question: &Question, look: Look<'_>) -> Result<Option<Response>, Failure> {
        let Look { as_of, mut found, files, waiting } = look;
        for row in waiting.iter().flat_map(|closed| &closed.rows) {
            if question.asks_for(&row.tenant, &row.experiment, &row.variant, row.minute_ms) {
                add(&mut found, question, row)?;
            }
        }
        for stored in &files {
            let name = object(&stored.name);
            let bytes = match self.objects.get(&name) {
                Ok(bytes) => bytes,
                Err(error) if error.is_not_found() => return Ok(None),
                Err(error) => return Err(Failure::history_unavailable(told(&error))),
            };
            let read = (self.format.codec.find)(bytes, question, &mut found);
            read.map_err(|error| Failure::history_damaged(format!("{}/{name}: {error}", self.objects.shown())))??;
        }
        Ok(Some(found.into_response(&as_of)))
    }
}

/// Adds what is asked for of a row that is not in a file yet.
fn add(found: &mut Found<'_>, question: &Question, row: &VariantMinute) -> Result<(), Failure> {
    match question.metric.of(row) {
        Some(value) => found.add(&row.variant, row.minute_ms, value),
        None => Ok(()),
    }
}
