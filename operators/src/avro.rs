//! Avro messages of a registry's users: a zero byte, the id of the writer's schema (32 bits, big endian), one record.
//!
//! The writer's schema decides how bytes are read, the declared fields what they mean: writer's fields are
//! found by their names, others are skipped, and what is missing is missing as it is in JSON. A plan is made once a
//! schema; after that a record goes from the message into its fields with no value in between, texts borrowed.
//!
//! A schema comes from outside: who drives a decoder asks the registry for the id that [`Schemas::question`] gives,
//! records the answer in the remap log, and tells it by [`Schemas::answered`] before the message is decoded. Only Avro's
//! own types are understood, and of the logical ones timestamps, which become milliseconds.

mod reader;
mod schema;

use std::collections::BTreeMap;

use crate::answers::ANSWER_BYTES_MAX;
use crate::record::Rejection;

use crate::document::{Fields, Slot};
use reader::Reader;
use schema::{Node, Schema};

/// The length of what precedes the record.
const PREFIX_BYTES: usize = 5;

/// The schemas of one decoder, by their ids.
#[derive(Clone, Debug, Default)]
pub struct Schemas(BTreeMap<u32, Result<Known, Rejection>>);

#[derive(Clone, Debug)]
struct Known {
    schema: Schema,
    plan: Plan,
}

/// Where the fields of a writer's record go.
#[derive(Clone, Debug, Default)]
struct Plan(Vec<PlannedField>);

#[derive(Clone, Debug)]
struct PlannedField {
    node: usize,
    goes: Goes,
}

#[derive(Clone, Debug)]
enum Goes {
    /// Nowhere: no field of ours has its name.
    Skipped,
    /// To a place.
    To(usize),
    /// To a place that is an object, by the writer's record: a union may have several.
    Into(usize, Vec<(usize, Plan)>),
}

impl Schemas {
    /// The id of the schema that a message is written with, in four bytes, where it is not known yet.
    pub fn question(&self, message: &[u8]) -> Option<Vec<u8>> {
        let (id, _) = split(message).ok()?;
        (!self.0.contains_key(&id)).then(|| id.to_be_bytes().to_vec())
    }

    /// Takes the registry's answer: the schema's text, or that there is none. `fields` are those to be filled.
    pub fn answered<'de>(&mut self, question: &[u8], answer: Option<&[u8]>, fields: &mut dyn Fields<'de>) {
        let Ok(id) = question.try_into().map(u32::from_be_bytes) else { return };
        let known = match answer {
            None => Err(Rejection::new("unknown_schema", format!("the registry has no schema {id}"))),
            Some(text) => Known::of(text, fields)
                .map_err(|detail| Rejection::new("unusable_schema", format!("schema {id}: {detail}"))),
        };
        self.0.insert(id, known);
    }

    /// Reads a message into `fields`.
    pub fn read<'de>(&self, message: &'de [u8], fields: &mut dyn Fields<'de>) -> Result<(), Rejection> {
        let (id, record) = split(message)?;
        let Known { schema, plan } = match self.0.get(&id) {
            Some(Ok(known)) => known,
            Some(Err(rejection)) => return Err(rejection.clone()),
            None => return Err(Rejection::new("unknown_schema", format!("nobody asked for schema {id}"))),
        };
        let mut reader = Reader::new(schema, record);
        plan.read(&mut reader, fields)?;
        reader.end()
    }
}

impl Known {
    fn of<'de>(text: &[u8], fields: &mut dyn Fields<'de>) -> Result<Self, String> {
        if text.is_empty() {
            return Err(format!("it is empty, or has more than {ANSWER_BYTES_MAX} bytes"));
        }
        let text = std::str::from_utf8(text).map_err(|error| format!("it is no UTF-8: {error}"))?;
        let schema = Schema::parse(text)?;
        match schema.nodes[schema.root] {
            Node::Record(_) => Ok(Known { plan: Plan::of(&schema, schema.root, fields), schema }),
            _ => Err("it is no record".to_owned()),
        }
    }
}

fn split(message: &[u8]) -> Result<(u32, &[u8]), Rejection> {
    match message.split_first_chunk::<PREFIX_BYTES>() {
        Some(([0, id @ ..], record)) => Ok((u32::from_be_bytes(*id), record)),
        _ => Err(malformed("it does not begin with a zero byte and the id of a schema")),
    }
}

#[cold]
fn malformed(detail: impl Into<String>) -> Rejection {
    Rejection::new("malformed_avro", detail)
}

impl Plan {
    /// The way of a record of the writer into fields. Ends, since our objects do not contain themselves.
    fn of<'de>(schema: &Schema, record: usize, fields: &mut dyn Fields<'de>) -> Self {
        let Node::Record(written) = &schema.nodes[record] else { return Plan::default() };
        let planned = written.iter().map(|(name, node)| {
            let goes = match fields.place(name) {
                None => Goes::Skipped,
                Some(place) => match fields.slot(place).1 {
                    Slot::Object(_, inner) => {
                        let records = schema.records_at(*node).into_iter();
                        Goes::Into(
                            place,
                            records.map(|record| (record, Plan::of(schema, record, &mut *inner))).collect(),
                        )
                    }
                    _ => Goes::To(place),
                },
            };
            PlannedField { node: *node, goes }
        });
        Plan(planned.collect())
    }

    fn read<'de>(&self, reader: &mut Reader<'_, 'de>, fields: &mut dyn Fields<'de>) -> Result<(), Rejection> {
        for PlannedField { node, goes } in &self.0 {
            match goes {
                Goes::Skipped => reader.skip(*node)?,
                Goes::To(place) => {
                    let (name, slot) = fields.slot(*place);
                    reader.fill(*node, name, slot)?;
                }
                Goes::Into(place, plans) => {
                    let branch = reader.branch(*node)?;
                    let (name, slot) = fields.slot(*place);
                    match (slot, plans.iter().find(|(record, _)| *record == branch)) {
                        (Slot::Object(given, inner), Some((_, plan))) => {
                            *given = true;
                            plan.read(reader, inner)?;
                        }
                        (slot, _) => reader.fill(branch, name, slot)?,
                    }
                }
            }
        }
        Ok(())
    }
}
