//! The retailer's domain on the engine: experiments and inventory, their events, views and decisions.
//!
//! Nothing here does I/O: files, sockets and the command line are those of the package `aisle`, beside. `experiment` and `inventory` never import each other.

pub mod catalog;
pub mod commands;
pub mod configuration;
mod digest;
pub mod experiment;
pub mod graph;
pub mod history;
pub mod inventory;
pub mod limits;
pub mod messages;
pub mod names;
pub mod publish;
pub mod re_entry;
pub mod sealing;
pub mod serve;
pub mod views;
