use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::sync::atomic::AtomicBool;

use super::*;

/// A file of lines that are hard to cut: with blanks, carriage returns, marks, text that is no text.
fn text() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        3 => Just(&b"\n"[..]),
        1 => Just(&b"\r\n"[..]),
        1 => Just(&b"\r"[..]),
        1 => Just(&b" "[..]),
        2 => Just(&b"a"[..]),
        2 => Just(&b"word \xc3\xa9"[..]),
        1 => Just(&b"no"[..]),
        1 => Just(&b"\xff"[..]),
        1 => Just(&b"\xef\xbb\xbf"[..]),
    ];
    proptest::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn from_every_offset_the_rest_is_the_same(
        texts in proptest::collection::vec((text(), 0..3), 0..5),
        bytes_max in 0usize..100,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let (mut specs, mut expected, mut base) = (Vec::new(), Vec::new(), 0);
        for (index, (text, compression)) in texts.iter().enumerate() {
            let name = index.to_string();
            let stored = match compression {
                0 => text.clone(),
                1 => gzip(text),
                _ => zstd(text),
            };
            specs.push(put(&folder, &name, stored));
            expected.extend(by_hand(&name, text, base));
            base += text.len() as u64;
        }
        let mut fresh = source(&specs);
        let (items, ends) = drain_from(&mut fresh, 0, bytes_max);
        prop_assert_eq!(&items, &expected);
        prop_assert_eq!(ends.last(), Some(&base));

        let offsets = items.iter().map(|item| item.offset).chain(ends.iter().copied());
        for offset in offsets {
            let rest = &items[items.partition_point(|item| item.offset < offset)..];
            // One that has read everything before knows where the files begin, a new one does not.
            for source in [&mut fresh, &mut source(&specs)] {
                source.seek(offset).unwrap();
                let (items, rest_ends) = drain_from(source, offset, bytes_max);
                prop_assert_eq!(&items, rest);
                prop_assert_eq!(rest_ends.last(), Some(&base));
            }
        }
        let beyond = source(&specs).seek(base + 1);
        let is_refused = matches!(&beyond, Err(SourceError::Truncated { end, .. }) if *end == base);
        prop_assert!(is_refused);
    }
}

fn difference(spec: &FileSpec) -> String {
    let mut source = source(std::slice::from_ref(spec));
    match source.poll(1000) {
        Err(SourceError::Changed { origin, difference }) => {
            assert_eq!(file_name(&origin), "a");
            difference
        }
        other => panic!("a changed file is refused, not {other:?}"),
    }
}

#[test]
fn a_changed_file_is_refused_before_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    let spec = put(&folder, "a", b"one\ntwo\n");
    std::fs::write(&path, b"one\ntwo").unwrap();
    assert_eq!(difference(&spec), "it has 7 bytes, not 8");
    std::fs::write(&path, b"one\ntwo\nthree\n").unwrap();
    assert_eq!(difference(&spec), "it has 14 bytes, not 8");
    std::fs::write(&path, b"one\ntwO\n").unwrap();
    let words = difference(&spec);
    assert!(words.starts_with("its SHA-256 is ") && words.ends_with(&format!("not {}", spec.sha256)), "{words}");
    std::fs::remove_file(&path).unwrap();
    assert_eq!(difference(&spec), "it is missing");
    std::fs::write(&path, b"one\ntwo\n").unwrap();
    assert_eq!(drain(&[spec]).len(), 2);
}

#[test]
fn a_file_that_changes_while_it_is_read_is_refused_where_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let text: String = (0..200_000).map(|number| format!("{number} {}\n", number * 7919 % 10_007)).collect();
    for stored in [text.clone().into_bytes(), gzip(text.as_bytes()), zstd(text.as_bytes())] {
        let spec = put(&folder, "a", &stored);
        let mut source = source(&[spec]);
        source.poll(1000).unwrap();
        std::fs::File::options()
            .write(true)
            .open(folder.path().join("a"))
            .unwrap()
            .set_len(stored.len() as u64 / 2)
            .unwrap();
        let refused = loop {
            match source.poll(64 * 1024) {
                Ok(Polled::Batch(batch)) => assert!(seen(&batch).iter().all(|item| item.outcome.is_ok())),
                other => break other,
            }
        };
        assert!(matches!(refused, Err(SourceError::Changed { .. })), "{refused:?}");
    }
}

#[test]
fn what_cannot_be_read_now_may_be_read_later() {
    let folder = tempfile::tempdir().unwrap();
    let spec = put(&folder, "a", b"one\n");
    let elsewhere = FileSpec { path: folder.path().join("a/b"), ..spec.clone() };
    let error = source(&[elsewhere]).poll(1).unwrap_err();
    assert!(error.is_transient(), "{error:?}");
}

#[test]
fn the_recorded_hash_is_that_of_the_stored_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let spec = put(&folder, "abc", b"abc");
    assert_eq!(spec.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_eq!(spec.size_bytes, 3);
    let stored = gzip(b"abc");
    assert_eq!(put(&folder, "abc.gz", &stored).size_bytes, stored.len() as u64);
    assert!(matches!(FileSpec::record(folder.path()), Err(FilesError::Irregular { kind: "folder", .. })));
    assert!(matches!(FileSpec::record(folder.path().join("none")), Err(FilesError::Unreadable { .. })));
}

