//! `[time]`: ticks, and how much disorder and silence sources may have.

use std::ops::RangeInclusive;

use serde::Deserialize;

use super::Section;
use crate::configuration::mistake::Mistakes;
use crate::configuration::settings::Settings;
use crate::configuration::table::{Given, Table};
use crate::configuration::values::{DURATION_MAX_MS, integer, unsigned};

/// When ticks are minted, and how much disorder and silence is allowed. The last four hold for every source that does not
/// say otherwise; they, and how ticks are minted, may change at a restart.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WrittenTime {
    /// A tick is minted this long after the last one, if there is anything to read; 1 to 1000. Default: 100.
    tick_ms: Given<i64>,
    /// The most input of one tick, shared among the partitions by weight; 4096 to 1073741824. Input is taken in pieces of
    /// up to 64 KiB, more where one line is longer; a tick takes one at least, even if that is more. Default: 2097152.
    tick_bytes: Given<i64>,
    /// How many ticks may be worked on at once; 1 to 64. Default: 4.
    in_flight: Given<i64>,
    /// A record this far behind the newest of its lane is still on time. A lane is a tenant's records in one partition; of
    /// facts, each fact source's. Of files each source's own `lateness_ms` counts, or else their disorder. Default: 600000, which
    /// is 10 minutes.
    lateness_ms: Given<i64>,
    /// A lane whose records keep coming, but whose clock stands still, holds the watermark back for no longer than this.
    /// Default: 1800000, which is 30 minutes.
    hold_ms: Given<i64>,
    /// A lane that is silent for this long no longer holds the watermark back. Default: 3600000, which is 1 hour.
    idle_ms: Given<i64>,
    /// An event time this far ahead of the clock (files: of when the run first started) is a dead letter. Default: 60000.
    skew_max_ms: Given<i64>,
}

/// There is a tick every second anyway.
const TICK_MS: RangeInclusive<i64> = 1..=1_000;
const TICK_BYTES: RangeInclusive<i64> = 4_096..=1 << 30;
/// The most ticks that any run may have given and not yet durable in its outputs. An older build took no more, either, so what
/// lies further back in a remap log is in every output of its run.
pub const IN_FLIGHT_MAX: u64 = 64;

const IN_FLIGHT: RangeInclusive<i64> = 1..=IN_FLIGHT_MAX as i64;
const DURATION_MS: RangeInclusive<i64> = 0..=DURATION_MAX_MS;

/// When ticks are minted, and what holds for sources that do not say otherwise.
pub(super) struct TimeSettings {
    tick_ms: i64,
    tick_bytes: u64,
    in_flight: usize,
    pub(super) times: Times,
}

/// How much disorder and silence a source may have.
#[derive(Clone, Copy)]
pub(super) struct Times {
    pub(super) lateness_ms: i64,
    pub(super) hold_ms: i64,
    pub(super) idle_ms: i64,
    pub(super) skew_max_ms: i64,
}

impl Times {
    const DEFAULT: Times = Times { lateness_ms: 600_000, hold_ms: 1_800_000, idle_ms: 3_600_000, skew_max_ms: 60_000 };

    /// These, where nothing else is given.
    pub(super) fn overridden(
        self,
        [lateness, hold, idle, skew_max]: [&Given<i64>; 4],
        mistakes: &mut Mistakes<'_>,
    ) -> Times {
        let mut duration = |name, given, default| integer(name, given, DURATION_MS, default, mistakes);
        Times {
            lateness_ms: duration("lateness_ms", lateness, self.lateness_ms),
            hold_ms: duration("hold_ms", hold, self.hold_ms),
            idle_ms: duration("idle_ms", idle, self.idle_ms),
            skew_max_ms: duration("skew_max_ms", skew_max, self.skew_max_ms),
        }
    }
}

impl Section for WrittenTime {
    type Read = Table<Self>;
    type Needs<'a> = ();
    type Settled = TimeSettings;

    fn settle(read: &Table<Self>, (): (), mistakes: &mut Mistakes<'_>) -> TimeSettings {
        let time = &read.written;
        let times = [&time.lateness_ms, &time.hold_ms, &time.idle_ms, &time.skew_max_ms];
        TimeSettings {
            times: Times::DEFAULT.overridden(times, mistakes),
            tick_ms: integer("tick_ms", &time.tick_ms, TICK_MS, 100, mistakes),
            tick_bytes: unsigned("tick_bytes", &time.tick_bytes, TICK_BYTES, 2 << 20, mistakes),
            in_flight: unsigned("in_flight", &time.in_flight, IN_FLIGHT, 4, mistakes),
        }
    }

    fn put(settled: TimeSettings, settings: &mut Settings) {
        let TimeSettings { tick_ms, tick_bytes, in_flight, times: _ } = settled;
        let local = &mut settings.local;
        (local.tick_ms, local.tick_bytes, local.in_flight) = (tick_ms, tick_bytes, in_flight);
    }
}
