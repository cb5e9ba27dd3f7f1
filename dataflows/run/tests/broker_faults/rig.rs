//! What every fault is done to: topics that records flow into, and the binary that turns them into other topics.

use std::fs;
use std::process::Output;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::ClientConfig;
use rdkafka::producer::Producer;
use serde_json::Value;

use crate::broker::{Broker, PATIENCE, Writer, eventually, unique, write};
use crate::place::{CONFIGURATION, Place, Running, told};

/// Where the broker is that is disturbed.
const PORT: u16 = 19_632;

/// The views that go to topics, and into how many partitions.
pub(crate) const SINK_VIEWS: [(&str, u32); 3] = [("session_minutes", 2), ("stock", 1), ("source_health", 1)];

const HOUR_MS: i64 = 3_600_000;

/// Nothing is late by silence or disorder, so that a record which is has been mistreated.
pub(crate) const PATIENT: &str = "lateness_ms = 86400000\nhold_ms = 86400000\nidle_ms = 86400000";

/// A line of configuration after which the cluster gives a transaction up after five seconds.
pub(crate) const SHORT_TRANSACTIONS: &str = "# short transactions\n";

/// The broker, for one test at a time.
pub(crate) struct Turn {
    pub(crate) broker: Broker,
    pub(crate) began: Instant,
    _turn: MutexGuard<'static, ()>,
}

impl Turn {
    pub(crate) fn take() -> Turn {
        // One that holds nothing: a broker that is killed takes the longer to come back the more it holds.
        Turn::of(|| Broker::fresh(PORT))
    }

    pub(crate) fn of(broker: impl FnOnce() -> Broker) -> Turn {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        Turn { broker: broker(), began: Instant::now(), _turn: turn }
    }
}

/// Topics, a configuration, and how many records were given to each partition.
pub(crate) struct Rig {
    pub(crate) place: Place,
    pub(crate) engine: String,
    pub(crate) events: String,
    pub(crate) facts: String,
    pub(crate) bootstrap: String,
    /// Records that were acknowledged, over all partitions.
    pub(crate) produced: u64,
    next: u64,
}

pub(crate) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

/// The section that keeps the logs of a run in topics of its own.
pub(crate) fn logs_in_topics() -> String {
    format!("[logs]\nremap_topic = \"{}\"\ncreate = true\nreplicas = 1\n", unique("remap"))
}

impl Rig {
    pub(crate) fn new(broker: &Broker) -> Rig {
        Rig::with(broker, PATIENT, "")
    }

    /// With other durations of time, and more sections.
    pub(crate) fn with(broker: &Broker, time: &str, more: &str) -> Rig {
        Rig::of(broker, time, more, &[])
    }

    /// With settings of the topics that are read.
    pub(crate) fn of(broker: &Broker, time: &str, more: &str, settings: &[(&str, &str)]) -> Rig {
        let place = Place::new();
        let (events, facts) = (broker.topic("events", 2, settings), broker.topic("facts", 1, settings));
        let engine = unique("engine");
        let views: Vec<&str> = SINK_VIEWS.iter().map(|(view, _)| *view).collect();
        // Where a broker is killed, transactions live for longer than it is away: what is tested is not that they expire.
        let timeout_ms = if more.contains(SHORT_TRANSACTIONS) { 5_000 } else { 60_000 };
        let replicas = if broker.bootstrap.contains(',') { 3 } else { 1 };
        let text = CONFIGURATION
            .replace("files = \"events-*.ndjson\"\nparallel = true", &format!("topic = \"{events}\""))
            .replace("files = \"facts.ndjson\"", &format!("topic = \"{facts}\""))
            .replace("tick_bytes = 4096", "tick_bytes = 16384")
            .replace("lateness_ms = 60000", time);
        let text = format!(
            "{text}\n[kafka]\nbootstrap = \"{}\"\n\n[views.session_minutes]\nshards = 2\n\n\
             [[sinks]]\nname = \"main\"\ntopic = \"{engine}.{{view}}\"\nengine = \"{engine}\"\nviews = {views:?}\n\
             create = true\nreplicas = {replicas}\ntransaction_timeout_ms = {timeout_ms}\n\n\
             [checkpoints]\ninterval_ms = 500\nkeep = 2\n{more}",
            broker.bootstrap
        );
        fs::write(place.path("aisle.toml"), text).unwrap();
        Rig { place, engine, events, facts, bootstrap: broker.bootstrap.clone(), produced: 0, next: 0 }
    }

