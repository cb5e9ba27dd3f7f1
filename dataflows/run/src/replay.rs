//! `aisle replay`: the same run again from its two logs, every output byte compared.
//!
//! The configuration is the one that was recorded; the file on disk is not looked at. Outputs go to a folder of their own
//! beside the data, are compared file by file, and are removed. Files of history are compared where they are: where a
//! configuration that is given says, or the run itself when it ended, or in the data folder; those that retention deleted are
//! not. What is missing of ticks that were written is a difference, too ([`Missing`]).

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use connectors::checkpoint_store::{Store, StoreError};
use connectors::command_log::Commands;
use connectors::data_folder::DataFolder;
use connectors::local_disk::LocalDisk;
use connectors::objects::Location;
use operators::minter::MinterOptions;
use operators::time::{Tick, TimeMs};
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
use super::run_end::RunEnd;
use super::schema_lookup::SchemaLookup;
use super::terminal::{print, say};
use compare::{Comparison, FolderFacts};
use dataflows::configuration::{ArchiveSettings, Plan, Settings};
use defects::defects_of;
use missing::missing_of_empty_log;

pub use missing::{Missing, Proof};

mod compare;
mod defects;
#[cfg(feature = "kafka")]
pub mod messages;
mod missing;

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
        /// Up to which tick nothing may be missing.
        proof: Proof,
    },
    /// Something is missing; what there is, is the same.
    Lacks(Vec<Missing>),
    /// The first difference.
    Differs {
        /// The file.
        file: String,
        /// Its first byte that differs.
        byte: u64,
        /// The line that was written, and the line of the replay.
        lines: Box<[String; 2]>,
        /// The defects of older builds that it may be.
        defects: Vec<&'static str>,
    },
    /// It was interrupted.
    Interrupted,
}

impl Compared {
    /// Tells what was found, and gives the exit code of that.
    pub fn tell(&self) -> ExitCode {
        match self {
            Compared::Same { files, bytes, ticks, proof } => {
                print(&format!("{ticks} ticks replayed: {bytes} bytes in {files} files are the same\n"));
                print(&proof.doubt(*ticks).unwrap_or_default());
                ExitCode::SUCCESS
            }
            Compared::Lacks(missing) => {
                missing.iter().for_each(|Missing { file, what }| print(&format!("missing: {file}: {what}\n")));
                ExitCode::from(3)
            }
            Compared::Differs { file, byte, lines, defects } => {
                let [written, again] = lines.as_ref();
                print(&format!("{file} differs at byte {byte}\n  written: {written}\n  replay:  {again}\n"));
                if !defects.is_empty() {
                    print(&format!(
                        "An older build began this run. It may differ by a defect whose new reading holds for every folder \
                         (docs/upgrading.md): {}.\n",
                        defects.join("; ")
                    ));
                }
                ExitCode::from(3)
            }
            Compared::Interrupted => {
                say("interrupted; nothing was compared");
                ExitCode::from(1)
            }
        }
    }
}

/// Where history is in a data folder, unless the configuration says otherwise.
const HISTORY: &str = "history";

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
    let end = RunEnd::read(folder);
    let here = ArchiveSettings { to: HISTORY.to_owned(), endpoint: None, retention_ms: i64::MAX };
    let archive = archive_of(given.as_ref(), end.as_ref());
    let (mut names, mut kept, mut found, mut plan) = (Vec::new(), None, None, None);
    let replayed = again(replay, interrupted, |recorded| {
        if scratch.exists() {
            std::fs::remove_dir_all(&scratch)?;
        }
        let files = ChangeFiles::open(LocalDisk::new(&scratch), recorded.plan)?;
        names.extend(files.names());
        plan = Some(recorded.plan.clone());
        let run = super::recovery::run_of(recorded.first);
        let checkpoint = checkpoint_of(given.as_ref(), folder, run)?;
        let proof = Proof::strongest(recorded.ticks, end.as_ref(), checkpoint);
        found = Some(FolderFacts { run, now_ms: recorded.now_ms, checkpoint, proof });
        let history = match recorded.plan.recorded.history.kept {
            true if crate::BUILT.history => {
                kept = Some(Kept::open(archive.as_ref().unwrap_or(&here), folder, run)?);
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
    let compared = match (replayed, found) {
        (Replayed::Interrupted, _) => Compared::Interrupted,
        (Replayed::Nothing(missing), _) => Compared::Lacks(vec![missing]),
        (Replayed::Ended { ticks: 0 }, _) | (_, None) => unreachable!("a log without ticks is told apart"),
        (Replayed::Ended { ticks }, Some(facts)) => {
            let comparison = Comparison { folder, scratch: &scratch, ticks, facts: &facts, end: end.as_ref() };
            let mut compared = comparison.compare(&names, kept.as_ref(), archive.as_ref())?;
            if let (Compared::Differs { file, defects, .. }, Some(plan)) = (&mut compared, &plan) {
                *defects = defects_of(plan, file);
            }
            compared
        }
    };
    std::fs::remove_dir_all(&scratch)
        .or_else(|error| if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) })?;
    Ok(compared)
}

/// Where history is, and how long it is kept, by the configuration that is given or by what the run said when it ended.
fn archive_of(given: Option<&Settings>, end: Option<&RunEnd>) -> Option<ArchiveSettings> {
    let said = || Some(end?.history.as_ref()?.archive());
    given.map(|settings| settings.local.archive.clone()).or_else(said)
}

/// The newest checkpoint of a run: every output had its ticks when it was taken. Nothing is made where there is none.
fn checkpoint_of(given: Option<&Settings>, folder: &Path, run: u64) -> Result<Option<Tick>, RunError> {
    let (to, endpoint) = match given {
        Some(settings) => (settings.local.checkpoints.to.as_str(), settings.local.checkpoints.endpoint.clone()),
        None => ("checkpoints", None),
    };
    if to == "none" {
        return Ok(None);
    }
    let location = Location::parse(to, endpoint, folder).map_err(StoreError::from)?;
    if let Location::Folder(folder) = &location
        && !folder.exists()
    {
        return Ok(None);
    }
    let newest = Store::open(&location, run)?.newest(Tick::MAX, |_| Ok(()))?;
    Ok(newest.manifest.map(|manifest| manifest.position.upper))
}

/// What a data folder recorded.
struct RunRecord<'a> {
    /// The plan of its first tick.
    first: &'a Plan,
    /// The newest one.
    plan: &'a Plan,
    /// How many ticks there are.
    ticks: u64,
    /// What time the last one was.
    now_ms: TimeMs,
}

/// How a replay ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Replayed {
    Ended {
        ticks: u64,
    },
    /// There is not even a tick in the remap log.
    Nothing(Missing),
    Interrupted,
}

/// Replays a data folder into what `publish` makes of its recorded plan. Where the remap log is empty there is nothing to
/// replay.
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
    let Some((first, plan)) = recorded_plans(&mut log)? else {
        return Ok(Replayed::Nothing(missing_of_empty_log(folder)));
    };
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
    let now_ms = end.now_ms;
    let schema_lookup = SchemaLookup::nobody(timekeeper.answers(), end);
    let (output, history) = publish(&RunRecord { first: &first, plan: &plan, ticks, now_ms })?;
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
    history.as_ref().map_or(Ok(()), |history| history.finish(interrupted))?;
    Ok(if ended { Replayed::Ended { ticks } } else { Replayed::Interrupted })
}
