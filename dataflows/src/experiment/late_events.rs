//! Which experiment events came too late to count?
//!
//! A late event would change minutes that are final, so it is set aside, with its place in the input.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use timely::dataflow::StreamVec;

use operators::release::{SetAside, SetAsideReason};
use operators::route::stamp;
use operators::time::{Tick, TimeMs};
use operators::topology::{PartitionId, Topology};

use crate::build::Build;
use crate::catalog::Catalog;
use crate::configuration::Recorded;
use crate::experiment::event::{Event, EventKind};
use crate::names::Name;
use crate::view::{Arranged, Cell, Column, Columns, Stays, Unit, View};

/// The view `late_events`.
#[derive(Debug)]
pub struct LateEvents;

/// A row of `late_events`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LateEvent {
    /// The partition it came from.
    pub partition: Name,
    /// Its offset there.
    pub offset: u64,
    /// Whose event.
    pub tenant: Name,
    /// Its id.
    pub id: Name,
    /// Its session.
    pub session: Name,
    /// Its unit; empty where unknown.
    pub unit: Name,
    /// What happened.
    pub kind: EventKind,
    /// When it happened.
    pub event_time_ms: TimeMs,
    /// Minor units.
    pub value: i64,
    /// Pieces.
    pub quantity: i64,
    /// The product; empty where there is none.
    pub item: Name,
}

impl View for LateEvents {
    type Row = LateEvent;
    const NAME: &'static str = "late_events";
    const QUESTION: &'static str = "experiment events that came behind their lane, set aside";
    const STAYS: Stays = Stays::For { default_ms: 7 * 86_400_000 };
    const ARRANGED: Arranged = Arranged::Never;

    fn columns(_: &Recorded) -> Columns<LateEvent> {
        let columns = vec![
            Column::text("partition", "the partition it came from", |row: &LateEvent, _| Cell::Text(&row.partition)),
            Column::integer("offset", "its offset there", |row: &LateEvent, _| Cell::Integer(row.offset as i64))
                .counts(Unit::Offset),
            Column::text("tenant", "whose event", |row: &LateEvent, _| Cell::Text(&row.tenant)).tenant(),
            Column::text("id", "its id", |row: &LateEvent, _| Cell::Text(&row.id)),
            Column::text("session", "its session", |row: &LateEvent, _| Cell::Text(&row.session)).personal(),
            Column::text("unit", "its unit; empty where unknown", |row: &LateEvent, _| Cell::Text(&row.unit))
                .personal(),
            Column::word("kind", "what happened", |row: &LateEvent, _| Cell::Text(row.kind.name())),
            Column::time("event_time_ms", "when it happened", |row: &LateEvent, _| Cell::Time(row.event_time_ms)),
            Column::integer("value", "its amount", |row: &LateEvent, _| Cell::Integer(row.value))
                .counts(Unit::MinorUnits),
            Column::integer("quantity", "its pieces", |row: &LateEvent, _| Cell::Integer(row.quantity))
                .counts(Unit::Pieces),
            Column::text("item", "the product; empty where there is none", |row: &LateEvent, _| Cell::Text(&row.item)),
        ];
        Columns::new(2, columns)
    }

    fn example() -> LateEvent {
        LateEvent {
            partition: Name::new("events-0"),
            offset: 7,
            tenant: Name::new("north"),
            id: Name::new("id"),
            session: Name::new("session"),
            unit: Name::new("unit"),
            kind: EventKind::Click,
            event_time_ms: 0,
            value: 0,
            quantity: 0,
            item: Name::new("item"),
        }
    }
}

/// The place that late events had among the rows of all views: part of the checkpoints' keys.
const CHECKPOINT_TAG: u32 = 3;

/// Publishes the late ones among the events that were set aside.
pub(super) fn publish<'scope>(build: &mut Build<'_, 'scope>, aside: StreamVec<'scope, Tick, SetAside<Event>>) {
    if !build.is_wanted::<LateEvents>() {
        return;
    }
    let (topology, catalog) = (Arc::clone(&build.plan().topology), Arc::clone(&build.plan().catalog));
    let late = stamp(aside, "LateEventRows", move |aside| match aside {
        SetAside { partition, offset, reason: SetAsideReason::Late(event) } => {
            Some(row_of(partition, offset, event, &topology, &catalog))
        }
        _ => None,
    });
    build.publish_for_a_while::<LateEvents, CHECKPOINT_TAG>(late, "RouteLateEvents", "RetainLateEvents");
}

/// The row of an event that came too late.
pub fn row_of(partition: PartitionId, offset: u64, event: Event, topology: &Topology, catalog: &Catalog) -> LateEvent {
    let Event { tenant, kind, event_time_ms, value, quantity, id, session, unit, item, .. } = event;
    LateEvent {
        partition: Name::new(topology.name_of(partition)),
        offset,
        tenant: catalog.tenant_name(tenant).clone(),
        id,
        session,
        unit,
        kind,
        event_time_ms,
        value,
        quantity,
        item,
    }
}
