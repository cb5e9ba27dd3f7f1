//! The test of independence against tables that others computed.

use super::*;

/// Degrees of freedom, a statistic, and the chance of a greater one: by mpmath 1.4.1 with 50 digits
/// (`gammainc(degrees / 2, statistic / 2, inf, regularized=True)`, Python 3), rounded to the nearest float. SciPy 1.17.1 (`stats.chi2.sf`) says the same
/// to 1e-13, but for tails below 1e-200, where it says it to 6e-14.
const TAILS: &[(u32, f64, f64)] = &[
    (1, 0.001, 0.9747728793699604),
    (1, 0.5, 0.4795001221869535),
    (1, 3.841458820694124, 0.05000000000000006),
    (1, 10.0, 0.0015654022580025497),
    (1, 100.0, 1.523970604832105e-23),
    (1, 1000.0, 1.7958327848007262e-219),
    (2, 0.1, 0.951229424500714),
    (2, 5.991464547107979, 0.05000000000000007),
    (2, 50.0, 1.3887943864964021e-11),
    (3, 0.01, 0.9997348349413444),
    (3, 7.5, 0.057558451972636406),
    (3, 40.0, 1.0655090334255861e-08),
    (4, 2.0, 0.7357588823428847),
    (4, 9.487729036781154, 0.05000000000000006),
    (5, 4.0, 0.5494159513527802),
    (5, 15.086272469388987, 0.01000000000000001),
    (7, 20.0, 0.005569683072945571),
    (9, 3.25, 0.9535530956553904),
    (10, 18.307038053275146, 0.05000000000000001),
    (15, 15.0, 0.45141721122572526),
    (15, 80.0, 6.984655416662433e-11),
    (19, 19.5, 0.42520893846550023),
    (20, 5.0, 0.9997226479053791),
    (20, 20.0, 0.4579297144718522),
    (20, 25.0, 0.20143110494553576),
    (21, 200.0, 3.623055633322588e-31),
    (30, 43.77297182574219, 0.04999999999999998),
    (50, 67.5, 0.05004065171610339),
    (99, 99.0, 0.4810969124082639),
    (99, 140.0, 0.0042282987698192475),
    (100, 77.92946517, 0.9499999999570387),
    (100, 124.34211340400407, 0.05000000000000009),
    (200, 200.0, 0.48670120172085135),
    (200, 350.0, 2.7827171373707507e-10),
    (400, 300.0, 0.9999429031142579),
    (1000, 1000.0, 0.49405285382923964),
    (1000, 1300.0, 3.8897364994868526e-10),
    (10000, 10200.0, 0.07932888107761897),
    (6, 1400.0, 2.4225323864783197e-299),
];

/// Degrees of freedom, and the critical values at 0.10, 0.05, 0.025, 0.01 and 0.001: NIST/SEMATECH e-Handbook of
/// Statistical Methods, 1.3.6.7.4, "Upper-tail critical values of chi-square distribution".
const CRITICAL_VALUES: &[(u32, [f64; 5])] = &[
    (1, [2.706, 3.841, 5.024, 6.635, 10.828]),
    (2, [4.605, 5.991, 7.378, 9.210, 13.816]),
    (3, [6.251, 7.815, 9.348, 11.345, 16.266]),
    (4, [7.779, 9.488, 11.143, 13.277, 18.467]),
    (5, [9.236, 11.070, 12.833, 15.086, 20.515]),
    (9, [14.684, 16.919, 19.023, 21.666, 27.877]),
    (10, [15.987, 18.307, 20.483, 23.209, 29.588]),
    (20, [28.412, 31.410, 34.170, 37.566, 45.315]),
    (50, [63.167, 67.505, 71.420, 76.154, 86.661]),
    (100, [118.498, 124.342, 129.561, 135.807, 149.449]),
];

/// Tables, their columns, and their statistics, degrees of freedom and p: by SciPy 1.17.1
/// (`stats.chi2_contingency(table, correction=False)`) and mpmath 1.4.1. The last is Agresti's (party by gender, 2002), the second that of the
/// article "Chi-squared test" in Wikipedia.
const TABLES: &[(&[i64], usize, f64, u32, f64)] = &[
    (&[10, 20, 30, 40], 2, 0.7936507936507936, 1, 0.37299848361348714),
    (&[90, 60, 104, 95, 30, 50, 51, 20, 30, 40, 45, 35], 4, 24.5712028585826, 6, 0.00040984258610966937),
    (&[5000, 5100, 4900, 5000], 2, 0.0002000400060008001, 1, 0.9887154560649889),
    (&[120, 90, 40, 110, 95, 45], 3, 0.8640353908896108, 2, 0.6491978887380976),
    (&[1000001, 1000000, 1000000, 1000001], 2, 9.9999950000025e-07, 1, 0.9992021157716489),
    (&[762, 327, 468, 484, 239, 477], 3, 30.070149095754672, 2, 2.953589183211758e-07),
];

