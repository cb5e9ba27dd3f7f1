//! The dataflow graph that every run builds: from bindings to published views, one of each mechanism.
//!
//! ```text
//! bindings -> release and resolve, for each kind of records -> the kind's own part: folds -> views
//!          -> clock (W, marks to every fold and emission)
//! ```
//!
//! [`build`] puts together what every kind has: verdicts, dead letters, the health of sources. What becomes of accepted
//! records is in the domains, [`crate::experiment::build`] and [`crate::inventory::build`], which read like the query. They are
//! given a [`Build`]: it folds, retains, publishes a view, or gives one as a differential collection.
//!
//! Benches, simulations and runs all call [`build`]; there is no other graph.

mod changes;
mod plan;
mod ports;
mod tagged;

use std::hash::Hash;
use std::rc::Rc;
use std::sync::Arc;

use differential_dataflow::{AsCollection, VecCollection};
use timely::dataflow::operators::Concatenate;
use timely::dataflow::operators::probe::{Handle, Probe};
use timely::dataflow::operators::vec::Map;
use timely::dataflow::{Scope, StreamVec};
use timely::worker::Worker;

use operators::checkpoint::{Checkpoints, StateFormats};
use operators::clock::{Mark, clock, shared_clock};
use operators::emit::{EmitPlan, Shards, emit, marks_to};
use operators::fold::{Data, Fold, FoldGauge, Folded, Outlet, rows};
use operators::health::News;
use operators::outcome::{Outcome, publish_outcomes};
use operators::retain::{Retain, Until};
use operators::route::{Postings, stamp};
use operators::shard::PlaceKey;
use operators::time::Tick;
use operators::topology::PartitionId;

use crate::dead_letters::{self, DeadLetter};
use crate::kinds;
use crate::source_health;
use crate::view::{Arranged, Listed, ViewChanges};
use crate::views::Collections;

pub(crate) use changes::{from_tick, repost, repost_changes, stamped};
pub use plan::{GraphPlan, ViewPlan};
pub use ports::{Feeds, Ports, Publication};
use tagged::Tagged;

