//! `docs/events.md`, the published schemas and the decoders say the same.

#![allow(clippy::unwrap_used, reason = "a test may fail here, in its helpers too")]

#[path = "schemas/validator.rs"]
mod validator;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dataflows::catalog::{Catalog, Tenant};
use dataflows::experiment::decode::{self as events, EventDecoder};
use dataflows::inventory::decode::{self as facts, FactDecoder};
use dataflows::limits;
use operators::document::Shape;
use operators::record::Decode;
use serde_json::{Value, json};
use validator::accepts;

const DOCUMENT: &str = include_str!("../../docs/events.md");

fn event_schema() -> Value {
    serde_json::from_str(include_str!("../../docs/schemas/event.v1.json")).unwrap()
}

fn fact_schema() -> Value {
    serde_json::from_str(include_str!("../../docs/schemas/fact.v1.json")).unwrap()
}

fn catalog() -> Arc<Catalog> {
    Arc::new(Catalog::new(vec![Tenant { name: "north".into() }], Vec::new(), BTreeMap::new()))
}

/// The code with which a decoder refuses a document, or none.
fn refusal(is_fact: bool, document: &Value) -> Option<String> {
    let line = document.to_string();
    let refused = if is_fact {
        FactDecoder::new(catalog(), None, None).decode(line.as_bytes()).err()
    } else {
        EventDecoder::new(catalog(), None).decode(line.as_bytes()).err()
    };
    refused.map(|rejection| rejection.code.into_owned())
}

/// The examples of the page: whether it is a fact, and the record.
fn examples() -> Vec<(bool, Value)> {
    let blocks = DOCUMENT.split("```json\n").skip(1).map(|block| block.split("```").next().unwrap());
    let lines = blocks.flat_map(str::lines).map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.map(|record| (record.get("node").is_some(), record)).collect()
}

fn names(list: &[(&str, Shape)]) -> Vec<String> {
    list.iter().map(|(name, _)| (*name).to_owned()).collect()
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect()
}

fn assert_properties(schema: &Value, fields: &[(&str, Shape)]) {
    let properties = schema["properties"].as_object().unwrap();
    assert_eq!(properties.keys().cloned().collect::<Vec<String>>(), names(fields));
    assert_eq!(schema["additionalProperties"], json!(false));
    for (name, shape) in fields.iter().filter(|(name, _)| *name != "schema") {
        let expected = match shape {
            Shape::Text => "string",
            Shape::Integer => "integer",
            Shape::Flag => "boolean",
            Shape::Object | Shape::Entries => "object",
        };
        assert_eq!(properties[*name]["type"], expected, "{name}");
        if *shape == Shape::Text && properties[*name].get("enum").is_none() {
            assert_eq!(properties[*name]["maxLength"], limits::STRING_BYTES_MAX, "{name}");
        }
    }
}

#[test]
fn fields_and_kinds_are_those_of_the_decoders() {
    let (event, fact) = (event_schema(), fact_schema());
    assert_properties(&event, events::FIELDS);
    assert_properties(&fact, facts::FIELDS);
    assert_properties(&fact["properties"]["corrects"], facts::CORRECTS_FIELDS);
    assert_eq!(strings(&event["required"]), events::REQUIRED);
    assert_eq!(strings(&fact["required"]), facts::REQUIRED);
    assert_eq!(json!(strings(&fact["properties"]["corrects"]["required"])), json!(names(facts::CORRECTS_FIELDS)));

    let kinds = |schema: &Value| strings(&schema["properties"]["kind"]["enum"]).join(" ");
    assert_eq!(kinds(&event), events::KINDS.map(|(name, _)| name).join(" "));
    assert_eq!(kinds(&fact), facts::KINDS.map(|(name, _)| name).join(" "));
    assert_eq!(
        kinds(&fact["properties"]["corrects"]),
        facts::KINDS[..11].iter().map(|it| it.0).collect::<Vec<_>>().join(" ")
    );
    for state in ["state", "to_state"] {
        assert_eq!(strings(&fact["properties"][state]["enum"]), facts::STATES.map(|(name, _)| name));
    }
}

