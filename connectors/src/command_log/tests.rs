use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use operators::disk::PagedLog;
use operators::memory_disk::MemoryDisk;
use operators::record::{DecodeMessage, Header, Part, Rejection};
use operators::segmented_log::SegmentedLog;
use operators::source::{Polled, Source};

use super::*;

/// Takes commands that begin with an exclamation mark, and refuses them.
struct Numbers;

impl DecodeMessage for Numbers {
    type Record = u64;

    fn decode_message(&mut self, message: &[u8], mut give: impl FnMut(Part, Result<(Header, u64), Rejection>)) {
        let part = Part { place: 0, start: 1, length: message.len() as u32 - 1 };
        if message[0] == b'!' {
            give(part, Err(Rejection::new("refused", "it shouts")));
        }
    }
}

const SOON: Duration = Duration::from_secs(60);

fn writer(disk: &MemoryDisk) -> CommandWriter {
    let mut end = 0;
    let log = SegmentedLog::open(disk.clone(), "commands", &mut |_, _| end += 1).unwrap().with_segment_bytes(64);
    let commands = Commands::of_log(end, Box::new(log.reader(disk.clone())));
    CommandWriter::start(Box::new(log), commands)
}

/// Makes commands durable; gives the number of the first.
fn append(writer: &mut CommandWriter, commands: &[&[u8]]) -> u64 {
    let numbers: Vec<u64> = commands.iter().map(|command| writer.submit(command.to_vec()).unwrap()).collect();
    assert!(writer.commands().wait_for(*numbers.last().unwrap(), Instant::now() + SOON).unwrap());
    numbers[0]
}

fn polled(source: &mut CommandSource<Numbers>) -> Polled<u64> {
    source.poll(1 << 20).unwrap()
}

#[test]
fn commands_outlive_a_restart_and_are_read_from_any_number() {
    let disk = MemoryDisk::new();
    let mut first = writer(&disk);
    assert_eq!(append(&mut first, &[b"!one", b"two"]), 0);
    drop(first);
    disk.crash(|_, _| 0);
    let mut again = writer(&disk);
    assert_eq!(again.commands().end(), Some(2), "what was taken is durable");
    let mut source = CommandSource::new(again.commands().clone(), "commands.log", Numbers);
    source.seek(0).unwrap();
    let Polled::Batch(batch) = polled(&mut source) else { panic!("there are two") };
    assert_eq!((batch.end_offset, batch.items.len()), (2, 1), "what is meant for somebody else is passed over");
    assert_eq!((batch.bytes, batch.items[0].outcome.as_ref().unwrap_err().1.as_slice()), (3, &b"one"[..]));
    assert!(matches!(polled(&mut source), Polled::CaughtUp(2)));
    assert!(matches!(polled(&mut source), Polled::Nothing), "the end is told now and then only");
    assert_eq!(append(&mut again, &[b"!three"]), 2);
    let Polled::Batch(batch) = polled(&mut source) else { panic!("there is one more") };
    assert_eq!((batch.items[0].offset, batch.end_offset), (2, 3));
    source.seek(1).unwrap();
    let Polled::Batch(batch) = polled(&mut source) else { panic!("there are two behind the first") };
    assert_eq!((batch.end_offset, batch.items.len()), (3, 1));
    let error = source.seek(4).unwrap_err().to_string();
    assert!(error.contains("ends at offset 3, but offset 4 was asked for"), "{error}");
}

