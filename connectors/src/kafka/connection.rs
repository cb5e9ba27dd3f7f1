//! How a cluster is reached: addresses, encryption, credentials.

use std::path::PathBuf;

use rdkafka::ClientConfig;

use crate::secret::Secret;

/// How passwords are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// As they are: only behind TLS, or on a host of one's own.
    Plain,
    /// As a proof, with SHA-256. Needs the build with `kafka-tls`.
    ScramSha256,
    /// As a proof, with SHA-512. Needs the build with `kafka-tls`.
    ScramSha512,
}

/// Who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sasl {
    /// How it is told.
    pub mechanism: Mechanism,
    /// The user.
    pub username: String,
    /// The password.
    pub password: Secret,
}

/// What is needed for an encrypted connection. Needs the build with `kafka-tls`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Authorities to be trusted, as PEM; the system's otherwise.
    pub authorities: Option<PathBuf>,
    /// Our own certificate and its key, as PEM, where the cluster asks for them.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

/// How a cluster is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// `host:port` of some of its brokers, separated by commas.
    pub bootstrap: String,
    /// Encryption, where it is wanted.
    pub tls: Option<Tls>,
    /// Credentials, where they are wanted.
    pub sasl: Option<Sasl>,
}

impl Connection {
    /// A connection without encryption or credentials.
    pub fn plaintext(bootstrap: impl Into<String>) -> Self {
        Connection { bootstrap: bootstrap.into(), tls: None, sasl: None }
    }

    /// What librdkafka has to know of it; a client adds what is its own.
    pub fn client_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        let protocol = match (&self.tls, &self.sasl) {
            (None, None) => "plaintext",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), None) => "ssl",
            (Some(_), Some(_)) => "sasl_ssl",
        };
        config.set("bootstrap.servers", &self.bootstrap).set("security.protocol", protocol).set("client.id", "aisle");
        if let Some(Tls { authorities, certificate }) = &self.tls {
            if let Some(path) = authorities {
                config.set("ssl.ca.location", path.to_string_lossy());
            }
            if let Some((certificate, key)) = certificate {
                config.set("ssl.certificate.location", certificate.to_string_lossy());
                config.set("ssl.key.location", key.to_string_lossy());
            }
        }
        if let Some(Sasl { mechanism, username, password }) = &self.sasl {
            let mechanism = match mechanism {
                Mechanism::Plain => "PLAIN",
                Mechanism::ScramSha256 => "SCRAM-SHA-256",
                Mechanism::ScramSha512 => "SCRAM-SHA-512",
            };
            config.set("sasl.mechanism", mechanism);
            config.set("sasl.username", username).set("sasl.password", password.reveal());
        }
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_printed() {
        let sasl =
            Sasl { mechanism: Mechanism::Plain, username: "reader".to_owned(), password: Secret::new("hunter2") };
        let connection = Connection { sasl: Some(sasl), ..Connection::plaintext("127.0.0.1:9092") };
        assert!(!format!("{connection:?}").contains("hunter2"));
        assert_eq!(connection.client_config().get("security.protocol"), Some("sasl_plaintext"));
    }
}