#[test]
fn files_that_are_recorded_at_once_are_what_each_is_alone() {
    let folder = tempfile::tempdir().unwrap();
    let specs: Vec<FileSpec> =
        (0..20).map(|number| put(&folder, &number.to_string(), vec![b'a'; 20_000 * (20 - number)])).collect();
    let mut paths: Vec<PathBuf> = specs.iter().map(|spec| spec.path.clone()).collect();
    assert_eq!(FileSpec::record_all(&paths, &AtomicBool::new(false)).unwrap(), specs);
    assert_eq!(FileSpec::record_all(&[], &AtomicBool::new(false)).unwrap(), []);
    assert!(FileSpec::record_all(&paths, &AtomicBool::new(true)).is_err(), "nobody waits for that any more");
    paths[3] = folder.path().join("none");
    paths[7] = folder.path().join("nor this");
    let Err(FilesError::Unreadable { path, .. }) = FileSpec::record_all(&paths, &AtomicBool::new(false)) else {
        unreachable!("it is not there")
    };
    assert_eq!(path, paths[3], "the first one is told");
}

#[test]
fn a_pattern_is_expanded_in_the_order_of_names() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["b.ndjson", "a10.ndjson", "a9.ndjson", "B.ndjson", "c.txt"] {
        put(&folder, name, b"");
    }
    std::fs::create_dir(folder.path().join("folder.ndjson")).unwrap();
    let pattern = |name: &str| format!("{}/{name}", folder.path().display());
    let names = |name: &str| -> Vec<String> {
        expand(&pattern(name)).unwrap().iter().map(|path| file_name(path.to_str().unwrap())).collect()
    };
    assert_eq!(names("*.ndjson"), ["B.ndjson", "a10.ndjson", "a9.ndjson", "b.ndjson"]);
    assert_eq!(names("c.txt"), ["c.txt"]);
    assert!(matches!(expand(&pattern("*.csv")), Err(FilesError::NoMatch { .. })));
    assert!(matches!(expand(&pattern("folder*")), Err(FilesError::NoMatch { .. })));
    assert!(matches!(expand("a***"), Err(FilesError::Pattern { .. })));
}

#[test]
fn a_name_that_is_not_utf8_is_an_error_wherever_the_pattern_would_match_it() {
    let folder = tempfile::tempdir().unwrap();
    let cafe = |ending: &str| OsString::from_vec([b"caf\xe9", ending.as_bytes()].concat());
    std::fs::write(folder.path().join("a.ndjson"), b"").unwrap();
    std::fs::write(folder.path().join(cafe(".ndjson")), b"").unwrap();
    let within = folder.path().join("within").join(cafe(""));
    std::fs::create_dir_all(&within).unwrap();
    std::fs::write(within.join("b.csv"), b"").unwrap();
    std::fs::write(folder.path().join("within/c.csv"), b"").unwrap();
    let found = |name: &str| expand(&format!("{}/{name}", folder.path().display()));
    for (pattern, name) in
        [("*.ndjson", "caf\u{fffd}.ndjson"), ("ca??.ndjson", "caf\u{fffd}.ndjson"), ("within/*/*.csv", "caf\u{fffd}")]
    {
        let error = found(pattern).unwrap_err();
        assert!(matches!(error, FilesError::Name { .. }), "{pattern}: {error:?}");
        assert!(error.to_string().contains(name), "{error}");
    }
    assert!(matches!(found("**/*.ndjson"), Err(FilesError::Name { .. })));
    for pattern in ["a*.ndjson", "within/*.csv", "[a-b].ndjson", "within/c.csv"] {
        assert_eq!(found(pattern).unwrap().len(), 1, "{pattern} does not match it");
    }
}

#[test]
fn what_is_no_file_is_refused_with_its_name_and_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    let spec = put(&folder, "a.ndjson", b"one\n");
    let _socket = UnixListener::bind(folder.path().join("s.ndjson")).unwrap();
    let error = expand(&format!("{}/*.ndjson", folder.path().display())).unwrap_err().to_string();
    assert!(error.contains("s.ndjson is a socket, not a file"), "{error}");
    let pipe = folder.path().join("p.csv");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let error = expand(&format!("{}/*.csv", folder.path().display())).unwrap_err().to_string();
    assert!(error.contains("p.csv is a named pipe, not a file"), "{error}");
    // Opening it would wait for a writer, whoever asks: these return.
    let is_refused = |outcome| matches!(outcome, Err(FilesError::Irregular { kind: "named pipe", .. }));
    assert!(is_refused(FileSpec::record(&pipe)));
    assert!(is_refused(FileSpec::recorded(&pipe, 4, String::new())));
    let swapped = FileSpec { path: pipe, ..spec };
    let error = source(&[swapped]).poll(1).unwrap_err();
    assert!(
        matches!(&error, SourceError::Changed { difference, .. } if difference == "it is a named pipe, not a file")
    );
}
