//! The retailer's domain on the engine: experiments and inventory, their events, views and decisions.
//!
//! Nothing here does I/O: files, sockets and the command line are those of the package `aisle`, beside. `experiment` and `inventory` never import each other.

pub mod answer;
pub mod build;
pub mod catalog;
pub mod commands;
pub mod configuration;
pub mod dead_letters;
pub mod digest;
pub mod experiment;
pub mod history;
pub mod inventory;
pub mod kind;
pub mod kinds;
pub mod limits;
pub mod messages;
pub mod names;
pub mod re_entry;
pub mod source_health;
pub mod view;
pub mod views;

/// The worked example of the page on architecture is a test.
#[cfg(doctest)]
#[doc = include_str!("../../docs/architecture.md")]
struct Architecture;
