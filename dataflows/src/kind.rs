//! A kind of records: what they are, whose lanes they speak in, and what the dataflow makes of them.
//!
//! The list of all kinds is [`crate::kinds`]. Release and resolve are built once for each of them; what follows an accepted
//! record is the kind's own [`Kind::build`]. A watermark group is one tenant's records of one kind.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use timely::dataflow::StreamVec;

use operators::record::{Decode, DecodeMessage, Record};
use operators::release::{LatePolicy, Released, SetAside};
use operators::streams::{StreamPlan, StreamReport};
use operators::time::Tick;
use operators::topology::{Lanes, ReleaseId};

use crate::build::{Build, GraphPlan};
use crate::configuration::{CsvSettings, Format, Recorded, SourceSettings};
use crate::kinds::ENTRIES;
use operators::document::Shape;

mod entry;
mod source;

pub(crate) use entry::{AnyKind, Entry};
pub use source::{SourceDecoders, SourceNames};

/// What the records of a tick became, as the kind's own part of the graph receives them.
pub struct Arrived<'scope, R: Record, S: 'static> {
    /// Accepted records, at the tick they belong to.
    pub released: StreamVec<'scope, Tick, Released<R>>,
    /// Records that were set aside; dead letters among them are published already.
    pub set_aside: StreamVec<'scope, Tick, SetAside<R>>,
    /// What is told of sequenced streams, where the kind tells of any.
    pub streams: StreamVec<'scope, Tick, StreamReport<S>>,
}

/// A kind of records.
pub trait Kind: Sized + Send + Sync + 'static {
    /// A record as the dataflow carries it.
    type Record: Record;
    /// Decodes JSON objects; every other decoder is made from one of these.
    type Json: Decode<Record = Self::Record> + Clone;
    /// Decodes Avro messages.
    type Avro: DecodeMessage<Record = Self::Record>;
    /// Decodes rows of cells.
    type Rows: Decode<Record = Self::Record>;
    /// Decodes the kind's own messages of many records.
    type Batches: DecodeMessage<Record = Self::Record>;
    /// What a sequenced stream of its records is called.
    type Stream: Clone + 'static;
    /// Its name in configurations.
    const NAME: &'static str;
    /// What its records are called in the names of operators.
    const RECORDS: &'static str;
    /// What its groups are called: `tenant/events`.
    const GROUP: &'static str;
    /// What becomes of late records.
    const LATE: LatePolicy;
    /// The fields of a record, by name.
    const FIELDS: &'static [(&'static str, Shape)];
    /// The fields of its inner object, where it has one.
    const INNER_FIELDS: &'static [(&'static str, Shape)] = &[];
    /// The fields that every record has.
    const REQUIRED: &'static [&'static str];
    /// The format of messages of many records, where the kind has one.
    const BATCHES: Option<Format> = None;

    /// Whether an accepted record is counted apart.
    fn is_counted_apart(record: &Self::Record) -> bool {
        let _ = record;
        false
    }
    /// How sequenced streams are told of, where somebody wants to know.
    fn streams(plan: &GraphPlan) -> Option<StreamPlan<Self::Record, Self::Stream>> {
        let _ = plan;
        None
    }
    /// The lanes that a source may have within a tenant's group.
    fn lanes(source: &SourceSettings) -> Lanes;
    /// How long behind the watermark identities are remembered.
    fn dedup_horizon_ms(recorded: &Recorded) -> i64 {
        let _ = recorded;
        0
    }
    /// The decoder of JSON of a source.
    fn json(names: SourceNames) -> Self::Json;
    /// That of Avro.
    fn avro(json: Self::Json) -> Self::Avro;
    /// That of rows with these columns.
    fn rows(json: Self::Json, csv: CsvSettings) -> Self::Rows;
    /// That of messages of many records.
    fn batches(names: SourceNames) -> Self::Batches;
    /// What becomes of its records.
    fn build<'scope>(build: &mut Build<'_, 'scope>, arrived: Arrived<'scope, Self::Record, Self::Stream>);
}

/// A kind that is in the list.
pub trait ListedKind: Kind {
    /// Its place there.
    const ID: KindId;
    /// The release that judges its records.
    const RELEASE: ReleaseId = ReleaseId(Self::ID.0);
}

/// A kind's place in the list. Its recorded form is its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KindId(pub(crate) u8);

impl KindId {
    /// The place of a kind.
    pub const fn of<K: ListedKind>() -> KindId {
        K::ID
    }

    /// All kinds, in the order in which they are listed.
    pub fn all() -> impl DoubleEndedIterator<Item = KindId> + ExactSizeIterator + Clone {
        (0..ENTRIES.len() as u8).map(KindId)
    }

    pub(crate) fn entry(self) -> &'static dyn AnyKind {
        ENTRIES[usize::from(self.0)]
    }

    /// Its place as an index.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// Its name in configurations.
    pub fn name(self) -> &'static str {
        self.entry().name()
    }

    /// What its groups are called.
    pub fn group(self) -> &'static str {
        self.entry().group()
    }

    /// The release that judges its records.
    pub fn release(self) -> ReleaseId {
        ReleaseId(self.0)
    }

    /// The kind of that name.
    pub fn of_name(name: &str) -> Option<KindId> {
        KindId::all().find(|kind| kind.name() == name)
    }
}

impl Serialize for KindId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for KindId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        KindId::of_name(&name).ok_or_else(|| serde::de::Error::custom(format!("there is no kind of records {name:?}")))
    }
}
