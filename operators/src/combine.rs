//! Adding differences up on each worker before they are exchanged.
//!
//! Sums commute, so no frontier is needed: what has come is added by (key, tick) and given on at every activation, in one
//! message with several ticks. Whoever receives it stashes by the posting's tick, not by the message's.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash};

use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::Operator;

use crate::fold::{Data, Posting};
use crate::judge::LaneHasher;
use crate::time::Tick;

/// Turns changes of rows into differences by key, and adds those of one activation up.
pub fn combine<'scope, R, K, E>(
    changes: StreamVec<'scope, Tick, (R, Tick, isize)>,
    name: &str,
    mut differences: impl FnMut(R, i64, &mut dyn FnMut(K, E)) + 'static,
    add: impl Fn(&mut E, &E) + 'static,
) -> StreamVec<'scope, Tick, Posting<K, E>>
where
    R: Data,
    K: Data + Hash,
    E: Data,
{
    changes.unary::<CapacityContainerBuilder<Vec<_>>, _, _, _>(Pipeline, name, move |_, _| {
        let mut sums: HashMap<(K, Tick), E, BuildHasherDefault<LaneHasher>> = HashMap::default();
        move |changes, output| {
            let mut least: Option<Capability<Tick>> = None;
            changes.for_each(|capability, changes| {
                if least.as_ref().is_none_or(|least| capability.time() < least.time()) {
                    least = Some(capability.retain(0));
                }
                for (row, tick, diff) in changes.drain(..) {
                    differences(row, diff as i64, &mut |key, event| {
                        sums.entry((key, tick)).and_modify(|sum| add(sum, &event)).or_insert(event);
                    });
                }
            });
            if let Some(capability) = least {
                let mut session = output.session(&capability);
                for ((key, tick), event) in sums.drain() {
                    session.give(Posting { key, event, tick });
                }
            }
        }
    })
}
