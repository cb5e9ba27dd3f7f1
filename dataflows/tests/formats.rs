//! The text formats of `operators` under the decoders of this domain: whatever the format, the same record comes of it.

#![allow(clippy::unwrap_used, reason = "a test may fail here, in its helpers too")]

#[path = "formats/avro.rs"]
mod avro;
#[path = "formats/csv.rs"]
mod csv;
