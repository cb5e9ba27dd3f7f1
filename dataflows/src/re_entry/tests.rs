use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use operators::record::{DecodeMessage, Identity, Rejection};
use operators::topology::GroupId;

use super::*;

fn letter(partition: &str, offset: u64, line: u64, raw: &[u8]) -> DeadLetter {
    DeadLetter {
        partition: partition.into(),
        offset,
        file: "events.ndjson".into(),
        line,
        code: "not_json".into(),
        detail: "at column 1".to_owned(),
        raw: STANDARD.encode(raw),
    }
}

fn letters() -> Vec<DeadLetter> {
    vec![
        letter("events/0", 10, 1, b"{broken"),
        letter("facts/0", 4, 1, b"one"),
        letter("facts/0", 4, 2, b"two"),
        letter("events/0", 30, 3, &[0xff]),
        letter("events/0", 40, 4, &vec![b'x'; RAW_BYTES_MAX]),
        letter("re-entry/events/0", 0, 0, b"{still broken"),
        DeadLetter { code: "future".into(), ..letter("orders/0", 7, 2, b"o-2,v1,purchase,1736000000000,200") },
    ]
}

/// The letters above, of which some entered before.
struct Before(BTreeSet<Vec<u8>>);

impl Published for Before {
    fn dead_letters(&self, partition: &str, offset: u64) -> Vec<DeadLetter> {
        letters().into_iter().filter(|letter| letter.partition == partition && letter.offset == offset).collect()
    }
    fn is_done(&self, what: &[u8]) -> bool {
        self.0.contains(what)
    }
}

fn ask(lines: &str, entered: &[DeadLetterId]) -> Result<Vec<(DeadLetterId, String)>, String> {
    let published = Before(entered.iter().map(DeadLetterId::entering).collect());
    let command = ReEnter::check(lines, &published).map_err(|refused| refused.to_string())?;
    let (content, body) = command.encode();
    assert_eq!(ReEnter::decode(&content, &body).as_ref(), Some(&command), "what is written is read");
    let mut once = Vec::new();
    command.once(&mut |what| once.push(what.to_vec()));
    assert_eq!(once.len(), command.letters.len());
    Ok(command.letters.into_iter().map(|letter| (letter.place, letter.record)).collect())
}

/// A command as builds wrote it that knew of one letter and of no principals.
fn command(place: &DeadLetterId, record: &[u8]) -> Vec<u8> {
    let DeadLetterId { partition, offset, line } = place;
    let header = format!("{{\"re_enter\":{{\"line\":{line},\"offset\":{offset},\"partition\":\"{partition}\"}}}}\n");
    [header.as_bytes(), record].concat()
}

fn place(partition: &str, offset: u64, line: u64) -> DeadLetterId {
    DeadLetterId { partition: partition.to_owned(), offset, line }
}

#[test]
fn a_letter_enters_as_it_was_or_repaired() {
    let asked = "{\"partition\":\"events/0\",\"offset\":10}\n\n\
                 {\"partition\":\"facts/0\",\"offset\":4,\"line\":2,\"record\":{\"id\":7}}\n\
                 {\"partition\":\"re-entry/events/0\",\"offset\":0,\"record\":\"{\\n}\"}\n";
    let commands = ask(asked, &[]).unwrap();
    let expected = [
        (place("events/0", 10, 1), "{broken".to_owned()),
        (place("facts/0", 4, 2), "{\"id\":7}".to_owned()),
        (place("re-entry/events/0", 0, 0), "{\n}".to_owned()),
    ];
    assert_eq!(commands, expected);
}

#[test]
fn what_is_listed_can_be_given_back() {
    let listed = as_json(&letters()[0], false);
    assert_eq!(ask(&listed, &[]).unwrap(), [(place("events/0", 10, 1), "{broken".to_owned())]);
    assert!(as_json(&letters()[3], false).contains("\"raw\":\"/w==\""));
}

