//! The real registry that tests ask, started by `scripts/registry.sh`.

use std::path::Path;
use std::process::Command;

/// A registry.
pub struct TestRegistry {
    /// Its base address.
    pub base: String,
    port: Option<u16>,
}

impl TestRegistry {
    /// The one that all tests share: nobody stops it.
    pub fn shared() -> TestRegistry {
        TestRegistry { base: script(&["start"], None), port: None }
    }

    /// One of this test alone, at a port of its own, without any schema.
    pub fn own(port: u16) -> TestRegistry {
        script(&["stop"], Some(port));
        TestRegistry { base: script(&["start"], Some(port)), port: Some(port) }
    }

    /// It is gone at once, with its schemas.
    pub fn kill(&self) {
        assert!(self.port.is_some(), "the shared one is not killed");
        script(&["kill"], self.port);
    }

    /// It is back.
    pub fn restart(&self) {
        script(&["start"], self.port);
    }

    /// It ends and leaves nothing behind.
    pub fn stop(&self) {
        assert!(self.port.is_some(), "the shared one is not stopped");
        script(&["stop"], self.port);
    }

    /// Registers a schema under a subject and gives its id.
    pub fn register(&self, subject: &str, schema: &str) -> u32 {
        let body = serde_json::json!({ "schema": schema }).to_string();
        let request = ureq::post(format!("{}/subjects/{subject}/versions", self.base));
        let answer = request.header("Content-Type", "application/vnd.schemaregistry.v1+json").send(body);
        let answer: serde_json::Value =
            serde_json::from_str(&answer.unwrap().body_mut().read_to_string().unwrap()).unwrap();
        u32::try_from(answer["id"].as_u64().unwrap()).unwrap()
    }
}

fn script(arguments: &[&str], port: Option<u16>) -> String {
    // Packages at several depths have tests that need it.
    let mut above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|folder| folder.join("scripts/registry.sh"));
    let script = above.find(|path| path.exists()).expect("the script is in the repository");
    let mut command = Command::new(script);
    if let Some(port) = port {
        command.env("REGISTRY_PORT", port.to_string()).env_remove("REGISTRY_URL");
    }
    let output = command.args(arguments).output().unwrap();
    assert!(output.status.success(), "registry.sh {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
