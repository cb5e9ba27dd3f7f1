//! All columns of a view, and what follows from them: JSON, keys, places among sink shards, filters, sizes.
//!
//! The columns are in the canonical order of the rows, so that the order of rows is that of their cells from the first
//! column to the last; the first ones are the key. What is made of a row here costs a call by pointer for each column.
//! An object within the row, such as `measures`, is made of neighbours that name it.

use std::cmp::Ordering;
use std::fmt::Write;
use std::hash::{Hash, Hasher};

use operators::shard::hash_of;
use operators::time::{PLUS_INFINITY, Tick};

use super::column::{Cell, CellType, Column, Role};

/// The columns of rows `R`.
#[derive(Clone, Debug)]
pub struct Columns<R> {
    columns: Vec<Column<R>>,
    /// The places of the key's columns, ascending.
    key: Vec<usize>,
    place: Placing<R>,
    /// For each column, what precedes its cell in JSON.
    labels: Vec<String>,
}

/// How rows are spread over sink shards.
#[derive(Clone, Copy, Debug)]
enum Placing<R> {
    /// By a hash of the first columns.
    First(usize),
    /// By a function that was written before there were columns.
    Written(fn(&R) -> u64),
}

impl<R> Columns<R> {
    /// Columns in canonical order, of which the first `key` are the key.
    ///
    /// # Panics
    /// If two columns have one name within one object, or if columns of one object are not neighbours: a mistake of ours.
    pub fn new(key: usize, columns: Vec<Column<R>>) -> Self {
        assert!(key > 0 && key <= columns.len(), "a view has a key");
        let objects: Vec<_> =
            columns.chunk_by(|left, right| left.within == right.within).map(|run| run[0].within).collect();
        for (at, object) in objects.iter().enumerate() {
            assert!(object.is_none() || !objects[..at].contains(object), "columns of one object are neighbours");
        }
        for (at, column) in columns.iter().enumerate() {
            let is_same = |other: &Column<R>| other.name == column.name && other.within == column.within;
            assert!(!columns[..at].iter().any(is_same), "two columns have the name {}", column.name);
        }
        let labels = columns.iter().map(|column| format!("{}:", quoted(&column.name))).collect();
        Columns { columns, key: (0..key).collect(), place: Placing::First(key), labels }
    }

    /// Has another key than the first columns, by which rows are placed among sink shards all the same.
    ///
    /// # Panics
    /// If there is no column of one of these names.
    #[must_use]
    pub fn with_key(self, names: &[&str]) -> Self {
        let place = |name: &&str| self.columns.iter().position(|column| column.name == *name);
        let key = names.iter().map(|name| place(name).expect("a key has columns of the view")).collect();
        Columns { key, ..self }
    }

    /// Places rows among sink shards by a function: for views whose shards were written before there were columns.
    #[must_use]
    pub fn placed_by(self, place: fn(&R) -> u64) -> Self {
        Columns { place: Placing::Written(place), ..self }
    }

    /// Those that a run has: an added column only if it is recorded, with the tick from which rows have it.
    ///
    /// # Panics
    /// If an added column is part of the key, or places rows: a mistake of ours.
    #[must_use]
    pub fn recorded(mut self, since_of: impl Fn(&str) -> Option<Tick>) -> Self {
        for place in (0..self.columns.len()).rev().filter(|place| self.columns[*place].is_added).collect::<Vec<_>>() {
            let places_rows = matches!(self.place, Placing::First(columns) if place < columns);
            assert!(!places_rows && !self.is_key(place), "rows that are out have no added key");
            match since_of(&self.columns[place].name) {
                Some(since) => self.columns[place].since = since,
                None => {
                    self.columns.remove(place);
                    self.labels.remove(place);
                    self.key.iter_mut().filter(|key| **key > place).for_each(|key| *key -= 1);
                }
            }
        }
        self
    }

    /// The columns, in canonical order.
    pub fn all(&self) -> &[Column<R>] {
        &self.columns
    }

    /// Which version of the columns rows may have at a tick: 1, and one more for each column that came by then.
    pub fn version_at(&self, tick: Tick) -> usize {
        1 + self.columns.iter().filter(|column| column.is_added && column.since <= tick).count()
    }

    /// Whether the column at a place is part of the key.
    pub fn is_key(&self, place: usize) -> bool {
        self.key.contains(&place)
    }

    /// The column that says whose row it is.
    pub fn tenant(&self) -> Option<&Column<R>> {
        self.columns.iter().find(|column| column.role == Role::Tenant)
    }

    /// The column that says of which minute the row is.
    pub fn minute(&self) -> Option<&Column<R>> {
        self.columns.iter().find(|column| column.role == Role::Minute)
    }

    /// The place of a row among the sink shards of its view: by its key alone, so that a key's changes stay in one shard.
    pub fn place_of(&self, row: &R) -> u64 {
        match self.place {
            Placing::First(columns) => hash_of(&PlacedCells { columns: &self.columns[..columns], row }),
            Placing::Written(place) => place(row),
        }
    }

    /// Writes a row as one JSON object, columns in canonical order.
    pub fn write_json(&self, row: &R, text: &mut String) {
        self.write_columns(0..self.columns.len(), row, text);
    }

