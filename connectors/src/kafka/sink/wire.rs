//! What a sink writes, as it is in its topics: the headers of messages, and the progress that each transaction ends with.
//!
//! ```text
//! key     main/0
//! value   {"tick":8,"sent":0,"writer":"…","topics":{"aisle.stock":{"messages":120,"hash":"…","last":{"tick":7,"seq":3}}}}
//! ```
//!
//! Every tick below `tick` is complete, and `sent` messages of tick `tick` are there, over all topics in their order. Of
//! each topic's partition, `messages` counts all messages since the beginning, `hash` chains them, and `last` is the last one.

use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};

use operators::delivery::{Message, Position, Progress};
use operators::time::Tick;

/// Progress as it is written.
pub(super) fn to_json(progress: &Progress) -> String {
    serde_json::to_string(progress).expect("numbers and strings under string keys have a form in JSON")
}

/// Progress as it is read.
pub(super) fn from_json(json: &[u8]) -> Result<Progress, String> {
    serde_json::from_slice(json).map_err(|error| error.to_string())
}

/// The headers of a message, in their order.
pub fn headers_of(sink: &str, shard: u32, tick: Tick, message: &Message) -> [(&'static str, String); 5] {
    [
        ("sink", sink.to_owned()),
        ("shard", shard.to_string()),
        ("tick", tick.to_string()),
        ("seq", message.seq.to_string()),
        ("of", message.of.to_string()),
    ]
}

/// Which message of its partition it is, as its headers say; none where this sink did not write it.
pub(super) fn position_of(message: &BorrowedMessage<'_>, sink: &str) -> Option<Position> {
    let headers = message.headers()?;
    let text = |name: &str| str::from_utf8(headers.iter().find(|header| header.key == name)?.value?).ok();
    let position = Position { tick: text("tick")?.parse().ok()?, seq: text("seq")?.parse().ok()? };
    (text("sink")? == sink).then_some(position)
}
