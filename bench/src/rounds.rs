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
    if arguments.load.is_some() && arguments.rate.is_some() {
        return Err("--load says what the rate is: leave --rate out".into());
    }
    let filled = match &arguments.topics {
        Some(bootstrap) if arguments.rate.is_none() => Some(fill(arguments, bootstrap)?),
        _ => None,
    };
    let mut rounds: Rounds = arguments.competitors().into_iter().map(|competitor| (competitor, Vec::new())).collect();
    for round in 1..=arguments.rounds.max(1) {
        for place in 0..rounds.len() {
            let competitor = rounds[place].0;
            tracing::info!("round {round} of {}: {}", arguments.rounds.max(1), name_of(competitor));
            let rate = arguments.load.and_then(|load| Some(load * speed_before(competitor, &rounds)?));
            rounds[place].1.push(child(competitor, filled.as_ref(), rate)?);
        }
    }
    Ok(rounds)
}

/// How fast the one was in this round who has all of the load of which `competitor` has a share.
fn speed_before(competitor: Competitor, rounds: &Rounds) -> Option<f64> {
    let whole = match competitor {
        Competitor::EngineAtLoad => Competitor::Engine,
        Competitor::TopicsAtLoad => Competitor::Topics,
        _ => return None,
    };
    let (_, figures) = rounds.iter().find(|(other, _)| *other == whole)?;
    figures.last().map(|figures| figures.records_per_second)
}

fn fill(arguments: &Arguments, bootstrap: &str) -> Result<Filled, Box<dyn std::error::Error>> {
    tracing::info!("filling a topic");
    let messages = match arguments.domain {
        Domain::Experiments => experiments::messages(arguments),
        Domain::Inventory => inventory::messages(arguments),
    };
    Filled::with(bootstrap, &messages)
}

/// The competitor's name on the command line, and in the report.
pub(crate) fn name_of(competitor: Competitor) -> String {
    let value = competitor.to_possible_value().expect("no competitor is skipped");
    value.get_name().replace('-', "_")
}

fn child(
    competitor: Competitor,
    filled: Option<&Filled>,
    rate: Option<f64>,
) -> Result<Figures, Box<dyn std::error::Error>> {
    let value = competitor.to_possible_value().expect("no competitor is skipped");
    let mut command = Command::new(std::env::current_exe()?);
    command.args(std::env::args_os().skip(1)).arg("--only").arg(value.get_name());
    if let Some(filled) = filled {
        command.args(["--filled", &filled.name]);
    }
    if let Some(rate) = rate {
        command.args(["--rate", &rate.to_string()]);
    }
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("{} ended with {}", name_of(competitor), output.status).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}
