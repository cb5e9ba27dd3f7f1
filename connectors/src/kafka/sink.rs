//! A sink that writes complete ticks to Kafka, each message exactly once.
//!
//! ```text
//! write(tick) -> outbox on disk -> a thread for each shard: begin, messages, progress, commit -> trim the outbox
//! ```
//!
//! Shard `s` of the sink is partition `s` of each of its topics and of its progress topic. It has one writer: the
//! producer with the transactional id `{engine}-{sink}-{shard}`. A writer starts in a fixed order: it initialises its
//! transactions, which fences whoever wrote before and ends what that one left open; then it reads the progress to its
//! end; only then does it know where to go on. Messages and the progress that covers them are of one transaction. After
//! any failure, whatever its kind, the client is dropped and a new one starts in that order: what became of the last
//! transaction is read, never guessed. A broker that is killed may leave it torn, which is mended then
//! ([`operators::delivery::torn`]).
//!
//! In the mode without transactions the same messages are sent by an idempotent producer that never gives one up, and
//! the progress follows once they are acknowledged. After a crash some may be there twice: a consumer drops those whose
//! `(tick, seq)` is not beyond what it has seen in the partition.
//!
//! Messages carry the headers `sink`, `shard`, `tick`, `seq` and `of`, in this order, numbers in decimal: which of the
//! `of` messages of this tick in this partition it is, from 0. Keys, values and headers follow from the two logs alone;
//! how ticks are divided into transactions does not.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use operators::delivery::{Delivery, Message, Progress, Writer};
use operators::time::Tick;

use crate::kafka::connection::Connection;
use crate::kafka::producer;
use crate::kafka::start;
use crate::kafka::topics::{Topics, Wanted};
use crate::local_disk::LocalDisk;

use self::channel::KafkaChannel;
use self::shared::Shared;
use self::shipper::Shipper;

mod channel;
mod error;
mod shared;
mod shipper;
pub mod verify;
mod wire;

pub use error::KafkaSinkError;
pub use shared::Watch;
pub use wire::headers_of;

/// How messages get into a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Messages and progress in transactions: a reader of committed messages sees each once.
    Transactional,
    /// Without transactions: a reader drops what it has seen.
    IdempotentSequenced,
}

/// What happens when the outbox is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// Everything waits.
    Stall,
    /// The sink takes nothing more; after the next start what is missing is derived again.
    Detach,
}

/// A topic of a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its partitions.
    pub shards: u32,
}

/// What a sink is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkOptions {
    /// Its name.
    pub name: String,
    /// The name of the engine: two that write to one cluster have different ones.
    pub engine: String,
    /// Its topics; messages name them by their place here.
    pub topics: Vec<Topic>,
    /// How messages get there.
    pub mode: Mode,
    /// The tick with which it begins where nothing was written yet.
    pub since: Tick,
    /// Topics that are missing are made with this many replicas, if it is given.
    pub create_with_replicas: Option<u16>,
    /// How much the outbox may hold.
    pub outbox_bytes: u64,
    /// What happens then.
    pub when_full: WhenFull,
    /// The most messages of one transaction.
    pub transaction_messages_max: usize,
    /// About the most bytes of one transaction.
    pub transaction_bytes_max: usize,
    /// When the cluster gives up a transaction whose writer is silent.
    pub transaction_timeout: Duration,
}

impl SinkOptions {
    /// The sink of these topics, with transactions of up to 10,000 messages or 8 MiB, which expire after a minute.
    pub fn new(engine: impl Into<String>, name: impl Into<String>, topics: Vec<Topic>) -> Self {
        SinkOptions {
            name: name.into(),
            engine: engine.into(),
            topics,
            mode: Mode::Transactional,
            since: 0,
            create_with_replicas: None,
            outbox_bytes: 256 << 20,
            when_full: WhenFull::Stall,
            transaction_messages_max: 10_000,
            transaction_bytes_max: 8 << 20,
            transaction_timeout: Duration::from_secs(60),
        }
    }

    /// How many shards it has: as many as its widest topic has partitions.
    pub fn shards(&self) -> u32 {
        self.topics.iter().map(|topic| topic.shards).max().unwrap_or(0)
    }

    /// The compacted topic of its progress.
    pub fn progress_topic(&self) -> String {
        format!("{}.{}.progress", self.engine, self.name)
    }

    /// Under which id a shard is written.
    pub fn transactional_id(&self, shard: u32) -> String {
        format!("{}-{}-{shard}", self.engine, self.name)
    }

    /// The key of a shard's progress.
    pub fn progress_key(&self, shard: u32) -> String {
        format!("{}/{shard}", self.name)
    }
}

/// The sink. Dropping it ends its threads; what is not sent stays in the outbox.
#[derive(Debug)]
pub struct KafkaSink {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// The first tick that was not taken.
    detached: Option<Tick>,
    /// Whether it was told that the outbox is full.
    told_full: bool,
}

