//! `aisle verify-sink` and `aisle replay --sink`: a topic, as its consumer has it, against its progress and its replay.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::{Args, ValueEnum};
use comfy_table::{CellAlignment, Table, presets};
use connectors::kafka::connection::Connection;
use connectors::kafka::sink::verify::{Found, Question, SentMessage, verify};
use connectors::kafka::sink::{Mode, headers_of};

use super::brokers::{BrokersError, connection};
use super::job::{RunError, folder_of, read_settings};
use super::replay::Replay;
use super::replay::messages::messages_of;
use super::run_end::{RUN_END, RunEnd};
use dataflows::configuration::KafkaSinkSettings;

/// How long a partition may take to be read.
const PATIENCE: Duration = Duration::from_secs(600);

/// What is to be verified.
#[derive(Args, Debug)]
pub struct VerifyArguments {
    /// The topic.
    topic: String,
    /// `host:port` of some brokers, separated by commas.
    #[arg(long, required_unless_present = "configuration")]
    bootstrap: Option<String>,
    /// A configuration that says where Kafka is, and of the sink where its progress is; nothing else is taken of it.
    #[arg(long)]
    configuration: Option<PathBuf>,
    /// The sink's progress topic, if it can't be told from the messages.
    #[arg(long)]
    progress: Option<String>,
    /// The `mode` of the sink.
    #[arg(long, value_enum, default_value_t = ModeArgument::Transactional)]
    mode: ModeArgument,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ModeArgument {
    Transactional,
    IdempotentSequenced,
}

impl From<ModeArgument> for Mode {
    fn from(mode: ModeArgument) -> Mode {
        match mode {
            ModeArgument::Transactional => Mode::Transactional,
            ModeArgument::IdempotentSequenced => Mode::IdempotentSequenced,
        }
    }
}

/// With what a sink was written: what is not said here, the configuration of the replay says.
#[derive(Args, Debug)]
pub struct WrittenWith {
    /// `host:port` of some brokers of the sink's cluster.
    #[arg(long, requires = "sink")]
    bootstrap: Option<String>,
    /// The `engine` of the sink [default: aisle].
    #[arg(long, requires = "sink")]
    engine: Option<String>,
    /// The `mode` of the sink [default: transactional].
    #[arg(long, requires = "sink", value_enum)]
    mode: Option<ModeArgument>,
}

impl WrittenWith {
    fn resolve(&self, configuration: Option<&Path>, sink: &str) -> Result<(Connection, String, Mode), RunError> {
        let settings =
            configuration.map(|path| Ok::<_, RunError>((read_settings(path)?, folder_of(path)))).transpose()?;
        let delivery = settings.and_then(|(settings, folder)| {
            let place = settings.recorded.sinks.iter().position(|settings| settings.name == sink)?;
            Some((settings.local.deliveries[place].clone(), folder))
        });
        let connection = match (&self.bootstrap, &delivery) {
            (Some(bootstrap), _) => Connection::plaintext(bootstrap),
            (None, Some((delivery, folder))) => connection(&delivery.kafka, folder)?,
            (None, None) => return Err(BrokersError::Nowhere.into()),
        };
        let engine = self.engine.clone().or_else(|| delivery.as_ref().map(|(delivery, _)| delivery.engine.clone()));
        let written =
            delivery.map_or(Mode::Transactional, |(delivery, _)| crate::outputs::kafka::mode_of(delivery.mode));
        Ok((connection, engine.unwrap_or_else(|| "aisle".to_owned()), self.mode.map_or(written, Mode::from)))
    }
}

/// What was found in a topic, as text, and whether everything holds.
pub fn verify_sink(arguments: &VerifyArguments) -> Result<(String, bool), RunError> {
    let settings = arguments.configuration.as_deref().map(read_settings).transpose()?;
    // A configuration that has the sink knows where it writes its progress, and where it is.
    let delivery = settings.as_ref().and_then(|settings| {
        let writes = |sink: &KafkaSinkSettings| sink.views.iter().any(|view| sink.topic_of(*view) == arguments.topic);
        let place = settings.recorded.sinks.iter().position(writes)?;
        Some((&settings.recorded.sinks[place].name, &settings.local.deliveries[place]))
    });
    let of_sink = delivery.map(|(name, delivery)| format!("{}.{name}.progress", delivery.engine));
    let question = Question {
        topic: arguments.topic.clone(),
        progress_topic: arguments.progress.clone().or(of_sink),
        mode: arguments.mode.into(),
        patience: PATIENCE,
    };
    let connection = match (&arguments.bootstrap, &arguments.configuration) {
        (Some(bootstrap), _) => Connection::plaintext(bootstrap),
        (None, Some(path)) => {
            let kafka = delivery.map(|(_, delivery)| delivery.kafka.clone());
            let kafka = kafka.or_else(|| settings.as_ref().and_then(|settings| settings.local.kafka.clone()));
            connection(&kafka.ok_or(BrokersError::Nowhere)?, &folder_of(path))?
        }
        (None, None) => return Err(BrokersError::Nowhere.into()),
    };
    let found = verify(&connection, &question, |_, _| {})?;
    Ok((told(&arguments.topic, &found), found.violation.is_none()))
}

fn told(topic: &str, found: &Found) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header([
        "partition",
        "messages",
        "dropped",
        "ticks with messages",
        "last tick",
        "complete below",
        "hashes compared",
    ]);
    for shard in &found.shards {
        let last_tick = shard.last_tick.map_or_else(|| "-".to_owned(), |tick| tick.to_string());
        let compared = if shard.is_cut { "none: cut".to_owned() } else { shard.compared.to_string() };
        let [messages, dropped, ticks] = [shard.messages, shard.dropped, shard.ticks].map(|count| count.to_string());
        let complete_below = shard.complete_below.to_string();
        table.add_row([shard.shard.to_string(), messages, dropped, ticks, last_tick, complete_below, compared]);
    }
    table.column_iter_mut().for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    let mut text = format!("{topic}, by the progress in {}\n{table}\n", found.progress_topic);
    if found.shards.iter().any(|shard| shard.is_cut) {
        text.push_str(
            "The first messages of a partition have expired: only the sequence of the others was verified.\n",
        );
    }
    match &found.violation {
        None => text.push_str("every message is there once\n"),
        Some(violation) => {
            let at = violation.offset.map_or_else(|| "at its end".to_owned(), |offset| format!("at offset {offset}"));
            text.push_str(&format!("partition {} {at}: {}\n", violation.partition, violation.what));
        }
    }
    text
}

