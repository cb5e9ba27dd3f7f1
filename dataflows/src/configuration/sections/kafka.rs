//! `[kafka]`: how a Kafka cluster is reached. It is local to a process and not recorded.

use std::ops::{Range, RangeInclusive};

use serde::Deserialize;
use serde::de::IgnoredAny;
use toml::Spanned;
use toml::de::DeTable;

use super::Section;
use crate::configuration::Built;
use crate::configuration::mistake::Mistakes;
use crate::configuration::settings::Settings;
use crate::configuration::table::{FromTable, Given, Table, table_of};
use crate::configuration::values::{PasswordPlace, choice, place_of_password};

/// How a Kafka cluster is reached. Nothing of this is recorded, and all of it may change at a restart.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WrittenKafka {
    /// `host:port` of one or several of its brokers, with commas between them. Required.
    bootstrap: Given<String>,
    /// Encryption.
    tls: Option<IgnoredAny>,
    /// Credentials.
    sasl: Option<IgnoredAny>,
}

/// Encryption of the connections to Kafka. An empty section is enough where the system trusts the cluster's authority.
/// Needs a build with `--features kafka-tls`. Paths are relative to the configuration file's folder.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WrittenKafkaTls {
    /// A file of the authorities to be trusted, as PEM. Default: those of the system.
    authorities: Given<String>,
    /// A file of one's own certificate, as PEM, where the cluster asks for one. Default: none.
    certificate: Given<String>,
    /// A file of that certificate's key, as PEM. Default: none.
    key: Given<String>,
}

/// Credentials for Kafka. The password is in none of Aisle's files and is never printed.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WrittenKafkaSasl {
    /// How the password is told: `"plain"` (as it is: only with TLS, or on one's own host), `"scram-sha-256"` or
    /// `"scram-sha-512"` (as a proof; need a build with `--features kafka-tls`). Required.
    mechanism: Given<String>,
    /// The user. Required.
    username: Given<String>,
    /// The variable of the environment that holds the password. Either this or `password_file` is required.
    password_env: Given<String>,
    /// A file that holds the password, relative to the configuration file's folder; line endings after it do not count.
    password_file: Given<String>,
}

/// How to build what is missing.
pub(super) const BUILD_KAFKA: &str = "build it with `cargo build --release --package aisle --features kafka`";
const BUILD_TLS: &str = "build it with `cargo build --release --package aisle --features kafka-tls`";

/// The length of a topic's name.
pub(super) const TOPIC_BYTES_MAX: usize = 249;

/// How many replicas a topic that is made may have.
pub(super) const REPLICAS: RangeInclusive<i64> = 1..=100;

/// A cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaSettings {
    /// `host:port` of some of its brokers, separated by commas.
    pub bootstrap: String,
    /// Encryption.
    pub tls: Option<KafkaTlsSettings>,
    /// Credentials.
    pub sasl: Option<KafkaSaslSettings>,
}

/// Encryption; the paths are relative to the configuration file's folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KafkaTlsSettings {
    /// Authorities to be trusted, as PEM; the system's otherwise.
    pub authorities: Option<String>,
    /// A certificate of one's own and its key, as PEM.
    pub certificate: Option<(String, String)>,
}

/// Credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaSaslSettings {
    /// How the password is told.
    pub mechanism: SaslMechanism,
    /// The user.
    pub username: String,
    /// Where the password is.
    pub password: PasswordPlace,
}

/// How a password is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaslMechanism {
    /// As it is.
    Plain,
    /// As a proof, with SHA-256.
    ScramSha256,
    /// As a proof, with SHA-512.
    ScramSha512,
}

/// `[kafka]` and the sections within it.
#[derive(Debug)]
pub(super) struct KafkaTables {
    kafka: Table<WrittenKafka>,
    tls: Option<Table<WrittenKafkaTls>>,
    sasl: Option<Table<WrittenKafkaSasl>>,
}

impl FromTable for KafkaTables {
    fn from_table(mut table: DeTable<'_>, span: Range<usize>, mistakes: &mut Mistakes<'_>) -> Self {
        let mut within = |name: &str| table_of(table.remove(name)?, &format!("kafka.{name}"), mistakes);
        let (tls, sasl) = (within("tls"), within("sasl"));
        let tls = tls.map(|(span, table)| Table::from_table(table, span, mistakes));
        let sasl = sasl.map(|(span, table)| Table::from_table(table, span, mistakes));
        KafkaTables { kafka: Table::from_table(table, span, mistakes), tls, sasl }
    }
}

impl Section for WrittenKafka {
    type Read = Option<KafkaTables>;
    type Needs<'a> = (&'a Built,);
    type Settled = Option<KafkaSettings>;

    fn settle(read: &Self::Read, (built,): (&Built,), mistakes: &mut Mistakes<'_>) -> Option<KafkaSettings> {
        let KafkaTables { kafka: table, tls, sasl } = read.as_ref()?;
        if !built.kafka {
            mistakes.add(table.span.clone(), "this build of Aisle has no Kafka", BUILD_KAFKA);
        }
        let bootstrap = table.required("bootstrap", &table.written.bootstrap, mistakes).cloned().unwrap_or_default();
        if let Some(given) = &table.written.bootstrap {
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

    fn put(settled: Option<KafkaSettings>, settings: &mut Settings) {
        settings.local.kafka = settled;
    }
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

/// Whether a topic can be called that; a mistake where it can't.
pub(super) fn is_topic_name(key: &str, topic: &Spanned<String>, mistakes: &mut Mistakes<'_>) {
    let name = topic.get_ref();
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if name.is_empty() || name.len() > TOPIC_BYTES_MAX || !name.bytes().all(is_legal) || name == "." || name == ".." {
        let hint = format!("write 1 to {TOPIC_BYTES_MAX} letters, digits, `.`, `_` and `-`");
        mistakes.add(topic.span(), format!("`{key}` is \"{name}\", which no topic can be called"), hint);
    }
}

fn tls_of(tls: &Table<WrittenKafkaTls>, mistakes: &mut Mistakes<'_>) -> KafkaTlsSettings {
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

fn sasl_of(sasl: &Table<WrittenKafkaSasl>, built: &Built, mistakes: &mut Mistakes<'_>) -> Option<KafkaSaslSettings> {
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
