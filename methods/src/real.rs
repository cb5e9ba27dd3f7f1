//! A real number that can be a column: it has an order, a hash, and one way to be written.
//!
//! There is no NaN and no infinity; zero has no sign. So equal numbers have equal bits, and the order of the bits is that of
//! the numbers.
//!
//! Written, it is the shortest decimal that reads back as the same number, always with a point, so that a reader of columns
//! never takes one for an integer: `1.0`, `-0.25`, `100000.0`. From 1e16 on, and below 1e-5, it has an exponent: `1.0e16`,
//! `2.5e-7`. JSON takes both.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A finite number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "f64", try_from = "f64")]
pub struct Real(u64);

/// A float that is no number: a NaN or an infinity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotFinite;

impl fmt::Display for NotFinite {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a number has to be finite")
    }
}

impl std::error::Error for NotFinite {}

/// The bit of a float's sign.
const SIGN: u64 = 1 << 63;

impl Real {
    /// The number 0.
    pub const ZERO: Real = Real(SIGN);

    /// The number that a float is; none where it is a NaN or an infinity. Negative zero becomes zero.
    ///
    /// ```
    /// use methods::real::Real;
    /// let half = Real::new(0.5).expect("it is finite");
    /// assert!(half > Real::ZERO && half.get() == 0.5 && half.to_string() == "0.5");
    /// assert_eq!((Real::new(-0.0), Real::new(f64::NAN)), (Some(Real::ZERO), None));
    /// ```
    pub fn new(float: f64) -> Option<Real> {
        if !float.is_finite() {
            return None;
        }
        // Negative zero and zero make zero.
        let bits = (float + 0.0).to_bits();
        Some(Real(if bits & SIGN == 0 { bits | SIGN } else { !bits }))
    }

    /// The float that it is.
    pub fn get(self) -> f64 {
        f64::from_bits(if self.0 & SIGN == 0 { !self.0 } else { self.0 & !SIGN })
    }
}

impl From<Real> for f64 {
    fn from(real: Real) -> f64 {
        real.get()
    }
}

impl TryFrom<f64> for Real {
    type Error = NotFinite;

    fn try_from(float: f64) -> Result<Real, NotFinite> {
        Real::new(float).ok_or(NotFinite)
    }
}

impl fmt::Display for Real {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let float = self.get();
        if float == 0.0 || (1e-5..1e16).contains(&float.abs()) {
            // The debug form has the point, but goes over to exponents as it sees fit; this one never has an exponent.
            let point = if float.fract() == 0.0 { ".0" } else { "" };
            return write!(formatter, "{float}{point}");
        }
        let scientific = format!("{float:e}");
        match scientific.split_once('e') {
            Some((digits, exponent)) if !digits.contains('.') => write!(formatter, "{digits}.0e{exponent}"),
            _ => formatter.write_str(&scientific),
        }
    }
}

impl fmt::Debug for Real {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn real(float: f64) -> Real {
        Real::new(float).unwrap()
    }

    /// Bits from a small generator: numbers of every size.
    fn floats() -> impl Iterator<Item = f64> {
        let mut state = 1u64;
        std::iter::repeat_with(move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            f64::from_bits(state ^ state >> 29)
        })
        .filter(|float| float.is_finite())
    }

    #[test]
    fn the_order_is_that_of_the_numbers() {
        let ascending = [f64::MIN, -1e300, -2.0, -1.0, -f64::MIN_POSITIVE, -5e-324, 0.0, 5e-324, 1.0, 1.5, f64::MAX];
        assert!(ascending.map(real).is_sorted_by(|one, next| one < next));
        for (one, other) in floats().zip(floats().skip(1)).take(10_000) {
            assert_eq!(real(one).cmp(&real(other)), one.partial_cmp(&other).unwrap(), "{one} {other}");
            assert_eq!(real(one).get().to_bits(), one.to_bits());
        }
    }

    #[test]
    fn zero_has_no_sign_and_the_rest_is_refused() {
        assert_eq!((real(-0.0), real(-0.0).get().to_bits()), (Real::ZERO, 0));
        for float in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(Real::new(float), None);
            assert_eq!(Real::try_from(float), Err(NotFinite));
        }
    }

    #[test]
    fn numbers_are_written_with_a_point() {
        let written = [
            (0.0, "0.0"),
            (1.0, "1.0"),
            (-1.0, "-1.0"),
            (0.1, "0.1"),
            (0.1 + 0.2, "0.30000000000000004"),
            (-0.25, "-0.25"),
            (100_000.0, "100000.0"),
            (1_700_000_000_000.5, "1700000000000.5"),
            (9_999_999_999_999_998.0, "9999999999999998.0"),
            (1e16, "1.0e16"),
            (-1.25e20, "-1.25e20"),
            (f64::MAX, "1.7976931348623157e308"),
            (0.00001, "0.00001"),
            (0.0000099, "9.9e-6"),
            (2.5e-7, "2.5e-7"),
            (5e-324, "5.0e-324"),
        ];
        for (float, text) in written {
            assert_eq!(real(float).to_string(), text);
        }
    }

    /// What is written reads back, is no longer than it has to be (the formatter's own claim), and is a number in JSON.
    #[test]
    fn numbers_read_back() {
        let near = [1e-5, 1e16, 1.0, 1e5].into_iter().flat_map(|float: f64| {
            let bits = float.to_bits();
            [f64::from_bits(bits - 1), float, f64::from_bits(bits + 1)]
        });
        for float in near.chain(floats().take(10_000)) {
            let text = real(float).to_string();
            assert_eq!(text.parse::<f64>().unwrap().to_bits(), float.to_bits(), "{text}");
            assert!(text.contains('.') && !text.contains('+') && text.len() <= 25, "{text}");
            let json: f64 = serde_json::from_str(&text).unwrap();
            assert!((json / float - 1.0).abs() < 1e-15, "{text}");
        }
    }

    #[test]
    fn a_number_is_a_float_wherever_it_is_kept() {
        assert_eq!(serde_json::to_string(&real(0.5)).unwrap(), "0.5");
        assert_eq!(serde_json::from_str::<Real>("-0.0").unwrap(), Real::ZERO);
        assert!(serde_json::from_str::<Real>("1e999").is_err());
    }
}
