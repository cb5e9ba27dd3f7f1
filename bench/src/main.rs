//! Measures the graph that `aisle run` builds, and the same job as a plain program: `bench/README.md` says how and what.

mod arguments;
mod engine;
mod experiments;
mod inventory;
mod machine;
mod plain;
mod random;
mod recorder;
mod report;
mod sources;
mod specification;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Domain};
use report::Report;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter("warn").init();
    let arguments = Arguments::parse();
    let measured = match arguments.domain {
        Domain::Experiments => experiments::measure(&arguments),
        Domain::Inventory => inventory::measure(&arguments),
    };
    match measured.and_then(|report| report.give(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::say(&format!("bench: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// What ends a bench.
type Outcome = Result<Report, Box<dyn std::error::Error>>;
