//! Does each numbered feed of facts still speak, and has everything of it come?
//!
//! The fold beside this file finds it out; here are the row and the view. Rows hold instants, never ages: they change at
//! once where a gap opens or closes and where a feed falls silent or speaks again, otherwise once a minute at most.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use timely::dataflow::StreamVec;

use operators::fold::rows;
use operators::route::route;
use operators::streams::StreamReport;
use operators::time::{Tick, TimeMs};

use super::{FeedHealth, FeedHealthFold, FeedKey, FeedState, SILENT_AFTER_MS};
use crate::build::Build;
use crate::configuration::Recorded;
use crate::names::Name;
use crate::view::{Cell, Column, Columns, Stays, Unit, View};

/// The view `feed_health`.
#[derive(Debug)]
pub struct Feeds;

/// A row of `feed_health`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FeedRow {
    /// Whose feed.
    pub tenant: Name,
    /// The system that speaks.
    pub source: Name,
    /// The node of which it speaks.
    pub node: Name,
    /// Which of its sequences.
    pub epoch: u32,
    /// What is to be thought of it.
    pub state: FeedState,
    /// The greatest sequence number that came.
    pub last_sequence: u64,
    /// Runs of numbers that are missing between those that came.
    pub open_gaps: u64,
    /// When the first of these gaps was seen; absent where nobody saw it begin, and where there is none.
    pub oldest_gap_ms: Option<TimeMs>,
    /// The greatest event time.
    pub last_event_ms: TimeMs,
    /// When it last spoke, by recorded time; absent before there is any.
    pub last_spoke_ms: Option<TimeMs>,
}

impl View for Feeds {
    type Row = FeedRow;
    const NAME: &'static str = "feed_health";
    const QUESTION: &'static str = "whether each numbered feed of facts still speaks, and what of it is missing";
    const STAYS: Stays = Stays::Always;

    fn columns(_: &Recorded) -> Columns<FeedRow> {
        let columns = vec![
            Column::text("tenant", "whose feed", |row: &FeedRow, _| Cell::Text(&row.tenant)).tenant(),
            Column::text("source", "the system that speaks", |row: &FeedRow, _| Cell::Text(&row.source)),
            Column::text("node", "the node of which it speaks", |row: &FeedRow, _| Cell::Text(&row.node)),
            Column::integer("epoch", "which of its sequences", |row: &FeedRow, _| Cell::Integer(row.epoch.into()))
                .counts(Unit::None),
            Column::word("state", "`live`, `gapped` or `silent`", |row: &FeedRow, _| Cell::Text(row.state.name())),
            Column::integer("last_sequence", "the greatest sequence number that came", |row: &FeedRow, _| {
                Cell::Integer(row.last_sequence as i64)
            })
            .counts(Unit::Offset),
            Column::integer(
                "open_gaps",
                "runs of numbers that are missing between those that came",
                |row: &FeedRow, _| Cell::Integer(row.open_gaps as i64),
            ),
            Column::time("oldest_gap_ms", "when the first of these gaps was seen", |row: &FeedRow, _| {
                Cell::or_absent(row.oldest_gap_ms, Cell::Time)
            })
            .optional(),
            Column::time("last_event_ms", "the greatest event time", |row: &FeedRow, _| Cell::Time(row.last_event_ms)),
            Column::time("last_spoke_ms", "when it last spoke, by recorded time", |row: &FeedRow, _| {
                Cell::or_absent(row.last_spoke_ms, Cell::Time)
            })
            .optional(),
        ];
        Columns::new(4, columns)
    }

    fn example() -> FeedRow {
        FeedRow {
            tenant: Name::new("north"),
            source: Name::new("pos"),
            node: Name::new("n1"),
            epoch: 1,
            state: FeedState::Gapped,
            last_sequence: 12,
            open_gaps: 1,
            oldest_gap_ms: Some(60_000),
            last_event_ms: 120_000,
            last_spoke_ms: Some(120_000),
        }
    }
}

/// Folds what release tells of streams, and publishes it.
pub(crate) fn publish<'scope>(build: &mut Build<'_, 'scope>, reports: StreamVec<'scope, Tick, StreamReport<FeedKey>>) {
    if !build.is_wanted::<Feeds>() {
        return;
    }
    let fold = std::rc::Rc::new(FeedHealthFold::new(SILENT_AFTER_MS));
    let postings = route(reports, "RouteFeedHealth", std::rc::Rc::clone(&fold));
    let catalog = Arc::clone(&build.plan().catalog);
    let named = rows(move |_: &FeedHealthFold, key: &FeedKey, health: &FeedHealth| {
        Some(row_of(catalog.tenant_name(key.tenant).clone(), key, health))
    });
    let feeds = build.fold(postings, fold, named);
    build.publish::<Feeds>(feeds);
}

/// The row of a feed.
pub fn row_of(tenant: Name, key: &FeedKey, health: &FeedHealth) -> FeedRow {
    FeedRow {
        tenant,
        source: key.source.clone(),
        node: key.node.clone(),
        epoch: key.epoch,
        state: health.state,
        last_sequence: health.last_sequence,
        open_gaps: health.open_gaps,
        oldest_gap_ms: health.oldest_gap_ms,
        last_event_ms: health.last_event_ms,
        last_spoke_ms: health.last_spoke_ms,
    }
}
