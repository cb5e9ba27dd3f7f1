use super::super::stored::Stored;
use super::super::text::{Next, Text};
use super::*;

fn rows_of(folder: &TempDir, name: &str, text: impl AsRef<[u8]>) -> Vec<Seen> {
    let spec = put(folder, name, text);
    let outcomes: Vec<_> = [1, 40, 64 * 1024]
        .map(|bytes_max| drain_from(&mut source(std::slice::from_ref(&spec)).of_rows(b','), 0, bytes_max).0)
        .into();
    assert!(outcomes.iter().all(|outcome| *outcome == outcomes[0]), "however much is read at once");
    for item in &outcomes[0] {
        let mut source = source(std::slice::from_ref(&spec)).of_rows(b',');
        source.seek(item.offset).unwrap();
        let rest = &outcomes[0][outcomes[0].partition_point(|other| other.offset < item.offset)..];
        assert_eq!(drain_from(&mut source, item.offset, 100).0, rest, "from each row");
    }
    outcomes.into_iter().next().unwrap()
}

fn told(items: &[Seen]) -> Vec<(u64, Result<&str, &str>)> {
    items.iter().map(|item| (item.line, item.outcome.as_deref().map_err(|code| &code[..]))).collect()
}

#[test]
fn a_stray_quote_costs_its_own_line_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let mut text = "id,note\n".to_owned();
    for number in 2..2_000 {
        let note = match number {
            100 => "\"12 inch pan",
            1_900 => "\"Smith, J\"",
            _ => "ok",
        };
        text.push_str(&format!("{number},{note}\n"));
    }
    let items = rows_of(&folder, "pos.csv", &text);
    let expected = text.lines().zip(1..).skip(1).map(|(line, number)| match number {
        100 => (number, Err("open_quote")),
        _ => (number, Ok(line)),
    });
    assert_eq!(told(&items), expected.collect::<Vec<_>>());
    // Two of them: what lies between is not one cell.
    let items = rows_of(&folder, "two.csv", "id,note,n\n1,\"12 inch,1\n2,x,2\n3,\"8 inch,3\n4,\"a\nb\",4\n");
    let outcomes = [(2, Err("open_quote")), (3, Ok("2,x,2")), (4, Err("open_quote")), (5, Ok("4,\"a\nb\",4"))];
    assert_eq!(told(&items), outcomes);
}

#[test]
fn lines_that_end_with_a_carriage_return_alone_are_rows() {
    let folder = tempfile::tempdir().unwrap();
    let text = "\u{feff}id,note\r1,a\r2,\"two\nlines\"\r\r3,\"b\rb\"\r4,\"12 inch\r5,c";
    for stored in [text.as_bytes().to_vec(), gzip(text.as_bytes())] {
        let items = rows_of(&folder, "mac.csv", stored);
        let expected = [
            (2, Ok("1,a")),
            (3, Ok("2,\"two\nlines\"")),
            (5, Ok("3,\"b\rb\"")),
            (7, Err("open_quote")),
            (8, Ok("5,c")),
        ];
        assert_eq!(told(&items), expected);
    }
    // A file that is longer than what is looked at before its lines are read.
    let row = "1,aaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r";
    let rows = 3 * LINE_BYTES_MAX / row.len();
    let spec = put(&folder, "long.csv", format!("id,note\r{}", row.repeat(rows)));
    assert_eq!(drain_from(&mut source(&[spec]).of_rows(b','), 0, 64 * 1024).0.len(), rows);
}

#[test]
fn a_row_without_an_end_costs_its_first_line() {
    let folder = tempfile::tempdir().unwrap();
    let behind = format!("{}\n", "x".repeat(99)).repeat(2 * LINE_BYTES_MAX / 100);
    let text = format!("note\n\"open\n{behind}");
    let items = drain_from(&mut source(&[put(&folder, "a", text)]).of_rows(b','), 0, 64 * 1024).0;
    assert_eq!((items[0].line, &items[0].outcome), (2, &Err("open_quote".to_owned())));
    assert!(items[1..].iter().all(|item| item.outcome.is_ok()));
    assert_eq!(items.len(), 1 + behind.lines().count());
    let long = format!("note\na\n\"{}\nb\n", "x".repeat(LINE_BYTES_MAX + 5));
    let items = drain_from(&mut source(&[put(&folder, "b", long)]).of_rows(b','), 0, 64 * 1024).0;
    assert_eq!(items[1].outcome, Err("line_too_long".to_owned()));
    assert_eq!((items[0].ok(), items[2].ok(), items[2].line), ("a", "b", 4));
}

/// How many bytes are looked at until all rows of a text are found.
fn looked_bytes(folder: &TempDir, text: &str, bytes_max: usize) -> u64 {
    let path = put(folder, "looked.csv", text).path;
    let stored = Stored::new(std::fs::File::open(path).unwrap(), Compression::Plain, &Default::default()).unwrap();
    let mut text = Text::new(stored).unwrap();
    text.begin_rows(b',').unwrap();
    let (mut rows, mut bytes_wanted) = (Vec::new(), 1);
    while let Next::Lines(bytes) = text.next_rows(bytes_wanted, &mut rows).unwrap() {
        text.framing.columns.get_or_insert(rows[0].cells);
        text.consume(bytes);
        bytes_wanted = bytes_max;
    }
    text.looked_bytes
}

#[test]
fn the_search_for_rows_looks_at_bytes_in_proportion_to_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let wide = "h,".repeat(400);
    // Lines whose quotes no line closes; that close as text and open again; that never agree with the header.
    let lines = [("a,b", "\"a\",\"b"), (&wide, "a\",b,\"c"), ("a,b", "x,\"\"\"\"\"y"), ("a,b,c", "x,\""), ("a", "\"")];
    for (header, line) in lines {
        for bytes_max in [1, 64 * 1024] {
            let of = |lines: usize| {
                looked_bytes(&folder, &format!("{header}\n{}", format!("{line}\n").repeat(lines)), bytes_max)
            };
            let (some, four_times) = (of(20_000), of(80_000));
            assert!(four_times <= 5 * some, "{line}: {some} bytes of a file, {four_times} of one four times as long");
            assert!(some <= 20_000 * 110 * (line.len() as u64 + 1), "{line}: {some}");
        }
    }
}
