//! How a schema registry is reached, as the configuration says it: it is local to a process and not recorded.

use super::kafka::PasswordPlace;

/// A schema registry with Confluent's interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrySettings {
    /// Its base address, to which `/schemas/ids/1` is added.
    pub url: String,
    /// The user and where the password is, if it wants to know who asks.
    pub credentials: Option<(String, PasswordPlace)>,
}
