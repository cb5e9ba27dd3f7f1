//! Records, one by one: what becomes of each.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::rows::FACTS;
use crate::rows::Row;
use dataflows::dead_letters::DeadLetter;
use dataflows::experiment::event::Event;
use dataflows::experiment::late_events::LateEvent;
use dataflows::inventory::fact::Fact;
use dataflows::names::Name;
use operators::record::{Header, Identity};
use operators::time::TimeMs;
use operators::topology::GroupId;

use super::{AcceptedEvent, AcceptedFact, LaneModel, Model, PartitionModel, Scope, Shown, earlier, later};
use crate::history::Records;

impl Model<'_> {
    /// Reads the records of a partition that belong to this tick.
    pub(super) fn read(&mut self, number: usize) {
        let history = self.history;
        let upto = self.partitions[number].next;
        let from = self.partitions[number].judged;
        match &history.records[number] {
            Records::Events(items) => {
                for item in items[from..].iter().take_while(|item| item.offset < upto) {
                    let header = match &item.outcome {
                        Ok((header, event)) => Ok((header, Record::Event(event))),
                        Err((rejection, raw)) => Err((rejection.code.as_ref(), rejection.detail.as_str(), raw)),
                    };
                    self.judge(number, item.offset, item.line, header);
                }
            }
            Records::Facts(items) => {
                for item in items[from..].iter().take_while(|item| item.offset < upto) {
                    let header = match &item.outcome {
                        Ok((header, fact)) => Ok((header, Record::Fact(fact))),
                        Err((rejection, raw)) => Err((rejection.code.as_ref(), rejection.detail.as_str(), raw)),
                    };
                    self.judge(number, item.offset, item.line, header);
                }
            }
        }
    }

    /// Judges the next record of a partition.
    fn judge(
        &mut self,
        number: usize,
        offset: u64,
        line: u64,
        outcome: Result<(&Header, Record<'_>), (&str, &str, &Vec<u8>)>,
    ) {
        let described = &self.history.topology.partitions[number];
        let parameters = self.parameters.lanes[number];
        let partition = &mut self.partitions[number];
        partition.judged += 1;
        partition.counts.read += 1;

        let (header, record) = match outcome {
            Ok(decoded) => decoded,
            Err((code, detail, raw)) => return self.bury(number, offset, line, code, detail, raw),
        };
        let clock_ms = match described.re_enters {
            Some(_) => self.now_ms.max(self.parameters.start_ms),
            None if described.live => self.now_ms,
            None => self.parameters.start_ms,
        };
        let last_ms = later(clock_ms, parameters.skew_max_ms);
        if header.event_time_ms > last_ms {
            let detail = format!("event time {} is later than {last_ms}, the last that may be", header.event_time_ms);
            return self.bury(number, offset, line, "future", &detail, &[]);
        }

        let watermark_ms = self.watermarks[header.group.0 as usize];
        let late = match described.re_enters {
            Some(_) => header.event_time_ms < watermark_ms,
            None => {
                let place = partition.lane(header.group, header.lane);
                let lane = &mut partition.lanes[place];
                let bound_ms = earlier(lane.greatest_ms, parameters.lateness_ms).max(lane.floor_ms);
                lane.greatest_ms = lane.greatest_ms.max(header.event_time_ms);
                lane.speaks = true;
                partition.spoken.push(place);
                header.event_time_ms < bound_ms
            }
        };
        let reached_ms = self.finite_watermarks[header.group.0 as usize];
        assert!(late || header.event_time_ms >= watermark_ms, "a record on time is never behind its watermark");
        let facts = described.release == FACTS;
        let horizon_ms = if facts { parameters.dedup_horizon_ms } else { 0 };
        let scope = match described.identity_fixes_partition {
            true => Scope::Partition(described.re_enters.map_or(number, |of| of.0 as usize)),
            false => Scope::Release(described.release.0),
        };
        let memory = self.memories.entry(scope).or_default();
        let verdict = memory.verdict(header, late, facts, earlier(reached_ms, horizon_ms));

        let counts = &mut self.partitions[number].counts;
        match verdict {
            Verdict::Conflict => {
                let detail = "another record with this id and other content came first";
                return self.bury(number, offset, line, "conflict", detail, &[]);
            }
            Verdict::Duplicate => counts.duplicate += 1,
            Verdict::Late => counts.late += 1,
            Verdict::OnTime => counts.on_time += 1,
            Verdict::TooOld => {
                counts.late += 1;
                counts.too_old += 1;
            }
        }
        if let (Record::Fact(fact), Identity::Sequence { sequence, .. }) = (&record, header.identity) {
            self.feeds.speaks(fact, sequence);
        }
        match (record, verdict) {
            (_, Verdict::Conflict | Verdict::Duplicate) => {}
            (Record::Event(event), Verdict::OnTime) => self.accept_event(number, event),
            (Record::Event(event), _) => self.set_aside(number, offset, event),
            (Record::Fact(fact), _) => {
                let doubt_ms = (verdict == Verdict::TooOld).then_some(reached_ms);
                self.facts.push(AcceptedFact { fact: fact.clone(), doubt_ms });
            }
        }
    }

    fn accept_event(&mut self, number: usize, event: &Event) {
        if event.unit.is_empty() {
            self.partitions[number].counts.without_unit += 1;
        }
        let visits = &mut self.visits;
        let session = self.sessions.entry((event.tenant, event.session.clone(), event.unit.clone()));
        let (visit, last_ms) = session.or_insert_with(|| {
            *visits += 1;
            (*visits, event.event_time_ms)
        });
        *last_ms = (*last_ms).max(event.event_time_ms);
        self.events.push(AcceptedEvent { event: event.clone(), visit: *visit });
    }

    fn set_aside(&mut self, number: usize, offset: u64, event: &Event) {
        self.late_events.push(Shown::from_now_on(Row::LateEvent(LateEvent {
            partition: self.partition_name(number),
            offset,
            tenant: self.history.catalog.tenant_name(event.tenant).clone(),
            id: event.id.clone(),
            session: event.session.clone(),
            unit: event.unit.clone(),
            kind: event.kind,
            event_time_ms: event.event_time_ms,
            value: event.value,
            quantity: event.quantity,
            item: event.item.clone(),
        })));
    }

    fn bury(&mut self, number: usize, offset: u64, line: u64, code: &str, detail: &str, raw: &[u8]) {
        self.partitions[number].counts.dead_letters += 1;
        self.dead_letters.push(Shown::from_now_on(Row::DeadLetter(DeadLetter {
            partition: self.partition_name(number),
            offset,
            file: Name::from(format!("partition-{number}.ndjson")),
            line,
            code: Name::from(code),
            detail: detail.to_owned(),
            raw: STANDARD.encode(raw),
        })));
    }
}

