//! Means and variances of a block of units, from its exact integer sums.
//!
//! The sums are exact, so adding a unit and taking it away again leaves nothing, and the order of arrival leaves no
//! trace. Floats appear only when a block is read. The familiar one-pass formula over floats is useless here: it
//! subtracts two nearly equal numbers, and for a mean of 1e8 with deviation 1 it gives 0. Instead the sum is split into
//! `n` times its floored mean and a remainder smaller than `n`, squares are taken around the floored mean in integers,
//! and only what is left is divided.

/// The mean of a block, with how well it is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mean {
    /// The units.
    pub n: i64,
    /// Their mean.
    pub mean: f64,
    /// Their sample variance, over `n - 1`.
    pub variance: f64,
    /// Of the mean.
    pub standard_error: f64,
}

/// One mean less another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// The treatment's mean less the control's.
    pub difference: f64,
    /// Of the difference, without assuming equal variances.
    pub standard_error: f64,
}

/// Why there is no answer. An answer is never NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Fewer than two units.
    InsufficientUnits,
    /// Sums that no list of units has, or that pass 128 bits: the block is damaged.
    InconsistentSums,
}

impl Reason {
    /// The stable name.
    pub fn name(self) -> &'static str {
        match self {
            Reason::InsufficientUnits => "insufficient_units",
            Reason::InconsistentSums => "inconsistent_sums",
        }
    }
}

/// The mean of `n` integers with this sum and this sum of squares. With |integer| and `n` up to 2^40, nothing
/// overflows.
///
/// ```
/// let mean = methods::moments::mean_of(4, 10, 30).expect("1, 2, 3, 4 are enough units");
/// assert_eq!((mean.mean, mean.variance), (2.5, 5.0 / 3.0));
/// ```
pub fn mean_of(n: i64, sum: i128, squares: i128) -> Result<Mean, Reason> {
    if n < 2 {
        return Err(Reason::InsufficientUnits);
    }
    let around = squares_around_mean(i128::from(n), sum, squares).ok_or(Reason::InconsistentSums)?;
    let units = n as f64;
    let mean = sum.div_euclid(i128::from(n)) as f64 + sum.rem_euclid(i128::from(n)) as f64 / units;
    let variance = around / (units - 1.0);
    Ok(Mean { n, mean, variance, standard_error: libm::sqrt(variance / units) })
}

/// The sum of squared deviations from the mean; none if it is negative or an intermediate passes 128 bits.
fn squares_around_mean(n: i128, sum: i128, squares: i128) -> Option<f64> {
    let (floor, remainder) = (sum.div_euclid(n), sum.rem_euclid(n));
    // The squares around the floored mean: squares - 2 * floor * sum + n * floor^2, where sum = n * floor + remainder.
    let shift = floor.checked_mul(sum.checked_add(remainder)?)?;
    let around_floor = squares.checked_sub(shift)?;
    // Around the mean itself they are less by remainder^2 / n: the whole part in integers, the rest as a fraction.
    let excess = remainder.checked_mul(remainder)?;
    let (whole, rest) = (around_floor.checked_sub(excess / n)?, excess % n);
    if whole < 0 || (whole == 0 && rest > 0) {
        return None;
    }
    Some(whole as f64 - rest as f64 / n as f64)
}

