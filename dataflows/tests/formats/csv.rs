//! A row says what JSON with the same fields says.

use std::collections::BTreeMap;
use std::sync::Arc;

use operators::record::{Decode, Header, Rejection};
use proptest::prelude::*;
use serde_json::json;

use dataflows::catalog::{Catalog, Tenant};
use dataflows::experiment::decode::{CsvEventDecoder, EventDecoder};
use dataflows::experiment::event::Event;
use dataflows::inventory::decode::{CsvFactDecoder, FactDecoder};
use operators::csv::{Column, CsvSettings, TimeFormat};

fn catalog() -> Arc<Catalog> {
    Arc::new(Catalog::new(vec![Tenant { name: "north".into() }], Vec::new(), BTreeMap::new()))
}

fn settings(columns: &[(&str, &str)], time: TimeFormat, delimiter: u8) -> CsvSettings {
    let columns = columns.iter().map(|(field, column)| match column.strip_prefix('=') {
        Some(constant) => (field.to_string(), Column::Constant(constant.to_owned())),
        None => (field.to_string(), Column::Named(column.to_string())),
    });
    CsvSettings { columns: columns.collect(), delimiter, time }
}

const COLUMNS: [(&str, &str); 9] = [
    ("tenant", "=north"),
    ("id", "order"),
    ("session", "visit"),
    ("kind", "what"),
    ("event_time_ms", "at"),
    ("value", "cents"),
    ("item", "article"),
    ("attributes.experiment", "test"),
    ("attributes.page", "page"),
];

const HEADER: &str = "cents,order,\"visit\",what,at,article,unused,test,page";

fn decoder(time: TimeFormat, header: &str) -> CsvEventDecoder {
    let mut decoder = CsvEventDecoder::new(EventDecoder::new(catalog(), None), settings(&COLUMNS, time, b','));
    decoder.begin_rows(Some(header.as_bytes()));
    decoder
}

fn of_row(row: &str) -> Result<(Header, Event), Rejection> {
    decoder(TimeFormat::Milliseconds, HEADER).decode(row.as_bytes())
}

