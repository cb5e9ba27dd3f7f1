//! The same records from topics of a real broker: filled beforehand, read by the engine, and by a loop that only polls and
//! decodes. With a rate they are appended while they are read, each when it is due.

mod sender;

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aisle::engine::PartitionSource;
use connectors::kafka::cluster::{Cluster, Topic};
use connectors::kafka::connection::Connection;
use connectors::kafka::source::{TopicPartition, TopicSource};
use operators::record::DecodeMessage;
use operators::source::{Polled, Source, SourceError};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::KafkaError;
use sender::{RecordBatch, Sender};

use crate::arguments::Arguments;
use crate::engine::{self, Measured, START_UP, Setup};
use crate::poll;
use crate::recorder::Due;
use crate::sources::{Lines, Pace};

/// How long the broker may take for anything.
const PATIENCE: Duration = Duration::from_secs(120);

/// How much of each partition may lie fetched, as in a run of four partitions.
const QUEUE_BYTES: u64 = 16 << 20;

/// How long a batch's messages are due one after the other: a sender waits as long for more, by default.
const BATCH_LINGERS: Duration = Duration::from_millis(5);

/// Messages that were made beforehand, by partition.
pub(crate) enum Messages {
    /// A line is a message.
    Lines(Vec<Arc<Lines>>),
    /// Many facts are a message.
    Batches(Vec<Vec<Vec<u8>>>),
}

impl Messages {
    pub(crate) fn partitions(&self) -> usize {
        match self {
            Messages::Lines(partitions) => partitions.len(),
            Messages::Batches(partitions) => partitions.len(),
        }
    }

    pub(crate) fn count(&self, partition: usize) -> usize {
        match self {
            Messages::Lines(partitions) => partitions[partition].ends.len(),
            Messages::Batches(partitions) => partitions[partition].len(),
        }
    }

    fn message(&self, partition: usize, number: usize) -> &[u8] {
        match self {
            Messages::Lines(partitions) => partitions[partition].line(number),
            Messages::Batches(partitions) => &partitions[partition][number],
        }
    }
}

/// A topic that goes when it is dropped.
pub(crate) struct Filled {
    bootstrap: String,
    /// Its name.
    pub(crate) name: String,
}

impl Filled {
    /// A topic without records, with a name of this process.
    pub(crate) fn empty(bootstrap: &str, partitions: usize) -> Result<Filled, Box<dyn Error>> {
        let name = format!("aisle-bench-{}", std::process::id());
        let topic = NewTopic::new(&name, partitions as i32, TopicReplication::Fixed(1));
        for created in administer(bootstrap, |admin, options| block_on(admin.create_topics([&topic], options)))? {
            created.map_err(|(name, code)| format!("topic {name} could not be made: {code}"))?;
        }
        Ok(Filled { bootstrap: bootstrap.to_owned(), name })
    }

    /// A topic that holds all messages.
    pub(crate) fn with(bootstrap: &str, messages: &Messages) -> Result<Filled, Box<dyn Error>> {
        let filled = Filled::empty(bootstrap, messages.partitions())?;
        let prepared = Prepared::of(messages, |_| usize::MAX);
        let mut appender = Appender::to(bootstrap, &filled.name, prepared)?;
        while appender.append(|_| usize::MAX)? {}
        appender.flush()?;
        Ok(filled)
    }
}

impl Drop for Filled {
    fn drop(&mut self) {
        let name = [self.name.as_str()];
        if let Err(error) = administer(&self.bootstrap, |admin, options| block_on(admin.delete_topics(&name, options)))
        {
            tracing::warn!(topic = self.name, %error, "the topic could not be deleted");
        }
    }
}

fn administer<T>(
    bootstrap: &str,
    ask: impl FnOnce(&AdminClient<DefaultClientContext>, &AdminOptions) -> Result<T, KafkaError>,
) -> Result<T, KafkaError> {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new().set("bootstrap.servers", bootstrap).create()?;
    ask(&admin, &AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE)))
}

/// Waits for an answer of the client, whose own threads bring it.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let mut future = std::pin::pin!(future);
    let waker = Arc::new(Unpark(std::thread::current())).into();
    loop {
        match future.as_mut().poll(&mut std::task::Context::from_waker(&waker)) {
            std::task::Poll::Ready(answer) => return answer,
            std::task::Poll::Pending => std::thread::park_timeout(Duration::from_millis(100)),
        }
    }
}

