//! All kinds of records, in the order in which their releases and groups are numbered: a new one is added at the end.

use crate::experiment::ExperimentEvents;
use crate::inventory::InventoryFacts;
use crate::kind::{AnyKind, Entry, KindId, ListedKind, SourceDecoders};

/// Lists kinds: gives each its number, and [`open`] its types.
macro_rules! kinds {
    ($($kind:ident),+ $(,)?) => {
        kinds!(@number 0; $($kind),+);

        /// The kinds by their numbers.
        pub(crate) static ENTRIES: &[&dyn AnyKind] = &[$(&Entry::<$kind>::new()),+];

        /// Opens a source of a kind that is known by its number.
        ///
        /// # Panics
        /// If there is no such kind: numbers are made by the list alone.
        pub fn open<O: SourceDecoders>(kind: KindId, opener: O) -> O::Output {
            $(if kind == $kind::ID { return opener.open::<$kind>(); })+
            unreachable!("a kind's number is that of a kind in the list")
        }
    };
    (@number $number:expr; $kind:ident $(, $rest:ident)*) => {
        impl ListedKind for $kind {
            const ID: KindId = KindId($number);
        }
        kinds!(@number $number + 1; $($rest),*);
    };
    (@number $number:expr;) => {};
}

kinds! { ExperimentEvents, InventoryFacts }
