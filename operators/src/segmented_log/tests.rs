use crate::disk::Disk;
use crate::disk::Log;
use crate::framed_log::FramedLog;
use crate::memory_disk::MemoryDisk;
use crate::simulation::Random;

use super::*;

const SEGMENT_BYTES: u64 = 300;

fn entry(number: u64) -> Vec<u8> {
    format!("entry {number} {}", "x".repeat(number as usize % 40)).into_bytes()
}

fn entries(numbers: std::ops::Range<u64>) -> Vec<Vec<u8>> {
    numbers.map(entry).collect()
}

/// Opens the log; gives it and how many entries it has.
fn open(disk: &MemoryDisk) -> Result<(SegmentedLog<MemoryDisk>, u64), LogError> {
    let mut seen = 0;
    let log = SegmentedLog::open(disk.clone(), "commands", &mut |number, found| {
        assert_eq!((number, found), (seen, &entry(number)[..]));
        seen += 1;
    })?;
    Ok((log.with_segment_bytes(SEGMENT_BYTES), seen))
}

fn all(reader: &mut impl PageReader, from: u64, bytes_max: usize) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    loop {
        let page = reader.read(from + found.len() as u64, bytes_max).unwrap();
        if page.is_empty() {
            return found;
        }
        found.extend(page);
    }
}

#[test]
fn the_log_grows_over_segments_and_is_read_from_any_number() {
    let disk = MemoryDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    let mut reader = log.reader(disk.clone());
    for number in (0..60).step_by(3) {
        log.append(&entries(number..number + 3)).unwrap();
        assert_eq!(all(&mut reader, number, 1), entries(number..number + 3), "what was appended just now");
    }
    let names = disk.names().unwrap();
    assert!(names.len() > 4 && names[0] == "commands-12.log", "{names:?}");
    let (mut log, count) = open(&disk).unwrap();
    assert_eq!(count, 60);
    log.append(&entries(60..61)).unwrap();
    let mut reader = log.reader(disk.clone());
    for from in [0, 1, 7, 12, 13, 59, 60] {
        for bytes_max in [1, 100, 1 << 20] {
            assert_eq!(all(&mut reader, from, bytes_max), entries(from..61), "from {from}");
        }
    }
    assert!(reader.read(61, 1).unwrap().is_empty() && reader.read(99, 1).unwrap().is_empty());
    assert_eq!(reader.read(0, 1).unwrap().len(), 1, "no more than asked, but one");
}

#[test]
fn the_one_file_of_an_older_build_is_the_first_segment() {
    let disk = MemoryDisk::new();
    let mut old = FramedLog::new(disk.clone(), "commands.log");
    entries(0..40).iter().for_each(|entry| old.append(entry).unwrap());
    old.sync().unwrap();
    let before = disk.contents();
    let (mut log, count) = open(&disk).unwrap();
    assert_eq!((count, disk.contents()), (40, before.clone()), "nothing of it is written again");
    log.append(&entries(40..41)).unwrap();
    assert_eq!(disk.contents()["commands.log"], before["commands.log"], "it is full");
    assert_eq!(all(&mut log.reader(disk.clone()), 38, 1), entries(38..41));
    assert!(disk.contents().contains_key("commands-40.log"));
}

