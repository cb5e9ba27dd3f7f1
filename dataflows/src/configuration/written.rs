//! The configuration as it is written. These comments are the manual: `docs/configuration.md` repeats them word for word,
//! and a test compares the two.
//!
//! Everything is optional to the parser, so that what is missing is reported together with what is wrong.

use serde::Deserialize;
use serde::de::IgnoredAny;
use toml::Spanned;

/// A value, if one is given, and where.
pub(super) type Given<T> = Option<Spanned<T>>;

/// The file as a whole. Only one source with one tenant is needed.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WrittenFile {
    /// Where everything that Aisle writes goes, relative to the working directory. Default: `"./aisle-data"`.
    pub(super) data_dir: Given<String>,
    /// The most that the data folder may hold, in bytes, at least 1048576. Default: 4294967296, which is 4 GiB.
    pub(super) data_bytes_max: Given<i64>,
    /// The address and port where views are served. Default: `"127.0.0.1:7171"`.
    pub(super) listen: Given<String>,
    /// Ticks, and how much disorder and silence sources may have.
    pub(super) time: Option<IgnoredAny>,
    /// How Kafka is reached, where a source has a topic or there is a sink.
    pub(super) kafka: Option<IgnoredAny>,
    /// Topics for the run's own logs, where they shall outlive its machine.
    pub(super) logs: Option<IgnoredAny>,
    /// How the schema registry is reached, where the messages of a topic are Avro.
    pub(super) registry: Option<IgnoredAny>,
    /// Where records come from, up to 1000 sources. Their order numbers the partitions.
    pub(super) sources: Option<IgnoredAny>,
    /// Tenants that no source names, and those whose order matters; up to 1000 in all.
    pub(super) tenants: Option<IgnoredAny>,
    /// Up to 100 experiments of each tenant, and 65535 in all.
    pub(super) experiments: Option<IgnoredAny>,
    /// How far each source of facts is believed, by the name that facts give in `source`. One that is not listed has rank
    /// 100, class A, no authority and an exact clock.
    pub(super) fact_sources: Option<IgnoredAny>,
    /// How long sessions are kept together.
    pub(super) sessions: Option<IgnoredAny>,
    /// How stock becomes availability.
    pub(super) inventory: Option<IgnoredAny>,
    /// Where and how often the state is saved, so that a restart need not compute everything again.
    pub(super) checkpoints: Option<IgnoredAny>,
    /// Where sealed minutes are kept for longer than any view keeps them.
    pub(super) history: Option<IgnoredAny>,
    /// What is kept and written of each view: `session_minutes`, `variant_minutes`, `variant_totals`, `late_events`,
    /// `dead_letters`, `source_health`, `stock`, `availability`.
    pub(super) views: Option<IgnoredAny>,
    /// Which pairs of experiments `unit_overlap` tests.
    pub(super) unit_overlap: Option<IgnoredAny>,
    /// Kafka topics that views are written to, besides their files; up to 100 sinks.
    pub(super) sinks: Option<IgnoredAny>,
}

/// Checkpoints: what every operator holds, as of one tick, so that a restart replays only what came after it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WrittenCheckpoints {
    /// A folder, relative to the data folder; or `s3://bucket/prefix`, in a build with the feature `s3`, with credentials in
    /// `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`; or `"none"`. Processes of one cluster need a store that all of them
    /// reach. Default: `"checkpoints"`.
    pub(super) to: Given<String>,
    /// The URL of an S3 store that is not Amazon's.
    pub(super) endpoint: Given<String>,
    /// A checkpoint begins this long after the one before, at least; later where writing takes more than a tenth of that.
    /// 100 to 86400000. Default: 60000, which is 1 minute.
    pub(super) interval_ms: Given<i64>,
    /// How many are kept; 1 to 100. Default: 3.
    pub(super) keep: Given<i64>,
}

