//! `aisle run`: opens or resumes a data folder, runs the engine over it, shows progress, serves, and ends.

mod doubts;
mod error;
mod open_run;
mod plans;
mod report;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use operators::disk::Clock;

use super::brokers::Brokers;
use super::command_desk::Answered;
use super::engine::{Cluster, Control, Engine, StartPoint, WallClock, Workers};
use super::history::History;
use super::http::{Published, serve};
use super::inputs::InputsError;
use super::memory::limit::MemoryLimit;
use super::outputs::served::Served;
use super::outputs::{Outputs, OutputsWatch};
use super::progress::{Progress, totals};
use super::run_end::RunEnd;
use super::schema_lookup::{self, SchemaLookup};
use super::secondary::{even_if_lost, in_common, linked, run_secondary};
use super::terminal::say;
use super::{inputs, recovery};
use dataflows::answer::subscribe::{HubBounds, RunId};
use dataflows::configuration::Plan;

pub use error::RunError;
pub(super) use plans::input_options;
pub use plans::{folder_of, graph_plan, read_settings, recorded_plans, views};
pub(super) use report::stopped;

use doubts::Doubts;
use open_run::{OpenRun, remember};
use report::print_tables;

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
    /// No record of some source could be taken.
    NothingTaken,
}

/// Runs until every source has ended (with `once`), or until `interrupted`.
///
/// Where partitions were added to a topic, the run ends in good order and goes on with them from its logs.
pub fn run(options: &RunOptions, interrupted: &AtomicBool) -> Result<Ended, RunError> {
    let (mut options, mut begins) = (options.clone(), true);
    loop {
        match run_as_found(&options, begins, interrupted)? {
            Outcome::Ended(ended) => return Ok(ended),
            Outcome::Restart { listen } => {
                // The data folder that was open_run anew goes on, and whoever reads finds us where we were.
                options.fresh = false;
                begins = false;
                options.listen = listen;
            }
        }
    }
}

/// How far a run went with the partitions that it found when it began.
pub(super) enum Outcome {
    /// To its end.
    Ended(Ended),
    /// Until there were more of them: a topic has grown.
    Restart {
        /// Where it listened, or is to listen.
        listen: Option<String>,
    },
}

