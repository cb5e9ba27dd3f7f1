//! Turns a line of JSON into an inventory fact (schema: `docs/events.md`).
//!
//! Which fields a fact may have depends on its kind, and a field that would say nothing is refused rather than ignored:
//! a sender who gives a sale a `to_state` means something that would not happen.

use std::borrow::Cow;
use std::sync::Arc;

use operators::record::{Decode, Header, Identity, Rejection};
use operators::time::TimeMs;

use crate::catalog::{Catalog, FactSourceSpec};
use crate::digest::{self, Digest, FACT_SEED, STREAM_SEED};
use crate::document::{self, Shape, fields, required, shorten};
use crate::inventory::fact::{BeforeImage, Fact, FactKind, StockState};
use crate::limits::{self, COUNT_DURATION_MAX_MS, EPOCH_MAX, QUANTITY_MAX, SEQUENCE_MAX};
use crate::names::{Name, TenantId};

/// The fields of a fact, in the order of the documentation.
pub const FIELDS: &[(&str, Shape)] = FactFields::LIST;

/// The fields of what a fact corrects; all of them are required.
pub const CORRECTS_FIELDS: &[(&str, Shape)] = BeforeFields::LIST;

/// The fields that every fact has; every one but a clock also has `sku` and `quantity`.
pub const REQUIRED: &[&str] = &["tenant", "id", "kind", "node", "event_time_ms", "source"];

/// The kinds by their names in JSON.
pub const KINDS: [(&str, FactKind); 12] = [
    ("sale", FactKind::Sale),
    ("return", FactKind::Return),
    ("receipt", FactKind::Receipt),
    ("transfer_out", FactKind::TransferOut),
    ("transfer_in", FactKind::TransferIn),
    ("adjust", FactKind::Adjust),
    ("state_move", FactKind::StateMove),
    ("count", FactKind::Count),
    ("snapshot", FactKind::Snapshot),
    ("pick", FactKind::Pick),
    ("shelf_observation", FactKind::ShelfObservation),
    ("clock", FactKind::Clock),
];

/// The states by their names in JSON.
pub const STATES: [(&str, StockState); 5] = [
    ("sellable", StockState::Sellable),
    ("damaged", StockState::Damaged),
    ("quality", StockState::Quality),
    ("display", StockState::Display),
    ("backroom", StockState::Backroom),
];

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

/// The lane of a fact source within its partition and tenant.
pub fn fact_lane(source: &str) -> u128 {
    digest::lane_of(source)
}

/// Decodes the lines of one source.
#[derive(Clone, Debug)]
pub struct FactDecoder {
    catalog: Arc<Catalog>,
    tenants: Option<Vec<TenantId>>,
    fact_sources: Option<Vec<String>>,
    digest: Digest,
}

impl FactDecoder {
    /// A decoder for a source that has records of these tenants and these fact sources only, or of any.
    pub fn new(catalog: Arc<Catalog>, tenants: Option<Vec<TenantId>>, fact_sources: Option<Vec<String>>) -> Self {
        FactDecoder { catalog, tenants, fact_sources, digest: Digest::default() }
    }

    fn declared_source(&self, source: &str) -> Result<FactSourceSpec, Rejection> {
        match &self.fact_sources {
            Some(declared) if !declared.iter().any(|known| known == source) => {
                let detail = format!("fact source `{}` is not declared here", shorten(source));
                Err(Rejection::new("undeclared_source", detail))
            }
            _ => Ok(self.catalog.fact_source(source)),
        }
    }

    fn identity_of(&mut self, tenant: TenantId, id: &str) -> u128 {
        self.digest.begin().text(self.catalog.tenant_name(tenant)).text(id).identity(FACT_SEED)
    }

