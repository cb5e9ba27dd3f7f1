//! Adding up events: exact integers, in any order.

use serde::{Deserialize, Serialize};

use crate::experiment::event::EventKind;
use crate::experiment::sessions::Happening;
use crate::limits::VALUE_MAX;
use crate::view::{Cell, CellType, Column, Unit};

/// The greatest |sum| with which a unit still counts into its block, so that squares fit 128 bits whatever the order.
pub const UNIT_SUM_MAX: i64 = 1 << 40;

/// So many purchases and returns can't be added up for sure: with one more of the greatest value the sum would pass 64 bits.
const SUMMED_MAX: i64 = i64::MAX / VALUE_MAX;

/// What is added up of a session's minute, a variant's minute, a unit. Exact integers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Measures {
    /// Events of kind `view`.
    pub views: i64,
    /// Events of kind `click`.
    pub clicks: i64,
    /// Events of kind `add_to_cart`.
    pub add_to_carts: i64,
    /// Events of kind `purchase`.
    pub purchases: i64,
    /// Events of kind `return`.
    pub returns: i64,
    /// Sum of `quantity` over purchases and returns.
    pub quantity: i64,
    /// Sum of `value` over purchases and returns, in minor units.
    pub value: i64,
}

/// Sums or sums of squares of [`Measures`] over units; JSON has them as decimal strings, since they pass 2^53.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Moments {
    /// Of `views`.
    #[serde(with = "decimal")]
    pub views: i128,
    /// Of `clicks`.
    #[serde(with = "decimal")]
    pub clicks: i128,
    /// Of `add_to_carts`.
    #[serde(with = "decimal")]
    pub add_to_carts: i128,
    /// Of `purchases`.
    #[serde(with = "decimal")]
    pub purchases: i128,
    /// Of `returns`.
    #[serde(with = "decimal")]
    pub returns: i128,
    /// Of `quantity`.
    #[serde(with = "decimal")]
    pub quantity: i128,
    /// Of `value`.
    #[serde(with = "decimal")]
    pub value: i128,
}

/// Every measure: its name, what it means, what it counts; in the order of the fields of [`Measures`] and [`Moments`].
pub const MEASURES: [(&str, &str, Unit); 7] = [
    ("views", "events of kind `view`", Unit::Count),
    ("clicks", "events of kind `click`", Unit::Count),
    ("add_to_carts", "events of kind `add_to_cart`", Unit::Count),
    ("purchases", "events of kind `purchase`", Unit::Count),
    ("returns", "events of kind `return`", Unit::Count),
    ("quantity", "sum of `quantity` over purchases and returns", Unit::Pieces),
    ("value", "sum of `value` over purchases and returns", Unit::MinorUnits),
];

/// The columns of rows that have measures; `of` reads the measure of a number.
pub(crate) fn measure_columns<R>(of: for<'a> fn(&'a R, u16) -> Cell<'a>) -> impl Iterator<Item = Column<R>> {
    (0u16..).zip(MEASURES).map(move |(at, (name, says, unit))| {
        let column = Column::new(name, CellType::Integer, says, of).at(at).counts(unit).within("measures").additive();
        // Sums beyond 64 bits are absent.
        if unit == Unit::Count { column } else { column.optional() }
    })
}

impl Measures {
    /// The measures of one event.
    pub fn of(kind: EventKind, quantity: i64, value: i64) -> Measures {
        let mut measures = Measures::default();
        match kind {
            EventKind::View => measures.views = 1,
            EventKind::Click => measures.clicks = 1,
            EventKind::AddToCart => measures.add_to_carts = 1,
            EventKind::Purchase => measures = Measures { purchases: 1, quantity, value, ..measures },
            EventKind::Return => measures = Measures { returns: 1, quantity, value, ..measures },
            EventKind::Exposure => {}
        }
        measures
    }

    /// In the order of the fields.
    pub fn columns(&self) -> [i64; 7] {
        [self.views, self.clicks, self.add_to_carts, self.purchases, self.returns, self.quantity, self.value]
    }

