//! Tables of texts and integers as Parquet files, through the crate's column interface: no Arrow is needed for columns that
//! are hardly ever missing.
//!
//! [`encode`] is a pure function of what it is given: no time, no host and no random number is in the bytes, so a table that
//! is computed again is written as the same file. Beside the columns a file has *facts*, which any reader shows as its
//! key-value metadata. The last of them is a CRC-32 of the whole file in which its own eight digits count as zeros.
//! [`Table::open`] compares it before anything is parsed, since the crate trusts what it reads: a flipped bit can make it
//! stop, or give other numbers.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::Compression;
use parquet::column::reader::get_typed_column_reader;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// UTF-8.
    Text,
    /// 64 bits.
    Integer,
    /// Milliseconds since 1970-01-01 UTC.
    Instant,
}

/// The columns of a table. None is ever null but those whose values are given as [`Values::Known`].
#[derive(Clone, Debug)]
pub struct Schema<'a> {
    /// The table.
    pub name: &'a str,
    /// Names and kinds, in order.
    pub columns: Vec<(&'a str, Kind)>,
}

/// The values of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Values<'a> {
    /// Of a column of texts.
    Texts(Vec<&'a str>),
    /// Of any other.
    Integers(Vec<i64>),
    /// Of any other that some rows do not have.
    Known(Vec<Option<i64>>),
}

impl Values<'_> {
    fn is_empty(&self) -> bool {
        match self {
            Values::Texts(texts) => texts.is_empty(),
            Values::Integers(integers) => integers.is_empty(),
            Values::Known(integers) => integers.is_empty(),
        }
    }
}

/// What a file does not have, or has otherwise than it was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no table that was written here, or it is damaged: {what}")]
pub struct TableError {
    what: String,
}

impl TableError {
    fn new(what: impl ToString) -> Self {
        TableError { what: what.to_string() }
    }
}

impl From<ParquetError> for TableError {
    fn from(error: ParquetError) -> Self {
        TableError::new(error)
    }
}

/// What the fact with the checksum begins with; eight hexadecimal digits follow.
const CHECKSUM: &str = "crc32-of-file:";
const DIGITS: usize = 8;

/// The file of a table. `columns` are as the schema says and equally long; `written_by` names who wrote it.
pub fn encode(schema: &Schema<'_>, columns: &[Values<'_>], facts: &[(&str, String)], written_by: &str) -> Vec<u8> {
    assert_eq!(schema.columns.len(), columns.len(), "each column has its values");
    let file = write(schema, columns, facts, written_by);
    let mut file = file.expect("values that fit their schema can be written to memory");
    let digits = digits_of(&file).expect("the fact was written just now");
    let checksum = format!("{:08x}", crc32fast::hash(&file));
    file[digits..digits + DIGITS].copy_from_slice(checksum.as_bytes());
    file
}

/// Where the digits of the checksum are: facts are in the footer, so the last place that looks like it is it.
fn digits_of(file: &[u8]) -> Option<usize> {
    let at = memchr::memmem::rfind(file, CHECKSUM.as_bytes())? + CHECKSUM.len();
    (at + DIGITS <= file.len()).then_some(at)
}

/// Whether a file is as it was written.
fn is_whole(file: &mut [u8]) -> bool {
    let Some(at) = digits_of(file) else { return false };
    let digits: [u8; DIGITS] = file[at..at + DIGITS].try_into().expect("eight bytes are eight bytes");
    file[at..at + DIGITS].fill(b'0');
    let checksum = format!("{:08x}", crc32fast::hash(file));
    file[at..at + DIGITS].copy_from_slice(&digits);
    checksum.as_bytes() == digits
}

