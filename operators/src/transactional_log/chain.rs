//! What the messages of a log's topic say, and whether they follow each other as they were written.
//!
//! ```text
//! entry   key: its number from 0, decimal | headers part, parts, checksum, writer | value: this part of its bytes
//! claim   key: "writer"                   | value: who writes from here on
//! ```
//!
//! The checksum of an entry covers the one of the entry before it. So entries that are missing, swapped, written by two
//! writers at once or into the topic of another run are noticed, wherever reading begins.

use super::{Message, Seen};

/// The longest part of an entry in one message: brokers take a mebibyte unless told otherwise.
pub(super) const PART_BYTES_MAX: usize = 512 << 10;

/// The key of a claim.
pub(super) const CLAIM: &[u8] = b"writer";

/// What an entry goes on from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Link {
    /// How many entries there are before it.
    pub(super) entries: u64,
    /// The last one's checksum.
    pub(super) checksum: u32,
}

impl Link {
    /// What the entry after `entry` goes on from.
    pub(super) fn with(self, entry: &[u8]) -> Link {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.checksum.to_le_bytes());
        hasher.update(&self.entries.to_le_bytes());
        hasher.update(entry);
        Link { entries: self.entries + 1, checksum: hasher.finalize() }
    }
}

/// The messages of an entry.
pub(super) fn messages(before: Link, entry: &[u8], writer: &str) -> impl Iterator<Item = Message> {
    let checksum = format!("{:08x}", before.with(entry).checksum);
    // An empty entry is a message, too.
    let parts = entry.len().div_ceil(PART_BYTES_MAX).max(1);
    (0..parts).map(move |part| {
        let headers = vec![
            ("part", part.to_string()),
            ("parts", parts.to_string()),
            ("checksum", checksum.clone()),
            ("writer", writer.to_owned()),
        ];
        let from = part * PART_BYTES_MAX;
        let value = entry[from..entry.len().min(from + PART_BYTES_MAX)].to_vec();
        Message { key: before.entries.to_string().into_bytes(), headers, value }
    })
}

/// Entries that are put together again.
#[derive(Debug, Default)]
pub(super) struct Chain {
    link: Link,
    /// Parts of the next one.
    begun: Vec<u8>,
    parts: usize,
    /// The writer that claimed the log last.
    pub(super) writer: Option<String>,
}

impl Chain {
    /// One that goes on from there.
    pub(super) fn after(link: Link) -> Self {
        Chain { link, ..Chain::default() }
    }

    /// What the next entry goes on from.
    pub(super) fn link(&self) -> Link {
        self.link
    }

