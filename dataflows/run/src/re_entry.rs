//! The command log of a data folder, and what a running process does when somebody lets dead letters in again.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

use connectors::command_log::{CommandLog, CommandLogError, Commands};
use operators::disk::{Log, LogError};

use super::http::Published;
use dataflows::answer::{Failure, Response, Views};
use dataflows::dead_letters::{DeadLetter, DeadLetters};
use dataflows::re_entry::{DeadLetterId, Refused, accept, read_command};
use dataflows::view::ViewId;

/// How much may be asked at once, in bytes.
pub const ASKED_BYTES_MAX: usize = 16 << 20;

/// How long a request waits for the one before it.
const BUSY_AFTER: Duration = Duration::from_secs(5);

/// Why nothing was let in.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    /// What was asked.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The command log.
    #[error(transparent)]
    Log(#[from] CommandLogError),
    /// Somebody else's commands are not durable yet.
    #[error("the command log waits for whoever keeps it; ask again later")]
    Busy,
}

/// The commands of a data folder, and which letters they are of.
pub struct ReEntries {
    open: Mutex<Open>,
    commands: Commands,
}

struct Open {
    log: CommandLog<Box<dyn Log>>,
    entered: BTreeSet<DeadLetterId>,
}

impl ReEntries {
    /// Reads a command log.
    pub fn open(log: Box<dyn Log>) -> Result<Self, LogError> {
        let log = CommandLog::open(log)?;
        let commands = log.commands();
        let entered = entered(&commands.all());
        Ok(ReEntries { open: Mutex::new(Open { log, entered }), commands })
    }

    /// The commands, also those that are still to come.
    pub fn commands(&self) -> Commands {
        self.commands.clone()
    }

    /// Takes what is asked (see [`accept`]): durable once this returns. Gives the numbers of the commands.
    pub fn enter(&self, asked: &str, find: &dyn Fn(&str, u64) -> Vec<DeadLetter>) -> Result<Range<u64>, EnterError> {
        let mut open = self.locked().ok_or(EnterError::Busy)?;
        let commands = accept(asked, find, &open.entered)?;
        let taken = open.log.append(&commands)?;
        open.entered.extend(commands.iter().filter_map(|command| read_command(command)).map(|(place, _)| place));
        Ok(taken)
    }

    /// The log, unless somebody else has it for long: a cluster that is away holds up one request, not all.
    fn locked(&self) -> Option<MutexGuard<'_, Open>> {
        let began = Instant::now();
        loop {
            match self.open.try_lock() {
                Ok(open) => return Some(open),
                // A thread that panicked ends the process anyway.
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) if began.elapsed() > BUSY_AFTER => return None,
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    /// The answer to a request of somebody who is served what is `published`, which goes on meanwhile.
    pub fn answer(&self, asked: &str, published: &Published) -> Response {
        if !published.read().is_enabled(ViewId::of::<DeadLetters>()) {
            return Failure::view_disabled(ViewId::of::<DeadLetters>()).into_response();
        }
        let find = |partition: &str, offset| letters_at(&published.read(), partition, offset);
        match self.enter(asked, &find) {
            Ok(taken) => Response {
                status: 202,
                body: format!(
                    "{{\"entered\":{},\"first\":{},\"next\":{}}}",
                    taken.end - taken.start,
                    taken.start,
                    taken.end
                ),
            },
            Err(EnterError::Refused(refused)) => Failure::bad_request(refused.to_string()).into_response(),
            Err(error @ (EnterError::Log(_) | EnterError::Busy)) => {
                Failure::not_taken(error.to_string()).into_response()
            }
        }
    }
}

/// The letters that commands let in.
pub fn entered<C: AsRef<[u8]>>(commands: &[C]) -> BTreeSet<DeadLetterId> {
    commands.iter().filter_map(|command| read_command(command.as_ref())).map(|(place, _)| place).collect()
}

/// The letters of a partition at an offset, as they are published.
fn letters_at(views: &Views, partition: &str, offset: u64) -> Vec<DeadLetter> {
    let letters = views.shelf::<DeadLetters>().store();
    let Some(Ok(published)) = letters.published().map(|tick| letters.at(tick)) else { return Vec::new() };
    let wanted = (partition, offset);
    let found = published.matching(|letter| (&*letter.partition, letter.offset).cmp(&wanted));
    found.map(|(letter, _)| letter.clone()).collect()
}
