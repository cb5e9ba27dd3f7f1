//! What became of records that somebody waits to hear of: those that enter again.
//!
//! A partition in which records enter again says of each record what was made of it, at its tick, beside its counts. Nothing
//! that is published depends on it: outcomes go to whoever asked, and to no sink.

use serde::{Deserialize, Serialize};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::Operator;

use crate::release::Standing;
use crate::time::Tick;
use crate::topology::PartitionId;

/// What became of a record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Verdict {
    /// It was accepted, on time.
    OnTime,
    /// It came behind what is sealed: set aside or folded, as its kind does.
    Late,
    /// It was too old to be judged a duplicate or none: counted and not folded.
    TooOld,
    /// It was there before.
    Duplicate,
    /// It is a dead letter again.
    DeadLetter {
        /// The stable code of what is wrong.
        code: String,
    },
}

impl From<Standing> for Verdict {
    fn from(standing: Standing) -> Self {
        match standing {
            Standing::OnTime => Verdict::OnTime,
            Standing::Late => Verdict::Late,
            Standing::TooOld { .. } => Verdict::TooOld,
        }
    }
}

/// A record, by its place, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Outcome {
    /// The partition in which it entered.
    pub partition: PartitionId,
    /// Its offset there.
    pub offset: u64,
    /// Its place in a message of many records; 0 where the message is the record.
    pub line: u64,
    /// What became of it.
    pub verdict: Verdict,
}

/// Hands all outcomes of a tick to `publish` on the first worker, before anybody knows that the tick is complete.
pub fn publish_outcomes<'scope>(
    outcomes: StreamVec<'scope, Tick, Outcome>,
    name: &str,
    publish: impl Fn(Tick, Vec<Outcome>) + 'static,
) -> StreamVec<'scope, Tick, ()> {
    outcomes.unary::<CapacityContainerBuilder<Vec<()>>, _, _, _>(Exchange::new(|_: &Outcome| 0), name, move |_, _| {
        move |input, _| {
            input.for_each(|capability, outcomes| publish(*capability.time(), std::mem::take(outcomes)));
        }
    })
}
