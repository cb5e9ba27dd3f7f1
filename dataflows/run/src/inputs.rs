//! From a configuration to what a run reads: files and topics found and recorded, readers for each partition.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use connectors::command_log::{CommandSource, Commands};
use connectors::files::{FileSource, FileSpec, FilesError, expand};
use operators::record::{Decode, DecodeMessage};
use operators::source::{Source, SourceError};
use operators::time::TimeMs;
use operators::topology::Partition;

use super::brokers::{Brokers, BrokersError};
use super::engine::PartitionSource;
use super::logs::COMMAND_LOG;
use super::schema_lookup::SchemaLookup;
use dataflows::catalog::Catalog;
use dataflows::configuration::{
    CsvSettings, FileRecord, Format, PartitionInput, PartitionPlan, Plan, Recorded, Settings, SourceInput,
    SourceSettings, TopicRecord,
};
use dataflows::kind::{ListedKind, SourceDecoders, SourceNames};
use dataflows::kinds;
use dataflows::re_entry::ReEntryDecoder;
use times::Unread;

mod looked;
mod times;

pub use looked::Looked;

/// Why what is to be read can't be found.
#[derive(Debug, thiserror::Error)]
pub enum InputsError {
    /// A file.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// A topic.
    #[error(transparent)]
    Brokers(#[from] BrokersError),
    /// A file, while its event times were looked at.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Nobody wants to know any more.
    #[error("interrupted")]
    Interrupted,
    /// A record that no configuration makes.
    #[error("the recorded configuration does not say which columns the fields of source \"{source_name}\" are")]
    NoColumns {
        /// The source.
        source_name: String,
    },
}

/// The files of a pattern, relative to the configuration's folder. The folder's own name is taken as it is.
pub fn find(folder: &Path, pattern: &str) -> Result<Vec<PathBuf>, FilesError> {
    let literal = glob::Pattern::escape(&folder.to_string_lossy());
    expand(&Path::new(&literal).join(pattern).to_string_lossy()).map_err(|error| {
        let shown = folder.join(pattern).to_string_lossy().into_owned();
        match error {
            FilesError::NoMatch { .. } => match notation(folder, pattern) {
                Some(reason) => FilesError::Notation { pattern: shown, reason },
                None => FilesError::NoMatch { pattern: shown },
            },
            FilesError::Pattern { what, .. } => FilesError::Pattern { pattern: shown, what },
            error => error,
        }
    })
}

/// A found file as seen from the folder that it was looked for in. A pattern's matches lack a `./` that the pattern began with,
/// so it is not compared.
fn relative_to(folder: &Path, path: &Path) -> PathBuf {
    let plain = |path: &Path| path.components().filter(|part| *part != Component::CurDir).collect::<PathBuf>();
    let path = plain(path);
    path.strip_prefix(plain(folder)).map_or_else(|_| path.clone(), Path::to_owned)
}

/// What the signs of a pattern mean that matches nothing, where something else was meant.
fn notation(folder: &Path, pattern: &str) -> Option<String> {
    if pattern.contains('[') && folder.join(pattern).is_file() {
        let escaped = glob::Pattern::escape(pattern);
        return Some(format!(
            "[ ] stand for one of the characters between them; the file of just this name is \"{escaped}\""
        ));
    }
    let meant = "{ } are no pattern but stand for themselves; write one with *, ? or [ ], or a source for each name";
    pattern.contains('{').then(|| meant.to_owned())
}

/// What a run would read.
#[derive(Debug)]
pub struct Found {
    /// The plan of a run that begins with it.
    pub plan: Plan,
    /// By source: what is in its files, where they were looked through.
    pub looked: Vec<Looked>,
}

/// How a run would begin.
#[derive(Clone, Copy, Debug)]
pub struct Begin<'a> {
    /// When: what lies further ahead is a dead letter.
    pub start_ms: TimeMs,
    /// Whether files are played as if they were topics: then they are judged as those are.
    pub played: bool,
    /// Ends the search once it is set.
    pub interrupted: &'a AtomicBool,
}