/// More commands than the cache holds, of every length: each reader gets all of them, from wherever it begins.
#[test]
fn what_the_cache_forgot_is_read_again() {
    let disk = MemoryDisk::new();
    let mut writer = writer(&disk);
    let command = |number: usize| vec![number as u8; 1 + (number * 7919) % (100 << 10)];
    let all: Vec<Vec<u8>> = (0..400).map(command).collect();
    assert!(all.iter().map(Vec::len).sum::<usize>() > 2 * CACHE_BYTES_MAX);
    append(&mut writer, &all.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let commands = writer.commands();
    for (from, bytes_max) in [(0, 1), (0, 1 << 20), (17, 50_000), (399, 1)] {
        let mut found = Vec::new();
        while let Piece::Commands(page) = commands.read((from + found.len()) as u64, bytes_max).unwrap() {
            let bytes: usize = page.iter().map(|command| command.len()).sum();
            assert!(page.len() == 1 || bytes <= bytes_max);
            found.extend(page.iter().map(|command| command.to_vec()));
            let state = commands.state();
            assert!(state.cache.bytes() <= CACHE_BYTES_MAX);
        }
        assert!(found == all[from..], "from {from}");
    }
}

#[test]
fn a_process_without_the_log_asks_for_what_it_needs() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&asked);
    let commands = Commands::elsewhere(move |from| told.lock().unwrap().push(from));
    let mut source = CommandSource::new(commands.clone(), "commands.log", Numbers);
    source.seek(2).unwrap();
    assert!(matches!(polled(&mut source), Polled::Nothing), "nobody knows yet where the end is");
    assert!(matches!(polled(&mut source), Polled::Nothing));
    assert_eq!(*asked.lock().unwrap(), [2], "once, for a while");
    commands.ended(4);
    commands.told(2, vec![b"!two".to_vec()]);
    let Polled::Batch(batch) = polled(&mut source) else { panic!("it is there now") };
    assert_eq!((batch.items[0].offset, batch.end_offset), (2, 3));
    assert!(matches!(polled(&mut source), Polled::Nothing), "there is another");
    commands.told(3, vec![b"!three".to_vec()]);
    assert!(matches!(polled(&mut source), Polled::Batch(_)));
    assert!(matches!(polled(&mut source), Polled::CaughtUp(4)));
    assert_eq!(*asked.lock().unwrap(), [2, 3]);
}

/// A log whose disk takes as long as the test wants.
struct SlowLog {
    groups: Arc<Mutex<Vec<usize>>>,
    is_open: Arc<(Mutex<bool>, Condvar)>,
}

impl PagedLog for SlowLog {
    fn append(&mut self, entries: &[Vec<u8>]) -> Result<(), LogError> {
        self.groups.lock().unwrap().push(entries.len());
        let is_open = self.is_open.0.lock().unwrap();
        drop(self.is_open.1.wait_while(is_open, |is_open| !*is_open).unwrap());
        Ok(())
    }
}

#[test]
fn what_comes_while_the_log_is_synchronised_shares_the_next_synchronisation() {
    let (groups, is_open) = (Arc::new(Mutex::new(Vec::new())), Arc::new((Mutex::new(false), Condvar::new())));
    let log = SlowLog { groups: Arc::clone(&groups), is_open: Arc::clone(&is_open) };
    let mut writer = CommandWriter::start(Box::new(log), Commands::default());
    writer.submit(b"the first".to_vec()).unwrap();
    while groups.lock().unwrap().is_empty() {
        std::thread::yield_now();
    }
    let last = (0..500).map(|number: u64| writer.submit(number.to_string().into_bytes()).unwrap()).last().unwrap();
    assert!(!writer.commands().wait_for(0, Instant::now()).unwrap(), "nothing is durable yet");
    let too_much = writer.submit(vec![0; QUEUE_BYTES_MAX]);
    assert!(matches!(too_much, Err(CommandLogError::Busy)));
    *is_open.0.lock().unwrap() = true;
    is_open.1.notify_all();
    assert!(writer.commands().wait_for(last, Instant::now() + SOON).unwrap());
    assert_eq!(*groups.lock().unwrap(), [1, 500]);
}

/// A disk that fails to synchronise.
struct FailingLog(Arc<AtomicUsize>, Arc<AtomicBool>);

impl PagedLog for FailingLog {
    fn append(&mut self, _: &[Vec<u8>]) -> Result<(), LogError> {
        self.0.fetch_add(1, Ordering::AcqRel);
        match self.1.load(Ordering::Acquire) {
            false => Ok(()),
            true => Err(LogError::Disk {
                name: "commands.log".to_owned(),
                doing: "synchronise",
                source: std::io::Error::other("the disk is gone"),
            }),
        }
    }
}

#[test]
fn what_the_disk_refused_is_not_taken_and_nothing_after_it() {
    let (appends, fails) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let log = FailingLog(Arc::clone(&appends), Arc::clone(&fails));
    let mut writer = CommandWriter::start(Box::new(log), Commands::default());
    append(&mut writer, &[b"good"]);
    fails.store(true, Ordering::Release);
    let number = writer.submit(b"one".to_vec()).unwrap();
    let told = writer.commands().wait_for(number, Instant::now() + SOON).unwrap_err().to_string();
    assert!(told.contains("could not synchronise commands.log: the disk is gone"), "{told}");
    assert!(matches!(writer.submit(b"two".to_vec()), Err(CommandLogError::Failed { .. })));
    assert_eq!((appends.load(Ordering::Acquire), writer.commands().end()), (2, Some(1)));
}
