//! Route: from records to postings, that is, which keys of which folds a record concerns and what each needs of it.
//!
//! A [fold](crate::fold) says by [`Fold::keys`] which keys an input concerns: a stock movement two places, an event its
//! session. These operators ask it, once for each record, and make [`Posting`]s, which the fold's own operator exchanges.
//!
//! # What goes in and comes out
//!
//! Records go in, each at the tick of its message. A posting for each key comes out on the same worker, at the same tick,
//! with the written hash of its key. [`stamp`] makes changes of a collection of them instead: one insertion for each record
//! that has a row.
//!
//! # SetAsideReason it is exact
//!
//! A posting carries its own tick, so it belongs to it in whatever message it travels. `Fold::keys` is a pure function of
//! the record, and nothing is held back, dropped or put into another order.
//!
//! # Cost
//!
//! The record is looked at where it lies and freed after its last posting; a key is hashed here once, for the exchange and
//! the table. A stream with several consumers is copied for each of them, so one record for three folds is routed by
//! [`route_to_three`], which looks at it once.
//!
//! # What it does not do
//!
//! It does not exchange, and it does not wait for a tick to be complete.
//!
//! # Example
//!
//! ```
//! use std::rc::Rc;
//!
//! use operators::fold::{Fold, Table};
//! use operators::route::route;
//! use operators::shard::PlaceKey;
//! use timely::dataflow::operators::capture::{Capture, Extract};
//! use timely::dataflow::operators::vec::{Map, ToStream};
//!
//! /// Stock by place, of movements from one place to another.
//! struct Stock;
//!
//! impl Fold for Stock {
//!     type Input = (&'static str, &'static str, i64);
//!     type Key = String;
//!     type Event = i64;
//!     type State = i64;
//!     type Value = i64;
//!     type Table = Table<String, i64>;
//!
//!     fn name(&self) -> &'static str {
//!         "Stock"
//!     }
//!     fn keys(&self, (from, to, pieces): &Self::Input, post: &mut dyn FnMut(String, i64)) {
//!         post((*from).to_owned(), -pieces);
//!         post((*to).to_owned(), *pieces);
//!     }
//!     fn apply(&self, stock: &mut i64, _: &String, pieces: &i64) {
//!         *stock += pieces;
//!     }
//!     fn values(&self, _: &String, stock: &i64, values: &mut Vec<i64>) {
//!         values.push(*stock);
//!     }
//! }
//!
//! let postings = timely::example(|scope| {
//!     let movements = [("depot", "store", 5), ("store", "depot", 1)].to_stream(scope);
//!     let postings = route(movements, "Route", Rc::new(Stock), PlaceKey::WRITTEN);
//!     postings.map(|posting| (posting.key().clone(), *posting.event())).capture()
//! });
//! let of = |key: &str, pieces| (key.to_owned(), pieces);
//! assert_eq!(postings.extract(), [(0, vec![of("depot", -5), of("depot", 1), of("store", -1), of("store", 5)])]);
//! ```

use std::rc::Rc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::generic::{Operator, OutputBuilder};

use crate::fold::{Data, Fold, Posting};
use crate::shard::PlaceKey;
use crate::time::Tick;

/// The postings to a fold.
pub type Postings<'scope, F> = StreamVec<'scope, Tick, Posting<<F as Fold>::Key, <F as Fold>::Event>>;

/// Posts records to one fold; each belongs to the tick of its message. State is placed by the run's key.
pub fn route<'scope, F: Fold>(
    records: StreamVec<'scope, Tick, F::Input>,
    name: &str,
    fold: Rc<F>,
    by: PlaceKey,
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
                    fold.keys(&record, &mut |key, event| session.give(Posting::placed(by, key, event, tick)));
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
    by: PlaceKey,
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
                    first.keys(&record, &mut |key, event| first_session.give(Posting::placed(by, key, event, tick)));
                    second.keys(&record, &mut |key, event| second_session.give(Posting::placed(by, key, event, tick)));
                    third.keys(&record, &mut |key, event| third_session.give(Posting::placed(by, key, event, tick)));
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
