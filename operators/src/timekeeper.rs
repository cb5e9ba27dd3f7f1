//! The timekeeper: replays the remap log as it was written, then mints and appends to it.
//!
//! Its gate is what the publisher has acknowledged: at most `in_flight` ticks are given and not yet durable in every sink
//! and visible in the views, in replay as in live minting. A binding is durable before it is given. Who calls it (a thread, or a seeded scheduler) is not its business.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::answers::AnswerBook;
use crate::binding::{Binding, Coder, CodingError, Configuration};
use crate::disk::{Log, LogError};
use crate::minter::{Holding, Minter, MinterOptions};
use crate::time::{Tick, TimeMs};
use crate::topology::{PartitionId, Topology};

/// What can go wrong with time.
#[derive(Debug, thiserror::Error)]
pub enum TimekeeperError {
    /// The remap log could not be read or written.
    #[error(transparent)]
    Log(#[from] LogError),
    /// An entry of the remap log is not a binding.
    #[error(transparent)]
    Coding(#[from] CodingError),
}

/// Gives bindings in order: those that the remap log has, then those that it mints.
pub struct Timekeeper<L> {
    log: L,
    coder: Coder,
    minter: Minter,
    replay: VecDeque<Binding>,
    in_flight: Tick,
    given: Tick,
    /// A configuration to be recorded once the replay is over.
    configuration: Option<Configuration>,
    mints: bool,
    /// Whether it ends where live partitions are caught up.
    once: bool,
    /// Where the logs stand after what was given.
    position: Position,
    wants_checkpoint: bool,
    answers: AnswerBook,
}

/// Where the logs stand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The first tick that is not given.
    pub upper: Tick,
    /// What time the last one was.
    pub now_ms: TimeMs,
    /// By partition: the offset of the next record. The last ones are left out as long as nothing was bound of them, so that
    /// it is the same whatever was added later.
    pub next: Vec<u64>,
}

impl Position {
    fn advance(&mut self, binding: &Binding) {
        (self.upper, self.now_ms) = (binding.tick + 1, binding.now_ms);
        for advance in &binding.advances {
            let place = advance.partition.0 as usize;
            if place >= self.next.len() {
                self.next.resize(place + 1, 0);
            }
            self.next[place] = advance.next;
        }
    }
}

/// Reads every binding of a remap log. The topology is that of the recorded configuration.
pub fn read_bindings(log: &mut impl Log, topology: &Topology) -> Result<Vec<Binding>, TimekeeperError> {
    let mut coder = Coder::new(topology);
    log.read()?.iter().map(|entry| Ok(coder.decode(entry)?)).collect()
}

impl<L: Log> Timekeeper<L> {
    /// Opens the remap log. `configuration` is recorded if the log is empty or its newest one differs.
    pub fn open(
        mut log: L,
        topology: &Topology,
        options: MinterOptions,
        in_flight: Tick,
        configuration: Configuration,
    ) -> Result<Self, TimekeeperError> {
        let mut coder = Coder::new(topology);
        let mut replay = VecDeque::new();
        for entry in log.read()? {
            let binding = coder.decode(&entry)?;
            let partitions = topology.partitions.len();
            if let Some(advance) = binding.advances.iter().find(|advance| advance.partition.0 as usize >= partitions) {
                let what = format!("it names partition {}, but there are {partitions}", advance.partition.0);
                return Err(CodingError::Malformed { tick: binding.tick, what }.into());
            }
            replay.push_back(binding);
        }
        let recorded = replay.iter().rev().find_map(|binding| binding.configuration.as_ref());
        let changed = recorded.is_none_or(|recorded| recorded.sha256 != configuration.sha256);
        let mut minter = Minter::new(topology.clone(), options);
        replay.iter().for_each(|binding| minter.replayed(binding));
        let answers = AnswerBook::default();
        replay.iter().flat_map(|binding| &binding.answers).for_each(|answer| answers.recorded(answer));
        Ok(Timekeeper {
            log,
            coder,
            minter,
            replay,
            in_flight,
            given: 0,
            configuration: changed.then_some(configuration),
            mints: true,
            once: false,
            position: Position::default(),
            wants_checkpoint: false,
            answers,
        })
    }

