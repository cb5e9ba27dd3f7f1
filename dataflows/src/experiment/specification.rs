//! What the folds of experiments compute, said in stock differential operators.
//!
//! The folds hold as little as they can and forget. What is here holds every event for ever and counts again, so that one
//! can read what is meant; tests hold both equal, at every tick. Sums that nothing but additions change ride in the
//! difference (`count_total`); the same is said once more by recomputation (`reduce`), which costs more and assumes less.
//!
//! Retention and forgetting are not specified: forgetting emits no retraction, so what a collection holds here is what the
//! changes of a fold add up to. Only that a session that was forgotten starts anew can be seen from outside, so the events
//! bring along when they came, and how far the watermark was by then.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::sync::Arc;

use differential_dataflow::difference::{IsZero, Multiply, Semigroup};
use differential_dataflow::operators::CountTotal;
use differential_dataflow::{ExchangeData, VecCollection};
use serde::{Deserialize, Serialize};

use operators::time::{MINUTE_MS, Tick, TimeMs, minute_of};

use crate::catalog::{Catalog, Population};
use crate::experiment::assignments::VariantKey;
use crate::experiment::event::{Event, EventKind};
use crate::experiment::measures::{Measures, Moments};
use crate::experiment::rollups::VariantMinuteKey;
use crate::experiment::sessions::{SessionKey, SessionMinuteKey, SessionMinuteRow, SessionStart};
use crate::experiment::units::{UnitFact, UnitKey, UnitRow};
use crate::experiment::variant_minutes::VariantMinute;
use crate::experiment::variant_totals::VariantTotal;
use crate::names::{Name, TenantId};

/// A collection whose times are ticks.
pub type Ticked<'scope, D> = VecCollection<'scope, Tick, D, isize>;

/// A released event and when it came.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Arrival {
    /// The event.
    pub event: Event,
    /// The tick that released it.
    pub tick: Tick,
    /// `W` of the tenant's events one tick before.
    pub watermark_ms: TimeMs,
}

/// How what could be either is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// Sums ride in the difference; no event is kept.
    CountTotal,
    /// Every event is kept; each change of a key looks at all of them.
    Reduce,
}

/// The views of experiments.
pub struct Rollups<'scope> {
    /// Minutes of variants.
    pub minutes: Ticked<'scope, VariantMinute>,
    /// Totals of variants.
    pub totals: Ticked<'scope, VariantTotal>,
}

/// From events to the minutes and totals of variants. The flavour decides on session minutes and on units of assigned
/// populations; exposed populations need recomputation, and what is added up by variant always rides in the difference.
pub fn variant_rollups<'scope>(
    arrivals: Ticked<'scope, Arrival>,
    catalog: &Arc<Catalog>,
    keep_ms: i64,
    flavour: Flavour,
) -> Rollups<'scope> {
    let (minutes, assigned) = match flavour {
        Flavour::CountTotal => (session_minutes(arrivals.clone()), assigned_units(arrivals.clone(), catalog)),
        Flavour::Reduce => {
            (session_minutes_recomputed(arrivals.clone()), assigned_units_recomputed(arrivals.clone(), catalog))
        }
    };
    let starts = session_starts(arrivals.clone(), keep_ms);
    let units = assigned.concat(exposed_units(arrivals, catalog, keep_ms));
    Rollups {
        minutes: variant_minutes(minutes, starts, units.clone(), catalog),
        totals: variant_totals(units, catalog),
    }
}

/// What happened in each minute of each session?
///     SELECT tenant, session, unit, minute(event_time), sum(measures) FROM events GROUP BY 1, 2, 3, 4
pub fn session_minutes<'scope>(arrivals: Ticked<'scope, Arrival>) -> Ticked<'scope, SessionMinuteRow> {
    let happened = arrivals.explode(|Arrival { event, .. }| Some((minute_key(&event), (1isize, measures_of(&event)))));
    counted(happened, "SessionMinutes").map(|(key, (_events, measures))| SessionMinuteRow { key, measures })
}