/// A cell as any writer of CSV writes it: quoted where that is needed, or wanted.
fn cell(text: &str, always: bool) -> String {
    match always || text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

proptest! {
    #[test]
    fn rows_decode_to_what_json_decodes_to(
        texts in proptest::array::uniform4("[a-z\",; \nöß]{1,12}"),
        value in -1_000_000i64..1_000_000,
        at in 1_000i64..2_000_000_000_000,
        quoted in any::<bool>(),
        is_sparse in any::<bool>(),
    ) {
        let [id, session, item, page] = &texts;
        let mut record = json!({"tenant": "north", "id": id, "session": session, "kind": "view", "event_time_ms": at});
        let mut cells = vec![String::new(), cell(id, quoted), cell(session, quoted), "view".to_owned(), at.to_string()];
        cells.extend(["", "passed over", "", ""].map(str::to_owned));
        if !is_sparse {
            record["value"] = value.into();
            record["item"] = item.as_str().into();
            record["attributes"] = json!({"experiment": "e", "page": page});
            cells[0] = value.to_string();
            cells[5] = cell(item, quoted);
            cells[7] = "e".to_owned();
            cells[8] = cell(page, quoted);
        }
        let expected = EventDecoder::new(catalog(), None).decode(record.to_string().as_bytes());
        prop_assert!(expected.is_ok());
        prop_assert_eq!(of_row(&cells.join(",")), expected);
    }

    #[test]
    fn any_bytes_are_a_record_or_a_rejection(row in proptest::collection::vec(any::<u8>(), 0..80), header in "\\PC{0,60}") {
        let _ = decoder(TimeFormat::Rfc3339, &header).decode(&row);
        let _ = decoder(TimeFormat::Seconds, HEADER).decode(&row);
    }
}

#[test]
fn what_is_wrong_with_a_row_has_its_code() {
    let code = |row: &str| of_row(row).map_or_else(|rejection| rejection.code.into_owned(), |_| "an event".to_owned());
    assert_eq!(code("5,a,s,view,1000,,,,"), "an event");
    assert_eq!(code("5,a,s,view,1000,,,"), "malformed_row");
    assert_eq!(code("5,a,s,view,1000,,,,,"), "malformed_row");
    assert_eq!(code("5,\"a\"b,s,view,1000,,,,"), "malformed_row");
    assert_eq!(code("5,a,s,view,1000,,,,\"open"), "malformed_row");
    assert_eq!(code("5.0,a,s,view,1000,,,,"), "wrong_type");
    assert_eq!(code("+5,a,s,view,1000,,,,"), "wrong_type");
    assert_eq!(code("99999999999999999999,a,s,view,1000,,,,"), "number_out_of_range");
    assert_eq!(code("5,,s,view,1000,,,,"), "missing_field");
    assert_eq!(code("5,a,s,glance,1000,,,,"), "unknown_kind");
    assert_eq!(code(&format!("5,{},s,view,1000,,,,", "a".repeat(257))), "string_too_long");
    let of_header = |header: Option<&str>| {
        let mut decoder = decoder(TimeFormat::Milliseconds, HEADER);
        decoder.begin_rows(header.map(str::as_bytes));
        decoder.decode(b"5,a,s,view,1000,,,,").unwrap_err()
    };
    let missing = of_header(Some("cents,id"));
    assert_eq!(missing.code, "no_column");
    assert!(missing.detail.contains("the file has no column"), "{missing:?}");
    assert_eq!(of_header(Some(&format!("{HEADER},order"))).code, "no_column");
    assert_eq!(of_header(None).code, "no_header");
    assert_eq!(of_header(Some("\"open")).code, "no_header");
}

#[test]
fn times_are_read_as_they_are_declared() {
    let at = |time: TimeFormat, text: &str| {
        let outcome = decoder(time, HEADER).decode(format!(",a,s,view,{text},,,,").as_bytes());
        outcome.map(|(header, _)| header.event_time_ms).map_err(|rejection| rejection.code.into_owned())
    };
    let pattern = || TimeFormat::Pattern("%Y-%m-%d %H:%M:%S".to_owned());
    let malformed = Err("malformed_time".to_owned());
    assert_eq!(at(TimeFormat::Milliseconds, "1736121600000"), Ok(1_736_121_600_000));
    assert_eq!(at(TimeFormat::Seconds, "1736121600"), Ok(1_736_121_600_000));
    assert_eq!(at(TimeFormat::Seconds, "1736121600.25"), Ok(1_736_121_600_250));
    assert_eq!(at(TimeFormat::Seconds, "1736121600.2501"), malformed);
    assert_eq!(at(TimeFormat::Rfc3339, "2025-01-06T01:00:00.5+01:00"), Ok(1_736_121_600_500));
    assert_eq!(at(TimeFormat::Rfc3339, "2025-01-06 00:00"), malformed);
    assert_eq!(at(pattern(), "2025-01-06 00:00:00"), Ok(1_736_121_600_000));
    assert_eq!(at(pattern(), "06.01.2025"), malformed);
    let days = || TimeFormat::Date("%d.%m.%Y".to_owned());
    assert_eq!(at(days(), "06.01.2025"), Ok(1_736_121_600_000));
    assert_eq!(at(days(), "06.01.2025 10:00"), malformed);
    let as_before = TimeFormat::Pattern("%d.%m.%Y".to_owned());
    assert_eq!(at(as_before, "06.01.2025"), malformed, "a folder that recorded a pattern keeps what it had");
}

#[test]
fn facts_have_fields_within_fields() {
    let columns = [
        ("tenant", "=north"),
        ("id", "id"),
        ("kind", "=sale"),
        ("node", "node"),
        ("sku", "sku"),
        ("quantity", "quantity"),
        ("event_time_ms", "at"),
        ("source", "=pos"),
        ("corrects.id", "old"),
        ("corrects.kind", "=sale"),
        ("corrects.quantity", "was"),
        ("corrects.event_time_ms", "then"),
    ];
    let facts = || FactDecoder::new(catalog(), None, None);
    let mut decoder = CsvFactDecoder::new(facts(), settings(&columns, TimeFormat::Seconds, b';'));
    decoder.begin_rows(Some(b"id;node;sku;quantity;at;old;was;then"));
    let found = decoder.decode(b"f-2;n;k;2;1736121700;f-1;3;1736121600");
    let line = br#"{"tenant":"north","id":"f-2","kind":"sale","node":"n","sku":"k","quantity":2,"event_time_ms":1736121700000,"source":"pos","corrects":{"id":"f-1","kind":"sale","quantity":3,"event_time_ms":1736121600000}}"#;
    assert!(found.is_ok(), "{found:?}");
    assert_eq!(found, facts().decode(line));
}
