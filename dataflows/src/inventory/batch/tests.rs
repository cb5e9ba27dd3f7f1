use super::*;

use std::collections::BTreeMap;

use operators::record::Decode;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::catalog::{FactSourceSpec, Tenant};
use crate::inventory::decode::FactDecoder;

fn catalog() -> Arc<Catalog> {
    let tenants = ["south", "north"].map(|name| Tenant { name: name.into() }).to_vec();
    let camera = FactSourceSpec { class_b: true, ..FactSourceSpec::default() };
    Arc::new(Catalog::new(tenants, Vec::new(), BTreeMap::from([("camera".to_owned(), camera)])))
}

fn decode(message: &[u8]) -> Vec<(Part, Result<(Header, Fact), Rejection>)> {
    let mut given = Vec::new();
    BatchDecoder::new(catalog(), None, None).decode_message(message, |part, outcome| given.push((part, outcome)));
    given
}

fn sale(id: &str) -> Statement<'_> {
    Statement {
        tenant: Some("north"),
        id: Some(id),
        node: Some("store-1"),
        sku: Some("sku-1"),
        quantity: Some(3),
        event_time_ms: Some(1_736_121_600_000),
        source: Some("pos"),
        ..Statement::of(FactKind::Sale)
    }
}

fn batch(statements: &[Statement<'_>]) -> Vec<u8> {
    let mut writer = BatchWriter::default();
    assert!(statements.iter().all(|said| writer.push(said)));
    writer.finish().unwrap()
}

/// The message with its checksum made right again.
fn signed(mut message: Vec<u8>) -> Vec<u8> {
    let checksum = crc32fast::hash(&message[12..]);
    message[8..12].copy_from_slice(&checksum.to_le_bytes());
    message
}

fn json(said: &Statement<'_>) -> String {
    let name = |state: StockState| STATES[state as usize].0;
    let mut fields = serde_json::Map::new();
    let mut put = |field: &str, value: serde_json::Value| drop(fields.insert(field.to_owned(), value));
    for (field, text) in
        [("tenant", said.tenant), ("id", said.id), ("node", said.node), ("sku", said.sku), ("source", said.source)]
    {
        text.into_iter().for_each(|text| put(field, text.into()));
    }
    put("kind", KINDS[said.kind as usize].0.into());
    for (field, state) in [("state", said.state), ("to_state", said.to_state)] {
        state.into_iter().for_each(|state| put(field, name(state).into()));
    }
    for (field, number) in [
        ("quantity", said.quantity),
        ("event_time_ms", said.event_time_ms),
        ("observed_from_ms", said.observed_from_ms),
        ("epoch", said.epoch),
        ("sequence", said.sequence),
    ] {
        number.into_iter().for_each(|number| put(field, number.into()));
    }
    if let Some(Corrected { id, kind, quantity, event_time_ms }) = said.corrects {
        let kind = KINDS[kind as usize].0;
        let corrects =
            serde_json::json!({"id": id, "kind": kind, "quantity": quantity, "event_time_ms": event_time_ms});
        put("corrects", corrects);
    }
    said.void.into_iter().for_each(|void| put("void", void.into()));
    for (field, text) in [("reference", said.reference), ("reason", said.reason), ("principal", said.principal)] {
        if !text.is_empty() {
            put(field, text.into());
        }
    }
    serde_json::Value::Object(fields).to_string()
}

const TEXTS: [&str; 8] = [
    "north",
    "south",
    "nowhere",
    "store-1",
    "camera",
    "dépôt-ü",
    "f-1",
    "a name that is longer than twenty-four bytes",
];

prop_compose! {
    fn statement()(
        texts in proptest::array::uniform8(select(&TEXTS[..])),
        given in any::<[bool; 10]>(),
        kind in select(&KINDS[..]),
        states in any::<[Index; 2]>(),
        quantity in prop_oneof![Just(0), 0..100_i64, any::<i64>()],
        event_time_ms in prop_oneof![1..2_000_000_000_000_i64, any::<i64>()],
        duration_ms in prop_oneof![1..3_600_001_i64, 1..1_000_000_000_i64],
        epoch in any::<u32>(),
        sequence in prop_oneof![0..50_i64, 0..=i64::MAX],
        corrected in (select(&KINDS[..]), any::<i32>(), 1..2_000_000_000_000_i64),
    ) -> Statement<'static> {
        let kind = kind.1;
        let optional = |place: usize, text| if given[place] { text } else { "" };
        Statement {
            tenant: Some(texts[0]),
            id: Some(texts[1]),
            kind,
            node: Some(texts[2]),
            sku: given[0].then_some(texts[3]),
            state: given[1].then(|| states[0].get(&STATES).1),
            to_state: given[2].then(|| states[1].get(&STATES).1),
            quantity: Some(quantity),
            event_time_ms: Some(event_time_ms),
            observed_from_ms: given[3].then(|| event_time_ms.saturating_sub(duration_ms)),
            source: Some(texts[4]),
            epoch: given[4].then_some(i64::from(epoch)),
            sequence: given[4].then_some(sequence),
            corrects: given[5].then_some(Corrected {
                id: texts[5],
                kind: corrected.0.1,
                quantity: i64::from(corrected.1),
                event_time_ms: corrected.2,
            }),
            void: given[6].then_some(true),
            reference: optional(7, texts[6]),
            reason: optional(8, texts[7]),
            principal: optional(9, texts[0]),
        }
    }
}