    /// Writes the key of a row as a JSON object.
    pub fn write_key(&self, row: &R, text: &mut String) {
        self.write_columns(self.key.iter().copied(), row, text);
    }

    /// A row as one JSON object.
    pub fn json(&self, row: &R) -> String {
        let mut text = String::with_capacity(self.columns.len() * 24);
        self.write_json(row, &mut text);
        text
    }

    fn write_columns(&self, places: impl Iterator<Item = usize>, row: &R, text: &mut String) {
        let mut object: Option<&str> = None;
        text.push('{');
        for place in places {
            let (column, label) = (&self.columns[place], &self.labels[place]);
            let cell = column.cell(row);
            if cell == Cell::Omitted {
                continue;
            }
            if column.within != object {
                if object.is_some() {
                    text.push('}');
                }
                if let Some(name) = column.within {
                    separate(text);
                    write_text(name, text);
                    text.push_str(":{");
                }
                object = column.within;
            }
            separate(text);
            text.push_str(label);
            write_cell(cell, text);
        }
        text.push_str(if object.is_some() { "}}" } else { "}" });
    }

    /// The names of the columns by which listings can be filtered.
    pub fn filters(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().filter(|column| column.holds.is_filter()).map(|column| &*column.name)
    }

    /// The column of that name, by which a listing is filtered.
    pub fn filter(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.holds.is_filter() && column.name == name)
    }

    /// Whether a row has these texts in these columns.
    pub fn has(&self, row: &R, wanted: &[(usize, &str)]) -> bool {
        wanted.iter().all(|(column, text)| self.columns[*column].cell(row) == Cell::Text(text))
    }

    /// The texts of the first columns among what is wanted: rows that have them are neighbours in the order of rows.
    pub fn prefix<'a>(&self, wanted: &[(usize, &'a str)]) -> Vec<&'a str> {
        let is_ordered = |column: &Column<R>| column.holds == CellType::Text && !column.optional;
        let ordered = self.columns.iter().take_while(|column| is_ordered(column)).count();
        let texts = (0..ordered).map_while(|column| wanted.iter().find(|(at, _)| *at == column).map(|(_, text)| *text));
        texts.collect()
    }

    /// Where a row lies beside those whose first columns have these texts.
    pub fn compare(&self, row: &R, prefix: &[&str]) -> Ordering {
        let cells = self.columns.iter().zip(prefix);
        let orders = cells.map(|(column, text)| column.cell(row).cmp(&Cell::Text(text)));
        orders.into_iter().find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }

    /// About how many bytes a row takes: itself, and the texts that are too long to lie in place.
    pub fn row_bytes(&self, row: &R) -> usize {
        let heap = self.columns.iter().map(|column| match column.holds {
            CellType::Text | CellType::Prose => match column.cell(row) {
                Cell::Text(text) if text.len() > IN_PLACE_BYTES || column.holds == CellType::Prose => text.len(),
                _ => 0,
            },
            _ => 0,
        });
        size_of::<R>() + heap.sum::<usize>()
    }
}

/// Names up to this long lie in place.
const IN_PLACE_BYTES: usize = 24;

/// Hashes cells as the fields of a tuple would be.
struct PlacedCells<'a, R> {
    columns: &'a [Column<R>],
    row: &'a R,
}

impl<R> Hash for PlacedCells<'_, R> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for column in self.columns {
            match column.cell(self.row) {
                Cell::Text(text) => text.hash(state),
                Cell::Integer(integer) | Cell::Time(integer) => integer.hash(state),
                Cell::Wide(wide) => wide.hash(state),
                Cell::Real(real) => real.hash(state),
                Cell::Flag(flag) => flag.hash(state),
                Cell::Absent | Cell::Omitted => 0u8.hash(state),
            }
        }
    }
}

/// A comma, unless nothing precedes it in its object.
fn separate(text: &mut String) {
    if !text.ends_with('{') {
        text.push(',');
    }
}

/// Writes a cell as JSON.
fn write_cell(cell: Cell<'_>, text: &mut String) {
    let written = match cell {
        Cell::Text(value) => {
            write_text(value, text);
            Ok(())
        }
        Cell::Time(PLUS_INFINITY) => text.write_str("\"end\""),
        Cell::Integer(value) | Cell::Time(value) => {
            text.push_str(itoa::Buffer::new().format(value));
            Ok(())
        }
        Cell::Wide(value) => write!(text, "\"{value}\""),
        Cell::Real(value) => write!(text, "{value}"),
        Cell::Flag(value) => text.write_str(if value { "true" } else { "false" }),
        Cell::Absent | Cell::Omitted => text.write_str("null"),
    };
    written.expect("a string takes whatever is written to it");
}

/// Writes a text as JSON, escaped as little as JSON allows.
fn write_text(value: &str, text: &mut String) {
    let is_plain = |byte: &u8| *byte >= 0x20 && *byte != b'"' && *byte != b'\\';
    if value.as_bytes().iter().all(is_plain) {
        text.push('"');
        text.push_str(value);
        text.push('"');
    } else {
        text.push_str(&quoted(value));
    }
}

fn quoted(value: &str) -> String {
    serde_json::to_string(value).expect("JSON can hold any text")
}