/// History: the sealed minutes of `variant_minutes` as Parquet files, as `history.md` says. Whether there is any, and where
/// files end, is part of what the run's outputs are and can't change at a restart; the rest can.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WrittenHistory {
    /// A folder, relative to the data folder; or `s3://bucket/prefix`, as for checkpoints; or `"none"`. Default:
    /// `"history"`, in a build with the feature `history`.
    pub(super) to: Given<String>,
    /// The URL of an S3 store that is not Amazon's.
    pub(super) endpoint: Given<String>,
    /// A file ends where the time of the ticks enters another multiple of this; 60000 to 86400000. Default: 600000, which is
    /// 10 minutes.
    pub(super) file_ms: Given<i64>,
    /// A file ends sooner, behind the tick in which it came to hold so many rows; 1 to 1000000. So many are held in memory.
    /// Default: 100000.
    pub(super) rows_max: Given<i64>,
    /// A file is deleted once its newest minute is this far behind the time of the ticks. Default: 34560000000, which is 400
    /// days.
    pub(super) retention_ms: Given<i64>,
}

/// When ticks are minted, and how much disorder and silence is allowed. The last four hold for every source that does not
/// say otherwise; they, and how ticks are minted, may change at a restart.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WrittenTime {
    /// A tick is minted this long after the last one, if there is anything to read; 1 to 1000. Default: 100.
    pub(super) tick_ms: Given<i64>,
    /// The most input of one tick, shared among the partitions by weight; 4096 to 1073741824. Input is taken in pieces of
    /// up to 64 KiB, more where one line is longer; a tick takes one at least, even if that is more. Default: 2097152.
    pub(super) tick_bytes: Given<i64>,
    /// How many ticks may be worked on at once; 1 to 64. Default: 4.
    pub(super) in_flight: Given<i64>,
    /// A record this far behind the newest of its lane is still on time. A lane is a tenant's records in one partition; of
    /// facts, each fact source's. Default: 600000, which is 10 minutes.
    pub(super) lateness_ms: Given<i64>,
    /// A lane whose records keep coming, but whose clock stands still, holds the watermark back for no longer than this.
    /// Default: 1800000, which is 30 minutes.
    pub(super) hold_ms: Given<i64>,
    /// A lane that is silent for this long no longer holds the watermark back. Default: 3600000, which is 1 hour.
    pub(super) idle_ms: Given<i64>,
    /// An event time this far ahead of the clock (files: of when the run first started) is a dead letter. Default: 60000.
    pub(super) skew_max_ms: Given<i64>,
}

/// How a Kafka cluster is reached. Nothing of this is recorded, and all of it may change at a restart.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WrittenKafka {
    /// `host:port` of one or several of its brokers, with commas between them. Required.
    pub(super) bootstrap: Given<String>,
    /// Encryption.
    pub(super) tls: Option<IgnoredAny>,
    /// Credentials.
    pub(super) sasl: Option<IgnoredAny>,
}

/// Encryption of the connections to Kafka. An empty section is enough where the system trusts the cluster's authority.
/// Needs a build with `--features kafka-tls`. Paths are relative to the configuration file's folder.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WrittenKafkaTls {
    /// A file of the authorities to be trusted, as PEM. Default: those of the system.
    pub(super) authorities: Given<String>,
    /// A file of one's own certificate, as PEM, where the cluster asks for one. Default: none.
    pub(super) certificate: Given<String>,
    /// A file of that certificate's key, as PEM. Default: none.
    pub(super) key: Given<String>,
}

/// Credentials for Kafka. The password is in none of Aisle's files and is never printed.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WrittenKafkaSasl {
    /// How the password is told: `"plain"` (as it is: only with TLS, or on one's own host), `"scram-sha-256"` or
    /// `"scram-sha-512"` (as a proof; need a build with `--features kafka-tls`). Required.
    pub(super) mechanism: Given<String>,
    /// The user. Required.
    pub(super) username: Given<String>,
    /// The variable of the environment that holds the password. Either this or `password_file` is required.
    pub(super) password_env: Given<String>,
    /// A file that holds the password, relative to the configuration file's folder; line endings after it do not count.
    pub(super) password_file: Given<String>,
}