    /// Starts the binary and waits until it serves.
    pub(crate) fn start(&self) -> Running {
        let mut running = self.place.start(&["run", "aisle.toml", "--workers", "2"]);
        running.wait_for("serving on");
        running
    }

    /// Waits until every partition that is read has its leader again: a start waits for that for ten seconds only.
    pub(crate) fn is_led(&self) {
        let writer = steady_writer(&self.bootstrap);
        for (topic, partition) in [(&self.events, 0), (&self.events, 1), (&self.facts, 0)] {
            eventually(&format!("{topic}[{partition}] has a leader"), || {
                writer.client().fetch_watermarks(topic, partition, Duration::from_secs(2)).ok()
            });
        }
    }

    /// Runs until everything that is in the topics now is in the sink's topics.
    pub(crate) fn run_once(&self, fault: Option<&str>, workers: &str) -> Output {
        let arguments = ["run", "aisle.toml", "--once", "--listen", "127.0.0.1:0", "--workers", workers];
        let mut command = self.place.command(&arguments);
        if let Some(fault) = fault {
            command.env("AISLE_FAULT", fault);
        }
        command.output().unwrap()
    }

    /// Produces records and waits until the broker has them.
    pub(crate) fn produce(&mut self, steps: u64) {
        let writer = steady_writer(&self.bootstrap);
        for step in self.next..self.next + steps {
            self.produced += self.step(&writer, step);
        }
        self.next += steps;
        writer.flush(PATIENCE).unwrap();
    }

    fn step(&self, writer: &Writer, step: u64) -> u64 {
        let records = records_of(step);
        for (topic, partition, line) in &records {
            write(writer, if *topic == 0 { &self.events } else { &self.facts }, *partition, Some(line.as_bytes()));
        }
        records.len() as u64
    }

    /// Lets records flow, some 400 a second, until it is ended.
    pub(crate) fn flow(&self) -> Flow {
        let (stop, produced) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let writer = steady_writer(&self.bootstrap);
        let rig = Rig {
            place: Place::new(),
            engine: String::new(),
            events: self.events.clone(),
            facts: self.facts.clone(),
            bootstrap: String::new(),
            produced: 0,
            next: self.next,
        };
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&produced));
        let thread = std::thread::spawn(move || {
            let mut step = rig.next;
            while !stopped.load(Ordering::Acquire) {
                counted.fetch_add(rig.step(&writer, step), Ordering::AcqRel);
                step += 1;
                // A pace, not a synchronisation.
                std::thread::sleep(Duration::from_millis(5));
            }
            writer.flush(PATIENCE).unwrap();
            step
        });
        Flow { stop, produced, thread }
    }

    pub(crate) fn end_flow(&mut self, flow: Flow) {
        flow.stop.store(true, Ordering::Release);
        self.next = flow.thread.join().unwrap();
        self.produced += flow.produced.load(Ordering::Acquire);
    }

    /// Waits until so many more records were read than are read now.
    pub(crate) fn reads(&self, more: u64) {
        let wanted = self.read() + more;
        eventually(&format!("{wanted} records are read"), || (self.read() >= wanted).then_some(()));
    }

    /// Waits until everything that was produced was read.
    pub(crate) fn reads_everything(&self) {
        let wanted = self.produced;
        eventually(&format!("all {wanted} records are read"), || (self.read() >= wanted).then_some(()));
    }

    /// How many records were read, as the change file of `source_health` says.
    pub(crate) fn read(&self) -> u64 {
        ["events/0", "events/1", "facts/0"].iter().map(|partition| self.count(partition, "read")).sum()
    }

    /// A count of a partition.
    pub(crate) fn count(&self, partition: &str, name: &str) -> u64 {
        self.health(partition).and_then(|row| row[name].as_u64()).unwrap_or(0)
    }

    /// What is told of a partition.
    pub(crate) fn health(&self, partition: &str) -> Option<Value> {
        let text = self.changes("source_health");
        let rows = text.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut rows = rows.filter(|line| line["diff"] == 1).map(|mut line| line["row"].take());
        rows.find(|row| row["partition"] == partition)
    }

    /// Waits until a partition has this status.
    pub(crate) fn is_told(&self, partition: &str, status: &str) {
        eventually(&format!("{partition} is {status}"), || (self.health(partition)?["status"] == status).then_some(()));
    }

    /// Through which event time the events are sealed: `W`. None before every event time.
    pub(crate) fn watermark(&self) -> Option<i64> {
        let text = self.changes("source_health");
        let lines = text.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut progress = lines.filter(|line| line["progress"].is_u64());
        progress.next()?["sealed_through"]["north/events"].as_i64()
    }

    fn changes(&self, view: &str) -> String {
        let path = self.place.path(&format!("aisle-data/sinks/{view}/shard-0.ndjson"));
        let text = fs::read_to_string(path).unwrap_or_default();
        // The last line may be being written.
        text.rsplit_once('\n').map_or(String::new(), |(whole, _)| whole.to_owned())
    }

    /// Ends a run in good order, and lets another one send what is left.
    pub(crate) fn finish(&self, running: Running) -> String {
        running.signal("TERM");
        let (code, said) = running.end();
        assert_eq!(code, Some(0), "{said}");
        self.drain();
        said
    }

    /// Runs until everything is in the sink's topics.
    #[track_caller]
    pub(crate) fn drain(&self) -> String {
        let output = self.run_once(None, "3");
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
        told(&output)
    }
}

