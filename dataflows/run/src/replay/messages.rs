//! What a Kafka sink of a run has to hold, from the run's two logs and without a broker.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use operators::delivery::Message;
use operators::time::Tick;

use super::super::engine::{CompleteTick, Publish, PublishError, lock};
use super::super::job::RunError;
use super::super::outputs::Encoder;
use super::{Replay, Replayed, again};

/// Messages with their ticks, by topic and partition, in order.
pub type SinkMessages = BTreeMap<(String, u32), Vec<(Tick, Message)>>;

/// The messages of a sink, by its name, or why there is nothing to compare, in a line. Every partition of its topics is
/// listed.
pub fn messages_of(
    replay: &Replay<'_>,
    interrupted: &AtomicBool,
    sink: &str,
) -> Result<Result<SinkMessages, String>, RunError> {
    let folder = replay.folder;
    let gathered = Arc::new(Mutex::new(SinkMessages::new()));
    let replayed = again(replay, interrupted, |recorded| {
        let plan = recorded.plan;
        let settings = plan.recorded.sinks.iter().find(|settings| settings.name == sink);
        let Some(settings) = settings else {
            let known: Vec<&str> = plan.recorded.sinks.iter().map(|settings| settings.name.as_str()).collect();
            let what = format!("its run has no Kafka sink \"{sink}\"; it has {known:?}");
            let source = std::io::Error::new(std::io::ErrorKind::NotFound, what);
            return Err(RunError::Unreadable { path: folder.to_owned(), source });
        };
        let encoder = Encoder::new(settings, plan);
        for (topic, shards) in encoder.topics() {
            (0..shards).for_each(|shard| drop(lock(&gathered).insert((topic.to_owned(), shard), Vec::new())));
        }
        Ok((Box::new(Gather { encoder, gathered: Arc::clone(&gathered) }), None))
    })?;
    let gathered = std::mem::take(&mut *lock(&gathered));
    Ok(match replayed {
        Replayed::Ended { .. } => Ok(gathered),
        Replayed::Nothing(missing) => Err(format!("{}: {}", missing.file, missing.what)),
        Replayed::Interrupted => Err("interrupted; nothing was compared".to_owned()),
    })
}

/// Keeps every message.
struct Gather {
    encoder: Encoder,
    gathered: Arc<Mutex<SinkMessages>>,
}

impl Publish for Gather {
    fn publish(&mut self, mut tick: CompleteTick) -> Result<(), PublishError> {
        let shards = self.encoder.tick(&mut tick);
        let topics: Vec<String> = self.encoder.topics().map(|(topic, _)| topic.to_owned()).collect();
        let mut gathered = lock(&self.gathered);
        for (shard, messages) in (0..).zip(shards) {
            for message in messages {
                let key = (topics[usize::from(message.topic)].clone(), shard);
                gathered.entry(key).or_default().push((tick.mark.tick, message));
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), PublishError> {
        Ok(())
    }
}
