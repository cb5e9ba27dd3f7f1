//! The rows under which the specification knows what a fold shows.

use std::hash::Hash;

use dataflows::experiment::rollups::{VariantMinutesFold, VariantTotalsFold};
use dataflows::experiment::sessions::{SessionMinuteRow, SessionMinutesFold, SessionStart, SessionStartsFold};
use dataflows::experiment::units::{UnitRow, UnitsFold};
use dataflows::experiment::variant_minutes::VariantMinute;
use dataflows::experiment::variant_totals::VariantTotal;
use dataflows::inventory::ledger::fold::{LedgerFold, LedgerRow};
use operators::fold::{Data, Fold};
use operators::retain::{Retain, Until};

/// A fold and the row of a key that shows a value.
pub trait Shown: Fold {
    /// The key and what it shows.
    type Row: Data;
    /// The row of a key that shows this.
    fn shown(&self, key: &Self::Key, value: &Self::Value) -> Self::Row;
}

macro_rules! shown {
    ($($fold:ty => $row:ty,)*) => {$(
        impl Shown for $fold {
            type Row = $row;
            fn shown(&self, key: &Self::Key, value: &Self::Value) -> $row {
                self.row(key, value)
            }
        }
    )*};
}

shown! {
    SessionMinutesFold => SessionMinuteRow,
    SessionStartsFold => SessionStart,
    UnitsFold => UnitRow,
    VariantMinutesFold => VariantMinute,
    VariantTotalsFold => VariantTotal,
    LedgerFold => LedgerRow,
}

impl<R: Data + Hash, U: Fn(&R) -> Until + 'static> Shown for Retain<R, U> {
    type Row = R;
    fn shown(&self, row: &R, (): &()) -> R {
        row.clone()
    }
}
