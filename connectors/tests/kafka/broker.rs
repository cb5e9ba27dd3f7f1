//! A real broker for tests: started by `scripts/kafka.sh`, with topics of unique names.

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::ClientConfig;
use rdkafka::TopicPartitionList;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A producer that serves its own delivery reports.
pub type Writer = ThreadedProducer<DefaultProducerContext>;

/// A broker that runs.
pub struct Broker {
    /// Where it is.
    pub bootstrap: String,
    /// The port by which the script knows it; none for the one that tests share.
    port: Option<u16>,
    /// How many nodes it has.
    nodes: u16,
    admin: AdminClient<DefaultClientContext>,
}

impl Broker {
    /// The broker that tests share; it is left running for the next one.
    pub fn shared() -> Broker {
        Broker::at(None, 1)
    }

    /// A broker of one's own, which may be stopped.
    pub fn own(port: u16) -> Broker {
        Broker::at(Some(port), 1)
    }

    /// A broker of one's own that holds nothing: whatever one of that port had written is gone.
    pub fn fresh(port: u16) -> Broker {
        script(Some(port), 1, &["stop"]);
        Broker::own(port)
    }

    /// A broker of one's own that begins with a copy of what another one wrote: its `data` folder.
    pub fn of_data(port: u16, data: &Path) -> Broker {
        script(Some(port), 1, &["stop"]);
        script(Some(port), 1, &["start", "--data", &data.to_string_lossy()]);
        Broker::own(port)
    }

    /// Three of one's own: topics have three replicas, of which two have to be in step.
    pub fn own_three(port: u16) -> Broker {
        Broker::at(Some(port), 3)
    }

    fn at(port: Option<u16>, nodes: u16) -> Broker {
        let bootstrap = script(port, nodes, &["start"]);
        let admin = ClientConfig::new().set("bootstrap.servers", &bootstrap).create().expect("an admin client");
        Broker { bootstrap, port, nodes, admin }
    }

    /// Kills its first node.
    pub fn kill(&self) {
        self.to_node("kill", 1);
    }

    /// Starts its first node again with what it had written.
    pub fn restart(&self) {
        self.to_node("restart", 1);
    }

    /// Does `kill`, `pause`, `resume` or `restart` to a node, counted from 1.
    pub fn to_node(&self, what: &str, node: u16) {
        script(self.port, self.nodes, &[what, &node.to_string()]);
    }

    /// A line for each node, which says whether it runs.
    pub fn status(&self) -> String {
        let output = command(self.port, self.nodes, &["status"]).output().expect("the script can be run");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Ends it and removes what it wrote.
    pub fn stop(&self) {
        script(self.port, self.nodes, &["stop"]);
    }

    /// Creates a topic and gives its name, which begins so.
    pub fn topic(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) -> String {
        let name = unique(name);
        self.create(&name, partitions, settings);
        name
    }

    /// Creates a topic of this name.
    pub fn create(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) {
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(i32::from(self.nodes)));
        for (key, value) in settings {
            topic = topic.set(key, value);
        }
        eventually(&format!("topic {name} is created"), || {
            let created = block_on(self.admin.create_topics([&topic], &options())).unwrap();
            created[0].is_ok().then_some(())
        });
    }

    /// Deletes a topic.
    pub fn delete(&self, name: &str) {
        let deleted = block_on(self.admin.delete_topics(&[name], &options())).unwrap();
        deleted[0].as_ref().unwrap();
    }

    /// Gives a topic more partitions.
    pub fn grow(&self, name: &str, partitions: usize) {
        let grown =
            block_on(self.admin.create_partitions([&NewPartitions::new(name, partitions)], &options())).unwrap();
        grown[0].as_ref().unwrap();
        eventually("the broker knows of them", || {
            let metadata = self.admin.inner().fetch_metadata(Some(name), PATIENCE).ok()?;
            (metadata.topics()[0].partitions().len() == partitions).then_some(())
        });
    }

    /// Deletes the records of a partition below an offset.
    pub fn delete_records(&self, topic: &str, partition: i32, below: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, rdkafka::Offset::Offset(below)).unwrap();
        block_on(self.admin.delete_records(&list, &options())).unwrap();
    }

    /// A producer without transactions.
    pub fn writer(&self) -> Writer {
        ClientConfig::new().set("bootstrap.servers", &self.bootstrap).set("linger.ms", "2").create().unwrap()
    }

    /// A producer with transactions.
    pub fn transactional_writer(&self) -> Writer {
        let id = unique("writer");
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap).set("transactional.id", &id).set("linger.ms", "2");
        let writer: Writer = config.create().unwrap();
        writer.init_transactions(PATIENCE).unwrap();
        writer
    }
}

fn command(port: Option<u16>, nodes: u16, arguments: &[&str]) -> Command {
    // Packages at several depths have tests that need it.
    let mut above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|folder| folder.join("scripts/kafka.sh"));
    let path = above.find(|path| path.exists()).expect("the script is in the repository");
    let mut command = Command::new(path);
    command.args(arguments).args(["--nodes", &nodes.to_string()]);
    if let Some(port) = port {
        command.env("KAFKA_PORT", port.to_string());
    }
    command
}

fn script(port: Option<u16>, nodes: u16, arguments: &[&str]) -> String {
    let output = command(port, nodes, arguments).output().expect("the script can be run");
    assert!(output.status.success(), "kafka.sh {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE))
}

/// A name that no other test and no earlier run has.
pub fn unique(name: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    format!("{name}-{nanos:x}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Writes a value, or a tombstone, and does not wait for it: a writer that is dropped before it was flushed may take it along.
pub fn write(writer: &Writer, topic: &str, partition: i32, value: Option<&[u8]>) {
    let mut record = BaseRecord::<(), [u8]>::to(topic).partition(partition);
    if let Some(value) = value {
        record = record.payload(value);
    }
    writer.send(record).map_err(|(error, _)| error).unwrap();
}

/// Writes values and waits until they are there.
pub fn write_all(writer: &Writer, topic: &str, partition: i32, values: &[&str]) {
    values.iter().for_each(|value| write(writer, topic, partition, Some(value.as_bytes())));
    writer.flush(PATIENCE).unwrap();
}

/// Waits until there is an answer.
pub fn eventually<T>(what: &str, mut answer: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = answer() {
            return answer;
        }
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits for a future on this thread.
pub fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
