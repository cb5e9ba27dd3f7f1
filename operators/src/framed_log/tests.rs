use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::memory_disk::MemoryDisk;

fn write(entries: &[Vec<u8>]) -> MemoryDisk {
    let disk = MemoryDisk::new();
    let mut log = FramedLog::new(disk.clone(), "log");
    for entry in entries {
        log.append(entry).unwrap();
    }
    log.sync().unwrap();
    disk
}

fn file(disk: &MemoryDisk) -> Vec<u8> {
    disk.read("log").unwrap().unwrap_or_default()
}

fn read(disk: &MemoryDisk) -> Result<Vec<Vec<u8>>, LogError> {
    FramedLog::new(disk.clone(), "log").read()
}

/// The offset and the words of the damage that reading `bytes` reports.
fn damage(bytes: Vec<u8>) -> (u64, String) {
    let disk = MemoryDisk::new();
    disk.put("log", bytes.clone());
    let answer = match read(&disk) {
        Err(LogError::Damaged { name, offset, what }) if name == "log" => (offset, what),
        other => panic!("damage expected, not {other:?}"),
    };
    assert_eq!(file(&disk), bytes, "a damaged file is left as it is");
    answer
}

/// Where each entry begins, and where the last one ends.
fn boundaries(entries: &[Vec<u8>]) -> Vec<usize> {
    let mut boundaries = vec![HEADER_BYTES];
    for entry in entries {
        boundaries.push(boundaries[boundaries.len() - 1] + FRAME_BYTES + entry.len());
    }
    boundaries
}

fn entries() -> impl Strategy<Value = Vec<Vec<u8>>> {
    // Zeros and empty entries are where a torn tail and an intact entry look most alike.
    let byte = prop_oneof![Just(0u8), any::<u8>()];
    vec(vec(byte, 0..40), 1..8)
}

proptest! {
    #[test]
    fn any_cut_leaves_the_entries_before_it_and_the_log_goes_on(entries in entries(), cut in any::<prop::sample::Index>()) {
        let disk = write(&entries);
        let whole = file(&disk);
        let cut = cut.index(whole.len() + 1);
        disk.put("log", &whole[..cut]);

        let complete = boundaries(&entries).iter().skip(1).filter(|&&end| end <= cut).count();
        prop_assert_eq!(read(&disk).unwrap(), &entries[..complete]);

        let mut log = FramedLog::new(disk.clone(), "log");
        for entry in &entries[complete..] {
            log.append(entry).unwrap();
        }
        prop_assert_eq!(file(&disk), whole);
    }

    #[test]
    fn zeros_behind_a_cut_are_a_torn_tail(entries in entries(), cut in any::<prop::sample::Index>(), zeros in 0usize..100) {
        let disk = write(&entries);
        let mut bytes = file(&disk);
        let cut = cut.index(bytes.len() + 1);
        bytes.truncate(cut);
        bytes.resize(cut + zeros, 0);
        disk.put("log", bytes);
        let complete = boundaries(&entries).iter().skip(1).filter(|&&end| end <= cut).count();
        let read = read(&disk).unwrap();
        // Zeros may happen to be just what was cut off, or begin what was: then more is intact than the cut left.
        prop_assert!(read.len() >= complete);
        prop_assert_eq!(&read[..], &entries[..read.len()]);
    }

    #[test]
    fn a_flipped_bit_is_found_wherever_it_is(entries in entries(), place in any::<prop::sample::Index>(), bit in 0u8..8) {
        let disk = write(&entries);
        let mut bytes = file(&disk);
        let place = place.index(bytes.len());
        bytes[place] ^= 1 << bit;
        disk.put("log", bytes.clone());
        let boundaries = boundaries(&entries);
        let entry = boundaries.iter().skip(1).filter(|&&end| end <= place).count();
        if entry + 1 < entries.len() || place < HEADER_BYTES {
            let (offset, _) = damage(bytes);
            let expected = if place < HEADER_BYTES { 0 } else { boundaries[entry] };
            prop_assert_eq!(offset, expected as u64);
        } else if let Ok(read) = read(&disk) {
            // In the last entry, where a torn write would look the same.
            prop_assert_eq!(&read[..], &entries[..entry]);
        }
    }
}

#[test]
fn entries_cannot_be_swapped_or_taken_out() {
    let entries = [b"first".to_vec(), b"other".to_vec(), b"third".to_vec()];
    let whole = file(&write(&entries));
    let part = |index: usize| whole[boundaries(&entries)[index]..boundaries(&entries)[index + 1]].to_vec();
    let header = header().to_vec();
    let at_first = HEADER_BYTES as u64;
    assert_eq!(damage([header.clone(), part(1), part(0), part(2)].concat()).0, at_first);
    assert_eq!(damage([header.clone(), part(1), part(2)].concat()).0, at_first);
    let at_second = boundaries(&entries)[1] as u64;
    assert_eq!(damage([header, part(0), part(2)].concat()).0, at_second);
}

#[test]
fn a_missing_file_is_an_empty_log() {
    let disk = MemoryDisk::new();
    let mut log = FramedLog::new(disk.clone(), "log");
    assert_eq!(log.read().unwrap(), Vec::<Vec<u8>>::new());
    log.sync().unwrap();
    assert!(disk.contents().is_empty());
}

#[test]
fn another_file_or_version_is_refused() {
    assert!(damage(b"{\"tick\":1}\n".to_vec()).1.contains("does not begin as a log does"));
    assert!(damage(b"aislelogs are warm".to_vec()).1.contains("version"));
    let mut newer = header().to_vec();
    newer[8] = 2;
    assert_eq!(damage(newer), (0, "its format is version 2, this build reads 1".to_owned()));
}

