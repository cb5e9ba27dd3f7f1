use super::*;

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::catalog::{Experiment, Population, Tenant};

const LINE: &str = r#"{"tenant":"north","id":"e-1","session":"s-1","kind":"view","event_time_ms":1736122548781}"#;

fn decoder() -> EventDecoder {
    let tenants = ["south", "north"].map(|name| Tenant { name: name.into() }).to_vec();
    let experiment = |tenant, name: &str| Experiment {
        tenant,
        name: name.into(),
        layer: "search".into(),
        seed: "1".into(),
        traffic: (0, 1_000_000),
        variants: Vec::new(),
        population: Population::Assigned,
    };
    let experiments = vec![experiment(0, "ranker"), experiment(1, "ranker")];
    EventDecoder::new(Arc::new(Catalog::new(tenants, experiments, BTreeMap::new())), None)
}

/// The line with more fields at its end, or with others where it has them already.
fn with(fields: &str) -> String {
    format!("{},{fields}}}", LINE.trim_end_matches('}'))
}

fn code(line: impl AsRef<[u8]>) -> String {
    match decoder().decode(line.as_ref()) {
        Ok(_) => "accepted".to_owned(),
        Err(rejection) => rejection.code.into_owned(),
    }
}

fn content(line: &str) -> u64 {
    match decoder().decode(line.as_bytes()).unwrap().0.identity {
        Identity::Id { content, .. } => content,
        Identity::Sequence { .. } => panic!("events have no sequence"),
    }
}

#[test]
fn a_full_event_has_all_its_fields() {
    let line = r#" {"schema":1, "attributes":{"experiment":"ranker","page":7,"mobile":true}, "item":"sku-1",
        "quantity":-2, "value":-1099511627776, "event_time_ms":1, "kind":"exposure", "unit":"müller-ü",
        "session":"a\"b\\c\u00e4\ud83d\ude00", "id":"e-1", "tenant":"north"} "#;
    let (header, event) = decoder().decode(line.as_bytes()).unwrap();
    let expected = Event {
        tenant: 1,
        kind: EventKind::Exposure,
        event_time_ms: 1,
        value: -(1 << 40),
        quantity: -2,
        id: "e-1".into(),
        session: "a\"b\\cä😀".into(),
        unit: "müller-ü".into(),
        item: "sku-1".into(),
        experiment: Some(1),
    };
    assert_eq!(event, expected);
    assert_eq!((header.group, header.lane, header.event_time_ms), (decoder().catalog.event_group(1), 0, 1));
}

#[test]
fn what_is_left_out_has_a_default() {
    let (_, event) = decoder().decode(LINE.as_bytes()).unwrap();
    assert_eq!((event.value, event.quantity, event.unit.as_str(), event.item.as_str()), (0, 0, "", ""));
    assert_eq!(event.experiment, None);
}

