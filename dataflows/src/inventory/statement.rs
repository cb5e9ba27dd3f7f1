//! What a fact says, in whatever format it came: which statements are facts, and what release judges them by.
//!
//! Every decoder of facts hands its statements over here, so the same fact has the same identity and content whether it
//! came as JSON or in a batch, and is refused for the same reasons. Which fields a fact may have depends on its kind,
//! and a field that would say nothing is refused rather than ignored: a sender who gives a sale a `to_state` means
//! something that would not happen.

use std::sync::Arc;

use operators::record::{Header, Identity, Rejection};
use operators::time::TimeMs;

use crate::catalog::{Catalog, FactSourceSpec};
use crate::digest::{self, Digest, FACT_SEED, STREAM_SEED};
use crate::inventory::fact::{BeforeImage, Fact, FactKind, StockState};
use crate::limits::{self, COUNT_DURATION_MAX_MS, EPOCH_MAX, QUANTITY_MAX, SEQUENCE_MAX};
use crate::names::{Name, TenantId};
use operators::document::{required, shorten};

/// The kinds by their names in records, in the order of [`FactKind`].
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

/// The states by their names in records, in the order of [`StockState`].
pub const STATES: [(&str, StockState); 5] = [
    ("sellable", StockState::Sellable),
    ("damaged", StockState::Damaged),
    ("quality", StockState::Quality),
    ("display", StockState::Display),
    ("backroom", StockState::Backroom),
];

/// What a sender says: the fields of `docs/events.md`, none of them checked. Texts have 1 to 256 bytes, which is the
/// format's business; the last three are empty where they are not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statement<'a> {
    /// Whose fact.
    pub tenant: Option<&'a str>,
    /// Unique within the tenant.
    pub id: Option<&'a str>,
    /// What it says.
    pub kind: FactKind,
    /// Where.
    pub node: Option<&'a str>,
    /// What.
    pub sku: Option<&'a str>,
    /// The condition of the stock.
    pub state: Option<StockState>,
    /// The condition that it gets.
    pub to_state: Option<StockState>,
    /// How much, in base units.
    pub quantity: Option<i64>,
    /// When.
    pub event_time_ms: Option<TimeMs>,
    /// When a count began.
    pub observed_from_ms: Option<TimeMs>,
    /// The system that says so.
    pub source: Option<&'a str>,
    /// Which of its sequences.
    pub epoch: Option<i64>,
    /// The place in it.
    pub sequence: Option<i64>,
    /// What it takes back.
    pub corrects: Option<Corrected<'a>>,
    /// Whether it says nothing instead.
    pub void: Option<bool>,
    /// The order, transfer, delivery.
    pub reference: &'a str,
    /// Why.
    pub reason: &'a str,
    /// Who.
    pub principal: &'a str,
}

impl Statement<'_> {
    /// A statement of nothing but a kind.
    pub fn of(kind: FactKind) -> Self {
        Statement {
            tenant: None,
            id: None,
            kind,
            node: None,
            sku: None,
            state: None,
            to_state: None,
            quantity: None,
            event_time_ms: None,
            observed_from_ms: None,
            source: None,
            epoch: None,
            sequence: None,
            corrects: None,
            void: None,
            reference: "",
            reason: "",
            principal: "",
        }
    }
}

/// What a fact takes back, as its sender put it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrected<'a> {
    /// Its id.
    pub id: &'a str,
    /// What it said it was.
    pub kind: FactKind,
    /// What it said.
    pub quantity: i64,
    /// When it said it happened.
    pub event_time_ms: TimeMs,
}

/// The lane of a fact source within its partition and tenant.
pub fn fact_lane(source: &str) -> u128 {
    digest::lane_of(source)
}

/// Holds statements to the rules of one source of records.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) catalog: Arc<Catalog>,
    pub(super) tenants: Option<Vec<TenantId>>,
    pub(super) fact_sources: Option<Vec<String>>,
    digest: Digest,
    /// What the last fact's tenant and source came to: neighbours mostly share them.
    last: Last,
}

