//! Adding up events: exact integers, in any order.

use crate::experiment::event::EventKind;
use crate::views::{Measures, Moments};

/// The greatest |sum| with which a unit still counts into its block, so that squares fit 128 bits whatever the order.
pub const UNIT_SUM_MAX: i64 = 1 << 40;

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

    /// Adds `times` times other measures. Wraps rather than stops: 2^23 events of the greatest value come before that.
    pub fn add(&mut self, other: &Measures, times: i64) {
        let (mine, others) = (self.columns(), other.columns());
        *self = Measures::of_columns(std::array::from_fn(|at| mine[at].wrapping_add(others[at].wrapping_mul(times))));
    }

    /// Whether some sum is too great for its unit to count.
    pub fn overflows(&self) -> bool {
        self.columns().iter().any(|sum| sum.unsigned_abs() > UNIT_SUM_MAX as u64)
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
