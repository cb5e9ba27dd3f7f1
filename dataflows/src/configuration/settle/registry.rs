//! How the schema registry is reached: `[registry]`.

use super::super::mistake::Mistakes;
use super::super::registry::RegistrySettings;
use super::super::section::WrittenSections;
use super::super::written::WrittenRegistry;
use super::values::place_of_password;

/// The section `[registry]`, if there is one.
pub(super) fn settle(sections: &WrittenSections, mistakes: &mut Mistakes<'_>) -> Option<RegistrySettings> {
    let section = sections.registry.as_ref()?;
    let WrittenRegistry { url, username, password_env, password_file } = &section.written;
    let base = section.required("url", url, mistakes).cloned().unwrap_or_default();
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
            let place = place_of_password(section, password_env, password_file, mistakes);
            place.map(|place| (username.get_ref().clone(), place))
        }
        None => {
            if let Some(given) = password_env.as_ref().or(password_file.as_ref())
                && !section.is_faulty("username")
            {
                mistakes.add(given.span(), "a password without its user", "add `username = …`");
            }
            None
        }
    };
    Some(RegistrySettings { url: base, credentials })
}
