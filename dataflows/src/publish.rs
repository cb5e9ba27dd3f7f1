//! From the engine's rows to the rows of views: numbers become names.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use operators::health::Health;
use operators::release::{Aside, Why};
use operators::shard::hash_of;
use operators::time::{MINUS_INFINITY, MINUTE_MS};
use operators::topology::{PartitionId, Topology};

use crate::catalog::Catalog;
use crate::experiment::event::Event;
use crate::experiment::sessions::SessionMinuteRow;
use crate::names::Name;
use crate::views::{DeadLetter, LateEvent, Row, SessionMinute, SourceHealth};

fn partition_name(partition: PartitionId, topology: &Topology) -> Name {
    Name::new(&topology.partitions[partition.0 as usize].name)
}

/// A row of `session_minutes`.
pub fn session_minute(row: SessionMinuteRow, catalog: &Catalog) -> Row {
    let session = row.key.session;
    Row::SessionMinute(SessionMinute {
        tenant: catalog.tenant_name(session.tenant).clone(),
        session: session.session,
        unit: session.unit,
        minute_ms: row.key.minute * MINUTE_MS,
        measures: row.measures,
    })
}

/// A row of `late_events`.
pub fn late_event(partition: PartitionId, offset: u64, event: Event, topology: &Topology, catalog: &Catalog) -> Row {
    let Event { tenant, kind, event_time_ms, value, quantity, id, session, unit, item, .. } = event;
    Row::LateEvent(Box::new(LateEvent {
        partition: partition_name(partition, topology),
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
    }))
}

/// A row of `dead_letters`, where the record is one.
pub fn dead_letter<R>(aside: Aside<R>, topology: &Topology) -> Option<Row> {
    let Why::Dead { origin, line, rejection, raw } = aside.why else { return None };
    Some(Row::DeadLetter(Box::new(DeadLetter {
        partition: partition_name(aside.partition, topology),
        offset: aside.offset,
        file: Name::new(&origin),
        line,
        code: Name::new(&rejection.code),
        detail: rejection.detail,
        raw: STANDARD.encode(raw),
    })))
}

/// A row of `source_health`.
pub fn source_health(health: Health, topology: &Topology) -> Row {
    let counts = health.counts;
    Row::SourceHealth(Box::new(SourceHealth {
        partition: partition_name(health.partition, topology),
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
    }))
}

/// The place of a row among the sink shards of its view: by its key alone, so that a key's changes stay in one shard.
pub fn place_of(row: &Row) -> u64 {
    match row {
        Row::SessionMinute(row) => hash_of(&(&row.tenant, &row.session, &row.unit, row.minute_ms)),
        Row::VariantMinute(row) => hash_of(&(&row.tenant, &row.experiment, &row.variant, row.minute_ms)),
        Row::VariantTotal(row) => hash_of(&(&row.tenant, &row.experiment, &row.variant)),
        Row::LateEvent(row) => hash_of(&(&row.partition, row.offset)),
        Row::DeadLetter(row) => hash_of(&(&row.partition, row.offset)),
        Row::SourceHealth(row) => hash_of(&row.partition),
        Row::Stock(row) => hash_of(&(&row.tenant, &row.sku, &row.node, row.state)),
        Row::Availability(row) => hash_of(&(&row.tenant, &row.sku, &row.node)),
    }
}

/// The key of a row as a JSON object: the columns that [`place_of`] looks at, in the row's order. They are its first ones.
pub fn key_of(row: &Row) -> String {
    fn json(columns: &[(&str, &dyn erased::Column)]) -> String {
        let columns: Vec<String> =
            columns.iter().map(|(name, column)| format!("\"{name}\":{}", column.json())).collect();
        format!("{{{}}}", columns.join(","))
    }
    match row {
        Row::SessionMinute(row) => json(&[
            ("tenant", &row.tenant),
            ("session", &row.session),
            ("unit", &row.unit),
            ("minute_ms", &row.minute_ms),
        ]),
        Row::VariantMinute(row) => json(&[
            ("tenant", &row.tenant),
            ("experiment", &row.experiment),
            ("variant", &row.variant),
            ("minute_ms", &row.minute_ms),
        ]),
        Row::VariantTotal(row) => {
            json(&[("tenant", &row.tenant), ("experiment", &row.experiment), ("variant", &row.variant)])
        }
        Row::LateEvent(row) => json(&[("partition", &row.partition), ("offset", &row.offset)]),
        // Records of one message share its offset.
        Row::DeadLetter(row) => json(&[("partition", &row.partition), ("offset", &row.offset), ("line", &row.line)]),
        Row::SourceHealth(row) => json(&[("partition", &row.partition)]),
        Row::Stock(row) => {
            json(&[("tenant", &row.tenant), ("sku", &row.sku), ("node", &row.node), ("state", &row.state)])
        }
        Row::Availability(row) => json(&[("tenant", &row.tenant), ("sku", &row.sku), ("node", &row.node)]),
    }
}

/// Columns of any type, as JSON.
mod erased {
    use serde::Serialize;

    pub(super) trait Column {
        fn json(&self) -> String;
    }

    impl<C: Serialize> Column for C {
        fn json(&self) -> String {
            serde_json::to_string(self).expect("columns are strings and integers, which JSON can always hold")
        }
    }
}
