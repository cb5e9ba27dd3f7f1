//! Why a run could not be, or go on.

use std::path::PathBuf;

use connectors::checkpoint_store::StoreError;
use connectors::data_folder::DataFolderError;
use connectors::files::FilesError;
use operators::disk::LogError;
use operators::sink::SinkError;
use operators::timekeeper::TimekeeperError;

use crate::brokers::BrokersError;
use crate::command_desk::CommandsCut;
use crate::engine::{ClusterError, EngineError};
use crate::history::HistoryError;
use crate::http::ServeError;
use crate::inputs::InputsError;
use crate::logs::LogsError;
use crate::schema_lookup::SchemaLookupError;
use dataflows::configuration::{Mistake, RecordedError};

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
    SchemaLookup(#[from] SchemaLookupError),
    /// The command log lacks what was bound.
    #[error(transparent)]
    CommandsCut(#[from] CommandsCut),
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
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The server.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The other processes of a cluster.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// While it ran.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// It used more memory than it may.
    #[error("{0}")]
    Memory(String),
    /// Something small about the data folder.
    #[error("could not write to the data folder")]
    Disk(#[from] std::io::Error),
}

impl From<InputsError> for RunError {
    fn from(error: InputsError) -> Self {
        match error {
            InputsError::Files(error) => error.into(),
            InputsError::Brokers(error) => error.into(),
            error @ (InputsError::NoColumns { .. } | InputsError::Source(_) | InputsError::Interrupted) => {
                RunError::Inputs(error)
            }
        }
    }
}
