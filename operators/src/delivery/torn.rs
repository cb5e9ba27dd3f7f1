//! A transaction of which a part is committed, and a part hangs.
//!
//! Whoever keeps the messages promises that a transaction is there as a whole or not at all. Kafka does not keep that promise
//! where a broker is killed while it writes the end of a transaction into its partitions: after the restart it may take the
//! partitions that are left for deleted ones. In those the transaction *hangs*: it neither ends nor is it ever shown.
//!
//! Only the last transaction of a shard can be torn, because the next one begins when all of it has been seen. So nothing of it
//! was acknowledged, the outbox holds all of it, and it can be mended:
//!
//! 1. If the progress that covers a hanging message is committed, the progress before it is written again ([`retreat`]).
//! 2. What hangs is aborted.
//! 3. The writer goes on from the newest progress, and sends nothing that is there: messages ascend in each partition, so the
//!    last one that is seen tells ([`Channel::last_messages`](super::Channel::last_messages)).
//!
//! Whoever is killed between two of these steps, or while one is done, begins again with the first.

use super::{Position, Progress};

/// What has to be written before what hangs is aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retreat<'p> {
    /// Nothing: the newest progress does not cover what hangs.
    Stay,
    /// This progress is written again.
    To(&'p Progress),
    /// The progress before what hangs is gone.
    Lost,
}