#[test]
fn bounds_are_those_of_the_decoders() {
    let bounds = |property: &Value| (property["minimum"].as_i64().unwrap(), property["maximum"].as_i64().unwrap());
    let (event, fact) = (event_schema(), fact_schema());
    let (event, fact) = (&event["properties"], &fact["properties"]);
    let time = (limits::EVENT_TIME_MIN_MS, limits::EVENT_TIME_MAX_MS);
    let quantity = (-limits::QUANTITY_MAX, limits::QUANTITY_MAX);
    assert_eq!(bounds(&event["value"]), (-limits::VALUE_MAX, limits::VALUE_MAX));
    assert_eq!(bounds(&fact["epoch"]), (0, limits::EPOCH_MAX));
    assert_eq!(bounds(&fact["sequence"]), (0, limits::SEQUENCE_MAX));
    assert_eq!(event["attributes"]["maxProperties"], limits::ATTRIBUTES_MAX);
    for properties in [event, fact, &fact["corrects"]["properties"]] {
        assert_eq!(bounds(&properties["event_time_ms"]), time);
        assert_eq!(bounds(&properties["quantity"]), quantity);
    }
    let printed = [
        (limits::VALUE_MAX, 1 << 40, "±2^40"),
        (limits::QUANTITY_MAX, 1 << 31, "±2^31"),
        (limits::ATTRIBUTES_MAX as i64, 64, "more than 64 attributes"),
        (limits::STRING_BYTES_MAX as i64, 256, "more than 256 bytes"),
        (limits::DEPTH_MAX as i64, 16, "more than 16 objects"),
        (limits::COUNT_DURATION_MAX_MS, 3_600_000, "more than an hour"),
    ];
    for (limit, number, words) in printed {
        assert!(limit == number && DOCUMENT.contains(words), "{words}");
    }
}

#[test]
fn the_page_lists_every_field_and_kind() {
    let rows = |from: &str, upto: &str| -> Vec<String> {
        let section = DOCUMENT.split(from).nth(1).unwrap().split(upto).next().unwrap();
        section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).map(str::to_owned).collect()
    };
    assert_eq!(rows("## Experiment events", "## Inventory facts"), names(events::FIELDS));
    assert_eq!(rows("## Inventory facts", "### Kinds"), names(facts::FIELDS));
    assert_eq!(rows("### Kinds", "### Corrections"), facts::KINDS.map(|(name, _)| name.to_owned()));
}

#[test]
fn the_page_lists_every_code() {
    let sources = [
        include_str!("../src/limits.rs"),
        include_str!("../src/catalog.rs"),
        include_str!("../../operators/src/document.rs"),
        include_str!("../../operators/src/document/visit.rs"),
        include_str!("../src/experiment/decode.rs"),
        include_str!("../src/inventory/decode.rs"),
        include_str!("../src/inventory/statement.rs"),
        include_str!("../src/inventory/batch.rs"),
        include_str!("../../operators/src/avro.rs"),
        include_str!("../../operators/src/avro/reader.rs"),
    ];
    let opened = sources.iter().flat_map(|source| ["Rejection::new(\"", "within(\""].map(|opening| (source, opening)));
    let given: BTreeSet<&str> = opened
        .flat_map(|(source, opening)| source.split(opening).skip(1))
        .map(|rest| rest.split('"').next().unwrap())
        .collect();
    let table = DOCUMENT.split("| code |").nth(1).unwrap();
    let decoded = table.lines().filter(|line| line.contains("decoder |"));
    let listed: BTreeSet<&str> = decoded.map(|line| line.split('`').nth(1).unwrap()).collect();
    assert_eq!(given, listed);
    for code in ["tombstone", "line_too_long", "invalid_utf8", "truncated_input", "future", "conflict"] {
        assert!(table.contains(&format!("| `{code}` |")), "{code}");
    }
}

#[test]
fn every_example_decodes() {
    assert_eq!(examples().len(), 11);
    for (is_fact, record) in examples() {
        assert_eq!(refusal(is_fact, &record), None, "{record}");
        let schema = if is_fact { fact_schema() } else { event_schema() };
        assert!(accepts(&schema, &record), "{record}");
    }
}

/// What a schema cannot say: it depends on the configuration, or on two fields at once.
fn beyond_schemas(code: &str, document: &Value) -> bool {
    let time = |name: &str| document.get(name).and_then(Value::as_i64).unwrap_or(0);
    match code {
        "unknown_tenant" | "undeclared_tenant" | "undeclared_source" | "count_too_long" | "invalid_correction" => true,
        "event_time_out_of_range" => time("observed_from_ms") > time("event_time_ms"),
        _ => false,
    }
}

