//! `[views.…]`: what is kept and written of each view.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use operators::time::Tick;
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::Section;
use super::sources::WrittenSource;
use crate::configuration::mistake::{Mistakes, nearest_or_all};
use crate::configuration::settings::Settings;
use crate::configuration::table::{Given, Table};
use crate::configuration::values::{DURATION_POSITIVE_MS, choice, flag, integer, unsigned};
use crate::view::{Begins, ViewId};

/// What is kept and written of one view, as `[views.session_minutes]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WrittenView {
    /// Whether there is such a view at all. Default: true.
    enabled: Given<bool>,
    /// How long rows stay in a view that would otherwise grow for ever. Minutes leave this far behind the watermark:
    /// `session_minutes` (default: 86400000, 1 day) and `variant_minutes` (2592000000, 30 days). Records leave this long
    /// after they came: `late_events` and `dead_letters` (604800000, 7 days). Other views have no such key. These defaults are for
    /// runs with a topic: where there are files only, rows stay.
    retention_ms: Given<i64>,
    /// How many ticks back the view can still be read; 0 to 1000000. Default: 600.
    history_ticks: Given<i64>,
    /// The most memory for that, in bytes; reading back ends sooner where it is used up. Default: 67108864, which is 64 MiB.
    history_bytes: Given<i64>,
    /// What is written: `"changes"` (every change), `"sealed"` (rows once the watermark has passed their minute; only
    /// `session_minutes` and `variant_minutes`) or `"none"`. Default: `"changes"`.
    sink: Given<String>,
    /// Into how many outputs the rows are divided, by a hash of their key; 1 to 64. Default: 1.
    shards: Given<i64>,
}

const SHARDS: RangeInclusive<i64> = 1..=64;
const HISTORY_TICKS: RangeInclusive<i64> = 0..=1_000_000;
const HISTORY_BYTES: RangeInclusive<i64> = 0..=i64::MAX;

/// What is kept and written of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViewSettings {
    /// Whether there is such a view.
    pub enabled: bool,
    /// How far behind the watermark, or how long after they came, rows leave; `None` where they stay.
    pub retention_ms: Option<i64>,
    /// What its sink receives.
    pub sink: SinkSetting,
    /// The number of its sink's outputs.
    pub shards: u32,
    /// The tick from which it holds: 0, unless it was added to a run that was there.
    #[serde(default, skip_serializing_if = "is_from_the_start")]
    pub since: Tick,
    /// How it began then; told of views that were added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began: Option<Begins>,
}

impl ViewSettings {
    /// What holds where nothing is said.
    pub fn default_of(view: ViewId) -> Self {
        let retention_ms = view.stays().default_ms();
        ViewSettings { enabled: true, retention_ms, sink: SinkSetting::Changes, shards: 1, since: 0, began: None }
    }
}

fn is_from_the_start(since: &Tick) -> bool {
    *since == 0
}

/// What a view's sink receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SinkSetting {
    /// Every change.
    Changes,
    /// Rows once their minute is sealed.
    Sealed,
    /// Nothing: there is no sink.
    None,
}

/// How far back a view can be read: to whichever bound comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// In ticks.
    pub ticks: u64,
    /// In bytes of memory.
    pub bytes: u64,
}

impl Section for WrittenView {
    type Read = Vec<(Spanned<String>, Table<Self>)>;
    type Needs<'a> = (&'a <WrittenSource as Section>::Settled,);
    type Settled = (BTreeMap<ViewId, ViewSettings>, BTreeMap<ViewId, History>);

    fn settle(read: &Self::Read, (sources,): Self::Needs<'_>, mistakes: &mut Mistakes<'_>) -> Self::Settled {
        let default_of = |view| match ViewSettings::default_of(view) {
            settings if sources.are_files() => ViewSettings { retention_ms: None, ..settings },
            settings => settings,
        };
        let defaults = ViewId::all().map(|view| (view, default_of(view)));
        let mut views: BTreeMap<ViewId, ViewSettings> = defaults.collect();
        let default = History { ticks: 600, bytes: 64 << 20 };
        let mut history: BTreeMap<ViewId, History> = ViewId::all().map(|view| (view, default)).collect();
        for (name, table) in read {
            let Some(view) = ViewId::of_name(name.get_ref()) else {
                let known = ViewId::all().map(ViewId::name).collect::<Vec<_>>();
                let message = format!("there is no view `{}`", name.get_ref());
                mistakes.add(name.span(), message, nearest_or_all(name.get_ref(), &known));
                continue;
            };
            let WrittenView { history_ticks, history_bytes, .. } = &table.written;
            views.insert(view, settings_of(view, &table.written, default_of(view), mistakes));
            let ticks = unsigned("history_ticks", history_ticks, HISTORY_TICKS, default.ticks, mistakes);
            let bytes = unsigned("history_bytes", history_bytes, HISTORY_BYTES, default.bytes, mistakes);
            history.insert(view, History { ticks, bytes });
        }
        (views, history)
    }

    fn put((views, history): Self::Settled, settings: &mut Settings) {
        settings.recorded.views = views;
        settings.local.history = history;
    }
}

fn settings_of(
    view: ViewId,
    written: &WrittenView,
    default: ViewSettings,
    mistakes: &mut Mistakes<'_>,
) -> ViewSettings {
    let sinks = [("changes", SinkSetting::Changes), ("sealed", SinkSetting::Sealed), ("none", SinkSetting::None)];
    let sink = choice("sink", &written.sink, &sinks, mistakes).unwrap_or(default.sink);
    if let (SinkSetting::Sealed, false, Some(given)) = (sink, view.stays().is_minutes(), &written.sink) {
        let message = format!("rows of `{}` are never sealed, since they are of no minute", view.name());
        mistakes.add(given.span(), message, "write \"changes\" or \"none\"");
    }
    let retention_ms = match (view.stays().default_ms(), &written.retention_ms) {
        (Some(default_ms), given @ Some(_)) => {
            Some(integer("retention_ms", given, DURATION_POSITIVE_MS, default_ms, mistakes))
        }
        (Some(_), None) => default.retention_ms,
        (None, Some(given)) => {
            let message = format!("rows of `{}` stay, since they say how things are", view.name());
            mistakes.add(given.span(), message, "leave `retention_ms` out");
            None
        }
        (None, None) => None,
    };
    ViewSettings {
        enabled: flag(&written.enabled).unwrap_or(default.enabled),
        retention_ms,
        sink,
        shards: unsigned("shards", &written.shards, SHARDS, default.shards, mistakes),
        since: 0,
        began: None,
    }
}
