use std::sync::mpsc::channel;
use std::thread::spawn;

use connectors::command_log::CommandLog;
use operators::framed_log::FramedLog;
use operators::memory_disk::MemoryDisk;
use timely::{CommunicationConfig, WorkerConfig};

use super::*;

/// Somebody outside who knows one answer, that there is none for another question, and nothing now of any other.
struct Outside;

impl Ask for Outside {
    fn ask(&self, question: &[u8]) -> io::Result<Option<Vec<u8>>> {
        match question {
            b"known" => Ok(Some(b"so it is".to_vec())),
            b"missing" => Ok(None),
            _ => Err(io::Error::other("away")),
        }
    }
}

/// What each of two processes' ends does, joined as they would be, by two workers of this process: each is the first worker of
/// its process as far as they know.
fn joined(first: &Control, other: &Control, work: impl FnOnce()) {
    let stop = Arc::new(AtomicBool::new(false));
    let (asked, questions) = channel();
    let answering = (first.clone(), Arc::clone(&stop));
    let answers = spawn(move || answering.0.answer(&questions, &answering.1));
    let (controls, asked) = (vec![first.clone(), other.clone()], Mutex::new(asked));
    let (builders, others) = CommunicationConfig::Process(2).try_build().unwrap();
    let guards = timely::execute::execute_from(builders, others, WorkerConfig::default(), move |worker| {
        let asked = lock(&asked).clone();
        controls[worker.index()].build(worker, 0, asked);
        while worker.has_dataflows() {
            worker.step_or_park(None);
        }
    });
    work();
    first.close();
    other.close();
    guards.unwrap().join().into_iter().for_each(|joined| joined.unwrap());
    stop.store(true, Ordering::Release);
    answers.join().unwrap();
}

/// One of three processes.
fn workers(process: usize) -> Workers {
    Workers { threads: 1, addresses: ["a:1", "b:2", "c:3"].map(str::to_owned).to_vec(), process }
}

fn log() -> CommandLog<FramedLog<MemoryDisk>> {
    CommandLog::open(FramedLog::new(MemoryDisk::new(), "commands.log")).unwrap()
}

#[test]
fn the_first_process_learns_what_another_one_asks_before_that_one_knows_it() {
    let answers = AnswerBook::default();
    answers.recorded(&Answer { question: b"recorded".to_vec(), answer: Some(b"as it was".to_vec()) });
    let schema_lookup = SchemaLookup::outside(answers.clone(), Some(Arc::new(Outside)));
    let (first, other) = (Control::first(schema_lookup, Commands::default(), &workers(0)), Control::other(&workers(1)));
    joined(&first, &other, || {
        assert_eq!(other.ask(b"known").unwrap().as_deref(), Some(&b"so it is"[..]));
        assert_eq!(other.ask(b"missing").unwrap(), None);
        assert_eq!(other.ask(b"recorded").unwrap().as_deref(), Some(&b"as it was"[..]), "nobody outside is asked");
        let learnt: Vec<_> = answers.take_unrecorded().into_iter().map(|answer| answer.question).collect();
        assert_eq!(learnt, [b"known".to_vec(), b"missing".to_vec()], "these are to be recorded");
        for _ in 0..2 {
            assert_eq!(other.ask(b"something else").unwrap_err().to_string(), "away", "each time it is asked");
        }
        assert!(other.ask(&[b'x'; 1_000]).unwrap_err().to_string().contains("as long as that"));
    });
    assert!(lock(&other.0.waiting).readers.is_empty(), "nobody waits any more");
    assert_eq!(other.ask(b"whatever").unwrap_err().kind(), io::ErrorKind::TimedOut, "nobody will answer");
}

#[test]
fn commands_come_to_every_process_once_and_in_order() {
    let mut log = log();
    let first = Control::first(SchemaLookup::default(), log.commands(), &workers(0));
    let other = Control::other(&workers(1));
    joined(&first, &other, || {
        let long = |number: u8| vec![number; COMMANDS_BYTES / 3];
        for number in 0..10 {
            log.append(&[long(2 * number), long(2 * number + 1)]).unwrap();
            if number % 3 == 0 {
                first.tell_commands();
                first.tell_commands();
            }
        }
        let commands = other.commands();
        while commands.end() < 20 {
            std::thread::yield_now();
        }
        assert_eq!(commands.all(), log.commands().all());
    });
}

#[test]
fn every_process_hears_that_it_begins_anew() {
    let first = Control::first(SchemaLookup::default(), Commands::default(), &workers(0));
    let other = Control::other(&workers(1));
    joined(&first, &other, || {
        assert!(!first.begins_anew() && !other.begins_anew());
        first.tell_to_begin_anew();
        while !first.begins_anew() || !other.begins_anew() {
            std::thread::yield_now();
        }
    });
}
