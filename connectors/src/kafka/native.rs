//! The calls into librdkafka for which its Rust binding has no safe form: reading one partition without a consumer group,
//! the offset at which an end of partition was reached, a topic's id, and everything a client has logged so far.
//!
//! Every pointer is owned by a struct of this file, which also holds the client that the pointer belongs to. librdkafka's
//! functions that are called here may be called from any thread.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::ffi::{CStr, CString};
use std::os::raw::c_char;
use std::ptr::NonNull;
use std::slice;
use std::sync::Arc;

use rdkafka::bindings as c;
use rdkafka::consumer::{BaseConsumer, Consumer, DefaultConsumerContext};
use rdkafka::error::RDKafkaErrorCode;

/// A client of a cluster. It has no group: it reads what it is told to.
pub(super) type Client = BaseConsumer<DefaultConsumerContext>;

/// How many messages are taken over from librdkafka's queue at once.
const MESSAGES_AT_ONCE: usize = 256;

/// How long a wait for an answer may go on before somebody asks whether it is still wanted.
const WAIT_MS: i32 = 50;

/// What a partition's queue gives.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrived<'a> {
    /// A message.
    Message {
        /// Its offset.
        offset: u64,
        /// Its value; none for a tombstone.
        value: Option<&'a [u8]>,
        /// When the broker appended it, where the topic's timestamps are of that type.
        append_ms: Option<i64>,
    },
    /// Everything below this offset has been given, and the partition, as far as it may be read, ended there.
    End(u64),
    /// Reading failed.
    Failed(RDKafkaErrorCode, String),
}

/// Gives what has arrived of a partition, in its order.
pub(super) trait Arrivals {
    /// The next thing that has arrived, if there is any. Never waits.
    fn take(&mut self) -> Option<Arrived<'_>>;
}

/// One partition that is being read. It is stopped when this is dropped.
pub(super) struct Reading {
    topic: NonNull<c::rd_kafka_topic_t>,
    queue: NonNull<c::rd_kafka_queue_t>,
    partition: i32,
    /// Messages that are taken over and not yet given; each is owned here until it is destroyed.
    taken: VecDeque<NonNull<c::rd_kafka_message_t>>,
    /// The message that was given last, whose value the caller may still look at.
    given: Option<NonNull<c::rd_kafka_message_t>>,
    /// The last field: what is above belongs to it.
    _client: Arc<Client>,
}

// SAFETY: the pointers are owned by this struct alone, and librdkafka lets any thread use and destroy a topic, a queue and
// a message, one at a time, which `&mut self` and ownership see to.
unsafe impl Send for Reading {}

impl Reading {
    /// Begins to read a partition at an offset. Nothing is asked of the cluster yet.
    pub(super) fn start(client: &Arc<Client>, topic: &str, partition: u32, offset: u64) -> Option<Reading> {
        let name = CString::new(topic).ok()?;
        let partition = i32::try_from(partition).ok()?;
        let offset = i64::try_from(offset).ok()?;
        let native = client.client().native_ptr();
        // SAFETY: the client lives as long as the `Arc` that is held; the name is a C string, which is copied; without a
        // configuration the topic has the client's.
        let topic = unsafe { c::rd_kafka_topic_new(native, name.as_ptr(), std::ptr::null_mut()) };
        let topic = NonNull::new(topic)?;
        // SAFETY: as above.
        let Some(queue) = NonNull::new(unsafe { c::rd_kafka_queue_new(native) }) else {
            // SAFETY: the topic was made above, and nothing else has it.
            unsafe { c::rd_kafka_topic_destroy(topic.as_ptr()) };
            return None;
        };
        // SAFETY: both pointers were made above, and are destroyed only after `rd_kafka_consume_stop`.
        let failed = unsafe { c::rd_kafka_consume_start_queue(topic.as_ptr(), partition, offset, queue.as_ptr()) } != 0;
        let reading =
            Reading { topic, queue, partition, taken: VecDeque::new(), given: None, _client: Arc::clone(client) };
        (!failed).then_some(reading)
    }

    fn take_over(&mut self) {
        let mut messages = [std::ptr::null_mut(); MESSAGES_AT_ONCE];
        // SAFETY: the queue is valid, and the array has room for as many pointers as are asked for. With a timeout of 0
        // the call takes what is there.
        let count =
            unsafe { c::rd_kafka_consume_batch_queue(self.queue.as_ptr(), 0, messages.as_mut_ptr(), MESSAGES_AT_ONCE) };
        let count = usize::try_from(count).unwrap_or_default();
        self.taken.extend(messages[..count].iter().filter_map(|message| NonNull::new(*message)));
    }
}