/// Topics of one partition for the logs that a run writes itself, in the cluster of `[kafka]`: without this section they are
/// the files `remap.log` and `commands.log` of the data folder. A run keeps its logs where they began. Only one process
/// writes them: another one that is started with the same topics takes them over, and the first one ends.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WrittenLogs {
    /// The topic of the remap log. Nothing in it may ever be deleted: `cleanup.policy=delete`, `retention.ms=-1` and
    /// `retention.bytes=-1`, which is seen to. Required.
    pub(super) remap_topic: Given<String>,
    /// The topic of the command log, of the same kind. Default: the remap log's, with `.commands` behind it.
    pub(super) commands_topic: Given<String>,
    /// Whether topics that are missing are made. Default: false.
    pub(super) create: Given<bool>,
    /// How many replicas those have; 1 to 100. Default: 3.
    pub(super) replicas: Given<i64>,
}

/// A schema registry with Confluent's interface. Nothing of this is recorded, and all of it may change at a restart, as long
/// as the same ids mean the same schemas. The password is in none of Aisle's files and is never printed.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WrittenRegistry {
    /// Its base address, `http://host:port` and the path that its interface has there, if any. Required.
    pub(super) url: Given<String>,
    /// The user, where the registry asks for one (basic authentication). Default: none.
    pub(super) username: Given<String>,
    /// The variable of the environment that holds the user's password. With a user, either this or `password_file` is required.
    pub(super) password_env: Given<String>,
    /// A file that holds the password, relative to the configuration file's folder; line endings after it do not count.
    pub(super) password_file: Given<String>,
}

/// One source: files of newline-delimited JSON, plain or compressed, or a Kafka topic with one JSON record a message.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WrittenSource {
    /// Its name in views and errors; its partitions are `name/0`, `name/1` and so on. Required.
    pub(super) name: Given<String>,
    /// What its records are: `"experiment"` (events) or `"inventory"` (facts). Required.
    pub(super) kind: Given<String>,
    /// Its files, as a glob relative to the configuration file's folder. Together they are one partition, read one after the
    /// other in the order of their names. Either this or `topic` is required.
    pub(super) files: Given<String>,
    /// Whether each file is a partition of its own, read beside the others. Default: false.
    pub(super) parallel: Given<bool>,
    /// Its topic, each of whose partitions is one of the source; only what is committed is read. Partitions that are added to
    /// the topic while a run goes on, or between two runs, are added to it, behind all others.
    pub(super) topic: Given<String>,
    /// How its records are written: `"json"`, one a line or message; `"csv"`, one a row of a file, as `csv.md` says; `"avro"`,
    /// one a message with the id of its schema, which is in the registry of `[registry]`, as `events.md` says; or
    /// `"facts-batch"`, many facts a message, as `facts-batch.md` says, only of kind `"inventory"`. Default: `"json"`.
    pub(super) format: Given<String>,
    /// Only of CSV, and required there: a section `[sources.columns]`, which says of each field the name of its column, or
    /// `{ value = … }` for what is the same in every row; `csv.md` has examples.
    pub(super) columns: Option<IgnoredAny>,
    /// Only of CSV: what stands between two cells, one ASCII character. Default: `","`.
    pub(super) delimiter: Given<String>,
    /// Only of CSV: how times are written: `"ms"` or `"s"` since 1970-01-01 UTC, `"rfc3339"`, or a pattern in UTC such as
    /// `"%Y-%m-%d %H:%M:%S"`. Default: `"ms"`.
    pub(super) time_format: Given<String>,
    /// Where a topic is read from when a run begins: `"earliest"` (the first record that each partition still holds) or
    /// `"latest"` (behind the last one). The offsets are recorded then, so a restart goes on. Default: `"earliest"`.
    pub(super) start: Given<String>,
    /// The tenants whose records it has, at least one; records of others are dead letters. Tenants named here are declared
    /// by that. Default: every tenant of the configuration.
    pub(super) tenants: Given<Vec<Spanned<String>>>,
    /// The fact sources whose facts it has, at least one, only of kind `"inventory"`; facts of others are dead letters. Each
    /// one holds the watermark back until it speaks or is idle. Default: any.
    pub(super) fact_sources: Given<Vec<Spanned<String>>>,
    /// The share of a tick's bytes that each of its partitions gets, relative to others; 1 to 1000000. Default: 1.
    pub(super) weight: Given<i64>,
    /// As under `[time]`, for this source. Default: what `[time]` says.
    pub(super) lateness_ms: Given<i64>,
    /// As under `[time]`, for this source. Default: what `[time]` says.
    pub(super) hold_ms: Given<i64>,
    /// As under `[time]`, for this source. Default: what `[time]` says.
    pub(super) idle_ms: Given<i64>,
    /// As under `[time]`, for this source. Default: what `[time]` says.
    pub(super) skew_max_ms: Given<i64>,
    /// A promise that an id which occurs in one of its partitions never occurs in another partition, of any source, so that
    /// duplicates are found without an exchange. A broken promise counts records twice. Default: of a topic, false; of files,
    /// true if each of its tenants has exactly one partition of this kind in the whole configuration, else false.
    pub(super) identity_fixes_partition: Given<bool>,
}