/// Finds every source's files and records their sizes and hashes, unless they are `played` also the event times of their records,
/// and every source's topic with its partitions. Reads each file twice, once to decode it, and asks the brokers, where
/// they are given; otherwise topics have no partitions.
pub fn plan(
    settings: &Settings,
    folder: &Path,
    brokers: Option<&Brokers>,
    begin: Begin<'_>,
) -> Result<Found, InputsError> {
    let Begin { start_ms, played, interrupted } = begin;
    let mut paths = Vec::new();
    for input in &settings.inputs {
        paths.push(match input {
            SourceInput::Files(files) => find(folder, &files.pattern)?,
            SourceInput::Topic(_) => Vec::new(),
        });
    }
    // Whatever ended a search that was interrupted, that is why.
    let heard = |error: InputsError| if interrupted.load(Ordering::Acquire) { InputsError::Interrupted } else { error };
    let specs = FileSpec::record_all(&paths.concat(), interrupted).map_err(|error| heard(error.into()))?;
    let counts: Vec<usize> = paths.iter().map(Vec::len).collect();
    let found = if played { Vec::new() } else { look(settings, &counts, &specs, begin).map_err(heard)? };
    let times = found.iter().map(|looked| Some(looked.times).filter(|times| !times.is_empty()));
    let mut recorded = specs.into_iter().zip(times.chain(std::iter::repeat(None)));
    let (mut by_source, mut looked) = (Vec::new(), Vec::new());
    let mut found = found.iter();
    for ((input, count), source) in settings.inputs.iter().zip(counts).zip(&settings.recorded.sources) {
        looked.push(found.by_ref().take(count).cloned().fold(Looked::default(), Looked::then));
        let files = match input {
            SourceInput::Files(files) => files,
            SourceInput::Topic(topic) => {
                let found = brokers.map_or(Ok(Vec::new()), |brokers| brokers.find(topic))?;
                by_source.push(found.into_iter().map(PartitionInput::Topic).collect());
                continue;
            }
        };
        let mut records = Vec::new();
        for (spec, times) in recorded.by_ref().take(count) {
            let FileSpec { path, size_bytes, sha256, .. } = spec;
            let path = relative_to(folder, &path).to_string_lossy().into_owned();
            records.push(FileRecord { path, size_bytes, sha256, times });
        }
        let partitions = files.partitioned(records, source.lateness_ms, source.measured);
        by_source.push(partitions.into_iter().map(PartitionInput::Files).collect());
    }
    Ok(Found { plan: settings.plan(by_source, start_ms), looked })
}

/// What is in each file; `counts` says how many of them are of each source.
fn look(
    settings: &Settings,
    counts: &[usize],
    specs: &[FileSpec],
    begin: Begin<'_>,
) -> Result<Vec<Looked>, InputsError> {
    let start_ms = begin.start_ms;
    let catalog = Arc::new(settings.recorded.catalog());
    let (mut unread, mut specs) = (Vec::new(), specs.iter());
    for (source, count) in settings.recorded.sources.iter().zip(counts) {
        let names = names_of(&settings.recorded, source, &catalog);
        unread.extend(specs.by_ref().take(*count).map(|spec| Unread { source, names: names.clone(), spec, start_ms }));
    }
    times::of_files(&unread, begin.interrupted)
}

/// The names that the records of a source may have.
fn names_of(recorded: &Recorded, source: &SourceSettings, catalog: &Arc<Catalog>) -> SourceNames {
    SourceNames {
        catalog: Arc::clone(catalog),
        tenants: (!source.tenants.is_empty()).then(|| recorded.tenants_of(source)),
        fact_sources: source.fact_sources.clone(),
    }
}

/// A reader for each partition of a plan. Files and topics are opened, and held against what was recorded, when they are read.
/// Questions of their decoders go to `schema_lookup`.
pub fn sources(
    plan: &Plan,
    folder: &Path,
    brokers: &Brokers,
    schema_lookup: &SchemaLookup,
    commands: &Commands,
) -> Result<Vec<PartitionSource>, InputsError> {
    let catalog = Arc::new(plan.catalog());
    let partitions = plan.partitions.iter().zip(&plan.topology.partitions).enumerate();
    let open = |(number, (partition, wiring)): (usize, (&PartitionPlan, &Partition))| {
        let source = plan.source_of(partition);
        let names = names_of(&plan.recorded, source, &catalog);
        let reader =
            Reader { input: &partition.input, name: &wiring.name, number, folder, brokers, schema_lookup, commands };
        kinds::open(source.kind, SourceOpener { source, names, reader })
    };
    partitions.map(open).collect()
}

