//! The Kafka cluster of a configuration: its topics found and recorded, readers for their partitions.
//!
//! A build without Kafka has the same, but can't connect: `connect` refuses, and names the build that can.

#[cfg(feature = "kafka")]
mod cluster;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use operators::record::DecodeMessage;
use operators::source::Source;

#[cfg(feature = "kafka")]
pub use cluster::connection;

use super::password::PasswordError;
use super::schema_lookup::SchemaLookup;
use dataflows::configuration::{KafkaSettings, PartitionInput, Plan, Settings, SourceInput, SourceTopic, TopicRecord};

/// How much of all partitions together may lie fetched and not yet taken.
const FETCHED_BYTES: u64 = 64 << 20;

/// The bounds of that for one partition.
const FETCHED_BYTES_OF_ONE: std::ops::RangeInclusive<u64> = 1 << 20..=16 << 20;

/// Why topics can't be read.
#[derive(Debug, thiserror::Error)]
pub enum BrokersError {
    /// The cluster.
    #[cfg(feature = "kafka")]
    #[error(transparent)]
    Cluster(#[from] connectors::kafka::cluster::ClusterError),
    /// The password.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The configuration at hand does not say where Kafka is.
    #[error("there are topics to read, but nothing says where Kafka is; name a configuration with a section `[kafka]`")]
    Nowhere,
    /// This build has no Kafka.
    #[error(
        "there are topics to read, and this build of Aisle has no Kafka; build it with `cargo build --release --package \
         aisle --features kafka`"
    )]
    NotBuilt,
}

/// What is asked of a cluster.
trait Topics {
    /// The partitions of a topic as they are now, and from where each is read.
    fn find(&self, topic: &SourceTopic) -> Result<Vec<TopicRecord>, BrokersError>;

    /// The reader of a partition, by its number.
    fn source<D: DecodeMessage>(
        cluster: &Arc<Self>,
        record: &TopicRecord,
        number: usize,
        decoder: D,
        schema_lookup: &SchemaLookup,
    ) -> Box<dyn Source<Record = D::Record>>;

    /// How many partitions a topic has by now, if that is known.
    fn partitions_of(&self, topic: &str) -> Option<u32>;
}

/// No cluster: what a build without Kafka has. It is compiled in every build, so that it can't fall behind the trait.
impl Topics for Infallible {
    fn find(&self, _: &SourceTopic) -> Result<Vec<TopicRecord>, BrokersError> {
        match *self {}
    }

    fn source<D: DecodeMessage>(
        cluster: &Arc<Infallible>,
        _: &TopicRecord,
        _: usize,
        _: D,
        _: &SchemaLookup,
    ) -> Box<dyn Source<Record = D::Record>> {
        match **cluster {}
    }

    fn partitions_of(&self, _: &str) -> Option<u32> {
        match *self {}
    }
}

#[cfg(feature = "kafka")]
use cluster::connect;
#[cfg(feature = "kafka")]
type Connected = connectors::kafka::cluster::Cluster;

#[cfg(not(feature = "kafka"))]
type Connected = Infallible;
#[cfg(not(feature = "kafka"))]
fn connect(_: &KafkaSettings, _: &Path, _: u64) -> Result<Connected, BrokersError> {
    Err(BrokersError::NotBuilt)
}

/// The cluster of a configuration, if any source has a topic.
#[derive(Clone, Default)]
pub struct Brokers(Option<Arc<Connected>>);

impl Brokers {
    /// Connects, if any source of the settings has a topic.
    pub fn of_settings(settings: &Settings, folder: &Path) -> Result<Brokers, BrokersError> {
        let topics = settings.inputs.iter().filter(|input| matches!(input, SourceInput::Topic(_))).count();
        Brokers::of_partitions(topics, settings.local.kafka.as_ref(), folder)
    }

    /// Connects, if any partition of the plan is of a topic.
    pub fn of_plan(plan: &Plan, kafka: Option<&KafkaSettings>, folder: &Path) -> Result<Brokers, BrokersError> {
        let is_topic = |input: &PartitionInput| matches!(input, PartitionInput::Topic(_));
        let partitions = plan.partitions.iter().filter(|partition| is_topic(&partition.input)).count();
        Brokers::of_partitions(partitions, kafka, folder)
    }

    fn of_partitions(partitions: usize, kafka: Option<&KafkaSettings>, folder: &Path) -> Result<Brokers, BrokersError> {
        if partitions == 0 {
            return Ok(Brokers(None));
        }
        let (least, most) = FETCHED_BYTES_OF_ONE.into_inner();
        let queue_bytes = (FETCHED_BYTES / partitions as u64).clamp(least, most);
        Ok(Brokers(Some(Arc::new(connect(kafka.ok_or(BrokersError::Nowhere)?, folder, queue_bytes)?))))
    }

    /// The partitions of a topic as they are now, and from where each is read.
    pub fn find(&self, topic: &SourceTopic) -> Result<Vec<TopicRecord>, BrokersError> {
        self.0.as_ref().ok_or(BrokersError::Nowhere)?.find(topic)
    }

    /// The reader of a partition, by its number; where its decoder has questions they go to `schema_lookup`.
    pub fn source<D: DecodeMessage>(
        &self,
        record: &TopicRecord,
        number: usize,
        decoder: D,
        schema_lookup: &SchemaLookup,
    ) -> Result<Box<dyn Source<Record = D::Record>>, BrokersError> {
        let cluster = self.0.as_ref().ok_or(BrokersError::Nowhere)?;
        Ok(Topics::source(cluster, record, number, decoder, schema_lookup))
    }

    /// A topic of the plan that has more partitions by now than the plan knows, and how many.
    pub fn grown(&self, plan: &Plan) -> Option<(String, u32)> {
        let cluster = self.0.as_ref()?;
        // By source: two may have the same topic, and each of them all of its partitions.
        let mut known = BTreeMap::<(usize, &String), u32>::new();
        for partition in &plan.partitions {
            if let PartitionInput::Topic(record) = &partition.input {
                *known.entry((partition.source, &record.topic)).or_default() += 1;
            }
        }
        known.into_iter().find_map(|((_, topic), count)| {
            let now = Topics::partitions_of(&**cluster, topic)?;
            (now > count).then(|| (topic.clone(), now))
        })
    }
}
