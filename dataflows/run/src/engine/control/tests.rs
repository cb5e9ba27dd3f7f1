use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::channel;
use std::thread::spawn;

use connectors::command_log::CommandWriter;
use operators::memory_disk::MemoryDisk;
use operators::segmented_log::SegmentedLog;
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
    // What fails there ends the workers as well, or the test would wait for them.
    let done = catch_unwind(AssertUnwindSafe(work));
    first.close();
    other.close();
    guards.unwrap().join().into_iter().for_each(|joined| joined.unwrap());
    stop.store(true, Ordering::Release);
    answers.join().unwrap();
    done.unwrap_or_else(|panic| resume_unwind(panic));
}

/// One of three processes.
fn workers(process: usize) -> Workers {
    Workers { threads: 1, addresses: ["a:1", "b:2", "c:3"].map(str::to_owned).to_vec(), process }
}

fn writer() -> CommandWriter {
    let disk = MemoryDisk::new();
    let log = SegmentedLog::open(disk.clone(), "commands", &mut |_, _| {}).unwrap().with_segment_bytes(1 << 20);
    let commands = Commands::of_log(0, Box::new(log.reader(disk)));
    CommandWriter::start(Box::new(log), commands)
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

/// More commands than a process keeps: each reader gets what it asks for, wherever it is.
#[test]
fn process_0_tells_the_commands_that_another_one_asks_for() {
    let mut log = writer();
    let first = Control::first(SchemaLookup::default(), log.commands().clone(), &workers(0));
    let other = Control::other(&workers(1));
    let long = |number: u64| vec![number as u8; 1 + number as usize * 997 % (PAGE_BYTES / 2)];
    let count = 150;
    joined(&first, &other, || {
        let commands = other.commands();
        assert_eq!((commands.end(), commands.read(0, 1).unwrap()), (None, Piece::Coming), "nobody told it anything");
        first.tell_commands();
        let last = (0..count).map(|number| log.submit(long(number)).unwrap()).last().unwrap();
        assert!(log.commands().wait_for(last, Instant::now() + Duration::from_secs(60)).unwrap());
        first.tell_commands();
        for from in [0, count / 2, count - 1, 0] {
            let mut next = from;
            loop {
                match commands.read(next, PAGE_BYTES).unwrap() {
                    Piece::Commands(page) => {
                        for command in page {
                            assert!(*command == long(next)[..], "command {next}");
                            next += 1;
                        }
                    }
                    // An end may be one of before it was told the rest.
                    Piece::End if next == count => break,
                    Piece::End | Piece::Coming => std::thread::yield_now(),
                }
            }
            assert_eq!(commands.end(), Some(count));
        }
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
