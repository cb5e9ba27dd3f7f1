//! Rows of delimited text as records: a declared mapping says which column, or which constant, each field is.
//!
//! What a row says is what JSON with the same fields says. A column may hold a text, a number, `true` or `false`, as its
//! field wants it; an empty cell is a field that is left out. A row is given without its line ending, as RFC 4180 has it:
//! fields may be quoted, two quotes within are one. The first row of each file names the columns; those that nothing is
//! mapped from are passed over.

mod settings;

use std::borrow::Cow;

use crate::record::Rejection;

use crate::document::{Fields, Scalar, Slot, shorten, string_bytes};

pub use settings::{Column, CsvSettings, TimeFormat};

/// The mapping of one source, and where its columns are in the file that is read.
#[derive(Clone, Debug)]
pub struct Rows {
    settings: CsvSettings,
    /// How many columns the file has, and which of them each entry of the mapping is; of a constant any.
    places: Result<(usize, Vec<usize>), Rejection>,
}

impl Rows {
    /// The rows of a source, before its first file.
    pub fn new(settings: CsvSettings) -> Self {
        let nothing = Rejection::new("no_header", "nobody said what columns there are");
        Rows { settings, places: Err(nothing) }
    }

    /// Another file begins, with these names of columns; none where its first row is none.
    pub fn begin(&mut self, header: Option<&[u8]>) {
        let header = header.and_then(|header| std::str::from_utf8(header).ok());
        self.places = match header.map(|header| cells(header, self.settings.delimiter)) {
            Some(Ok(names)) => self.find(&names),
            Some(Err(_)) | None => Err(Rejection::new("no_header", "the first row of the file names no columns")),
        };
    }

    fn find(&self, names: &[Cow<'_, str>]) -> Result<(usize, Vec<usize>), Rejection> {
        let place = |(field, column): (&String, &Column)| {
            let Column::Named(wanted) = column else { return Ok(0) };
            let mut found = names.iter().enumerate().filter(|(_, name)| *name == wanted);
            match (found.next(), found.next()) {
                (Some((place, _)), None) => Ok(place),
                (None, _) => Err(format!("the file has no column `{wanted}` for `{field}`")),
                (Some(_), Some(_)) => Err(format!("the file has more than one column `{wanted}`")),
            }
        };
        let places: Result<_, String> = self.settings.columns.iter().map(place).collect();
        places.map(|places| (names.len(), places)).map_err(|detail| Rejection::new("no_column", detail))
    }

    /// Reads a row into `fields`.
    pub fn read<'de>(&'de self, row: &'de [u8], fields: &mut dyn Fields<'de>) -> Result<(), Rejection> {
        let (columns, places) = self.places.as_ref().map_err(Clone::clone)?;
        let row = std::str::from_utf8(row)
            .map_err(|error| Rejection::new("invalid_utf8", format!("no UTF-8 at byte {}", error.valid_up_to())))?;
        let cells = cells(row, self.settings.delimiter)?;
        if cells.len() != *columns {
            return Err(malformed(format!("the row has {} cells, the header {columns}", cells.len())));
        }
        for ((field, column), place) in self.settings.columns.iter().zip(places) {
            let text = match column {
                Column::Constant(text) => Cow::Borrowed(text.as_str()),
                Column::Named(_) => cells[*place].clone(),
            };
            if !text.is_empty() {
                self.fill(field, text, fields)?;
            }
        }
        Ok(())
    }

