//! What became of commands, for whoever waits to hear it.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use operators::outcome::{Outcome, Verdict};
use operators::time::Tick;

use crate::engine::lock;

/// How many outcomes are remembered, but for those of one command that has more records.
pub(super) const OUTCOMES_MAX: usize = 1 << 18;

/// How many may wait at once; whoever comes then is told at once what is known.
const WAITING_MAX: usize = 128;

/// What became of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordAnswer {
    /// The tick at which it was decided.
    pub tick: Tick,
    /// What it was.
    pub verdict: Verdict,
}

/// The outcomes of the newest commands.
#[derive(Debug, Default)]
pub(super) struct Answers {
    heard: Mutex<Heard>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Heard {
    /// By command, then by the record's place in it.
    commands: BTreeMap<u64, BTreeMap<u64, RecordAnswer>>,
    outcomes: usize,
    waiting: usize,
    is_closed: bool,
}

impl Answers {
    pub(super) fn hear(&self, tick: Tick, outcomes: Vec<Outcome>) {
        if outcomes.is_empty() {
            return;
        }
        let mut heard = lock(&self.heard);
        for Outcome { offset, line, verdict, .. } in outcomes {
            let of_command = heard.commands.entry(offset).or_default();
            let is_new = of_command.insert(line, RecordAnswer { tick, verdict }).is_none();
            heard.outcomes += usize::from(is_new);
        }
        while heard.outcomes > OUTCOMES_MAX && heard.commands.len() > 1 {
            let forgotten = heard.commands.pop_first().map_or(0, |(_, records)| records.len());
            heard.outcomes -= forgotten;
        }
        self.changed.notify_all();
    }

    pub(super) fn wait(&self, number: u64, records: usize, wait: Duration) -> Option<Vec<RecordAnswer>> {
        let deadline = Instant::now() + wait;
        let mut heard = lock(&self.heard);
        if heard.waiting >= WAITING_MAX {
            return heard.answer(number, records);
        }
        heard.waiting += 1;
        let answer = loop {
            let answer = heard.answer(number, records);
            let left = deadline.saturating_duration_since(Instant::now());
            if answer.is_some() || heard.is_closed || left.is_zero() {
                break answer;
            }
            heard = self.changed.wait_timeout(heard, left).unwrap_or_else(PoisonError::into_inner).0;
        };
        heard.waiting -= 1;
        answer
    }

    pub(super) fn close(&self) {
        lock(&self.heard).is_closed = true;
        self.changed.notify_all();
    }
}

impl Heard {
    /// The whole answer of a command; a record may be decided later than others, as their partitions are read apart.
    fn answer(&self, number: u64, records: usize) -> Option<Vec<RecordAnswer>> {
        let heard = self.commands.get(&number).filter(|heard| heard.len() == records)?;
        Some(heard.values().cloned().collect())
    }
}
