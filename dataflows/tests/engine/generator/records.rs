//! The records of a partition: good ones, broken ones, and those that come again.

use dataflows::experiment::event::{Event, EventKind};
use dataflows::inventory::fact::{Fact, FactKind};
use dataflows::names::{Name, TenantId};
use operators::record::{Header, Identity, Item, Rejection};
use operators::simulation::Random;
use operators::time::TimeMs;
use operators::topology::Partition;

use super::{Generator, HOUR, MINUTE, SECOND, YEAR_2099_MS, hash, lane_name};
use crate::history::Records;

impl Generator {
    pub(super) fn lanes_of(&self, number: usize) -> Vec<(TenantId, usize)> {
        self.feeds[number].clocks.keys().copied().collect()
    }

    /// Makes the next record of a partition, at about this time of its lane's clock.
    pub(super) fn make(&mut self, number: usize, tick: u64, now_ms: TimeMs) {
        if self.random.once_in(25) {
            return self.push_bad(number);
        }
        if self.random.once_in(10) {
            return self.push_again(number);
        }
        if self.random.once_in(4)
            && let Some((header, fact)) = self.belated.entry(number).or_default().pop()
        {
            return self.push_fact(number, header, fact);
        }
        let lanes = self.lanes_of(number);
        let lane = *self.random.choose(&lanes);
        if self.feeds[number].clocks[&lane].silent_until > tick {
            return;
        }
        let mut clock = self.feeds[number].clocks[&lane];
        let disorder_ms = self.random.below(clock.disorder_ms as u64) as i64;
        let mut event_time_ms = match self.random.below(40) {
            0 => clock.last_ms + 1,
            1 => now_ms - HOUR,
            2 => now_ms - 5 * MINUTE,
            3 => now_ms + 2 * MINUTE,
            4 => YEAR_2099_MS,
            _ if clock.stuck => clock.last_ms,
            _ => now_ms + clock.offset_ms - disorder_ms,
        };
        if self.random.once_in(3) {
            event_time_ms -= event_time_ms.rem_euclid(SECOND);
        }
        event_time_ms -= event_time_ms.rem_euclid(self.grain_ms);
        if event_time_ms <= now_ms {
            clock.last_ms = event_time_ms;
        }
        if self.random.once_in(12) {
            // It falls silent, and may wake with an event of a minute that is sealed by then.
            clock.silent_until = tick + self.random.below(10);
        }
        self.feeds[number].clocks.insert(lane, clock);
        match self.feeds[number].records {
            Records::Events(_) => {
                let (header, event) = self.event(lane.0, event_time_ms);
                self.push_event(number, header, event);
            }
            Records::Facts(_) => self.make_fact(number, lane, event_time_ms),
        }
    }

    /// Makes one of the many records of a long history.
    pub(super) fn make_cheap(&mut self, number: usize, lane: (TenantId, usize), event_time_ms: TimeMs) {
        match self.feeds[number].records {
            Records::Events(_) => {
                let (header, event) = self.event(lane.0, event_time_ms);
                self.push_event(number, header, event);
            }
            Records::Facts(_) => {
                let (header, fact) = self.fact(number, lane, event_time_ms);
                self.push_fact(number, header, fact);
            }
        }
    }

    /// A line that is no record.
    fn push_bad(&mut self, number: usize) {
        let raw = format!("{{{}", self.random.below(100)).into_bytes();
        let rejection = match self.random.once_in(2) {
            true => Rejection::new("not_json", "the line ends too early"),
            false => Rejection::new("unknown_tenant", "there is no tenant `nobody`"),
        };
        match &mut self.feeds[number].records {
            Records::Events(items) => items.push(item(items.len(), Err((rejection, raw)))),
            Records::Facts(items) => items.push(item(items.len(), Err((rejection, raw)))),
        }
    }

