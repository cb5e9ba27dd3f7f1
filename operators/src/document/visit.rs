//! The visitors behind [`read`](super::read): what the parser finds goes into a slot, or becomes a rejection.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};

use crate::record::Rejection;

use super::{Fields, Scalar, Slot, shorten, string_bytes};

/// Remembers what is wrong, and stops the parser.
fn stop<T, E: serde::de::Error>(problem: &mut Option<Rejection>, rejection: Rejection) -> Result<T, E> {
    *problem = Some(rejection);
    Err(E::custom("not a record"))
}

/// An integer that was written as a float: either it has a fraction or an exponent, or it is beyond 64 bits.
fn refuse_float(name: &str, float: f64) -> Rejection {
    // 2^63 as a float is exact.
    if float.abs() >= 9_223_372_036_854_775_808.0 {
        return Rejection::new("number_out_of_range", format!("`{name}` is beyond 64 bits"));
    }
    Rejection::new("wrong_type", format!("`{name}` has to be an integer without fraction or exponent"))
}

fn refuse_unsigned(name: &str) -> Rejection {
    Rejection::new("number_out_of_range", format!("`{name}` is beyond 64 bits"))
}

/// Reads an object's fields; anything else is refused.
pub(super) struct ObjectVisitor<'a, F: ?Sized> {
    pub(super) fields: &'a mut F,
    pub(super) problem: &'a mut Option<Rejection>,
}

/// Makes every shape of value that is not wanted the rejection that `$refuse` gives.
macro_rules! refuse {
    ($refuse:ident: $($method:ident($($argument:ty)?),)*) => {
        $(fn $method<E: serde::de::Error>(self, $(_: $argument)?) -> Result<Self::Value, E> {
            self.$refuse()
        })*
    };
}

impl<F: ?Sized> ObjectVisitor<'_, F> {
    fn refuse<T, E: serde::de::Error>(self) -> Result<T, E> {
        stop(self.problem, Rejection::new("not_an_object", "a record is one JSON object"))
    }
}

impl<'de, F: Fields<'de> + ?Sized> Visitor<'de> for ObjectVisitor<'_, F> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        let ObjectVisitor { fields, problem } = self;
        loop {
            let key = PlaceSeed { fields: &*fields, problem: &mut *problem };
            let Some(place) = map.next_key_seed(key)? else { return Ok(()) };
            let (name, slot) = fields.slot(place);
            map.next_value_seed(SlotSeed { name, slot, problem: &mut *problem })?;
        }
    }

    fn visit_seq<S: SeqAccess<'de>>(self, _: S) -> Result<(), S::Error> {
        self.refuse()
    }

    refuse! { refuse: visit_unit(), visit_bool(bool), visit_i64(i64), visit_u64(u64), visit_f64(f64), visit_str(&str), }
}

/// Finds a field by its name.
struct PlaceSeed<'a, F: ?Sized> {
    fields: &'a F,
    problem: &'a mut Option<Rejection>,
}

impl<'de, F: Fields<'de> + ?Sized> DeserializeSeed<'de> for PlaceSeed<'_, F> {
    type Value = usize;
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<usize, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de, F: Fields<'de> + ?Sized> Visitor<'de> for PlaceSeed<'_, F> {
    type Value = usize;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a field's name")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<usize, E> {
        match self.fields.place(name) {
            Some(place) => Ok(place),
            None => stop(self.problem, Rejection::new("unknown_field", format!("`{}` is no field", shorten(name)))),
        }
    }
}

/// Reads a field's value into its slot.
struct SlotSeed<'a, 'de> {
    name: &'static str,
    slot: Slot<'a, 'de>,
    problem: &'a mut Option<Rejection>,
}

impl SlotSeed<'_, '_> {
    fn refuse<T, E: serde::de::Error>(self) -> Result<T, E> {
        let detail = format!("`{}` has to be {}", self.name, self.slot.expected());
        stop(self.problem, Rejection::new("wrong_type", detail))
    }

    fn text<E: serde::de::Error>(self, bytes: usize) -> Result<(), E> {
        if bytes == 0 {
            return stop(self.problem, Rejection::new("empty_string", format!("`{}` is empty", self.name)));
        }
        string_bytes(self.name, bytes).or_else(|rejection| stop(self.problem, rejection))
    }
}