/// The same as [`session_minutes`], by recomputation.
pub fn session_minutes_recomputed<'scope>(arrivals: Ticked<'scope, Arrival>) -> Ticked<'scope, SessionMinuteRow> {
    arrivals
        .map(|Arrival { event, .. }| (minute_key(&event), measures_of(&event)))
        .reduce_named("SessionMinutesRecomputed", |_, happened, sums| sums.push((sum(happened), 1)))
        .map(|(key, measures)| SessionMinuteRow { key, measures })
}

/// In which minute did each session of a unit start?
///     SELECT tenant, unit, minute(min(event_time)) FROM events WHERE unit <> '' GROUP BY tenant, session, unit, generation
/// A generation ends when the watermark is more than `keep_ms` behind its last event: what comes later starts anew.
pub fn session_starts<'scope>(arrivals: Ticked<'scope, Arrival>, keep_ms: i64) -> Ticked<'scope, SessionStart> {
    arrivals
        .filter(|Arrival { event, .. }| !event.unit.is_empty())
        .map(|Arrival { event, tick, watermark_ms }| {
            let Event { tenant, session, unit, event_time_ms, .. } = event;
            (SessionKey { tenant, session, unit }, (tick, watermark_ms, event_time_ms))
        })
        .reduce_named("SessionStarts", move |_, came, minutes| {
            let came: Vec<_> = came.iter().map(|(came, _)| **came).collect();
            let firsts = generations(&came, keep_ms).into_iter().filter_map(|times_ms| times_ms.into_iter().min());
            minutes.extend(firsts.map(|first_ms| (minute_of(first_ms), 1)));
        })
        .map(|(SessionKey { tenant, unit, .. }, minute)| SessionStart { tenant, unit, minute })
}

/// What did each unit do, for experiments that count whom they were assigned?
///     SELECT tenant, unit, sum(measures) FROM events WHERE unit <> '' AND tenant IN (SELECT tenant FROM experiments)
///     GROUP BY 1, 2
pub fn assigned_units<'scope>(arrivals: Ticked<'scope, Arrival>, catalog: &Arc<Catalog>) -> Ticked<'scope, UnitRow> {
    let happened = of_experiments(arrivals, catalog)
        .explode(|Arrival { event, .. }| Some((unit_key(&event), (1isize, measures_of(&event)))));
    counted(happened, "AssignedUnits")
        .map(|(key, (_events, measures))| UnitRow { key, says: UnitFact::Assigned(measures) })
}

/// The same as [`assigned_units`], by recomputation.
pub fn assigned_units_recomputed<'scope>(
    arrivals: Ticked<'scope, Arrival>,
    catalog: &Arc<Catalog>,
) -> Ticked<'scope, UnitRow> {
    of_experiments(arrivals, catalog)
        .map(|Arrival { event, .. }| (unit_key(&event), measures_of(&event)))
        .reduce_named("AssignedUnitsRecomputed", |_, happened, sums| sums.push((sum(happened), 1)))
        .map(|(key, measures)| UnitRow { key, says: UnitFact::Assigned(measures) })
}

/// An event of a unit that some exposed experiment has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Occurrence {
    tick: Tick,
    watermark_ms: TimeMs,
    event_time_ms: TimeMs,
    session: Name,
    measures: Measures,
    /// The exposed experiment to which this event exposes its unit.
    exposes_to: Option<u16>,
}

