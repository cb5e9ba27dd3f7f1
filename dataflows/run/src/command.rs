//! The command line.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{Args, Parser, Subcommand};
use connectors::files::FilesError;

use super::brokers::Brokers;
use super::dead_letters::{DeadLettersCommand, DeadLettersError};
use super::engine::{EngineError, PublishError, Workers};
use super::job::{Ended, RunError, RunOptions, folder_of, graph_plan, read_settings, run};
use super::memory::ReserveError;
use super::replay::{Replay, replay};
use super::subscribe::{SubscribeError, subscribe};
use super::terminal::{Log, print, say};
use super::{graph_text, inputs, memory, signals};

mod check;

/// Incrementally maintained, mutually consistent views of experiments and inventory, from two durable logs.
#[derive(Debug, Parser)]
#[command(name = "aisle", version = VERSION, after_help = EXIT_CODES)]
struct Command {
    #[command(subcommand)]
    what: Option<What>,
}

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (commit ", env!("AISLE_COMMIT"), ")");

const EXIT_CODES: &str = "\
Without a command, `aisle` runs samples/aisle.toml.

Exit codes:
  0   it went well, or was interrupted and can be resumed
  1   the run failed: the message says why and what to do
  2   the command line, the configuration or the host file has mistakes
  3   conservation does not hold or no record of some source could be taken (run --once), a replay differs, or a sink's
      topic is not what it should be
  4   another process of the cluster is gone: start every process again, the run resumes
  70  a mistake of ours: please report the message
  130 interrupted twice, so that nothing was waited for; can be resumed all the same
";

#[derive(Debug, Subcommand)]
enum What {
    /// Run a configuration: read its sources, maintain its views, write their changes, serve them.
    /// A second run resumes the data folder by replaying its logs.
    Run(RunArguments),
    /// Check a configuration and name every mistake with file and line; then look through its files and say what is in them.
    /// Touches nothing.
    Check {
        /// The configuration file.
        configuration: PathBuf,
    },
    /// Run a data folder again from its two logs and compare every output byte; print the first difference.
    Replay {
        /// The data folder.
        folder: PathBuf,
        /// Where the input files are, if not where they were when the run began.
        #[arg(long)]
        inputs: Option<PathBuf>,
        /// A configuration that says where Kafka is, if there are topics to read or to compare, and where history is, if that is
        /// not in the data folder; nothing else is taken of it.
        #[arg(long)]
        configuration: Option<PathBuf>,
        /// Worker threads; any number gives the same bytes [default: the cores].
        #[arg(long)]
        workers: Option<usize>,
        /// Compare the messages of this Kafka sink instead of the change files.
        #[cfg(feature = "kafka")]
        #[arg(long)]
        sink: Option<String>,
        #[cfg(feature = "kafka")]
        #[command(flatten)]
        written: super::verify::WrittenWith,
    },
    /// Read a topic of a Kafka sink as its consumer would, and prove that every message is there once.
    #[cfg(feature = "kafka")]
    VerifySink(super::verify::VerifyArguments),
    /// Show the dead letters of a data folder, and let them in again, as they were or repaired.
    DeadLetters {
        #[command(subcommand)]
        what: DeadLettersCommand,
    },
    /// Follow a view of a running instance: snapshot, changes and progress as NDJSON on standard output.
    Subscribe {
        /// The view, such as variant_minutes.
        view: String,
        /// The running instance.
        #[arg(long, default_value = "http://127.0.0.1:7171")]
        url: String,
        /// Go on from where an earlier subscription ended.
        #[arg(long)]
        token: Option<String>,
    },
    /// Print the dataflow graph of a configuration, with operator names.
    Graph {
        /// The configuration file.
        configuration: PathBuf,
    },
}

#[derive(Args, Debug)]
struct RunArguments {
    /// The configuration file.
    configuration: PathBuf,
    /// Worker threads of this process [default: the cores].
    #[arg(long)]
    workers: Option<usize>,
    /// Processes of the cluster.
    #[arg(long, default_value_t = 1, requires = "hostfile")]
    processes: usize,
    /// Which of them this one is, from 0. Process 0 has the data folder and serves.
    #[arg(long, default_value_t = 0)]
    process: usize,
    /// A file with `host:port` of each process, one a line.
    #[arg(long)]
    hostfile: Option<PathBuf>,
    /// Where to serve, instead of the configuration's `listen`.
    #[arg(long)]
    listen: Option<String>,
    /// End when every file has ended and every topic is read to its end, instead of going on.
    #[arg(long)]
    once: bool,
    /// Move an existing data folder aside and start anew.
    #[arg(long)]
    fresh: bool,
    /// Use no checkpoint, but compute everything again from the logs.
    #[arg(long)]
    replay_all: bool,
    /// Event time per wall time, each source from its own first event [default: as fast as it goes].
    #[arg(long)]
    speed: Option<f64>,
    /// Take so much memory before the run begins, in MiB, so that state which grows does not wait for the system.
    #[arg(long, default_value_t = 0)]
    reserve_mib: u64,
}

