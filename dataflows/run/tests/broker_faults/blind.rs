//! The judge itself: it has to see what is lost, duplicated and wrong, or the table says nothing.

use std::fs;
use std::time::Duration;

use connectors::kafka::connection::Connection;
use connectors::kafka::sink::Mode;
use connectors::kafka::sink::verify::{Question, verify};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer};

use crate::broker::PATIENCE;
use crate::oracle::judge;
use crate::rig::{Rig, Turn, steady_writer};
use crate::table::Verdict;

#[test]
fn the_judge_sees_what_is_lost_duplicated_and_wrong() {
    let turn = Turn::take();
    let mut rig = Rig::new(&turn.broker);
    rig.produce(200);
    rig.drain();
    assert_eq!(judge(&rig), Verdict::default());

    rig.produced += 1;
    assert_eq!(judge(&rig).lost, 1, "a record that was never read");
    rig.produced -= 1;

    // A row of a change file that is another one: neither the replay nor the model has it.
    let path = rig.place.path("aisle-data/sinks/stock/shard-0.ndjson");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("\"sku\":\"k1\"", "\"sku\":\"k2\"", 1)).unwrap();
    assert!(judge(&rig).wrong > 1, "a row that is another one");
    fs::write(&path, text).unwrap();
    assert_eq!(judge(&rig), Verdict::default());

    // The last message of a topic once more, with all its headers.
    let topic = format!("{}.stock", rig.engine);
    let question = Question {
        topic: topic.clone(),
        progress_topic: Some(format!("{}.main.progress", rig.engine)),
        mode: Mode::Transactional,
        patience: Duration::from_secs(60),
    };
    let mut last = None;
    verify(&Connection::plaintext(&rig.bootstrap), &question, |_, message| last = Some(message)).unwrap();
    let last = last.unwrap();
    let headers = last
        .headers
        .iter()
        .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
    let record = BaseRecord::to(&topic).partition(0).key(&last.key).payload(last.value.as_ref().unwrap());
    let writer = steady_writer(&rig.bootstrap);
    writer.send(record.headers(headers)).map_err(|(error, _)| error).unwrap();
    writer.flush(PATIENCE).unwrap();
    assert!(judge(&rig).duplicated > 0, "a message that is there twice");
}
