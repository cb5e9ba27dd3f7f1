//! The cluster itself, by the client library.

use std::path::Path;
use std::sync::Arc;

use connectors::kafka::cluster::Cluster;
use connectors::kafka::connection::{Connection, Mechanism, Sasl, Tls};
use connectors::kafka::source::{TopicPartition, TopicSource};
use operators::record::DecodeMessage;
use operators::source::Source;

use super::{BrokersError, Topics};
use crate::password;
use crate::schema_lookup::SchemaLookup;
use dataflows::configuration::{
    KafkaSaslSettings, KafkaSettings, KafkaTlsSettings, SaslMechanism, SourceTopic, TopicRecord, TopicStart,
};

impl Topics for Cluster {
    fn find(&self, topic: &SourceTopic) -> Result<Vec<TopicRecord>, BrokersError> {
        let mut records = Vec::new();
        for found in self.topics(std::slice::from_ref(&topic.topic))? {
            for partition in 0..found.partitions {
                let (oldest, end) = self.offsets(&found.name, partition)?;
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

    fn source<D: DecodeMessage>(
        cluster: &Arc<Cluster>,
        record: &TopicRecord,
        number: usize,
        decoder: D,
        schema_lookup: &SchemaLookup,
    ) -> Box<dyn Source<Record = D::Record>> {
        let TopicRecord { topic, topic_id, partition, .. } = record.clone();
        let place = TopicPartition { topic, topic_id, partition };
        let source = TopicSource::new(Arc::clone(cluster), place, decoder);
        Box::new(source.asking(schema_lookup.answers.clone(), schema_lookup.asked_by(number)))
    }

    fn partitions_of(&self, topic: &str) -> Option<u32> {
        Cluster::partitions_of(self, topic)
    }
}

/// Connects; at most `queue_bytes` of a partition lie fetched.
pub(super) fn connect(kafka: &KafkaSettings, folder: &Path, queue_bytes: u64) -> Result<Cluster, BrokersError> {
    Ok(Cluster::connect(&connection(kafka, folder)?, queue_bytes)?)
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