    fn of_columns([views, clicks, add_to_carts, purchases, returns, quantity, value]: [i64; 7]) -> Measures {
        Measures { views, clicks, add_to_carts, purchases, returns, quantity, value }
    }

    /// A measure as a cell. The sums of more purchases and returns than are sure to fit 64 bits are absent: a sum that is shown
    /// is exact. That is 8,388,607 of them in one session's minute, or one variant's; a retailer at its peak has some 3,600,000
    /// events a minute in all.
    pub(crate) fn cell(&self, at: u16) -> Cell<'static> {
        const QUANTITY: u16 = 5;
        match at {
            QUANTITY.. if !self.has_exact_sums() => Cell::Absent,
            _ => Cell::Integer(self.columns()[usize::from(at)]),
        }
    }

    fn has_exact_sums(&self) -> bool {
        self.purchases.saturating_add(self.returns) <= SUMMED_MAX
    }

    /// Adds `times` times other measures. Sums wrap, and are not shown where they might have.
    pub fn add(&mut self, other: &Measures, times: i64) {
        let (mine, others) = (self.columns(), other.columns());
        *self = Measures::of_columns(std::array::from_fn(|at| mine[at].wrapping_add(others[at].wrapping_mul(times))));
    }

    /// Whether some sum is too great for its unit to count.
    pub fn overflows(&self) -> bool {
        !self.has_exact_sums() || self.columns().iter().any(|sum| sum.unsigned_abs() > UNIT_SUM_MAX as u64)
    }
}

/// Measures as they lie in a state: in 24 bytes while every sum is small, which nearly all are for ever.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Measures", into = "Measures")]
pub struct CompactMeasures {
    counts: [u16; 5],
    quantity: i16,
    value: i32,
    /// All of them, once one did not fit.
    large: Option<Box<Measures>>,
}

impl CompactMeasures {
    /// Adds an event.
    pub fn count(&mut self, happening: Happening) {
        let Happening { kind, quantity, value } = happening;
        if self.large.is_none() && self.count_small(kind, quantity, value).is_some() {
            return;
        }
        let small = self.get();
        let large = self.large.get_or_insert_with(|| Box::new(small));
        large.add(&Measures::of(kind, quantity, value), 1);
    }

    /// Adds an event where the sums stay small.
    fn count_small(&mut self, kind: EventKind, quantity: i64, value: i64) -> Option<()> {
        let (place, quantity, value) = match kind {
            EventKind::View => (0, 0, 0),
            EventKind::Click => (1, 0, 0),
            EventKind::AddToCart => (2, 0, 0),
            EventKind::Purchase => (3, quantity, value),
            EventKind::Return => (4, quantity, value),
            EventKind::Exposure => return Some(()),
        };
        let count = self.counts[place].checked_add(1)?;
        let quantity = self.quantity.checked_add(i16::try_from(quantity).ok()?)?;
        let value = self.value.checked_add(i32::try_from(value).ok()?)?;
        (self.counts[place], self.quantity, self.value) = (count, quantity, value);
        Some(())
    }

    /// The sums.
    pub fn get(&self) -> Measures {
        if let Some(large) = &self.large {
            return **large;
        }
        let [views, clicks, add_to_carts, purchases, returns] = self.counts.map(i64::from);
        let (quantity, value) = (i64::from(self.quantity), i64::from(self.value));
        Measures { views, clicks, add_to_carts, purchases, returns, quantity, value }
    }

    /// What it owns on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.large.as_ref().map_or(0, |_| size_of::<Measures>())
    }
}

/// Equal are equal sums, however they lie.
impl PartialEq for CompactMeasures {
    fn eq(&self, other: &CompactMeasures) -> bool {
        self.get() == other.get()
    }
}

impl Eq for CompactMeasures {}

impl From<CompactMeasures> for Measures {
    fn from(compact: CompactMeasures) -> Measures {
        compact.get()
    }
}