/// What did each unit do from its exposure on, for experiments that count whom they were shown to?
///     WITH exposed AS (SELECT unit, experiment, min(event_time) AS first FROM exposures GROUP BY 1, 2)
///     SELECT unit, experiment, sum(measures) FROM events JOIN exposed ON event_time >= first GROUP BY 1, 2
/// and likewise by (session, minute), and the least such event time by generation of a session.
pub fn exposed_units<'scope>(
    arrivals: Ticked<'scope, Arrival>,
    catalog: &Arc<Catalog>,
    keep_ms: i64,
) -> Ticked<'scope, UnitRow> {
    let names = Arc::clone(catalog);
    of_experiments(arrivals, catalog)
        .flat_map(move |Arrival { event, tick, watermark_ms }| {
            let experiments = variants_of(&names, Population::Exposed, event.tenant, &event.unit);
            let shown = event.experiment.filter(|_| event.kind == EventKind::Exposure);
            let exposes_to = shown.filter(|shown| experiments.iter().any(|variant| variant.experiment == *shown));
            let counts = !experiments.is_empty() && !event.session.is_empty();
            counts.then(|| {
                let (key, measures) = (unit_key(&event), measures_of(&event));
                let Event { event_time_ms, session, .. } = event;
                (key, Occurrence { tick, watermark_ms, event_time_ms, session, measures, exposes_to })
            })
        })
        .reduce_named("ExposedUnits", move |_, occurrences, says| say_exposed(occurrences, keep_ms, says))
        .map(|(key, says)| UnitRow { key, says })
}

/// What all the events of a unit say of the experiments to which they expose it.
fn say_exposed(occurrences: &[(&Occurrence, isize)], keep_ms: i64, says: &mut Vec<(UnitFact, isize)>) {
    let mut exposures: BTreeMap<u16, TimeMs> = BTreeMap::new();
    let mut sessions: BTreeMap<&Name, Vec<(Tick, TimeMs, TimeMs)>> = BTreeMap::new();
    for (occurrence, _) in occurrences {
        let Occurrence { tick, watermark_ms, event_time_ms, session, exposes_to, .. } = occurrence;
        if let Some(experiment) = exposes_to {
            let first_ms = exposures.entry(*experiment).or_insert(*event_time_ms);
            *first_ms = (*first_ms).min(*event_time_ms);
        }
        sessions.entry(session).or_default().push((*tick, *watermark_ms, *event_time_ms));
    }
    for (experiment, first_ms) in exposures {
        let covered = occurrences.iter().filter(|(occurrence, _)| occurrence.event_time_ms >= first_ms);
        let (mut total, mut minutes) = (Measures::default(), BTreeMap::<(&Name, i64), Measures>::new());
        for (Occurrence { event_time_ms, session, measures, .. }, times) in covered {
            total.add(measures, *times as i64);
            minutes.entry((session, minute_of(*event_time_ms))).or_default().add(measures, *times as i64);
        }
        says.push((UnitFact::Exposed(experiment, total), 1));
        says.extend(minutes.into_iter().map(|((session, minute), measures)| {
            (UnitFact::ExposedMinute(experiment, session.clone(), minute, measures), 1)
        }));
        for (session, came) in &sessions {
            for times_ms in generations(came, keep_ms) {
                let start_ms = times_ms.into_iter().filter(|time_ms| *time_ms >= first_ms).min();
                let start = |start_ms| UnitFact::ExposedStart(experiment, (*session).clone(), minute_of(start_ms));
                says.extend(start_ms.map(|start_ms| (start(start_ms), 1)));
            }
        }
    }
}

/// The event times of each generation of a session, from (tick, `W` one tick before, event time) in order of arrival.
fn generations(came: &[(Tick, TimeMs, TimeMs)], keep_ms: i64) -> Vec<Vec<TimeMs>> {
    let mut generations: Vec<Vec<TimeMs>> = Vec::new();
    for together in came.chunk_by(|(earlier, ..), (later, ..)| earlier == later) {
        let (_, watermark_ms, _) = together[0];
        let last_ms = generations.last().and_then(|times_ms| times_ms.iter().max());
        if last_ms.is_none_or(|last_ms| watermark_ms > last_ms.saturating_add(keep_ms)) {
            generations.push(Vec::new());
        }
        let times_ms = together.iter().map(|(_, _, event_time_ms)| *event_time_ms);
        generations.last_mut().expect("there is one by now").extend(times_ms);
    }
    generations
}

