//! What release has to know of a record, and the batches in which readers hand records over.

use std::borrow::Cow;
use std::fmt::Debug;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::time::TimeMs;
use crate::topology::GroupId;

/// A decoded record, as the dataflow carries it.
pub trait Record: Clone + Debug + Ord + Send + Sync + Serialize + for<'de> Deserialize<'de> + 'static {}
impl<R: Clone + Debug + Ord + Send + Sync + Serialize + for<'de> Deserialize<'de> + 'static> Record for R {}

/// What release judges a record by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Header {
    /// The watermark that the record feeds.
    pub group: GroupId,
    /// Which lane of its partition and group; 0 where a group has one lane a partition.
    pub lane: u128,
    /// When it happened, by the clock of its source.
    pub event_time_ms: TimeMs,
    /// What makes it the same record as another.
    pub identity: Identity,
}

/// What makes two records the same one. Both forms include the tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Identity {
    /// 128 bits of the record's id, and 64 of its content: same id with other content is a conflict.
    Id {
        /// Of the tenant and the id.
        id: u128,
        /// Of every other field.
        content: u64,
    },
    /// A place in a gap-free stream, remembered for ever as an interval.
    Sequence {
        /// Of (tenant, node, source, epoch).
        stream: u128,
        /// The place of the record in the stream.
        sequence: u64,
    },
}

/// Why a record was not accepted: a stable code, then words for a person.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rejection {
    /// A stable code such as `not_json`; `docs/events.md` lists them.
    pub code: Cow<'static, str>,
    /// What was wrong with this one.
    pub detail: String,
}

/// The longest detail of a rejection that is kept, in bytes: whatever an error quotes of a record or a schema, it is kept for
/// each record that is refused.
pub const DETAIL_BYTES_MAX: usize = 1024;

impl Rejection {
    /// A rejection with a fixed code. Of a detail that is longer than [`DETAIL_BYTES_MAX`] its beginning is kept.
    pub fn new(code: &'static str, detail: impl Into<String>) -> Self {
        const CUT: &str = "…";
        let mut detail = detail.into();
        if detail.len() > DETAIL_BYTES_MAX {
            let end = (0..=DETAIL_BYTES_MAX - CUT.len()).rev().find(|end| detail.is_char_boundary(*end));
            detail.truncate(end.unwrap_or(0));
            detail.push_str(CUT);
            detail.shrink_to_fit();
        }
        Rejection { code: Cow::Borrowed(code), detail }
    }
}

/// Turns the bytes of one record into a record: a pure function of them and of the configuration.
pub trait Decode: Send + 'static {
    /// What it decodes to.
    type Record: Record;
    /// Another file begins, whose first row says what the columns are; it is no record. Called only of files of rows, with
    /// none where there is no such row.
    fn begin_rows(&mut self, _header: Option<&[u8]>) {}
    /// Decodes one line or row, without its line ending.
    fn decode(&mut self, line: &[u8]) -> Result<(Header, Self::Record), Rejection>;
}

/// Where a record lies in the message that brought it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part {
    /// Its number among the records of the message, from 1; 0 where the message is the record. Becomes [`Item::line`].
    pub place: u64,
    /// Where its bytes begin in the message.
    pub start: u32,
    /// How many they are.
    pub length: u32,
}

impl Part {
    /// All of a message.
    pub fn whole(message: &[u8]) -> Self {
        Part { place: 0, start: 0, length: u32::try_from(message.len()).unwrap_or(u32::MAX) }
    }
}

/// Turns a message of a log into the records it holds, one or many: a pure function of its bytes and of the
/// configuration, for bytes from anyone. All records of a message share its offset, so it is bound as a whole.
///
/// Whatever decodes one record ([`Decode`]) decodes a message that is one.
pub trait DecodeMessage: Send + 'static {
    /// What it decodes to.
    type Record: Record;
    /// Whether messages are text: then whoever drives the decoder turns away what is no UTF-8, or longer than a line may be.
    const IS_TEXT: bool = false;
    /// Gives every record of a message, in their order there, or why it is none; a message which is no container of
    /// records at all gives one rejection, of all of it.
    fn decode_message(&mut self, message: &[u8], give: impl FnMut(Part, Result<(Header, Self::Record), Rejection>));

    /// What somebody outside has to be asked before this message can be decoded, if anything: the bytes of a question,
    /// such as a schema's id, at most [`QUESTION_BYTES_MAX`](crate::answers::QUESTION_BYTES_MAX) of them. Whoever drives the
    /// decoder asks, sees to it that the answer gets into the remap log, and tells it; what is recorded it tells and asks
    /// nobody. The same bytes have the same answer for every decoder of a run.
    fn question(&self, _message: &[u8]) -> Option<Vec<u8>> {
        None
    }

    /// Takes the answer to a question; `None` says that there is none, for ever. An empty one may stand for one that was too
    /// long.
    fn answered(&mut self, _question: &[u8], _answer: Option<&[u8]>) {}
}

