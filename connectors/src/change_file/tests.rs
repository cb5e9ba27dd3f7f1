use operators::memory_disk::MemoryDisk;
use operators::sink::Change;

use super::*;

const NAME: &str = "sinks/minutes/shard-2.ndjson";

/// The tick's rows with their differences, sealed so far.
fn tick(tick: Tick, rows: &[(&str, i64)], sealed_through: &[(&str, TimeMs)]) -> Changes {
    let change = |(row, diff): &(&str, i64)| (tick, Change { row: format!("{{\"name\":\"{row}\"}}"), diff: *diff });
    Changes {
        view: "minutes".to_owned(),
        shard: 2,
        lower: tick,
        upper: tick + 1,
        changes: rows.iter().map(change).collect(),
        sealed_through: sealed_through.iter().map(|(tenant, time_ms)| (tenant.to_string(), *time_ms)).collect(),
    }
}

/// Changes, quiet ticks, a tick that only seals, the end.
fn story() -> Vec<Changes> {
    let start = [("a\"b", MINUS_INFINITY), ("c", -5)];
    let later = [("a\"b", 60_000), ("c", 7)];
    vec![
        tick(0, &[], &start),
        tick(1, &[("x", 1), ("y", 2)], &start),
        tick(2, &[], &start),
        tick(3, &[], &later),
        tick(4, &[], &later),
        tick(5, &[("x", -1), ("\u{e9}", 1)], &later),
        tick(6, &[], &later),
        tick(7, &[], &[("a\"b", PLUS_INFINITY), ("c", PLUS_INFINITY)]),
        tick(8, &[], &[("a\"b", PLUS_INFINITY), ("c", PLUS_INFINITY)]),
    ]
}

fn file(disk: &MemoryDisk) -> Vec<u8> {
    disk.read(NAME).unwrap().unwrap_or_default()
}

/// Writes the story from where the file stands, as a restarted run does.
fn go_on(disk: &MemoryDisk, flush_every: usize) -> Tick {
    let mut sink = ChangeFileSink::new(disk.clone());
    let resumed = sink.resume("minutes", 2).unwrap();
    for (index, changes) in story().iter().enumerate() {
        sink.write(changes).unwrap();
        if index % flush_every == 0 {
            sink.flush().unwrap();
        }
    }
    sink.flush().unwrap();
    resumed
}

fn uninterrupted() -> Vec<u8> {
    let disk = MemoryDisk::new();
    assert_eq!(go_on(&disk, 1), 0);
    file(&disk)
}

#[test]
fn every_tick_that_says_something_ends_with_a_progress_line() {
    let expected = r#"
{"progress":1,"sealed_through":{"a\"b":null,"c":-5}}
{"tick":1,"diff":1,"row":{"name":"x"}}
{"tick":1,"diff":2,"row":{"name":"y"}}
{"progress":2,"sealed_through":{"a\"b":null,"c":-5}}
{"progress":4,"sealed_through":{"a\"b":60000,"c":7}}
{"tick":5,"diff":-1,"row":{"name":"x"}}
{"tick":5,"diff":1,"row":{"name":"é"}}
{"progress":6,"sealed_through":{"a\"b":60000,"c":7}}
{"progress":8,"sealed_through":{"a\"b":"end","c":"end"}}
"#;
    assert_eq!(str::from_utf8(&uninterrupted()).unwrap(), expected.trim_start());
}

#[test]
fn a_file_that_was_cut_anywhere_becomes_the_same_again() {
    let whole = uninterrupted();
    let mut progress_seen = Vec::new();
    for cut in 0..=whole.len() {
        for (flush_every, zeros) in [(1, 0), (100, 0), (3, 50)] {
            let disk = MemoryDisk::new();
            disk.put(NAME, [&whole[..cut], &vec![0; zeros]].concat());
            let resumed = go_on(&disk, flush_every);
            assert!(file(&disk) == whole, "cut at {cut}, flushed every {flush_every}, {zeros} zeros behind");
            progress_seen.push(resumed);
        }
    }
    progress_seen.dedup();
    assert_eq!(progress_seen, [0, 1, 2, 4, 6, 8]);
}

