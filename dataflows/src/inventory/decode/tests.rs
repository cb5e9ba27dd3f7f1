use super::*;

use std::collections::BTreeMap;

use operators::record::Identity;

use crate::catalog::{FactSourceSpec, Tenant};
use crate::inventory::fact::BeforeImage;

const LINE: &str = r#"{"tenant":"north","id":"f-1","kind":"sale","node":"store-1","sku":"sku-1","quantity":3,"event_time_ms":1736121600000,"source":"pos"}"#;

fn decoder() -> FactDecoder {
    let tenants = ["south", "north"].map(|name| Tenant { name: name.into() }).to_vec();
    let standard = FactSourceSpec::default();
    let sources = BTreeMap::from([
        ("depot".to_owned(), FactSourceSpec { rank: 1, authority_for_snapshots: true, epsilon_ms: 2_000, ..standard }),
        ("camera".to_owned(), FactSourceSpec { class_b: true, ..standard }),
    ]);
    FactDecoder::new(Arc::new(Catalog::new(tenants, Vec::new(), sources)), None, None)
}

/// The line with more fields at its end.
fn with(fields: &str) -> String {
    format!("{},{fields}}}", LINE.trim_end_matches('}'))
}

/// The line as another kind, with more fields at its end.
fn of_kind(kind: &str, fields: &str) -> String {
    let line = LINE.replace("sale", kind);
    if fields.is_empty() { line } else { format!("{},{fields}}}", line.trim_end_matches('}')) }
}

fn corrects(kind: &str, more: &str) -> String {
    format!(r#""corrects":{{"id":"f-0","kind":"{kind}","quantity":5,"event_time_ms":1736121500000}}{more}"#)
}

fn decode(line: &str) -> (Header, Fact) {
    decoder().decode(line.as_bytes()).unwrap_or_else(|rejection| panic!("{rejection:?}: {line}"))
}

fn code(line: &str) -> String {
    match decoder().decode(line.as_bytes()) {
        Ok(_) => "accepted".to_owned(),
        Err(rejection) => rejection.code.into_owned(),
    }
}

const CLOCK: &str =
    r#"{"tenant":"north","id":"c-1","kind":"clock","node":"store-1","event_time_ms":1736121600000,"source":"pos"}"#;

#[test]
fn a_full_fact_has_all_its_fields() {
    let line = r#"{"schema":1,"principal":"p","reason":"recount","reference":"order-7","void":false,
        "corrects":{"event_time_ms":1736121500000,"quantity":5,"kind":"snapshot","id":"f-0"},"source":"depot",
        "observed_from_ms":1736118000000,"event_time_ms":1736121600000,"quantity":3,"state":"quality","sku":"sk\u00fc",
        "node":"dépôt-1","kind":"snapshot","id":"f-1","tenant":"north"}"#;
    let (header, fact) = decode(line);
    let image = |id: &str| decoder().rules.identity_of(1, id);
    let before =
        BeforeImage { id: image("f-0"), kind: FactKind::Snapshot, quantity: 5, event_time_ms: 1_736_121_500_000 };
    let expected = Fact {
        tenant: 1,
        kind: FactKind::Snapshot,
        state: StockState::Quality,
        to_state: StockState::Quality,
        void: false,
        node: "dépôt-1".into(),
        sku: "skü".into(),
        quantity: 3,
        event_time_ms: 1_736_121_600_000,
        observed_from_ms: 1_736_118_000_000,
        source: "depot".into(),
        epoch: 0,
        rank: 1,
        authority: true,
        epsilon_ms: 2_000,
        id: image("f-1"),
        before: Some(Box::new(before)),
    };
    assert_eq!(fact, expected);
    assert_eq!((header.group, header.lane), (decoder().rules.catalog.fact_group(1), fact_lane("depot")));
    assert!(matches!(header.identity, Identity::Id { id, .. } if id == fact.id));
}