/// Opens a source once the type of its records is known.
struct SourceOpener<'a> {
    source: &'a SourceSettings,
    names: SourceNames,
    reader: Reader<'a>,
}

impl SourceDecoders for SourceOpener<'_> {
    type Output = Result<PartitionSource, InputsError>;

    fn open<K: ListedKind>(self) -> Self::Output {
        let SourceOpener { source, names, reader } = self;
        Ok(PartitionSource::of::<K>(match (source.format, reader.input) {
            (Format::Avro, PartitionInput::Topic(record)) => reader.of_messages(record, K::avro(K::json(names)))?,
            (Format::Csv, PartitionInput::Files(files)) => {
                let csv = csv_of(source)?;
                reader.of_rows(files, csv.delimiter, K::rows(K::json(names), csv))?
            }
            (format, PartitionInput::Topic(record)) if K::BATCHES == Some(format) => {
                reader.of_messages(record, K::batches(names))?
            }
            _ => reader.of_records(K::json(names))?,
        }))
    }
}

/// The mapping of a source of CSV, which a checked configuration has.
fn csv_of(source: &SourceSettings) -> Result<CsvSettings, InputsError> {
    source.csv.clone().ok_or_else(|| InputsError::NoColumns { source_name: source.name.clone() })
}

/// A partition that is about to be read.
struct Reader<'a> {
    input: &'a PartitionInput,
    name: &'a str,
    number: usize,
    folder: &'a Path,
    brokers: &'a Brokers,
    schema_lookup: &'a SchemaLookup,
    commands: &'a Commands,
}