/// A topic that is read.
pub(crate) struct Reading {
    cluster: Arc<Cluster>,
    topic: Topic,
}

impl Reading {
    pub(crate) fn of(bootstrap: &str, name: &str) -> Result<Reading, Box<dyn Error>> {
        let cluster = Cluster::connect(&Connection::plaintext(bootstrap), QUEUE_BYTES)?;
        let topic = cluster.topics(&[name.to_owned()])?.remove(0);
        Ok(Reading { cluster: Arc::new(cluster), topic })
    }

    /// The reader of a partition that ends behind so many messages.
    pub(crate) fn source<D: DecodeMessage>(
        &self,
        partition: usize,
        messages: usize,
        decoder: D,
    ) -> Box<dyn Source<Record = D::Record>> {
        let place = TopicPartition {
            topic: self.topic.name.clone(),
            topic_id: self.topic.id.clone(),
            partition: partition as u32,
        };
        let source = TopicSource::new(Arc::clone(&self.cluster), place, decoder);
        Box::new(Until { source, end: messages as u64, read: 0 })
    }
}

/// A topic's partition that ends, as a bench does.
struct Until<S> {
    source: S,
    end: u64,
    read: u64,
}

impl<S: Source> Source for Until<S> {
    type Record = S::Record;

    fn seek(&mut self, offset: u64) -> Result<(), SourceError> {
        self.read = offset;
        self.source.seek(offset)
    }

    fn poll(&mut self, bytes_max: usize) -> Result<Polled<S::Record>, SourceError> {
        if self.read >= self.end {
            return Ok(Polled::Ended(self.read));
        }
        let polled = self.source.poll(bytes_max)?;
        if let Polled::Batch(batch) = &polled {
            self.read = batch.end_offset;
        }
        Ok(polled)
    }
}

/// Batches of messages, by partition, in their order.
struct Prepared(Vec<Vec<RecordBatch>>);

impl Prepared {
    /// All messages, so many of a partition in a batch at most.
    fn of(messages: &Messages, batch_messages: impl Fn(usize) -> usize) -> Prepared {
        let of_partition = |partition: usize| {
            let mut next = 0usize;
            let batch = || {
                let upto = messages.count(partition).min(next.saturating_add(batch_messages(partition)));
                let batch = RecordBatch::of((next..upto).map(|number| messages.message(partition, number)))?;
                next += batch.count;
                Some(batch)
            };
            std::iter::from_fn(batch).collect()
        };
        Prepared((0..messages.partitions()).map(of_partition).collect())
    }
}

/// Appends batches to a topic.
struct Appender {
    senders: Vec<Sender>,
    prepared: Prepared,
    /// By partition: how many batches are appended, and how many messages they hold.
    appended: Vec<(usize, usize)>,
}

impl Appender {
    fn to(bootstrap: &str, topic: &str, prepared: Prepared) -> Result<Appender, Box<dyn Error>> {
        let partitions = prepared.0.len();
        let senders = Sender::to_all(bootstrap, topic, partitions, PATIENCE)?;
        Ok(Appender { senders, prepared, appended: vec![(0, 0); partitions] })
    }

    /// How many messages are appended once the next batch of a partition is; none where there is no more.
    fn next_end(&self, partition: usize) -> Option<usize> {
        let (batches, messages) = self.appended[partition];
        Some(messages + self.prepared.0[partition].get(batches)?.count)
    }

    /// Appends batches all of whose messages are due, one of each partition at most; false where there is none.
    fn append(&mut self, due: impl Fn(usize) -> usize) -> Result<bool, Box<dyn Error>> {
        let ends: Vec<_> = (0..self.appended.len()).map(|partition| self.next_end(partition)).collect();
        let mut is_any = false;
        for sender in &mut self.senders {
            for partition in sender.partitions().to_vec() {
                let Some(end) = ends[partition].filter(|end| *end <= due(partition)) else { continue };
                let (batches, messages) = &mut self.appended[partition];
                sender.take(partition, &self.prepared.0[partition][*batches]);
                (*batches, *messages) = (*batches + 1, end);
            }
            is_any |= sender.send()?;
        }
        Ok(is_any)
    }