/// Whatever a crash leaves of the last group: what was durable before is there, in order, and the log goes on.
#[test]
fn a_torn_tail_is_cut_off_wherever_it_tears() {
    let mut torn = 0;
    for seed in 0..2_000 {
        let mut random = Random::new(seed);
        let disk = MemoryDisk::new();
        let (mut log, _) = open(&disk).unwrap();
        let mut durable = 0;
        for _ in 0..random.below(20) {
            let next = durable + 1 + random.below(4);
            log.append(&entries(durable..next)).unwrap();
            durable = next;
        }
        // A crash within an append: the bytes of the next group are there in part.
        let next = durable + 1 + random.below(4);
        let Some(at) = log.at else { unreachable!("nothing failed") };
        let begins = at.offset >= SEGMENT_BYTES;
        let name = match begins {
            true => name_of("commands", durable),
            false => log.index().segments.last().map_or("commands.log".to_owned(), |last| last.name.clone()),
        };
        let (bytes, _) = framed(if begins { Position::default() } else { at }, &entries(durable..next));
        let mut crashing = disk.clone();
        crashing.append(&name, &bytes).unwrap();
        disk.crash(|_, unsynced| random.below(unsynced as u64 + 1) as usize);
        let before = disk.size(&name).unwrap();
        let (mut log, count) = open(&disk).unwrap();
        assert!((durable..=next).contains(&count), "seed {seed}");
        torn += u64::from(disk.size(&name).unwrap() != before);
        log.append(&entries(count..count + 5)).unwrap();
        assert_eq!(all(&mut log.reader(disk.clone()), 0, 64), entries(0..count + 5), "seed {seed}");
        assert_eq!(open(&disk).unwrap().1, count + 5, "seed {seed}");
    }
    assert!(torn > 200, "{torn}");
}

#[test]
fn a_segment_that_was_cut_damaged_or_lost_is_named() {
    let disk = MemoryDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    (0..40).for_each(|number| log.append(&entries(number..number + 1)).unwrap());
    let whole = disk.contents();
    let names: Vec<String> = log.index().segments.iter().map(|segment| segment.name.clone()).collect();
    let refused = |change: &dyn Fn(&mut MemoryDisk), words: &[&str]| {
        let mut disk = MemoryDisk::new();
        whole.iter().for_each(|(name, bytes)| disk.put(name, bytes.clone()));
        change(&mut disk);
        let told = open(&disk).unwrap_err().to_string();
        assert!(words.iter().all(|words| told.contains(words)), "{told}");
    };
    let length = whole[&names[1]].len() as u64;
    refused(&|disk| disk.truncate(&names[1], length - 1).unwrap(), &[&names[1], "it ends before entry", &names[2]]);
    refused(&|disk| disk.remove(&names[1]).unwrap(), &[&names[0], "it ends before entry"]);
    refused(&|disk| disk.remove(&names[0]).unwrap(), &["commands.log", "it ends before entry 0"]);
    let flipped = |disk: &mut MemoryDisk| {
        let mut bytes = whole[&names[1]].clone();
        bytes[60] ^= 4;
        disk.put(&names[1], bytes);
    };
    refused(&flipped, &[&names[1], "is damaged at byte"]);
    // While it is open.
    let mut reader = log.reader(disk.clone());
    disk.clone().truncate(names.last().unwrap(), 40).unwrap();
    let told = loop {
        match reader.read(39, 1) {
            Ok(page) => assert!(!page.is_empty(), "there should be one"),
            Err(error) => break error.to_string(),
        }
    };
    assert!(told.contains(names.last().unwrap()), "{told}");
}

/// A file with entries larger than the window through which it is read.
#[test]
fn entries_of_any_length_are_read() {
    let disk = MemoryDisk::new();
    let long = |number: usize| vec![number as u8; number * 200_000];
    let mut log = SegmentedLog::open(disk.clone(), "long", &mut |_, _| unreachable!()).unwrap();
    let group: Vec<Vec<u8>> = (0..8).map(long).collect();
    log.append(&group).unwrap();
    let mut count = 0;
    SegmentedReader::open(disk.clone(), "long", &mut |number, entry| {
        assert!(entry == long(number as usize));
        count += 1;
    })
    .unwrap();
    assert_eq!(count, 8);
    assert!(log.reader(disk.clone()).read(5, 1).unwrap() == [long(5)]);
    let error = log.append(&[vec![0; ENTRY_BYTES_MAX + 1]]).unwrap_err().to_string();
    assert!(error.contains("could not append to long.log"), "{error}");
    log.append(&[b"what fits".to_vec()]).unwrap();
}
