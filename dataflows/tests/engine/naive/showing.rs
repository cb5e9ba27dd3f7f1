//! The views, computed anew from lists of everything that was accepted.

use std::collections::{BTreeMap, BTreeSet};

use crate::rows::Row;
use dataflows::catalog::Population;
use dataflows::experiment::event::{Event, EventKind};
use dataflows::experiment::measures::Measures;
use dataflows::experiment::measures::Moments;
use dataflows::experiment::session_minutes::SessionMinute;
use dataflows::experiment::variant_minutes::VariantMinute;
use dataflows::experiment::variant_totals::VariantTotal;
use dataflows::inventory::feed_health::view::FeedRow;
use dataflows::inventory::feed_health::{FeedHealth, FeedKey, FeedState};
use dataflows::inventory::worst_feeds::{NodeFeed, WorstFeed};
use dataflows::names::{Name, TenantId};
use dataflows::source_health::SourceHealthRow;
use dataflows::view::ViewId;
use operators::binding::Status;
use operators::time::{MINUS_INFINITY, TimeMs};

use super::{AcceptedEvent, Counts, Model, Shown, Snapshot, minute_of};

/// A unit passes out of its variant's block when the absolute value of a sum passes this.
const SUM_MAX: i64 = 1 << 40;

impl Model<'_> {
    /// All views that are wanted.
    pub(super) fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::new();
        for view in ViewId::all() {
            if !self.history.plan.views[view.index()].enabled {
                continue;
            }
            let retention_ms = self.history.plan.views[view.index()].retention_ms;
            let rows = match view.name() {
                "session_minutes" => self.session_minutes(retention_ms),
                "variant_minutes" => self.variant_minutes(retention_ms),
                "variant_totals" => self.variant_totals(),
                "late_events" => self.shown(&self.late_events, retention_ms),
                "dead_letters" => self.shown(&self.dead_letters, retention_ms),
                "source_health" => self.source_health(),
                "stock" => self.stock(),
                "availability" => self.availability(),
                "feed_health" => self.feed_health(),
                "stock_by_sku" => self.stock_by_sku(),
                "worst_feeds" => self.worst_feeds(),
                "unit_overlap" => self.unit_overlap(),
                other => panic!("the model does not know the view {other}"),
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

    fn feed_health(&self) -> Vec<Row> {
        let catalog = &self.history.catalog;
        let row = |(key, health): (&FeedKey, &FeedHealth)| {
            Row::Feed(FeedRow {
                tenant: catalog.tenant_name(key.tenant).clone(),
                source: key.source.clone(),
                node: key.node.clone(),
                epoch: key.epoch,
                health: health.clone(),
            })
        };
        self.shown_feeds.iter().map(row).collect()
    }

    /// Each node's feeds in the order of badness, of which the last one is shown.
    fn worst_feeds(&self) -> Vec<Row> {
        let catalog = &self.history.catalog;
        let mut by_node: BTreeMap<(TenantId, &Name), Vec<(&FeedKey, &FeedHealth)>> = BTreeMap::new();
        for (key, health) in &self.shown_feeds {
            let mut others = self.shown_feeds.keys().filter(|other| other.epoch > key.epoch);
            let is_of_the_source =
                |other: &FeedKey| (other.tenant, &other.source, &other.node) == (key.tenant, &key.source, &key.node);
            if !others.any(is_of_the_source) {
                by_node.entry((key.tenant, &key.node)).or_default().push((key, health));
            }
        }
        let rows = by_node.into_iter().map(|((tenant, node), mut feeds)| {
            // Among equals the first by name: it comes last here.
            feeds.reverse();
            feeds.sort_by(|(_, one), (_, other)| {
                let severity = |health: &FeedHealth| {
                    ["live", "gapped", "silent"].iter().position(|name| *name == health.state.name())
                };
                let older = |one: Option<TimeMs>, other: Option<TimeMs>| {
                    other.unwrap_or(TimeMs::MIN).cmp(&one.unwrap_or(TimeMs::MIN))
                };
                severity(one).cmp(&severity(other)).then(match one.state {
                    FeedState::Gapped => {
                        older(one.oldest_gap_ms, other.oldest_gap_ms).then(one.open_gaps.cmp(&other.open_gaps))
                    }
                    FeedState::Live | FeedState::Silent => older(one.last_spoke_ms, other.last_spoke_ms),
                })
            });
            let (key, health) = feeds.last().expect("a node that is there has a feed");
            Row::Worst(WorstFeed {
                tenant: catalog.tenant_name(tenant).clone(),
                node: node.clone(),
                feed: NodeFeed { source: key.source.clone(), epoch: key.epoch, health: (*health).clone() },
            })
        });
        rows.collect()
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
    pub(super) fn counting(&self, number: u16) -> BTreeMap<&Name, (u16, Vec<&AcceptedEvent>)> {
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
            rows.extend(totals.into_values().map(Row::VariantTotal));
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
            if self.history.topology.partitions[number].shown_once_read && read == 0 {
                continue;
            }
            let groups = self.history.topology.partitions[number].groups.iter();
            let watermark_ms = groups.map(|(group, _)| self.watermarks[usize::from(group.0)]).min();
            let status = match partition.status {
                Status::Behind => "behind",
                Status::CaughtUp => "caught_up",
                Status::Idle => "idle",
                Status::Ended => "ended",
            };
            rows.push(Row::SourceHealth(SourceHealthRow {
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
            }));
        }
        rows
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