#[derive(Clone, Debug, Default)]
struct Last {
    tenant: Option<(Name, TenantId)>,
    source: Option<(Name, FactSourceSpec, u128)>,
}

impl Rules {
    /// Rules for a source that has records of these tenants and these fact sources only, or of any.
    pub(super) fn new(
        catalog: Arc<Catalog>,
        tenants: Option<Vec<TenantId>>,
        fact_sources: Option<Vec<String>>,
    ) -> Self {
        let digest = Digest::keyed(catalog.hash_key());
        Rules { catalog, tenants, fact_sources, digest, last: Last::default() }
    }

    /// The fact that a statement makes, or why it makes none.
    pub(super) fn fact(&mut self, said: &Statement<'_>) -> Result<(Header, Fact), Rejection> {
        let kind = said.kind;
        let tenant = self.tenant(required("tenant", said.tenant)?)?;
        let id = self.identity_of(tenant, required("id", said.id)?);
        let node = required("node", said.node)?;
        let event_time_ms = limits::event_time_ms("event_time_ms", required("event_time_ms", said.event_time_ms)?)?;
        let source = required("source", said.source)?;
        let (spec, lane) = self.declared_source(source)?;

        refuse_unexpected(said)?;
        let sku = match kind {
            FactKind::Clock => Name::default(),
            _ => Name::from(required("sku", said.sku)?),
        };
        let state = said.state.unwrap_or_default();
        let to_state = match kind {
            FactKind::StateMove => required("to_state", said.to_state)?,
            _ => state,
        };
        let quantity = match kind {
            FactKind::Clock => limits::no_quantity("quantity", said.quantity.unwrap_or(0))?,
            _ => quantity_of("quantity", kind, required("quantity", said.quantity)?)?,
        };
        let observed_from_ms = observed_from(event_time_ms, said.observed_from_ms)?;
        let void = said.void.unwrap_or(false);
        let before = match said.corrects {
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
        let mut fact = Fact {
            tenant,
            kind,
            state,
            to_state,
            void,
            node: Name::from(node),
            sku,
            quantity,
            event_time_ms,
            observed_from_ms,
            source: Name::from(source),
            epoch: 0,
            rank,
            authority,
            epsilon_ms,
            id,
            before,
        };
        let identity = match self.sequence_of(tenant, said, node, source)? {
            Some((epoch, place)) => {
                fact.epoch = epoch;
                place
            }
            None => Identity::Id { id, content: self.content_of(said, source, &fact) },
        };
        Ok((Header { group: self.catalog.fact_group(tenant), lane, event_time_ms, identity }, fact))
    }

    fn tenant(&mut self, name: &str) -> Result<TenantId, Rejection> {
        if let Some((last, tenant)) = &self.last.tenant
            && last == name
        {
            return Ok(*tenant);
        }
        let tenant = self.catalog.declared_tenant(name, self.tenants.as_deref())?;
        self.last.tenant = Some((Name::from(name), tenant));
        Ok(tenant)
    }

    fn declared_source(&mut self, source: &str) -> Result<(FactSourceSpec, u128), Rejection> {
        if let Some((last, spec, lane)) = &self.last.source
            && last == source
        {
            return Ok((*spec, *lane));
        }
        if let Some(declared) = &self.fact_sources
            && !declared.iter().any(|known| known == source)
        {
            let detail = format!("fact source `{}` is not declared here", shorten(source));
            return Err(Rejection::new("undeclared_source", detail));
        }
        let (spec, lane) = (self.catalog.fact_source(source), fact_lane(source));
        self.last.source = Some((Name::from(source), spec, lane));
        Ok((spec, lane))
    }

    pub(super) fn identity_of(&mut self, tenant: TenantId, id: &str) -> u128 {
        self.digest.begin().text(self.catalog.tenant_name(tenant)).text(id).identity(FACT_SEED)
    }

    /// The epoch and the place in its stream of a fact that has one.
    fn sequence_of(
        &mut self,
        tenant: TenantId,
        said: &Statement<'_>,
        node: &str,
        source: &str,
    ) -> Result<Option<(u32, Identity)>, Rejection> {
        let (epoch, sequence) = match (said.epoch, said.sequence) {
            (None, None) => return Ok(None),
            (epoch, sequence) => (required("epoch", epoch)?, required("sequence", sequence)?),
        };
        let epoch = limits::number("epoch", epoch, (0, EPOCH_MAX))?;
        let sequence = limits::number("sequence", sequence, (0, SEQUENCE_MAX))?.unsigned_abs();
        self.digest.begin().text(self.catalog.tenant_name(tenant)).text(node).text(source);
        let stream = self.digest.integer(epoch).identity(STREAM_SEED);
        let epoch = u32::try_from(epoch).expect("an epoch is no greater than the greatest");
        Ok(Some((epoch, Identity::Sequence { stream, sequence })))
    }

    /// The hash of everything that a fact says but its tenant and id.
    fn content_of(&mut self, said: &Statement<'_>, source: &str, fact: &Fact) -> u64 {
        let to_state = said.to_state.map_or("", state_name);
        self.digest.begin().text(kind_name(said.kind)).text(&fact.node).text(&fact.sku).text(state_name(fact.state));
        self.digest.text(to_state).text(source).text(said.reference).text(said.reason).text(said.principal);
        self.digest.integer(fact.quantity).integer(fact.event_time_ms).integer(fact.observed_from_ms);
        if let Some(before) = &fact.before {
            self.digest.hash(before.id).text(kind_name(before.kind)).integer(before.quantity);
            self.digest.integer(before.event_time_ms).integer(i64::from(fact.void));
        }
        self.digest.content()
    }

    fn before_image(&mut self, tenant: TenantId, before: Corrected<'_>) -> Result<BeforeImage, Rejection> {
        Ok(BeforeImage {
            id: self.identity_of(tenant, before.id),
            kind: before.kind,
            quantity: quantity_of("corrects.quantity", before.kind, before.quantity)?,
            event_time_ms: limits::event_time_ms("corrects.event_time_ms", before.event_time_ms)?,
        })
    }
}

fn kind_name(kind: FactKind) -> &'static str {
    KINDS[kind as usize].0
}

