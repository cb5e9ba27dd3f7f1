//! One JSON object of known fields, read in one pass into borrowed texts and integers.
//!
//! The pass stops at the first thing that is wrong and remembers it, since a parser's own error only has words. Only
//! then is the line looked at again, slowly, to tell what is no JSON at all from what is JSON that is no record: so the
//! code does not depend on which half of a broken line came first. Nothing here recurses deeper than the fields that
//! are declared. Numbers must be integers without fraction or exponent, also where `1.0` would do: such a source
//! computes in floats.

mod visit;

use std::borrow::Cow;

use serde::Deserializer as _;
use serde::de::IgnoredAny;

use crate::record::Rejection;

use visit::ObjectVisitor;

/// How deep objects and arrays may lie within each other; the record itself is the first level.
pub const DEPTH_MAX: usize = 16;

/// The length of any string, and of the name of an entry, in bytes of UTF-8.
pub const STRING_BYTES_MAX: usize = 256;

/// What a field holds, for those who list the fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A string of 1 to 256 bytes.
    Text,
    /// An integer of 64 bits.
    Integer,
    /// `true` or `false`.
    Flag,
    /// An object of known fields.
    Object,
    /// An object of whatever names, whose values are strings, integers or flags.
    Entries,
}

/// Where the value of a field goes.
pub enum Slot<'a, 'de> {
    /// Of a text.
    Text(&'a mut Option<Cow<'de, str>>),
    /// Of an integer.
    Integer(&'a mut Option<i64>),
    /// Of a flag.
    Flag(&'a mut Option<bool>),
    /// Whether an object was given, and its fields.
    Object(&'a mut bool, &'a mut dyn Fields<'de>),
    /// Whether an object of whatever names was given, and who takes its entries.
    Entries(&'a mut bool, &'a mut dyn Entries<'de>),
}

impl Slot<'_, '_> {
    fn is_filled(&self) -> bool {
        match self {
            Slot::Text(text) => text.is_some(),
            Slot::Integer(integer) => integer.is_some(),
            Slot::Flag(flag) => flag.is_some(),
            Slot::Object(given, _) | Slot::Entries(given, _) => **given,
        }
    }

    /// What should have been there, in words.
    pub fn expected(&self) -> &'static str {
        match self {
            Slot::Text(_) => "a string",
            Slot::Integer(_) => "an integer",
            Slot::Flag(_) => "true or false",
            Slot::Object(..) | Slot::Entries(..) => "an object",
        }
    }
}

/// An object's known fields. Finding a field and filling it are two steps, since a place is a number and stays in a
/// register.
pub trait Fields<'de> {
    /// The place of the field of that name.
    fn place(&self, name: &str) -> Option<usize>;
    /// The field at a place, with its name.
    fn slot(&mut self, place: usize) -> (&'static str, Slot<'_, 'de>);
}

/// An object whose names are not known beforehand.
pub trait Entries<'de> {
    /// Takes one entry.
    fn entry(&mut self, name: Cow<'de, str>, value: Scalar<'de>) -> Result<(), Rejection>;
}

/// The value of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scalar<'de> {
    /// A text.
    Text(Cow<'de, str>),
    /// An integer.
    Integer(i64),
    /// True or false.
    Flag(bool),
}

/// An object within the object: whether it was given, and its fields.
#[derive(Clone, Debug, Default)]
pub struct Inner<T> {
    /// Whether it was given.
    pub given: bool,
    /// What was given, if it was.
    pub fields: T,
}

impl<T> Inner<T> {
    /// The fields, if the object was given.
    pub fn get(&self) -> Option<&T> {
        self.given.then_some(&self.fields)
    }
}

/// Declares an object's fields once: the struct they are read into, the list of them, and how they are found by name.
#[macro_export]
macro_rules! fields {
    ($(#[$meta:meta])* struct $name:ident at $places:ident {
        $($field:ident: $shape:ident $(($inner:ident))?,)*
    }) => {
        $(#[$meta])*
        #[derive(Default)]
        struct $name<'de> {
            $(pub(crate) $field: $crate::fields!(@type $shape $($inner)?),)*
            marker: std::marker::PhantomData<&'de ()>,
        }
        /// The places of the fields.
        #[allow(non_camel_case_types, reason = "a place has the name of its field")]
        enum $places {
            $($field,)*
        }
        impl $name<'_> {
            /// Every field with its shape, in the order of the documentation.
            pub(crate) const LIST: &'static [(&'static str, $crate::document::Shape)] =
                &[$((stringify!($field), $crate::document::Shape::$shape),)*];
        }
        impl<'de> $crate::document::Fields<'de> for $name<'de> {
            fn place(&self, name: &str) -> Option<usize> {
                match name {
                    $(stringify!($field) => Some($places::$field as usize),)*
                    _ => None,
                }
            }
            #[inline]
            fn slot(&mut self, place: usize) -> (&'static str, $crate::document::Slot<'_, 'de>) {
                match place {
                    $(place if place == $places::$field as usize => {
                        (stringify!($field), $crate::fields!(@slot $shape self.$field))
                    })*
                    _ => unreachable!("places come from the names"),
                }
            }
        }
    };
    (@type Text) => { Option<std::borrow::Cow<'de, str>> };
    (@type Integer) => { Option<i64> };
    (@type Flag) => { Option<bool> };
    (@type Object $inner:ident) => { $crate::document::Inner<$inner<'de>> };
    (@type Entries $inner:ident) => { $crate::document::Inner<$inner<'de>> };
    (@slot Object $this:ident.$field:ident) => {
        $crate::document::Slot::Object(&mut $this.$field.given, &mut $this.$field.fields)
    };
    (@slot Entries $this:ident.$field:ident) => {
        $crate::document::Slot::Entries(&mut $this.$field.given, &mut $this.$field.fields)
    };
    (@slot $shape:ident $this:ident.$field:ident) => { $crate::document::Slot::$shape(&mut $this.$field) };
}
pub use crate::fields;

/// Reads a line into `fields`.
pub fn read<'de>(line: &'de [u8], fields: &mut impl Fields<'de>) -> Result<(), Rejection> {
    let text = std::str::from_utf8(line)
        .map_err(|error| Rejection::new("invalid_utf8", format!("no UTF-8 at byte {}", error.valid_up_to())))?;
    let mut problem = None;
    let mut parser = sonic_rs::Deserializer::from_str(text);
    let root = ObjectVisitor { fields, problem: &mut problem };
    let outcome = parser.deserialize_any(root).and_then(|()| parser.end());
    outcome.map_err(|error| classify(text, problem, &error))
}

/// Says what is wrong with a line that was not read: first whether it is JSON at all, then what the pass had stopped
/// at.
#[cold]
fn classify(text: &str, problem: Option<Rejection>, error: &sonic_rs::Error) -> Rejection {
    let depth = depth_of(text.as_bytes());
    if depth > DEPTH_MAX {
        return Rejection::new("too_deep", format!("{depth} levels, at most {DEPTH_MAX} are allowed"));
    }
    // Skipping a value needs no stack, whatever it holds.
    if let Err(error) = serde_json::from_str::<IgnoredAny>(text) {
        return Rejection::new("not_json", error.to_string());
    }
    problem.unwrap_or_else(|| match serde_json::from_str::<serde_json::Value>(text) {
        Err(error) if error.to_string().starts_with("number out of range") => {
            Rejection::new("number_out_of_range", "a number is beyond 64 bits")
        }
        Err(error) => Rejection::new("not_json", error.to_string()),
        Ok(_) => Rejection::new("not_json", error.to_string()),
    })
}

/// How many objects and arrays lie within each other at most; brackets within strings do not count.
fn depth_of(bytes: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0usize, 0, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// The first characters of a name that a stranger chose, for a person to read.
pub fn shorten(name: &str) -> &str {
    name.char_indices().nth(64).map_or(name, |(end, _)| &name[..end])
}

/// A field that has to be there.
pub fn required<T>(name: &str, value: Option<T>) -> Result<T, Rejection> {
    value.ok_or_else(|| Rejection::new("missing_field", format!("`{name}` is missing")))
}

/// Holds a string to its length.
pub fn string_bytes(field: &str, bytes: usize) -> Result<(), Rejection> {
    if bytes <= STRING_BYTES_MAX {
        return Ok(());
    }
    let detail = format!("`{field}` has {bytes} bytes, at most {STRING_BYTES_MAX} are allowed");
    Err(Rejection::new("string_too_long", detail))
}

#[cfg(test)]
mod tests;
