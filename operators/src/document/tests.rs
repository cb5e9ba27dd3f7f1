//! The same record from JSON, from a row and from an Avro message, of fields that are nobody's domain.

use super::*;
use crate::avro::Schemas;
use crate::csv::{Column, CsvSettings, Rows, TimeFormat};

fields! {
    struct Book at BookPlace {
        title: Text,
        pages: Integer,
        is_printed: Flag,
        author: Object(Author),
    }
}

fields! {
    struct Author at AuthorPlace {
        name: Text,
    }
}

/// What a book says, or the code of the rejection.
fn told(book: &Book<'_>, outcome: Result<(), Rejection>) -> Result<String, String> {
    let author = book.author.get().map(|author| &author.name);
    match outcome {
        Ok(()) => Ok(format!("{:?} {:?} {:?} {author:?}", book.title, book.pages, book.is_printed)),
        Err(rejection) => Err(rejection.code.into_owned()),
    }
}

fn of_json(line: &str) -> Result<String, String> {
    let mut book = Book::default();
    let outcome = read(line.as_bytes(), &mut book);
    told(&book, outcome)
}

fn of_row(row: &str) -> Result<String, String> {
    let columns = [("title", "name"), ("pages", "pages"), ("is_printed", "printed"), ("author.name", "by")];
    let named = |(field, column): (&str, &str)| (field.to_owned(), Column::Named(column.to_owned()));
    let columns = columns.map(named).into_iter().collect();
    let mut rows = Rows::new(CsvSettings { columns, delimiter: b';', time: TimeFormat::Milliseconds });
    rows.begin(Some(b"by;name;pages;printed;shelf"));
    let mut book = Book::default();
    let outcome = rows.read(row.as_bytes(), &mut book);
    told(&book, outcome)
}

fn of_avro(record: &[u8]) -> Result<String, String> {
    let schema = br#"{"type": "record", "name": "Volume", "fields": [
        {"name": "author", "type": ["null", {"type": "record", "name": "Person", "fields": [{"name": "name", "type": "string"}]}]},
        {"name": "shelf", "type": "long"}, {"name": "pages", "type": "int"},
        {"name": "is_printed", "type": "boolean"}, {"name": "title", "type": "string"}]}"#;
    let message = [&[0, 0, 0, 0, 7], record].concat();
    let mut schemas = Schemas::default();
    let question = schemas.question(&message).unwrap();
    assert_eq!(question, [0, 0, 0, 7]);
    schemas.answered(&question, Some(schema), &mut Book::default());
    let mut book = Book::default();
    let outcome = schemas.read(&message, &mut book);
    told(&book, outcome)
}

#[test]
fn every_format_says_the_same() {
    let expected = "Some(\"Dune\") Some(300) Some(true) Some(Some(\"Ann\"))";
    let line = r#"{"pages": 300, "title": "Dune", "author": {"name": "Ann"}, "is_printed": true}"#;
    assert_eq!(of_json(line).as_deref(), Ok(expected));
    assert_eq!(of_row("Ann;Dune;300;true;7").as_deref(), Ok(expected));
    assert_eq!(of_avro(b"\x02\x06Ann\x0e\xd8\x04\x01\x08Dune").as_deref(), Ok(expected));
}

#[test]
fn what_is_wrong_has_its_code_in_every_format() {
    assert_eq!(of_json(r#"{"title": 1}"#).unwrap_err(), "wrong_type");
    assert_eq!(of_json(r#"{"titel": "Dune"}"#).unwrap_err(), "unknown_field");
    assert_eq!(of_json("{").unwrap_err(), "not_json");
    let long = "a".repeat(STRING_BYTES_MAX + 1);
    assert_eq!(of_json(&format!(r#"{{"title": "{long}"}}"#)).unwrap_err(), "string_too_long");
    assert_eq!(of_row(&format!("Ann;{long};300;true;7")).unwrap_err(), "string_too_long");
    assert_eq!(of_row("Ann;Dune;3.5;true;7").unwrap_err(), "wrong_type");
    assert_eq!(of_avro(b"\x02\x06An").unwrap_err(), "malformed_avro");
    assert_eq!(read_deep(DEPTH_MAX), Err("unknown_field".to_owned()));
    assert_eq!(read_deep(DEPTH_MAX + 1), Err("too_deep".to_owned()));
}

/// An object of nothing but objects, so many levels deep.
fn read_deep(levels: usize) -> Result<String, String> {
    of_json(&format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels)))
}

#[test]
fn fields_are_listed_in_their_order() {
    let listed = [Book::LIST, Author::LIST].concat();
    let names: Vec<&str> = listed.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["title", "pages", "is_printed", "author", "name"]);
    assert_eq!(Book::LIST[3].1, Shape::Object);
}