impl KafkaSink {
    /// Opens the sink with its outbox in `folder`: looks after its topics, fences whoever wrote before, and finds out where
    /// to go on. What the outbox holds is sent from now on. A cluster that is busy is asked again for minutes, unless that is
    /// `interrupted`.
    pub fn open(
        connection: &Connection,
        options: SinkOptions,
        folder: impl Into<PathBuf>,
        interrupted: &AtomicBool,
    ) -> Result<Self, KafkaSinkError> {
        look_after_topics(connection, &options)?;
        let (folder, stop) = (folder.into(), Arc::<AtomicBool>::default());
        let topics: Vec<String> = options.topics.iter().map(|topic| topic.name.clone()).collect();
        let mut writers = Vec::new();
        for shard in 0..options.shards() {
            let what = format!("the writer \"{}\"", options.transactional_id(shard));
            let is_wanted = || !interrupted.load(Ordering::Acquire);
            writers.push(start::start(&what, KafkaSinkError::may_start, is_wanted, || {
                let channel = KafkaChannel::new(connection, &options, shard, &stop)?;
                Writer::open(channel, &topics, options.since, producer::new_identity())
            })?);
        }
        let written: Vec<Progress> = writers.iter().map(|writer| writer.progress().clone()).collect();
        let failed = |source| KafkaSinkError::outbox(&options.name, source);
        let disk = LocalDisk::open(&folder).map_err(failed)?.called("outbox");
        let delivery = Delivery::open(disk, options.outbox_bytes, &written, &topics).map_err(failed)?;
        for file in delivery.damaged() {
            tracing::warn!(
                file = %folder.join(file).display(),
                "the outbox is not as it was left from here on; what is missing is derived again from the logs"
            );
        }
        let shared = Arc::new(Shared::new(connection.clone(), options, topics, delivery, stop));
        let spawn = |(shard, writer): (u32, Writer<KafkaChannel>)| {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name(format!("sink-{shard}"))
                .spawn(move || Shipper::new(shared, shard).run(writer))
                .expect("the system has a thread left for each shard of a sink")
        };
        let threads = (0..).zip(writers).map(spawn).collect();
        Ok(KafkaSink { threads, detached: None, told_full: false, shared })
    }

    /// The tick that is taken next: every one below is durable, here or in the topics.
    pub fn next_tick(&self) -> Tick {
        self.detached.unwrap_or_else(|| self.shared.lock().next_tick())
    }

    /// Whether it looks at a tick at all: it takes it, or compares it with what is there.
    pub fn wants(&self, tick: Tick) -> bool {
        self.shared.lock().wants(tick)
    }

    /// Whether it stopped taking because its outbox was full.
    pub fn is_detached(&self) -> bool {
        self.detached.is_some()
    }

    /// For those who watch it.
    pub fn watch(&self) -> Watch {
        Watch(Arc::clone(&self.shared))
    }

    /// Takes a complete tick: the messages of each shard, in their order. One below [`KafkaSink::next_tick`] is compared
    /// with what is there. Waits while the outbox is full, if that is the policy, until `stop` is set.
    pub fn write(&mut self, tick: Tick, shards: Vec<Vec<Message>>, stop: &AtomicBool) -> Result<(), KafkaSinkError> {
        self.failed()?;
        self.shared.compare(tick, &shards)?;
        if tick < self.next_tick() || self.detached.is_some() {
            return Ok(());
        }
        while self.shared.lock().is_full() {
            match self.shared.options.when_full {
                WhenFull::Detach => return self.detach(tick),
                WhenFull::Stall => self.stall(stop)?,
            }
        }
        self.told_full = false;
        self.shared.append(tick, shards)
    }

    /// Returns once everything taken survives a crash: the acknowledgement.
    pub fn flush(&mut self) -> Result<(), KafkaSinkError> {
        self.failed()?;
        self.shared.sync()
    }

    fn failed(&self) -> Result<(), KafkaSinkError> {
        let failure = self.shared.failure();
        failure.map_or(Ok(()), |cause| Err(KafkaSinkError::Ended { sink: self.shared.options.name.clone(), cause }))
    }

    fn detach(&mut self, tick: Tick) -> Result<(), KafkaSinkError> {
        self.flush()?;
        self.detached = Some(tick);
        tracing::warn!(
            sink = self.shared.options.name,
            tick,
            "the outbox is full and the sink is detached: what it holds is still sent, ticks from this one on are \
             derived again from the logs after the next start"
        );
        Ok(())
    }

    fn stall(&mut self, stop: &AtomicBool) -> Result<(), KafkaSinkError> {
        // What is not synchronised is not sent, and would never make room.
        self.flush()?;
        if stop.load(Ordering::Acquire) {
            return Err(KafkaSinkError::Stopped);
        }
        if !self.told_full {
            self.told_full = true;
            tracing::warn!(
                sink = self.shared.options.name,
                outbox_bytes = self.shared.options.outbox_bytes,
                "the outbox is full: the run waits until the cluster takes what is in it"
            );
        }
        self.shared.wait_for_room(Duration::from_millis(100));
        Ok(())
    }
}

impl Drop for KafkaSink {
    fn drop(&mut self) {
        self.shared.stop();
        for thread in self.threads.drain(..) {
            // Whoever panicked has said so.
            let _ = thread.join();
        }
    }
}

/// Makes sure that each topic is there, with a partition for each shard.
fn look_after_topics(connection: &Connection, options: &SinkOptions) -> Result<(), KafkaSinkError> {
    /// Small segments, so that compaction keeps the topic as short as it should be.
    const OF_PROGRESS: [(&str, &str); 3] =
        [("cleanup.policy", "compact"), ("segment.bytes", "16777216"), ("segment.ms", "3600000")];
    let topics = Topics::new(connection)?;
    let progress = Topic { name: options.progress_topic(), shards: options.shards() };
    let of_views = options.topics.iter().map(|topic| (topic, [].as_slice()));
    for (Topic { name, shards }, settings) in of_views.chain([(&progress, OF_PROGRESS.as_slice())]) {
        let wanted = Wanted { name, partitions: *shards, settings };
        let Some(found) = topics.find_or_make(wanted, options.create_with_replicas)? else {
            let (topic, command) = (name.clone(), wanted.command(connection));
            return Err(KafkaSinkError::MissingTopic { topic, command });
        };
        if found != *shards as usize {
            return Err(KafkaSinkError::Partitions { topic: name.clone(), found, wanted: *shards });
        }
    }
    Ok(())
}
