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
use operators::time::Tick;

use super::{FeedHealth, FeedHealthFold, FeedKey, FeedState, SILENT_AFTER_MS};
use crate::build::{Build, GraphPlan};
use crate::configuration::Recorded;
use crate::inventory::worst_feeds::WorstFeeds;
use crate::names::Name;
use crate::view::{Begins, Cell, Column, Columns, Stays, Unit, View};

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
    /// How it is.
    pub health: FeedHealth,
}

impl View for Feeds {
    type Row = FeedRow;
    const NAME: &'static str = "feed_health";
    const QUESTION: &'static str = "whether each numbered feed of facts still speaks, and what of it is missing";
    const STAYS: Stays = Stays::Always;
    const BEGINS: Begins = Begins::Empty;

    fn columns(_: &Recorded) -> Columns<FeedRow> {
        let mut columns = vec![
            Column::text("tenant", "whose feed", |row: &FeedRow, _| Cell::Text(&row.tenant)).tenant(),
            Column::text("source", "the system that speaks", |row: &FeedRow, _| Cell::Text(&row.source)),
            Column::text("node", "the node of which it speaks", |row: &FeedRow, _| Cell::Text(&row.node)),
            Column::integer("epoch", "which of its sequences", |row: &FeedRow, _| Cell::Integer(row.epoch.into()))
                .counts(Unit::None),
        ];
        columns.extend(health_columns());
        Columns::new(4, columns)
    }

    fn example() -> FeedRow {
        FeedRow {
            tenant: Name::new("north"),
            source: Name::new("pos"),
            node: Name::new("n1"),
            epoch: 1,
            health: FeedHealth {
                state: FeedState::Gapped,
                last_sequence: 12,
                open_gaps: 1,
                oldest_gap_ms: Some(60_000),
                last_event_ms: 120_000,
                last_spoke_ms: Some(120_000),
            },
        }
    }
}

impl AsRef<FeedHealth> for FeedRow {
    fn as_ref(&self) -> &FeedHealth {
        &self.health
    }
}

/// The columns of a feed's health, of a row that has one.
pub(crate) fn health_columns<R: AsRef<FeedHealth>>() -> [Column<R>; 6] {
    [
        Column::word("state", "`live`, `gapped` or `silent`", |row: &R, _| Cell::Text(row.as_ref().state.name())),
        Column::integer("last_sequence", "the greatest sequence number that came", |row: &R, _| {
            Cell::Integer(row.as_ref().last_sequence as i64)
        })
        .counts(Unit::Offset),
        Column::integer("open_gaps", "runs of numbers that are missing between those that came", |row: &R, _| {
            Cell::Integer(row.as_ref().open_gaps as i64)
        }),
        Column::time("oldest_gap_ms", "when the first of these gaps was seen", |row: &R, _| {
            Cell::or_absent(row.as_ref().oldest_gap_ms, Cell::Time)
        })
        .optional(),
        Column::time("last_event_ms", "the greatest event time", |row: &R, _| Cell::Time(row.as_ref().last_event_ms)),
        Column::time("last_spoke_ms", "when it last spoke, by recorded time", |row: &R, _| {
            Cell::or_absent(row.as_ref().last_spoke_ms, Cell::Time)
        })
        .optional(),
    ]
}

/// What release has to tell of streams: from when on, if anybody asks.
pub(crate) fn since(plan: &GraphPlan) -> Option<Tick> {
    let views = [plan.view::<Feeds>(), plan.view::<WorstFeeds>()];
    views.iter().filter(|view| view.enabled).map(|view| view.since).min()
}

/// Folds what release tells of streams, and publishes it.
pub(crate) fn publish<'scope>(build: &mut Build<'_, 'scope>, reports: StreamVec<'scope, Tick, StreamReport<FeedKey>>) {
    if since(build.plan()).is_none() {
        return;
    }
    let fold = std::rc::Rc::new(FeedHealthFold::new(SILENT_AFTER_MS));
    let postings = route(reports, "RouteFeedHealth", std::rc::Rc::clone(&fold), build.place_key());
    let catalog = Arc::clone(&build.plan().catalog);
    let named = rows(move |_: &FeedHealthFold, key: &FeedKey, health: &FeedHealth| {
        Some(FeedRow {
            tenant: catalog.tenant_name(key.tenant).clone(),
            source: key.source.clone(),
            node: key.node.clone(),
            epoch: key.epoch,
            health: health.clone(),
        })
    });
    let feeds = build.fold(postings, fold, named);
    build.publish::<Feeds>(feeds);
}
