//! From a complete tick to the messages of one Kafka sink, by shard. The same for a run and for its replay.

use operators::delivery::Message;
use operators::time::Tick;

use super::{sealed_through, watermark_of};
use crate::engine::CompleteTick;
use dataflows::configuration::{KafkaSinkSettings, Plan};
use dataflows::messages::Messages;
use dataflows::view::{Codecs, ViewId};

/// Encodes every tick, in order.
pub struct Encoder {
    messages: Messages,
    /// The sink's views with their topics and shards; a message names its topic by the place here.
    topics: Vec<(ViewId, String, u32)>,
    groups: Vec<String>,
}

impl Encoder {
    /// That of a sink of a plan.
    pub fn new(settings: &KafkaSinkSettings, plan: &Plan) -> Self {
        let topic = |view: &ViewId| (*view, settings.topic_of(*view), plan.recorded.view(*view).shards);
        Encoder {
            messages: Messages::new(settings, Codecs::new(&plan.recorded)),
            topics: settings.views.iter().map(topic).collect(),
            groups: plan.topology.groups.clone(),
        }
    }

    /// The topics, with the number of their partitions.
    pub fn topics(&self) -> impl Iterator<Item = (&str, u32)> {
        self.topics.iter().map(|(_, topic, shards)| (topic.as_str(), *shards))
    }

    /// Whether messages of later ticks follow from this one, too: then it has to be given, whether it was sent or not.
    pub fn needs(&self, tick: Tick) -> bool {
        self.messages.needs(tick)
    }

    /// The messages of each shard, by topic; changes are in canonical order afterwards.
    pub fn tick(&mut self, tick: &mut CompleteTick) -> Vec<Vec<Message>> {
        let sealed_through = sealed_through(tick, &self.groups);
        let most = self.topics.iter().map(|(_, _, shards)| *shards).max().unwrap_or(0);
        let mut by_shard = vec![Vec::new(); most as usize];
        for (topic, (view, _, shards)) in (0..).zip(&self.topics) {
            for shard in 0..*shards {
                let (at, changes) = (tick.mark.tick, tick.canonical(*view, shard));
                let watermark_of = |tenant: &str| watermark_of(&sealed_through, tenant);
                let messages = self.messages.of(at, *view, shard, changes, &watermark_of);
                let of = u32::try_from(messages.len()).expect("a tick has fewer than 2^32 changes");
                by_shard[shard as usize].extend((0..).zip(messages).map(|(seq, message)| Message {
                    topic,
                    seq,
                    of,
                    key: message.key.into_bytes(),
                    value: message.value.map(String::into_bytes),
                }));
            }
        }
        by_shard
    }
}