/// How much went on in each minute of each variant?
///     SELECT experiment, variant, minute, count(active), count(started), sum(measures)
///     FROM (session_minutes UNION session_starts UNION exposed minutes and starts) JOIN assignments USING (unit)
///     GROUP BY 1, 2, 3
pub fn variant_minutes<'scope>(
    minutes: Ticked<'scope, SessionMinuteRow>,
    starts: Ticked<'scope, SessionStart>,
    units: Ticked<'scope, UnitRow>,
    catalog: &Arc<Catalog>,
) -> Ticked<'scope, VariantMinute> {
    let none = Measures::default();
    let names = Arc::clone(catalog);
    let of_sessions =
        minutes.explode(move |SessionMinuteRow { key: SessionMinuteKey { session, minute }, measures }| {
            let variants = variants_of(&names, Population::Assigned, session.tenant, &session.unit);
            variants.into_iter().map(move |variant| (VariantMinuteKey { variant, minute }, (1isize, 0isize, measures)))
        });
    let names = Arc::clone(catalog);
    let of_starts = starts.explode(move |SessionStart { tenant, unit, minute }| {
        let variants = variants_of(&names, Population::Assigned, tenant, &unit);
        variants.into_iter().map(move |variant| (VariantMinuteKey { variant, minute }, (0isize, 1isize, none)))
    });
    let names = Arc::clone(catalog);
    let of_units = units.explode(move |UnitRow { key, says }| {
        let (experiment, minute, sums) = match says {
            UnitFact::ExposedMinute(experiment, _, minute, measures) => {
                (experiment, minute, (1isize, 0isize, measures))
            }
            UnitFact::ExposedStart(experiment, _, minute) => (experiment, minute, (0, 1, none)),
            UnitFact::Assigned(_) | UnitFact::Exposed(..) | UnitFact::Member => return None,
        };
        let variant = VariantKey { experiment, variant: names.variant_of(experiment, &key.unit)? };
        Some((VariantMinuteKey { variant, minute }, sums))
    });
    let names = Arc::clone(catalog);
    counted(of_sessions.concat(of_starts).concat(of_units), "VariantMinutes").flat_map(
        move |(key, (active, started, measures))| {
            let experiment = &names.experiments[usize::from(key.variant.experiment)];
            (active != 0 || started != 0).then(|| VariantMinute {
                tenant: names.tenant_name(experiment.tenant).clone(),
                experiment: experiment.name.clone(),
                variant: experiment.variants[usize::from(key.variant.variant)].name.clone(),
                minute_ms: key.minute * MINUTE_MS,
                sessions_active: active as i64,
                sessions_started: started as i64,
                measures,
            })
        },
    )
}

/// What are the moments of each variant over its units?
///     SELECT experiment, variant, count(*), sum(measures), sum(measures * measures)
///     FROM units JOIN assignments USING (unit) GROUP BY 1, 2
/// A unit one of whose sums is too great is counted apart, and nothing else of it is.
pub fn variant_totals<'scope>(units: Ticked<'scope, UnitRow>, catalog: &Arc<Catalog>) -> Ticked<'scope, VariantTotal> {
    let names = Arc::clone(catalog);
    let blocks = units.explode(move |UnitRow { key: UnitKey { tenant, unit }, says }| {
        let (variants, measures) = match says {
            UnitFact::Assigned(measures) => (variants_of(&names, Population::Assigned, tenant, &unit), measures),
            UnitFact::Exposed(experiment, measures) => {
                let variant = names.variant_of(experiment, &unit);
                (variant.into_iter().map(|variant| VariantKey { experiment, variant }).collect(), measures)
            }
            UnitFact::ExposedMinute(..) | UnitFact::ExposedStart(..) | UnitFact::Member => {
                (Vec::new(), Measures::default())
            }
        };
        let sums = measures.columns().map(i128::from);
        let block = match measures.overflows() {
            true => (0isize, 1isize, Moments::default(), Moments::default()),
            false => (1, 0, Moments::of_columns(sums), Moments::of_columns(sums.map(|sum| sum * sum))),
        };
        variants.into_iter().map(move |variant| (variant, block))
    });
    let names = Arc::clone(catalog);
    counted(blocks, "VariantTotals").map(move |(key, (units, units_overflowed, sums, squares))| {
        let experiment = &names.experiments[usize::from(key.experiment)];
        VariantTotal {
            tenant: names.tenant_name(experiment.tenant).clone(),
            experiment: experiment.name.clone(),
            variant: experiment.variants[usize::from(key.variant)].name.clone(),
            units: units as i64,
            units_overflowed: units_overflowed as i64,
            sums,
            squares,
        }
    })
}

