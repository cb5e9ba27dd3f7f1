//! `aisle replay`: the same run again from its two logs, every output byte compared.
//!
//! The configuration is the one that was recorded; the file on disk is not looked at. Outputs go to a folder of their own
//! beside the data, are compared file by file, and are removed. Files of history are compared where they are: in the data
//! folder, or where a configuration that is given says; those that retention deleted are not.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use connectors::command_log::Commands;
use connectors::data_folder::DataFolder;
use connectors::local_disk::LocalDisk;
use operators::minter::MinterOptions;
use operators::timekeeper::Timekeeper;

use super::brokers::Brokers;
use super::command_desk::check_bound;
use super::engine::{Engine, InputOptions, Publish, Workers};
use super::history::{History, Kept};
use super::inputs;
use super::job::{BUILD, INPUTS, RunError, folder_of, graph_plan, read_settings, recorded_plans};
use super::logs::{Logs, REMAP_LOG, is_data_folder};
use super::outputs::Outputs;
use super::outputs::change_files::ChangeFiles;
use super::schema_lookup::SchemaLookup;
use super::terminal::say;
use dataflows::configuration::{ArchiveSettings, Plan};

#[cfg(feature = "kafka")]
pub mod messages;

/// What a replay found.
#[derive(Debug, PartialEq, Eq)]
pub enum Compared {
    /// Every output is the same.
    Same {
        /// Files.
        files: usize,
        /// Bytes.
        bytes: u64,
        /// Ticks.
        ticks: u64,
    },
    /// The first difference.
    Differs {
        /// The file.
        file: String,
        /// Its first byte that differs.
        byte: u64,
        /// The line that was written, and the line of the replay.
        lines: Box<[String; 2]>,
    },
    /// It was interrupted.
    Interrupted,
}

/// Where history is in a data folder, unless the configuration says otherwise.
const HISTORY: &str = "history";

/// How long a line may be that is shown.
const LINE_CHARS_MAX: usize = 400;

/// What is replayed.
#[derive(Clone, Copy, Debug)]
pub struct Replay<'a> {
    /// The data folder.
    pub folder: &'a Path,
    /// Where the input files are, if not where they were.
    pub inputs: Option<&'a Path>,
    /// A configuration that says where Kafka is, if there are topics to read, or logs in topics, and where history is, if not in
    /// the data folder. Nothing else is taken of it.
    pub configuration: Option<&'a Path>,
    /// Worker threads.
    pub workers: usize,
}

/// Replays a data folder and compares its change files.
pub fn replay(replay: &Replay<'_>, interrupted: &AtomicBool) -> Result<Compared, RunError> {
    let folder = replay.folder;
    let scratch = folder.join("replay");
    let given = replay.configuration.map(read_settings).transpose()?;
    let here = ArchiveSettings { to: HISTORY.to_owned(), endpoint: None, retention_ms: i64::MAX };
    let archive = given.map_or_else(|| here.clone(), |settings| settings.local.archive);
    let (mut names, mut kept) = (Vec::new(), None);
    let replayed = again(replay, interrupted, |recorded| {
        if scratch.exists() {
            std::fs::remove_dir_all(&scratch)?;
        }
        let files = ChangeFiles::open(LocalDisk::new(&scratch), recorded.plan)?;
        names.extend(files.names());
        let run = super::recovery::run_of(recorded.first);
        let history = match recorded.plan.recorded.history.kept {
            true if crate::BUILT.history => {
                kept = Some(Kept::open(&archive, folder, run)?);
                History::open(&here, &scratch, recorded.plan, run, recorded.ticks, true)?
            }
            true => {
                say("its history is not compared: that needs a build with the feature `history`");
                None
            }
            false => None,
        };
        let follower = history.as_ref().map(|history| history.follower(recorded.plan));
        let outputs = Outputs::default().with(files).with_all(follower.into_iter().collect());
        Ok((Box::new(outputs), history))
    })?;
    let compared = match replayed {
        Replayed::Ended { ticks } => compare(folder, &scratch, &names, kept.as_ref(), ticks)?,
        Replayed::Interrupted => Compared::Interrupted,
    };
    std::fs::remove_dir_all(&scratch)
        .or_else(|error| if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) })?;
    if let Some(kept) = kept.filter(|kept| kept.names.is_empty()) {
        say(&format!(
            "its history was not compared, since none of it is in {}; where it is elsewhere, give the run's --configuration",
            kept.shown
        ));
    }
    Ok(compared)
}

/// What a data folder recorded.
struct RunRecord<'a> {
    /// The plan of its first tick.
    first: &'a Plan,
    /// The newest one.
    plan: &'a Plan,
    /// How many ticks there are.
    ticks: u64,
}

/// How a replay ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Replayed {
    Ended { ticks: u64 },
    Interrupted,
}

