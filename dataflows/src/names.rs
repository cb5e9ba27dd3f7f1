//! Names: strings up to 24 bytes lie in place, longer ones on the heap. A name is an identity by itself, never its hash.

/// A tenant's, session's, unit's, SKU's or node's name.
pub type Name = compact_str::CompactString;

/// A tenant's place in the configuration.
pub type TenantId = u16;