/// Values that are right somewhere and wrong elsewhere.
fn values() -> Vec<Value> {
    let mut values = vec![
        json!(null),
        json!(true),
        json!(false),
        json!(""),
        json!("north"),
        json!("x".repeat(256)),
        json!("x".repeat(257)),
        json!([]),
        json!(["north"]),
        json!({}),
        json!({"experiment": "ranker"}),
        json!({"experiment": 7, "a": true}),
        json!({"a": {"b": 1}}),
        json!({"a": 1.5}),
        json!({"a": i64::MIN, "b": ""}),
        json!({"a": u64::MAX}),
        json!({"": 1}),
        json!({"x".repeat(257): 1}),
        json!((0..64).map(|number| (format!("a{number}"), json!(number))).collect::<serde_json::Map<_, _>>()),
        json!((0..65).map(|number| (format!("a{number}"), json!(number))).collect::<serde_json::Map<_, _>>()),
        json!({"id": "f-0", "kind": "sale", "quantity": 1, "event_time_ms": 5}),
        json!({"id": "f-0", "kind": "sale", "quantity": -1, "event_time_ms": 5}),
        json!({"id": "f-0", "kind": "adjust", "quantity": -1, "event_time_ms": 5}),
        json!({"id": "f-0", "kind": "state_move", "quantity": 1, "event_time_ms": 5}),
        json!({"id": "f-0", "kind": "clock", "quantity": 0, "event_time_ms": 5}),
        json!({"id": "f-0", "kind": "sale", "quantity": 1}),
        json!({"id": "f-0", "kind": "sale", "quantity": 1, "event_time_ms": 5, "node": "n"}),
        json!(1.5),
        json!(u64::MAX),
        json!(i64::MAX),
        json!(i64::MAX - 1),
    ];
    for bound in [0, 1, 2, 1 << 31, 1 << 32, 1 << 40, limits::EVENT_TIME_MAX_MS, 1_736_685_000_000] {
        values.extend([bound, -bound, bound + 1, -bound - 1].map(|number| json!(number)));
    }
    values.extend(events::KINDS.map(|(name, _)| json!(name)));
    values.extend(facts::KINDS.map(|(name, _)| json!(name)));
    values.extend(facts::STATES.map(|(name, _)| json!(name)));
    values
}

/// Holds decoder and schema to each other; returns whether they accept.
fn agree(is_fact: bool, schema: &Value, document: &Value) -> bool {
    match (refusal(is_fact, document), accepts(schema, document)) {
        (Some(code), _) if beyond_schemas(&code, document) => false,
        (code, accepted) => {
            assert_eq!(code.is_none(), accepted, "decoder: {code:?}, schema accepts: {accepted}, {document}");
            accepted
        }
    }
}

#[test]
fn decoders_and_schemas_agree_on_changed_examples() {
    let (event, fact, values) = (event_schema(), fact_schema(), values());
    let (mut accepted, mut refused, mut state) = (0, 0, 1u64);
    let mut chance = |choices: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % choices
    };
    for (is_fact, example) in examples() {
        let schema = if is_fact { &fact } else { &event };
        let mut fields = names(if is_fact { facts::FIELDS } else { events::FIELDS });
        fields.push("other".to_owned());
        // Every single change, then random ones of two to four fields.
        for (field, value) in fields.iter().flat_map(|field| values.iter().map(move |value| (field, value))) {
            let mut document = example.clone();
            document[field] = value.clone();
            if agree(is_fact, schema, &document) { accepted += 1 } else { refused += 1 }
        }
        for _ in 0..3_000 {
            let mut document = example.clone();
            for _ in 0..2 + chance(3) {
                let field = &fields[chance(fields.len())];
                if chance(3) == 0 {
                    document.as_object_mut().unwrap().remove(field);
                } else {
                    document[field] = values[chance(values.len())].clone();
                }
            }
            if agree(is_fact, schema, &document) { accepted += 1 } else { refused += 1 }
        }
    }
    assert!(accepted > 1_000 && refused > 10_000, "{accepted} accepted, {refused} refused");
}

#[test]
fn decoders_and_schemas_agree_on_what_is_no_object() {
    for document in values() {
        assert!(!agree(false, &event_schema(), &document) && !agree(true, &fact_schema(), &document), "{document}");
    }
}