impl<D: Decode> DecodeMessage for D {
    type Record = D::Record;
    const IS_TEXT: bool = true;

    fn decode_message(
        &mut self,
        message: &[u8],
        mut give: impl FnMut(Part, Result<(Header, Self::Record), Rejection>),
    ) {
        give(Part::whole(message), self.decode(message));
    }
}

/// The longest raw text of a dead letter that is kept, in bytes.
pub const RAW_BYTES_MAX: usize = 64 * 1024;

/// One record of a batch, or why it is none.
#[derive(Clone, Debug)]
pub struct Item<R> {
    /// Its offset in the partition. Records of one message share it.
    pub offset: u64,
    /// Its length in bytes, without the line ending.
    pub length: u32,
    /// Its line in the file, or its place in a message of many records, from 1; 0 where there is neither. With the offset
    /// it is the record's place in the partition: (offset, line) ascends.
    pub line: u64,
    /// What became of it.
    pub outcome: Result<(Header, R), (Rejection, Vec<u8>)>,
}

/// Consecutive records of one partition, from one file.
#[derive(Clone, Debug)]
pub struct Batch<R> {
    /// The offset after the last record: where the next batch begins.
    pub end_offset: u64,
    /// How many bytes of the input it stands for.
    pub bytes: u64,
    /// Where the records came from, for a person: a file's name.
    pub origin: Arc<str>,
    /// The records in the order of (offset, line). Those of one message are never in two batches.
    pub items: Vec<Item<R>>,
    /// The raw text of the items, from offset `text_offset`; empty where there is none.
    pub text: Arc<[u8]>,
    /// The offset at which `text` begins, where offsets count its bytes.
    pub text_offset: u64,
    /// Where offsets count something else, such as messages: by item, where its raw text begins in `text`. Else empty.
    pub text_starts: Vec<u32>,
    /// By item, when the log appended it, by the log's own clock; empty where the log does not say.
    pub append_ms: Vec<TimeMs>,
}

impl<R> Batch<R> {
    /// The batch without its items, and them.
    pub fn divided(self) -> (Batch<()>, Vec<Item<R>>) {
        let Batch { end_offset, bytes, origin, items, text, text_offset, text_starts, append_ms } = self;
        let shell = Batch { end_offset, bytes, origin, items: Vec::new(), text, text_offset, text_starts, append_ms };
        (shell, items)
    }

    /// The raw bytes of the item at this place, at most [`RAW_BYTES_MAX`] of them.
    pub fn raw(&self, place: usize, offset: u64, length: u32) -> Vec<u8> {
        let start = self.text_starts.get(place).map(|start| u64::from(*start));
        let from = start.unwrap_or_else(|| offset.saturating_sub(self.text_offset)) as usize;
        let upto = from + (length as usize).min(RAW_BYTES_MAX);
        self.text.get(from..upto.min(self.text.len())).unwrap_or_default().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_detail_is_cut_where_a_character_ends() {
        for text in ["x", "ä", "日"] {
            for count in [1, 300, 511, 512, 1023, 1024, 1025, 900_000] {
                let whole = text.repeat(count);
                let detail = Rejection::new("code", whole.clone()).detail;
                assert!(detail.len() <= DETAIL_BYTES_MAX, "{} bytes", detail.len());
                match whole.len() <= DETAIL_BYTES_MAX {
                    true => assert_eq!(detail, whole),
                    false => assert!(detail.ends_with('…') && whole.starts_with(detail.trim_end_matches('…'))),
                }
            }
        }
    }
}