impl From<Measures> for CompactMeasures {
    fn from(measures: Measures) -> CompactMeasures {
        let small = || {
            let Measures { views, clicks, add_to_carts, purchases, returns, quantity, value } = measures;
            let mut counts = [0; 5];
            for (small, count) in counts.iter_mut().zip([views, clicks, add_to_carts, purchases, returns]) {
                *small = u16::try_from(count).ok()?;
            }
            let (quantity, value) = (i16::try_from(quantity).ok()?, i32::try_from(value).ok()?);
            Some(CompactMeasures { counts, quantity, value, large: None })
        };
        let large = || CompactMeasures { large: Some(Box::new(measures)), ..CompactMeasures::default() };
        small().unwrap_or_else(large)
    }
}

impl Moments {
    /// In the order of the fields.
    pub fn columns(&self) -> [i128; 7] {
        [self.views, self.clicks, self.add_to_carts, self.purchases, self.returns, self.quantity, self.value]
    }

    /// Of columns in the order of the fields.
    pub fn of_columns([views, clicks, add_to_carts, purchases, returns, quantity, value]: [i128; 7]) -> Moments {
        Moments { views, clicks, add_to_carts, purchases, returns, quantity, value }
    }

    /// Adds others. Bounds: |z| <= 2^40 over at most 2^40 units stays below 2^120.
    pub fn add(&mut self, other: &Moments) {
        let (mine, others) = (self.columns(), other.columns());
        *self = Moments::of_columns(std::array::from_fn(|at| mine[at] + others[at]));
    }
}

/// 128-bit integers as decimal strings.
mod decimal {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(value: &i128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i128, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KINDS: [EventKind; 6] = [
        EventKind::View,
        EventKind::Click,
        EventKind::AddToCart,
        EventKind::Purchase,
        EventKind::Return,
        EventKind::Exposure,
    ];

    proptest! {
        /// Small or not, and through the codec, compact sums are the sums; which of them are written does not depend on the way.
        #[test]
        fn compact_measures_are_measures(
            events in prop::collection::vec((0usize..6, -70_000i64..70_000, -3_000_000_000i64..3_000_000_000, any::<bool>()), 0..40),
        ) {
            let (mut compact, mut plain) = (CompactMeasures::default(), Measures::default());
            for (kind, quantity, value, small) in events {
                let (quantity, value) = if small { (quantity % 100, value % 1_000) } else { (quantity, value) };
                compact.count(Happening { kind: KINDS[kind], quantity, value });
                plain.add(&Measures::of(KINDS[kind], quantity, value), 1);
                prop_assert_eq!(compact.get(), plain);
            }
            let coded = postcard::to_stdvec(&compact).unwrap();
            prop_assert_eq!(&coded, &postcard::to_stdvec(&plain).unwrap());
            prop_assert_eq!(postcard::from_bytes::<CompactMeasures>(&coded).unwrap(), compact);
        }
    }

    #[test]
    fn a_sum_that_is_shown_is_exact() {
        let mut most = Measures::default();
        most.add(&Measures::of(EventKind::Purchase, 1 << 31, VALUE_MAX), SUMMED_MAX);
        assert_eq!(i128::from(most.value), i128::from(SUMMED_MAX) * i128::from(VALUE_MAX));
        assert_eq!(most.cell(6), Cell::Integer(most.value));
        most.add(&Measures::of(EventKind::Return, 1 << 31, VALUE_MAX), 1);
        assert!(most.value < 0, "it has wrapped");
        let shown: Vec<_> = (0..7).map(|at| most.cell(at)).collect();
        let counts = [0, 0, 0, SUMMED_MAX, 1].map(Cell::Integer);
        assert_eq!(shown, [counts.as_slice(), &[Cell::Absent, Cell::Absent]].concat());
        assert!(most.overflows(), "such a unit counts into no total, whatever its sum wrapped to");
    }

    #[test]
    fn a_count_that_passes_16_bits_is_kept() {
        let mut compact = CompactMeasures::default();
        (0..70_000).for_each(|_| compact.count(Happening { kind: EventKind::View, quantity: 0, value: 0 }));
        assert_eq!((compact.get().views, size_of::<CompactMeasures>()), (70_000, 24));
    }
}
