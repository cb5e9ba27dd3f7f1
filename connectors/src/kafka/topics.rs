//! Topics that we write to: whether they are there; those that are missing are made, where that is allowed.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;

use super::connection::Connection;
use super::native::{Client, Said, Sayings};
use super::request::RequestError;

/// How long the cluster may take to answer, and to show a new topic to all.
const PATIENCE: Duration = Duration::from_secs(20);

/// For how long a topic has to be unknown before it is believed to be missing: a broker that has just started, or a topic
/// that somebody has just made.
const MISSING_AFTER: Duration = Duration::from_secs(5);

/// A topic as it should be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) name: &'a str,
    pub(crate) partitions: u32,
    /// What it is made with beyond the defaults of the cluster.
    pub(crate) settings: &'a [(&'a str, &'a str)],
}

impl Wanted<'_> {
    /// The command that makes it.
    pub(crate) fn command(&self, connection: &Connection) -> String {
        let settings: String = self.settings.iter().map(|(key, value)| format!(" --config {key}={value}")).collect();
        let (bootstrap, name, partitions) = (&connection.bootstrap, self.name, self.partitions);
        format!(
            "kafka-topics.sh --bootstrap-server {bootstrap} --create --topic {name} --partitions {partitions} \
             --replication-factor 3{settings}"
        )
    }
}

/// How long one question may take before it is heard what the client says of its connections.
const QUESTION: Duration = Duration::from_secs(1);

/// Clients that look after topics.
pub(crate) struct Topics<'a> {
    connection: &'a Connection,
    admin: AdminClient<DefaultClientContext>,
    asking: Arc<Client>,
    /// What the asking client says of its connections: its answers don't tell a cluster that refuses from one that is away.
    sayings: RefCell<Option<Sayings>>,
}

impl<'a> Topics<'a> {
    pub(crate) fn new(connection: &'a Connection) -> Result<Self, RequestError> {
        let failed = |error| RequestError::of("make a client", error);
        let admin = connection.client_config().create().map_err(failed)?;
        let asking = Arc::new(connection.client_config().create().map_err(failed)?);
        let sayings = RefCell::new(Sayings::of(&asking));
        Ok(Topics { connection, admin, asking, sayings })
    }

    /// How many partitions a topic has. One that is missing is made with so many replicas; without, there is none.
    pub(crate) fn find_or_make(
        &self,
        wanted: Wanted<'_>,
        replicas: Option<u16>,
    ) -> Result<Option<usize>, RequestError> {
        if let Some(found) = self.partitions(wanted.name)? {
            return Ok(Some(found));
        }
        match replicas {
            None => self.wait_for(wanted.name, MISSING_AFTER),
            Some(replicas) => {
                self.make(wanted, replicas)?;
                let made = self.wait_for(wanted.name, PATIENCE)?;
                let unseen = || {
                    let error = KafkaError::MetadataFetch(Code::UnknownTopicOrPartition);
                    RequestError::of(format!("see the topic \"{}\", which was made just now", wanted.name), error)
                };
                Ok(Some(made.ok_or_else(unseen)?))
            }
        }
    }

    /// Those settings of a topic that differ from what they have to be: name, value, wanted value.
    pub(crate) fn differing(&self, wanted: Wanted<'_>) -> Result<Vec<(String, String, String)>, RequestError> {
        let doing = || format!("ask {} for the settings of the topic \"{}\"", self.connection.bootstrap, wanted.name);
        let resource = ResourceSpecifier::Topic(wanted.name);
        let answers = block_on(self.admin.describe_configs([&resource], &options()));
        let mut answers = answers.map_err(|error| RequestError::of(doing(), error))?;
        let settings = match answers.pop() {
            Some(Ok(settings)) => settings,
            Some(Err(code)) => return Err(RequestError::of(doing(), KafkaError::AdminOp(code))),
            None => return Err(RequestError::of(doing(), KafkaError::AdminOp(Code::Fail))),
        };
        let differs = |(key, value): &(&str, &str)| {
            let found = settings.get(key)?.value.clone()?;
            (found != *value).then(|| ((*key).to_owned(), found, (*value).to_owned()))
        };
        Ok(wanted.settings.iter().filter_map(differs).collect())
    }

    /// How many partitions a topic has; none where there is no such topic.
    fn partitions(&self, topic: &str) -> Result<Option<usize>, RequestError> {
        let doing = || format!("ask {} for the topic \"{topic}\"", self.connection.bootstrap);
        let began = Instant::now();
        let metadata = loop {
            match self.asking.fetch_metadata(Some(topic), QUESTION) {
                Ok(metadata) => break metadata,
                Err(error) => {
                    let error = RequestError::of(doing(), self.said().map_or(error, KafkaError::Global));
                    if !error.is_transient() || began.elapsed() > PATIENCE {
                        return Err(error);
                    }
                }
            }
        };
        let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else { return Ok(None) };
        match found.error().map(Code::from) {
            None => Ok(Some(found.partitions().len())),
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => Ok(None),
            // Just being made, by somebody else.
            Some(Code::LeaderNotAvailable) => Ok(Some(found.partitions().len())),
            Some(code) => Err(RequestError::of(doing(), KafkaError::MetadataFetch(code))),
        }
    }

    /// What the client has said last of its connections, if it says more than that there are none.
    fn said(&self) -> Option<Code> {
        let mut last = None;
        if let Some(sayings) = &mut *self.sayings.borrow_mut() {
            sayings.hear(|said| match said {
                Said::Error(code, _) if code != Code::AllBrokersDown => last = Some(code),
                Said::Error(..) | Said::Log(_) => {}
            });
        }
        last
    }

    fn make(&self, wanted: Wanted<'_>, replicas: u16) -> Result<(), RequestError> {
        let Wanted { name, partitions, settings } = wanted;
        let new = NewTopic::new(name, partitions as i32, TopicReplication::Fixed(i32::from(replicas)));
        let new = settings.iter().fold(new, |new, (key, value)| new.set(key, value));
        let doing = || format!("make the topic \"{name}\" with {replicas} replicas");
        let made = block_on(self.admin.create_topics([&new], &options()));
        let made = made.map_err(|error| RequestError::of(doing(), error))?;
        match made.into_iter().next() {
            Some(Err((_, code))) if code != Code::TopicAlreadyExists => {
                Err(RequestError::of(doing(), KafkaError::AdminOp(code)))
            }
            _ => Ok(()),
        }
    }

    /// How many partitions a topic has, once it is seen: not every broker knows at once of one that was made just now.
    fn wait_for(&self, topic: &str, patience: Duration) -> Result<Option<usize>, RequestError> {
        let deadline = Instant::now() + patience;
        loop {
            let found = self.partitions(topic)?.filter(|found| *found > 0);
            if found.is_some() || Instant::now() > deadline {
                return Ok(found);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE))
}

fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime without drivers asks nothing of the system").block_on(future)
}
