//! How Kafka is reached: `[kafka]` and what belongs to it.

use toml::Spanned;

use super::super::bounds::{REPLICAS, TOPIC_BYTES_MAX};
use super::super::kafka::{
    Built, KafkaSaslSettings, KafkaSettings, KafkaTlsSettings, LogsSettings, SaslMechanism, SourceTopic, TopicStart,
};
use super::super::mistake::Mistakes;
use super::super::section::{Section, WrittenKafkaSections, WrittenSections};
use super::super::written::{Given, WrittenKafkaSasl, WrittenKafkaTls, WrittenLogs, WrittenSource};
use super::values::{choice, flag, place_of_password, unsigned};

/// How to build what is missing.
pub(super) const BUILD_KAFKA: &str = "build it with `cargo build --release --package aisle --features kafka`";
const BUILD_TLS: &str = "build it with `cargo build --release --package aisle --features kafka-tls`";

/// The section `[kafka]`, if there is one.
pub(super) fn settle(sections: &WrittenSections, built: Built, mistakes: &mut Mistakes<'_>) -> Option<KafkaSettings> {
    let WrittenKafkaSections { kafka, tls, sasl } = sections.kafka.as_ref()?;
    if !built.kafka {
        mistakes.add(kafka.span.clone(), "this build of Aisle has no Kafka", BUILD_KAFKA);
    }
    let bootstrap = kafka.required("bootstrap", &kafka.written.bootstrap, mistakes).cloned().unwrap_or_default();
    if let Some(given) = &kafka.written.bootstrap {
        bootstrap_is_one(given, mistakes);
    }
    let tls = tls.as_ref().map(|tls| {
        if built.kafka && !built.kafka_tls {
            mistakes.add(tls.span.clone(), "this build of Aisle has no TLS for Kafka", BUILD_TLS);
        }
        tls_of(tls, mistakes)
    });
    let sasl = sasl.as_ref().and_then(|sasl| sasl_of(sasl, built, mistakes));
    Some(KafkaSettings { bootstrap, tls, sasl })
}

/// Whether addresses are some; a mistake where they are not.
pub(super) fn bootstrap_is_one(given: &Spanned<String>, mistakes: &mut Mistakes<'_>) {
    if !is_list_of_addresses(given.get_ref()) {
        let message = format!("`bootstrap` is \"{}\", which is no list of hosts and ports", given.get_ref());
        mistakes.add(given.span(), message, "write `host:port` of one broker or of several, with commas between them");
    }
}

fn is_list_of_addresses(text: &str) -> bool {
    text.split(',').all(|address| {
        address.trim().rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
    })
}

fn tls_of(tls: &Section<WrittenKafkaTls>, mistakes: &mut Mistakes<'_>) -> KafkaTlsSettings {
    let WrittenKafkaTls { authorities, certificate, key } = &tls.written;
    let text = |given: &Given<String>| given.as_ref().map(|given| given.get_ref().clone());
    if let (Some(only), None) | (None, Some(only)) = (certificate, key)
        && !tls.is_faulty("certificate")
        && !tls.is_faulty("key")
    {
        let hint = "write both `certificate` and `key`, or neither";
        mistakes.add(only.span(), "a certificate without its key, or a key without its certificate", hint);
    }
    KafkaTlsSettings { authorities: text(authorities), certificate: text(certificate).zip(text(key)) }
}

fn sasl_of(sasl: &Section<WrittenKafkaSasl>, built: Built, mistakes: &mut Mistakes<'_>) -> Option<KafkaSaslSettings> {
    let WrittenKafkaSasl { mechanism, username, password_env, password_file } = &sasl.written;
    sasl.required("mechanism", mechanism, mistakes);
    let known = [
        ("plain", SaslMechanism::Plain),
        ("scram-sha-256", SaslMechanism::ScramSha256),
        ("scram-sha-512", SaslMechanism::ScramSha512),
    ];
    let chosen = choice("mechanism", mechanism, &known, mistakes);
    if let (Some(given), Some(SaslMechanism::ScramSha256 | SaslMechanism::ScramSha512)) = (mechanism, chosen)
        && built.kafka
        && !built.kafka_tls
    {
        mistakes.add(given.span(), "this build of Aisle has no SCRAM", BUILD_TLS);
    }
    let username = sasl.required("username", username, mistakes).cloned();
    let password = place_of_password(sasl, password_env, password_file, mistakes);
    Some(KafkaSaslSettings { mechanism: chosen?, username: username?, password: password? })
}

/// Whether a topic can be called that; a mistake where it can't.
fn is_topic_name(key: &str, topic: &Spanned<String>, mistakes: &mut Mistakes<'_>) {
    let name = topic.get_ref();
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if name.is_empty() || name.len() > TOPIC_BYTES_MAX || !name.bytes().all(is_legal) || name == "." || name == ".." {
        let hint = format!("write 1 to {TOPIC_BYTES_MAX} letters, digits, `.`, `_` and `-`");
        mistakes.add(topic.span(), format!("`{key}` is \"{name}\", which no topic can be called"), hint);
    }
}

/// The section `[logs]`, if there is one.
pub(super) fn logs(
    sections: &WrittenSections,
    cluster_is_given: bool,
    built: Built,
    mistakes: &mut Mistakes<'_>,
) -> Option<LogsSettings> {
    let section = sections.logs.as_ref()?;
    let WrittenLogs { remap_topic, commands_topic, create, replicas } = &section.written;
    if !built.kafka {
        mistakes.add(section.span.clone(), "this build of Aisle keeps no logs in topics", BUILD_KAFKA);
    } else if !cluster_is_given {
        let hint = "add a section `[kafka]` with `bootstrap = \"host:port\"`";
        mistakes.add(section.span.clone(), "the logs are in topics, but nothing says where Kafka is", hint);
    }
    let remap = section.required("remap_topic", remap_topic, mistakes).cloned().unwrap_or_default();
    let commands = match commands_topic {
        Some(given) => given.get_ref().clone(),
        None => format!("{remap}.commands"),
    };
    for (key, given) in [("remap_topic", remap_topic), ("commands_topic", commands_topic)] {
        given.iter().for_each(|given| is_topic_name(key, given, mistakes));
    }
    if let Some(given) = commands_topic.as_ref().filter(|given| *given.get_ref() == remap) {
        mistakes.add(given.span(), "both logs are in one topic", "name another topic, or leave `commands_topic` out");
    }
    let replicas = unsigned("replicas", replicas, REPLICAS, 3, mistakes);
    let create_with_replicas = flag(create).unwrap_or(false).then_some(replicas);
    Some(LogsSettings { remap_topic: remap, commands_topic: commands, create_with_replicas })
}

/// The topic of a source that names one.
pub(super) fn topic_of(
    section: &Section<WrittenSource>,
    topic: &Spanned<String>,
    cluster_is_given: bool,
    built: Built,
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
    let start = choice("start", &section.written.start, &starts, mistakes).unwrap_or(TopicStart::Earliest);
    SourceTopic { topic: name.clone(), start, span: topic.span() }
}
