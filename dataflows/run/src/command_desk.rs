//! The command desk of a data folder: where commands are handed in, checked, made durable, and answered.
//!
//! ```text
//! request -> CommandDesk: known by its id? else checked -> CommandWriter (in groups) -> command log -> readers -> ticks
//!     <- answer -- Answers <- publisher: what became of each record, once its tick is visible
//! ```
//!
//! In memory are of every command 8 bytes for what it did once only (a letter that entered), and of the newest 262,144 with
//! a name of their own about 50; of answers those of the newest 262,144 records. An id that was forgotten is that of a new
//! command: what may be done once only is not done twice all the same.

mod answered;
mod answers;
mod memory;
mod request;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use connectors::command_log::{CommandLogError, CommandWriter, Commands, PAGE_BYTES, Piece};
use connectors::data_folder::DataFolder;
use operators::outcome::Outcome;
use operators::time::Tick;
use serde_json::{Map, Value};

use super::engine::lock;
use super::logs::{Logs, LogsError};
use answers::Answers;
use dataflows::commands::{Kind, Published, Refused, Signature};
use dataflows::configuration::{PartitionInput, Plan};
use dataflows::dead_letters::DeadLetter;

pub use answered::Answered;
pub use answers::RecordAnswer;
pub use memory::CommandMemory;
pub use request::{ASKED_BYTES_MAX, answer};

/// How long a command may take to become durable before whoever gave it is told that it is not known.
const DURABLE_WITHIN: Duration = Duration::from_secs(5);

/// Why a command was not taken.
#[derive(Debug, thiserror::Error)]
pub enum HandInError {
    /// What was asked.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Another command has its id.
    #[error("the id {id} is that of command {number}, which asked for something else; give this one another id")]
    OtherCommand {
        /// The id.
        id: String,
        /// The number of the other one.
        number: u64,
    },
    /// The command log.
    #[error(transparent)]
    Log(#[from] CommandLogError),
    /// What became of it is not known.
    #[error("the command log waits for whoever keeps it; ask again later, with the same id if you gave one")]
    Unknown,
    /// The run ends.
    #[error("the run is ending and takes no more commands; ask again later")]
    Closed,
}

/// A command that is durable.
#[derive(Clone, Debug, PartialEq)]
pub struct Receipt {
    /// Its number in the command log.
    pub number: u64,
    /// What its records are.
    pub records: Vec<Map<String, Value>>,
}

/// What a process says when the remap log binds commands that the command log does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the command log ({log}) ends at offset {end}, but the remap log binds commands up to offset {bound}: it was cut; \
     restore it from a copy, or start again with --fresh"
)]
pub struct CommandsCut {
    /// Where it is.
    pub log: String,
    /// How many commands it has.
    pub end: u64,
    /// How many are bound.
    pub bound: u64,
}

/// Whether the command log has every command that was bound; `next` is by partition the offset that comes next.
pub fn check_bound(plan: &Plan, next: &[u64], end: u64, log: String) -> Result<(), CommandsCut> {
    let of_commands = plan.partitions.iter().zip(next);
    let of_commands = of_commands.filter(|(partition, _)| matches!(partition.input, PartitionInput::ReEntry { .. }));
    match of_commands.map(|(_, next)| *next).max() {
        Some(bound) if bound > end => Err(CommandsCut { log, end, bound }),
        _ => Ok(()),
    }
}

/// The desk of the process that has a data folder.
pub struct CommandDesk {
    open: Mutex<OpenDesk>,
    commands: Commands,
    answers: Answers,
}

struct OpenDesk {
    /// None once the run ends.
    writer: Option<CommandWriter>,
    memory: CommandMemory,
}

/// What a command is checked against: the letters that are published, and what was done before.
struct Known<'a> {
    letters: &'a dyn Fn(&str, u64) -> Vec<DeadLetter>,
    memory: &'a CommandMemory,
}

impl Published for Known<'_> {
    fn dead_letters(&self, partition: &str, offset: u64) -> Vec<DeadLetter> {
        (self.letters)(partition, offset)
    }
    fn is_done(&self, what: &[u8]) -> bool {
        self.memory.is_done(what)
    }
}

