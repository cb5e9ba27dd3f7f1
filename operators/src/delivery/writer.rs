//! The one writer of a shard.

use super::{Message, MessagePosition, Position, Progress};
use crate::time::Tick;
use crate::transactional_log::Upto;

/// Where one shard is written.
pub trait Channel {
    /// What it could not do.
    type Error;

    /// Becomes the one writer: from now on nothing of another one is committed, and what was open is ended.
    fn fence(&mut self) -> Result<(), Self::Error>;
    /// The newest progress; `None` where nothing was ever written. Messages without any progress are an error.
    fn newest(&mut self, upto: Upto) -> Result<Option<Progress>, Self::Error>;
    /// The last message that readers see in each of these topics; none where there is none. After
    /// [`Channel::fence`] that does not change by itself.
    fn last_messages(&mut self, topics: &[String]) -> Result<Vec<Option<Position>>, Self::Error>;
    /// Writes messages and the progress that covers them, as one transaction. After an error it is unknown whether they are
    /// there, and this channel is of no use.
    fn send(&mut self, messages: &[(Tick, Message)], progress: &Progress) -> Result<(), Self::Error>;
}

/// What a writer could not do.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriterError<E> {
    /// The channel could not.
    #[error(transparent)]
    Channel(#[from] E),
    /// Somebody else has claimed the shard.
    #[error("another process has taken over")]
    TakenOver,
    /// Progress that was acknowledged is gone.
    #[error("the progress went back from tick {before} to {now}")]
    WentBack {
        /// The tick of the progress that was acknowledged.
        before: Tick,
        /// The tick of the progress that is there.
        now: Tick,
    },
}

/// A writer that has fenced whoever wrote before, and knows how far its shard is.
#[derive(Debug)]
pub struct Writer<C> {
    channel: C,
    topics: Vec<String>,
    /// By topic: up to here messages are there, whatever progress says.
    there: Vec<Option<Position>>,
    progress: Progress,
}

impl<C: Channel> Writer<C> {
    /// Starts writing a shard: fence, read, claim. Nobody else may ever have this identity, and messages name `topics` by
    /// their place. Where nothing was ever written the shard begins with the tick `since`.
    pub fn open(mut channel: C, topics: &[String], since: Tick, identity: String) -> Result<Self, C::Error> {
        channel.fence()?;
        let progress = channel.newest(Upto::End)?.unwrap_or(Progress { tick: since, ..Progress::default() });
        let progress = Progress { writer: identity, ..progress };
        let there = channel.last_messages(topics)?;
        let mut writer = Writer { channel, topics: topics.to_vec(), there, progress };
        // From here on, whoever wrote before can see that he was taken over.
        writer.send(&[], writer.progress.place())?;
        Ok(writer)
    }

    /// Starts again after a failure of the writer that had `before`, unless another process has taken over meanwhile.
    ///
    /// Who wrote last is looked up before anybody is fenced: whoever gave up our transaction may answer as if there were
    /// another writer, and a process that was frozen for long must not fence the one that took its place.
    pub fn reopen(mut channel: C, topics: &[String], before: &Progress) -> Result<Self, WriterError<C::Error>> {
        if channel.newest(Upto::Stable)?.is_some_and(|newest| newest.writer != before.writer) {
            return Err(WriterError::TakenOver);
        }
        let writer = Writer::open(channel, topics, 0, before.writer.clone())?;
        match writer.progress.place() < before.place() {
            true => Err(WriterError::WentBack { before: before.tick, now: writer.progress.tick }),
            false => Ok(writer),
        }
    }

    /// How far the shard is written.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Sends messages, but for those that are there, and the progress that covers them, to where `next` is. After an error this
    /// writer is of no use.
    pub fn send(&mut self, messages: &[(Tick, Message)], next: MessagePosition) -> Result<(), C::Error> {
        let mut progress = Progress { tick: next.tick, sent: next.passed, ..self.progress.clone() };
        for (tick, message) in messages {
            let topic = &self.topics[usize::from(message.topic)];
            let chain = progress.topics.entry(topic.clone()).or_default();
            *chain = chain.with(*tick, message);
        }
        // Where a transaction was torn, a part of it is there already.
        let is_there = |(tick, message): &(Tick, Message)| {
            self.there[usize::from(message.topic)] >= Some(Position { tick: *tick, seq: message.seq })
        };
        if messages.iter().any(is_there) {
            let missing: Vec<_> = messages.iter().filter(|message| !is_there(message)).cloned().collect();
            self.channel.send(&missing, &progress)?;
        } else {
            self.channel.send(messages, &progress)?;
        }
        self.progress = progress;
        Ok(())
    }
}
