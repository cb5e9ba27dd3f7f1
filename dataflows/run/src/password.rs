//! Passwords, from where the configuration says they are.

use std::path::Path;

use connectors::secret::Secret;

use dataflows::configuration::PasswordPlace;

/// A password is not where it should be.
#[derive(Debug, thiserror::Error)]
#[error("the password of `[{section}]` could not be read from {place}: {what}")]
pub struct PasswordError {
    section: &'static str,
    /// The variable or file.
    place: String,
    what: String,
}

/// The password of a section; paths are relative to `folder`.
pub(super) fn password(section: &'static str, place: &PasswordPlace, folder: &Path) -> Result<Secret, PasswordError> {
    match place {
        PasswordPlace::Environment(name) => std::env::var(name).map(Secret::new).map_err(|error| {
            let what = match error {
                std::env::VarError::NotPresent => "it is not set".to_owned(),
                // The value itself is never shown.
                std::env::VarError::NotUnicode(_) => "it is no UTF-8".to_owned(),
            };
            PasswordError { section, place: format!("the variable {name}"), what }
        }),
        PasswordPlace::File(path) => {
            let path = folder.join(path);
            let text = std::fs::read_to_string(&path).map_err(|error| PasswordError {
                section,
                place: path.display().to_string(),
                what: error.to_string(),
            })?;
            Ok(Secret::new(text.trim_end_matches(['\r', '\n'])))
        }
    }
}
