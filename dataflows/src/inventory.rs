//! Inventory: facts, the ledger, availability.

pub mod fact;
