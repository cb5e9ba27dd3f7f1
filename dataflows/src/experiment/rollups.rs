//! Rollups by variant: minutes of sessions, and exact totals over units.
//!
//! What folds give are changes of what keys show; what a rollup needs are differences of sums. They are added up per
//! worker by the list of variants that have them ([`combined`](operators::fold::combined)), the sums of each list by
//! variant; then they are exchanged and folded by variant.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use operators::fold::{Fold, Now, Table, Wake};
use operators::time::{MINUTE_MS, minute_end_ms};

use crate::catalog::Catalog;
use crate::experiment::assignments::{Assignments, VariantKey, VariantList};
use crate::experiment::measures::{Measures, Moments};
use crate::experiment::sessions::{MinuteValue, StartValue};
use crate::experiment::units::{UnitFact, UnitValue};
use crate::experiment::variant_minutes::VariantMinute;
use crate::experiment::variant_totals::VariantTotal;

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

/// Gives what left with -1 and what came with 1.
fn signed<'a, V>(old: Option<&'a V>, new: Option<&'a V>) -> impl Iterator<Item = (&'a V, i64)> {
    old.map(|value| (value, -1)).into_iter().chain(new.map(|value| (value, 1)))
}

/// A minute of all variants of a list.
pub type ListMinute = (VariantList, i64);

/// The minutes of variants for which the minute of a list stands.
pub fn spread_minutes(assignments: &Assignments, (list, minute): ListMinute, give: &mut dyn FnMut(VariantMinuteKey)) {
    let variants = assignments.variants(list);
    variants.iter().for_each(|variant| give(VariantMinuteKey { variant: *variant, minute }));
}

/// The variants for which a list stands.
pub fn spread_totals(assignments: &Assignments, list: VariantList, give: &mut dyn FnMut(VariantKey)) {
    assignments.variants(list).iter().copied().for_each(give);
}

/// What a change of a session's minute means for the minutes of variants.
pub fn minute_of_session(
    minute: i64,
    old: Option<&MinuteValue>,
    new: Option<&MinuteValue>,
    give: &mut dyn FnMut(ListMinute, MinuteDelta),
) {
    // The variants hang on the key alone, so both sides have the same.
    let Some(MinuteValue { counts_for, .. }) = new.or(old) else { return };
    let mut delta = MinuteDelta::default();
    for (value, diff) in signed(old, new) {
        delta.active += diff;
        delta.measures.add(&value.measures, diff);
    }
    give((*counts_for, minute), delta);
}

/// What a change of a session's start means for the minutes of variants.
pub fn minute_of_start(
    old: Option<&StartValue>,
    new: Option<&StartValue>,
    give: &mut dyn FnMut(ListMinute, MinuteDelta),
) {
    for (StartValue { counts_for, minute }, diff) in signed(old, new) {
        give((*counts_for, *minute), MinuteDelta { started: diff, ..MinuteDelta::default() });
    }
}

