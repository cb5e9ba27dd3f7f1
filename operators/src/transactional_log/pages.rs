//! A log in transactions that is written in groups and read in pages, with a sparse index in memory.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard};

use super::{End, TransactionalLog, TransactionalLogError, Transactions, Upto, scan_on};
use crate::disk::{EachEntry, Log, LogError, PageReader, PagedLog};

/// How far apart the places are that the index knows, in bytes of entries.
const MARK_EVERY_BYTES: usize = 256 << 10;

/// Where some entries begin, ascending: the number of entries before is part of each place.
#[derive(Debug)]
struct Marks {
    marks: Vec<End>,
    /// Bytes of entries behind the last mark.
    bytes: usize,
    /// How many entries are known to be durable.
    end: u64,
}

impl Marks {
    fn new() -> Self {
        Marks { marks: vec![End::default()], bytes: 0, end: 0 }
    }

    /// Takes note of entries of so many bytes that end there.
    fn pass(&mut self, bytes: usize, end: End) {
        self.bytes += bytes;
        self.end = end.link.entries;
        if self.bytes >= MARK_EVERY_BYTES {
            self.marks.push(end);
            self.bytes = 0;
        }
    }
}

/// The one writer of a paged log.
#[derive(Debug)]
pub struct PagedTransactionalLog<T> {
    log: TransactionalLog<T>,
    marks: Arc<Mutex<Marks>>,
}

impl<T: Transactions> PagedTransactionalLog<T> {
    /// Reads what a log holds that was opened just now, and shows every entry.
    pub fn open(mut log: TransactionalLog<T>, each: EachEntry<'_>) -> Result<Self, TransactionalLogError<T::Error>> {
        let mut marks = Marks::new();
        let (chain, offset) = scan_on(&mut log.transactions, End::default(), Upto::End, &mut |entry, end| {
            each(end.link.entries - 1, &entry);
            marks.pass(entry.len(), end);
            ControlFlow::Continue(())
        })?;
        log.end = Some(End { link: chain.link(), offset });
        Ok(PagedTransactionalLog { log, marks: Arc::new(Mutex::new(marks)) })
    }

    /// A reader of this log, by a client of its own.
    pub fn reader(&self, transactions: T) -> TransactionalReader<T> {
        TransactionalReader { transactions, marks: Arc::clone(&self.marks), next: None }
    }
}

impl<T: Transactions> PagedLog for PagedTransactionalLog<T> {
    fn append(&mut self, entries: &[Vec<u8>]) -> Result<(), LogError> {
        for entry in entries {
            self.log.append(entry)?;
        }
        self.log.sync()?;
        let end = self.log.end.expect("what was appended has an end");
        locked(&self.marks).pass(entries.iter().map(Vec::len).sum(), end);
        Ok(())
    }
}

/// A reader of a log in transactions.
#[derive(Debug)]
pub struct TransactionalReader<T> {
    transactions: T,
    marks: Arc<Mutex<Marks>>,
    /// Where the last page ended.
    next: Option<End>,
}

impl<T: Transactions> TransactionalReader<T> {
    /// A reader of what is committed now; nobody is fenced. Shows every entry.
    pub fn open(mut transactions: T, each: EachEntry<'_>) -> Result<Self, TransactionalLogError<T::Error>> {
        let mut marks = Marks::new();
        scan_on(&mut transactions, End::default(), Upto::Stable, &mut |entry, end| {
            each(end.link.entries - 1, &entry);
            marks.pass(entry.len(), end);
            ControlFlow::Continue(())
        })?;
        Ok(TransactionalReader { transactions, marks: Arc::new(Mutex::new(marks)), next: None })
    }

    /// How many entries are durable.
    pub fn end(&self) -> u64 {
        locked(&self.marks).end
    }
}

