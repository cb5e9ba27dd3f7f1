//! Single values: within their bounds, one of the choices, a proper name, the place of a password.

use std::ops::RangeInclusive;

use toml::Spanned;

use super::super::bounds::NAME_BYTES_MAX;
use super::super::kafka::PasswordPlace;
use super::super::mistake::{Mistakes, listed};
use super::super::section::Section;
use super::super::written::Given;

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

/// Where a password is: exactly one place has to be given.
pub(super) fn place_of_password<T>(
    section: &Section<T>,
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
            if !section.is_faulty("password_env") && !section.is_faulty("password_file") {
                let hint = "add `password_env = …`, a variable of the environment, or `password_file = …`";
                mistakes.add(section.span.clone(), "the place of the password is missing", hint);
            }
            None
        }
    }
}
