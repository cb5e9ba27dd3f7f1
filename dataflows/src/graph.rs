//! The dataflow graph that every run builds: from bindings to emitted views, both domains, one of each mechanism.
//!
//! ```text
//! bindings -> release (events) -> route -> session minutes, session starts, units -> variant minutes, variant totals
//!          -> release (facts)  -> route -> ledger -> stock, availability
//!          -> clock (W, marks to every fold and emission)
//! ```
//!
//! Benches, simulations and `aisle run` all call [`build`]; there is no other graph.

mod changes;

use std::rc::Rc;
use std::sync::Arc;

use timely::dataflow::StreamVec;
use timely::dataflow::operators::probe::{Handle, Probe};
use timely::dataflow::operators::vec::Map;
use timely::dataflow::operators::{Concat, Concatenate};
use timely::worker::Worker;

use operators::bindings::Inlet;
use operators::checkpoint::{Checkpoints, Depot, Restore};
use operators::clock::{Mark, clock};
use operators::emit::{Emitted, Shards, emit, marks_to};
use operators::feed::Feed;
use operators::fold::{Fold, FoldGauge, Folded, Outlet, combined, rows};
use operators::health::{HealthFold, News};
use operators::outcome::{Outcome, publish_outcomes};
use operators::release::{LatePolicy, ReleasePlan, Released, SetAside, SetAsideReason, release, shared_clock};
use operators::resolve::resolve;
use operators::retain::{Retain, Until};
use operators::route::{route, route_to_three, stamp};
use operators::time::{MINUTE_MS, Tick};
use operators::topology::{PartitionId, ReleaseId, Topology};

use crate::catalog::Catalog;
use crate::experiment::assignments::{Assignments, VariantKey, VariantList};
use crate::experiment::event::Event;
use crate::experiment::rollups::{
    Block, ListMinute, MinuteDelta, VariantMinuteKey, VariantMinutesFold, VariantTotalsFold, minute_of_session,
    minute_of_start, minute_of_unit, spread_minutes, spread_totals, total_of_unit,
};
use crate::experiment::sessions::{SessionMinuteRow, SessionMinutesFold, SessionStartsFold};
use crate::experiment::units::UnitsFold;
use crate::inventory::availability::Policy;
use crate::inventory::fact::Fact;
use crate::inventory::stock::{LedgerValue, StockFold};
use crate::publish::{dead_letter, late_event, place_of, session_minute, source_health};
use crate::views::{Row, View};
use changes::{repost, repost_changes, stamped};

/// The release of experiment events.
pub const EVENTS: ReleaseId = ReleaseId(0);
/// The release of inventory facts.
pub const FACTS: ReleaseId = ReleaseId(1);

/// What a run wants of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ViewPlan {
    /// Whether it is published at all.
    pub enabled: bool,
    /// How long rows of minute and event views stay.
    pub retention_ms: i64,
    /// Its sink shards.
    pub shards: u32,
}

/// What every worker has to know of a run.
#[derive(Clone, Debug)]
pub struct GraphPlan {
    /// The names and assignments.
    pub catalog: Arc<Catalog>,
    /// Partitions and groups.
    pub topology: Arc<Topology>,
    /// How long behind the watermark a session is remembered after its last event.
    pub session_keep_ms: i64,
    /// The rules of availability.
    pub policy: Policy,
    /// By the order of [`View::ALL`].
    pub views: [ViewPlan; 8],
    /// The workers of the first process, which emit.
    pub emitting_workers: usize,
}

impl GraphPlan {
    /// What is wanted of a view.
    pub fn view(&self, view: View) -> ViewPlan {
        self.views[view as usize]
    }
}

/// What a worker publishes.
#[derive(Clone, Debug)]
pub enum Publication {
    /// Changes of a view; all changes of a tick come before anybody knows that the tick is complete.
    Changes(View, Emitted<Row>),
    /// A complete tick's watermarks, from worker 0.
    Mark(Mark),
    /// What became in a tick of records that enter again, from worker 0; all of it comes before anybody knows that the tick
    /// is complete.
    Outcomes(Tick, Vec<Outcome>),
}

/// Where a worker's readers put records, and where it publishes.
pub struct Ports {
    /// Of the partitions of events that the worker owns.
    pub events: Vec<(PartitionId, Feed<Event>)>,
    /// Of the partitions of facts that it owns.
    pub facts: Vec<(PartitionId, Feed<Fact>)>,
    /// Where bindings come from.
    pub inlet: Inlet,
    /// Where publications go.
    pub publish: Arc<dyn Fn(Publication) + Send + Sync>,
    /// Where checkpoints go, where any are taken.
    pub depot: Option<Arc<dyn Depot>>,
    /// What the worker begins with; the beginning otherwise.
    pub restore: Option<Restore>,
}

