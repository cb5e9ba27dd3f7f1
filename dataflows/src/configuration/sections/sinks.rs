//! `[[sinks]]`: which views are written to Kafka topics, and how the messages get there.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use operators::time::Tick;
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::Section;
use super::kafka::{BUILD_KAFKA, KafkaSettings, REPLICAS, TOPIC_BYTES_MAX, bootstrap_is_one};
use super::views::{ViewSettings, WrittenView};
use crate::configuration::Built;
use crate::configuration::mistake::{Mistakes, nearest_or_all};
use crate::configuration::settings::Settings;
use crate::configuration::table::{Given, Table};
use crate::configuration::values::{choice, flag, name_is_new, too_many, unsigned};
use crate::view::ViewId;

/// Views as messages in Kafka topics, each exactly once; `docs/sinks.md` shows the messages. Partitions are the `shards` of
/// the view. The first five keys decide what is written and may not change; the others may at a restart. A sink that a restart
/// adds begins with all rows that there are then.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WrittenSink {
    /// Its name: up to 100 letters, digits, `-` and `_`. Required.
    name: Given<String>,
    /// The name of the topic of each view; `{view}` stands for the view's name. Default: `"aisle.{view}"`.
    topic: Given<String>,
    /// Which views, at least one. Default: all that are enabled.
    views: Given<Vec<Spanned<String>>>,
    /// `"changes"`: a message for each change, `{"tick":…,"diff":…,"row":…}`. `"upserts"`: the row that a key has now, or
    /// nothing where it has none. Keys are the same. Default: `"changes"`.
    rows: Given<String>,
    /// `"changes"` (every change) or `"sealed"` (rows once the watermark has passed their minute; only of
    /// `session_minutes` and `variant_minutes`). Default: `"changes"`.
    emit: Given<String>,
    /// `host:port` of one or several brokers, with commas between them, of a cluster without encryption and credentials.
    /// Default: the cluster of `[kafka]`.
    bootstrap: Given<String>,
    /// The name of this engine, of the same characters, for its transactional ids `engine-name-shard` and its progress topic
    /// `engine.name.progress`. Two runs that write to one cluster need two. Default: `"aisle"`.
    engine: Given<String>,
    /// `"transactional"`: each message is seen once by whoever reads committed messages. `"idempotent-sequenced"`: no
    /// transactions; after a crash some may come twice, to be dropped by their headers. Default: `"transactional"`.
    mode: Given<String>,
    /// The most that its outbox on disk holds while the cluster is slow or away, at least 65536. Default: 268435456, which is
    /// 256 MiB.
    outbox_bytes: Given<i64>,
    /// What happens when the outbox is full: `"stall"` (the run waits) or `"detach"` (the sink takes nothing more until the
    /// next start, which derives it again). Default: `"stall"`.
    when_full: Given<String>,
    /// When the cluster gives up a transaction whose writer says nothing; how long a message may wait to be taken, too; 1000
    /// to 900000. Default: 60000, which is 1 minute.
    transaction_timeout_ms: Given<i64>,
    /// Whether topics that are missing are made. Default: false.
    create: Given<bool>,
    /// How many replicas those have; 1 to 100. Default: 3.
    replicas: Given<i64>,
}

/// Each sink has a producer for each of its shards.
const SINKS_MAX: usize = 100;

/// The length of a sink's or an engine's name: both are part of the names of topics.
const NAME_BYTES_MAX: usize = 100;

const OUTBOX_BYTES: RangeInclusive<i64> = 1 << 16..=i64::MAX;

/// Clusters refuse more than 15 minutes, unless they are told otherwise.
const TRANSACTION_TIMEOUT_MS: RangeInclusive<i64> = 1_000..=900_000;

/// Which messages a Kafka sink writes where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaSinkSettings {
    /// Its name, unique.
    pub name: String,
    /// The topic of each view, where `{view}` stands for the view's name.
    pub topic: String,
    /// The views, in the order in which they are listed.
    pub views: Vec<ViewId>,
    /// What a message says.
    pub rows: MessageRows,
    /// Whether only rows of sealed minutes are written.
    pub sealed: bool,
    /// The tick from which it holds: 0, unless it was added to a run that was there. Its messages of that tick are all rows that
    /// there are then.
    #[serde(default, skip_serializing_if = "is_first")]
    pub since: Tick,
}

fn is_first(tick: &Tick) -> bool {
    *tick == 0
}

impl KafkaSinkSettings {
    /// The topic of a view.
    pub fn topic_of(&self, view: ViewId) -> String {
        self.topic.replace("{view}", view.name())
    }
}

/// What the value of a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageRows {
    /// A change: tick, difference and row.
    Changes,
    /// The row that the key has now, or nothing.
    Upserts,
}