/// A retailer's banner or customer; whatever belongs to one is never seen by another.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WrittenTenant {
    /// Its name in records and views. Required.
    pub(super) name: Given<String>,
}

/// One experiment. Units are assigned by a hash, the same in the engine and in any SDK.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WrittenExperiment {
    /// Whose experiment it is: a tenant that a source names or `[[tenants]]` declares. Required.
    pub(super) tenant: Given<String>,
    /// Its name, unique within the tenant. Required.
    pub(super) name: Given<String>,
    /// The units that count: `"assigned"` (all that have a variant) or `"exposed"` (those of them with an exposure event).
    /// Default: `"assigned"`.
    pub(super) population: Given<String>,
    /// Experiments of one layer share its traffic: no unit is in two of them. Default: the experiment's own name.
    pub(super) layer: Given<String>,
    /// What shuffles units among the variants; another seed shuffles them anew. Default: the experiment's name.
    pub(super) seed: Given<String>,
    /// The part of the layer that it has, in parts per million: from the first number up to, not including, the second.
    /// Default: `[0, 1000000]`, the whole layer.
    pub(super) traffic: Given<Vec<Spanned<i64>>>,
    /// Its 2 to 16 variants. Required.
    pub(super) variants: Option<IgnoredAny>,
}

/// One arm of an experiment.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WrittenVariant {
    /// Its name in views, unique within the experiment. Required.
    pub(super) name: Given<String>,
    /// Its share of the units, relative to the other variants; 0 to 1000000, and above 0 for at least one. Default: 1.
    pub(super) weight: Given<i64>,
}

/// How far one source of facts is believed.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WrittenFactSource {
    /// Of two counts of one instant, that of the lesser rank holds; 0 to 65535. Default: 100.
    pub(super) rank: Given<i64>,
    /// `"A"`: its counts set stock. `"B"`: even its counts are evidence only. Default: `"A"`.
    pub(super) class: Given<String>,
    /// Whether its snapshots set stock. Otherwise they are evidence. Default: false.
    pub(super) authority: Given<bool>,
    /// How wrong its clock may be; widens the window of its counts; 0 to 600000. Default: 0.
    pub(super) epsilon_ms: Given<i64>,
}

/// How long sessions are kept together.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WrittenSessions {
    /// How long behind the watermark a session's state is kept after its last event, at least 60000. Default: 1800000, which
    /// is 30 minutes.
    pub(super) keep_ms: Given<i64>,
}

/// How stock becomes availability.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WrittenInventory {
    /// Pieces that are never promised, of each SKU at each node; 0 to 2147483648. Default: 0.
    pub(super) safety_stock: Given<i64>,
    /// A count older than this no longer makes anything available. Default: 10368000000, which is 120 days.
    pub(super) count_trusted_ms: Given<i64>,
    /// How long behind the watermark a fact without a sequence is remembered, so that its duplicates are found. One that
    /// comes later still is counted but not folded. Default: 86400000, which is 1 day.
    pub(super) dedup_horizon_ms: Given<i64>,
}

