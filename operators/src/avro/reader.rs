//! Reads values of a writer's types out of a message that may hold anything: every length is checked against what is
//! left, how deep and how many values it may claim is bounded, and nothing is allocated for what is skipped.

use std::borrow::Cow;

use crate::record::Rejection;

use super::malformed;
use super::schema::{Node, Schema};
use crate::document::{Scalar, Slot, shorten, string_bytes};

/// How deep values may lie within each other; a type that contains itself could go on for ever.
const DEPTH_MAX: usize = 64;
/// How many values a message may have, entries of arrays and maps among them: a value may have no bytes, so the message's
/// length bounds nothing.
const VALUES_MAX: u64 = 65_536;

/// A message being read.
pub(super) struct Reader<'s, 'de> {
    schema: &'s Schema,
    rest: &'de [u8],
    values_left: u64,
}

impl<'s, 'de> Reader<'s, 'de> {
    pub(super) fn new(schema: &'s Schema, record: &'de [u8]) -> Self {
        Reader { schema, rest: record, values_left: VALUES_MAX }
    }

    /// There has to be nothing left.
    pub(super) fn end(&self) -> Result<(), Rejection> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(malformed(format!("{left} bytes follow the record: it was written with another schema"))),
        }
    }

    /// The type of the value that comes next: what a union chose, else the type itself.
    pub(super) fn branch(&mut self, node: usize) -> Result<usize, Rejection> {
        let Node::Union(branches) = &self.schema.nodes[node] else { return Ok(node) };
        let number = self.long()?;
        let chosen = usize::try_from(number).ok().and_then(|number| branches.get(number));
        chosen.copied().ok_or_else(|| malformed(format!("it chooses type {number} of {}", branches.len())))
    }

    /// Reads a value into a field; null leaves it as it is.
    pub(super) fn fill(&mut self, node: usize, name: &'static str, slot: Slot<'_, 'de>) -> Result<(), Rejection> {
        let node = self.branch(node)?;
        match (&self.schema.nodes[node], slot) {
            (Node::Null, _) => Ok(()),
            (Node::Text | Node::Choice(_), Slot::Text(slot)) => {
                let text = self.text(node)?;
                if text.is_empty() {
                    return Err(Rejection::new("empty_string", format!("`{name}` is empty")));
                }
                string_bytes(name, text.len())?;
                *slot = Some(text);
                Ok(())
            }
            (Node::Integer(divisor), Slot::Integer(slot)) => {
                *slot = Some(self.long()?.div_euclid(*divisor));
                Ok(())
            }
            (Node::Boolean, Slot::Flag(slot)) => {
                *slot = Some(self.boolean()?);
                Ok(())
            }
            (Node::Map(values), Slot::Entries(given, entries)) => {
                *given = true;
                self.blocks(|reader| {
                    let key = reader.string()?;
                    let value = reader.scalar(*values, key)?;
                    value.map_or(Ok(()), |value| entries.entry(Cow::Borrowed(key), value))
                })
            }
            (_, slot) => {
                let expected = slot.expected();
                Err(Rejection::new("wrong_type", format!("`{name}` has to be {expected} in the writer's schema too")))
            }
        }
    }

    /// Reads over a value.
    pub(super) fn skip(&mut self, node: usize) -> Result<(), Rejection> {
        self.skip_within(node, DEPTH_MAX)
    }

    fn skip_within(&mut self, node: usize, depth: usize) -> Result<(), Rejection> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(malformed(format!("values lie more than {DEPTH_MAX} deep")));
        };
        self.spend(1)?;
        let node = self.branch(node)?;
        let schema = self.schema;
        match &schema.nodes[node] {
            Node::Null => Ok(()),
            Node::Boolean => self.boolean().map(drop),
            Node::Integer(_) | Node::Choice(_) => self.long().map(drop),
            Node::Opaque(bytes) => self.take(*bytes).map(drop),
            Node::Bytes | Node::Text => self.bytes().map(drop),
            Node::Array(items) => self.blocks(|reader| reader.skip_within(*items, depth)),
            Node::Map(values) => self.blocks(|reader| {
                reader.bytes()?;
                reader.skip_within(*values, depth)
            }),
            Node::Record(fields) => fields.iter().try_for_each(|(_, field)| self.skip_within(*field, depth)),
            Node::Union(_) => Err(malformed("a union chooses a union")),
        }
    }

    fn spend(&mut self, values: u64) -> Result<(), Rejection> {
        let left = self.values_left.checked_sub(values);
        self.values_left = left.ok_or_else(|| malformed(format!("it claims more than {VALUES_MAX} values")))?;
        Ok(())
    }

    /// An attribute's value; none where it is null.
    fn scalar(&mut self, node: usize, key: &str) -> Result<Option<Scalar<'de>>, Rejection> {
        let node = self.branch(node)?;
        Ok(Some(match &self.schema.nodes[node] {
            Node::Null => return Ok(None),
            Node::Text | Node::Choice(_) => Scalar::Text(self.text(node)?),
            Node::Integer(_) => Scalar::Integer(self.long()?),
            Node::Boolean => Scalar::Flag(self.boolean()?),
            _ => {
                let key = shorten(key);
                let detail = format!("`{key}` has to be a string, an integer, true or false");
                return Err(Rejection::new("wrong_type", detail));
            }
        }))
    }

    /// Arrays and maps come in blocks, each with the number of its entries; a negative one has its length too.
    fn blocks(&mut self, mut entry: impl FnMut(&mut Self) -> Result<(), Rejection>) -> Result<(), Rejection> {
        loop {
            let count = self.long()?;
            if count < 0 {
                self.long()?;
            }
            let count = count.unsigned_abs();
            if count == 0 {
                return Ok(());
            }
            self.spend(count)?;
            for _ in 0..count {
                entry(self)?;
            }
        }
    }

    /// A text or the name of a choice. A choice's name is owned: it lies in the schema, not in the message.
    fn text(&mut self, node: usize) -> Result<Cow<'de, str>, Rejection> {
        let Node::Choice(names) = &self.schema.nodes[node] else { return self.string().map(Cow::Borrowed) };
        let number = self.long()?;
        let name = usize::try_from(number).ok().and_then(|number| names.get(number));
        let name = name.ok_or_else(|| malformed(format!("it chooses {number} of {} names", names.len())))?;
        Ok(Cow::Owned(name.clone()))
    }

    fn string(&mut self) -> Result<&'de str, Rejection> {
        let bytes = self.bytes()?;
        std::str::from_utf8(bytes).map_err(|error| Rejection::new("invalid_utf8", format!("a text: {error}")))
    }

    fn bytes(&mut self) -> Result<&'de [u8], Rejection> {
        let length = self.long()?;
        let length = usize::try_from(length).map_err(|_| malformed(format!("a length of {length}")))?;
        self.take(length)
    }

    fn take(&mut self, length: usize) -> Result<&'de [u8], Rejection> {
        let Some((taken, rest)) = self.rest.split_at_checked(length) else {
            return Err(malformed(format!("{length} bytes are announced, {} are left", self.rest.len())));
        };
        self.rest = rest;
        Ok(taken)
    }

    fn boolean(&mut self) -> Result<bool, Rejection> {
        match self.take(1)? {
            [0] => Ok(false),
            [1] => Ok(true),
            other => Err(malformed(format!("{other:?} is neither true nor false"))),
        }
    }

    /// A number of up to 64 bits: seven bits a byte, the least first, its sign in the lowest bit.
    fn long(&mut self) -> Result<i64, Rejection> {
        let mut zigzag = 0_u64;
        for (place, byte) in self.rest.iter().enumerate().take(10) {
            let bits = u64::from(byte & 0x7f);
            if place == 9 && bits > 1 {
                break;
            }
            zigzag |= bits << (7 * place);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[place + 1..];
                return Ok((zigzag >> 1).cast_signed() ^ -((zigzag & 1).cast_signed()));
            }
        }
        Err(malformed("a number has no end, or more than 64 bits"))
    }
}
