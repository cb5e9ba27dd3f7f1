//! Pearson's chi-square test of independence over a table of counts.
//!
//! The statistic is `sum((observed - expected)^2 / expected)`. Expected counts are fractions, and an observed count lies
//! close to its own, so their difference is taken in integers: `observed * total - row * column`, which is exact. Only
//! then does anything become a float. A table whose rows are multiples of each other has the statistic 0, not nearly 0.
//!
//! The p-value is the regularised upper incomplete gamma function `Q(degrees / 2, statistic / 2)`: by its series below
//! the mean, by Lentz's continued fraction above it. Every elementary function is `libm`'s, so that a read-out has the
//! same bits on every machine.

use serde::{Deserialize, Serialize};

/// What a test of independence says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChiSquare {
    /// The units in the table.
    pub units: i64,
    /// Pearson's statistic; 0 or greater.
    pub statistic: f64,
    /// Degrees of freedom: (rows - 1) * (columns - 1), of the rows and columns that have units.
    pub degrees_of_freedom: u32,
    /// The chance of such a statistic, or a greater one, if rows and columns have nothing to do with each other.
    pub p: f64,
}

/// Why a table has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Fewer than two rows, or fewer than two columns, have units.
    TooFewCategories,
    /// Some cell's expected count is below [`EXPECTED_MIN`]: the statistic does not follow the distribution yet.
    TooFewUnits,
    /// A count is negative, or the counts pass 63 bits: the table is damaged.
    InconsistentCounts,
}

impl Reason {
    /// The stable name.
    pub fn name(self) -> &'static str {
        match self {
            Reason::TooFewCategories => "too_few_categories",
            Reason::TooFewUnits => "too_few_units",
            Reason::InconsistentCounts => "inconsistent_counts",
        }
    }
}

/// The least expected count of a cell with which the test is made (Cochran's rule, without its exceptions).
pub const EXPECTED_MIN: i64 = 5;

/// Tests whether rows and columns of a table are independent. `counts` has the cells row by row, `columns` to a row. Rows
/// and columns without any unit are left out.
///
/// ```
/// let read = methods::chi_square::chi_square_of(&[10, 20, 30, 40], 2).expect("every cell expects 5 or more");
/// assert_eq!((read.units, read.degrees_of_freedom), (100, 1));
/// assert!((read.statistic - 0.7936507936507936).abs() < 1e-15 && (read.p - 0.3729984836134871).abs() < 1e-15);
/// ```
///
/// # Panics
///
/// If the cells do not make whole rows.
pub fn chi_square_of(counts: &[i64], columns: usize) -> Result<ChiSquare, Reason> {
    assert!(columns > 0 && counts.len().is_multiple_of(columns), "the cells make whole rows");
    let add = |sum: i64, count: &i64| if *count < 0 { None } else { sum.checked_add(*count) };
    let units = counts.iter().try_fold(0, add).ok_or(Reason::InconsistentCounts)?;
    // No sum of a part passes that of the whole.
    let of_row: Vec<i128> =
        counts.chunks(columns).map(|row| row.iter().map(|count| i128::from(*count)).sum()).collect();
    let of_column: Vec<i128> = (0..columns)
        .map(|column| counts.iter().skip(column).step_by(columns).map(|count| i128::from(*count)).sum())
        .collect();
    let categories = |sums: &[i128]| sums.iter().filter(|sum| **sum > 0).count();
    let (rows, filled_columns) = (categories(&of_row), categories(&of_column));
    if rows < 2 || filled_columns < 2 {
        return Err(Reason::TooFewCategories);
    }
    let total = i128::from(units);
    let mut statistic = 0.0;
    for (place, observed) in counts.iter().enumerate() {
        let (row, column) = (of_row[place / columns], of_column[place % columns]);
        if row == 0 || column == 0 {
            continue;
        }
        if row * column < i128::from(EXPECTED_MIN) * total {
            return Err(Reason::TooFewUnits);
        }
        // Both products are below 2^126.
        let distance = (i128::from(*observed) * total - row * column) as f64;
        statistic += distance / total as f64 * (distance / (row * column) as f64);
    }
    let degrees_of_freedom = u32::try_from((rows - 1) * (filled_columns - 1)).map_err(|_| Reason::TooFewUnits)?;
    Ok(ChiSquare { units, statistic, degrees_of_freedom, p: upper_tail(statistic, degrees_of_freedom) })
}

