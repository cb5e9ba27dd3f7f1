//! Which variant of an experiment a unit gets: a hash that anyone can compute again, the same in an SDK, the engine and
//! the tests.
//!
//! Two independent hashes decide. The first knows the layer but not the experiment, and gives the unit's bucket in the
//! layer: an experiment has a range of a layer's buckets, so experiments with other ranges share no unit. The second
//! knows the experiment's seed, and gives the bucket that decides the variant by the variants' weights: so where a unit
//! lies in the layer says nothing of its variant, and a new seed shuffles the units anew.
//!
//! Scheme 1. Each hash is SipHash-1-3 with the key [`KEY`] over these bytes: each part but the unit as its length in
//! bytes (32 bits, little endian) and its UTF-8; then zeros up to a multiple of 8 bytes; then the unit's UTF-8. The
//! parts are `"traffic"`, tenant, layer, or `"variant"`, tenant, layer, seed. Since every part before the unit says how
//! long it is, no two lists of parts give the same bytes. The bucket is `hash * 1,000,000 / 2^64`, rounded down.
//! Variant `k` has the buckets from `1,000,000 * (w[0] + .. + w[k-1]) / (sum of all w)`, rounded down, up to where the
//! next one begins. No normalisation: two spellings of one letter are two units. (SipHash-2-4 takes twice as long, and
//! would add only resistance to those who do not know the key; this one is published.)

use crate::siphash::{Prefix, Text};

/// The version of the scheme, to be written beside every assignment that is recorded.
pub const SCHEME: u16 = 1;

/// The number of buckets of a layer, and of an experiment.
pub const BUCKETS: u32 = 1_000_000;

/// The published key of both hashes. Assignment is no secret.
pub const KEY: [u8; 16] = *b"aisle-assignment";

/// One experiment's assignment, with everything hashed beforehand that does not depend on the unit.
#[derive(Clone, Debug)]
pub struct Assigner {
    traffic: Prefix,
    variant: Prefix,
    range: (u32, u32),
    /// The first bucket after each variant's.
    ends: Vec<u32>,
}

impl Assigner {
    /// The assignment of an experiment that has the layer's buckets `[from, upto)`, to variants of these weights.
    /// Without any weight, no unit gets a variant.
    pub fn new(tenant: &str, layer: &str, seed: &str, (from, upto): (u32, u32), weights: &[u32]) -> Self {
        let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
        let ends = weights.iter().scan(0u64, |before, weight| {
            *before += u64::from(*weight);
            let end = u128::from(*before) * u128::from(BUCKETS) / u128::from(total.max(1));
            Some(u32::try_from(end).expect("a share of the total is at most all buckets"))
        });
        Assigner {
            traffic: begun(&["traffic", tenant, layer]),
            variant: begun(&["variant", tenant, layer, seed]),
            range: (from, upto),
            ends: ends.collect(),
        }
    }

    /// The number of the unit's variant; none outside of the experiment's traffic, and none for an unknown (empty)
    /// unit, since all unknown units together are not one unit.
    pub fn variant_of(&self, unit: &str) -> Option<u16> {
        let unit = Unit::new(unit)?;
        self.variant_in(unit, if self.has_whole_layer() { 0 } else { self.traffic_bucket_of(unit) })
    }

    /// Whether it need not be asked where in the layer a unit lies.
    pub fn has_whole_layer(&self) -> bool {
        self.range == (0, BUCKETS)
    }

    /// The same as [`Assigner::variant_of`] of a unit that lies in this bucket of the layer: several experiments of one layer
    /// share the hash. Those that have all of it take any bucket.
    #[inline]
    pub fn variant_in(&self, unit: Unit<'_>, traffic_bucket: u32) -> Option<u16> {
        let (from, upto) = self.range;
        if traffic_bucket < from || upto <= traffic_bucket {
            return None;
        }
        let bucket = self.variant_bucket_of(unit);
        // Which end comes next is chance, so counting them all is faster than stopping at the right one.
        let place: usize = self.ends.iter().map(|end| usize::from(bucket >= *end)).sum();
        if place == self.ends.len() { None } else { u16::try_from(place).ok() }
    }

