//! TLS and SCRAM, against a real broker with a secured listener.
#![cfg(feature = "kafka-tls")]
#![allow(clippy::unwrap_used, reason = "a test that can't go on says so by stopping")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use connectors::kafka::cluster::{Cluster, ClusterError};
use connectors::kafka::connection::{Connection, Mechanism, Sasl, Tls};
use connectors::secret::Secret;

fn script(command: &str) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/kafka.sh");
    let output = Command::new(script).args([command, "--security", "sasl-tls"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_secured_listener_lets_in_who_proves_himself_and_nobody_else() {
    script("start");
    let text = script("security");
    let told: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once('=')).collect();
    let sasl = |mechanism, password: &str| Sasl {
        mechanism,
        username: told["KAFKA_SECURED_USER"].to_owned(),
        password: Secret::new(password),
    };
    let connection = |sasl| Connection {
        bootstrap: told["KAFKA_SECURED_BOOTSTRAP"].to_owned(),
        tls: Some(Tls { authorities: Some(told["KAFKA_SECURED_CA"].into()), certificate: None }),
        sasl: Some(sasl),
    };
    let ask = |connection: &Connection| {
        let cluster = Cluster::connect(connection, 1 << 20).unwrap();
        cluster.topics(&["no-such-topic".to_owned()]).map(|_| ())
    };
    let password = told["KAFKA_SECURED_PASSWORD"];
    for mechanism in [Mechanism::ScramSha512, Mechanism::Plain] {
        let answer = ask(&connection(sasl(mechanism, password)));
        assert!(matches!(answer, Err(ClusterError::UnknownTopic { .. })), "{mechanism:?}: {answer:?}");
        let answer = ask(&connection(sasl(mechanism, "another")));
        assert!(matches!(answer, Err(ClusterError::Refused { .. })), "{mechanism:?}: {answer:?}");
        assert!(!format!("{answer:?}").contains("another"), "a password is never told");
    }
    // Without the authority's certificate it is a stranger.
    let unknown = Connection { tls: Some(Tls::default()), ..connection(sasl(Mechanism::ScramSha512, password)) };
    assert!(ask(&unknown).is_err());
}