/// The chance that a chi-square variable with so many degrees of freedom, 1 or more, is at least `statistic`.
pub fn upper_tail(statistic: f64, degrees_of_freedom: u32) -> f64 {
    upper_gamma(f64::from(degrees_of_freedom) / 2.0, statistic / 2.0)
}

/// `Q(a, x)`, the regularised upper incomplete gamma function, for `a > 0`.
fn upper_gamma(a: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 1.0;
    }
    if x < a + 1.0 { 1.0 - density(a, x) * series(a, x) } else { density(a, x) * a * fraction(a, x) }
}

/// Steps after which a sum or a fraction is taken as it is; some ten times the root of `a` are needed, so only with more than
/// 100 million degrees of freedom would one come here.
const STEPS_MAX: u32 = 100_000;

/// A difference that is too small to change a sum of which it is a part.
const NEGLIGIBLE: f64 = f64::EPSILON / 8.0;

/// `1 + x/(a+1) + x^2/((a+1)(a+2)) + ...`, which times [`density`] is the lower function. For `x < a + 1`.
fn series(a: f64, x: f64) -> f64 {
    let (mut term, mut sum) = (1.0, 1.0);
    for step in 1..=STEPS_MAX {
        term *= x / (a + f64::from(step));
        sum += term;
        if term < sum * NEGLIGIBLE {
            break;
        }
    }
    sum
}

/// `1/(x+1-a- 1(1-a)/(x+3-a- 2(2-a)/(x+5-a- ...)))` by Lentz's method, which times `a` and [`density`] is the upper
/// function. For `x >= a + 1`, where every part is positive.
fn fraction(a: f64, x: f64) -> f64 {
    let mut denominator = x + 1.0 - a;
    let mut before = f64::MAX;
    let mut inverse = 1.0 / denominator;
    let mut value = inverse;
    for step in 1..=STEPS_MAX {
        let step = f64::from(step);
        let numerator = step * (a - step);
        denominator += 2.0;
        inverse = 1.0 / (numerator * inverse + denominator);
        before = denominator + numerator / before;
        let factor = before * inverse;
        value *= factor;
        if (factor - 1.0).abs() < 2.0 * f64::EPSILON {
            break;
        }
    }
    value
}

/// `x^a * e^-x / gamma(a + 1)`.
///
/// As it is written where that loses nothing. Where `a` is large, the three parts are huge and nearly cancel: then by Stirling's formula, with its
/// error, and how far `x` is from `a` (Loader, "Fast and Accurate Computation of Binomial Probabilities", 2000).
fn density(a: f64, x: f64) -> f64 {
    if a < 16.0 {
        // In halves: a tail of 1e-300 is a number still, when e^-x is none any more.
        let half = libm::exp(-x / 2.0);
        return libm::pow(x, a) * half / libm::tgamma(a + 1.0) * half;
    }
    libm::exp(-stirling_error(a) - deviance(a, x)) / libm::sqrt(2.0 * core::f64::consts::PI * a)
}

/// `ln(gamma(a + 1)) - ln(sqrt(2 pi a) * (a / e)^a)`, for `a >= 16`: the next part would be below 1e-17.
fn stirling_error(a: f64) -> f64 {
    let square = a * a;
    let parts = [1.0 / 1_188.0, -1.0 / 1_680.0, 1.0 / 1_260.0, -1.0 / 360.0, 1.0 / 12.0];
    parts.into_iter().fold(-691.0 / 360_360.0, |sum, part| part + sum / square) / a
}

/// `a * ln(a / x) + x - a`, which is nearly nothing where `x` is near `a`.
fn deviance(a: f64, x: f64) -> f64 {
    let ratio = (a - x) / (a + x);
    if ratio.abs() >= 0.1 {
        return a * libm::log(a / x) + x - a;
    }
    // ln(a/x) = 2 (v + v^3/3 + v^5/5 + ...) with v = (a-x)/(a+x); the first part takes x - a away but for (a-x) * v.
    let square = ratio * ratio;
    let (mut power, mut sum) = (2.0 * a * ratio, (a - x) * ratio);
    for step in 1..=40u32 {
        power *= square;
        let next = sum + power / f64::from(2 * step + 1);
        if next == sum {
            break;
        }
        sum = next;
    }
    sum
}

#[cfg(test)]
mod tests;
