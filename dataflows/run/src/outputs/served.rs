//! The served views as an output: the last one, since it keeps the rows that it is given.

use std::sync::Arc;

use super::{Output, sealed_through};
use crate::engine::{CompleteTick, PublishError};
use crate::http::Published;

/// Publishes ticks to whoever reads views.
pub struct Served {
    published: Arc<Published>,
    groups: Vec<String>,
}

impl Served {
    /// Publishes there; `groups` are the names of the watermark groups.
    pub fn new(published: Arc<Published>, groups: Vec<String>) -> Self {
        Served { published, groups }
    }
}

impl Output for Served {
    fn name(&self) -> &str {
        "served views"
    }

    fn take(&mut self, tick: &mut CompleteTick) -> Result<(), PublishError> {
        let sealed_through = sealed_through(tick, &self.groups);
        let changes = std::mem::take(&mut tick.changes).into_iter().map(|changes| (changes.view, changes.rows));
        Ok(self.published.apply_tick(tick.mark.tick, tick.mark.now_ms, changes.collect(), sealed_through)?)
    }
}
