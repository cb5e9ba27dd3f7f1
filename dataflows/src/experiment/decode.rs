//! Turns a line of JSON into an experiment event (schema: `docs/events.md`).
//!
//! A record's content is everything but its tenant and id, as it is meant and not as it is written: a default that was
//! spelled out, another order of fields or of attributes, or an escape within a string make no other content.

use std::borrow::Cow;
use std::sync::Arc;

use smallvec::SmallVec;

use operators::record::{Decode, DecodeMessage, Header, Identity, Part, Rejection};

use crate::catalog::Catalog;
use crate::configuration::CsvSettings;
use crate::digest::{Digest, EVENT_SEED};
use crate::experiment::event::{Event, EventKind};
use crate::limits::{self, ATTRIBUTES_MAX, QUANTITY_MAX};
use crate::names::{Name, TenantId};
use operators::avro::Schemas;
use operators::csv::Rows;
use operators::document::{self, Entries, Scalar, Shape, fields, required, shorten};

/// The fields of an event, in the order of the documentation.
pub const FIELDS: &[(&str, Shape)] = EventFields::LIST;

/// The fields that every event has.
pub const REQUIRED: &[&str] = &["tenant", "id", "session", "kind", "event_time_ms"];

/// The kinds by their names in JSON.
pub const KINDS: [(&str, EventKind); 6] = [
    ("view", EventKind::View),
    ("click", EventKind::Click),
    ("add_to_cart", EventKind::AddToCart),
    ("purchase", EventKind::Purchase),
    ("return", EventKind::Return),
    ("exposure", EventKind::Exposure),
];

/// The attribute of an exposure that names its experiment.
pub const EXPERIMENT_ATTRIBUTE: &str = "experiment";

fields! {
    /// An event's fields as they were read.
    struct EventFields at EventPlace {
        tenant: Text,
        id: Text,
        session: Text,
        unit: Text,
        kind: Text,
        event_time_ms: Integer,
        value: Integer,
        quantity: Integer,
        item: Text,
        attributes: Entries(Attributes),
        schema: Integer,
    }
}

/// Decodes the lines of one source.
#[derive(Clone, Debug)]
pub struct EventDecoder {
    catalog: Arc<Catalog>,
    tenants: Option<Vec<TenantId>>,
    digest: Digest,
}

impl EventDecoder {
    /// A decoder for a source that has records of these tenants only, or of any.
    pub fn new(catalog: Arc<Catalog>, tenants: Option<Vec<TenantId>>) -> Self {
        EventDecoder { digest: Digest::keyed(catalog.hash_key()), catalog, tenants }
    }
}

impl Decode for EventDecoder {
    type Record = Event;

    fn decode(&mut self, line: &[u8]) -> Result<(Header, Event), Rejection> {
        let mut fields = EventFields::default();
        document::read(line, &mut fields)?;
        self.event(fields)
    }
}

impl EventDecoder {
    fn event(&mut self, fields: EventFields<'_>) -> Result<(Header, Event), Rejection> {
        limits::schema(fields.schema)?;
        let tenant = self.catalog.declared_tenant(&required("tenant", fields.tenant)?, self.tenants.as_deref())?;
        let id = required("id", fields.id)?;
        let session = required("session", fields.session)?;
        let kind_name = required("kind", fields.kind)?;
        let kind = kind_of(&kind_name)?;
        let event_time_ms = limits::event_time_ms("event_time_ms", required("event_time_ms", fields.event_time_ms)?)?;
        let value = limits::value("value", fields.value.unwrap_or(0))?;
        let quantity = limits::quantity("quantity", fields.quantity.unwrap_or(0), -QUANTITY_MAX)?;
        let (unit, item) = (fields.unit.unwrap_or_default(), fields.item.unwrap_or_default());
        let attributes = fields.attributes.fields;
        let experiment = match kind {
            EventKind::Exposure => self.catalog.experiment_of(tenant, attributes.experiment()?),
            _ => None,
        };

        let sum = attributes.sum(&self.digest);
        self.digest.begin().text(&session).text(&unit).text(&kind_name).integer(event_time_ms);
        self.digest.integer(value).integer(quantity).text(&item).integer(sum.cast_signed());
        let content = self.digest.content();
        let id_hash = self.digest.begin().text(self.catalog.tenant_name(tenant)).text(&id).identity(EVENT_SEED);
        let header = Header {
            group: self.catalog.event_group(tenant),
            lane: 0,
            event_time_ms,
            identity: Identity::Id { id: id_hash, content },
        };
        let (id, session, unit, item) = (Name::from(id), Name::from(session), Name::from(unit), Name::from(item));
        Ok((header, Event { tenant, kind, event_time_ms, value, quantity, id, session, unit, item, experiment }))
    }
}

