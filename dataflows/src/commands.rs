//! Commands: what people tell a run while it is there. The trait of their kinds, and the list of them.
//!
//! A command is an entry of the command log: a line of JSON that says who gave it and what it is, and behind that whatever
//! the kind needs. It has a place in the log, its number, and becomes input from there: a replay reads it again.
//!
//! ```text
//! {"digest":"5b1f…","id":"mend-17","principal":"local","re_enter":{"line":3,"offset":412,"partition":"events/0"}}
//! {"tenant":"north","id":"e17", ...}
//! ```
//!
//! * **Id**: whoever gives a command may name it. The same principal's command of the same id is the same command: given again
//!   it changes nothing, and has the same answer. One without a name goes by its number.
//! * **Checked**: a command is held against what is published before it is written. What is in the log is done.
//! * **Once**: a command says what it does that may be done once only, whoever asks ([`Command::once`]).
//! * **Answer**: each of its records has a verdict at a tick, which whoever gave it may wait for.

use std::fmt::Write;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::dead_letters::DeadLetter;
use crate::re_entry::ReEnter;
use crate::view::ViewId;

/// Every kind of command there is: one line each.
pub static KINDS: [Kind; 1] = [Kind::of::<ReEnter>()];

/// How long an id and the name of a principal may be.
const NAME_BYTES_MAX: usize = 64;

/// The principal of commands that nobody signed, as those of builds before there were principals.
pub const LOCAL: &str = "local";

/// Where a command goes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enters {
    /// Its records enter again, each in the partition that lies beside the one it came from.
    ReEntry,
    /// Every worker hears of it at its tick.
    Message,
    /// It becomes an entry of the remap log, which changes what is recorded.
    Entry,
}

/// What a command is checked against.
pub trait Published {
    /// The dead letters of a partition at an offset, as they are published.
    fn dead_letters(&self, partition: &str, offset: u64) -> Vec<DeadLetter>;
    /// Whether a command before this one did what may be done once only.
    fn is_done(&self, what: &[u8]) -> bool;
}

/// A kind of command: one file, and one line in [`KINDS`].
pub trait Command: Sized + 'static {
    /// The key of its content in the header.
    const NAME: &'static str;
    /// What a principal must be allowed to, once principals have limits.
    const SCOPE: &'static str;
    /// Where it is given over HTTP.
    const PATH: &'static str;
    /// The view that it is checked against, without which it can't be given.
    const CHECKED_AGAINST: Option<ViewId>;
    /// Where it goes in.
    const ENTERS: Enters;
    /// The command that is asked for, all of it, if it can be done as things are published.
    fn check(asked: &str, published: &dyn Published) -> Result<Self, Refused>;
    /// Tells everything that it does and that may be done once only, under names that no other kind gives.
    fn once(&self, tell: &mut dyn FnMut(&[u8]));
    /// What each of its records is, in their order, for whoever is told its verdict. A command of one record has it at place 0,
    /// one of several at the places from 1 on.
    fn records(&self) -> Vec<Map<String, Value>>;
    /// Its content for the header, and what lies behind the header.
    fn encode(&self) -> (Value, Vec<u8>);
    /// The command, from both; none where they are no such command. Bytes from anyone.
    fn decode(content: &Value, body: &[u8]) -> Option<Self>;
}

/// Why nothing of what was asked is done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct Refused {
    /// The first line, from 1, that can't be done.
    pub line: usize,
    /// Why, and what to do.
    pub what: String,
}

/// A kind of command, as a value.
pub struct Kind {
    /// Its name.
    pub name: &'static str,
    /// What a principal must be allowed to.
    pub scope: &'static str,
    /// Where it is given over HTTP.
    pub path: &'static str,
    /// The view without which it can't be given.
    pub checked_against: Option<ViewId>,
    /// Where it goes in.
    pub enters: Enters,
    check: fn(&str, &Signature, &dyn Published) -> Result<Draft, Refused>,
    reading: fn(&Value, &[u8]) -> Option<Reading>,
}

/// A command that was checked, and is not in the log.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The entry of the log.
    pub bytes: Vec<u8>,
    /// What it does once only, and what its records are.
    pub reading: Reading,
}

/// What there is to know of a command beside its effect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// What it does that may be done once only.
    pub once: Vec<Vec<u8>>,
    /// What its records are: see [`Command::records`].
    pub records: Vec<Map<String, Value>>,
}