impl<'de> DeserializeSeed<'de> for SlotSeed<'_, 'de> {
    type Value = ();
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.slot.is_filled() {
            let detail = format!("`{}` occurs twice", self.name);
            return stop(self.problem, Rejection::new("duplicate_field", detail));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for SlotSeed<'_, 'de> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.slot.expected())
    }

    fn visit_borrowed_str<E: serde::de::Error>(mut self, text: &'de str) -> Result<(), E> {
        let Slot::Text(slot) = &mut self.slot else { return self.refuse() };
        **slot = Some(Cow::Borrowed(text));
        self.text(text.len())
    }

    fn visit_str<E: serde::de::Error>(mut self, text: &str) -> Result<(), E> {
        let Slot::Text(slot) = &mut self.slot else { return self.refuse() };
        **slot = Some(Cow::Owned(text.to_owned()));
        self.text(text.len())
    }

    fn visit_i64<E: serde::de::Error>(mut self, integer: i64) -> Result<(), E> {
        let Slot::Integer(slot) = &mut self.slot else { return self.refuse() };
        **slot = Some(integer);
        Ok(())
    }

    fn visit_u64<E: serde::de::Error>(mut self, integer: u64) -> Result<(), E> {
        let Slot::Integer(slot) = &mut self.slot else { return self.refuse() };
        let Ok(integer) = i64::try_from(integer) else { return stop(self.problem, refuse_unsigned(self.name)) };
        **slot = Some(integer);
        Ok(())
    }

    fn visit_f64<E: serde::de::Error>(self, float: f64) -> Result<(), E> {
        match self.slot {
            Slot::Integer(_) => stop(self.problem, refuse_float(self.name, float)),
            _ => self.refuse(),
        }
    }

    fn visit_bool<E: serde::de::Error>(mut self, flag: bool) -> Result<(), E> {
        let Slot::Flag(slot) = &mut self.slot else { return self.refuse() };
        **slot = Some(flag);
        Ok(())
    }

    fn visit_seq<S: SeqAccess<'de>>(self, _: S) -> Result<(), S::Error> {
        self.refuse()
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        match self.slot {
            Slot::Object(given, fields) => {
                *given = true;
                ObjectVisitor { fields, problem: self.problem }.visit_map(map)
            }
            Slot::Entries(given, entries) => {
                *given = true;
                while let Some(name) = map.next_key_seed(NameSeed)? {
                    let value = map.next_value_seed(ScalarSeed { name: &name, problem: &mut *self.problem })?;
                    entries.entry(name, value).or_else(|rejection| stop(self.problem, rejection))?;
                }
                Ok(())
            }
            _ => self.refuse(),
        }
    }

    refuse! { refuse: visit_unit(), }
}

/// Reads an entry's name, borrowed where it has no escapes.
struct NameSeed;

impl<'de> DeserializeSeed<'de> for NameSeed {
    type Value = Cow<'de, str>;
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for NameSeed {
    type Value = Cow<'de, str>;
    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a name")
    }
    fn visit_borrowed_str<E: serde::de::Error>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }
    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

/// Reads an entry's value.
struct ScalarSeed<'a> {
    name: &'a str,
    problem: &'a mut Option<Rejection>,
}

impl ScalarSeed<'_> {
    fn refuse<T, E: serde::de::Error>(self) -> Result<T, E> {
        let detail = format!("`{}` has to be a string, an integer, true or false", shorten(self.name));
        stop(self.problem, Rejection::new("wrong_type", detail))
    }
}

impl<'de> DeserializeSeed<'de> for ScalarSeed<'_> {
    type Value = Scalar<'de>;
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ScalarSeed<'_> {
    type Value = Scalar<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a string, an integer, true or false")
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_i64<E: serde::de::Error>(self, integer: i64) -> Result<Self::Value, E> {
        Ok(Scalar::Integer(integer))
    }

    fn visit_u64<E: serde::de::Error>(self, integer: u64) -> Result<Self::Value, E> {
        let name = shorten(self.name);
        i64::try_from(integer).map(Scalar::Integer).or_else(|_| stop(self.problem, refuse_unsigned(name)))
    }

    fn visit_f64<E: serde::de::Error>(self, float: f64) -> Result<Self::Value, E> {
        stop(self.problem, refuse_float(shorten(self.name), float))
    }

    fn visit_bool<E: serde::de::Error>(self, flag: bool) -> Result<Self::Value, E> {
        Ok(Scalar::Flag(flag))
    }

    fn visit_seq<S: SeqAccess<'de>>(self, _: S) -> Result<Self::Value, S::Error> {
        self.refuse()
    }

    fn visit_map<M: MapAccess<'de>>(self, _: M) -> Result<Self::Value, M::Error> {
        self.refuse()
    }

    refuse! { refuse: visit_unit(), }
}