/// Replays a data folder and compares a sink's messages with what is in its topics; the text, and whether they are the
/// same. A sink that was stopped may not have sent its last messages, but those of which the run said that they were sent; more
/// than the replay's are a difference.
pub fn against_replay(
    replay: &Replay<'_>,
    interrupted: &AtomicBool,
    sink: &str,
    written: &WrittenWith,
) -> Result<(String, bool), RunError> {
    let (connection, engine, mode) = written.resolve(replay.configuration, sink)?;
    let derived = match messages_of(replay, interrupted, sink)? {
        Ok(derived) => derived,
        Err(why) => return Ok((format!("{why}\n"), false)),
    };
    let sent_upto = RunEnd::read(replay.folder).and_then(|end| end.sent.get(sink).copied()).unwrap_or(0);
    let mut topics: Vec<&String> = derived.keys().map(|(topic, _)| topic).collect();
    topics.dedup();
    let (mut there, mut all) = (0, 0);
    for topic in topics {
        let question = Question {
            topic: topic.clone(),
            progress_topic: Some(format!("{engine}.{sink}.progress")),
            mode,
            patience: PATIENCE,
        };
        let mut sent: BTreeMap<u32, Vec<SentMessage>> = BTreeMap::new();
        let found =
            verify(&connection, &question, |partition, message| sent.entry(partition).or_default().push(message))?;
        if found.violation.is_some() {
            return Ok((told(topic, &found), false));
        }
        for ((_, shard), messages) in derived.iter().filter(|((of, _), _)| of == topic) {
            let expected = messages.iter().map(|(tick, message)| SentMessage {
                key: message.key.clone(),
                value: message.value.clone(),
                headers: headers_of(sink, *shard, *tick, message)
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value.into_bytes()))
                    .collect(),
            });
            let expected: Vec<SentMessage> = expected.collect();
            let sent = sent.remove(shard).unwrap_or_default();
            let differs = sent.iter().zip(&expected).position(|(sent, expected)| sent != expected);
            let differs = differs.or_else(|| (sent.len() > expected.len()).then_some(expected.len()));
            if let Some(at) = differs {
                let show = |message: Option<&SentMessage>| message.map_or_else(|| "nothing".to_owned(), shown);
                let (written, again) = (show(sent.get(at)), show(expected.get(at)));
                let text =
                    format!("{topic}[{shard}] differs at message {at}\n  written: {written}\n  replay:  {again}\n");
                return Ok((text, false));
            }
            let needed = messages.iter().filter(|(tick, _)| *tick < sent_upto).count();
            if sent.len() < needed {
                let there = sent.len();
                let text = format!(
                    "{topic}[{shard}] has {there} of the {needed} messages that it had at tick {sent_upto} ({RUN_END} says so): \
                     they were deleted; write to new topics under another `engine` or sink name to have all of them again\n"
                );
                return Ok((text, false));
            }
            (there, all) = (there + sent.len(), all + expected.len());
        }
    }
    Ok((format!("{there} of {all} messages of sink \"{sink}\" are in its topics, and the same\n"), true))
}

fn shown(message: &SentMessage) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).chars().take(400).collect::<String>();
    let headers: Vec<String> = message.headers.iter().map(|(name, value)| format!("{name}={}", text(value))).collect();
    let value = message.value.as_deref().map_or_else(|| "no value".to_owned(), text);
    format!("{} {} {value}", headers.join(" "), text(&message.key))
}
