//! Small operators between folds: changes mapped, and posted on.

use std::hash::Hash;
use std::rc::Rc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

use operators::fold::{Data, Fold, Posting};
use operators::route::Postings;
use operators::time::Tick;

use super::Changes;
use crate::views::Row;

/// Maps the rows of changes.
pub(super) fn stamped<'scope, R: Data>(
    changes: Changes<'scope, R>,
    name: &str,
    row: impl Fn(R) -> Row + 'static,
) -> Changes<'scope, Row> {
    part(changes, name, move |from| Some(row(from)))
}

/// Maps the rows of changes and keeps some; ticks and differences stay as they are.
fn part<'scope, R: Data, D: Data>(
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
pub(super) fn repost<'scope, F: Fold>(
    changes: Changes<'scope, F::Input>,
    name: &str,
    fold: Rc<F>,
) -> Postings<'scope, F>
where
    F::Input: Data,
{
    post_changes(changes, name, move |(row, _, _), post| fold.keys(row, post))
}

/// Posts changes to a fold that takes changes, at their own ticks.
pub(super) fn repost_changes<'scope, R, F>(changes: Changes<'scope, R>, name: &str, fold: Rc<F>) -> Postings<'scope, F>
where
    R: Data,
    F: Fold<Input = (R, Tick, isize)>,
{
    post_changes(changes, name, move |change, post| fold.keys(change, post))
}

fn post_changes<'scope, R: Data, K: Data + Hash, E: Data>(
    changes: Changes<'scope, R>,
    name: &str,
    keys: impl Fn(&(R, Tick, isize), &mut dyn FnMut(K, E)) + 'static,
) -> StreamVec<'scope, Tick, Posting<K, E>> {
    changes.unary::<CapacityContainerBuilder<Vec<_>>, _, _, _>(Pipeline, name, move |_, _| {
        move |changes, output| {
            changes.for_each(|capability, changes| {
                let mut session = output.session(&capability);
                for change in changes.drain(..) {
                    let tick = change.1;
                    keys(&change, &mut |key, event| session.give(Posting::new(key, event, tick)));
                }
            });
        }
    })
}
