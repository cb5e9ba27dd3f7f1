//! A simulated sink with transactions: an outbox on the disk, two shards in topics whose transactions go wrong, and a writer
//! for each. Topics outlive every crash; what a crash leaves open there, the next start finds.

use std::collections::BTreeMap;
use std::io;

use crate::rows::{Row, rows_of};
use dataflows::build::Publication;
use dataflows::view::ViewId;
use operators::delivery::memory_channel::{MemoryChannel, read_messages};
use operators::delivery::{Delivery, Message, MessagePosition, Progress, Writer, WriterError};
use operators::memory_topic::{MemoryTopic, MemoryTopicError, Troubles};
use operators::simulation::Random;
use operators::time::Tick;

use super::disk::FusedDisk;
use super::sink::{differences, steps};
use crate::trial::Snapshot;

/// The shards of the sink, whatever those of the views are.
const SHARDS: usize = 2;

/// Small, so that ticks are divided.
const MESSAGES_MAX: u64 = 6;

/// Steps after which writers that are still not done are stuck.
const STEPS_MAX: u64 = 1_000_000;

/// What outlives a crash.
#[derive(Clone, Debug)]
pub struct Topics {
    shards: [MemoryTopic; SHARDS],
    outbox: FusedDisk,
}

/// A sink that works.
pub struct Sinks {
    topics: Topics,
    random: Random,
    delivery: Delivery<FusedDisk>,
    writers: Vec<Shard>,
    /// What was published, and is not given to the outbox, by tick.
    waiting: BTreeMap<Tick, Vec<(ViewId, Row, i64)>>,
    /// The first tick that was not given.
    next: Tick,
}

/// A writer, unless it failed; how far it was, and how far it took.
struct Shard {
    writer: Option<Writer<MemoryChannel>>,
    before: Progress,
    next: MessagePosition,
}

impl Topics {
    /// Empty topics, and an empty outbox with the power of a disk.
    pub fn new(disk: &FusedDisk) -> Self {
        Topics { shards: Default::default(), outbox: disk.beside() }
    }

    /// A crash: what the outbox had not synchronised is lost in part, and what it removed may be there again. Says whether
    /// anything was lost.
    pub fn crash(&self, random: &mut Random) -> bool {
        let mut lost_bytes = 0;
        self.outbox.files().crash(|_, unsynced_bytes| {
            let kept = random.below(unsynced_bytes as u64 + 1) as usize;
            lost_bytes += unsynced_bytes - kept;
            kept
        });
        self.outbox.files().bring_back(|_| random.once_in(2));
        lost_bytes > 0
    }

    /// What went wrong so far.
    pub fn troubles(&self) -> Troubles {
        self.shards.iter().fold(Troubles::default(), |sum, topic| sum + topic.troubles())
    }

    /// What a reader of committed messages sees, by shard.
    pub fn contents(&self) -> Vec<Vec<(Tick, Message)>> {
        self.shards.iter().map(|topic| read_messages(&mut topic.sound_client()).unwrap()).collect()
    }

    fn channel(&self, shard: usize, random: &mut Random) -> MemoryChannel {
        let mut choices = Random::new(random.next());
        MemoryChannel(self.shards[shard].client(move |below| choices.below(below)))
    }
}

impl Sinks {
    /// Starts in the one order: writers, then what their progress leaves of the outbox. The run gives ticks from `upper` on.
    pub fn open(topics: &Topics, mut random: Random, upper: Tick) -> Self {
        let mut writers = Vec::new();
        for shard in 0..SHARDS {
            let identity = format!("{:x}", random.next());
            let writer = loop {
                let channel = topics.channel(shard, &mut random);
                if let Ok(writer) = Writer::open(channel, &names(), 0, identity.clone()) {
                    break writer;
                }
            };
            let (before, next) = (writer.progress().clone(), writer.progress().place());
            writers.push(Shard { writer: Some(writer), before, next });
        }
        let written: Vec<Progress> = writers.iter().map(|shard| shard.before.clone()).collect();
        let delivery = Delivery::open(topics.outbox.clone(), 1 << 20, &written, &names()).unwrap();
        assert!(delivery.next_tick() >= upper, "a sink lost ticks that it had acknowledged");
        Sinks { topics: topics.clone(), random, delivery, writers, waiting: BTreeMap::new(), next: upper }
    }