impl CommandDesk {
    /// Opens the command log of a data folder: it is read once.
    pub fn open(logs: &Logs, folder: &DataFolder) -> Result<Arc<Self>, LogsError> {
        let mut memory = CommandMemory::default();
        let (log, reader) = logs.commands(folder.path(), &mut |number, entry| memory.remember(number, entry))?;
        let commands = Commands::of_log(memory.end(), reader);
        let writer = Some(CommandWriter::start(log, commands.clone()));
        let open = Mutex::new(OpenDesk { writer, memory });
        Ok(Arc::new(CommandDesk { open, commands, answers: Answers::default() }))
    }

    /// The commands, also those that are still to come.
    pub fn commands(&self) -> Commands {
        self.commands.clone()
    }

    /// Takes a command: it is durable once this returns. The same one again, by its id, is not taken twice. `letters` finds the
    /// dead letters of a partition at an offset.
    pub fn hand_in(
        &self,
        kind: &Kind,
        signature: &Signature,
        asked: &str,
        letters: &dyn Fn(&str, u64) -> Vec<DeadLetter>,
    ) -> Result<Receipt, HandInError> {
        let mut open = lock(&self.open);
        if let Some(number) = open.memory.number_of(signature) {
            drop(open);
            if let Some(receipt) = self.receipt_of(number, signature)? {
                return Ok(receipt);
            }
            open = lock(&self.open);
        }
        let OpenDesk { writer, memory } = &mut *open;
        let writer = writer.as_mut().ok_or(HandInError::Closed)?;
        let draft = kind.check(asked, signature, &Known { letters, memory })?;
        let number = writer.submit(draft.bytes)?;
        memory.take(number, signature, &draft.reading);
        drop(open);
        self.wait_until_durable(number)?;
        Ok(Receipt { number, records: draft.reading.records })
    }

    fn wait_until_durable(&self, number: u64) -> Result<(), HandInError> {
        match self.commands.wait_for(number, Instant::now() + DURABLE_WITHIN)? {
            true => Ok(()),
            false => Err(HandInError::Unknown),
        }
    }

    /// The receipt of a command that was given before; none where it turns out to be another one's.
    fn receipt_of(&self, number: u64, signature: &Signature) -> Result<Option<Receipt>, HandInError> {
        self.wait_until_durable(number)?;
        let page = match self.commands.read(number, PAGE_BYTES) {
            Ok(Piece::Commands(page)) => page,
            Ok(Piece::End | Piece::Coming) => return Err(HandInError::Unknown),
            Err(error) => return Err(CommandLogError::Failed { what: error.to_string() }.into()),
        };
        let logged = page.first().and_then(|entry| dataflows::commands::read(entry));
        // Ids are remembered by their hash.
        let same = |logged: &Signature| logged.principal == signature.principal && logged.id == signature.id;
        let Some(logged) = logged.filter(|logged| same(&logged.signature)) else { return Ok(None) };
        if logged.signature.digest != signature.digest {
            let id = signature.id.clone().unwrap_or_default();
            return Err(HandInError::OtherCommand { id, number });
        }
        Ok(Some(Receipt { number, records: logged.reading.records }))
    }

    /// What became of each record of a command, in their order, once all is known; none where time runs out before, where it
    /// was forgotten, or where the run ends.
    pub fn wait_for_answer(&self, receipt: &Receipt, wait: Duration) -> Option<Vec<RecordAnswer>> {
        self.answers.wait(receipt.number, receipt.records.len(), wait)
    }

    /// Hears what became of records in a tick that is visible and durable now.
    pub fn hear(&self, tick: Tick, outcomes: Vec<Outcome>) {
        self.answers.hear(tick, outcomes);
    }

    /// Takes no more commands, lets whoever waits go on, and returns once the log is written no more.
    pub fn close(&self) {
        self.answers.close();
        let writer = lock(&self.open).writer.take();
        drop(writer);
    }
}

#[cfg(test)]
mod tests;
