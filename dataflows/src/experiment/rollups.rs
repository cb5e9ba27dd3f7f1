//! Rollups by variant: minutes of sessions, and exact totals over units.
//!
//! What folds give are changes of rows; what a rollup needs are differences of sums. They are added up per worker before
//! they are exchanged ([`combine`](operators::combine::combine)), then folded by variant.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use operators::fold::{Fold, Now, Posting, Wake};
use operators::time::{MINUTE_MS, minute_end_ms};

use crate::catalog::{Catalog, Population};
use crate::experiment::sessions::{SessionMinuteRow, SessionStart};
use crate::experiment::units::{UnitRow, UnitSays};
use crate::names::TenantId;
use crate::views::{Measures, Moments, VariantMinute, VariantTotal};

/// A variant of an experiment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VariantKey {
    /// The experiment.
    pub experiment: u16,
    /// The variant's place in it.
    pub variant: u16,
}

/// A minute of a variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VariantMinuteKey {
    /// The variant.
    pub variant: VariantKey,
    /// The minute's number.
    pub minute: i64,
}

/// A difference of a minute's sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MinuteDelta {
    /// Sessions with an event in it.
    pub active: i64,
    /// Sessions that started in it.
    pub started: i64,
    /// What happened.
    pub measures: Measures,
}

impl MinuteDelta {
    /// Adds another difference.
    pub fn add(&mut self, other: &MinuteDelta) {
        self.active += other.active;
        self.started += other.started;
        self.measures.add(&other.measures, 1);
    }
}

/// The assigned-population variants of a unit: what changes of its sessions and sums count for.
/// Remembers the last unit, since changes come in pairs of before and after.
pub struct Assignments {
    catalog: Arc<Catalog>,
    unit: (TenantId, crate::names::Name),
    variants: Vec<VariantKey>,
}

impl Assignments {
    /// Of the experiments of a catalog.
    pub fn new(catalog: Arc<Catalog>) -> Self {
        Assignments { catalog, unit: (0, crate::names::Name::default()), variants: Vec::new() }
    }

    /// The variants that have the unit; none where it is unknown.
    pub fn of(&mut self, tenant: TenantId, unit: &crate::names::Name) -> &[VariantKey] {
        if self.unit.0 != tenant || self.unit.1 != *unit {
            self.unit = (tenant, unit.clone());
            let catalog = &self.catalog;
            let assigned = |number: &u16| catalog.experiments[usize::from(*number)].population == Population::Assigned;
            let numbers = catalog.experiments_of(tenant).iter().copied().filter(assigned);
            let variants = numbers.filter_map(|experiment| {
                Some(VariantKey { experiment, variant: catalog.variant_of(experiment, unit)? })
            });
            self.variants.clear();
            self.variants.extend(variants);
        }
        &self.variants
    }
}

/// What a change of a session's minute means for the minutes of variants.
pub fn minute_of_session(
    row: &SessionMinuteRow,
    diff: i64,
    assignments: &mut Assignments,
    give: &mut dyn FnMut(VariantMinuteKey, MinuteDelta),
) {
    let mut delta = MinuteDelta { active: diff, ..MinuteDelta::default() };
    delta.measures.add(&row.measures, diff);
    for variant in assignments.of(row.key.session.tenant, &row.key.session.unit) {
        give(VariantMinuteKey { variant: *variant, minute: row.key.minute }, delta);
    }
}

/// What a change of a session's start means for the minutes of variants.
pub fn minute_of_start(
    row: &SessionStart,
    diff: i64,
    assignments: &mut Assignments,
    give: &mut dyn FnMut(VariantMinuteKey, MinuteDelta),
) {
    for variant in assignments.of(row.tenant, &row.unit) {
        give(
            VariantMinuteKey { variant: *variant, minute: row.minute },
            MinuteDelta { started: diff, ..MinuteDelta::default() },
        );
    }
}

/// What a change of a unit means for the minutes of variants: only exposed experiments have their minutes from units.
pub fn minute_of_unit(
    row: &UnitRow,
    diff: i64,
    catalog: &Catalog,
    give: &mut dyn FnMut(VariantMinuteKey, MinuteDelta),
) {
    let (experiment, minute, mut delta) = match &row.says {
        UnitSays::Assigned(_) | UnitSays::Exposed(..) => return,
        UnitSays::ExposedMinute(experiment, _, minute, measures) => {
            let mut delta = MinuteDelta { active: diff, ..MinuteDelta::default() };
            delta.measures.add(measures, diff);
            (*experiment, *minute, delta)
        }
        UnitSays::ExposedStart(experiment, _, minute) => {
            (*experiment, *minute, MinuteDelta { started: diff, ..MinuteDelta::default() })
        }
    };
    if let Some(variant) = catalog.variant_of(experiment, &row.key.unit) {
        give(VariantMinuteKey { variant: VariantKey { experiment, variant }, minute }, std::mem::take(&mut delta));
    }
}

/// What is kept of a variant's minute.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VariantMinuteState {
    sums: MinuteDelta,
    left: bool,
}

/// Folds differences into minutes of variants; its rows leave when they are out of retention.
pub struct VariantMinutesFold {
    /// The names.
    pub catalog: Arc<Catalog>,
    /// How long behind the watermark a minute stays.
    pub retention_ms: i64,
}

impl VariantMinutesFold {
    fn leaves(&self, key: &VariantMinuteKey) -> Wake {
        let tenant = self.catalog.experiments[usize::from(key.variant.experiment)].tenant;
        let at_ms = minute_end_ms(key.minute).saturating_add(self.retention_ms);
        Wake::Watermark(self.catalog.event_group(tenant), at_ms)
    }
}

