//! `[registry]`: how the schema registry is reached. It is local to a process and not recorded.

use serde::Deserialize;

use super::Section;
use crate::configuration::mistake::Mistakes;
use crate::configuration::settings::Settings;
use crate::configuration::table::{Given, Table};
use crate::configuration::values::{PasswordPlace, place_of_password};

/// A schema registry with Confluent's interface. Nothing of this is recorded, and all of it may change at a restart, as long
/// as the same ids mean the same schemas. The password is in none of Aisle's files and is never printed.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WrittenRegistry {
    /// Its base address, `http://host:port` and the path that its interface has there, if any. Required.
    url: Given<String>,
    /// The user, where the registry asks for one (basic authentication). Default: none.
    username: Given<String>,
    /// The variable of the environment that holds the user's password. With a user, either this or `password_file` is required.
    password_env: Given<String>,
    /// A file that holds the password, relative to the configuration file's folder; line endings after it do not count.
    password_file: Given<String>,
}

/// A schema registry with Confluent's interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrySettings {
    /// Its base address, to which `/schemas/ids/1` is added.
    pub url: String,
    /// The user and where the password is, if it wants to know who asks.
    pub credentials: Option<(String, PasswordPlace)>,
}

impl Section for WrittenRegistry {
    type Read = Option<Table<Self>>;
    type Needs<'a> = ();
    type Settled = Option<RegistrySettings>;

    fn settle(read: &Self::Read, (): (), mistakes: &mut Mistakes<'_>) -> Option<RegistrySettings> {
        let table = read.as_ref()?;
        let WrittenRegistry { url, username, password_env, password_file } = &table.written;
        let base = table.required("url", url, mistakes).cloned().unwrap_or_default();
        if let Some(given) = url {
            let host = base.strip_prefix("http://").map(|rest| rest.split('/').next().unwrap_or_default());
            if base.starts_with("https://") {
                let hint = "write `http://`, of a registry on one's own network or of a proxy that encrypts";
                mistakes.add(given.span(), "this build of Aisle has no TLS for registries", hint);
            } else if host.is_none_or(str::is_empty) || base.contains(char::is_whitespace) {
                let message = format!("`url` is \"{base}\", which is no address of a registry");
                mistakes.add(
                    given.span(),
                    message,
                    "write one such as \"http://registry:8081\", with its path if it has one",
                );
            } else if host.is_some_and(|host| host.contains('@')) {
                let hint = "leave it out of `url`, and write `username` and `password_env` or `password_file`";
                mistakes.add(given.span(), "a user or a password in an address would be printed with it", hint);
            }
        }
        let credentials = match username {
            Some(username) => {
                let place = place_of_password(table, password_env, password_file, mistakes);
                place.map(|place| (username.get_ref().clone(), place))
            }
            None => {
                if let Some(given) = password_env.as_ref().or(password_file.as_ref())
                    && !table.is_faulty("username")
                {
                    mistakes.add(given.span(), "a password without its user", "add `username = …`");
                }
                None
            }
        };
        Some(RegistrySettings { url: base, credentials })
    }

    fn put(settled: Option<RegistrySettings>, settings: &mut Settings) {
        settings.local.registry = settled;
    }
}
