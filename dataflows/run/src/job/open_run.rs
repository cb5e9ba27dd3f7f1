//! A run before it runs: its data folder and logs are open, its plan is settled, its outputs know what they have, and the
//! checkpoint that it begins with is chosen.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use connectors::checkpoint_store::Store;
use connectors::data_folder::DataFolder;
use connectors::local_disk::LocalDisk;
use operators::disk::{Disk, Log};
use operators::minter::MinterOptions;
use operators::time::Tick;
use operators::timekeeper::{Timekeeper, read_bindings};

use super::{BUILD, INPUTS, OUTBOX, RunError, RunOptions, recorded_plans};
use crate::command_desk::{CommandDesk, check_bound};
use crate::history::History;
use crate::logs::Logs;
use crate::outputs::change_files::ChangeFiles;
use crate::outputs::{Output, kafka_sinks};
use crate::recovery::{self, Chosen};
use crate::run_end::RunEnd;
use crate::terminal::say;
use dataflows::configuration::{Change, Plan, Settings, compatible};
use dataflows::digest::HashKey;
use dataflows::view::ViewId;

/// What a run has in hand when it begins.
pub(super) struct OpenRun {
    pub(super) folder: DataFolder,
    pub(super) logs: Logs,
    pub(super) plan: Plan,
    /// Which run it is, by its first configuration.
    pub(super) run: u64,
    pub(super) commands: Arc<CommandDesk>,
    pub(super) timekeeper: Timekeeper<Box<dyn Log>>,
    pub(super) files: ChangeFiles<LocalDisk>,
    pub(super) sinks: Vec<Box<dyn Output>>,
    pub(super) history: Option<History>,
    pub(super) store: Option<Store>,
    pub(super) chosen: Option<Chosen>,
}

impl OpenRun {
    /// Opens or resumes the data folder of a configuration, which lies in `inputs_folder`.
    pub(super) fn open(
        options: &RunOptions,
        settings: &Settings,
        inputs_folder: &Path,
        wanted: Plan,
        interrupted: &AtomicBool,
    ) -> Result<Self, RunError> {
        let local = &settings.local;
        let (folder, logs) = open_folder(options, settings, inputs_folder)?;
        let mut log = logs.remap(folder.disk())?;
        let (plan, run) = settle(&folder, &mut log, wanted)?;
        let commands = CommandDesk::open(&logs, &folder)?;
        remember(&folder, INPUTS, &std::fs::canonicalize(inputs_folder)?.to_string_lossy())?;
        let files = ChangeFiles::open(folder.disk(), &plan)?;
        let sinks = kafka_sinks(settings, &plan, &folder.path().join(OUTBOX), inputs_folder, interrupted)?;
        let minter = MinterOptions {
            tick_bytes: local.tick_bytes,
            tick_ms: local.tick_ms,
            speed: options.speed,
            ..MinterOptions::default()
        };
        let mut timekeeper =
            Timekeeper::open(log, &plan.topology, minter, local.in_flight as u64, plan.configuration(BUILD))?;
        if options.once {
            timekeeper = timekeeper.until_all_read();
        }
        let said = RunEnd::read(folder.path()).map_or(0, |end| end.ticks);
        let resumed = sinks.iter().map(|sink| sink.resumed()).fold(files.resumed().max(said), u64::max);
        let durable = timekeeper.durable();
        let next = timekeeper.position_at(durable).expect("a log has a position at its end").next;
        check_bound(&plan, &next, commands.commands().end().unwrap_or(0), logs.commands_name())?;
        if resumed > durable {
            return Err(RunError::LogCut { folder: folder.path().to_owned(), sinks: resumed, log: durable });
        }
        let store = recovery::open(settings, run)?;
        store.iter().for_each(Store::remove_leftovers);
        if let Some(store) = store.as_ref().filter(|_| durable == 0 && !options.fresh)
            && store.has_others()?
        {
            return Err(RunError::OtherRun { store: store.shown().to_owned(), folder: folder.path().to_owned() });
        }
        let data = Path::new(&local.data_dir);
        let history = History::open(&local.archive, data, &plan, run, durable, options.replay_all)?;
        let least = sinks.iter().map(|sink| sink.least_resumed()).fold(files.least_resumed(), u64::min);
        let chosen = match &store {
            Some(store) => recovery::choose(store, &timekeeper, &plan, least, options.replay_all)?,
            None => None,
        };
        let timekeeper = match upper_of(&chosen) {
            0 => timekeeper,
            upper => timekeeper.resume_at(upper),
        };
        Ok(OpenRun { folder, logs, plan, run, commands, timekeeper, files, sinks, history, store, chosen })
    }

