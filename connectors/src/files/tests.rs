use std::io::Write;
use std::path::Path;

use flate2::write::GzEncoder;
use operators::record::{Batch, Decode, Header, Identity, RAW_BYTES_MAX, Rejection};
use operators::source::{Polled, Source, SourceError};
use operators::topology::GroupId;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

mod damage;
mod lines;
mod place;
mod rows;

/// Decodes a line to its text and refuses those that begin with `no`.
#[derive(Clone, Copy)]
struct Plainly;

impl Decode for Plainly {
    type Record = String;

    fn decode(&mut self, line: &[u8]) -> Result<(Header, String), Rejection> {
        let text = str::from_utf8(line).expect("the decoder gets UTF-8 only").to_owned();
        assert!(line.len() <= LINE_BYTES_MAX && !text.trim_ascii().is_empty());
        if text.starts_with("no") {
            return Err(Rejection::new("refused", "it begins with no"));
        }
        let identity = Identity::Sequence { stream: 0, sequence: 0 };
        Ok((Header { group: GroupId(0), lane: 0, event_time_ms: 0, identity }, text))
    }
}

/// An item of which the text has been looked up in the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    origin: String,
    line: u64,
    offset: u64,
    /// The record, or the code of its dead letter.
    outcome: Result<String, String>,
    raw: Vec<u8>,
}

impl Seen {
    fn ok(&self) -> &str {
        self.outcome.as_deref().unwrap()
    }
}

fn put(folder: &TempDir, name: &str, bytes: impl AsRef<[u8]>) -> FileSpec {
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    FileSpec::record(path).unwrap()
}

fn source(specs: &[FileSpec]) -> FileSource<Plainly> {
    FileSource::new("events-0", specs.to_vec(), Plainly)
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn zstd(text: &[u8]) -> Vec<u8> {
    ::zstd::encode_all(text, 3).unwrap()
}

fn file_name(path: &str) -> String {
    Path::new(path).file_name().unwrap().to_str().unwrap().to_owned()
}

fn seen(batch: &Batch<String>) -> Vec<Seen> {
    let items = batch.items.iter().enumerate().map(|(place, item)| {
        let raw = batch.raw(place, item.offset, item.length);
        assert!(raw.len() == (item.length as usize).min(RAW_BYTES_MAX), "the batch's text holds the line");
        let outcome = match &item.outcome {
            Ok((_, text)) => {
                assert_eq!(text.as_bytes()[..raw.len()], raw);
                Ok(text.clone())
            }
            Err((rejection, dead)) => {
                assert_eq!(*dead, raw);
                Err(rejection.code.to_string())
            }
        };
        Seen { origin: file_name(&batch.origin), line: item.line, offset: item.offset, outcome, raw }
    });
    items.collect()
}

/// Everything from `offset` to the end, and where each batch ended.
fn drain_from(source: &mut FileSource<Plainly>, offset: u64, bytes_max: usize) -> (Vec<Seen>, Vec<u64>) {
    let (mut items, mut ends) = (Vec::new(), vec![offset]);
    loop {
        let end = ends[ends.len() - 1];
        match source.poll(bytes_max).unwrap() {
            Polled::Batch(batch) => {
                assert!(batch.end_offset > end, "a batch goes on");
                assert_eq!(batch.bytes, batch.end_offset - end, "batches cover every offset");
                let seen = seen(&batch);
                let offsets = || seen.iter().map(|item| item.offset);
                assert!(offsets().is_sorted_by(|left, right| left < right));
                assert!(offsets().all(|offset| (end..batch.end_offset).contains(&offset)));
                items.extend(seen);
                ends.push(batch.end_offset);
            }
            Polled::Ended(ended) => {
                assert_eq!(ended, end);
                assert!(matches!(source.poll(bytes_max), Ok(Polled::Ended(again)) if again == end));
                return (items, ends);
            }
            other => panic!("a file has more or has ended, not {other:?}"),
        }
    }
}

fn drain(specs: &[FileSpec]) -> Vec<Seen> {
    drain_from(&mut source(specs), 0, 64 * 1024).0
}

/// The lines of a text by a second, stupid implementation.
fn by_hand(name: &str, text: &[u8], base: u64) -> Vec<Seen> {
    let mut items = Vec::new();
    let mut offset = base;
    for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
        let is_last = offset - base + line.len() as u64 == text.len() as u64;
        let mark = if index == 0 && line.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        let mut content = &line[mark..];
        if !is_last && content.last() == Some(&b'\r') {
            content = &content[..content.len() - 1];
        }
        if !content.trim_ascii().is_empty() {
            let outcome = match String::from_utf8(content.to_vec()) {
                Ok(text) if text.starts_with("no") => Err("refused".to_owned()),
                Ok(text) => Ok(text),
                Err(_) => Err("invalid_utf8".to_owned()),
            };
            let (line, offset) = (index as u64 + 1, offset + mark as u64);
            items.push(Seen { origin: name.to_owned(), line, offset, outcome, raw: content.to_vec() });
        }
        offset += line.len() as u64 + 1;
    }
    items
}
