//! From records to postings: which keys of which folds a record concerns.
//!
//! A stream with several consumers would be copied for each. These operators look at every record once and post it to
//! each of the folds behind them.

use std::rc::Rc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::generic::{Operator, OutputBuilder};

use crate::fold::{Data, Fold, Posting};
use crate::time::Tick;

/// The postings to a fold.
pub type Postings<'scope, F> = StreamVec<'scope, Tick, Posting<<F as Fold>::Key, <F as Fold>::Event>>;

/// Posts records to one fold; each belongs to the tick of its message.
pub fn route<'scope, F: Fold>(
    records: StreamVec<'scope, Tick, F::Input>,
    name: &str,
    fold: Rc<F>,
) -> Postings<'scope, F>
where
    F::Input: Clone,
{
    records.unary::<CapacityContainerBuilder<Vec<_>>, _, _, _>(Pipeline, name, move |_, _| {
        move |records, output| {
            records.for_each(|capability, records| {
                let tick = *capability.time();
                let mut session = output.session(&capability);
                for record in records.drain(..) {
                    fold.keys(&record, &mut |key, event| session.give(Posting::new(key, event, tick)));
                }
            });
        }
    })
}

/// Posts records to three folds.
pub fn route_to_three<'scope, R, A, B, C>(
    records: StreamVec<'scope, Tick, R>,
    name: &str,
    (first, second, third): (Rc<A>, Rc<B>, Rc<C>),
) -> (Postings<'scope, A>, Postings<'scope, B>, Postings<'scope, C>)
where
    R: Clone + 'static,
    A: Fold<Input = R>,
    B: Fold<Input = R>,
    C: Fold<Input = R>,
{
    let mut builder = OperatorBuilder::new(name.to_owned(), records.scope());
    let mut input = builder.new_input(records, Pipeline);
    let (first_output, first_stream) = builder.new_output();
    let (second_output, second_stream) = builder.new_output();
    let (third_output, third_stream) = builder.new_output();
    let mut first_output = OutputBuilder::<_, CapacityContainerBuilder<Vec<_>>>::from(first_output);
    let mut second_output = OutputBuilder::<_, CapacityContainerBuilder<Vec<_>>>::from(second_output);
    let mut third_output = OutputBuilder::<_, CapacityContainerBuilder<Vec<_>>>::from(third_output);
    builder.build(move |_| {
        move |_frontiers| {
            let mut outputs = (first_output.activate(), second_output.activate(), third_output.activate());
            input.for_each(|capability, records| {
                let tick = *capability.time();
                let capabilities = [0, 1, 2].map(|port| capability.retain(port));
                let mut first_session = outputs.0.session(&capabilities[0]);
                let mut second_session = outputs.1.session(&capabilities[1]);
                let mut third_session = outputs.2.session(&capabilities[2]);
                for record in records.drain(..) {
                    first.keys(&record, &mut |key, event| first_session.give(Posting::new(key, event, tick)));
                    second.keys(&record, &mut |key, event| second_session.give(Posting::new(key, event, tick)));
                    third.keys(&record, &mut |key, event| third_session.give(Posting::new(key, event, tick)));
                }
            });
        }
    });
    (first_stream, second_stream, third_stream)
}

/// Turns records into the changes of a collection: one copy each, at the tick of its message.
pub fn stamp<'scope, R: Clone + 'static, D: Data>(
    records: StreamVec<'scope, Tick, R>,
    name: &str,
    mut row: impl FnMut(R) -> Option<D> + 'static,
) -> StreamVec<'scope, Tick, (D, Tick, isize)> {
    records.unary::<CapacityContainerBuilder<Vec<_>>, _, _, _>(Pipeline, name, move |_, _| {
        move |records, output| {
            records.for_each(|capability, records| {
                let tick = *capability.time();
                let rows = records.drain(..).filter_map(&mut row).map(|row| (row, tick, 1));
                output.session(&capability).give_iterator(rows);
            });
        }
    })
}

#[cfg(test)]
mod tests;
