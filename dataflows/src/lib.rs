//! The retailer's domain on the engine: experiments and inventory, their events, views and decisions.
//!
//! Nothing here does I/O but `run`. `experiment` and `inventory` never import each other.

pub mod experiment;
pub mod inventory;
pub mod names;
pub mod views;
