//! The messages in `examples/` were written by another implementation (fastavro) with the schemas of `docs/schemas`: the
//! examples of `docs/events.md`, and one with a schema that has other fields, in another order.

use std::collections::BTreeMap;
use std::sync::Arc;

use operators::record::{Decode, DecodeMessage, Rejection};
use proptest::prelude::*;
use proptest::sample::Index;

use dataflows::catalog::{Catalog, Tenant};
use dataflows::experiment::decode::{AvroEventDecoder, EventDecoder};
use dataflows::inventory::decode::{AvroFactDecoder, FactDecoder};

const MESSAGES: &str = include_str!("examples/messages.hex");
const FACT: &[u8] = include_bytes!("../../../docs/schemas/fact.v1.avsc");
const EVENT: &[u8] = include_bytes!("../../../docs/schemas/event.v1.avsc");
const EVOLVED: &[u8] = include_bytes!("examples/evolved.avsc");

fn messages() -> Vec<Vec<u8>> {
    let byte = |at: usize, line: &str| u8::from_str_radix(&line[at..at + 2], 16).unwrap();
    MESSAGES.lines().map(|line| (0..line.len()).step_by(2).map(|at| byte(at, line)).collect()).collect()
}

/// The examples of the page, in their order.
fn lines() -> Vec<&'static str> {
    let page = include_str!("../../../docs/events.md");
    page.split("```json\n").skip(1).flat_map(|block| block.split("```").next().unwrap().lines()).collect()
}

fn catalog() -> Arc<Catalog> {
    Arc::new(Catalog::new(vec![Tenant { name: "north".into() }], Vec::new(), BTreeMap::new()))
}

fn facts() -> FactDecoder {
    FactDecoder::new(catalog(), None, None)
}

fn of_fact(schema: &[u8], message: &[u8]) -> Result<impl PartialEq + std::fmt::Debug + use<>, Rejection> {
    let mut decoder = AvroFactDecoder::new(facts());
    decoder.answered(&message[1..5], Some(schema));
    one(&mut decoder, message)
}

fn one<D: DecodeMessage>(decoder: &mut D, message: &[u8]) -> Result<(operators::record::Header, D::Record), Rejection> {
    let mut given = Vec::new();
    decoder.decode_message(message, |_, outcome| given.push(outcome));
    assert_eq!(given.len(), 1);
    given.remove(0)
}

fn code(schema: &[u8], record: &[u8]) -> String {
    let message = [&[0, 0, 0, 0, 9], record].concat();
    of_fact(schema, &message).map_or_else(|rejection| rejection.code.into_owned(), |_| "a fact".to_owned())
}

#[test]
fn what_another_implementation_wrote_is_what_json_says() {
    let messages = messages();
    assert_eq!(messages.len(), lines().len() + 1);
    let mut events = AvroEventDecoder::new(EventDecoder::new(catalog(), None));
    events.answered(&[0, 0, 0, 2], Some(EVENT));
    for (line, message) in lines().into_iter().zip(&messages) {
        if line.contains("\"node\"") {
            let mut decoder = AvroFactDecoder::new(facts());
            decoder.answered(&[0, 0, 0, 1], Some(FACT));
            let expected = facts().decode(line.as_bytes());
            assert!(expected.is_ok());
            assert_eq!(one(&mut decoder, message), expected, "{line}");
        } else {
            let expected = EventDecoder::new(catalog(), None).decode(line.as_bytes());
            assert!(expected.is_ok());
            assert_eq!(one(&mut events, message), expected, "{line}");
        }
    }
}

/// Fields of ours are found wherever they are, others are skipped whatever they hold, microseconds become milliseconds.
#[test]
fn another_schema_says_the_same() {
    let mut decoder = AvroFactDecoder::new(facts());
    decoder.answered(&[0, 0, 0, 3], Some(EVOLVED));
    let line = r#"{"tenant":"north","id":"f-1","kind":"sale","node":"store-1","sku":"sku-1","quantity":3,"event_time_ms":1736121600000,"source":"pos"}"#;
    assert_eq!(one(&mut decoder, messages().last().unwrap()), facts().decode(line.as_bytes()));
}

