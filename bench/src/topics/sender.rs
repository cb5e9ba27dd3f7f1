//! Appends to a topic for as little as it can cost.
//!
//! Whoever appends is no part of what is measured: in a retailer's cluster it runs elsewhere. Here it shares two cores with the
//! broker and the engine, and the client library's producer takes 0.7 us for a message of 225 bytes, since it keeps each one apart
//! until its batch is made: at 470,000 messages a second a third of a core. So record batches are made beforehand, as all inputs
//! are, and a request takes those of all partitions with the same leader: all that a bench needs of a producer, without keys,
//! headers, compression, retries or idempotence. An append that fails ends the bench. The client library tells who leads a partition.
//!
//! Up to [`IN_FLIGHT_MAX`] requests wait for their answers, as with any producer: the broker takes those of a connection in
//! their order.
//!
//! Formats: [Kafka's protocol](https://kafka.apache.org/protocol.html), Produce in version 7, and its record batches in
//! version 2.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::metadata::Metadata;

/// The most that a batch holds: a broker takes 1 MiB where it is not told otherwise.
const BATCH_BYTES_MAX: usize = 1_000_000;

/// The most that a record takes beside its message.
const RECORD_OVERHEAD: usize = 32;

/// How many requests may be unanswered.
const IN_FLIGHT_MAX: usize = 5;

/// How long to wait for a broker that does not know the topic yet.
const RETRY_AFTER: Duration = Duration::from_millis(10);

const PRODUCE: i16 = 0;
const PRODUCE_VERSION: i16 = 7;

/// One that appends to the partitions with the same leader.
pub(super) struct Sender {
    leader: TcpStream,
    topic: String,
    partitions: Vec<usize>,
    /// What is sent next, and how many batches it holds.
    request: Vec<u8>,
    batches: i32,
    /// Where that number lies.
    batches_at: usize,
    /// How many requests are unanswered.
    in_flight: usize,
    answer: Vec<u8>,
}

impl Sender {
    /// Those of a topic with so many partitions; waits no longer than `patience` for anything.
    pub(super) fn to_all(
        bootstrap: &str,
        topic: &str,
        partitions: usize,
        patience: Duration,
    ) -> Result<Vec<Sender>, Box<dyn Error>> {
        let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", bootstrap).create()?;
        let metadata = described(&client, topic, partitions, patience)?;
        let mut by_leader: BTreeMap<i32, Vec<usize>> = BTreeMap::new();
        for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
            by_leader.entry(partition.leader()).or_default().push(partition.id() as usize);
        }
        let sender = |(leader, partitions): (i32, Vec<usize>)| -> Result<Sender, Box<dyn Error>> {
            let leader = metadata.brokers().iter().find(|broker| broker.id() == leader);
            let leader = leader.ok_or_else(|| format!("a leader of {topic} is not in the cluster"))?;
            let leader = TcpStream::connect((leader.host(), leader.port() as u16))?;
            leader.set_nodelay(true)?;
            leader.set_read_timeout(Some(patience))?;
            leader.set_write_timeout(Some(patience))?;
            let (request, answer) = (Vec::new(), Vec::new());
            let topic = topic.to_owned();
            Ok(Sender { leader, topic, partitions, request, batches: 0, batches_at: 0, in_flight: 0, answer })
        };
        by_leader.into_iter().map(sender).collect()
    }

    /// The partitions that it appends to.
    pub(super) fn partitions(&self) -> &[usize] {
        &self.partitions
    }

    /// Takes a batch for a partition, one a request at most.
    pub(super) fn take(&mut self, partition: usize, batch: &RecordBatch) {
        if self.batches == 0 {
            self.request.clear();
            self.batches_at = put_head(&mut self.request, &self.topic);
        }
        self.request.extend((partition as i32).to_be_bytes());
        put_lengthened(&mut self.request, |to| to.extend(&batch.bytes));
        self.batches += 1;
    }

    /// Sends what was taken, if there is any, and says whether there was.
    pub(super) fn send(&mut self) -> Result<bool, Box<dyn Error>> {
        if self.batches == 0 {
            return Ok(false);
        }
        if self.in_flight == IN_FLIGHT_MAX {
            self.await_answer()?;
        }
        let length = (self.request.len() - 4) as i32;
        self.request[..4].copy_from_slice(&length.to_be_bytes());
        self.request[self.batches_at..self.batches_at + 4].copy_from_slice(&self.batches.to_be_bytes());
        self.leader.write_all(&self.request)?;
        self.batches = 0;
        self.in_flight += 1;
        Ok(true)
    }

    /// Waits until the broker has everything that was sent.
    pub(super) fn flush(&mut self) -> Result<(), Box<dyn Error>> {
        (0..self.in_flight).try_for_each(|_| self.await_answer())
    }

    fn await_answer(&mut self) -> Result<(), Box<dyn Error>> {
        let mut length = [0; 4];
        self.leader.read_exact(&mut length)?;
        self.answer.resize(u32::from_be_bytes(length) as usize, 0);
        self.leader.read_exact(&mut self.answer)?;
        self.in_flight -= 1;
        let refused = refused(&self.answer, &self.topic).ok_or("the broker's answer to an append is too short")?;
        match refused.first() {
            None => Ok(()),
            Some((partition, code)) => {
                Err(format!("the broker took nothing for {}/{partition}: error {code}", self.topic).into())
            }
        }
    }
}

