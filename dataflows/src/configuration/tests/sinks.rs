//! Kafka sinks: what is filled in, what is refused, and what may change.

use super::super::{Change, compatible};
use super::*;
use crate::dead_letters::DeadLetters;

const SINK: &str = "[[sinks]]\nname = \"main\"\nbootstrap = \"127.0.0.1:9092\"\n";

#[test]
fn a_sink_needs_a_name_and_a_cluster_only() {
    let settings = settings(&format!("{OWN}{SINK}[views.stock]\nenabled = false\n"));
    let (sink, delivery) = (&settings.recorded.sinks[0], &settings.local.deliveries[0]);
    assert_eq!(sink.views.len(), ViewId::count() - 1);
    assert_eq!(sink.topic_of(ViewId::of::<DeadLetters>()), "aisle.dead_letters");
    assert_eq!((sink.rows, sink.sealed), (MessageRows::Changes, false));
    assert_eq!((delivery.engine.as_str(), delivery.mode), ("aisle", DeliveryMode::Transactional));
    assert_eq!((delivery.outbox_bytes, delivery.detaches, delivery.create_with_replicas), (256 << 20, false, None));
}

#[test]
fn mistakes_in_sinks_are_named() {
    let two = format!("{SINK}{}", SINK.replace("main", "other"));
    let known = [
        ("[[sinks]]\n", "`name` is missing"),
        ("[[sinks]]\n", "nothing says where Kafka is"),
        (&format!("{SINK}{SINK}"), "two sinks of the name \"main\""),
        (&two, "the topic \"aisle.session_minutes\" is that of sink \"main\" too"),
        (&SINK.replace("main", "a b"), "a sink's name is \"a b\""),
        (&SINK.replace(":9092", ""), "which is no list of hosts and ports"),
        (&format!("{SINK}topic = \"all\"\n"), &format!("`topic` is \"all\" for {} views", ViewId::all().count())),
        (&format!("{SINK}topic = \"a/{{view}}\"\n"), "makes no name of a topic"),
        (&format!("{SINK}views = [\"stocks\"]\n"), "there is no view `stocks`"),
        (&format!("{SINK}views = []\n"), "`views` is empty"),
        (&format!("{SINK}views = [\"stock\"]\nemit = \"sealed\"\n"), "rows of `stock` are never sealed"),
        (&format!("{SINK}views = [\"stock\"]\n[views.stock]\nenabled = false\n"), "the view `stock` is not enabled"),
        (&format!("{SINK}mode = \"exactly-once\"\n"), "`mode` is \"exactly-once\""),
        (&format!("{SINK}outbox_bytes = 1\n"), "`outbox_bytes` is 1, which is out of bounds"),
        (&format!("{SINK}when_ful = \"stall\"\n"), "there is no key `when_ful` here"),
    ];
    for (text, words) in known {
        let mistakes = parse(&format!("{OWN}{text}"), "aisle.toml", Built::ALL).unwrap_err();
        assert!(told(&mistakes).contains(words), "{text}: {}", told(&mistakes));
    }
}

#[test]
fn a_sink_without_addresses_has_the_cluster_of_the_configuration() {
    let text = format!("{OWN}[[sinks]]\nname = \"main\"\n[kafka]\nbootstrap = \"one:9092,two:9092\"\n");
    assert_eq!(settings(&text).local.deliveries[0].kafka.bootstrap, "one:9092,two:9092");
}

/// What is written may not change; how it gets there may.
#[test]
fn a_restart_may_change_how_messages_get_there() {
    let plan_of = |more: &str| plan(&settings(&format!("{OWN}{SINK}{more}")));
    let before = plan_of("");
    let delivery = "mode = \"idempotent-sequenced\"\nwhen_full = \"detach\"\ncreate = true\noutbox_bytes = 100000\n";
    assert!(compatible(&before, &plan_of(delivery)).is_ok());
    for more in ["rows = \"upserts\"\n", "views = [\"stock\"]\n", "topic = \"other.{view}\"\n", "emit = \"sealed\"\n"] {
        assert!(compatible(&before, &plan_of(more)).is_err(), "{more}");
    }
    let without = plan(&settings(OWN));
    assert!(compatible(&before, &without).is_err(), "no sink may go");
    assert_eq!(compatible(&without, &before), Ok(Change::Entry), "one may come");
    let after = without.continued(&before, 7);
    assert_eq!(after.recorded.sinks[0].since, 7);
    assert_eq!(Plan::from_canonical(&after.canonical()).unwrap(), after);
    assert_eq!(compatible(&after, &before), Ok(Change::None), "it is there now");
    let other = SINK.replace("main", "a-second") + "topic = \"second.{view}\"\n";
    let second = plan(&settings(&format!("{OWN}{other}{SINK}")));
    let since: Vec<u64> = after.continued(&second, 9).recorded.sinks.iter().map(|sink| sink.since).collect();
    assert_eq!((compatible(&after, &second), since), (Ok(Change::Entry), vec![9, 7]));
    let without = without.canonical();
    assert!(!without.contains("sinks"), "runs without sinks are recorded as they always were");
    assert_eq!(Plan::from_canonical(&before.canonical()).unwrap(), before);
}

/// A sink that names no views keeps those that it had when it began, at every restart after one came.
#[test]
fn a_view_that_is_added_goes_to_no_sink_that_was_there() {
    let wanted = plan(&settings(&format!("{OWN}{SINK}")));
    let mut before = wanted.clone();
    let added = ViewId::all().next_back().unwrap();
    before.recorded.views.remove(&added);
    before.recorded.sinks[0].views.retain(|view| *view != added);
    let after = before.continued(&wanted, 7);
    assert_eq!((after.recorded.since(added), &after.recorded.sinks), (7, &before.recorded.sinks));
    assert_eq!(compatible(&after, &wanted), Ok(Change::None));
    assert_eq!(after.continued(&wanted, 9), after);
    // One that comes later has it.
    let other = SINK.replace("main", "all") + "topic = \"all.{view}\"\n";
    let later = after.continued(&plan(&settings(&format!("{OWN}{SINK}{other}"))), 9);
    assert!(later.recorded.sinks[1].views.contains(&added) && later.recorded.sinks[1].since == 9);
}
