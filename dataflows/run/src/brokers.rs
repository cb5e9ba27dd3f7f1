//! The Kafka cluster of a configuration: its topics found and recorded, readers for their partitions.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use connectors::kafka::cluster::{Cluster, ClusterError};
use connectors::kafka::connection::{Connection, Mechanism, Sasl, Tls};
use connectors::kafka::source::{TopicPartition, TopicSource};
use operators::record::DecodeMessage;
use operators::source::Source;

use super::inquiry::Inquiry;
use super::password::{self, PasswordError};
use dataflows::configuration::{
    KafkaSaslSettings, KafkaSettings, KafkaTlsSettings, PartitionInput, Plan, SaslMechanism, Settings, SourceInput,
    SourceTopic, TopicRecord, TopicStart,
};

/// How much of all partitions together may lie fetched and not yet taken.
const FETCHED_BYTES: u64 = 64 << 20;

/// The bounds of that for one partition.
const FETCHED_BYTES_OF_ONE: std::ops::RangeInclusive<u64> = 1 << 20..=16 << 20;

/// Why topics can't be read.
#[derive(Debug, thiserror::Error)]
pub enum BrokersError {
    /// The cluster.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The password.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The configuration at hand does not say where Kafka is.
    #[error("there are topics to read, but nothing says where Kafka is; name a configuration with a section `[kafka]`")]
    Nowhere,
}

/// The cluster of a configuration, if any source has a topic.
#[derive(Clone, Default)]
pub struct Brokers(Option<Arc<Cluster>>);

impl Brokers {
    /// Connects, if any source of the settings has a topic.
    pub fn of_settings(settings: &Settings, folder: &Path) -> Result<Brokers, BrokersError> {
        let topics = settings.inputs.iter().filter(|input| matches!(input, SourceInput::Topic(_))).count();
        Brokers::connect(topics, settings.operation.kafka.as_ref(), folder)
    }

    /// Connects, if any partition of the plan is of a topic.
    pub fn of_plan(plan: &Plan, kafka: Option<&KafkaSettings>, folder: &Path) -> Result<Brokers, BrokersError> {
        let is_topic = |input: &PartitionInput| matches!(input, PartitionInput::Topic(_));
        Brokers::connect(plan.partitions.iter().filter(|partition| is_topic(&partition.input)).count(), kafka, folder)
    }

    fn connect(partitions: usize, kafka: Option<&KafkaSettings>, folder: &Path) -> Result<Brokers, BrokersError> {
        if partitions == 0 {
            return Ok(Brokers(None));
        }
        let connection = connection(kafka.ok_or(BrokersError::Nowhere)?, folder)?;
        let (least, most) = FETCHED_BYTES_OF_ONE.into_inner();
        let queue_bytes = (FETCHED_BYTES / partitions as u64).clamp(least, most);
        Ok(Brokers(Some(Arc::new(Cluster::connect(&connection, queue_bytes)?))))
    }

    /// The partitions of a topic as they are now, and from where each is read.
    pub fn find(&self, topic: &SourceTopic) -> Result<Vec<TopicRecord>, BrokersError> {
        let cluster = self.0.as_ref().ok_or(BrokersError::Nowhere)?;
        let mut records = Vec::new();
        for found in cluster.topics(std::slice::from_ref(&topic.topic))? {
            for partition in 0..found.partitions {
                let (oldest, end) = cluster.offsets(&found.name, partition)?;
                let first_offset = match topic.start {
                    TopicStart::Earliest => oldest,
                    TopicStart::Latest => end,
                };
                let (topic, topic_id) = (found.name.clone(), found.id.clone());
                records.push(TopicRecord { topic, topic_id, partition, first_offset });
            }
        }
        Ok(records)
    }

    /// The reader of a partition, by its number; where its decoder has questions they go to `inquiry`.
    pub fn source<D: DecodeMessage>(
        &self,
        record: &TopicRecord,
        number: usize,
        decoder: D,
        inquiry: &Inquiry,
    ) -> Result<Box<dyn Source<Record = D::Record>>, BrokersError> {
        let cluster = self.0.as_ref().ok_or(BrokersError::Nowhere)?;
        let TopicRecord { topic, topic_id, partition, .. } = record.clone();
        let place = TopicPartition { topic, topic_id, partition };
        let source = TopicSource::new(Arc::clone(cluster), place, decoder);
        Ok(Box::new(source.asking(inquiry.answers.clone(), inquiry.asked_by(number))))
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
            let now = cluster.partitions_of(topic)?;
            (now > count).then(|| (topic.clone(), now))
        })
    }
}

/// How a cluster is reached; paths are relative to `folder`.
pub fn connection(kafka: &KafkaSettings, folder: &Path) -> Result<Connection, BrokersError> {
    let tls = kafka.tls.as_ref().map(|KafkaTlsSettings { authorities, certificate }| Tls {
        authorities: authorities.as_ref().map(|path| folder.join(path)),
        certificate: certificate.as_ref().map(|(certificate, key)| (folder.join(certificate), folder.join(key))),
    });
    let sasl = match &kafka.sasl {
        None => None,
        Some(KafkaSaslSettings { mechanism, username, password }) => Some(Sasl {
            mechanism: match mechanism {
                SaslMechanism::Plain => Mechanism::Plain,
                SaslMechanism::ScramSha256 => Mechanism::ScramSha256,
                SaslMechanism::ScramSha512 => Mechanism::ScramSha512,
            },
            username: username.clone(),
            password: password::password("kafka.sasl", password, folder)?,
        }),
    };
    Ok(Connection { bootstrap: kafka.bootstrap.clone(), tls, sasl })
}
