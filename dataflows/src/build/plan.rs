//! What every worker has to know of a run.

use std::sync::Arc;

use operators::time::Tick;
use operators::topology::Topology;

use crate::catalog::Catalog;
use crate::experiment::unit_overlap::OverlapPairs;
use crate::inventory::availability::Policy;
use crate::view::{Codecs, Listed};

/// What a run wants of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ViewPlan {
    /// Whether it is published at all.
    pub enabled: bool,
    /// How long rows of minute and event views stay.
    pub retention_ms: i64,
    /// Its sink shards.
    pub shards: u32,
    /// The tick from which it holds: 0, unless it was added to a run that was there.
    pub since: Tick,
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
    /// The pairs of experiments whose overlap is read.
    pub overlap: Arc<OverlapPairs>,
    /// The rules of availability.
    pub policy: Policy,
    /// By the views' places in the list.
    pub views: Vec<ViewPlan>,
    /// The views' columns.
    pub codecs: Codecs,
    /// The workers of the first process, which emit.
    pub emitting_workers: usize,
}

impl GraphPlan {
    /// What is wanted of a view.
    pub fn view<V: Listed>(&self) -> ViewPlan {
        self.views[V::ID.index()]
    }
}