impl Arrivals for Reading {
    fn take(&mut self) -> Option<Arrived<'_>> {
        if self.taken.is_empty() {
            self.take_over();
        }
        let message = self.taken.pop_front()?;
        if let Some(before) = self.given.replace(message) {
            // SAFETY: it was owned here, and what was borrowed of it ended with the borrow of `self` before this call.
            unsafe { c::rd_kafka_message_destroy(before.as_ptr()) };
        }
        // SAFETY: librdkafka gave a valid message, which is not destroyed before the next call or the drop; both need
        // `&mut self`, which the lifetime of the answer rules out.
        let message_ref = unsafe { message.as_ref() };
        let offset = u64::try_from(message_ref.offset).unwrap_or_default();
        // SAFETY: where the pointer is not null it points to `len` bytes that live as long as the message. Of an error
        // these are its text.
        let value = (!message_ref.payload.is_null())
            .then(|| unsafe { slice::from_raw_parts(message_ref.payload.cast::<u8>(), message_ref.len) });
        Some(match message_ref.err {
            c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => {
                let mut kind = c::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
                // SAFETY: the message is valid, and `kind` is written to before the call returns.
                let at_ms = unsafe { c::rd_kafka_message_timestamp(message.as_ptr(), &mut kind) };
                let appended = kind == c::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME;
                Arrived::Message { offset, value, append_ms: appended.then_some(at_ms) }
            }
            c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__PARTITION_EOF => Arrived::End(offset),
            error => {
                let text = value.map(|text| String::from_utf8_lossy(text).into_owned());
                Arrived::Failed(error.into(), text.unwrap_or_default())
            }
        })
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        for message in self.given.take().into_iter().chain(self.taken.drain(..)) {
            // SAFETY: each was owned here, and nothing is borrowed of `self` any more.
            unsafe { c::rd_kafka_message_destroy(message.as_ptr()) };
        }
        // SAFETY: topic and queue are valid and used by nobody else. Stopping waits for the client's own thread only, and
        // after it nothing is put into the queue; that and the topic are destroyed once, before the client.
        unsafe {
            c::rd_kafka_consume_stop(self.topic.as_ptr(), self.partition);
            c::rd_kafka_topic_destroy(self.topic.as_ptr());
            c::rd_kafka_queue_destroy(self.queue.as_ptr());
        }
    }
}

/// What a client has to say of itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// A line of its log.
    Log(String),
    /// Something is wrong with a connection.
    Error(RDKafkaErrorCode, String),
}

/// The queue of what a client says of itself.
pub(super) struct Sayings {
    queue: NonNull<c::rd_kafka_queue_t>,
    /// The last field: the queue belongs to it.
    _client: Arc<Client>,
}

// SAFETY: as of `Reading`.
unsafe impl Send for Sayings {}

impl Sayings {
    /// The queue of this client.
    pub(super) fn of(client: &Arc<Client>) -> Option<Sayings> {
        // SAFETY: the client lives as long as the `Arc` that is held; the reference to its queue is given back on drop.
        let queue = unsafe { c::rd_kafka_queue_get_main(client.client().native_ptr()) };
        Some(Sayings { queue: NonNull::new(queue)?, _client: Arc::clone(client) })
    }

    /// Hears everything that was said until now. Never waits.
    pub(super) fn hear(&mut self, mut listener: impl FnMut(Said)) {
        while let Some(event) = Event::poll(self.queue, 0) {
            match event.kind() {
                c::RD_KAFKA_EVENT_LOG => listener(Said::Log(event.log())),
                c::RD_KAFKA_EVENT_ERROR => {
                    let (code, text) = event.error();
                    listener(Said::Error(code, text));
                }
                _ => {}
            }
        }
    }
}

impl Drop for Sayings {
    fn drop(&mut self) {
        // SAFETY: the reference was taken in `of`, and is given back once.
        unsafe { c::rd_kafka_queue_destroy(self.queue.as_ptr()) };
    }
}

/// An event that is destroyed when it is dropped.
struct Event(NonNull<c::rd_kafka_event_t>);

impl Event {
    fn poll(queue: NonNull<c::rd_kafka_queue_t>, timeout_ms: i32) -> Option<Event> {
        // SAFETY: the caller's queue is valid; the event belongs to the caller.
        NonNull::new(unsafe { c::rd_kafka_queue_poll(queue.as_ptr(), timeout_ms) }).map(Event)
    }

    fn kind(&self) -> i32 {
        // SAFETY: the event is valid until it is dropped.
        unsafe { c::rd_kafka_event_type(self.0.as_ptr()) }
    }

    fn log(&self) -> String {
        let (mut facility, mut text, mut level) = (std::ptr::null(), std::ptr::null(), 0);
        // SAFETY: the event is valid, and the three are written to before the call returns; 0 says that they were.
        let found = unsafe { c::rd_kafka_event_log(self.0.as_ptr(), &mut facility, &mut text, &mut level) } == 0;
        if found { text_of(text) } else { String::new() }
    }