    /// The place in its stream of a fact that has one.
    fn sequence_of(&mut self, tenant: TenantId, fields: &FactFields<'_>) -> Result<Option<Identity>, Rejection> {
        let (epoch, sequence) = match (fields.epoch, fields.sequence) {
            (None, None) => return Ok(None),
            (epoch, sequence) => (required("epoch", epoch)?, required("sequence", sequence)?),
        };
        let epoch = limits::number("epoch", epoch, (0, EPOCH_MAX))?;
        let sequence = limits::number("sequence", sequence, (0, SEQUENCE_MAX))?;
        self.digest.begin().text(self.catalog.tenant_name(tenant)).text(text(&fields.node)).text(text(&fields.source));
        let stream = self.digest.integer(epoch).identity(STREAM_SEED);
        Ok(Some(Identity::Sequence { stream, sequence: sequence.unsigned_abs() }))
    }

    /// The hash of everything that a fact says but its tenant and id.
    fn content_of(&mut self, fields: &FactFields<'_>, fact: &Fact) -> u64 {
        let state = fields.state.as_deref().unwrap_or(STATES[0].0);
        self.digest.begin().text(text(&fields.kind)).text(&fact.node).text(&fact.sku).text(state);
        for optional in [&fields.to_state, &fields.source, &fields.reference, &fields.reason, &fields.principal] {
            self.digest.text(text(optional));
        }
        self.digest.integer(fact.quantity).integer(fact.event_time_ms).integer(fact.observed_from_ms);
        if let Some(before) = &fact.before {
            self.digest.hash(before.id).text(text(&fields.corrects.fields.kind)).integer(before.quantity);
            self.digest.integer(before.event_time_ms).integer(i64::from(fact.void));
        }
        self.digest.content()
    }
}

impl Decode for FactDecoder {
    type Record = Fact;

    fn decode(&mut self, line: &[u8]) -> Result<(Header, Fact), Rejection> {
        let mut fields = FactFields::default();
        document::read(line, &mut fields)?;
        limits::schema(fields.schema)?;
        let tenant = required("tenant", fields.tenant.as_deref())?;
        let tenant = self.catalog.declared_tenant(tenant, self.tenants.as_deref())?;
        let id = self.identity_of(tenant, required("id", fields.id.as_deref())?);
        let kind = kind_of("kind", required("kind", fields.kind.as_deref())?)?;
        let node = Name::from(required("node", fields.node.as_deref())?);
        let event_time_ms = limits::event_time_ms("event_time_ms", required("event_time_ms", fields.event_time_ms)?)?;
        let source = required("source", fields.source.as_deref())?;
        let spec = self.declared_source(source)?;
        let lane = fact_lane(source);

        refuse_unexpected(kind, &fields)?;
        let sku = match kind {
            FactKind::Clock => Name::default(),
            _ => Name::from(required("sku", fields.sku.as_deref())?),
        };
        let state = fields.state.as_deref().map_or(Ok(StockState::Sellable), |name| state_of("state", name))?;
        let to_state = match kind {
            FactKind::StateMove => state_of("to_state", required("to_state", fields.to_state.as_deref())?)?,
            _ => state,
        };
        let quantity = match kind {
            FactKind::Clock => limits::no_quantity("quantity", fields.quantity.unwrap_or(0))?,
            _ => quantity_of("quantity", kind, required("quantity", fields.quantity)?)?,
        };
        let observed_from_ms = observed_from(event_time_ms, fields.observed_from_ms)?;
        let void = fields.void.unwrap_or(false);
        let before = match fields.corrects.get() {
            Some(before) => Some(Box::new(self.before_image(tenant, before)?)),
            None if void => return Err(Rejection::new("missing_field", "a void has to have `corrects`")),
            None => None,
        };
        if let Some(before) = &before {
            check_correction(before, id, kind, quantity, void)?;
        }

        let (rank, epsilon_ms) = (spec.rank, spec.epsilon_ms);
        let authority = match kind {
            FactKind::Count => !spec.class_b,
            FactKind::Snapshot => spec.authority_for_snapshots,
            _ => false,
        };
        let fact = Fact {
            tenant,
            kind,
            state,
            to_state,
            void,
            node,
            sku,
            quantity,
            event_time_ms,
            observed_from_ms,
            rank,
            authority,
            epsilon_ms,
            id,
            before,
        };
        let identity = match self.sequence_of(tenant, &fields)? {
            Some(place) => place,
            None => Identity::Id { id, content: self.content_of(&fields, &fact) },
        };
        Ok((Header { group: self.catalog.fact_group(tenant), lane, event_time_ms, identity }, fact))
    }
}

