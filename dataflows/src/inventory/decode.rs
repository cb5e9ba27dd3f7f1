//! Turns a line of JSON into an inventory fact (schema: `docs/events.md`). What a fact has to say, and which fields it
//! may have, is not JSON's business: [`statement`](super::statement).

use std::borrow::Cow;
use std::sync::Arc;

use operators::record::{Decode, DecodeMessage, Header, Part, Rejection};

use crate::catalog::Catalog;
use crate::configuration::CsvSettings;
use crate::inventory::fact::{Fact, FactKind, StockState};
use crate::inventory::statement::{Corrected, Rules, Statement};
use crate::limits;
use crate::names::TenantId;
use operators::avro::Schemas;
use operators::csv::Rows;
use operators::document::{self, Shape, fields, required, shorten};

pub use crate::inventory::statement::{KINDS, STATES, fact_lane};

/// The fields of a fact, in the order of the documentation.
pub const FIELDS: &[(&str, Shape)] = FactFields::LIST;

/// The fields of what a fact corrects; all of them are required.
pub const CORRECTS_FIELDS: &[(&str, Shape)] = BeforeFields::LIST;

/// The fields that every fact has; every one but a clock also has `sku` and `quantity`.
pub const REQUIRED: &[&str] = &["tenant", "id", "kind", "node", "event_time_ms", "source"];

fields! {
    /// A fact's fields as they were read.
    struct FactFields at FactPlace {
        tenant: Text,
        id: Text,
        kind: Text,
        node: Text,
        sku: Text,
        state: Text,
        to_state: Text,
        quantity: Integer,
        event_time_ms: Integer,
        observed_from_ms: Integer,
        source: Text,
        epoch: Integer,
        sequence: Integer,
        corrects: Object(BeforeFields),
        void: Flag,
        reference: Text,
        reason: Text,
        principal: Text,
        schema: Integer,
    }
}

fields! {
    /// The fields of what a fact corrects, as they were read.
    struct BeforeFields at BeforePlace {
        id: Text,
        kind: Text,
        quantity: Integer,
        event_time_ms: Integer,
    }
}

/// Decodes the lines of one source.
#[derive(Clone, Debug)]
pub struct FactDecoder {
    rules: Rules,
}

impl FactDecoder {
    /// A decoder for a source that has records of these tenants and these fact sources only, or of any.
    pub fn new(catalog: Arc<Catalog>, tenants: Option<Vec<TenantId>>, fact_sources: Option<Vec<String>>) -> Self {
        FactDecoder { rules: Rules::new(catalog, tenants, fact_sources) }
    }
}

impl Decode for FactDecoder {
    type Record = Fact;

    fn decode(&mut self, line: &[u8]) -> Result<(Header, Fact), Rejection> {
        let mut fields = FactFields::default();
        document::read(line, &mut fields)?;
        self.fact(&fields)
    }
}

impl FactDecoder {
    fn fact(&mut self, fields: &FactFields<'_>) -> Result<(Header, Fact), Rejection> {
        limits::schema(fields.schema)?;
        self.rules.fact(&said(fields)?)
    }
}

/// Decodes the rows of one source.
#[derive(Clone, Debug)]
pub struct CsvFactDecoder {
    facts: FactDecoder,
    rows: Rows,
}

impl CsvFactDecoder {
    /// A decoder that says what `facts` says, of rows with these columns.
    pub fn new(facts: FactDecoder, settings: CsvSettings) -> Self {
        CsvFactDecoder { facts, rows: Rows::new(settings) }
    }
}

impl Decode for CsvFactDecoder {
    type Record = Fact;

    fn begin_rows(&mut self, header: Option<&[u8]>) {
        self.rows.begin(header);
    }

    fn decode(&mut self, row: &[u8]) -> Result<(Header, Fact), Rejection> {
        let mut fields = FactFields::default();
        self.rows.read(row, &mut fields)?;
        self.facts.fact(&fields)
    }
}

/// Decodes the Avro messages of one source.
#[derive(Clone, Debug)]
pub struct AvroFactDecoder {
    facts: FactDecoder,
    schemas: Schemas,
}

impl AvroFactDecoder {
    /// A decoder that says what `facts` says. It knows no schema yet.
    pub fn new(facts: FactDecoder) -> Self {
        AvroFactDecoder { facts, schemas: Schemas::default() }
    }
}

impl DecodeMessage for AvroFactDecoder {
    type Record = Fact;

    fn decode_message(&mut self, message: &[u8], mut give: impl FnMut(Part, Result<(Header, Fact), Rejection>)) {
        let mut fields = FactFields::default();
        let read = self.schemas.read(message, &mut fields);
        give(Part::whole(message), read.and_then(|()| self.facts.fact(&fields)));
    }

    fn question(&self, message: &[u8]) -> Option<Vec<u8>> {
        self.schemas.question(message)
    }

    fn answered(&mut self, question: &[u8], answer: Option<&[u8]>) {
        self.schemas.answered(question, answer, &mut FactFields::default());
    }
}

fn said<'a>(fields: &'a FactFields<'_>) -> Result<Statement<'a>, Rejection> {
    let state = |field, name: &'a Option<Cow<'_, str>>| name.as_deref().map(|name| state_of(field, name)).transpose();
    Ok(Statement {
        tenant: fields.tenant.as_deref(),
        id: fields.id.as_deref(),
        kind: kind_of("kind", required("kind", fields.kind.as_deref())?)?,
        node: fields.node.as_deref(),
        sku: fields.sku.as_deref(),
        state: state("state", &fields.state)?,
        to_state: state("to_state", &fields.to_state)?,
        quantity: fields.quantity,
        event_time_ms: fields.event_time_ms,
        observed_from_ms: fields.observed_from_ms,
        source: fields.source.as_deref(),
        epoch: fields.epoch,
        sequence: fields.sequence,
        corrects: fields.corrects.get().map(corrected).transpose()?,
        void: fields.void,
        reference: text(&fields.reference),
        reason: text(&fields.reason),
        principal: text(&fields.principal),
    })
}

fn corrected<'a>(fields: &'a BeforeFields<'_>) -> Result<Corrected<'a>, Rejection> {
    Ok(Corrected {
        id: required("corrects.id", fields.id.as_deref())?,
        kind: kind_of("corrects.kind", required("corrects.kind", fields.kind.as_deref())?)?,
        quantity: required("corrects.quantity", fields.quantity)?,
        event_time_ms: required("corrects.event_time_ms", fields.event_time_ms)?,
    })
}

fn kind_of(field: &str, name: &str) -> Result<FactKind, Rejection> {
    let found = KINDS.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind);
    found.ok_or_else(|| Rejection::new("unknown_kind", format!("`{field}`: `{}` is no kind of fact", shorten(name))))
}

fn state_of(field: &str, name: &str) -> Result<StockState, Rejection> {
    let found = STATES.iter().find(|(known, _)| *known == name).map(|(_, state)| *state);
    found.ok_or_else(|| Rejection::new("unknown_state", format!("`{field}`: `{}` is no state of stock", shorten(name))))
}

/// A text that may be absent; none is empty, so the empty one stands for it.
fn text<'a>(field: &'a Option<Cow<'_, str>>) -> &'a str {
    field.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests;