#[test]
fn a_schema_is_asked_for_once() {
    let message = &messages()[4];
    let mut decoder = AvroFactDecoder::new(facts());
    assert_eq!(decoder.question(message), Some(vec![0, 0, 0, 1]));
    decoder.answered(&[0, 0, 0, 1], None);
    assert_eq!(decoder.question(message), None, "that there is none is an answer too");
    let rejection = one(&mut decoder, message).unwrap_err();
    assert_eq!(
        (rejection.code.as_ref(), rejection.detail.as_str()),
        ("unknown_schema", "the registry has no schema 1")
    );
    assert_eq!(decoder.question(b"{}"), None, "what is no Avro needs no schema");
    assert_eq!(one(&mut decoder, b"{}").unwrap_err().code, "malformed_avro");
}

#[test]
fn schemas_that_cannot_be_used_are_told() {
    let record = |fields: &str| format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#).into_bytes();
    assert_eq!(code(b"\"string\"", &[0]), "unusable_schema");
    assert_eq!(code(b"string", &[0]), "unusable_schema");
    assert_eq!(code(b"{", &[0]), "unusable_schema");
    assert_eq!(code(&record(r#"{"name":"a","type":"Unheard"}"#), &[0]), "unusable_schema");
    assert_eq!(code(&record(r#"{"name":"a","type":"int"},{"name":"a","type":"int"}"#), &[0, 0]), "unusable_schema");
    // A field that is not there is missing, one of another type is refused.
    assert_eq!(code(&record(r#"{"name":"kind","type":"string"}"#), b"\x08sale"), "missing_field");
    assert_eq!(code(&record(r#"{"name":"kind","type":"long"}"#), &[0]), "wrong_type");
    assert_eq!(code(&record(r#"{"name":"id","type":"string"}"#), &[0]), "empty_string");
    assert_eq!(code(&record(r#"{"name":"id","type":"string"}"#), b"\x02\xff"), "invalid_utf8");
}

/// Types that contain themselves without a way out, and many values without bytes, end soon.
#[test]
fn endless_values_end() {
    let endless = br#"{"type":"record","name":"R","fields":[{"name":"again","type":"R"}]}"#;
    assert_eq!(code(endless, &[]), "malformed_avro");
    let nothing = br#"{"type":"record","name":"R","fields":[{"name":"many","type":{"type":"array","items":"null"}}]}"#;
    assert_eq!(code(nothing, &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]), "malformed_avro");
    let mut doubled = r#""null""#.to_owned();
    for level in 0..40 {
        doubled = format!(
            r#"{{"type":"record","name":"R{level}","fields":[{{"name":"a","type":{doubled}}},{{"name":"b","type":{}}}]}}"#,
            if level == 0 { r#""null""#.to_owned() } else { format!(r#""R{}""#, level - 1) },
        );
    }
    let doubled = format!(r#"{{"type":"record","name":"R","fields":[{{"name":"much","type":{doubled}}}]}}"#);
    assert_eq!(code(doubled.as_bytes(), &[]), "malformed_avro");
}

proptest! {
    /// Any bytes are a record or a dead letter, with any of the schemas.
    #[test]
    fn any_bytes_are_decoded(bytes in prop::collection::vec(any::<u8>(), 0..200), which in 0..2_usize) {
        let message = [&[0, 0, 0, 0, 9], bytes.as_slice()].concat();
        let _ = of_fact([FACT, EVOLVED][which], &message);
        let mut events = AvroEventDecoder::new(EventDecoder::new(catalog(), None));
        events.answered(&[0, 0, 0, 9], Some(EVENT));
        let _ = one(&mut events, &message);
    }

    /// So is any message with some bytes changed or cut off.
    #[test]
    fn damaged_messages_are_decoded(
        which in any::<Index>(),
        changes in prop::collection::vec((any::<Index>(), any::<u8>()), 0..4),
        keep in any::<Index>(),
    ) {
        let mut message = which.get(&messages()).clone();
        for (place, byte) in changes {
            let place = 5 + place.index(message.len() - 5);
            message[place] = byte;
        }
        let _ = of_fact(FACT, &message);
        let cut = 5 + keep.index(message.len() - 5);
        prop_assert!(of_fact(EVOLVED, &message[..cut]).is_err());
    }

    /// A schema may be anything too.
    #[test]
    fn any_schema_is_taken(text in "[\\[{\"](\"type\"|\"name\"|\"record\"|\"fields\"|[\\[\\]{}:,]|\"int\"){0,20}") {
        let _ = of_fact(text.as_bytes(), &messages()[4]);
    }
}
