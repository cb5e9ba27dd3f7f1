//! A real broker, started by `scripts/kafka.sh`, and what a test does to it.

use std::net::TcpListener;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use connectors::kafka::connection::Connection;
use connectors::kafka::sink::{SinkOptions, headers_of};
use operators::delivery::{Message, Progress};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::hanging::ForgedMessage;

const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Broker {
    pub(crate) bootstrap: String,
    port: Option<u16>,
}

impl Broker {
    /// The one that all tests share, which is left running.
    pub(crate) fn shared() -> &'static Broker {
        static SHARED: OnceLock<Broker> = OnceLock::new();
        SHARED.get_or_init(|| Broker { bootstrap: script(None, &["start"]), port: None })
    }

    /// One of the test's own, which it may kill, at ports that nobody has. It is removed when this is dropped.
    pub(crate) fn own() -> Broker {
        // Of two runs of the tests at one time, neither may stop the other's: each begins to look somewhere else.
        static LOOKED: AtomicU16 = AtomicU16::new(0);
        let first = 20_000 + (std::process::id() % 250) as u16 * 40;
        let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
        let mut ports = std::iter::repeat_with(|| first + 40 * LOOKED.fetch_add(1, Ordering::Relaxed));
        // Controllers listen 20 ports above.
        let port = ports.find(|port| is_free(*port) && is_free(port + 20)).unwrap();
        Broker { bootstrap: script(Some(port), &["start"]), port: Some(port) }
    }

    pub(crate) fn kill(&self) {
        script(self.port, &["kill", "1"]);
    }

    pub(crate) fn restart(&self) {
        script(self.port, &["start"]);
    }

    pub(crate) fn connection(&self) -> Connection {
        Connection::plaintext(&self.bootstrap)
    }

    fn config(&self) -> ClientConfig {
        self.connection().client_config()
    }

    fn consumer(&self, isolation: &str) -> BaseConsumer {
        let mut config = self.config();
        config.set("group.id", "test").set("enable.auto.commit", "false").set("enable.partition.eof", "true");
        config.set("isolation.level", isolation).create().unwrap()
    }

    /// The first offset of a partition and the one behind its last.
    pub(crate) fn offsets(&self, topic: &str, partition: u32) -> (i64, i64) {
        self.consumer("read_uncommitted").fetch_watermarks(topic, partition as i32, PATIENCE).unwrap()
    }

    /// A producer under this id, with its transactions initialised: whoever had the id is fenced.
    pub(crate) fn transactional(&self, id: &str) -> ThreadedProducer<DefaultProducerContext> {
        let producer: ThreadedProducer<_> = self.config().set("transactional.id", id).create().unwrap();
        producer.init_transactions(PATIENCE).unwrap();
        producer.begin_transaction().unwrap();
        producer
    }

    /// Sends messages of the first topic within the open transaction.
    pub(crate) fn send(
        &self,
        producer: &ThreadedProducer<DefaultProducerContext>,
        topic: &str,
        partition: u32,
        messages: &[Message],
    ) {
        for message in messages.iter().filter(|message| message.topic == 0) {
            let headers = as_headers(&headers_of("torn", partition, 6, message));
            let record = BaseRecord::<[u8], [u8]>::to(topic).partition(partition as i32).key(&message.key);
            producer.send(record.payload(b"torn").headers(headers)).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(PATIENCE).unwrap();
    }

    /// As if the process had been killed: neither committed nor aborted.
    pub(crate) fn leave(&self, producer: ThreadedProducer<DefaultProducerContext>) {
        drop(producer);
    }

    /// Sends messages to partition 0 within the open transaction.
    pub(crate) fn send_forged(
        &self,
        producer: &ThreadedProducer<DefaultProducerContext>,
        topic: &str,
        messages: &[ForgedMessage],
    ) {
        for ForgedMessage { key, headers, value } in messages {
            let record = BaseRecord::<[u8], [u8]>::to(topic).partition(0).key(key).headers(as_headers(headers));
            let record = match value {
                Some(value) => record.payload(value.as_slice()),
                None => record,
            };
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
    }

    /// Commits the open transaction.
    pub(crate) fn commit(&self, producer: ThreadedProducer<DefaultProducerContext>) {
        producer.flush(PATIENCE).unwrap();
        producer.commit_transaction(PATIENCE).unwrap();
    }

    /// Ends the open transaction; nobody ever sees its messages.
    pub(crate) fn abort(&self, producer: ThreadedProducer<DefaultProducerContext>) {
        producer.abort_transaction(PATIENCE).unwrap();
    }

    /// Somebody else writes into a topic.
    pub(crate) fn append(&self, topic: &str, partition: u32, headers: &[(&str, String)]) {
        let producer: ThreadedProducer<DefaultProducerContext> = self.config().create().unwrap();
        let record = BaseRecord::<[u8], [u8]>::to(topic).partition(partition as i32).key(b"k");
        producer.send(record.headers(as_headers(headers))).map_err(|(error, _)| error).unwrap();
        producer.flush(PATIENCE).unwrap();
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.config().create().unwrap()
    }

    /// Deletes every record of a topic. A compacted one has to be made deletable for that.
    pub(crate) fn empty(&self, topic: &str) {
        self.make_deletable(topic);
        let mut upto = TopicPartitionList::new();
        for partition in 0..2 {
            upto.add_partition_offset(topic, partition, Offset::End).unwrap();
        }
        block_on(self.admin().delete_records(&upto, &AdminOptions::new())).unwrap();
    }

    /// Deletes the records of partition 0 below an offset. A compacted topic has to be made deletable for that.
    pub(crate) fn cut(&self, topic: &str, below: i64) {
        self.make_deletable(topic);
        let mut upto = TopicPartitionList::new();
        upto.add_partition_offset(topic, 0, Offset::Offset(below)).unwrap();
        block_on(self.admin().delete_records(&upto, &AdminOptions::new())).unwrap();
    }

    fn make_deletable(&self, topic: &str) {
        use rdkafka::admin::{AlterConfig, ResourceSpecifier};
        let config = AlterConfig::new(ResourceSpecifier::Topic(topic)).set("cleanup.policy", "delete");
        block_on(self.admin().alter_configs(&[config], &AdminOptions::new())).unwrap();
    }

    pub(crate) fn delete(&self, topic: &str) {
        block_on(self.admin().delete_topics(&[topic], &AdminOptions::new())).unwrap();
        crate::place::until("the topic is gone", || {
            let metadata = self.consumer("read_committed").fetch_metadata(None, PATIENCE).unwrap();
            metadata.topics().iter().all(|found| found.name() != topic)
        });
    }

    pub(crate) fn newest_progress(&self, options: &SinkOptions, shard: u32) -> Progress {
        let mut newest = None;
        visit(self, &options.progress_topic(), shard, "read_committed", |payload| newest = Some(payload.to_vec()));
        serde_json::from_slice(&newest.unwrap()).unwrap()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if self.port.is_some() {
            script(self.port, &["stop"]);
        }
    }
}

fn as_headers(headers: &[(&str, String)]) -> OwnedHeaders {
    headers.iter().fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value: Some(value) }))
}

/// How many records of a partition are seen.
pub(crate) fn records(broker: &Broker, topic: &str, partition: u32, isolation: &str) -> usize {
    let mut count = 0;
    visit(broker, topic, partition, isolation, |_| count += 1);
    count
}

fn visit(broker: &Broker, topic: &str, partition: u32, isolation: &str, mut see: impl FnMut(&[u8])) {
    let consumer = broker.consumer(isolation);
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(topic, partition as i32, Offset::Beginning).unwrap();
    consumer.assign(&assignment).unwrap();
    loop {
        match consumer.poll(PATIENCE).expect("an answer") {
            Ok(message) => see(message.payload().unwrap_or_default()),
            Err(rdkafka::error::KafkaError::PartitionEOF(_)) => return,
            Err(error) => panic!("{error}"),
        }
    }
}

fn script(port: Option<u16>, arguments: &[&str]) -> String {
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/kafka.sh"));
    if let Some(port) = port {
        command.env("KAFKA_PORT", port.to_string()).env_remove("KAFKA_BOOTSTRAP");
    }
    let output = command.args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Waits for a future; the client's own threads wake us.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}
