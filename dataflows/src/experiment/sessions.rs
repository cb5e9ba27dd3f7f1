//! Sessions: what happened in each of their minutes, and in which minute they started.
//!
//! Two folds. The minutes are keyed by (session, minute), because the key is the unit of forgetting: a minute is
//! forgotten once it is sealed. A session's start needs the session alone; it is forgotten `keep_ms` behind the watermark
//! after its last event, and the same id then starts a new one. A session that changes its unit (a login) counts once for
//! each: the unit is part of its identity, so that no answer depends on which event came first.

use std::rc::Rc;

use serde::{Deserialize, Serialize};

use operators::fold::{Fold, Now, Table, Wake};
use operators::release::Released;
use operators::time::{TimeMs, minute_end_ms, minute_of};

use crate::experiment::assignments::{Assignments, VariantList};
use crate::experiment::event::{Event, EventKind};
use crate::experiment::measures::CompactMeasures;
use crate::experiment::measures::Measures;
use crate::names::{Name, TenantId};

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
    events: u32,
    #[serde(skip)]
    counts_for: Option<VariantList>,
    measures: CompactMeasures,
}

/// What a session's minute shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MinuteValue {
    /// The variants for which it counts.
    pub counts_for: VariantList,
    /// What happened in it.
    pub measures: Measures,
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
    /// The names, and who counts for what.
    pub assignments: Rc<Assignments>,
}

impl SessionMinutesFold {
    /// The row of a session's minute that shows this.
    pub fn row(&self, key: &SessionMinuteKey, value: &MinuteValue) -> SessionMinuteRow {
        SessionMinuteRow { key: key.clone(), measures: value.measures }
    }

    fn counts_for(&self, SessionMinuteKey { session, .. }: &SessionMinuteKey) -> VariantList {
        self.assignments.assigned(session.tenant, &session.unit)
    }
}

impl Fold for SessionMinutesFold {
    type Input = Released<Event>;
    type Key = SessionMinuteKey;
    type Event = Happening;
    type State = MinuteState;
    type Value = MinuteValue;
    type Table = Table<SessionMinuteKey, MinuteState>;

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

    fn apply(&self, state: &mut MinuteState, key: &SessionMinuteKey, event: &Happening) {
        state.events = state.events.saturating_add(1);
        state.counts_for.get_or_insert_with(|| self.counts_for(key));
        state.measures.count(*event);
    }

    fn values(&self, key: &SessionMinuteKey, state: &MinuteState, values: &mut Vec<MinuteValue>) {
        if state.events > 0 {
            let counts_for = state.counts_for.unwrap_or_else(|| self.counts_for(key));
            values.push(MinuteValue { counts_for, measures: state.measures.get() });
        }
    }

    fn retire_at(&self, key: &SessionMinuteKey, _: &MinuteState) -> Option<Wake> {
        Some(Wake::Watermark(self.assignments.catalog().event_group(key.session.tenant), minute_end_ms(key.minute)))
    }

    fn retire(&self, _: &mut MinuteState, key: &SessionMinuteKey, now: &Now<'_>) -> bool {
        now.watermark(self.assignments.catalog().event_group(key.session.tenant)) >= minute_end_ms(key.minute)
    }

    fn heap_bytes(&self, state: &MinuteState) -> usize {
        state.measures.heap_bytes()
    }
}

/// A session's span.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpanState {
    /// The first and the last event; in the state of a key that is there.
    first_ms: TimeMs,
    last_ms: TimeMs,
    begun: bool,
    #[serde(skip)]
    counts_for: Option<VariantList>,
}

/// What a session's start shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StartValue {
    /// The variants for which it counts.
    pub counts_for: VariantList,
    /// The minute's number.
    pub minute: i64,
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
    /// The names, and who counts for what.
    pub assignments: Rc<Assignments>,
    /// How long behind the watermark a session is remembered after its last event.
    pub keep_ms: i64,
}

impl SessionStartsFold {
    /// The row of a session that shows this.
    pub fn row(&self, key: &SessionKey, value: &StartValue) -> SessionStart {
        SessionStart { tenant: key.tenant, unit: key.unit.clone(), minute: value.minute }
    }
}

impl Fold for SessionStartsFold {
    type Input = Released<Event>;
    type Key = SessionKey;
    type Event = TimeMs;
    type State = SpanState;
    type Value = StartValue;
    type Table = Table<SessionKey, SpanState>;

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

    fn apply(&self, state: &mut SpanState, key: &SessionKey, event_time_ms: &TimeMs) {
        state.counts_for.get_or_insert_with(|| self.assignments.assigned(key.tenant, &key.unit));
        if !state.begun {
            (state.begun, state.first_ms, state.last_ms) = (true, *event_time_ms, *event_time_ms);
        }
        state.first_ms = state.first_ms.min(*event_time_ms);
        state.last_ms = state.last_ms.max(*event_time_ms);
    }

    fn values(&self, key: &SessionKey, state: &SpanState, values: &mut Vec<StartValue>) {
        if state.begun {
            let found = || self.assignments.assigned(key.tenant, &key.unit);
            let counts_for = state.counts_for.unwrap_or_else(found);
            values.push(StartValue { counts_for, minute: minute_of(state.first_ms) });
        }
    }

    fn retire_at(&self, key: &SessionKey, state: &SpanState) -> Option<Wake> {
        let group = self.assignments.catalog().event_group(key.tenant);
        state.begun.then(|| Wake::Watermark(group, state.last_ms.saturating_add(self.keep_ms)))
    }

    fn retire(&self, state: &mut SpanState, key: &SessionKey, now: &Now<'_>) -> bool {
        let watermark_ms = now.watermark(self.assignments.catalog().event_group(key.tenant));
        !state.begun || watermark_ms >= state.last_ms.saturating_add(self.keep_ms)
    }
}
