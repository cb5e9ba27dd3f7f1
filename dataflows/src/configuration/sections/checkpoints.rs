//! `[checkpoints]`: where and how often the state is saved.

use std::ops::RangeInclusive;

use serde::Deserialize;

use super::Section;
use crate::configuration::Built;
use crate::configuration::mistake::Mistakes;
use crate::configuration::settings::Settings;
use crate::configuration::table::{Given, Table};
use crate::configuration::values::{integer, unsigned};

/// Checkpoints: what every operator holds, as of one tick, so that a restart replays only what came after it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WrittenCheckpoints {
    /// A folder, relative to the data folder; or `s3://bucket/prefix`, in a build with the feature `s3`, with credentials in
    /// `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`; or `"none"`. Processes of one cluster need a store that all of them
    /// reach. Default: `"checkpoints"`.
    to: Given<String>,
    /// The URL of an S3 store that is not Amazon's.
    endpoint: Given<String>,
    /// A checkpoint begins this long after the one before, at least; later where writing takes more than a tenth of that.
    /// 100 to 86400000. Default: 60000, which is 1 minute.
    interval_ms: Given<i64>,
    /// How many are kept; 1 to 100. Default: 3.
    keep: Given<i64>,
}

const INTERVAL_MS: RangeInclusive<i64> = 100..=86_400_000;
const KEPT: RangeInclusive<i64> = 1..=100;

/// Where and how often checkpoints are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckpointSettings {
    /// A folder within the data folder, `s3://bucket/prefix`, or `none`.
    pub to: String,
    /// Of S3, unless it is Amazon's.
    pub endpoint: Option<String>,
    /// From one to the next.
    pub interval_ms: i64,
    /// How many are kept.
    pub keep: usize,
}

impl Section for WrittenCheckpoints {
    type Read = Table<Self>;
    type Needs<'a> = (&'a Built,);
    type Settled = CheckpointSettings;

    fn settle(read: &Table<Self>, (built,): (&Built,), mistakes: &mut Mistakes<'_>) -> CheckpointSettings {
        let WrittenCheckpoints { to, endpoint, interval_ms, keep } = &read.written;
        CheckpointSettings {
            to: place("checkpoints", to, "checkpoints", built, mistakes),
            endpoint: endpoint.as_ref().map(|given| given.get_ref().clone()),
            interval_ms: integer("interval_ms", interval_ms, INTERVAL_MS, 60_000, mistakes),
            keep: unsigned("keep", keep, KEPT, 3, mistakes),
        }
    }

    fn put(settled: CheckpointSettings, settings: &mut Settings) {
        settings.local.checkpoints = settled;
    }
}

/// Where objects of some kind go: a folder, a bucket, or nowhere.
pub(super) fn place(
    what: &str,
    to: &Given<String>,
    default: &str,
    built: &Built,
    mistakes: &mut Mistakes<'_>,
) -> String {
    let Some(given) = to else { return default.to_owned() };
    let to = given.get_ref();
    if to.is_empty() || (to.contains("://") && !to.starts_with("s3://")) {
        let message = format!("`to` is \"{to}\", which is no place for {what}");
        mistakes.add(given.span(), message, "write a folder, \"s3://bucket/prefix\" or \"none\"");
    }
    if to.starts_with("s3://") && !built.s3 {
        let hint = "build it with `cargo build --release --features s3`, or name a folder";
        mistakes.add(given.span(), "this build knows no S3", hint);
    }
    to.clone()
}
