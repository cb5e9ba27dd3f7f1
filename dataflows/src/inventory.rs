//! Inventory: facts, the ledger, availability.
//!
//! ```text
//! fact -> ledger (sku, node, state) -> stock
//!                                   -> availability, by the rules of the run
//! ```

pub mod availability;
pub mod batch;
pub mod decode;
pub mod fact;
pub mod feed_health;
mod kind;
pub mod ledger;
pub mod specification;
pub mod statement;
pub mod stock;

use std::rc::Rc;
use std::sync::Arc;

use timely::dataflow::StreamVec;

use operators::fold::rows;
use operators::release::Released;
use operators::route::route;
use operators::time::Tick;

use crate::build::Build;
use availability::Availability;
use fact::Fact;
pub use kind::InventoryFacts;
use ledger::fold::{LedgerFold, LedgerValue};
use stock::Stock;

/// What becomes of accepted facts.
pub fn build<'scope>(build: &mut Build<'_, 'scope>, facts: StreamVec<'scope, Tick, Released<Fact>>) {
    let fold = Rc::new(LedgerFold { catalog: Arc::clone(&build.plan().catalog), policy: build.plan().policy });
    let postings = route(facts, "RouteFacts", Rc::clone(&fold));
    let stock = rows(|fold: &LedgerFold, key, value| match value {
        LedgerValue::Stock(balance) => Some(fold.stock(key, balance)),
        LedgerValue::Availability(_) => None,
    });
    let availability = rows(|fold: &LedgerFold, key, value| match value {
        LedgerValue::Availability(decision) => Some(fold.availability(key, decision)),
        LedgerValue::Stock(_) => None,
    });
    let (stock, availability) = build.fold(postings, fold, (stock, availability));
    build.publish::<Stock>(stock);
    build.publish::<Availability>(availability);
}
