//! Units: what each unit did, in total and within each experiment that counts from its exposure.
//!
//! For experiments whose population is *assigned*, every event of an assigned unit counts: all of them share one row per
//! unit. For experiments whose population is *exposed*, an event counts from the unit's first exposure on, by event time.
//! An exposure may arrive after the events that it covers, so the unit keeps every event whose minute is not sealed, and
//! counts again. What is sealed can't be covered any more (an exposure that is on time is not behind the watermark): it is
//! added to the settled sums, or dropped, without any change of a row.
//!
//! A unit's rows also bring the minutes and starts of its sessions within exposed experiments, for the minute rollups.

use std::rc::Rc;

use litemap::LiteMap;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use operators::fetch::{fetch, fetch_slice};
use operators::fold::{Fold, Now, Table, Wake};
use operators::release::Released;
use operators::time::{PLUS_INFINITY, TimeMs, minute_end_ms, minute_of};

use crate::catalog::Population;
use crate::experiment::assignments::{Assignments, VariantList};
use crate::experiment::event::{Event, EventKind};
use crate::experiment::measures::CompactMeasures;
use crate::experiment::measures::Measures;
use crate::experiment::sessions::Happening;
use crate::names::{Name, TenantId};

/// A unit of a tenant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UnitKey {
    /// Whose.
    pub tenant: TenantId,
    /// The unit.
    pub unit: Name,
}

/// What a unit needs of an event. The last two matter where an exposed experiment has the unit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct UnitEvent {
    /// What happened.
    pub happening: Happening,
    /// When.
    pub event_time_ms: TimeMs,
    /// The session.
    pub session: Name,
    /// An exposure's experiment.
    pub experiment: Option<u16>,
}

/// What is kept of a unit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitState {
    total: CompactMeasures,
    seen: bool,
    #[serde(skip)]
    counts_for: Option<VariantList>,
    /// Whether some exposed experiment has the unit, once that was asked: a hash for each of them.
    #[serde(skip)]
    may_be_exposed: Option<bool>,
    exposed: Option<Box<ExposedState>>,
}

/// What is kept of a unit that some exposed experiment has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ExposedState {
    /// Nothing settles or is forgotten before this watermark: a bound, exact after each look.
    due_ms: TimeMs,
    /// Events whose minute is not sealed.
    pending: Vec<UnitEvent>,
    /// Its sessions: each one's last event. Flat, as all maps here: there are few of them in most units, and a node of a
    /// tree would be larger than all else that is kept of one.
    sessions: LiteMap<Name, TimeMs>,
    /// By experiment.
    exposures: LiteMap<u16, Exposure>,
    /// All variants for which the unit counts, if that was asked since it was last exposed to another experiment.
    #[serde(skip)]
    membership: Option<VariantList>,
}

impl Default for ExposedState {
    fn default() -> Self {
        let (pending, sessions, exposures) = (Vec::new(), LiteMap::new(), LiteMap::new());
        ExposedState { due_ms: PLUS_INFINITY, pending, sessions, exposures, membership: None }
    }
}

impl ExposedState {
    /// When something settles or is forgotten next.
    fn next_due_ms(&self, keep_ms: i64) -> TimeMs {
        let settles = self.pending.iter().map(|event| minute_end_ms(minute_of(event.event_time_ms)));
        let forgets = self.sessions.values().map(|last_ms| last_ms.saturating_add(keep_ms));
        settles.chain(forgets).min().unwrap_or(PLUS_INFINITY)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Exposure {
    first_ms: TimeMs,
    #[serde(skip)]
    counts_for: Option<VariantList>,
    settled: Measures,
    /// Sessions with a settled event that counts: the first such event.
    started: LiteMap<Name, TimeMs>,
}

impl Exposure {
    /// What the unit shows in this experiment: called twice for each tick that touches the unit, so it allocates nothing
    /// where little is pending.
    fn says(&self, number: u16, pending: &[UnitEvent], mut say: impl FnMut(UnitFact)) {
        let mut counted: SmallVec<[&UnitEvent; 24]> =
            pending.iter().filter(|event| event.event_time_ms >= self.first_ms).collect();
        counted.sort_unstable_by(|one, other| {
            one.session.cmp(&other.session).then(one.event_time_ms.cmp(&other.event_time_ms))
        });
        let start = |session: &Name, first_ms| UnitFact::ExposedStart(number, session.clone(), minute_of(first_ms));
        let mut total = self.settled;
        let mut settled = self.started.iter().peekable();
        for of_session in counted.chunk_by(|one, next| one.session == next.session) {
            let (session, first_ms) = (&of_session[0].session, of_session[0].event_time_ms);
            while let Some((name, first_ms)) = settled.next_if(|(name, _)| *name < session) {
                say(start(name, *first_ms));
            }
            let settled_ms = settled.next_if(|(name, _)| *name == session).map(|(_, first_ms)| *first_ms);
            say(start(session, settled_ms.map_or(first_ms, |settled_ms| settled_ms.min(first_ms))));
            let minute = |event: &UnitEvent| minute_of(event.event_time_ms);
            for of_minute in of_session.chunk_by(|one, next| minute(one) == minute(next)) {
                let mut measures = Measures::default();
                for Happening { kind, quantity, value } in of_minute.iter().map(|event| event.happening) {
                    measures.add(&Measures::of(kind, quantity, value), 1);
                }
                total.add(&measures, 1);
                say(UnitFact::ExposedMinute(number, session.clone(), minute(of_minute[0]), measures));
            }
        }
        settled.for_each(|(name, first_ms)| say(start(name, *first_ms)));
        say(UnitFact::Exposed(number, total));
    }
}

/// A row of a unit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UnitRow {
    /// Whose.
    pub key: UnitKey,
    /// What it says.
    pub says: UnitFact,
}

/// What a unit shows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnitValue {
    /// The variants for which it counts.
    pub counts_for: VariantList,
    /// What it says.
    pub says: UnitFact,
}

