//! What did all sessions of each variant do in each minute?
//!
//! ```sql
//! SELECT tenant, experiment, variant, minute, count(*) AS sessions_active, sum(views), ...
//! FROM session_minutes JOIN assignments USING (tenant, unit) GROUP BY 1, 2, 3, 4
//! ```
//!
//! This is a time series to be watched. It is no inference: sessions of one unit are not independent.

use std::rc::Rc;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use timely::dataflow::StreamVec;

use operators::fold::{Posting, rows};
use operators::time::{Tick, TimeMs};

use crate::build::Build;
use crate::configuration::Recorded;
use crate::experiment::measures::{Measures, measure_columns};
use crate::experiment::rollups::{MinuteDelta, VariantMinuteKey, VariantMinutesFold};
use crate::names::Name;
use crate::view::{Arranged, Cell, Column, Columns, Stays, View};

/// The view `variant_minutes`.
#[derive(Debug)]
pub struct VariantMinutes;

/// A row of `variant_minutes`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VariantMinute {
    /// Whose experiment.
    pub tenant: Name,
    /// The experiment's name.
    pub experiment: Name,
    /// The variant's name.
    pub variant: Name,
    /// The minute's first millisecond.
    pub minute_ms: TimeMs,
    /// Sessions with an event in the minute.
    pub sessions_active: i64,
    /// Sessions whose first event lies in the minute.
    pub sessions_started: i64,
    /// What happened in it.
    pub measures: Measures,
}

impl View for VariantMinutes {
    type Row = VariantMinute;
    const NAME: &'static str = "variant_minutes";
    const QUESTION: &'static str =
        "minute rollups of each experiment's variants over sessions: time series, not inference";
    const STAYS: Stays = Stays::Minutes { default_ms: 30 * 86_400_000 };
    const ARRANGED: Arranged = Arranged::Never;

    fn columns(_: &Recorded) -> Columns<VariantMinute> {
        let mut columns = vec![
            Column::text("tenant", "whose experiment", |row: &VariantMinute, _| Cell::Text(&row.tenant)).tenant(),
            Column::text("experiment", "the experiment's name", |row: &VariantMinute, _| Cell::Text(&row.experiment)),
            Column::text("variant", "the variant's name", |row: &VariantMinute, _| Cell::Text(&row.variant)),
            Column::time("minute_ms", "the minute's first millisecond", |row: &VariantMinute, _| {
                Cell::Time(row.minute_ms)
            })
            .minute(),
            Column::integer("sessions_active", "sessions with an event in the minute", |row: &VariantMinute, _| {
                Cell::Integer(row.sessions_active)
            }),
            Column::integer(
                "sessions_started",
                "sessions whose first event lies in the minute",
                |row: &VariantMinute, _| Cell::Integer(row.sessions_started),
            )
            .additive(),
        ];
        columns.extend(measure_columns(|row: &VariantMinute, at| row.measures.cell(at)));
        Columns::new(4, columns)
    }

    fn example() -> VariantMinute {
        VariantMinute {
            tenant: Name::new("north"),
            experiment: Name::new("checkout"),
            variant: Name::new("blue"),
            minute_ms: 0,
            sessions_active: 1,
            sessions_started: 1,
            measures: Measures::default(),
        }
    }
}

/// Folds differences into minutes of variants, and publishes them.
pub(super) fn publish<'scope>(
    build: &mut Build<'_, 'scope>,
    differences: StreamVec<'scope, Tick, Posting<VariantMinuteKey, MinuteDelta>>,
) {
    let retention_ms = build.plan().view::<VariantMinutes>().retention_ms;
    let fold = Rc::new(VariantMinutesFold { catalog: Arc::clone(&build.plan().catalog), retention_ms });
    let named = rows(|fold: &VariantMinutesFold, key, sums| Some(fold.row(key, sums)));
    let minutes = build.fold(differences, fold, named);
    build.publish::<VariantMinutes>(minutes);
}