impl FactDecoder {
    fn before_image(&mut self, tenant: TenantId, fields: &BeforeFields<'_>) -> Result<BeforeImage, Rejection> {
        let id = required("corrects.id", fields.id.as_deref())?;
        let kind = kind_of("corrects.kind", required("corrects.kind", fields.kind.as_deref())?)?;
        let quantity = required("corrects.quantity", fields.quantity)?;
        let time_ms = required("corrects.event_time_ms", fields.event_time_ms)?;
        Ok(BeforeImage {
            id: self.identity_of(tenant, id),
            kind,
            quantity: quantity_of("corrects.quantity", kind, quantity)?,
            event_time_ms: limits::event_time_ms("corrects.event_time_ms", time_ms)?,
        })
    }
}

/// Refuses fields that say nothing for this kind.
fn refuse_unexpected(kind: FactKind, fields: &FactFields<'_>) -> Result<(), Rejection> {
    let clock = kind == FactKind::Clock;
    let absolute = matches!(kind, FactKind::Count | FactKind::Snapshot);
    let unexpected = [
        ("sku", clock && fields.sku.is_some()),
        ("state", clock && fields.state.is_some()),
        ("to_state", kind != FactKind::StateMove && fields.to_state.is_some()),
        ("observed_from_ms", !absolute && fields.observed_from_ms.is_some()),
        ("corrects", clock && fields.corrects.given),
        ("void", clock && fields.void.is_some()),
    ];
    match unexpected.iter().find(|(_, given)| *given) {
        Some((name, _)) => {
            Err(Rejection::new("unexpected_field", format!("`{name}` says nothing for this kind of fact")))
        }
        None => Ok(()),
    }
}

/// Holds a correction to what the ledger can post: minus what was said, plus what is said now, at one key.
fn check_correction(
    before: &BeforeImage,
    id: u128,
    kind: FactKind,
    quantity: i64,
    void: bool,
) -> Result<(), Rejection> {
    let moves = |kind| kind == FactKind::StateMove;
    let detail = if before.id == id {
        "a fact cannot correct itself"
    } else if before.kind == FactKind::Clock {
        "a clock posts nothing that could be corrected"
    } else if moves(before.kind) != moves(kind) {
        "a move between states can only be corrected to another one, since its other state has to be known"
    } else if void && before.kind != kind {
        "a void has to be of the kind that it takes back"
    } else if void && quantity != 0 {
        "a void has to have quantity 0"
    } else {
        return Ok(());
    };
    Err(Rejection::new("invalid_correction", detail))
}

/// When a count began: when it ended, unless it says otherwise.
fn observed_from(event_time_ms: TimeMs, from_ms: Option<TimeMs>) -> Result<TimeMs, Rejection> {
    let Some(from_ms) = from_ms else { return Ok(event_time_ms) };
    limits::event_time_ms("observed_from_ms", from_ms)?;
    if from_ms > event_time_ms {
        let detail = format!("`observed_from_ms` {from_ms} is after `event_time_ms` {event_time_ms}");
        return Err(Rejection::new("event_time_out_of_range", detail));
    }
    if event_time_ms - from_ms > COUNT_DURATION_MAX_MS {
        let detail = format!("a count takes at most {COUNT_DURATION_MAX_MS} ms, not {}", event_time_ms - from_ms);
        return Err(Rejection::new("count_too_long", detail));
    }
    Ok(from_ms)
}

fn quantity_of(field: &str, kind: FactKind, quantity: i64) -> Result<i64, Rejection> {
    let least = if kind == FactKind::Adjust { -QUANTITY_MAX } else { 0 };
    limits::quantity(field, quantity, least)
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
