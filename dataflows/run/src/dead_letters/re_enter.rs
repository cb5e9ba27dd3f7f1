//! How dead letters come in again: through the process that has the data folder, or by its command log.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io::Write;

use clap::Args;
use connectors::data_folder::{DataFolder, DataFolderError};
use connectors::http_client;
use operators::timekeeper::read_bindings;

use super::{DeadLettersError, Which, letters, logs_of, write};
use crate::command_desk::{ASKED_BYTES_MAX, CommandDesk, check_bound};
use crate::job::{ADDRESS, recorded_plans};
use crate::terminal::visible;
use dataflows::commands::{Command, Kind, LOCAL, Signature};
use dataflows::dead_letters::DeadLetter;
use dataflows::re_entry::ReEnter;

/// How many letters are shown that entered and were not on time.
const ANSWERS_SHOWN_MAX: usize = 20;

/// How long an answer may be, in bytes.
const ANSWER_BYTES_MAX: u64 = 256 << 20;

/// How a command is given.
#[derive(Args, Debug)]
pub(crate) struct Giving {
    /// A name for the command: given again under the same name, it changes nothing and has the same answer.
    #[arg(long)]
    id: Option<String>,
    /// Who gives it.
    #[arg(long, default_value = LOCAL)]
    principal: String,
    /// How long to wait for what becomes of the letters, in milliseconds.
    #[arg(long, default_value_t = 10_000)]
    wait_ms: u64,
}

/// Lets letters in again, and prints what became of them.
pub(super) fn re_enter(
    which: &Which,
    url: Option<String>,
    giving: &Giving,
    asked: &str,
    output: &mut impl Write,
) -> Result<(), DeadLettersError> {
    let folder = &which.folder;
    if asked.len() > ASKED_BYTES_MAX {
        return Err(DeadLettersError::TooMany { bytes: asked.len() });
    }
    match (url, DataFolder::open(folder, false)) {
        (None, Ok((data, _))) => {
            let count = write_command(which, &data, giving, asked)?;
            write(output, &format!("{count} letters enter with the next run of {}\n", folder.display()))
        }
        (Some(url), _) => post(&url, giving, asked, output),
        (None, Err(DataFolderError::InUse { .. })) => {
            let path = folder.join(ADDRESS);
            let url = std::fs::read_to_string(&path);
            post(&url.map_err(|source| DeadLettersError::Unreadable { path, source })?, giving, asked, output)
        }
        (None, Err(error)) => Err(error.into()),
    }
}

/// Writes a command into the log of a folder that no process has; gives how many letters it lets in.
fn write_command(which: &Which, data: &DataFolder, giving: &Giving, asked: &str) -> Result<usize, DeadLettersError> {
    let mut by_place: BTreeMap<(String, u64), Vec<DeadLetter>> = BTreeMap::new();
    for letter in letters(&which.folder)? {
        by_place.entry((letter.partition.to_string(), letter.offset)).or_default().push(letter);
    }
    let find = |partition: &str, offset| by_place.get(&(partition.to_owned(), offset)).cloned().unwrap_or_default();
    let signature = Signature::new(&giving.principal, giving.id.as_deref(), asked);
    let signature = signature.map_err(DeadLettersError::Name)?;
    let kind = Kind::listed::<ReEnter>();
    let logs = logs_of(&which.folder, which.configuration.as_deref())?;
    let desk = CommandDesk::open(&logs, data)?;
    let mut remap = logs.copy_of_remap(&data.disk())?;
    let recorded = recorded_plans(&mut remap).map_err(|error| DeadLettersError::Configuration(Box::new(error)))?;
    if let Some((_, plan)) = recorded {
        let bindings = read_bindings(&mut remap, &plan.topology);
        let bindings = bindings.map_err(|error| DeadLettersError::Configuration(Box::new(error.into())))?;
        let mut next = vec![0; plan.partitions.len()];
        bindings.iter().flat_map(|binding| &binding.advances).for_each(|advance| {
            next[advance.partition.0 as usize] = advance.next;
        });
        check_bound(&plan, &next, desk.commands().end().unwrap_or(0), logs.commands_name())?;
    }
    let receipt = desk.hand_in(kind, &signature, asked, &find)?;
    desk.close();
    Ok(receipt.records.len())
}

fn post(url: &str, giving: &Giving, asked: &str, output: &mut impl Write) -> Result<(), DeadLettersError> {
    let Giving { id, principal, wait_ms } = giving;
    // A name of its own, so that the process knows it again if it has to be asked twice.
    let id = id.clone().unwrap_or_else(|| format!("{:016x}", RandomState::new().hash_one(asked)));
    let url = format!("{}{}", url.trim_end_matches('/'), ReEnter::PATH);
    let request = http_client::agent(&url)
        .post(&url)
        .query("id", &id)
        .query("principal", principal)
        .query("wait_ms", wait_ms.to_string());
    let unreachable = |source| DeadLettersError::Unreachable { url: url.clone(), source: Box::new(source) };
    let mut response = request.content_type("application/x-ndjson").send(asked).map_err(unreachable)?;
    let status = response.status().as_u16();
    let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string().map_err(unreachable)?;
    let answer: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
    match status {
        200 => write(output, &visible(&answer_as_text(&answer))),
        202 => write(
            output,
            &format!(
                "{} letters enter now, by command {}; their tick is not there yet: ask again with --id {id}\n",
                answer["entered"], answer["command"]
            ),
        ),
        _ => {
            let message = answer["error"]["message"].as_str().unwrap_or(&body).to_owned();
            Err(DeadLettersError::Refused { url, status, message })
        }
    }
}

/// What became of the letters: how many there are of each verdict, then each that did not come in on time.
fn answer_as_text(answer: &serde_json::Value) -> String {
    let records = answer["records"].as_array().map(Vec::as_slice).unwrap_or_default();
    let verdict_of = |record: &serde_json::Value| record["verdict"].as_str().unwrap_or("?").replace('_', " ");
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    records.iter().for_each(|record| *counts.entry(verdict_of(record)).or_default() += 1);
    let counts: Vec<String> = counts.iter().map(|(verdict, count)| format!("{count} {verdict}")).collect();
    let mut text =
        format!("{} letters entered by command {}: {}\n", records.len(), answer["command"], counts.join(", "));
    let others = records.iter().filter(|record| record["verdict"] != "on_time");
    for record in others.clone().take(ANSWERS_SHOWN_MAX) {
        let (partition, code) = (record["partition"].as_str().unwrap_or("?"), record["code"].as_str());
        let code = code.map_or_else(String::new, |code| format!(": {code}"));
        let (offset, tick) = (&record["offset"], &record["tick"]);
        text.push_str(&format!(
            "{partition} {offset}:{}  {} at tick {tick}{code}\n",
            record["line"],
            verdict_of(record)
        ));
    }
    match others.count().saturating_sub(ANSWERS_SHOWN_MAX) {
        0 => text,
        more => text + &format!("and {more} more that were not on time\n"),
    }
}
