//! A cluster, as all sources of a process share it: two clients, and one thread that keeps an eye on the topics.
//!
//! One client reads, and sees only what is committed. The other one asks where partitions end, and has to see what is not
//! committed too: an end below which a transaction is still open is none. The watching thread hears what the clients say
//! of themselves, and asks every few seconds whether the topics are still those that were recorded.
//!
//! **Which topic is read.** Topics are fetched by id, and a client changes over to another id only when it learns of it
//! with the topic's metadata, which it says in a line of its log *before* it fetches by that id. So whoever takes messages,
//! then hears everything that was said, and finds the recorded id still to be the last one, has messages of that topic.

mod error;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError as NativeError, RDKafkaErrorCode};

use super::connection::Connection;
use super::native::{Client, Described, Said, Sayings, describe};

pub use error::ClusterError;

/// How often the clients are heard.
const HEAR_EVERY: Duration = Duration::from_millis(100);

/// How often it is asked whether topics are what they were.
const DESCRIBE_EVERY: Duration = Duration::from_secs(2);

/// For how long a topic has to be unknown before it is believed to be gone.
const GONE_AFTER: Duration = Duration::from_secs(5);

/// How long an answer may take at the start of a run.
const START_WAIT: Duration = Duration::from_secs(10);

/// How long an answer may take while a run goes on.
const ANSWER_WAIT: Duration = Duration::from_secs(2);

/// A topic, as a cluster has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its id, which no other topic ever has.
    pub id: String,
    /// How many partitions it has.
    pub partitions: u32,
}

/// What the watching thread last saw of a topic.
#[derive(Clone, Debug, Default)]
struct Watched {
    /// The id by which the reading client fetches it.
    read_id: Option<String>,
    /// The last answer.
    described: Option<Described>,
    /// Since when there has been no such topic.
    missing_since: Option<Instant>,
    is_gone: bool,
}

/// What is known of a topic while it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It is the one that was recorded.
    Same,
    /// Another topic has its name.
    Recreated(String),
    /// There has been no such topic for a while.
    Gone,
}

struct Shared {
    bootstrap: String,
    reading: Arc<Client>,
    asking: Arc<Client>,
    /// Whoever hears holds the lock until what was said is noted.
    sayings: Mutex<[Sayings; 2]>,
    topics: Mutex<BTreeMap<String, Watched>>,
    /// What was last wrong with a connection.
    trouble: Mutex<Option<(RDKafkaErrorCode, String)>>,
    stop: AtomicBool,
}

/// A cluster that is connected to, lazily, and kept so.
pub struct Cluster {
    shared: Arc<Shared>,
    watcher: Option<JoinHandle<()>>,
}

