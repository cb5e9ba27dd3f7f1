//! Kafka sinks: which views they write, and how their messages get there.

use std::collections::BTreeMap;

use toml::Spanned;

use super::super::bounds::{
    OUTBOX_BYTES, REPLICAS, SINK_NAME_BYTES_MAX, SINKS_MAX, TOPIC_BYTES_MAX, TRANSACTION_TIMEOUT_MS,
};
use super::super::kafka::{Built, KafkaSettings};
use super::super::mistake::{Mistakes, nearest_or_all};
use super::super::section::Section;
use super::super::settings::{Delivery, DeliveryMode, KafkaSinkSettings, MessageRows, ViewSettings};
use super::super::written::{Given, WrittenSink};
use super::kafka::{BUILD_KAFKA, bootstrap_is_one};
use super::sources::too_many;
use super::values::{choice, flag, name_is_new, unsigned};
use crate::view::ViewId;

pub(super) fn settle(
    sections: &[Section<WrittenSink>],
    views: &BTreeMap<ViewId, ViewSettings>,
    kafka: Option<&KafkaSettings>,
    built: Built,
    mistakes: &mut Mistakes<'_>,
) -> (Vec<KafkaSinkSettings>, Vec<Delivery>) {
    let (mut sinks, mut deliveries): (Vec<KafkaSinkSettings>, Vec<Delivery>) = (Vec::new(), Vec::new());
    for section in sections {
        let written = &section.written;
        section.required("name", &written.name, mistakes);
        if let Some(name) = &written.name {
            is_plain("a sink's name", name, mistakes);
            name_is_new("sinks", name, sinks.iter().map(|sink| sink.name.as_str()), mistakes);
        }
        let sink = sink(section, views, mistakes);
        let delivery = delivery(section, kafka, mistakes);
        // Two sinks of one cluster can't share a topic: each proves that it wrote everything in it.
        for (other, its) in
            sinks.iter().zip(&deliveries).filter(|(_, its)| its.kafka.bootstrap == delivery.kafka.bootstrap)
        {
            let shared = sink.views.iter().map(|view| sink.topic_of(*view));
            let mut shared = shared.filter(|topic| other.views.iter().any(|view| other.topic_of(*view) == *topic));
            if let Some(topic) = shared.next() {
                let span = written.topic.as_ref().map_or_else(|| section.span.clone(), Spanned::span);
                let message =
                    format!("the topic \"{topic}\" is that of sink \"{}\" too, at {}", other.name, its.kafka.bootstrap);
                mistakes.add(span, message, "give this sink a `topic` of its own");
            }
        }
        sinks.push(sink);
        deliveries.push(delivery);
    }
    if let Some(first) = sections.first().filter(|_| !built.kafka) {
        mistakes.add(first.span.clone(), "this build of Aisle has no Kafka", BUILD_KAFKA);
    }
    too_many("sinks", sections.get(SINKS_MAX).map(|sink| &sink.span), SINKS_MAX, mistakes);
    (sinks, deliveries)
}

fn sink(
    section: &Section<WrittenSink>,
    all: &BTreeMap<ViewId, ViewSettings>,
    mistakes: &mut Mistakes<'_>,
) -> KafkaSinkSettings {
    let written = &section.written;
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

fn delivery(section: &Section<WrittenSink>, kafka: Option<&KafkaSettings>, mistakes: &mut Mistakes<'_>) -> Delivery {
    let written = &section.written;
    let kafka = match &written.bootstrap {
        Some(given) => {
            bootstrap_is_one(given, mistakes);
            KafkaSettings { bootstrap: given.get_ref().clone(), tls: None, sasl: None }
        }
        None => {
            if kafka.is_none() && !section.is_faulty("bootstrap") {
                let hint = "add a section `[kafka]` with `bootstrap = …`, or `bootstrap = …` here";
                mistakes.add(section.span.clone(), "nothing says where Kafka is", hint);
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
    if text.is_empty() || text.len() > SINK_NAME_BYTES_MAX || !text.bytes().all(is_legal) {
        let hint = format!("write 1 to {SINK_NAME_BYTES_MAX} letters, digits, `-` and `_`");
        mistakes.add(name.span(), format!("{what} is \"{text}\""), hint);
    }
}
