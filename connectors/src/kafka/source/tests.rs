use std::collections::VecDeque;

use operators::record::Header;

use super::*;
use crate::kafka::connection::Connection;

/// Finds a record in nothing.
struct Nothing;

impl DecodeMessage for Nothing {
    type Record = ();

    fn decode_message(&mut self, message: &[u8], mut give: impl FnMut(Part, Result<(Header, ()), Rejection>)) {
        give(Part::whole(message), Err(Rejection::new("nothing", "")));
    }
}

#[derive(Clone, Copy)]
enum Event {
    Message(u64),
    End(u64),
}

/// What lies in a client's queue.
struct Queue(VecDeque<Event>);

impl Arrivals for Queue {
    fn take(&mut self) -> Option<Arrived<'_>> {
        Some(match self.0.pop_front()? {
            Event::Message(offset) => Arrived::Message { offset, value: Some(b"some"), append_ms: None },
            Event::End(offset) => Arrived::End(offset),
        })
    }
}

fn source() -> TopicSource<Nothing> {
    let cluster = Cluster::connect(&Connection::plaintext("127.0.0.1:1"), 1 << 20).unwrap();
    let place = TopicPartition { topic: "t".to_owned(), topic_id: "id".to_owned(), partition: 0 };
    TopicSource::new(Arc::new(cluster), place, Nothing)
}

/// A reader that is behind finds an end behind every few messages, since each fetch brought it to the end of then.
#[test]
fn a_reader_does_not_rest_at_an_end_behind_which_more_has_come() {
    use Event::{End, Message};
    let mut queue = Queue([Message(0), End(1), Message(1), Message(2), End(3), Message(3), End(4)].into());
    let mut source = source();
    // A message is as much as is wanted at once, so each end lies before the messages of the next batch.
    for expected in 0..4 {
        let batch = source.take_from(&mut queue, 1).unwrap().expect("there is a message");
        assert_eq!((batch.items.len(), batch.items[0].offset, batch.end_offset), (1, expected, expected + 1));
        source.next = batch.end_offset;
        source.is_told = true;
        assert!(source.end <= Some(expected), "an end is known only once it has been passed");
    }
    assert!(source.take_from(&mut queue, 1).unwrap().is_none());
    assert_eq!((source.end, source.end_is_new), (Some(4), true));
}

/// The marks of transactions behind the last message have offsets, too.
#[test]
fn an_end_beyond_the_last_message_is_where_the_batch_ends() {
    use Event::{End, Message};
    let mut queue = Queue([Message(0), Message(1), End(5)].into());
    let batch = source().take_from(&mut queue, 1 << 10).unwrap().expect("there are messages");
    assert_eq!((batch.items.len(), batch.end_offset), (2, 5));
}