impl Fold for VariantMinutesFold {
    type Input = Posting<VariantMinuteKey, MinuteDelta>;
    type Key = VariantMinuteKey;
    type Event = MinuteDelta;
    type State = VariantMinuteState;
    type Row = VariantMinute;

    fn name(&self) -> &'static str {
        "VariantMinutes"
    }

    fn keys(&self, input: &Self::Input, post: &mut dyn FnMut(VariantMinuteKey, MinuteDelta)) {
        post(input.key, input.event);
    }

    fn apply(&self, state: &mut VariantMinuteState, _: &VariantMinuteKey, delta: &MinuteDelta) {
        state.sums.add(delta);
    }

    fn seal(&self, state: &mut VariantMinuteState, key: &VariantMinuteKey, now: &Now<'_>) {
        if let Wake::Watermark(group, at_ms) = self.leaves(key) {
            state.left = now.reached(group) >= at_ms;
        }
    }

    fn rows(&self, key: &VariantMinuteKey, state: &VariantMinuteState, rows: &mut Vec<VariantMinute>) {
        let MinuteDelta { active, started, measures } = state.sums;
        if state.left || (active == 0 && started == 0) {
            return;
        }
        let experiment = &self.catalog.experiments[usize::from(key.variant.experiment)];
        rows.push(VariantMinute {
            tenant: self.catalog.tenant_name(experiment.tenant).clone(),
            experiment: experiment.name.clone(),
            variant: experiment.variants[usize::from(key.variant.variant)].name.clone(),
            minute_ms: key.minute * MINUTE_MS,
            sessions_active: active,
            sessions_started: started,
            measures,
        });
    }

    fn wake(&self, key: &VariantMinuteKey, state: &VariantMinuteState) -> Option<Wake> {
        (!state.left).then(|| self.leaves(key))
    }

    fn retire_at(&self, key: &VariantMinuteKey, state: &VariantMinuteState) -> Option<Wake> {
        state.left.then(|| self.leaves(key))
    }

    fn retire(&self, state: &mut VariantMinuteState, _: &VariantMinuteKey, _: &Now<'_>) -> bool {
        state.left
    }
}

/// Exact moments of a variant over its units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Block {
    /// Units.
    pub units: i64,
    /// Units that left because a sum of theirs is too great.
    pub overflowed: i64,
    /// Sums.
    pub sums: Moments,
    /// Sums of squares.
    pub squares: Moments,
}

impl Block {
    /// The block of `diff` units with these sums.
    pub fn of(measures: &Measures, diff: i64) -> Block {
        if measures.overflows() {
            return Block { overflowed: diff, ..Block::default() };
        }
        let (columns, diff_wide) = (measures.columns().map(i128::from), i128::from(diff));
        Block {
            units: diff,
            overflowed: 0,
            sums: Moments::of_columns(columns.map(|sum| sum * diff_wide)),
            squares: Moments::of_columns(columns.map(|sum| sum * sum * diff_wide)),
        }
    }

    /// Adds another block: they form a group.
    pub fn add(&mut self, other: &Block) {
        self.units += other.units;
        self.overflowed += other.overflowed;
        self.sums.add(&other.sums);
        self.squares.add(&other.squares);
    }
}

/// What a change of a unit means for the totals of variants.
pub fn total_of_unit(row: &UnitRow, diff: i64, assignments: &mut Assignments, give: &mut dyn FnMut(VariantKey, Block)) {
    match &row.says {
        UnitSays::Assigned(measures) => {
            let variants = assignments.of(row.key.tenant, &row.key.unit);
            if !variants.is_empty() {
                let block = Block::of(measures, diff);
                variants.iter().for_each(|variant| give(*variant, block));
            }
        }
        UnitSays::Exposed(experiment, measures) => {
            if let Some(variant) = assignments.catalog.variant_of(*experiment, &row.key.unit) {
                give(VariantKey { experiment: *experiment, variant }, Block::of(measures, diff));
            }
        }
        UnitSays::ExposedMinute(..) | UnitSays::ExposedStart(..) => {}
    }
}

/// Folds differences into totals of variants.
pub struct VariantTotalsFold {
    /// The names.
    pub catalog: Arc<Catalog>,
}

impl Fold for VariantTotalsFold {
    type Input = Posting<VariantKey, Block>;
    type Key = VariantKey;
    type Event = Block;
    type State = Block;
    type Row = VariantTotal;

    fn name(&self) -> &'static str {
        "VariantTotals"
    }

    fn keys(&self, input: &Self::Input, post: &mut dyn FnMut(VariantKey, Block)) {
        post(input.key, input.event);
    }

    fn apply(&self, state: &mut Block, _: &VariantKey, block: &Block) {
        state.add(block);
    }

    fn rows(&self, key: &VariantKey, state: &Block, rows: &mut Vec<VariantTotal>) {
        if state.units == 0 && state.overflowed == 0 {
            return;
        }
        let experiment = &self.catalog.experiments[usize::from(key.experiment)];
        rows.push(VariantTotal {
            tenant: self.catalog.tenant_name(experiment.tenant).clone(),
            experiment: experiment.name.clone(),
            variant: experiment.variants[usize::from(key.variant)].name.clone(),
            units: state.units,
            units_overflowed: state.overflowed,
            sums: state.sums,
            squares: state.squares,
        });
    }
}