#[test]
fn what_cannot_be_done_is_refused_with_its_line() {
    let refused = |asked: &str, words: &str| {
        let told = ask(asked, &[place("facts/0", 4, 1)]).unwrap_err();
        assert!(told.contains(words), "{told}");
    };
    let good = "{\"partition\":\"events/0\",\"offset\":10}";
    refused("", "no line that names a dead letter");
    refused(
        &format!("{good}\n{{\"partition\":\"events/0\",\"offset\":11}}"),
        "line 2: there is no dead letter of events/0",
    );
    refused(&format!("{good}\n{good}"), "line 2: events/0 at offset 10, line 1 entered before");
    refused("{\"partition\":\"facts/0\",\"offset\":4}", "has 2 dead letters at offset 4");
    refused("{\"partition\":\"facts/0\",\"offset\":4,\"line\":1}", "entered before");
    refused("{\"partition\":\"events/0\",\"offset\":10,\"recrod\":{}}", "line 1: unknown field `recrod`");
    refused("{\"partition\":\"events/0\",\"offset\":10,\"record\":7}", "neither an object nor a text");
    refused("{\"partition\":\"events/0\",\"offset\":30}", "no UTF-8");
    refused("{\"partition\":\"orders/0\",\"offset\":7}", "it did not come as JSON");
    refused("{\"partition\":\"events/0\",\"offset\":40}", "only its first 65536 bytes");
    let long =
        format!("{{\"partition\":\"events/0\",\"offset\":10,\"record\":\"{}\"}}", "x".repeat(RECORD_BYTES_MAX + 1));
    refused(&long, "1048576 are allowed");
}

/// Takes any text but an empty one.
struct Texts;

impl Decode for Texts {
    type Record = String;

    fn decode(&mut self, line: &[u8]) -> Result<(record::Header, String), Rejection> {
        let text = String::from_utf8(line.to_vec()).unwrap();
        if text.is_empty() {
            return Err(Rejection::new("empty", "there is nothing"));
        }
        let identity = Identity::Id { id: 0, content: 0 };
        Ok((record::Header { group: GroupId(0), lane: 0, event_time_ms: 1, identity }, text))
    }
}

#[test]
fn a_partition_takes_the_commands_that_are_meant_for_it() {
    let decoded = |partition: &str, command: &[u8]| {
        let mut given = Vec::new();
        ReEntryDecoder::new(partition, Texts).decode_message(command, |part, outcome| {
            let raw = &command[part.start as usize..(part.start + part.length) as usize];
            given.push((raw.to_vec(), outcome.map(|(_, text)| text).map_err(|rejection| rejection.code)));
        });
        given
    };
    let of_events = command(&place("events/0", 10, 1), b"text");
    assert_eq!(decoded("events/0", &of_events), [(b"text".to_vec(), Ok("text".to_owned()))]);
    assert_eq!(decoded("re-entry/events/0", &of_events).len(), 1, "by its own name, too");
    assert_eq!(decoded("events/1", &of_events), []);
    assert_eq!(decoded("events/0", &command(&place("re-entry/events/0", 0, 0), b"again")).len(), 1);
    assert_eq!(decoded("events/0", &command(&place("events/0", 10, 1), b"")), [(Vec::new(), Err("empty".into()))]);
    for other in [&b""[..], b"\n", b"{}\n", b"no line end", b"{\"hold\":{}}\nx", &[0xff, b'\n']] {
        assert_eq!(decoded("events/0", other), [], "{other:?}");
    }
}

#[test]
fn each_letter_of_a_command_of_several_enters_where_it_is_meant_to() {
    let letter = |partition: &str, offset, record: &str| RepairedLetter {
        place: place(partition, offset, 0),
        record: record.to_owned(),
    };
    let letters = vec![letter("events/0", 1, "one"), letter("facts/0", 2, "zwei\n2"), letter("events/0", 3, "")];
    let signature = crate::commands::Signature::new("ops", Some("mend-17"), "asked").unwrap();
    let written = crate::commands::written(&ReEnter { letters }, &signature);
    let given = |partition: &str, command: &[u8]| {
        let mut given = Vec::new();
        ReEntryDecoder::new(partition, Texts).decode_message(command, |part, outcome| {
            given.push((part.place, outcome.map(|(_, text)| text).map_err(|rejection| rejection.code)));
        });
        given
    };
    assert_eq!(given("events/0", &written), [(1, Ok("one".to_owned())), (3, Err("empty".into()))]);
    assert_eq!(given("re-entry/facts/0", &written), [(2, Ok("zwei\n2".to_owned()))]);
    assert_eq!(given("events/1", &written), []);
    // Lengths that do not fit are no command.
    assert_eq!(given("events/0", &written[..written.len() - 1]), []);
    assert_eq!(given("events/0", &[&written[..], b"x"].concat()), []);
}