    /// Returns once the cluster has everything that was appended.
    fn flush(&mut self) -> Result<(), Box<dyn Error>> {
        self.senders.iter_mut().try_for_each(Sender::flush)
    }

    /// Appends every batch when its last message is due.
    fn append_all(mut self, paces: &[Pace]) -> Result<(), Box<dyn Error>> {
        loop {
            while self.append(|partition| paces[partition].due())? {}
            let ends = (0..paces.len()).filter_map(|partition| Some((partition, self.next_end(partition)?)));
            let due_at = ends.map(|(partition, end)| paces[partition].due_at(end - 1)).min();
            let Some(due_at) = due_at else { return self.flush() };
            std::thread::sleep(due_at.saturating_duration_since(Instant::now()));
        }
    }
}

/// The job, from a topic.
pub(crate) struct TopicWork<'a> {
    pub(crate) arguments: &'a Arguments,
    pub(crate) setup: &'a Setup,
    pub(crate) messages: Arc<Messages>,
    /// How many records the messages hold.
    pub(crate) records: u64,
}

impl TopicWork<'_> {
    fn bootstrap(&self) -> Result<&str, Box<dyn Error>> {
        Ok(self.arguments.topics.as_deref().ok_or("--topics says where the broker is")?)
    }

    fn sources<D: DecodeMessage>(
        &self,
        topic: &str,
        decoder: impl Fn() -> D,
    ) -> Result<Vec<Box<dyn Source<Record = D::Record>>>, Box<dyn Error>> {
        let reading = Reading::of(self.bootstrap()?, topic)?;
        let partitions = 0..self.messages.partitions();
        Ok(partitions.map(|number| reading.source(number, self.messages.count(number), decoder())).collect())
    }

    fn filled(&self) -> Result<&str, Box<dyn Error>> {
        Ok(self.arguments.filled.as_deref().ok_or("a topic is filled before the rounds")?)
    }

    /// Polls and decodes alone: with a thread for each partition, or in one loop.
    pub(crate) fn poll<D: DecodeMessage>(
        &self,
        decoder: impl Fn() -> D,
        in_one_loop: bool,
    ) -> Result<Measured, Box<dyn Error>> {
        let sources = self.sources(self.filled()?, decoder)?;
        match in_one_loop {
            true => poll::one_loop(&self.setup.plan.topology, sources),
            false => poll::threads(&self.setup.plan.topology, sources),
        }
    }

    /// The engine, from the topic that was filled, or with a rate from one that is appended to.
    pub(crate) fn engine<D: DecodeMessage>(
        &self,
        decoder: impl Fn() -> D,
        source: fn(Box<dyn Source<Record = D::Record>>) -> PartitionSource,
    ) -> Result<Measured, Box<dyn Error>> {
        let sources = |topic: &str| -> Result<Vec<PartitionSource>, Box<dyn Error>> {
            Ok(self.sources(topic, &decoder)?.into_iter().map(source).collect())
        };
        let run = |sources, due| engine::run(self.arguments, self.setup, sources, due);
        let Some(rate) = self.arguments.rate else { return run(sources(self.filled()?)?, Vec::new()) };
        let bootstrap = self.bootstrap()?;
        let per_second = |partition: usize| rate * self.messages.count(partition) as f64 / self.records as f64;
        let lingering = |partition| ((per_second(partition) * BATCH_LINGERS.as_secs_f64()) as usize).max(1);
        let prepared = Prepared::of(&self.messages, lingering);
        let topic = Filled::empty(bootstrap, self.messages.partitions())?;
        let sources = sources(&topic.name)?;
        let appender = Appender::to(bootstrap, &topic.name, prepared)?;
        // The topic is there and everybody knows it: what that took is no record's latency.
        let begins = Instant::now() + START_UP;
        let pace = |partition| Pace { begins, per_second: per_second(partition) };
        let paces: Vec<Pace> = (0..self.messages.partitions()).map(pace).collect();
        let due = paces.iter().map(|pace| Due { pace: *pace, lines: None }).collect();
        let append = move || appender.append_all(&paces).map_err(|error| error.to_string());
        let appender = std::thread::Builder::new().name("appender".to_owned()).spawn(append)?;
        let measured = run(sources, due)?;
        appender.join().map_err(|_| "the appending thread panicked")??;
        Ok(measured)
    }
}
