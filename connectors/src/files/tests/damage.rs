use super::*;

/// Lines that do not compress to nothing.
fn text(lines: u64) -> String {
    let line = |number: u64| format!("{number} {:x}\n", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    (0..lines).map(line).collect()
}

/// What a damaged file gave: its text as far as it is there, and where the dead letter stands.
fn check_damaged(items: &[Seen], text: &[u8]) -> usize {
    let (last, before) = items.split_last().expect("there is a dead letter");
    assert_eq!(last.outcome, Err("truncated_input".to_owned()));
    let came_out = last.offset as usize + last.raw.len();
    assert_eq!(last.raw, text[last.offset as usize..came_out], "the incomplete line is kept");
    assert!(!last.raw.contains(&b'\n'));
    assert_eq!(before, by_hand(&last.origin, &text[..last.offset as usize], 0));
    assert_eq!(last.line, before.len() as u64 + 1);
    came_out
}

/// Wherever a file is cut, the lines before the cut stay, there is one dead letter, and the next file goes on.
fn check_cuts(stored: &[u8], text: &[u8], complete: &[usize]) {
    let folder = tempfile::tempdir().unwrap();
    let next = put(&folder, "next", b"next\n");
    let mut most = 0;
    for cut in 4..stored.len() {
        let specs = [put(&folder, "cut", &stored[..cut]), next.clone()];
        let mut fresh = source(&specs);
        let (items, ends) = drain_from(&mut fresh, 0, 50);
        let (last, of_cut) = items.split_last().unwrap();
        assert_eq!((last.ok(), last.line), ("next", 1), "cut at {cut}");
        if complete.contains(&cut) {
            assert!(of_cut.iter().all(|item| item.outcome.is_ok()), "cut at {cut}");
            continue;
        }
        let came_out = check_damaged(of_cut, text);
        assert_eq!(last.offset, came_out as u64 + 1, "the damage takes up one offset");
        assert!(came_out >= most, "a longer file has no less text");
        most = came_out;
        for offset in [last.offset, of_cut[of_cut.len() - 1].offset].into_iter().chain(ends) {
            let rest = &items[items.partition_point(|item| item.offset < offset)..];
            for source in [&mut fresh, &mut source(&specs)] {
                source.seek(offset).unwrap();
                assert_eq!(drain_from(source, offset, 1000).0, rest, "cut at {cut}, from {offset}");
            }
        }
    }
    assert_eq!(most, text.len(), "all of the text comes out before the last stored byte");
}

#[test]
fn a_gzip_file_may_be_cut_anywhere() {
    let text = text(30).into_bytes();
    let members = [gzip(&text[..200]), gzip(&text[200..])];
    check_cuts(&members.concat(), &text, &[members[0].len()]);
}

#[test]
fn a_zstd_file_may_be_cut_anywhere() {
    let text = text(30).into_bytes();
    let mut encoder = ::zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_checksum(true).unwrap();
    for part in text[200..].chunks(90) {
        encoder.write_all(part).unwrap();
        encoder.flush().unwrap();
    }
    let frames = [zstd(&text[..200]), encoder.finish().unwrap()];
    check_cuts(&frames.concat(), &text, &[frames[0].len()]);
}

#[test]
fn the_dead_letter_names_the_file_and_the_place() {
    let folder = tempfile::tempdir().unwrap();
    let stored = gzip(b"one\ntwo\nthr");
    let mut source = source(&[put(&folder, "cut.gz", &stored[..stored.len() - 1])]);
    let mut details = Vec::new();
    while let Polled::Batch(batch) = source.poll(1000).unwrap() {
        details.extend(
            batch.items.iter().filter_map(|item| item.outcome.as_ref().err()).map(|(why, _)| why.detail.clone()),
        );
    }
    let path = folder.path().join("cut.gz");
    assert_eq!(details, [format!("{} ends in the middle, at byte 11 of its text", path.display())]);
}

/// What lies before damage in the middle of a file stays, and what the damage is taken for is the same whatever it is
/// read with. (Neither format notices at once: that may be lines of rubbish.)
fn check_damage_in_the_middle(stored: &[u8], text: &[u8], lost_bytes_max: usize) {
    let folder = tempfile::tempdir().unwrap();
    for place in [stored.len() / 10, stored.len() / 2, stored.len() - 100] {
        let mut damaged = stored.to_vec();
        damaged[place..place + 40].fill(0xff);
        let spec = [put(&folder, "damaged", &damaged)];
        let (items, _) = drain_from(&mut source(&spec), 0, 64 * 1024);
        let dead = items.iter().filter(|item| item.outcome == Err("truncated_input".to_owned()));
        assert_eq!(dead.count(), 1);

        let told = by_hand("damaged", text, 0);
        let intact = items.iter().zip(&told).take_while(|(found, told)| found == told).count();
        let expected = text.len() * place / stored.len();
        let intact_bytes = told[intact].offset as usize;
        assert!(intact_bytes + lost_bytes_max > expected, "{intact_bytes} intact, some {expected} before the damage");

        for (bytes_max, offset) in [(1000, 0), (300_000, 0), (777, items[items.len() / 3].offset)] {
            let mut source = source(&spec);
            source.seek(offset).unwrap();
            let rest = &items[items.partition_point(|item| item.offset < offset)..];
            assert!(drain_from(&mut source, offset, bytes_max).0 == rest, "{bytes_max} from {offset}");
        }
    }
}

#[test]
fn a_gzip_file_may_be_damaged_in_the_middle() {
    // Much smaller than the buffers, and much larger.
    for lines in [500, 50_000] {
        let text = text(lines).into_bytes();
        check_damage_in_the_middle(&gzip(&text), &text, 4000);
    }
}

#[test]
fn a_zstd_file_may_be_damaged_in_the_middle() {
    // A block of 128 KiB is lost as a whole. The checksum makes sure that the damage is found at all.
    let text = text(100_000).into_bytes();
    let mut encoder = ::zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(&text).unwrap();
    check_damage_in_the_middle(&encoder.finish().unwrap(), &text, 140_000);
}

/// The text before damage that is found on the spot comes out whole, though the decoder gets both at once.
fn check_all_before(stored: Vec<u8>, text: &[u8], expected: usize) {
    let folder = tempfile::tempdir().unwrap();
    for bytes_max in [1, 1000, 64 * 1024] {
        let (items, _) = drain_from(&mut source(&[put(&folder, "a", &stored)]), 0, bytes_max);
        assert_eq!(check_damaged(&items, text), expected);
    }
}

#[test]
fn nothing_before_a_damaged_gzip_block_or_member_is_lost() {
    for lines in [100, 20_000] {
        let text = text(lines).into_bytes();
        let half = text.len() / 2;
        let stored = |part: &[u8]| {
            let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::none());
            encoder.write_all(part).unwrap();
            encoder.flush().unwrap();
            encoder.write_all(b"last block").unwrap();
            encoder.finish().unwrap()
        };
        let whole = stored(&text[..half]);
        let last_block = memchr::memmem::rfind(&whole, b"last block").unwrap();
        let mut damaged = whole.clone();
        damaged[last_block - 1] ^= 1;
        check_all_before(damaged, &text, half);

        let member = gzip(&text[..half]);
        check_all_before([&member, &b"no member"[..]].concat(), &text, half);
    }
}

