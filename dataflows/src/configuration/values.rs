//! Single values: within their bounds, one of the choices, a proper name, the place of a password.

use std::ops::{Range, RangeInclusive};

use toml::Spanned;

use super::mistake::{Mistakes, listed};
use super::table::{Given, Table};

/// The length of any name, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// The longest duration, 100 years: so that no sum of times leaves 64 bits.
pub(super) const DURATION_MAX_MS: i64 = 3_155_760_000_000;

/// A duration that is not 0.
pub(super) const DURATION_POSITIVE_MS: RangeInclusive<i64> = 1..=DURATION_MAX_MS;

/// The number that is given, or the default; a mistake where it is out of bounds.
pub(super) fn integer(
    name: &str,
    given: &Given<i64>,
    bounds: RangeInclusive<i64>,
    default: i64,
    mistakes: &mut Mistakes<'_>,
) -> i64 {
    let Some(given) = given else { return default };
    let number = *given.get_ref();
    if bounds.contains(&number) {
        return number;
    }
    let (least, most) = bounds.into_inner();
    let hint = match most {
        i64::MAX => format!("write a number of at least {least}"),
        _ => format!("write a number from {least} to {most}"),
    };
    mistakes.add(given.span(), format!("`{name}` is {number}, which is out of bounds"), hint);
    default
}

/// The same, of a type without negative numbers, all of which the bounds fit.
pub(super) fn unsigned<T: TryFrom<i64>>(
    name: &str,
    given: &Given<i64>,
    bounds: RangeInclusive<i64>,
    default: T,
    mistakes: &mut Mistakes<'_>,
) -> T {
    if given.is_none() {
        return default;
    }
    let number = integer(name, given, bounds, 0, mistakes);
    T::try_from(number).unwrap_or(default)
}

/// The flag that is given.
pub(super) fn flag(given: &Given<bool>) -> Option<bool> {
    given.as_ref().map(|given| *given.get_ref())
}

/// The choice that is given; a mistake where there is no such choice.
pub(super) fn choice<T: Copy>(
    name: &str,
    given: &Given<String>,
    known: &[(&str, T)],
    mistakes: &mut Mistakes<'_>,
) -> Option<T> {
    let given = given.as_ref()?;
    let found = known.iter().find(|(known, _)| known == given.get_ref()).map(|(_, value)| *value);
    if found.is_none() {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        let message = format!("`{name}` is \"{}\", which is none of its values", given.get_ref());
        mistakes.add(given.span(), message, format!("write one of {}", listed(&names)));
    }
    found
}

/// Whether a name is one; a mistake where it is not.
pub(super) fn name_is_well_formed(what: &str, name: &Spanned<String>, mistakes: &mut Mistakes<'_>) -> bool {
    let bytes = name.get_ref().len();
    if bytes == 0 {
        mistakes.add(name.span(), format!("{what} is empty"), "write at least one character");
    } else if bytes > NAME_BYTES_MAX {
        let message = format!("{what} has {bytes} bytes");
        mistakes.add(name.span(), message, format!("write at most {NAME_BYTES_MAX}"));
    }
    (1..=NAME_BYTES_MAX).contains(&bytes)
}

/// Whether a name is not among the earlier ones; a mistake where it is.
pub(super) fn name_is_new<'a>(
    what: &str,
    name: &Spanned<String>,
    mut earlier: impl Iterator<Item = &'a str>,
    mistakes: &mut Mistakes<'_>,
) -> bool {
    let is_new = !earlier.any(|other| other == name.get_ref());
    if !is_new {
        let message = format!("there are two {what} of the name \"{}\"", name.get_ref());
        mistakes.add(name.span(), message, "give this one another name, or leave it out");
    }
    is_new
}

/// A mistake where there is one more than there may be.
pub(super) fn too_many(what: &str, first_too_many: Option<&Range<usize>>, most: usize, mistakes: &mut Mistakes<'_>) {
    if let Some(span) = first_too_many {
        mistakes.add(span.clone(), format!("there are more than {most} {what}"), "divide the work among several runs");
    }
}

/// Where a password is: never in the configuration itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PasswordPlace {
    /// In this variable of the environment.
    Environment(String),
    /// In this file, relative to the configuration file's folder.
    File(String),
}

/// Where a password is: exactly one place has to be given.
pub(super) fn place_of_password<T>(
    table: &Table<T>,
    password_env: &Given<String>,
    password_file: &Given<String>,
    mistakes: &mut Mistakes<'_>,
) -> Option<PasswordPlace> {
    match (password_env, password_file) {
        (Some(name), None) => Some(PasswordPlace::Environment(name.get_ref().clone())),
        (None, Some(path)) => Some(PasswordPlace::File(path.get_ref().clone())),
        (Some(_), Some(path)) => {
            mistakes.add(path.span(), "there are two places of the password", "leave one of them out");
            None
        }
        (None, None) => {
            if !table.is_faulty("password_env") && !table.is_faulty("password_file") {
                let hint = "add `password_env = …`, a variable of the environment, or `password_file = …`";
                mistakes.add(table.span.clone(), "the place of the password is missing", hint);
            }
            None
        }
    }
}