/// Runs the command line.
pub fn main() -> ExitCode {
    stop_on_panic();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(Log::default);
    log.with_ansi(std::io::stderr().is_terminal()).log_internal_errors(false).init();
    if let Err(error) = signals::outlive_file_limit() {
        tracing::warn!(%error, "a file that may not grow will end the process");
    }
    let what = Command::parse().what.unwrap_or_else(|| What::Run(RunArguments::main_job()));
    let interrupted = Arc::new(AtomicBool::new(false));
    // The others have nothing to bring to an end: a signal ends them at once, as it does any program.
    if matches!(what, What::Run(_) | What::Replay { .. }) && signals::listen(Arc::clone(&interrupted)).is_err() {
        say("Ctrl-C and SIGTERM can't be heard here; they end the process at once, and a later run resumes");
    }
    match obey(what, &interrupted) {
        Ok(code) => code,
        Err(failure) => failure.tell(),
    }
}

enum Failure {
    Usage(String),
    DeadLetters(DeadLettersError),
    Memory(ReserveError),
    Run(RunError),
    Subscribe(SubscribeError),
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        Failure::Run(error)
    }
}

impl Failure {
    fn tell(self) -> ExitCode {
        let (error, code): (&dyn std::error::Error, u8) = match &self {
            Failure::Usage(what) => {
                say(what);
                return ExitCode::from(2);
            }
            Failure::Run(
                error @ (RunError::Mistakes(_)
                | RunError::Unreadable { .. }
                | RunError::Cluster(_)
                | RunError::Files(FilesError::NoMatch { .. } | FilesError::Pattern { .. })),
            ) => (error, 2),
            Failure::Run(error @ RunError::Engine(EngineError::Lost { .. })) => (error, 4),
            Failure::Run(
                error @ RunError::Engine(EngineError::Workers { .. } | EngineError::Publish(PublishError::Views(_))),
            ) => (error, 70),
            Failure::Run(error) => (error, 1),
            Failure::DeadLetters(error) => (error, if error.is_usage() { 2 } else { 1 }),
            Failure::Subscribe(error @ SubscribeError::UnknownView { .. }) => (error, 2),
            Failure::Memory(error) => (error, 1),
            Failure::Subscribe(error) => (error, 1),
        };
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(because) = cause {
            let because_text = because.to_string();
            if !text.contains(&because_text) {
                text.push_str(": ");
                text.push_str(&because_text);
            }
            cause = because.source();
        }
        say(&text);
        ExitCode::from(code)
    }
}

