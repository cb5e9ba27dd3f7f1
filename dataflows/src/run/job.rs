//! `aisle run`: opens or resumes a data folder, runs the engine over it, shows progress, serves, and ends.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use connectors::checkpoint_store::{Store, StoreError};
use connectors::data_folder::{DataFolder, DataFolderError};
use connectors::files::FilesError;
use operators::binding::Coder;
use operators::disk::{Clock, Disk, Log, LogError};
use operators::index::HistoryBounds;
use operators::minter::MinterOptions;
use operators::sink::SinkError;
use operators::timekeeper::{Timekeeper, TimekeeperError, read_bindings};
use operators::topology::{LaneParameters, Topology};

use super::assist::{assist, even_if_lost, in_common, linked};
use super::brokers::{Brokers, BrokersError};
use super::engine::{Begins, Cluster, ClusterError, Engine, EngineError, InputOptions, WallClock, Workers};
#[cfg(feature = "history")]
pub(super) use super::history::History;
use super::http::{Published, ServeError, serve};
use super::inputs::{self, InputsError};
use super::inquiry::{self, Inquiry, InquiryError};
use super::logs::{Logs, LogsError, REMAP_LOG};
use super::output::{ChangeFiles, Output};
use super::progress::{Progress, Totals, totals};
use super::re_entry::ReEntries;
use super::sinks::KafkaSinks;
use super::{recovery, tables};
use crate::configuration::{Change, Mistake, Plan, RecordedError, Settings, compatible, parse};
use crate::graph::{GraphPlan, ViewPlan};
use crate::inventory::availability::Policy;
use crate::serve::Views;
use crate::serve::subscribe::HubBounds;
use crate::views::View;

/// The folder of the sinks' outboxes in a data folder.
pub const OUTBOX: &str = "outbox";

/// Where the inputs of a data folder lay: the configuration's folder.
pub const INPUTS: &str = "inputs-folder";

/// Where the process that has a data folder serves, or served last.
pub const ADDRESS: &str = "address";

/// The commit that this was built from, where that is known.
pub const BUILD: &str = env!("AISLE_COMMIT");

/// What the command line asks for.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The configuration file.
    pub configuration: PathBuf,
    /// The workers.
    pub workers: Workers,
    /// Where to listen; the configuration's address otherwise.
    pub listen: Option<String>,
    /// End when every source has ended.
    pub once: bool,
    /// Move an existing data folder aside.
    pub fresh: bool,
    /// Event time per wall time.
    pub speed: Option<f64>,
    /// Use no checkpoint, but compute everything again from the logs.
    pub replay_all: bool,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, or because it was asked to.
    Well,
    /// `read = on time + late + duplicate + dead letters` does not hold.
    NotConserved,
}

