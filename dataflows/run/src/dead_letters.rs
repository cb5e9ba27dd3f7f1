//! `aisle dead-letters`: what is no record, from the change files of a data folder, and how it comes in again.
//!
//! Listing reads files only, so it works beside a running process and without one. Letting letters in again goes through
//! the process that has the folder, where there is one; otherwise the command log is written here, and the next run reads it.

mod error;
mod re_enter;

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use super::command_desk::CommandMemory;
use super::job::{folder_of, read_settings};
use super::logs::{Logs, is_data_folder};
use super::terminal::{visible, visible_json};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use dataflows::dead_letters::{DeadLetter, DeadLetters};
use dataflows::re_entry::{DeadLetterId, as_json};
use dataflows::view::View;

pub use error::DeadLettersError;
use re_enter::{Giving, re_enter};

/// How much of a letter's detail and text a line of the listing shows, in characters.
const SHOWN_CHARS_MAX: usize = 60;

/// What to do with dead letters.
#[derive(Debug, Subcommand)]
pub(super) enum DeadLettersCommand {
    /// List the letters that have not expired, a line each.
    List {
        #[command(flatten)]
        which: Which,
        /// One JSON object a line, with the whole text: repair "record" and give the lines to `re-enter`.
        #[arg(long)]
        json: bool,
        /// The most that are shown.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Show the letters of a partition at an offset, with their whole text.
    Show {
        /// The data folder.
        folder: PathBuf,
        /// The partition, such as events/0.
        partition: String,
        /// The offset there.
        offset: u64,
        /// A configuration that says where Kafka is, if the logs are in topics.
        #[arg(long)]
        configuration: Option<PathBuf>,
    },
    /// Let letters in again. They pass no lateness rule but one: what is sealed stays sealed.
    ReEnter {
        #[command(flatten)]
        which: Which,
        /// Lines of JSON as `list --json` prints them; `-` is standard input. A letter whose "record" is missing enters as it
        /// was.
        #[arg(long, conflicts_with_all = ["partition", "code"])]
        letters: Option<PathBuf>,
        /// The process that has the data folder, if not where it said.
        #[arg(long)]
        url: Option<String>,
        #[command(flatten)]
        giving: Giving,
    },
}

/// Which letters.
#[derive(Args, Debug)]
pub(super) struct Which {
    /// The data folder.
    folder: PathBuf,
    /// Only those of this partition, such as events/0.
    #[arg(long)]
    partition: Option<String>,
    /// Only those with this code, such as future.
    #[arg(long)]
    code: Option<String>,
    /// A configuration that says where Kafka is, if the logs are in topics.
    #[arg(long)]
    configuration: Option<PathBuf>,
}

impl DeadLettersCommand {
    pub(super) fn obey(self, input: &mut impl Read, output: &mut impl Write) -> Result<(), DeadLettersError> {
        match self {
            DeadLettersCommand::List { which, json, limit } => list(&which, json, limit, output),
            DeadLettersCommand::Show { folder, partition, offset, configuration } => {
                let entered = entered_letters(&folder, configuration.as_deref())?;
                show(&folder, &entered, &partition, offset, output)
            }
            DeadLettersCommand::ReEnter { which, letters, url, giving } => {
                let asked = match letters {
                    Some(path) => read_asked(&path, input)?,
                    None => asked_by(&which)?,
                };
                re_enter(&which, url, &giving, &asked, output)
            }
        }
    }
}

fn list(which: &Which, json: bool, limit: usize, output: &mut impl Write) -> Result<(), DeadLettersError> {
    let (letters, entered) = (letters(&which.folder)?, which.entered()?);
    let letters: Vec<DeadLetter> = letters.into_iter().filter(|letter| which.fits(letter)).collect();
    let mut text = String::new();
    for letter in letters.iter().take(limit) {
        let is_entered = entered.is_done(&place_of(letter).entering());
        match json {
            true => text.push_str(&visible_json(&as_json(letter, is_entered))),
            false => text.push_str(&line_of(letter, is_entered)),
        }
        text.push('\n');
    }
    if !json {
        let more = letters.len().saturating_sub(limit);
        let more = if more > 0 { format!(", {more} of them not shown (--limit)") } else { String::new() };
        text.push_str(&format!("{} dead letters{more}\n", letters.len()));
    }
    write(output, &text)
}

fn show(
    folder: &Path,
    entered: &CommandMemory,
    partition: &str,
    offset: u64,
    output: &mut impl Write,
) -> Result<(), DeadLettersError> {
    let mut found = letters(folder)?;
    found.retain(|letter| letter.partition == partition && letter.offset == offset);
    if found.is_empty() {
        return Err(DeadLettersError::NoneLeft);
    }
    let mut text = String::new();
    for letter in &found {
        let again = if entered.is_done(&place_of(letter).entering()) { "yes" } else { "no" };
        text.push_str(&format!(
            "partition   {}\noffset      {}\nline        {}\nfrom        {}\ncode        {}\ndetail      {}\nre-entered  {again}\n\n{}\n\n",
            letter.partition,
            letter.offset,
            letter.line,
            letter.file,
            letter.code,
            letter.detail,
            String::from_utf8_lossy(&raw(letter)),
        ));
    }
    write(output, &visible(&text))
}

fn read_asked(path: &Path, input: &mut impl Read) -> Result<String, DeadLettersError> {
    let mut asked = String::new();
    let read = match path == Path::new("-") {
        true => input.read_to_string(&mut asked),
        false => File::open(path).and_then(|mut file| file.read_to_string(&mut asked)),
    };
    read.map_err(|source| DeadLettersError::Unreadable { path: path.to_owned(), source })?;
    Ok(asked)
}

/// Every letter that fits and has not entered, as it was.
fn asked_by(which: &Which) -> Result<String, DeadLettersError> {
    if which.partition.is_none() && which.code.is_none() {
        return Err(DeadLettersError::NotSaid);
    }
    let (letters, entered) = (letters(&which.folder)?, which.entered()?);
    let is_chosen = |letter: &&DeadLetter| which.fits(letter) && !entered.is_done(&place_of(letter).entering());
    let chosen = letters.iter().filter(is_chosen);
    let lines = chosen.map(|DeadLetter { partition, offset, line, .. }| {
        format!("{}\n", serde_json::json!({ "partition": partition, "offset": offset, "line": line }))
    });
    let asked: String = lines.collect();
    if asked.is_empty() { Err(DeadLettersError::NoneLeft) } else { Ok(asked) }
}

impl Which {
    /// The letters that entered before.
    fn entered(&self) -> Result<CommandMemory, DeadLettersError> {
        entered_letters(&self.folder, self.configuration.as_deref())
    }