fn write(
    schema: &Schema<'_>,
    columns: &[Values<'_>],
    facts: &[(&str, String)],
    written_by: &str,
) -> Result<Vec<u8>, ParquetError> {
    let fact = |name: String, value: String| KeyValue { key: name, value: Some(value) };
    let mut facts: Vec<KeyValue> = facts.iter().map(|(name, value)| fact((*name).to_owned(), value.clone())).collect();
    facts.push(fact("checksum".to_owned(), format!("{CHECKSUM}{}", "0".repeat(DIGITS))));
    let properties = WriterProperties::builder()
        .set_created_by(written_by.to_owned())
        .set_compression(Compression::SNAPPY)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_key_value_metadata(Some(facts))
        .build();
    let fields = schema.columns.iter().zip(columns);
    let fields: String = fields.map(|((name, kind), values)| field(name, *kind, values)).collect();
    let parsed = Arc::new(parse_message_type(&format!("message {} {{ {fields} }}", schema.name))?);
    let mut file = SerializedFileWriter::new(Vec::new(), parsed, Arc::new(properties))?;
    if !columns.iter().all(Values::is_empty) {
        let mut group = file.next_row_group()?;
        for values in columns {
            let mut column = group.next_column()?.ok_or_else(|| ParquetError::General("a column too many".into()))?;
            match values {
                Values::Texts(texts) => {
                    let texts: Vec<ByteArray> = texts.iter().map(|text| ByteArray::from(*text)).collect();
                    column.typed::<ByteArrayType>().write_batch(&texts, None, None)?;
                }
                Values::Integers(integers) => {
                    column.typed::<Int64Type>().write_batch(integers, None, None)?;
                }
                Values::Known(integers) => {
                    let known: Vec<i64> = integers.iter().copied().flatten().collect();
                    let levels: Vec<i16> = integers.iter().map(|integer| i16::from(integer.is_some())).collect();
                    column.typed::<Int64Type>().write_batch(&known, Some(&levels), None)?;
                }
            }
            column.close()?;
        }
        group.close()?;
    }
    file.into_inner()
}

fn field(name: &str, kind: Kind, values: &Values<'_>) -> String {
    let needed = if matches!(values, Values::Known(_)) { "optional" } else { "required" };
    match kind {
        Kind::Text => format!("{needed} binary {name} (STRING); "),
        Kind::Integer => format!("{needed} int64 {name}; "),
        Kind::Instant => format!("{needed} int64 {name} (TIMESTAMP(MILLIS,true)); "),
    }
}

/// A file that was read into memory. Columns are decoded when they are asked for.
pub struct Table {
    reader: SerializedFileReader<Bytes>,
    facts: BTreeMap<String, String>,
}

impl Table {
    /// Reads what the file says of itself.
    pub fn open(mut bytes: Vec<u8>) -> Result<Table, TableError> {
        if !is_whole(&mut bytes) {
            return Err(TableError::new("it does not match its checksum"));
        }
        let reader = SerializedFileReader::new(Bytes::from(bytes))?;
        let facts = reader.metadata().file_metadata().key_value_metadata().into_iter().flatten();
        let facts = facts.map(|fact| (fact.key.clone(), fact.value.clone().unwrap_or_default())).collect();
        Ok(Table { reader, facts })
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        usize::try_from(self.reader.metadata().file_metadata().num_rows()).unwrap_or(0)
    }

    /// What the file says beside its columns.
    pub fn fact(&self, name: &str) -> Result<&str, TableError> {
        let fact = self.facts.get(name).map(String::as_str);
        fact.ok_or_else(|| TableError::new(format!("it has no metadata {name:?}")))
    }

    /// A column of texts.
    pub fn texts(&self, name: &str) -> Result<Texts, TableError> {
        let texts = Texts(self.read::<ByteArrayType>(name)?.0);
        if let Some(wrong) = texts.0.iter().find(|text| std::str::from_utf8(text.data()).is_err()) {
            return Err(TableError::new(format!("in column {name:?} {:?} is no text", wrong.data())));
        }
        Ok(texts)
    }

    /// A column of integers or instants.
    pub fn integers(&self, name: &str) -> Result<Vec<i64>, TableError> {
        Ok(self.read::<Int64Type>(name)?.0)
    }

    /// The same of a column that some rows may not have; no row has one that the file does not have.
    pub fn known_integers(&self, name: &str) -> Result<Vec<Option<i64>>, TableError> {
        if self.place_of(name).is_none() {
            return Ok(vec![None; self.rows()]);
        }
        let (values, levels) = self.read::<Int64Type>(name)?;
        if levels.is_empty() {
            return Ok(values.into_iter().map(Some).collect());
        }
        let mut values = values.into_iter();
        Ok(levels.into_iter().map(|level| if level > 0 { values.next() } else { None }).collect())
    }

    fn place_of(&self, name: &str) -> Option<usize> {
        let schema = self.reader.metadata().file_metadata().schema_descr();
        schema.columns().iter().position(|column| column.name() == name)
    }

    /// The values that are there and, of a column that rows may not have, a level for each row: 1 where it has one.
    fn read<T: DataType>(&self, name: &str) -> Result<(Vec<T::T>, Vec<i16>), TableError> {
        let schema = self.reader.metadata().file_metadata().schema_descr();
        let place = self.place_of(name).ok_or_else(|| TableError::new(format!("it has no column {name:?}")))?;
        let is_optional = schema.column(place).max_def_level() > 0;
        if schema.column(place).physical_type() != T::get_physical_type() {
            return Err(TableError::new(format!("column {name:?} is of another type")));
        }
        let (mut values, mut levels) = (Vec::new(), Vec::new());
        for group in 0..self.reader.num_row_groups() {
            let group = self.reader.get_row_group(group)?;
            let rows = usize::try_from(group.metadata().num_rows()).unwrap_or(0);
            let mut column = get_typed_column_reader::<T>(group.get_column_reader(place)?);
            let mut read = 0;
            while read < rows {
                let (records, _, _) =
                    column.read_records(rows - read, is_optional.then_some(&mut levels), None, &mut values)?;
                if records == 0 {
                    return Err(TableError::new(format!("column {name:?} ends after {read} of {rows} rows")));
                }
                read += records;
            }
        }
        Ok((values, levels))
    }
}

/// A column of texts, which share what they have in common.
pub struct Texts(Vec<ByteArray>);

impl Texts {
    /// The texts, in the order of the rows.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|text| std::str::from_utf8(text.data()).expect("it was checked when it was read"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> Schema<'static> {
        Schema {
            name: "numbers",
            columns: vec![("word", Kind::Text), ("number", Kind::Integer), ("at_ms", Kind::Instant)],
        }
    }

    fn file(count: i64) -> Vec<u8> {
        let words: Vec<String> = (0..count).map(|number| format!("wört {}", number % 7)).collect();
        let columns = [
            Values::Texts(words.iter().map(String::as_str).collect()),
            Values::Integers((0..count).map(|number| number * number - 50).collect()),
            Values::Integers((0..count).map(|number| 1_736_000_000_000 + number).collect()),
        ];
        encode(&schema(), &columns, &[("version", "1".to_owned())], "a test")
    }

    #[test]
    fn what_is_written_is_read_and_always_the_same() {
        for count in [0, 1, 1_000, 200_000] {
            let bytes = file(count);
            assert_eq!(bytes, file(count));
            let table = Table::open(bytes).unwrap();
            assert_eq!((table.rows() as i64, table.fact("version")), (count, Ok("1")));
            assert_eq!(
                table.texts("word").unwrap().iter().last(),
                (count > 0).then(|| format!("wört {}", (count - 1) % 7)).as_deref()
            );
            assert_eq!(
                table.integers("number").unwrap(),
                (0..count).map(|number| number * number - 50).collect::<Vec<_>>()
            );
            assert_eq!(table.integers("at_ms").unwrap().len() as i64, count);
        }
        let table = Table::open(file(3)).unwrap();
        let missing = |error: TableError| error.to_string();
        assert!(table.integers("other").map_err(missing).unwrap_err().contains("no column \"other\""));
        assert!(table.integers("word").map_err(missing).unwrap_err().contains("of another type"));
        assert!(table.fact("other").map(str::to_owned).map_err(missing).unwrap_err().contains("no metadata"));
    }

    #[test]
    fn a_column_may_be_missing_in_rows_and_in_files() {
        let known = vec![Some(7), None, None, Some(-1)];
        let schema = Schema { name: "numbers", columns: vec![("all", Kind::Integer), ("some", Kind::Integer)] };
        let columns = [Values::Integers(vec![1, 2, 3, 4]), Values::Known(known.clone())];
        let table = Table::open(encode(&schema, &columns, &[], "a test")).unwrap();
        assert_eq!(table.known_integers("some").unwrap(), known);
        assert_eq!(table.known_integers("all").unwrap(), [1, 2, 3, 4].map(Some));
        assert_eq!(table.known_integers("none").unwrap(), [None; 4]);
    }

    /// No flipped bit is ever read as another value, or stops anybody.
    #[test]
    fn a_flipped_bit_and_a_missing_end_are_errors() {
        let whole = file(40);
        Table::open(whole.clone()).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Table::open(bytes).is_err(), "bit {bit}");
        }
        for length in 0..whole.len() {
            assert!(Table::open(whole[..length].to_vec()).is_err(), "{length} bytes");
        }
    }
}