fn state_name(state: StockState) -> &'static str {
    STATES[state as usize].0
}

/// Refuses fields that say nothing for this kind.
fn refuse_unexpected(said: &Statement<'_>) -> Result<(), Rejection> {
    let kind = said.kind;
    let clock = kind == FactKind::Clock;
    let absolute = matches!(kind, FactKind::Count | FactKind::Snapshot);
    let unexpected = [
        ("sku", clock && said.sku.is_some()),
        ("state", clock && said.state.is_some()),
        ("to_state", kind != FactKind::StateMove && said.to_state.is_some()),
        ("observed_from_ms", !absolute && said.observed_from_ms.is_some()),
        ("corrects", clock && said.corrects.is_some()),
        ("void", clock && said.void.is_some()),
    ];
    // Nearly every fact is as it should be: no branch for each field.
    if !unexpected.iter().fold(false, |any, (_, given)| any | given) {
        return Ok(());
    }
    let name = unexpected.iter().find(|(_, given)| *given).map_or("", |(name, _)| name);
    Err(Rejection::new("unexpected_field", format!("`{name}` says nothing for this kind of fact")))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_in_the_order_of_what_they_name() {
        assert!(KINDS.iter().all(|(name, kind)| kind_name(*kind) == *name));
        assert!(STATES.iter().all(|(name, state)| state_name(*state) == *name));
    }
}
