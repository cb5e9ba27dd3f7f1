//! Against a real registry, started by `scripts/registry.sh`.
#![allow(unreachable_pub, reason = "the registry is shared with tests of another crate")]
#![allow(clippy::unwrap_used, reason = "a test that can't go on says so by stopping")]

#[path = "schemas/registry.rs"]
mod component;

use std::io::{Read, Write};
use std::net::TcpListener;

use component::TestRegistry;
use connectors::registry::{Registry, RegistryError};
use connectors::secret::Secret;

#[test]
fn a_schema_is_found_by_its_id_and_an_unknown_id_is_an_answer() {
    let shared = TestRegistry::shared();
    let schema = include_str!("../../docs/schemas/fact.v1.avsc");
    let id = shared.register("facts-of-a-test-value", schema);
    let registry = Registry::new(&format!("{}/", shared.base));
    registry.check().unwrap();
    let found = registry.schema(id).unwrap().expect("it was registered");
    let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    assert_eq!(parse(&found), parse(schema));
    assert_eq!(registry.schema(u32::MAX >> 1).unwrap(), None);
}

#[test]
fn another_path_is_no_registry() {
    let shared = TestRegistry::shared();
    let root = shared.base.split("/apis").next().unwrap();
    let error = Registry::new(&format!("{root}/nowhere")).schema(1).unwrap_err();
    assert!(matches!(error, RegistryError::NoRegistry { .. }) && !error.is_transient(), "{error}");
    assert!(error.to_string().contains("/nowhere/schemas/ids/1"), "{error}");
}

/// A registry that is away is no answer; when it is back, the same question has one.
#[test]
fn a_registry_that_is_away_is_asked_again() {
    let own = TestRegistry::own(19_485);
    let registry = Registry::new(&own.base);
    assert_eq!(registry.schema(1_000_000).unwrap(), None);
    own.kill();
    let error = registry.schema(1_000_000).unwrap_err();
    assert!(error.is_transient(), "{error}");
    own.restart();
    assert_eq!(registry.schema(1_000_000).unwrap(), None);
    own.stop();
}

/// What a registry behind basic authentication is told, and what its refusal means. The registry of these tests knows no
/// users, so the request itself is looked at.
#[test]
fn credentials_are_told_and_never_printed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let asked = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
        while !request.ends_with(b"\r\n\r\n") {
            let count = socket.read(&mut buffer).unwrap();
            request.extend_from_slice(&buffer[..count]);
        }
        socket.write_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
        String::from_utf8(request).unwrap()
    });
    let registry = Registry::new(&base).with_credentials("Aladdin", &Secret::new("open sesame"));
    let error = registry.check().unwrap_err();
    assert!(matches!(error, RegistryError::Refused { status: 401, .. }) && !error.is_transient(), "{error}");
    let request = asked.join().unwrap();
    assert!(request.to_lowercase().starts_with("get /schemas/ids/0 "), "{request}");
    // The example of RFC 7617.
    assert!(request.contains("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), "{request}");
    assert!(!format!("{registry:?} {error:?} {error}").contains("QWxhZGRpb"), "{registry:?}");
}
