//! A history: what lies in the input log, what the remap log says, and the configuration. Everything an output may depend on.

use std::sync::Arc;

use dataflows::build::GraphPlan;
use dataflows::catalog::Catalog;
use dataflows::experiment::event::Event;
use dataflows::inventory::fact::Fact;
use operators::binding::Binding;
use operators::record::Item;
use operators::topology::{Parameters, Topology};

/// The records of one partition, in offset order.
#[derive(Clone, Debug)]
pub enum Records {
    /// Experiment events.
    Events(Vec<Item<Event>>),
    /// Inventory facts.
    Facts(Vec<Item<Fact>>),
}

impl Records {
    /// The offset after the last record: offsets of items are `10 * n`, lengths 10, so the end is `10 * len`.
    pub fn end(&self) -> u64 {
        match self {
            Records::Events(items) => items.len() as u64 * 10,
            Records::Facts(items) => items.len() as u64 * 10,
        }
    }
}

/// All of it.
#[derive(Clone, Debug)]
pub struct History {
    /// The names and assignments.
    pub catalog: Arc<Catalog>,
    /// Partitions and groups; partition `p` has `records[p]`.
    pub topology: Arc<Topology>,
    /// As recorded at tick 0.
    pub parameters: Parameters,
    /// What the graph is built from.
    pub plan: GraphPlan,
    /// By partition.
    pub records: Vec<Records>,
    /// The remap log, tick 0 first (it carries the configuration).
    pub bindings: Vec<Binding>,
}
