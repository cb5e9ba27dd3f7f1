use operators::disk::Disk;
use operators::framed_log::FramedLog;
use operators::memory_disk::MemoryDisk;
use operators::record::{Header, Part, Rejection};

use super::*;

/// Takes commands that begin with a number, and refuses those that begin with an exclamation mark.
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

fn log(disk: &MemoryDisk) -> CommandLog<FramedLog<MemoryDisk>> {
    CommandLog::open(FramedLog::new(disk.clone(), "commands.log")).unwrap()
}

fn polled(source: &mut CommandSource<Numbers>) -> Polled<u64> {
    source.poll(1 << 20).unwrap()
}

#[test]
fn commands_outlive_a_restart_and_are_read_from_any_number() {
    let disk = MemoryDisk::new();
    let mut first = log(&disk);
    assert_eq!(first.append(&[b"!one".to_vec(), b"two".to_vec()]).unwrap(), 0..2);
    disk.crash(|_, _| 0);
    let mut again = log(&disk);
    assert_eq!(again.commands().end(), 2, "what was taken is durable");
    let mut source = CommandSource::new(again.commands(), "commands.log", Numbers);
    source.seek(0).unwrap();
    let Polled::Batch(batch) = polled(&mut source) else { panic!("there are two") };
    assert_eq!((batch.end_offset, batch.items.len()), (2, 1), "what is meant for somebody else is passed over");
    let item = &batch.items[0];
    assert_eq!(batch.raw(0, item.offset, item.length), b"one");
    assert_eq!(item.outcome.as_ref().unwrap_err().1, b"one");
    assert!(matches!(polled(&mut source), Polled::CaughtUp(2)));
    assert!(matches!(polled(&mut source), Polled::Nothing), "the end is told now and then only");
    assert_eq!(again.append(&[b"!three".to_vec()]).unwrap(), 2..3);
    let Polled::Batch(batch) = polled(&mut source) else { panic!("there is one more") };
    assert_eq!((batch.items[0].offset, batch.end_offset), (2, 3));
    source.seek(1).unwrap();
    let Polled::Batch(batch) = polled(&mut source) else { panic!("there are two behind the first") };
    assert_eq!(batch.items.len(), 1);
    let error = source.seek(4).unwrap_err().to_string();
    assert!(error.contains("ends at offset 3, but offset 4 was asked for"), "{error}");
}

#[test]
fn a_copy_is_read_from_where_it_will_be_told() {
    let copy = Commands::copy();
    let mut source = CommandSource::new(copy.clone(), "commands.log", Numbers);
    source.seek(2).unwrap();
    copy.told(0, vec![b"!zero".to_vec()], false);
    assert!(matches!(polled(&mut source), Polled::Nothing), "what is not there yet is not the end");
    copy.told(1, vec![b"!one".to_vec()], false);
    assert!(matches!(polled(&mut source), Polled::Nothing), "nor is it while there is more");
    copy.told(2, vec![b"!two".to_vec()], true);
    let Polled::Batch(batch) = polled(&mut source) else { panic!("it is there now") };
    assert_eq!((batch.items[0].offset, batch.end_offset), (2, 3));
    assert!(matches!(polled(&mut source), Polled::CaughtUp(3)));
    assert_eq!(copy.from(1), [Arc::from(&b"!one"[..]), Arc::from(&b"!two"[..])]);
    assert_eq!(copy.from(4), [] as [Arc<[u8]>; 0]);
}

#[test]
fn a_batch_is_no_larger_than_asked_but_for_one_command() {
    let mut log = log(&MemoryDisk::new());
    log.append(&vec![vec![b'!'; 10]; 5]).unwrap();
    let mut source = CommandSource::new(log.commands(), "commands.log", Numbers);
    let ends = std::iter::from_fn(|| match source.poll(25).unwrap() {
        Polled::Batch(batch) => Some(batch.end_offset),
        _ => None,
    });
    assert_eq!(ends.collect::<Vec<_>>(), [2, 4, 5]);
}

#[test]
fn a_full_log_takes_nothing_more_and_says_so() {
    let mut log = log(&MemoryDisk::new());
    log.bytes = BYTES_MAX - 3;
    assert!(matches!(log.append(&[b"four".to_vec()]), Err(CommandLogError::Full { .. })));
    assert_eq!(log.append(&[b"one".to_vec()]).unwrap(), 0..1, "what fits is still taken");
}

/// A disk that fails to synchronise.
#[derive(Clone, Debug, Default)]
struct Failing(MemoryDisk);

impl Disk for Failing {
    fn read(&self, name: &str) -> std::io::Result<Option<Vec<u8>>> {
        self.0.read(name)
    }
    fn append(&mut self, name: &str, bytes: &[u8]) -> std::io::Result<()> {
        self.0.append(name, bytes)
    }
    fn truncate(&mut self, name: &str, length: u64) -> std::io::Result<()> {
        self.0.truncate(name, length)
    }
    fn sync(&mut self, _: &str) -> std::io::Result<()> {
        Err(std::io::Error::other("the disk is gone"))
    }
}

#[test]
fn what_the_disk_refused_is_not_taken_and_nothing_after_it() {
    let mut log = CommandLog::open(FramedLog::new(Failing::default(), "commands.log")).unwrap();
    assert!(matches!(log.append(&[b"one".to_vec()]), Err(CommandLogError::Log(_))));
    assert_eq!(log.commands().end(), 0);
    assert!(matches!(log.append(&[b"two".to_vec()]), Err(CommandLogError::Failed)));
}
