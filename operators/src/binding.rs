//! A binding: one entry of the remap log, and the dataflow's only timely input.
//!
//! It says which offsets belong to a tick and what the outside world had decided by then: what time it was, which
//! partitions were caught up, idle or ended, what the configuration was, and what was answered to questions outside. It
//! holds nothing that the input log could give. On disk a binding is coded against the one before it; [`Coder`] does both
//! directions. The entry of tick 0 begins with the version of all that.

use serde::{Deserialize, Serialize};

use crate::answers::Answer;
use crate::time::{Tick, TimeMs};
use crate::topology::{Parameters, PartitionId, Topology};

/// How far a partition's reader was when a tick was bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Status {
    /// More may lie ready: its time is the time of its records.
    Behind,
    /// An end-of-partition answer at exactly this offset, within the idle time: its time is `now`.
    CaughtUp,
    /// Caught up, and silent for the idle time.
    Idle,
    /// There will be no more records.
    Ended,
}

impl Status {
    /// The name in views.
    pub fn name(self) -> &'static str {
        match self {
            Status::Behind => "behind",
            Status::CaughtUp => "caught_up",
            Status::Idle => "idle",
            Status::Ended => "ended",
        }
    }
}

/// What a binding says of one partition; partitions of which nothing changed are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advance {
    /// The partition that advances.
    pub partition: PartitionId,
    /// Records below this offset belong to this tick or an earlier one.
    pub next: u64,
    /// How far its reader was.
    pub status: Status,
}

/// The configuration as of a tick. Replay uses this, never what lies on disk today.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// The canonical text; its meaning is the domain's.
    pub canonical: String,
    /// SHA-256 of the canonical text, in hexadecimal.
    pub sha256: String,
    /// The build that wrote it.
    pub build: String,
    /// What the engine itself needs of it.
    pub parameters: Parameters,
}

/// One entry of the remap log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// The tick that it binds; ticks ascend by one from 0.
    pub tick: Tick,
    /// What time it was; never falls.
    pub now_ms: TimeMs,
    /// The partitions of which something changed.
    pub advances: Vec<Advance>,
    /// The configuration, where it changed: always at tick 0.
    pub configuration: Option<Configuration>,
    /// What was answered outside since the last one. Readers have it already; here it is so that it stays.
    pub answers: Vec<Answer>,
    /// Whether a checkpoint is asked for as of this tick. Not written down: no output depends on it.
    pub checkpoint: bool,
}

impl Binding {
    /// A binding that says what time it was and changes nothing else.
    pub fn new(tick: Tick, now_ms: TimeMs) -> Binding {
        Binding { tick, now_ms, advances: Vec::new(), configuration: None, answers: Vec::new(), checkpoint: false }
    }
}

/// As written: relative to the entry before.
#[derive(Serialize, Deserialize)]
struct Entry {
    now_by_ms: i64,
    advances: Vec<(u32, u64, Status)>,
    configuration: Option<Configuration>,
    answers: Vec<Answer>,
}

/// The version of entries: 2 has answers. The first byte of the first entry.
const ENTRY_VERSION: u8 = 2;

/// Why an entry of the remap log can't be one.
#[derive(Debug, thiserror::Error)]
pub enum CodingError {
    /// The bytes are no entry.
    #[error("entry {tick} of the remap log can't be decoded: {what}")]
    Malformed {
        /// The tick of the entry.
        tick: Tick,
        /// What about the bytes does not fit.
        what: String,
    },
    /// The bytes were written by a build that codes bindings otherwise.
    #[error(
        "the remap log is not of version {ENTRY_VERSION}, which is the only one that this build reads: it is of another \
         build; go on with that one, or start again with --fresh"
    )]
    Version,
}

/// Codes bindings against each other, in the order of their ticks.
#[derive(Clone, Debug, Default)]
pub struct Coder {
    tick: Tick,
    now_ms: TimeMs,
    next: Vec<u64>,
}

impl Coder {
    /// A coder before tick 0.
    pub fn new(topology: &Topology) -> Self {
        Coder { tick: 0, now_ms: 0, next: vec![0; topology.partitions.len()] }
    }

    /// The tick of the next entry.
    pub fn tick(&self) -> Tick {
        self.tick
    }

    /// The bytes of a binding, which must be of the next tick.
    pub fn encode(&mut self, binding: &Binding) -> Vec<u8> {
        assert_eq!(binding.tick, self.tick, "bindings are coded in the order of their ticks");
        self.make_room(binding.configuration.as_ref());
        let advances = binding.advances.iter().map(|advance| {
            let next = &mut self.next[advance.partition.0 as usize];
            let by = advance.next - *next;
            *next = advance.next;
            (advance.partition.0, by, advance.status)
        });
        let entry = Entry {
            now_by_ms: binding.now_ms.wrapping_sub(self.now_ms),
            advances: advances.collect(),
            configuration: binding.configuration.clone(),
            answers: binding.answers.clone(),
        };
        let version: &[u8] = if self.tick == 0 { &[ENTRY_VERSION] } else { &[] };
        self.tick += 1;
        self.now_ms = binding.now_ms;
        postcard::to_extend(&entry, version.to_vec())
            .expect("an entry is made of integers and strings, which the codec can always hold")
    }