/// What a row of a unit says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum UnitFact {
    /// Its sums, for every experiment with an assigned population that has it.
    Assigned(Measures),
    /// Its sums from its exposure on, for one experiment.
    Exposed(u16, Measures),
    /// One of its session's minutes, from its exposure on, for one experiment.
    ExposedMinute(u16, Name, i64, Measures),
    /// The minute in which one of its sessions started, from its exposure on, for one experiment.
    ExposedStart(u16, Name, i64),
    /// That it counts for all of these variants, of which some are of exposed experiments.
    Member,
}

/// Folds events into units.
pub struct UnitsFold {
    /// The names, and who counts for what.
    pub assignments: Rc<Assignments>,
    /// How long behind the watermark a session is remembered after its last event.
    pub keep_ms: i64,
    /// Whether units show all their variants in one list, which the overlap of exposed experiments needs.
    pub shows_membership: bool,
}

impl UnitsFold {
    /// The row of a unit that shows this.
    pub fn row(&self, key: &UnitKey, value: &UnitValue) -> UnitRow {
        UnitRow { key: key.clone(), says: value.says.clone() }
    }

    /// All variants for which a unit counts, if it has to be shown and was exposed to anything.
    fn membership(
        &self,
        assigned: Option<VariantList>,
        key: &UnitKey,
        exposures: &LiteMap<u16, Exposure>,
    ) -> Option<VariantList> {
        if !self.shows_membership || exposures.is_empty() {
            return None;
        }
        let assigned = assigned.unwrap_or_else(|| self.assignments.assigned(key.tenant, &key.unit));
        Some(self.assignments.with_experiments(assigned, exposures.keys().copied(), &key.unit))
    }

    fn exposed_experiment_has(&self, tenant: TenantId, unit: &str) -> bool {
        let mut has = false;
        self.assignments.catalog().each_variant_of(tenant, unit, Population::Exposed, |_, _| has = true);
        has
    }
}

impl Fold for UnitsFold {
    type Input = Released<Event>;
    type Key = UnitKey;
    type Event = UnitEvent;
    type State = UnitState;
    type Value = UnitValue;
    type Table = Table<UnitKey, UnitState>;

