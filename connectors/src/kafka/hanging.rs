//! Transactions that the cluster forgot to end.
//!
//! Once a writer's transactions are initialised, the cluster has ended whatever it knows of. Where one is open all the same, its
//! end was never written: a broker that comes back with a transaction whose end is decided passes over the partitions that
//! have no leader at that moment, and takes it as ended everywhere (seen with Kafka 4.3.1, which notes that it "couldn't find
//! leader endpoint", after about every second kill of a node under load). Whoever reads committed messages never gets past such
//! a transaction, and the writer's next one would end it along with itself, in whatever way that one ends.
//!
//! A writer takes a transaction as done only when it has seen its end in every partition
//! ([`Producer::commit_transaction`]). So what hangs in a log was never acknowledged, and is aborted: by a transaction of the
//! same writer with a message in each such partition, which is aborted itself, and which nobody sees. A sink, whose
//! transactions have several partitions, looks first at what became of it in the others ([`operators::delivery::torn`]).

use std::time::{Duration, Instant};

use rdkafka::error::KafkaError;
use rdkafka::producer::BaseRecord;
use rdkafka::types::RDKafkaErrorCode as Code;

use super::committed::Reader;
use super::producer::Producer;
use super::request::RequestError;

/// How long the end of a transaction may take to be seen after the cluster has said that there is none any more: it says so
/// when the end is in every partition that it knows of, so this is generous.
const SEEN_WITHIN: Duration = Duration::from_secs(2);

/// How long the cluster may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The key of the messages that nobody sees: a compacted topic takes none without.
const KEY: &[u8] = b"aborted";

/// Where one begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hanging {
    pub(crate) topic: String,
    pub(crate) partition: u32,
    /// Its first offset.
    pub(crate) offset: i64,
}

/// Those in a partition of some topics, whose one writer has initialised its transactions.
pub(crate) fn find<'t>(
    reader: &Reader,
    topics: impl IntoIterator<Item = &'t str>,
    partition: u32,
) -> Result<Vec<Hanging>, RequestError> {
    let deadline = Instant::now() + SEEN_WITHIN;
    let mut found = Vec::new();
    for topic in topics {
        match reader.settled(topic, partition, deadline.saturating_duration_since(Instant::now())) {
            Ok(()) => {}
            Err(RequestError::OpenTransaction { topic, partition, offset }) => {
                found.push(Hanging { topic, partition, offset });
            }
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Aborts them, as their writer. What somebody else began stays open.
pub(crate) fn abort(producer: &Producer, hanging: &[Hanging], is_wanted: impl Fn() -> bool) -> Result<(), KafkaError> {
    if hanging.is_empty() {
        return Ok(());
    }
    let began = Instant::now();
    let is_wanted = || began.elapsed() < PATIENCE && is_wanted();
    producer.begin_transaction()?;
    for Hanging { topic, partition, offset } in hanging {
        tracing::warn!(topic, partition, offset, "the cluster forgot to end a transaction of ours: it is aborted");
        producer.hand_over(BaseRecord::to(topic).partition(*partition as i32).key(KEY), is_wanted)?;
    }
    while !producer.is_acknowledged(Duration::from_millis(100))? {
        if !is_wanted() {
            return Err(KafkaError::Flush(Code::OperationTimedOut));
        }
    }
    producer.abort_transaction(PATIENCE)
}
