//! The topics of a sink: whether they are there and as wide as they should be; those that are missing are made.

use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::types::RDKafkaErrorCode as Code;

use super::{KafkaSinkError, SinkOptions, Topic};
use crate::kafka::connection::Connection;

/// How long the cluster may take to answer, and to show a new topic to all.
const PATIENCE: Duration = Duration::from_secs(20);

/// Makes sure that each topic is there, with a partition for each shard.
pub(super) fn look_after(connection: &Connection, options: &SinkOptions) -> Result<(), KafkaSinkError> {
    let admin: AdminClient<DefaultClientContext> =
        connection.client_config().create().map_err(|error| KafkaSinkError::of("make a client", error))?;
    let progress = Topic { name: options.progress_topic(), shards: options.shards() };
    for topic in options.topics.iter().chain([&progress]) {
        let found = match partitions(connection, &admin, &topic.name)? {
            Some(found) => found,
            None => {
                create(connection, &admin, options, topic, topic.name == progress.name)?;
                wait_for(connection, &admin, topic)?
            }
        };
        if found != topic.shards as usize {
            return Err(KafkaSinkError::Partitions { topic: topic.name.clone(), found, wanted: topic.shards });
        }
    }
    Ok(())
}

/// How many partitions a topic has; none where there is no such topic.
fn partitions(
    connection: &Connection,
    admin: &AdminClient<DefaultClientContext>,
    topic: &str,
) -> Result<Option<usize>, KafkaSinkError> {
    let doing = || format!("ask {} for the topic \"{topic}\"", connection.bootstrap);
    let metadata = admin.inner().fetch_metadata(Some(topic), PATIENCE);
    let metadata = metadata.map_err(|error| KafkaSinkError::of(doing(), error))?;
    let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else { return Ok(None) };
    match found.error().map(Code::from) {
        None => Ok(Some(found.partitions().len())),
        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => Ok(None),
        // Just being made, by somebody else.
        Some(Code::LeaderNotAvailable) => Ok(Some(found.partitions().len())),
        Some(code) => Err(KafkaSinkError::of(doing(), rdkafka::error::KafkaError::MetadataFetch(code))),
    }
}

fn create(
    connection: &Connection,
    admin: &AdminClient<DefaultClientContext>,
    options: &SinkOptions,
    topic: &Topic,
    is_progress: bool,
) -> Result<(), KafkaSinkError> {
    let Topic { name, shards } = topic;
    let Some(replicas) = options.create_with_replicas else {
        let compacted = if is_progress { " --config cleanup.policy=compact" } else { "" };
        let command = format!(
            "kafka-topics.sh --bootstrap-server {} --create --topic {name} --partitions {shards} \
             --replication-factor 3{compacted}",
            connection.bootstrap
        );
        return Err(KafkaSinkError::MissingTopic { topic: name.clone(), command });
    };
    let mut new = NewTopic::new(name, *shards as i32, TopicReplication::Fixed(i32::from(replicas)));
    if is_progress {
        // Small segments, so that compaction keeps the topic as short as it should be.
        new = new.set("cleanup.policy", "compact").set("segment.bytes", "16777216").set("segment.ms", "3600000");
    }
    let doing = || format!("make the topic \"{name}\" with {replicas} replicas");
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE));
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.expect("a runtime without drivers asks nothing of the system");
    let made =
        runtime.block_on(admin.create_topics([&new], &options)).map_err(|error| KafkaSinkError::of(doing(), error))?;
    match made.into_iter().next() {
        Some(Err((_, code))) if code != Code::TopicAlreadyExists => {
            Err(KafkaSinkError::of(doing(), rdkafka::error::KafkaError::AdminOp(code)))
        }
        _ => Ok(()),
    }
}

/// How many partitions a topic has that was made just now: not every broker knows of it at once.
fn wait_for(
    connection: &Connection,
    admin: &AdminClient<DefaultClientContext>,
    topic: &Topic,
) -> Result<usize, KafkaSinkError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = partitions(connection, admin, &topic.name)?.filter(|found| *found > 0) {
            return Ok(found);
        }
        if Instant::now() > deadline {
            let error = rdkafka::error::KafkaError::MetadataFetch(Code::UnknownTopicOrPartition);
            return Err(KafkaSinkError::of(
                format!("see the topic \"{}\", which was made just now", topic.name),
                error,
            ));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
