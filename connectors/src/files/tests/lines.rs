use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::stored::{Stored, is_stopped};
use super::super::text::Text;
use super::*;

fn texts(items: &[Seen]) -> Vec<(u64, u64, &str)> {
    items.iter().map(|item| (item.line, item.offset, item.ok())).collect()
}

#[test]
fn line_endings_byte_order_marks_and_blank_lines_are_no_part_of_records() {
    let folder = tempfile::tempdir().unwrap();
    let first = put(&folder, "a", b"\xef\xbb\xbfone\r\n\r\n \t \ntwo\r\r\nthree");
    let empty = put(&folder, "b", b"");
    let second = put(&folder, "c", b"\n\xef\xbb\xbffour\r");
    let items = drain(&[first, empty, second]);
    assert_eq!(
        texts(&items),
        [(1, 3, "one"), (4, 14, "two\r"), (5, 20, "three"), (2, 26, "\u{feff}four\r")],
        "a mark elsewhere and a carriage return without a newline are text"
    );
    let origins: Vec<&str> = items.iter().map(|item| &item.origin[..]).collect();
    assert_eq!(origins, ["a", "a", "a", "c"]);
}

#[test]
fn files_with_nothing_in_them_end() {
    let folder = tempfile::tempdir().unwrap();
    let specs = [
        put(&folder, "empty", b""),
        put(&folder, "empty.gz", gzip(b"")),
        put(&folder, "empty.zst", zstd(b"")),
        put(&folder, "mark", b"\xef\xbb\xbf"),
        put(&folder, "blank", b"\n\n \n"),
    ];
    assert_eq!(drain_from(&mut source(&specs), 0, 1), (Vec::new(), vec![0, 3, 4, 5, 7]));
    assert_eq!(drain_from(&mut source(&[]), 0, 1), (Vec::new(), vec![0]));
}