    fn fits(&self, letter: &DeadLetter) -> bool {
        self.partition.as_ref().is_none_or(|partition| letter.partition == partition)
            && self.code.as_ref().is_none_or(|code| letter.code == code)
    }
}

fn place_of(letter: &DeadLetter) -> DeadLetterId {
    DeadLetterId { partition: letter.partition.to_string(), offset: letter.offset, line: letter.line }
}

fn raw(letter: &DeadLetter) -> Vec<u8> {
    STANDARD.decode(&letter.raw).unwrap_or_default()
}

fn line_of(letter: &DeadLetter, is_entered: bool) -> String {
    let short = |text: &str| {
        let mut short = visible(text).replace(['\n', '\t'], " ");
        if let Some((at, _)) = short.char_indices().nth(SHOWN_CHARS_MAX) {
            short.truncate(at);
            short.push('…');
        }
        short
    };
    let DeadLetter { partition, offset, line, code, detail, .. } = letter;
    let again = if is_entered { "  (re-entered)" } else { "" };
    let (partition, code) = (visible(partition), visible(code));
    format!(
        "{partition} {offset}:{line}  {code}: {}  {}{again}",
        short(detail),
        short(&String::from_utf8_lossy(&raw(letter)))
    )
}

/// The letters of a data folder that have not expired, in canonical order, as its change files say.
fn letters(folder: &Path) -> Result<Vec<DeadLetter>, DeadLettersError> {
    if !is_data_folder(folder) {
        return Err(DeadLettersError::NoFolder { folder: folder.to_owned() });
    }
    let mut copies: HashMap<DeadLetter, i64> = HashMap::new();
    let mut shard = 0;
    loop {
        let path = folder.join(format!("sinks/{}/shard-{shard}.ndjson", DeadLetters::NAME));
        match File::open(&path) {
            Ok(file) => add_changes(&path, BufReader::new(file), &mut copies)?,
            Err(error) if error.kind() == ErrorKind::NotFound && shard > 0 => break,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(DeadLettersError::NoLetters { folder: folder.to_owned() });
            }
            Err(source) => return Err(DeadLettersError::Unreadable { path, source }),
        }
        shard += 1;
    }
    let mut letters: Vec<DeadLetter> =
        copies.into_iter().filter(|(_, copies)| *copies > 0).map(|(letter, _)| letter).collect();
    letters.sort_unstable();
    Ok(letters)
}

fn add_changes(
    path: &Path,
    mut file: impl BufRead,
    copies: &mut HashMap<DeadLetter, i64>,
) -> Result<(), DeadLettersError> {
    #[derive(serde::Deserialize)]
    struct Change {
        diff: Option<i64>,
        row: Option<DeadLetter>,
    }
    let mut text = Vec::new();
    for line in 1.. {
        text.clear();
        let unreadable = |source| DeadLettersError::Unreadable { path: path.to_owned(), source };
        file.read_until(b'\n', &mut text).map_err(unreadable)?;
        // A last line without its end is being written.
        if !text.ends_with(b"\n") {
            break;
        }
        let damaged = |error: serde_json::Error| DeadLettersError::Damaged {
            path: path.to_owned(),
            line,
            what: error.to_string(),
        };
        let Change { diff, row } = serde_json::from_slice(&text).map_err(damaged)?;
        // Other lines say how far the file is.
        if let (Some(diff), Some(letter)) = (diff, row) {
            let held = copies.entry(letter).or_insert(0);
            *held += diff;
        }
    }
    // What has expired is most of an old file.
    copies.retain(|_, held| *held != 0);
    Ok(())
}

/// The letters that entered before, as the command log says right now; another process may be writing to it.
fn entered_letters(folder: &Path, configuration: Option<&Path>) -> Result<CommandMemory, DeadLettersError> {
    let mut memory = CommandMemory::default();
    logs_of(folder, configuration)?.read_commands(folder, &mut |number, entry| memory.remember(number, entry))?;
    Ok(memory)
}

/// Where a data folder keeps its logs.
fn logs_of(folder: &Path, configuration: Option<&Path>) -> Result<Logs, DeadLettersError> {
    let settings = configuration.map(read_settings).transpose();
    let settings = settings.map_err(|error| DeadLettersError::Configuration(Box::new(error)))?;
    let kafka = settings.and_then(|settings| settings.local.kafka);
    let relative_to = configuration.map(folder_of).unwrap_or_default();
    Ok(Logs::of_folder(folder, kafka.as_ref().map(|kafka| (kafka, relative_to.as_path())))?)
}

fn write(output: &mut impl Write, text: &str) -> Result<(), DeadLettersError> {
    match output.write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(DeadLettersError::Unwritable(error)),
        _ => Ok(()),
    }
}