    /// What was answered outside: all that the log holds, and what readers put there. They have to have it before they begin.
    pub fn answers(&self) -> AnswerBook {
        self.answers.clone()
    }

    /// Where the log itself says that everything stood when `upper` was the first tick that was not given; none where it
    /// is shorter.
    pub fn position_at(&self, upper: Tick) -> Option<Position> {
        let mut position = self.position.clone();
        self.replay.iter().take_while(|binding| binding.tick < upper).for_each(|binding| position.advance(binding));
        (position.upper == upper).then_some(position)
    }

    /// Goes on from a checkpoint that holds the ticks below `upper`: its last tick is given once more, then the rest.
    ///
    /// # Panics
    /// If the log has no such tick; [`Timekeeper::position_at`] says whether it has.
    pub fn resume_at(mut self, upper: Tick) -> Self {
        while let Some(binding) = self.replay.front().filter(|binding| binding.tick + 1 < upper) {
            self.position.advance(binding);
            self.replay.pop_front();
        }
        let first = self.replay.front().map(|binding| binding.tick + 1);
        assert_eq!(first, Some(upper), "a checkpoint's last tick is in the log");
        self.given = upper - 1;
        self
    }

    /// The first tick that is given: there is nothing to acknowledge below it.
    pub fn first(&self) -> Tick {
        self.given
    }

    /// The next binding that is given asks for a checkpoint.
    pub fn ask_for_checkpoint(&mut self) {
        self.wants_checkpoint = true;
    }

    /// Where the logs stand after what was given.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// Gives what the log holds and nothing more.
    pub fn replay_only(mut self) -> Self {
        self.mints = false;
        self.configuration = None;
        self
    }

    /// Mints until every partition has ended or, if it is live, is caught up, all at one tick.
    pub fn until_all_read(mut self) -> Self {
        self.once = true;
        self
    }

    /// Whether the whole log was given.
    pub fn replayed(&self) -> bool {
        self.replay.is_empty()
    }

    /// Ticks that the log holds.
    pub fn durable(&self) -> Tick {
        self.coder.tick()
    }

    /// Whether there is nothing to mint any more and every tick that is durable was given.
    pub fn ended(&self) -> bool {
        let read = self.minter.all_ended() || (self.once && self.minter.all_read());
        self.replay.is_empty() && (!self.mints || (self.configuration.is_none() && read))
    }

    /// Takes note of what a reader holds.
    pub fn hold(&mut self, partition: PartitionId, holding: Holding, wall_ms: TimeMs) {
        self.minter.hold(partition, holding, wall_ms);
    }

    /// The next binding to give to the dataflow; the publisher has acknowledged every tick below `done`.
    pub fn poll(&mut self, done: Tick, wall_ms: TimeMs) -> Result<Option<Binding>, TimekeeperError> {
        if self.given >= done + self.in_flight {
            return Ok(None);
        }
        if let Some(binding) = self.replay.pop_front() {
            return Ok(Some(self.give(binding)));
        }
        if self.ended() {
            return Ok(None);
        }
        let binding = match self.configuration.take() {
            Some(configuration) => Some(self.minter.configure(configuration, wall_ms)),
            None => self.minter.mint(wall_ms),
        };
        let Some(mut binding) = binding else { return Ok(None) };
        // A reader puts an answer there before it says that it holds what needed it: whatever is bound here has its own.
        binding.answers = self.answers.take_unrecorded();
        self.log.append(&self.coder.encode(&binding))?;
        self.log.sync()?;
        Ok(Some(self.give(binding)))
    }

    fn give(&mut self, mut binding: Binding) -> Binding {
        binding.checkpoint = std::mem::take(&mut self.wants_checkpoint);
        self.given = binding.tick + 1;
        self.position.advance(&binding);
        binding
    }
}