impl Reading {
    fn of(command: &impl Command) -> Self {
        let mut once = Vec::new();
        command.once(&mut |what| once.push(what.to_vec()));
        Reading { once, records: command.records() }
    }
}

/// Who gives a command, and under which name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Who.
    pub principal: String,
    /// The name that the principal gave it.
    pub id: Option<String>,
    /// What was asked, as a hash: another question under the same id is told apart.
    pub digest: String,
}

impl Signature {
    /// The signature of what somebody asks, if its names may be names.
    pub fn new(principal: &str, id: Option<&str>, asked: &str) -> Result<Self, String> {
        for (what, name) in [("a principal", Some(principal)), ("an id", id)] {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
            if !name.is_none_or(|name| (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(fits)) {
                return Err(format!("{what} has 1 to {NAME_BYTES_MAX} letters, digits or any of . _ : -"));
            }
        }
        let digest = Sha256::digest(asked).iter().take(16).fold(String::new(), |mut digest, byte| {
            write!(digest, "{byte:02x}").expect("a string takes whatever is written");
            digest
        });
        Ok(Signature { principal: principal.to_owned(), id: id.map(str::to_owned), digest })
    }
}

impl Kind {
    /// The value of a kind.
    pub const fn of<C: Command>() -> Kind {
        Kind {
            name: C::NAME,
            scope: C::SCOPE,
            path: C::PATH,
            checked_against: C::CHECKED_AGAINST,
            enters: C::ENTERS,
            check: check::<C>,
            reading: reading::<C>,
        }
    }

    /// The kind that is given at a path.
    pub fn at(path: &str) -> Option<&'static Kind> {
        KINDS.iter().find(|kind| kind.path == path)
    }

    /// The value of a kind in the list, by its type.
    ///
    /// # Panics
    /// If it is not in the list: a mistake of ours.
    pub fn listed<C: Command>() -> &'static Kind {
        KINDS.iter().find(|kind| kind.name == C::NAME).expect("a kind of command is in the list")
    }

    /// Checks what somebody asks: a command, or why it can't be done.
    pub fn check(&self, asked: &str, signature: &Signature, published: &dyn Published) -> Result<Draft, Refused> {
        (self.check)(asked, signature, published)
    }
}

fn check<C: Command>(asked: &str, signature: &Signature, published: &dyn Published) -> Result<Draft, Refused> {
    let command = C::check(asked, published)?;
    Ok(Draft { bytes: written(&command, signature), reading: Reading::of(&command) })
}

fn reading<C: Command>(content: &Value, body: &[u8]) -> Option<Reading> {
    C::decode(content, body).map(|command| Reading::of(&command))
}

/// A command as it is written into the command log.
pub fn written<C: Command>(command: &C, signature: &Signature) -> Vec<u8> {
    let (content, body) = command.encode();
    let mut header = Map::new();
    header.insert(C::NAME.to_owned(), content);
    header.insert("principal".to_owned(), signature.principal.clone().into());
    if let Some(id) = &signature.id {
        header.insert("id".to_owned(), id.clone().into());
        header.insert("digest".to_owned(), signature.digest.clone().into());
    }
    let mut header = Value::Object(header);
    header.sort_all_objects();
    let mut bytes = header.to_string().into_bytes();
    bytes.push(b'\n');
    bytes.extend_from_slice(&body);
    bytes
}

/// An entry of the command log, as it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Who gave it, and under which name.
    pub signature: Signature,
    /// What there is to know of it; nothing of a kind that this build does not know.
    pub reading: Reading,
}

/// Reads an entry of the command log. Bytes from anyone: what is no command is none of ours.
pub fn read(entry: &[u8]) -> Option<Logged> {
    let end = entry.iter().position(|byte| *byte == b'\n')?;
    let header: Map<String, Value> = serde_json::from_slice(&entry[..end]).ok()?;
    let text = |name: &str| header.get(name).and_then(Value::as_str).map(str::to_owned);
    let signature = Signature {
        principal: text("principal").unwrap_or_else(|| LOCAL.to_owned()),
        id: text("id"),
        digest: text("digest").unwrap_or_default(),
    };
    let reading = KINDS.iter().find_map(|kind| (kind.reading)(header.get(kind.name)?, &entry[end + 1..]));
    Some(Logged { signature, reading: reading.unwrap_or_default() })
}

#[cfg(test)]
mod tests;