/// Decodes the rows of one source.
#[derive(Clone, Debug)]
pub struct CsvEventDecoder {
    events: EventDecoder,
    rows: Rows,
}

impl CsvEventDecoder {
    /// A decoder that says what `events` says, of rows with these columns.
    pub fn new(events: EventDecoder, settings: CsvSettings) -> Self {
        CsvEventDecoder { events, rows: Rows::new(settings) }
    }
}

impl Decode for CsvEventDecoder {
    type Record = Event;

    fn begin_rows(&mut self, header: Option<&[u8]>) {
        self.rows.begin(header);
    }

    fn decode(&mut self, row: &[u8]) -> Result<(Header, Event), Rejection> {
        let mut fields = EventFields::default();
        self.rows.read(row, &mut fields)?;
        self.events.event(fields)
    }
}

/// Decodes the Avro messages of one source.
#[derive(Clone, Debug)]
pub struct AvroEventDecoder {
    events: EventDecoder,
    schemas: Schemas,
}

impl AvroEventDecoder {
    /// A decoder that says what `events` says. It knows no schema yet.
    pub fn new(events: EventDecoder) -> Self {
        AvroEventDecoder { events, schemas: Schemas::default() }
    }
}

impl DecodeMessage for AvroEventDecoder {
    type Record = Event;

    fn decode_message(&mut self, message: &[u8], mut give: impl FnMut(Part, Result<(Header, Event), Rejection>)) {
        let mut fields = EventFields::default();
        let read = self.schemas.read(message, &mut fields);
        give(Part::whole(message), read.and_then(|()| self.events.event(fields)));
    }

    fn question(&self, message: &[u8]) -> Option<Vec<u8>> {
        self.schemas.question(message)
    }

    fn answered(&mut self, question: &[u8], answer: Option<&[u8]>) {
        self.schemas.answered(question, answer, &mut EventFields::default());
    }
}

fn kind_of(name: &str) -> Result<EventKind, Rejection> {
    let found = KINDS.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind);
    found.ok_or_else(|| Rejection::new("unknown_kind", format!("`{}` is no kind of event", shorten(name))))
}

/// The attributes, of which only the hash and an exposure's experiment go any further.
#[derive(Default)]
struct Attributes<'de> {
    entries: SmallVec<[(Cow<'de, str>, Scalar<'de>); 8]>,
}

impl<'de> Entries<'de> for Attributes<'de> {
    fn entry(&mut self, name: Cow<'de, str>, value: Scalar<'de>) -> Result<(), Rejection> {
        if name.is_empty() {
            return Err(Rejection::new("empty_string", "an attribute has no name"));
        }
        limits::string_bytes("an attribute's name", name.len())?;
        if self.entries.iter().any(|(known, _)| *known == name) {
            return Err(Rejection::new("duplicate_field", format!("attribute `{name}` occurs twice")));
        }
        if self.entries.len() == ATTRIBUTES_MAX {
            let detail = format!("an event has at most {ATTRIBUTES_MAX} attributes");
            return Err(Rejection::new("too_many_attributes", detail));
        }
        if let Scalar::Text(text) = &value {
            limits::string_bytes(&name, text.len())?;
        }
        self.entries.push((name, value));
        Ok(())
    }
}

impl Attributes<'_> {
    /// Sum of the attributes' hashes, which is the same in any order.
    fn sum(&self, digest: &Digest) -> u64 {
        let hashes = self.entries.iter().map(|(name, value)| match value {
            Scalar::Text(text) => digest.attribute(name, 0, text.as_bytes()),
            Scalar::Integer(integer) => digest.attribute(name, 1, &integer.to_le_bytes()),
            Scalar::Flag(flag) => digest.attribute(name, 2, &[u8::from(*flag)]),
        });
        hashes.fold(0, u64::wrapping_add)
    }

    /// The experiment of an exposure.
    fn experiment(&self) -> Result<&str, Rejection> {
        match self.entries.iter().find(|(name, _)| name == EXPERIMENT_ATTRIBUTE).map(|(_, value)| value) {
            Some(Scalar::Text(name)) if name.is_empty() => {
                Err(Rejection::new("empty_string", "`attributes.experiment` is empty"))
            }
            Some(Scalar::Text(name)) => Ok(name),
            Some(_) => Err(Rejection::new("wrong_type", "`attributes.experiment` has to be a string")),
            None => Err(Rejection::new("missing_field", "an exposure has to have `attributes.experiment`")),
        }
    }
}

#[cfg(test)]
mod tests;