/// What has accumulated in the difference of each record.
fn counted<'scope, K, R>(records: VecCollection<'scope, Tick, K, R>, name: &str) -> Ticked<'scope, (K, R)>
where
    K: ExchangeData + Hash,
    R: ExchangeData + Semigroup,
{
    records.arrange_by_self_named(name).count_total_core::<isize>()
}

/// The events that an experiment may count.
fn of_experiments<'scope>(arrivals: Ticked<'scope, Arrival>, catalog: &Arc<Catalog>) -> Ticked<'scope, Arrival> {
    let names = Arc::clone(catalog);
    arrivals
        .filter(move |Arrival { event, .. }| !event.unit.is_empty() && !names.experiments_of(event.tenant).is_empty())
}

/// The variants that a unit has in the tenant's experiments with such a population.
fn variants_of(catalog: &Catalog, population: Population, tenant: TenantId, unit: &str) -> Vec<VariantKey> {
    let numbers = catalog.experiments_of(tenant).iter().copied();
    let such = numbers.filter(|number| catalog.experiments[usize::from(*number)].population == population);
    such.filter_map(|experiment| Some(VariantKey { experiment, variant: catalog.variant_of(experiment, unit)? }))
        .collect()
}

fn minute_key(event: &Event) -> SessionMinuteKey {
    let Event { tenant, session, unit, event_time_ms, .. } = event;
    let session = SessionKey { tenant: *tenant, session: session.clone(), unit: unit.clone() };
    SessionMinuteKey { session, minute: minute_of(*event_time_ms) }
}

fn unit_key(event: &Event) -> UnitKey {
    UnitKey { tenant: event.tenant, unit: event.unit.clone() }
}

fn measures_of(event: &Event) -> Measures {
    Measures::of(event.kind, event.quantity, event.value)
}

fn sum(happened: &[(&Measures, isize)]) -> Measures {
    let mut sum = Measures::default();
    happened.iter().for_each(|(measures, times)| sum.add(measures, *times as i64));
    sum
}

/// Measures as a difference: they are added up where they lie.
impl IsZero for Measures {
    fn is_zero(&self) -> bool {
        *self == Measures::default()
    }
}

impl Semigroup for Measures {
    fn plus_equals(&mut self, other: &Measures) {
        self.add(other, 1);
    }
}

impl Multiply<isize> for Measures {
    type Output = Measures;
    fn multiply(self, times: &isize) -> Measures {
        sum(&[(&self, *times)])
    }
}

/// Moments as a difference.
impl IsZero for Moments {
    fn is_zero(&self) -> bool {
        *self == Moments::default()
    }
}

impl Semigroup for Moments {
    fn plus_equals(&mut self, other: &Moments) {
        self.add(other);
    }
}

impl Multiply<isize> for Moments {
    type Output = Moments;
    fn multiply(self, times: &isize) -> Moments {
        Moments::of_columns(self.columns().map(|sum| sum * *times as i128))
    }
}