    fn fill<'de>(&self, field: &'de str, text: Cow<'de, str>, fields: &mut dyn Fields<'de>) -> Result<(), Rejection> {
        let (outer, inner) = field.split_once('.').map_or((field, None), |(outer, inner)| (outer, Some(inner)));
        let unknown = || Rejection::new("unknown_field", format!("`{}` is no field", shorten(field)));
        let place = fields.place(outer).ok_or_else(unknown)?;
        match (fields.slot(place).1, inner) {
            (Slot::Object(given, within), Some(inner)) => {
                *given = true;
                self.fill(inner, text, within)
            }
            (Slot::Entries(given, entries), Some(name)) => {
                *given = true;
                entries.entry(Cow::Borrowed(name), Scalar::Text(text))
            }
            (Slot::Text(slot), None) => {
                string_bytes(field, text.len())?;
                *slot = Some(text);
                Ok(())
            }
            (Slot::Integer(slot), None) => {
                *slot = Some(if field.ends_with("_ms") { self.time_ms(field, &text)? } else { integer(field, &text)? });
                Ok(())
            }
            (Slot::Flag(slot), None) => {
                let wrong = || Rejection::new("wrong_type", format!("`{field}` has to be true or false"));
                *slot = Some(text.parse().map_err(|_| wrong())?);
                Ok(())
            }
            _ => Err(unknown()),
        }
    }

    fn time_ms(&self, field: &str, text: &str) -> Result<i64, Rejection> {
        let wrong = |format: &str| {
            Rejection::new("malformed_time", format!("`{field}` is \"{}\", which is no {format}", shorten(text)))
        };
        match &self.settings.time {
            TimeFormat::Milliseconds => integer(field, text),
            TimeFormat::Seconds => {
                let (seconds, thousandths) = text.split_once('.').unwrap_or((text, ""));
                if thousandths.len() > 3
                    || text.ends_with('.')
                    || !thousandths.bytes().all(|byte| byte.is_ascii_digit())
                {
                    return Err(wrong("number of seconds with up to three places"));
                }
                let whole = integer(field, seconds)?.checked_mul(1_000);
                let part = format!("{thousandths:0<3}").parse::<i64>().unwrap_or(0);
                let part = if seconds.starts_with('-') { -part } else { part };
                whole.and_then(|whole| whole.checked_add(part)).ok_or_else(|| wrong("time of ours"))
            }
            TimeFormat::Rfc3339 => {
                let time = chrono::DateTime::parse_from_rfc3339(text);
                time.map(|time| time.timestamp_millis()).map_err(|_| wrong("time as RFC 3339 has it"))
            }
            TimeFormat::Pattern(pattern) => {
                let time = chrono::NaiveDateTime::parse_from_str(text, pattern);
                time.map(|time| time.and_utc().timestamp_millis()).map_err(|_| wrong(&format!("time like {pattern}")))
            }
            TimeFormat::Date(pattern) => {
                let day = chrono::NaiveDate::parse_from_str(text, pattern)
                    .map_err(|_| wrong(&format!("day like {pattern}")))?;
                Ok(day.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_millis())
            }
        }
    }
}

fn integer(field: &str, text: &str) -> Result<i64, Rejection> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Rejection::new(
            "wrong_type",
            format!("`{field}` has to be an integer without fraction or exponent"),
        ));
    }
    text.parse().map_err(|_| Rejection::new("number_out_of_range", format!("`{field}` is beyond 64 bits")))
}

/// The cells of a row.
fn cells(row: &str, delimiter: u8) -> Result<Vec<Cow<'_, str>>, Rejection> {
    let delimiter = char::from(delimiter);
    let mut cells = Vec::new();
    let mut rest = row;
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let end = closing_quote(quoted).ok_or_else(|| malformed("a quote is open at the end of the row"))?;
            let text = &quoted[..end];
            cells.push(if text.contains('"') { text.replace("\"\"", "\"").into() } else { Cow::Borrowed(text) });
            rest = &quoted[end + 1..];
            match rest.strip_prefix(delimiter) {
                Some(next) => rest = next,
                None if rest.is_empty() => return Ok(cells),
                None => return Err(malformed("there is text behind a quoted cell")),
            }
        } else {
            match rest.split_once(delimiter) {
                Some((cell, next)) => {
                    cells.push(cell.into());
                    rest = next;
                }
                None => {
                    cells.push(rest.into());
                    return Ok(cells);
                }
            }
        }
    }
}

/// Where the quote lies that ends a quoted cell.
fn closing_quote(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    loop {
        at += bytes[at..].iter().position(|byte| *byte == b'"')?;
        if bytes.get(at + 1) != Some(&b'"') {
            return Some(at);
        }
        at += 2;
    }
}

#[cold]
fn malformed(detail: impl Into<String>) -> Rejection {
    Rejection::new("malformed_row", detail)
}
