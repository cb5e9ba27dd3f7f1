//! Which column of a file is which field. A configuration records it, so the names in JSON stay as they are.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How the rows of a source become records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CsvSettings {
    /// By field; one within another is written `attributes.experiment`.
    pub columns: BTreeMap<String, Column>,
    /// What stands between two cells, an ASCII character.
    pub delimiter: u8,
    /// How times are written.
    pub time: TimeFormat,
}

/// Where the value of a field is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Column {
    /// In the column of this name.
    #[serde(rename = "column")]
    Named(String),
    /// Here: it is the same for every row.
    #[serde(rename = "value")]
    Constant(String),
}

/// How times are written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TimeFormat {
    /// Milliseconds since 1970-01-01 UTC.
    #[serde(rename = "ms")]
    Milliseconds,
    /// Seconds since then, with up to three places.
    #[serde(rename = "s")]
    Seconds,
    /// As RFC 3339 has it, with the offset from UTC.
    #[serde(rename = "rfc3339")]
    Rfc3339,
    /// By a pattern of `strftime`, in UTC.
    #[serde(rename = "pattern")]
    Pattern(String),
    /// As days, by a pattern of `strftime` without a time of day: midnight in UTC. What was recorded as a [`Pattern`] such
    /// as this one, before there were days, reads no row.
    ///
    /// [`Pattern`]: TimeFormat::Pattern
    #[serde(rename = "date")]
    Date(String),
}
