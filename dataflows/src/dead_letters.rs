//! Which records could not be taken, and why?
//!
//! A record that does not decode, lies too far ahead, or contradicts another one of its id is data, too: it is a row with
//! its bytes and the reason, from which somebody can let it in again ([`crate::re_entry`]).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use operators::release::{SetAside, SetAsideReason};
use operators::topology::Topology;

use crate::build::{Build, Changes};
use crate::configuration::Recorded;
use crate::names::Name;
use crate::view::{Arranged, Cell, Column, Columns, Stays, Unit, View};

/// The view `dead_letters`.
#[derive(Debug)]
pub struct DeadLetters;

/// A row of `dead_letters`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The partition it came from.
    pub partition: Name,
    /// Its offset there.
    pub offset: u64,
    /// The file it came from.
    pub file: Name,
    /// Its line there, from 1.
    pub line: u64,
    /// A stable code.
    pub code: Name,
    /// What was wrong.
    pub detail: String,
    /// Its bytes in base64, at most 64 KiB of them.
    pub raw: String,
}

impl View for DeadLetters {
    type Row = DeadLetter;
    const NAME: &'static str = "dead_letters";
    const QUESTION: &'static str = "records that could not be taken, with the reason and their bytes";
    const STAYS: Stays = Stays::For { default_ms: 7 * 86_400_000 };
    const ARRANGED: Arranged = Arranged::Never;

    /// Rows are placed by partition and offset alone: shards were written so before the line was part of the key, since
    /// records of one message share its offset.
    fn columns(_: &Recorded) -> Columns<DeadLetter> {
        let columns = vec![
            Column::text("partition", "the partition it came from", |row: &DeadLetter, _| Cell::Text(&row.partition)),
            Column::integer("offset", "its offset there", |row: &DeadLetter, _| Cell::Integer(row.offset as i64))
                .counts(Unit::Offset),
            Column::text("file", "the file it came from", |row: &DeadLetter, _| Cell::Text(&row.file)),
            Column::integer("line", "its line there, from 1", |row: &DeadLetter, _| Cell::Integer(row.line as i64))
                .counts(Unit::Offset),
            Column::text("code", "a stable code of what was wrong", |row: &DeadLetter, _| Cell::Text(&row.code)),
            Column::prose("detail", "what was wrong", |row: &DeadLetter, _| Cell::Text(&row.detail)).raw(),
            Column::prose("raw", "its bytes in base64, at most 64 KiB of them", |row: &DeadLetter, _| {
                Cell::Text(&row.raw)
            })
            .raw(),
        ];
        Columns::new(2, columns).with_key(&["partition", "offset", "line"])
    }

    fn example() -> DeadLetter {
        DeadLetter {
            partition: Name::new("events-0"),
            offset: 8,
            file: Name::new("events.ndjson"),
            line: 9,
            code: Name::new("future"),
            detail: "it is not yet".to_owned(),
            raw: "e30=".to_owned(),
        }
    }
}

/// The place that dead letters had among the rows of all views: part of the checkpoints' keys.
const CHECKPOINT_TAG: u32 = 4;

/// The letter of a record that was set aside, where it is one.
pub(crate) fn letter_of<R>(aside: SetAside<R>, topology: &Topology) -> Option<DeadLetter> {
    let SetAsideReason::Dead { origin, line, rejection, raw } = aside.reason else { return None };
    Some(DeadLetter {
        partition: Name::new(topology.name_of(aside.partition)),
        offset: aside.offset,
        file: Name::new(&origin),
        line,
        code: Name::new(&rejection.code),
        detail: rejection.detail,
        raw: STANDARD.encode(raw),
    })
}

/// Publishes the letters of all kinds of records.
pub(crate) fn publish<'scope>(build: &mut Build<'_, 'scope>, letters: Changes<'scope, DeadLetter>) {
    build.publish_for_a_while::<DeadLetters, CHECKPOINT_TAG>(letters, "RouteDeadLetters", "RetainDeadLetters");
}
