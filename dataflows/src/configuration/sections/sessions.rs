//! `[sessions]`: how long sessions are kept together.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::Section;
use crate::configuration::mistake::Mistakes;
use crate::configuration::settings::Settings;
use crate::configuration::table::{Given, Table};
use crate::configuration::values::{DURATION_MAX_MS, integer};

/// How long sessions are kept together.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WrittenSessions {
    /// How long behind the watermark a session's state is kept after its last event, at least 60000. Default: 1800000, which
    /// is 30 minutes.
    keep_ms: Given<i64>,
}

/// A session whose state is kept for less than a minute would end within its own minute.
const KEEP_MS: RangeInclusive<i64> = 60_000..=DURATION_MAX_MS;

/// How long sessions are kept together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionSettings {
    /// How long behind the watermark a session's state is kept after its last event.
    pub keep_ms: i64,
}

impl Section for WrittenSessions {
    type Read = Table<Self>;
    type Needs<'a> = ();
    type Settled = SessionSettings;

    fn settle(read: &Table<Self>, (): (), mistakes: &mut Mistakes<'_>) -> SessionSettings {
        SessionSettings { keep_ms: integer("keep_ms", &read.written.keep_ms, KEEP_MS, 1_800_000, mistakes) }
    }

    fn put(settled: SessionSettings, settings: &mut Settings) {
        settings.recorded.sessions = settled;
    }
}
