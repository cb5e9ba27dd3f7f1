//! What did each session do in each of its minutes?
//!
//! ```sql
//! SELECT tenant, session, unit, minute(event_time), count(kind = 'view') AS views, ... FROM events GROUP BY 1, 2, 3, 4
//! ```
//!
//! The fold forgets a minute once it is sealed; its row stays in the view until it is out of retention, which another
//! fold sees to.

use std::rc::Rc;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use operators::retain::{Retain, Until};
use operators::time::{MINUTE_MS, TimeMs};

use crate::build::{Build, Changes, stamped};
use crate::catalog::Catalog;
use crate::configuration::Recorded;
use crate::experiment::measures::{Measures, measure_columns};
use crate::experiment::sessions::SessionMinuteRow;
use crate::names::Name;
use crate::view::{Arranged, Cell, Column, Columns, Stays, View};

/// The view `session_minutes`.
#[derive(Debug)]
pub struct SessionMinutes;

/// A row of `session_minutes`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionMinute {
    /// Whose session.
    pub tenant: Name,
    /// The session's id.
    pub session: Name,
    /// Its unit; empty where unknown.
    pub unit: Name,
    /// The minute's first millisecond.
    pub minute_ms: TimeMs,
    /// What happened in it.
    pub measures: Measures,
}

impl View for SessionMinutes {
    type Row = SessionMinute;
    const NAME: &'static str = "session_minutes";
    const QUESTION: &'static str = "each session's minutes, with what happened in them";
    const STAYS: Stays = Stays::Minutes { default_ms: 86_400_000 };
    const ARRANGED: Arranged = Arranged::Never;

    fn columns(_: &Recorded) -> Columns<SessionMinute> {
        let mut columns = vec![
            Column::text("tenant", "whose session", |row: &SessionMinute, _| Cell::Text(&row.tenant)).tenant(),
            Column::text("session", "the session's id", |row: &SessionMinute, _| Cell::Text(&row.session)).personal(),
            Column::text("unit", "its unit; empty where unknown", |row: &SessionMinute, _| Cell::Text(&row.unit))
                .personal(),
            Column::time("minute_ms", "the minute's first millisecond", |row: &SessionMinute, _| {
                Cell::Time(row.minute_ms)
            })
            .minute(),
        ];
        columns.extend(measure_columns(|row: &SessionMinute, at| row.measures.cell(at)));
        Columns::new(4, columns)
    }

    fn example() -> SessionMinute {
        SessionMinute {
            tenant: Name::new("north"),
            session: Name::new("session"),
            unit: Name::new("unit"),
            minute_ms: 0,
            measures: Measures::default(),
        }
    }
}

/// Publishes the minutes that the fold shows, and takes them back once they are out of retention.
pub(super) fn publish<'scope>(build: &mut Build<'_, 'scope>, minutes: Changes<'scope, SessionMinuteRow>) {
    let catalog = Arc::clone(&build.plan().catalog);
    let retention_ms = build.plan().view::<SessionMinutes>().retention_ms;
    let until = move |row: &SessionMinuteRow| {
        let end_ms = (row.key.minute + 1) * MINUTE_MS;
        Until::Watermark(catalog.event_group(row.key.session.tenant), end_ms.saturating_add(retention_ms))
    };
    let retain = Retain { name: "RetainSessionMinutes", until, rows: std::marker::PhantomData };
    let retained = build.retain(minutes, "RouteSessionMinutes", Rc::new(retain));
    let catalog = Arc::clone(&build.plan().catalog);
    let named = stamped(retained, "SessionMinuteRows", move |row| row_of(row, &catalog));
    build.publish::<SessionMinutes>(named);
}

/// The row of a session's minute.
pub fn row_of(row: SessionMinuteRow, catalog: &Catalog) -> SessionMinute {
    let session = row.key.session;
    SessionMinute {
        tenant: catalog.tenant_name(session.tenant).clone(),
        session: session.session,
        unit: session.unit,
        minute_ms: row.key.minute * MINUTE_MS,
        measures: row.measures,
    }
}