impl<T: Transactions> PageReader for TransactionalReader<T> {
    fn read(&mut self, from: u64, bytes_max: usize) -> Result<Vec<Vec<u8>>, LogError> {
        let (begin, end) = {
            let marks = locked(&self.marks);
            let mark = marks.marks[marks.marks.partition_point(|mark| mark.link.entries <= from) - 1];
            (self.next.filter(|next| next.link.entries == from).unwrap_or(mark), marks.end)
        };
        let (mut page, mut bytes, mut next) = (Vec::new(), 0, begin);
        if from >= end {
            return Ok(page);
        }
        scan_on(&mut self.transactions, begin, Upto::Stable, &mut |entry, behind| {
            next = behind;
            if behind.link.entries > from {
                bytes += entry.len();
                page.push(entry);
            }
            if bytes >= bytes_max || next.link.entries >= end {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })
        .map_err(|error| match error {
            TransactionalLogError::Transactions(error) if T::is_transient(&error) => {
                LogError::Unreachable(Box::new(error))
            }
            error => error.into(),
        })?;
        self.next = Some(next);
        Ok(page)
    }
}

fn locked(marks: &Mutex<Marks>) -> MutexGuard<'_, Marks> {
    marks.lock().expect("nobody panics while holding the lock of an index")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory_topic::{MemoryTopic, MemoryTransactions};

    fn open(topic: &MemoryTopic, writer: &str) -> TransactionalLog<MemoryTransactions> {
        TransactionalLog::open(topic.sound_client(), writer.to_owned()).unwrap()
    }

    fn entries(numbers: std::ops::Range<u64>) -> Vec<Vec<u8>> {
        numbers.map(|number| format!("entry {number}").into_bytes()).collect()
    }

    /// A log that is read in pages: the same entries from any number, also those that come later, whatever goes wrong between.
    #[test]
    fn pages_are_the_entries_from_any_number() {
        let all = |reader: &mut TransactionalReader<MemoryTransactions>, from: u64, bytes_max: usize| {
            let mut found = Vec::new();
            loop {
                match reader.read(from + found.len() as u64, bytes_max) {
                    Ok(page) if page.is_empty() => return found,
                    Ok(page) => found.extend(page),
                    Err(error) => panic!("{error}"),
                }
            }
        };
        let topic = MemoryTopic::default();
        let mut paged = PagedTransactionalLog::open(open(&topic, "first"), &mut |_, _| unreachable!()).unwrap();
        let mut reader = paged.reader(topic.sound_client());
        for first in (0..30).step_by(3) {
            paged.append(&entries(first..first + 3)).unwrap();
            assert_eq!(all(&mut reader, first, 1), entries(first..first + 3));
        }
        // Long ones, so that the index has more than one mark.
        let long: Vec<Vec<u8>> = (0..5).map(|number| vec![number; 200 << 10]).collect();
        paged.append(&long).unwrap();
        paged.append(&entries(35..37)).unwrap();
        let expected = [entries(0..30), long, entries(35..37)].concat();
        let mut seen = Vec::new();
        let each = &mut |number, entry: &[u8]| {
            assert_eq!(number, seen.len() as u64);
            seen.push(entry.to_vec());
        };
        let mut again = TransactionalReader::open(topic.sound_client(), each).unwrap();
        assert!(seen == expected && again.end() == 37);
        for from in [0, 1, 29, 30, 33, 35, 36, 37] {
            for bytes_max in [1, 300 << 10, 1 << 20] {
                assert!(all(&mut again, from, bytes_max) == expected[from as usize..], "from {from}");
                assert!(all(&mut reader, from, bytes_max) == expected[from as usize..], "from {from}");
            }
        }
        assert!(again.marks.lock().unwrap().marks.len() > 2, "the index has marks");
        // Whoever opens it to write goes on, and a reader of before sees no more than it knew.
        let mut next = PagedTransactionalLog::open(open(&topic, "next"), &mut |_, _| {}).unwrap();
        next.append(&entries(37..38)).unwrap();
        assert_eq!(next.reader(topic.sound_client()).read(37, 1).unwrap(), entries(37..38));
        assert!(again.read(37, 1).unwrap().is_empty());
    }
}