fn near(ours: f64, theirs: f64) -> bool {
    (ours / theirs - 1.0).abs() < 1e-12
}

#[test]
fn tails_are_those_of_a_table() {
    for (degrees, statistic, tail) in TAILS.iter().copied() {
        let ours = upper_tail(statistic, degrees);
        assert!(near(ours, tail), "{degrees}, {statistic}: {ours:e} is not {tail:e}, by {:e}", ours / tail - 1.0);
    }
}

/// Three decimals of a critical value leave its level open by half of one times the density there.
#[test]
fn published_critical_values_have_their_levels() {
    for (degrees, values) in CRITICAL_VALUES {
        for (value, level) in values.iter().zip([0.10, 0.05, 0.025, 0.01, 0.001]) {
            let (above, below) = (upper_tail(value - 0.0006, *degrees), upper_tail(value + 0.0006, *degrees));
            assert!(below < level && level < above, "{degrees}, {value}: {level} is not within {below} to {above}");
        }
    }
}

#[test]
fn tables_have_their_statistics() {
    for (counts, columns, statistic, degrees, p) in TABLES.iter().copied() {
        let read = chi_square_of(counts, columns).unwrap();
        assert_eq!((read.units, read.degrees_of_freedom), (counts.iter().sum(), degrees));
        assert!(near(read.statistic, statistic), "{counts:?}: {} is not {statistic}", read.statistic);
        assert!(near(read.p, p), "{counts:?}: {} is not {p}", read.p);
    }
}

#[test]
fn rows_and_columns_without_units_are_left_out() {
    let read = chi_square_of(&[10, 0, 20, 0, 0, 0, 30, 0, 40], 3).unwrap();
    assert_eq!(Ok(read), chi_square_of(&[10, 20, 30, 40], 2));
}

#[test]
fn rows_that_are_multiples_have_nothing_in_common_but_their_columns() {
    let read = chi_square_of(&[1 << 40, 3 << 40, 7 << 40, 5, 15, 35], 3).unwrap();
    assert_eq!((read.statistic, read.degrees_of_freedom, read.p), (0.0, 2, 1.0));
}

#[test]
fn transposing_a_table_changes_nothing() {
    let read = |counts, columns| chi_square_of(counts, columns).map(|read| (read.degrees_of_freedom, read.units));
    assert_eq!(read(&[12, 7, 30, 9, 14, 22], 3), read(&[12, 9, 7, 14, 30, 22], 2));
    let (wide, tall) = (chi_square_of(&[12, 7, 30, 9, 14, 22], 3).unwrap(), chi_square_of(&[12, 9, 7, 14, 30, 22], 2));
    assert!(near(wide.statistic, tall.unwrap().statistic));
}

#[test]
fn tables_without_an_answer_have_a_reason() {
    let reason = |counts: &[i64], columns| chi_square_of(counts, columns).unwrap_err().name();
    for (counts, columns) in [(&[][..], 2), (&[0; 4], 2), (&[9, 9, 0, 0], 2), (&[9, 0, 9, 0], 2), (&[9, 9, 9], 3)] {
        assert_eq!(reason(counts, columns), "too_few_categories", "{counts:?}");
    }
    // 10 * 20 / 50 = 4 are expected of the first cell, then exactly 5.
    assert_eq!(reason(&[5, 5, 15, 25], 2), "too_few_units");
    assert!(chi_square_of(&[4, 6, 16, 14], 2).is_ok());
    for counts in [[-1, 9, 9, 9], [i64::MAX, 1, 1, 1], [i64::MIN, 9, 9, 9]] {
        assert_eq!(reason(&counts, 2), "inconsistent_counts", "{counts:?}");
    }
}

#[test]
fn the_greatest_counts_fit() {
    let quarter = i64::MAX / 4;
    let read = chi_square_of(&[quarter, quarter, quarter, quarter], 2).unwrap();
    assert_eq!((read.statistic, read.p), (0.0, 1.0));
    let read = chi_square_of(&[i64::MAX / 2, 0, 0, i64::MAX / 2], 2).unwrap();
    assert!(near(read.statistic, i64::MAX as f64) && read.p == 0.0, "{read:?}");
}