impl Cluster {
    /// Sets up a connection. `queue_bytes` is how much of each partition may lie fetched and not yet taken.
    pub fn connect(connection: &Connection, queue_bytes: u64) -> Result<Cluster, ClusterError> {
        let bootstrap = connection.bootstrap.clone();
        let create = |config: ClientConfig| {
            let created: Result<Client, NativeError> = config.create();
            created.map(Arc::new).map_err(|error| ClusterError::Settings {
                bootstrap: bootstrap.clone(),
                what: match error {
                    NativeError::ClientConfig(_, what, key, _) => format!("{key}: {what}"),
                    other => other.to_string(),
                },
            })
        };
        let reading = create(reading_config(connection, queue_bytes))?;
        let asking = create(asking_config(connection))?;
        let no_queue = || ClusterError::Settings { bootstrap: bootstrap.clone(), what: "no event queue".to_owned() };
        let sayings = [&reading, &asking].map(Sayings::of);
        let [Some(of_reading), Some(of_asking)] = sayings else { return Err(no_queue()) };
        let shared = Arc::new(Shared {
            bootstrap,
            reading,
            asking,
            sayings: Mutex::new([of_reading, of_asking]),
            topics: Mutex::default(),
            trouble: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let watched = Arc::clone(&shared);
        let watcher = std::thread::Builder::new().name("kafka-watch".to_owned()).spawn(move || watched.watch());
        let watcher = watcher.expect("the system has a thread left for a handful of them");
        Ok(Cluster { shared, watcher: Some(watcher) })
    }

    /// Topics by their names, in that order. For the start of a run: waits for up to ten seconds, and says which of the
    /// things that can be wrong is. A topic is believed to be missing after five: a broker that has just created one, or
    /// has just started, does not know of it for a moment.
    pub fn topics(&self, names: &[String]) -> Result<Vec<Topic>, ClusterError> {
        let shared = &self.shared;
        let bootstrap = shared.bootstrap.clone();
        let began = Instant::now();
        let refused = || {
            matches!(
                shared.trouble(),
                Some((RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed, _))
            )
        };
        let wanted = || {
            shared.hear();
            began.elapsed() < START_WAIT && !refused()
        };
        loop {
            let answer = describe(&shared.asking, names, as_ms(START_WAIT), wanted);
            shared.hear();
            let answers = answer.map_err(|(code, text)| {
                let (trouble, what) = shared.trouble().unwrap_or((code, text));
                match trouble {
                    RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed => {
                        ClusterError::Refused { bootstrap: bootstrap.clone(), what }
                    }
                    _ => ClusterError::Unreachable { bootstrap: bootstrap.clone(), what },
                }
            })?;
            let topics = names.iter().zip(answers).map(|(name, answer)| shared.topic(name, answer)).collect();
            match topics {
                // A cluster that has just started answers before each partition has its leader.
                Err(ClusterError::Unreachable { .. }) if wanted() => std::thread::sleep(HEAR_EVERY),
                Err(ClusterError::UnknownTopic { .. }) if began.elapsed() < GONE_AFTER => {
                    std::thread::sleep(HEAR_EVERY)
                }
                settled => return settled,
            }
        }
    }

    /// The first offset that a partition still holds, and the one after its last, whether committed or not. For the start
    /// of a run, too: a partition that has no leader yet is waited for.
    pub fn offsets(&self, topic: &str, partition: u32) -> Result<(u64, u64), ClusterError> {
        let until = Instant::now() + START_WAIT;
        loop {
            match self.shared.offsets(topic, partition, START_WAIT) {
                Err(ClusterError::Unreachable { .. }) if Instant::now() < until => std::thread::sleep(HEAR_EVERY),
                settled => return settled,
            }
        }
    }

    /// The same while a run goes on: an answer that takes longer comes to nothing.
    pub(super) fn offsets_now(&self, topic: &str, partition: u32) -> Result<(u64, u64), ClusterError> {
        self.shared.offsets(topic, partition, ANSWER_WAIT)
    }

    /// The topic as it is now, while a run goes on.
    pub(super) fn topic_now(&self, name: &str) -> Result<Topic, ClusterError> {
        let shared = &self.shared;
        let wanted = || !shared.stop.load(Ordering::Acquire);
        let answers = describe(&shared.asking, &[name.to_owned()], as_ms(ANSWER_WAIT), wanted);
        shared.hear();
        let mut answers = answers.map_err(|(code, text)| shared.unreachable(code, text))?;
        shared.topic(name, answers.pop().unwrap_or(Err(RDKafkaErrorCode::UnknownTopic)))
    }

    /// Keeps an eye on a topic from now on.
    pub(super) fn watch(&self, topic: &str) {
        lock(&self.shared.topics).entry(topic.to_owned()).or_default();
    }

    /// What is known of a watched topic, given the id that was recorded. Everything that the clients have said is heard.
    pub(super) fn seen(&self, topic: &str, recorded: &str) -> Seen {
        self.shared.hear();
        let topics = lock(&self.shared.topics);
        let Some(watched) = topics.get(topic) else { return Seen::Same };
        let described = watched.described.as_ref().map(|described| &described.id);
        match watched.read_id.iter().chain(described).find(|id| *id != recorded) {
            Some(other) => Seen::Recreated(other.clone()),
            None if watched.is_gone => Seen::Gone,
            None => Seen::Same,
        }
    }

    /// Whether the reading client has said by which id it fetches a topic: it has by the first message.
    pub(super) fn is_read_by_id(&self, topic: &str) -> bool {
        lock(&self.shared.topics).get(topic).is_some_and(|watched| watched.read_id.is_some())
    }

    /// How many partitions a watched topic has, if the cluster has said so.
    pub fn partitions_of(&self, topic: &str) -> Option<u32> {
        lock(&self.shared.topics).get(topic)?.described.as_ref().map(|described| described.partitions)
    }

    pub(super) fn reading(&self) -> &Arc<Client> {
        &self.shared.reading
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        if let Some(watcher) = self.watcher.take() {
            // Its panic has been told by the thread itself.
            let _ = watcher.join();
        }
    }
}

impl Shared {
    fn watch(&self) {
        let mut describe_at = Instant::now();
        while !self.stop.load(Ordering::Acquire) {
            self.hear();
            if Instant::now() >= describe_at {
                self.describe();
                describe_at = Instant::now() + DESCRIBE_EVERY;
            }
            std::thread::sleep(HEAR_EVERY);
        }
    }

    fn hear(&self) {
        let mut sayings = lock(&self.sayings);
        let [of_reading, of_asking] = &mut *sayings;
        of_reading.hear(|said| match said {
            Said::Log(line) => self.note_id(&line),
            Said::Error(code, text) => self.note_trouble(code, text),
        });
        of_asking.hear(|said| {
            if let Said::Error(code, text) = said {
                self.note_trouble(code, text);
            }
        });
    }

    fn note_id(&self, line: &str) {
        if let Some((topic, id)) = changed_id(line)
            && let Some(watched) = lock(&self.topics).get_mut(topic)
        {
            watched.read_id = Some(id.to_owned());
        }
    }

    fn note_trouble(&self, code: RDKafkaErrorCode, text: String) {
        tracing::debug!(?code, %text, "a connection to Kafka");
        let mut trouble = lock(&self.trouble);
        // That all brokers are down says less than why the last one is.
        if trouble.is_none() || code != RDKafkaErrorCode::AllBrokersDown {
            *trouble = Some((code, text));
        }
    }

    fn trouble(&self) -> Option<(RDKafkaErrorCode, String)> {
        lock(&self.trouble).clone()
    }

    fn unreachable(&self, code: RDKafkaErrorCode, text: String) -> ClusterError {
        let text = if text.is_empty() { code.to_string() } else { text };
        let what = self.trouble().map_or(text, |(_, trouble)| trouble);
        ClusterError::Unreachable { bootstrap: self.bootstrap.clone(), what }
    }

    /// Asks for all watched topics.
    fn describe(&self) {
        let names: Vec<String> = lock(&self.topics).keys().cloned().collect();
        if names.is_empty() {
            return;
        }
        let wanted = || !self.stop.load(Ordering::Acquire);
        let Ok(answers) = describe(&self.asking, &names, as_ms(ANSWER_WAIT), wanted) else { return };
        // Somebody answered, so whatever was wrong is over.
        *lock(&self.trouble) = None;
        let mut topics = lock(&self.topics);
        for (name, answer) in names.iter().zip(answers) {
            let Some(watched) = topics.get_mut(name) else { continue };
            match answer {
                Ok(described) => {
                    watched.described = Some(described);
                    watched.missing_since = None;
                }
                Err(RDKafkaErrorCode::UnknownTopicOrPartition) => {
                    let since = *watched.missing_since.get_or_insert_with(Instant::now);
                    watched.is_gone |= since.elapsed() >= GONE_AFTER;
                }
                Err(_) => {}
            }
        }
    }

    fn topic(&self, name: &str, answer: Result<Described, RDKafkaErrorCode>) -> Result<Topic, ClusterError> {
        let bootstrap = self.bootstrap.clone();
        match answer {
            // The id of 16 zero bytes.
            Ok(Described { id, .. }) if id.bytes().all(|byte| byte == b'A') => {
                Err(ClusterError::NoTopicIds { bootstrap })
            }
            Ok(Described { id, partitions }) => Ok(Topic { name: name.to_owned(), id, partitions }),
            Err(
                RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::InvalidTopic,
            ) => Err(ClusterError::UnknownTopic { bootstrap, topic: name.to_owned() }),
            Err(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                Err(ClusterError::Forbidden { bootstrap, topic: name.to_owned() })
            }
            Err(code) => Err(ClusterError::Unreachable { bootstrap, what: code.to_string() }),
        }
    }

    fn offsets(&self, topic: &str, partition: u32, wait: Duration) -> Result<(u64, u64), ClusterError> {
        let number = i32::try_from(partition).unwrap_or(i32::MAX);
        let answer = self.asking.fetch_watermarks(topic, number, wait);
        let code = |error: &NativeError| error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
        let (low, high) = answer.map_err(|error| self.unreachable(code(&error), code(&error).to_string()))?;
        let offset = |number: i64| u64::try_from(number).unwrap_or_default();
        Ok((offset(low), offset(high)))
    }
}

/// The client that reads.
fn reading_config(connection: &Connection, queue_bytes: u64) -> ClientConfig {
    let mut config = connection.client_config();
    config
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "error")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("check.crcs", "true")
        .set("queued.max.messages.kbytes", (queue_bytes >> 10).clamp(256, 2_097_151).to_string())
        // An end is told with the first answer that is empty, for which a broker waits this long.
        .set("fetch.wait.max.ms", "100")
        // How long fetching rests once the queue is full: the default of a second would starve the reader.
        .set("fetch.queue.backoff.ms", "10")
        .set("topic.metadata.refresh.interval.ms", "10000")
        .set("reconnect.backoff.max.ms", "1000")
        // For the lines that say by which id a topic is fetched.
        .set("debug", "metadata")
        .set_log_level(RDKafkaLogLevel::Debug);
    config
}

/// The client that asks.
fn asking_config(connection: &Connection) -> ClientConfig {
    let mut config = connection.client_config();
    config.set("isolation.level", "read_uncommitted").set("reconnect.backoff.max.ms", "1000");
    config
}

/// The topic and its new id, in a line of the log that says so.
fn changed_id(line: &str) -> Option<(&str, &str)> {
    let (topic, ids) = line.split_once("Topic ")?.1.split_once(" changed id from ")?;
    let (_, id) = ids.split_once(" to ")?;
    Some((topic, id.trim()))
}

fn as_ms(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

/// Locks; what a thread that panicked left is as good as any, and its panic ends the run.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_id_is_found_in_the_log() {
        let line = "[thrd:main]: Topic orders changed id from AAAAAAAAAAAAAAAAAAAAAA to 0rZPqq3dTmeGVmTLQ6UpHQ";
        assert_eq!(changed_id(line), Some(("orders", "0rZPqq3dTmeGVmTLQ6UpHQ")));
        assert_eq!(changed_id("[thrd:main]: Topic orders [0] Leader 1 Epoch 0"), None);
    }
}