/// How a Kafka sink's messages get to their topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The cluster.
    pub kafka: KafkaSettings,
    /// The name of this engine.
    pub engine: String,
    /// With or without transactions.
    pub mode: DeliveryMode,
    /// The most that the outbox holds.
    pub outbox_bytes: u64,
    /// When the cluster gives up a transaction whose writer is silent.
    pub transaction_timeout_ms: u64,
    /// Whether the sink detaches when it is full; it stalls the run otherwise.
    pub detaches: bool,
    /// Topics that are missing are made with this many replicas, if it is given.
    pub create_with_replicas: Option<u16>,
}

/// How messages get into a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryMode {
    /// In transactions.
    Transactional,
    /// Without: readers drop what they have seen.
    IdempotentSequenced,
}

impl Section for WrittenSink {
    type Read = Vec<Table<Self>>;
    type Needs<'a> = (&'a Built, &'a Option<KafkaSettings>, &'a <WrittenView as Section>::Settled);
    type Settled = (Vec<KafkaSinkSettings>, Vec<Delivery>);

    fn settle(
        read: &Self::Read,
        (built, kafka, (views, _)): Self::Needs<'_>,
        mistakes: &mut Mistakes<'_>,
    ) -> Self::Settled {
        let (mut sinks, mut deliveries): (Vec<KafkaSinkSettings>, Vec<Delivery>) = (Vec::new(), Vec::new());
        for table in read {
            let written = &table.written;
            table.required("name", &written.name, mistakes);
            if let Some(name) = &written.name {
                is_plain("a sink's name", name, mistakes);
                name_is_new("sinks", name, sinks.iter().map(|sink| sink.name.as_str()), mistakes);
            }
            let sink = sink(table, views, mistakes);
            let delivery = delivery(table, kafka.as_ref(), mistakes);
            // Two sinks of one cluster can't share a topic: each proves that it wrote everything in it.
            for (other, its) in
                sinks.iter().zip(&deliveries).filter(|(_, its)| its.kafka.bootstrap == delivery.kafka.bootstrap)
            {
                let shared = sink.views.iter().map(|view| sink.topic_of(*view));
                let mut shared = shared.filter(|topic| other.views.iter().any(|view| other.topic_of(*view) == *topic));
                if let Some(topic) = shared.next() {
                    let span = written.topic.as_ref().map_or_else(|| table.span.clone(), Spanned::span);
                    let message = format!(
                        "the topic \"{topic}\" is that of sink \"{}\" too, at {}",
                        other.name, its.kafka.bootstrap
                    );
                    mistakes.add(span, message, "give this sink a `topic` of its own");
                }
            }
            sinks.push(sink);
            deliveries.push(delivery);
        }
        if let Some(first) = read.first().filter(|_| !built.kafka) {
            mistakes.add(first.span.clone(), "this build of Aisle has no Kafka", BUILD_KAFKA);
        }
        too_many("sinks", read.get(SINKS_MAX).map(|sink| &sink.span), SINKS_MAX, mistakes);
        (sinks, deliveries)
    }

    fn put((sinks, deliveries): Self::Settled, settings: &mut Settings) {
        settings.recorded.sinks = sinks;
        settings.local.deliveries = deliveries;
    }
}

fn sink(
    table: &Table<WrittenSink>,
    all: &BTreeMap<ViewId, ViewSettings>,
    mistakes: &mut Mistakes<'_>,
) -> KafkaSinkSettings {
    let written = &table.written;
    let emits = [("changes", false), ("sealed", true)];
    let sealed = choice("emit", &written.emit, &emits, mistakes).unwrap_or(false);
    let enabled = |view: ViewId| all.get(&view).is_none_or(|settings| settings.enabled);
    let views = match &written.views {
        Some(given) => named_views(given, &enabled, sealed, mistakes),
        None => ViewId::all().filter(|view| enabled(*view) && (!sealed || view.stays().is_minutes())).collect(),
    };
    let topic = written.topic.as_ref().map_or("aisle.{view}", |given| given.get_ref()).to_owned();
    if let Some(given) = &written.topic {
        topic_is_one(given, views.len(), mistakes);
    }
    let rows = [("changes", MessageRows::Changes), ("upserts", MessageRows::Upserts)];
    KafkaSinkSettings {
        name: written.name.as_ref().map(|name| name.get_ref().clone()).unwrap_or_default(),
        topic,
        views,
        rows: choice("rows", &written.rows, &rows, mistakes).unwrap_or(MessageRows::Changes),
        sealed,
        since: 0,
    }
}

