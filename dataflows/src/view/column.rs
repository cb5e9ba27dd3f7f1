//! Columns: what a row of a view consists of, as values.
//!
//! A column says its name, what it means, what it holds and how to read it from a row: a function pointer and a number, so
//! that a metric which somebody declared in the configuration is a column like any other. Whatever shows rows follows from
//! the columns: JSON, keys, filters, prefix reads, sizes, Parquet, documents. A row itself is a plain struct; no cell is
//! ever kept.
//!
//! # Columns that are added
//!
//! A view that is published may get a column later. [`Column::added`] marks it; a run that was there has it from the tick on
//! that its recorded configuration names ([`Recorded::columns`](crate::configuration::Recorded)), and one that names none, as
//! every folder from before, does not have it: its bytes stay what they were.
//!
//! A retraction has the bytes of its insertion, however much later it comes, and also after a restart. So whether a row has
//! the column can't follow from the tick at which the row is written: **the row carries it**, as an `Option` whose `None` is
//! [`Cell::Omitted`]. The fold that shows the row fills it at the end of the first tick from `since` on that touches the row's
//! key ([`Fold::seal`](operators::fold::Fold::seal) knows the tick), and keeps in the key's state that it did: a restored
//! fold shows the bytes that are out. Until then the column is left out, which is not the same as `null`.
//!
//! This was chosen over a tick in each row, which costs eight bytes for ever and makes equal rows differ, and over rewriting
//! all rows at `since`, which is a change of the whole collection. A row that stock operators derive has no state to carry it
//! in; where such a view gets a column, its rows are all changed at `since`, or the rows that it is made of carry the `Option`.

use std::borrow::Cow;

use operators::time::{Tick, TimeMs};

use methods::real::Real;

/// A column's value in one row, borrowed from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cell<'a> {
    /// A name or a text.
    Text(&'a str),
    /// An integer that JSON has as a number.
    Integer(i64),
    /// An integer that may pass 2^53: JSON has it as a decimal string.
    Wide(i128),
    /// A finite number.
    Real(Real),
    /// Yes or no.
    Flag(bool),
    /// Milliseconds since 1970; plus infinity is `"end"` in JSON.
    Time(TimeMs),
    /// The row has no value here: `null` in JSON.
    Absent,
    /// The row came out before the column was added and has not changed since: left out of JSON.
    Omitted,
}

/// What a column's cells are, where they are not absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CellType {
    /// [`Cell::Text`] in the order of its bytes, as rows are ordered by it.
    Text,
    /// [`Cell::Text`] of a few words, whose order in rows is another one than that of their letters.
    Word,
    /// [`Cell::Text`] that nobody looks up by equality: prose, or bytes in base64.
    Prose,
    /// [`Cell::Integer`], in whose order rows are.
    Integer,
    /// [`Cell::Wide`].
    Wide,
    /// [`Cell::Real`].
    Real,
    /// [`Cell::Flag`].
    Flag,
    /// [`Cell::Time`], in whose order rows are.
    Time,
}

impl CellType {
    /// Its name for whoever reads the list of views.
    pub fn name(self) -> &'static str {
        match self {
            CellType::Text | CellType::Prose => "text",
            CellType::Word => "word",
            CellType::Integer => "integer",
            CellType::Wide => "wide",
            CellType::Real => "real",
            CellType::Flag => "flag",
            CellType::Time => "time",
        }
    }

    /// Whether listings can be filtered by it.
    pub fn is_filter(self) -> bool {
        matches!(self, CellType::Text | CellType::Word)
    }
}

/// What a column's numbers count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Nothing: names, flags, reasons.
    None,
    /// Things.
    Count,
    /// Pieces of a product.
    Pieces,
    /// Minor units of a currency, such as cents.
    MinorUnits,
    /// Milliseconds since 1970.
    TimeMs,
    /// A place in a log.
    Offset,
    /// The square of another column's unit.
    Squared,
    /// A share or a probability, from 0 to 1.
    Share,
}

impl Unit {
    /// Its name for whoever reads the list of views.
    pub fn name(self) -> &'static str {
        match self {
            Unit::None => "none",
            Unit::Count => "count",
            Unit::Pieces => "pieces",
            Unit::MinorUnits => "minor_units",
            Unit::TimeMs => "time_ms",
            Unit::Offset => "offset",
            Unit::Squared => "squared",
            Unit::Share => "share",
        }
    }
}

/// Who may see a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Anybody who may see the view.
    Public,
    /// It tells who a person is: a session, a unit.
    Personal,
    /// It holds bytes as they came in.
    Raw,
}

/// Whether a column's values may be added up over rows that differ in their minute only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adds {
    /// They may.
    Yes,
    /// They must not; a session that is active in two minutes would count twice.
    No,
}

/// What a column is for its view, beside a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A value.
    Value,
    /// Whose row it is.
    Tenant,
    /// The first millisecond of the row's minute.
    Minute,
}

