//! What the processes of a cluster tell each other beside bindings and records.
//!
//! Process 0 has the logs, so what has to be recorded before it is used is for it alone to learn and to tell:
//!
//! ```text
//! a reader's question -> Words (gathered)     -> the answering thread of process 0: known, or asked outside, then learnt
//!        \ waits for        Notices (broadcast) <- the answer, which the next binding records
//! ```
//!
//! An answer is in process 0's book before anybody decodes a record with it, hence also before process 0 hears of that
//! record and can bind it. Of commands process 0 tells all how many there are, and a page of them to whoever asks for it. It
//! also tells when there is more to read than the run began with: every process leaves its work then and begins anew. And each process says once a second that its workers get on
//! ([`pulse`](super::pulse)).

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use connectors::command_log::{Commands, PAGE_BYTES, Piece};
use operators::answers::{Answer, AnswerBook, Ask};
use operators::side_channel::{Outlet, broadcast, gather};
use serde::{Deserialize, Serialize};
use timely::worker::Worker;

use super::pulse::{Pulse, Pulses};
use super::{Workers, lock};
use crate::schema_lookup::SchemaLookup;

/// How long somebody who asked waits for process 0, which itself waits for seconds where the outside is slow.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// How often a process says that it gets on.
const BEAT_EVERY: Duration = Duration::from_secs(1);

/// What any process tells process 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Word {
    /// What a reader wants to know.
    Question(Vec<u8>),
    /// A reader needs the commands from a number on.
    Commands(u64),
    /// The workers of this process get on.
    Beat(usize),
}

/// What process 0 tells every process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Notice {
    /// What holds from now on.
    Answer(Answer),
    /// Why there is no answer to this question now.
    NoAnswer { question: Vec<u8>, why: String },
    /// So many commands are durable.
    CommandsEnd(u64),
    /// Commands that somebody asked for, from a number on.
    Commands { first: u64, commands: Vec<Vec<u8>> },
    /// There is more to read than the run began with.
    BeginAnew,
    /// The workers of process 0 get on.
    Beat,
}

/// What process 0 is asked.
#[derive(Debug)]
pub(super) enum Asked {
    /// What a reader wants to know.
    Question(Vec<u8>),
    /// The commands from a number on.
    Commands(u64),
}

/// One process's end of it; clones share it.
#[derive(Clone)]
pub struct Control(Arc<Shared>);

struct Shared {
    process: usize,
    /// Whether there is anybody to tell: without a cluster nothing of this is built, and nothing would be taken.
    is_cluster: bool,
    words: Outlet<Word>,
    notices: Outlet<Notice>,
    pulses: Mutex<Pulses>,
    /// When this process beat.
    beat: Mutex<Option<Instant>>,
    role: Role,
    begins_anew: AtomicBool,
    waiting: Mutex<Waiting>,
    heard: Condvar,
}

enum Role {
    /// Of process 0: what it knows, and how many commands it told that there are.
    First { schema_lookup: SchemaLookup, commands: Commands, told: Mutex<Option<u64>> },
    /// Of any other: what it was told.
    Other { answers: AnswerBook, commands: Commands },
}

/// The readers of this process who wait for an answer.
#[derive(Default)]
struct Waiting {
    /// By a number of their own: what they asked, and why process 0 has no answer now, once it said so.
    readers: BTreeMap<u64, (Vec<u8>, Option<String>)>,
    next: u64,
    /// Nobody will answer any more.
    closed: bool,
}

impl Control {
    /// Of process 0, which has the logs.
    pub fn first(schema_lookup: SchemaLookup, commands: Commands, workers: &Workers) -> Control {
        Control::new(Role::First { schema_lookup, commands, told: Mutex::new(None) }, Outlet::default(), workers)
    }

    /// Of another process, which knows nothing yet.
    pub fn other(workers: &Workers) -> Control {
        let words: Outlet<Word> = Outlet::default();
        let asking = words.clone();
        let commands = Commands::elsewhere(move |from| asking.tell(Word::Commands(from)));
        Control::new(Role::Other { answers: AnswerBook::default(), commands }, words, workers)
    }

    fn new(role: Role, words: Outlet<Word>, workers: &Workers) -> Control {
        Control(Arc::new(Shared {
            process: workers.process,
            is_cluster: workers.addresses.len() > 1,
            words,
            notices: Outlet::default(),
            pulses: Mutex::new(Pulses::new(&workers.addresses, workers.process)),
            beat: Mutex::default(),
            role,
            begins_anew: AtomicBool::new(false),
            waiting: Mutex::default(),
            heard: Condvar::new(),
        }))
    }

    /// Whom this process's readers ask.
    pub fn schema_lookup(&self) -> SchemaLookup {
        match &self.0.role {
            Role::First { schema_lookup, .. } => schema_lookup.clone(),
            Role::Other { answers, .. } => SchemaLookup::outside(answers.clone(), Some(Arc::new(self.clone()))),
        }
    }

    /// The commands, also those that are still to come.
    pub fn commands(&self) -> Commands {
        match &self.0.role {
            Role::First { commands, .. } | Role::Other { commands, .. } => commands.clone(),
        }
    }

    /// Process 0 tells all how many commands there are, if it has not.
    pub fn tell_commands(&self) {
        let Role::First { commands, told, .. } = &self.0.role else { return };
        let mut told = lock(told);
        let end = commands.end();
        if self.0.is_cluster && *told != end {
            *told = end;
            self.0.notices.tell(Notice::CommandsEnd(end.unwrap_or(0)));
        }
    }

