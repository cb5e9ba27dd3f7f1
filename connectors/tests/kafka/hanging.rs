//! Transactions that a broker knows nothing of: what is left where it forgot to write their end.
//!
//! No client library does it, and a broker that verifies partitions refuses it; so that is turned off, and the two requests are
//! made here: [InitProducerId in version 1, Produce in version 7](https://kafka.apache.org/protocol.html).

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;

const PATIENCE: Duration = Duration::from_secs(20);
const PRODUCE: i16 = 0;
const INITIALISE: i16 = 22;

/// The broker's answer to a partition that it does not find in the transaction.
const INVALID_STATE: i16 = 48;

/// Messages of one partition.
pub struct Forged {
    pub topic: String,
    pub partition: i32,
    pub messages: Vec<ForgedMessage>,
}

/// A message with its key, headers and value.
pub struct ForgedMessage {
    pub key: Vec<u8>,
    pub headers: Vec<(&'static str, String)>,
    pub value: Option<Vec<u8>>,
}

impl ForgedMessage {
    /// One that nobody could make sense of.
    pub fn garbage(key: &str) -> Self {
        ForgedMessage { key: key.into(), headers: Vec::new(), value: Some(b"garbage".to_vec()) }
    }
}

/// Appends messages, to each partition once at most, as of a transaction of `id` that is never ended, to a broker of one node.
/// Whoever wrote as `id` before is fenced.
pub fn hang(bootstrap: &str, id: &str, forged: &[Forged]) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", bootstrap).create().unwrap();
    let unverified =
        AlterConfig::new(ResourceSpecifier::Broker(1)).set("transaction.partition.verification.enable", "false");
    let altered = admin.alter_configs([&unverified], &AdminOptions::new().request_timeout(Some(PATIENCE)));
    crate::broker::block_on(altered).unwrap()[0].as_ref().unwrap();

    let mut broker = TcpStream::connect(bootstrap).unwrap();
    broker.set_read_timeout(Some(PATIENCE)).unwrap();
    let answer = ask(&mut broker, INITIALISE, 1, |to| {
        put_text(to, id);
        to.extend(60_000_i32.to_be_bytes());
    });
    // Throttled for so long, error, id, epoch.
    assert_eq!(answer[4..6], [0, 0], "InitProducerId: {answer:?}");
    let writer = &answer[6..16];
    for Forged { topic, partition, messages } in forged {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = ask(&mut broker, PRODUCE, 7, |to| {
                put_text(to, id);
                to.extend((-1_i16).to_be_bytes()); // all replicas acknowledge
                to.extend(10_000_i32.to_be_bytes());
                to.extend(1_i32.to_be_bytes());
                put_text(to, topic);
                to.extend(1_i32.to_be_bytes());
                to.extend(partition.to_be_bytes());
                put_lengthened(to, |to| put_batch(to, writer, messages));
            });
            // One topic, its name, one partition, its number, error.
            let error_at = 4 + 2 + topic.len() + 4 + 4;
            match i16::from_be_bytes([answer[error_at], answer[error_at + 1]]) {
                0 => break,
                // The setting takes a moment to be in effect.
                INVALID_STATE if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
                error => panic!("Produce: error {error}"),
            }
        }
    }
}

/// Makes a request; gives what is behind the head of the answer.
fn ask(broker: &mut TcpStream, request: i16, version: i16, put: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_lengthened(&mut bytes, |to| {
        to.extend(request.to_be_bytes());
        to.extend(version.to_be_bytes());
        to.extend(0_i32.to_be_bytes());
        put_text(to, "test");
        put(to);
    });
    broker.write_all(&bytes).unwrap();
    let mut length = [0; 4];
    broker.read_exact(&mut length).unwrap();
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    broker.read_exact(&mut answer).unwrap();
    answer.split_off(4)
}

/// A record batch in version 2 of a transaction.
fn put_batch(to: &mut Vec<u8>, writer: &[u8], messages: &[ForgedMessage]) {
    const TRANSACTIONAL: i16 = 0x10;
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let count = messages.len() as i32;
    to.extend(0_i64.to_be_bytes());
    put_lengthened(to, |to| {
        to.extend((-1_i32).to_be_bytes());
        to.push(2);
        let sum_at = to.len();
        to.extend([0; 4]);
        to.extend(TRANSACTIONAL.to_be_bytes());
        to.extend((count - 1).to_be_bytes());
        to.extend(now_ms.to_be_bytes());
        to.extend(now_ms.to_be_bytes());
        to.extend(writer);
        to.extend(0_i32.to_be_bytes()); // its first messages in this partition
        to.extend(count.to_be_bytes());
        (0..).zip(messages).for_each(|(at, message)| put_record(to, at, message));
        let sum = crc32c::crc32c(&to[sum_at + 4..]);
        to[sum_at..sum_at + 4].copy_from_slice(&sum.to_be_bytes());
    });
}

fn put_record(to: &mut Vec<u8>, at: i64, message: &ForgedMessage) {
    let mut record = vec![0, 0];
    put_varint(&mut record, at);
    put_bytes(&mut record, &message.key);
    match &message.value {
        Some(value) => put_bytes(&mut record, value),
        None => put_varint(&mut record, -1),
    }
    put_varint(&mut record, message.headers.len() as i64);
    for (name, value) in &message.headers {
        put_bytes(&mut record, name.as_bytes());
        put_bytes(&mut record, value.as_bytes());
    }
    put_bytes(to, &record);
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

fn put_bytes(to: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(to, bytes.len() as i64);
    to.extend(bytes);
}

/// Seven bits a byte, the lowest first; signs in the lowest bit.
fn put_varint(to: &mut Vec<u8>, number: i64) {
    let mut rest = ((number << 1) ^ (number >> 63)) as u64;
    while rest >= 0x80 {
        to.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    to.push(rest as u8);
}