/// The topic, as soon as every partition has a leader that answers for it.
fn described(
    client: &BaseConsumer,
    topic: &str,
    partitions: usize,
    patience: Duration,
) -> Result<Metadata, Box<dyn Error>> {
    let until = Instant::now() + patience;
    loop {
        let metadata = client.fetch_metadata(Some(topic), patience)?;
        let known = metadata.topics().iter().flat_map(|topic| topic.partitions());
        let led = known.filter(|partition| client.fetch_watermarks(topic, partition.id(), patience).is_ok());
        if led.count() == partitions {
            return Ok(metadata);
        }
        if Instant::now() > until {
            return Err(format!("topic {topic} does not have {partitions} partitions with a leader").into());
        }
        std::thread::sleep(RETRY_AFTER);
    }
}

/// What a request begins with, and where the number of its batches belongs. The first four bytes are its length.
fn put_head(to: &mut Vec<u8>, topic: &str) -> usize {
    const LEADER_ACKNOWLEDGES: i16 = 1;
    const TIMEOUT_MS: i32 = 30_000;
    to.extend([0; 4]);
    to.extend(PRODUCE.to_be_bytes());
    to.extend(PRODUCE_VERSION.to_be_bytes());
    to.extend(0i32.to_be_bytes()); // correlation: answers come in order
    put_text(to, "aisle-bench");
    to.extend((-1i16).to_be_bytes()); // no transaction
    to.extend(LEADER_ACKNOWLEDGES.to_be_bytes());
    to.extend(TIMEOUT_MS.to_be_bytes());
    to.extend(1i32.to_be_bytes()); // topics
    put_text(to, topic);
    to.extend([0; 4]);
    to.len() - 4
}

/// Messages of one partition as the broker keeps them, made beforehand.
pub(super) struct RecordBatch {
    bytes: Vec<u8>,
    /// How many messages.
    pub(super) count: usize,
}

impl RecordBatch {
    /// Those messages that come first, as many as a batch may hold; none where there is none.
    pub(super) fn of<'a>(messages: impl Iterator<Item = &'a [u8]>) -> Option<RecordBatch> {
        let (mut records, mut count) = (Vec::new(), 0);
        for message in messages {
            if count > 0 && records.len() + message.len() + RECORD_OVERHEAD > BATCH_BYTES_MAX {
                break;
            }
            put_record(&mut records, count, message);
            count += 1;
        }
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
        let mut bytes = Vec::new();
        put_batch(&mut bytes, &records, count, now_ms);
        (count > 0).then_some(RecordBatch { bytes, count: count as usize })
    }
}

/// What precedes the records of a batch, and they.
fn put_batch(to: &mut Vec<u8>, records: &[u8], count: i32, now_ms: i64) {
    to.extend(0i64.to_be_bytes()); // first offset: the broker's to say
    put_lengthened(to, |to| {
        to.extend((-1i32).to_be_bytes()); // leader epoch
        to.push(2);
        let sum_at = to.len();
        to.extend([0; 4]);
        to.extend(0i16.to_be_bytes()); // not compressed, the sender's timestamps
        to.extend((count - 1).to_be_bytes()); // last offset from the first
        to.extend(now_ms.to_be_bytes());
        to.extend(now_ms.to_be_bytes());
        to.extend((-1i64).to_be_bytes()); // no producer id, epoch, sequence
        to.extend((-1i16).to_be_bytes());
        to.extend((-1i32).to_be_bytes());
        to.extend(count.to_be_bytes());
        to.extend(records);
        let sum = crc32c::crc32c(&to[sum_at + 4..]);
        to[sum_at..sum_at + 4].copy_from_slice(&sum.to_be_bytes());
    });
}

