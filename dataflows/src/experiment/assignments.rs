//! The variants that units have, by small numbers.
//!
//! Which variants a unit has is a handful of hashes. A key's state remembers the answer, as the number of a list: few
//! different lists exist, and the number fits into four bytes. Numbers are given in the order in which lists are first
//! asked for on a worker, so they mean nothing elsewhere: they are left out of snapshots and found again when needed.

use std::cell::{Ref, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::num::NonZeroU32;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use operators::judge::LaneHasher;

use crate::catalog::{Catalog, Population};
use crate::names::TenantId;

/// A variant of an experiment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VariantKey {
    /// The experiment.
    pub experiment: u16,
    /// The variant's place in it.
    pub variant: u16,
}

/// The number of a list of variants, on this worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VariantList(NonZeroU32);

/// A list, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Variants(SmallVec<[VariantKey; 8]>);

/// One word for all of it: which list it is, is asked for every key that is new.
impl Hash for Variants {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let word = |variant: &VariantKey| u64::from(variant.experiment) << 16 | u64::from(variant.variant);
        let mixed = |sum: u64, word: u64| (sum.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        state.write_u64(self.0.iter().map(word).fold(0, mixed));
    }
}

#[derive(Default)]
struct Lists {
    numbers: HashMap<Variants, VariantList, BuildHasherDefault<LaneHasher>>,
    lists: Vec<Variants>,
}

/// The lists that were asked for. Memory: each different list once, for the life of the worker.
pub struct Assignments {
    catalog: Arc<Catalog>,
    lists: RefCell<Lists>,
}

impl Assignments {
    /// Of the experiments of a catalog.
    pub fn new(catalog: Arc<Catalog>) -> Self {
        Assignments { catalog, lists: RefCell::default() }
    }

    /// The names.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// The variants of a unit in experiments with an assigned population; none where the unit is unknown.
    pub fn assigned(&self, tenant: TenantId, unit: &str) -> VariantList {
        let mut variants = Variants::default();
        self.catalog.each_variant_of(tenant, unit, Population::Assigned, |experiment, variant| {
            variants.0.push(VariantKey { experiment, variant });
        });
        self.number(variants)
    }

    /// The unit's variant in one experiment, or nothing.
    pub fn of_experiment(&self, experiment: u16, unit: &str) -> VariantList {
        let variant = self.catalog.variant_of(experiment, unit);
        self.number(Variants(variant.map(|variant| VariantKey { experiment, variant }).into_iter().collect()))
    }

    /// A list, and beside it the unit's variants in some experiments.
    pub fn with_experiments(
        &self,
        list: VariantList,
        experiments: impl Iterator<Item = u16>,
        unit: &str,
    ) -> VariantList {
        let mut variants = Variants(self.variants(list).iter().copied().collect());
        variants.0.extend(experiments.filter_map(|experiment| {
            self.catalog.variant_of(experiment, unit).map(|variant| VariantKey { experiment, variant })
        }));
        variants.0.sort_unstable();
        variants.0.dedup();
        self.number(variants)
    }

    /// A list by its number.
    pub fn variants(&self, list: VariantList) -> Ref<'_, [VariantKey]> {
        Ref::map(self.lists.borrow(), |lists| lists.lists[list.0.get() as usize - 1].0.as_slice())
    }

    fn number(&self, variants: Variants) -> VariantList {
        let Lists { numbers, lists } = &mut *self.lists.borrow_mut();
        if let Some(number) = numbers.get(&variants) {
            return *number;
        }
        lists.push(variants.clone());
        let number = NonZeroU32::new(lists.len() as u32).expect("there is a list now");
        numbers.insert(variants, VariantList(number));
        VariantList(number)
    }
}