    fn error(&self) -> (RDKafkaErrorCode, String) {
        // SAFETY: the event is valid; the text lives as long as it, and is copied.
        unsafe {
            let code = c::rd_kafka_event_error(self.0.as_ptr()).into();
            (code, text_of(c::rd_kafka_event_error_string(self.0.as_ptr())))
        }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: it is owned, and dropped once.
        unsafe { c::rd_kafka_event_destroy(self.0.as_ptr()) };
    }
}

/// Copies a C string; nothing where there is none.
fn text_of(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: librdkafka's texts end with a zero byte, and live while the caller holds what they belong to.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().trim().to_owned()
}

/// What a cluster says of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Described {
    /// Its id, which is of this topic for ever; another topic of the same name has another.
    pub(super) id: String,
    /// How many partitions it has.
    pub(super) partitions: u32,
}

/// Asks a cluster for some topics, in their order. Waits for at most `timeout_ms`, and only while `wanted` says so.
pub(super) fn describe(
    client: &Client,
    topics: &[String],
    timeout_ms: i32,
    mut wanted: impl FnMut() -> bool,
) -> Result<Vec<Result<Described, RDKafkaErrorCode>>, (RDKafkaErrorCode, String)> {
    let invalid = || (RDKafkaErrorCode::InvalidTopic, "a topic's name holds a zero byte".to_owned());
    let names: Vec<CString> =
        topics.iter().map(|name| CString::new(name.as_str())).collect::<Result<_, _>>().map_err(|_| invalid())?;
    let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    let native = client.client().native_ptr();
    let asked = Asked::new(native);
    let mut text = [0; 256];
    // SAFETY: the client outlives this call. The names are copied by `of_topic_names`, options and collection by
    // `DescribeTopics`, so that all may be destroyed right after it; `Asked` destroys options and queue once, when this
    // returns, and an answer that comes later finds no queue and is destroyed by librdkafka.
    unsafe {
        c::rd_kafka_AdminOptions_set_request_timeout(asked.options, timeout_ms, text.as_mut_ptr(), text.len());
        let collection = c::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        c::rd_kafka_DescribeTopics(native, collection, asked.options, asked.queue.as_ptr());
        c::rd_kafka_TopicCollection_destroy(collection);
    }
    let answer = loop {
        match Event::poll(asked.queue, WAIT_MS) {
            Some(event) => break event,
            None if wanted() => {}
            None => return Err((RDKafkaErrorCode::OperationTimedOut, "it is no longer waited for".to_owned())),
        }
    };
    let (code, text) = answer.error();
    if code != RDKafkaErrorCode::NoError {
        return Err((code, text));
    }
    // SAFETY: the event is valid until the end of this function, and everything that is asked of it lives as long; each
    // array has as many pointers as its count says, none of them null.
    let described = unsafe {
        let result = c::rd_kafka_event_DescribeTopics_result(answer.0.as_ptr());
        let mut count = 0;
        let described = c::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        let described = if count == 0 { &[][..] } else { slice::from_raw_parts(described, count) };
        described.iter().map(|topic| described_one(*topic)).collect()
    };
    Ok(described)
}

/// Reads one topic of an answer.
///
/// # Safety
/// The description is valid, as is all that is asked of it, until this returns.
unsafe fn described_one(topic: *const c::rd_kafka_TopicDescription_t) -> Result<Described, RDKafkaErrorCode> {
    // SAFETY: the caller's promise; an error that is none is a null pointer, which `rd_kafka_error_code` takes.
    unsafe {
        let code = c::rd_kafka_error_code(c::rd_kafka_TopicDescription_error(topic));
        if code != c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(code.into());
        }
        let id = text_of(c::rd_kafka_Uuid_base64str(c::rd_kafka_TopicDescription_topic_id(topic)));
        let mut partitions = 0;
        c::rd_kafka_TopicDescription_partitions(topic, &mut partitions);
        Ok(Described { id, partitions: u32::try_from(partitions).unwrap_or(u32::MAX) })
    }
}

/// The options of a question and the queue for its answer.
struct Asked {
    options: *mut c::rd_kafka_AdminOptions_t,
    queue: NonNull<c::rd_kafka_queue_t>,
}

impl Asked {
    fn new(native: *mut c::rd_kafka_t) -> Asked {
        // SAFETY: the caller's client is valid. Neither call fails but where memory does, at which librdkafka stops.
        unsafe {
            let options =
                c::rd_kafka_AdminOptions_new(native, c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
            let queue = NonNull::new(c::rd_kafka_queue_new(native)).expect("librdkafka always gives a queue");
            Asked { options, queue }
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        // SAFETY: both were made in `new` and are destroyed once.
        unsafe {
            c::rd_kafka_AdminOptions_destroy(self.options);
            c::rd_kafka_queue_destroy(self.queue.as_ptr());
        }
    }
}
