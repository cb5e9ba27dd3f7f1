//! A run whose own two logs are topics: the same outputs, also when its data folder is lost, and one writer at a time.

use std::fs;

use super::broker::{Broker, eventually, unique, write_all};
use super::place::{CONFIGURATION, Place, outputs, refuses, succeeds, told};
use super::{VIEWS, count, have_the_same_rows, health, now_ms, of_topics, stop};

/// The sections that keep the logs in topics of this name.
fn logs(name: &str) -> String {
    format!(
        "[logs]\nremap_topic = \"{name}.remap\"\ncommands_topic = \"{name}.commands\"\ncreate = true\nreplicas = 1\n"
    )
}

fn kafka(broker: &Broker) -> String {
    format!("[kafka]\nbootstrap = \"{}\"\n", broker.bootstrap)
}

#[test]
fn a_lost_data_folder_is_written_again_byte_by_byte_from_the_logs_in_topics() {
    let broker = Broker::shared();
    let (plain, place) = (Place::new(), Place::new());
    let configuration = format!("{CONFIGURATION}\n{}{}", kafka(&broker), logs(&unique("run")));
    fs::write(place.path("aisle.toml"), &configuration).unwrap();
    succeeds(&plain.run_once(&[]));
    succeeds(&place.run_once(&["--workers", "2"]));
    have_the_same_rows(&place, &plain, &VIEWS);
    assert!(!place.path("aisle-data/remap.log").exists() && !place.path("aisle-data/commands.log").exists());
    let replay = ["replay", "aisle-data", "--configuration", "aisle.toml"];
    let replayed = place.aisle(&replay);
    succeeds(&replayed);
    assert!(told(&replayed).contains("are the same"), "{}", told(&replayed));
    refuses(&place.aisle(&["replay", "aisle-data"]), 1, &["nothing says where Kafka is", "--configuration"]);

    // Dead letters enter again through the topic.
    let of_letters = |what: &[&str]| {
        let output = place.aisle(&[what, &["--configuration", "aisle.toml"]].concat());
        succeeds(&output);
        told(&output)
    };
    let entered = of_letters(&["dead-letters", "re-enter", "aisle-data", "--code", "not_json"]);
    assert!(entered.contains("letters enter with the next run"), "{entered}");
    succeeds(&place.run_once(&[]));
    let listed = of_letters(&["dead-letters", "list", "aisle-data", "--code", "not_json"]);
    assert!(listed.contains("(re-entered)"), "{listed}");
    refuses(&place.aisle(&["dead-letters", "list", "aisle-data"]), 1, &["nothing says where Kafka is"]);
    assert!(count(&health(&place, "re-entry/events/0").unwrap(), "read") > 0);
    succeeds(&place.aisle(&replay));

    // The machine is lost, and with it everything but the topics.
    let before = outputs(&place.path("aisle-data"));
    fs::rename(place.path("aisle-data"), place.path("lost")).unwrap();
    refuses(&place.run_once(&[]), 1, &["holds no history of this run", "--replay-all"]);
    let again = place.run_once(&["--workers", "3", "--replay-all"]);
    succeeds(&again);
    assert!(told(&again).contains("resuming") && told(&again).contains("replayed from its logs"), "{}", told(&again));
    assert!(outputs(&place.path("aisle-data")) == before, "the outputs are not what they were");
}

#[test]
fn logs_stay_where_they_began() {
    let broker = Broker::shared();
    let name = unique("run");
    let place = Place::new();
    let configure = |more: &str| {
        let text = format!("{CONFIGURATION}\n{}{more}", kafka(&broker));
        fs::write(place.path("aisle.toml"), text).unwrap();
    };
    configure("");
    succeeds(&place.run_once(&[]));
    configure(&logs(&name));
    refuses(&place.run_once(&[]), 1, &["keeps its logs in the files remap.log and commands.log", &name, "--fresh"]);
    succeeds(&place.run_once(&["--fresh"]));
    let before = outputs(&place.path("aisle-data"));
    configure("");
    refuses(&place.run_once(&[]), 1, &["keeps its logs in the topics", &name, "wants them in the files"]);
    configure(&logs(&unique("other")));
    refuses(&place.run_once(&[]), 1, &["keeps its logs in the topics", &name, "wants them in the topics"]);
    configure(&logs(&name));
    refuses(&place.run_once(&["--fresh"]), 1, &["holds the remap log of a run", "topics of its own"]);
    assert!(!place.path("aisle-data.2").exists(), "what is refused moves nothing aside");
    succeeds(&place.run_once(&[]));
    assert!(outputs(&place.path("aisle-data")) == before, "what was refused left a trace");
    configure(&logs(&name).replace("create = true\n", "").replace(&name, &unique("missing")));
    fs::remove_dir_all(place.path("aisle-data")).unwrap();
    refuses(&place.run_once(&[]), 1, &["there is no topic", "kafka-topics.sh", "retention.ms=-1"]);
}

