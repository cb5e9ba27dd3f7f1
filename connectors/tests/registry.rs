//! Against a real registry, started by `scripts/registry.sh`.
#![allow(clippy::unwrap_used, reason = "a test that can't go on says so by stopping")]

use std::path::Path;
use std::process::Command;

use connectors::registry::{Registry, RegistryError};

fn script(arguments: &[&str], port: Option<u16>) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/registry.sh");
    let mut command = Command::new(script);
    if let Some(port) = port {
        command.env("REGISTRY_PORT", port.to_string()).env_remove("REGISTRY_URL");
    }
    let output = command.args(arguments).output().unwrap();
    assert!(output.status.success(), "registry.sh {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Registers a schema under a subject and gives its id.
fn register(base: &str, subject: &str, schema: &str) -> u32 {
    let body = serde_json::json!({ "schema": schema }).to_string();
    let request = ureq::post(format!("{base}/subjects/{subject}/versions"));
    let answer = request.header("Content-Type", "application/vnd.schemaregistry.v1+json").send(body);
    let answer: serde_json::Value =
        serde_json::from_str(&answer.unwrap().body_mut().read_to_string().unwrap()).unwrap();
    u32::try_from(answer["id"].as_u64().unwrap()).unwrap()
}

#[test]
fn a_schema_is_found_by_its_id_and_an_unknown_id_is_an_answer() {
    let base = script(&["start"], None);
    let schema = include_str!("../../docs/schemas/fact.v1.avsc");
    let id = register(&base, "facts-of-a-test-value", schema);
    let registry = Registry::new(&format!("{base}/"));
    let found = registry.schema(id).unwrap().expect("it was registered");
    let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    assert_eq!(parse(&found), parse(schema));
    assert_eq!(registry.schema(u32::MAX >> 1).unwrap(), None);
}

#[test]
fn another_path_is_no_registry() {
    let base = script(&["start"], None);
    let root = base.split("/apis").next().unwrap();
    let error = Registry::new(&format!("{root}/nowhere")).schema(1).unwrap_err();
    assert!(matches!(error, RegistryError::NoRegistry { .. }) && !error.is_transient(), "{error}");
    assert!(error.to_string().contains("/nowhere/schemas/ids/1"), "{error}");
}

/// A registry that is away is no answer; when it is back, the same question has one.
#[test]
fn a_registry_that_is_away_is_asked_again() {
    let port = Some(19_485);
    let base = script(&["start"], port);
    let registry = Registry::new(&base);
    assert_eq!(registry.schema(1_000_000).unwrap(), None);
    script(&["kill"], port);
    let error = registry.schema(1_000_000).unwrap_err();
    assert!(error.is_transient(), "{error}");
    script(&["start"], port);
    assert_eq!(registry.schema(1_000_000).unwrap(), None);
    script(&["stop"], port);
}
