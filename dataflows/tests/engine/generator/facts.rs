//! Facts, their corrections and voids.

use dataflows::inventory::fact::{BeforeImage, Fact, FactKind, StockState};
use dataflows::names::{Name, TenantId};
use operators::record::{Header, Identity};
use operators::time::TimeMs;

use super::records::last_or_any;
use super::{FACT_SOURCES, Generator, MINUTE, hash, lane_name};

impl Generator {
    /// A fact, or a correction or void of one that was made before, which may come first.
    pub(super) fn make_fact(&mut self, number: usize, lane: (TenantId, usize), event_time_ms: TimeMs) {
        let (mut header, mut fact) = self.fact(number, lane, event_time_ms);
        if !self.random.once_in(5) {
            if fact.kind != FactKind::Clock && self.random.once_in(15) {
                self.correct(number, lane, event_time_ms, header, &fact);
                self.belated.entry(number).or_default().push((header, fact));
                return;
            }
            return self.push_fact(number, header, fact);
        }
        let made = self.facts.get(&self.scope(number)).into_iter().flatten();
        let made = made.filter(|(before, original)| {
            before.lane == header.lane
                && original.tenant == fact.tenant
                && original.kind != FactKind::Clock
                && !self.corrected.contains(&original.id)
        });
        let made: Vec<_> = made.cloned().collect();
        let Some((before, original)) = last_or_any(&mut self.random, &made) else {
            return self.push_fact(number, header, fact);
        };
        if self.random.once_in(6) {
            // No correction, but a fact of the very same moment.
            fact.event_time_ms = original.event_time_ms;
            fact.observed_from_ms = fact.observed_from_ms.min(fact.event_time_ms);
            header.event_time_ms = original.event_time_ms;
            return self.push_fact(number, header, fact);
        }
        self.correct(number, lane, event_time_ms, before, &original);
    }

    /// Makes the correction or void of a fact.
    fn correct(
        &mut self,
        number: usize,
        lane: (TenantId, usize),
        event_time_ms: TimeMs,
        before: Header,
        original: &Fact,
    ) {
        if !self.corrected.insert(original.id) {
            return;
        }
        let (header, fresh) = self.fact(number, lane, event_time_ms);
        let image = BeforeImage {
            id: original.id,
            kind: original.kind,
            quantity: original.quantity,
            event_time_ms: original.event_time_ms,
        };
        let mut fact = Fact { id: fresh.id, before: Some(Box::new(image)), void: false, ..original.clone() };
        match self.random.below(3) {
            0 => {
                fact.void = true;
                fact.quantity = 0;
                fact.event_time_ms = event_time_ms;
            }
            1 => fact.quantity = fresh.quantity.abs(),
            _ => {
                fact.quantity = fresh.quantity.abs();
                fact.event_time_ms = event_time_ms;
            }
        }
        let signed = [FactKind::Sale, FactKind::Return, FactKind::Receipt, FactKind::Adjust];
        if !fact.void && signed.contains(&original.kind) && self.random.once_in(3) {
            fact.kind = *self.random.choose(&signed);
        }
        fact.observed_from_ms = fact.event_time_ms - (original.event_time_ms - original.observed_from_ms);
        let mut header = Header { lane: before.lane, event_time_ms: fact.event_time_ms, ..header };
        if fact.node != fresh.node && matches!(header.identity, Identity::Sequence { .. }) {
            // It is about another node, so it belongs to that one's stream.
            header.identity = self.next_of(self.stream_of(number, lane, &fact.node), 1);
        }
        self.push_fact(number, header, fact);
    }

    /// A fact that takes nothing back.
    pub(super) fn fact(
        &mut self,
        number: usize,
        (tenant, source): (TenantId, usize),
        event_time_ms: TimeMs,
    ) -> (Header, Fact) {
        use FactKind::{
            Adjust, Clock, Count, Pick, Receipt, Return, Sale, ShelfObservation, Snapshot, StateMove, TransferIn,
            TransferOut,
        };
        self.records += 1;
        // Streams of one name in memories that know nothing of each other would be one feed.
        let epoch = self.scope(number) as u32;
        let random = &mut self.random;
        let spec = self.catalog.fact_source(FACT_SOURCES[source]);
        let kinds = [
            Sale,
            Sale,
            Sale,
            Sale,
            Return,
            Receipt,
            Receipt,
            TransferOut,
            TransferIn,
            Adjust,
            StateMove,
            StateMove,
            Count,
            Count,
            Count,
            Count,
            Snapshot,
            Snapshot,
            Pick,
            ShelfObservation,
            Clock,
        ];
        let kind = *random.choose(&kinds);
        let absolute = matches!(kind, Count | Snapshot);
        let states = [
            StockState::Sellable,
            StockState::Sellable,
            StockState::Sellable,
            StockState::Damaged,
            StockState::Backroom,
        ];
        let state = if kind == Clock { StockState::Sellable } else { *random.choose(&states) };
        let quantity = match kind {
            Clock => 0,
            Count | Snapshot | Receipt => random.below(40) as i64,
            Pick => random.below(3) as i64,
            Adjust => random.below(9) as i64 - 4,
            _ => 1 + random.below(6) as i64,
        };
        let great = self.great && kind != Clock && kind != Pick && random.once_in(10);
        let node = Name::from(format!("node-{}", random.below(2)));
        let fact = Fact {
            tenant,
            kind,
            state,
            to_state: if kind == StateMove { *random.choose(&states) } else { state },
            void: false,
            node: node.clone(),
            sku: if kind == Clock { Name::default() } else { Name::from(format!("sku-{}", random.below(2))) },
            quantity: if great { 1 << 31 } else { quantity },
            event_time_ms,
            observed_from_ms: if absolute { event_time_ms - random.below(3) as i64 * MINUTE } else { event_time_ms },
            source: FACT_SOURCES[source].into(),
            epoch,
            rank: spec.rank,
            authority: match kind {
                Count => !spec.class_b,
                Snapshot => spec.authority_for_snapshots,
                _ => false,
            },
            epsilon_ms: spec.epsilon_ms,
            id: hash(&[2, u64::from(tenant), self.records]),
            before: None,
        };
        let identity = match random.once_in(2) {
            true => Identity::Id { id: fact.id, content: hash(&[3, self.records]) as u64 },
            false => {
                let step = if self.random.once_in(8) { 2 } else { 1 };
                self.next_of(self.stream_of(number, (tenant, source), &node), step)
            }
        };
        let lane = lane_name(false, source);
        (Header { group: self.catalog.fact_group(tenant), lane, event_time_ms, identity }, fact)
    }

    /// The stream of a source's facts about a node; one number of the generator's is one epoch of it.
    fn stream_of(&self, number: usize, (tenant, source): (TenantId, usize), node: &str) -> u128 {
        let node = node.bytes().last().map_or(0, u64::from);
        hash(&[4, self.scope(number) as u64, u64::from(tenant), source as u64, node])
    }

    /// The next place in a stream, so many steps on; every third record takes one that was passed over, if there is any.
    fn next_of(&mut self, stream: u128, step: u64) -> Identity {
        let missing = self.missing.entry(stream).or_default();
        if self.records.is_multiple_of(3)
            && let Some(sequence) = missing.pop_front()
        {
            return Identity::Sequence { stream, sequence };
        }
        let sequence = self.sequences.entry(stream).or_default();
        missing.extend(*sequence + 1..*sequence + step);
        *sequence += step;
        Identity::Sequence { stream, sequence: *sequence }
    }
}