/// Replays a data folder into what `publish` makes of its recorded plan. An empty folder is replayed at once.
fn again(
    replay: &Replay<'_>,
    interrupted: &AtomicBool,
    publish: impl FnOnce(&RunRecord<'_>) -> Result<(Box<dyn Publish>, Option<History>), RunError>,
) -> Result<Replayed, RunError> {
    let Replay { folder, inputs: inputs_folder, configuration, workers } = *replay;
    if !is_data_folder(folder) {
        let source = std::io::Error::new(
            std::io::ErrorKind::NotFound,
            format!("there is no {REMAP_LOG} in it: is it a data folder of `aisle run`?"),
        );
        return Err(RunError::Unreadable { path: folder.to_owned(), source });
    }
    let (data, _) = DataFolder::open(folder, false)?;
    let kafka = configuration.map(read_settings).transpose()?.and_then(|settings| settings.local.kafka);
    let kafka_folder = configuration.map(folder_of).unwrap_or_default();
    let logs = Logs::of_folder(folder, kafka.as_ref().map(|kafka| (kafka, kafka_folder.as_path())))?;
    let mut log = logs.copy_of_remap(&data.disk())?;
    // The newest plan has every partition, of which the earlier ticks name those that there were.
    let Some((first, plan)) = recorded_plans(&mut log)? else { return Ok(Replayed::Ended { ticks: 0 }) };
    let recorded = std::fs::read_to_string(folder.join(INPUTS)).map(PathBuf::from);
    let inputs_folder = match inputs_folder {
        Some(given) => given.to_owned(),
        None => recorded.map_err(|source| RunError::Unreadable { path: folder.join(INPUTS), source })?,
    };
    let options = MinterOptions::default();
    let mut commands_end = 0;
    let reader = logs.read_commands(data.path(), &mut |number, _| commands_end = number + 1)?;
    let commands = Commands::of_log(commands_end, reader);
    let timekeeper = Timekeeper::open(log, &plan.topology, options, 4, plan.configuration(BUILD))?.replay_only();
    let ticks = timekeeper.durable();
    let end = timekeeper.position_at(ticks).expect("a log has a position at its end");
    check_bound(&plan, &end.next, commands_end, logs.commands_name())?;
    let schema_lookup = SchemaLookup::nobody(timekeeper.answers(), end);
    let (output, history) = publish(&RunRecord { first: &first, plan: &plan, ticks })?;
    let workers = Workers { threads: workers, addresses: Vec::new(), process: 0 };
    let brokers = Brokers::of_plan(&plan, kafka.as_ref(), &kafka_folder)?;
    let sources = inputs::sources(&plan, &inputs_folder, &brokers, &schema_lookup, &commands)?;
    let engine = Engine::start(
        &graph_plan(&plan),
        &workers,
        sources,
        &InputOptions { from: plan.first_offsets(), ..InputOptions::new(4 << 20, plan.partitions.len(), Vec::new()) },
        Some(timekeeper),
        output,
    )?;
    let (started, mut told) = (Instant::now(), Duration::ZERO);
    while !engine.has_ended() && !engine.has_failed() && !interrupted.load(Ordering::Acquire) {
        std::thread::sleep(Duration::from_millis(20));
        if started.elapsed() > told + Duration::from_secs(2) {
            told = started.elapsed();
            say(&format!("replaying {ticks} ticks, {} s so far", told.as_secs()));
        }
    }
    let ended = engine.has_ended();
    if !ended {
        history.iter().for_each(History::give_up);
    }
    engine.stop()?;
    history.map_or(Ok(()), |history| history.finish(interrupted))?;
    Ok(if ended { Replayed::Ended { ticks } } else { Replayed::Interrupted })
}

fn compare(
    folder: &Path,
    scratch: &Path,
    names: &[String],
    kept: Option<&Kept>,
    ticks: u64,
) -> Result<Compared, RunError> {
    type Pair = (String, Vec<u8>, Vec<u8>);
    let changes = names.iter().map(|name| -> Result<Pair, RunError> {
        Ok((name.clone(), read(&folder.join(name))?, read(&scratch.join(name))?))
    });
    let history = kept.into_iter().flat_map(|kept| kept.names.iter().map(move |name| (kept, name)));
    let history = history.map(|(kept, name)| {
        let path = kept.path(name);
        Ok((format!("{}/{path}", kept.shown), kept.bytes(name)?, read(&scratch.join(HISTORY).join(path))?))
    });
    let (mut files, mut bytes) = (0, 0);
    for compared in changes.chain(history) {
        let (file, written, again) = compared?;
        // A run that was stopped may not have written its last ticks yet: it will when it goes on. More is a difference.
        let upto = written.len().min(again.len());
        let differs = written[..upto].iter().zip(&again[..upto]).position(|(left, right)| left != right);
        let byte = differs.or_else(|| (written.len() > again.len()).then_some(upto));
        if let Some(byte) = byte {
            let lines = Box::new([line_at(&written, byte), line_at(&again, byte)]);
            return Ok(Compared::Differs { file, byte: byte as u64, lines });
        }
        files += 1;
        bytes += written.len() as u64;
    }
    Ok(Compared::Same { files, bytes, ticks })
}

fn read(path: &Path) -> Result<Vec<u8>, RunError> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => drop(BufReader::new(file).read_to_end(&mut bytes)?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    Ok(bytes)
}

/// The line that has the byte; of what is no text, some bytes from there.
fn line_at(bytes: &[u8], byte: usize) -> String {
    let from = bytes[..byte.min(bytes.len())].iter().rposition(|each| *each == b'\n').map_or(0, |at| at + 1);
    let upto = bytes[from..].iter().position(|each| *each == b'\n').map_or(bytes.len(), |at| from + at);
    match std::str::from_utf8(&bytes[from..upto]) {
        Ok(line) => line.chars().take(LINE_CHARS_MAX).collect(),
        Err(_) => format!("{:02x?}", &bytes[byte.min(bytes.len())..][..16.min(bytes.len().saturating_sub(byte))]),
    }
}
