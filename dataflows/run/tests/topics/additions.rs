//! Views, and a sink, that are added in the middle of a run. Whoever adds up changes, from files, topics or a subscription, cancels every
//! retraction against the insertion of the same bytes, before and after.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use connectors::kafka::connection::Connection;
use connectors::kafka::sink::Mode;
use connectors::kafka::sink::verify::{Question, verify};
use connectors::local_disk::LocalDisk;
use dataflows::configuration::Plan;
use dataflows::view::ViewId;
use operators::binding::{Coder, Configuration};
use operators::disk::Log;
use operators::framed_log::FramedLog;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::multiset::{ChangeLog, RowText, change_files, rows_of_shards};
use super::served::{Subscriber, listed, newest_tick};
use super::*;

/// How many views there are from the run's first tick on.
const VIEWS_AT_FIRST: usize = 8;

/// Views that take rows back all the time, before and after others are added.
const TAKES_BACK: [&str; 7] =
    ["variant_totals", "source_health", "stock", "availability", "feed_health", "stock_by_sku", "worst_feeds"];

/// A view of the run: who follows it, and from where on.
struct Followed {
    view: &'static str,
    subscription: ChangeLog,
    token: Option<String>,
}

/// Follows views until `work` is done and the run was stopped.
fn follow_while(followed: &mut [Followed], url: &str, work: impl FnOnce()) {
    let begin = |followed: &Followed| Subscriber::follow(url, followed.view, followed.token.as_deref());
    let subscribers: Vec<_> = followed.iter().map(begin).collect();
    work();
    for (followed, subscriber) in followed.iter_mut().zip(subscribers) {
        let (frames, token) = subscriber.end();
        followed.subscription.take(frames);
        followed.token = token;
    }
}

/// Lets a data folder record nothing of the views that are off, as one of a build that does not have them. They are off all the
/// same: no output becomes another one.
fn forget_views_that_are_off(data: &Path) {
    let entries = FramedLog::new(LocalDisk::new(data), "remap.log").read().unwrap();
    let (mut reader, mut writer) = (Coder::default(), Coder::default());
    let mut log = FramedLog::new(LocalDisk::new(data), "remap.log.new");
    for entry in entries {
        let mut binding = reader.decode(&entry).unwrap();
        if let Some(configuration) = &mut binding.configuration {
            let mut plan = Plan::from_canonical(&configuration.canonical).unwrap();
            plan.recorded.views.retain(|_, settings| settings.enabled);
            assert_eq!(plan.recorded.views.len(), VIEWS_AT_FIRST);
            let canonical = plan.canonical();
            let sha256 = Sha256::digest(&canonical).iter().map(|byte| format!("{byte:02x}")).collect();
            *configuration = Configuration { canonical, sha256, ..configuration.clone() };
        }
        log.append(&writer.encode(&binding)).unwrap();
    }
    log.sync().unwrap();
    fs::rename(data.join("remap.log.new"), data.join("remap.log")).unwrap();
}

/// The url of a run that has published its tick.
fn serving(running: &mut Running, from_tick: u64) -> String {
    let line = running.wait_for("serving on http://");
    let url = line.split("serving on ").nth(1).unwrap().trim().to_owned();
    eventually("the run is where it was", || (newest_tick(&url)? >= from_tick).then_some(()));
    url
}

/// What a consumer of a view's topic has, by partition.
fn topic(bootstrap: &str, topic: String, progress_topic: String) -> Vec<ChangeLog> {
    let patience = Duration::from_secs(60);
    let question = Question { topic, progress_topic: Some(progress_topic), mode: Mode::Transactional, patience };
    let mut partitions: BTreeMap<u32, Vec<Vec<u8>>> = BTreeMap::new();
    let found = verify(&Connection::plaintext(bootstrap), &question, |partition, message| {
        partitions.entry(partition).or_default().push(message.value.expect("changes have no tombstones"));
    });
    let found = found.unwrap();
    assert_eq!(found.violation, None, "{found:?}");
    let log = |values: Vec<Vec<u8>>| {
        let mut log = ChangeLog::default();
        log.take_committed(values);
        log
    };
    partitions.into_values().map(log).collect()
}

