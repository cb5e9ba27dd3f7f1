//! Small operators between folds: changes mapped, and posted on.

use std::hash::Hash;
use std::rc::Rc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

use operators::fold::{Data, Fold, Posting};
use operators::route::Postings;
use operators::shard::PlaceKey;
use operators::time::Tick;

use super::Changes;

/// Maps the rows of changes; ticks and differences stay as they are.
pub(crate) fn stamped<'scope, R: Data, D: Data>(
    changes: Changes<'scope, R>,
    name: &str,
    row: impl Fn(R) -> D + 'static,
) -> Changes<'scope, D> {
    part(changes, name, move |from| Some(row(from)))
}

/// Maps the rows of changes and keeps some; ticks and differences stay as they are.
pub(crate) fn part<'scope, R: Data, D: Data>(
    changes: Changes<'scope, R>,
    name: &str,
    row: impl Fn(R) -> Option<D> + 'static,
) -> Changes<'scope, D> {
    changes.unary::<CapacityContainerBuilder<Vec<_>>, _, _, _>(Pipeline, name, move |_, _| {
        move |changes, output| {
            changes.for_each(|capability, changes| {
                let rows = changes.drain(..).filter_map(|(from, tick, diff)| Some((row(from)?, tick, diff)));
                output.session(&capability).give_iterator(rows);
            });
        }
    })
}

/// Posts the rows of insertions to a fold, at their own ticks.
pub(crate) fn repost<'scope, F: Fold>(
    changes: Changes<'scope, F::Input>,
    name: &str,
    fold: Rc<F>,
    by: PlaceKey,
) -> Postings<'scope, F>
where
    F::Input: Data,
{
    post_changes(changes, name, by, move |(row, _, _), post| fold.keys(row, post))
}

/// Posts changes to a fold that takes changes, at their own ticks.
pub(crate) fn repost_changes<'scope, R, F>(
    changes: Changes<'scope, R>,
    name: &str,
    fold: Rc<F>,
    by: PlaceKey,
) -> Postings<'scope, F>
where
    R: Data,
    F: Fold<Input = (R, Tick, isize)>,
{
    post_changes(changes, name, by, move |change, post| fold.keys(change, post))
}

fn post_changes<'scope, R: Data, K: Data + Hash, E: Data>(
    changes: Changes<'scope, R>,
    name: &str,
    by: PlaceKey,
    keys: impl Fn(&(R, Tick, isize), &mut dyn FnMut(K, E)) + 'static,
) -> StreamVec<'scope, Tick, Posting<K, E>> {
    changes.unary::<CapacityContainerBuilder<Vec<_>>, _, _, _>(Pipeline, name, move |_, _| {
        move |changes, output| {
            changes.for_each(|capability, changes| {
                let mut session = output.session(&capability);
                for change in changes.drain(..) {
                    let tick = change.1;
                    keys(&change, &mut |key, event| session.give(Posting::placed(by, key, event, tick)));
                }
            });
        }
    })
}

/// Gives what changed before a view's first tick as the changes of that tick, added up: a view that was added later begins
/// with all its rows. What comes at that tick or later goes through as it is.
///
/// Cost: the rows that the view has before its first tick are held until then.
pub(crate) fn from_tick<'scope, R: Data>(changes: Changes<'scope, R>, since: Tick) -> Changes<'scope, R> {
    if since == 0 {
        return changes;
    }
    changes.unary_frontier::<CapacityContainerBuilder<Vec<_>>, _, _, _>(Pipeline, "SinceTick", move |_, _| {
        let mut before: Vec<(R, isize)> = Vec::new();
        let (mut held, mut consolidated) = (None, 1 << 12);
        move |(changes, frontier), output| {
            changes.for_each(|capability, changes| {
                let mut given = Vec::new();
                for (row, tick, diff) in changes.drain(..) {
                    match tick < since {
                        true => before.push((row, diff)),
                        false => given.push((row, tick, diff)),
                    }
                }
                if !before.is_empty() && held.is_none() {
                    held = Some(capability.delayed(&since.max(*capability.time()), 0));
                }
                if before.len() >= 2 * consolidated {
                    differential_dataflow::consolidation::consolidate(&mut before);
                    consolidated = consolidated.max(before.len());
                }
                output.session(&capability).give_container(&mut given);
            });
            if !frontier.less_than(&since)
                && let Some(capability) = held.take()
            {
                differential_dataflow::consolidation::consolidate(&mut before);
                let rows = std::mem::take(&mut before).into_iter().map(|(row, diff)| (row, since, diff));
                output.session(&capability).give_iterator(rows);
            }
        }
    })
}
