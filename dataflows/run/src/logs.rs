//! Where a run keeps the two logs that it writes itself: as files of its data folder, or as topics of a cluster.
//!
//! A run keeps its logs where they began. So that whoever has only the data folder knows where that is, a folder whose logs
//! are in topics holds a file that names them. A folder that is lost is no loss then: an empty one goes on from the topics.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use connectors::data_folder::DataFolder;
use connectors::local_disk::LocalDisk;
use operators::disk::{Disk, EachEntry, Log, LogError, PageReader, PagedLog};
use operators::framed_log::FramedLog;
use operators::memory_disk::MemoryDisk;
use operators::segmented_log::{SegmentedLog, SegmentedReader};
use serde::{Deserialize, Serialize};

use dataflows::configuration::{KafkaSettings, LogsSettings, Settings};

/// The name of the remap log in a data folder.
pub const REMAP_LOG: &str = "remap.log";

/// The name of the command log in a data folder: of its first segment.
pub const COMMAND_LOG: &str = "commands.log";

/// What the files of the command log are named after.
const COMMANDS: &str = "commands";

/// A command log that is written, and a reader of it.
pub type CommandLog = (Box<dyn PagedLog>, Box<dyn PageReader>);

/// The file of a data folder that names the topics of its logs.
pub const TOPICS: &str = "logs-topics.json";

/// Why the logs can't be had.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// They are somewhere else.
    #[error(
        "the data folder {} keeps its logs in {recorded}, and the configuration wants them in {wanted}; \
         correct `[logs]`, or start a new run with --fresh", .folder.display()
    )]
    Elsewhere {
        /// The folder.
        folder: PathBuf,
        /// Where they are.
        recorded: String,
        /// Where they should be.
        wanted: String,
    },
    /// A new run finds another one's.
    #[error(
        "the topic \"{topic}\" holds the remap log of a run, of {ticks} ticks; a run with --fresh needs topics of its own: \
         name others under `[logs]`, since nothing is ever deleted"
    )]
    NotEmpty {
        /// The topic.
        topic: String,
        /// How many entries it has.
        ticks: usize,
    },
    /// Nobody says where Kafka is.
    #[error(
        "the logs of {} are in {topics}, but nothing says where Kafka is; name a configuration with a section `[kafka]` \
         (--configuration)", .folder.display()
    )]
    Nowhere {
        /// The folder.
        folder: PathBuf,
        /// The topics.
        topics: String,
    },
    /// The file that names the topics.
    #[error("{} does not name the topics of the logs as it should; restore it from a copy", .path.display())]
    Marker {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// How Kafka is reached.
    #[cfg(feature = "kafka")]
    #[error(transparent)]
    Brokers(#[from] super::brokers::BrokersError),
    /// A topic.
    #[cfg(feature = "kafka")]
    #[error(transparent)]
    Topic(#[from] connectors::kafka::log::TopicLogError),
    /// There is no Kafka in this build.
    #[cfg(not(feature = "kafka"))]
    #[error(
        "the logs of {} are in topics, and this build of Aisle has no Kafka; build it with \
         `cargo build --release --package aisle --features kafka`", .folder.display()
    )]
    NotBuilt {
        /// The folder.
        folder: PathBuf,
    },
}

/// The topics of both logs, as a data folder names them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Topics {
    remap: String,
    commands: String,
}

impl std::fmt::Display for Topics {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "the topics \"{}\" and \"{}\"", self.remap, self.commands)
    }
}

/// Where both logs are.
#[derive(Clone, Debug)]
pub struct Logs {
    place: LogStore,
    stop: Arc<AtomicBool>,
}

#[derive(Clone, Debug)]
enum LogStore {
    Files,
    #[cfg(feature = "kafka")]
    Topics {
        topics: Topics,
        connection: Box<connectors::kafka::connection::Connection>,
        create_with_replicas: Option<u16>,
    },
}

/// Whether a folder holds a run.
pub fn is_data_folder(folder: &Path) -> bool {
    folder.join(REMAP_LOG).exists() || folder.join(TOPICS).exists()
}

impl Logs {
    /// As a configuration wants them; `folder` is the configuration's.
    pub fn of_settings(settings: &Settings, folder: &Path) -> Result<Logs, LogsError> {
        match (&settings.local.logs, &settings.local.kafka) {
            (Some(logs), Some(kafka)) => {
                let LogsSettings { remap_topic, commands_topic, create_with_replicas } = logs.clone();
                let topics = Topics { remap: remap_topic, commands: commands_topic };
                let place = place(topics, kafka, folder, create_with_replicas)?;
                Ok(Logs { place, stop: Arc::default() })
            }
            _ => Ok(Logs { place: LogStore::Files, stop: Arc::default() }),
        }
    }