#[test]
fn compression_is_told_by_the_first_bytes_whatever_the_name() {
    let folder = tempfile::tempdir().unwrap();
    let skippable = [&b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc"[..], &zstd(b"six\n")].concat();
    let specs = [
        put(&folder, "a.zst", b"one\n"),
        put(&folder, "b.ndjson", gzip(b"two\n")),
        put(&folder, "c.gz", zstd(b"three\n")),
        // A line may span members and frames.
        put(&folder, "d", [gzip(b"fo"), gzip(b""), gzip(b"ur\n")].concat()),
        put(&folder, "e", [zstd(b"fi"), zstd(b""), zstd(b"ve\n")].concat()),
        put(&folder, "f", skippable),
    ];
    let items = drain(&specs);
    let found: Vec<&str> = items.iter().map(Seen::ok).collect();
    assert_eq!(found, ["one", "two", "three", "four", "five", "six"]);
    use Compression::{Gzip, Plain, Zstd};
    assert_eq!(specs.map(|spec| spec.compression), [Plain, Gzip, Zstd, Gzip, Zstd, Zstd]);
}

#[test]
fn zstd_windows_reach_to_128_mib() {
    let folder = tempfile::tempdir().unwrap();
    let with_window = |log: u32| {
        let mut encoder = ::zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(log).unwrap();
        // Without a known size the frame names its whole window.
        encoder.write_all(b"far\n").unwrap();
        encoder.finish().unwrap()
    };
    let items = drain(&[put(&folder, "27", with_window(27)), put(&folder, "28", with_window(28))]);
    assert_eq!(items[0].ok(), "far");
    assert_eq!(items[1].outcome, Err("truncated_input".to_owned()));
}

#[test]
fn an_overlong_line_is_one_dead_letter_and_the_next_line_is_fine() {
    let folder = tempfile::tempdir().unwrap();
    let long = |bytes: usize| vec![b'x'; bytes];
    for ending in ["\n", "\r\n"] {
        for (length, fits) in [
            (LINE_BYTES_MAX, true),
            (LINE_BYTES_MAX + 1, false),
            (LINE_BYTES_MAX + 2, false),
            (5 * LINE_BYTES_MAX + 77, false),
        ] {
            let text = [b"before\n", &long(length)[..], ending.as_bytes(), b"after\n"].concat();
            for (name, stored) in [("plain", text.clone()), ("gz", gzip(&text)), ("zst", zstd(&text))] {
                let spec = put(&folder, name, stored);
                for bytes_max in [1, 64 * 1024, 100 * LINE_BYTES_MAX] {
                    let (items, _) = drain_from(&mut source(std::slice::from_ref(&spec)), 0, bytes_max);
                    let found: Vec<_> = items.iter().map(|item| (item.line, item.offset, item.raw.len())).collect();
                    let after = 7 + (length + ending.len()) as u64;
                    assert_eq!(found, [(1, 0, 6), (2, 7, RAW_BYTES_MAX), (3, after, 5)], "{name} {length}");
                    let expected = if fits { None } else { Some("line_too_long") };
                    assert_eq!(items[1].outcome.as_ref().err().map(|code| &code[..]), expected, "{name} {length}");
                    assert_eq!((items[0].ok(), items[2].ok()), ("before", "after"));
                }
            }
        }
    }
}

#[test]
fn a_line_of_the_greatest_length_may_end_wherever_a_read_ends() {
    let folder = tempfile::tempdir().unwrap();
    // One of these has read the carriage return and not yet the newline.
    for before in 64 * 1024 - 3..64 * 1024 + 3 {
        let text = [vec![b'b'; before - 1], vec![b'x'; LINE_BYTES_MAX], b"after".to_vec()].join(&b"\r\n"[..]);
        let (items, _) = drain_from(&mut source(&[put(&folder, "a", text)]), 0, 1);
        let lengths: Vec<usize> = items.iter().map(|item| item.ok().len()).collect();
        assert_eq!(lengths, [before - 1, LINE_BYTES_MAX, 5]);
    }
}

#[test]
fn an_overlong_line_tells_its_length() {
    let folder = tempfile::tempdir().unwrap();
    for (ending, buffer_bytes) in [("\r\n", 3 * LINE_BYTES_MAX), ("\r\n", LINE_BYTES_MAX + 1), ("", LINE_BYTES_MAX + 1)]
    {
        let text = [&vec![b'x'; buffer_bytes], ending.as_bytes()].concat();
        let mut source = source(&[put(&folder, "long", text)]);
        let Ok(Polled::Batch(batch)) = source.poll(1) else { panic!("a batch") };
        let (rejection, _) = batch.items[0].outcome.as_ref().unwrap_err();
        assert_eq!(batch.items[0].length as usize, buffer_bytes);
        assert_eq!(rejection.detail, format!("the line has {buffer_bytes} bytes, 1048576 are allowed"));
    }
}

#[test]
fn lines_that_are_not_utf8_do_not_reach_the_decoder() {
    let folder = tempfile::tempdir().unwrap();
    let items = drain(&[put(&folder, "a", b"one\nt\xffo\nthr\xc3\xa9e\n\xc3\n")]);
    let outcomes: Vec<_> = items.iter().map(|item| item.outcome.as_deref().map_err(|code| &code[..])).collect();
    assert_eq!(outcomes, [Ok("one"), Err("invalid_utf8"), Ok("thr\u{e9}e"), Err("invalid_utf8")]);
    assert_eq!(items[1].raw, b"t\xffo");
}

#[test]
fn a_rejection_keeps_the_line() {
    let folder = tempfile::tempdir().unwrap();
    let long = format!("no{}\n", "x".repeat(2 * RAW_BYTES_MAX));
    let items = drain(&[put(&folder, "a", format!("no way\r\n{long}yes\n"))]);
    assert_eq!((&items[0].outcome, &items[0].raw[..]), (&Err("refused".to_owned()), &b"no way"[..]));
    assert_eq!(items[1].raw, long.as_bytes()[..RAW_BYTES_MAX]);
    assert_eq!(items[2].ok(), "yes");
}

#[test]
fn a_batch_holds_about_as_much_as_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let text = "0123456789\n".repeat(100_000);
    for stored in [text.clone().into_bytes(), gzip(text.as_bytes()), zstd(text.as_bytes())] {
        let mut source = source(&[put(&folder, "a", stored)]);
        for bytes_max in [1, 12, 1000, 64 * 1024, 300_000] {
            let Ok(Polled::Batch(batch)) = source.poll(bytes_max) else { panic!("a batch") };
            let least = bytes_max.saturating_sub(10).max(11) as u64;
            let bytes = least..=bytes_max.max(11) as u64;
            assert!(bytes.contains(&batch.bytes), "{} of {bytes_max}", batch.bytes);
        }
    }
}

/// Zeros of any number without a line end: reading them ends once nobody wants to go on, wherever it is.
#[test]
fn a_line_without_end_is_given_up_when_reading_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("endless");
    std::fs::File::create(&path).unwrap().set_len(64 << 20).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    for compression in [Compression::Plain, Compression::Gzip] {
        if compression == Compression::Gzip {
            std::fs::write(&path, gzip(&vec![0; 64 << 20])).unwrap();
        }
        let mut fresh = source(&[FileSpec::record(&path).unwrap()]);
        stop.store(false, Ordering::Release);
        fresh.stop_with(Arc::clone(&stop));
        fresh.seek(0).unwrap();
        stop.store(true, Ordering::Release);
        let error = fresh.poll(1000).unwrap_err();
        assert!(matches!(&error, SourceError::Stopped { origin } if origin.ends_with("endless")), "{error:?}");
        // The long line itself, of a file that is open already.
        stop.store(false, Ordering::Release);
        let stored = Stored::new(std::fs::File::open(&path).unwrap(), compression, &stop).unwrap();
        let mut text = Text::new(stored).unwrap();
        stop.store(true, Ordering::Release);
        let stopped = text.next(1000).map(|_| ()).unwrap_err();
        assert!(is_stopped(&stopped), "{stopped:?}");
        assert!(is_stopped(&text.skip_to(1 << 20).unwrap_err()));
    }
}
