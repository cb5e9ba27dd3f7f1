//! A broker that is killed while it writes the end of a transaction may come back and take it as ended everywhere. What that
//! leaves is made here: a part of a transaction is committed, and the rest is of a transaction that the broker does not know.

use connectors::kafka::sink::{KafkaSinkError, Mode, SinkOptions, headers_of};
use operators::delivery::{Message, Progress};
use operators::time::Tick;

use crate::broker::Broker;
use crate::hanging::{Forged, ForgedMessage, hang};
use crate::place::{Place, derived};

/// What a transaction of shard 0 has: messages of both topics, and progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Wide,
    Narrow,
    Progress,
}

const PARTS: [Part; 3] = [Part::Wide, Part::Narrow, Part::Progress];

/// A tick with messages for both.
const TORN: Tick = 7;

/// The messages of a part of the transaction of the tick after `before`.
fn forged(place: &Place<'_>, options: &SinkOptions, before: &Progress, part: Part) -> (String, Vec<ForgedMessage>) {
    let messages = &derived(TORN)[0];
    let topic = match part {
        Part::Wide => 0,
        Part::Narrow => 1,
        Part::Progress => {
            let mut progress = Progress { tick: TORN + 1, sent: 0, ..before.clone() };
            for message in messages {
                let chain = progress.topics.entry(place.topics[usize::from(message.topic)].clone()).or_default();
                *chain = chain.with(TORN, message);
            }
            let (key, value) = (options.progress_key(0).into_bytes(), Some(serde_json::to_vec(&progress).unwrap()));
            return (options.progress_topic(), vec![ForgedMessage { key, headers: Vec::new(), value }]);
        }
    };
    let forged = |message: &Message| ForgedMessage {
        key: message.key.clone(),
        headers: headers_of(&place.name, 0, TORN, message).to_vec(),
        value: message.value.clone(),
    };
    let messages: Vec<_> = messages.iter().filter(|message| message.topic == topic).map(forged).collect();
    assert!(!messages.is_empty());
    (place.topics[usize::from(topic)].clone(), messages)
}

/// Writes a transaction of shard 0 of which these parts are committed, and the others hang.
fn tear(place: &Place<'_>, options: &SinkOptions, committed: &[Part]) {
    let (id, before) = (options.transactional_id(0), place.broker.newest_progress(options, 0));
    assert_eq!((before.tick, before.sent), (TORN, 0));
    let parts = |are_committed: bool| {
        let of = PARTS.into_iter().filter(move |part| committed.contains(part) == are_committed);
        of.map(|part| forged(place, options, &before, part)).collect::<Vec<_>>()
    };
    let producer = place.broker.transactional(&id);
    for (topic, messages) in parts(true) {
        place.broker.send_forged(&producer, &topic, &messages);
    }
    place.broker.commit(producer);
    let forged = |(topic, messages)| Forged { topic, partition: 0, messages };
    hang(&place.broker.bootstrap, &id, &parts(false).into_iter().map(forged).collect::<Vec<_>>());
}

/// Whatever part was committed, each message is there once in the end: what hangs is aborted, and what is missing sent again.
#[test]
fn a_transaction_that_the_broker_tore_is_mended() {
    let broker = Broker::own();
    for mask in 0..7 {
        let committed: Vec<Part> = (0..3).filter(|at| mask >> at & 1 == 1).map(|at| PARTS[at]).collect();
        let place = Place::new(&broker);
        let options = place.options(|_| {});
        let mut sink = place.open(options.clone()).unwrap();
        place.write(&mut sink, 0..TORN);
        place.drain(&sink);
        // In turns: whoever wrote goes on, or another process comes, which has no outbox.
        let is_running = mask % 2 == 0;
        if is_running {
            tear(&place, &options, &committed);
        } else {
            drop(sink);
            tear(&place, &options, &committed);
            sink = place.open(options).unwrap();
        }
        place.write(&mut sink, if is_running { TORN } else { 0 }..TORN + 4);
        place.drain(&sink);
        drop(sink);
        assert_eq!(place.verified(Mode::Transactional), place.expected(TORN + 4), "committed: {committed:?}");
    }
}

/// Progress is compacted: where what lies before is gone, a person decides.
#[test]
fn a_torn_transaction_without_the_progress_before_it_is_told() {
    let broker = Broker::own();
    let place = Place::new(&broker);
    let options = place.options(|_| {});
    let mut sink = place.open(options.clone()).unwrap();
    place.write(&mut sink, 0..TORN);
    place.drain(&sink);
    drop(sink);
    let (_, before) = place.broker.offsets(&options.progress_topic(), 0);
    let (_, end) = place.broker.offsets(&place.topics[0], 0);
    tear(&place, &options, &[Part::Narrow, Part::Progress]);
    place.broker.cut(&options.progress_topic(), before);
    let error = place.open(options).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, KafkaSinkError::Hanging { .. }) && !error.is_transient(), "{text}");
    assert!(text.contains(&format!("at offset {end} of partition 0 of \"{}\"", place.topics[0])), "{text}");
}