    /// Where a data folder says that they are; `configuration` is how Kafka is reached, and the folder that its paths are
    /// relative to.
    pub fn of_folder(data: &Path, configuration: Option<(&KafkaSettings, &Path)>) -> Result<Logs, LogsError> {
        let place = match (recorded(&LocalDisk::new(data), data)?, configuration) {
            (None, _) => LogStore::Files,
            (Some(topics), Some((kafka, folder))) => place(topics, kafka, folder, None)?,
            (Some(topics), None) => {
                return Err(LogsError::Nowhere { folder: data.to_owned(), topics: topics.to_string() });
            }
        };
        Ok(Logs { place, stop: Arc::default() })
    }

    /// Makes sure that they are where the data folder began to keep them; a folder that began nothing takes note.
    pub fn settle(&self, data: &DataFolder) -> Result<(), LogsError> {
        let mut disk = data.disk();
        let has_files = data.path().join(REMAP_LOG).exists();
        let recorded = recorded(&disk, data.path())?;
        let wanted = self.topics();
        let has_begun = has_files || recorded.is_some();
        if has_begun && recorded.as_ref() != wanted {
            let told = |topics: Option<&Topics>| match topics {
                Some(topics) => topics.to_string(),
                None => format!("the files {REMAP_LOG} and {COMMAND_LOG}"),
            };
            let (recorded, wanted) = (told(recorded.as_ref()), told(wanted));
            return Err(LogsError::Elsewhere { folder: data.path().to_owned(), recorded, wanted });
        }
        if let (None, Some(topics)) = (recorded, wanted) {
            let unwritable = |source| LogsError::Marker { path: data.path().join(TOPICS), source };
            note(&mut disk, topics).map_err(unwritable)?;
        }
        Ok(())
    }

    fn topics(&self) -> Option<&Topics> {
        match &self.place {
            LogStore::Files => None,
            #[cfg(feature = "kafka")]
            LogStore::Topics { topics, .. } => Some(topics),
        }
    }

    /// Refuses topics that hold a run, which a new one can't move aside. Files are moved with their folder.
    pub fn refuse_begun(&self, disk: LocalDisk) -> Result<(), LogsError> {
        let Some(topics) = self.topics() else { return Ok(()) };
        match self.remap(disk)?.read()?.len() {
            0 => Ok(()),
            ticks => Err(LogsError::NotEmpty { topic: topics.remap.clone(), ticks }),
        }
    }

    /// The remap log, to be written: whoever wrote it before is fenced.
    pub fn remap(&self, disk: LocalDisk) -> Result<Box<dyn Log>, LogsError> {
        match &self.place {
            LogStore::Files => Ok(Box::new(FramedLog::new(disk, REMAP_LOG))),
            #[cfg(feature = "kafka")]
            LogStore::Topics { topics, connection, create_with_replicas } => {
                let (topic, create_with_replicas) = (topics.remap.clone(), *create_with_replicas);
                let options = connectors::kafka::log::TopicLogOptions { topic, create_with_replicas };
                Ok(Box::new(connectors::kafka::log::open(connection, &options, Arc::clone(&self.stop))?))
            }
        }
    }

    /// The command log of a data folder, to be written, and a reader of it: whoever wrote it before is fenced. Shows every
    /// entry that there is.
    pub fn commands(&self, data: &Path, each: EachEntry<'_>) -> Result<CommandLog, LogsError> {
        match &self.place {
            LogStore::Files => {
                let log = SegmentedLog::open(LocalDisk::new(data), COMMANDS, each)?;
                let reader = log.reader(LocalDisk::new(data));
                Ok((Box::new(log), Box::new(reader)))
            }
            #[cfg(feature = "kafka")]
            LogStore::Topics { topics, connection, create_with_replicas } => {
                let (topic, create_with_replicas) = (topics.commands.clone(), *create_with_replicas);
                let options = connectors::kafka::log::TopicLogOptions { topic, create_with_replicas };
                let stop = Arc::clone(&self.stop);
                let (log, reader) = connectors::kafka::log::open_paged(connection, &options, stop, each)?;
                Ok((Box::new(log), Box::new(reader)))
            }
        }
    }

