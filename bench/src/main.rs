//! Measures the graph that `aisle run` builds, and the same job as a plain program: `bench/README.md` says how and what.

mod arguments;
mod checkpoints;
mod engine;
mod experiments;
mod figures;
mod inventory;
mod machine;
mod plain;
mod poll;
mod random;
mod recorder;
mod report;
mod rounds;
mod sources;
mod specification;
mod topics;

use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use aisle::memory;
use clap::Parser;
use tracing_subscriber::EnvFilter;

use arguments::{Arguments, Competitor, Domain};
use figures::Figures;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn,bench=info"));
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter).init();
    let arguments = Arguments::parse();
    let done = match arguments.only {
        Some(competitor) => measure(&arguments, competitor),
        None => rounds::run(&arguments).and_then(|rounds| report::give(&arguments, &rounds)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Measures one of them in this process, and prints its figures as JSON.
fn measure(arguments: &Arguments, competitor: Competitor) -> Result<(), Box<dyn std::error::Error>> {
    memory::reserve(arguments.reserved_mib(), &AtomicBool::new(false), |_| {})?;
    let figures = match arguments.domain {
        Domain::Experiments => experiments::measure(arguments, competitor)?,
        Domain::Inventory => inventory::measure(arguments, competitor)?,
    };
    report::say(&serde_json::to_string(&figures)?);
    Ok(())
}

/// What ends a bench.
type Outcome = Result<Figures, Box<dyn std::error::Error>>;
