//! What a source reads: files, or a topic.

use std::ops::Range;

use operators::disorder::{EventTimes, in_order};
use toml::Spanned;

use super::super::kafka::{BUILD_KAFKA, is_topic_name};
use super::WrittenSource;
use crate::configuration::mistake::Mistakes;
use crate::configuration::table::Table;
use crate::configuration::values::{choice, flag};
use crate::configuration::{Built, FileRecord};

/// What a source reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceInput {
    /// Files.
    Files(SourceFiles),
    /// A topic.
    Topic(SourceTopic),
}

/// Which files a source has. What they turn out to be is recorded, not how they were found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFiles {
    /// A glob, relative to the configuration file's folder.
    pub pattern: String,
    /// Whether each file is a partition.
    pub parallel: bool,
    /// Where the glob stands in the configuration's text, in bytes; [`Position::of`](crate::configuration::Position::of) gives the line.
    pub span: Range<usize>,
}

impl SourceFiles {
    /// The files of each partition, from all files in any order. Files that follow each other in time, or overlap by no
    /// more than `tolerance_ms`, are read one after the other; where no times are known, in the order of their names. Those
    /// that overlap are read beside each other if `beside_each_other` says so.
    pub fn partitioned(
        &self,
        mut files: Vec<FileRecord>,
        tolerance_ms: i64,
        beside_each_other: bool,
    ) -> Vec<Vec<FileRecord>> {
        /// Of more, each is read behind the one that ends first, and the disorder of that is held like any other.
        const BESIDE_EACH_OTHER_MAX: usize = 32;
        files.sort_by(|left, right| left.path.cmp(&right.path));
        if self.parallel {
            return files.into_iter().map(|file| vec![file]).collect();
        }
        let times: Vec<Option<EventTimes>> = files.iter().map(|file| file.times).collect();
        let most = if beside_each_other { BESIDE_EACH_OTHER_MAX } else { 1 };
        let partitions = in_order(&times, tolerance_ms, most);
        partitions.iter().map(|places| places.iter().map(|place| files[*place].clone()).collect()).collect()
    }
}

/// Which topic a source has. What its partitions turn out to be is recorded, not how they are reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceTopic {
    /// Its name.
    pub topic: String,
    /// Where it is read from.
    pub start: TopicStart,
    /// Where the name stands in the configuration's text, in bytes.
    pub span: Range<usize>,
}

/// Where a topic is read from when a run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicStart {
    /// The first record that each partition still holds.
    Earliest,
    /// Behind the last record that each partition holds then.
    Latest,
}

/// What a source reads: files, unless it names a topic.
pub(super) fn settle(
    table: &Table<WrittenSource>,
    cluster_is_given: bool,
    built: &Built,
    mistakes: &mut Mistakes<'_>,
) -> SourceInput {
    let WrittenSource { files, topic, parallel, start, .. } = &table.written;
    let Some(topic) = topic else {
        if files.is_none() && !table.is_faulty("files") && !table.is_faulty("topic") {
            let hint = "add `files = …`, a file's name or a pattern, or `topic = …`, a Kafka topic";
            mistakes.add(table.span.clone(), "`files` is missing", hint);
        }
        if let Some(start) = start {
            mistakes.add(
                start.span(),
                "only a topic has a `start`",
                "leave it out: files are read from their beginning",
            );
        }
        return SourceInput::Files(files_of(table, mistakes));
    };
    if let Some(files) = files {
        mistakes.add(files.span(), "a source has both `files` and a `topic`", "make two sources of it");
    }
    if let Some(parallel) = parallel {
        let hint = "leave it out: the partitions of a topic are always read beside each other";
        mistakes.add(parallel.span(), "only files can be `parallel`", hint);
    }
    SourceInput::Topic(topic_of(table, topic, cluster_is_given, built, mistakes))
}

fn files_of(table: &Table<WrittenSource>, mistakes: &mut Mistakes<'_>) -> SourceFiles {
    let given = &table.written.files;
    if let Some(given) = given
        && given.get_ref().is_empty()
    {
        mistakes.add(given.span(), "`files` is empty", "name a file, or several with a pattern such as \"*.ndjson\"");
    }
    let span = given.as_ref().map_or(0..0, Spanned::span);
    let pattern = given.as_ref().map(|given| given.get_ref().clone()).unwrap_or_default();
    SourceFiles { pattern, parallel: flag(&table.written.parallel).unwrap_or(false), span }
}

/// The topic of a source that names one.
fn topic_of(
    table: &Table<WrittenSource>,
    topic: &Spanned<String>,
    cluster_is_given: bool,
    built: &Built,
    mistakes: &mut Mistakes<'_>,
) -> SourceTopic {
    let name = topic.get_ref();
    is_topic_name("topic", topic, mistakes);
    if !built.kafka {
        mistakes.add(topic.span(), "this build of Aisle reads no topics", BUILD_KAFKA);
    } else if !cluster_is_given {
        let hint = "add a section `[kafka]` with `bootstrap = \"host:port\"`";
        mistakes.add(topic.span(), "a source has a topic, but nothing says where Kafka is", hint);
    }
    let starts = [("earliest", TopicStart::Earliest), ("latest", TopicStart::Latest)];
    let start = choice("start", &table.written.start, &starts, mistakes).unwrap_or(TopicStart::Earliest);
    SourceTopic { topic: name.clone(), start, span: topic.span() }
}