/// What `stock_by_sku` has to be, by rows of `stock`.
fn totals_of(stock: &BTreeMap<RowText, i64>) -> BTreeMap<RowText, i64> {
    let mut groups: BTreeMap<[String; 3], Vec<Value>> = BTreeMap::new();
    for row in stock.keys() {
        let row: Value = serde_json::from_str(row).unwrap();
        let group = ["tenant", "sku", "state"].map(|name| row[name].as_str().unwrap().to_owned());
        groups.entry(group).or_default().push(row);
    }
    let total = |([tenant, sku, state], nodes): ([String; 3], Vec<Value>)| {
        let known: Vec<&Value> = nodes.iter().filter(|node| !node["book"].is_null()).collect();
        let sum = |name: &str| match known.is_empty() {
            true => Value::Null,
            false => known.iter().map(|node| node[name].as_i64().unwrap()).sum::<i64>().into(),
        };
        let row = json!({
            "tenant": tenant, "sku": sku, "state": state, "nodes": nodes.len(), "nodes_unknown": nodes.len() - known.len(),
            "nodes_in_doubt": nodes.iter().filter(|node| node["in_doubt"] == true).count(),
            "book": sum("book"), "lo": sum("lo"), "hi": sum("hi"),
        });
        (row.to_string(), 1)
    };
    groups.into_iter().map(total).collect()
}

/// The totals begin, at a tick that was not published before, with all that there was, and are those of the stock at every
/// tick from there on.
fn totals_are_those_of_stock(data: &Path, published: u64, last: u64) {
    let [stock, totals] = ["stock", "stock_by_sku"].map(|view| change_files(data, view));
    let since = totals[0].first_tick().unwrap();
    assert!(since >= published, "{since} {published}");
    assert!(!rows_of_shards(&totals, since).is_empty() && rows_of_shards(&totals, since - 1).is_empty());
    for tick in since..=last {
        assert_eq!(rows_of_shards(&totals, tick), totals_of(&rows_of_shards(&stock, tick)), "tick {tick}");
    }
}

/// Sends one half of a place's records, and gives the other: topic, partition, lines.
fn send_halves(place: &Place, writer: &broker::Writer, events: &str, facts: &str) -> Vec<(String, i32, Vec<String>)> {
    let begin_ms = now_ms() - HOUR_MS / 3;
    let files = [("events-0", events, 0), ("events-1", events, 1), ("facts", facts, 0)];
    let others = files.into_iter().map(|(file, topic, partition)| {
        let text = made_recent(&fs::read_to_string(place.path(&format!("{file}.ndjson"))).unwrap(), begin_ms);
        // The facts of each of three nodes have a sequence, from which some are missing.
        let numbered = text.lines().enumerate().map(|(number, line)| {
            let at = format!("\"source\":\"pos\",\"epoch\":1,\"sequence\":{}", number / 3 + number / 60);
            line.replace("\"source\":\"pos\"", &at)
        });
        let mut lines: Vec<String> = numbered.collect();
        let others = lines.split_off(lines.len() / 2);
        write_all(writer, topic, partition, &lines.iter().map(String::as_str).collect::<Vec<_>>());
        (topic.to_owned(), partition, others)
    });
    others.collect()
}