/// What a change of a unit means for the minutes of variants: only exposed experiments have their minutes from units.
pub fn minute_of_unit(old: Option<&UnitValue>, new: Option<&UnitValue>, give: &mut dyn FnMut(ListMinute, MinuteDelta)) {
    if let (Some(old), Some(new)) = (old, new)
        && let (UnitFact::ExposedMinute(_, _, minute, was), UnitFact::ExposedMinute(_, _, new_minute, is)) =
            (&old.says, &new.says)
        && (old.counts_for, minute) == (new.counts_for, new_minute)
    {
        // The commonest change: one more event in a minute that was active.
        let mut delta = MinuteDelta { measures: *is, ..MinuteDelta::default() };
        delta.measures.add(was, -1);
        return give((new.counts_for, *minute), delta);
    }
    for (UnitValue { counts_for, says }, diff) in signed(old, new) {
        let mut delta = MinuteDelta::default();
        let minute = match says {
            UnitFact::Assigned(_) | UnitFact::Exposed(..) | UnitFact::Member => continue,
            UnitFact::ExposedMinute(_, _, minute, measures) => {
                delta.active = diff;
                delta.measures.add(measures, diff);
                minute
            }
            UnitFact::ExposedStart(_, _, minute) => {
                delta.started = diff;
                minute
            }
        };
        give((*counts_for, *minute), delta);
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
    /// The row of a variant's minute with these sums.
    pub fn row(&self, key: &VariantMinuteKey, sums: &MinuteDelta) -> VariantMinute {
        let MinuteDelta { active, started, measures } = *sums;
        let experiment = &self.catalog.experiments[usize::from(key.variant.experiment)];
        VariantMinute {
            tenant: self.catalog.tenant_name(experiment.tenant).clone(),
            experiment: experiment.name.clone(),
            variant: experiment.variants[usize::from(key.variant.variant)].name.clone(),
            minute_ms: key.minute * MINUTE_MS,
            sessions_active: active,
            sessions_started: started,
            measures,
        }
    }

    fn leaves(&self, key: &VariantMinuteKey) -> Wake {
        let tenant = self.catalog.experiments[usize::from(key.variant.experiment)].tenant;
        let at_ms = minute_end_ms(key.minute).saturating_add(self.retention_ms);
        Wake::Watermark(self.catalog.event_group(tenant), at_ms)
    }
}

impl Fold for VariantMinutesFold {
    type Input = (VariantMinuteKey, MinuteDelta);
    type Key = VariantMinuteKey;
    type Event = MinuteDelta;
    type State = VariantMinuteState;
    type Value = MinuteDelta;
    type Table = Table<VariantMinuteKey, VariantMinuteState>;

    fn name(&self) -> &'static str {
        "VariantMinutes"
    }

    fn keys(&self, input: &Self::Input, post: &mut dyn FnMut(VariantMinuteKey, MinuteDelta)) {
        post(input.0, input.1);
    }

    fn apply(&self, state: &mut VariantMinuteState, _: &VariantMinuteKey, delta: &MinuteDelta) {
        state.sums.add(delta);
    }

    fn seal(&self, state: &mut VariantMinuteState, key: &VariantMinuteKey, now: &Now<'_>) {
        if let Wake::Watermark(group, at_ms) = self.leaves(key) {
            state.left = now.reached(group) >= at_ms;
        }
    }

    fn values(&self, _: &VariantMinuteKey, state: &VariantMinuteState, values: &mut Vec<MinuteDelta>) {
        if !state.left && (state.sums.active != 0 || state.sums.started != 0) {
            values.push(state.sums);
        }
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
pub fn total_of_unit(old: Option<&UnitValue>, new: Option<&UnitValue>, give: &mut dyn FnMut(VariantList, Block)) {
    let totals = |value: Option<&UnitValue>, diff| {
        let UnitValue { counts_for, says: UnitFact::Assigned(measures) | UnitFact::Exposed(_, measures) } = value?
        else {
            return None;
        };
        Some((*counts_for, Block::of(measures, diff)))
    };
    match (totals(old, -1), totals(new, 1)) {
        // The commonest change: the sums of a unit that was there.
        (Some((counts_for, mut block)), Some((same, came))) if counts_for == same => {
            block.add(&came);
            give(counts_for, block);
        }
        (left, came) => left.into_iter().chain(came).for_each(|(counts_for, block)| give(counts_for, block)),
    }
}

/// Folds differences into totals of variants.
pub struct VariantTotalsFold {
    /// The names.
    pub catalog: Arc<Catalog>,
}

impl VariantTotalsFold {
    /// The row of a variant with these totals.
    pub fn row(&self, key: &VariantKey, block: &Block) -> VariantTotal {
        let experiment = &self.catalog.experiments[usize::from(key.experiment)];
        VariantTotal {
            tenant: self.catalog.tenant_name(experiment.tenant).clone(),
            experiment: experiment.name.clone(),
            variant: experiment.variants[usize::from(key.variant)].name.clone(),
            units: block.units,
            units_overflowed: block.overflowed,
            sums: block.sums,
            squares: block.squares,
        }
    }
}

impl Fold for VariantTotalsFold {
    type Input = (VariantKey, Block);
    type Key = VariantKey;
    type Event = Block;
    type State = Block;
    type Value = Block;
    type Table = Table<VariantKey, Block>;

    fn name(&self) -> &'static str {
        "VariantTotals"
    }

    fn keys(&self, input: &Self::Input, post: &mut dyn FnMut(VariantKey, Block)) {
        post(input.0, input.1);
    }

    fn apply(&self, state: &mut Block, _: &VariantKey, block: &Block) {
        state.add(block);
    }

    fn values(&self, _: &VariantKey, state: &Block, values: &mut Vec<Block>) {
        if state.units != 0 || state.overflowed != 0 {
            values.push(*state);
        }
    }
}
