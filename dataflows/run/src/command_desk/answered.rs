//! The command desk as an output: it is told what became of commands, behind all outputs that show it.

use std::sync::Arc;

use operators::outcome::Outcome;
use operators::time::Tick;

use super::CommandDesk;
use crate::engine::{CompleteTick, PublishError};
use crate::outputs::Output;

/// Tells the desk what became of records that entered again. It stands behind all other outputs: whoever is answered finds
/// the tick in the views, and in the change files.
pub struct Answered {
    desk: Arc<CommandDesk>,
    untold: Vec<(Tick, Vec<Outcome>)>,
}

impl Answered {
    /// Tells this desk.
    pub fn new(desk: Arc<CommandDesk>) -> Self {
        Answered { desk, untold: Vec::new() }
    }
}

impl Output for Answered {
    fn name(&self) -> &str {
        "answers to commands"
    }

    fn take(&mut self, tick: &mut CompleteTick) -> Result<(), PublishError> {
        let outcomes = std::mem::take(&mut tick.outcomes);
        if !outcomes.is_empty() {
            self.untold.push((tick.mark.tick, outcomes));
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), PublishError> {
        self.untold.drain(..).for_each(|(tick, outcomes)| self.desk.hear(tick, outcomes));
        Ok(())
    }
}