    /// The unit's bucket in the layer.
    #[inline]
    pub fn traffic_bucket_of(&self, unit: Unit<'_>) -> u32 {
        bucket_of(&self.traffic, unit)
    }

    /// The unit's bucket in the experiment.
    #[inline]
    pub fn variant_bucket_of(&self, unit: Unit<'_>) -> u32 {
        bucket_of(&self.variant, unit)
    }
}

/// A known unit, ready to be hashed several times.
#[derive(Clone, Copy, Debug)]
pub struct Unit<'a>(Text<'a>);

impl<'a> Unit<'a> {
    /// The unit of that name; none of an empty one, since all unknown units together are not one unit.
    #[inline]
    pub fn new(name: &'a str) -> Option<Self> {
        (!name.is_empty()).then(|| Unit(Text::new(name)))
    }
}

/// A hash that has read all parts but the unit.
fn begun(parts: &[&str]) -> Prefix {
    let mut bytes = Vec::new();
    for part in parts {
        let length = u32::try_from(part.len()).expect("names in a configuration are short");
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    Prefix::new(&KEY, &bytes)
}

#[inline]
fn bucket_of(begun: &Prefix, Unit(text): Unit<'_>) -> u32 {
    // A share of the buckets is one of them.
    ((u128::from(begun.hash(text)) * u128::from(BUCKETS)) >> 64) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(unit: &str) -> Unit<'_> {
        Unit::new(unit).unwrap()
    }

    fn whole(tenant: &str, layer: &str, seed: &str, weights: &[u32]) -> Assigner {
        Assigner::new(tenant, layer, seed, (0, BUCKETS), weights)
    }

    /// The published cases: tenant, layer, seed, unit, bucket in the layer, bucket in the experiment. They may never
    /// change.
    const CASES: [(&str, &str, &str, &str, u32, u32); 8] = [
        ("north", "search", "ranker-1", "household-1", 456_108, 300_800),
        ("north", "search", "ranker-1", "household-2", 649_932, 782_311),
        ("north", "search", "ranker-2", "household-1", 456_108, 592_544),
        ("north", "checkout", "ranker-1", "household-1", 261_717, 457_014),
        ("south", "search", "ranker-1", "household-1", 94_203, 302_366),
        ("north", "search", "ranker-1", "müller-7", 949_096, 753_491),
        ("north", "search", "", "12345678", 983_180, 630_085),
        ("", "", "", "a", 16_214, 698_481),
    ];

    #[test]
    fn the_published_cases_hold() {
        let found = CASES.map(|(tenant, layer, seed, unit, _, _)| {
            let assigner = whole(tenant, layer, seed, &[1]);
            (
                tenant,
                layer,
                seed,
                unit,
                assigner.traffic_bucket_of(known(unit)),
                assigner.variant_bucket_of(known(unit)),
            )
        });
        assert_eq!(found, CASES, "scheme {SCHEME}");
    }

    /// The bytes as the header describes them, hashed at once.
    #[test]
    fn the_description_is_the_scheme() {
        let bytes = b"\x07\0\0\0variant\x02\0\0\0no\x03\0\0\0lay\x03\0\0\0sed\0unit-77";
        let hasher = siphasher::sip::SipHasher13::new_with_key(&KEY);
        let bucket = ((u128::from(hasher.hash(bytes)) * 1_000_000) >> 64) as u32;
        assert_eq!(whole("no", "lay", "sed", &[1]).variant_bucket_of(known("unit-77")), bucket);
    }

    #[test]
    fn neighbouring_parts_do_not_run_into_each_other() {
        let buckets = [
            whole("ab", "c", "d", &[1]).variant_bucket_of(known("e")),
            whole("a", "bc", "d", &[1]).variant_bucket_of(known("e")),
            whole("ab", "", "cd", &[1]).variant_bucket_of(known("e")),
            whole("ab", "c", "", &[1]).variant_bucket_of(known("de")),
            whole("ab", "c", "d\0", &[1]).variant_bucket_of(known("e")),
            whole("ab", "c", "d", &[1]).variant_bucket_of(known("\0e")),
            whole("ab", "c", "d", &[1]).traffic_bucket_of(known("e")),
        ];
        let mut distinct = buckets.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), buckets.len(), "{buckets:?}");
    }

    /// 40,000 sequential ids over 100 equal cells: chi-square with 99 degrees of freedom, 148.2 at 0.001.
    #[test]
    fn buckets_are_uniform() {
        for seed in 0..8 {
            let assigner = whole("north", "search", &format!("exp-checkout-{seed}"), &[1]);
            let mut cells = [[0u32; 100]; 2];
            for id in 0..40_000 {
                let id = id.to_string();
                cells[0][(assigner.traffic_bucket_of(known(&id)) / 10_000) as usize] += 1;
                cells[1][(assigner.variant_bucket_of(known(&id)) / 10_000) as usize] += 1;
            }
            for cells in cells {
                let square = |cell: &u32| (f64::from(*cell) - 400.0) * (f64::from(*cell) - 400.0) / 400.0;
                let chi_square: f64 = cells.iter().map(square).sum();
                assert!(chi_square < 148.2, "seed {seed}: {chi_square}");
            }
        }
    }

    /// Similar keys over sequential ids: four variants by four, chi-square with 9 degrees of freedom, 27.88 at 0.001.
    #[test]
    fn experiments_with_similar_names_are_independent() {
        let assigners: Vec<Assigner> =
            (0..8).map(|seed| whole("north", "search", &format!("exp-checkout-{seed}"), &[1; 4])).collect();
        let ids: Vec<String> = (0..40_000).map(|id| id.to_string()).collect();
        for (first, second) in (0..8).flat_map(|first| (0..first).map(move |second| (first, second))) {
            let pairs = ids.iter().map(|id| (assigners[first].variant_of(id), assigners[second].variant_of(id)));
            let chi_square = chi_square_of(pairs.map(|(first, second)| (first.unwrap(), second.unwrap())));
            assert!(chi_square < 27.88, "{first} and {second}: {chi_square}");
        }
    }

    /// Where a unit lies in the layer says nothing of its variant.
    #[test]
    fn traffic_and_variant_are_independent() {
        let assigner = whole("north", "search", "exp-checkout-0", &[1; 4]);
        let chi_square = chi_square_of((0..40_000).map(|id: u32| {
            let id = id.to_string();
            let quarter = assigner.traffic_bucket_of(known(&id)) / 250_000;
            (u16::try_from(quarter).unwrap(), assigner.variant_of(&id).unwrap())
        }));
        assert!(chi_square < 27.88, "{chi_square}");
    }

    fn chi_square_of(pairs: impl Iterator<Item = (u16, u16)>) -> f64 {
        let mut cells = [0i64; 16];
        pairs.for_each(|(row, column)| cells[usize::from(row) * 4 + usize::from(column)] += 1);
        let read = crate::chi_square::chi_square_of(&cells, 4).unwrap();
        assert_eq!(read.degrees_of_freedom, 9);
        read.statistic
    }

    #[test]
    fn weights_and_traffic_give_each_variant_its_share() {
        let assigner = Assigner::new("north", "search", "s", (100_000, 300_000), &[1, 0, 3]);
        let mut units = [0u32; 3];
        for id in 0..200_000 {
            if let Some(variant) = assigner.variant_of(&id.to_string()) {
                units[usize::from(variant)] += 1;
            }
        }
        assert!(units[0].abs_diff(10_000) < 500 && units[1] == 0 && units[2].abs_diff(30_000) < 800, "{units:?}");
    }

    #[test]
    fn a_wider_range_only_adds_units() {
        let narrow = Assigner::new("north", "search", "s", (0, 100_000), &[1, 1]);
        let wide = Assigner::new("north", "search", "s", (0, 200_000), &[1, 1]);
        let ids = (0..20_000).map(|id| id.to_string());
        assert!(ids.into_iter().all(|id| narrow.variant_of(&id).is_none_or(|it| wide.variant_of(&id) == Some(it))));
    }

    #[test]
    fn there_is_no_variant_without_a_unit_or_a_weight() {
        assert_eq!(whole("north", "search", "s", &[1]).variant_of(""), None);
        assert_eq!(whole("north", "search", "s", &[0, 0]).variant_of("a"), None);
        assert_eq!(whole("north", "search", "s", &[]).variant_of("a"), None);
        assert_eq!(whole("north", "search", "s", &[u32::MAX; 300]).variant_of("a").map(|it| it < 300), Some(true));
    }
}