/// One column of rows `R`.
#[derive(Clone, Debug)]
pub struct Column<R> {
    /// Its name in JSON, filters and files.
    pub name: Cow<'static, str>,
    /// What it means, in a few words.
    pub says: Cow<'static, str>,
    /// What its numbers count.
    pub unit: Unit,
    /// Who may see it.
    pub class: Class,
    /// The object in which it lies in JSON, if it lies in one.
    pub within: Option<&'static str>,
    /// What its cells are.
    pub holds: CellType,
    /// Whether a cell may be absent.
    pub optional: bool,
    /// Whether it may be added up over minutes.
    pub adds: Adds,
    /// What it is for the view.
    pub role: Role,
    /// Whether the view was there before it: a run has it only if it is recorded.
    pub is_added: bool,
    /// The tick from which rows have it.
    pub since: Tick,
    /// Reads it from a row; the number is `place`.
    pub of: for<'a> fn(&'a R, u16) -> Cell<'a>,
    /// Which of several alike: the number that `of` is given.
    pub place: u16,
}

impl<R> Column<R> {
    /// A column of any type.
    pub fn new(
        name: impl Into<Cow<'static, str>>,
        holds: CellType,
        says: impl Into<Cow<'static, str>>,
        of: for<'a> fn(&'a R, u16) -> Cell<'a>,
    ) -> Self {
        let unit = match holds {
            CellType::Text | CellType::Word | CellType::Prose | CellType::Flag | CellType::Real => Unit::None,
            CellType::Integer | CellType::Wide => Unit::Count,
            CellType::Time => Unit::TimeMs,
        };
        Column {
            name: name.into(),
            says: says.into(),
            unit,
            class: Class::Public,
            within: None,
            holds,
            optional: false,
            adds: Adds::No,
            role: Role::Value,
            is_added: false,
            since: 0,
            of,
            place: 0,
        }
    }

    /// A name.
    pub fn text(name: &'static str, says: &'static str, of: for<'a> fn(&'a R, u16) -> Cell<'a>) -> Self {
        Column::new(name, CellType::Text, says, of)
    }

    /// A word of a few.
    pub fn word(name: &'static str, says: &'static str, of: for<'a> fn(&'a R, u16) -> Cell<'a>) -> Self {
        Column::new(name, CellType::Word, says, of)
    }

    /// A text that nobody looks up.
    pub fn prose(name: &'static str, says: &'static str, of: for<'a> fn(&'a R, u16) -> Cell<'a>) -> Self {
        Column::new(name, CellType::Prose, says, of)
    }

    /// A count, unless another unit is given.
    pub fn integer(name: &'static str, says: &'static str, of: for<'a> fn(&'a R, u16) -> Cell<'a>) -> Self {
        Column::new(name, CellType::Integer, says, of)
    }

    /// A large integer.
    pub fn wide(name: &'static str, says: &'static str, of: for<'a> fn(&'a R, u16) -> Cell<'a>) -> Self {
        Column::new(name, CellType::Wide, says, of)
    }

    /// A finite number.
    pub fn real(name: &'static str, says: &'static str, of: for<'a> fn(&'a R, u16) -> Cell<'a>) -> Self {
        Column::new(name, CellType::Real, says, of)
    }

    /// Yes or no.
    pub fn flag(name: &'static str, says: &'static str, of: for<'a> fn(&'a R, u16) -> Cell<'a>) -> Self {
        Column::new(name, CellType::Flag, says, of)
    }

    /// A time.
    pub fn time(name: &'static str, says: &'static str, of: for<'a> fn(&'a R, u16) -> Cell<'a>) -> Self {
        Column::new(name, CellType::Time, says, of)
    }

    /// Says whose row it is.
    #[must_use]
    pub fn tenant(self) -> Self {
        Column { role: Role::Tenant, ..self }
    }

    /// Says of which minute the row is.
    #[must_use]
    pub fn minute(self) -> Self {
        Column { role: Role::Minute, ..self }
    }

    /// May be absent.
    #[must_use]
    pub fn optional(self) -> Self {
        Column { optional: true, ..self }
    }

    /// Counts something else.
    #[must_use]
    pub fn counts(self, unit: Unit) -> Self {
        Column { unit, ..self }
    }

    /// Tells who a person is.
    #[must_use]
    pub fn personal(self) -> Self {
        Column { class: Class::Personal, ..self }
    }

    /// Holds bytes as they came in.
    #[must_use]
    pub fn raw(self) -> Self {
        Column { class: Class::Raw, ..self }
    }

    /// May be added up over minutes.
    #[must_use]
    pub fn additive(self) -> Self {
        Column { adds: Adds::Yes, ..self }
    }

    /// Lies in an object of that name in JSON.
    #[must_use]
    pub fn within(self, object: &'static str) -> Self {
        Column { within: Some(object), ..self }
    }

    /// One of several that are read by one function.
    #[must_use]
    pub fn at(self, place: u16) -> Self {
        Column { place, ..self }
    }

    /// Came to the view later than the view itself: see the module's page.
    #[must_use]
    pub fn added(self) -> Self {
        Column { is_added: true, ..self }
    }

    /// Its value in a row.
    #[inline]
    pub fn cell<'a>(&self, row: &'a R) -> Cell<'a> {
        (self.of)(row, self.place)
    }
}

impl<'a> Cell<'a> {
    /// The value, or [`Cell::Absent`].
    pub fn or_absent<T>(value: Option<T>, cell: impl FnOnce(T) -> Cell<'a>) -> Self {
        value.map_or(Cell::Absent, cell)
    }

    /// The value of an added column, or [`Cell::Omitted`] where the row came out before it.
    pub fn or_omitted<T>(value: Option<T>, cell: impl FnOnce(T) -> Cell<'a>) -> Self {
        value.map_or(Cell::Omitted, cell)
    }
}