/// How much each fold holds, by its name, and how much is remembered of identities.
pub type Gauges = Vec<(&'static str, Box<dyn Fn() -> FoldGauge>)>;

/// A graph that was built.
pub struct Graph {
    /// Stands at the first tick that is not complete.
    pub probe: Handle<Tick>,
    /// How much each fold holds on this worker.
    pub gauges: Gauges,
}

/// The changes of a collection.
type Changes<'scope, R> = StreamVec<'scope, Tick, (R, Tick, isize)>;

/// Builds the graph on a worker.
pub fn build(worker: &mut Worker, plan: &GraphPlan, ports: Ports) -> Graph {
    worker.dataflow_named::<Tick, _, _>("Aisle", |scope| {
        let bindings = ports.inlet.bindings(scope);
        let checkpoints = Checkpoints::new(scope.index(), ports.depot, ports.restore);
        let face = shared_clock(&plan.topology, &checkpoints);
        let topology = &plan.topology;
        let without_unit: fn(&Event) -> bool = |event| event.unit.is_empty();
        let events_plan = ReleasePlan {
            name: "ReleaseEvents".to_owned(),
            release: EVENTS,
            late: LatePolicy::SetAside,
            mark: without_unit,
            feeds: ports.events,
        };
        let facts_plan = ReleasePlan {
            name: "ReleaseFacts".to_owned(),
            release: FACTS,
            late: LatePolicy::Fold,
            mark: |_: &Fact| false,
            feeds: ports.facts,
        };
        let events = release(bindings.clone(), events_plan, topology, &face, &checkpoints);
        let facts = release(bindings.clone(), facts_plan, topology, &face, &checkpoints);
        let mut gauges: Gauges = vec![("Identities", events.remembered), ("Identities", facts.remembered)];
        let reports = events.reports.concat(facts.reports);
        let marks = clock(reports.clone(), bindings, &face, &checkpoints);

        let mut outcomes = vec![reports.clone().flat_map(|report| report.outcomes)];
        let mut news = vec![stamp(reports, "Reports", |report| Some((report.partition, News::from(report))))];
        let shared = |release| topology.of_release(release).any(|(_, partition)| !partition.identity_fixes_partition);
        let (mut released_events, mut events_aside) = (events.released, events.aside);
        if shared(EVENTS) {
            let resolved = resolve(
                events.pending,
                marks.clone(),
                &checkpoints,
                "ResolveEvents",
                LatePolicy::SetAside,
                without_unit,
            );
            gauges.push(("Identities", resolved.remembered));
            released_events = released_events.concat(resolved.released);
            events_aside = events_aside.concat(resolved.aside);
            outcomes.push(resolved.tallies.clone().flat_map(|tally| tally.outcomes));
            news.push(stamp(resolved.tallies, "ToldEvents", |tally| Some((tally.partition, News::Told(tally.counts)))));
        }
        let (mut released_facts, mut facts_aside) = (facts.released, facts.aside);
        if shared(FACTS) {
            let resolved =
                resolve(facts.pending, marks.clone(), &checkpoints, "ResolveFacts", LatePolicy::Fold, |_: &Fact| false);
            gauges.push(("Identities", resolved.remembered));
            released_facts = released_facts.concat(resolved.released);
            facts_aside = facts_aside.concat(resolved.aside);
            outcomes.push(resolved.tallies.clone().flat_map(|tally| tally.outcomes));
            news.push(stamp(resolved.tallies, "ToldFacts", |tally| Some((tally.partition, News::Told(tally.counts)))));
        }

        let mut wiring =
            Wiring { plan, marks: marks.clone(), checkpoints, publish: ports.publish, ends: Vec::new(), gauges };
        wiring.experiments(released_events);
        wiring.inventory(released_facts);
        wiring.health(scope.concatenate(news));
        wiring.aside(events_aside, facts_aside);
        let publish = Arc::clone(&wiring.publish);
        let told = Arc::clone(&wiring.publish);
        let told = publish_outcomes(scope.concatenate(outcomes), "Outcomes", move |tick, outcomes| {
            told(Publication::Outcomes(tick, outcomes));
        });
        let marked = marks_to(marks, move |mark| publish(Publication::Mark(mark)));
        let probe = Handle::new();
        let Wiring { mut ends, gauges, .. } = wiring;
        ends.extend([marked, told]);
        scope.concatenate(ends).probe_with(&probe);
        Graph { probe, gauges }
    })
}

/// The parts of the graph that share marks and the way out.
struct Wiring<'a, 'scope> {
    plan: &'a GraphPlan,
    marks: StreamVec<'scope, Tick, Mark>,
    checkpoints: Checkpoints,
    publish: Arc<dyn Fn(Publication) + Send + Sync>,
    ends: Vec<StreamVec<'scope, Tick, ()>>,
    gauges: Gauges,
}

impl<'scope> Wiring<'_, 'scope> {
    fn experiments(&mut self, released: StreamVec<'scope, Tick, Released<Event>>) {
        let catalog = &self.plan.catalog;
        let keep_ms = self.plan.session_keep_ms;
        let assignments = Rc::new(Assignments::new(Arc::clone(catalog)));
        let minutes_fold = Rc::new(SessionMinutesFold { assignments: Rc::clone(&assignments) });
        let starts_fold = Rc::new(SessionStartsFold { assignments: Rc::clone(&assignments), keep_ms });
        let units_fold = Rc::new(UnitsFold { assignments: Rc::clone(&assignments), keep_ms });
        let folds = (Rc::clone(&minutes_fold), Rc::clone(&starts_fold), Rc::clone(&units_fold));
        let (to_minutes, to_starts, to_units) = route_to_three(released, "RouteEvents", folds);

        let spread = || {
            let assignments = Rc::clone(&assignments);
            move |of: &ListMinute, give: &mut dyn FnMut(VariantMinuteKey)| spread_minutes(&assignments, *of, give)
        };
        let of_sessions = combined(
            |_: &SessionMinutesFold, key, old, new, give| minute_of_session(key.minute, old, new, give),
            spread(),
            MinuteDelta::add,
        );
        let minute_rows = || rows(|fold: &SessionMinutesFold, key, value| Some(fold.row(key, value)));
        let shown = self.plan.view(View::SessionMinutes).enabled.then(minute_rows);
        let (shown, of_sessions) = self.folded_into(to_minutes, minutes_fold, (shown, of_sessions));
        if let Some(shown) = shown {
            self.session_minutes(shown);
        }
        let of_starts = combined(
            |_: &SessionStartsFold, _, old, new, give| minute_of_start(old, new, give),
            spread(),
            MinuteDelta::add,
        );
        let of_starts = self.folded_into(to_starts, starts_fold, of_starts);
        let of_units =
            combined(|_: &UnitsFold, _, old, new, give| minute_of_unit(old, new, give), spread(), MinuteDelta::add);
        let totals = combined(
            |_: &UnitsFold, _, old, new, give| total_of_unit(old, new, give),
            move |list: &VariantList, give: &mut dyn FnMut(VariantKey)| spread_totals(&assignments, *list, give),
            Block::add,
        );
        let (of_units, totals) = self.folded_into(to_units, units_fold, (of_units, totals));

        let retention_ms = self.plan.view(View::VariantMinutes).retention_ms;
        let fold = Rc::new(VariantMinutesFold { catalog: Arc::clone(catalog), retention_ms });
        let named = rows(|fold: &VariantMinutesFold, key, sums| Some(Row::VariantMinute(fold.row(key, sums))));
        let variant_minutes = self.folded_into(of_sessions.concat(of_starts).concat(of_units), fold, named);
        self.emit(View::VariantMinutes, variant_minutes);

        let fold = Rc::new(VariantTotalsFold { catalog: Arc::clone(catalog) });
        let named =
            rows(|fold: &VariantTotalsFold, key, block| Some(Row::VariantTotal(Box::new(fold.row(key, block)))));
        let totals = self.folded_into(totals, fold, named);
        self.emit(View::VariantTotals, totals);
    }

    fn session_minutes(&mut self, minutes: Changes<'scope, SessionMinuteRow>) {
        let catalog = Arc::clone(&self.plan.catalog);
        let retention_ms = self.plan.view(View::SessionMinutes).retention_ms;
        let until = move |row: &SessionMinuteRow| {
            let end_ms = (row.key.minute + 1) * MINUTE_MS;
            Until::Watermark(catalog.event_group(row.key.session.tenant), end_ms.saturating_add(retention_ms))
        };
        let rows = std::marker::PhantomData;
        let retained = self.retained(minutes, Rc::new(Retain { name: "RetainSessionMinutes", until, rows }));
        let catalog = Arc::clone(&self.plan.catalog);
        self.emit(
            View::SessionMinutes,
            stamped(retained, "SessionMinuteRows", move |row| session_minute(row, &catalog)),
        );
    }

    fn inventory(&mut self, released: StreamVec<'scope, Tick, Released<Fact>>) {
        let fold = Rc::new(StockFold { catalog: Arc::clone(&self.plan.catalog), policy: self.plan.policy });
        let postings = route(released, "RouteFacts", Rc::clone(&fold));
        let stock = rows(|fold: &StockFold, key, value| match value {
            LedgerValue::Stock(balance) => Some(Row::Stock(fold.stock(key, balance))),
            LedgerValue::Availability(_) => None,
        });
        let availability = rows(|fold: &StockFold, key, value| match value {
            LedgerValue::Availability(decision) => Some(Row::Availability(fold.availability(key, decision))),
            LedgerValue::Stock(_) => None,
        });
        let (stock, availability) = self.folded_into(postings, fold, (stock, availability));
        self.emit(View::Stock, stock);
        self.emit(View::Availability, availability);
    }

    fn health(&mut self, news: Changes<'scope, (PartitionId, News)>) {
        let fold = Rc::new(HealthFold { topology: Arc::clone(&self.plan.topology) });
        let postings = repost(news, "RouteHealth", Rc::clone(&fold));
        let health = self.folded_into(postings, fold, rows(|_: &HealthFold, _, health| Some(health.clone())));
        let topology = Arc::clone(&self.plan.topology);
        self.emit(View::SourceHealth, stamped(health, "SourceHealthRows", move |row| source_health(row, &topology)));
    }

    fn aside(
        &mut self,
        events: StreamVec<'scope, Tick, SetAside<Event>>,
        facts: StreamVec<'scope, Tick, SetAside<Fact>>,
    ) {
        let (plan, topology) = (self.plan, &self.plan.topology);
        if plan.view(View::LateEvents).enabled {
            let (names, catalog) = (Arc::clone(topology), Arc::clone(&plan.catalog));
            let late = stamp(events.clone(), "LateEventRows", move |aside| match aside {
                SetAside { partition, offset, reason: SetAsideReason::Late(event) } => {
                    Some(late_event(partition, offset, event, &names, &catalog))
                }
                _ => None,
            });
            self.emit_for_a_while(View::LateEvents, late, "RetainLateEvents");
        }
        if plan.view(View::DeadLetters).enabled {
            let names = Arc::clone(topology);
            let of_events = stamp(events, "DeadEventRows", move |aside| dead_letter(aside, &names));
            let names = Arc::clone(topology);
            let of_facts = stamp(facts, "DeadFactRows", move |aside| dead_letter(aside, &names));
            self.emit_for_a_while(View::DeadLetters, of_events.concat(of_facts), "RetainDeadLetters");
        }
    }

    fn emit_for_a_while(&mut self, view: View, changes: Changes<'scope, Row>, name: &'static str) {
        let retention_ms = self.plan.view(view).retention_ms;
        let until = move |_: &Row| Until::AfterMs(retention_ms);
        let rows = std::marker::PhantomData;
        let retained = self.retained(changes, Rc::new(Retain { name, until, rows }));
        self.emit(view, retained);
    }

    fn retained<R, U>(&mut self, changes: Changes<'scope, R>, fold: Rc<Retain<R, U>>) -> Changes<'scope, R>
    where
        R: operators::fold::Data + std::hash::Hash,
        U: Fn(&R) -> Until + 'static,
    {
        let postings = repost_changes(changes, "RouteRetained", Rc::clone(&fold));
        self.folded_into(postings, fold, rows(|_: &Retain<R, U>, row: &R, ()| Some(row.clone())))
    }

    fn folded_into<F: Fold, O: Outlet<'scope, F>>(
        &mut self,
        postings: operators::route::Postings<'scope, F>,
        fold: Rc<F>,
        outlet: O,
    ) -> O::Streams {
        let name = fold.name();
        let (streams, handle) = postings.fold_into(fold, self.marks.clone(), &self.checkpoints, outlet);
        self.gauges.push((name, Box::new(move || handle.gauge())));
        streams
    }

    fn emit(&mut self, view: View, changes: Changes<'scope, Row>) {
        let wanted = self.plan.view(view);
        if !wanted.enabled {
            return;
        }
        let shards = Shards { count: wanted.shards, first_worker: view as usize, workers: self.plan.emitting_workers };
        let publish = Arc::clone(&self.publish);
        let publish = move |emitted| publish(Publication::Changes(view, emitted));
        let name = format!("Emit {}", view.name());
        let restored_upper = self.checkpoints.restored_upper();
        self.ends.push(emit(changes, self.marks.clone(), &name, shards, restored_upper, place_of, publish));
    }
}
