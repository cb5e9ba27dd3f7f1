//! Experiments: events, sessions, units, variants.

pub mod assignments;
pub mod decode;
pub mod event;
pub mod measures;
pub mod rollups;
pub mod sessions;
pub mod specification;
pub mod unit_overlap;
pub mod units;
