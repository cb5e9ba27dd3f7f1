//! `aisle check`: mistakes in a configuration, and what is in the files that it names.

use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use connectors::files::FilesError;
use operators::disk::Clock;

use super::Failure;
use crate::engine::WallClock;
use crate::job::{RunError, folder_of, read_settings};
use crate::terminal::{print, say};
use crate::{BUILT, inputs};

/// Says what is wrong with a configuration or, where nothing is, what is in its files.
pub(super) fn check(configuration: &Path, interrupted: &AtomicBool) -> Result<ExitCode, Failure> {
    let unreadable = |source| RunError::Unreadable { path: configuration.to_owned(), source };
    let text = std::fs::read_to_string(configuration).map_err(unreadable)?;
    let folder = folder_of(configuration);
    let found =
        dataflows::configuration::check(
            &text,
            &configuration.display().to_string(),
            BUILT,
            |pattern| match inputs::find(&folder, pattern) {
                Ok(files) => Ok(files),
                Err(FilesError::NoMatch { .. }) => Ok(Vec::new()),
                Err(error) => Err(error.to_string()),
            },
        );
    match found {
        Ok(()) => {
            print(&format!("{}: no mistakes\n", configuration.display()));
            look_through(configuration, &folder, interrupted)
        }
        Err(mistakes) => {
            let count = mistakes.len();
            let lines: String = mistakes.iter().map(|mistake| format!("{mistake}\n")).collect();
            print(&lines);
            say(&format!("{count} mistake{}", if count == 1 { "" } else { "s" }));
            Ok(ExitCode::from(2))
        }
    }
}

/// Says what is in the files of a configuration that has no mistakes.
fn look_through(configuration: &Path, folder: &Path, interrupted: &AtomicBool) -> Result<ExitCode, Failure> {
    let settings = read_settings(configuration)?;
    let begin = inputs::Begin { start_ms: WallClock.now_ms(), played: false, interrupted };
    let found = inputs::plan(&settings, folder, None, begin).map_err(RunError::from)?;
    let mut code = ExitCode::SUCCESS;
    for (source, looked) in found.plan.recorded.sources.iter().zip(&found.looked).filter(|(_, of)| of.records > 0) {
        print(&format!("source \"{}\": {}\n", source.name, looked.told(source.measured, source.lateness_ms)));
        looked.doubts(&source.name).iter().for_each(|doubt| say(&format!("WARNING: {doubt}")));
        if looked.takes_nothing() {
            code = ExitCode::from(3);
        }
    }
    Ok(code)
}