    fn name(&self) -> &'static str {
        "Units"
    }

    fn keys(&self, Released { record: event, .. }: &Released<Event>, post: &mut dyn FnMut(UnitKey, UnitEvent)) {
        let Event { tenant, unit, kind, quantity, value, event_time_ms, experiment, .. } = event;
        if unit.is_empty() || self.assignments.catalog().experiments_of(*tenant).is_empty() {
            return;
        }
        let happening = Happening { kind: *kind, quantity: *quantity, value: *value };
        let (event_time_ms, session, experiment) = (*event_time_ms, event.session.clone(), *experiment);
        let unit_event = UnitEvent { happening, event_time_ms, session, experiment };
        post(UnitKey { tenant: *tenant, unit: unit.clone() }, unit_event);
    }

    fn apply(&self, state: &mut UnitState, key: &UnitKey, event: &UnitEvent) {
        state.seen = true;
        state.counts_for.get_or_insert_with(|| self.assignments.assigned(key.tenant, &key.unit));
        state.total.count(event.happening);
        let asked = || self.exposed_experiment_has(key.tenant, &key.unit);
        if event.session.is_empty() || !*state.may_be_exposed.get_or_insert_with(asked) {
            return;
        }
        let exposed = state.exposed.get_or_insert_default();
        let last_ms = exposed.sessions.entry(event.session.clone()).or_insert(event.event_time_ms);
        *last_ms = event.event_time_ms.max(*last_ms);
        // By the event and not by the session's last one: the bound may not depend on the order within a tick.
        let forgets_ms = event.event_time_ms.saturating_add(self.keep_ms);
        exposed.due_ms = exposed.due_ms.min(minute_end_ms(minute_of(event.event_time_ms))).min(forgets_ms);
        exposed.pending.push(event.clone());
        if event.happening.kind == EventKind::Exposure
            && let Some(number) = event.experiment
            && self.assignments.catalog().experiments[usize::from(number)].population == Population::Exposed
            && self.assignments.catalog().variant_of(number, &key.unit).is_some()
        {
            let new = || Exposure { first_ms: event.event_time_ms, ..Exposure::default() };
            let exposure = exposed.exposures.entry(number).or_insert_with(new);
            exposure.first_ms = exposure.first_ms.min(event.event_time_ms);
            if exposure.counts_for.is_none() {
                exposure.counts_for = Some(self.assignments.of_experiment(number, &key.unit));
                exposed.membership = self.membership(state.counts_for, key, &exposed.exposures);
            }
        }
    }

    fn values(&self, key: &UnitKey, state: &UnitState, values: &mut Vec<UnitValue>) {
        if !state.seen {
            return;
        }
        let found = || self.assignments.assigned(key.tenant, &key.unit);
        let counts_for = state.counts_for.unwrap_or_else(found);
        values.push(UnitValue { counts_for, says: UnitFact::Assigned(state.total.get()) });
        let Some(exposed) = &state.exposed else { return };
        for (number, exposure) in &exposed.exposures {
            let found = || self.assignments.of_experiment(*number, &key.unit);
            let counts_for = exposure.counts_for.unwrap_or_else(found);
            exposure.says(*number, &exposed.pending, |says| values.push(UnitValue { counts_for, says }));
        }
        let membership = exposed.membership.or_else(|| self.membership(Some(counts_for), key, &exposed.exposures));
        values.extend(membership.map(|counts_for| UnitValue { counts_for, says: UnitFact::Member }));
    }

    fn retire_at(&self, key: &UnitKey, state: &UnitState) -> Option<Wake> {
        let at_ms = state.exposed.as_ref()?.due_ms;
        if at_ms == PLUS_INFINITY {
            return None;
        }
        Some(Wake::Watermark(self.assignments.catalog().event_group(key.tenant), at_ms))
    }

    /// Units are never forgotten; what of them is sealed is settled.
    fn retire(&self, state: &mut UnitState, key: &UnitKey, now: &Now<'_>) -> bool {
        let Some(exposed) = state.exposed.as_mut() else { return false };
        let watermark_ms = now.watermark(self.assignments.catalog().event_group(key.tenant));
        if watermark_ms < exposed.due_ms {
            return false;
        }
        let exposures = &mut exposed.exposures;
        exposed.pending.retain(|event| {
            if minute_end_ms(minute_of(event.event_time_ms)) > watermark_ms {
                return true;
            }
            let Happening { kind, quantity, value } = event.happening;
            for exposure in exposures
                .iter_mut()
                .map(|(_, exposure)| exposure)
                .filter(|exposure| event.event_time_ms >= exposure.first_ms)
            {
                exposure.settled.add(&Measures::of(kind, quantity, value), 1);
                let first_ms = exposure.started.entry(event.session.clone()).or_insert(event.event_time_ms);
                *first_ms = event.event_time_ms.min(*first_ms);
            }
            false
        });
        exposed.sessions.retain(|session, last_ms| {
            let kept = watermark_ms < last_ms.saturating_add(self.keep_ms);
            if !kept {
                for (_, exposure) in exposures.iter_mut() {
                    exposure.started.remove(session);
                }
            }
            kept
        });
        exposed.due_ms = exposed.next_due_ms(self.keep_ms);
        false
    }

    /// What a unit shows in exposed experiments is read from two steps away: the lists, and what is in them.
    const FETCHED: u8 = 2;

    fn fetch(&self, state: &UnitState, step: u8) {
        let Some(exposed) = state.exposed.as_deref() else { return };
        if step == 0 {
            return fetch(exposed);
        }
        fetch_slice(&exposed.pending);
        exposed.sessions.first().into_iter().for_each(|(session, _)| fetch(session));
        exposed.exposures.first().into_iter().for_each(|(_, exposure)| fetch(exposure));
    }

    fn heap_bytes(&self, state: &UnitState) -> usize {
        let total = state.total.heap_bytes();
        let Some(exposed) = &state.exposed else { return total };
        let session = size_of::<(Name, TimeMs)>();
        let exposures: usize = exposed
            .exposures
            .values()
            .map(|exposure| size_of::<(u16, Exposure)>() + exposure.started.len() * session)
            .sum();
        total
            + size_of::<ExposedState>()
            + exposed.pending.capacity() * size_of::<UnitEvent>()
            + exposed.sessions.len() * session
            + exposures
    }
}