    /// The first tick that is not restored.
    pub(super) fn upper(&self) -> u64 {
        upper_of(&self.chosen)
    }

    /// Says from where it goes on, if it does.
    pub(super) fn tell(&self) {
        let (upper, durable) = (self.upper(), self.timekeeper.durable());
        if durable > 0 {
            let from = match upper {
                0 => String::new(),
                upper => format!("restored as of tick {upper}, "),
            };
            let folder = self.folder.path().display();
            say(&format!("resuming {folder}: {from}{} ticks are replayed from its logs", durable - upper));
        }
    }
}

fn upper_of(chosen: &Option<Chosen>) -> u64 {
    chosen.as_ref().map_or(0, Chosen::upper)
}

/// Opens the data folder, or begins a new one, and finds out where its logs are.
fn open_folder(
    options: &RunOptions,
    settings: &Settings,
    inputs_folder: &Path,
) -> Result<(DataFolder, Logs), RunError> {
    let logs = Logs::of_settings(settings, inputs_folder)?;
    if options.fresh {
        // Before anything is moved aside.
        let (folder, _) = DataFolder::open(&settings.local.data_dir, false)?;
        logs.refuse_begun(folder.disk())?;
    }
    let (mut folder, moved_to) = DataFolder::open(&settings.local.data_dir, options.fresh)?;
    if let Some(moved_to) = moved_to {
        say(&format!("moved the former data folder to {}", moved_to.display()));
    }
    logs.settle(&folder)?;
    folder.limit(settings.local.data_bytes_max)?;
    if let Some(mode) = folder.open_to_others()? {
        let path = folder.path().display();
        say(&format!(
            "WARNING: others can look into the data folder {path} (mode {mode:o}), which holds the records; chmod 700 {path}"
        ));
    }
    Ok((folder, logs))
}

/// A key that nobody can guess: whoever knows it can make records that are taken for others.
fn hash_key() -> Result<HashKey, RunError> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).map_err(|error| RunError::Disk(std::io::Error::other(error.to_string())))?;
    Ok(HashKey::new(u128::from_le_bytes(bits)))
}

/// The plan of a run, and which run it is: what its log recorded decides, but for what may change.
fn settle(folder: &DataFolder, log: &mut impl Log, wanted: Plan) -> Result<(Plan, u64), RunError> {
    let Some((first, newest)) = recorded_plans(log)? else {
        let plan = wanted.with_re_entry().hashed_by(hash_key()?);
        let run = recovery::run_of(&plan);
        return Ok((plan, run));
    };
    let incompatible = |differences| RunError::Incompatible { folder: folder.path().to_owned(), differences };
    let plan = match compatible(&newest, &wanted).map_err(incompatible)? {
        Change::None => newest,
        // The tick at which the changed configuration is recorded: the next one that is minted.
        Change::Entry => newest.continued(&wanted, read_bindings(log, &first.topology)?.len() as Tick),
    };
    for sink in &plan.recorded.sinks {
        let wanted = wanted.recorded.sinks.iter().find(|wanted| wanted.name == sink.name);
        let left: Vec<&str> = wanted
            .map_or(&[][..], |wanted| &wanted.views)
            .iter()
            .copied()
            .filter(|view| !sink.views.contains(view))
            .map(ViewId::name)
            .collect();
        if !left.is_empty() {
            let (name, left) = (&sink.name, left.join(", "));
            say(&format!(
                "the sink \"{name}\" goes on with the views that it had, without {left}; add another sink for these"
            ));
        }
    }
    // Commands are input from tick 0 on; a run that was begun otherwise has them from here on.
    Ok((plan.with_re_entry(), recovery::run_of(&first)))
}

/// Keeps a line of text in a file of the data folder, instead of what it held.
pub(super) fn remember(folder: &DataFolder, name: &str, text: &str) -> Result<(), RunError> {
    let mut disk = folder.disk();
    if disk.read(name)?.is_none_or(|known| known != text.as_bytes()) {
        disk.truncate(name, 0)
            .or_else(|error| if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) })?;
        disk.append(name, text.as_bytes())?;
        disk.sync(name)?;
    }
    Ok(())
}
