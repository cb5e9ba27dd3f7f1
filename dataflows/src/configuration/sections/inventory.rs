//! `[inventory]`: how stock becomes availability.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::Section;
use crate::configuration::mistake::Mistakes;
use crate::configuration::settings::Settings;
use crate::configuration::table::{Given, Table};
use crate::configuration::values::{DURATION_POSITIVE_MS, integer};
use crate::limits::QUANTITY_MAX;

/// How stock becomes availability.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WrittenInventory {
    /// Pieces that are never promised, of each SKU at each node; 0 to 2147483648. Default: 0.
    safety_stock: Given<i64>,
    /// A count older than this no longer makes anything available. Default: 10368000000, which is 120 days.
    count_trusted_ms: Given<i64>,
    /// How long behind the watermark a fact without a sequence is remembered, so that its duplicates are found. One that
    /// comes later still is counted but not folded. Default: 86400000, which is 1 day.
    dedup_horizon_ms: Given<i64>,
}

const SAFETY_STOCK: RangeInclusive<i64> = 0..=QUANTITY_MAX;

/// How stock becomes availability.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InventorySettings {
    /// Pieces that are never promised.
    pub safety_stock: i64,
    /// A count older than this makes nothing available.
    pub count_trusted_ms: i64,
    /// How long behind the watermark an identity is remembered.
    pub dedup_horizon_ms: i64,
}

impl Section for WrittenInventory {
    type Read = Table<Self>;
    type Needs<'a> = ();
    type Settled = InventorySettings;

    fn settle(read: &Table<Self>, (): (), mistakes: &mut Mistakes<'_>) -> InventorySettings {
        let WrittenInventory { safety_stock, count_trusted_ms, dedup_horizon_ms } = &read.written;
        let mut number = |name, given, bounds, default| integer(name, given, bounds, default, mistakes);
        InventorySettings {
            safety_stock: number("safety_stock", safety_stock, SAFETY_STOCK, 0),
            count_trusted_ms: number("count_trusted_ms", count_trusted_ms, DURATION_POSITIVE_MS, 10_368_000_000),
            dedup_horizon_ms: number("dedup_horizon_ms", dedup_horizon_ms, DURATION_POSITIVE_MS, 86_400_000),
        }
    }

    fn put(settled: InventorySettings, settings: &mut Settings) {
        settings.recorded.inventory = settled;
    }
}
