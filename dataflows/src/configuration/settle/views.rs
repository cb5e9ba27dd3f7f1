//! What is kept and written of each view.

use std::collections::BTreeMap;

use toml::Spanned;

use super::super::bounds::{DURATION_POSITIVE_MS, HISTORY_BYTES, HISTORY_TICKS, SHARDS};
use super::super::mistake::{Mistakes, nearest_or_all};
use super::super::section::Section;
use super::super::settings::{History, SinkSetting, ViewSettings};
use super::super::written::WrittenView;
use super::values::{choice, flag, integer, unsigned};
use crate::view::ViewId;

pub(super) fn settle(
    written: &[(Spanned<String>, Section<WrittenView>)],
    mistakes: &mut Mistakes<'_>,
) -> (BTreeMap<ViewId, ViewSettings>, BTreeMap<ViewId, History>) {
    let defaults = ViewId::all().map(|view| (view, ViewSettings::default_of(view)));
    let mut views: BTreeMap<ViewId, ViewSettings> = defaults.collect();
    let default = History { ticks: 600, bytes: 64 << 20 };
    let mut history: BTreeMap<ViewId, History> = ViewId::all().map(|view| (view, default)).collect();
    for (name, section) in written {
        let Some(view) = ViewId::of_name(name.get_ref()) else {
            let known = ViewId::all().map(ViewId::name).collect::<Vec<_>>();
            let message = format!("there is no view `{}`", name.get_ref());
            mistakes.add(name.span(), message, nearest_or_all(name.get_ref(), &known));
            continue;
        };
        let WrittenView { history_ticks, history_bytes, .. } = &section.written;
        views.insert(view, settings_of(view, &section.written, mistakes));
        let ticks = unsigned("history_ticks", history_ticks, HISTORY_TICKS, default.ticks, mistakes);
        let bytes = unsigned("history_bytes", history_bytes, HISTORY_BYTES, default.bytes, mistakes);
        history.insert(view, History { ticks, bytes });
    }
    (views, history)
}

fn settings_of(view: ViewId, written: &WrittenView, mistakes: &mut Mistakes<'_>) -> ViewSettings {
    let default = ViewSettings::default_of(view);
    let sinks = [("changes", SinkSetting::Changes), ("sealed", SinkSetting::Sealed), ("none", SinkSetting::None)];
    let sink = choice("sink", &written.sink, &sinks, mistakes).unwrap_or(default.sink);
    if let (SinkSetting::Sealed, false, Some(given)) = (sink, view.stays().is_minutes(), &written.sink) {
        let message = format!("rows of `{}` are never sealed, since they are of no minute", view.name());
        mistakes.add(given.span(), message, "write \"changes\" or \"none\"");
    }
    let retention_ms = match (default.retention_ms, &written.retention_ms) {
        (Some(default_ms), given) => Some(integer("retention_ms", given, DURATION_POSITIVE_MS, default_ms, mistakes)),
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
    }
}