/// Identities and contents are in checkpoints: these values may never change.
#[test]
fn identities_are_frozen() {
    let line = with(r#""value":250,"attributes":{"page":"p","step":1}"#);
    let Identity::Id { id, content } = decoder().decode(line.as_bytes()).unwrap().0.identity else {
        panic!("events have ids")
    };
    assert_eq!(format!("{id:032x} {content:016x}"), "8b4e38acc2ae81176426bcf1de93cc0b 5a59c7a17c7571d6");
}

#[test]
fn content_is_what_is_meant_not_how_it_is_written() {
    let line = with(r#""unit":"u-1","attributes":{"a":"x","b":1,"c":false}"#);
    for same in [
        with(r#""attributes":{"c":false,"a":"x","b":1},"unit":"u-1""#),
        with(r#""attributes" : {"b":1, "c":false, "\u0061":"\u0078"} , "unit":"\u0075-1","value":0,"schema":1"#),
        line.replace("north", "south").replace("e-1", "e-2"),
    ] {
        assert_eq!(content(&same), content(&line), "{same}");
    }
    for other in [
        with(r#""unit":"u-2","attributes":{"a":"x","b":1,"c":false}"#),
        with(r#""item":"u-1","attributes":{"a":"x","b":1,"c":false}"#),
        with(r#""unit":"u-1","attributes":{"a":"x","b":"1","c":false}"#),
        with(r#""unit":"u-1","attributes":{"a":1,"b":"x","c":false}"#),
        with(r#""unit":"u-1","attributes":{"a":"x","b":1,"c":0}"#),
        with(r#""unit":"u-1","attributes":{"a":"x","b":1}"#),
        with(r#""unit":"u-1","quantity":1,"attributes":{"a":"x","b":1,"c":false}"#),
        line.replace("view", "click"),
        line.replace("781", "782"),
    ] {
        assert_ne!(content(&other), content(&line), "{other}");
    }
}

#[test]
fn identity_is_of_the_tenant_and_the_id() {
    let id = |line: &str| match decoder().decode(line.as_bytes()).unwrap().0.identity {
        Identity::Id { id, .. } => id,
        Identity::Sequence { .. } => panic!("events have no sequence"),
    };
    assert_eq!(id(LINE), id(&with(r#""value":7"#)));
    assert_ne!(id(LINE), id(&LINE.replace("north", "south")));
    assert_ne!(id(LINE), id(&LINE.replace("e-1", "e-2")));
}

#[test]
fn an_exposure_names_its_experiment() {
    let exposure = |attributes: &str| with(&format!(r#""attributes":{attributes}"#)).replace("view", "exposure");
    let decoded = |attributes: &str| decoder().decode(exposure(attributes).as_bytes()).unwrap().1.experiment;
    assert_eq!(decoded(r#"{"experiment":"ranker"}"#), Some(1));
    assert_eq!(decoded(r#"{"experiment":"undeclared"}"#), None);
    assert_eq!(code(LINE.replace("view", "exposure")), "missing_field");
    assert_eq!(code(exposure(r#"{"page":"p"}"#)), "missing_field");
    assert_eq!(code(exposure(r#"{"experiment":""}"#)), "empty_string");
    assert_eq!(code(exposure(r#"{"experiment":1}"#)), "wrong_type");
    assert_eq!(code(with(r#""attributes":{"experiment":1}"#)), "accepted", "only exposures need it");
}

#[test]
fn bad_lines_have_stable_codes() {
    let attributes = |count: usize| {
        let list: Vec<String> = (0..count).map(|number| format!(r#""a{number}":{number}"#)).collect();
        with(&format!(r#""attributes":{{{}}}"#, list.join(",")))
    };
    let nested = |depth: usize| with(&format!(r#""attributes":{}{}"#, "[".repeat(depth), "]".repeat(depth)));
    let long = |bytes: usize| "ä".repeat(bytes / 2);
    for (line, expected) in [
        (String::new(), "not_json"),
        ("this is no JSON".to_owned(), "not_json"),
        (LINE[..70].to_owned(), "not_json"),
        (LINE.replace('}', ",}"), "not_json"),
        (LINE.replace("781", "781,,"), "not_json"),
        (format!("{LINE} {LINE}"), "not_json"),
        (LINE.replace("s-1", "s\u{1}1"), "not_json"),
        (LINE.replace("s-1", "\\ud800"), "not_json"),
        (LINE.replace("s-1", "\\x"), "not_json"),
        (with(r#""value":01"#), "not_json"),
        (with(r#""value":NaN"#), "not_json"),
        (with(r#""nonsense":1,"#), "not_json"),
        (format!("[{LINE}]"), "not_an_object"),
        ("null".to_owned(), "not_an_object"),
        ("\"text\"".to_owned(), "not_an_object"),
        ("17".to_owned(), "not_an_object"),
        ("-1.5".to_owned(), "not_an_object"),
        ("{}".to_owned(), "missing_field"),
        (LINE.replace("\"id\":\"e-1\",", ""), "missing_field"),
        (LINE.replace("\"tenant\":\"north\",", ""), "missing_field"),
        (LINE.replace("\"session\":\"s-1\",", ""), "missing_field"),
        (LINE.replace("\"kind\":\"view\",", ""), "missing_field"),
        (LINE.replace(",\"event_time_ms\":1736122548781", ""), "missing_field"),
        (with(r#""Value":1"#), "unknown_field"),
        (with(r#""":1"#), "unknown_field"),
        (with(r#""id":"e-1""#), "duplicate_field"),
        (with(r#""attributes":{},"attributes":{}"#), "duplicate_field"),
        (with(r#""attributes":{"a":1,"\u0061":1}"#), "duplicate_field"),
        (with(r#""value":"1""#), "wrong_type"),
        (with(r#""value":-0"#), "wrong_type"),
        (with(r#""value":1.0"#), "wrong_type"),
        (with(r#""value":1e3"#), "wrong_type"),
        (with(r#""value":null"#), "wrong_type"),
        (with(r#""value":true"#), "wrong_type"),
        (with(r#""value":[1]"#), "wrong_type"),
        (with(r#""value":{}"#), "wrong_type"),
        (with(r#""unit":7"#), "wrong_type"),
        (with(r#""unit":null"#), "wrong_type"),
        (with(r#""attributes":[]"#), "wrong_type"),
        (with(r#""attributes":"a""#), "wrong_type"),
        (with(r#""attributes":{"a":null}"#), "wrong_type"),
        (with(r#""attributes":{"a":1.5}"#), "wrong_type"),
        (with(r#""attributes":{"a":{"b":1}}"#), "wrong_type"),
        (with(r#""attributes":{"a":[]}"#), "wrong_type"),
        (with(r#""value":9223372036854775808"#), "number_out_of_range"),
        (with(r#""value":-9223372036854775809"#), "number_out_of_range"),
        (with(r#""value":1e400"#), "number_out_of_range"),
        (with(r#""attributes":{"a":18446744073709551616}"#), "number_out_of_range"),
        (LINE.replace("view", "wish"), "unknown_kind"),
        (LINE.replace("view", "View"), "unknown_kind"),
        (LINE.replace("north", "nobody"), "unknown_tenant"),
        (LINE.replace("north", "North"), "unknown_tenant"),
        (LINE.replace("e-1", ""), "empty_string"),
        (with(r#""unit":"""#), "empty_string"),
        (with(r#""attributes":{"":1}"#), "empty_string"),
        (with(r#""attributes":{"a":""}"#), "accepted"),
        (LINE.replace("s-1", &long(256)), "accepted"),
        (LINE.replace("s-1", &long(258)), "string_too_long"),
        (with(&format!(r#""attributes":{{"{}":1}}"#, long(258))), "string_too_long"),
        (with(&format!(r#""attributes":{{"a":"{}"}}"#, long(258))), "string_too_long"),
        (attributes(64), "accepted"),
        (attributes(65), "too_many_attributes"),
        (nested(15), "wrong_type"),
        (nested(16), "too_deep"),
        (nested(100_000), "too_deep"),
        ("[".repeat(100_000), "too_deep"),
        (LINE.replace("s-1", "[[[[[[[[[[[[[[[[[[\\\"{{{"), "accepted"),
        (with(r#""value":1099511627776"#), "accepted"),
        (with(r#""value":1099511627777"#), "value_out_of_range"),
        (with(r#""value":-1099511627777"#), "value_out_of_range"),
        (with(r#""quantity":-2147483648"#), "accepted"),
        (with(r#""quantity":2147483649"#), "quantity_out_of_range"),
        (LINE.replace("1736122548781", "0"), "event_time_out_of_range"),
        (LINE.replace("1736122548781", "-1"), "event_time_out_of_range"),
        (LINE.replace("1736122548781", "253402300799999"), "accepted"),
        (LINE.replace("1736122548781", "253402300800000"), "event_time_out_of_range"),
        (with(r#""schema":1"#), "accepted"),
        (with(r#""schema":2"#), "unsupported_schema"),
    ] {
        let shown: String = line.chars().take(200).collect();
        assert_eq!(code(&line), expected, "{shown}");
    }
    assert_eq!(
        code(
            LINE.replace("s-1", "?")
                .as_bytes()
                .iter()
                .map(|byte| match byte {
                    b'?' => 0xff,
                    other => *other,
                })
                .collect::<Vec<u8>>()
        ),
        "invalid_utf8"
    );
}

#[test]
fn a_source_has_only_the_tenants_that_it_declares() {
    let mut decoder = decoder();
    decoder.tenants = Some(vec![0]);
    assert_eq!(decoder.decode(LINE.as_bytes()).unwrap_err().code, "undeclared_tenant");
    assert!(decoder.decode(LINE.replace("north", "south").as_bytes()).is_ok());
}

#[test]
fn kinds_have_the_names_that_serde_gives_them() {
    for (name, kind) in KINDS {
        assert_eq!(serde_json::to_value(kind).unwrap(), name);
    }
}

proptest! {
    /// Whatever becomes of a line's bytes, the decoder answers, and it accepts only what another parser reads as JSON.
    #[test]
    fn broken_lines_are_answered(edits in prop::collection::vec((0usize..140, any::<u8>(), 0u8..3), 1..4)) {
        let mut line = with(r#""unit":"ü\n","attributes":{"a":-1,"b":true}"#).into_bytes();
        for (place, byte, edit) in edits {
            let place = place % line.len();
            match edit {
                0 => line[place] = byte,
                1 => line.insert(place, byte),
                _ => line.truncate(place.max(1)),
            }
        }
        let parsed = serde_json::from_slice::<serde_json::Value>(&line);
        match decoder().decode(&line) {
            Ok((_, event)) => {
                let parsed = parsed.expect("accepted lines are JSON");
                prop_assert_eq!(parsed["session"].as_str(), Some(event.session.as_str()));
                prop_assert_eq!(parsed["unit"].as_str().unwrap_or_default(), event.unit.as_str());
                prop_assert_eq!(parsed["event_time_ms"].as_i64(), Some(event.event_time_ms));
            }
            Err(rejection) if matches!(&*rejection.code, "not_json" | "invalid_utf8") => prop_assert!(parsed.is_err()),
            Err(_) => {}
        }
    }

    /// Strings arrive as they were meant, whichever way they were escaped.
    #[test]
    fn strings_survive(session in "\\PC{1,30}", unit in "[\\x00-\\x7f]{1,60}", item in "\\PC{1,20}") {
        let line = serde_json::json!({
            "tenant": "north", "id": unit, "session": session, "kind": "view", "event_time_ms": 5, "unit": unit, "item": item,
        });
        let (_, event) = decoder().decode(line.to_string().as_bytes()).unwrap();
        prop_assert_eq!((event.session.as_str(), event.unit.as_str()), (session.as_str(), unit.as_str()));
        prop_assert_eq!((event.id.as_str(), event.item.as_str()), (unit.as_str(), item.as_str()));
    }
}