    /// Says that this process gets on, if its workers took what was said last and it is time to, and warns of neighbours that
    /// were not heard for long. To be called a few times a second.
    pub fn beat(&self) {
        let Shared { process, is_cluster, words, notices, .. } = &*self.0;
        if !is_cluster {
            return;
        }
        let is_taken = if *process == 0 { notices.is_taken() } else { words.is_taken() };
        let now = Instant::now();
        let mut beat = lock(&self.0.beat);
        let is_due = beat.is_none_or(|beat| now.saturating_duration_since(beat) >= BEAT_EVERY);
        if !is_taken || !is_due || lock(&self.0.waiting).closed {
            return;
        }
        *beat = Some(now);
        match process {
            0 => notices.tell(Notice::Beat),
            _ => words.tell(Word::Beat(*process)),
        }
        lock(&self.0.pulses).beat().iter().for_each(Pulse::tell);
    }

    fn hear_beat(&self, process: usize) {
        lock(&self.0.pulses).heard(process).iter().for_each(Pulse::tell);
    }

    /// Process 0 tells all that there is more to read than the run began with.
    pub(super) fn tell_to_begin_anew(&self) {
        self.0.notices.tell(Notice::BeginAnew);
    }

    /// Whether this process heard that.
    pub(super) fn begins_anew(&self) -> bool {
        self.0.begins_anew.load(Ordering::Acquire)
    }

    /// Builds the dataflows on a worker, the number `local` of its process; what is asked comes to `asked` on worker 0.
    pub(super) fn build(&self, worker: &mut Worker, local: usize, asked: Sender<Asked>) {
        // One worker of each process tells and hears.
        let words = if local == 0 { self.0.words.clone() } else { Outlet::default() };
        if local > 0 {
            words.close();
        }
        let control = self.clone();
        gather(worker, "Words", &words, move |word| match word {
            // Whoever answers hangs up when the run stops.
            Word::Question(question) => drop(asked.send(Asked::Question(question))),
            Word::Commands(from) => drop(asked.send(Asked::Commands(from))),
            Word::Beat(process) => control.hear_beat(process),
        });
        let control = self.clone();
        broadcast(worker, "Notices", &self.0.notices, move |notice| {
            if local == 0 {
                control.hear(notice);
            }
        });
    }

    /// Answers what other processes ask, until it is told to stop. Only process 0 does.
    pub(super) fn answer(&self, questions: &Receiver<Asked>, stop: &AtomicBool) {
        let Role::First { schema_lookup, commands, .. } = &self.0.role else { return };
        while !stop.load(Ordering::Acquire) {
            let question = match questions.recv_timeout(Duration::from_millis(50)) {
                Ok(Asked::Question(question)) => question,
                Ok(Asked::Commands(from)) => {
                    self.tell_page(commands, from);
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            self.0.notices.tell(match schema_lookup.answer(&question) {
                Ok(answer) => Notice::Answer(Answer { question, answer: answer.map(|answer| answer.to_vec()) }),
                Err(error) => Notice::NoAnswer { question, why: error.to_string() },
            });
        }
    }

    fn tell_page(&self, commands: &Commands, from: u64) {
        match commands.read(from, PAGE_BYTES) {
            Ok(Piece::Commands(page)) => {
                let commands = page.iter().map(|command| command.to_vec()).collect();
                self.0.notices.tell(Notice::Commands { first: from, commands });
            }
            Ok(Piece::End | Piece::Coming) => {}
            // Whoever asked asks again.
            Err(error) => tracing::warn!(from, error = &error as &dyn std::error::Error, "can't read commands"),
        }
    }

    fn hear(&self, notice: Notice) {
        if notice == Notice::BeginAnew {
            self.0.begins_anew.store(true, Ordering::Release);
        }
        if notice == Notice::Beat {
            self.hear_beat(0);
        }
        let Role::Other { answers, commands } = &self.0.role else { return };
        // Under the lock, so that nobody looks for an answer just before and waits for it just after.
        let mut waiting = lock(&self.0.waiting);
        match notice {
            Notice::Answer(answer) => answers.recorded(&answer),
            Notice::NoAnswer { question, why } => {
                let askers = waiting.readers.values_mut().filter(|(asked, _)| *asked == question);
                askers.for_each(|(_, told)| *told = Some(why.clone()));
            }
            Notice::CommandsEnd(end) => commands.ended(end),
            Notice::Commands { first, commands: page } => commands.told(first, page),
            Notice::BeginAnew | Notice::Beat => {}
        }
        self.0.heard.notify_all();
    }

    /// There is nothing more to tell and to hear: lets the dataflows end, and whoever waits for an answer go on.
    pub(super) fn close(&self) {
        self.0.words.close();
        self.0.notices.close();
        lock(&self.0.waiting).closed = true;
        self.0.heard.notify_all();
    }
}

/// Asks process 0.
impl Ask for Control {
    fn ask(&self, question: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let Role::Other { answers, .. } = &self.0.role else {
            return Err(io::Error::other("process 0 asks outside"));
        };
        let deadline = Instant::now() + ANSWER_MAX;
        let mut waiting = lock(&self.0.waiting);
        let number = waiting.next;
        waiting.next += 1;
        waiting.readers.insert(number, (question.to_vec(), None));
        self.0.words.tell(Word::Question(question.to_vec()));
        let answer = loop {
            if let Some(known) = answers.find(question) {
                break Ok(known.map(|known| known.to_vec()));
            }
            if let Some((_, Some(why))) = waiting.readers.get(&number) {
                break Err(io::Error::other(why.clone()));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if waiting.closed || left.is_zero() {
                break Err(io::Error::new(io::ErrorKind::TimedOut, "process 0 does not answer"));
            }
            waiting = self.0.heard.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
        };
        waiting.readers.remove(&number);
        answer
    }
}

#[cfg(test)]
mod tests;
