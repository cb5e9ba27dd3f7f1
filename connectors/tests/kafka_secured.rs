//! TLS and SCRAM, against a real broker with a secured listener.
#![cfg(feature = "kafka-tls")]
#![allow(clippy::unwrap_used, reason = "a test that can't go on says so by stopping")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use connectors::kafka::cluster::{Cluster, ClusterError};
use connectors::kafka::connection::{Connection, Mechanism, Sasl, Tls};
use connectors::kafka::sink::verify::{Question, verify};
use connectors::kafka::sink::{KafkaSink, Mode, SinkOptions, Topic};
use connectors::secret::Secret;
use operators::delivery::Message;

fn script(command: &str) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/kafka.sh");
    let output = Command::new(script).args([command, "--security", "sasl-tls"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The secured listener, and who may come in.
struct Secured(BTreeMap<String, String>);

impl Secured {
    fn start() -> Secured {
        script("start");
        let told = script("security");
        let told = told.lines().filter_map(|line| line.split_once('='));
        Secured(told.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    fn password(&self) -> &str {
        &self.0["KAFKA_SECURED_PASSWORD"]
    }

    fn connection(&self, mechanism: Mechanism, password: &str) -> Connection {
        let username = self.0["KAFKA_SECURED_USER"].clone();
        Connection {
            bootstrap: self.0["KAFKA_SECURED_BOOTSTRAP"].clone(),
            tls: Some(Tls { authorities: Some(self.0["KAFKA_SECURED_CA"].clone().into()), certificate: None }),
            sasl: Some(Sasl { mechanism, username, password: Secret::new(password) }),
        }
    }
}

#[test]
fn a_secured_listener_lets_in_who_proves_himself_and_nobody_else() {
    let secured = Secured::start();
    let ask = |connection: &Connection| {
        let cluster = Cluster::connect(connection, 1 << 20).unwrap();
        cluster.topics(&["no-such-topic".to_owned()]).map(|_| ())
    };
    for mechanism in [Mechanism::ScramSha512, Mechanism::Plain] {
        let answer = ask(&secured.connection(mechanism, secured.password()));
        assert!(matches!(answer, Err(ClusterError::UnknownTopic { .. })), "{mechanism:?}: {answer:?}");
        let answer = ask(&secured.connection(mechanism, "another"));
        assert!(matches!(answer, Err(ClusterError::Refused { .. })), "{mechanism:?}: {answer:?}");
        assert!(!format!("{answer:?}").contains("another"), "a password is never told");
    }
    // Without the authority's certificate it is a stranger.
    let known = secured.connection(Mechanism::ScramSha512, secured.password());
    assert!(ask(&Connection { tls: Some(Tls::default()), ..known }).is_err());
}

/// Transactions, the progress, and whoever verifies them take the same connection.
#[test]
fn a_sink_writes_to_a_secured_cluster() {
    let secured = Secured::start();
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let topic = Topic { name: format!("secured-{since:x}"), shards: 1 };
    let options =
        SinkOptions { create_with_replicas: Some(1), ..SinkOptions::new("secured", topic.name.clone(), vec![topic]) };
    let outbox = tempfile::tempdir().unwrap();
    let error = KafkaSink::open(
        &secured.connection(Mechanism::ScramSha512, "another"),
        options.clone(),
        outbox.path(),
        &Default::default(),
    );
    let error = error.map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("credentials") && !error.contains("another"), "{error}");

    let connection = secured.connection(Mechanism::ScramSha512, secured.password());
    let mut sink = KafkaSink::open(&connection, options.clone(), outbox.path(), &Default::default()).unwrap();
    for tick in 0..20 {
        let message = Message { topic: 0, seq: 0, of: 1, key: b"key".to_vec(), value: Some(vec![tick as u8]) };
        sink.write(tick, vec![vec![message]], &AtomicBool::new(false)).unwrap();
    }
    sink.flush().unwrap();
    let (watch, deadline) = (sink.watch(), Instant::now() + Duration::from_secs(60));
    while !watch.is_drained() {
        assert!(Instant::now() < deadline && watch.failure().is_none(), "{:?}", watch.failure());
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(sink);
    let question = Question {
        topic: options.topics[0].name.clone(),
        progress_topic: Some(options.progress_topic()),
        mode: Mode::Transactional,
        patience: Duration::from_secs(60),
    };
    let mut values = Vec::new();
    let found = verify(&connection, &question, |_, message| values.extend(message.value.unwrap())).unwrap();
    assert_eq!((found.violation, values), (None, (0..20).collect()));
}
