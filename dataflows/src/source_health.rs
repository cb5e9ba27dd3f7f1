//! What was read from each partition, and what became of it?
//!
//! Always `read = on_time + late + duplicate + dead_letters`: no record escapes. What a clock says of a source, such as
//! its lag, is a measurement and no part of this.

use std::rc::Rc;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use operators::fold::rows;
use operators::health::{Health, HealthFold, News};
use operators::time::{MINUS_INFINITY, TimeMs};
use operators::topology::PartitionId;

use crate::build::{Build, Changes, repost, stamped};
use crate::configuration::Recorded;
use crate::names::Name;
use crate::view::{Cell, Column, Columns, Stays, Unit, View};

/// The view `source_health`.
#[derive(Debug)]
pub struct SourceHealth;

/// A row of `source_health`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SourceHealthRow {
    /// The partition.
    pub partition: Name,
    /// The offset of the next record.
    pub next_offset: u64,
    /// `behind`, `caught_up`, `idle` or `ended`.
    pub status: Name,
    /// Records read.
    pub read: i64,
    /// Records accepted, on time.
    pub on_time: i64,
    /// Records behind their lane.
    pub late: i64,
    /// Records seen before.
    pub duplicate: i64,
    /// Records that could not be taken.
    pub dead_letters: i64,
    /// Of the late: so old that they were not folded.
    pub too_old: i64,
    /// Accepted events without a unit.
    pub without_unit: i64,
    /// The least watermark of the groups that it feeds; absent before there is one.
    pub watermark_ms: Option<TimeMs>,
}

impl View for SourceHealth {
    type Row = SourceHealthRow;
    const NAME: &'static str = "source_health";
    const QUESTION: &'static str = "what was read from each partition, and what became of it";
    const STAYS: Stays = Stays::Always;

    fn columns(_: &Recorded) -> Columns<SourceHealthRow> {
        let columns = vec![
            Column::text("partition", "the partition", |row: &SourceHealthRow, _| Cell::Text(&row.partition)),
            Column::integer("next_offset", "the offset of the next record", |row: &SourceHealthRow, _| {
                Cell::Integer(row.next_offset as i64)
            })
            .counts(Unit::Offset),
            Column::text("status", "`behind`, `caught_up`, `idle` or `ended`", |row: &SourceHealthRow, _| {
                Cell::Text(&row.status)
            }),
            Column::integer("read", "records read", |row: &SourceHealthRow, _| Cell::Integer(row.read)),
            Column::integer("on_time", "records accepted, on time", |row: &SourceHealthRow, _| {
                Cell::Integer(row.on_time)
            }),
            Column::integer("late", "records behind their lane", |row: &SourceHealthRow, _| Cell::Integer(row.late)),
            Column::integer("duplicate", "records seen before", |row: &SourceHealthRow, _| {
                Cell::Integer(row.duplicate)
            }),
            Column::integer("dead_letters", "records that could not be taken", |row: &SourceHealthRow, _| {
                Cell::Integer(row.dead_letters)
            }),
            Column::integer("too_old", "of the late: so old that they were not folded", |row: &SourceHealthRow, _| {
                Cell::Integer(row.too_old)
            }),
            Column::integer("without_unit", "accepted events without a unit", |row: &SourceHealthRow, _| {
                Cell::Integer(row.without_unit)
            }),
            Column::time(
                "watermark_ms",
                "the least watermark of the groups that it feeds; `\"end\"` once all of their sources have ended",
                |row: &SourceHealthRow, _| Cell::or_absent(row.watermark_ms, Cell::Time),
            )
            .optional(),
        ];
        Columns::new(1, columns)
    }

    fn example() -> SourceHealthRow {
        SourceHealthRow {
            partition: Name::new("events-0"),
            next_offset: 10,
            status: Name::new("ended"),
            read: 10,
            on_time: 6,
            late: 2,
            duplicate: 1,
            dead_letters: 1,
            too_old: 0,
            without_unit: 0,
            watermark_ms: Some(0),
        }
    }
}

/// Folds what owners report of their partitions, and publishes it.
pub(crate) fn publish<'scope>(build: &mut Build<'_, 'scope>, news: Changes<'scope, (PartitionId, News)>) {
    let fold = Rc::new(HealthFold { topology: Arc::clone(&build.plan().topology) });
    let postings = repost(news, "RouteHealth", Rc::clone(&fold), build.place_key());
    let health = build.fold(postings, fold, rows(|_: &HealthFold, _, health| Some(health.clone())));
    let topology = Arc::clone(&build.plan().topology);
    let named = stamped(health, "SourceHealthRows", move |health: Health| {
        let counts = health.counts;
        SourceHealthRow {
            partition: Name::new(topology.name_of(health.partition)),
            next_offset: health.next,
            status: Name::new(health.status.name()),
            read: counts.read,
            on_time: counts.on_time,
            late: counts.late,
            duplicate: counts.duplicate,
            dead_letters: counts.dead,
            too_old: counts.too_old,
            without_unit: counts.counted_apart,
            watermark_ms: Some(health.watermark_ms).filter(|watermark_ms| *watermark_ms > MINUS_INFINITY),
        }
    });
    build.publish::<SourceHealth>(named);
}