/// Where progress has to go back to, given the progress that is committed, the newest last, and the first hanging message of
/// each topic in which there is one.
pub fn retreat<'p>(committed: &'p [Progress], hanging: &[(String, Position)]) -> Retreat<'p> {
    let is_covered = |progress: &&Progress| {
        // Where progress does not say what is last, it may cover anything: an earlier version wrote it.
        let covers = |(topic, first): &(String, Position)| {
            progress.topics.get(topic).is_some_and(|chain| chain.last.is_none_or(|last| *first <= last))
        };
        hanging.iter().any(covers)
    };
    let covering = committed.iter().rev().take_while(is_covered).count();
    match (covering, committed.len() - covering) {
        (0, _) => Retreat::Stay,
        (_, 0) => Retreat::Lost,
        (_, before) => Retreat::To(&committed[before - 1]),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::tests::{Random, TOPICS, expected, topics};
    use super::super::{Chain, Channel, Message, MessagePosition, Writer, WriterError};
    use super::*;
    use crate::time::Tick;
    use crate::transactional_log::Upto;

    const NARROW: &str = TOPICS[1];

    fn progress(tick: Tick, seq: u32) -> Progress {
        let last = Some(Position { tick, seq });
        let chain = Chain { messages: 1, hash: 0, last };
        Progress { topics: BTreeMap::from([(NARROW.to_owned(), chain)]), ..Progress::default() }
    }

    #[test]
    fn progress_goes_back_to_before_what_hangs() {
        let hanging = |tick, seq| [(NARROW.to_owned(), Position { tick, seq })];
        let committed = [Progress::default(), progress(7, 1), progress(7, 3), progress(8, 0)];
        assert_eq!(retreat(&committed, &hanging(8, 1)), Retreat::Stay);
        assert_eq!(retreat(&committed, &hanging(8, 0)), Retreat::To(&committed[2]));
        // In the middle of a tick, too.
        assert_eq!(retreat(&committed, &hanging(7, 2)), Retreat::To(&committed[1]));
        assert_eq!(retreat(&committed, &hanging(7, 0)), Retreat::To(&committed[0]));
        assert_eq!(retreat(&committed[1..], &hanging(7, 0)), Retreat::Lost);
        assert_eq!(retreat(&[], &hanging(7, 0)), Retreat::Stay);
        assert_eq!(retreat(&committed, &[]), Retreat::Stay);
        let mut unsaid = progress(7, 1);
        unsaid.topics.get_mut(NARROW).unwrap().last = None;
        assert_eq!(retreat(&[unsaid.clone()], &hanging(8, 0)), Retreat::Lost);
        assert_eq!(retreat(&[unsaid, progress(7, 3)], &hanging(8, 0)), Retreat::Stay);
        // One covered message is enough.
        let both = [("wide".to_owned(), Position { tick: 9, seq: 0 }), hanging(8, 0)[0].clone()];
        assert_eq!(retreat(&committed, &both), Retreat::To(&committed[2]));
    }

    /// A shard whose transactions tear: any part of one may be shown, and the rest hang.
    #[derive(Default)]
    struct Cluster {
        shown: [Vec<(Tick, Message)>; 2],
        progress: Vec<Progress>,
        hanging: [Vec<(Tick, Message)>; 2],
        torn: u64,
        retreats: u64,
    }

    struct TornChannel<'c> {
        cluster: &'c std::cell::RefCell<Cluster>,
        random: Random,
    }

    #[derive(Debug, PartialEq, Eq)]
    struct NoAnswer;

    fn position((tick, message): &(Tick, Message)) -> Position {
        Position { tick: *tick, seq: message.seq }
    }

    impl Channel for TornChannel<'_> {
        type Error = NoAnswer;

        fn fence(&mut self) -> Result<(), NoAnswer> {
            let mut cluster = self.cluster.borrow_mut();
            let first = (0..2).filter_map(|topic| {
                let first = cluster.hanging[topic].first()?;
                Some((TOPICS[topic].to_owned(), position(first)))
            });
            let first: Vec<_> = first.collect();
            match retreat(&cluster.progress, &first) {
                Retreat::Stay => {}
                Retreat::To(before) => {
                    let before = before.clone();
                    cluster.progress.push(before);
                    cluster.retreats += 1;
                }
                Retreat::Lost => panic!("nothing was ever deleted"),
            }
            // Killed in between, one time of three.
            if self.random.once_in(3) {
                return Err(NoAnswer);
            }
            cluster.hanging = Default::default();
            Ok(())
        }

        fn newest(&mut self, _: Upto) -> Result<Option<Progress>, NoAnswer> {
            Ok(self.cluster.borrow().progress.last().cloned())
        }

        fn last_messages(&mut self, _: &[String]) -> Result<Vec<Option<Position>>, NoAnswer> {
            Ok(self.cluster.borrow().shown.iter().map(|shown| shown.last().map(position)).collect())
        }

        fn send(&mut self, messages: &[(Tick, Message)], progress: &Progress) -> Result<(), NoAnswer> {
            let mut cluster = self.cluster.borrow_mut();
            assert!(cluster.hanging.iter().all(Vec::is_empty), "the next transaction would end what hangs");
            let tears = self.random.once_in(3);
            let mut is_shown = || !tears || self.random.once_in(2);
            for topic in 0..2 {
                let of_topic = messages.iter().filter(|(_, message)| usize::from(message.topic) == topic).cloned();
                match is_shown() {
                    true => cluster.shown[topic].extend(of_topic),
                    false => cluster.hanging[topic].extend(of_topic),
                }
            }
            if is_shown() {
                cluster.progress.push(progress.clone());
            }
            cluster.torn += u64::from(tears);
            if tears { Err(NoAnswer) } else { Ok(()) }
        }
    }

    #[test]
    fn each_message_is_there_once_though_transactions_tear() {
        const TICKS: Tick = 30;
        let (mut torn, mut retreats) = (0, 0);
        for seed in 0..300 {
            let cluster = std::cell::RefCell::default();
            let mut random = Random::new(seed);
            let channel = |random: &mut Random| TornChannel { cluster: &cluster, random: Random::new(random.next()) };
            let all = expected(TICKS);
            let mut opened = 0;
            let mut open = |random: &mut Random| {
                opened += 1;
                std::iter::from_fn(|| Some(Writer::open(channel(random), &topics(), 0, opened.to_string()).ok()))
                    .flatten()
                    .next()
                    .expect("it is tried until it succeeds")
            };
            let mut writer = open(&mut random);
            loop {
                // What the outbox would give: some messages from the writer's place on.
                let MessagePosition { tick, passed } = writer.progress().place();
                if tick == TICKS {
                    break;
                }
                let from = expected(tick).len() + passed as usize;
                let upto = all.len().min(from + 1 + random.below(12) as usize);
                let next = match all.get(upto) {
                    None => MessagePosition { tick: TICKS, passed: 0 },
                    Some((tick, _)) => MessagePosition { tick: *tick, passed: (upto - expected(*tick).len()) as u32 },
                };
                if writer.send(&all[from..upto], next).is_ok() {
                    continue;
                }
                // The same process goes on, or another one comes.
                let before = writer.progress().clone();
                writer = match random.once_in(2) {
                    true => open(&mut random),
                    false => loop {
                        match Writer::reopen(channel(&mut random), &topics(), &before) {
                            Ok(writer) => break writer,
                            Err(WriterError::Channel(NoAnswer)) => {}
                            Err(error) => panic!("seed {seed}: {error:?}"),
                        }
                    },
                };
            }
            for (topic, name) in TOPICS.iter().enumerate() {
                let of_topic = all.iter().filter(|(_, message)| usize::from(message.topic) == topic).cloned();
                let of_topic: Vec<_> = of_topic.collect();
                assert_eq!(cluster.borrow().shown[topic], of_topic, "seed {seed}, {name}");
                let chain = of_topic.iter().fold(Chain::default(), |chain, (tick, message)| chain.with(*tick, message));
                assert_eq!(writer.progress().topics[*name], chain, "seed {seed}, {name}");
            }
            torn += cluster.borrow().torn;
            retreats += cluster.borrow().retreats;
        }
        assert!(torn > 3_000 && retreats > 500, "{torn} torn, {retreats} retreats");
    }
}