/// Two machines that are started with one set of logs: the later one has them, the earlier one ends.
#[test]
fn whoever_starts_last_takes_the_logs_over_and_the_other_ends() {
    let broker = Broker::shared();
    let (events, facts) = (broker.topic("events", 1, &[]), broker.topic("facts", 1, &[]));
    let place = Place::new();
    let text = format!("{}\n{}", of_topics(&broker.bootstrap, &events, &facts), logs(&unique("run")));
    fs::write(place.path("aisle.toml"), &text).unwrap();
    fs::write(place.path("second.toml"), format!("data_dir = \"second-data\"\n{text}")).unwrap();
    let event = |id: &str| {
        let at_ms = now_ms();
        format!(r#"{{"tenant":"north","id":"{id}","session":"s","kind":"view","event_time_ms":{at_ms}}}"#)
    };
    let writer = broker.writer();
    let first = place.start(&["run", "aisle.toml", "--listen", "127.0.0.1:0"]);
    write_all(&writer, &events, 0, &[&event("a")]);
    eventually("it is read", || (count(&health(&place, "events/0")?, "read") == 1).then_some(()));
    let mut second = place.start(&["run", "second.toml", "--listen", "127.0.0.1:0", "--replay-all"]);
    second.wait_for("serving on");
    write_all(&writer, &events, 0, &[&event("b")]);
    let (code, said) = first.end();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("another process has taken over the log in the topic"), "{said}");
    let changes = place.path("second-data/sinks/source_health/shard-0.ndjson");
    eventually("the second one has read both", || {
        fs::read_to_string(&changes).ok()?.contains("\"read\":2").then_some(())
    });
    stop(second);
    succeeds(&place.aisle(&["replay", "second-data", "--configuration", "second.toml"]));
    // What the first one wrote is what the second one wrote, as far as it came.
    let (first, second) = (outputs(&place.path("aisle-data")), outputs(&place.path("second-data")));
    assert_eq!(first.len(), second.len());
    for ((name, first), (_, second)) in first.iter().zip(&second) {
        assert!(second.starts_with(first), "{}", name.display());
    }
}

#[test]
fn a_broker_that_goes_away_is_waited_for_and_an_interrupt_ends_the_wait() {
    let broker = Broker::own(19_742);
    let (events, facts) = (broker.topic("events", 1, &[]), broker.topic("facts", 1, &[]));
    let place = Place::new();
    let text = format!("{}\n{}", of_topics(&broker.bootstrap, &events, &facts), logs(&unique("run")));
    fs::write(place.path("aisle.toml"), text).unwrap();
    let event = |id: u64| {
        let at_ms = now_ms();
        format!(r#"{{"tenant":"north","id":"e{id}","session":"s","kind":"view","event_time_ms":{at_ms}}}"#)
    };
    write_all(&broker.writer(), &events, 0, &[&event(1)]);
    let mut running = place.start(&["run", "aisle.toml"]);
    let read = || health(&place, "events/0").map_or(0, |health| count(&health, "read"));
    eventually("it is read", || (read() == 1).then_some(()));
    broker.kill();
    running.wait_for("the log can't be written now; the run waits");
    broker.restart();
    write_all(&broker.writer(), &events, 0, &[&event(2)]);
    eventually("it goes on", || (read() == 2).then_some(()));
    broker.kill();
    running.wait_for("the log can't be written now; the run waits");
    let said = stop(running);
    assert!(said.contains("the log can be written again") && said.contains("stopped; run again"), "{said}");
    broker.restart();
    write_all(&broker.writer(), &events, 0, &[&event(3)]);
    succeeds(&place.run_once(&[]));
    assert_eq!(read(), 3);
    succeeds(&place.aisle(&["replay", "aisle-data", "--configuration", "aisle.toml"]));
    broker.stop();
}
