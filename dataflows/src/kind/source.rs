//! What a source's decoder is made of.

use std::sync::Arc;

use crate::catalog::Catalog;
use crate::names::TenantId;

/// The names that the records of a source may have.
#[derive(Clone, Debug)]
pub struct SourceNames {
    /// All names of the configuration.
    pub catalog: Arc<Catalog>,
    /// The tenants that the source declares; any, where it declares none.
    pub tenants: Option<Vec<TenantId>>,
    /// The fact sources that it declares; any, where it declares none.
    pub fact_sources: Option<Vec<String>>,
}

/// Something that opens a source once its kind is known: the one place where a kind's number becomes its type.
pub trait SourceDecoders {
    /// What comes of it.
    type Output;
    /// Opens a source of this kind.
    fn open<K: super::ListedKind>(self) -> Self::Output;
}
