//! `[logs]`: topics for the run's own logs, where they shall outlive its machine.

use serde::Deserialize;

use super::Section;
use super::kafka::{BUILD_KAFKA, KafkaSettings, REPLICAS, is_topic_name};
use crate::configuration::Built;
use crate::configuration::mistake::Mistakes;
use crate::configuration::settings::Settings;
use crate::configuration::table::{Given, Table};
use crate::configuration::values::{flag, unsigned};

/// Topics of one partition for the logs that a run writes itself, in the cluster of `[kafka]`: without this section they are
/// the files `remap.log` and `commands.log` of the data folder. A run keeps its logs where they began. Only one process
/// writes them: another one that is started with the same topics takes them over, and the first one ends.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WrittenLogs {
    /// The topic of the remap log. Nothing in it may ever be deleted: `cleanup.policy=delete`, `retention.ms=-1` and
    /// `retention.bytes=-1`, which is seen to. Required.
    remap_topic: Given<String>,
    /// The topic of the command log, of the same kind. Default: the remap log's, with `.commands` behind it.
    commands_topic: Given<String>,
    /// Whether topics that are missing are made. Default: false.
    create: Given<bool>,
    /// How many replicas those have; 1 to 100. Default: 3.
    replicas: Given<i64>,
}

/// Where the logs are that a run writes itself, if not in its data folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogsSettings {
    /// The topic of the remap log.
    pub remap_topic: String,
    /// The topic of the command log.
    pub commands_topic: String,
    /// Topics that are missing are made with so many replicas, if at all.
    pub create_with_replicas: Option<u16>,
}

impl Section for WrittenLogs {
    type Read = Option<Table<Self>>;
    type Needs<'a> = (&'a Built, &'a Option<KafkaSettings>);
    type Settled = Option<LogsSettings>;

    fn settle(
        read: &Self::Read,
        (built, kafka): (&Built, &Option<KafkaSettings>),
        mistakes: &mut Mistakes<'_>,
    ) -> Option<LogsSettings> {
        let table = read.as_ref()?;
        let WrittenLogs { remap_topic, commands_topic, create, replicas } = &table.written;
        if !built.kafka {
            mistakes.add(table.span.clone(), "this build of Aisle keeps no logs in topics", BUILD_KAFKA);
        } else if kafka.is_none() {
            let hint = "add a section `[kafka]` with `bootstrap = \"host:port\"`";
            mistakes.add(table.span.clone(), "the logs are in topics, but nothing says where Kafka is", hint);
        }
        let remap = table.required("remap_topic", remap_topic, mistakes).cloned().unwrap_or_default();
        let commands = match commands_topic {
            Some(given) => given.get_ref().clone(),
            None => format!("{remap}.commands"),
        };
        for (key, given) in [("remap_topic", remap_topic), ("commands_topic", commands_topic)] {
            given.iter().for_each(|given| is_topic_name(key, given, mistakes));
        }
        if let Some(given) = commands_topic.as_ref().filter(|given| *given.get_ref() == remap) {
            mistakes.add(
                given.span(),
                "both logs are in one topic",
                "name another topic, or leave `commands_topic` out",
            );
        }
        let replicas = unsigned("replicas", replicas, REPLICAS, 3, mistakes);
        let create_with_replicas = flag(create).unwrap_or(false).then_some(replicas);
        Some(LogsSettings { remap_topic: remap, commands_topic: commands, create_with_replicas })
    }

    fn put(settled: Option<LogsSettings>, settings: &mut Settings) {
        settings.local.logs = settled;
    }
}
