//! The engine against the naive model: on every history, at every tick, every view is the same.

mod generator;
mod history;
mod naive;
mod trial;
