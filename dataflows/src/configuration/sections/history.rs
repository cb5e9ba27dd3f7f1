//! `[history]`: where sealed minutes are kept for longer than any view keeps them.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::Section;
use super::checkpoints::place;
use super::sources::WrittenSource;
use crate::configuration::Built;
use crate::configuration::mistake::Mistakes;
use crate::configuration::settings::Settings;
use crate::configuration::table::{Given, Table};
use crate::configuration::values::{DURATION_POSITIVE_MS, integer, unsigned};

/// History: the sealed minutes of `variant_minutes` as Parquet files, as `history.md` says. Whether there is any, and where
/// files end, is part of what the run's outputs are and can't change at a restart; the rest can.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WrittenHistory {
    /// A folder, relative to the data folder; or `s3://bucket/prefix`, as for checkpoints; or `"none"`. Default:
    /// `"history"`, in a build with the feature `history`.
    to: Given<String>,
    /// The URL of an S3 store that is not Amazon's.
    endpoint: Given<String>,
    /// A file ends where the time of the ticks enters another multiple of this; 60000 to 86400000. Default: 600000, which is
    /// 10 minutes.
    file_ms: Given<i64>,
    /// A file ends sooner, behind the tick in which it came to hold so many rows; 1 to 1000000. So many are held in memory.
    /// Default: 100000.
    rows_max: Given<i64>,
    /// A file is deleted once its newest minute is this far behind the time of the ticks. Default: 34560000000, which is 400
    /// days; never, where there are files only.
    retention_ms: Given<i64>,
}

const FILE_MS: RangeInclusive<i64> = 60_000..=86_400_000;
const ROWS: RangeInclusive<i64> = 1..=1_000_000;

/// Which files the sealed minutes make. It decides bytes that are written, so it is recorded; where they go is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HistorySettings {
    /// Whether there are any.
    pub kept: bool,
    /// A file ends where `now` enters another multiple of this.
    pub file_ms: i64,
    /// A file ends behind the tick in which it came to hold so many rows.
    pub rows_max: usize,
}

/// Where the files of history are, and for how long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArchiveSettings {
    /// A folder within the data folder, `s3://bucket/prefix`, or `none`.
    pub to: String,
    /// Of S3, unless it is Amazon's.
    pub endpoint: Option<String>,
    /// How far behind the time of the ticks a file is deleted.
    pub retention_ms: i64,
}

impl Section for WrittenHistory {
    type Read = Table<Self>;
    type Needs<'a> = (&'a Built, &'a <WrittenSource as Section>::Settled);
    type Settled = (ArchiveSettings, HistorySettings);

    fn settle(read: &Table<Self>, (built, sources): Self::Needs<'_>, mistakes: &mut Mistakes<'_>) -> Self::Settled {
        let WrittenHistory { to, endpoint, file_ms, rows_max, retention_ms } = &read.written;
        let default = if built.history { "history" } else { "none" };
        let place = place("history", to, default, built, mistakes);
        let kept = place != "none";
        if let Some(given) = to.as_ref().filter(|_| kept && !built.history) {
            let hint = "build it with `cargo build --release --features history`, or write \"none\"";
            mistakes.add(given.span(), "this build keeps no history", hint);
        }
        let archive = ArchiveSettings {
            to: place,
            endpoint: endpoint.as_ref().map(|given| given.get_ref().clone()),
            retention_ms: match (retention_ms, sources.are_files()) {
                (None, true) => i64::MAX,
                _ => integer("retention_ms", retention_ms, DURATION_POSITIVE_MS, 34_560_000_000, mistakes),
            },
        };
        let history = HistorySettings {
            kept,
            file_ms: integer("file_ms", file_ms, FILE_MS, 600_000, mistakes),
            rows_max: unsigned("rows_max", rows_max, ROWS, 100_000, mistakes),
        };
        (archive, history)
    }

    fn put((archive, history): Self::Settled, settings: &mut Settings) {
        settings.local.archive = archive;
        settings.recorded.history = history;
    }
}