/// The difference of two means of independent units.
pub fn difference_of(treatment: &Mean, control: &Mean) -> Difference {
    let variance = treatment.variance / treatment.n as f64 + control.variance / control.n as f64;
    Difference { difference: treatment.mean - control.mean, standard_error: libm::sqrt(variance) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `pairs` units at `mean - deviation` and as many at `mean + deviation`: their variance is known in closed form.
    fn block(mean: i128, deviation: i128, pairs: i64) -> (i64, i128, i128) {
        let n = i128::from(pairs) * 2;
        (pairs * 2, n * mean, n * (mean * mean + deviation * deviation))
    }

    fn one_pass(n: i64, sum: i128, squares: i128) -> f64 {
        (squares as f64 - sum as f64 * sum as f64 / n as f64) / (n as f64 - 1.0)
    }

    /// The blocks on which the one-pass formula loses digits, then all of them, then the sign of reason.
    #[test]
    fn large_means_lose_no_digit() {
        for (mean, deviation, pairs) in [
            (10_000, 100, 500_000),
            (1_000_000, 10, 500_000),
            (100_000_000, 1, 500_000),
            (1_700_000_000_000, 1_000, 50_000),
            (-100_000_000, 1, 500_000),
            (1 << 40, 3, 1 << 20),
        ] {
            let (n, sum, squares) = block(mean, deviation, pairs);
            let read = mean_of(n, sum, squares).unwrap();
            let expected = (i128::from(n) * deviation * deviation) as f64 / (n - 1) as f64;
            assert_eq!((read.mean, read.variance), (mean as f64, expected));
            assert_eq!(read.standard_error, libm::sqrt(expected / n as f64));
        }
        let (n, sum, squares) = block(100_000_000, 1, 500_000);
        assert_eq!(one_pass(n, sum, squares), 0.0, "the formula that this file does not use");
        let (n, sum, squares) = block(1_700_000_000_000, 1_000, 50_000);
        assert!((one_pass(n, sum, squares) / 1e6 - 1.0).abs() > 100.0, "the same, for a time in milliseconds");
    }

    #[test]
    fn small_blocks_are_exact() {
        let read = mean_of(3, 4, 10).unwrap(); // 0, 1, 3
        assert_eq!((read.n, read.mean, read.variance), (3, 1.0 + 1.0 / 3.0, (5.0 - 1.0 / 3.0) / 2.0));
        let read = mean_of(3, -4, 10).unwrap(); // 0, -1, -3
        assert_eq!((read.mean, read.variance), (-2.0 + 2.0 / 3.0, (5.0 - 1.0 / 3.0) / 2.0));
        let read = mean_of(2, 14, 98).unwrap(); // 7, 7
        assert_eq!((read.variance, read.standard_error), (0.0, 0.0));
    }

    /// Against the definition, deviation by deviation, over lists from a small generator.
    #[test]
    fn read_outs_equal_the_definition() {
        let mut state = 1u64;
        for length in 2..200usize {
            let list: Vec<i64> = (0..length)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (state >> 40) as i64 - (1 << 23)
                })
                .collect();
            let sum: i128 = list.iter().map(|it| i128::from(*it)).sum();
            let squares: i128 = list.iter().map(|it| i128::from(*it) * i128::from(*it)).sum();
            let read = mean_of(length as i64, sum, squares).unwrap();
            let mean = sum as f64 / length as f64;
            let around: f64 = list.iter().map(|it| (*it as f64 - mean) * (*it as f64 - mean)).sum();
            assert!((read.mean - mean).abs() <= 1e-12 * mean.abs().max(1.0));
            assert!((read.variance / (around / (length as f64 - 1.0)) - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn the_widest_block_fits() {
        let n = 1i64 << 40;
        let (sum, squares) = (1i128 << 80, 1i128 << 120);
        assert_eq!(mean_of(n, sum, squares).map(|read| read.variance), Ok(0.0));
        assert_eq!(mean_of(n, -sum, squares).map(|read| read.mean), Ok(-((1i64 << 40) as f64)));
    }

    #[test]
    fn what_cannot_be_read_has_a_reason() {
        for n in [-1, 0, 1] {
            assert_eq!(mean_of(n, 5, 25).unwrap_err().name(), "insufficient_units");
        }
        for (sum, squares) in [(10, 3), (i128::MAX, 1), (0, -1), (3, 2), (i128::MIN, i128::MIN)] {
            assert_eq!(mean_of(4, sum, squares).unwrap_err().name(), "inconsistent_sums", "{sum} {squares}");
        }
    }

    #[test]
    fn a_difference_adds_the_variances_of_both_means() {
        let control = mean_of(4, 10, 30).unwrap(); // 1, 2, 3, 4
        let treatment = mean_of(2, 10, 58).unwrap(); // 3, 7
        let read = difference_of(&treatment, &control);
        assert_eq!(read.difference, 2.5);
        assert_eq!(read.standard_error, libm::sqrt(8.0 / 2.0 + 5.0 / 3.0 / 4.0));
    }
}