    /// A reader of the command log as it is now, for those who only read. Another process may be writing to it. Shows every
    /// entry that there is.
    pub fn read_commands(&self, data: &Path, each: EachEntry<'_>) -> Result<Box<dyn PageReader>, LogsError> {
        match &self.place {
            LogStore::Files => Ok(Box::new(SegmentedReader::open(LocalDisk::new(data), COMMANDS, each)?)),
            #[cfg(feature = "kafka")]
            LogStore::Topics { topics, connection, .. } => {
                Ok(Box::new(connectors::kafka::log::read_paged(connection, &topics.commands, each)?))
            }
        }
    }

    /// What the command log is called, for people.
    pub fn commands_name(&self) -> String {
        match self.topics() {
            None => COMMAND_LOG.to_owned(),
            Some(topics) => format!("the topic \"{}\"", topics.commands),
        }
    }

    /// A copy of the remap log as it is now, for those who only read.
    pub fn copy_of_remap(&self, disk: &impl Disk) -> Result<Box<dyn Log>, LogsError> {
        // Whatever a reader mends is not ours.
        let (name, copy) = (REMAP_LOG, MemoryDisk::new());
        match &self.place {
            LogStore::Files => {
                let unreadable = |source| LogError::Disk { name: name.to_owned(), doing: "read", source };
                copy.put(name, disk.read(name).map_err(unreadable)?.unwrap_or_default());
                Ok(Box::new(FramedLog::new(copy, name)))
            }
            #[cfg(feature = "kafka")]
            LogStore::Topics { topics, connection, .. } => {
                let mut log = FramedLog::new(copy, name);
                for entry in connectors::kafka::log::read(connection, &topics.remap)? {
                    log.append(&entry)?;
                }
                Ok(Box::new(log))
            }
        }
    }

    /// Ends every wait for a cluster.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }
}

#[cfg(feature = "kafka")]
fn place(
    topics: Topics,
    kafka: &KafkaSettings,
    folder: &Path,
    create_with_replicas: Option<u16>,
) -> Result<LogStore, LogsError> {
    let connection = Box::new(super::brokers::connection(kafka, folder)?);
    Ok(LogStore::Topics { topics, connection, create_with_replicas })
}

#[cfg(not(feature = "kafka"))]
fn place(_: Topics, _: &KafkaSettings, folder: &Path, _: Option<u16>) -> Result<LogStore, LogsError> {
    Err(LogsError::NotBuilt { folder: folder.to_owned() })
}

/// Writes down the topics, in a line.
fn note(disk: &mut impl Disk, topics: &Topics) -> std::io::Result<()> {
    let mut text = serde_json::to_vec(topics).expect("two names are always JSON");
    text.push(b'\n');
    if disk.read(TOPICS)?.is_some() {
        disk.truncate(TOPICS, 0)?;
    }
    disk.append(TOPICS, &text)?;
    disk.sync(TOPICS)
}

/// The topics that a data folder names, if it does. A line without its end was cut short before the run began.
fn recorded(disk: &impl Disk, folder: &Path) -> Result<Option<Topics>, LogsError> {
    let wrong = |source| LogsError::Marker { path: folder.join(TOPICS), source };
    match disk.read(TOPICS).map_err(wrong)? {
        Some(text) if text.ends_with(b"\n") => {
            Ok(Some(serde_json::from_slice(&text).map_err(|error| wrong(error.into()))?))
        }
        Some(_) | None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_that_a_crash_cut_short_is_written_again() {
        let topics = Topics { remap: "orders.remap".to_owned(), commands: "orders.commands".to_owned() };
        let mut whole = MemoryDisk::new();
        note(&mut whole, &topics).unwrap();
        let text = whole.read(TOPICS).unwrap().unwrap();
        for length in 0..text.len() {
            let mut disk = MemoryDisk::new();
            disk.put(TOPICS, &text[..length]);
            assert_eq!(recorded(&disk, Path::new("data")).unwrap(), None, "{length} bytes");
            note(&mut disk, &topics).unwrap();
            assert_eq!(recorded(&disk, Path::new("data")).unwrap(), Some(topics.clone()), "{length} bytes");
        }
        whole.put(TOPICS, &text[1..]);
        assert!(matches!(recorded(&whole, Path::new("data")), Err(LogsError::Marker { .. })));
    }
}