fn named_views(
    given: &Spanned<Vec<Spanned<String>>>,
    enabled: &impl Fn(ViewId) -> bool,
    sealed: bool,
    mistakes: &mut Mistakes<'_>,
) -> Vec<ViewId> {
    let mut views = Vec::new();
    if given.get_ref().is_empty() {
        mistakes.add(given.span(), "`views` is empty", "name a view, or leave the key out for all");
    }
    for name in given.get_ref() {
        let Some(view) = ViewId::of_name(name.get_ref()) else {
            let message = format!("there is no view `{}`", name.get_ref());
            mistakes.add(
                name.span(),
                message,
                nearest_or_all(name.get_ref(), &ViewId::all().map(ViewId::name).collect::<Vec<_>>()),
            );
            continue;
        };
        if !enabled(view) {
            let message = format!("the view `{}` is not enabled", view.name());
            mistakes.add(name.span(), message, "enable it, or leave it out here");
        }
        if sealed && !view.stays().is_minutes() {
            let message = format!("rows of `{}` are never sealed, since they are of no minute", view.name());
            mistakes.add(name.span(), message, "leave it out, or give it a sink with `emit = \"changes\"`");
        }
        if views.contains(&view) {
            mistakes.add(name.span(), format!("the view `{}` is named twice", view.name()), "leave it out once");
        }
        views.push(view);
    }
    // A list says which, not in which order.
    views.sort();
    views.dedup();
    views
}

fn topic_is_one(given: &Spanned<String>, views: usize, mistakes: &mut Mistakes<'_>) {
    let pattern = given.get_ref();
    let longest = ViewId::all().map(|view| pattern.replace("{view}", view.name())).max_by_key(String::len);
    let longest = longest.unwrap_or_default();
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if longest.is_empty() || longest.len() > TOPIC_BYTES_MAX || !longest.bytes().all(is_legal) {
        let message = format!("`topic` is \"{pattern}\", which makes no name of a topic");
        let hint =
            format!("write up to {TOPIC_BYTES_MAX} letters, digits, `.`, `_` and `-`, with `{{view}}` among them");
        mistakes.add(given.span(), message, hint);
    } else if views > 1 && !pattern.contains("{view}") {
        let message = format!("`topic` is \"{pattern}\" for {views} views");
        mistakes.add(given.span(), message, "write `{view}` where the name of the view belongs");
    }
}

fn delivery(table: &Table<WrittenSink>, kafka: Option<&KafkaSettings>, mistakes: &mut Mistakes<'_>) -> Delivery {
    let written = &table.written;
    let kafka = match &written.bootstrap {
        Some(given) => {
            bootstrap_is_one(given, mistakes);
            KafkaSettings { bootstrap: given.get_ref().clone(), tls: None, sasl: None }
        }
        None => {
            if kafka.is_none() && !table.is_faulty("bootstrap") {
                let hint = "add a section `[kafka]` with `bootstrap = …`, or `bootstrap = …` here";
                mistakes.add(table.span.clone(), "nothing says where Kafka is", hint);
            }
            kafka.cloned().unwrap_or(KafkaSettings { bootstrap: String::new(), tls: None, sasl: None })
        }
    };
    if let Some(engine) = &written.engine {
        is_plain("`engine`", engine, mistakes);
    }
    let modes =
        [("transactional", DeliveryMode::Transactional), ("idempotent-sequenced", DeliveryMode::IdempotentSequenced)];
    let when_full = [("stall", false), ("detach", true)];
    let replicas = unsigned("replicas", &written.replicas, REPLICAS, 3, mistakes);
    let text = |given: &Given<String>, default: &str| {
        given.as_ref().map_or_else(|| default.to_owned(), |given| given.get_ref().clone())
    };
    Delivery {
        kafka,
        engine: text(&written.engine, "aisle"),
        mode: choice("mode", &written.mode, &modes, mistakes).unwrap_or(DeliveryMode::Transactional),
        outbox_bytes: unsigned("outbox_bytes", &written.outbox_bytes, OUTBOX_BYTES, 256 << 20, mistakes),
        transaction_timeout_ms: unsigned(
            "transaction_timeout_ms",
            &written.transaction_timeout_ms,
            TRANSACTION_TIMEOUT_MS,
            60_000,
            mistakes,
        ),
        detaches: choice("when_full", &written.when_full, &when_full, mistakes).unwrap_or(false),
        create_with_replicas: flag(&written.create).unwrap_or(false).then_some(replicas),
    }
}

/// Whether a name can be a part of a topic's; a mistake where it can't.
fn is_plain(what: &str, name: &Spanned<String>, mistakes: &mut Mistakes<'_>) {
    let text = name.get_ref();
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.bytes().all(is_legal) {
        let hint = format!("write 1 to {NAME_BYTES_MAX} letters, digits, `-` and `_`");
        mistakes.add(name.span(), format!("{what} is \"{text}\""), hint);
    }
}