/// How much each fold holds, by its name, and how much is remembered of identities.
pub type Gauges = Vec<(&'static str, Box<dyn Fn() -> FoldGauge>)>;

/// A graph that was built.
pub struct Graph {
    /// Stands at the first tick that is not complete.
    pub probe: Handle<Tick>,
    /// How much each fold holds on this worker.
    pub gauges: Gauges,
    /// The operators that have state, with the formats in which checkpoints have it.
    pub states: StateFormats,
}

/// The changes of a collection.
pub type Changes<'scope, R> = StreamVec<'scope, Tick, (R, Tick, isize)>;

/// Builds the graph on a worker.
pub fn build(worker: &mut Worker, plan: &GraphPlan, ports: Ports) -> Graph {
    worker.dataflow_named::<Tick, _, _>("Aisle", |scope| {
        let Ports { mut feeds, inlet, publish, depot, restore } = ports;
        let bindings = inlet.bindings(scope);
        let checkpoints = Checkpoints::new(scope.index(), depot, restore).placed_by(plan.catalog.place_key());
        let face = shared_clock(&plan.topology, &checkpoints);
        let opened: Vec<_> =
            kinds::ENTRIES.iter().map(|kind| kind.release(&bindings, plan, &mut feeds, &face, &checkpoints)).collect();
        let reports = scope.concatenate(opened.iter().map(|kind| kind.reports()));
        let marks = clock(reports.clone(), bindings, &face, &checkpoints);
        let outcomes = reports.clone().flat_map(|report| report.outcomes);
        let told = stamp(reports, "Reports", |report| Some((report.partition, News::from(report))));
        let mut build = Build {
            plan,
            scope,
            marks: marks.clone(),
            checkpoints,
            publish,
            ends: Vec::new(),
            gauges: Vec::new(),
            news: vec![told],
            outcomes: vec![outcomes],
            letters: Vec::new(),
            collections: Collections::default(),
        };
        let arrived: Vec<_> = opened.into_iter().map(|kind| kind.resolve(&mut build)).collect();
        arrived.into_iter().for_each(|kind| kind.build(&mut build));
        let news = std::mem::take(&mut build.news);
        source_health::publish(&mut build, scope.concatenate(news));
        if build.is_wanted::<dead_letters::DeadLetters>() {
            let letters = std::mem::take(&mut build.letters);
            dead_letters::publish(&mut build, scope.concatenate(letters));
        }
        build.finish(marks)
    })
}

/// The operators of a graph that have state, with the formats of their states. The graph is built for that on a worker that
/// reads nothing.
pub fn states_of(plan: &GraphPlan) -> StateFormats {
    let plan = plan.clone();
    timely::execute::execute_directly(move |worker| build(worker, &plan, Ports::closed()).states)
}

/// The graph while it is built: its parts share marks, checkpoints and the way out.
pub struct Build<'a, 'scope> {
    plan: &'a GraphPlan,
    scope: Scope<'scope, Tick>,
    marks: StreamVec<'scope, Tick, Mark>,
    checkpoints: Checkpoints,
    publish: Arc<dyn Fn(Publication) + Send + Sync>,
    ends: Vec<StreamVec<'scope, Tick, ()>>,
    gauges: Gauges,
    news: Vec<Changes<'scope, (PartitionId, News)>>,
    outcomes: Vec<StreamVec<'scope, Tick, Outcome>>,
    letters: Vec<Changes<'scope, DeadLetter>>,
    collections: Collections<'scope>,
}

impl<'a, 'scope> Build<'a, 'scope> {
    /// The key by which the state of folds is placed.
    pub(crate) fn place_key(&self) -> PlaceKey {
        self.plan.catalog.place_key()
    }

    /// What every worker knows of the run.
    pub fn plan(&self) -> &'a GraphPlan {
        self.plan
    }

    /// The scope of the graph.
    pub fn scope(&self) -> Scope<'scope, Tick> {
        self.scope
    }

    /// A mark for each complete tick.
    pub fn marks(&self) -> StreamVec<'scope, Tick, Mark> {
        self.marks.clone()
    }

    /// What the operators of this worker are restored from, and where they save.
    pub fn checkpoints(&self) -> &Checkpoints {
        &self.checkpoints
    }

    /// Whether a view is published. One that another view is made of is computed all the same.
    pub fn is_wanted<V: Listed>(&self) -> bool {
        self.plan.view::<V>().enabled
    }

    /// Counts what an operator holds among the printed memory, by a name.
    pub fn gauge(&mut self, name: &'static str, gauge: Box<dyn Fn() -> FoldGauge>) {
        self.gauges.push((name, gauge));
    }

    /// Adds what is told of partitions.
    pub fn tell(&mut self, news: Changes<'scope, (PartitionId, News)>) {
        self.news.push(news);
    }

    /// Adds what became of records that enter again.
    pub(crate) fn answer(&mut self, outcomes: StreamVec<'scope, Tick, Outcome>) {
        self.outcomes.push(outcomes);
    }

    /// Adds dead letters.
    pub(crate) fn bury(&mut self, letters: Changes<'scope, DeadLetter>) {
        self.letters.push(letters);
    }

    /// Runs a fold over postings, whose changes go through the outlet.
    pub fn fold<F: Fold, O: Outlet<'scope, F>>(
        &mut self,
        postings: Postings<'scope, F>,
        fold: Rc<F>,
        outlet: O,
    ) -> O::Streams {
        let name = fold.name();
        let (streams, handle) = postings.fold_into(fold, self.marks.clone(), &self.checkpoints, outlet);
        self.gauges.push((name, Box::new(move || handle.gauge())));
        streams
    }

    /// Holds what a forgetful fold showed, and takes it back once it is out of retention. `name` is that of the operator
    /// which posts the changes.
    pub fn retain<R, U>(
        &mut self,
        changes: Changes<'scope, R>,
        name: &str,
        fold: Rc<Retain<R, U>>,
    ) -> Changes<'scope, R>
    where
        R: Data + Hash,
        U: Fn(&R) -> Until + 'static,
    {
        let postings = repost_changes(changes, name, Rc::clone(&fold), self.place_key());
        self.fold(postings, fold, rows(|_: &Retain<R, U>, row: &R, ()| Some(row.clone())))
    }

    /// Publishes a view, if it is wanted; from then on [`Build::collection`] gives it.
    pub fn publish<V: Listed>(&mut self, changes: Changes<'scope, V::Row>) {
        let wanted = self.plan.view::<V>();
        // A view that is made of this one may be older: it goes by what this one has computed, not by what it shows.
        *V::slot(&mut self.collections) = Some(changes.clone());
        if !wanted.enabled {
            return;
        }
        let changes = from_tick(changes, wanted.since);
        let shards = Shards { count: wanted.shards, first_worker: V::ID.index(), workers: self.plan.emitting_workers };
        let publish = Arc::clone(&self.publish);
        let publish = move |emitted| publish(Publication::Changes(ViewChanges::new::<V>(emitted)));
        let columns = self.plan.codecs.columns::<V>();
        let place = move |row: &V::Row| columns.place_of(row);
        let name = format!("Emit {}", V::NAME);
        let restored_upper = self.checkpoints.restored_upper();
        let plan = EmitPlan { name: &name, shards, restored_upper, place, publish };
        self.ends.push(emit(changes, self.marks.clone(), plan));
    }

    /// Publishes a view whose rows leave so long after they came; `TAG` is the place that the view had among the rows of
    /// all views, which the keys of checkpoints have begun with since there was one type of rows.
    pub(crate) fn publish_for_a_while<V: Listed, const TAG: u32>(
        &mut self,
        changes: Changes<'scope, V::Row>,
        route: &str,
        name: &'static str,
    ) {
        let retention_ms = self.plan.view::<V>().retention_ms;
        let until = move |_: &Tagged<TAG, V::Row>| Until::AfterMs(retention_ms);
        let tagged = stamped(changes, "TagRows", Tagged);
        let retained = self.retain(tagged, route, Rc::new(Retain { name, until, rows: std::marker::PhantomData }));
        self.publish::<V>(stamped(retained, "UntagRows", |Tagged(row)| row));
    }

    /// A view as a differential collection, complete at a restore. It has to be published before.
    ///
    /// # Panics
    /// If it is not published yet: a mistake of ours, which every run would meet at its start.
    pub fn collection<V: Listed>(&mut self) -> VecCollection<'scope, Tick, V::Row, isize> {
        const { assert!(matches!(V::ARRANGED, Arranged::Small), "this view is too large to be arranged") };
        let changes = V::slot(&mut self.collections).clone();
        changes.expect("a view that another one is made of is published before it").as_collection()
    }

    /// Ends the graph: it is complete where everything was published.
    fn finish(self, marks: StreamVec<'scope, Tick, Mark>) -> Graph {
        let Build { publish, mut ends, gauges, scope, checkpoints, outcomes, .. } = self;
        let told = Arc::clone(&publish);
        ends.push(publish_outcomes(scope.concatenate(outcomes), "Outcomes", move |tick, outcomes| {
            told(Publication::Outcomes(tick, outcomes));
        }));
        ends.push(marks_to(marks, move |mark| publish(Publication::Mark(mark))));
        let probe = Handle::new();
        scope.concatenate(ends).probe_with(&probe);
        Graph { probe, gauges, states: checkpoints.formats() }
    }
}