#[test]
fn a_crash_at_any_tick_and_with_any_torn_tail_leaves_the_same_file() {
    let whole = uninterrupted();
    for ticks in 0..=story().len() {
        for kept_bytes in 0..200 {
            let disk = MemoryDisk::new();
            let mut sink = ChangeFileSink::new(disk.clone());
            for (index, changes) in story().iter().take(ticks).enumerate() {
                sink.write(changes).unwrap();
                if index == 1 {
                    sink.flush().unwrap();
                }
            }
            for file in sink.shards.values() {
                sink.disk.append(&file.name, file.buffer.as_bytes()).unwrap();
            }
            disk.crash(|_, _| kept_bytes);
            let resumed = go_on(&disk, 1);
            assert!(ticks < 2 || resumed >= 2, "what was flushed is durable");
            assert!(file(&disk) == whole, "crashed after {ticks} ticks, {kept_bytes} bytes kept");
        }
    }
}

#[test]
fn what_resume_counts_on_is_durable() {
    let disk = MemoryDisk::new();
    let whole = uninterrupted();
    disk.clone().append(NAME, &whole).unwrap();
    assert_eq!(ChangeFileSink::new(disk.clone()).resume("minutes", 2).unwrap(), 8);
    disk.crash(|_, _| 0);
    assert_eq!(file(&disk), whole);
}

#[test]
fn nothing_is_in_the_file_before_it_is_flushed_and_everything_after() {
    let disk = MemoryDisk::new();
    let mut sink = ChangeFileSink::new(disk.clone());
    for changes in story() {
        sink.write(&changes).unwrap();
        let other = Changes { view: "other".to_owned(), shard: 0, ..changes };
        sink.write(&other).unwrap();
    }
    assert!(disk.contents().is_empty());
    sink.flush().unwrap();
    disk.crash(|_, _| 0);
    let whole = uninterrupted();
    let names: Vec<String> = disk.contents().into_keys().collect();
    assert_eq!(names, [NAME, "sinks/other/shard-0.ndjson"]);
    assert!(disk.contents().values().all(|file| *file == whole));
}

#[test]
fn ticks_that_were_written_before_are_not_written_again() {
    let disk = MemoryDisk::new();
    go_on(&disk, 1);
    let whole = file(&disk);
    assert_eq!(go_on(&disk, 1), 8);
    assert_eq!(file(&disk), whole);

    // A call that overlaps what is there gives its new ticks only.
    let mut sink = ChangeFileSink::new(disk.clone());
    let mut overlapping = tick(7, &[("old", 1)], &[]);
    overlapping.changes.push((8, Change { row: "{}".to_owned(), diff: 1 }));
    overlapping.upper = 9;
    sink.write(&overlapping).unwrap();
    sink.write(&overlapping).unwrap();
    sink.flush().unwrap();
    let added = &file(&disk)[whole.len()..];
    assert_eq!(
        str::from_utf8(added).unwrap(),
        "{\"tick\":8,\"diff\":1,\"row\":{}}\n{\"progress\":9,\"sealed_through\":{}}\n"
    );
}

#[test]
fn another_file_is_refused_and_left_as_it_is() {
    let whole = uninterrupted();
    let first_line = 1 + whole.iter().position(|&byte| byte == b'\n').unwrap();
    let foreign: [Vec<u8>; 9] = [
        b"hello".to_vec(),
        b"hello\n".to_vec(),
        b"\0\0binary".to_vec(),
        b"{\"name\":1}\n".to_vec(),
        b"{\"progress\":x,\"sealed_through\":{}}\n".to_vec(),
        b"{\"progress\":1,\"sealed_through\":{\n".to_vec(),
        [&whole[..], b"hello\n"].concat(),
        [b"hello\n", &whole[..]].concat(),
        [&whole[..], &whole[..first_line]].concat(),
    ];
    for bytes in foreign {
        let disk = MemoryDisk::new();
        disk.put(NAME, bytes.clone());
        let refused = ChangeFileSink::new(disk.clone()).resume("minutes", 2);
        assert!(matches!(refused, Err(SinkError::Foreign { .. })), "{}", String::from_utf8_lossy(&bytes));
        assert_eq!(file(&disk), bytes);
    }
}

#[test]
fn the_same_file_comes_about_on_a_real_disk() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let mut sink = ChangeFileSink::new(crate::local_disk::LocalDisk::new(folder.path()));
        for changes in story() {
            sink.write(&changes).unwrap();
        }
        sink.flush().unwrap();
        assert_eq!(std::fs::read(folder.path().join(NAME)).unwrap(), uninterrupted());
    }
}
