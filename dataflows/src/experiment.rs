//! Experiments: events, sessions, units, variants.
//!
//! ```text
//! event -> session minute -> variant minute          time series, to be watched
//!       -> session start  -> variant minute
//!       -> unit           -> variant total           exact sums over units: what inference reads
//!                         -> unit overlap            of pairs of experiments
//!                         -> variant minute          of experiments that count from exposure
//! late event -> late events
//! ```

pub mod assignments;
pub mod decode;
pub mod event;
mod kind;
pub mod late_events;
pub mod measures;
pub mod rollups;
pub mod session_minutes;
pub mod sessions;
pub mod specification;
pub mod unit_overlap;
pub mod units;
pub mod variant_minutes;
pub mod variant_totals;

use std::rc::Rc;
use std::sync::Arc;

use timely::dataflow::StreamVec;
use timely::dataflow::operators::Concat;

use operators::fold::{combined, rows};
use operators::release::Released;
use operators::route::route_to_three;
use operators::time::Tick;

use crate::build::Build;
use assignments::{Assignments, VariantKey, VariantList};
use event::Event;
pub use kind::ExperimentEvents;
use rollups::{
    Block, ListMinute, MinuteDelta, VariantMinuteKey, minute_of_session, minute_of_start, minute_of_unit,
    spread_minutes, spread_totals, total_of_unit,
};
use session_minutes::SessionMinutes;
use sessions::{SessionMinutesFold, SessionStartsFold};
use unit_overlap::view::UnitOverlaps;
use units::UnitsFold;

/// What becomes of accepted experiment events.
pub fn build<'scope>(build: &mut Build<'_, 'scope>, events: StreamVec<'scope, Tick, Released<Event>>) {
    let catalog = Arc::clone(&build.plan().catalog);
    let keep_ms = build.plan().session_keep_ms;
    let assignments = Rc::new(Assignments::new(catalog));
    let minutes_fold = Rc::new(SessionMinutesFold { assignments: Rc::clone(&assignments) });
    let starts_fold = Rc::new(SessionStartsFold { assignments: Rc::clone(&assignments), keep_ms });
    let overlap = build.is_wanted::<UnitOverlaps>().then(|| Arc::clone(&build.plan().overlap));
    let shows_membership = overlap.is_some();
    let units_fold = Rc::new(UnitsFold { assignments: Rc::clone(&assignments), keep_ms, shows_membership });
    let place_key = build.place_key();
    let folds = (Rc::clone(&minutes_fold), Rc::clone(&starts_fold), Rc::clone(&units_fold));
    let (to_minutes, to_starts, to_units) = route_to_three(events, "RouteEvents", folds, place_key);

    let spread = || {
        let assignments = Rc::clone(&assignments);
        move |of: &ListMinute, give: &mut dyn FnMut(VariantMinuteKey)| spread_minutes(&assignments, *of, give)
    };
    let of_sessions = combined(
        |_: &SessionMinutesFold, key, old, new, give| minute_of_session(key.minute, old, new, give),
        spread(),
        MinuteDelta::add,
        place_key,
    );
    let minute_rows = || rows(|fold: &SessionMinutesFold, key, value| Some(fold.row(key, value)));
    let shown = build.is_wanted::<SessionMinutes>().then(minute_rows);
    let (shown, of_sessions) = build.fold(to_minutes, minutes_fold, (shown, of_sessions));
    if let Some(shown) = shown {
        session_minutes::publish(build, shown);
    }
    let of_starts = combined(
        |_: &SessionStartsFold, _, old, new, give| minute_of_start(old, new, give),
        spread(),
        MinuteDelta::add,
        place_key,
    );
    let of_starts = build.fold(to_starts, starts_fold, of_starts);
    let of_units = combined(
        |_: &UnitsFold, _, old, new, give| minute_of_unit(old, new, give),
        spread(),
        MinuteDelta::add,
        place_key,
    );
    let totals = combined(
        |_: &UnitsFold, _, old, new, give| total_of_unit(old, new, give),
        move |list: &VariantList, give: &mut dyn FnMut(VariantKey)| spread_totals(&assignments, *list, give),
        Block::add,
        place_key,
    );
    let overlaps = overlap.map(unit_overlap::view::outlet);
    let (of_units, (totals, overlaps)) = build.fold(to_units, units_fold, (of_units, (totals, overlaps)));

    variant_minutes::publish(build, of_sessions.concat(of_starts).concat(of_units));
    variant_totals::publish(build, totals);
    if let Some(overlaps) = overlaps {
        unit_overlap::view::publish(build, overlaps);
    }
}