fn run_as_found(options: &RunOptions, begins: bool, interrupted: &AtomicBool) -> Result<Outcome, RunError> {
    let settings = read_settings(&options.configuration)?;
    let inputs_folder = folder_of(&options.configuration);
    let brokers = Brokers::of_settings(&settings, &inputs_folder)?;
    let registry = schema_lookup::registry(&settings, &inputs_folder, begins)?;
    let begin = inputs::Begin { start_ms: WallClock.now_ms(), played: options.speed.is_some(), interrupted };
    let inputs::Found { plan: wanted, looked } = match inputs::plan(&settings, &inputs_folder, Some(&brokers), begin) {
        Err(InputsError::Interrupted) => return Ok(Outcome::Ended(stopped())),
        found => found?,
    };
    let cluster = match options.workers.addresses.len() {
        0 | 1 => None,
        _ => Some(Cluster::listen(&options.workers, in_common(&wanted, &options.workers))?),
    };
    if options.workers.process > 0 {
        return run_secondary(options, &settings, &brokers, cluster, interrupted);
    }
    let open_run = OpenRun::open(options, &settings, &inputs_folder, wanted, interrupted)?;
    open_run.tell();
    let upper = open_run.upper();
    let OpenRun { folder, logs, plan, run, commands: desk, timekeeper, files, sinks, history, store, chosen } =
        open_run;
    let schema_lookup = SchemaLookup::outside(timekeeper.answers(), registry);
    let commands = desk.commands();
    let control = Control::first(schema_lookup.clone(), commands.clone(), &options.workers);

    let mut views = views(&plan, Some(&settings));
    views.set_run(RunId(run));
    let published = Arc::new(Published::new(views, HubBounds::default(), None));
    history.iter().for_each(|history| history.serve(&published));
    let local = &settings.local;
    let listen = options.listen.clone().unwrap_or_else(|| local.listen.to_string());
    let server = serve(&listen, Arc::clone(&published), local.http.clone())?;
    say(&format!("serving on http://{}", server.address()));
    remember(&folder, ADDRESS, &format!("http://{}", server.address()))?;
    published.set_commands(Arc::clone(&desk));
    let data_path = folder.path().to_owned();
    let follower = history.as_ref().map(|history| history.follower(&plan));
    let folder = Arc::new(folder);
    let outputs = Outputs::default()
        .with(files)
        .with_all(sinks)
        .with_all(follower.into_iter().collect())
        .with(Served::new(Arc::clone(&published), plan.topology.groups.clone()))
        .with(Answered::new(Arc::clone(&desk)))
        .within(Arc::clone(&folder));
    let watch = outputs.watch();
    let from = StartPoint { run, upper, plan: plan.canonical() };
    let Some(links) = linked(cluster, from, &control, interrupted)? else {
        return Ok(Outcome::Ended(stopped()));
    };
    let resumed = recovery::resume(store, chosen, &settings, &plan, &options.workers)?;
    let sources = inputs::sources(&plan, &inputs_folder, &brokers, &schema_lookup, &commands)?;
    let engine = Engine::start_linked(
        links,
        &graph_plan(&plan),
        &options.workers,
        sources,
        &input_options(&settings, &plan, resumed.from),
        Some(timekeeper),
        resumed.recovery,
        Box::new(outputs),
    )?;

    let started = Instant::now();
    let mut progress = Progress::new(std::io::stderr().is_terminal());
    let growth = Growth { brokers: &brokers, plan: &plan };
    let pace = Duration::from_millis(if options.once { 20 } else { 100 });
    let (limit, mut used_bytes) = (MemoryLimit::new(local.memory_bytes_max), None);
    let grown = growth.wait(&engine, interrupted, pace, || {
        control.tell_commands();
        control.beat();
        progress.show(&totals(&published), started.elapsed());
        used_bytes = limit.passed();
        used_bytes.is_none()
    });
    let seen = totals(&published);
    progress.end(&seen, started.elapsed());
    if let Some(used_bytes) = used_bytes {
        let told = limit.told(used_bytes, &engine.held(), &plan);
        logs.stop();
        desk.close();
        history.iter().for_each(History::give_up);
        even_if_lost(engine.stop(), interrupted)?;
        server.shutdown();
        return Err(RunError::Memory(told));
    }
    if engine.has_failed() || !engine.has_ended() {
        logs.stop();
        desk.close();
        history.iter().for_each(History::give_up);
        let ended = if grown.is_some() { engine.begin_anew(interrupted) } else { engine.stop() };
        even_if_lost(ended, interrupted)?;
        RunEnd::write(&folder, &watch, history.as_ref(), &local.archive);
        let listen = Some(server.address().to_string());
        server.shutdown();
        let Some(grown) = grown.filter(|_| !interrupted.load(Ordering::Acquire)) else {
            return Ok(Outcome::Ended(stopped()));
        };
        say(&format!("{grown}; going on with that"));
        return Ok(Outcome::Restart { listen });
    }
    drain(&watch, started, interrupted, &control);
    print_tables(&plan, &published, &engine, &seen, started.elapsed(), &data_path);
    let doubts = Doubts::of(&plan, &looked, &published.read());
    doubts.tell();
    if !options.once {
        say(&format!("every source has ended; serving on http://{} until Ctrl-C", server.address()));
        // Commands are taken all the same: the engine goes on with them.
        while !interrupted.load(Ordering::Acquire) && !engine.has_failed() && watch.failure().is_none() {
            control.tell_commands();
            control.beat();
            std::thread::sleep(pace);
        }
    }
    let ended = match totals(&published).conserved {
        true if doubts.takes_nothing => Ended::NothingTaken,
        true => Ended::Well,
        false => Ended::NotConserved,
    };
    logs.stop();
    desk.close();
    even_if_lost(engine.finish(interrupted), interrupted)?;
    history.as_ref().map_or(Ok(()), |history| history.finish(interrupted))?;
    RunEnd::write(&folder, &watch, history.as_ref(), &local.archive);
    server.shutdown();
    watch.failure().map_or(Ok(Outcome::Ended(ended)), Err)
}

/// What may come to a run that it did not begin with.
struct Growth<'a> {
    brokers: &'a Brokers,
    plan: &'a Plan,
}

impl Growth<'_> {
    /// Returns once the engine has ended or failed, once the run is interrupted, once `each_time` says that it can't go on, or once
    /// there is something new: what it is.
    fn wait(
        self,
        engine: &Engine,
        interrupted: &AtomicBool,
        pace: Duration,
        mut each_time: impl FnMut() -> bool,
    ) -> Option<String> {
        while !engine.has_ended() && !engine.has_failed() && !interrupted.load(Ordering::Acquire) {
            let grown = self.look();
            if grown.is_some() {
                return grown;
            }
            if !each_time() {
                return None;
            }
            std::thread::sleep(pace);
        }
        None
    }

    fn look(&self) -> Option<String> {
        let (topic, partitions) = self.brokers.grown(self.plan)?;
        Some(format!("topic {topic} has {partitions} partitions now"))
    }
}

/// Waits until the Kafka sinks have sent everything, or can't.
fn drain(watch: &OutputsWatch, started: Instant, interrupted: &AtomicBool, control: &Control) {
    let mut told = false;
    while !watch.is_drained() && watch.failure().is_none() && !interrupted.load(Ordering::Acquire) {
        if !told && started.elapsed() > Duration::from_secs(2) {
            told = true;
            say("every source has ended; waiting until the Kafka sinks have sent everything");
        }
        control.tell_commands();
        control.beat();
        std::thread::sleep(Duration::from_millis(20));
    }
    if interrupted.load(Ordering::Acquire) && !watch.is_drained() {
        say("what the Kafka sinks have not sent stays in their outboxes");
    }
}
