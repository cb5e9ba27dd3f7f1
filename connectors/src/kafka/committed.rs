//! Reads what is committed in a partition, to its very end.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{Offset, TopicPartitionList};

pub(crate) use operators::transactional_log::Upto;

use super::connection::Connection;
use super::request::RequestError;

/// How long one question may take.
const QUESTION: Duration = Duration::from_secs(5);

/// A client that reads partitions one after the other.
pub(crate) struct Reader {
    committed: BaseConsumer,
    /// Sees open transactions, too.
    uncommitted: BaseConsumer,
}

/// From where a partition is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// From its first offset.
    Beginning,
    /// So many offsets before its end.
    Last(i64),
    /// From this offset.
    Offset(i64),
}

impl Reader {
    pub(crate) fn new(connection: &Connection) -> Result<Self, RequestError> {
        let consumer = |isolation: &str| -> Result<BaseConsumer, KafkaError> {
            connection
                .client_config()
                // No group is joined: partitions are assigned. A client without the name refuses even that.
                .set("group.id", "aisle")
                .set("enable.auto.commit", "false")
                .set("enable.partition.eof", "true")
                .set("auto.offset.reset", "error")
                // Each reading ends with an answer that is empty, for which a broker waits this long.
                .set("fetch.wait.max.ms", "20")
                .set("isolation.level", isolation)
                .create()
        };
        let failed = |error| RequestError::of("make a consumer", error);
        Ok(Reader {
            committed: consumer("read_committed").map_err(failed)?,
            uncommitted: consumer("read_uncommitted").map_err(failed)?,
        })
    }

    /// The first offset of a partition, and the one behind its last.
    pub(crate) fn offsets(&self, topic: &str, partition: u32) -> Result<(i64, i64), RequestError> {
        let failed = |error| RequestError::of(format!("ask for the offsets of {topic}[{partition}]"), error);
        self.uncommitted.fetch_watermarks(topic, partition as i32, QUESTION).map_err(failed)
    }

    /// Returns once no transaction is open in a partition as it is when this is called.
    pub(crate) fn settled(&self, topic: &str, partition: u32, patience: Duration) -> Result<(), RequestError> {
        let deadline = Instant::now() + patience;
        let (_, high) = self.offsets(topic, partition)?;
        self.wait_until_stable(topic, partition, high, deadline)
    }

    /// Where the first open transaction begins, or else the end.
    fn stable_end(&self, topic: &str, partition: u32) -> Result<i64, RequestError> {
        let failed = |error| RequestError::of(format!("ask for the stable end of {topic}[{partition}]"), error);
        Ok(self.committed.fetch_watermarks(topic, partition as i32, QUESTION).map_err(failed)?.1)
    }

    /// The stable end reaches `high` once every transaction before it has ended.
    fn wait_until_stable(&self, topic: &str, partition: u32, high: i64, deadline: Instant) -> Result<(), RequestError> {
        loop {
            let offset = self.stable_end(topic, partition)?;
            if offset >= high {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(RequestError::OpenTransaction { topic: topic.to_owned(), partition, offset });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Visits every committed message that lies in the partition when this is called, in order, until `visit` breaks.
    pub(crate) fn read(
        &self,
        topic: &str,
        partition: u32,
        from: From,
        upto: Upto,
        patience: Duration,
        visit: impl FnMut(&BorrowedMessage<'_>) -> ControlFlow<()>,
    ) -> Result<(), RequestError> {
        let failed = |error| RequestError::of(format!("read {topic}[{partition}]"), error);
        let deadline = Instant::now() + patience;
        let (low, high) = self.offsets(topic, partition)?;
        let high = if upto == Upto::End { high } else { self.stable_end(topic, partition)? };
        self.wait_until_stable(topic, partition, high, deadline)?;
        let first = match from {
            From::Beginning => low,
            From::Last(offsets) => low.max(high - offsets),
            From::Offset(offset) => low.max(offset),
        };
        if first >= high {
            return Ok(());
        }
        visit_from(&self.committed, topic, partition, first, deadline, visit).map_err(failed)
    }

    /// Visits every message from an offset on, of open transactions, too, until `visit` breaks.
    pub(crate) fn read_uncommitted(
        &self,
        topic: &str,
        partition: u32,
        from: i64,
        patience: Duration,
        visit: impl FnMut(&BorrowedMessage<'_>) -> ControlFlow<()>,
    ) -> Result<(), RequestError> {
        let visited = visit_from(&self.uncommitted, topic, partition, from, Instant::now() + patience, visit);
        visited.map_err(|error| RequestError::of(format!("read {topic}[{partition}]"), error))
    }
}

/// Visits what a client sees of a partition from an offset on, to the end, until `visit` breaks.
fn visit_from(
    consumer: &BaseConsumer,
    topic: &str,
    partition: u32,
    first: i64,
    deadline: Instant,
    mut visit: impl FnMut(&BorrowedMessage<'_>) -> ControlFlow<()>,
) -> Result<(), KafkaError> {
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(topic, partition as i32, Offset::Offset(first))?;
    consumer.assign(&assignment)?;
    let visited = loop {
        match consumer.poll(Duration::from_millis(500)) {
            Some(Ok(message)) if visit(&message).is_break() => break Ok(()),
            // Every answer came after the end that was asked for: this one is not before it.
            Some(Err(KafkaError::PartitionEOF(_))) => break Ok(()),
            Some(Err(error)) if error.rdkafka_error_code() == Some(Code::AllBrokersDown) => {}
            Some(Err(error)) => break Err(error),
            Some(Ok(_)) | None => {}
        }
        if Instant::now() > deadline {
            break Err(KafkaError::MessageConsumption(Code::OperationTimedOut));
        }
    };
    consumer.unassign()?;
    visited
}
