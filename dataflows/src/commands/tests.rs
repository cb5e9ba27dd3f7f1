use crate::re_entry::{DeadLetterId, RepairedLetter};

use super::*;

fn command() -> ReEnter {
    let place = DeadLetterId { partition: "events/0".to_owned(), offset: 412, line: 3 };
    ReEnter { letters: vec![RepairedLetter { place, record: "{\"id\":\"e17\"}".to_owned() }] }
}

#[test]
fn a_command_says_who_gave_it_and_under_which_name() {
    let signature = Signature::new("ops", Some("mend-17"), "what was asked").unwrap();
    let entry = written(&command(), &signature);
    let text = String::from_utf8(entry.clone()).unwrap();
    let header = "{\"digest\":\"d1a4e7fde6bb9c90db9b4b8ac0e1d3b1\",\"id\":\"mend-17\",\"principal\":\"ops\",\
                  \"re_enter\":{\"line\":3,\"offset\":412,\"partition\":\"events/0\"}}\n{\"id\":\"e17\"}";
    let digest = &signature.digest;
    assert_eq!(text, header.replace("d1a4e7fde6bb9c90db9b4b8ac0e1d3b1", digest));
    assert_eq!(read(&entry), Some(Logged { signature, reading: Reading::of(&command()) }));
    // Without a name it goes by its number, and no digest is needed.
    let signature = Signature::new(LOCAL, None, "what was asked").unwrap();
    let entry = written(&command(), &signature);
    assert!(entry.starts_with(b"{\"principal\":\"local\",\"re_enter\":{"));
    assert_eq!(read(&entry).unwrap().signature, Signature { digest: String::new(), ..signature });
}

#[test]
fn commands_of_older_and_of_later_builds_are_read() {
    let old = b"{\"re_enter\":{\"line\":3,\"offset\":412,\"partition\":\"events/0\"}}\n{\"id\":\"e17\"}";
    let Logged { signature, reading } = read(old).unwrap();
    assert_eq!((signature.principal.as_str(), signature.id), (LOCAL, None));
    assert_eq!(reading, Reading::of(&command()));
    let later = read(b"{\"hold\":{\"until\":7},\"id\":\"h\"}\nbody").unwrap();
    assert_eq!((later.signature.id.as_deref(), later.reading), (Some("h"), Reading::default()));
    for other in [&b""[..], b"\n", b"[]\n", b"no line end", &[0xff, b'\n']] {
        assert_eq!(read(other), None, "{other:?}");
    }
}

#[test]
fn names_are_short_and_plain() {
    let long = "x".repeat(NAME_BYTES_MAX + 1);
    for (principal, id) in
        [("", None), ("a b", None), (LOCAL, Some("")), (LOCAL, Some("é")), (LOCAL, Some(long.as_str()))]
    {
        let told = Signature::new(principal, id, "").unwrap_err();
        assert!(told.contains("1 to 64 letters"), "{told}");
    }
    assert_ne!(Signature::new(LOCAL, None, "a").unwrap().digest, Signature::new(LOCAL, None, "b").unwrap().digest);
}

#[test]
fn every_kind_has_a_name_of_its_own() {
    let names: std::collections::BTreeSet<_> = KINDS.iter().map(|kind| kind.name).collect();
    assert_eq!(names.len(), KINDS.len());
    for kind in &KINDS {
        assert_eq!(Kind::at(kind.path).map(|found| found.name), Some(kind.name), "a path of its own");
    }
    assert!(KINDS.iter().all(|kind| !["id", "digest", "principal"].contains(&kind.name) && !kind.scope.is_empty()));
}