#[test]
fn what_is_left_out_has_a_default() {
    let (header, fact) = decode(LINE);
    assert_eq!((fact.state, fact.to_state, fact.void), (StockState::Sellable, StockState::Sellable, false));
    assert_eq!((fact.observed_from_ms, fact.before.is_none()), (fact.event_time_ms, true));
    assert_eq!((fact.rank, fact.epsilon_ms, header.lane), (100, 0, fact_lane("pos")));
    let (_, clock) = decode(CLOCK);
    assert_eq!((clock.kind, clock.quantity, clock.sku.as_str()), (FactKind::Clock, 0, ""));
}

#[test]
fn only_sources_that_are_believed_set_stock() {
    for (source, count, snapshot) in [("pos", true, false), ("depot", true, true), ("camera", false, false)] {
        let authority = |kind: &str| decode(&of_kind(kind, "").replace("pos", source)).1.authority;
        assert_eq!((authority("count"), authority("snapshot")), (count, snapshot), "{source}");
        assert!(!authority("sale") && !authority("shelf_observation"));
    }
}

/// Identities, streams and contents are in checkpoints: these values may never change.
#[test]
fn identities_are_frozen() {
    let show = |line: &str| match decode(line).0.identity {
        Identity::Id { id, content } => format!("{id:032x} {content:016x}"),
        Identity::Sequence { stream, sequence } => format!("{stream:032x} {sequence}"),
    };
    assert_eq!(show(LINE), "5e06b2cbda056dc18255e553736a713b 1f4514c8c2ac3481");
    assert_eq!(show(&with(&corrects("sale", ""))), "5e06b2cbda056dc18255e553736a713b 6ba82e486a828500");
    assert_eq!(show(&with(r#""epoch":2,"sequence":77"#)), "15bb5e8dba2428ad5c70f0201cc1e4f5 77");
    assert_eq!(format!("{:032x}", fact_lane("pos")), "53655b8f24d4c7e58d29621aae51aada");
}

#[test]
fn content_is_what_is_meant_not_how_it_is_written() {
    let content = |line: &str| match decode(line).0.identity {
        Identity::Id { content, .. } => content,
        Identity::Sequence { .. } => panic!("it has no sequence"),
    };
    for same in [
        with(r#""state":"sellable","void":false,"schema":1"#),
        LINE.replace("north", "south").replace("f-1", "f-2"),
        LINE.replace("sku-1", "\\u0073ku-1"),
    ] {
        assert_eq!(content(&same), content(LINE), "{same}");
    }
    let count = of_kind("count", "");
    assert_eq!(content(&of_kind("count", r#""observed_from_ms":1736121600000"#)), content(&count));
    for other in [
        LINE.replace("sale", "pick"),
        LINE.replace("store-1", "store-2"),
        LINE.replace("sku-1", "sku-2"),
        LINE.replace("pos", "till"),
        LINE.replace(":3", ":4"),
        LINE.replace("600000", "600001"),
        with(r#""state":"damaged""#),
        with(r#""reference":"x""#),
        with(r#""reason":"x""#),
        with(r#""principal":"x""#),
        with(&corrects("sale", "")),
        with(&corrects("sale", "").replace("f-0", "f-9")),
        with(&corrects("return", "")),
        with(&corrects("sale", "").replace(":5", ":6")),
        with(&corrects("sale", r#","void":true"#)).replace(":3", ":0"),
    ] {
        assert_ne!(content(&other), content(LINE), "{other}");
    }
}

#[test]
fn a_sequence_is_of_its_tenant_node_source_and_epoch() {
    let place = |line: &str| match decode(line).0.identity {
        Identity::Sequence { stream, sequence } => (stream, sequence),
        Identity::Id { .. } => panic!("it has a sequence"),
    };
    let line = with(r#""epoch":0,"sequence":9223372036854775806"#);
    let (stream, sequence) = place(&line);
    let (_, fact) = decode(&line.replace(r#"epoch":0"#, r#"epoch":4294967295"#));
    assert_eq!((fact.source.as_str(), fact.epoch), ("pos", u32::MAX));
    assert_eq!(sequence, 9_223_372_036_854_775_806);
    assert_eq!(place(&line.replace("f-1", "f-2").replace("sku-1", "sku-2")).0, stream);
    for other in [("north", "south"), ("store-1", "store-2"), ("pos", "till"), (r#"epoch":0"#, r#"epoch":1"#)] {
        assert_ne!(place(&line.replace(other.0, other.1)).0, stream, "{other:?}");
    }
}

#[test]
fn a_correction_takes_back_what_was_said() {
    let (_, void) = decode(&with(&corrects("sale", r#","void":true"#)).replace(":3", ":0"));
    assert!(void.void && void.quantity == 0 && void.before.is_some_and(|before| before.quantity == 5));
    for (line, expected) in [
        (with(&corrects("return", "")), "accepted"),
        (with(&corrects("clock", "").replace(":5", ":0")), "invalid_correction"),
        (with(&corrects("state_move", "")), "invalid_correction"),
        (of_kind("state_move", &corrects("state_move", r#","to_state":"damaged""#)), "accepted"),
        (of_kind("state_move", &corrects("sale", r#","to_state":"damaged""#)), "invalid_correction"),
        (with(&corrects("sale", "").replace("f-0", "f-1")), "invalid_correction"),
        (with(&corrects("sale", r#","void":true"#)), "invalid_correction"),
        (with(&corrects("return", r#","void":true"#)).replace(":3", ":0"), "invalid_correction"),
        (with(r#""void":true"#).replace(":3", ":0"), "missing_field"),
        (with(r#""void":"yes""#), "wrong_type"),
        (with(r#""corrects":{}"#), "missing_field"),
        (with(r#""corrects":null"#), "wrong_type"),
        (with(r#""corrects":"f-0""#), "wrong_type"),
        (with(&corrects("sale", "").replace("f-0", "")), "empty_string"),
        (with(&corrects("sale", "").replace(r#""id":"f-0""#, r#""id":"f-0","id":"f-0""#)), "duplicate_field"),
        (with(&corrects("sale", "").replace(r#""id":"f-0""#, r#""id":"f-0","node":"n""#)), "unknown_field"),
        (with(&corrects("swap", "")), "unknown_kind"),
        (with(&corrects("sale", "").replace(":5", ":-5")), "quantity_out_of_range"),
        (with(&corrects("adjust", "").replace(":5", ":-5")), "accepted"),
        (with(&corrects("sale", "").replace("1736121500000", "0")), "event_time_out_of_range"),
    ] {
        assert_eq!(code(&line), expected, "{line}");
    }
}

#[test]
fn bad_lines_have_stable_codes() {
    let observed = |from: &str| of_kind("count", &format!(r#""observed_from_ms":{from}"#));
    let clock = |fields: &str| format!("{},{fields}}}", CLOCK.trim_end_matches('}'));
    for (line, expected) in [
        (LINE.replace('}', ",,}"), "not_json"),
        (format!("[{LINE}]"), "not_an_object"),
        (LINE.replace(r#""node":"store-1","#, ""), "missing_field"),
        (LINE.replace(r#""sku":"sku-1","#, ""), "missing_field"),
        (LINE.replace(r#""quantity":3,"#, ""), "missing_field"),
        (LINE.replace(r#","source":"pos""#, ""), "missing_field"),
        (LINE.replace("node", "place"), "unknown_field"),
        (with(r#""attributes":{}"#), "unknown_field"),
        (with(r#""source":"pos""#), "duplicate_field"),
        (LINE.replace(":3", ":3.0"), "wrong_type"),
        (LINE.replace(":3", ":\"3\""), "wrong_type"),
        (LINE.replace("sale", "swap"), "unknown_kind"),
        (with(r#""state":"lost""#), "unknown_state"),
        (with(r#""state":"Sellable""#), "unknown_state"),
        (LINE.replace("north", "nobody"), "unknown_tenant"),
        (LINE.replace("store-1", ""), "empty_string"),
        (with(r#""reason":"""#), "empty_string"),
        (LINE.replace("sku-1", &"x".repeat(257)), "string_too_long"),
        (LINE.replace(":3", ":-3"), "quantity_out_of_range"),
        (LINE.replace(":3", ":0"), "accepted"),
        (LINE.replace(":3", ":2147483648"), "accepted"),
        (LINE.replace(":3", ":2147483649"), "quantity_out_of_range"),
        (of_kind("adjust", "").replace(":3", ":-2147483648"), "accepted"),
        (of_kind("adjust", "").replace(":3", ":-2147483649"), "quantity_out_of_range"),
        (LINE.replace("1736121600000", "0"), "event_time_out_of_range"),
        (with(r#""epoch":1"#), "missing_field"),
        (with(r#""sequence":1"#), "missing_field"),
        (with(r#""epoch":-1,"sequence":1"#), "number_out_of_range"),
        (with(r#""epoch":4294967296,"sequence":1"#), "number_out_of_range"),
        (with(r#""epoch":1,"sequence":-1"#), "number_out_of_range"),
        (with(r#""epoch":1,"sequence":9223372036854775807"#), "number_out_of_range"),
        (with(r#""epoch":1,"sequence":18446744073709551615"#), "number_out_of_range"),
        (of_kind("state_move", ""), "missing_field"),
        (of_kind("state_move", r#""to_state":"damaged""#), "accepted"),
        (of_kind("state_move", r#""to_state":"gone""#), "unknown_state"),
        (with(r#""to_state":"damaged""#), "unexpected_field"),
        (with(r#""observed_from_ms":1736121600000"#), "unexpected_field"),
        (observed("1736118000000"), "accepted"),
        (observed("1736117999999"), "count_too_long"),
        (observed("1736121600001"), "event_time_out_of_range"),
        (observed("0"), "event_time_out_of_range"),
        (clock(r#""quantity":0"#), "accepted"),
        (clock(r#""quantity":1"#), "quantity_out_of_range"),
        (clock(r#""sku":"sku-1""#), "unexpected_field"),
        (clock(r#""state":"sellable""#), "unexpected_field"),
        (clock(r#""void":false"#), "unexpected_field"),
        (clock(&corrects("sale", "")), "unexpected_field"),
        (clock(r#""epoch":1,"sequence":2"#), "accepted"),
        (with(r#""schema":0"#), "unsupported_schema"),
    ] {
        assert_eq!(code(&line), expected, "{line}");
    }
}

#[test]
fn a_source_has_only_the_tenants_and_fact_sources_that_it_declares() {
    let mut decoder = decoder();
    decoder.rules.tenants = Some(vec![1]);
    decoder.rules.fact_sources = Some(vec!["depot".to_owned(), "pos".to_owned()]);
    let code = |decoder: &mut FactDecoder, line: &str| decoder.decode(line.as_bytes()).map_err(|it| it.code).err();
    assert_eq!(code(&mut decoder, LINE), None);
    assert_eq!(code(&mut decoder, &LINE.replace("north", "south")).as_deref(), Some("undeclared_tenant"));
    assert_eq!(code(&mut decoder, &LINE.replace("pos", "till")).as_deref(), Some("undeclared_source"));
}

#[test]
fn kinds_and_states_have_the_names_that_serde_gives_them() {
    for (name, kind) in KINDS {
        assert_eq!(serde_json::to_value(kind).unwrap(), name);
    }
    for (name, state) in STATES {
        assert_eq!(serde_json::to_value(state).unwrap(), name);
    }
    assert_eq!(STATES[0].1, StockState::default());
}
