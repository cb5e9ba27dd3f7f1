//! A kind in the list: its parts of the graph that are alike for all kinds.

use std::marker::PhantomData;
use std::sync::Arc;

use timely::dataflow::StreamVec;
use timely::dataflow::operators::Concat;
use timely::dataflow::operators::vec::Map;

use operators::binding::Binding;
use operators::checkpoint::Checkpoints;
use operators::clock::SharedClock;
use operators::health::News;
use operators::release::{ReleasePlan, ReleaseStreams, release};
use operators::resolve::{ResolvePlan, resolve};
use operators::route::stamp;
use operators::time::Tick;
use operators::topology::Lanes;
use operators::watermark::Report;

use super::{Arrived, ListedKind};
use crate::build::{Build, Feeds, GraphPlan};
use crate::configuration::{Format, Recorded, SourceSettings};
use crate::dead_letters::{DeadLetters, letter_of};
use operators::document::Shape;

/// A kind whose type is not known.
pub(crate) trait AnyKind: Sync {
    fn name(&self) -> &'static str;
    fn group(&self) -> &'static str;
    fn fields(&self) -> &'static [(&'static str, Shape)];
    fn inner_fields(&self) -> &'static [(&'static str, Shape)];
    fn required(&self) -> &'static [&'static str];
    fn batches(&self) -> Option<Format>;
    fn lanes(&self, source: &SourceSettings) -> Lanes;
    fn dedup_horizon_ms(&self, recorded: &Recorded) -> i64;
    /// Builds the release of its records.
    fn release<'scope>(
        &self,
        bindings: &StreamVec<'scope, Tick, Arc<Binding>>,
        plan: &GraphPlan,
        feeds: &mut Feeds,
        clock: &SharedClock,
        checkpoints: &Checkpoints,
    ) -> Box<dyn Released<'scope> + 'scope>;
}

/// A kind's records that were released.
pub(crate) trait Released<'scope> {
    /// One report for each partition and tick.
    fn reports(&self) -> StreamVec<'scope, Tick, Report>;
    /// Finds duplicates among partitions, where there may be any, and publishes dead letters.
    fn resolve(self: Box<Self>, build: &mut Build<'_, 'scope>) -> Box<dyn Resolved<'scope> + 'scope>;
}

/// A kind's records that were resolved.
pub(crate) trait Resolved<'scope> {
    /// Builds what becomes of them.
    fn build(self: Box<Self>, build: &mut Build<'_, 'scope>);
}

/// A kind's place in the list.
pub(crate) struct Entry<K>(PhantomData<fn() -> K>);

impl<K> Entry<K> {
    pub(crate) const fn new() -> Self {
        Entry(PhantomData)
    }
}

impl<K: ListedKind> AnyKind for Entry<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn group(&self) -> &'static str {
        K::GROUP
    }

    fn fields(&self) -> &'static [(&'static str, Shape)] {
        K::FIELDS
    }

    fn inner_fields(&self) -> &'static [(&'static str, Shape)] {
        K::INNER_FIELDS
    }

    fn required(&self) -> &'static [&'static str] {
        K::REQUIRED
    }

    fn batches(&self) -> Option<Format> {
        K::BATCHES
    }

    fn lanes(&self, source: &SourceSettings) -> Lanes {
        K::lanes(source)
    }

    fn dedup_horizon_ms(&self, recorded: &Recorded) -> i64 {
        K::dedup_horizon_ms(recorded)
    }

    fn release<'scope>(
        &self,
        bindings: &StreamVec<'scope, Tick, Arc<Binding>>,
        plan: &GraphPlan,
        feeds: &mut Feeds,
        clock: &SharedClock,
        checkpoints: &Checkpoints,
    ) -> Box<dyn Released<'scope> + 'scope> {
        let release_plan = ReleasePlan {
            name: format!("Release{}", K::RECORDS),
            late: K::LATE,
            counted_apart: K::is_counted_apart,
            streams: K::streams(plan),
            feeds: feeds.take::<K>(),
            topology: &plan.topology,
            clock,
            checkpoints,
        };
        let streams = release(bindings.clone(), release_plan);
        Box::new(ReleasedRecords::<K>(streams))
    }
}

struct ReleasedRecords<'scope, K: ListedKind>(ReleaseStreams<'scope, K::Record, K::Stream>);

impl<'scope, K: ListedKind> Released<'scope> for ReleasedRecords<'scope, K> {
    fn reports(&self) -> StreamVec<'scope, Tick, Report> {
        self.0.reports.clone()
    }

    fn resolve(self: Box<Self>, build: &mut Build<'_, 'scope>) -> Box<dyn Resolved<'scope> + 'scope> {
        let ReleaseStreams { released, aside, pending, streams, remembered, .. } = self.0;
        build.gauge("Identities", remembered);
        let mut arrived = Arrived { released, set_aside: aside, streams };
        let mut of_kind = build.plan().topology.of_release(K::RELEASE);
        if of_kind.any(|(_, partition)| !partition.identity_fixes_partition) {
            let name = format!("Resolve{}", K::RECORDS);
            let checkpoints = build.checkpoints().clone();
            let plan = ResolvePlan {
                name: &name,
                late: K::LATE,
                counted_apart: K::is_counted_apart,
                streams: K::streams(build.plan()),
                checkpoints: &checkpoints,
            };
            let resolved = resolve(pending, build.marks(), plan);
            build.gauge("Identities", resolved.remembered);
            arrived.released = arrived.released.concat(resolved.released);
            arrived.set_aside = arrived.set_aside.concat(resolved.aside);
            arrived.streams = arrived.streams.concat(resolved.streams);
            build.answer(resolved.tallies.clone().flat_map(|tally| tally.outcomes));
            let told = stamp(resolved.tallies, &format!("Told{}", K::RECORDS), |tally| {
                Some((tally.partition, News::Told(tally.counts)))
            });
            build.tell(told);
        }
        if build.is_wanted::<DeadLetters>() {
            let topology = Arc::clone(&build.plan().topology);
            let name = format!("DeadLettersOf{}", K::RECORDS);
            let letters = stamp(arrived.set_aside.clone(), &name, move |aside| letter_of(aside, &topology));
            build.bury(letters);
        }
        Box::new(ResolvedRecords::<K>(arrived))
    }
}

struct ResolvedRecords<'scope, K: ListedKind>(Arrived<'scope, K::Record, K::Stream>);

impl<'scope, K: ListedKind> Resolved<'scope> for ResolvedRecords<'scope, K> {
    fn build(self: Box<Self>, build: &mut Build<'_, 'scope>) {
        K::build(build, self.0);
    }
}