#[test]
fn an_entry_beyond_the_limit_is_refused_before_anything_is_written() {
    let disk = MemoryDisk::new();
    let mut log = FramedLog::new(disk.clone(), "log");
    let error = log.append(&vec![0; ENTRY_BYTES_MAX + 1]).unwrap_err();
    assert_eq!(error.to_string(), "could not append to log");
    assert!(disk.contents().is_empty());
}

#[test]
fn what_was_synchronised_survives_a_crash_with_any_torn_tail() {
    for kept_bytes in 0..30 {
        let disk = MemoryDisk::new();
        let mut log = FramedLog::new(disk.clone(), "log");
        log.append(b"one").unwrap();
        log.append(b"two").unwrap();
        log.sync().unwrap();
        log.append(b"three").unwrap();
        disk.crash(|_, _| kept_bytes);

        let mut log = FramedLog::new(disk.clone(), "log");
        let torn = kept_bytes < FRAME_BYTES + 5;
        let expected: &[&[u8]] = if torn { &[b"one", b"two"] } else { &[b"one", b"two", b"three"] };
        assert_eq!(log.read().unwrap(), expected, "{kept_bytes} bytes kept");
        log.append(b"four").unwrap();
        assert_eq!(read(&disk).unwrap().last().unwrap(), b"four");
    }
}

/// A disk that is full after half of an append, once.
struct FullOnce {
    disk: MemoryDisk,
    full: bool,
}

impl Disk for FullOnce {
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        self.disk.read(name)
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        if std::mem::take(&mut self.full) {
            self.disk.append(name, &bytes[..bytes.len() / 2])?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.disk.append(name, bytes)
    }

    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()> {
        self.disk.truncate(name, length)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.disk.sync(name)
    }
}

#[test]
fn an_append_that_failed_half_way_can_be_tried_again() {
    let disk = write(&[b"one".to_vec()]);
    let mut log = FramedLog::new(FullOnce { disk: disk.clone(), full: true }, "log");
    assert!(log.append(b"two").is_err());
    log.append(b"two").unwrap();
    log.sync().unwrap();
    assert_eq!(read(&disk).unwrap(), [b"one", b"two"]);
}

#[test]
fn an_append_that_failed_does_not_make_the_one_before_it_less_durable() {
    let disk = write(&[b"one".to_vec()]);
    let mut log = FramedLog::new(FullOnce { disk: disk.clone(), full: false }, "log");
    log.append(b"two").unwrap();
    log.disk.full = true;
    assert!(log.append(b"three").is_err());
    log.sync().unwrap();
    disk.crash(|_, _| 0);
    assert_eq!(read(&disk).unwrap(), [b"one", b"two"]);
}

#[test]
fn what_was_read_is_durable() {
    let disk = MemoryDisk::new();
    FramedLog::new(disk.clone(), "log").append(b"one").unwrap();
    assert_eq!(read(&disk).unwrap(), [b"one"]);
    disk.crash(|_, _| 0);
    assert_eq!(read(&disk).unwrap(), [b"one"]);
}

/// A folder whose one file is what was written and then zeros, of any length; it counts how much is read at once.
struct Sparse {
    written: Vec<u8>,
    length: u64,
    last: u8,
    most: std::cell::Cell<usize>,
}

// One thread has it.
impl crate::disk::Disk for Sparse {
    fn read(&self, _: &str) -> io::Result<Option<Vec<u8>>> {
        unreachable!("nobody reads all of it")
    }
    fn append(&mut self, _: &str, _: &[u8]) -> io::Result<()> {
        unreachable!("it is only read")
    }
    fn truncate(&mut self, _: &str, _: u64) -> io::Result<()> {
        unreachable!("it is only read")
    }
    fn sync(&mut self, _: &str) -> io::Result<()> {
        unreachable!("it is only read")
    }
}

impl crate::disk::Folder for Sparse {
    fn read_at(&self, _: &str, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
        self.most.set(self.most.get().max(bytes));
        let mut found = vec![0; bytes];
        if let Some(written) = self.written.get(offset as usize..) {
            let bytes = bytes.min(written.len());
            found[..bytes].copy_from_slice(&written[..bytes]);
        }
        if offset + bytes as u64 == self.length {
            found[bytes - 1] = self.last;
        }
        Ok(found)
    }
    fn size(&self, _: &str) -> io::Result<Option<u64>> {
        Ok(Some(self.length))
    }
    fn names(&self) -> io::Result<Vec<String>> {
        unreachable!("its name is known")
    }
    fn remove(&mut self, _: &str) -> io::Result<()> {
        unreachable!("it is only read")
    }
}

/// A file that somebody made very long is read in windows, whatever is at its end.
#[test]
fn a_tail_of_zeros_of_any_length_takes_no_memory() {
    let written = file(&write(&[b"one".to_vec(), b"two".to_vec()]));
    let bytes = written.len() as u64;
    for last in [0, 1] {
        let (written, length) = (written.clone(), 300 << 20);
        let disk = Sparse { written, length, last, most: std::cell::Cell::new(0) };
        let mut entries = 0;
        let scanned = scan(&disk, "log", Position::default(), &mut |_, _| {
            entries += 1;
            std::ops::ControlFlow::Continue(())
        });
        assert_eq!(entries, 2);
        assert!(disk.most.get() <= FRAME_BYTES + ENTRY_BYTES_MAX, "{}", disk.most.get());
        match last {
            0 => assert_eq!(scanned.map(|scanned| (scanned.end.offset, scanned.is_torn())).ok(), Some((bytes, true))),
            _ => assert!(matches!(scanned, Err(LogError::Damaged { offset, .. }) if offset == bytes)),
        }
    }
}