/// Why a run could not be, or go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A file or folder that was named on the command line can't be read.
    #[error("could not read {}", .path.display())]
    Unreadable {
        /// Where it is.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The configuration has mistakes.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Mistakes(Vec<Mistake>),
    /// The data folder began with another configuration.
    #[error("the data folder {} began with another configuration:\n{}", .folder.display(), .differences.join("\n"))]
    Incompatible {
        /// The folder.
        folder: PathBuf,
        /// What differs.
        differences: Vec<String>,
    },
    /// The outputs know of ticks that the remap log does not.
    #[error(
        "the outputs of {} are complete up to tick {sinks}, but its remap log ends at tick {log}: the log was cut; \
         restore it from a copy, or start again with --fresh", .folder.display()
    )]
    LogCut {
        /// The folder.
        folder: PathBuf,
        /// Ticks in the outputs.
        sinks: u64,
        /// Ticks in the log.
        log: u64,
    },
    /// The data folder.
    #[error(transparent)]
    Folder(#[from] DataFolderError),
    /// An input file.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// A topic.
    #[error(transparent)]
    Brokers(#[from] BrokersError),
    /// Inputs and what was recorded of them.
    #[error(transparent)]
    Inputs(InputsError),
    /// Who has to be asked.
    #[error(transparent)]
    Inquiry(#[from] InquiryError),
    /// What one process learns of a registry the others don't.
    #[error(
        "a cluster of several processes can't read `format = \"avro\"` yet, since what one of them learns of the registry the \
         others don't; run one process, with more --workers"
    )]
    AvroInCluster,
    /// Dead letters enter again in one process so far.
    #[error(
        "{} holds commands, which a cluster of several processes can't read yet; run one process, with more --workers",
        .folder.display()
    )]
    CommandsInCluster {
        /// The data folder.
        folder: PathBuf,
    },
    /// Where the logs are.
    #[error(transparent)]
    Logs(#[from] LogsError),
    /// The remap log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The remap log's entries.
    #[error(transparent)]
    Time(#[from] TimekeeperError),
    /// The recorded configuration.
    #[error(transparent)]
    Recorded(#[from] RecordedError),
    /// A change file.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// The store of checkpoints.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There are checkpoints, and none can be used.
    #[error(
        "none of the checkpoints in {store} (the newest is of tick {newest}) can be used; \
         `--replay-all` computes everything again from the logs, if the input is still there from its beginning"
    )]
    NoCheckpoint {
        /// The store.
        store: String,
        /// The newest one's first tick that is not in it.
        newest: u64,
    },
    /// The checkpoints are of a run whose logs are not here.
    #[error(
        "{store} holds checkpoints of another run, but the data folder {} is new; \
         restore the folder from a copy, or start anew with --fresh", .folder.display()
    )]
    OtherRun {
        /// The store.
        store: String,
        /// The data folder.
        folder: PathBuf,
    },
    /// A checkpoint that was sound a moment ago.
    #[error("could not restore the checkpoint of tick {upper} from {store}: {what}; start again")]
    Checkpoint {
        /// The store.
        store: String,
        /// The first tick that is not in it.
        upper: u64,
        /// What does not hold.
        what: String,
    },
    /// Another process of the cluster restores what is not here.
    #[error(
        "process 0 restores the checkpoint of tick {upper}, which {store} does not have: \
         every process of a cluster needs the same store"
    )]
    OtherStore {
        /// The store.
        store: String,
        /// The first tick that is not in it.
        upper: u64,
    },
    /// A Kafka sink.
    #[cfg(feature = "kafka")]
    #[error(transparent)]
    Kafka(#[from] connectors::kafka::sink::KafkaSinkError),
    /// A topic could not be verified.
    #[cfg(feature = "kafka")]
    #[error(transparent)]
    Verify(#[from] connectors::kafka::sink::verify::VerifyError),
    /// History.
    #[cfg(feature = "history")]
    #[error(transparent)]
    History(#[from] super::history::HistoryError),
    /// The recorded configuration keeps history, which this build can't.
    #[cfg(not(feature = "history"))]
    #[error("this run keeps history, for which the build needs a feature: cargo build --release --features history")]
    NoHistory,
    /// The server.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The other processes of a cluster.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// While it ran.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Something small about the data folder.
    #[error("could not write to the data folder")]
    Disk(#[from] std::io::Error),
}

impl From<InputsError> for RunError {
    fn from(error: InputsError) -> Self {
        match error {
            InputsError::Files(error) => error.into(),
            InputsError::Brokers(error) => error.into(),
            error @ InputsError::NoColumns { .. } => RunError::Inputs(error),
        }
    }
}

/// Reads and checks a configuration.
pub fn read_settings(path: &Path) -> Result<Settings, RunError> {
    let unreadable = |source| RunError::Unreadable { path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    parse(&text, &path.display().to_string()).map_err(RunError::Mistakes)
}

/// The folder that a configuration's patterns are relative to.
pub fn folder_of(configuration: &Path) -> PathBuf {
    match configuration.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// What the graph needs of a plan.
pub fn graph_plan(plan: &Plan) -> GraphPlan {
    let views = View::ALL.map(|view| {
        let settings = plan.meaning.view(view);
        ViewPlan {
            enabled: settings.enabled,
            retention_ms: settings.retention_ms.unwrap_or(i64::MAX),
            shards: settings.shards,
        }
    });
    GraphPlan {
        catalog: Arc::new(plan.catalog()),
        topology: Arc::new(plan.topology.clone()),
        session_keep_ms: plan.meaning.sessions.keep_ms,
        policy: Policy {
            safety_stock: plan.meaning.inventory.safety_stock,
            count_trusted_ms: plan.meaning.inventory.count_trusted_ms,
        },
        views,
        emitting_workers: 1,
    }
}

/// The plans that a remap log recorded, first and newest; none where it is empty.
pub fn recorded_plans(log: &mut impl Log) -> Result<Option<(Plan, Plan)>, RunError> {
    let entries = log.read()?;
    let Some(first) = entries.first() else { return Ok(None) };
    let first = Coder::new(&Topology::default()).decode(first).map_err(TimekeeperError::from)?;
    let damaged = |what: &str| LogError::Damaged { name: REMAP_LOG.to_owned(), offset: 0, what: what.to_owned() };
    let first = first.configuration.ok_or_else(|| damaged("its first entry has no configuration"))?;
    let first = Plan::from_canonical(&first.canonical)?;
    let bindings = read_bindings(log, &first.topology)?;
    let newest = bindings.iter().rev().find_map(|binding| binding.configuration.as_ref());
    let newest = newest.map_or_else(|| Ok(first.clone()), |newest| Plan::from_canonical(&newest.canonical))?;
    Ok(Some((first, newest)))
}

/// The indexes of a plan's views.
pub fn views(plan: &Plan, settings: Option<&Settings>) -> Views {
    let enabled: Vec<View> = View::ALL.into_iter().filter(|view| plan.meaning.view(*view).enabled).collect();
    let mut views = Views::new(&enabled, HistoryBounds { ticks_max: 600, bytes_max: 64 << 20 });
    if let Some(settings) = settings {
        for (view, history) in &settings.operation.history {
            let bytes_max = usize::try_from(history.bytes).unwrap_or(usize::MAX);
            views.set_history(*view, HistoryBounds { ticks_max: history.ticks, bytes_max });
        }
    }
    views.set_readout(tables::readout);
    views
}

/// Runs until every source has ended (with `once`), or until `interrupted`.
///
/// Where partitions were added to a topic, the run ends in good order and goes on with them from its logs.
pub fn run(options: &RunOptions, interrupted: &AtomicBool) -> Result<Ended, RunError> {
    let (mut options, mut begins) = (options.clone(), true);
    loop {
        match run_as_found(&options, begins, interrupted)? {
            Went::Ended(ended) => return Ok(ended),
            Went::Grown { listen } => {
                // The data folder that was begun anew goes on, and whoever reads finds us where we were.
                options.fresh = false;
                begins = false;
                options.listen = Some(listen);
            }
        }
    }
}

/// How far a run went with the partitions that it found when it began.
enum Went {
    /// To its end.
    Ended(Ended),
    /// Until there were more of them: a topic has grown, or dead letters enter again.
    Grown { listen: String },
}

fn run_as_found(options: &RunOptions, begins: bool, interrupted: &AtomicBool) -> Result<Went, RunError> {
    let settings = read_settings(&options.configuration)?;
    let inputs_folder = folder_of(&options.configuration);
    let brokers = Brokers::of_settings(&settings, &inputs_folder)?;
    let registry = inquiry::registry(&settings, &inputs_folder, begins)?;
    let wanted = inputs::plan(&settings, &inputs_folder, &brokers, WallClock.now_ms())?;
    if options.workers.addresses.len() > 1 && registry.is_some() {
        return Err(RunError::AvroInCluster);
    }
    let cluster = match options.workers.addresses.len() {
        0 | 1 => None,
        _ => Some(Cluster::listen(&options.workers, in_common(&wanted, &options.workers))?),
    };
    if options.workers.process > 0 {
        return assist(options, &settings, &brokers, cluster, interrupted).map(Went::Ended);
    }

    let logs = Logs::of_settings(&settings, &inputs_folder)?;
    if options.fresh {
        // Before anything is moved aside.
        let (folder, _) = DataFolder::open(&settings.operation.data_dir, false)?;
        logs.refuse_begun(folder.disk())?;
    }
    let (folder, moved_to) = DataFolder::open(&settings.operation.data_dir, options.fresh)?;
    if let Some(moved_to) = moved_to {
        say(&format!("moved the former data folder to {}", moved_to.display()));
    }
    logs.settle(&folder)?;
    let mut log = logs.remap(folder.disk())?;
    let recorded = recorded_plans(&mut log)?;
    let run = recovery::run_of(recorded.as_ref().map_or(&wanted, |(first, _)| first));
    let plan = match recorded {
        None => wanted,
        Some((_, newest)) => {
            let incompatible = |differences| RunError::Incompatible { folder: folder.path().to_owned(), differences };
            match compatible(&newest, &wanted).map_err(incompatible)? {
                Change::None => newest,
                Change::Entry => newest.continued(&wanted),
            }
        }
    };
    let re_entries = Arc::new(ReEntries::open(logs.commands(folder.disk())?)?);
    let commands = re_entries.commands();
    let plan = match commands.end() {
        0 => plan,
        _ if cluster.is_some() => return Err(RunError::CommandsInCluster { folder: folder.path().to_owned() }),
        _ => plan.with_re_entry(),
    };
    remember(&folder, INPUTS, &std::fs::canonicalize(&inputs_folder)?.to_string_lossy())?;
    let files = ChangeFiles::open(folder.disk(), &plan)?;
    let sinks = KafkaSinks::open(&settings.operation.deliveries, &plan, &folder.path().join(OUTBOX), &inputs_folder)?;
    let operation = &settings.operation;
    let minter = MinterOptions {
        tick_bytes: operation.tick_bytes,
        tick_ms: operation.tick_ms,
        speed: options.speed,
        ..MinterOptions::default()
    };
    let mut timekeeper =
        Timekeeper::open(log, &plan.topology, minter, operation.in_flight as u64, plan.configuration(BUILD))?;
    if options.once {
        timekeeper = timekeeper.until_all_read();
    }
    let inquiry = Inquiry::outside(timekeeper.answers(), registry);
    let resumed = files.resumed().max(sinks.resumed());
    if resumed > timekeeper.durable() {
        return Err(RunError::LogCut { folder: folder.path().to_owned(), sinks: resumed, log: timekeeper.durable() });
    }
    let store = recovery::open(&settings, run)?;
    store.iter().for_each(Store::remove_leftovers);
    if let Some(store) = store.as_ref().filter(|_| timekeeper.durable() == 0 && !options.fresh)
        && store.has_others()?
    {
        return Err(RunError::OtherRun { store: store.shown().to_owned(), folder: folder.path().to_owned() });
    }
    let history = open_history(&settings, &plan, run, timekeeper.durable(), options.replay_all)?;
    let least = sinks.needed_from().map_or(files.least_resumed(), |needed| needed.min(files.least_resumed()));
    let chosen = match &store {
        Some(store) => recovery::choose(store, &timekeeper, least, options.replay_all)?,
        None => None,
    };
    let upper = chosen.as_ref().map_or(0, recovery::Chosen::upper);
    if timekeeper.durable() > 0 {
        let from = match upper {
            0 => String::new(),
            upper => format!("restored as of tick {upper}, "),
        };
        say(&format!(
            "resuming {}: {from}{} ticks are replayed from its logs",
            folder.path().display(),
            timekeeper.durable() - upper
        ));
    }
    let timekeeper = if upper > 0 { timekeeper.resume_at(upper) } else { timekeeper };

    let published = Arc::new(Published::new(views(&plan, Some(&settings)), HubBounds::default(), None));
    #[cfg(feature = "history")]
    if let Some(ask) = history.as_ref().map(History::ask) {
        published.set_history(Box::new(move |query| ask.answer(query)));
    }
    let listen = options.listen.clone().unwrap_or_else(|| operation.listen.to_string());
    let server = serve(&listen, Arc::clone(&published))?;
    say(&format!("serving on http://{}", server.address()));
    remember(&folder, ADDRESS, &format!("http://{}", server.address()))?;
    if cluster.is_none() {
        published.set_re_entries(Arc::clone(&re_entries));
    }
    let data_path = folder.path().to_owned();
    let watch = sinks.watch();
    let follower = history.as_ref().map(|history| history.follower(&plan));
    let output = Output::new(files, sinks, follower, Arc::clone(&published), &plan, folder, operation.data_bytes_max);
    let is_cluster = cluster.is_some();
    let Some(links) = linked(cluster, Begins { run, upper, plan: plan.canonical() }, interrupted)? else {
        return Ok(Went::Ended(stopped()));
    };
    let resumed = recovery::resume(store, chosen, &settings, &plan, &options.workers)?;
    let sources = inputs::sources(&plan, &inputs_folder, &brokers, &inquiry, &commands)?;
    let graph = graph_plan(&plan);
    let engine = Engine::start_linked(
        links,
        &graph,
        &options.workers,
        sources,
        &input_options(&settings, &plan, resumed.from),
        Some(timekeeper),
        resumed.recovery,
        Box::new(output),
    )?;

    let started = Instant::now();
    let mut progress = Progress::new(std::io::stderr().is_terminal());
    let (mut grown, mut told_growth) = (None, false);
    while !engine.has_ended() && !engine.has_failed() && !interrupted.load(Ordering::Acquire) {
        let topic = brokers.grown(&plan);
        grown = topic.map(|(topic, partitions)| format!("topic {topic} has {partitions} partitions now"));
        if is_cluster && let Some(grown) = grown.take() {
            // The other processes can't be made to begin anew from here.
            if !std::mem::replace(&mut told_growth, true) {
                say(&format!("{grown}; start every process again to read them"));
            }
        }
        if grown.is_none() && commands.end() > 0 && !plan.has_re_entry() {
            grown = Some("dead letters enter again for the first time".to_owned());
        }
        if grown.is_some() {
            break;
        }
        progress.show(&totals(&published), started.elapsed());
        std::thread::sleep(Duration::from_millis(if options.once { 20 } else { 100 }));
    }
    let seen = totals(&published);
    progress.end(&seen, started.elapsed());
    if engine.has_failed() || !engine.has_ended() {
        logs.stop();
        history.iter().for_each(History::give_up);
        even_if_lost(engine.stop(), interrupted)?;
        let listen = server.address().to_string();
        server.shutdown();
        let Some(grown) = grown else { return Ok(Went::Ended(stopped())) };
        say(&format!("{grown}; going on with that"));
        return Ok(Went::Grown { listen });
    }
    let mut told = false;
    while !watch.is_drained() && watch.failure().is_none() && !interrupted.load(Ordering::Acquire) {
        if !told && started.elapsed() > Duration::from_secs(2) {
            told = true;
            say("every source has ended; waiting until the Kafka sinks have sent everything");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    if interrupted.load(Ordering::Acquire) && !watch.is_drained() {
        say("what the Kafka sinks have not sent stays in their outboxes");
    }
    print_tables(&plan, &published, &engine, &seen, started.elapsed(), &data_path);
    let ended = if seen.conserved { Ended::Well } else { Ended::NotConserved };
    let taken = commands.end();
    if !options.once {
        say(&format!("every source has ended; serving on http://{} until Ctrl-C", server.address()));
        let is_over = || interrupted.load(Ordering::Acquire) || engine.has_failed() || watch.failure().is_some();
        while !is_over() && commands.end() == taken {
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    logs.stop();
    even_if_lost(engine.finish(), interrupted)?;
    history.map_or(Ok(()), |history| history.finish(interrupted))?;
    let listen = server.address().to_string();
    server.shutdown();
    match watch.failure() {
        Some(failure) => Err(failure),
        None if commands.end() > taken && !options.once && !interrupted.load(Ordering::Acquire) => {
            say("dead letters enter again; going on with that");
            Ok(Went::Grown { listen })
        }
        None => Ok(Went::Ended(ended)),
    }
}

#[cfg(feature = "history")]
fn open_history(settings: &Settings, plan: &Plan, run: u64, log: u64, anew: bool) -> Result<Option<History>, RunError> {
    let operation = &settings.operation;
    Ok(History::open(&operation.archive, Path::new(&operation.data_dir), plan, run, log, anew)?)
}

#[cfg(not(feature = "history"))]
fn open_history(_: &Settings, plan: &Plan, _: u64, _: u64, _: bool) -> Result<Option<History>, RunError> {
    if plan.meaning.history.kept { Err(RunError::NoHistory) } else { Ok(None) }
}

/// What a build without history has instead: nothing that could ever be made.
#[cfg(not(feature = "history"))]
pub(super) enum History {}

#[cfg(not(feature = "history"))]
impl History {
    pub(super) fn follower(&self, _: &Plan) -> Box<dyn super::output::Follow> {
        match *self {}
    }
    pub(super) fn give_up(&self) {
        match *self {}
    }
    pub(super) fn finish(self, _: &AtomicBool) -> Result<(), RunError> {
        match self {}
    }
}

/// Says that a run was interrupted.
pub(super) fn stopped() -> Ended {
    say("stopped; run again to go on from here");
    Ended::Well
}

/// How the input of a plan is read.
pub(super) fn input_options(settings: &Settings, plan: &Plan, from: Vec<u64>) -> InputOptions {
    let parameters = &plan.parameters;
    let last = |lanes: &LaneParameters| parameters.start_ms.saturating_add(lanes.skew_max_ms);
    let future_ms = parameters.lanes.iter().map(last).collect();
    InputOptions { from, ..InputOptions::new(settings.operation.tick_bytes, plan.partitions.len(), future_ms) }
}

/// Keeps a line of text in a file of the data folder, instead of what it held.
fn remember(folder: &DataFolder, name: &str, text: &str) -> Result<(), RunError> {
    let mut disk = folder.disk();
    if disk.read(name)?.is_none_or(|known| known != text.as_bytes()) {
        disk.truncate(name, 0)
            .or_else(|error| if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) })?;
        disk.append(name, text.as_bytes())?;
        disk.sync(name)?;
    }
    Ok(())
}

/// A person reads this: on standard error, so that standard output holds the tables alone.
#[allow(clippy::print_stderr, reason = "this is the command line's voice")]
pub fn say(line: &str) {
    eprintln!("aisle: {line}");
}

#[allow(clippy::print_stdout, reason = "the tables are the command's output")]
fn print_tables(plan: &Plan, published: &Published, engine: &Engine, seen: &Totals, took: Duration, data: &Path) {
    let views = published.read();
    println!("{}", tables::render(&views));
    println!("{}", tables::memory(&engine.held()));
    drop(views);
    let retrospective =
        plan.meaning.experiments.iter().map(|experiment| experiment.name.as_str()).collect::<Vec<_>>().join(", ");
    if !retrospective.is_empty() {
        println!(
            "Variants of {retrospective} are assigned by hash when the records are read. Where the records are older than \
             the experiment, as in the samples, assignment is retrospective: every true effect is zero."
        );
    }
    let disk = folder_bytes(data);
    println!(
        "conservation: read {} = on time {} + late {} + duplicate {} + dead letters {}: {}",
        seen.read,
        seen.on_time,
        seen.late,
        seen.duplicate,
        seen.dead,
        if seen.conserved { "holds for every partition" } else { "FAILS" }
    );
    println!(
        "{} records in {:.1} s, {} ticks; data folder {} holds {} bytes",
        seen.read,
        took.as_secs_f64(),
        seen.ticks,
        data.display(),
        disk
    );
    if seen.re_entered > 0 {
        println!("of dead letters, {} entered again; they are counted apart", seen.re_entered);
    }
}

fn folder_bytes(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => folder_bytes(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    sizes.sum()
}