proptest! {
    /// The same statement is the same fact with the same header, or is refused for the same reason, in either format.
    #[test]
    fn a_batch_says_what_json_says(statements in prop::collection::vec(statement(), 1..20)) {
        let decoded = decode(&batch(&statements));
        prop_assert_eq!(decoded.len(), statements.len());
        let mut of_json = FactDecoder::new(catalog(), None, None);
        for (place, ((part, outcome), said)) in (1..).zip(decoded.iter().zip(&statements)) {
            prop_assert_eq!(part.place, place);
            prop_assert_eq!(outcome, &of_json.decode(json(said).as_bytes()));
        }
    }

    /// Any bytes are a batch or one dead letter, never a panic.
    #[test]
    fn any_bytes_are_decoded(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let decoded = decode(&bytes);
        prop_assert_eq!(decoded.len(), 1);
        prop_assert_eq!(decoded[0].1.as_ref().unwrap_err().code.as_ref(), "malformed_batch");
        prop_assert_eq!(decoded[0].0, Part::whole(&bytes));
    }

    /// The same of bytes that pass every check of the whole: any change, signed again, is decoded or refused.
    #[test]
    fn any_signed_bytes_are_decoded(
        statements in prop::collection::vec(statement(), 1..5),
        changes in prop::collection::vec((any::<Index>(), any::<u8>()), 1..4),
    ) {
        let mut message = batch(&statements);
        for (place, byte) in changes {
            let place = place.index(message.len());
            message[place] = byte;
        }
        let decoded = decode(&signed(message));
        prop_assert!(decoded.len() == 1 || decoded.len() == statements.len());
    }

    /// The same of any records behind a right header.
    #[test]
    fn any_records_are_decoded(records in prop::collection::vec(any::<[u8; 24]>(), 0..4), facts in 1..5_u32) {
        let mut message = batch(&[sale("f-1")])[..HEADER_BYTES].to_vec();
        records.iter().for_each(|record| message.extend_from_slice(record));
        message.extend((0..facts as usize * FACT_BYTES).map(|byte| (byte % 7) as u8));
        let length = (message.len() as u32).to_le_bytes();
        for (at, number) in [(12, length), (16, [0; 4]), (20, (records.len() as u32).to_le_bytes())] {
            message[at..at + 4].copy_from_slice(&number);
        }
        message[24..28].copy_from_slice(&facts.to_le_bytes());
        message[28..32].copy_from_slice(&[0; 4]);
        prop_assert_eq!(decode(&signed(message)).len(), facts as usize);
    }

    /// No flipped bit goes unnoticed.
    #[test]
    fn a_flipped_bit_is_noticed(place in any::<Index>(), bit in 0..8) {
        let mut message = batch(&[sale("f-1"), sale("f-2")]);
        let place = place.index(message.len());
        message[place] ^= 1u8 << bit;
        let decoded = decode(&message);
        prop_assert_eq!(decoded.len(), 1);
        prop_assert!(decoded[0].1.is_err());
    }
}