/// What was seen.
#[derive(Default)]
pub(super) struct Memory {
    /// By id: the content and the event time.
    ids: BTreeMap<u128, (u64, TimeMs)>,
    places: BTreeSet<(u128, u64)>,
}

/// What becomes of a record that is no dead letter by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Conflict,
    Duplicate,
    Late,
    TooOld,
    OnTime,
}

/// A record of either kind.
enum Record<'a> {
    Event(&'a Event),
    Fact(&'a Fact),
}

impl PartitionModel {
    /// The place of a lane, which is made at its first record where it was not declared.
    fn lane(&mut self, group: GroupId, name: u128) -> usize {
        let found = self.lanes.iter().position(|lane| lane.group == group && lane.name == Some(name));
        found.unwrap_or_else(|| {
            let nameless = self.lanes.iter().find(|lane| lane.group == group && lane.name.is_none());
            let nameless = nameless.expect("only an open partition has lanes that are not declared").clone();
            self.lanes.push(LaneModel { name: Some(name), ..nameless });
            self.lanes.len() - 1
        })
    }
}

impl Memory {
    /// The verdict on a record, which is remembered if it is accepted. Ids whose event time is before the bound are absent.
    fn verdict(&mut self, header: &Header, late: bool, facts: bool, absent_before_ms: TimeMs) -> Verdict {
        let timely = if late { Verdict::Late } else { Verdict::OnTime };
        let (id, content) = match header.identity {
            Identity::Sequence { stream, sequence } => {
                let first = self.places.insert((stream, sequence));
                return if first { timely } else { Verdict::Duplicate };
            }
            Identity::Id { id, content } => (id, content),
        };
        let seen = self.ids.get(&id).filter(|(_, event_time_ms)| *event_time_ms >= absent_before_ms);
        if seen.is_some_and(|(seen_content, _)| *seen_content != content) {
            return Verdict::Conflict;
        }
        if facts && header.event_time_ms < absent_before_ms {
            return Verdict::TooOld;
        }
        if late && !facts {
            return Verdict::Late;
        }
        if seen.is_some() {
            return Verdict::Duplicate;
        }
        self.ids.insert(id, (content, header.event_time_ms));
        timely
    }
}
