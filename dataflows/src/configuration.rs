//! The configuration: one TOML file, whose keys `docs/configuration.md` explains.
//!
//! [`parse`] turns its text into [`Settings`], with every default filled in, or says everything that is wrong with it at
//! once. Together with the files that a run found, [`Settings::plan`] makes a [`Plan`] of it, whose canonical text is
//! recorded, so that replay needs neither the TOML nor today's defaults. Nothing here reads a file.

mod compatible;
mod mistake;
mod plan;
mod sections;
mod settings;
mod table;
mod values;

use std::path::PathBuf;

pub use compatible::{Change, compatible};
pub use mistake::{Mistake, Position};
pub use operators::csv::{Column, CsvSettings, TimeFormat};
pub use plan::{FileRecord, PartitionInput, PartitionPlan, Plan, RecordedError, TopicRecord};
pub use sections::*;
pub use settings::{Local, Recorded, Settings};
pub use values::PasswordPlace;

use mistake::Mistakes;

/// What a build can do. What it was built without is refused where it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Built {
    /// Kafka.
    pub kafka: bool,
    /// TLS and SCRAM for it.
    pub kafka_tls: bool,
    /// Checkpoints and history in S3.
    pub s3: bool,
    /// History, as Parquet files.
    pub history: bool,
}

impl Built {
    /// A build with everything.
    pub const ALL: Built = Built { kafka: true, kafka_tls: true, s3: true, history: true };
}

/// The settings of a configuration's text, or everything that is wrong with it, in the order of the text. `file` is how the
/// mistakes name it; what `built` lacks is refused where it is asked for.
pub fn parse(text: &str, file: &str, built: Built) -> Result<Settings, Vec<Mistake>> {
    let mut mistakes = Mistakes::new(text, file);
    match settled(text, built, &mut mistakes) {
        Some(settings) if mistakes.is_empty() => Ok(settings),
        _ => Err(mistakes.into_sorted()),
    }
}

/// Checks a configuration's text and that each source of files has some; topics are not asked for. `expand` gives
/// the files of a glob, or says why it is none.
pub fn check(
    text: &str,
    file: &str,
    built: Built,
    expand: impl Fn(&str) -> Result<Vec<PathBuf>, String>,
) -> Result<(), Vec<Mistake>> {
    let mut mistakes = Mistakes::new(text, file);
    let settings = settled(text, built, &mut mistakes);
    let files = settings.iter().flat_map(|settings| &settings.inputs).filter_map(|input| match input {
        SourceInput::Files(files) if !files.pattern.is_empty() => Some(files),
        _ => None,
    });
    for files in files {
        let pattern = &files.pattern;
        match expand(pattern) {
            Ok(found) if !found.is_empty() => {}
            Ok(_) => {
                let hint = "correct the pattern, which is relative to the configuration's folder, or put a file there";
                mistakes.add(files.span.clone(), format!("no file matches \"{pattern}\""), hint);
            }
            Err(problem) => {
                let message = format!("\"{pattern}\" can't be expanded: {problem}");
                mistakes.add(files.span.clone(), message, "correct the pattern, or who may read the folder");
            }
        }
    }
    if mistakes.is_empty() { Ok(()) } else { Err(mistakes.into_sorted()) }
}

#[cfg(test)]
mod tests;