#[test]
fn one_bad_fact_does_not_spoil_its_neighbours() {
    let unknown = Statement { tenant: Some("west"), ..sale("f-2") };
    let message = batch(&[sale("f-1"), unknown, sale("f-3")]);
    let codes: Vec<_> = decode(&message)
        .into_iter()
        .map(|(part, outcome)| {
            (part.place, outcome.map_or_else(|rejection| rejection.code.into_owned(), |_| "a fact".into()))
        })
        .collect();
    assert_eq!(codes, [(1, "a fact".to_owned()), (2, "unknown_tenant".to_owned()), (3, "a fact".to_owned())]);
}

#[test]
fn a_part_is_the_record_in_the_message() {
    let message = batch(&[sale("f-1"), Statement { quantity: Some(77), ..sale("f-2") }]);
    let (part, _) = &decode(&message)[1];
    let record = &message[part.start as usize..][..part.length as usize];
    assert_eq!(record[48..56], 77_i64.to_le_bytes());
}

#[test]
fn what_is_wrong_with_a_message_is_said() {
    let good = batch(&[sale("f-1")]);
    let detail = |message: &[u8]| decode(message)[0].1.as_ref().unwrap_err().detail.clone();
    let with = |at: usize, byte: u8| {
        let mut message = good.clone();
        message[at] = byte;
        message
    };
    assert!(detail(b"AFCT").contains("4 bytes are no batch"));
    assert!(detail(&with(0, b'{')).contains("a batch begins with"));
    assert!(detail(&with(4, 2)).contains("version 2 is not known"));
    assert!(detail(&with(6, 1)).contains("have to be zero"));
    assert!(detail(&good[..good.len() - 1]).contains("the message has"));
    assert!(detail(&with(40, 9)).contains("checksum"));
    // The first text's end, beyond the text and within the second one's.
    assert!(detail(&signed(with(34, 9))).contains("text 0 ends at byte"));
    let facts = HEADER_BYTES + 5 * 4;
    assert!(detail(&signed(with(facts, 9))).contains("`tenant` is text 9, there are 5"));
    assert!(detail(&signed(with(facts + 64, 12))).contains("kind 12 is not known"));
    assert!(detail(&signed(with(facts + 67, 2))).contains("flags"));
    assert!(detail(&signed(with(facts + 36, 1))).contains("an epoch, but no sequence"));
}

/// Senders have written such bytes: they stay readable for ever. The example of `docs/facts-batch.md`.
#[test]
fn the_layout_is_frozen() {
    let page = include_str!("../../../../docs/facts-batch.md");
    let example = page.split("```hex\n").nth(1).unwrap().split("```").next().unwrap();
    let bytes: Vec<u8> = example
        .lines()
        .flat_map(|line| line.trim_start().split_once("  ").unwrap().1.split(" "))
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect();
    let said = Statement { epoch: Some(1), sequence: Some(17), reference: "receipt-4711", ..sale("f-1") };
    let written = batch(&[said]);
    let shown: Vec<String> = (0..)
        .step_by(16)
        .zip(written.chunks(16))
        .map(|(at, bytes)| {
            let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{at:4}  {}", bytes.join(" "))
        })
        .collect();
    assert_eq!(written, bytes, "the page should show\n{}", shown.join("\n"));
}

#[test]
fn a_full_batch_takes_no_more() {
    let mut writer = BatchWriter::default();
    let ids: Vec<String> = (0..120_000).map(|number| format!("{number:0>100}")).collect();
    let taken = ids.iter().take_while(|id| writer.push(&sale(id))).count();
    let message = writer.finish().unwrap();
    assert!(taken < ids.len() && message.len() <= BATCH_BYTES_MAX && message.len() > BATCH_BYTES_MAX - 8192);
    assert_eq!(decode(&message).iter().filter(|(_, outcome)| outcome.is_ok()).count(), taken);
    assert!(writer.finish().is_none(), "it is as new");
}
