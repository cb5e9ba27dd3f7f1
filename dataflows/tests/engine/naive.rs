//! The naive model: what every view holds at every tick, by the rules as they are written and nothing cleverer.
//!
//! It shares no code with the engine: no judge, no watermarks, no identities, no folds. Records are judged one by one, in
//! the order of (partition, offset); what was accepted is kept in lists for ever, and at each tick every view is computed
//! from those lists anew. What a fold may forget is therefore never a question here, except where forgetting is itself
//! the rule: identities behind their horizon, sessions behind `session_keep_ms`, rows out of retention.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use dataflows::catalog::Population;
use dataflows::experiment::event::{Event, EventKind};
use dataflows::graph::FACTS;
use dataflows::inventory::fact::{Fact, FactKind, StockState};
use dataflows::names::{Name, TenantId};
use dataflows::views::{
    Availability, DeadLetter, LateEvent, Measures, Moments, Reason, Row, SessionMinute, SourceHealth, Stock,
    VariantMinute, VariantTotal, View,
};
use operators::binding::{Binding, Status};
use operators::judge::RECENT_RECORDS;
use operators::record::{Header, Identity};
use operators::time::{MINUS_INFINITY, PLUS_INFINITY, Tick, TimeMs};
use operators::topology::{GroupId, Lanes, Parameters};

use crate::history::{History, Records};

/// The contents of every view that is not empty.
pub type Snapshot = BTreeMap<View, BTreeMap<Row, i64>>;

/// A unit passes out of its variant's block when the absolute value of a sum passes this.
const SUM_MAX: i64 = 1 << 40;

/// The views at each tick of a history.
pub fn naive(history: &History) -> Vec<Snapshot> {
    let mut model = Model::new(history);
    let snapshot = |binding| {
        model.tick(binding);
        model.snapshot()
    };
    history.bindings.iter().map(snapshot).collect()
}

/// The views at some ticks of a history only, where a snapshot of every tick would be too much.
pub fn naive_at(history: &History, ticks: &BTreeSet<Tick>) -> BTreeMap<Tick, Snapshot> {
    let mut model = Model::new(history);
    let mut snapshots = BTreeMap::new();
    for binding in &history.bindings {
        model.tick(binding);
        if ticks.contains(&binding.tick) {
            snapshots.insert(binding.tick, model.snapshot());
        }
    }
    snapshots
}

/// Everything that the model knows after a tick.
struct Model<'a> {
    history: &'a History,
    parameters: Parameters,
    now_ms: TimeMs,
    partitions: Vec<PartitionModel>,
    /// `W` of each group, as of the last tick.
    watermarks: Vec<TimeMs>,
    /// The greatest watermarks that were not plus infinity.
    finite_watermarks: Vec<TimeMs>,
    /// What was seen: a partition's own memory, or that of all partitions of a release that share one.
    memories: BTreeMap<Scope, Memory>,
    /// Sessions that are not forgotten: which visit it is of this id, and the event time of its last event.
    sessions: BTreeMap<(TenantId, Name, Name), (usize, TimeMs)>,
    visits: usize,
    events: Vec<AcceptedEvent>,
    facts: Vec<AcceptedFact>,
    late_events: Vec<Shown>,
    dead_letters: Vec<Shown>,
}

/// One partition.
struct PartitionModel {
    /// Items that were judged.
    judged: usize,
    next: u64,
    status: Status,
    lanes: Vec<LaneModel>,
    /// The lane of every record that was decoded and not `future`, in offset order.
    spoken: Vec<usize>,
    /// The running maximum of the least greatest event time among the lanes of the recent records.
    behind_ms: TimeMs,
    counts: Counts,
}

/// Verdicts since the beginning.
#[derive(Default)]
struct Counts {
    read: i64,
    on_time: i64,
    late: i64,
    duplicate: i64,
    dead_letters: i64,
    too_old: i64,
    without_unit: i64,
}

/// One lane. The one without a name stands, in an open partition, for those that are still to come.
#[derive(Clone)]
struct LaneModel {
    group: GroupId,
    name: Option<u128>,
    greatest_ms: TimeMs,
    floor_ms: TimeMs,
    /// Log time of the last tick in which it spoke.
    spoke_at_ms: Option<TimeMs>,
    speaks: bool,
}