    /// A configuration may name more partitions than there were.
    fn make_room(&mut self, configuration: Option<&Configuration>) {
        if let Some(configuration) = configuration {
            self.next.resize(self.next.len().max(configuration.parameters.lanes.len()), 0);
        }
    }

    /// The binding of the next tick from its bytes. Untrusted: whatever they are, the answer is a binding or an error.
    pub fn decode(&mut self, bytes: &[u8]) -> Result<Binding, CodingError> {
        let tick = self.tick;
        let malformed = |what: String| CodingError::Malformed { tick, what };
        let bytes = match bytes.split_first() {
            Some((&ENTRY_VERSION, entry)) if tick == 0 => entry,
            _ if tick == 0 => return Err(CodingError::Version),
            _ => bytes,
        };
        let mut entry: Entry = postcard::from_bytes(bytes).map_err(|error| malformed(error.to_string()))?;
        self.make_room(entry.configuration.as_ref());
        let mut advances = Vec::with_capacity(entry.advances.len());
        for (partition, by, status) in std::mem::take(&mut entry.advances) {
            if partition as usize >= self.next.len() {
                return Err(malformed(format!("it names partition {partition}, but there are {}", self.next.len())));
            }
            let next = &mut self.next[partition as usize];
            *next =
                next.checked_add(by).ok_or_else(|| malformed(format!("offset of partition {partition} overflows")))?;
            advances.push(Advance { partition: PartitionId(partition), next: *next, status });
        }
        if let Some(answer) = entry.answers.iter().find(|answer| !answer.is_within_bounds()) {
            let length = answer.answer.as_ref().map_or(0, Vec::len);
            return Err(malformed(format!("an answer of {length} bytes to a question of {}", answer.question.len())));
        }
        self.now_ms = self.now_ms.wrapping_add(entry.now_by_ms);
        self.tick += 1;
        let Entry { configuration, answers, .. } = entry;
        Ok(Binding { tick, now_ms: self.now_ms, advances, configuration, answers, checkpoint: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answers::QUESTION_BYTES_MAX;
    use proptest::prelude::*;

    fn topology(partitions: usize) -> Topology {
        let partition = crate::topology::Partition {
            name: String::new(),
            release: crate::topology::ReleaseId(0),
            groups: vec![],
            identity_fixes_partition: true,
            live: false,
            re_enters: None,
            shown_once_read: false,
            weight: 1,
        };
        Topology { partitions: vec![partition; partitions], ..Topology::default() }
    }

    fn answer() -> impl Strategy<Value = Answer> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..=QUESTION_BYTES_MAX);
        (bytes(), prop::option::of(bytes())).prop_map(|(question, answer)| Answer { question, answer })
    }

    /// What a build before this one wrote: no version, and no answers at its end.
    #[test]
    fn a_log_of_another_version_is_refused() {
        for now_by_ms in [crate::time::MINUS_INFINITY, 1_736_000_000_000] {
            let old = postcard::to_stdvec(&(now_by_ms, Vec::<(u32, u64, Status)>::new(), None::<Configuration>));
            let error = Coder::new(&topology(1)).decode(&old.unwrap()).unwrap_err();
            assert!(matches!(error, CodingError::Version), "{error}");
            assert!(error.to_string().contains("--fresh"), "{error}");
        }
    }

    #[test]
    fn an_answer_that_is_too_long_is_no_entry() {
        let answers = vec![Answer { question: vec![0; QUESTION_BYTES_MAX + 1], answer: None }];
        let binding = Binding { tick: 0, now_ms: 0, advances: vec![], configuration: None, answers, checkpoint: false };
        let bytes = Coder::new(&topology(1)).encode(&binding);
        assert!(matches!(Coder::new(&topology(1)).decode(&bytes), Err(CodingError::Malformed { .. })));
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes(steps in prop::collection::vec((0i64..1_000, prop::collection::vec((0u32..3, 0u64..9_000), 0..4), prop::collection::vec(answer(), 0..3)), 0..20)) {
            let topology = topology(3);
            let (mut encoder, mut decoder) = (Coder::new(&topology), Coder::new(&topology));
            let (mut now_ms, mut next) = (0, [0u64; 3]);
            for (tick, (by, advances, answers)) in steps.into_iter().enumerate() {
                now_ms += by;
                let advances = advances.into_iter().map(|(partition, by)| {
                    next[partition as usize] += by;
                    Advance { partition: PartitionId(partition), next: next[partition as usize], status: Status::Behind }
                }).collect();
                let binding = Binding { tick: tick as Tick, now_ms, advances, configuration: None, answers, checkpoint: false };
                prop_assert_eq!(decoder.decode(&encoder.encode(&binding)).unwrap(), binding);
            }
        }

        #[test]
        fn any_bytes_are_a_binding_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Coder::new(&topology(2)).decode(&bytes);
        }
    }
}
