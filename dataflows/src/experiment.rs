//! Experiments: events, sessions, units, variants.

pub mod event;
