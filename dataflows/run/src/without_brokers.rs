//! The same in a build without Kafka: a configuration that asks for topics is refused before it comes to this.

use std::path::Path;

use operators::record::DecodeMessage;
use operators::source::Source;

use super::inquiry::Inquiry;
use dataflows::configuration::{KafkaSettings, PartitionInput, Plan, Settings, SourceTopic, TopicRecord};

/// Why topics can't be read.
#[derive(Debug, thiserror::Error)]
pub enum BrokersError {
    /// They are not built in.
    #[error(
        "there are topics to read, and this build of Aisle has no Kafka; build it with `cargo build --release --package \
         dataflows --features kafka`"
    )]
    NotBuilt,
}

/// No cluster.
#[derive(Clone, Default)]
pub struct Brokers;

impl Brokers {
    /// Connects to nothing.
    pub fn of_settings(_: &Settings, _: &Path) -> Result<Brokers, BrokersError> {
        Ok(Brokers)
    }

    /// Refuses a plan that was recorded by a build with Kafka.
    pub fn of_plan(plan: &Plan, _: Option<&KafkaSettings>, _: &Path) -> Result<Brokers, BrokersError> {
        match plan.partitions.iter().any(|partition| matches!(partition.input, PartitionInput::Topic(_))) {
            true => Err(BrokersError::NotBuilt),
            false => Ok(Brokers),
        }
    }

    /// Finds nothing.
    pub fn find(&self, _: &SourceTopic) -> Result<Vec<TopicRecord>, BrokersError> {
        Err(BrokersError::NotBuilt)
    }

    /// Reads nothing.
    pub fn source<D: DecodeMessage>(
        &self,
        _: &TopicRecord,
        _: usize,
        _: D,
        _: &Inquiry,
    ) -> Result<Box<dyn Source<Record = D::Record>>, BrokersError> {
        Err(BrokersError::NotBuilt)
    }

    /// Nothing grows.
    pub fn grown(&self, _: &Plan) -> Option<(String, u32)> {
        None
    }
}
