//! Inventory: facts, the ledger, availability.
//!
//! ```text
//! fact -> ledger (sku, node, state) -> stock
//!                                   -> availability, by the rules of the run
//!                                   -> stock by SKU: sums over nodes
//! fact -> stream (source, node, epoch) -> feed health -> worst feed of a node
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
pub mod stock_by_sku;
pub mod worst_feeds;

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
use stock_by_sku::StockBySku;

/// What becomes of accepted facts.
pub fn build<'scope>(build: &mut Build<'_, 'scope>, facts: StreamVec<'scope, Tick, Released<Fact>>) {
    let fold = Rc::new(LedgerFold { catalog: Arc::clone(&build.plan().catalog), policy: build.plan().policy });
    let postings = route(facts, "RouteFacts", Rc::clone(&fold), build.place_key());
    let stock = rows(|fold: &LedgerFold, key, value| match value {
        LedgerValue::Stock(balance) => Some(fold.stock(key, balance)),
        LedgerValue::Availability(_) => None,
    });
    let availability = rows(|fold: &LedgerFold, key, value| match value {
        LedgerValue::Availability(decision) => Some(fold.availability(key, decision)),
        LedgerValue::Stock(_) => None,
    });
    let by_sku = build.is_wanted::<StockBySku>().then(stock_by_sku::outlet);
    let (stock, (availability, by_sku)) = build.fold(postings, fold, (stock, (availability, by_sku)));
    build.publish::<Stock>(stock);
    build.publish::<Availability>(availability);
    if let Some(by_sku) = by_sku {
        stock_by_sku::publish(build, by_sku);
    }
}
