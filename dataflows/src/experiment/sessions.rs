//! Sessions: what happened in each of their minutes, and in which minute they started.
//!
//! Two folds. The minutes are keyed by (session, minute), because the key is the unit of forgetting: a minute is
//! forgotten once it is sealed. A session's start needs the session alone; it is forgotten `keep_ms` behind the watermark
//! after its last event, and the same id then starts a new one. A session that changes its unit (a login) counts once for
//! each: the unit is part of its identity, so that no answer depends on which event came first.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use operators::fold::{Fold, Now, Wake};
use operators::release::Released;
use operators::time::{TimeMs, minute_end_ms, minute_of};

use crate::catalog::Catalog;
use crate::experiment::event::{Event, EventKind};
use crate::names::{Name, TenantId};
use crate::views::Measures;

/// A session of a unit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionKey {
    /// Whose.
    pub tenant: TenantId,
    /// The session's id.
    pub session: Name,
    /// Its unit; empty where unknown.
    pub unit: Name,
}

/// A minute of a session.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionMinuteKey {
    /// The session.
    pub session: SessionKey,
    /// The minute's number.
    pub minute: i64,
}

/// What a session's minute needs of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Happening {
    /// What happened.
    pub kind: EventKind,
    /// Pieces.
    pub quantity: i64,
    /// Minor units.
    pub value: i64,
}

/// A session's minute.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MinuteState {
    events: i64,
    measures: Measures,
}

/// A row: the minute of a session and what happened in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionMinuteRow {
    /// Which.
    pub key: SessionMinuteKey,
    /// What.
    pub measures: Measures,
}

/// Folds events into session minutes.
pub struct SessionMinutesFold {
    /// The names.
    pub catalog: Arc<Catalog>,
}

impl Fold for SessionMinutesFold {
    type Input = Released<Event>;
    type Key = SessionMinuteKey;
    type Event = Happening;
    type State = MinuteState;
    type Row = SessionMinuteRow;

    fn name(&self) -> &'static str {
        "SessionMinutes"
    }

    fn keys(
        &self,
        Released { record: event, .. }: &Released<Event>,
        post: &mut dyn FnMut(SessionMinuteKey, Happening),
    ) {
        let session = SessionKey { tenant: event.tenant, session: event.session.clone(), unit: event.unit.clone() };
        let happening = Happening { kind: event.kind, quantity: event.quantity, value: event.value };
        post(SessionMinuteKey { session, minute: minute_of(event.event_time_ms) }, happening);
    }

    fn apply(&self, state: &mut MinuteState, _: &SessionMinuteKey, event: &Happening) {
        state.events += 1;
        state.measures.add(&Measures::of(event.kind, event.quantity, event.value), 1);
    }

    fn rows(&self, key: &SessionMinuteKey, state: &MinuteState, rows: &mut Vec<SessionMinuteRow>) {
        if state.events > 0 {
            rows.push(SessionMinuteRow { key: key.clone(), measures: state.measures });
        }
    }

    fn retire_at(&self, key: &SessionMinuteKey, _: &MinuteState) -> Option<Wake> {
        Some(Wake::Watermark(self.catalog.event_group(key.session.tenant), minute_end_ms(key.minute)))
    }

    fn retire(&self, _: &mut MinuteState, key: &SessionMinuteKey, now: &Now<'_>) -> bool {
        now.watermark(self.catalog.event_group(key.session.tenant)) >= minute_end_ms(key.minute)
    }

    fn heap_bytes(&self, _: &MinuteState) -> usize {
        0
    }
}

/// A session's span.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpanState {
    span: Option<(TimeMs, TimeMs)>,
}

/// A row: in this minute a session of this unit started.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionStart {
    /// Whose.
    pub tenant: TenantId,
    /// The session's unit.
    pub unit: Name,
    /// The minute's number.
    pub minute: i64,
}

/// Folds events into session starts.
pub struct SessionStartsFold {
    /// The names.
    pub catalog: Arc<Catalog>,
    /// How long behind the watermark a session is remembered after its last event.
    pub keep_ms: i64,
}

impl Fold for SessionStartsFold {
    type Input = Released<Event>;
    type Key = SessionKey;
    type Event = TimeMs;
    type State = SpanState;
    type Row = SessionStart;

    fn name(&self) -> &'static str {
        "SessionStarts"
    }

    fn keys(&self, Released { record: event, .. }: &Released<Event>, post: &mut dyn FnMut(SessionKey, TimeMs)) {
        // Sessions without a unit are in no variant: their start is nobody's business.
        if !event.unit.is_empty() {
            let session = SessionKey { tenant: event.tenant, session: event.session.clone(), unit: event.unit.clone() };
            post(session, event.event_time_ms);
        }
    }

    fn apply(&self, state: &mut SpanState, _: &SessionKey, event_time_ms: &TimeMs) {
        let (first_ms, last_ms) = state.span.unwrap_or((*event_time_ms, *event_time_ms));
        state.span = Some((first_ms.min(*event_time_ms), last_ms.max(*event_time_ms)));
    }

    fn rows(&self, key: &SessionKey, state: &SpanState, rows: &mut Vec<SessionStart>) {
        if let Some((first_ms, _)) = state.span {
            rows.push(SessionStart { tenant: key.tenant, unit: key.unit.clone(), minute: minute_of(first_ms) });
        }
    }

    fn retire_at(&self, key: &SessionKey, state: &SpanState) -> Option<Wake> {
        let (_, last_ms) = state.span?;
        Some(Wake::Watermark(self.catalog.event_group(key.tenant), last_ms.saturating_add(self.keep_ms)))
    }

    fn retire(&self, state: &mut SpanState, key: &SessionKey, now: &Now<'_>) -> bool {
        let watermark_ms = now.watermark(self.catalog.event_group(key.tenant));
        state.span.is_none_or(|(_, last_ms)| watermark_ms >= last_ms.saturating_add(self.keep_ms))
    }
}