#[test]
fn nothing_before_a_damaged_zstd_frame_is_lost() {
    for lines in [100, 20_000] {
        let text = text(lines).into_bytes();
        let half = text.len() / 2;
        check_all_before([&zstd(&text[..half]), &b"no frame"[..]].concat(), &text, half);
    }
}

#[test]
fn a_wrong_checksum_is_found_behind_all_of_the_text() {
    let folder = tempfile::tempdir().unwrap();
    let mut stored = gzip(b"one\ntwo\n");
    let checksum = stored.len() - 8;
    stored[checksum] ^= 1;
    let items = drain(&[put(&folder, "a", stored), put(&folder, "b", b"three\n")]);
    let outcomes: Vec<_> = items.iter().map(|item| item.outcome.as_deref().map_err(|code| &code[..])).collect();
    assert_eq!(outcomes, [Ok("one"), Ok("two"), Err("truncated_input"), Ok("three")]);
    assert_eq!((items[2].offset, items[2].line, items[3].offset), (8, 3, 9));
}

#[test]
fn an_overlong_line_that_is_cut_short_is_one_dead_letter() {
    let folder = tempfile::tempdir().unwrap();
    let long = "0123456789abcdef".repeat(LINE_BYTES_MAX / 8);
    let stored = gzip(format!("one\n{long}").as_bytes());
    let items = drain(&[put(&folder, "a", &stored[..stored.len() - 9]), put(&folder, "b", b"two\n")]);
    assert_eq!(items.len(), 3);
    assert_eq!(items[1].outcome, Err("truncated_input".to_owned()));
    assert_eq!(items[1].raw, long.as_bytes()[..RAW_BYTES_MAX]);
    assert_eq!((items[1].line, items[2].ok()), (2, "two"));
}