/// What is kept and written of one view, as `[views.session_minutes]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WrittenView {
    /// Whether there is such a view at all. Default: true.
    pub(super) enabled: Given<bool>,
    /// How long rows stay in a view that would otherwise grow for ever. Minutes leave this far behind the watermark:
    /// `session_minutes` (default: 86400000, 1 day) and `variant_minutes` (2592000000, 30 days). Records leave this long
    /// after they came: `late_events` and `dead_letters` (604800000, 7 days). Other views have no such key.
    pub(super) retention_ms: Given<i64>,
    /// How many ticks back the view can still be read; 0 to 1000000. Default: 600.
    pub(super) history_ticks: Given<i64>,
    /// The most memory for that, in bytes; reading back ends sooner where it is used up. Default: 67108864, which is 64 MiB.
    pub(super) history_bytes: Given<i64>,
    /// What is written: `"changes"` (every change), `"sealed"` (rows once the watermark has passed their minute; only
    /// `session_minutes` and `variant_minutes`) or `"none"`. Default: `"changes"`.
    pub(super) sink: Given<String>,
    /// Into how many outputs the rows are divided, by a hash of their key; 1 to 64. Default: 1.
    pub(super) shards: Given<i64>,
}

/// Pairs of experiments whose variants are tested for dependence: those of one tenant and of different layers, those of `pairs`
/// first, then in the order of the experiments. What is said here may not change once there is the view `unit_overlap`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WrittenUnitOverlap {
    /// The most pairs of a tenant; 0 to 1000. The others are named in the view's listing. Default: 100.
    pub(super) overlap_pairs_max: Given<i64>,
    /// Pairs that come first, each as the tenant and the names of two experiments: `["north", "ranking", "checkout"]`. Default:
    /// none.
    pub(super) pairs: Given<Vec<Spanned<Vec<String>>>>,
}

/// Views as messages in Kafka topics, each exactly once; `docs/sinks.md` shows the messages. Partitions are the `shards` of
/// the view. The first five keys decide what is written and may not change; the others may at a restart.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WrittenSink {
    /// Its name: up to 100 letters, digits, `-` and `_`. Required.
    pub(super) name: Given<String>,
    /// The name of the topic of each view; `{view}` stands for the view's name. Default: `"aisle.{view}"`.
    pub(super) topic: Given<String>,
    /// Which views, at least one. Default: all that are enabled.
    pub(super) views: Given<Vec<Spanned<String>>>,
    /// `"changes"`: a message for each change, `{"tick":…,"diff":…,"row":…}`. `"upserts"`: the row that a key has now, or
    /// nothing where it has none. Keys are the same. Default: `"changes"`.
    pub(super) rows: Given<String>,
    /// `"changes"` (every change) or `"sealed"` (rows once the watermark has passed their minute; only of
    /// `session_minutes` and `variant_minutes`). Default: `"changes"`.
    pub(super) emit: Given<String>,
    /// `host:port` of one or several brokers, with commas between them, of a cluster without encryption and credentials.
    /// Default: the cluster of `[kafka]`.
    pub(super) bootstrap: Given<String>,
    /// The name of this engine, of the same characters, for its transactional ids `engine-name-shard` and its progress topic
    /// `engine.name.progress`. Two runs that write to one cluster need two. Default: `"aisle"`.
    pub(super) engine: Given<String>,
    /// `"transactional"`: each message is seen once by whoever reads committed messages. `"idempotent-sequenced"`: no
    /// transactions; after a crash some may come twice, to be dropped by their headers. Default: `"transactional"`.
    pub(super) mode: Given<String>,
    /// The most that its outbox on disk holds while the cluster is slow or away, at least 65536. Default: 268435456, which is
    /// 256 MiB.
    pub(super) outbox_bytes: Given<i64>,
    /// What happens when the outbox is full: `"stall"` (the run waits) or `"detach"` (the sink takes nothing more until the
    /// next start, which derives it again). Default: `"stall"`.
    pub(super) when_full: Given<String>,
    /// When the cluster gives up a transaction whose writer says nothing; how long a message may wait to be taken, too; 1000
    /// to 900000. Default: 60000, which is 1 minute.
    pub(super) transaction_timeout_ms: Given<i64>,
    /// Whether topics that are missing are made. Default: false.
    pub(super) create: Given<bool>,
    /// How many replicas those have; 1 to 100. Default: 3.
    pub(super) replicas: Given<i64>,
}