/// Whose identities are compared with each other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Scope {
    Partition(usize),
    Release(u8),
}

/// What was seen.
#[derive(Default)]
struct Memory {
    /// By id: the content and the event time.
    ids: BTreeMap<u128, (u64, TimeMs)>,
    places: BTreeSet<(u128, u64)>,
}

/// An event that was accepted on time.
struct AcceptedEvent {
    event: Event,
    visit: usize,
}

/// A fact that was accepted; if it was too old to be folded, the watermark of that moment.
struct AcceptedFact {
    fact: Fact,
    doubt_ms: Option<TimeMs>,
}

/// A row that leaves when it was shown for its view's retention.
struct Shown {
    row: Row,
    /// The first finite `now` at or after its tick.
    since_ms: Option<TimeMs>,
}

impl Shown {
    fn from_now_on(row: Row) -> Shown {
        Shown { row, since_ms: None }
    }
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

impl<'a> Model<'a> {
    fn new(history: &'a History) -> Model<'a> {
        let partitions = history.topology.partitions.iter().map(|partition| {
            let mut lanes = Vec::new();
            for (group, declared) in &partition.groups {
                let names: Vec<Option<u128>> = match declared {
                    Lanes::Closed(names) => names.iter().map(|name| Some(*name)).collect(),
                    Lanes::Open => vec![None],
                };
                lanes.extend(names.into_iter().map(|name| LaneModel::silent(*group, name)));
            }
            PartitionModel {
                judged: 0,
                next: 0,
                status: Status::Behind,
                lanes,
                spoken: Vec::new(),
                behind_ms: MINUS_INFINITY,
                counts: Counts::default(),
            }
        });
        Model {
            history,
            parameters: history.parameters.clone(),
            now_ms: MINUS_INFINITY,
            partitions: partitions.collect(),
            watermarks: vec![MINUS_INFINITY; history.topology.groups.len()],
            finite_watermarks: vec![MINUS_INFINITY; history.topology.groups.len()],
            memories: BTreeMap::new(),
            sessions: BTreeMap::new(),
            visits: 0,
            events: Vec::new(),
            facts: Vec::new(),
            late_events: Vec::new(),
            dead_letters: Vec::new(),
        }
    }

    /// Goes on to the next tick: applies its records, then seals to its watermarks.
    fn tick(&mut self, binding: &Binding) {
        self.now_ms = binding.now_ms;
        if let Some(configuration) = &binding.configuration {
            self.change_parameters(&configuration.parameters);
        }
        for advance in &binding.advances {
            let partition = &mut self.partitions[advance.partition.0 as usize];
            partition.next = advance.next;
            partition.status = advance.status;
        }
        for number in 0..self.partitions.len() {
            self.read(number);
        }
        self.rise();
        let (catalog, watermarks) = (&self.history.catalog, &self.watermarks);
        let keep_ms = self.history.plan.session_keep_ms;
        self.sessions.retain(|(tenant, _, _), (_, last_ms)| {
            watermarks[catalog.event_group(*tenant).0 as usize] < last_ms.saturating_add(keep_ms)
        });
    }

    /// A tick that changes a partition's lateness raises the floors under its lanes to what was sealed.
    fn change_parameters(&mut self, parameters: &Parameters) {
        for (number, partition) in self.partitions.iter_mut().enumerate() {
            if parameters.lanes[number].lateness_ms != self.parameters.lanes[number].lateness_ms {
                for lane in &mut partition.lanes {
                    lane.floor_ms = lane.floor_ms.max(self.watermarks[lane.group.0 as usize]);
                }
            }
        }
        self.parameters = parameters.clone();
    }

    /// Reads the records of a partition that belong to this tick.
    fn read(&mut self, number: usize) {
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
        let clock_ms = if described.live { self.now_ms } else { self.parameters.start_ms };
        let last_ms = later(clock_ms, parameters.skew_max_ms);
        if header.event_time_ms > last_ms {
            let detail = format!("event time {} is later than {last_ms}, the last that may be", header.event_time_ms);
            return self.bury(number, offset, line, "future", &detail, &[]);
        }

        let place = partition.lane(header.group, header.lane);
        let lane = &mut partition.lanes[place];
        let bound_ms = earlier(lane.greatest_ms, parameters.lateness_ms).max(lane.floor_ms);
        let late = header.event_time_ms < bound_ms;
        lane.greatest_ms = lane.greatest_ms.max(header.event_time_ms);
        lane.speaks = true;
        partition.spoken.push(place);

        let watermark_ms = self.watermarks[header.group.0 as usize];
        assert!(late || header.event_time_ms >= watermark_ms, "a record on time is never behind its watermark");
        let facts = described.release == FACTS;
        let horizon_ms = if facts { parameters.dedup_horizon_ms } else { 0 };
        let scope = match described.identity_fixes_partition {
            true => Scope::Partition(number),
            false => Scope::Release(described.release.0),
        };
        let memory = self.memories.entry(scope).or_default();
        let verdict = memory.verdict(header, late, facts, earlier(watermark_ms, horizon_ms));

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
        match (record, verdict) {
            (_, Verdict::Conflict | Verdict::Duplicate) => {}
            (Record::Event(event), Verdict::OnTime) => self.accept_event(number, event),
            (Record::Event(event), _) => self.set_aside(number, offset, event),
            (Record::Fact(fact), _) => {
                let doubt_ms = (verdict == Verdict::TooOld).then_some(watermark_ms);
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
        self.late_events.push(Shown::from_now_on(Row::LateEvent(Box::new(LateEvent {
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
        }))));
    }

    fn bury(&mut self, number: usize, offset: u64, line: u64, code: &str, detail: &str, raw: &[u8]) {
        self.partitions[number].counts.dead_letters += 1;
        self.dead_letters.push(Shown::from_now_on(Row::DeadLetter(Box::new(DeadLetter {
            partition: self.partition_name(number),
            offset,
            file: Name::from(format!("partition-{number}.ndjson")),
            line,
            code: Name::from(code),
            detail: detail.to_owned(),
            raw: STANDARD.encode(raw),
        }))));
    }

    fn partition_name(&self, number: usize) -> Name {
        Name::from(self.history.topology.partitions[number].name.as_str())
    }

    /// Ends a tick: log times, where every lane stands, watermarks, and the floors of the next tick.
    fn rise(&mut self) {
        let mut log_times = Vec::new();
        for partition in &mut self.partitions {
            if partition.spoken.len() as u64 >= RECENT_RECORDS {
                let recent = &partition.spoken[partition.spoken.len() - RECENT_RECORDS as usize..];
                let least_ms = recent.iter().map(|lane| partition.lanes[*lane].greatest_ms).min();
                partition.behind_ms = partition.behind_ms.max(least_ms.expect("there are recent records"));
            }
            let log_time_ms = match partition.status {
                Status::CaughtUp | Status::Idle => self.now_ms,
                Status::Behind | Status::Ended => partition.behind_ms,
            };
            for lane in partition.lanes.iter_mut().filter(|lane| lane.speaks) {
                lane.speaks = false;
                lane.spoke_at_ms = Some(log_time_ms);
            }
            log_times.push(log_time_ms);
        }

        for group in (0..self.watermarks.len() as u16).map(GroupId) {
            let feeds =
                |number: &usize| self.history.topology.partitions[*number].groups.iter().any(|(fed, _)| *fed == group);
            let feeding: Vec<usize> = (0..self.partitions.len()).filter(feeds).collect();
            let running: Vec<usize> =
                feeding.iter().copied().filter(|number| self.partitions[*number].status != Status::Ended).collect();
            let watermark_ms = &mut self.watermarks[usize::from(group.0)];
            if !feeding.is_empty() && running.is_empty() {
                *watermark_ms = PLUS_INFINITY;
                continue;
            }
            let mut least_ms = None;
            for number in &running {
                let parameters = self.parameters.lanes[*number];
                for lane in self.partitions[*number].lanes.iter().filter(|lane| lane.group == group) {
                    let stands_ms = lane.stands(log_times[*number], parameters.hold_ms, parameters.idle_ms);
                    let bound_ms = earlier(stands_ms, parameters.lateness_ms);
                    least_ms = Some(least_ms.map_or(bound_ms, |least_ms: TimeMs| least_ms.min(bound_ms)));
                }
            }
            *watermark_ms = (*watermark_ms).max(least_ms.unwrap_or(MINUS_INFINITY));
            for number in &running {
                let parameters = self.parameters.lanes[*number];
                for lane in self.partitions[*number].lanes.iter_mut().filter(|lane| lane.group == group) {
                    let stands_ms = lane.stands(log_times[*number], parameters.hold_ms, parameters.idle_ms);
                    if stands_ms != lane.greatest_ms {
                        lane.floor_ms = lane.floor_ms.max(*watermark_ms);
                    }
                }
            }
        }
        for (finite_ms, watermark_ms) in self.finite_watermarks.iter_mut().zip(&self.watermarks) {
            if *watermark_ms != PLUS_INFINITY {
                *finite_ms = *watermark_ms;
            }
        }
        for shown in self.late_events.iter_mut().chain(&mut self.dead_letters) {
            if shown.since_ms.is_none() && self.now_ms != MINUS_INFINITY {
                shown.since_ms = Some(self.now_ms);
            }
        }
    }

    /// How far event time has come in a tenant's facts: the end of all sources makes nothing older.
    fn fact_watermark(&self, tenant: TenantId) -> TimeMs {
        self.finite_watermarks[usize::from(self.history.catalog.fact_group(tenant).0)]
    }

    /// All views that are wanted.
    fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::new();
        for view in View::ALL {
            if !self.history.plan.view(view).enabled {
                continue;
            }
            let retention_ms = self.history.plan.view(view).retention_ms;
            let rows = match view {
                View::SessionMinutes => self.session_minutes(retention_ms),
                View::VariantMinutes => self.variant_minutes(retention_ms),
                View::VariantTotals => self.variant_totals(),
                View::LateEvents => self.shown(&self.late_events, retention_ms),
                View::DeadLetters => self.shown(&self.dead_letters, retention_ms),
                View::SourceHealth => self.source_health(),
                View::Stock => self.stock(),
                View::Availability => self.availability(),
            };
            let mut counted = BTreeMap::new();
            for row in rows {
                *counted.entry(row).or_default() += 1;
            }
            if !counted.is_empty() {
                snapshot.insert(view, counted);
            }
        }
        snapshot
    }

    fn minute_stays(&self, tenant: TenantId, minute: i64, retention_ms: i64) -> bool {
        // The end of every source puts nothing out of retention: only the watermarks before it do.
        let group = usize::from(self.history.catalog.event_group(tenant).0);
        self.finite_watermarks[group] < ((minute + 1) * 60_000).saturating_add(retention_ms)
    }

    fn session_minutes(&self, retention_ms: i64) -> Vec<Row> {
        let mut minutes: BTreeMap<(TenantId, &Name, &Name, i64), Measures> = BTreeMap::new();
        for AcceptedEvent { event, .. } in &self.events {
            let key = (event.tenant, &event.session, &event.unit, minute_of(event.event_time_ms));
            add_event(minutes.entry(key).or_default(), event);
        }
        minutes.retain(|(tenant, _, _, minute), _| self.minute_stays(*tenant, *minute, retention_ms));
        let rows = minutes.into_iter().map(|((tenant, session, unit, minute), measures)| {
            Row::SessionMinute(SessionMinute {
                tenant: self.history.catalog.tenant_name(tenant).clone(),
                session: session.clone(),
                unit: unit.clone(),
                minute_ms: minute * 60_000,
                measures,
            })
        });
        rows.collect()
    }

    /// The events that count for an experiment, by unit; every unit's variant.
    fn counting(&self, number: u16) -> BTreeMap<&Name, (u16, Vec<&AcceptedEvent>)> {
        let catalog = &self.history.catalog;
        let experiment = &catalog.experiments[usize::from(number)];
        let mut units: BTreeMap<&Name, (u16, Vec<&AcceptedEvent>)> = BTreeMap::new();
        for accepted in self.events.iter().filter(|accepted| accepted.event.tenant == experiment.tenant) {
            let unit = &accepted.event.unit;
            if unit.is_empty() {
                continue;
            }
            if let Some(variant) = catalog.variant_of(number, unit) {
                units.entry(unit).or_insert((variant, Vec::new())).1.push(accepted);
            }
        }
        if experiment.population == Population::Exposed {
            for (_, events) in units.values_mut() {
                let exposures = events.iter().map(|accepted| &accepted.event);
                let exposures = exposures
                    .filter(|event| event.kind == EventKind::Exposure && event.experiment == Some(number))
                    .map(|event| event.event_time_ms);
                let first_ms = exposures.min();
                events.retain(|accepted| first_ms.is_some_and(|first_ms| accepted.event.event_time_ms >= first_ms));
            }
            units.retain(|_, (_, events)| !events.is_empty());
        }
        units
    }

    fn variant_minutes(&self, retention_ms: i64) -> Vec<Row> {
        let catalog = &self.history.catalog;
        let mut rows = Vec::new();
        for (number, experiment) in (0u16..).zip(&catalog.experiments) {
            let mut active: BTreeSet<(u16, i64, &Name, &Name)> = BTreeSet::new();
            let mut started: BTreeMap<usize, (u16, TimeMs)> = BTreeMap::new();
            let mut minutes: BTreeMap<(u16, i64), Measures> = BTreeMap::new();
            for (unit, (variant, events)) in self.counting(number) {
                for AcceptedEvent { event, visit } in events {
                    let minute = minute_of(event.event_time_ms);
                    active.insert((variant, minute, &event.session, unit));
                    add_event(minutes.entry((variant, minute)).or_default(), event);
                    let start = started.entry(*visit).or_insert((variant, event.event_time_ms));
                    start.1 = start.1.min(event.event_time_ms);
                }
            }
            let (mut sessions_active, mut sessions_started) = (BTreeMap::new(), BTreeMap::new());
            for (variant, minute, _, _) in &active {
                *sessions_active.entry((*variant, *minute)).or_insert(0) += 1;
            }
            for (variant, start_ms) in started.values() {
                *sessions_started.entry((*variant, minute_of(*start_ms))).or_insert(0) += 1;
            }
            for ((variant, minute), measures) in minutes {
                if !self.minute_stays(experiment.tenant, minute, retention_ms) {
                    continue;
                }
                rows.push(Row::VariantMinute(VariantMinute {
                    tenant: catalog.tenant_name(experiment.tenant).clone(),
                    experiment: experiment.name.clone(),
                    variant: experiment.variants[usize::from(variant)].name.clone(),
                    minute_ms: minute * 60_000,
                    sessions_active: sessions_active.get(&(variant, minute)).copied().unwrap_or(0),
                    sessions_started: sessions_started.get(&(variant, minute)).copied().unwrap_or(0),
                    measures,
                }));
            }
        }
        rows
    }

    fn variant_totals(&self) -> Vec<Row> {
        let catalog = &self.history.catalog;
        let mut rows = Vec::new();
        for (number, experiment) in (0u16..).zip(&catalog.experiments) {
            let mut totals: BTreeMap<u16, VariantTotal> = BTreeMap::new();
            for (variant, events) in self.counting(number).into_values() {
                let mut sums = Measures::default();
                for AcceptedEvent { event, .. } in events {
                    add_event(&mut sums, event);
                }
                let total = totals.entry(variant).or_insert_with(|| VariantTotal {
                    tenant: catalog.tenant_name(experiment.tenant).clone(),
                    experiment: experiment.name.clone(),
                    variant: experiment.variants[usize::from(variant)].name.clone(),
                    units: 0,
                    units_overflowed: 0,
                    sums: Moments::default(),
                    squares: Moments::default(),
                });
                let columns = [
                    sums.views,
                    sums.clicks,
                    sums.add_to_carts,
                    sums.purchases,
                    sums.returns,
                    sums.quantity,
                    sums.value,
                ];
                if columns.iter().any(|column| column.abs() > SUM_MAX) {
                    total.units_overflowed += 1;
                } else {
                    total.units += 1;
                    add_moments(&mut total.sums, columns.map(i128::from));
                    add_moments(&mut total.squares, columns.map(|column| i128::from(column) * i128::from(column)));
                }
            }
            rows.extend(totals.into_values().map(|total| Row::VariantTotal(Box::new(total))));
        }
        rows
    }

    fn shown(&self, all: &[Shown], retention_ms: i64) -> Vec<Row> {
        let stays =
            |shown: &&Shown| shown.since_ms.is_none_or(|since_ms| self.now_ms < since_ms.saturating_add(retention_ms));
        all.iter().filter(stays).map(|shown| shown.row.clone()).collect()
    }

    fn source_health(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for (number, partition) in self.partitions.iter().enumerate() {
            let Counts { read, on_time, late, duplicate, dead_letters, too_old, without_unit } = partition.counts;
            assert_eq!(read, on_time + late + duplicate + dead_letters, "records are conserved");
            let groups = self.history.topology.partitions[number].groups.iter();
            let watermark_ms = groups.map(|(group, _)| self.watermarks[usize::from(group.0)]).min();
            let status = match partition.status {
                Status::Behind => "behind",
                Status::CaughtUp => "caught_up",
                Status::Idle => "idle",
                Status::Ended => "ended",
            };
            rows.push(Row::SourceHealth(Box::new(SourceHealth {
                partition: self.partition_name(number),
                next_offset: partition.next,
                status: Name::from(status),
                read,
                on_time,
                late,
                duplicate,
                dead_letters,
                too_old,
                without_unit,
                watermark_ms: watermark_ms.filter(|watermark_ms| *watermark_ms != MINUS_INFINITY),
            })));
        }
        rows
    }

    /// What was posted to each key of the ledger. A key to which nothing was posted, or nothing that was not taken back,
    /// is none.
    fn accounts(&self) -> BTreeMap<Key, Account> {
        let mut accounts = BTreeMap::new();
        for AcceptedFact { fact, doubt_ms } in &self.facts {
            post(fact, *doubt_ms, &mut accounts);
        }
        for account in accounts.values_mut() {
            account.deltas.retain(|_, times| *times != 0);
        }
        accounts.retain(|_, account| !account.is_empty());
        accounts
    }

    fn stock(&self) -> Vec<Row> {
        let rows = self.accounts().into_iter().map(|((tenant, sku, node, state), account)| {
            let balance = account.balance();
            let numbers = balance.numbers;
            Row::Stock(Stock {
                tenant: self.history.catalog.tenant_name(tenant).clone(),
                sku,
                node,
                state,
                book: numbers.map(|numbers| numbers.book),
                lo: numbers.map(|numbers| numbers.lo),
                hi: numbers.map(|numbers| numbers.hi),
                variance: numbers.map(|numbers| numbers.variance),
                anchor_ms: balance.anchor_ms,
                rebase_pending: numbers.is_none(),
                in_doubt: balance.in_doubt,
            })
        });
        rows.collect()
    }

    fn availability(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        let policy = &self.history.plan.policy;
        for ((tenant, sku, node, state), account) in self.accounts() {
            if state != StockState::Sellable {
                continue;
            }
            let balance = account.balance();
            let fresh_through_ms = balance.anchor_ms.map(|anchor_ms| anchor_ms.saturating_add(policy.count_trusted_ms));
            let left = balance.numbers.map_or(0, |numbers| numbers.lo - policy.safety_stock);
            let reason = match (balance.numbers, fresh_through_ms) {
                (None, _) => Reason::RebasePending,
                _ if balance.in_doubt => Reason::InDoubt,
                (_, None) => Reason::NeverCounted,
                (_, Some(through_ms)) if self.fact_watermark(tenant) > through_ms => Reason::Stale,
                _ if left <= 0 => Reason::OutOfStock,
                _ => Reason::InStock,
            };
            let available = reason == Reason::InStock;
            rows.push(Row::Availability(Availability {
                tenant: self.history.catalog.tenant_name(tenant).clone(),
                sku,
                node,
                available,
                reason,
                quantity: if available { left } else { 0 },
                fresh_through_ms: fresh_through_ms.filter(|_| available),
            }));
        }
        rows
    }
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

impl LaneModel {
    fn silent(group: GroupId, name: Option<u128>) -> LaneModel {
        let nothing = MINUS_INFINITY;
        LaneModel { group, name, greatest_ms: nothing, floor_ms: nothing, spoke_at_ms: None, speaks: false }
    }

    fn stands(&self, log_time_ms: TimeMs, hold_ms: i64, idle_ms: i64) -> TimeMs {
        if log_time_ms == MINUS_INFINITY {
            return self.greatest_ms;
        }
        let spoke_lately = match self.spoke_at_ms {
            None | Some(MINUS_INFINITY) => false,
            Some(spoke_at_ms) => log_time_ms - spoke_at_ms <= idle_ms,
        };
        let behind_ms = if spoke_lately { hold_ms } else { idle_ms };
        self.greatest_ms.max(earlier(log_time_ms, behind_ms))
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

/// A record of either kind.
enum Record<'a> {
    Event(&'a Event),
    Fact(&'a Fact),
}

/// Tenant, SKU, node, condition.
type Key = (TenantId, Name, Name, StockState);

/// Everything that was ever posted to a key.
#[derive(Default)]
struct Account {
    /// By event time and quantity: how often it was posted, less how often it was taken back.
    deltas: BTreeMap<(TimeMs, i64), i64>,
    counts: Vec<Count>,
    /// Counts that were taken back: id, and when they were taken.
    tombstones: Vec<(u128, TimeMs)>,
    doubts: Vec<TimeMs>,
}

/// A class-A count.
struct Count {
    at_ms: TimeMs,
    from_ms: TimeMs,
    epsilon_ms: i64,
    rank: u16,
    id: u128,
    quantity: i64,
}

struct Balance {
    numbers: Option<Numbers>,
    anchor_ms: Option<TimeMs>,
    in_doubt: bool,
}

#[derive(Clone, Copy)]
struct Numbers {
    book: i64,
    lo: i64,
    hi: i64,
    variance: i64,
}

impl Account {
    fn is_empty(&self) -> bool {
        self.deltas.is_empty() && self.counts.is_empty() && self.tombstones.is_empty() && self.doubts.is_empty()
    }

    fn balance(&self) -> Balance {
        let voided = |id: u128| self.tombstones.iter().any(|(voided, _)| *voided == id);
        let standing = self.counts.iter().filter(|count| !voided(count.id));
        let anchor = standing.max_by_key(|count| (count.at_ms, u16::MAX - count.rank, count.id));
        let taken_back_ms = self.tombstones.iter().map(|(_, at_ms)| *at_ms).max();
        let holds =
            taken_back_ms.is_none_or(|taken_back_ms| anchor.is_some_and(|anchor| anchor.at_ms >= taken_back_ms));
        let anchor = anchor.filter(|_| holds);

        let (start, at_ms, opens_ms, closes_ms) = match anchor {
            Some(count) => {
                let Count { at_ms, from_ms, epsilon_ms, .. } = *count;
                (count.quantity, at_ms, from_ms - epsilon_ms, at_ms + epsilon_ms)
            }
            None => (0, MINUS_INFINITY, MINUS_INFINITY, MINUS_INFINITY),
        };
        let (mut book, mut lo, mut hi, mut all) = (start, start, start, 0);
        for ((time_ms, quantity), times) in &self.deltas {
            // What is taken back before it came is, until then, a change by the opposite quantity.
            let change = quantity * times;
            all += change;
            if *time_ms > at_ms {
                book += change;
            }
            if *time_ms > closes_ms {
                lo += change;
                hi += change;
            } else if *time_ms > opens_ms {
                lo += change.min(0);
                hi += change.max(0);
            }
        }
        assert!(lo <= book && book <= hi, "the bracket holds");
        let doubt_ms = self.doubts.iter().max();
        Balance {
            numbers: holds.then_some(Numbers { book, lo, hi, variance: book - all }),
            anchor_ms: anchor.map(|anchor| anchor.at_ms),
            in_doubt: doubt_ms.is_some_and(|doubt_ms| anchor.is_none_or(|anchor| anchor.at_ms < *doubt_ms)),
        }
    }
}

/// Posts a fact to the accounts that it concerns: what it takes back, then what it says. Evidence posts nothing.
fn post(fact: &Fact, doubt_ms: Option<TimeMs>, accounts: &mut BTreeMap<Key, Account>) {
    let key = |state: StockState| (fact.tenant, fact.sku.clone(), fact.node.clone(), state);
    let mut account = |state: StockState, posts: &dyn Fn(&mut Account)| {
        let account: &mut Account = accounts.entry(key(state)).or_default();
        match doubt_ms {
            Some(doubt_ms) => account.doubts.push(doubt_ms),
            None => posts(account),
        }
    };
    let mut said = Vec::new();
    if let Some(before) = &fact.before {
        said.push((before.kind, before.quantity, before.event_time_ms, Some(before.id)));
    }
    if !fact.void {
        said.push((fact.kind, fact.quantity, fact.event_time_ms, None));
    }
    for (kind, quantity, time_ms, taken_back) in said {
        if quantity == 0 && !matches!(kind, FactKind::Count | FactKind::Snapshot) {
            // A change by nothing is none; a pick of nothing is evidence.
            continue;
        }
        let times = if taken_back.is_some() { -1 } else { 1 };
        let delta = |quantity: i64| {
            move |account: &mut Account| *account.deltas.entry((time_ms, quantity)).or_default() += times
        };
        match kind {
            FactKind::Sale | FactKind::TransferOut => account(fact.state, &delta(-quantity)),
            FactKind::Return | FactKind::Receipt | FactKind::TransferIn | FactKind::Adjust => {
                account(fact.state, &delta(quantity));
            }
            FactKind::StateMove => {
                account(fact.state, &delta(-quantity));
                account(fact.to_state, &delta(quantity));
            }
            FactKind::Pick => account(fact.state, &delta(-quantity)),
            FactKind::Count | FactKind::Snapshot if !fact.authority => {}
            FactKind::Count | FactKind::Snapshot => match taken_back {
                Some(id) => account(fact.state, &|account| account.tombstones.push((id, time_ms))),
                None => account(fact.state, &|account| {
                    account.counts.push(Count {
                        at_ms: fact.event_time_ms,
                        from_ms: fact.observed_from_ms,
                        epsilon_ms: fact.epsilon_ms,
                        rank: fact.rank,
                        id: fact.id,
                        quantity: fact.quantity,
                    });
                }),
            },
            FactKind::ShelfObservation | FactKind::Clock => {}
        }
    }
}

/// Adds an event to sums.
fn add_event(sums: &mut Measures, event: &Event) {
    match event.kind {
        EventKind::View => sums.views += 1,
        EventKind::Click => sums.clicks += 1,
        EventKind::AddToCart => sums.add_to_carts += 1,
        EventKind::Purchase => sums.purchases += 1,
        EventKind::Return => sums.returns += 1,
        EventKind::Exposure => {}
    }
    if matches!(event.kind, EventKind::Purchase | EventKind::Return) {
        sums.quantity += event.quantity;
        sums.value += event.value;
    }
}

fn add_moments(moments: &mut Moments, columns: [i128; 7]) {
    let [views, clicks, add_to_carts, purchases, returns, quantity, value] = columns;
    moments.views += views;
    moments.clicks += clicks;
    moments.add_to_carts += add_to_carts;
    moments.purchases += purchases;
    moments.returns += returns;
    moments.quantity += quantity;
    moments.value += value;
}

fn minute_of(time_ms: TimeMs) -> i64 {
    time_ms.div_euclid(60_000)
}

/// A time less a duration; the infinities stay what they are.
fn earlier(time_ms: TimeMs, by_ms: i64) -> TimeMs {
    if time_ms == MINUS_INFINITY || time_ms == PLUS_INFINITY { time_ms } else { time_ms - by_ms }
}

/// A time and a duration; the infinities stay what they are.
fn later(time_ms: TimeMs, by_ms: i64) -> TimeMs {
    if time_ms == MINUS_INFINITY || time_ms == PLUS_INFINITY { time_ms } else { time_ms.saturating_add(by_ms) }
}

#[cfg(test)]
mod stories;