impl Reader<'_> {
    /// Of the messages of a topic.
    fn of_messages<D: DecodeMessage>(
        &self,
        record: &TopicRecord,
        decoder: D,
    ) -> Result<Box<dyn Source<Record = D::Record>>, InputsError> {
        Ok(self.brokers.source(record, self.number, decoder, self.schema_lookup)?)
    }

    /// Of the rows of files.
    fn of_rows<D: Decode>(
        &self,
        files: &[FileRecord],
        delimiter: u8,
        decoder: D,
    ) -> Result<Box<dyn Source<Record = D::Record>>, InputsError> {
        Ok(Box::new(self.files(files, decoder)?.of_rows(delimiter)))
    }

    /// Of JSON, whoever brings it: lines, messages, or records that enter again.
    fn of_records<D: Decode>(&self, decoder: D) -> Result<Box<dyn Source<Record = D::Record>>, InputsError> {
        let files = match self.input {
            PartitionInput::Files(files) => files,
            PartitionInput::Topic(record) => return self.of_messages(record, decoder),
            PartitionInput::ReEntry { .. } => {
                let decoder = ReEntryDecoder::new(self.name, decoder);
                return Ok(Box::new(CommandSource::new(self.commands.clone(), COMMAND_LOG, decoder)));
            }
        };
        Ok(Box::new(self.files(files, decoder)?))
    }

    fn files<D: Decode>(&self, files: &[FileRecord], decoder: D) -> Result<FileSource<D>, InputsError> {
        let mut specs = Vec::new();
        for FileRecord { path, size_bytes, sha256, times: _ } in files {
            specs.push(FileSpec::recorded(self.folder.join(path), *size_bytes, sha256.clone())?);
        }
        let shown_as = files.iter().map(|file| file.path.clone());
        Ok(FileSource::new(self.name, specs, decoder).shown_as(shown_as))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However the folder is written, its files are recorded by the same names.
    #[test]
    fn files_are_named_from_the_folder() {
        for folder in ["sub", "./sub", "././sub", "sub/", "sub/.", "/data/sub", "../sub", "./../sub", ".", "./"] {
            let found = Path::new(folder).join("a/b.ndjson");
            assert_eq!(relative_to(Path::new(folder), &found), Path::new("a/b.ndjson"), "{folder}");
        }
        // As the pattern's matches are.
        assert_eq!(relative_to(Path::new("./sub"), Path::new("sub/a.ndjson")), Path::new("a.ndjson"));
        assert_eq!(relative_to(Path::new("./../sub"), Path::new("../sub/a.ndjson")), Path::new("a.ndjson"));
        assert_eq!(relative_to(Path::new("."), Path::new("sub/a.ndjson")), Path::new("sub/a.ndjson"));
        assert_eq!(relative_to(Path::new("./sub"), Path::new("/data/a.ndjson")), Path::new("/data/a.ndjson"));
    }

    #[test]
    fn the_folder_is_no_pattern() {
        let parent = tempfile::tempdir().unwrap();
        for folder in ["a[b]", "ab", "what?", "*"] {
            let folder = parent.path().join(folder);
            std::fs::create_dir(&folder).unwrap();
            std::fs::write(folder.join("1.ndjson"), "").unwrap();
            std::fs::write(folder.join("[2].ndjson"), "").unwrap();
        }
        for folder in ["a[b]", "what?", "*"] {
            let folder = parent.path().join(folder);
            assert_eq!(find(&folder, "?.ndjson").unwrap(), [folder.join("1.ndjson")]);
            assert_eq!(find(&folder, "[[]2].ndjson").unwrap(), [folder.join("[2].ndjson")]);
            let error = find(&folder, "3.ndjson").unwrap_err().to_string();
            assert!(error.contains(&*folder.join("3.ndjson").to_string_lossy()), "as it was given: {error}");
            assert!(matches!(find(&folder, "[").unwrap_err(), FilesError::Pattern { .. }));
        }
    }

    #[test]
    fn a_pattern_that_was_meant_as_another_one_is_told_what_its_signs_mean() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("a[b]");
        std::fs::create_dir(&folder).unwrap();
        for name in ["orders[1].ndjson", "b.ndjson", "{c}.ndjson"] {
            std::fs::write(folder.join(name), "").unwrap();
        }
        let told = |pattern: &str| find(&folder, pattern).unwrap_err().to_string();
        let brackets = told("orders[1].ndjson");
        assert!(brackets.contains("[ ] stand for one of the characters"), "{brackets}");
        assert!(brackets.contains("\"orders[[]1[]].ndjson\""), "{brackets}");
        assert_eq!(find(&folder, "orders[[]1[]].ndjson").unwrap(), [folder.join("orders[1].ndjson")]);
        assert!(told("{a,b}.ndjson").contains("{ } are no pattern"), "{}", told("{a,b}.ndjson"));
        assert_eq!(find(&folder, "{c}.ndjson").unwrap(), [folder.join("{c}.ndjson")]);
        assert!(told("orders[2].ndjson").ends_with("put the files there"), "there is none of that name");
    }

    #[test]
    fn what_was_recorded_stays_recorded() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a[1].ndjson"), "one").unwrap();
        let settings = dataflows::configuration::parse(
            "[[sources]]\nname = \"own\"\nkind = \"experiment\"\nfiles = \"*.ndjson\"\ntenants = [\"me\"]\n",
            "own.toml",
            crate::BUILT,
        );
        let begin = Begin { start_ms: 0, played: false, interrupted: &AtomicBool::new(false) };
        let plan = plan(&settings.unwrap(), folder.path(), None, begin).unwrap().plan;
        let PartitionInput::Files(files) = &plan.partitions[0].input else { unreachable!("files") };
        assert_eq!((files[0].path.as_str(), files[0].size_bytes), ("a[1].ndjson", 3));
        // The bytes are looked at when they are read, so that each file is hashed once before and once then.
        std::fs::write(folder.path().join("a[1].ndjson"), "another").unwrap();
        let sources =
            sources(&plan, folder.path(), &Brokers::default(), &SchemaLookup::default(), &Commands::default()).unwrap();
        let mut source = sources.into_iter().next().unwrap();
        assert!(source.try_poll(1 << 20).unwrap_err().to_string().contains("a[1].ndjson"));
    }
}
