//! Rounds: everybody who does the job does it in a process of its own, in turn, as often as is wanted.
//!
//! A process of its own, because whoever comes second in one gains by the memory that the first has already mapped.

use std::process::{Command, Stdio};

use clap::ValueEnum;

use crate::arguments::{Arguments, Competitor, Domain};
use crate::figures::Figures;
use crate::topics::Filled;
use crate::{experiments, inventory};

/// What each one's rounds gave.
pub(crate) type Rounds = Vec<(Competitor, Vec<Figures>)>;

/// Runs all rounds.
pub(crate) fn run(arguments: &Arguments) -> Result<Rounds, Box<dyn std::error::Error>> {
    let filled = match &arguments.topics {
        Some(bootstrap) if arguments.rate.is_none() => {
            tracing::info!("filling a topic");
            let messages = match arguments.domain {
                Domain::Experiments => experiments::messages(arguments),
                Domain::Inventory => inventory::messages(arguments),
            };
            Some(Filled::with(bootstrap, &messages)?)
        }
        _ => None,
    };
    let mut rounds: Rounds = arguments.competitors().into_iter().map(|competitor| (competitor, Vec::new())).collect();
    for round in 1..=arguments.rounds.max(1) {
        for (competitor, figures) in &mut rounds {
            tracing::info!("round {round} of {}: {}", arguments.rounds.max(1), name_of(*competitor));
            figures.push(child(*competitor, filled.as_ref())?);
        }
    }
    Ok(rounds)
}

/// The competitor's name on the command line, and in the report.
pub(crate) fn name_of(competitor: Competitor) -> String {
    let value = competitor.to_possible_value().expect("no competitor is skipped");
    value.get_name().replace('-', "_")
}

fn child(competitor: Competitor, filled: Option<&Filled>) -> Result<Figures, Box<dyn std::error::Error>> {
    let value = competitor.to_possible_value().expect("no competitor is skipped");
    let mut command = Command::new(std::env::current_exe()?);
    command.args(std::env::args_os().skip(1)).arg("--only").arg(value.get_name());
    if let Some(filled) = filled {
        command.args(["--filled", &filled.name]);
    }
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("{} ended with {}", name_of(competitor), output.status).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}