    /// Takes what was published.
    pub fn take(&mut self, publications: &[Publication]) {
        for publication in publications {
            let Publication::Changes(changes) = publication else { continue };
            if changes.tick >= self.next {
                let rows = rows_of(changes).into_iter().map(|(row, diff)| (changes.view, row, diff));
                self.waiting.entry(changes.tick).or_default().extend(rows);
            }
        }
    }

    /// Gives every tick below `done` to the outbox, and now and then synchronises it.
    pub fn write(&mut self, done: Tick) -> io::Result<()> {
        while self.next < done {
            let shards = messages(self.waiting.remove(&self.next).unwrap_or_default());
            self.delivery.compare(self.next, &shards).expect("what is derived again is what is written");
            if self.next >= self.delivery.next_tick() {
                self.delivery.append(self.next, shards)?;
            }
            self.next += 1;
        }
        if self.random.once_in(3) { self.delivery.sync() } else { Ok(()) }
    }

    /// One writer does one thing: it sends a transaction, or starts again.
    pub fn step(&mut self) -> io::Result<()> {
        let Sinks { topics, random, delivery, writers, .. } = self;
        let number = random.below(SHARDS as u64) as usize;
        let shard = &mut writers[number];
        let Some(writer) = &mut shard.writer else {
            match Writer::reopen(topics.channel(number, random), &names(), &shard.before) {
                Ok(writer) => (shard.next, shard.writer) = (writer.progress().place(), Some(writer)),
                Err(WriterError::Channel(MemoryTopicError::NoAnswer)) => return Ok(()),
                Err(error) => panic!("a writer of which there is no other: {error}"),
            }
            return delivery.passed(number as u32, shard.next);
        };
        let taken = delivery.take(number as u32, shard.next, 1 + random.below(MESSAGES_MAX) as usize, usize::MAX)?;
        shard.next = taken.next;
        if taken.messages.is_empty() && (taken.next == writer.progress().place() || random.once_in(2)) {
            return Ok(());
        }
        let sent = writer.send(&taken.messages, taken.next);
        shard.before = writer.progress().clone();
        match sent {
            Ok(()) => delivery.passed(number as u32, taken.next),
            Err(_) => {
                shard.writer = None;
                Ok(())
            }
        }
    }

    /// The first tick that a crash may take from the outbox.
    pub fn acknowledged(&self) -> Tick {
        self.delivery.synced()
    }

    /// Writes until every tick below `upper` is in the topics. All of them were taken.
    pub fn drain(&mut self, upper: Tick) -> io::Result<()> {
        for _ in 0..STEPS_MAX {
            if self.delivery.durable() >= upper {
                return Ok(());
            }
            self.write(upper)?;
            self.step()?;
        }
        panic!("the writers are stuck at tick {} of {upper}", self.delivery.durable());
    }
}

/// What a reader of a run sees that was never interrupted, from its views at each tick.
pub fn expected(snapshots: &[Snapshot]) -> Vec<Vec<(Tick, Message)>> {
    let mut shards = vec![Vec::new(); SHARDS];
    for (tick, before, after) in steps(snapshots) {
        let of_view =
            |view| differences(view, before, after).into_iter().map(move |(row, diff)| (view, row.clone(), diff));
        for (shard, messages) in shards.iter_mut().zip(messages(ViewId::all().flat_map(of_view).collect())) {
            shard.extend(messages.into_iter().map(|message| (tick, message)));
        }
    }
    shards
}

fn names() -> Vec<String> {
    ViewId::all().map(|view| view.name().to_owned()).collect()
}

/// The changes of a tick as messages, by shard: a topic for each view, canonical order, numbered.
fn messages(mut changes: Vec<(ViewId, Row, i64)>) -> Vec<Vec<Message>> {
    changes.sort_unstable();
    let mut shards: Vec<Vec<Message>> = vec![Vec::new(); SHARDS];
    let mut counts: BTreeMap<(usize, u16), u32> = BTreeMap::new();
    for (view, row, diff) in changes {
        let (shard, topic) = ((row.place() % SHARDS as u64) as usize, view.index() as u16);
        let count = counts.entry((shard, topic)).or_default();
        let value = (diff > 0).then(|| diff.to_string().into_bytes());
        shards[shard].push(Message { topic, seq: *count, of: 0, key: row.to_json().into_bytes(), value });
        *count += 1;
    }
    for (number, shard) in shards.iter_mut().enumerate() {
        shard.iter_mut().for_each(|message| message.of = counts[&(number, message.topic)]);
    }
    shards
}
