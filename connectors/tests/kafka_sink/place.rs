//! A sink with two topics of its own, and what it has to write.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use connectors::kafka::sink::verify::{Found, Question, SentMessage, verify};
use connectors::kafka::sink::{KafkaSink, KafkaSinkError, Mode, SinkOptions, Topic, headers_of};
use operators::delivery::Message;
use operators::time::Tick;

use crate::broker::Broker;

/// By topic and partition.
pub(crate) type Contents = BTreeMap<(String, u32), Vec<SentMessage>>;

pub(crate) struct Place<'b> {
    pub(crate) broker: &'b Broker,
    pub(crate) name: String,
    /// The first has two partitions, the second one.
    pub(crate) topics: [String; 2],
    folder: tempfile::TempDir,
}

impl<'b> Place<'b> {
    pub(crate) fn new(broker: &'b Broker) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
        let name = format!("sink-{}-{since:x}", std::process::id());
        let topics = [format!("{name}.wide"), format!("{name}.narrow")];
        Place { broker, name, topics, folder: tempfile::tempdir().unwrap() }
    }

    /// The same sink, from another machine.
    pub(crate) fn elsewhere(&self) -> Place<'b> {
        let (name, topics) = (self.name.clone(), self.topics.clone());
        Place { broker: self.broker, name, topics, folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn options(&self, change: impl FnOnce(&mut SinkOptions)) -> SinkOptions {
        let [wide, narrow] = self.topics.clone();
        let topics = vec![Topic { name: wide, shards: 2 }, Topic { name: narrow, shards: 1 }];
        let mut options = SinkOptions::new("test", &self.name, topics);
        options.create_with_replicas = Some(1);
        change(&mut options);
        options
    }

    pub(crate) fn outbox(&self) -> PathBuf {
        self.folder.path().join("outbox")
    }

    pub(crate) fn open(&self, options: SinkOptions) -> Result<KafkaSink, KafkaSinkError> {
        KafkaSink::open(&self.broker.connection(), options, self.outbox(), &Default::default())
    }

    pub(crate) fn write(&self, sink: &mut KafkaSink, ticks: Range<Tick>) {
        for tick in ticks {
            sink.write(tick, derived(tick), &AtomicBool::new(false)).unwrap();
        }
        sink.flush().unwrap();
    }

    pub(crate) fn drain(&self, sink: &KafkaSink) {
        let watch = sink.watch();
        until("the outbox is drained", || {
            if let Some(failure) = watch.failure() {
                panic!("{failure}");
            }
            watch.is_drained()
        });
    }

    /// What is in a topic, as a consumer has it.
    pub(crate) fn verify(&self, topic: &str, mode: Mode) -> (Found, Contents) {
        let question = Question {
            topic: topic.to_owned(),
            progress_topic: Some(format!("test.{}.progress", self.name)),
            mode,
            patience: Duration::from_secs(60),
        };
        let mut contents = Contents::new();
        let found = verify(&self.broker.connection(), &question, |partition, message| {
            contents.entry((topic.to_owned(), partition)).or_default().push(message);
        });
        (found.unwrap(), contents)
    }

    /// What is in both topics, which hold what they should.
    #[track_caller]
    pub(crate) fn verified(&self, mode: Mode) -> Contents {
        let mut contents = Contents::new();
        for topic in &self.topics {
            let (found, of_topic) = self.verify(topic, mode);
            assert_eq!(found.violation, None, "{topic}");
            assert!(found.shards.iter().all(|shard| shard.messages == 0 || shard.compared > 0), "{found:?}");
            contents.extend(of_topic);
        }
        contents
    }

    /// What ticks below write.
    pub(crate) fn expected(&self, upper: Tick) -> Contents {
        let mut contents = Contents::new();
        for tick in 0..upper {
            for (shard, messages) in (0..).zip(derived(tick)) {
                for topic in 0..2 {
                    let sent = self.sent(shard, tick, &messages, topic);
                    if !sent.is_empty() {
                        contents.entry((self.topics[topic as usize].clone(), shard)).or_default().extend(sent);
                    }
                }
            }
        }
        contents
    }

    pub(crate) fn sent(&self, shard: u32, tick: Tick, messages: &[Message], topic: u16) -> Vec<SentMessage> {
        let of_topic = messages.iter().filter(|message| message.topic == topic);
        let sent = of_topic.map(|message| SentMessage {
            key: message.key.clone(),
            value: message.value.clone(),
            headers: headers_of(&self.name, shard, tick, message)
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.into_bytes()))
                .collect(),
        });
        sent.collect()
    }
}

/// What a tick writes: nothing, one message or several, some of them tombstones.
pub(crate) fn derived(tick: Tick) -> Vec<Vec<Message>> {
    let mut first = messages(tick, (tick * 7 % 5) as u32);
    let of = (tick % 3) as u32;
    first.extend((0..of).map(|seq| Message { topic: 1, seq, of, key: format!("n{seq}").into(), value: None }));
    vec![first, messages(tick, 1 + (tick % 2) as u32)]
}

/// So many of the first topic.
pub(crate) fn messages(tick: Tick, of: u32) -> Vec<Message> {
    let value = |seq| (seq % 3 != 2).then(|| format!("{{\"tick\":{tick},\"seq\":{seq}}}").into());
    (0..of).map(|seq| Message { topic: 0, seq, of, key: format!("k{seq}").into(), value: value(seq) }).collect()
}

/// Waits for something that is going to be so.
#[track_caller]
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(90);
    while !is_so() {
        assert!(Instant::now() < deadline, "still waiting: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