fn obey(what: What, interrupted: &AtomicBool) -> Result<ExitCode, Failure> {
    match what {
        What::Run(arguments) => {
            let reserve_mib = arguments.reserve_mib;
            let options = arguments.options()?;
            // Mistakes in it are told before anybody waits.
            read_settings(&options.configuration)?;
            if !reserved(reserve_mib, interrupted)? {
                return Ok(ExitCode::SUCCESS);
            }
            Ok(match run(&options, interrupted)? {
                Ended::Well => ExitCode::SUCCESS,
                Ended::NotConserved | Ended::NothingTaken => ExitCode::from(3),
            })
        }
        What::Check { configuration } => check::check(&configuration, interrupted),
        #[cfg(feature = "kafka")]
        What::Replay { folder, inputs, configuration, workers, sink: Some(sink), written } => {
            let workers = threads_of(workers, 1)?;
            let (inputs, configuration) = (inputs.as_deref(), configuration.as_deref());
            let again = Replay { folder: &folder, inputs, configuration, workers };
            let (text, is_same) = super::verify::against_replay(&again, interrupted, &sink, &written)?;
            print(&text);
            Ok(if is_same { ExitCode::SUCCESS } else { ExitCode::from(3) })
        }
        #[cfg(feature = "kafka")]
        What::VerifySink(arguments) => {
            let (text, holds) = super::verify::verify_sink(&arguments)?;
            print(&text);
            Ok(if holds { ExitCode::SUCCESS } else { ExitCode::from(3) })
        }
        What::Replay { folder, inputs, configuration, workers, .. } => {
            let workers = threads_of(workers, 1)?;
            let (inputs, configuration) = (inputs.as_deref(), configuration.as_deref());
            let compared = replay(&Replay { folder: &folder, inputs, configuration, workers }, interrupted)?;
            Ok(compared.tell())
        }
        What::DeadLetters { what } => {
            let output = &mut std::io::stdout().lock();
            what.obey(&mut std::io::stdin().lock(), output).map_err(Failure::DeadLetters)?;
            Ok(ExitCode::SUCCESS)
        }
        What::Subscribe { view, url, token } => {
            let mut output = std::io::stdout().lock();
            subscribe(&url, &view, token.as_deref(), &mut output).map_err(Failure::Subscribe)?;
            Ok(ExitCode::SUCCESS)
        }
        What::Graph { configuration } => {
            let settings = read_settings(&configuration)?;
            let folder = folder_of(&configuration);
            let brokers = Brokers::of_settings(&settings, &folder).map_err(RunError::from)?;
            let begin = inputs::Begin { start_ms: 0, played: true, interrupted };
            let plan = inputs::plan(&settings, &folder, Some(&brokers), begin).map_err(RunError::from)?.plan;
            print(&graph_text::draw(&graph_plan(&plan)));
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Takes memory; says whether that was not interrupted.
fn reserved(mib: u64, interrupted: &AtomicBool) -> Result<bool, Failure> {
    let told = |done| say(&format!("taking memory: {done} of {mib} MiB"));
    let done = memory::reserve(mib, interrupted, told).map_err(Failure::Memory)?;
    match done {
        true if mib == 0 => {}
        true => say(&format!("{mib} MiB of memory are taken")),
        false => say("interrupted while taking memory; nothing was begun"),
    }
    Ok(done)
}

/// The worker threads of this process: as many as were asked for, if the machine has the memory for them.
fn threads_of(asked: Option<usize>, processes: usize) -> Result<usize, Failure> {
    let threads = asked.unwrap_or_else(cores);
    let refused = |what: String| Err(Failure::Usage(format!("--workers {threads}: {what}")));
    if threads == 0 || threads > 1_024 {
        return refused("there must be 1 to 1024 workers".to_owned());
    }
    let needed_mib = memory::workers_mib(threads, processes);
    match memory::available_mib() {
        Some(available_mib) if needed_mib > available_mib / 2 => refused(format!(
            "so many workers take {needed_mib} MiB before there is any state, and {available_mib} MiB are free, of which they \
             may take half; ask for fewer: more workers than cores ({}) are of no use",
            cores()
        )),
        _ => Ok(threads),
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

impl RunArguments {
    fn main_job() -> Self {
        RunArguments {
            configuration: PathBuf::from("samples/aisle.toml"),
            workers: None,
            processes: 1,
            process: 0,
            hostfile: None,
            listen: None,
            once: false,
            fresh: false,
            speed: None,
            replay_all: false,
            reserve_mib: 0,
        }
    }

    fn options(self) -> Result<RunOptions, Failure> {
        let usage = |what: String| Err(Failure::Usage(what));
        let threads = threads_of(self.workers, self.processes)?;
        if self.speed.is_some_and(|speed| !(speed.is_finite() && speed > 0.0)) {
            return usage("--speed must be greater than 0".to_owned());
        }
        let mut addresses = Vec::new();
        if let Some(hostfile) = &self.hostfile {
            let text = match std::fs::read_to_string(hostfile) {
                Ok(text) => text,
                Err(error) => return usage(format!("could not read the host file {}: {error}", hostfile.display())),
            };
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
            addresses.extend(lines.map(str::to_owned));
            if addresses.len() != self.processes {
                let (found, wanted) = (addresses.len(), self.processes);
                return usage(format!(
                    "the host file {} names {found} processes, but --processes is {wanted}",
                    hostfile.display()
                ));
            }
            if let Some(wrong) = addresses.iter().find(|address| !address.contains(':')) {
                return usage(format!("{}: \"{wrong}\" is no host:port", hostfile.display()));
            }
        }
        if self.process >= self.processes {
            return usage(format!("--process {} is not below --processes {}", self.process, self.processes));
        }
        Ok(RunOptions {
            configuration: self.configuration,
            workers: Workers { threads, addresses, process: self.process },
            listen: self.listen,
            once: self.once,
            fresh: self.fresh,
            speed: self.speed,
            replay_all: self.replay_all,
        })
    }
}

/// A panic anywhere is a mistake of ours: the process stops at once, before a half-dead cluster says anything.
fn stop_on_panic() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        before(panic);
        std::process::exit(70);
    }));
}