    /// A record that came before comes again, or another one with its id.
    fn push_again(&mut self, number: usize) {
        let conflict = self.random.once_in(4);
        let scope = self.scope(number);
        let tenants = self.feeds[number].tenants.clone();
        let sources = self.feeds[number].sources.clone();
        match self.feeds[number].records {
            Records::Events(_) => {
                let made = self.events.get(&scope).into_iter().flatten();
                let made: Vec<_> = made.filter(|(_, event)| tenants.contains(&event.tenant)).cloned().collect();
                let Some((mut header, mut event)) = last_or_any(&mut self.random, &made) else { return };
                if conflict && let Identity::Id { content, .. } = &mut header.identity {
                    *content ^= 1;
                    event.value += 1;
                    event.event_time_ms += self.random.below(3) as i64 * 20 * SECOND;
                    header.event_time_ms = event.event_time_ms;
                }
                self.push_event(number, header, event);
            }
            Records::Facts(_) => {
                let made = self.facts.get(&scope).into_iter().flatten();
                let reaches = |header: &Header, fact: &Fact| {
                    tenants.contains(&fact.tenant)
                        && sources.iter().any(|source| lane_name(false, *source) == header.lane)
                };
                let made: Vec<_> = made.filter(|(header, fact)| reaches(header, fact)).cloned().collect();
                let Some((mut header, mut fact)) = last_or_any(&mut self.random, &made) else { return };
                if conflict && fact.before.is_none() && fact.kind != FactKind::Clock {
                    if let Identity::Id { content, .. } = &mut header.identity {
                        *content ^= 1;
                    }
                    fact.quantity += 1;
                    let by_ms = self.random.below(3) as i64 * 20 * SECOND;
                    fact.event_time_ms += by_ms;
                    fact.observed_from_ms += by_ms;
                    header.event_time_ms += by_ms;
                }
                self.push_fact(number, header, fact);
            }
        }
    }

    /// Whose identities a partition's records may be confused with: its own, or those of all that share them.
    pub(super) fn scope(&self, number: usize) -> usize {
        let Partition { identity_fixes_partition, re_enters, .. } = &self.partitions[number];
        if *identity_fixes_partition { re_enters.map_or(number, |of| of.0 as usize) } else { usize::MAX }
    }

    fn push_event(&mut self, number: usize, header: Header, event: Event) {
        self.events.entry(self.scope(number)).or_default().push((header, event.clone()));
        if let Records::Events(items) = &mut self.feeds[number].records {
            items.push(item(items.len(), Ok((header, event))));
        }
    }

    pub(super) fn push_fact(&mut self, number: usize, header: Header, fact: Fact) {
        self.facts.entry(self.scope(number)).or_default().push((header, fact.clone()));
        if let Records::Facts(items) = &mut self.feeds[number].records {
            items.push(item(items.len(), Ok((header, fact))));
        }
    }

    fn event(&mut self, tenant: TenantId, event_time_ms: TimeMs) -> (Header, Event) {
        use EventKind::{AddToCart, Click, Exposure, Purchase, Return, View};
        self.records += 1;
        let random = &mut self.random;
        let kind = *random
            .choose(&[View, View, View, Click, Click, AddToCart, Purchase, Purchase, Return, Exposure, Exposure]);
        let sign = if kind == Return { -1 } else { 1 };
        let value = match self.great && random.once_in(4) {
            true => *random.choose(&[1 << 40, (1 << 40) - 1, 1 << 39]),
            false => random.below(1_000) as i64,
        };
        let experiments = self.catalog.experiments_of(tenant);
        let exposure = kind == Exposure && !random.once_in(8);
        let event = Event {
            tenant,
            kind,
            event_time_ms,
            value: sign * value,
            quantity: sign * (1 + random.below(3) as i64),
            id: Name::from(format!("event-{}", self.records)),
            session: Name::from(format!("session-{}", random.below(5))),
            unit: if random.once_in(6) { Name::default() } else { Name::from(format!("unit-{}", random.below(6))) },
            item: if random.once_in(2) { Name::default() } else { Name::from("item") },
            experiment: exposure.then(|| *random.choose(experiments)),
        };
        let id = hash(&[0, u64::from(tenant), self.records]);
        let identity = Identity::Id { id, content: hash(&[1, self.records]) as u64 };
        (Header { group: self.catalog.event_group(tenant), lane: 0, event_time_ms, identity }, event)
    }
}

/// One of the last few, or any.
pub(super) fn last_or_any<T: Clone>(random: &mut Random, all: &[T]) -> Option<T> {
    if all.is_empty() {
        return None;
    }
    let from = if random.once_in(2) { all.len().saturating_sub(5) } else { 0 };
    Some(random.choose(&all[from..]).clone())
}

fn item<R>(place: usize, outcome: Result<(Header, R), (Rejection, Vec<u8>)>) -> Item<R> {
    Item { offset: 10 * place as u64, length: 10, line: place as u64 + 1, outcome }
}