/// A record without key and headers, as many behind the first of its batch.
fn put_record(to: &mut Vec<u8>, behind_first: i32, message: &[u8]) {
    let (behind_first, length) = (i64::from(behind_first), message.len() as i64);
    // Attributes, timestamp, key and headers take a byte each.
    put_varint(to, 4 + varint_length(behind_first) + varint_length(length) + length);
    to.extend([0, 0]);
    put_varint(to, behind_first);
    put_varint(to, -1);
    put_varint(to, length);
    to.extend(message);
    to.push(0);
}

fn put_text(to: &mut Vec<u8>, text: &str) {
    to.extend((text.len() as i16).to_be_bytes());
    to.extend(text.as_bytes());
}

fn put_lengthened(to: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>)) {
    let at = to.len();
    to.extend([0; 4]);
    put(to);
    let length = (to.len() - at - 4) as i32;
    to[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

/// Seven bits a byte, the lowest first; signs in the lowest bit.
fn put_varint(to: &mut Vec<u8>, value: i64) {
    let mut rest = zigzag(value);
    while rest >= 0x80 {
        to.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    to.push(rest as u8);
}

fn varint_length(value: i64) -> i64 {
    i64::from((64 - (zigzag(value) | 1).leading_zeros()).div_ceil(7))
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The partitions for which an answer gives an error, and which; nothing where it is too short.
fn refused(answer: &[u8], topic: &str) -> Option<Vec<(i32, i16)>> {
    // Partition, error; first offset, append time and first offset of the log, which nobody asks for.
    const PARTITION_BYTES: usize = 4 + 2 + 3 * 8;
    let count_at = 4 + 4 + 2 + topic.len(); // behind correlation, topics, name
    let count = u32::from_be_bytes(answer.get(count_at..count_at + 4)?.try_into().ok()?) as usize;
    let partitions = answer[count_at + 4..].chunks(PARTITION_BYTES).take(count);
    let of = |bytes: &[u8]| {
        let code = i16::from_be_bytes(bytes.get(4..6)?.try_into().ok()?);
        Some((i32::from_be_bytes(bytes[..4].try_into().ok()?), code))
    };
    let codes: Vec<_> = partitions.map(of).collect::<Option<_>>()?;
    let is_whole = codes.len() == count;
    is_whole.then(|| codes.into_iter().filter(|(_, code)| *code != 0).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_are_as_long_as_said_and_as_in_the_protocol() {
        let cases: [(i64, &[u8]); 7] = [
            (0, &[0]),
            (-1, &[1]),
            (63, &[0x7e]),
            (-64, &[0x7f]),
            (64, &[0x80, 0x01]),
            (300, &[0xd8, 0x04]),
            (-8_193, &[0x81, 0x80, 0x01]),
        ];
        for (value, expected) in cases {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            assert_eq!((bytes.as_slice(), bytes.len() as i64), (expected, varint_length(value)), "{value}");
        }
    }

    #[test]
    fn a_record_says_how_long_it_is() {
        let mut bytes = Vec::new();
        put_record(&mut bytes, 70, b"abc");
        assert_eq!(bytes, [20, 0, 0, 0x8c, 0x01, 1, 6, b'a', b'b', b'c', 0]);
    }

    #[test]
    fn a_batch_is_covered_by_its_sum() {
        let (mut record, mut batch) = (Vec::new(), Vec::new());
        put_record(&mut record, 0, b"abc");
        put_batch(&mut batch, &record, 1, 1_700_000_000_000);
        assert_eq!(batch[8..12], (batch.len() as i32 - 12).to_be_bytes());
        assert_eq!(batch[17..21], crc32c::crc32c(&batch[21..]).to_be_bytes());
        assert_eq!(batch.len(), 61 + record.len());
    }

    #[test]
    fn an_answer_names_whom_it_refuses_and_is_none_where_it_is_cut() {
        let partition = |number: u8, code: u8| [&[0, 0, 0, number, 0, code][..], &[0; 24]].concat();
        let head = [&[0; 4][..], &[0, 0, 0, 1], &[0, 1], b"t", &[0, 0, 0, 2]].concat();
        let answer = |first: u8| [head.clone(), partition(0, first), partition(3, 6), vec![0; 4]].concat();
        assert_eq!(refused(&answer(0), "t"), Some(vec![(3, 6)]));
        assert_eq!(refused(&answer(2), "t"), Some(vec![(0, 2), (3, 6)]));
        for length in [0, head.len() - 1, head.len(), head.len() + 30, head.len() + 35] {
            assert_eq!(refused(&answer(0)[..length], "t"), None, "{length}");
        }
    }
}
