//! Feeds: everything that was ever said with a number is kept, and at each tick the health of every feed is found anew.

use std::collections::{BTreeMap, BTreeSet};

use dataflows::inventory::fact::Fact;
use dataflows::inventory::feed_health::{FeedHealth, FeedKey, FeedState};
use operators::time::{MINUS_INFINITY, TimeMs};

use super::{Model, minute_of};
use crate::history::History;

/// The health of each feed, as it is shown.
pub type FeedSnapshot = BTreeMap<FeedKey, FeedHealth>;

/// The feeds at each tick of a history.
pub fn feed_health(history: &History, silent_after_ms: i64) -> Vec<FeedSnapshot> {
    let mut model = Model::new(history);
    let snapshot = |binding| {
        model.tick(binding);
        model.feeds.show(silent_after_ms)
    };
    history.bindings.iter().map(snapshot).collect()
}

/// Everything that was said.
#[derive(Default)]
pub(super) struct Feeds {
    /// By tick: what time it was.
    times_ms: Vec<TimeMs>,
    said: BTreeMap<FeedKey, Vec<Said>>,
    /// What is shown of each feed, and since which minute.
    shown: BTreeMap<FeedKey, (FeedHealth, i64)>,
}

struct Said {
    tick: usize,
    number: u64,
    event_time_ms: TimeMs,
}

impl Feeds {
    pub(super) fn begin_tick(&mut self, now_ms: TimeMs) {
        self.times_ms.push(now_ms);
    }

    /// A fact with a number came, for the first time or again.
    pub(super) fn speaks(&mut self, fact: &Fact, number: u64) {
        let Fact { tenant, source, node, epoch, event_time_ms, .. } = fact;
        let key = FeedKey { tenant: *tenant, source: source.clone(), node: node.clone(), epoch: *epoch };
        let said = Said { tick: self.times_ms.len() - 1, number, event_time_ms: *event_time_ms };
        self.said.entry(key).or_default().push(said);
    }

    /// The recorded time of a tick, or the first one after it; none if there was none yet.
    fn time_of(&self, tick: usize) -> Option<TimeMs> {
        self.times_ms[tick..].iter().copied().find(|now_ms| *now_ms != MINUS_INFINITY)
    }

    fn health(&self, said: &[Said], silent_after_ms: i64) -> FeedHealth {
        let numbers: BTreeSet<u64> = said.iter().map(|said| said.number).collect();
        let first = *numbers.first().expect("a feed spoke");
        let last = *numbers.last().expect("a feed spoke");
        let missing: Vec<u64> = (first..last).filter(|number| !numbers.contains(number)).collect();
        // It was missing at the end of the first tick by which a lesser and a greater one had come.
        let since = |number: u64| {
            let first_tick = |is_beside: &dyn Fn(u64) -> bool| {
                said.iter().filter(|said| is_beside(said.number)).map(|said| said.tick).min()
            };
            first_tick(&|other| other < number).max(first_tick(&|other| other > number))
        };
        let oldest = missing.first().and_then(|number| since(*number));
        let spoke = said.iter().map(|said| said.tick).max().and_then(|tick| self.time_of(tick));
        let now_ms = *self.times_ms.last().expect("it is some tick");
        let is_silent = spoke.is_some_and(|spoke_ms| now_ms - spoke_ms >= silent_after_ms);
        FeedHealth {
            state: match (is_silent, missing.is_empty()) {
                (true, _) => FeedState::Silent,
                (false, true) => FeedState::Live,
                (false, false) => FeedState::Gapped,
            },
            last_sequence: last,
            open_gaps: missing.iter().filter(|number| numbers.contains(&(**number - 1))).count() as u64,
            oldest_gap_ms: oldest.and_then(|tick| self.time_of(tick)),
            last_event_ms: said.iter().map(|said| said.event_time_ms).max().expect("a feed spoke"),
            last_spoke_ms: spoke,
        }
    }

    /// What is shown after this tick: something else at once where a gap or the state is another, and otherwise if the minute is.
    pub(super) fn show(&mut self, silent_after_ms: i64) -> FeedSnapshot {
        let minute = minute_of(*self.times_ms.last().expect("it is some tick"));
        for (key, said) in &self.said {
            let health = self.health(said, silent_after_ms);
            let changes = self.shown.get(key).is_none_or(|(shown, since)| {
                let gaps = (health.open_gaps, health.oldest_gap_ms) != (shown.open_gaps, shown.oldest_gap_ms);
                gaps || health.state != shown.state || (health != *shown && minute != *since)
            });
            if changes {
                self.shown.insert(key.clone(), (health, minute));
            }
        }
        self.shown.iter().map(|(key, (health, _))| (key.clone(), health.clone())).collect()
    }
}