    /// Takes the next message, and gives the entry that it completes. What does not go on from the one before is told.
    pub(super) fn take(&mut self, seen: &Seen<'_>) -> Result<Option<Vec<u8>>, String> {
        let Seen { key, headers, value, .. } = seen;
        if *key == CLAIM {
            self.writer = Some(String::from_utf8_lossy(value).into_owned());
            return self.is_between_entries().map(|()| None);
        }
        let text = |name: &'static str| {
            let header = headers.iter().find(|(key, _)| *key == name);
            let (_, value) = header.ok_or_else(|| format!("it has no header `{name}`: no log wrote it"))?;
            str::from_utf8(value).map_err(|_| format!("its header `{name}` is no text"))
        };
        let number = |name, text: &str| text.parse().map_err(|_| format!("its {name} is \"{text}\", no number"));
        let entry: u64 = number("key", &String::from_utf8_lossy(key))?;
        let (part, parts): (u64, u64) = (number("part", text("part")?)?, number("parts", text("parts")?)?);
        if entry != self.link.entries || part != self.parts as u64 || part >= parts {
            let (expected, next) = (self.link.entries, self.parts);
            return Err(format!("it is part {part} of entry {entry}, but part {next} of entry {expected} comes next"));
        }
        self.begun.extend_from_slice(value);
        self.parts += 1;
        if part + 1 < parts {
            return Ok(None);
        }
        let entry = std::mem::take(&mut self.begun);
        self.parts = 0;
        let link = self.link.with(&entry);
        let (found, wanted) = (text("checksum")?, format!("{:08x}", link.checksum));
        if found != wanted {
            return Err(format!("entry {} has the checksum {found}, its bytes have {wanted}", self.link.entries));
        }
        self.writer = Some(text("writer")?.to_owned());
        self.link = link;
        Ok(Some(entry))
    }

    /// Whether the last entry is whole: transactions hold whole ones only.
    pub(super) fn is_between_entries(&self) -> Result<(), String> {
        match self.parts {
            0 => Ok(()),
            parts => Err(format!("entry {} ends after {parts} of its parts", self.link.entries)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(entries: &[Vec<u8>]) -> Vec<Message> {
        let mut link = Link::default();
        let mut written = Vec::new();
        for entry in entries {
            written.extend(messages(link, entry, "me"));
            link = link.with(entry);
        }
        written
    }

    /// What comes of messages: their entries, and the chain behind them.
    #[derive(Debug)]
    struct Read {
        entries: Vec<Vec<u8>>,
        chain: Chain,
    }

    fn read(mut chain: Chain, messages: &[Message]) -> Result<Read, String> {
        let mut entries = Vec::new();
        for message in messages {
            entries.extend(chain.take(&message.seen(0))?);
        }
        chain.is_between_entries().map(|()| Read { entries, chain })
    }

    fn entries() -> Vec<Vec<u8>> {
        vec![b"one".to_vec(), Vec::new(), vec![7; PART_BYTES_MAX], vec![8; PART_BYTES_MAX * 2 + 1], b"five".to_vec()]
    }

    #[test]
    fn entries_of_any_size_are_put_together_again() {
        let messages = written(&entries());
        assert_eq!(messages.len(), 7, "a large one has three parts");
        let Read { entries: found, chain } = read(Chain::default(), &messages).unwrap();
        assert_eq!((found, chain.writer.as_deref(), chain.link.entries), (entries(), Some("me"), 5));
    }

    #[test]
    fn what_is_missing_swapped_doubled_or_changed_is_told() {
        let good = written(&entries());
        for at in 0..good.len() {
            let mut missing = good.clone();
            missing.remove(at);
            // Without its end a log is a shorter log: what was committed is kept by the cluster.
            let is_whole = at == good.len() - 1;
            assert_eq!(read(Chain::default(), &missing).is_ok(), is_whole, "without message {at}");
            let mut doubled = good.clone();
            doubled.insert(at, good[at].clone());
            assert!(read(Chain::default(), &doubled).is_err(), "message {at} twice");
            let mut changed = good.clone();
            changed[at].value.push(1);
            assert!(read(Chain::default(), &changed).is_err(), "message {at} changed");
        }
        let mut swapped = good.clone();
        swapped.swap(0, 1);
        let told = read(Chain::default(), &swapped).unwrap_err();
        assert_eq!(told, "it is part 0 of entry 1, but part 0 of entry 0 comes next");
    }

    #[test]
    fn an_entry_of_another_log_is_told_although_its_number_fits() {
        let mut mixed = written(&entries());
        mixed.truncate(1);
        mixed.push(written(&[b"other".to_vec(), Vec::new()])[1].clone());
        let told = read(Chain::default(), &mixed).unwrap_err();
        assert!(told.starts_with("entry 1 has the checksum "), "{told}");
    }

    #[test]
    fn reading_may_begin_anywhere() {
        let good = written(&entries());
        let first = Link::default().with(b"one");
        let Read { entries, chain } = read(Chain::after(first), &good[1..]).unwrap();
        assert_eq!((entries.len(), chain.link()), (4, read(Chain::default(), &good).unwrap().chain.link()));
        assert_eq!(chain.writer.as_deref(), Some("me"));
    }

    #[test]
    fn a_claim_names_the_writer_and_is_no_entry() {
        let Read { entries, chain } = read(Chain::default(), &[Message::claim("somebody")]).unwrap();
        assert_eq!((chain.writer.as_deref(), entries.len()), (Some("somebody"), 0));
    }

    #[test]
    fn a_message_that_no_log_wrote_is_told() {
        let message = |key: &str, headers| Message { key: key.into(), headers, value: b"text".to_vec() };
        let told = |message| read(Chain::default(), &[message]).unwrap_err();
        assert_eq!(told(message("0", Vec::new())), "it has no header `part`: no log wrote it");
        assert_eq!(told(message("order", Vec::new())), "its key is \"order\", no number");
    }
}