#[test]
fn every_retraction_cancels_its_insertion_where_views_and_a_sink_are_added_in_the_middle_of_a_run() {
    let broker = Broker::shared();
    let (events, facts) = (broker.topic("events", 2, &[]), broker.topic("facts", 1, &[]));
    let (place, engine) = (Place::new(), unique("added"));
    let (at_first, added): (Vec<_>, Vec<_>) = {
        let names: Vec<&str> = ViewId::all().map(ViewId::name).collect();
        (names[..VIEWS_AT_FIRST].to_vec(), names[VIEWS_AT_FIRST..].to_vec())
    };
    assert!(added.contains(&"stock_by_sku"));
    let wanted = format!(
        "{}\n[checkpoints]\ninterval_ms = 200\n[views.stock]\nshards = 2\n[[sinks]]\nname = \"main\"\n\
         topic = \"{engine}.{{view}}\"\nengine = \"{engine}\"\ncreate = true\nreplicas = 1\n",
        of_topics(&broker.bootstrap, &events, &facts)
    );
    let off: String = added.iter().map(|view| format!("[views.{view}]\nenabled = false\n")).collect();

    let read_all = |part_of: &dyn Fn(i64) -> i64| {
        for (partition, file) in [("events/0", "events-0"), ("events/1", "events-1"), ("facts/0", "facts")] {
            let records = fs::read_to_string(place.path(&format!("{file}.ndjson"))).unwrap().lines().count() as i64;
            eventually("everything is read", || {
                (count(&health(&place, partition)?, "read") == part_of(records)).then_some(())
            });
        }
    };
    fs::write(place.path("aisle.toml"), format!("{wanted}{off}")).unwrap();
    succeeds(&place.run_once(&[]));
    forget_views_that_are_off(&place.path("aisle-data"));
    // One half comes to a run without the later views.
    let writer = broker.writer();
    let others = send_halves(&place, &writer, &events, &facts);
    let mut running = place.start(&["run", "aisle.toml", "--workers", "2", "--replay-all"]);
    let url = serving(&mut running, 0);
    let mut followed: Vec<Followed> =
        at_first.iter().map(|view| Followed { view, subscription: ChangeLog::default(), token: None }).collect();
    follow_while(&mut followed, &url, || {
        read_all(&|all| all / 2);
        stop(running);
    });
    let published = followed.iter().map(|followed| followed.subscription.upper()).max().unwrap();
    assert!(published > 0 && !place.path("aisle-data/sinks/stock_by_sku").exists());

    // The other half comes to one with all views, and with a sink for them, which goes on from the same folder.
    let added_sink = format!(
        "[[sinks]]\nname = \"all\"\ntopic = \"{engine}.all.{{view}}\"\nengine = \"{engine}\"\ncreate = true\nreplicas = 1\n"
    );
    fs::write(place.path("aisle.toml"), wanted + &added_sink).unwrap();
    let mut running = place.start(&["run", "aisle.toml", "--workers", "3"]);
    running.wait_for("the sink \"main\" goes on with the views that it had");
    let url = serving(&mut running, published);
    followed.extend(added.iter().map(|view| Followed { view, subscription: ChangeLog::default(), token: None }));
    let mut served: BTreeMap<&str, (u64, BTreeMap<RowText, i64>)> = BTreeMap::new();
    let mut newest = 0;
    follow_while(&mut followed, &url, || {
        for (topic, partition, lines) in &others {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            write_all(&writer, topic, *partition, &lines);
        }
        read_all(&|all| all);
        served.extend(ViewId::all().map(|view| (view.name(), listed(&url, view.name()))));
        // Whoever follows has been given what was listed, once a later tick is there.
        newest = newest_tick(&url).unwrap();
        eventually("two more ticks", || (newest_tick(&url)? >= newest + 2).then_some(()));
        stop(running);
    });

    for Followed { view, subscription, .. } in &followed {
        let (tick, rows) = &served[view];
        let files = change_files(&place.path("aisle-data"), view);
        assert_eq!(&rows_of_shards(&files, *tick), rows, "{view} in files");
        assert_eq!(&subscription.rows_at(*tick), rows, "{view} in a subscription");
        // To the very end.
        subscription.rows();
        let all = rows_of_shards(&files, u64::MAX);
        let of_main = at_first.contains(view).then(|| (format!("{engine}.{view}"), "main"));
        for (name, sink) in of_main.into_iter().chain([(format!("{engine}.all.{view}"), "all")]) {
            let partitions = topic(&broker.bootstrap, name, format!("{engine}.{sink}.progress"));
            assert_eq!(&rows_of_shards(&partitions, *tick), rows, "{view} in a topic of {sink}");
            assert_eq!(rows_of_shards(&partitions, u64::MAX), all, "{view} in a topic of {sink}");
            let begins = partitions.iter().filter_map(ChangeLog::first_tick).min();
            assert!(sink == "main" || begins.is_none_or(|begins| begins >= published), "{view} {begins:?} {published}");
        }
        let takes_back = files.iter().any(|file| file.retractions() > 0);
        assert!(takes_back || !TAKES_BACK.contains(view), "{view} takes nothing back");
    }
    // What the added sink wrote is what the logs say it has to, and what a run derives that begins with tick 0.
    let topic = format!("{engine}.all.stock");
    let replayed = ["replay", "aisle-data", "--configuration", "aisle.toml", "--sink", "all"];
    succeeds(&place.aisle(&replayed));
    let mut running = place.start(&["run", "aisle.toml", "--replay-all"]);
    serving(&mut running, newest);
    stop(running);
    succeeds(&place.aisle(&["verify-sink", &topic, "--configuration", "aisle.toml"]));
    totals_are_those_of_stock(&place.path("aisle-data"), published, served["stock"].0);
    succeeds(&place.aisle(&["replay", "aisle-data", "--configuration", "aisle.toml"]));
}
