//! Inventory: facts, the ledger, availability.

pub mod availability;
pub mod batch;
pub mod decode;
pub mod fact;
pub mod feed_health;
pub mod ledger;
pub mod specification;
pub mod statement;
pub mod stock;