/// Records that are being produced.
pub(crate) struct Flow {
    stop: Arc<AtomicBool>,
    produced: Arc<AtomicU64>,
    thread: JoinHandle<u64>,
}

/// A producer that rides out a broker's absence and sends nothing twice.
pub(crate) fn steady_writer(bootstrap: &str) -> Writer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("enable.idempotence", "true").set("linger.ms", "2");
    config.set("reconnect.backoff.max.ms", "200").create().unwrap()
}

/// The records of a step: mostly an event and sometimes a fact, out of order, now and then sent again, to another
/// partition too, or broken.
fn records_of(step: u64) -> Vec<(u8, i32, String)> {
    static BEGIN_MS: std::sync::OnceLock<i64> = std::sync::OnceLock::new();
    let begin_ms = *BEGIN_MS.get_or_init(|| now_ms() - 6 * HOUR_MS);
    let at_ms = begin_ms + step as i64 * 700 + (step as i64 * 7_919 % 5) * 9_000;
    let (partition, session, unit) = ((step % 2) as i32, step % 37, step % 23);
    let kind = ["view", "click", "add_to_cart", "purchase", "exposure"][(step % 5) as usize];
    let attributes = if kind == "exposure" { r#","attributes":{"experiment":"banner"}"# } else { "" };
    let event = format!(
        r#"{{"tenant":"north","id":"e{step}","session":"s{session}","unit":"u{unit}","kind":"{kind}","event_time_ms":{at_ms},"value":{}{attributes}}}"#,
        step % 100
    );
    let mut records = vec![(0, partition, event.clone())];
    match step % 25 {
        5 => records.push((0, partition, event)),
        10 => records.push((0, 1 - partition, event)),
        15 => records.push((0, partition, "{\"broken\":".to_owned())),
        _ => {}
    }
    if step.is_multiple_of(3) {
        let kind = if step.is_multiple_of(33) { "count" } else { ["sale", "receipt"][(step % 2) as usize] };
        records.push((
            1,
            0,
            format!(
                r#"{{"tenant":"north","id":"f{step}","kind":"{kind}","node":"n{}","sku":"k{}","quantity":{},"event_time_ms":{at_ms},"source":"pos"}}"#,
                step % 4,
                step % 7,
                step % 9
            ),
        ));
    }
    records
}
